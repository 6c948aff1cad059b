"""``mvc log``: where versions come from, drawn and told, whatever their records say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mvc.cli import log, output
from mvc.registry import ModelRegistry
from mvc.registry import record as records
from tests.cli.running import mvc, write_model
from tests.support.growing import counted, grow
from tests.support.registry_builders import Project


def rewrite(
    project: Project, number: int, lineage: dict[str, Any], family: str = "resnet18"
) -> None:
    """Give a version another lineage, as only a hand that seals records can."""
    path = project.record(number, family)
    record = replace(records.decode(path.read_bytes()), lineage=lineage)
    path.chmod(0o644)
    path.write_bytes(records.encode(record))
    project.family_file(family).unlink(missing_ok=True)


@pytest.fixture
def project(resnet18: Path) -> Project:
    """``resnet18`` v1 and v2, and a ``soup`` of both."""
    write_model(resnet18 / "soup.safetensors", bias=0.25)
    parents = ("--parent", "resnet18@v1", "--parent", "resnet18@v2")
    assert mvc("add", "soup", "soup.safetensors", *parents).status == 0
    return Project(resnet18)


def nodes(out: str) -> list[str]:
    """Return the lines of a graph that have a node, without what was said of it."""
    lines = [line.partition(" 20")[0].rstrip() for line in out.splitlines()]
    return [line for line in lines if {"*", "o"} & set(line.split()[:4])]


def test_lines_lead_to_parents_of_any_family(project: Project) -> None:
    """A merge has a line to each parent; one that is not shown is an o."""
    assert nodes(mvc("log", "--graph").out) == [
        "*    soup/v1",
        "* |  resnet18/v1",
        "*  resnet18/v2",
    ]
    assert nodes(mvc("log", "soup", "--graph").out) == [
        "*    soup/v1",
        "o |  resnet18/v1",
        "o  resnet18/v2",
    ]


def test_a_parent_that_cannot_be_had_is_named_with_the_reason(project: Project) -> None:
    """Withdrawn, gone, unreadable, or another version under its number: the graph says which."""
    assert mvc("rm", "resnet18@v1").status == 0
    project.record(2, "resnet18").unlink()
    told = mvc("log", "soup", "--graph").out
    assert "resnet18/v1  (withdrawn)" in told
    assert "resnet18/v2  (not here)" in told
    assert mvc("restore", "resnet18@v1").status == 0
    rewrite(project, 1, {})
    assert (
        "resnet18/v1  (not here: another version has its number)"
        in mvc("log", "soup", "--graph").out
    )
    project.record(1, "resnet18").write_bytes(b"strange")
    assert "resnet18/v1  (cannot be read)" in mvc("log", "soup", "--graph").out


def test_a_parent_that_got_another_number_is_found(project: Project) -> None:
    """Where branches of git met, a parent is known by its record, not by its number."""
    project.record(1, "resnet18").rename(project.record(3, "resnet18"))
    project.family_file("resnet18").unlink(missing_ok=True)
    assert nodes(mvc("log", "--graph").out) == [
        "*    soup/v1",
        "* |  resnet18/v3",
        "*  resnet18/v2",
    ]


CIRCLE = {"parents": [{"id": "soup/v1"}, {"id": "resnet18/v1"}, {"id": "resnet18/v2"}]}
NONSENSE: list[Any] = [
    "resnet18/v1",
    7,
    {"parents": 1},
    {"id": 5},
    {"id": "../../../etc/passwd/v1"},
    {"id": "resnet18/v" + "9" * 5000},
    {"id": "resnet18/v-1", "record": []},
    {"id": "\x1b[2J/v1", "record": "\x1b]0;x\x07"},
    {"id": ""},
]


@pytest.mark.parametrize(
    "lineage",
    [CIRCLE, {"parents": NONSENSE}, {"parents": "resnet18/v1"}, {"parents": {"id": "x"}}, {}],
    ids=["circle", "nonsense", "text", "mapping", "none"],
)
def test_a_forged_lineage_harms_nobody(project: Project, lineage: dict[str, Any]) -> None:
    """Circles and nonsense in a record are shown as far as they are parents, and steer nothing."""
    for family, number in (("resnet18", 1), ("resnet18", 2), ("soup", 1)):
        rewrite(project, number, lineage, family)
    for arguments in (["log"], ["log", "--graph"], ["log", "soup", "--graph"]):
        done = mvc(*arguments)
        assert done.status == 0, done.err
        assert "soup/v1  20" in done.out
        assert done.out.replace("\n", "").isprintable()


def test_of_very_many_parents_the_first_are_looked_at(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that names thousands of parents costs neither time nor a screen of lines."""
    rewrite(project, 1, {"parents": [{"id": f"resnet18/v{n}"} for n in range(1, 5000)]}, "soup")
    with counted(monkeypatch) as counts:
        done = mvc("log", "soup", "--graph")
    assert done.status == 0
    assert counts["record_bytes"] <= 20
    assert sum("(not here)" in line for line in done.out.splitlines()) == 14
    assert "resnet18/v4999" in done.out


