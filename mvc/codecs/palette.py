"""Palettes: elements of few distinct values, kept as numbers into a list of them.

Weights that were quantised and widened again have at most 256 values, spread
over all bytes of an element: no plane of them compresses, but the number of
each value does. This is a second form of the ``planes`` encoding, with one
plane instead of one per byte.

Layout: ``docs/formats/encodings.md``.
Public names: ``MOST``, ``Palette``, ``make``, ``encode``, ``decode``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from mvc.codecs import sections, zstd
from mvc.codecs.encoding import Encoded, Encoding
from mvc.codecs.plan import sample
from mvc.codecs.sections import ENTRY
from mvc.codecs.transpose import Bytes, Elements, elements
from mvc.codecs.zstd import Effort
from mvc.digest import Buffer
from mvc.errors import FormatError

MOST = 256

FIRST = 512
"""Elements that are looked at before others: in dense weights hardly two of them are equal."""

HEADER = struct.Struct("<BBH")


@dataclass(frozen=True, slots=True)
class Palette:
    """The values of a sample, ascending; ``size`` is the predicted payload, in bytes."""

    values: Elements
    size: int


def make(data: memoryview, width: int) -> Palette | None:
    """Sample ``data``; ``None`` where it has many values, or a single one."""
    values = elements(data, width)
    some = sample(values)
    if len(set(some[:FIRST].tolist())) > MOST:
        return None
    found = np.unique(some)
    # More samples would find more values: a palette is for few among many elements.
    if not 2 <= len(found) <= min(MOST, len(some) // 4):
        return None
    numbers = np.searchsorted(found, some).astype(np.uint8)
    share = zstd.ratio(numbers.data, Effort.BYTES)
    size = HEADER.size + ENTRY.size + found.nbytes + int(len(values) * min(share, 1.0))
    return Palette(found, size + data.nbytes - values.nbytes)


def encode(data: memoryview, palette: Palette) -> Encoded | None:
    """Keep ``data`` as numbers; ``None`` if it has too many values after all."""
    width = palette.values.dtype.itemsize
    values = elements(data, width)
    known = palette.values
    numbers = np.searchsorted(known, values)
    numbers[numbers == len(known)] = 0
    if not bool((known[numbers] == values).all()):  # the sample has not seen all of them
        known, numbers = np.unique(values, return_inverse=True)
        if len(known) > MOST:
            return None
    kind, body = sections.keep(numbers.astype(np.uint8), Effort.BYTES, Effort.MATCHES)
    header = HEADER.pack(width, 0, len(known)) + ENTRY.pack(kind, len(body))
    return Encoded.of(Encoding.PLANES, header, known.tobytes(), body, data[values.nbytes :])


def decode(payload: memoryview, size: int) -> Buffer:
    """Return the ``size`` plain bytes of a payload whose header has a palette.

    Raises:
        FormatError: The values do not rise, a number has no value, or the
            lengths do not add up to the payload's.
    """
    width, reserved, most = HEADER.unpack_from(payload)
    values_at = HEADER.size + ENTRY.size
    body_at = values_at + most * width
    if reserved or most > MOST or payload.nbytes < body_at:
        raise FormatError(f"a planes payload of {payload.nbytes} bytes claims {most} values")
    kind, length = ENTRY.unpack_from(payload, HEADER.size)
    count, tail = divmod(size, width)
    if payload.nbytes != body_at + length + tail:
        raise FormatError(f"a planes payload of {payload.nbytes} bytes has others in its header")
    known = np.frombuffer(payload[values_at:body_at], np.dtype(f"<u{width}"))
    if not bool((known[1:] > known[:-1]).all()):
        raise FormatError("the values of a planes payload do not rise")
    checked = sections.checked(kind, length, count)
    numbers = sections.plain(checked, payload[body_at : body_at + length], count)
    if int(numbers if isinstance(numbers, int) else _highest(numbers)) >= most:
        raise FormatError(f"a planes payload numbers more than its {most} values")
    out = np.empty(size, np.uint8)
    out[: size - tail].view(known.dtype)[:] = known[numbers]
    if tail:
        out[-tail:] = np.frombuffer(payload[-tail:], np.uint8)
    return out.data


def _highest(numbers: Bytes) -> int:
    return int(numbers.max()) if len(numbers) else 0
