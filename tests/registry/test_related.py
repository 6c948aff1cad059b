"""Which versions were made from one, and which equal it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from mvc import NotFound
from mvc.registry import alike
from mvc.registry.alike import Related
from tests.support.growing import counted, grow
from tests.support.registry_builders import MIB, Project, noise


def test_children_are_named_in_every_family(project: Project) -> None:
    """By the record that they were made from, those of the family first; withdrawn ones not."""
    project.add(b"one")
    project.add(b"two")
    registry = project.registry()
    for family, parents in (
        ("lora", ["net@v1"]), ("net", ["net@v1"]), ("net", ["net@v2"]),
        ("soup", ["net@v2", "lora@v1"]), ("net", ["net@v1"]), ("gone", ["net@v1"]),
    ):  # fmt: skip
        registry.add(family, project.file(noise(100), "other.bin"), parents=parents)
    registry.rm("gone@v1")
    assert registry.related("net@v1").children == ("net/v3", "net/v5", "lora/v1")
    assert registry.related("net@v2").children == ("net/v4", "soup/v1")
    assert registry.related("lora@v1").children == ("soup/v1",)
    with pytest.raises(NotFound, match="withdrawn"):
        registry.related("gone@v1")


def test_a_child_is_known_by_the_record_of_its_parent(project: Project) -> None:
    """A number that was given to another version, where branches met, makes nobody a child."""
    project.add(b"one")
    project.add(b"two")
    project.registry().add("net", project.file(b"three"), parents=["net@v1"])
    first, second = project.record(1), project.record(2)
    first.rename(first.with_name("v9.yaml"))
    second.rename(first)
    first.with_name("v9.yaml").rename(second)
    project.family_file().unlink()
    assert project.registry().related("net@v1").children == ()
    assert project.registry().related("net@v2").children == ("net/v3",)


def test_equal_versions_are_named(project: Project, tmp_path: Path) -> None:
    """The same bytes in any family, as files of folders too; the same weights in another file."""
    data = save({"w": np.frombuffer(noise(MIB), "float32")}, {"of": "one"})
    project.add(data)
    project.add(save({"w": np.frombuffer(noise(MIB), "float32")}, {"of": "another"}))
    project.add(noise(100))
    for family in ("net", "prod", "gone"):
        project.add(data, family)
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(data)
    registry = project.registry()
    registry.add("bert", folder)
    registry.rm("gone@v1")
    equal = ("net/v4", "bert/v1:model.safetensors", "prod/v1")
    assert registry.related("net@v1") == Related((), equal, ("net/v2",), True)
    weights = ("net/v1", "net/v4", "bert/v1", "prod/v1")
    assert registry.related("net@v2") == Related((), (), weights, True)
    assert registry.related("net@v3") == Related((), (), (), True)
    assert registry.related("bert") == Related(
        (), (), ("net/v1", "net/v2", "net/v4", "prod/v1"), True
    )


def test_so_many_records_are_looked_at_and_no_more(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest of each family in turn, however many there are; and it is told."""
    monkeypatch.setattr(alike, "MOST_COMPARED", 7)
    project.add(b"one")
    grow(project, 3)
    grow(project, 3, "other")
    assert project.registry().related("net@v1").complete
    assert len(project.registry().related("net@v1").same_bytes) == 6
    grow(project, 2, "other")
    assert not project.registry().related("net@v1").complete
    told: list[int] = []
    newest: tuple[str, ...] = ()
    for count in (20, 200):
        grow(project, count)
        grow(project, count, "other")
        project.registry().families()
        with counted(monkeypatch) as counts:
            newest = project.registry().related("net@v1").same_bytes
        told.append(counts["record_bytes"])
        assert not project.registry().related("net@v1").complete
        assert len(newest) == 7
    expected = [("net", 224), ("net", 223), ("net", 222), ("net", 221)]
    expected += [("other", 225), ("other", 224), ("other", 223)]
    assert newest == tuple(f"{family}/v{number}" for family, number in sorted(expected))
    assert told[0] == told[1]
