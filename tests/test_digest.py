"""Digests: the names of bytes."""

from __future__ import annotations

import blake3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvc.digest import Digest, Hasher, checksum_of, digest_of
from mvc.errors import FormatError

digests = st.binary(min_size=32, max_size=32).map(Digest)


def test_the_digest_is_that_of_b3sum() -> None:
    """Known answers of BLAKE3-256, from its specification's test vectors."""
    empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert str(digest_of(b"")) == "b3:" + empty
    vector = bytes(i % 251 for i in range(1024))
    assert digest_of(vector).hex().startswith("42214739f095a406f3fc83deb889744a")


@given(st.lists(st.binary(max_size=70)))
def test_pieces_give_the_digest_of_the_whole(pieces: list[bytes]) -> None:
    """Where bytes are cut does not change their digest, nor does the kind of buffer."""
    hasher = Hasher()
    for piece in pieces:
        hasher.update(memoryview(bytearray(piece)))
    assert (
        hasher.digest() == digest_of(b"".join(pieces)) == blake3.blake3(b"".join(pieces)).digest()
    )


@given(digests)
def test_a_digest_reads_back_from_its_text(digest: Digest) -> None:
    """``parse`` undoes ``str``, and the short form is its beginning."""
    assert Digest.parse(str(digest)) == digest
    assert str(digest).startswith(digest.short)
    assert len(digest.short) == 15


@given(digests, digests)
def test_digests_sort_like_their_text(one: Digest, other: Digest) -> None:
    """The order of an index is the order a person sees."""
    assert (one < other) == (str(one) < str(other))
    assert (one == other) == (str(one) == str(other))


GOOD = "b3:" + "0a" * 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b3:",
        GOOD[:-1],
        GOOD + "0",
        GOOD[3:],
        GOOD.upper(),
        "b3:" + "0A" * 32,
        "b3:" + "0g" * 32,
        "b3:" + " 0a" * 21 + "0",
        "b3:" + "0a " * 31 + "0a",
        "b3:" + "\uff10a" * 32,
        "b3:" + "\u0660a" * 32,
        "sha256:" + "0a" * 32,
        " " + GOOD,
        GOOD + "\n",
        None,
        7,
        GOOD.encode(),
    ],
)
def test_what_is_not_a_digest_is_refused(text: object) -> None:
    """One digest has one spelling; every other text is a ``FormatError``."""
    with pytest.raises(FormatError):
        Digest.parse(text)


@given(st.binary(max_size=64).filter(lambda raw: len(raw) != 32))
def test_a_digest_has_32_bytes(raw: bytes) -> None:
    """No other number of bytes makes a digest."""
    with pytest.raises(FormatError):
        Digest(raw)


def test_the_checksum_is_xxh3_of_64_bits() -> None:
    """Known answer of XXH3-64: a frame written today is checked by every later release."""
    assert checksum_of(b"") == 0x2D06800538D394C2
    assert checksum_of(memoryview(b"mvc")) == checksum_of(b"mvc") < 1 << 64
