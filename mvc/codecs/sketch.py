"""Sketches: which objects are alike, told from a few bytes of each.

What was trained a little further keeps nearly all its signs, and so does a
cast; of weights that have nothing to do with each other every second differs.
A sketch is the signs of some elements, at places which their number alone
tells. Sketches that agree in one of many bands are compared, others never: so
it takes no comparison of all with all, and one that is near is hardly missed.

Source: locality-sensitive hashing by bands, Indyk and Motwani 1998.
Public names: ``make``, ``length_class``, ``Sketches``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mvc.codecs.transpose import Bytes, elements
from mvc.digest import Buffer

WINDOWS = 8
WINDOW = 64
BITS = WINDOWS * WINDOW

FEWEST_ELEMENTS = 2 * BITS

ONE_SIGN = BITS * 3 // 4
"""Where so many signs are the same they say little: all that is positive would look alike."""

FAR = BITS // 8
"""Signs that may differ. Where more do a delta saves nothing: the change is near the weights."""

BAND = np.dtype("<u2")
BANDS = BITS // 8 // BAND.itemsize

MOST_OF_A_BAND = 64
"""How many that agree in a band are compared; the first come first."""

_SIZE = 1 + BITS // 8


def make(data: Buffer, width: int) -> bytes | None:
    """Return the length class and the signs; ``None`` where they would say nothing.

    Args:
        data: Plain bytes.
        width: Bytes per element.
    """
    if width not in (1, 2, 4, 8):
        return None
    values = elements(data, width)
    if len(values) < FEWEST_ELEMENTS:
        return None
    length = length_class(memoryview(data).nbytes, width)
    spare = (1 << length) - WINDOW
    starts = [spare * window // (WINDOWS - 1) for window in range(WINDOWS)]
    some = np.concatenate([values[start : start + WINDOW] for start in starts])
    signs = (some >> (8 * width - 1)).astype(np.uint8)
    if not BITS - ONE_SIGN <= int(signs.sum()) <= ONE_SIGN:
        return None
    return bytes([length]) + np.packbits(signs).tobytes()


def length_class(size: int, width: int) -> int:
    """Return the power of two that the number of elements has; only within one are any alike."""
    return max(0, (size // max(1, width)).bit_length() - 1)


class Sketches:
    """Sketches in which those near to another are found."""

    def __init__(self, sketches: Sequence[bytes]) -> None:
        self._rows = np.frombuffer(b"".join(sketches), np.uint8).reshape(-1, _SIZE)
        keys = _keys(self._rows).ravel()
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._owners = (order // BANDS).astype(np.uint32)

    def near(self, sketch: bytes) -> list[int]:
        """Return the places of those near to a sketch, the nearest first."""
        row = np.frombuffer(sketch, np.uint8)
        keys = _keys(row.reshape(1, _SIZE)).ravel()
        first = np.searchsorted(self._keys, keys, "left")
        last = np.minimum(np.searchsorted(self._keys, keys, "right"), first + MOST_OF_A_BAND)
        agreeing = [self._owners[a:b] for a, b in zip(first, last, strict=True)]
        found = np.unique(np.concatenate(agreeing))
        differing = np.unpackbits(self._rows[found] ^ row, axis=1).sum(axis=1)
        order = np.argsort(differing, kind="stable")
        return [int(found[at]) for at in order if differing[at] <= FAR]


def _keys(rows: Bytes) -> NDArray[np.uint32]:
    """Return a number for each band of each row: length class, place and signs."""
    bands = np.ascontiguousarray(rows[:, 1:]).view(BAND).astype(np.uint32)
    places = np.arange(BANDS, dtype=np.uint32) << np.uint32(16)
    lengths = rows[:, :1].astype(np.uint32) << np.uint32(24)
    keys: NDArray[np.uint32] = bands | places | lengths
    return keys
