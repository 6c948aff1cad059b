"""ONNX: a model as one protobuf message, its weights among the graph.

The message is walked field by field, and most fields are passed over; of the
weights only their names, types and shapes are read. A file is taken for ONNX
if it is one message from its first byte to its last and has a graph.

Layout, limits and a worked example: ``docs/formats/onnx.md``.
Public names: ``matches``, ``describe``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

from mvc.errors import FormatError
from mvc.formats.dtypes import MAX_DIMENSIONS, width_of
from mvc.formats.layout import Layout, Source, Storage, Tensor
from mvc.formats.reading import read_exactly

FORMAT = "onnx"
FRAMEWORK = "onnx"
MAX_FIELDS = 1_000_000
MAX_TENSORS = 100_000  # under 0.1 GB while they are told
MAX_NAME = 4096
MAX_SIZE = 1 << 31  # protobuf's own; larger models keep their weights in other files
MAX_IR_VERSION = 32
BLOCK_SIZE = 4096
MAX_VARINT = 10

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MODEL_GRAPH = 7
GRAPH_INITIALIZER, GRAPH_SPARSE_INITIALIZER = 5, 15
DIMS, DATA_TYPE, NAME, EXTERNAL_DATA = 1, 2, 8, 13
KEY, VALUE = 1, 2
DATA = {9: "raw_data", 4: "float_data", 10: "double_data"}
"""Fields of a tensor whose bytes are the elements, little-endian, one after the other."""

TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
    24: "float8_e8m0fnu",
}


@dataclass(frozen=True, slots=True)
class _Field:
    """A field: ``value`` of a number, otherwise the ``size`` bytes at ``start``."""

    number: int
    kind: int
    value: int
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(slots=True)
class _Initializer:
    """What is said of one weight; ``data`` are the fields with its elements.

    If they are in another file, ``elsewhere`` is what that is called.
    """

    name: str = ""
    type: int = 0
    shape: list[int] = field(default_factory=list)
    data: list[_Field] = field(default_factory=list)
    elsewhere: str = ""


class _Message:
    """The file as a protobuf message, read in blocks as far as it is looked at."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.block = b""
        self.block_at = 0
        self.count = 0

    def fields(self, at: int, end: int) -> Iterator[_Field]:
        """Yield the fields of the message from ``at`` to ``end``, which they must fill."""
        while at < end:
            self.count += 1
            if self.count > MAX_FIELDS:
                raise FormatError(f"a model of more than {MAX_FIELDS} fields")
            tag, at = self.varint(at, end)
            number, kind = tag >> 3, tag & 7
            value = size = 0
            if kind == VARINT:
                value, at = self.varint(at, end)
            elif kind == BYTES:
                size, at = self.varint(at, end)
            elif kind in (FIXED32, FIXED64):
                size = 4 if kind == FIXED32 else 8
            else:
                raise FormatError(f"a field of kind {kind}")
            if not number or size > end - at:
                raise FormatError(f"a field of {size} bytes at {at} that ends after {end}")
            yield _Field(number, kind, value, at, size)
            at += size

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """Return the number at ``at``, and where it ends."""
        if not self.block_at <= at <= self.block_at + len(self.block) - MAX_VARINT:
            size = min(BLOCK_SIZE, self.source.size - at)
            self.block = read_exactly(self.source, at, size, limit=BLOCK_SIZE)
            self.block_at = at
        number = 0
        for place, byte in enumerate(self.block[at - self.block_at :][:MAX_VARINT]):
            number |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                if at + place >= end:
                    break
                return number, at + place + 1
        raise FormatError(f"no number at {at}")

    def text(self, found: _Field) -> str:
        """Return what a field says."""
        raw = read_exactly(self.source, found.start, found.size, limit=MAX_NAME)
        return raw.decode(errors="backslashreplace")

    def varints(self, found: _Field) -> Iterator[int]:
        """Yield the numbers of a field that may be one or, packed, many."""
        if found.kind == VARINT:
            yield found.value
            return
        at = found.start
        while at < found.end:
            number, at = self.varint(at, found.end)
            yield number