@pytest.mark.parametrize("options", [[], ["--graph"]], ids=["told", "drawn"])
def test_what_a_log_reads_does_not_grow(
    project: Project, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """Of many versions those that are shown are read, and their parents."""
    monkeypatch.setattr(output, "width", lambda: 80)
    parents = [{"id": "resnet18/v1"}, {"id": "resnet18/v2"}]
    told = []
    assert mvc("add", "net", "model.safetensors").status == 0
    grow(project, 1, "net", lineage={"parents": parents}, metrics={"acc": 0.5})
    for count in (20, 200):
        grow(project, count, "net", lineage={"parents": parents}, metrics={"acc": 0.5})
        ModelRegistry(project.folder).families()
        with counted(monkeypatch) as counts:
            assert mvc("log", "net", "-n", "5", *options).status == 0
        told.append(counts["record_bytes"])
    assert told[0] == told[1] <= 12


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([0.61, 0.93, 0.95], "m  acc ▁▇█ 0.61 → 0.95"),
        ([3, 2, 1], "m  acc █▄▁ 3 → 1"),
        ([1, "nan", None, 1], "m  acc ▄▄ 1 → 1"),
        ([-1e308, 10**400, 1e308], "m  acc ▁█ -1e+308 → 1e+308"),
        ([0.5], ""),
        ([], ""),
    ],
)
def test_the_course_of_a_metric(values: list[object], drawn: str) -> None:
    """Lowest is lowest, highest is highest, and what is no finite number is passed over."""
    assert log.course("m", "acc", values) == drawn


def test_a_long_course_shows_its_newest_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many values there are, the line fits, and ends with the newest."""
    monkeypatch.setattr(output, "width", lambda: 60)
    line = log.course("m", "loss", [1 / n for n in range(1, 5000)])
    assert len(line) <= 60
    assert line.endswith("→ 0.0002")


def test_a_course_can_be_drawn_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a stream has no blocks and arrows, signs of ASCII stand for them."""
    monkeypatch.setattr(output, "speaks_unicode", lambda: False)
    assert log.course("m", "acc", [0, 1, 2, 3, 7]) == "m  acc _.-~# 0 -> 7"


def test_two_ways_to_answer_are_one_too_many(project: Project) -> None:
    """A graph is for people; ``--json`` has the parents of each version."""
    done = mvc("log", "--graph", "--json")
    assert (done.status, done.out) == (2, "")


def test_labels_stand_below_the_metrics(registry: Path) -> None:
    """The story of a version has its labels, by which runs are told apart."""
    facts = ("-m", "acc=0.9", "--label", "run=night", "--label", "team=vision")
    assert mvc("add", "net", "model.safetensors", *facts).status == 0
    assert "    acc=0.9\n    run=night team=vision\n" in mvc("log", "net").out
