"""Digests: the names of bytes.

A digest is the BLAKE3-256 hash of plain bytes, written ``b3:<64 hex>``;
``b3sum`` prints the same. It is the only identity in a store. XXH3 is used
beside it as the checksum of frames, never as a name: collisions of it are
made by arithmetic.

Public names: ``Buffer``, ``Digest``, ``Hasher``, ``digest_of``, ``digest_of_open``,
``checksum_of``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

import blake3
import xxhash

from mvc.errors import FormatError

Buffer: TypeAlias = bytes | bytearray | memoryview

SIZE = 32
PREFIX = "b3:"
_READ_SIZE = 4 << 20


class Digest(bytes):
    """The 32 bytes of a BLAKE3-256 hash; equality and order are those of bytes."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Digest:
        if len(raw) != SIZE:
            raise FormatError(f"a digest has {SIZE} bytes, not {len(raw)}")
        return super().__new__(cls, raw)

    @classmethod
    def parse(cls, text: object) -> Digest:
        """Read ``b3:<64 lower-case hex>``; anything else is a ``FormatError``."""
        if isinstance(text, str) and text.startswith(PREFIX) and text == text.lower():
            digits = text[len(PREFIX) :]
            if len(digits) == 2 * SIZE and digits.isalnum():
                try:
                    return cls(bytes.fromhex(digits))
                except ValueError:
                    pass
        raise FormatError(f"not a digest: {str(text)[:80]!r}")

    def __str__(self) -> str:
        return PREFIX + self.hex()

    def __repr__(self) -> str:
        return f"Digest({self!s})"

    @property
    def short(self) -> str:
        """The first twelve hex digits with the prefix, for people."""
        return PREFIX + self.hex()[:12]


class Hasher:
    """A digest taken piece by piece."""

    def __init__(self) -> None:
        self._hash = blake3.blake3()

    def update(self, data: Buffer) -> None:
        self._hash.update(data)

    def digest(self) -> Digest:
        return Digest(self._hash.digest())


def digest_of(data: Buffer) -> Digest:
    """Return the digest of ``data``."""
    return Digest(blake3.blake3(data).digest())


def digest_of_open(descriptor: int, read: Callable[[int], object] = lambda size: None) -> Digest:
    """Return the digest of an open file from where it stands; ``read`` is told of each piece."""
    hasher = Hasher()
    while data := os.read(descriptor, _READ_SIZE):
        hasher.update(data)
        read(len(data))
    return hasher.digest()


def checksum_of(data: Buffer) -> int:
    """Return XXH3-64 of ``data``: notices rot at memory speed, proves nothing."""
    return xxhash.xxh3_64_intdigest(data)
