"""Damaged and hostile payloads: refused with one error, at the cost of their size."""

from __future__ import annotations

import struct
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvc import codecs
from mvc.codecs import plan, planes, zstd
from mvc.codecs.encoding import Encoding
from mvc.codecs.zstd import Effort
from mvc.errors import FormatError

if sys.version_info >= (3, 14):
    from compression import zstd as library
else:
    from backports import zstd as library

READ_HERE = [Encoding.RAW, Encoding.ZSTD, Encoding.PLANES]


def sample(width: int) -> tuple[bytes, bytes]:
    """Return plain bytes and a payload of them that has planes of every kind, and a tail."""
    values = np.random.default_rng(width).normal(0, 0.02, 700).astype("<f4").view("<u4")
    plain = (values & 0xFF0FFF00).tobytes() + b"t"
    efforts = (Effort.BYTES, Effort.MATCHES, None, Effort.BYTES) * 2
    planned = plan.Plan(width, efforts[:width], frozenset(range(width)), 0)
    return plain, b"".join(planes.encode(memoryview(plain), planned).pieces)


def decode_or_refuse(encoding: Encoding, payload: bytes, size: int) -> bytes | None:
    """Decode as a store does; a refusal is ``None``, any other error goes through."""
    try:
        plain = bytes(codecs.decode(encoding, memoryview(payload), size))
    except FormatError:
        return None
    assert len(plain) == size
    return plain


@pytest.mark.parametrize("width", planes.WIDTHS)
def test_every_flipped_byte_of_planes_is_harmless(width: int) -> None:
    """A flipped byte is refused or gives other bytes of the same length, nothing else."""
    plain, payload = sample(width)
    header = 4 + 5 * width
    for at in range(len(payload)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(payload)
            damaged[at] ^= flip
            result = decode_or_refuse(Encoding.PLANES, bytes(damaged), len(plain))
            assert result is None or at >= header, f"byte {at} of the header"


@pytest.mark.parametrize("width", planes.WIDTHS)
def test_every_truncation_of_planes_is_refused(width: int) -> None:
    """No prefix of a payload, and no payload with more behind it, is taken for whole."""
    plain, payload = sample(width)
    for length in range(len(payload)):
        assert decode_or_refuse(Encoding.PLANES, payload[:length], len(plain)) is None
    assert decode_or_refuse(Encoding.PLANES, payload + b"\0", len(plain)) is None


@given(st.data())
def test_a_damaged_frame_is_refused_or_of_the_same_length(draw: st.DataObject) -> None:
    """A frame cut off or flipped anywhere never gives more than its size, nor a foreign error."""
    plain = b"weights and biases " * 40
    payload = bytearray(zstd.compress(plain, draw.draw(st.sampled_from(Effort))))
    at = draw.draw(st.integers(0, len(payload) - 1), label="offset")
    assert decode_or_refuse(Encoding.ZSTD, bytes(payload[:at]), len(plain)) is None
    payload[at] ^= draw.draw(st.integers(1, 255), label="flip")
    decode_or_refuse(Encoding.ZSTD, bytes(payload), len(plain))


@given(st.sampled_from(READ_HERE), st.binary(max_size=200), st.integers(0, 500))
def test_noise_is_never_a_crash(encoding: Encoding, payload: bytes, size: int) -> None:
    """Bytes that nobody wrote as a payload are decoded to ``size`` bytes or refused."""
    decode_or_refuse(encoding, payload, size)


kinds = st.integers(0, 3)
lengths = st.integers(0, 40) | st.sampled_from([2**31, 2**32 - 1])


@given(
    st.integers(0, 9),
    st.lists(st.tuples(kinds, lengths), min_size=1, max_size=8),
    st.binary(max_size=90),
    st.integers(0, 90),
)
def test_a_made_up_header_is_never_a_crash(
    width: int, entries: list[tuple[int, int]], bodies: bytes, size: int
) -> None:
    """Lengths, kinds and widths that contradict each other are refused, however they do."""
    header = bytes([width, 0, 0, 0]) + b"".join(struct.pack("<BI", *entry) for entry in entries)
    decode_or_refuse(Encoding.PLANES, header + bodies, size)


@pytest.mark.parametrize("encoding", READ_HERE)
def test_another_size_is_refused(encoding: Encoding) -> None:
    """A payload that is sound is refused if its frame claims another plain size."""
    plain, payload = sample(4)
    if encoding is Encoding.ZSTD:
        payload = zstd.compress(plain, Effort.MATCHES)
    elif encoding is Encoding.RAW:
        payload = plain
    assert decode_or_refuse(encoding, payload, len(plain)) == plain
    for size in (0, 1, len(plain) - 4, len(plain) - 1, len(plain) + 1, len(plain) + 4, 1 << 20):
        assert decode_or_refuse(encoding, payload, size) is None


def peak_of_refusal(encoding: Encoding, payload: bytes, size: int) -> int:
    """Return the most bytes held while ``payload`` is refused."""
    decode_or_refuse(encoding, b"", size)  # what is loaded once is not counted
    tracemalloc.start()
    try:
        assert decode_or_refuse(encoding, payload, size) is None
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_is_refused_before_it_unfolds() -> None:
    """Frames that unfold to 256 MiB are refused at the cost of the size that was declared."""
    bomb = zstd.compress(bytes(256 << 20), Effort.MATCHES)
    assert len(bomb) < 64 << 10
    assert peak_of_refusal(Encoding.ZSTD, bomb, 1000) < 1 << 20

    count = 100_000
    entries = [(0, count), (1, len(bomb))]
    header = bytes([2, 0, 0, 0]) + b"".join(struct.pack("<BI", *entry) for entry in entries)
    as_planes = header + bytes(count) + bomb
    assert peak_of_refusal(Encoding.PLANES, as_planes, 2 * count) < 4 << 20


def test_a_streamed_bomb_is_cut_off() -> None:
    """A frame that does not say how long it is unfolds one byte too far and no further."""
    compressor = library.ZstdCompressor()
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(64)) + compressor.flush()
    assert peak_of_refusal(Encoding.ZSTD, bomb, 4 << 20) < 16 << 20


