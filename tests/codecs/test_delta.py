"""Deltas: whatever the base, the bytes come back; and how small they are."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mvc import codecs
from mvc.codecs import Base, Encoding, delta
from mvc.codecs.predict import Prediction, base_width, fitting, predict
from mvc.codecs.residual import apply, residual_of
from mvc.digest import digest_of
from mvc.errors import FormatError

COUNT = 1 << 18

WIDTHS = st.sampled_from(delta.WIDTHS)
PATTERNS = st.sampled_from(
    [0, 1, 0x8000, 0x7FFF, 0xFFFF, 0x7F80, 0x7F81, 0xFF80, 0xFFC1, 0x7C00, 0x7C01, 0xFC00, 0x3F80]
)
special = st.lists(PATTERNS | st.integers(0, 0xFFFF), max_size=64).map(
    lambda halves: np.array(halves, "<u2").tobytes()
)
contents = st.binary(max_size=300) | special


def back(data: bytes, width: int, base: bytes, width_of_base: int) -> int:
    """Keep ``data`` over ``base`` in every way there is and read it back; return the least size."""
    sizes = []
    for prediction in fitting(width_of_base, width):
        for bounds in (b"", b"\x40\x80", bytes([0, 1, 2, 100, 120, 127, 255])):
            planned = delta.Plan(prediction, bounds, 0)
            made = delta.encode(memoryview(data), width, base, planned)
            payload = memoryview(b"".join(made.pieces))
            assert len(payload) == made.size
            assert bytes(codecs.decode_delta(payload, len(data), base)) == data
            sizes.append(made.size)
    return min(sizes, default=len(data))


@given(contents, contents, WIDTHS, WIDTHS)
def test_any_bytes_over_any_base_come_back(
    data: bytes, base: bytes, width: int, width_of_base: int
) -> None:
    """NaN payloads, negative zeros, infinities, odd lengths, short bases: all are exact."""
    back(data, width, base, width_of_base)


@given(contents, WIDTHS)
def test_what_equals_its_base_costs_a_header(data: bytes, width: int) -> None:
    """An object that is its base takes four bytes, and the bytes after its last element."""
    assert back(data, width, data, width) == 4 + len(data) % width


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_every_difference_folds_and_unfolds(width: int) -> None:
    """The largest and smallest differences, which wrap, come back as they were."""
    top = 2 ** (8 * width) - 1
    corners = np.array([0, 1, top // 2, top // 2 + 1, top - 1, top], f"<u{width}")
    values, predicted = (side.ravel() for side in np.meshgrid(corners, corners))
    out = np.empty_like(values)
    apply(residual_of(values, predicted), predicted, out)
    assert (out == values).all()
    assert (residual_of(values, values) == 0).all()


def test_every_half_is_widened_and_rounded_back() -> None:
    """All 65,536 patterns of fp16 and bf16 that are no NaN are the cast of what they widen to."""
    halves = np.arange(1 << 16, dtype="<u2")
    for widen, narrow, exponents in (
        (Prediction.BFLOAT16_TO_FLOAT32, Prediction.FLOAT32_TO_BFLOAT16, 0x7F80),
        (Prediction.FLOAT16_TO_FLOAT32, Prediction.FLOAT32_TO_FLOAT16, 0x7C00),
    ):
        wide = predict(widen, halves.tobytes(), 4, len(halves))
        again = predict(narrow, wide.tobytes(), 2, len(halves))
        number = (halves & 0x7FFF) <= exponents
        assert (again[number] == halves[number]).all()
        assert base_width(widen, 4) == 2


def test_rounding_is_that_of_torch() -> None:
    """A cast by torch is the prediction, so that it costs a header."""
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(1 << 16, generator=generator) * 10.0 ** torch.randint(
        -42, 38, (1 << 16,), generator=generator
    )
    data = values.numpy().tobytes()
    for dtype in (torch.bfloat16, torch.float16):
        cast = values.to(dtype).view(torch.int16).numpy().tobytes()
        assert back(cast, 2, data, 4) == 4


def weights(count: int = COUNT, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.02, count).astype("<f4")


def as_bf16(values: NDArray[np.float32]) -> bytes:
    bits = values.view("<u4")
    rounded: NDArray[np.uint32] = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return rounded.astype("<u2").tobytes()


def chosen(data: bytes, width: int, base: bytes, width_of_base: int, depth: int = 0) -> float:
    """Return the part of its size that ``encode`` needs when it is offered a base."""
    offered = Base(digest_of(base), width_of_base, depth, base)
    made = codecs.encode(data, width, [offered])
    payload = memoryview(b"".join(made.pieces))
    if made.base is offered:
        assert made.encoding is Encoding.DELTA
        assert bytes(codecs.decode_delta(payload, len(data), base)) == data
    else:
        assert bytes(codecs.decode(made.encoding, payload, len(data))) == data
    return made.size / len(data)


def test_what_is_near_costs_little() -> None:
    """Casts, fine-tunes and sparse changes reach the ratios that the issue's series rest on."""
    old = weights()
    near = old + np.float32(1e-5) * weights(seed=1)
    assert chosen(as_bf16(old), 2, old.tobytes(), 4) < 0.0001
    assert chosen(old.astype("<f2").tobytes(), 2, old.tobytes(), 4) < 0.0001
    assert chosen(old.tobytes(), 4, as_bf16(old), 2) < 0.51
    assert chosen(old.tobytes(), 4, old.astype("<f2").tobytes(), 2) < 0.43
    assert chosen(near.tobytes(), 4, old.tobytes(), 4) < 0.35
    assert chosen(as_bf16(old * np.float32(1.001)), 2, as_bf16(old), 2) < 0.16
    every_ninth = old.copy()
    every_ninth[::9] += np.float32(1e-3)
    assert chosen(every_ninth.tobytes(), 4, old.tobytes(), 4) < 0.1


def test_rows_appended_cost_their_own_bytes() -> None:
    """A tensor that grew over its base costs what is new."""
    old = weights()
    grown = np.concatenate([old, weights(COUNT // 8, seed=2)]).tobytes()
    assert chosen(grown, 4, old.tobytes(), 4) < 0.115


def test_a_base_must_be_worth_its_link() -> None:
    """A base that has nothing to say is not used, and one far down must say more."""
    old, other = weights(), weights(seed=1)
    made = codecs.encode(old.tobytes(), 4, [Base(digest_of(b""), 4, 0, other.tobytes())])
    assert made.base is None
    assert made.encoding is Encoding.PLANES
    blend = (old + np.float32(0.05) * other).tobytes()
    assert chosen(blend, 4, old.tobytes(), 4) < 0.75
    deep = codecs.encode(blend, 4, [Base(digest_of(b""), 4, 3, old.tobytes())])
    assert deep.base is None


@given(contents, contents, WIDTHS, st.data())
def test_a_damaged_payload_is_refused_or_of_the_same_length(
    data: bytes, base: bytes, width: int, draw: st.DataObject
) -> None:
    """A flipped or missing byte gives other bytes of the same number, or one error."""
    planned = delta.Plan(Prediction.SAME, b"\x50", 0)
    payload = bytearray(b"".join(delta.encode(memoryview(data), width, base, planned).pieces))
    at = draw.draw(st.integers(0, len(payload) - 1), label="offset")
    cut = bytes(payload[:at])
    payload[at] ^= draw.draw(st.integers(1, 255), label="flip")
    for damaged in (cut, bytes(payload)):
        with contextlib.suppress(FormatError):
            assert len(codecs.decode_delta(memoryview(damaged), len(data), base)) == len(data)
