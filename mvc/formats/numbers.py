"""Numbers: the elements of a tensor as float64, and how far two tensors are apart.

Public names: ``Array``, ``Statistics``, ``are_numbers``, ``compare``, ``as_array``, ``row_major``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mvc.digest import Buffer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]
    Numbers: TypeAlias = NDArray[np.float64]

_PLAIN = {
    "bool": "u1", "uint8": "u1", "int8": "i1", "uint16": "u2", "int16": "i2", "uint32": "u4",
    "int32": "i4", "uint64": "u8", "int64": "i8", "float16": "f2", "float32": "f4",
    "float64": "f8", "complex32": "f2", "complex64": "f4", "complex128": "f8",
}  # fmt: skip
_BIG = ".big"


@dataclass(frozen=True, slots=True)
class Statistics:
    """How far the elements *b* of one tensor are from the elements *a* of another.

    ``share`` of the elements differ. ``largest`` and ``mean`` are of |b - a|,
    ``relative`` is the norm of b - a by that of a, ``cosine`` that of the angle
    between them; ``None`` where a norm is 0. Elements that are NaN or infinite
    on a side, ``not_finite``, count for ``share`` only; NaN equals NaN.
    """

    elements: int
    share: float
    largest: float
    mean: float
    relative: float | None
    cosine: float | None
    not_finite: int


def are_numbers(dtype: str) -> bool:
    """Say whether elements of a type are numbers that can be compared."""
    return dtype.removesuffix(_BIG) in (*_PLAIN, "bfloat16", "float8_e5m2", "float8_e4m3fn")


def compare(blocks: Iterable[tuple[Buffer, Buffer]], dtypes: tuple[str, str]) -> Statistics:
    """Compare two tensors of as many elements, given in pairs of blocks of as many elements.

    Args:
        dtypes: The words for their types, both of which ``are_numbers``.
    """
    count = differing = lost = 0
    largest = total = 0.0
    squares = [0.0, 0.0, 0.0, 0.0]  # of b - a, of a, of b; and a times b
    with np.errstate(all="ignore"):
        for pair in blocks:
            a, b = (_numbers(data, dtype) for data, dtype in zip(pair, dtypes, strict=True))
            count += a.size
            differing += int(np.count_nonzero((a != b) & ~(np.isnan(a) & np.isnan(b))))
            finite = np.isfinite(a) & np.isfinite(b)
            if not finite.all():
                lost += a.size - int(np.count_nonzero(finite))
                a, b = a[finite], b[finite]
            apart = np.abs(b - a)
            largest = max(largest, float(apart.max(initial=0.0)))
            total += float(apart.sum())
            for place, (one, other) in enumerate(((apart, apart), (a, a), (b, b), (a, b))):
                squares[place] += float(np.dot(one, other))
    norms = math.sqrt(squares[1]) * math.sqrt(squares[2])
    return Statistics(
        elements=count,
        share=differing / count if count else 0.0,
        largest=largest,
        mean=total / (count - lost) if count > lost else 0.0,
        relative=math.sqrt(squares[0] / squares[1]) if squares[1] else None,
        cosine=squares[3] / norms if norms else None,
        not_finite=lost,
    )


def as_array(
    data: Buffer, dtype: str, shape: tuple[int, ...], stride: tuple[int, ...] | None
) -> Array | None:
    """Return elements as an array of its own; ``None`` where they are no numbers of numpy.

    Where numpy lacks the type it is float32, which has all values of smaller floats.

    Args:
        data: The bytes from the first element to the last.
        stride: As of ``row_major``.
    """
    if not are_numbers(dtype):
        return None
    word, order = dtype.removesuffix(_BIG), ">" if dtype.endswith(_BIG) else "<"
    flat: Array
    if word == "complex32":
        return None
    if word in _PLAIN:
        kind = {"bool": "?", "complex64": "c8", "complex128": "c16"}.get(word, _PLAIN[word])
        read = np.frombuffer(data, order + kind)
        flat = read.astype(read.dtype.newbyteorder("="))
    else:
        flat = _numbers(data, dtype).astype("f4")
    if stride is None:
        return flat.reshape(shape)
    steps = [step * flat.itemsize for step in stride]
    array: Array = np.lib.stride_tricks.as_strided(flat, shape, steps).copy()
    return array


def row_major(
    data: Buffer, width: int, shape: tuple[int, ...], stride: tuple[int, ...] | None
) -> Buffer:
    """Return the elements of a view one after the other, the last dimension fastest.

    Args:
        data: The bytes from the first element to the last.
        width: Bytes of an element.
        stride: Elements from one to the next, per dimension; ``None``: as asked for already.
    """
    if stride is None:
        return data
    elements = np.frombuffer(data, f"V{width}")
    steps = [step * width for step in stride]
    view = np.lib.stride_tricks.as_strided(elements, shape, steps, writeable=False)
    return np.ascontiguousarray(view).tobytes()


def _numbers(data: Buffer, dtype: str) -> Numbers:
    word = dtype.removesuffix(_BIG)
    order = ">" if dtype.endswith(_BIG) else "<"
    if word in _PLAIN:
        return np.frombuffer(data, order + _PLAIN[word]).astype("f8")
    if word == "bfloat16":
        wide = np.frombuffer(data, f"{order}u2").astype("<u4") << 16
        return wide.view("<f4").astype("f8")
    small: Array = np.frombuffer(data, "u1")
    if word == "float8_e5m2":
        return (small.astype("<u2") << 8).view("<f2").astype("f8")
    numbers: Numbers = _E4M3[small]
    return numbers


def _e4m3(bits: int) -> float:
    sign = -1.0 if bits & 0x80 else 1.0
    exponent, fraction = bits >> 3 & 15, bits & 7
    if exponent == 15 and fraction == 7:
        return math.nan
    if exponent == 0:
        return sign * fraction * 2.0**-9
    return sign * (1 + fraction / 8) * 2.0 ** (exponent - 7)


_E4M3 = np.array([_e4m3(bits) for bits in range(256)])
