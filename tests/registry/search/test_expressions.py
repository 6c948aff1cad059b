"""Expressions: whatever is typed is read rightly, or refused with the place."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvc.errors import UsageError
from mvc.registry.search.expression import (
    Arithmetic,
    Comparison,
    Condition,
    Field,
    Joined,
    Not,
    Number,
    Operand,
    Text,
    show,
)
from mvc.registry.search.parser import MAX_DEPTH, MAX_LENGTH, MAX_WORDS, parse

NAMES = st.sampled_from(
    ["acc", "val/acc@5", "params.learning rate", "and", "0.9", "-", "@a", "a*2%"]
)
NUMBERS = st.sampled_from(["0", "-1e-5", "1.10", "1.5GB", "12KiB"]).map(Number)
TEXTS = (st.text(max_size=8) | st.sampled_from(["0.9", 'a"b', "\\", "not"])).map(Text)
FIELDS = st.builds(Field, NAMES)
REFERENCES = st.builds(Field, NAMES, st.sampled_from(["best", "latest", "v3", "prod-eu"]))
SUMS = st.recursive(
    FIELDS | REFERENCES | NUMBERS,
    lambda inner: st.builds(Arithmetic, inner, st.sampled_from("+-*/"), inner),
    max_leaves=4,
)
OPERATORS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])


def _owned(sum_: Operand) -> Operand:
    return Arithmetic(Field("own"), "+", sum_)


COMPARISONS: st.SearchStrategy[Condition] = st.builds(
    Comparison, FIELDS | SUMS.map(_owned), OPERATORS, SUMS | TEXTS
) | st.builds(Comparison, FIELDS, st.just("~"), TEXTS)
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    COMPARISONS,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(
            Joined,
            st.sampled_from(["and", "or"]),
            st.lists(inner, min_size=2, max_size=3).map(tuple),
        )
    ),
    max_leaves=5,
)


@given(CONDITIONS)
def test_an_expression_reads_back_as_it_was_written(condition: Condition) -> None:
    """Every expression is written so that reading gives the same one."""
    assert parse(show(condition)) == condition


WORDS = st.sampled_from(
    [
        "acc",
        ">",
        "0.9",
        "and",
        "or",
        "not",
        "(",
        ")",
        "=",
        "!",
        "~",
        '"',
        "'",
        "@best.acc",
        "-",
        " ",
        "created",
        "age",
        "30d",
        "2026-11",
    ]
)


@given(st.text(max_size=40) | st.lists(WORDS, max_size=12).map(" ".join))
def test_any_text_is_an_expression_or_one_error(text: str) -> None:
    """What cannot be read ends in one usage error with a column and a hint."""
    refused = condition = None
    try:
        condition = parse(text)
    except UsageError as error:
        refused = error
    if condition is not None:
        assert parse(show(condition)) == condition
    else:
        assert refused
        assert re.search(r", column [0-9]+: ", refused.message)
        assert refused.hint


@pytest.mark.parametrize(
    "text",
    [
        "a " * MAX_LENGTH,
        "a = b and " * MAX_WORDS,
        "(" * (MAX_DEPTH + 1) + "a = b" + ")" * (MAX_DEPTH + 1),
        "not " * (MAX_DEPTH + 1) + "a = b",
        "a - " * (MAX_WORDS // 2) + "a > 1",
    ],
    ids=["long", "words", "brackets", "nots", "sums"],
)
def test_what_is_too_much_is_refused(text: str) -> None:
    """Neither length nor depth can exhaust anything."""
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("acc", 4, "'acc' is compared with nothing"),
        ("acc >", 6, "a value is missing"),
        ("acc > 0.9 dataset = x", 11, "'dataset' was not expected"),
        ("acc == 1", 6, "'==' is no comparison"),
        ("(acc > 1", 9, "a ')' is missing"),
        ("0.9 < acc", 1, "the version's own value comes first"),
        ("name = 'x", 8, "a quote is not closed"),
        ("acc > @best", 7, "'@best' is no value of a version"),
        ("acc -0.5 > 1", 5, "'-0.5' was not expected"),
        ("created < 30d", 11, "'30d' is no date"),
        ("created >= '7 days ago'", 12, "'7 days ago' is no date"),
        ("created = yesterday", 11, "'yesterday' is no date"),
        ("created != 29.11.2025", 12, "'29.11.2025' is no date"),
        ("not created < 2026-13", 15, "'2026-13' is no date"),
        ("created > 2026-02-30", 11, "'2026-02-30' is no date"),
        ("created > 20261101", 11, "'20261101' is no date"),
        ("created > -7d", 11, "'-7d' is no date"),
        ("created > 2026-11-20T10:00+01:00", 11, "'2026-11-20T10:00+01:00' is no date"),
        ("created > now - 30d", 11, "'created' is compared with a date"),
        ("created + 1 > 3", 15, "nothing is added to 'created', nor taken from it"),
        ("lineage.date > yesterday", 16, "'yesterday' is no date"),
        ("date >= 'autumn 2026'", 9, "'autumn 2026' is no date"),
        ("lineage.date < now - 30d", 16, "'lineage.date' is compared with a date"),
        ("age < 30", 7, "'30' is no length of time"),
        ("age > 6m", 7, "'6m' may be minutes or months"),
        ("age = 30d", 7, "an age is compared with < <= > or >="),
        ("age < @prod.age", 7, "'age' is compared with a length of time"),
        ("acc > (age)", 7, "'age' stands alone, and left"),
        ("acc > 0,85", 7, "'0,85' is no number"),
        ("acc > 90%", 7, "'90%' is no number"),
        ("size > 1gb", 8, "'1gb' is no number"),
        ("lineage.date < 29/11/2025", 16, "'29/11/2025' is no date"),
        ("params.day < 29/11/2025", 14, "'29/11/2025' is no number"),
    ],
)
def test_an_error_points_at_the_place(text: str, column: int, said: str) -> None:
    """The message shows what was typed, the column, and what is wrong there."""
    with pytest.raises(UsageError) as error:
        parse(text)
    assert error.value.message == f"'{text}', column {column}: {said}"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("acc >= @prod.acc*0.99", "signs stand between spaces: @prod.acc * 0.99"),
        ("acc >= @prod.acc*0.99-0.01", "signs stand between spaces: @prod.acc * 0.99 - 0.01"),
        ("acc*100 > 95", "signs stand between spaces: acc * 100"),
        ("acc >= 0.99*@prod.acc", "signs stand between spaces: 0.99 * @prod.acc"),
        ("acc >= @prod.acc *0.99", "signs stand between spaces: * 0.99"),
        ("acc >= @prod.acc- 0.01", "signs stand between spaces: @prod.acc - 0.01"),
        ("acc >= @prod.acc - 1%", "1% of it is written 0.01, and 1% less than prod"),
        ("acc >= @prod.acc-1%", 'a name with such signs is quoted: "@prod.acc-1%"'),
    ],
)
def test_arithmetic_without_its_spaces_is_no_name(text: str, hint: str) -> None:
    """What no metric can be called is wrong usage, and the hint puts the spaces in."""
    with pytest.raises(UsageError) as error:
        parse(text)
    assert str(error.value.hint).startswith(hint)


@pytest.mark.parametrize(
    "text",
    ["release > 1.10.2", "lineage.date >= 2026-11-20", "note > '0,85'", "note = 90%", "note ~ 3*"],
)
def test_text_that_begins_as_a_number_does_is_compared_where_it_is_plainly_text(text: str) -> None:
    """Versions and dates have an order as text; quoted or compared for equality, anything may."""
    assert isinstance(parse(text), Comparison)
