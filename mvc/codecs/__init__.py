"""Encodings: how an object is kept, apart from what it is.

An encoding turns plain bytes into a payload and back. Each is one module and
one line in ``_MODULES``; the number is written into every frame, so a number
once given keeps its meaning for ever. Which one to use is measured on the
bytes themselves (``choose``), never guessed from a name.

Nothing heavy is imported here: a module, and the library beneath it, is
loaded when the first object in its encoding is met.

Formats: ``docs/formats/encodings.md``.
Public names: ``Encoding``, ``Encoded``, ``encode``, ``decode``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from mvc.codecs.encoding import Encoded, Encoding
from mvc.digest import Buffer
from mvc.errors import FormatError, Unsupported

__all__ = ["Encoded", "Encoding", "decode", "encode"]

_CHOOSER = "mvc.codecs.choose"

_MODULES = {
    Encoding.RAW: "mvc.codecs.raw",
    Encoding.ZSTD: "mvc.codecs.zstd",
    Encoding.PLANES: "mvc.codecs.planes",
}


class _Decoder(Protocol):
    """What every module in ``_MODULES`` offers."""

    def decode(self, payload: memoryview, size: int) -> Buffer: ...


class _Chooser(Protocol):
    """What the module that picks an encoding offers."""

    def encode(self, data: Buffer, width: int) -> Encoded: ...


def encode(data: Buffer, width: int) -> Encoded:
    """Keep ``data`` in the smallest encoding that its samples promise.

    Thread-safe. The pieces of the result may be views of ``data``.

    Args:
        data: The plain bytes, contiguous.
        width: Bytes per element, a hint: 0 where it is unknown. A wrong one
            costs compression, never correctness.
    """
    return cast(_Chooser, import_module(_CHOOSER)).encode(data, width)


def decode(encoding: Encoding, payload: memoryview, size: int) -> Buffer:
    """Return the ``size`` plain bytes of a payload; possibly a view of it.

    Thread-safe. Allocates a small multiple of ``size``, whatever the payload
    claims; that ``size`` itself is reasonable is for the caller to check.

    Raises:
        FormatError: The payload does not follow its page, gives more or fewer
            bytes than ``size``, or is a recipe, which only a store can follow.
        Unsupported: The encoding is one that a newer mvc writes.
    """
    if encoding == Encoding.RECIPE:
        raise FormatError("a recipe is put together by its store, not decoded by itself")
    module = _MODULES.get(encoding)
    if module is None:
        raise Unsupported(
            f"an object is kept in encoding {int(encoding)}, which this mvc cannot read",
            hint="A newer mvc wrote it; upgrade to read it.",
        )
    return cast(_Decoder, import_module(module)).decode(payload, size)
