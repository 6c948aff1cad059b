"""Palettes: few values cost their numbers, and every pattern comes back."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvc import codecs
from mvc.codecs import Encoding, palette
from mvc.codecs.planes import WIDTHS
from mvc.errors import FormatError


def decoded(payload: bytes, size: int) -> bytes:
    return bytes(codecs.decode(Encoding.PLANES, memoryview(payload), size))


@given(st.data(), st.sampled_from(WIDTHS), st.binary(max_size=7))
def test_elements_of_few_values_come_back(draw: st.DataObject, width: int, tail: bytes) -> None:
    """Any values, in any order and number, with bytes left over, are read as they were."""
    values = draw.draw(st.lists(st.integers(0, 2 ** (8 * width) - 1), min_size=2, max_size=9))
    picked = draw.draw(st.lists(st.sampled_from(values), max_size=400))
    data = np.array(picked, f"<u{width}").tobytes() + tail[: width - 1]
    known = np.unique(np.array(values, f"<u{width}"))
    made = palette.encode(memoryview(data), palette.Palette(known, 0))
    assert made is not None
    assert decoded(b"".join(made.pieces), len(data)) == data


@pytest.mark.parametrize(("bits", "most"), [(8, 0.22), (4, 0.1)])
def test_widened_integers_cost_their_bits(bits: int, most: float) -> None:
    """fp32 weights that were int8 or int4 take about what those would take."""
    weights = np.random.default_rng(0).normal(0, 0.02, 1 << 18).astype("<f4")
    step = np.float32(np.abs(weights).max() / (2 ** (bits - 1) - 1))
    data = (np.round(weights / step) * step).astype("<f4").tobytes()
    made = codecs.encode(data, 4)
    assert made.size <= most * len(data)
    assert decoded(b"".join(made.pieces), len(data)) == data


def test_values_that_no_sample_saw_come_back() -> None:
    """A rare value is found when all elements are looked at, and one too many ends the palette."""
    data = np.tile(np.array([1.5, -2.25, 3.125], "<f4"), 100_000)
    data[12_345] = -0.0
    few = palette.Palette(np.array([1.5, 3.125], "<f4").view("<u4"), 0)
    plain = data.tobytes()
    made = palette.encode(memoryview(plain), few)
    assert made is not None
    assert decoded(b"".join(made.pieces), len(plain)) == plain
    data[: 1 << 10] = np.arange(1 << 10, dtype="<f4")
    assert palette.encode(memoryview(data.tobytes()), few) is None


def payload_of(width: int, values: list[int], numbers: bytes, kind: int = 0) -> bytes:
    header = struct.pack("<BBHBI", width, 0, len(values), kind, len(numbers))
    return header + b"".join(value.to_bytes(width, "little") for value in values) + numbers


@pytest.mark.parametrize(
    ("payload", "size"),
    [
        (payload_of(2, [1, 1], b"\0\1"), 4),
        (payload_of(2, [2, 1], b"\0\1"), 4),
        (payload_of(2, [1, 2], b"\0\2"), 4),
        (payload_of(2, [1, 2], b"\2", kind=2), 4),
        (payload_of(2, [1, 2], b"\0\1\0"), 4),
        (payload_of(2, [1, 2], b"\0\1")[:-1], 4),
        (payload_of(2, [1, 2], b"\0\1") + b"t", 4),
        (payload_of(2, list(range(257)), b"\0\1"), 4),
        (payload_of(3, [1, 2], b"\0\1"), 6),
        (payload_of(2, [1, 2], b"\0\1", kind=3), 4),
    ],
)
def test_each_rule_of_the_page_is_checked(payload: bytes, size: int) -> None:
    """A payload that breaks one rule of palettes, and no other, is refused."""
    assert decoded(payload_of(2, [1, 2], b"\0\1"), 4) == b"\1\0\2\0"
    with pytest.raises(FormatError):
        decoded(payload, size)


@given(st.binary(max_size=60), st.integers(0, 90))
def test_noise_with_a_palette_is_never_a_crash(noise: bytes, size: int) -> None:
    """Bytes behind a header that claims a palette are decoded to ``size`` bytes or refused."""
    for width in WIDTHS:
        try:
            assert len(decoded(bytes([width, 0, 2, 0]) + noise, size)) == size
        except FormatError:
            continue


def test_dense_weights_are_told_from_their_first_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has many values is not sorted to find that out."""
    weights = np.random.default_rng(0).normal(0, 0.02, 1 << 18).astype("<f4").tobytes()
    monkeypatch.delattr(np, "unique")
    assert palette.make(memoryview(weights), 4) is None
