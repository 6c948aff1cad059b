"""Searching: an expression finds the versions that its page says it is true of."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvc.errors import MvcWarning, NotFound, UsageError
from mvc.registry.sealed import timestamp
from mvc.registry.search.facts import Values
from mvc.registry.search.matching import Table, matching
from mvc.registry.search.parser import parse
from tests.support.registry_builders import Project


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Five versions in two families, only read; the fourth of ``net`` is withdrawn."""
    project = Project(tmp_path_factory.mktemp("four"))
    project.add(
        b"1",
        metrics={"acc": 0.90, "val_acc": 0.8},
        params={"lr": 0.1, "release": "1.10", "opt": {"name": "Adam"}},
        lineage={"dataset": "imagenet-1k"},
        tags=["archived", "first"],
        message="a longer schedule",
    )
    project.add(b"22", metrics={"acc": 0.945}, labels={"dataset": "CIFAR"}, parents=["net@v1"])
    project.add(
        b"333", metrics={"acc": 0.95, "size": 7.0}, params={"learning rate": 3, "ema": True}
    )
    project.add(b"4444", metrics={"acc": 0.99})
    project.registry().rm("net@v4")
    with pytest.warns(MvcWarning, match="never best"):
        project.add(b"55555", "other", metrics={"acc": 0.5, "loss": float("nan")})
    return project


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("acc > 0.9", "v3 v2"),
        ("acc >= 0.9 and acc < 0.95", "v2 v1"),
        ("not tag = archived and acc > 0", "v3 v2"),
        ("tag != archived and acc > 0", "v3 v2"),
        ("acc > 0.9 or tag = FIRST", "v3 v2 v1"),
        ("dataset = imagenet-1k", "v1"),
        ("dataset = cifar", "v2"),
        ("dataset != cifar", "v3 v1"),
        ("lineage.dataset = cifar", ""),
        ("params.release = 1.10", "v1"),
        ("params.release = 1.1", ""),
        ("params.opt.name = adam", "v1"),
        ("ema = true", "v3"),
        ('"params.learning rate" = 3', "v3"),
        ("message ~ '*LONGER*'", "v1"),
        ("parent = net/v1", "v2"),
        ("size < 0.001kB or size = 3", "v3"),
        ("size <= 0.003kB", "v3 v2 v1"),
        ("metrics.size = 7", "v3"),
        ("latest = true", "v3"),
        ("best = true", "v3"),
        ("version = v2", "v2"),
        ("number >= 2", "v3 v2"),
        ("acc > (val_acc)", "v1"),
        ("acc - val_acc <= 0.1", "v1"),
        ("acc >= @best.acc - 0.005", "v3 v2"),
        ("acc >= @v2.acc and acc != @latest.acc", "v2"),
        ("acc > @nowhere.acc", ""),
        ("acc / 0 > 1", ""),
        ("created >= 2026", "v3 v2 v1"),
        ("created < 1999-01", ""),
        ("created >= '2026-01-01 12:30 UTC' and created < 9999-12-31T23:59:59.5Z", "v3 v2 v1"),
        ("created <= @v2.created", "v2 v1"),
        ("created > (params.release)", ""),
        ("age < 1h", "v3 v2 v1"),
        ("age >= 0 and not age > 999999w", "v3 v2 v1"),
        ("age > 1d", ""),
        ("acc = text", ""),
        ("val_acc = none", "v3 v2"),
        ("val_acc != NONE", "v1"),
        ("tag = none and not parent = none", "v2"),
        ("acc = none", ""),
        ("file = model.bin and name = model.bin", "v3 v2 v1"),
    ],
)
def test_an_expression_finds(four: Project, text: str, found: str) -> None:
    """Each rule of the page, as the newest versions first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MvcWarning)
        versions = four.registry().search(text, name="net")
    assert [version.version for version in versions] == found.split()


def test_a_metric_that_is_not_finite_is_text(four: Project) -> None:
    """A NaN is in no order with numbers, and can be asked for."""
    registry = four.registry()
    assert registry.search("loss < 1 or loss >= 1") == []
    assert [version.id for version in registry.search("loss = nan")] == ["other/v1"]


def test_results_are_sorted(four: Project) -> None:
    """Newest first, or by a value; what lacks it comes last, and withdrawn versions never."""

    def order(**options: Any) -> list[str]:
        return [version.id for version in four.registry().search(**options)]

    assert order() == ["other/v1", "net/v3", "net/v2", "net/v1"]
    assert order(sort="-acc") == ["net/v3", "net/v2", "net/v1", "other/v1"]
    assert order(sort="acc", limit=2) == ["other/v1", "net/v1"]
    assert order(sort="age") == order()
    assert order(sort="-age") == order(sort="created") == order()[::-1]
    assert order(sort="-val_acc") == ["net/v1", "other/v1", "net/v3", "net/v2"]
    assert [known.name for known in four.registry().families(where="acc > 0.9")] == ["net"]


def test_a_list_takes_an_expression(four: Project) -> None:
    """``list`` gives the families with such a version, or such versions of one, oldest first."""
    registry = four.registry()
    assert registry.list(where="acc > 0.9") == ["net"]
    assert registry.list("net", where=["acc >= 0.9", "acc < 2"]) == registry.list("net")
    assert registry.list("net", where="val_acc = 0.8") == ["v1"]


def test_a_value_that_nothing_has_is_named(four: Project) -> None:
    """A misspelt name finds nothing, and a warning says what was meant."""
    with pytest.warns(MvcWarning, match="no version has a value 'val_ac'; did you mean 'val_acc'"):
        assert four.registry().search("val_ac > 0.1") == []
    with pytest.warns(MvcWarning, match="no version has a value 'val_ac'; did you mean 'val_acc'"):
        assert len(four.registry().search("val_ac = none")) == 4
    with pytest.warns(MvcWarning, match="'acc-0.1'; signs stand between spaces: acc - 0.1"):
        assert four.registry().search("acc >= @best.acc-0.1") == []


def test_what_cannot_be_searched_is_refused(four: Project) -> None:
    """No family, no expression, nothing to sort by: one error each."""
    registry = four.registry()
    with pytest.raises(NotFound):
        registry.search("acc > 1", name="ne")
    with pytest.raises(UsageError):
        registry.search("acc >")
    with pytest.raises(UsageError):
        registry.search(sort="-")


@pytest.mark.parametrize(
    ("text", "found"),
    [("age < 30d", {0, 1}), ("age > 30d", {2}), ("age < 4w", {0}), ("age >= 28d", {1, 2}),
     ("not age < 36h", {1, 2}), ("age < 48h and age > 3600s", {0})],
)  # fmt: skip
def test_an_age_is_how_long_ago_a_version_was_made(text: str, found: set[int]) -> None:
    """Below an age is what was made since then, above it what was made before."""
    now = datetime.now(timezone.utc)
    made = {n: (timestamp(now - timedelta(hours=h)),) for n, h in enumerate([30, 700, 800])}
    table = Table(lambda name: made if name == "created" else {})
    assert matching(parse(text), table, made) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("lineage.date = 2026-11", "day minute month"), ("lineage.date > 2026-11-20", "year later"),
     ("lineage.date >= '2026-11-20 14:30'", "later minute year"), ("date < 2026-11-02", "month"),
     ("date <= 2026-12-31", "day minute month"), ("lineage.date > 2026", "later year"),
     ("date = 2027", "later year"), ("lineage.date = Autumn", "word"),
     ("date = 20261120", "number"),
     ("date > 20261101", "number"), ("date ~ '2026*'", "day minute month number"),
     ("lineage.date != 2026-11", "later number word year"), ("date < (created)", "")],
)  # fmt: skip
def test_a_date_that_was_given_is_compared_as_a_date(text: str, found: str) -> None:
    """As far as it is asked for, in whatever way it is written; what is no date has no order."""
    dates: dict[str, int | str] = {
        "day": "2026-11-20", "minute": "2026-11-20 14:30 UTC", "month": "2026-11", "year": 2027,
        "later": "2027-03-01T10:00:00Z", "word": "autumn", "number": 20261120,
    }  # fmt: skip
    names = sorted(dates)
    column: dict[int, Values] = {row: (dates[name],) for row, name in enumerate(names)}
    table = Table(lambda name: column if name == "lineage.date" else {})
    met = matching(parse(text), table, column)
    assert " ".join(names[row] for row in sorted(met)) == " ".join(sorted(found.split()))


VALUES = st.none() | st.integers(-3, 3) | st.sampled_from([0.5, "a", "B", "1"])
ROWS = st.lists(st.tuples(VALUES, VALUES), max_size=5)
ORDER = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@st.composite
def conditions(draw: st.DrawFn, depth: int = 2) -> tuple[str, Any]:
    """Draw an expression as text, and the same as a function of a row."""
    kind = draw(st.sampled_from(["and", "or", "not", "", ""])) if depth else ""
    if kind == "not":
        text, holds = draw(conditions(depth - 1))
        return f"not ({text})", lambda row: not holds(row)
    if kind:
        (one, first), (two, second) = draw(conditions(depth - 1)), draw(conditions(depth - 1))
        join = all if kind == "and" else any
        return f"({one}) {kind} ({two})", lambda row: join([first(row), second(row)])
    place = draw(st.sampled_from([0, 1]))
    sign = draw(st.sampled_from(sorted(ORDER)))
    than = draw(st.sampled_from(["a", "b", "0", "1", "0.5", "-2"]))

    def holds_of(row: tuple[Any, Any]) -> bool:
        value, wanted = row[place], "=" if sign == "!=" else sign
        number = than not in ("a", "b")
        if isinstance(value, str) and number:
            found = wanted == "=" and value == than
        elif value is None or isinstance(value, str) == number:
            found = False
        else:
            other = float(than) if number else than
            found = ORDER[wanted](value.lower() if isinstance(value, str) else value, other)
        return found != (sign == "!=")

    return f"metrics.{'xy'[place]} {sign} {than}", holds_of


@given(conditions(), ROWS)
def test_answers_are_those_of_a_plain_implementation(
    condition: tuple[str, Any], rows: list[tuple[Any, Any]]
) -> None:
    """Row by row, a few lines of Python that know the page's rules say the same."""
    text, holds = condition

    def column(name: str) -> dict[int, Values]:
        place = ("metrics.x", "metrics.y").index(name) if name.startswith("metrics.") else None
        cells = {n: row[place] for n, row in enumerate(rows)} if place is not None else {}
        return {number: (value,) for number, value in cells.items() if value is not None}

    found = matching(parse(text), Table(column), range(len(rows)))
    assert found == {number for number, row in enumerate(rows) if holds(row)}
