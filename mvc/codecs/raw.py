"""Raw: the bytes themselves.

Also what recipes and trees are kept in: digests do not compress, and reading
them needs no library.

Layout: ``docs/formats/encodings.md``.
Public names: ``encode``, ``decode``.
"""

from __future__ import annotations

from mvc.codecs.encoding import Encoded, Encoding
from mvc.digest import Buffer
from mvc.errors import FormatError


def encode(data: memoryview) -> Encoded:
    """Keep ``data`` as it is; the one piece is ``data`` itself."""
    return Encoded.of(Encoding.RAW, data)


def decode(payload: memoryview, size: int) -> Buffer:
    """Return ``payload`` itself, or raise ``FormatError`` if it has not ``size`` bytes."""
    if payload.nbytes != size:
        raise FormatError(f"a raw payload has {payload.nbytes} bytes instead of {size}")
    return payload
