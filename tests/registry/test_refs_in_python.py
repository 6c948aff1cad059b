"""In Python a version stands wherever a ref does, and a file where the command line takes one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mvc import ModelRegistry, NotFound, UsageError


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    monkeypatch.chdir(tmp_path)
    registry = ModelRegistry(tmp_path)
    for name, value in (("a", 1), ("b", 2)):
        save_file({"w": np.full(9, value, "f4")}, f"{name}.safetensors")
        registry.add("net", f"{name}.safetensors", {"acc": value})
    return registry


def test_a_version_stands_wherever_a_ref_does(registry: ModelRegistry, tmp_path: Path) -> None:
    """Every method that takes a ref takes what another returned, and means that very version."""
    first = registry.resolve("net@v1")
    assert registry.resolve(first) == registry.show(first) == first
    assert registry.get(first)["id"] == "net/v1"
    assert registry.files(first) == registry.files("net@v1")
    assert registry.tensors(first) == registry.tensors("net@v1")
    assert registry.open(first).get_tensor("w").tolist() == [1.0] * 9
    assert registry.path(first) == registry.path("net@v1")
    written = registry.checkout(first, tmp_path / "out.safetensors")
    assert registry.checkout(written, tmp_path / "again.safetensors").id == "net/v1"
    assert registry.tag(first, "prod").tags == ("prod",)
    assert registry.diff(first, registry.resolve("net@v2")) == registry.diff("net@v1", "net@v2")
    child = registry.add("net", "a.safetensors", parents=first)
    both = registry.add("net", from_version=child, parents=[first, "net@v2"])
    assert [p["id"] for p in child.lineage["parents"]] == ["net/v1"]
    assert [p["id"] for p in both.lineage["parents"]] == ["net/v3", "net/v1", "net/v2"]
    assert registry.rm(child).withdrawn
    assert not registry.restore(child).withdrawn


def test_what_is_no_ref_is_said_so(registry: ModelRegistry) -> None:
    """Another thing than text or a version is refused by what it is, with what to give instead."""
    for thing in (3, None, Path("a.safetensors"), {"id": 1}):
        with pytest.raises(UsageError, match="is not a ref") as caught:
            registry.resolve(thing)  # type: ignore[arg-type]  # that is the point
        assert "FAMILY@VERSION" in (caught.value.hint or "")


def test_diff_takes_files_as_the_command_line_does(registry: ModelRegistry) -> None:
    """By how it begins, or because it is there and no family is; a family comes first."""
    by_path = registry.diff("net@v1", Path("b.safetensors"))
    for text in ("./b.safetensors", "b.safetensors", str(Path("b.safetensors").resolve())):
        assert registry.diff("net@v1", text).tensors == by_path.tensors
    Path("net").write_bytes(Path("a.safetensors").read_bytes())
    assert registry.diff("net", "./net").a == "net/v2"
    with pytest.raises(NotFound, match=r"no family 'c\.safetensors'"):
        registry.diff("net@v1", "c.safetensors")
