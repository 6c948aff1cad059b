"""The directory of a zip file, read as torch's own reader does: from the end.

Only what the central directory says is believed, and only if it is free of
contradictions: end records that meet end to end, unique names, ranges inside
the file. Checksums are not looked at (torch can switch them off), and nothing
is decompressed.

Layout, limits and a worked example: ``docs/formats/torch-zip.md``.
Public names: ``Entry``, ``read_directory``, ``locate``, ``start_of_last``, ``STORED``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mvc.errors import FormatError
from mvc.formats.layout import Source
from mvc.formats.reading import read_exactly

MAX_DIRECTORY = 64 << 20
MAX_ENTRIES = 1 << 18
MAX_COMMENT = 0xFFFF

END = struct.Struct("<4s4H2LH")
LOCATOR64 = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
CENTRAL = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")

STORED = 0
ENCRYPTED = 0x2041  # bits 0, 6 and 13 of the flags: data or names are not plain
UTF8 = 0x0800
FULL16 = 0xFFFF
FULL32 = 0xFFFFFFFF
ZIP64_EXTRA = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in the archive, as the central directory has it.

    ``offset`` is where its local header begins; ``limit`` where the directory
    begins, before which its data must end. ``size`` is the stored size.
    """

    name: str
    raw_name: bytes
    method: int
    flags: int
    offset: int
    size: int
    plain_size: int
    limit: int

    @property
    def is_plain(self) -> bool:
        """Whether the data lies in the file byte for byte."""
        return self.method == STORED and not self.flags & ENCRYPTED and self.size == self.plain_size


def read_directory(source: Source) -> dict[str, Entry]:
    """Return the entries of a zip file by name, in the order of its directory.

    Raises:
        FormatError: the file has no end record at its end, is in several
            parts, has two entries of one name, is over the limits above, or
            its records contradict each other.
    """
    count, size, offset = _end(source)
    if count > MAX_ENTRIES or count * CENTRAL.size > size:
        raise FormatError(f"a directory of {size} bytes with {count} entries")
    data = read_exactly(source, offset, size, limit=MAX_DIRECTORY)
    entries: dict[str, Entry] = {}
    at = 0
    for _ in range(count):
        entry, at = _entry(data, at, offset)
        if entry.name in entries:
            raise FormatError(f"two entries {entry.name[:80]!r}")
        entries[entry.name] = entry
    if at != size:
        raise FormatError(f"{size - at} bytes after the last entry of the directory")
    return entries


def locate(source: Source, entry: Entry) -> int:
    """Return where the data of ``entry`` begins.

    Raises:
        FormatError: the local header is another's, or data and header do not
            fit between it and the directory.
    """
    size = LOCAL.size + len(entry.raw_name)
    header = read_exactly(source, entry.offset, size, limit=LOCAL.size + FULL16)
    fields = LOCAL.unpack_from(header)
    signature, method, name_size, extra_size = fields[0], fields[3], fields[9], fields[10]
    if (
        signature != b"PK\3\4"
        or method != entry.method
        or name_size != len(entry.raw_name)
        or header[LOCAL.size :] != entry.raw_name
    ):
        raise FormatError(f"the header at {entry.offset} is not that of {entry.name[:80]!r}")
    start = entry.offset + size + int(extra_size)
    if start + entry.size > entry.limit:
        raise FormatError(f"{entry.name[:80]!r} runs into the directory")
    return start


def start_of_last(source: Source) -> int:
    """Return where the last of several archives begins that lie one behind the other.

    Only its end records are read, and only as torch writes them: zip64, and
    no comment. Whether the rest is an archive is for ``read_directory`` to say.

    Raises:
        FormatError: the file does not end so.
    """
    size = END64.size + LOCATOR64.size + END.size
    tail = read_exactly(source, source.size - size, size, limit=size)
    signature, *_, directory_size, offset = END64.unpack_from(tail)
    start = source.size - size - int(directory_size) - int(offset)
    if signature != b"PK\6\6" or tail[END64.size :][:4] != b"PK\6\7" or start < 0:
        raise FormatError("no zip64 end record at the end of the file")
    return start


