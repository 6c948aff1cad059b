"""A version never changes, whatever is done to it in Python."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mvc import ModelRegistry, Version
from tests.cli.running import write_model

WRITES: list[Callable[[Any], object]] = [
    lambda v: v.metrics.update(acc=5),
    lambda v: v.metrics.__setitem__("acc", 5),
    lambda v: v.metrics.__ior__({"acc": 5}),
    lambda v: v.metrics.setdefault("f1", 1),
    lambda v: v.metrics.pop("acc"),
    lambda v: v.metrics.clear(),
    lambda v: v.metrics.__delitem__("acc"),
    lambda v: v.params["optimizer"].__setitem__("lr", 1),
    lambda v: v.params["layers"].append(4),
    lambda v: v.params["layers"].sort(reverse=True),
    lambda v: v.params["layers"].__iadd__([4]),
    lambda v: v.labels.update(team="b"),
    lambda v: v.lineage["parents"].clear(),
    lambda v: v.model.__setitem__("framework", "jax"),
    lambda v: v.artifact.dtypes.popitem(),
]


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    registry = ModelRegistry(tmp_path)
    path = write_model(tmp_path / "a.safetensors")
    registry.add("net", path)
    params = {"optimizer": {"lr": 0.1}, "layers": [1, 2]}
    more: dict[str, Any] = {"params": params, "labels": {"team": "a"}, "parents": ["net@v1"]}
    registry.add("net", path, {"acc": 0.9}, **more)
    return registry


@pytest.mark.parametrize("write", WRITES)
def test_nothing_of_a_version_can_be_written_to(
    registry: ModelRegistry, write: Callable[[Any], object]
) -> None:
    """Each way to change a mapping or list is refused; neither search nor a requirement lies."""
    before = registry.resolve("net@v2").as_dict()
    with pytest.raises(TypeError, match="a version never changes"):
        write(registry.resolve("net@v2"))
    assert registry.resolve("net@v2").as_dict() == before
    assert registry.search("acc > 1") == []


def test_what_get_returns_is_the_callers_own(registry: ModelRegistry) -> None:
    """A dictionary may be written to, and so may a copy; the registry answers as before."""
    own = registry.get("net@v2")
    own["metrics"]["acc"] = 5
    own["params"]["layers"].append(3)
    own["artifact"]["dtypes"].clear()
    own["lineage"]["parents"][0]["id"] = "net/v9"
    version = registry.resolve("net@v2")
    copied = version.metrics.copy()  # type: ignore[attr-defined]  # a Mapping has no copy, a dict has
    copied["acc"] = 5
    assert version.metrics == {"acc": 0.9}
    assert version.params == {"optimizer": {"lr": 0.1}, "layers": [1, 2]}
    assert version.lineage["parents"][0]["id"] == "net/v1"
    assert version.artifact.dtypes


def test_what_a_version_says_is_dicts_and_lists_in_all_else(registry: ModelRegistry) -> None:
    """It compares, prints, is copied, pickled, and made JSON as such."""
    version = registry.resolve("net@v2")
    plain = {"optimizer": {"lr": 0.1}, "layers": [1, 2]}
    assert repr(version.params) == repr(plain)
    assert json.loads(json.dumps(version.params)) == plain
    assert json.loads(json.dumps(version.as_dict()))["params"] == plain
    assert {**version.params, "seed": 1} == {**plain, "seed": 1}
    for other in (copy.copy(version), copy.deepcopy(version), pickle.loads(pickle.dumps(version))):
        assert other == version
        with pytest.raises(TypeError):
            other.params["layers"].append(3)
    assert dataclasses.replace(version, present=False).params == plain
    assert dataclasses.asdict(version)["params"] == plain


def test_versions_can_be_keys_and_in_sets(registry: ModelRegistry) -> None:
    """Versions of which the same is said are the same key, each time they are asked for."""
    path = registry.folder.parent / "a.safetensors"
    added = registry.add("net", path)
    written = registry.checkout("net@v1", registry.folder.parent / "out.safetensors")
    versions: list[Version] = [*registry.log("net"), *registry.log("net")]
    assert len(set(versions)) == 3
    assert {version: version.id for version in versions}[registry.resolve("net@v2")] == "net/v2"
    assert added in {added: "v3"}
    assert written in {written: "v1"}
