"""Encodings: how an object is kept, apart from what it is.

An encoding turns plain bytes into a payload and back. Each is one module and
one line in ``_MODULES``; the number is written into every frame, so a number
once given keeps its meaning for ever. Which one to use is measured on the
bytes themselves (``choose``), never guessed from a name.

Nothing heavy is imported here: a module, and the library beneath it, is
loaded when the first object in its encoding is met.

Formats: ``docs/formats/encodings.md``.
Public names: ``Encoding``, ``Encoded``, ``Base``, ``encode``, ``promise``, ``decode``,
``decode_delta``, ``read_back``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from mvc.codecs.encoding import Base, Encoded, Encoding
from mvc.digest import Buffer
from mvc.errors import FormatError, Unsupported

__all__ = [
    "Base",
    "Encoded",
    "Encoding",
    "decode",
    "decode_delta",
    "encode",
    "promise",
    "read_back",
]

_CHOOSER = "mvc.codecs.choose"
_DELTA = "mvc.codecs.delta"
_READING_BACK = "mvc.codecs.reading_back"

_MODULES = {
    Encoding.RAW: "mvc.codecs.raw",
    Encoding.ZSTD: "mvc.codecs.zstd",
    Encoding.PLANES: "mvc.codecs.planes",
}


class _Decoder(Protocol):
    """What every module in ``_MODULES`` offers."""

    def decode(self, payload: memoryview, size: int) -> Buffer: ...


class _DeltaDecoder(Protocol):
    """What the module of deltas offers."""

    def decode(self, payload: memoryview, size: int, base: Buffer) -> Buffer: ...


class _Chooser(Protocol):
    """What the module that picks an encoding offers."""

    def encode(self, data: Buffer, width: int, bases: Sequence[Base]) -> Encoded: ...

    def promise(self, data: Buffer, width: int, base: Base | None) -> float: ...


class _Comparer(Protocol):
    """What the module that reads back offers."""

    def read_back(self, encoded: Encoded, data: Buffer) -> None: ...


def encode(data: Buffer, width: int, bases: Sequence[Base] = ()) -> Encoded:
    """Keep ``data`` in the smallest encoding that its samples promise.

    Thread-safe. The pieces of the result may be views of ``data``.

    Args:
        data: The plain bytes, contiguous.
        width: Bytes per element, a hint: 0 where it is unknown. A wrong one
            costs compression, never correctness.
        bases: Objects that a delta may be kept over; a link to one has to be
            worth it.
    """
    return cast(_Chooser, import_module(_CHOOSER)).encode(data, width, bases)


def promise(data: Buffer, width: int, base: Base | None = None) -> float:
    """Return about what ``encode`` would need over a base, or without any, from samples.

    In bytes, a link counted as its worth; infinite where it cannot be a base.
    """
    return cast(_Chooser, import_module(_CHOOSER)).promise(data, width, base)


def decode(encoding: Encoding, payload: memoryview, size: int) -> Buffer:
    """Return the ``size`` plain bytes of a payload; possibly a view of it.

    Thread-safe. Allocates a small multiple of ``size``, whatever the payload
    claims; that ``size`` itself is reasonable is for the caller to check.

    Raises:
        FormatError: The payload does not follow its page, gives more or fewer
            bytes than ``size``, or is a recipe or a delta, which only a store
            can follow.
        Unsupported: The encoding is one that a newer mvc writes.
    """
    if encoding in (Encoding.RECIPE, Encoding.DELTA):
        kind = encoding.name.lower()
        raise FormatError(f"a {kind} is put together by its store, not decoded by itself")
    module = _MODULES.get(encoding)
    if module is None:
        raise Unsupported(
            f"an object is kept in encoding {int(encoding)}, which this mvc cannot read",
            hint="A newer mvc wrote it; upgrade to read it.",
        )
    return cast(_Decoder, import_module(module)).decode(payload, size)


def decode_delta(payload: memoryview, size: int, base: Buffer) -> Buffer:
    """Return the ``size`` plain bytes of a delta's payload over its plain ``base``.

    Thread-safe. Allocates as ``decode`` does.

    Raises:
        FormatError: As for ``decode``.
    """
    return cast(_DeltaDecoder, import_module(_DELTA)).decode(payload, size, base)


def read_back(encoded: Encoded, data: Buffer) -> None:
    """Raise ``MvcError`` unless what was encoded decodes to ``data``. Thread-safe."""
    cast(_Comparer, import_module(_READING_BACK)).read_back(encoded, data)