def matches(head: bytes) -> bool:
    """Tell whether a file may begin so: with the version of the format as the first field."""
    return len(head) > 2 and head[0] == 8 and 1 <= head[1] <= MAX_IR_VERSION


def describe(source: Source) -> Layout:
    """Return the initializers of the graph, in its order.

    If one of them is not understood, or kept otherwise, no tensor is told.

    Raises:
        FormatError: the file is not one message with one graph, or is over
            the limits.
    """
    if source.size > MAX_SIZE:
        raise FormatError(f"a message of {source.size} bytes")
    message = _Message(source)
    graphs = [
        found
        for found in message.fields(0, source.size)
        if found.number == MODEL_GRAPH and found.kind == BYTES
    ]
    if len(graphs) != 1:
        raise FormatError(f"a message with {len(graphs)} graphs")
    found, is_clear = _initializers(message, graphs[0])
    storages: list[Storage] = []
    tensors: list[Tensor] = []
    for one in found:
        dtype = TYPES.get(one.type, f"onnx{one.type}")
        data = [part for part in one.data if part.size]
        is_clear &= len(data) == (0 if 0 in one.shape else 1)
        index = len(storages) if data else None
        size = sum(part.size for part in data)
        storages += [Storage(part.start, part.size, _width(dtype, part.size)) for part in data]
        tensors.append(Tensor(one.name, dtype, tuple(one.shape), index, 0, size))
    is_clear &= all(_is_whole(tensor) for tensor in tensors)
    elsewhere = frozenset(one.elsewhere for one in found if one.elsewhere)
    told = tuple(tensors) if is_clear else ()
    return Layout(FORMAT, FRAMEWORK, tuple(storages), told, elsewhere=elsewhere)


def _initializers(message: _Message, graph: _Field) -> tuple[list[_Initializer], bool]:
    """Return the weights of a graph, and whether they are all that it has."""
    found: list[_Initializer] = []
    is_clear = True
    for part in message.fields(graph.start, graph.end):
        if part.number == GRAPH_INITIALIZER and part.kind == BYTES:
            if len(found) == MAX_TENSORS:
                raise FormatError(f"a graph of more than {MAX_TENSORS} weights")
            found.append(_initializer(message, part))
        is_clear &= part.number != GRAPH_SPARSE_INITIALIZER
    return found, is_clear


def _initializer(message: _Message, tensor: _Field) -> _Initializer:
    one = _Initializer()
    for part in message.fields(tensor.start, tensor.end):
        if part.number == DIMS:
            one.shape.extend(message.varints(part))
        elif part.number == DATA_TYPE:
            one.type = part.value
        elif part.number == NAME and part.kind == BYTES:
            one.name = message.text(part)
        elif part.number == EXTERNAL_DATA and part.kind == BYTES:
            one.elsewhere = _location(message, part) or one.elsewhere
        elif part.number in DATA and part.kind == BYTES:
            one.data.append(part)
        if len(one.shape) > MAX_DIMENSIONS:
            raise FormatError(f"tensor {one.name[:80]!r} has more than {MAX_DIMENSIONS} dimensions")
    return one


def _location(message: _Message, entry: _Field) -> str | None:
    """Return the name of the other file, if this entry of a tensor says it."""
    said = {part.number: part for part in message.fields(entry.start, entry.end)}
    if {KEY, VALUE} <= said.keys() and message.text(said[KEY]) == "location":
        return message.text(said[VALUE])
    return None


def _width(dtype: str, size: int) -> int:
    width = width_of(dtype)
    return 0 if width and size % width else width


def _is_whole(tensor: Tensor) -> bool:
    """Tell whether a tensor has the bytes that its type and shape ask for, if they are known."""
    width = width_of(tensor.dtype)
    return not width or prod(tensor.shape) * width == tensor.size
