"""Data types: one word per type, whatever the format calls it.

The words are those of torch and numpy: ``float32``, ``bfloat16``, ``int64``,
``bool``, ``complex64``, ``float8_e4m3fn``. A word may carry what changes the
meaning of equal bytes: ``float32.big`` (big-endian), ``complex64.conj`` and
``.neg`` (torch's lazy conjugate and negative), ``qint8(0.1,0)`` (torch's
quantizer). A word that is not in the table is passed on, its size unknown.

Public names: ``bits_of``, ``width_of``, ``with_mark``, ``is_row_major``, ``span_of``.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

MAX_DIMENSIONS = 64

BITS = {
    "bool": 8,
    "uint8": 8,
    "int8": 8,
    "uint16": 16,
    "int16": 16,
    "uint32": 32,
    "int32": 32,
    "uint64": 64,
    "int64": 64,
    "float16": 16,
    "bfloat16": 16,
    "float32": 32,
    "float64": 64,
    "complex32": 32,
    "complex64": 64,
    "complex128": 128,
    "float8_e4m3fn": 8,
    "float8_e4m3fnuz": 8,
    "float8_e5m2": 8,
    "float8_e5m2fnuz": 8,
    "float8_e8m0fnu": 8,
    "float4_e2m1fn": 4,
    "float4_e2m1fn_x2": 8,
    "float6_e2m3fn": 6,
    "float6_e3m2fn": 6,
    "qint8": 8,
    "quint8": 8,
    "qint32": 32,
}
"""Bits per element; a packed pair such as ``float4_e2m1fn_x2`` is one element."""

PACKED = frozenset({"float4_e2m1fn_x2"})


@lru_cache(maxsize=256)
def bits_of(dtype: str) -> int | None:
    """Return the bits of one element, ``None`` where the word is not known."""
    return BITS.get(_bare(dtype))


@lru_cache(maxsize=256)
def width_of(dtype: str | None) -> int:
    """Return the element width of a storage of ``dtype``, 0 where it has none."""
    if dtype is None or _bare(dtype) in PACKED:
        return 0
    width, rest = divmod(bits_of(dtype) or 0, 8)
    return 0 if rest else width


def with_mark(dtype: str, mark: str) -> str:
    """Return ``dtype`` marked as holding other values than its bytes say plainly."""
    return f"{dtype}.{mark}"


def is_row_major(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Tell whether elements lie one after the other; as in torch, ones have any stride."""
    expected = 1
    for length, step in zip(shape[::-1], stride[::-1], strict=True):
        if length != 1:
            if step != expected:
                return False
            expected *= length
    return True


def span_of(shape: tuple[int, ...], stride: tuple[int, ...] | None) -> int:
    """Return the elements from the first to the last of a tensor, both included."""
    if stride is None or 0 in shape:
        return prod(shape)
    return 1 + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))


def _bare(dtype: str) -> str:
    return dtype.partition("(")[0].partition(".")[0]
