"""Sketches: what is alike is found, what is not is not compared."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mvc.codecs import sketch
from tests.codecs.test_choose import as_bf16, weights

COUNT = 100_000


def made(values: NDArray[np.float32]) -> bytes:
    found = sketch.make(values.tobytes(), 4)
    assert found is not None
    return found


@pytest.mark.parametrize("change", [1e-5, 1e-3, 0.02, 0.1, 0.2])
def test_what_was_trained_further_is_found_first(change: float) -> None:
    """Among two thousand others, where each weight changed by up to a fifth of the spread."""
    others = [made(weights(2000, seed)) for seed in range(2000)]
    base = weights(2000, 3)
    tuned = base + change * weights(2000, 9999)
    assert sketch.Sketches(others).near(made(tuned))[0] == 3


def test_weights_that_have_nothing_in_common_are_not_near() -> None:
    """No two of three hundred."""
    all_of_them = [made(weights(2000, seed)) for seed in range(300)]
    sketches = sketch.Sketches(all_of_them)
    assert [sketches.near(each) for each in all_of_them] == [[n] for n in range(300)]


def test_a_cast_has_the_sketch_of_its_source() -> None:
    """Signs stay, whatever the width."""
    values = weights(COUNT)
    assert sketch.make(as_bf16(values), 2) == made(values)
    assert sketch.make(values.astype("<f2").tobytes(), 2) == made(values)


def test_rows_at_the_end_do_not_hide_what_is_alike() -> None:
    """Within a length class the places are the same."""
    values = weights(COUNT)
    assert made(values) == made(np.concatenate([values, weights(1000, 1)]))


@pytest.mark.parametrize(
    ("data", "width"),
    [
        (b"", 4),
        (weights(100).tobytes(), 4),
        (bytes(COUNT), 4),
        (abs(weights(COUNT)).tobytes(), 4),
        (weights(COUNT).tobytes(), 0),
        (weights(COUNT).tobytes(), 16),
    ],
    ids=["nothing", "few", "zeros", "one sign", "no width", "wide"],
)
def test_what_says_nothing_has_no_sketch(data: bytes, width: int) -> None:
    """Few elements, or all of one sign, would be like anything."""
    assert sketch.make(data, width) is None


def test_among_many_that_are_alike_few_are_compared() -> None:
    """A thousand times the same: as many as one band may give, those that were told first."""
    sketches = sketch.Sketches([made(weights(2000))] * 1000)
    assert sketches.near(made(weights(2000))) == list(range(sketch.MOST_OF_A_BAND))


def test_nothing_is_near_where_there_is_nothing() -> None:
    """A search among no sketches finds none."""
    assert sketch.Sketches([]).near(made(weights(2000))) == []
