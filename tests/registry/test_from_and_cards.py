"""Versions made from others, versions not made, and what a card says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mvc import Damaged, NotFound, UsageError
from mvc.registry.intake import card
from tests.support.registry_builders import MIB, Project, noise


def test_a_version_from_another_has_its_file_and_what_is_said_of_its_weights(
    project: Project,
) -> None:
    """``from_version`` stores nothing, keeps model, params and lineage, and takes new metrics."""
    registry = project.registry()
    registry.add(
        "net",
        project.file(noise(5 * MIB), "model.bin"),
        {"loss": 0.5},
        params={"lr": 0.1},
        lineage={"dataset": "mnist"},
        architecture="lenet",
        input_shape=[1, 28, 28],
        labels={"team": "a"},
        message="first",
    )
    made = registry.add("net", metrics={"acc": 0.9}, from_version="net@v1", params={"wd": 1})
    old = registry.resolve("net@v1")
    assert (made.id, made.stored, made.artifact) == ("net/v2", 0, old.artifact)
    assert (made.metrics, made.params) == ({"acc": 0.9}, {"lr": 0.1, "wd": 1})
    assert (made.model, made.lineage["dataset"]) == (old.model, "mnist")
    assert (made.labels, made.message) == ({}, None)
    assert made.lineage["source"] == made.lineage["parents"][0]
    assert made.lineage["source"]["id"] == "net/v1"
    assert project.bytes_of("net@v2") == project.bytes_of("net@v1")
    assert registry.fsck("full").ok


def test_a_version_can_be_promoted_to_another_family(project: Project) -> None:
    """The source may be of any family, and is named as the parent once."""
    project.add(noise(1000), name="a.bin")
    made = project.registry().add("prod", from_version="net@v1", parents=["net@v1"])
    assert made.id == "prod/v1"
    assert [parent["id"] for parent in made.lineage["parents"]] == ["net/v1"]


def test_nothing_is_made_from_what_is_damaged(project: Project) -> None:
    """A version whose bytes are not whole cannot be the source of another."""
    project.add(noise(5 * MIB), name="a.bin")
    (pack,) = project.mvc.glob("store/packs/*")
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0xFF
    pack.chmod(0o644)
    pack.write_bytes(data)
    with pytest.raises(Damaged, match="damaged"):
        project.registry().add("net", from_version="net@v1")
    assert project.registry().list("net") == ["v1"]


def test_either_a_path_or_a_source(project: Project) -> None:
    """Neither, both, and a source that is not there are refused before anything is made."""
    path = project.file(b"x")
    with pytest.raises(UsageError, match="either a path"):
        project.registry().add("net")
    with pytest.raises(UsageError, match="either a path"):
        project.registry().add("net", path, from_version="net@v1")
    assert not project.mvc.exists()
    with pytest.raises(NotFound):
        project.registry().add("net", from_version="net@v1")


def test_if_changed_makes_no_version_where_nothing_changed(project: Project) -> None:
    """The same bytes and the same words are the latest version; any other word is a new one."""
    path = project.file(noise(3000), "a.bin")
    said: dict[str, Any] = {"metrics": {"acc": 0.5}, "params": {"lr": 0.1}, "message": "m"}
    first = project.registry().add("net", path, if_changed=True, **said)
    again = project.registry().add("net", path, if_changed=True, **said)
    assert (first.new, again.new, again.id) == (True, False, first.id)
    changes: tuple[dict[str, Any], ...] = (
        {"metrics": {"acc": 0.6}},
        {"params": {}},
        {"message": None},
        {"labels": {"a": "b"}},
    )
    for change in changes:
        assert project.registry().add("net", path, if_changed=True, **{**said, **change}).new
    path.write_bytes(noise(3001))
    assert project.registry().add("net", path, if_changed=True, **said).new
    assert project.registry().list("net") == [f"v{n}" for n in range(1, 7)]


def test_if_changed_heals_what_has_rotted(project: Project) -> None:
    """Where the latest version's bytes are damaged, a new version stores them again."""
    path = project.file(noise(3000), "a.bin")
    project.registry().add("net", path)
    (pack,) = project.mvc.glob("store/packs/*")
    data = bytearray(pack.read_bytes())
    data[200] ^= 0xFF
    pack.chmod(0o644)
    pack.write_bytes(data)
    assert project.registry().add("net", path, if_changed=True).new
    assert project.registry().fsck("full").ok


def test_tags_are_set_on_the_version_that_is_there(project: Project) -> None:
    """``if_changed`` still moves the tags asked for."""
    path = project.file(b"x", "a.bin")
    project.registry().add("net", path)
    assert not project.registry().add("net", path, if_changed=True, tags=["prod"]).new
    assert project.registry().resolve("net@prod").id == "net/v1"


CARD = """\
metrics: {acc: 0.95}
params: {lr: 1.0e-3, name: adam}
lineage: {dataset: imagenet-1k, date: 2026-11-20}
labels: {team: vision}
input_shape: [1, 3, 224, 224]
architecture: resnet18
tags: [prod]
message: longer schedule
"""


def test_a_card_says_what_add_takes(project: Project) -> None:
    """Every key of a card is an argument of ``add``."""
    path = project.folder / "card.yaml"
    path.write_text(CARD)
    made = project.registry().add("net", project.file(b"x"), **card.read(path))
    assert (made.metrics, made.params) == ({"acc": 0.95}, {"lr": 0.001, "name": "adam"})
    assert (made.lineage["date"], made.labels) == ("2026-11-20", {"team": "vision"})
    assert made.model == {"architecture": "resnet18", "input_shape": [1, 3, 224, 224]}
    assert (made.tags, made.message) == (("prod",), "longer schedule")


def test_an_empty_card_says_nothing(tmp_path: Path) -> None:
    """A file without a word is a card without a word."""
    (tmp_path / "card.yaml").write_text("# nothing yet\n")
    assert card.read(tmp_path / "card.yaml") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("metrcs: {acc: 1}", "metrcs"),
        ("metrics: 5", "NAME: VALUE"),
        ("metrics: {1: 2}", "NAME: VALUE"),
        ("tags: prod", "a list"),
        ("tags: [1]", "a list"),
        ("input_shape: [a]", "whole numbers"),
        ("message: 5", "text"),
        ("- a", "NAME: VALUE"),
        ("just text", "NAME: VALUE"),
        ("a: 1\na: 2", "stands twice"),
        ("params: {a: 1, a: 2}", "stands twice"),
        ("params: {a: &x [1], b: *x}", "an alias"),
        ("params: !!python/object/apply:os.system [true]", "no YAML at line 1"),
        ("a: [1", "no YAML at line"),
        ("\t- x", "no YAML"),
        ("a: 1\n---\nb: 2", "no YAML"),
        ("params: " + "[" * 50_000, "no YAML"),
        ("a: \x00", "no YAML"),
    ],
)
def test_what_no_card_says_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """A wrong word, a wrong shape and hostile YAML are one line that names the place."""
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        card.read(path)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_a_large_card_is_not_read(tmp_path: Path) -> None:
    """A card of over 1 MiB is refused by its size."""
    path = tmp_path / "card.yaml"
    path.write_bytes(b"#" * (card.MAX_SIZE + 1))
    with pytest.raises(UsageError, match="at most"):
        card.read(path)