def test_a_window_larger_than_the_object_is_refused() -> None:
    """A frame of a few bytes cannot ask for a window of 128 MiB."""
    options: dict[int, int] = {library.CompressionParameter.window_log: 27}
    compressor = library.ZstdCompressor(options=options)
    frame = compressor.compress(b"x" * 5000) + compressor.flush()
    assert library.decompress(frame) == b"x" * 5000
    assert decode_or_refuse(Encoding.ZSTD, frame, 5000) is None


def test_a_frame_must_end() -> None:
    """A frame cut off after its last byte of content, but before its end mark, is refused."""
    compressor = library.ZstdCompressor()
    compressor.set_pledged_input_size(500)
    content = compressor.compress(b"x" * 500, library.ZstdCompressor.FLUSH_BLOCK)
    assert decode_or_refuse(Encoding.ZSTD, content + compressor.flush(), 500) == b"x" * 500
    assert decode_or_refuse(Encoding.ZSTD, content, 500) is None


def payload_of(entries: list[tuple[int, bytes]], tail: bytes = b"") -> bytes:
    """Put planes of these kinds and bodies together as the page says, right or wrong."""
    header = bytes([len(entries), 0, 0, 0])
    table = b"".join(struct.pack("<BI", kind, len(body)) for kind, body in entries)
    return header + table + b"".join(body for _, body in entries) + tail


FRAME = zstd.compress(b"ab" * 50, Effort.MATCHES)

RAW, ZSTD, CONSTANT = 0, 1, 2


@pytest.mark.parametrize(
    ("entries", "size"),
    [
        ([(RAW, bytes(100)), (RAW, bytes(99))], 200),
        ([(RAW, bytes(100)), (CONSTANT, b"")], 200),
        ([(RAW, bytes(100)), (CONSTANT, b"aa")], 200),
        ([(RAW, b""), (CONSTANT, b"a")], 0),
        ([(RAW, bytes(100)), (ZSTD, b"")], 200),
        ([(RAW, bytes(100)), (ZSTD, FRAME + bytes(1))], 200),
        ([(RAW, bytes(9)), (ZSTD, zstd.compress(b"ababababa", Effort.MATCHES))], 18),
        ([(RAW, bytes(100)), (3, bytes(100))], 200),
        ([(RAW, bytes(10))], 10),
        ([(RAW, bytes(10))] * 3, 30),
        ([(RAW, bytes(10))] * 16, 160),
    ],
)
def test_each_rule_of_the_page_is_checked(entries: list[tuple[int, bytes]], size: int) -> None:
    """A payload that breaks one rule of planes, and no other, is refused."""
    assert decode_or_refuse(Encoding.PLANES, payload_of(entries), size) is None


def test_what_the_rules_allow_is_read() -> None:
    """Planes of every kind are read, also those that our writer would keep otherwise."""
    mixed = payload_of([(ZSTD, FRAME), (CONSTANT, b"\0")], tail=b"t")
    assert decode_or_refuse(Encoding.PLANES, mixed, 201) == b"\x30\x80\x31\0" * 50 + b"t"
    assert decode_or_refuse(Encoding.PLANES, payload_of([(RAW, b"")] * 8, tail=b"t"), 1) == b"t"
    zeros = payload_of([(CONSTANT, b"\x01"), (CONSTANT, b"\0")])
    assert decode_or_refuse(Encoding.PLANES, zeros, 6) == b"\0\x80" * 3


@pytest.mark.parametrize("more", [b"\0", b"second frame", b"skippable"])
def test_nothing_may_follow_a_frame(more: bytes) -> None:
    """A frame is refused if junk, another frame or a skippable frame stands beside it."""
    frame = zstd.compress(b"x" * 500, Effort.MATCHES)
    if more == b"second frame":
        more = zstd.compress(b"", Effort.MATCHES)
    elif more == b"skippable":
        more = struct.pack("<II", 0x184D2A50, 4) + bytes(4)
        assert decode_or_refuse(Encoding.ZSTD, more + frame, 500) is None
    assert decode_or_refuse(Encoding.ZSTD, frame + more, 500) is None


def test_a_delta_is_not_decoded_by_itself() -> None:
    """A payload that needs another object is refused where that is not at hand."""
    with pytest.raises(FormatError, match="by its store"):
        codecs.decode(Encoding.DELTA, memoryview(b"payload"), 7)


def test_a_recipe_is_not_decoded_by_itself() -> None:
    """A recipe names other objects, so only a store can follow it."""
    with pytest.raises(FormatError, match="recipe"):
        codecs.decode(Encoding.RECIPE, memoryview(b"payload"), 7)
