"""Packs: one immutable file of frames, with its index at the end.

A frame is one object as stored: a header, the encoded bytes, and an XXH3-64
checksum over both. The index lists the frames by digest; the pack's name is
the index's digest, so a pack that bears its name and passes its checksums is
the one that was written. This module knows bytes and offsets; it knows
nothing of encodings' insides or of other packs.

Layout and a worked example: ``docs/formats/pack.md``.
Public names: ``Entry``, ``Link``, ``PackWriter``, ``PackReader``, ``IndexBlock``,
``MAX_DEPTH``, ``NO_BASE``, ``finish_all``, ``is_whole``.
"""

from __future__ import annotations

import contextlib
import os
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import xxhash

from mvc import fileio, system
from mvc.codecs import Encoded, Encoding
from mvc.compatibility import FORMAT, check_format
from mvc.digest import Buffer, Digest, checksum_of, digest_of
from mvc.durability import Together
from mvc.errors import Damaged, FormatError, MvcError, Unsupported
from mvc.fileio import NewFile, Steps

SUFFIX = ".pack"
MAX_PACK_SIZE = 1 << 30
# Only files, kept as recipes, are larger; skeletons and recipes may be 64 MiB.
MAX_PAYLOAD = (64 << 20) + (1 << 20)
MAX_INDEX_SIZE = 1 << 30
# Links from an object to the base that is kept plainly.
MAX_DEPTH = 4

PACK_HEADER = struct.Struct("<8sHHI")
FRAME_HEADER = struct.Struct("<4sBBHQQ32s32s")
FRAME_CHECKSUM = struct.Struct("<Q")
INDEX_HEADER = struct.Struct("<4sHHQ")
INDEX_ENTRY = struct.Struct("<32s32sQQQQBBHI")
FOOTER = struct.Struct("<8sHHIQQ32s")
FOOTER_SIZE = FOOTER.size + FRAME_CHECKSUM.size

PACK_MAGIC = b"MVCPACK\n"
FRAME_MAGIC = b"MVCF"
_INDEX_MAGIC = b"MVCI"
_FOOTER_MAGIC = b"MVCEND\r\n"
NO_BASE = bytes(32)

# What of an entry tells whether an object can be read: its digest, that of its base (or
# ``NO_BASE``), its size, encoding and depth, and the position of the pack.
Link: TypeAlias = tuple[bytes, bytes, int, int, int, int]
_LINK = struct.Struct("<32s32s16xQ8xBB2xI")
# A step of bisection takes as long as so many entries that are read one after the other.
_STEP = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """What an index says of one frame; ``offset`` and sizes in bytes.

    ``stored`` is the size of the payload, ``size`` that of the plain object.
    ``depth`` counts the links to the last base; ``pack`` is the position of
    the pack in a merged index and 0 elsewhere.
    """

    digest: Digest
    offset: int
    stored: int
    size: int
    encoding: Encoding
    checksum: int
    depth: int = 0
    base: Digest | None = None
    pack: int = 0

    @property
    def end(self) -> int:
        return self.offset + FRAME_HEADER.size + self.stored + FRAME_CHECKSUM.size

    @property
    def cost(self) -> int:
        """What the object takes on disk, in bytes: its frame and its index entry."""
        return self.end - self.offset + INDEX_ENTRY.size

    def to_bytes(self, pack: int = 0) -> bytes:
        base = self.base or NO_BASE
        numbers = self.offset, self.stored, self.size, self.checksum
        return INDEX_ENTRY.pack(self.digest, base, *numbers, self.encoding, self.depth, 0, pack)

    @classmethod
    def from_bytes(cls, data: Buffer, offset: int = 0) -> Entry:
        digest, base, place, stored, size, checksum, encoding, depth, _, pack = (
            INDEX_ENTRY.unpack_from(data, offset)
        )
        return cls(
            Digest(digest),
            place,
            stored,
            size,
            _encoding(encoding),
            checksum,
            depth,
            None if base == NO_BASE else Digest(base),
            pack,
        )

    def header(self) -> bytes:
        base = self.base or NO_BASE
        kind = self.encoding, self.depth, 0
        return FRAME_HEADER.pack(FRAME_MAGIC, *kind, self.size, self.stored, self.digest, base)


