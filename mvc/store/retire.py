"""Retire: the one way in which packs leave a store.

A pack is moved to ``trash/`` first, where writers do not see it and readers
still find it. Then the transactions that may have looked before the move are
waited for, or evicted. Then what is needed is worked out anew, over all that
has been published meanwhile; a pack that is needed after all goes back, and
only the others are deleted. So it does not matter how good the reason was
for which a pack was to leave.

The argument, step by step, and what a crash leaves: ``docs/gc.md``.
Public names: ``Retired``, ``retire``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mvc import fileio
from mvc.codecs import Encoding
from mvc.digest import Digest
from mvc.errors import MvcError
from mvc.fileio import Steps
from mvc.store.index import Found
from mvc.store.intents import settle
from mvc.store.mark import Census, Need, edges_of, marked
from mvc.store.naming import name_also
from mvc.store.pack import SUFFIX, Entry, PackReader, is_whole
from mvc.store.settings import PACKS, TRASH, new_id
from mvc.store.store import Store


@dataclass(frozen=True, slots=True)
class Retired:
    """What became of packs; ``freed`` in bytes.

    ``waiting`` counts the transactions that still live: then nothing was
    deleted, all stays in the trash, and the next ``retire`` takes it over.
    """

    deleted: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    freed: int = 0
    waiting: int = 0


def retire(
    store: Store,
    names: Iterable[str],
    needs: Callable[[], Iterable[Need]] | None,
    patience: Callable[[], bool] = lambda: False,
) -> Steps[Retired]:
    """Delete packs, except those that are needed.

    Args:
        names: Packs that are thought to be superfluous.
        needs: Says what must be kept, asked when all writers were waited for.
            ``None``: all that the packs hold was stored again, durably, before;
            each pack goes if that is so, and nobody need be waited for.
        patience: Waits a little for writers; False means that enough was waited.

    Raises:
        Damaged: What is needed cannot be told. Every pack is where it was.
    """
    taken = yield from _to_trash(store, names, take_over=needs is not None)
    if not taken:
        return Retired()
    try:
        needed: set[Digest] | None = None
        if needs is not None:
            living = yield from settle(store.folder, patience)
            if living:
                return Retired(waiting=len(living))
            census, needed = marked(store, needs)
            yield "marked"
            back = _needed_after_all(store, census, taken, needed)
        else:
            back = [path for path in taken if _is_needed(store, path, None, {})]
        yield "judged"
    except MvcError:
        for path in taken:
            with contextlib.suppress(OSError):
                yield from _restore(store, path)
        raise
    for path in back:
        yield from _restore(store, path)
    gone, freed = [], 0
    for path in taken:
        if path in back:
            continue
        size = _size_alone(path)
        if fileio.unlink(path):
            gone.append(_pack_name(path))
            freed += size
            yield "pack deleted"
    return Retired(tuple(gone), tuple(map(_pack_name, back)), freed)


def _to_trash(store: Store, names: Iterable[str], *, take_over: bool) -> Steps[list[Path]]:
    """Move packs, and with ``take_over`` whatever is there, to names in the trash of our own.

    Only what bears our own mark is deleted later: a pack that somebody else
    took back and threw away again meanwhile bears another.
    """
    mark = new_id()
    packs, trash = store.folder / PACKS, store.folder / TRASH
    fileio.make_folder(trash)
    found = [packs / name for name in names]
    if take_over:
        found += [trash / n for n in sorted(fileio.list_folder(trash)) if n.endswith(SUFFIX)]
    yield "trash listed"
    taken = []
    for path in found:
        mine = trash / f"{mark}-{_pack_name(path)}"
        if mine not in taken and fileio.rename(path, mine):
            taken.append(mine)
            yield "pack in trash"
    if taken:
        fileio.sync_folder(trash)
        fileio.sync_folder(packs)
    return taken


def _needed_after_all(
    store: Store, census: Census, taken: list[Path], needed: set[Digest]
) -> list[Path]:
    """Return which packs must go back, and with them what their own frames rely on."""
    back: list[Path] = []
    while True:
        going = [path for path in taken if path not in back]
        depths = census.least_depths(going)
        more = [path for path in going if _is_needed(store, path, needed, depths)]
        if not more:
            return back
        back += more


def _is_needed(
    store: Store, path: Path, needed: set[Digest] | None, depths: Mapping[Digest, int]
) -> bool:
    """Say whether a pack in the trash holds something needed that is not elsewhere."""
    store.index.refresh()
    try:
        pack = PackReader(path)
    except FileNotFoundError:  # somebody took it over
        return False
    return any(
        not _is_elsewhere(store, entry, needed, depths)
        for entry in pack.index
        if needed is None or entry.digest in needed
    )


def _is_elsewhere(
    store: Store, entry: Entry, needed: set[Digest] | None, depths: Mapping[Digest, int]
) -> bool:
    """Say whether an object is in a pack that stays, in a frame that is whole and will be.

    That is the same frame, or one all of whose objects are needed and so stay
    as well. A recipe and an object do not stand for each other. A frame stands
    for one of fewer links only where it has fewer than every frame that is kept
    over it: ``depths`` has the least of those, where all writers were waited for.
    """
    for found in store.index.find(entry.digest):
        if (found.entry.encoding == Encoding.RECIPE) != (entry.encoding == Encoding.RECIPE):
            continue
        depth = found.entry.depth
        if depth > entry.depth and (needed is None or depth >= depths.get(entry.digest, depth + 1)):
            continue
        with contextlib.suppress(MvcError, OSError):
            found.pack.payload(found.entry)
            if found.entry.checksum == entry.checksum:
                return True
            if needed is not None and _stands(store, found, needed):
                return True
    return False


def _stands(store: Store, found: Found, needed: set[Digest]) -> bool:
    """Say whether all that a frame needs stays, and its base can be read with fewer links."""
    base = found.entry.base
    if base is not None and store.chain(base, below=found.entry.depth) is None:
        return False
    return edges_of(found.entry, found.pack.payload) <= needed


def _size_alone(path: Path) -> int:
    """Return what removing a name frees: nothing where the file has another."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0
    return status.st_size if status.st_nlink == 1 else 0


def _restore(store: Store, path: Path) -> Steps[None]:
    packs = store.folder / PACKS
    with contextlib.suppress(FileNotFoundError):  # somebody took it over
        final = packs / _pack_name(path)
        if not name_also(path, final, keep=False) and not is_whole(final):
            return  # the copy that has the name has rotted: readers find this one where it is
        fileio.sync_folder(packs)
        yield "pack linked again"
        fileio.unlink(path)
        yield "pack restored"


def _pack_name(path: Path) -> str:
    return path.name.rpartition("-")[2]
