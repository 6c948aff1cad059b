"""What the options of ``add`` make of what was typed."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvc.cli import values
from mvc.errors import UsageError

KEPT = ["1.10", "0.10", "007", "-0", "+1", "1_000", "true", "False", "null", "nan", "inf", "1e400",
        "1234e56", "5e10341", "12e10", "9223372036854775808", "0x10", "", " 1", "1.0.0",
        "2026-11-20", "0.1000000000000000055", "1.", "1.50e-3", "12345678901234567.0"]  # fmt: skip
NUMBERS = {"0": 0, "1": 1, "-3": -3, "224": 224, "9223372036854775807": 2**63 - 1, "0.1": 0.1,
           "1.0": 1.0, "-2.5": -2.5, ".5": 0.5, "1e-5": 1e-5, "1e-05": 1e-5, "1.0e-05": 1e-5,
           "3E-4": 3e-4, "2.5e-4": 2.5e-4, "1e3": 1000.0, "1e+3": 1000.0}  # fmt: skip


@pytest.mark.parametrize("text", KEPT)
def test_what_a_number_would_lose_stays_text(text: str) -> None:
    """A text whose digits a number does not keep, or that may be a name, stays text."""
    assert values.value_of(text) == text


@pytest.mark.parametrize(("text", "number"), NUMBERS.items())
def test_a_plain_number_becomes_one(text: str, number: float) -> None:
    """A number as people write it becomes that number, whole ones an integer."""
    found = values.value_of(text)
    assert found == number
    assert type(found) is type(number)


@given(st.text(alphabet="0123456789.eE+-", max_size=24))
def test_a_number_means_exactly_what_was_typed(text: str) -> None:
    """Whatever becomes a number is, as typed and as written again, the same decimal number."""
    found = values.value_of(text)
    if isinstance(found, float):
        assert math.isfinite(found)
        assert Decimal(repr(found)) == Decimal(text)
    elif isinstance(found, int):
        assert str(found) == text


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63) + 1, 2**63 - 1))
def test_what_python_prints_for_a_number_is_read_as_text_or_that_number(number: float) -> None:
    """A value printed by Python and pasted after ``-p`` is that value, or its text untouched."""
    assert values.value_of(repr(number)) in (number, repr(number))


def test_metrics_are_numbers_also_when_not_finite() -> None:
    """A metric may be whole, in any float notation, or not finite."""
    found = values.metrics(["acc=0.95", "epoch=10", "lr=1e5", "loss=nan", "ppl=-inf", "x=+.5"])
    assert str(found) == (
        "{'acc': 0.95, 'epoch': 10, 'lr': 100000.0, 'loss': nan, 'ppl': -inf, 'x': 0.5}"
    )
    assert type(found["epoch"]) is int


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("longer schedule", "a note is --message"),
        ("acc", "-m acc=0.95"),
        ("acc=abc", "--label NAME=TEXT"),
        ("acc=", "-m acc=0.95"),
        ("=1", "name=value"),
        ("acc=0.9,loss=0.1", "-m acc=0.9 -m loss=0.1"),
        ("acc=0,95", "-m acc=0.95"),
        ("acc=95%", "-m acc=0.95"),
        ("acc=1_000", "-m acc=0.95"),
    ],
)
def test_a_metric_that_is_none_is_answered_with_what_to_type(text: str, hint: str) -> None:
    """Each common mistake after ``-m`` is answered with the option that was meant."""
    with pytest.raises(UsageError) as caught:
        values.metrics([text])
    assert caught.value.message.startswith("-m wants NAME=NUMBER")
    assert hint in (caught.value.hint or "")


def test_a_name_given_twice_is_refused() -> None:
    """Of two values for one name none is dropped silently."""
    with pytest.raises(UsageError, match="gives 'lr' twice: 1 and 2"):
        values.values(["lr=1", "lr=2"], "-p")


def test_text_may_hold_the_equals_sign() -> None:
    """Only the first ``=`` divides a label's name from its text."""
    assert values.labels(["query=a=b"]) == {"query": "a=b"}


@pytest.mark.parametrize("text", ["1,3,224,224", "1x3x224x224", "(1, 3, 224, 224)", "1 3 224 224"])
def test_a_shape_is_read_as_libraries_print_it(text: str) -> None:
    """A shape is understood with commas, with x, in brackets and with spaces."""
    assert values.shape(text) == (1, 3, 224, 224)


@pytest.mark.parametrize("text", ["", "abc", "1,,3", "0,3", "-1,3", "1.5"])
def test_a_shape_is_of_whole_numbers_above_zero(text: str) -> None:
    """What is no list of sizes is refused."""
    with pytest.raises(UsageError, match="is no shape"):
        values.shape(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("loss=0.1", True), ("val/acc@5=1e-3", True), ("loss=nan", True), ("lr=abc", False),
     ("model.pt", False), ("epoch=10.pt", False), ("=1", False)],
)  # fmt: skip
def test_a_metric_without_its_option_is_told_from_a_file(text: str, expected: bool) -> None:
    """``loss=0.1`` among the files is a metric; ``epoch=10.pt`` is a file."""
    assert values.is_metric(text) is expected
