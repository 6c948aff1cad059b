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
``Reader``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


def apply(residual: Elements, predicted: Elements) -> Elements:
    """Return the elements with these folded differences to ``predicted``."""
    one = residual.dtype.type(1)
    signs: Elements = residual & one
    np.negative(signs, out=signs)
    signs ^= residual >> one
    signs += predicted
    return signs


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
    bounds = np.unique(np.sort(keys)[ranks])
    table = np.zeros((len(bounds) + 1, 65))
    np.add.at(table, (np.searchsorted(bounds, keys, side="right"), lengths), 1)
    table /= len(keys)
    apart = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True)
    there = table > 0
    saved = float((table[there] * np.log2(table[there] / apart[there])).sum())
    return bounds.tobytes() if saved >= _GROUPED * float(lengths.mean() + 1) else b""


def lay(residual: Elements, predicted: Elements, bounds: bytes) -> Layers:
    """Lay ``residual`` out in layers, grouped by ``bounds`` where there are any."""
    layers: list[tuple[Section, ...]] = []
    counts = np.array([len(residual)])
    for place in range(residual.dtype.itemsize):
        left = residual >> residual.dtype.type(8 * place)
        live = left != 0
        count = int(np.count_nonzero(live))
        if not count:
            break
        mask = sections.constant(_ALL)
        if count < _MASKED * len(live):
            packed = np.packbits(live, bitorder="little")
            mask = sections.keep(packed, Effort.BYTES, Effort.MATCHES)
            chosen = np.flatnonzero(live)
            residual, left = residual[chosen], left[chosen]
            counts = _left_of(counts, live)
            predicted = predicted[chosen] if not place else predicted
        if not place and bounds:
            order, counts = _grouped(predicted, bounds)
            residual, left = residual[order], left[order]
        plane = left.astype(np.uint8)
        ends = np.cumsum(counts)
        groups = [plane[end - n : end] for n, end in zip(counts, ends, strict=True)]
        layers.append((mask, *map(_kept, groups)))
    return Layers(bounds if layers else b"", tuple(layers))


class Reader:
    """Puts residuals back together, layer by layer.

    Args:
        predicted: The predicted elements, shape ``(n,)``.
        bounds: The thresholds between groups.
        section: Returns the next section of so many bytes; a constant as a number.
    """

    def __init__(
        self, predicted: Elements, bounds: bytes, section: Callable[[int], Bytes | int]
    ) -> None:
        self._predicted = predicted
        self._bounds = bounds
        self._section = section
        self._counts = np.array([len(predicted)])
        self._chosen: NDArray[np.intp] | None = None
        self.residual = np.zeros(len(predicted), predicted.dtype)

    def take(self, place: int) -> None:
        """Read the layer of byte ``place``."""
        total = int(self._counts.sum())
        mask = self._section(-(-total // 8))
        if not isinstance(mask, int):
            live = np.unpackbits(mask, count=total, bitorder="little").view(np.bool_)
            kept = np.flatnonzero(live)
            self._counts = _left_of(self._counts, live)
            self._chosen = kept if self._chosen is None else self._chosen[kept]
        elif mask != _ALL:
            raise FormatError(f"a mask is {mask:#x} over and over")
        if not place and self._bounds:
            of = self._predicted if self._chosen is None else self._predicted[self._chosen]
            order, self._counts = _grouped(of, self._bounds)
            self._chosen = order if self._chosen is None else self._chosen[order]
        plane = np.empty(int(self._counts.sum()), self.residual.dtype)
        at = 0
        for count in map(int, self._counts):
            plane[at : at + count] = self._section(count)
            at += count
        plane <<= 8 * place
        if self._chosen is None:
            self.residual |= plane
        else:
            self.residual[self._chosen] |= plane


def _left_of(counts: NDArray[np.intp], live: NDArray[np.generic]) -> NDArray[np.intp]:
    """Return how many elements of each group are live."""
    ends = np.cumsum(counts)
    groups = [live[end - count : end] for count, end in zip(counts, ends, strict=True)]
    return np.array([np.count_nonzero(group) for group in groups])


def _grouped(predicted: Elements, bounds: bytes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the order that brings groups together, and the size of each."""
    steps = np.zeros(256, np.uint8)
    for bound in bounds:
        steps[bound:] += 1
    groups = steps[_keys(predicted)]
    return np.argsort(groups, kind="stable"), np.bincount(groups, minlength=len(bounds) + 1)


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
