"""Which pack holds an object: the packs' own indexes, and one merged from them.

The merged index is a cache. It names the packs it covers; packs it does not
cover are asked by their own index, and when those are many it is written
anew. It may be missing, stale or damaged without harm: an entry counts only
once the frame it points at has been looked at, and a reader that misses asks
every pack itself.

Layout: ``docs/formats/merged-index.md``.
Public names: ``Found``, ``PackIndex``.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mvc import fileio
from mvc.compatibility import FORMAT
from mvc.digest import Digest, checksum_of
from mvc.errors import Damaged, FormatError, MvcError
from mvc.store.pack import INDEX_ENTRY, SUFFIX, Entry, IndexBlock, Link, PackReader
from mvc.system_errors import in_words

MOST_UNCOVERED = 64
MOST_OPEN = 128
FILE_NAME = "index"

_MAGIC = b"MVCM"
_HEADER = struct.Struct("<4sHHIIQ")
_CHECKSUM = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Found:
    """A frame and the open pack it lies in."""

    pack: PackReader
    entry: Entry

    def is_whole(self) -> bool:
        """Say whether the frame can be read and its checksum holds."""
        try:
            self.pack.payload(self.entry)
        except (Damaged, OSError):
            return False
        return True


class PackIndex:
    """Finds frames in the packs of one folder.

    Args:
        folder: The folder of packs.
        cache: Where the merged index is kept; ``None`` keeps none.
    """

    def __init__(self, folder: Path, cache: Path | None) -> None:
        self.folder = folder
        self.cache = cache
        self._cache = cache / FILE_NAME if cache else None
        self._open: OrderedDict[str, PackReader] = OrderedDict()
        self._names: list[str] = []
        self._merged = IndexBlock(memoryview(b""))
        self._merged_names: list[str] = []
        self._uncovered: list[str] = []
        self.damaged: dict[str, MvcError] = {}
        self.refresh()

    @property
    def names(self) -> list[str]:
        """The packs seen at the last refresh, sorted."""
        return self._names

    def refresh(self, *, trust_cache: bool = True) -> None:
        """List the packs again; without ``trust_cache`` ask each of them itself."""
        self._names = self._list()
        self._present = set(self._names)
        for name in self._open.keys() - self._present:  # as long as it is open, it takes room
            self._open.pop(name, None)
        self._merged, self._merged_names = IndexBlock(memoryview(b"")), []
        self.damaged.clear()
        if not trust_cache:  # a name may be another file's by now: a damaged pack is replaced
            self._open.clear()
        if trust_cache and self._cache:
            with contextlib.suppress(OSError, FormatError, ValueError):
                self._merged, self._merged_names = _read_merged(self._cache)
        covered = set(self._merged_names)
        self._uncovered = [name for name in self._names if name not in covered]

    def refresh_if_changed(self) -> bool:
        """List the packs again; say whether there are others than before."""
        if self._list() == self._names:
            return False
        self.refresh()
        return True

    def find(self, digest: Digest) -> Iterator[Found]:
        """Yield the frames of an object, those in packs that can be opened."""
        for name, entry in self._find_merged(digest):
            if pack := self._reader(name):
                yield Found(pack, entry)
        for name in self._uncovered:
            if pack := self._reader(name):
                for entry in self._entries(pack).find(digest):
                    yield Found(pack, entry)

    def links(self, digests: Set[bytes]) -> Iterator[Link]:
        """Yield what is said of the frames of many objects, those that ``find`` would yield."""
        names = self._merged_names

        @cache  # opened once, however many there are
        def is_there(pack: int) -> bool:
            return (
                pack < len(names)
                and names[pack] in self._present
                and bool(self._reader(names[pack]))
            )

        yield from (link for link in self._merged.links(digests) if is_there(link[-1]))
        for name in self._uncovered:
            if pack := self._reader(name):
                yield from self._entries(pack).links(digests)

    def _find_merged(self, digest: Digest) -> list[tuple[str, Entry]]:
        try:
            entries = self._merged.find(digest)
            named = [(self._merged_names[entry.pack], entry) for entry in entries]
        except (MvcError, IndexError):  # a damaged cache is a cache without the object
            return []
        return [(name, entry) for name, entry in named if name in self._present]

    def packs(self, names: Iterable[str] | None = None) -> Iterator[PackReader]:
        """Yield every pack, or those named, whose index is whole; others are in ``damaged`` then.

        Whoever keeps them keeps their files open, and there may be more than a process may have.
        """
        for name in self._names if names is None else names:
            pack = self._reader(name)
            if pack and len(self._entries(pack)):
                yield pack

    def merge_if_due(self) -> None:
        """Write the merged index anew when too many packs are outside it. Failure is no matter."""
        if not self._cache or len(self._uncovered) <= MOST_UNCOVERED:
            return
        with contextlib.suppress(OSError, MvcError):
            fileio.replace(self._cache, _merge(self.packs()))
            self.refresh()

    @property
    def merged_path(self) -> Path | None:
        """Where the merged index is kept."""
        return self._cache

    def merged_is_right(self) -> bool:
        """Say whether the merged index, if there is one, says what the packs it names say."""
        if self._cache is None or not self._cache.exists():
            return True
        try:
            block, names = _read_merged(self._cache)
            here, rows = set(), []
            for at, name in enumerate(names):
                if pack := self._reader(name):
                    here.add(at)
                    rows += [entry.to_bytes(at) for entry in self._entries(pack)]
            noted = sorted(entry.to_bytes(entry.pack) for entry in block if entry.pack in here)
        except (MvcError, OSError, ValueError):  # readers pass such a one by
            return True
        return noted == sorted(rows)

    def _list(self) -> list[str]:
        return sorted(n for n in fileio.list_folder(self.folder) if n.endswith(SUFFIX))

    def _reader(self, name: str) -> PackReader | None:
        if name in self.damaged:
            return None
        pack = self._open.pop(name, None)
        if pack is None:
            try:
                pack = PackReader(self.folder / name)
            except (MvcError, OSError) as error:
                self._note(name, error)
                return None
        self._open[name] = pack
        if len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)
        return pack

    def _entries(self, pack: PackReader) -> IndexBlock:
        try:
            return pack.index
        except (MvcError, OSError) as error:
            self._note(pack.path.name, error)
            return IndexBlock(memoryview(b""))

    def _note(self, name: str, error: MvcError | OSError) -> None:
        if not isinstance(error, MvcError):
            error = FormatError(f"'{name}' cannot be read: {in_words(error).message}")
        self.damaged[name] = error.with_traceback(None)  # its frames hold this very index


def _merge(packs: Iterable[PackReader]) -> bytes:
    rows, names = [], []
    for position, pack in enumerate(packs):
        rows += [entry.to_bytes(position) for entry in pack.index]
        names.append(bytes.fromhex(pack.path.name.removesuffix(SUFFIX)))
    head = _HEADER.pack(_MAGIC, FORMAT, 0, len(names), 0, len(rows)) + b"".join(names)
    return b"".join([head, _CHECKSUM.pack(checksum_of(head)), *sorted(rows)])


def _read_merged(path: Path) -> tuple[IndexBlock, list[str]]:
    descriptor = fileio.open_regular(path)
    try:
        view = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)
    if len(view) < _HEADER.size:
        raise FormatError("the merged index is cut off")
    magic, version, _, packs, _, count = _HEADER.unpack_from(view)
    names_end = _HEADER.size + 32 * packs
    start = names_end + _CHECKSUM.size
    if (magic, version) != (_MAGIC, FORMAT) or start + count * INDEX_ENTRY.size != len(view):
        raise FormatError("the merged index is not one of ours")
    if _CHECKSUM.unpack_from(view, names_end)[0] != checksum_of(view[:names_end]):
        raise FormatError("the merged index is damaged")
    names = [
        bytes(view[place : place + 32]).hex() + SUFFIX
        for place in range(_HEADER.size, names_end, 32)
    ]
    return IndexBlock(view[start:]), names
