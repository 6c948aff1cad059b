"""Predictions: what an object's elements would be if its base said it all.

A checkpoint's weights are near those of the one before: they are predicted to
be the same. A model that was cast to another float is predicted by casting
it. Every prediction is integer arithmetic on bit patterns with one result on
every machine, for every pattern: a NaN is cast as said here and not as some
processor does. What it gets wrong is the residual's to put right.

Public names: ``Prediction``, ``base_width``, ``fitting``, ``predict``.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from mvc.codecs.transpose import Elements, elements
from mvc.digest import Buffer


class Prediction(IntEnum):
    """How a base's elements become a prediction. Numbers are never reused."""

    SAME = 0
    FLOAT32_TO_BFLOAT16 = 1
    FLOAT32_TO_FLOAT16 = 2
    BFLOAT16_TO_FLOAT32 = 3
    FLOAT16_TO_FLOAT32 = 4


_WIDTHS = {
    Prediction.FLOAT32_TO_BFLOAT16: (4, 2),
    Prediction.FLOAT32_TO_FLOAT16: (4, 2),
    Prediction.BFLOAT16_TO_FLOAT32: (2, 4),
    Prediction.FLOAT16_TO_FLOAT32: (2, 4),
}
"""Bytes per element: of the base, and of what it predicts."""


def fitting(base_width: int, width: int) -> tuple[Prediction, ...]:
    """Return the predictions that make elements of ``width`` from those of ``base_width``."""
    if base_width == width:
        return (Prediction.SAME,)
    return tuple(kind for kind, widths in _WIDTHS.items() if widths == (base_width, width))


def base_width(prediction: Prediction, width: int) -> int | None:
    """Return the bytes per element of a base, ``None`` if ``width`` cannot be predicted so."""
    source, target = _WIDTHS.get(prediction, (width, width))
    return source if target == width else None


def predict(prediction: Prediction, base: Buffer, width: int, count: int) -> Elements:
    """Return ``count`` predicted elements of ``width`` bytes.

    Args:
        prediction: One for which ``base_width`` gives a width.
        base: The base's plain bytes. Elements that it has not are predicted as 0.
    """
    source = base_width(prediction, width)
    assert source is not None
    values = elements(base, source)[:count]
    predicted = _CASTS[prediction](values) if prediction in _CASTS else values
    if len(predicted) == count:
        return predicted
    out = np.zeros(count, np.dtype(f"<u{width}"))
    out[: len(predicted)] = predicted
    return out


def _float32_to_bfloat16(bits: Elements) -> Elements:
    """Round to nearest, ties to even. A NaN goes where the sum takes it."""
    odd = np.right_shift(bits, 16)
    odd &= 1
    odd += 0x7FFF
    odd += bits
    odd >>= 16
    rounded: Elements = odd.astype("<u2")
    return rounded


def _float32_to_float16(bits: Elements) -> Elements:
    """Round to nearest, ties to even; a NaN becomes the quiet one of its sign."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        half = bits.view("<f4").astype("<f2").view("<u2")
    nan = (bits & 0x7FFFFFFF) > 0x7F800000
    if nan.any():
        half[nan] = ((bits[nan] >> 16) & 0x8000) | 0x7E00
    return half


def _bfloat16_to_float32(bits: Elements) -> Elements:
    wide: Elements = bits.astype("<u4") << np.uint32(16)
    return wide


def _float16_to_float32(bits: Elements) -> Elements:
    """Widen exactly; a NaN becomes the quiet one of its sign."""
    with np.errstate(invalid="ignore"):
        wide = bits.view("<f2").astype("<f4").view("<u4")
    nan = (bits & 0x7FFF) > 0x7C00
    if nan.any():
        wide[nan] = ((bits[nan].astype("<u4") & 0x8000) << 16) | 0x7FC00000
    return wide


_CASTS = {
    Prediction.FLOAT32_TO_BFLOAT16: _float32_to_bfloat16,
    Prediction.FLOAT32_TO_FLOAT16: _float32_to_float16,
    Prediction.BFLOAT16_TO_FLOAT32: _bfloat16_to_float32,
    Prediction.FLOAT16_TO_FLOAT32: _float16_to_float32,
}
