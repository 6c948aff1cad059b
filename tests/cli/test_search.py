"""``mvc search`` and ``mvc list --where``: what is found, and what is said where nothing is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.running import mvc


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["acc > 0.9"], ["v2"]),
        (["acc > 0.8"], ["v2", "v1"]),
        (["acc > 0.8", "--sort", "acc"], ["v1", "v2"]),
        (["acc > 0.8", "--sort", "-acc", "--limit", "1"], ["v2"]),
        (["acc > 0.8", "resnet18", "ResNet18"], ["v2", "v1"]),
        (["latest = true or acc < @latest.acc - 0.01"], ["v2", "v1"]),
        (["acc > 0.99"], []),
    ],
    ids=" ".join,
)  # fmt: skip
def test_search_prints_what_is_found_in_the_order_asked_for(
    resnet18: Path, arguments: list[str], ids: list[str]
) -> None:
    """The versions of which the expression is true, in order, status 0 also where none is."""
    done = mvc("search", *arguments, "-q")
    assert (done.status, done.out.split()) == (0, [f"resnet18/{number}" for number in ids])


def test_each_order_says_which_versions_are_shown(resnet18: Path) -> None:
    """Only what is sorted by age is called the newest."""
    assert "the newest 1;" in mvc("search", "acc > 0", "-n", "1").err
    assert "the first 1;" in mvc("search", "acc > 0", "-n", "1", "--sort", "acc").err
    assert mvc("search", "acc > 0", "-n", "2", "--sort", "acc").err == ""


@pytest.mark.parametrize(
    "where", [["search"], ["list", "--where"], ["list", "resnet18", "--where"]]
)
def test_an_error_names_the_column(resnet18: Path, where: list[str]) -> None:
    """What is no expression is wrong usage, wherever it is given, and the place is told."""
    done = mvc(*where, "acc >> 0.9")
    assert (done.status, done.out) == (2, "")
    assert re.match(r"error: 'acc >> 0.9', column 6: ", done.err)


@pytest.mark.parametrize(
    "arguments",
    [["search", "ac > 0.9"], ["list", "--where", "ac > 0.9"], ["search", "", "--sort", "-ac"]],
    ids=" ".join,
)
def test_a_name_that_nothing_has_is_told(resnet18: Path, arguments: list[str]) -> None:
    """Where a name was likely mistyped, a warning says so, with one like it."""
    assert "warning: no version has a value 'ac'; did you mean 'acc'?" in mvc(*arguments).err


def test_list_where_keeps_the_shape_of_list(resnet18: Path) -> None:
    """The families with such a version look as they do without ``--where``; others are left out."""
    assert mvc("add", "densenet", "model.safetensors", "-m", "acc=0.5").status == 0
    both = mvc("list", "--json").json
    assert mvc("list", "--where", "acc > 0.92", "--json").json == both[1:]
    assert mvc("list", "--where", "acc > 0.99", "--json").json == []


TWICE = ["acc > 0.93", "acc > 0.1"]


@pytest.mark.parametrize("given", [TWICE, TWICE[::-1]], ids=" ".join)
def test_conditions_given_several_times_must_all_be_true(resnet18: Path, given: list[str]) -> None:
    """None of them replaces another, in whatever order they stand."""

    def each(option: str) -> list[str]:
        return [word for text in given for word in (option, text)]

    assert mvc("list", "resnet18", "-q", *each("--where")).out == "resnet18/v2\n"
    assert mvc("list", "-q", "--where", "acc > 0.99", *each("--where")).out == ""
    assert mvc("tag", "resnet18@v1", "prod", *each("--require")).status == 1
    add = ["add", "resnet18", "--from", "resnet18@v1", "-m", "acc=0.2"]
    assert mvc(*add, *each("--require")).status == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tag", "resnet18@v1", "prod", "--expect", "v5", "--expect=none"],
         "--expect is given twice, with 'v5' and 'none'"),
        (["list", "-n", "1", "--limit", "2"], "--limit is given twice, with '1' and '2'"),
        (["show", "resnet18", "--tensors", "--tensors=x"],
         "--tensors is given twice, with '*' and 'x'"),
        (["-C", ".", "-C", "..", "list"], "-C is given twice, with '.' and '..'"),
        (["store", "alternates", "--add", "a", "--add", "b"], "--add is given twice"),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else "",
)  # fmt: skip
def test_a_value_given_twice_is_asked_about(
    resnet18: Path, arguments: list[str], told: str
) -> None:
    """An option with one value is not taken to mean the last of two; the same twice is one."""
    done = mvc(*arguments)
    assert (done.status, done.out) == (2, "")
    assert f"error: {told}" in done.err
    assert mvc("list", "-n", "1", "-n", "1").status == 0


@pytest.mark.parametrize(
    ("parent", "found"),
    [
        ("resnet18/v1", ["head/v1"]),
        ("resnet18@v1", ["head/v1"]),
        ("RESNET18@V2", ["head/v2"]),
        ("resnet18", ["head/v2", "head/v1"]),
        ("resnet", []),
    ],
)
def test_a_parent_is_written_as_a_version_is(resnet18: Path, parent: str, found: list[str]) -> None:
    """A parent may be given as id or as FAMILY@vN, and a family means any version of it."""
    for number in (1, 2):
        assert (
            mvc("add", "head", "model.safetensors", "--parent", f"resnet18@v{number}").status == 0
        )
    assert mvc("search", f"parent = {parent}", "-q").out.split() == found
    others = {"head/v1", "head/v2", "resnet18/v1", "resnet18/v2"} - set(found)
    assert set(mvc("search", f"parent != {parent}", "-q").out.split()) == others


def test_a_diff_says_parents_by_their_ids(resnet18: Path) -> None:
    """What a version was made from is told as people write it, not as Python does."""
    assert mvc("add", "head", "model.safetensors", "--parent", "resnet18@v1").status == 0
    told = mvc("diff", "resnet18@v1", "head@v1").out
    assert "parents  none → resnet18/v1\n" in told
