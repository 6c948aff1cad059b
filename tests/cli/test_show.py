"""``mvc show`` on a terminal: how a version stands beside others, whatever its record says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mvc.cli import output
from mvc.registry import ModelRegistry
from tests.cli.running import mvc
from tests.cli.test_log import CIRCLE, NONSENSE, rewrite
from tests.support.growing import counted, grow
from tests.support.registry_builders import Project


@pytest.fixture(params=[None, 40, 80, 200], ids=["piped", "40", "80", "200"])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """How wide the terminal is, if it is one."""
    monkeypatch.setattr(output, "width", lambda: request.param)
    monkeypatch.setenv("NO_COLOR", "1")
    width: int | None = request.param
    return width


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "width", lambda: 100)
    monkeypatch.setenv("NO_COLOR", "1")


def test_metrics_stand_beside_those_of_parent_and_best(
    resnet18: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A difference is told to the first parent and to the best, once where they are one."""
    on_terminal(monkeypatch)
    for parent, acc, loss in (("v2", "0.925", "3"), ("v1", "0.95", "1e999")):
        facts = ("-m", f"acc={acc}", "-m", f"loss={loss}", "--parent", f"resnet18@{parent}")
        assert mvc("add", "resnet18", "model.safetensors", *facts).status == 0
    assert "acc   0.925  -0.025 on resnet18/v2, the best\n" in mvc("show", "resnet18@v3").out
    told = mvc("show", "resnet18@v4").out
    assert "acc   0.95  +0.05 on resnet18/v1  as resnet18/v2, the best\n" in told
    assert "loss  inf\n" in told
    assert "acc  0.95  the best\n" in mvc("show", "resnet18@v2").out


def test_it_is_said_since_when_a_tag_stands_there(
    resnet18: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each tag the newest move counts, and how to get the version back is the last line."""
    on_terminal(monkeypatch)
    for number, tag in (("v1", "prod"), ("v2", "Prod"), ("v2", "canary")):
        monkeypatch.setenv("MVC_AUTHOR", f"by {number}")
        assert mvc("tag", f"resnet18@{number}", tag).status == 0
    *_, canary, prod, back = mvc("show", "resnet18").out.splitlines()
    assert canary.startswith("tags         canary  since 20")
    assert prod.split() == ["prod", "since", prod.split()[2], "by", "by", "v2"]
    assert back == "get it back  mvc checkout resnet18@v2"


@pytest.mark.parametrize(
    "lineage",
    [
        CIRCLE,
        {"parents": NONSENSE, "source": 7, "code": ["x"], "imported": "\x1b[2J"},
        {"parents": "resnet18/v1", "code": {"git": {"a": []}}, "source": {"id": []}},
        {"parents": [{"id": "resnet18/v7"}], "\x1b[2J": "\x1b[2J", "日本語": "モデル" * 40},
    ],
    ids=["circle", "nonsense", "others", "control"],
)
def test_a_forged_lineage_harms_nobody(
    resnet18: Path, width: int | None, lineage: dict[str, Any]
) -> None:
    """Whatever a record says of its origin, the version is shown, and nothing steers a terminal."""
    rewrite(Project(resnet18), 2, lineage)
    done = mvc("show", "resnet18@v2")
    assert done.status == 0, done.err
    assert done.out.replace("\n", "").isprintable()
    assert done.out.startswith("resnet18/v2")
    if width:
        assert max(map(output.cells_of, done.out.splitlines())) <= width


def test_what_is_read_does_not_grow(resnet18: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version, its parent, the best one, and so many of the newest, of however many."""
    on_terminal(monkeypatch)
    monkeypatch.setattr("mvc.registry.alike.MOST_COMPARED", 5)
    project = Project(resnet18)
    assert mvc("add", "net", "model.safetensors", "-m", "acc=0.9").status == 0
    told = []
    for count in (20, 200):
        grow(project, count, "net", metrics={"acc": 0.5}, lineage={"parents": [{"id": "net/v7"}]})
        ModelRegistry(resnet18).families()
        with counted(monkeypatch) as counts:
            assert mvc("show", "net").status == 0
        told.append(counts["record_bytes"])
    assert told[0] == told[1] <= 5 + 2 * 5  # what is equal is read once more


def test_children_and_equals_are_named(resnet18: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In lines of their own, the first few of them; as JSON, all."""
    for number in range(12):
        metric = f"acc=0.{number}"
        assert mvc("add", "many", "--from", "resnet18@v1", "-m", metric).status == 0
    named = ", ".join(f"many/v{number}" for number in range(1, 11))
    monkeypatch.setenv("NO_COLOR", "1")
    for width in (None, 300):
        monkeypatch.setattr(output, "width", lambda width=width: width)
        told = [" ".join(line.split()) for line in mvc("show", "resnet18@v1").out.splitlines()]
        assert f"children {named} and 2 more" in told
        assert f"same bytes {named} and 2 more" in told
        assert not any(line.startswith("same weights") for line in told)
    found = mvc("show", "resnet18@v1", "--json").json
    assert found["children"] == found["same_bytes"] == [f"many/v{n}" for n in range(1, 13)]
    assert (found["same_weights"], found["complete"]) == ([], True)


def test_it_is_said_that_not_all_were_looked_at(
    resnet18: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many versions the newest are asked, and what asks all is named."""
    monkeypatch.setattr("mvc.registry.alike.MOST_COMPARED", 1)
    assert mvc("add", "net", "model.safetensors").status == 0
    note = (
        "note: children and equal versions were looked for among the newest only: "
        "mvc search 'parent = resnet18/v1' looks at all\n"
    )
    assert mvc("show", "resnet18@v1").err == note
    assert mvc("show", "resnet18@v1", "-q").err == ""
