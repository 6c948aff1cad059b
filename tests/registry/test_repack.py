"""repack: the newest and the best are read without a base, all others over one link."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from mvc import fileio
from mvc.errors import Damaged, MvcError
from mvc.fileio import Steps
from mvc.registry import reach
from mvc.registry.care.repack import repack_steps
from mvc.store import Store, Transaction
from mvc.store.repack import RepackPlan
from mvc.store.retire import Retired
from tests.registry.test_deltas import Weights, depths, series, stored, trained
from tests.support import store_builders as build
from tests.support.gc_builders import store_of
from tests.support.registry_builders import Project, files_in, flip


def small_model(seed: int) -> Weights:
    random = np.random.default_rng(seed)
    return {
        "body.weight": random.normal(0, 0.02, (200, 512)).astype("<f4"),
        "head.weight": random.normal(0, 0.02, (100, 512)).astype("<f4"),
        "head.bias": random.normal(0, 0.02, 500).astype("<f4"),
    }


def small_series(count: int, seed: int = 0) -> list[bytes]:
    """Return checkpoints of 0.6 MB each that come to rest: each step is a fifth of the one before.

    So each is nearest to the one before it, and to all that come after.
    """
    files, weights = [], small_model(seed)
    for number in range(count):
        files.append(save(weights))
        weights = trained(weights, 1000 * seed + number, step=1e-4 / 5**number)
    return files


def restless_series(count: int) -> list[bytes]:
    """Return checkpoints where from one to the next a sixth of the numbers moves, another each."""
    files, weights = [], small_model(0)
    random = np.random.default_rng(1)
    for _ in range(count):
        files.append(save(weights))
        weights = {
            name: np.where(
                random.random(value.shape) < 1 / 6,
                value + 1e-6 * random.normal(0, 1, value.shape).astype("<f4"),
                value,
            ).astype("<f4")
            for name, value in weights.items()
        }
    return files


def depths_of(project: Project, ref: str) -> set[int]:
    """Return the links over which the objects of a version are read."""
    registry = project.registry()
    version = registry.resolve(ref)
    artifact = registry.manifest.record(version.family, version.number)[0].artifact
    store = registry.presence.store
    found = (store.entries_of(digest) for digest in reach.closure(store, artifact))
    return {frames[0].entry.depth for frames in found}


def steps(project: Project) -> Steps[tuple[RepackPlan, Retired]]:
    registry = project.registry()
    return repack_steps(registry.manifest, registry.presence.store.alone())


def added(project: Project, files: list[bytes], best: int = 0, family: str = "net") -> None:
    for number, data in enumerate(files, start=1):
        metrics = {"acc": float(number == best)} if best else None
        project.add(data, family=family, metrics=metrics)


def trashed(project: Project) -> list[str]:
    return list(fileio.list_folder(project.mvc / "store" / "trash"))


def assert_whole(project: Project, files: list[bytes], family: str = "net") -> None:
    for number, data in enumerate(files, start=1):
        assert project.bytes_of(f"{family}@v{number}") == data


def test_newest_and_best_are_plain_and_the_others_one_link_above(project: Project) -> None:
    """Nine checkpoints, four links deep, come back bit for bit and take about the same."""
    files = small_series(9)
    added(project, files, best=3)
    before = stored(project)
    assert max(depths(project)) > 1
    planned = project.registry().repack(dry_run=True)
    done = project.registry().repack()
    assert depths_of(project, "net@latest") == depths_of(project, "net@best") == {0}
    assert max(depths(project)) == 1
    assert_whole(project, files)
    assert len(project.packs) == 1
    assert stored(project) == done.after <= 1.1 * before
    assert abs(planned.after - done.after) < 0.02 * done.after
    assert (planned.plain, planned.rebased) == (done.plain, done.rebased)
    assert project.registry().fsck("full").ok


def test_tensors_of_several_chunks_are_kept_over_those_of_the_newest(project: Project) -> None:
    """The large tensors of three checkpoints: two cost a fraction, the newest is plain."""
    files = series(3)
    added(project, files)
    project.registry().repack()
    assert depths_of(project, "net@latest") == {0}
    assert stored(project) < 0.83 * len(files[0]) + 2 * 0.5 * len(files[0])
    assert_whole(project, files)


def test_where_fewer_links_cost_too_much_some_stay(project: Project) -> None:
    """What would make the store more than a tenth larger keeps its frame, but for the newest."""
    files = restless_series(9)
    added(project, files)
    before = stored(project)
    project.registry().repack()
    assert depths_of(project, "net@latest") == {0}
    assert stored(project) <= 1.11 * before
    assert_whole(project, files)


def test_a_second_run_does_nothing(project: Project) -> None:
    """What is as it should be is left alone, byte for byte."""
    added(project, small_series(5), best=2)
    project.registry().repack()
    before = files_in(project.mvc / "store" / "packs")
    done = project.registry().repack()
    assert (done.plain, done.rebased, done.packs, done.after) == (0, 0, 0, done.before)
    assert files_in(project.mvc / "store" / "packs") == before


def test_a_dry_run_changes_nothing(project: Project) -> None:
    """Planning leaves every file of the registry as it was."""
    added(project, small_series(4))
    before = files_in(project.mvc)
    assert project.registry().repack(dry_run=True).plain > 0
    assert files_in(project.mvc) == before


def test_killed_after_every_step_all_is_read_and_a_second_run_ends_it(tmp_path: Path) -> None:
    """A repack that dies after any of its steps has hurt nobody."""
    files = small_series(4)
    whole = Project(tmp_path / "whole")
    whole.folder.mkdir()
    added(whole, files, best=2)
    names = []
    for name in build.killed_after_every_step(lambda: steps(whole)):
        names.append(name)
        assert_whole(whole, files)
    assert {"pack linked", "packs durable", "pack in trash"} <= set(names)
    whole.registry().repack()
    assert max(depths(whole)) == 1
    assert depths_of(whole, "net@latest") == depths_of(whole, "net@best") == {0}
    assert_whole(whole, files)
    assert len(whole.packs) == 1
    assert whole.registry().fsck("full").ok


def test_killed_once_at_any_step_the_next_run_ends_it(tmp_path: Path) -> None:
    """Wherever the first run died, the second leaves nothing with two links, and no second copy."""
    files = small_series(3)
    for count in range(12):
        project = Project(tmp_path / str(count))
        project.folder.mkdir()
        added(project, files)
        running = steps(project)
        for _, _name in zip(range(count), running, strict=False):
            pass
        running.close()
        assert_whole(project, files)
        project.registry().repack()
        assert max(depths(project)) == 1
        assert len(project.packs) == 1
        assert trashed(project) == []
        assert_whole(project, files)


def test_a_withdrawn_version_is_not_the_newest(project: Project) -> None:
    """What was withdrawn comes back if it is restored, and counts for nothing until then."""
    files = small_series(5)
    added(project, files)
    project.registry().rm("net@v5")
    project.registry().repack()
    assert depths_of(project, "net@v4") == {0}
    assert max(depths(project)) == 1
    project.registry().restore("net@v5")
    assert_whole(project, files)


def test_each_family_has_its_newest(project: Project) -> None:
    """Two families, one made from the other: the newest of both need no base."""
    first, second = small_series(4), small_series(4, seed=1)
    tuned = save(trained(small_model(0), 99))
    added(project, first)
    added(project, second, family="other")
    project.add(tuned, family="tuned", parents=["net@v1"])
    project.registry().repack()
    for ref in ("net@latest", "other@latest", "tuned@latest"):
        assert depths_of(project, ref) == {0}
    assert max(depths(project)) == 1
    assert_whole(project, first)
    assert_whole(project, second, "other")
    assert project.bytes_of("tuned") == tuned


def test_one_base_of_many_variants_stays_plain(project: Project) -> None:
    """Where others would lose by it, what they are kept over keeps its place."""
    base = small_model(0)
    files = [save(base), *(save(trained(base, seed, step=1e-8)) for seed in range(1, 9))]
    added(project, files)
    before = stored(project)
    project.registry().repack()
    assert depths_of(project, "net@v9") == {0}
    assert stored(project) <= before + len(files[0])
    assert_whole(project, files)


def test_gc_and_repack_leave_each_other_whole(project: Project) -> None:
    """What is released after a repack goes, but for what others are kept over."""
    files = small_series(6)
    added(project, files)
    project.registry().repack()
    project.registry().rm("net@v6")
    project.registry().gc(grace="0d")
    assert_whole(project, files[:5])
    project.registry().repack()
    assert depths_of(project, "net@v5") == {0}
    assert max(depths(project)) == 1
    assert_whole(project, files[:5])


def test_without_room_for_the_new_packs_nothing_is_written(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what it would take before it begins; the dry-run needs no room."""
    files = small_series(4)
    added(project, files)
    before = store_of(project)
    planned = project.registry().repack(dry_run=True)
    monkeypatch.setattr(fileio, "free_space", lambda folder: planned.after)
    with pytest.raises(MvcError, match="beside the old ones, only") as caught:
        project.registry().repack()
    assert "mvc gc" in str(caught.value.hint)
    assert store_of(project) == before


