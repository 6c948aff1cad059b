"""Recipes: the ordered parts one file is put together from.

A recipe answers three questions without touching any object: how long the
file is, which bytes of which object stand at a place, and where its named
tensors lie. It knows nothing about encodings or about where objects are
kept; that is ``mvc.store``.

Layout, limits and a worked example: ``docs/formats/recipe.md``.
Public names: ``Recipe``, ``ObjectRef``, ``Part``, ``TensorEntry``, ``Span``,
``encode``, ``decode``, ``objects_in``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mvc.compatibility import FORMAT, check_format
from mvc.digest import Digest
from mvc.errors import FormatError

MAGIC = b"MVCR"
MAX_SIZE = 64 << 20

_HEADER = struct.Struct("<4sHHQIIQ")
_OBJECT = struct.Struct("<32sQ")
_PART = struct.Struct("<IIQQ")


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """An object by digest, with its plain size in bytes."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Part:
    """``size`` bytes of the file: from ``offset`` on in ``count`` objects laid end to end."""

    first: int
    count: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A named tensor: ``size`` bytes from ``offset`` on in ``count`` objects laid end to end.

    ``stride`` is ``None`` for elements in row-major order, else elements per dimension.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    first: int
    count: int
    offset: int
    size: int
    stride: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """``size`` bytes of one object, from ``offset`` on."""

    object: ObjectRef
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """A file's size, the objects it needs, its parts in order, and its tensors.

    Checked when made: parts lie within their objects and add up to ``size``.
    """

    size: int
    objects: tuple[ObjectRef, ...]
    parts: tuple[Part, ...]
    tensors: tuple[TensorEntry, ...] = ()

    def __post_init__(self) -> None:
        starts = [0]
        for ref in self.objects:
            starts.append(starts[-1] + ref.size)
        items: tuple[Part | TensorEntry, ...] = (*self.parts, *self.tensors)
        for item in items:
            last = item.first + item.count
            if (item.count < 1 and item.size) or last > len(self.objects):
                raise FormatError(f"a part names object {last - 1} of {len(self.objects)}")
            if item.offset + item.size > starts[last] - starts[item.first]:
                raise FormatError("a part reaches beyond its objects")
        if sum(part.count for part in self.parts) > len(self.objects) + len(self.parts):
            raise FormatError("the parts use objects over and over")
        if sum(part.size for part in self.parts) != self.size:
            raise FormatError(f"the parts do not add up to {self.size} bytes")

    def spans(self) -> Iterator[Span]:
        """Yield what the file consists of, in order."""
        for part in self.parts:
            yield from self.spans_of(part)

    def spans_of(self, item: Part | TensorEntry) -> Iterator[Span]:
        """Yield what one part or one tensor consists of, in order."""
        skip, left = item.offset, item.size
        for ref in self.objects[item.first : item.first + item.count]:
            if not left:
                return
            size = min(ref.size - skip, left)
            if size > 0:
                yield Span(ref, skip, size)
                left -= size
            skip = max(0, skip - ref.size)


def encode(recipe: Recipe) -> bytes:
    """Write a recipe; equal recipes give equal bytes."""
    table = json.dumps(
        [_tensor_row(tensor) for tensor in recipe.tensors],
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode("utf-8", "surrogatepass")
    counts = len(recipe.objects), len(recipe.parts)
    pieces = [_HEADER.pack(MAGIC, FORMAT, 0, recipe.size, *counts, len(table))]
    pieces += [_OBJECT.pack(ref.digest, ref.size) for ref in recipe.objects]
    pieces += [_PART.pack(p.first, p.count, p.offset, p.size) for p in recipe.parts]
    return b"".join([*pieces, table])


def decode(data: bytes | memoryview) -> Recipe:
    """Read a recipe back.

    Raises:
        FormatError: The bytes are no recipe, whatever is wrong with them.
        Unsupported: It has another format.
    """
    size, parts_at, table_at = _measures(data)
    view = memoryview(data)
    return Recipe(
        size=size,
        objects=tuple(
            ObjectRef(Digest(digest), length)
            for digest, length in _OBJECT.iter_unpack(view[_HEADER.size : parts_at])
        ),
        parts=tuple(Part(*row) for row in _PART.iter_unpack(view[parts_at:table_at])),
        tensors=_read_table(bytes(view[table_at:])),
    )


def objects_in(data: bytes | memoryview) -> list[bytes]:
    """Return the digests of the objects that a recipe names; nothing else of it is read.

    Raises:
        FormatError, Unsupported: As ``decode`` says, as far as is seen without its rows.
    """
    _, end, _ = _measures(data)
    return [digest for digest, _ in _OBJECT.iter_unpack(memoryview(data)[_HEADER.size : end])]


def _measures(data: bytes | memoryview) -> tuple[int, int, int]:
    """Return the file's size, and where in a recipe the parts and the table of tensors begin."""
    if not _HEADER.size <= len(data) <= MAX_SIZE:
        raise FormatError(f"a recipe of {len(data)} bytes is cut off or too large")
    magic, version, reserved, size, objects, parts, table = _HEADER.unpack_from(data)
    if magic != MAGIC or (reserved and version == FORMAT):
        raise FormatError("not a recipe")
    check_format(version, "a recipe")
    parts_at = _HEADER.size + objects * _OBJECT.size
    table_at = parts_at + parts * _PART.size
    if table_at + table != len(data):
        raise FormatError(f"a recipe of {len(data)} bytes claims {table_at + table}")
    return size, parts_at, table_at


def _tensor_row(tensor: TensorEntry) -> list[object]:
    place = [tensor.first, tensor.count, tensor.offset, tensor.size]
    row: list[object] = [tensor.name, tensor.dtype, tensor.shape, place]
    return row if tensor.stride is None else [*row, tensor.stride]


def _read_table(data: bytes) -> tuple[TensorEntry, ...]:
    try:
        rows = json.loads(data.decode("utf-8", "surrogatepass"))
        return tuple(_read_row(row) for row in rows)
    except (ValueError, TypeError, RecursionError) as error:
        raise FormatError(f"the table of tensors is damaged: {error}") from None


def _read_row(row: list[object]) -> TensorEntry:
    name, dtype, shape, place, *rest = row
    if not (isinstance(name, str) and isinstance(dtype, str)) or len(rest) > 1:
        raise ValueError("a row has the wrong form")
    stride = _numbers(rest[0]) if rest else None
    first, count, offset, size = _numbers(place)
    return TensorEntry(name, dtype, _numbers(shape), first, count, offset, size, stride)


def _numbers(value: object) -> tuple[int, ...]:
    if isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 64 for n in value):
        return tuple(value)
    raise ValueError("a list of numbers is something else")
