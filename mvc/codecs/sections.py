"""Sections: runs of like bytes, each kept in the shortest of three ways.

A plane of bytes is noise, or compresses, or is one byte over and over.
``planes`` and ``delta`` are made of such sections; an entry in their header
says the kind and length of each, and the bodies follow.

Layout: ``docs/formats/encodings.md``.
Public names: ``ENTRY``, ``Kind``, ``Section``, ``keep``, ``constant``, ``checked``, ``plain``.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TypeAlias

import numpy as np

from mvc.codecs import zstd
from mvc.codecs.transpose import Bytes
from mvc.digest import Buffer
from mvc.errors import FormatError

ENTRY = struct.Struct("<BI")

KEEP = 0.97
"""A section is compressed if that leaves no more than this part of it."""


class Kind(IntEnum):
    """How one section is kept."""

    RAW = 0
    ZSTD = 1
    CONSTANT = 2


Section: TypeAlias = tuple[Kind, Buffer]


def keep(section: Bytes, *efforts: zstd.Effort) -> Section:
    """Keep ``section`` in the shortest that ``efforts`` find, raw if none is worth it."""
    frames = [zstd.compress(section.data, effort) for effort in efforts]
    frame = min(frames, key=len, default=b"")
    if frame and len(frame) <= KEEP * len(section):
        return Kind.ZSTD, frame
    return Kind.RAW, section.data


def constant(value: int) -> Section:
    """Keep a section, of at least one byte, all of whose bytes are ``value``."""
    return Kind.CONSTANT, bytes([value])


def checked(kind: int, length: int, count: int) -> Kind:
    """Return the kind that an entry names, if its length can be that of ``count`` bytes.

    Raises:
        FormatError: The kind is unknown, or the length does not fit it.
    """
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
    return Kind(kind)


def plain(kind: Kind, body: memoryview, count: int) -> Bytes | int:
    """Return the ``count`` bytes of a section; the one byte of a constant as a number.

    Raises:
        FormatError: A zstd frame does not give them.
    """
    if kind is Kind.CONSTANT:
        return int(body[0])
    data = zstd.decompress(body, count) if kind is Kind.ZSTD else body
    return np.frombuffer(data, np.uint8) if count else np.empty(0, np.uint8)