def test_a_writer_that_reuses_meanwhile_keeps_what_it_needs(project: Project) -> None:
    """The same bytes added at each step of a repack, and a delta over them, are read afterwards."""
    files = small_series(4)
    added(project, files)
    expected = list(files)
    extra = iter(small_series(16)[4:])
    for step in steps(project):
        if step in ("checked", "pack linked", "packs durable", "pack in trash", "judged"):
            for data in (files[0], next(extra)):
                project.add(data)
                expected.append(data)
    assert_whole(project, expected)
    project.registry().repack()
    assert max(depths(project)) == 1
    assert_whole(project, expected)


def test_a_writer_under_way_keeps_the_old_packs(project: Project) -> None:
    """What somebody may be building upon is not deleted; the next run does that."""
    files = small_series(4)
    added(project, files)
    running = steps(project)
    while next(running) != "packs durable":
        pass
    late = Transaction(project.registry().presence.store)
    try:
        fileio.run(late.begin())
        assert fileio.run(running)[1].waiting == 1
        assert_whole(project, files)
    finally:
        late.end()
    project.registry().repack()
    assert len(project.packs) == 1
    assert_whole(project, files)
    assert trashed(project) == []


def test_a_damaged_base_stops_it_with_nothing_removed(project: Project) -> None:
    """What cannot be read is not written anew, and every pack stays."""
    files = small_series(4)
    added(project, files)
    registry = project.registry()
    store = registry.presence.store
    plain = max(
        (found for pack in store.index.packs() for found in store_entries(store, pack.name)),
        key=lambda row: row[1],
    )
    flip(store.folder / "packs" / plain[0], plain[2])
    before = files_in(project.mvc / "store" / "packs")
    with pytest.raises(Damaged):
        project.registry().repack()
    assert files_in(project.mvc / "store" / "packs") == before


def store_entries(store: Store, name: str) -> list[tuple[str, int, int]]:
    """Return pack, size and a place within, of the plain frames of a pack."""
    (pack,) = (pack for pack in store.index.packs() if pack.name == name)
    return [(name, e.stored, e.offset + 200) for e in pack.index if not e.depth]
