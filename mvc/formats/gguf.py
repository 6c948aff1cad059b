"""GGUF: the files of llama.cpp and what else is built on ggml.

A header of keys and values and one entry per tensor, then the tensors, each
at a multiple of the alignment. Values are passed over but for the alignment.
Where a type is not known, a tensor reaches to the next one.

Layout, limits and a worked example: ``docs/formats/gguf.md``.
Public names: ``matches``, ``describe``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from mvc.errors import FormatError
from mvc.formats.dtypes import MAX_DIMENSIONS, width_of
from mvc.formats.layout import Layout, Source, Storage, Tensor
from mvc.formats.reading import read_exactly

FORMAT = "gguf"
FRAMEWORK = "ggml"
MAGIC = b"GGUF"
VERSIONS = (1, 2, 3)
MAX_HEADER = 64 << 20  # how long it is is not said; a large vocabulary takes 10 MiB
MAX_VALUES = 2_000_000  # keys, text in arrays, arrays in arrays
MAX_TENSORS = 100_000  # under 0.1 GB while they are told
MAX_DEPTH = 64  # of arrays in arrays
DEFAULT_ALIGNMENT = 32
ALIGNMENT = b"general.alignment"

UINT32, TEXT, ARRAY = 4, 8, 9
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, UINT32: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value, by its type; text and arrays say theirs."""
LENGTHS = {4: struct.Struct("<I").unpack_from, 8: struct.Struct("<Q").unpack_from}

PLAIN = {
    0: "float32",
    1: "float16",
    24: "int8",
    25: "int16",
    26: "int32",
    27: "int64",
    28: "float64",
    30: "bfloat16",
}
BLOCKS = {
    2: ("q4_0", 32, 18),
    3: ("q4_1", 32, 20),
    6: ("q5_0", 32, 22),
    7: ("q5_1", 32, 24),
    8: ("q8_0", 32, 34),
    10: ("q2_k", 256, 84),
    11: ("q3_k", 256, 110),
    12: ("q4_k", 256, 144),
    13: ("q5_k", 256, 176),
    14: ("q6_k", 256, 210),
    15: ("q8_k", 256, 292),
    16: ("iq2_xxs", 256, 66),
    17: ("iq2_xs", 256, 74),
    18: ("iq3_xxs", 256, 98),
    19: ("iq1_s", 256, 50),
    20: ("iq4_nl", 32, 18),
    21: ("iq3_s", 256, 110),
    22: ("iq2_s", 256, 82),
    23: ("iq4_xs", 256, 136),
    29: ("iq1_m", 256, 56),
    34: ("tq1_0", 256, 54),
    35: ("tq2_0", 256, 66),
    39: ("mxfp4", 32, 17),
    40: ("nvfp4", 64, 36),
    41: ("q1_0", 128, 18),
}
"""Types that are kept in blocks: the word, elements of a block, bytes of a block."""


class _Cursor:
    """A place in the header; lengths take four bytes in version 1, else eight."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.length_size = 8
        self.values = 0

    def skip(self, size: int) -> int:
        """Move past ``size`` bytes and return where they begin."""
        start = self.at
        if size > len(self.data) - start:
            raise FormatError("the header ends early, or is too long")
        self.at += size
        return start

    def number(self, size: int) -> int:
        start = self.skip(size)
        return int.from_bytes(self.data[start : self.at], "little")

    def length(self) -> int:
        return self.number(self.length_size)

    def text(self) -> bytes:
        start = self.skip(self.length())
        return self.data[start : self.at]

    def name(self) -> str:
        try:
            return self.text().decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"a name that is not UTF-8: {error}") from None

    def skip_texts(self, count: int) -> None:
        """Move past texts; a vocabulary has a quarter of a million."""
        self.count_values(count)
        length_at, size, at = LENGTHS[self.length_size], self.length_size, self.at
        try:
            for _ in range(count):
                at += size + length_at(self.data, at)[0]
        except (struct.error, OverflowError):
            raise FormatError("text that leaves the header") from None
        self.skip(at - self.at)

    def count_values(self, count: int) -> None:
        self.values += count
        if self.values > MAX_VALUES:
            raise FormatError(f"a header of more than {MAX_VALUES} values")


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the header says of one tensor; ``shape`` is row-major, the slowest first."""

    name: str
    kind: int
    shape: tuple[int, ...]
    offset: int


