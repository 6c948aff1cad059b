"""Delta: an object kept as what another, its base, does not say of it.

The base gives a prediction, the same elements or their cast, and the payload
holds the residual. A cast that is exact, or an object that is its base, costs
a header. The base is named by the frame, not here, and handed in plain.

Layout, limits and a worked example: ``docs/formats/encodings.md``.
Public names: ``WIDTHS``, ``Plan``, ``make``, ``encode``, ``decode``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from mvc.codecs import residual as residuals
from mvc.codecs import sections
from mvc.codecs.encoding import Encoded, Encoding
from mvc.codecs.plan import sample, windows
from mvc.codecs.predict import Prediction, base_width, fitting, predict
from mvc.codecs.residual import MOST_GROUPS, Layers
from mvc.codecs.sections import ENTRY
from mvc.codecs.transpose import Bytes, Elements, elements
from mvc.digest import Buffer
from mvc.errors import FormatError

WIDTHS = (1, 2, 4, 8)

_HEADER = struct.Struct("<BBBB")


@dataclass(frozen=True, slots=True)
class Plan:
    """How to keep some bytes over a base; ``size`` is the predicted payload, in bytes."""

    prediction: Prediction
    thresholds: bytes
    size: int


def make(data: memoryview, width: int, base: Buffer, width_of_base: int) -> Plan | None:
    """Sample ``data`` and plan it over ``base``; ``None`` where the widths do not go together."""
    if width not in WIDTHS:
        return None
    values = elements(data, width)
    plans = []
    for prediction in fitting(width_of_base, width):
        source = elements(base, width_of_base)
        some, under = sample(values), _under(source, len(values))
        predicted = predict(prediction, under.data, width, len(some))
        residual = residuals.residual_of(some, predicted)
        bounds = residuals.thresholds(residual, predicted)
        layers = residuals.lay(residual, predicted, bounds)
        share = layers.size / max(1, some.nbytes)
        size = _HEADER.size + int(share * values.nbytes) + data.nbytes - values.nbytes
        plans.append(Plan(prediction, bounds, size))
    return min(plans, key=lambda plan: plan.size, default=None)


def encode(data: memoryview, width: int, base: Buffer, plan: Plan) -> Encoded:
    """Keep ``data`` over ``base`` as ``plan`` says."""
    values = elements(data, width)
    predicted = predict(plan.prediction, base, width, len(values))
    residual = residuals.residual_of(values, predicted)
    layers = residuals.lay(residual, predicted, plan.thresholds)
    return _encoded(width, plan.prediction, layers, data[values.nbytes :])


def decode(payload: memoryview, size: int, base: Buffer) -> Buffer:
    """Return the ``size`` plain bytes of a payload over its ``base``.

    Raises:
        FormatError: The header breaks a rule, the lengths do not add up to
            the payload's, or a section does not give the bytes it should.
    """
    if payload.nbytes < _HEADER.size:
        raise FormatError(f"a delta payload ends in its header, after {payload.nbytes} bytes")
    width, number, layers, groups = _HEADER.unpack_from(payload)
    source = base_width(_prediction(number), width) if width in WIDTHS else None
    if source is None or layers > width or groups >= MOST_GROUPS:
        raise FormatError(
            f"a delta payload has width {width}, prediction {number}, {layers} layers "
            f"and {groups + 1} groups",
            hint="It is damaged, or a newer mvc wrote it.",
        )
    entries_at = _HEADER.size + groups
    bodies_at = entries_at + layers * (groups + 2) * ENTRY.size
    if payload.nbytes < bodies_at:
        raise FormatError(f"a delta payload ends in its header, after {payload.nbytes} bytes")
    bounds = bytes(payload[_HEADER.size : entries_at])
    if sorted(set(bounds)) != list(bounds):
        raise FormatError("the thresholds of a delta payload do not rise")
    entries = list(ENTRY.iter_unpack(payload[entries_at:bodies_at]))
    count, tail = divmod(size, width)
    if payload.nbytes != bodies_at + sum(length for _, length in entries) + tail:
        raise FormatError(f"a delta payload of {payload.nbytes} bytes has others in its header")
    predicted = predict(_prediction(number), base, width, count)
    taken = _Sections(payload[bodies_at:], entries).take
    residual = residuals.read(predicted, bounds, layers, taken)
    out = np.empty(size, np.uint8)
    residuals.apply(residual, predicted, out[: size - tail].view(predicted.dtype))
    if tail:
        out[-tail:] = np.frombuffer(payload[-tail:], np.uint8)
    return out.data


class _Sections:
    """The sections of a payload, one after the other."""

    def __init__(self, bodies: memoryview, entries: list[tuple[int, int]]) -> None:
        self._bodies = bodies
        self._entries = iter(entries)
        self._at = 0

    def take(self, count: int) -> Bytes | int:
        kind, length = next(self._entries)
        start, self._at = self._at, self._at + length
        checked = sections.checked(kind, length, count)
        return sections.plain(checked, self._bodies[start : self._at], count)


def _encoded(width: int, prediction: Prediction, layers: Layers, tail: memoryview) -> Encoded:
    parts = [section for layer in layers.layers for section in layer]
    header = _HEADER.pack(width, prediction, len(layers.layers), len(layers.thresholds))
    entries = b"".join(ENTRY.pack(kind, len(body)) for kind, body in parts)
    bodies = [body for _, body in parts]
    return Encoded.of(Encoding.DELTA, header + layers.thresholds + entries, *bodies, tail)


def _prediction(number: int) -> Prediction:
    try:
        return Prediction(number)
    except ValueError:
        raise FormatError(
            f"a delta payload has prediction {number}", hint="A newer mvc wrote it."
        ) from None


def _under(base: Elements, count: int) -> Elements:
    """Return of ``base`` what lies under a sample of ``count`` elements, zeros where it ends."""
    padded = base
    if len(base) < count:
        padded = np.zeros(count, base.dtype)
        padded[: len(base)] = base
    return np.concatenate([padded[window] for window in windows(count)])
