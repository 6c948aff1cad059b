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
from enum import IntEnum

import numpy as np

from mvc.codecs import zstd
from mvc.codecs.encoding import Encoded, Encoding
from mvc.codecs.plan import KEEP, Plan
from mvc.codecs.transpose import Bytes, elements, merge, split
from mvc.digest import Buffer
from mvc.errors import FormatError

WIDTHS = (2, 4, 8)

_HEADER = struct.Struct("<B3s")
_ENTRY = struct.Struct("<BI")
_RESERVED = bytes(3)


class Kind(IntEnum):
    """How one plane is kept."""

    RAW = 0
    ZSTD = 1
    CONSTANT = 2


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
        header += _ENTRY.pack(kind, len(body))
        bodies.append(body)
    return Encoded.of(Encoding.PLANES, bytes(header), *bodies, data[values.nbytes :])


def decode(payload: memoryview, size: int) -> Buffer:
    """Return the ``size`` plain bytes of the planes.

    Raises:
        FormatError: The header breaks a rule, the lengths do not add up to
            the payload's, or a plane does not give a byte per element.
    """
    width, entries = _read_header(payload, size)
    count, tail = divmod(size, width)
    at = _HEADER.size + width * _ENTRY.size
    planes: list[Bytes | int] = []
    for kind, length in entries:
        planes.append(_decode_plane(kind, payload[at : at + length], count))
        at += length
    out = np.empty(size, np.uint8)
    merge(planes, out[: size - tail].view(f"<u{width}"))
    if tail:
        out[-tail:] = np.frombuffer(payload[at:], np.uint8)
    return out.data


def _encode_plane(
    plane: Bytes, effort: zstd.Effort | None, looks_constant: bool
) -> tuple[Kind, Buffer]:
    if looks_constant and bool((plane == plane[0]).all()):
        return Kind.CONSTANT, bytes([int(plane[0])])
    if effort is not None:
        frame = zstd.compress(plane.data, effort)
        if len(frame) <= KEEP * len(plane):
            return Kind.ZSTD, frame
    return Kind.RAW, plane.data


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
    bodies = _HEADER.size + width * _ENTRY.size
    if payload.nbytes < bodies:
        raise FormatError(f"a planes payload ends in its header, after {payload.nbytes} bytes")
    count, tail = divmod(size, width)
    entries = [
        _checked(kind, length, count)
        for kind, length in _ENTRY.iter_unpack(payload[_HEADER.size : bodies])
    ]
    expected = bodies + sum(length for _, length in entries) + tail
    if payload.nbytes != expected:
        raise FormatError(f"a planes payload has {payload.nbytes} bytes instead of {expected}")
    return width, entries


def _checked(kind: int, length: int, count: int) -> tuple[Kind, int]:
    """Check one entry of the header against the number of elements."""
    fits = {
        Kind.RAW: length == count,
        Kind.ZSTD: 0 < length < count,
        Kind.CONSTANT: length == 1 <= count,
    }
    if kind not in fits:
        raise FormatError(f"a plane is of unknown kind {kind}")
    if not fits[Kind(kind)]:
        name = Kind(kind).name.lower()
        raise FormatError(f"a {name} plane of {count} elements has {length} bytes")
    return Kind(kind), length


def _decode_plane(kind: Kind, body: memoryview, count: int) -> Bytes | int:
    if kind is Kind.CONSTANT:
        return int(body[0])
    plain = zstd.decompress(body, count) if kind is Kind.ZSTD else body
    return np.frombuffer(plain, np.uint8) if count else np.empty(0, np.uint8)
