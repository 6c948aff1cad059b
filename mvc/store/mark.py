"""Marking: which objects are needed, worked out over every frame there is.

Edges go from a tree to its files, from a recipe to its objects, from a delta
to its base. An object may be kept in several frames, and any of them may be
the one that is left in the end: so its edges are those of all that can be decoded. What
cannot be read or is not known ends the search with an error, because an edge
that nobody saw is an object that somebody loses.

Public names: ``Need``, ``Census``, ``edges_of``, ``marked``, ``reachable``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mvc import fileio, recipe, tree
from mvc.codecs import Encoding
from mvc.digest import Digest
from mvc.errors import Damaged, MvcError
from mvc.store.pack import SUFFIX, Entry, IndexBlock, PackReader
from mvc.store.settings import PACKS, TRASH
from mvc.store.store import Store
from mvc.system_errors import in_words

_ADVICE = "mvc fsck says more; nothing is removed before everything can be read"


@dataclass(frozen=True, slots=True)
class Need:
    """What a record names: a file or, where it is a ``tree``, a directory."""

    digest: Digest
    tree: bool = False


@dataclass(slots=True)
class Census:
    """The indexes of all packs of a store at one moment, also of those on their way out.

    ``packs`` are the indexes of those that are not. Frames are kept apart by
    whether they need other objects: most do not.

    Raises (on taking): ``Damaged`` where one of them cannot be read.
    """

    store: Store
    packs: dict[str, IndexBlock] = field(default_factory=dict)
    _plain: set[Digest] = field(default_factory=set)
    _edged: dict[Digest, list[tuple[Path, Entry]]] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Store) -> Census:
        census = cls(store)
        # A pack is in packs, in trash or in both, but may be moved while we look. One that is
        # seen nowhere leaves its objects missing, which ends what builds on this.
        for folder in (PACKS, TRASH, PACKS):
            census._read(store.folder / folder, outside=folder == PACKS)
        return census

    def _read(self, folder: Path, *, outside: bool) -> None:
        for name in sorted(fileio.list_folder(folder)):
            if not name.endswith(SUFFIX) or (outside and name in self.packs):
                continue
            try:
                index = PackReader(folder / name).index
                self._take(folder / name, index)
            except FileNotFoundError:
                continue
            except (MvcError, OSError) as error:
                raise Damaged(
                    f"'{folder / name}' cannot be read: {in_words(error)}", hint=_ADVICE
                ) from None
            if outside:
                self.packs[name] = index

    def _take(self, path: Path, index: IndexBlock) -> None:
        for entry in index:
            if entry.encoding == Encoding.RECIPE or entry.base is not None:
                self._edged.setdefault(entry.digest, []).append((path, entry))
            else:
                self._plain.add(entry.digest)

    def holds(self, digest: Digest) -> bool:
        """Say whether there is any frame of an object."""
        return digest in self._plain or digest in self._edged

    def least_depths(self, going: Collection[Path]) -> dict[Digest, int]:
        """Return for each base the least depth of a frame over it, outside some packs."""
        depths: dict[Digest, int] = {}
        for frames in self._edged.values():
            for path, entry in frames:
                if entry.base is not None and path not in going:
                    depths[entry.base] = min(entry.depth, depths.get(entry.base, entry.depth))
        return depths

    def kept_over(self) -> dict[Digest, set[Digest]]:
        """Return for each base the objects of which a frame is kept over it."""
        over: dict[Digest, set[Digest]] = {}
        for digest, frames in self._edged.items():
            for _, entry in frames:
                if entry.base is not None:
                    over.setdefault(entry.base, set()).add(digest)
        return over

    def edges(self, digest: Digest, *, bases: bool = True) -> set[Digest]:
        """Return what an object's frames need, all of them that can still be decoded.

        Args:
            bases: Whether also what deltas are kept over.

        Raises:
            Damaged: There is none, or a recipe cannot be read.
        """
        kept, whole = set(), digest in self._plain
        for path, entry in self._edged.get(digest, ()):
            needed = edges_of(entry, partial(self._payload, path))
            if all(map(self.holds, needed)):
                kept |= needed if bases else needed - {entry.base}
                whole = True
        if not whole:
            raise Damaged(f"object {digest.short} is missing from the store", hint=_ADVICE)
        return kept

    def _payload(self, path: Path, entry: Entry) -> memoryview:
        trash = self.store.folder / TRASH
        name = path.name.rpartition("-")[2]
        moved = [trash / n for n in fileio.list_folder(trash) if n.endswith(name)]
        for place in (path, *moved, self.store.folder / PACKS / name):
            try:
                return PackReader(place).payload(entry)
            except FileNotFoundError:
                continue
        raise Damaged(f"'{name}' went away while it was read", hint="run the command again")


def edges_of(entry: Entry, payload: Callable[[Entry], memoryview]) -> set[Digest]:
    """Return what one frame needs beside itself; only a recipe is read for that.

    Raises:
        Damaged: The recipe cannot be read.
    """
    needed = {entry.base} if entry.base is not None else set()
    if entry.encoding == Encoding.RECIPE:
        try:
            needed |= {ref.digest for ref in recipe.decode(payload(entry)).objects}
        except (MvcError, OSError) as error:
            message = f"the recipe of {entry.digest.short} cannot be read: {error}"
            raise Damaged(message, hint=_ADVICE) from None
    return needed


def marked(store: Store, needs: Callable[[], Iterable[Need]]) -> tuple[Census, set[Digest]]:
    """Return what there is, and what of it is needed; anew where needs went while it looked.

    Raises:
        Damaged: Something that is needed is not there, or cannot be read.
    """
    while True:
        wanted = set(needs())  # before the packs are looked at: children come first
        census = Census.of(store)
        try:
            return census, reachable(census, wanted)
        except Damaged:
            if wanted <= set(needs()):
                raise


def reachable(census: Census, needs: Iterable[Need], *, bases: bool = True) -> set[Digest]:
    """Return every object that ``needs`` need, themselves included.

    Without ``bases`` those are left out that are needed only because others
    are kept over them.

    Raises:
        Damaged: One of them is not there, or what it needs cannot be told.
    """
    found: set[Digest] = set()
    waiting: list[Digest] = []
    for need in set(needs):
        waiting.append(need.digest)
        if need.tree:
            waiting += (file.digest for file in _tree(census.store, need.digest).files)
    while waiting:
        digest = waiting.pop()
        if digest not in found:
            waiting.extend(census.edges(digest, bases=bases))
            found.add(digest)
    return found


def _tree(store: Store, digest: Digest) -> tree.Tree:
    try:
        return tree.decode(bytes(store.get(digest)))
    except MvcError as error:
        message = f"the tree {digest.short} cannot be read: {error.message}"
        raise Damaged(message, hint=_ADVICE) from None