class IndexBlock:
    """Sorted index entries in a buffer, found by bisection without reading the others."""

    def __init__(self, entries: memoryview) -> None:
        if len(entries) % INDEX_ENTRY.size:
            raise FormatError("an index is cut off inside an entry")
        self._entries = entries
        self._count = len(entries) // INDEX_ENTRY.size

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        for place in range(0, len(self._entries), INDEX_ENTRY.size):
            yield Entry.from_bytes(self._entries, place)

    def find(self, digest: bytes) -> list[Entry]:
        """Return every entry for ``digest``."""
        return [Entry.from_bytes(self._entries, place) for place in self._places(digest)]

    def links(self, digests: Set[bytes]) -> Iterator[Link]:
        """Yield what every entry for one of ``digests`` says.

        Few are bisected for; where they are many, all entries are read once.
        """
        if _STEP * len(digests) * self._count.bit_length() < self._count:
            for digest in digests:
                for place in self._places(digest):
                    yield _LINK.unpack_from(self._entries, place)
        else:
            yield from (link for link in _LINK.iter_unpack(self._entries) if link[0] in digests)

    def _places(self, digest: bytes) -> Iterator[int]:
        """Yield where in the buffer the entries for ``digest`` are."""
        position = bisect_left(range(self._count), digest, key=self._digest_at)
        while position < self._count and self._digest_at(position) == digest:
            yield position * INDEX_ENTRY.size
            position += 1

    def _digest_at(self, position: int) -> bytes:
        start = position * INDEX_ENTRY.size
        return bytes(self._entries[start : start + 32])


class PackWriter:
    """Frames appended to a private file; ``finish`` makes it a pack.

    ``made`` is when it is to count as made, in nanoseconds, if not now. After
    an error the writer is of no further use and must be discarded.
    """

    def __init__(self, path: Path) -> None:
        self._file = NewFile(path)
        self._file.write([PACK_HEADER.pack(PACK_MAGIC, FORMAT, 0, 0)])
        self._entries: list[Entry] = []
        self.made: int | None = None

    @property
    def size(self) -> int:
        return self._file.size

    @property
    def path(self) -> Path:
        return self._file.path

    def add(
        self,
        digest: Digest,
        size: int,
        encoded: Encoded,
        *,
        depth: int = 0,
        base: Digest | None = None,
    ) -> Entry:
        """Append one frame and return its entry."""
        place = self._file.size
        bare = Entry(digest, place, encoded.size, size, encoded.encoding, 0, depth, base)
        header = bare.header()
        state = xxhash.xxh3_64(header)
        for piece in encoded.pieces:
            state.update(piece)
        checksum = state.intdigest()
        self._file.write([header, *encoded.pieces, FRAME_CHECKSUM.pack(checksum)])
        entry = replace(bare, checksum=checksum)
        if self._file.size != entry.end:
            raise ValueError(f"frame of {digest} has the wrong size")
        self._entries.append(entry)
        return entry

    def together(self, count: int) -> Together:
        """Make ready to make so many packs durable at once, the first of which is this one."""
        return self._file.together(count)

    def finish(self, together: Together | None = None) -> str:
        """Write index and footer, make the file durable and read-only; return the pack's name.

        Args:
            together: The packs that are made durable later, at once, if it says so. Then the
                file is still to be closed.
        """
        entries = sorted(entry.to_bytes() for entry in self._entries)
        index = INDEX_HEADER.pack(_INDEX_MAGIC, FORMAT, 0, len(entries)) + b"".join(entries)
        name = digest_of(index)
        place = self._file.size, len(index)
        footer = FOOTER.pack(_FOOTER_MAGIC, FORMAT, 0, 0, *place, name)
        self._file.write([index, footer, FRAME_CHECKSUM.pack(checksum_of(footer))])
        self._file.seal()
        if self.made is not None:
            self._file.set_time(self.made)
        self._file.sync(together)
        if together is None:
            self.close()
        return name.hex() + SUFFIX

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        self._file.discard()


