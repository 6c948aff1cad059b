"""Elements are the numbers that the library says, and statistics those of its own words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mvc.formats.numbers import are_numbers, compare, row_major

torch = pytest.importorskip("torch")
WORDS = """
bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 bfloat16 float32 float64
float8_e5m2 float8_e4m3fn
""".split()


def bytes_of(tensor: Any) -> bytes:
    return bytes(tensor.contiguous().view(torch.uint8).numpy())


@pytest.mark.parametrize("word", WORDS)
def test_elements_are_what_torch_says(word: str) -> None:
    """Every byte pattern of one or two bytes, and random ones of more, is the same number."""
    dtype = getattr(torch, word)
    raw = np.arange(65536, dtype="<u2").view("u1")
    if word == "bool":
        raw = raw & 1
    ours = torch.from_numpy(raw.copy()).view(dtype)
    theirs = ours.to(torch.float64)
    assert are_numbers(word)
    found = compare([(bytes_of(ours), bytes_of(theirs))], (word, "float64"))
    assert (found.share, found.largest, found.elements) == (0, 0, ours.numel())
    assert found.not_finite == int((~torch.isfinite(theirs)).sum())


def test_big_endian_elements_are_read_as_such() -> None:
    """The mark on the type says how its bytes lie."""
    values = np.array([1.5, -2.0, 3e10])
    blocks = [(values.astype(">f4").tobytes(), values.astype("<f4").tobytes())]
    assert compare(blocks, ("float32.big", "float32")).share == 0


def test_what_is_no_single_number_is_known() -> None:
    """Packed and quantised elements are not compared."""
    words = ["float4_e2m1fn_x2", "qint8(0.1,0)", "complex64.conj", "unheard of"]
    assert not any(map(are_numbers, words))


def test_statistics_are_those_of_their_definition() -> None:
    """In several blocks or in one, they are what numpy says of the whole."""
    random = np.random.default_rng(0)
    a = random.normal(0, 1, 3000)
    b = np.where(random.random(3000) < 0.3, a + 0.1, a)
    blocks = [(a[at : at + 1000].tobytes(), b[at : at + 1000].tobytes()) for at in (0, 1000, 2000)]
    found = compare(blocks, ("float64", "float64"))
    assert found.share == np.mean(a != b)
    assert found.largest == np.abs(b - a).max()
    assert found.mean == pytest.approx(np.abs(b - a).mean())
    assert found.relative == pytest.approx(np.linalg.norm(b - a) / np.linalg.norm(a))
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    assert found.cosine == pytest.approx(cosine)


def test_what_is_not_finite_counts_for_the_share_only() -> None:
    """NaN equals NaN; a NaN that became a number differs, and moves no mean."""
    a = np.array([math.nan, math.nan, math.inf, 1.0, 2.0])
    b = np.array([math.nan, 1.0, math.inf, 1.0, 4.0])
    found = compare([(a.tobytes(), b.tobytes())], ("float64", "float64"))
    assert (found.share, found.not_finite) == (0.4, 3)
    assert (found.largest, found.mean) == (2.0, 1.0)


def test_without_a_norm_nothing_is_divided() -> None:
    """Against zeros, or without any element, ratios are None."""
    zeros, ones = bytes(8), np.ones(1).tobytes()
    found = compare([(zeros, ones)], ("float64", "float64"))
    assert (found.relative, found.cosine, found.largest) == (None, None, 1.0)
    found = compare([], ("float64", "float64"))
    assert (found.elements, found.share, found.relative) == (0, 0.0, None)


def test_a_view_is_laid_out_in_order() -> None:
    """A transposed or expanded view gives the elements as they count."""
    flat = np.arange(12, dtype="<f4")
    assert row_major(flat.tobytes(), 4, (4, 3), (1, 4)) == flat.reshape(3, 4).T.tobytes()
    assert row_major(flat[:1].tobytes(), 4, (2, 2), (0, 0)) == flat[:1].tobytes() * 4
    assert row_major(b"as it is", 4, (2,), None) == b"as it is"