def matches(head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` may be GGUF."""
    return head.startswith(MAGIC)


def describe(source: Source) -> Layout:
    """Return the tensors of a GGUF file, in the order of its header.

    Raises:
        FormatError: the header is of another version, big-endian, over the
            limits, or not in the file; or a tensor's shape does not fit its type.
    """
    data = read_exactly(source, 0, min(source.size, MAX_HEADER), limit=MAX_HEADER)
    entries, start = _header(_Cursor(data))
    ends = _ends(entries, source.size - start)
    storages: list[Storage] = []
    position: dict[int, int] = {}
    for index, entry in sorted(enumerate(entries), key=lambda numbered: numbered[1].offset):
        if 0 not in entry.shape:
            position[index] = len(storages)
            size = ends[index] - entry.offset
            storages.append(Storage(start + entry.offset, size, width_of(PLAIN.get(entry.kind))))
    tensors = (
        Tensor(entry.name, _dtype(entry.kind), entry.shape, position.get(index), 0, size)
        for index, entry in enumerate(entries)
        for size in [storages[position[index]].size if index in position else 0]
    )
    return Layout(FORMAT, FRAMEWORK, tuple(storages), tuple(tensors))


def _header(cursor: _Cursor) -> tuple[list[_Entry], int]:
    """Return the tensors' entries, and where the tensors begin."""
    cursor.skip(len(MAGIC))
    version = cursor.number(4)
    if version not in VERSIONS:
        raise FormatError(f"GGUF of version {version}, or big-endian")
    cursor.length_size = 4 if version == 1 else 8
    tensor_count, value_count = cursor.length(), cursor.length()
    if tensor_count > MAX_TENSORS:
        raise FormatError(f"a file of {tensor_count} tensors")
    alignment = DEFAULT_ALIGNMENT
    for _ in range(value_count):
        cursor.count_values(1)
        key, kind = cursor.text(), cursor.number(4)
        start = cursor.at
        _skip_value(cursor, kind)
        if key == ALIGNMENT:
            alignment = int.from_bytes(cursor.data[start : cursor.at], "little")
            if kind != UINT32 or alignment.bit_count() != 1:
                raise FormatError(f"an alignment of {alignment}, which is no power of two")
    entries = [_entry(cursor) for _ in range(tensor_count)]
    return entries, -(-cursor.at // alignment) * alignment


def _skip_value(cursor: _Cursor, kind: int) -> None:
    """Move past one value, however its arrays are nested; without recursion."""
    todo = [(kind, 1)]
    while todo:
        kind, count = todo.pop()
        if kind in SIZES:
            cursor.skip(SIZES[kind] * count)
        elif kind == TEXT:
            cursor.skip_texts(count)
        elif kind == ARRAY and len(todo) < MAX_DEPTH:
            if count:
                cursor.count_values(1)
                todo.append((ARRAY, count - 1))
                todo.append((cursor.number(4), cursor.length()))
        else:
            raise FormatError(f"a value of type {kind}, or arrays nested too deep")


def _entry(cursor: _Cursor) -> _Entry:
    name = cursor.name()
    dimensions = cursor.number(4)
    if dimensions > MAX_DIMENSIONS:
        raise FormatError(f"tensor {name[:80]!r} has {dimensions} dimensions")
    shape = tuple(cursor.length() for _ in range(dimensions))[::-1]
    return _Entry(name, cursor.number(4), shape, cursor.number(8))


def _ends(entries: list[_Entry], room: int) -> list[int]:
    """Return where each tensor ends; one of unknown type where the next begins."""
    ends = [entry.offset + (_size(entry) or 0) for entry in entries]
    order = sorted(range(len(entries)), key=lambda index: entries[index].offset)
    limits = [*(entries[index].offset for index in order), room]
    for index, (_, limit) in zip(order, pairwise(limits), strict=True):
        if _size(entries[index]) is None:
            ends[index] = limit
    return ends


def _size(entry: _Entry) -> int | None:
    """Return the bytes of a tensor, ``None`` where its type is not known."""
    if entry.kind in PLAIN:
        return prod(entry.shape) * width_of(PLAIN[entry.kind])
    if entry.kind not in BLOCKS:
        return None
    _, elements, size = BLOCKS[entry.kind]
    blocks, rest = divmod(entry.shape[-1] if entry.shape else 1, elements)
    if rest:
        raise FormatError(f"tensor {entry.name[:80]!r} has rows of broken blocks")
    return prod(entry.shape[:-1]) * blocks * size


def _dtype(kind: int) -> str:
    if kind in BLOCKS:
        return BLOCKS[kind][0]
    return PLAIN.get(kind, f"ggml{kind}")
