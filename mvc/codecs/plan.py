"""Plans: what the samples of some bytes say about their planes.

A plan is made from a few windows of the data, at a twentieth of the cost of
encoding it. It says which planes are worth compressing, and predicts the
size of the payload. It may be wrong: that costs compression, never
correctness.

Public names: ``Plan``, ``make``, ``windows``, ``sample``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvc.codecs import zstd
from mvc.codecs.transpose import Bytes, Elements, elements, split
from mvc.codecs.zstd import Effort

WINDOWS = 4
WINDOW = 4096
"""Elements per window."""

KEEP = 0.97
"""A plane is compressed if that leaves no more than this part of it."""

WORTH = 0.95
"""A search for matches is five times slower, and has to save at least the rest of this."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to lay out some bytes as planes.

    ``efforts`` has an entry per plane, lowest first: how to compress it,
    ``None`` to keep it raw. ``constant`` holds the planes whose sample is a
    single byte, which the encoder has to confirm. ``size`` is the predicted
    payload, in bytes.
    """

    width: int
    efforts: tuple[Effort | None, ...]
    constant: frozenset[int]
    size: int

    @property
    def plain_mantissa(self) -> bool:
        """Whether only the highest plane compresses, as in dense weights."""
        return not self.constant and not any(self.efforts[:-1])


def make(data: memoryview, width: int) -> Plan:
    """Sample ``data`` and plan its planes of ``width`` (2, 4 or 8) bytes per element."""
    values = elements(data, width)
    efforts: list[Effort | None] = []
    constant = set()
    size = data.nbytes - values.nbytes
    for place, plane in enumerate(split(sample(values))):
        if len(plane) and plane.min() == plane.max():
            constant.add(place)
            efforts.append(Effort.MATCHES)  # in case that there are exceptions
            size += 1
            continue
        ratio, effort = _measure(plane)
        efforts.append(effort if ratio <= KEEP else None)
        size += int(len(values) * min(ratio, 1.0))
    return Plan(width, tuple(efforts), frozenset(constant), size)


def _measure(plane: Bytes) -> tuple[float, Effort]:
    """Return the ratio that a plane's sample promises, and the effort it takes."""
    alone = zstd.ratio(plane.data, Effort.BYTES)
    if zstd.ratio(plane.data, Effort.SKIM) <= KEEP:
        matched = zstd.ratio(plane.data, Effort.MATCHES)
        if matched < WORTH * alone:
            return matched, Effort.MATCHES
    return alone, Effort.BYTES


def windows(count: int) -> list[slice]:
    """Return evenly spread windows over ``count`` elements; one over all where they are few."""
    if count <= WINDOWS * WINDOW:
        return [slice(0, count)]
    spare = count - WINDOW
    starts = [spare * (2 * window + 1) // (2 * WINDOWS) for window in range(WINDOWS)]
    return [slice(start, start + WINDOW) for start in starts]


def sample(values: Elements) -> Elements:
    """Return up to ``WINDOWS * WINDOW`` elements, from evenly spread windows."""
    return np.concatenate([values[window] for window in windows(len(values))])
