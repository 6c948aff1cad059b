"""repack: bases are found by what tensors are like, in any family and under any name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save

from mvc import codecs
from mvc.store.similar import MOST_MEASURED
from tests.codecs.test_choose import as_bf16, weights
from tests.registry.test_deltas import Weights, depths, model, stored, trained
from tests.registry.test_repack import added, depths_of, steps
from tests.support import store_builders as build
from tests.support.registry_builders import Project, files_in

ROWS = 1500


def renamed(weights: Weights) -> Weights:
    return {f"encoder/{number}": value for number, value in enumerate(weights.values())}


def tuned_twice(project: Project) -> dict[str, bytes]:
    """Add a base, and a family whose first version is a fine-tune of it, its second is not.

    The tensors have other names there, and no parent is told.
    """
    files = {
        "base@v1": save(model(0, ROWS)),
        "tuned@v1": save(renamed(trained(model(0, ROWS), 1))),
        "tuned@v2": save(renamed(model(1, ROWS))),
    }
    for ref, data in files.items():
        project.add(data, family=ref.partition("@")[0])
    return files


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how often an object is measured over another."""
    pairs: list[int] = []
    promise = codecs.promise

    def counted(data: bytes, width: int, base: codecs.Base | None = None) -> float:
        if base is not None:
            pairs.append(len(data))
        return promise(data, width, base)

    monkeypatch.setattr(codecs, "promise", counted)
    return pairs


def assert_whole(project: Project, files: dict[str, bytes]) -> None:
    for ref, data in files.items():
        assert project.bytes_of(ref) == data


def test_a_fine_tune_in_another_family_is_kept_over_what_it_is_like(
    project: Project, measured: list[int]
) -> None:
    """What add could not know, repack finds: the fine-tune then takes half, bit for bit."""
    files = tuned_twice(project)
    before, size = stored(project), len(files["tuned@v1"])
    assert before > 3 * 0.82 * size
    measured.clear()
    planned = project.registry().repack(dry_run=True)
    project.registry().repack()
    assert before - stored(project) > 0.33 * size
    assert abs(planned.after - stored(project)) < 0.02 * stored(project)
    assert planned.rebased == 2
    assert depths_of(project, "tuned@v1") >= {1}
    assert depths_of(project, "tuned@v2") == depths_of(project, "base@v1") == {0}
    assert_whole(project, files)
    assert project.registry().fsck("full").ok


def test_a_second_run_does_nothing(project: Project) -> None:
    """What was kept over what it is like stays so, byte for byte."""
    tuned_twice(project)
    project.registry().repack()
    before = files_in(project.mvc / "store" / "packs")
    done = project.registry().repack()
    assert (done.plain, done.rebased, done.packs) == (0, 0, 0)
    assert files_in(project.mvc / "store" / "packs") == before


def test_weights_that_have_nothing_in_common_are_not_measured(
    project: Project, measured: list[int]
) -> None:
    """Of four versions of new weights none is kept over another, and no pair but namesakes is."""
    for seed in range(4):
        project.add(save(model(seed, ROWS)), family="one")
        names = [f"{seed}/{number}" for number in range(3)]
        other = dict(zip(names, model(seed + 10, ROWS).values(), strict=True))
        project.add(save(other), family="other")
    measured.clear()
    assert project.registry().repack(dry_run=True).rebased == 0
    assert len(measured) == 2 * 3  # the large tensors of the older versions, over the newest


def test_many_that_are_alike_are_measured_over_few_and_share_one_base(
    project: Project, measured: list[int]
) -> None:
    """Of nine variants under names of their own one stays plain, and few pairs are measured."""
    count = 9
    for seed in range(count):
        tuned = trained(model(0, ROWS), seed).values()
        project.add(save({f"{seed}/{number}": value for number, value in enumerate(tuned)}))
    project.add(save(model(1, ROWS)))
    size, before = len(save(model(0, ROWS))), stored(project)
    measured.clear()
    project.registry().repack()
    assert len(measured) <= 2 * (count - 1) * MOST_MEASURED
    assert before - stored(project) > (count - 1) * 0.33 * size
    assert depths(project).count(1) == 2 * (count - 1)


def test_a_withdrawn_version_is_nobodys_base(project: Project) -> None:
    """What may be gone soon is no base, and nothing is done for it."""
    files = tuned_twice(project)
    project.registry().rm("base@v1")
    assert project.registry().repack(dry_run=True).rebased == 0
    project.registry().restore("base@v1")
    assert project.registry().repack(dry_run=True).rebased > 0
    assert_whole(project, files)


def test_what_is_to_be_a_base_does_not_keep_its_links(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the store may not grow at all, what others are to be kept over becomes plain still."""
    count = 400_000
    start, way = weights(count), weights(count, 1)

    def file(name: str, values: NDArray[np.float32]) -> bytes:
        return bytes(save({name: np.frombuffer(as_bf16(values.astype("<f4")), "<i2")}))

    files = [file("weights", start + np.float32(far) * way) for far in (0, 0.3, 0.5)]
    files.append(file("weights", weights(count, 2)))
    tuned = [file("encoder", start + np.float32(0.501) * way), file("encoder", weights(count, 3))]
    added(project, files)
    assert max(depths_of(project, "net@v3")) == 2
    added(project, tuned, family="tuned")
    monkeypatch.setattr("mvc.store.repack.MOST_LARGER", 0)
    project.registry().repack()
    assert (depths_of(project, "net@v3"), max(depths_of(project, "tuned@v1"))) == ({0}, 1)
    whole = {f"net@v{number}": data for number, data in enumerate(files, start=1)}
    assert_whole(project, whole | {"tuned@v1": tuned[0], "tuned@v2": tuned[1]})


def test_killed_after_every_step_all_is_read_and_a_second_run_ends_it(tmp_path: Path) -> None:
    """A repack over bases of other families may die after any of its steps."""
    project = Project(tmp_path)
    files = tuned_twice(project)
    names = set()
    for name in build.killed_after_every_step(lambda: steps(project)):
        names.add(name)
        assert_whole(project, files)
    assert {"pack linked", "packs durable", "pack in trash"} <= names
    project.registry().repack()
    assert 1 in depths_of(project, "tuned@v1")
    assert len(project.packs) == 1
    assert_whole(project, files)
    assert project.registry().fsck("full").ok
