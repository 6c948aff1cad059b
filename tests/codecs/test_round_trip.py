"""Whatever the bytes and the width, encoding and decoding give the bytes back."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from mvc import codecs
from mvc.codecs import plan, planes, transpose, zstd
from mvc.codecs.encoding import Encoded, Encoding
from mvc.codecs.zstd import Effort

WIDTHS = [0, 1, 2, 4, 8, 16]

repetitive = st.builds(
    lambda unit, times, tail: unit * times + tail,
    st.binary(min_size=1, max_size=40),
    st.integers(1, 2000),
    st.binary(max_size=9),
)
contents = st.binary(max_size=4000) | repetitive


def payload_of(encoded: Encoded) -> memoryview:
    """Return the payload as it is read back from a pack."""
    payload = b"".join(encoded.pieces)
    assert len(payload) == encoded.size
    return memoryview(payload)


def round_trip(data: bytes, width: int) -> bytes:
    encoded = codecs.encode(data, width)
    return bytes(codecs.decode(encoded.encoding, payload_of(encoded), len(data)))


@given(contents, st.sampled_from(WIDTHS))
def test_any_bytes_of_any_width_come_back(data: bytes, width: int) -> None:
    """The chosen encoding gives back every byte, whatever the width hinted at."""
    assert round_trip(data, width) == data


@given(contents, st.sampled_from(planes.WIDTHS), st.data())
def test_planes_hold_any_bytes_under_any_plan(data: bytes, width: int, draw: st.DataObject) -> None:
    """A plan that is wrong about every plane costs compression, never the data."""
    efforts = draw.draw(st.tuples(*[st.sampled_from([None, Effort.BYTES, Effort.MATCHES])] * width))
    whole = len(data) >= width
    constant = draw.draw(st.frozensets(st.integers(0, width - 1))) if whole else frozenset()
    encoded = planes.encode(memoryview(data), plan.Plan(width, efforts, constant, 0))
    assert bytes(planes.decode(payload_of(encoded), len(data))) == data


@given(contents, st.sampled_from([Effort.BYTES, Effort.MATCHES]))
def test_zstd_holds_any_bytes(data: bytes, effort: Effort) -> None:
    """A frame of either effort reads back within the window its size allows."""
    encoded = zstd.encode(memoryview(data), effort)
    assert zstd.decode(payload_of(encoded), len(data)) == data


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("size", [0, 1, 7, 4096, 70_001, 300_003, (4 << 20) + 5])
def test_lengths_that_no_width_divides(size: int, width: int) -> None:
    """Weights cut off in the middle of an element come back, small and large."""
    weights = np.random.default_rng(size).normal(0, 0.02, size // 4 + 1).astype("<f4")
    data = weights.tobytes()[:size]
    assert round_trip(data, width) == data


@pytest.mark.parametrize("width", planes.WIDTHS)
def test_special_floats_keep_their_bits(width: int) -> None:
    """NaN payloads, both zeros, denormals and infinities come back bit for bit."""
    bits = 8 * width
    ones = (1 << bits) - 1
    exponent = {2: 0x7C00, 4: 0x7F800000, 8: 0x7FF0000000000000}[width]
    sign = 1 << (bits - 1)
    special = [0, sign, 1, sign | 1, exponent, sign | exponent, exponent | 1, ones, ones >> 1]
    data = b"".join(value.to_bytes(width, "little") for value in special) * 500
    everything = planes.encode(memoryview(data), plan.make(memoryview(data), width))
    assert bytes(planes.decode(payload_of(everything), len(data))) == data
    assert round_trip(data, width) == data


def test_a_view_into_a_larger_buffer_is_encoded_alone() -> None:
    """What lies around a view of floats, even unaligned, does not get into the payload."""
    buffer = bytearray(b"x" + np.linspace(-1, 1, 30_000, dtype="<f4").tobytes() + b"yz")
    view = memoryview(buffer)[1:-2]
    encoded = codecs.encode(view, 4)
    assert bytes(codecs.decode(encoded.encoding, payload_of(encoded), len(view))) == bytes(view)


def test_a_payload_may_lie_at_an_odd_place() -> None:
    """A payload read from the middle of a pack needs no alignment."""
    data = np.random.default_rng(3).normal(0, 0.02, 20_000).astype("<f4").tobytes()
    encoded = codecs.encode(data, 4)
    assert encoded.encoding is Encoding.PLANES
    pack = b"pad" + payload_of(encoded) + b"next frame"
    payload = memoryview(pack)[3 : 3 + encoded.size]
    assert bytes(codecs.decode(encoded.encoding, payload, len(data))) == data


def test_blocks_leave_no_seam() -> None:
    """Elements are regrouped alike on both sides of every block's end."""
    count = transpose.BLOCK * 2 + 3
    data = struct.pack(f"<{count}H", *(index * 40503 & 0xFFFF for index in range(count)))
    everything = plan.Plan(2, (None, None), frozenset(), 0)
    encoded = planes.encode(memoryview(data), everything)
    assert bytes(planes.decode(payload_of(encoded), len(data))) == data


def test_threads_get_what_one_thread_gets() -> None:
    """Encoding and decoding in several threads at once changes no byte."""
    rng = np.random.default_rng(5)
    chunks = [rng.normal(0, scale, 100_000).astype("<f4").tobytes() for scale in (0.02, 1, 50)]
    jobs = [(chunk, width) for chunk in chunks for width in WIDTHS] * 3

    def encoded_payload(job: tuple[bytes, int]) -> tuple[Encoding, bytes]:
        encoded = codecs.encode(*job)
        payload = payload_of(encoded)
        assert bytes(codecs.decode(encoded.encoding, payload, len(job[0]))) == job[0]
        return encoded.encoding, bytes(payload)

    alone = [encoded_payload(job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(encoded_payload, jobs))
    assert together == alone


@pytest.mark.parametrize("effort", Effort)
def test_another_zstd_reads_our_frames_and_is_read(effort: Effort) -> None:
    """Frames are those of the standard: a library of other people reads them, and writes ours."""
    exponents = (np.random.default_rng(0).normal(120, 2, 1 << 20)).astype(np.uint8).tobytes()
    for plain in (b"", b"weights and biases " * 400, exponents):
        frame = zstd.compress(plain, effort)
        assert zstandard.ZstdDecompressor().decompress(frame, max_output_size=len(plain)) == plain
        for sized in (True, False):
            theirs = zstandard.ZstdCompressor(write_content_size=sized).compress(plain)
            assert zstd.decompress(theirs, len(plain)) == plain
