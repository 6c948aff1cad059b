"""From what a file says of its tensors to storages that are cut like tensors.

A framework may keep several tensors in one storage. Where they lie side by
side, as flattened parameters do, the storage is divided at their bounds, so
that a tensor is cut and named alike wherever it is stored. Where they overlap
or are strided, the storage stays whole.

Public names: ``Range``, ``arrange``, ``arrange_what_fits``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

from mvc.errors import FormatError
from mvc.formats.dtypes import bits_of, is_row_major, span_of, width_of
from mvc.formats.layout import Storage, Tensor
from mvc.formats.torch_pickle import Found, StorageType


@dataclass(frozen=True, slots=True)
class Range:
    """Where a storage lies in the file."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class _Placed:
    """A tensor with its bytes in its torch storage: from ``start`` to ``end``."""

    found: Found
    start: int
    end: int
    stride: tuple[int, ...] | None


def arrange(
    ranges: Mapping[str, Range], types: Mapping[str, StorageType], tensors: Sequence[Found]
) -> tuple[tuple[Storage, ...], tuple[Tensor, ...]]:
    """Return the storages of a file in its order, and its tensors in theirs.

    Args:
        ranges: Where each storage lies, by its key.
        types: What the pickle says of them; those it does not name have width 0.
        tensors: The tensors; each key must be in ``types``.

    Raises:
        FormatError: a storage is not there, or not as large as is said of it;
            or a tensor does not lie within its storage.
    """
    for key, described in types.items():
        width = width_of(described.dtype) or 1
        if key not in ranges or ranges[key].size != described.count * width:
            raise FormatError(f"storage {key[:80]!r} is not in the file as described")
    placed = [_place(found, ranges[found.storage.key].size) for found in tensors]
    by_key: dict[str, list[_Placed]] = defaultdict(list)
    for tensor in placed:
        if tensor.end > tensor.start:
            by_key[tensor.found.storage.key].append(tensor)
    pieces: list[tuple[Storage, str, int]] = []
    for key, where in ranges.items():
        described_dtype = types[key].dtype if key in types else None
        for start, end, dtypes in _divide(by_key[key], where.size):
            width = _common_width(dtypes or {described_dtype}, end - start)
            pieces.append((Storage(where.offset + start, end - start, width), key, start))
    pieces.sort(key=lambda piece: piece[0].offset)
    position = {(key, start): index for index, (_, key, start) in enumerate(pieces)}
    return (
        tuple(storage for storage, _, _ in pieces),
        tuple(_tensor(tensor, position) for tensor in placed),
    )


def arrange_what_fits(
    ranges: Mapping[str, Range], types: Mapping[str, StorageType], tensors: Sequence[Found]
) -> tuple[tuple[Storage, ...], tuple[Tensor, ...]]:
    """Arrange what fits together: all, else the types without tensors, else mere bytes."""
    with suppress(FormatError):
        return arrange(ranges, types, tensors)
    with suppress(FormatError):
        return arrange(ranges, types, ())
    return arrange(ranges, {}, ())


def _place(found: Found, room: int) -> _Placed:
    if len(found.shape) != len(found.stride):
        raise FormatError(f"tensor {found.name[:80]!r} has other strides than dimensions")
    row_major = is_row_major(found.shape, found.stride)
    if 0 in found.shape:
        return _Placed(found, 0, 0, None)
    stride = None if row_major else found.stride
    width, rest = divmod(bits_of(found.dtype) or 0, 8)
    if width and not rest:
        start = found.offset * width
        end = start + span_of(found.shape, stride) * width
    elif found.offset == 0:  # a type we do not know: all there is
        start, end = 0, room
    else:
        raise FormatError(f"tensor {found.name[:80]!r} begins inside a storage of unknown type")
    if min(found.shape, default=0) < 0 or min(found.stride, default=0) < 0 or end > room:
        raise FormatError(f"tensor {found.name[:80]!r} leaves its storage of {room} bytes")
    return _Placed(found, start, end, stride)


def _divide(placed: Sequence[_Placed], size: int) -> Iterable[tuple[int, int, set[str | None]]]:
    """Yield the pieces of a storage: start, end and the types of the tensors there."""
    pieces: dict[tuple[int, int], set[str | None]] = {}
    for tensor in placed:
        pieces.setdefault((tensor.start, tensor.end), set()).add(tensor.found.dtype)
    bounds = sorted(pieces)
    strided = any(tensor.stride is not None for tensor in placed)
    if strided or any(before[1] > after[0] for before, after in pairwise(bounds)):
        yield 0, size, set().union(*pieces.values())
        return
    at = 0
    for start, end in [*bounds, (size, size)]:
        if start > at:
            yield at, start, set()
        if end > start:
            yield start, end, pieces[start, end]
        at = end


def _common_width(dtypes: Iterable[str | None], size: int) -> int:
    widths = {width_of(dtype) for dtype in dtypes}
    width = widths.pop() if len(widths) == 1 else 0
    return 0 if width and size % width else width


def _tensor(placed: _Placed, position: Mapping[tuple[str, int], int]) -> Tensor:
    found = placed.found
    size = placed.end - placed.start
    if not size:
        return Tensor(found.name, found.dtype, found.shape, None, 0, 0)
    key = found.storage.key
    index = position.get((key, placed.start))
    offset = 0
    if index is None or placed.stride is not None:
        index, offset = position[key, 0], placed.start
    return Tensor(found.name, found.dtype, found.shape, index, offset, size, placed.stride)
