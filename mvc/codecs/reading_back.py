"""Reading back: what was encoded is decoded and compared before anybody relies on it.

Public names: ``read_back``.
"""

from __future__ import annotations

import threading

import numpy as np

from mvc import codecs
from mvc.codecs.encoding import Encoded, Encoding
from mvc.digest import Buffer, checksum_of
from mvc.errors import MvcError

_scratch = threading.local()


def read_back(encoded: Encoded, data: Buffer) -> None:
    """Raise ``MvcError`` unless a payload decodes to ``data``, which it was made of.

    Checksums of both are compared: a fault of a codec or of the memory is no
    forger, and they are taken at ten times the speed of a digest. To compare the bytes
    themselves would hold the interpreter's lock.
    """
    if encoded.encoding == Encoding.RAW:
        return
    payload = _in_one_piece(encoded)
    if encoded.base:
        plain = codecs.decode_delta(payload, len(data), encoded.base.data)
    else:
        plain = codecs.decode(encoded.encoding, payload, len(data))
    if len(plain) != len(data) or checksum_of(plain) != checksum_of(data):
        raise MvcError(f"{len(data)} bytes do not decode to what was encoded")


def _in_one_piece(encoded: Encoded) -> memoryview:
    """Return a payload in one piece, good until this thread asks again.

    The memory is used over and over: to touch new pages costs more than to
    copy. numpy copies without the interpreter's lock.
    """
    pieces = [memoryview(piece) for piece in encoded.pieces]
    if len(pieces) == 1:
        return pieces[0]
    scratch = getattr(_scratch, "data", None)
    if scratch is None or len(scratch) < encoded.size:
        scratch = _scratch.data = np.empty(encoded.size, np.uint8)
    at = 0
    for piece in pieces:
        scratch[at : at + piece.nbytes] = np.frombuffer(piece, np.uint8)
        at += piece.nbytes
    return scratch[:at].data
