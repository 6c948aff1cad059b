"""Floats: a number of numpy, torch or another library as the decimal it was meant to be.

Public names: ``float_of``.
"""

from __future__ import annotations

import struct
from typing import Any

# What a float of so few bits is packed as, and how many decimal digits tell it from all others.
_NARROW = {"float16": ("<e", 5), "float32": ("<f", 9)}


def float_of(value: Any) -> float:
    """Return a number as a float; of 16 or 32 bits, the shortest decimal that is the same there.

    So 0.92 in float32 is 0.92, as numpy prints it, and not 0.9200000166893005.
    Whole numbers stay as they are: a count is exact.

    Raises:
        TypeError, ValueError, RuntimeError, OverflowError: It is no single number.
    """
    detach = getattr(value, "detach", None)  # of a loss that has its graph, torch warns else
    number = float(detach() if callable(detach) else value)
    if number.is_integer():
        return number
    dtype = getattr(value, "dtype", None)
    kind = getattr(dtype, "name", None) or str(dtype).rpartition(".")[2]
    layout, most_digits = _NARROW.get(kind, ("", 0))
    for digits in range(1, most_digits + 1):
        decimal = float(f"{number:.{digits}g}")
        if struct.unpack(layout, struct.pack(layout, decimal))[0] == number:
            return decimal
    return number
