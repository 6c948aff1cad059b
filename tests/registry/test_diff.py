"""Two versions or files differ in what ``diff`` says, and in nothing else."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from mvc import Conflict, NotFound
from mvc.registry.diff import Difference, FactChange, FileChange, TensorChange
from tests.support.registry_builders import Project, noise

Arrays = Mapping[str, Any]


def weights(seed: int = 1) -> dict[str, Any]:
    """Return 6 MB in two large tensors, a middle one and a small one."""
    random = np.random.default_rng(seed)
    sizes = {"a.weight": (1100, 1000), "b.weight": (400, 1000), "b.middle": (3000,), "b.bias": (9,)}
    return {name: random.normal(0, 0.02, shape).astype("f4") for name, shape in sizes.items()}


def few(seed: int = 1) -> dict[str, Any]:
    """Return so little that it is kept as one object."""
    return {name: value.ravel()[:50].copy() for name, value in weights(seed).items()}


def torch_file(arrays: Arrays) -> bytes:
    torch = pytest.importorskip("torch")
    torch.save(
        {name: torch.from_numpy(value) for name, value in arrays.items()}, out := io.BytesIO()
    )
    return out.getvalue()


def kinds(found: Difference) -> dict[str, str]:
    return {change.name: change.change for change in found.tensors}


@pytest.mark.parametrize("make", [weights, few])
def test_each_kind_of_change_is_named(project: Project, make: Any) -> None:
    """Added, removed, reshaped, retyped, changed; and what is equal is counted."""
    before, after = make(), make()
    del after["b.bias"]
    after["new"] = np.zeros(4, "f4")
    after["a.weight"][..., -1] += 1
    after["b.weight"] = after["b.weight"].reshape(-1, 2)
    after["b.middle"] = after["b.middle"].astype("f2")
    before["same"] = after["same"] = np.ones(5, "f4")
    project.add(save(before))
    project.add(save(after))
    found = project.registry().diff("net@v1", "net@v2")
    assert kinds(found) == {
        "a.weight": "changed",
        "b.weight": "reshaped",
        "b.middle": "retyped",
        "b.bias": "removed",
        "new": "added",
    }
    assert found.equal == 1
    (retyped,) = [change for change in found.tensors if change.name == "b.middle"]
    shape = before["b.middle"].shape
    assert retyped == TensorChange(
        "b.middle", "retyped", "float32", "float16", shape, shape, statistics=None
    )


def test_what_did_not_change_is_not_read(project: Project, reads: list[int]) -> None:
    """Of two versions only the objects that small tensors share are read."""
    before, after = weights(), weights()
    after["a.weight"][0, 0] += 1
    project.add(save(before))
    project.add(save(after))
    registry = project.registry()
    reads.clear()
    assert kinds(registry.diff("net@v1", "net@v2")) == {"a.weight": "changed"}
    assert sum(reads) < 100
    reads.clear()
    found = registry.diff("net@v1", "net@v2", statistics=True)
    assert found.tensors[0].statistics is not None
    assert found.tensors[0].statistics.share == pytest.approx(1 / before["a.weight"].size)
    assert sum(reads) < 100 + 3 * before["a.weight"].nbytes  # one side's base as well


@pytest.mark.parametrize("make", [weights, few])
def test_the_same_tensors_in_another_kind_of_file_are_equal(project: Project, make: Any) -> None:
    """``.pt`` against ``.safetensors``: stored both, one, or neither."""
    one, other = torch_file(make()), save(make())
    project.add(one, name="m.pt")
    project.add(other, name="m.safetensors")
    (project.folder / "x.pt").write_bytes(one)
    (project.folder / "x.safetensors").write_bytes(other)
    registry = project.registry()
    sides: list[Any] = [
        "net@v1",
        "net@v2",
        *map(project.folder.joinpath, ("x.pt", "x.safetensors")),
    ]
    for a in sides:
        for b in sides:
            found = registry.diff(a, b)
            assert (found.tensors, found.equal) == ((), 4)
    changed = make()
    changed["b.middle"][7] *= 2
    (project.folder / "y.pt").write_bytes(torch_file(changed))
    for side in sides:
        assert kinds(registry.diff(side, project.folder / "y.pt")) == {"b.middle": "changed"}


def test_shards_are_compared_with_one_file(project: Project, tmp_path: Path) -> None:
    """Where a tensor lies is no difference; which files there are is one."""
    whole, folder = weights(), tmp_path / "sharded"
    folder.mkdir()
    names = list(whole)
    for number, part in enumerate((names[:1], names[1:])):
        (folder / f"{number}.safetensors").write_bytes(save({n: whole[n] for n in part}))
    registry = project.registry()
    project.add(save(whole))
    registry.add("net", folder)
    found = registry.diff("net@v1", "net@v2")
    assert (found.tensors, found.equal) == ((), 4)
    assert [file.change for file in found.files] == ["added", "added", "removed"]
    (folder / "0.safetensors").write_bytes(save({"b.bias": np.zeros(9, "f4")}))
    assert kinds(registry.diff("net@v2", folder)) == {
        "a.weight": "removed",
        "0.safetensors:b.bias": "added",
    }


def test_a_view_counts_by_its_elements(project: Project) -> None:
    """A transposed view equals the same matrix laid out, and differs where an element does."""
    torch = pytest.importorskip("torch")
    matrix = torch.randn(700, 900)
    torch.save({"w": matrix.t()}, out := io.BytesIO())
    project.add(out.getvalue(), name="m.pt")
    project.add(save({"w": np.ascontiguousarray(matrix.t().numpy())}))
    matrix[3, 5] += 1
    project.add(save({"w": np.ascontiguousarray(matrix.t().numpy())}))
    registry = project.registry()
    assert registry.diff("net@v1", "net@v2").tensors == ()
    (change,) = registry.diff("net@v1", "net@v3", statistics=True).tensors
    assert change.statistics is not None
    assert change.statistics.share == pytest.approx(1 / (700 * 900))


def test_a_cast_is_measured(project: Project) -> None:
    """Between types of one shape statistics are of the values."""
    values = weights()
    project.add(save(values))
    project.add(save({name: value.astype("f2") for name, value in values.items()}))
    for change in project.registry().diff("net@v1", "net@v2", statistics=True).tensors:
        a = values[change.name].astype("f8").ravel()
        b = values[change.name].astype("f2").astype("f8").ravel()
        assert change.change == "retyped"
        assert change.statistics is not None
        assert change.statistics.largest == np.abs(a - b).max()
        assert change.statistics.share == np.mean(a != b)


def test_a_glob_compares_only_what_it_names(project: Project) -> None:
    """Neither files nor facts nor other tensors are told; what fits nothing is not found."""
    before, after = weights(), weights()
    after["a.weight"] += 1
    after["b.bias"] += 1
    project.add(save(before), metrics={"acc": 0.5})
    project.add(save(after), metrics={"acc": 0.6})
    found = project.registry().diff("net@v1", "net@v2", "b.*")
    assert (kinds(found), found.equal, found.files, found.facts) == (
        {"b.bias": "changed"}, 2, (), (),
    )  # fmt: skip
    with pytest.raises(NotFound, match="no tensor of net/v1 or net/v2"):
        project.registry().diff("net@v1", "net@v2", "c.*")


def test_facts_that_differ_are_told(project: Project) -> None:
    """Metrics, parameters, model, lineage, labels and message; what is equal is not."""
    project.add(
        b"one", metrics={"acc": 0.5, "loss": 1}, params={"lr": 0.1}, labels={"a": "1"}, message="x"
    )
    project.add(
        b"one", metrics={"acc": 0.6, "loss": 1}, lineage={"dataset": "d"}, architecture="mlp"
    )
    found = project.registry().diff("net@v1", "net@v2")
    assert set(found.facts) == {
        FactChange("metrics", "acc", 0.5, 0.6),
        FactChange("params", "lr", 0.1, None),
        FactChange("model", "architecture", None, "mlp"),
        FactChange("lineage", "dataset", None, "d"),
        FactChange("labels", "a", "1", None),
        FactChange("message", "", "x", None),
    }
    assert (found.files, found.same) == ((), False)


def test_files_of_folders_are_told(project: Project, tmp_path: Path) -> None:
    """Added, removed, changed, and renamed where the bytes are the same."""
    folder, registry = tmp_path / "model", project.registry()
    folder.mkdir()
    for name in ("stays", "changes", "goes", "moves"):
        (folder / name).write_bytes(name.encode())
    project.add(b"first")
    registry.add("net", folder)
    (folder / "goes").unlink()
    (folder / "moves").rename(folder / "moved")
    (folder / "comes").write_bytes(b"new")
    (folder / "changes").write_bytes(b"changed")
    found = registry.diff("net@v2", folder)
    assert found.files == (
        FileChange("changed", "changes", "changes", 7, 7),
        FileChange("added", None, "comes", None, 3),
        FileChange("removed", "goes", None, 4, None),
        FileChange("renamed", "moves", "moved", 5, 5),
    )
    assert registry.diff("net@v2:stays", folder / "stays").same


def test_a_version_does_not_differ_from_itself(project: Project) -> None:
    """Nor from its own file under the same name."""
    project.add(save(weights()), name="m.safetensors")
    registry = project.registry()
    assert registry.diff("net", "net@v1").same
    registry.checkout("net", project.folder / "m.safetensors")
    found = registry.diff("net", project.folder / "m.safetensors")
    assert (found.same, found.equal) == (True, 4)


def test_files_without_tensors_are_compared_by_their_bytes(project: Project) -> None:
    """What has no known format is one file that changed."""
    project.add(noise(3000, 1), name="m.bin")
    project.add(noise(3000, 2), name="m.bin")
    found = project.registry().diff("net@v1", "net@v2", statistics=True)
    assert found.files == (FileChange("changed", "m.bin", "m.bin", 3000, 3000),)
    assert (found.tensors, found.equal) == ((), 0)


def test_a_file_that_shrinks_meanwhile_is_a_conflict(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is told of a file that is not the one that was looked at."""
    from mvc.registry import diff

    path = project.folder / "x.safetensors"
    path.write_bytes(save(weights(2)))
    project.add(save(weights(1)))
    original = diff._change

    def cut(*args: Any) -> Any:
        path.write_bytes(path.read_bytes()[:1000])
        return original(*args)

    monkeypatch.setattr(diff, "_change", cut)
    with pytest.raises(Conflict, match="changed while it was read"):
        project.registry().diff("net", path)


def test_what_is_returned_is_json(project: Project) -> None:
    """``as_dict`` has the fields of the value, in plain types."""
    project.add(save(few(1)))
    project.add(save(few(2)))
    found = project.registry().diff("net@v1", "net@v2", statistics=True)
    values = found.as_dict()
    assert list(values) == ["same", *(field.name for field in dataclasses.fields(found))]
    assert values["tensors"][0]["statistics"]["elements"] == 50
