"""Series of models: near versions cost little, and each comes back bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save

from mvc.codecs import Encoding
from mvc.errors import MvcError
from mvc.store.pack import MAX_DEPTH
from tests.support.registry_builders import Project

Weights = dict[str, NDArray[np.float32]]


def model(seed: int, rows: int = 4000) -> Weights:
    """Two large tensors and a small one, 11 MB; half of it is still more than one chunk."""
    random = np.random.default_rng(seed)
    return {
        "body.weight": random.normal(0, 0.02, (rows, 512)).astype("<f4"),
        "head.weight": random.normal(0, 0.02, (1500, 512)).astype("<f4"),
        "head.bias": random.normal(0, 0.02, 500).astype("<f4"),
    }


def trained(weights: Weights, seed: int, step: float = 1e-6) -> Weights:
    """Return weights a little further on."""
    random = np.random.default_rng(seed)
    return {
        name: (value + step * random.normal(0, 1, value.shape)).astype("<f4")
        for name, value in weights.items()
    }


def series(count: int) -> list[bytes]:
    files, weights = [], model(0)
    for seed in range(1, count + 1):
        files.append(save(weights))
        weights = trained(weights, seed)
    return files


def depths(project: Project) -> list[int]:
    """Return the links of every frame in the store."""
    return [e.depth for pack in project.registry().presence.store.index.packs() for e in pack.index]


def stored(project: Project) -> int:
    return sum(path.stat().st_size for path in project.packs)


def test_a_series_costs_a_fraction_and_comes_back(project: Project) -> None:
    """Each version after the first is kept over another, at most four links deep."""
    files = series(7)
    for data in files:
        project.add(data)
    for number, data in enumerate(files, start=1):
        assert project.bytes_of(f"net@v{number}") == data
    assert 0 < max(depths(project)) <= MAX_DEPTH
    assert stored(project) < 0.83 * len(files[0]) + 6 * 0.5 * len(files[0])
    assert project.registry().fsck("full").ok


def test_a_parent_of_another_family_is_a_base(project: Project) -> None:
    """What a version is said to be made from is what it is kept over, wherever that is."""
    base, other = save(model(0)), save(trained(model(0), 1))
    project.add(base, family="base")
    before = stored(project)
    project.add(other, family="tuned", parents=["base@v1"])
    assert stored(project) - before < 0.5 * len(other)
    assert project.bytes_of("tuned") == other


@pytest.mark.filterwarnings("ignore:the parent base/v1 was withdrawn")
def test_a_parent_out_of_use_is_no_base(project: Project) -> None:
    """Nothing new is kept over what gc is about to take, though lineage names it."""
    base, other = (
        save({"w": weights["head.weight"]}) for weights in (model(0), trained(model(0), 1))
    )
    project.add(base, family="base")
    project.registry().rm("base@v1")
    project.add(other, family="tuned", parents=["base@v1"])
    assert max(depths(project)) == 0
    assert project.bytes_of("tuned") == other


def test_a_prefix_does_not_hide_a_namesake(project: Project) -> None:
    """Weights inside a checkpoint, or behind a wrapper's prefix, are kept over those alone."""
    weights, later = model(0), trained(model(0), 1)
    project.add(save(weights))
    before = stored(project)
    wrapped = save({f"state_dict.module.{name}": value for name, value in later.items()})
    project.add(wrapped)
    assert stored(project) - before < 0.5 * len(wrapped)
    assert project.bytes_of("net") == wrapped


def test_a_first_variant_is_found_below_later_ones(project: Project) -> None:
    """Variants of one base are kept over the base, also when it is not among the last versions."""
    base = model(0)
    project.add(save(base))
    for seed in range(1, 7):
        project.add(save(trained(base, seed)))
    assert max(depths(project)) == 1


def test_a_damaged_base_is_named_and_another_frame_serves(project: Project) -> None:
    """Without its base a version is not readable, and says which object is missing."""
    first, second = series(2)
    project.add(first)
    project.add(second)
    store = project.registry().presence.store
    small, large = sorted(project.packs, key=lambda path: path.stat().st_size)
    assert any(found.encoding is Encoding.DELTA for pack in store.index.packs()
               for found in pack.index)  # fmt: skip
    hidden = large.rename(large.with_suffix(".away"))
    with pytest.raises(MvcError, match="missing"):
        project.bytes_of("net@v2")
    hidden.rename(large)
    assert project.bytes_of("net@v2") == second
    assert small.exists()


def test_small_files_are_kept_over_each_other(project: Project) -> None:
    """A file that is one object is kept over its predecessor as well."""
    weights = {"w": np.random.default_rng(0).normal(0, 0.02, 200_000).astype("<f4")}
    project.add(save(weights))
    before = stored(project)
    project.add(save(trained(weights, 1)))
    assert stored(project) - before < 0.5 * 800_000
    assert project.bytes_of("net@v2") == save(trained(weights, 1))


def test_casts_cost_almost_nothing(project: Project, tmp_path: Path) -> None:
    """The bf16 and fp16 of weights that are stored, by torch, in either order after the fp32."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save as save_torch

    weights = {name: torch.from_numpy(value) for name, value in model(0).items()}
    whole = save_torch(weights)
    project.add(whole)
    before = stored(project)
    for dtype in (torch.float16, torch.bfloat16):
        data = save_torch({name: value.to(dtype) for name, value in weights.items()})
        project.add(data)
        assert project.bytes_of("net") == data
    assert stored(project) - before < 0.01 * len(whole)


def test_what_only_a_delta_needs_is_kept_by_gc(project: Project) -> None:
    """A version that was withdrawn and released stays readable as the base of another."""
    first, second = series(2)
    project.add(first)
    project.add(second)
    registry = project.registry()
    registry.rm("net@v1")
    registry.gc(grace="0d")
    assert project.bytes_of("net@v2") == second
    assert project.registry().fsck("full").ok
