"""The numbers of encodings, and what an encoder hands to the store.

Layout of each payload: ``docs/formats/encodings.md``.
Public names: ``Encoding``, ``Base``, ``Encoded``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from mvc.digest import Buffer, Digest


class Encoding(IntEnum):
    """How an object's bytes are kept. Numbers are never reused."""

    RAW = 0
    ZSTD = 1
    PLANES = 2
    DELTA = 3
    RECIPE = 4


@dataclass(frozen=True, slots=True)
class Base:
    """An object that a delta may be kept over.

    ``width`` is the bytes per element, ``depth`` the links that reading it
    takes, ``data`` its plain bytes.
    """

    digest: Digest
    width: int
    depth: int
    data: Buffer


@dataclass(frozen=True, slots=True)
class Encoded:
    """A payload in pieces, ready for one vectored write; ``size`` is their sum in bytes.

    ``base`` is what a delta was made over.

    A piece may be a view of the bytes that were encoded: whoever reuses that
    buffer must have written, or copied, the pieces before.
    """

    encoding: Encoding
    pieces: Sequence[Buffer]
    size: int
    base: Base | None = None

    @classmethod
    def of(cls, encoding: Encoding, *pieces: Buffer) -> Encoded:
        """Put ``pieces`` together, leaving out those that are empty."""
        sizes = [memoryview(piece).nbytes for piece in pieces]
        kept = tuple(piece for piece, size in zip(pieces, sizes, strict=True) if size)
        return cls(encoding, kept, sum(sizes))
