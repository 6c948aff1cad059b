"""Residuals: what lies between elements and their prediction, in layers.

The residual of an element is the difference of the two bit patterns, taken
as unsigned integers modulo their range, and folded so that small differences
of either sign are small numbers: 0, -1, 1, -2, … become 0, 1, 2, 3, … For two
floats of one sign that is the count of floats between them, away from zero
or towards it; weights that decay all go the same way.

Residuals are kept byte by byte, the lowest first, and each layer keeps only
elements that have anything left: a mask says which. So an element that did
not change costs a bit of the first mask, or less, as masks of frozen rows
and of unused taps repeat; and the few that changed much do not cost the
others a byte. Elements of a layer may be grouped by the size of what was
predicted: a small weight moves by more floats than a large one, and apart
they compress better.

Layout: ``docs/formats/encodings.md``.
Public names: ``Layers``, ``MOST_GROUPS``, ``residual_of``, ``apply``, ``thresholds``, ``lay``,
``read``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mvc.codecs import sections
from mvc.codecs.sections import Kind, Section
from mvc.codecs.transpose import Bytes, Elements
from mvc.codecs.zstd import Effort
from mvc.errors import FormatError

MOST_GROUPS = 8

_MASKED = 0.98
"""A mask is kept if fewer than this part of the elements have anything left."""

_GROUPED = 0.04
"""Groups must promise to save this part: they take a sort, there and back."""

_PROBE = 16 << 10
"""Bytes of a section that tell whether it compresses at all."""

_LENGTHS = 65
"""How many lengths in bits a residual of eight bytes may have."""

_ALL = 0xFF


@dataclass(frozen=True, slots=True)
class Layers:
    """Residuals laid out: thresholds between groups, and per layer a mask and a plane a group."""

    thresholds: bytes
    layers: tuple[tuple[Section, ...], ...]

    @property
    def size(self) -> int:
        """The bytes of bodies and entries."""
        parts = [section for layer in self.layers for section in layer]
        return sum(len(body) + sections.ENTRY.size for _, body in parts)


def residual_of(values: Elements, predicted: Elements) -> Elements:
    """Return the folded differences, shape ``(n,)``; ``apply`` undoes it."""
    difference: Elements = values - predicted
    signs = difference.view(f"<i{values.dtype.itemsize}") >> (8 * values.dtype.itemsize - 1)
    difference <<= 1
    difference ^= signs.view(difference.dtype)
    return difference


def apply(residual: Elements, predicted: Elements, out: Elements) -> None:
    """Fill ``out`` with the elements that have these folded differences to ``predicted``."""
    np.bitwise_and(residual, 1, out=out)
    np.negative(out, out=out)
    residual >>= 1
    out ^= residual
    out += predicted


def thresholds(residual: Elements, predicted: Elements) -> bytes:
    """Return the bounds between groups that a sample is worth, none if it is not.

    What is measured is how much the size of a prediction tells about the
    length, in bits, of the residual: their mutual information.
    """
    moved = residual != 0
    keys, lengths = _keys(predicted[moved]), _lengths(residual[moved])
    if len(keys) < 1024:
        return b""
    ranks = np.arange(1, MOST_GROUPS) * len(keys) // MOST_GROUPS
    bounds = np.unique(np.searchsorted(np.cumsum(np.bincount(keys)), ranks, side="right"))
    cells = np.searchsorted(bounds, keys, side="right") * _LENGTHS + lengths
    counts = np.bincount(cells, minlength=(len(bounds) + 1) * _LENGTHS)
    table = counts.reshape(-1, _LENGTHS) / len(keys)
    apart = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True)
    there = table > 0
    saved = float((table[there] * np.log2(table[there] / apart[there])).sum())
    return bytes(bounds.tolist()) if saved >= _GROUPED * float(lengths.mean() + 1) else b""


def lay(residual: Elements, predicted: Elements, bounds: bytes) -> Layers:
    """Lay ``residual`` out in layers, grouped by ``bounds`` where there are any."""
    layers: list[tuple[Section, ...]] = []
    counts = np.array([len(residual)])
    for place in range(residual.dtype.itemsize):
        live = residual >= residual.dtype.type(1 << 8 * place)
        count = int(np.count_nonzero(live))
        if not count:
            break
        mask = sections.constant(_ALL)
        if count < _MASKED * len(live):
            packed = np.packbits(live, bitorder="little")
            mask = sections.keep(packed, Effort.BYTES, Effort.MATCHES)
            chosen = np.flatnonzero(live)
            residual = residual.take(chosen)
            counts = _left_of(counts, live)
            predicted = predicted.take(chosen) if bounds and not place else predicted
        if bounds and not place:
            order, counts = _grouped(predicted, bounds)
            residual = residual.take(order)
        plane = (residual >> residual.dtype.type(8 * place)).astype(np.uint8)
        ends = np.cumsum(counts)
        groups = [plane[end - n : end] for n, end in zip(counts, ends, strict=True)]
        layers.append((mask, *map(_kept, groups)))
    return Layers(bounds if layers else b"", tuple(layers))


def read(
    predicted: Elements, bounds: bytes, layers: int, section: Callable[[int], Bytes | int]
) -> Elements:
    """Return the residual that was laid out, shape ``(n,)``.

    Args:
        predicted: The predicted elements, shape ``(n,)``.
        bounds: The thresholds between groups.
        layers: How many there are.
        section: Returns the next section of so many bytes; a constant as a number.

    Raises:
        FormatError: A mask is of one byte, and that does not say all.
    """
    counts = np.array([len(predicted)])
    found: list[tuple[Elements, NDArray[np.intp] | None]] = []
    for place in range(layers):
        total = int(counts.sum())
        mask = section(-(-total // 8))
        chosen = None
        if not isinstance(mask, int):
            live = np.unpackbits(mask, count=total, bitorder="little").view(np.bool_)
            chosen, counts = np.flatnonzero(live), _left_of(counts, live)
        elif mask != _ALL:
            raise FormatError(f"a mask is {mask:#x} over and over")
        if bounds and not place:
            of = predicted if chosen is None else predicted.take(chosen)
            order, counts = _grouped(of, bounds)
            chosen = order if chosen is None else chosen.take(order)
        found.append((_plane(counts, section, predicted.dtype), chosen))
    for (below, _), (above, chosen) in reversed(list(pairwise(found))):
        above <<= 8
        if chosen is None:
            below |= above
        else:
            below[chosen] |= above
    if found and found[0][1] is None:
        return found[0][0]
    residual = np.zeros(len(predicted), predicted.dtype)
    for lowest, chosen in found[:1]:
        residual[chosen] = lowest
    return residual


def _plane(
    counts: NDArray[np.intp], section: Callable[[int], Bytes | int], dtype: np.dtype[np.generic]
) -> Elements:
    """Return the bytes of all groups of a layer, one after the other, as elements."""
    plane: Elements = np.empty(int(counts.sum()), dtype)
    at = 0
    for count in map(int, counts):
        plane[at : at + count] = section(count)
        at += count
    return plane


def _left_of(counts: NDArray[np.intp], live: NDArray[np.generic]) -> NDArray[np.intp]:
    """Return how many elements of each group are live."""
    ends = np.cumsum(counts)
    groups = [live[end - count : end] for count, end in zip(counts, ends, strict=True)]
    return np.array([np.count_nonzero(group) for group in groups])


def _grouped(predicted: Elements, bounds: bytes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the order that brings groups together, and the size of each."""
    keys = _keys(predicted)
    groups = np.zeros(len(keys), np.uint8)
    for bound in bounds:
        groups += (keys >= bound).view(np.uint8)
    counts = [np.count_nonzero(groups == group) for group in range(len(bounds) + 1)]
    return np.argsort(groups, kind="stable"), np.array(counts)


def _keys(predicted: Elements) -> Bytes:
    """Return the eight bits below the sign: of a bf16 or fp32 the exponent."""
    shift = 8 * predicted.dtype.itemsize - 9
    return ((predicted >> shift) if shift > 0 else (predicted << 1)).astype(np.uint8)


def _lengths(residual: Elements) -> NDArray[np.intp]:
    """Return the length of each number in bits."""
    return np.frexp(residual.astype(np.float64))[1].astype(np.intp)


def _kept(plane: Bytes) -> Section:
    if len(plane) and plane[0] == plane[-1] and bool((plane == plane[0]).all()):
        return sections.constant(int(plane[0]))
    middle = max(0, (len(plane) - _PROBE) // 2)
    probe = plane[middle : middle + _PROBE]
    if len(plane) > 4 * _PROBE and sections.keep(probe, Effort.BYTES)[0] is Kind.RAW:
        return Kind.RAW, plane.data
    return sections.keep(plane, Effort.BYTES)
