"""Reading back: what was encoded is decoded and compared before anybody relies on it.

Public names: ``read_back``.
"""

from __future__ import annotations

import threading

from mvc import codecs
from mvc.codecs import Encoded, Encoding
from mvc.digest import Digest, digest_of
from mvc.errors import MvcError

_scratch = threading.local()


def read_back(encoded: Encoded, digest: Digest, size: int) -> None:
    """Raise ``MvcError`` unless a payload gives the object of ``size`` bytes that it is of."""
    if encoded.encoding == Encoding.RAW:
        return
    payload = _laid_together(encoded)
    if encoded.base:
        plain = codecs.decode_delta(payload, size, encoded.base.data)
    else:
        plain = codecs.decode(encoded.encoding, payload, size)
    if digest_of(plain) != digest:
        raise MvcError(f"object {digest.short} does not decode to what was encoded")


def _laid_together(encoded: Encoded) -> memoryview:
    """Return a payload in one piece, good until this thread asks again.

    The memory is used over and over: to touch new pages costs more than to copy.
    """
    scratch: bytearray = getattr(_scratch, "data", bytearray())
    if len(scratch) < encoded.size:
        scratch = _scratch.data = bytearray(encoded.size)
    view, at = memoryview(scratch), 0
    for piece in encoded.pieces:
        view[at : at + len(piece)] = piece
        at += len(piece)
    return view[:at]