def _end(source: Source) -> tuple[int, int, int]:
    """Return count of entries, size and offset of the central directory."""
    tail, at = _tail(source)
    _, disk, first_disk, here, count, size, offset, _ = END.unpack_from(tail, at)
    position = source.size - len(tail) + at
    before = position - LOCATOR64.size
    if before >= 0:
        locator = read_exactly(source, before, LOCATOR64.size, limit=LOCATOR64.size)
        if locator[:4] == b"PK\6\7":
            return _end64(source, before, locator, (disk, first_disk, here, count, size, offset))
    if disk or first_disk or here != count or offset + size != position:
        raise FormatError("the end record does not fit the file")
    return count, size, offset


def _tail(source: Source) -> tuple[bytes, int]:
    """Return the end of the file, and where in it the end record lies: mostly all of it."""
    for size in (min(source.size, END.size), min(source.size, END.size + MAX_COMMENT)):
        tail = read_exactly(source, source.size - size, size, limit=size)
        # The last that has room for a record, as every reader takes it: one in the
        # comment would be taken for the end by others.
        at = tail.rfind(b"PK\5\6", 0, max(0, size - END.size + 4))
        if at >= 0 and at + END.size + int(END.unpack_from(tail, at)[7]) == size:
            return tail, at
    raise FormatError("no end record at the end of the file")


def _end64(
    source: Source, locator_at: int, locator: bytes, end: tuple[int, ...]
) -> tuple[int, int, int]:
    """Return what the zip64 end record says; it must agree with the plain one."""
    _, disk, position, disks = LOCATOR64.unpack(locator)
    record = read_exactly(source, position, END64.size, limit=END64.size)
    signature, rest, _, _, *fields = END64.unpack(record)
    if signature != b"PK\6\6" or disk or disks > 1 or position + 12 + rest != locator_at:
        raise FormatError("the zip64 end record does not meet its locator")
    full = (FULL16, FULL16, FULL16, FULL16, FULL32, FULL32)
    for small, large, limit in zip(end, fields, full, strict=True):
        if small not in (large, limit):
            raise FormatError("the two end records contradict each other")
    first, second, here, count, size, offset = fields
    if first or second or here != count or offset + size != position:
        raise FormatError("the zip64 end record does not fit the file")
    return count, size, offset


def _entry(data: bytes, at: int, limit: int) -> tuple[Entry, int]:
    """Return the entry at ``at`` of the directory, and where the next begins."""
    if at + CENTRAL.size > len(data):
        raise FormatError("the directory ends early")
    signature, _, _, flags, method, _, _, _, *rest = CENTRAL.unpack_from(data, at)
    size, plain_size, name_size, extra_size, comment_size, disk, _, _, offset = rest
    name_at = at + CENTRAL.size
    extra_at = name_at + name_size
    end = extra_at + extra_size + comment_size
    if signature != b"PK\1\2" or disk not in (0, FULL16) or end > len(data):
        raise FormatError(f"no directory entry at byte {at}")
    if FULL32 in (size, plain_size, offset):
        extra = data[extra_at : extra_at + extra_size]
        plain_size, size, offset = _large(extra, (plain_size, size, offset))
    raw = data[name_at:extra_at]
    return Entry(_name(raw, flags), raw, method, flags, offset, size, plain_size, limit), end


def _name(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & UTF8 else "cp437")
    except UnicodeDecodeError:
        raise FormatError(f"an entry whose name is not UTF-8: {raw[:80]!r}") from None


def _large(extra: bytes, small: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return sizes and offset, those that are full replaced from the zip64 extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        at += 4
        if kind == ZIP64_EXTRA and at + size <= len(extra):
            large = (extra[place : place + 8] for place in range(at, at + size - 7, 8))
            values = [
                int.from_bytes(next(large, b""), "little") if value == FULL32 else value
                for value in small
            ]
            return values[0], values[1], values[2]
        at += size
    return small