class PackReader:
    """A pack opened for reading; the file stays readable while this object lives.

    ``file_size`` in bytes; ``changed``, when it was made, in nanoseconds.

    Raises (on opening): ``FormatError`` where index or footer are damaged,
    ``Unsupported`` for a newer format, ``OSError``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = fileio.open_regular(path)
        self._index: IndexBlock | None = None
        status = os.fstat(self._descriptor)
        self.file_size, self.changed = status.st_size, status.st_mtime_ns

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            with contextlib.suppress(OSError):  # nothing is on its way that a close could lose
                os.close(self._descriptor)

    @property
    def name(self) -> str:
        """The pack's name, which in ``trash/`` stands behind the mark of who put it there."""
        return self.path.name.rpartition("-")[2]

    @property
    def index(self) -> IndexBlock:
        """The pack's own index, checked against the pack's name when first asked for."""
        if self._index is None:
            self._index = self._read_index()
        return self._index

    def payload(self, entry: Entry) -> memoryview:
        """Return a frame's encoded bytes, whose checksum has been compared.

        Raises:
            Damaged: The frame is cut off, or is not the one that was written.
        """
        size = entry.end - entry.offset
        if entry.stored > MAX_PAYLOAD or entry.end > self.file_size:
            raise Damaged(f"'{self.path.name}' is too short for object {entry.digest.short}")
        frame = memoryview(os.pread(self._descriptor, size, entry.offset))
        if len(frame) != size:
            raise Damaged(f"'{self.path.name}' is cut off in object {entry.digest.short}")
        body = frame[: -FRAME_CHECKSUM.size]
        checksum = checksum_of(body)
        recorded = FRAME_CHECKSUM.unpack(frame[-FRAME_CHECKSUM.size :])[0]
        if checksum != recorded or checksum != entry.checksum or not _is_frame(body, entry):
            raise Damaged(f"object {entry.digest.short} in '{self.path.name}' is damaged")
        return body[FRAME_HEADER.size :]

    def forget(self, entry: Entry) -> None:
        """Let the system read a frame from the disk when it is asked for again, if it can."""
        system.forget(self._descriptor, entry.offset, entry.end - entry.offset)

    def holds(self, entry: Entry) -> bool:
        """Say whether the frame begins and ends where the entry has it; reads its header only."""
        if entry.end > self.file_size:  # an offset may also be beyond what pread takes
            return False
        try:
            header = os.pread(self._descriptor, FRAME_HEADER.size, entry.offset)
        except OSError:
            return False
        return _is_frame(memoryview(header), entry)

    def check(self) -> None:
        """Compare what ordinary reads pass over: the header, the order, that frames leave no gap.

        Raises:
            FormatError: Header, index or footer are not those of a whole pack.
        """
        header = os.pread(self._descriptor, PACK_HEADER.size, 0)
        if header != PACK_HEADER.pack(PACK_MAGIC, FORMAT, 0, 0):
            raise FormatError(f"'{self.path.name}' does not begin like a pack")
        if any(one.digest > other.digest for one, other in pairwise(self.index)):
            raise FormatError(f"the index of '{self.path.name}' is not sorted")
        end = PACK_HEADER.size
        for entry in sorted(self.index, key=lambda entry: entry.offset):
            if entry.offset != end:
                raise FormatError(f"the frames of '{self.path.name}' overlap or leave gaps")
            end = entry.end
        index_size = INDEX_HEADER.size + len(self.index) * INDEX_ENTRY.size
        if end + index_size + FOOTER_SIZE != self.file_size:
            raise FormatError(f"'{self.path.name}' holds bytes that no index covers")

    def _read_index(self) -> IndexBlock:
        start = self.file_size - FOOTER_SIZE
        if start < PACK_HEADER.size:
            raise FormatError(f"'{self.path.name}' is cut off")
        footer = os.pread(self._descriptor, FOOTER_SIZE, start)
        magic, version, _, _, offset, size, name = FOOTER.unpack_from(footer)
        sealed = footer.endswith(FRAME_CHECKSUM.pack(checksum_of(footer[: FOOTER.size])))
        if magic == _FOOTER_MAGIC and sealed:
            check_format(version, f"pack '{self.path.name}'")
        whole = FOOTER.pack(_FOOTER_MAGIC, FORMAT, 0, 0, offset, size, name)
        if footer != whole + FRAME_CHECKSUM.pack(checksum_of(whole)) or offset + size != start:
            raise FormatError(f"'{self.path.name}' has no footer: it is cut off or damaged")
        if size > MAX_INDEX_SIZE:
            raise FormatError(f"'{self.path.name}' claims an index of {size} bytes")
        data = os.pread(self._descriptor, size, offset)
        if name.hex() != self.name.removesuffix(SUFFIX) or digest_of(data) != name:
            raise FormatError(f"the index of '{self.path.name}' is damaged")
        return _index_block(data)


def finish_all(packs: Sequence[PackWriter]) -> Steps[list[str]]:
    """Make several packs whole and durable, in the order in which they were begun.

    None gets its name before all are: whoever sees a pack may build on it.

    Returns:
        Their names.
    """
    if not packs:
        return []
    together = packs[0].together(len(packs))
    names = []
    for pack in packs:
        names.append(pack.finish(together))
        yield "pack written"
    together.finish()
    for pack in packs:
        pack.close()
    return names


def is_whole(path: Path) -> bool:
    """Say whether a pack reads back as it was written, every frame of it."""
    try:
        pack = PackReader(path)
        pack.check()
        for entry in pack.index:
            pack.payload(entry)
    except (MvcError, OSError):
        return False
    return True


def _index_block(data: bytes) -> IndexBlock:
    """Read an index whose digest held."""
    if len(data) < INDEX_HEADER.size:
        raise FormatError("a pack's index is cut off")
    magic, version, reserved, count = INDEX_HEADER.unpack_from(data)
    if (magic, version, reserved) != (_INDEX_MAGIC, FORMAT, 0):
        raise FormatError("a pack's index has no header")
    if INDEX_HEADER.size + count * INDEX_ENTRY.size != len(data):
        raise FormatError(f"a pack's index claims {count} entries")
    return IndexBlock(memoryview(data)[INDEX_HEADER.size :])


def _is_frame(header: memoryview, entry: Entry) -> bool:
    return bytes(header[: FRAME_HEADER.size]) == entry.header()


def _encoding(number: int) -> Encoding:
    try:
        return Encoding(number)
    except ValueError:
        raise Unsupported(
            f"an object has encoding {number}, which this mvc does not know",
            hint="a newer mvc wrote it; upgrade to read it",
        ) from None
