"""Planes: elements regrouped so that like bytes lie together.

The exponents of dense weights take up a third of their bits when they are
apart from the mantissas, which are noise and stay as they are. The payload
says by itself how it is laid out: element width, kind and length of each
plane. Any bytes of any length can be kept so.

Layout, limits and a worked example: ``docs/formats/encodings.md``.
Public names: ``WIDTHS``, ``encode``, ``decode``.
"""

from __future__ import annotations

import struct

import numpy as np

from mvc.codecs import palette, sections, zstd
from mvc.codecs.encoding import Encoded, Encoding
from mvc.codecs.plan import Plan
from mvc.codecs.sections import ENTRY, Kind, Section
from mvc.codecs.transpose import Bytes, elements, merge, split
from mvc.digest import Buffer
from mvc.errors import FormatError

WIDTHS = (2, 4, 8)

_HEADER = struct.Struct("<B3s")
_RESERVED = bytes(3)


def encode(data: memoryview, plan: Plan) -> Encoded:
    """Keep ``data`` as the planes that ``plan`` says.

    A plane that turns out not to shrink is kept raw, one that turns out to be
    a single byte is kept as that byte.
    """
    values = elements(data, plan.width)
    header = bytearray(_HEADER.pack(plan.width, _RESERVED))
    bodies: list[Buffer] = []
    for place, plane in enumerate(split(values)):
        kind, body = _encode_plane(plane, plan.efforts[place], place in plan.constant)
        header += ENTRY.pack(kind, len(body))
        bodies.append(body)
    return Encoded.of(Encoding.PLANES, bytes(header), *bodies, data[values.nbytes :])


def decode(payload: memoryview, size: int) -> Buffer:
    """Return the ``size`` plain bytes of the planes.

    Raises:
        FormatError: The header breaks a rule, the lengths do not add up to
            the payload's, or a plane does not give a byte per element.
    """
    if payload.nbytes >= _HEADER.size and any(payload[2:4]) and payload[0] in WIDTHS:
        return palette.decode(payload, size)
    width, entries = _read_header(payload, size)
    count, tail = divmod(size, width)
    at = _HEADER.size + width * ENTRY.size
    planes: list[Bytes | int] = []
    for kind, length in entries:
        planes.append(sections.plain(kind, payload[at : at + length], count))
        at += length
    out = np.empty(size, np.uint8)
    merge(planes, out[: size - tail].view(f"<u{width}"))
    if tail:
        out[-tail:] = np.frombuffer(payload[at:], np.uint8)
    return out.data


def _encode_plane(plane: Bytes, effort: zstd.Effort | None, looks_constant: bool) -> Section:
    if looks_constant and bool((plane == plane[0]).all()):
        return sections.constant(int(plane[0]))
    return sections.keep(plane, *([effort] if effort else []))


def _read_header(payload: memoryview, size: int) -> tuple[int, list[tuple[Kind, int]]]:
    """Return the width, and kind and length of each plane; all lengths are checked."""
    if payload.nbytes < _HEADER.size:
        raise FormatError(f"a planes payload ends in its header, after {payload.nbytes} bytes")
    width, reserved = _HEADER.unpack_from(payload)
    if width not in WIDTHS or reserved != _RESERVED:
        raise FormatError(
            f"a planes payload has width {width} and reserved bytes {reserved.hex()}",
            hint="It is damaged, or a newer mvc wrote it.",
        )
    bodies = _HEADER.size + width * ENTRY.size
    if payload.nbytes < bodies:
        raise FormatError(f"a planes payload ends in its header, after {payload.nbytes} bytes")
    count, tail = divmod(size, width)
    entries = [
        (sections.checked(kind, length, count), length)
        for kind, length in ENTRY.iter_unpack(payload[_HEADER.size : bodies])
    ]
    expected = bodies + sum(length for _, length in entries) + tail
    if payload.nbytes != expected:
        raise FormatError(f"a planes payload has {payload.nbytes} bytes instead of {expected}")
    return width, entries
