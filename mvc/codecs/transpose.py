"""Elements to planes and back: the arithmetic of the ``planes`` encoding.

An element is rotated left by one bit, then byte *k* of every element (*k* = 0
is the lowest) makes plane *k*. In the floats of IEEE 754 the sign is the
highest bit: the rotation moves it to the lowest place, next to mantissa bits
as random as itself, and leaves the highest byte to the exponent alone (all of
it in bf16 and fp32). It saves 0.4 % of fp32 and 0.8 % of bf16.

Shifts into narrow arrays run at memory speed and without the GIL; strided
copies of single bytes are two to five times slower. numpy narrows in small
buffers of its own, so a block serves to keep the elements in cache while
they are read once for every plane.

Source: the byte grouping of ZipNN, arXiv 2411.05239.
Public names: ``Bytes``, ``Elements``, ``elements``, ``split``, ``merge``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mvc.digest import Buffer

Bytes: TypeAlias = NDArray[np.uint8]
Elements: TypeAlias = NDArray[np.unsignedinteger[Any]]

BLOCK = 1 << 17
"""Elements per block: 256 KiB to 1 MiB."""


def elements(data: Buffer, width: int) -> Elements:
    """View the whole elements at the start of ``data``, shape ``(n,)``."""
    dtype = np.dtype(f"<u{width}")
    count = memoryview(data).nbytes // width
    if count < 1:
        return np.empty(0, dtype)
    return np.frombuffer(data, dtype, count)


def split(values: Elements) -> list[Bytes]:
    """Return the planes of ``values``, lowest first; ``merge`` undoes it.

    Args:
        values: Unsigned integers of ``width`` bytes, shape ``(n,)``, aligned or not.

    Returns:
        ``width`` new arrays of shape ``(n,)``.
    """
    count, width = len(values), values.dtype.itemsize
    planes = [np.empty(count, np.uint8) for _ in range(width)]
    scratch = np.empty(min(BLOCK, count), np.uint8)
    for start in range(0, count, BLOCK):
        block = values[start : start + BLOCK]
        lowest, *others = (plane[start : start + BLOCK] for plane in planes)
        # The rotation is folded into the shifts; only plane 0 sees both ends of it.
        for place, plane in enumerate(others, start=1):
            np.right_shift(block, 8 * place - 1, out=plane, casting="unsafe")
        signs = scratch[: len(block)]
        np.right_shift(block, 8 * width - 1, out=signs, casting="unsafe")
        np.left_shift(block, 1, out=lowest, casting="unsafe")
        np.bitwise_or(lowest, signs, out=lowest)
    return planes


def merge(planes: Sequence[Bytes | int], out: Elements) -> None:
    """Fill ``out`` with the elements whose planes these are, lowest plane first.

    Args:
        planes: One per byte of an element, of shape ``(n,)``, or a number
            from 0 to 255 where the whole plane is that byte.
        out: Unsigned integers of shape ``(n,)``, aligned or not.
    """
    count, width = len(out), out.dtype.itemsize
    scratch = np.empty(min(BLOCK, count), out.dtype)
    for start in range(0, count, BLOCK):
        block = out[start : start + BLOCK]
        *others, highest = (
            plane if isinstance(plane, int) else plane[start : start + BLOCK] for plane in planes
        )
        block[...] = highest
        for plane in reversed(others):
            np.left_shift(block, 8, out=block)
            np.bitwise_or(block, plane, out=block)
        rest = scratch[: len(block)]
        np.right_shift(block, 1, out=rest)
        np.left_shift(block, 8 * width - 1, out=block)
        np.bitwise_or(block, rest, out=block)
