"""What encoding is chosen, and how small the result is."""

from __future__ import annotations

import string

import numpy as np
import pytest
from numpy.typing import NDArray

from mvc import codecs
from mvc.codecs import plan, planes, zstd
from mvc.codecs.encoding import Encoding
from mvc.codecs.zstd import Effort

CHUNK = 4 << 20


def weights(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.02, count).astype("<f4")


def as_bf16(values: NDArray[np.float32]) -> bytes:
    bits = values.view("<u4")
    rounded: NDArray[np.uint32] = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return rounded.astype("<u2").tobytes()


def ratio(data: bytes, width: int) -> float:
    return codecs.encode(data, width).size / len(data)


@pytest.mark.parametrize("seed", range(3))
def test_dense_weights_reach_their_ratios(seed: int) -> None:
    """A chunk of 4 MiB of new weights takes no more than what is promised for its type."""
    values = weights(CHUNK // 2, seed)
    assert ratio(values[: CHUNK // 4].tobytes(), 4) <= 0.8315
    assert ratio(as_bf16(values), 2) <= 0.665
    assert ratio(values.astype("<f2").tobytes(), 2) <= 0.86
    assert ratio(values[: CHUNK // 8].astype("<f8").tobytes(), 8) <= 0.65
    doubles = np.random.default_rng(seed).normal(0, 0.02, CHUNK // 8)
    assert ratio(doubles.astype("<f8").tobytes(), 8) <= 0.89


def test_small_tensors_reach_them_nearly() -> None:
    """At 64 KiB the header and the code table cost less than one part in 200."""
    assert ratio(weights(16 << 10).tobytes(), 4) <= 0.8355


def test_widened_weights_cost_what_the_narrow_ones_do() -> None:
    """fp32 that was bf16 takes half of what its bf16 takes, within 1 %."""
    narrow = as_bf16(weights(1 << 20))
    wide = (np.frombuffer(narrow, "<u2").astype("<u4") << 16).tobytes()
    assert ratio(wide, 4) <= ratio(narrow, 2) / 2 + 0.01


def test_complex_numbers_are_two_floats() -> None:
    """Complex weights take the same part of their size as the floats they consist of."""
    values = weights(1 << 19)
    assert ratio(values.tobytes(), 8) <= ratio(values.tobytes(), 4) + 0.001
    doubles = values.astype("<f8").tobytes()
    assert ratio(doubles, 16) == ratio(doubles, 8)


@pytest.mark.parametrize("lead", [1, 2, 3])
def test_weights_behind_an_odd_header_lose_a_hundredth(lead: int) -> None:
    """A small file's weights may begin at any byte: that costs at most 1 %."""
    assert ratio(bytes(lead) + weights(1 << 18).tobytes(), 4) <= 0.8415
    assert ratio(bytes(lead) + as_bf16(weights(1 << 19)), 2) <= 0.672


@pytest.mark.parametrize("width", [0, 1, 2, 4, 8, 16])
@pytest.mark.parametrize("size", [0, 1, 100, 40_000, CHUNK])
def test_noise_is_kept_as_it_is(size: int, width: int) -> None:
    """Random bytes are kept raw, without a copy."""
    noise = np.random.default_rng(1).bytes(size)
    encoded = codecs.encode(noise, width)
    assert encoded.encoding is Encoding.RAW
    assert all(memoryview(piece).obj is noise for piece in encoded.pieces)


@pytest.mark.parametrize("width", [0, 1, 2, 4, 8])
@pytest.mark.parametrize("byte", [b"\0", b"\x7f"])
def test_one_byte_repeated_takes_almost_nothing(byte: bytes, width: int) -> None:
    """A constant chunk of 4 MiB takes less than 1 KiB."""
    assert codecs.encode(byte * CHUNK, width).size < 1024


def test_text_is_zstd_whatever_the_hint() -> None:
    """Text is recognised by measuring it, also where the hint calls it floats."""
    rng = np.random.default_rng(2)
    words = ["".join(rng.choice(list(string.ascii_lowercase), 6)) for _ in range(500)]
    text = " ".join(rng.choice(words, 50_000)).encode()
    for width in (0, 1, 4):
        for size in (2_000, 30_000, len(text)):
            encoded = codecs.encode(text[:size], width)
            assert encoded.encoding is Encoding.ZSTD
            assert encoded.size < 0.75 * size


def unusual(name: str) -> NDArray[np.float32]:
    """Return a chunk of floats that are not, or not only, dense new weights."""
    rng = np.random.default_rng(1)
    values = weights(1 << 20)
    kinds = {
        "dense": values,
        "rows repeated at once": np.tile(values[:3_000], 350),
        "rows repeated far away": np.tile(values[:60_000], 17),
        "a palette of 256": values[rng.integers(0, 256, 1 << 20)],
        "a palette of 16": values[rng.integers(0, 16, 1 << 20)],
        "quantised to a byte": (values * 1500).round() * np.float32(0.0123),
        "half pruned": values * (rng.random(1 << 20) < 0.5),
        "every other row zero": values * (np.arange(1 << 20) // 1000 % 2),
        "second moments": np.square(values),
        "integers": rng.integers(0, 50_000, 1 << 20).astype("<i4").view("<f4"),
    }
    chosen: NDArray[np.float32] = kinds[name].astype("<f4")
    return chosen


@pytest.mark.parametrize(
    "name",
    [
        "dense",
        "rows repeated at once",
        "rows repeated far away",
        "a palette of 16",
        "a palette of 256",
        "quantised to a byte",
        "half pruned",
        "every other row zero",
        "second moments",
        "integers",
    ],
)
def test_the_choice_is_near_the_best(name: str) -> None:
    """However unusual floats are, the way chosen loses at most 1 % of them to the best way."""
    data = unusual(name).tobytes()
    view = memoryview(data)
    every = [zstd.encode(view, effort).size for effort in (Effort.BYTES, Effort.MATCHES)]
    for efforts in ([Effort.BYTES] * 4, [Effort.MATCHES] * 4):
        every.append(planes.encode(view, plan.Plan(4, tuple(efforts), frozenset(), 0)).size)
    assert codecs.encode(data, 4).size <= min(*every, len(data)) + len(data) // 100


def test_a_constant_plane_is_found_exactly() -> None:
    """One exception that no sample meets keeps a plane from being taken for constant."""
    values = np.full(1 << 20, 0.5, "<f4")
    plain = codecs.encode(values.tobytes(), 4)
    values[123_457] = -0.75
    data = values.tobytes()
    marred = codecs.encode(data, 4)
    payload = memoryview(b"".join(marred.pieces))
    assert plain.size < marred.size < 1024
    assert bytes(codecs.decode(marred.encoding, payload, len(data))) == data


def test_a_promise_not_kept_is_dropped() -> None:
    """Where the sampled windows compress and nothing else does, the bytes are kept raw."""
    noise = bytearray(np.random.default_rng(1).bytes(CHUNK))
    spare = CHUNK - (32 << 10)
    for window in range(4):
        start = spare * (2 * window + 1) // 8
        noise[start : start + (32 << 10)] = bytes(32 << 10)
    encoded = codecs.encode(bytes(noise), 0)
    assert encoded.size <= CHUNK
    assert encoded.encoding is Encoding.RAW or encoded.size <= 0.97 * CHUNK
