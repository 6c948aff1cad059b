"""Files in memory, and what a layout says is in them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from mvc.formats import Layout, Tensor, describe

TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
    b"X\x01\0\0\x000X\x03\0\0\0cpuK\x02tQK\0K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR"
)
"""A tensor of two float32, as torch writes it."""


@dataclass
class Bytes:
    """A source whose bytes are in memory."""

    data: bytes
    name: str = "model"

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]


def layout_of(data: bytes) -> Layout:
    """Describe ``data``, which is not to be opaque."""
    layout = describe(Bytes(data))
    assert layout is not None
    return layout


def named(layout: Layout) -> dict[str, Tensor]:
    return {tensor.name: tensor for tensor in layout.tensors}


def bytes_of(data: bytes, layout: Layout, tensor: Tensor) -> bytes:
    """Return what lies where the layout says that ``tensor`` is."""
    if tensor.storage is None:
        return b""
    start = layout.storages[tensor.storage].offset + tensor.offset
    return data[start : start + tensor.size]


def is_sound(layout: Layout, size: int) -> bool:
    """Check the promises of a layout once more, in other words than the code does."""
    ends = [storage.offset + storage.size for storage in layout.storages]
    starts = [storage.offset for storage in layout.storages]
    return (
        all(start < end for start, end in zip(starts, ends, strict=True))
        and all(end <= start for end, start in zip(ends, [*starts[1:], size], strict=False))
        and all(
            (not tensor.size if tensor.storage is None else tensor.size)
            and tensor.offset + tensor.size
            <= (0 if tensor.storage is None else layout.storages[tensor.storage].size)
            for tensor in layout.tensors
            if tensor.storage is not None or tensor.size
        )
        and len({tensor.name for tensor in layout.tensors}) == len(layout.tensors)
    )


@dataclass
class Record:
    """One entry of a zip file made by hand; what is ``None`` is as it should be."""

    name: str
    data: bytes
    method: int = 0
    flags: int = 0x0800
    local_name: str | None = None
    offset: int | None = None
    size: int | None = None
    extra: bytes = b""


def zip_of(
    records: Iterable[Record], *, count: int | None = None, zip64: tuple[int, ...] | None = None
) -> bytes:
    """Write a zip file, with whatever lies the records tell.

    ``zip64`` are the count, size and offset of the directory that a zip64 end
    record claims; without it there is none.
    """
    records, body, directory = list(records), bytearray(), bytearray()
    for record in records:
        offset = len(body) if record.offset is None else record.offset
        size = len(record.data) if record.size is None else record.size
        crc = zlib.crc32(record.data)
        local = (record.local_name or record.name).encode()
        rest = (record.flags, record.method, 0, 0, crc, size, size, len(local))
        body += struct.pack("<4s5H3L2H", b"PK\3\4", 20, *rest, 0) + local + record.data
        name = record.name.encode()
        rest = (record.flags, record.method, 0, 0, crc, size, size, len(name))
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, 20, *rest, len(record.extra), 0, 0, 0, 0, offset
        )
        directory += name + record.extra
    start, end = len(body), b""
    claimed = len(records) if count is None else count
    if zip64 is not None:
        claims = (zip64[0], zip64[0], zip64[1], zip64[2])
        end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, *claims)
        end += struct.pack("<4sLQL", b"PK\6\7", 0, start + len(directory), 1)
    end += struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, claimed, claimed, len(directory), start, 0)
    return bytes(body + directory) + end
