"""gc where live versions are kept over dead ones: they are encoded anew, where that frees more."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from safetensors.numpy import save

from mvc import fileio
from mvc.registry.care import gc
from mvc.registry.care.gc_plan import Plan, plan
from mvc.store import rewrite
from tests.registry.test_deltas import Weights, depths, series, stored, trained
from tests.registry.test_repack import added, depths_of, restless_series, small_model, small_series
from tests.support.gc_builders import DAY, all_made_old, collected, dated, trash_of
from tests.support.registry_builders import Project, flip

Files = list[bytes]


def variants(count: int) -> Files:
    """Return a model and so many others, each trained from it."""
    base = small_model(0)
    return [save(base), *(save(trained(base, n, step=1e-5)) for n in range(1, count + 1))]


def moved(weights: Weights, share: float, seed: int) -> Weights:
    """Return weights of which a share has moved, and the others have not."""
    random = np.random.default_rng(seed)
    return {
        name: np.where(random.random(value.shape) < share, value * np.float32(1.001), value)
        for name, value in weights.items()
    }


def tuned_afterwards() -> Files:
    """Return a model, one far from it, and three near that one: v2 is much and takes little."""
    second = moved(small_model(0), 1 / 3, 0)
    return [save(small_model(0)), save(second), *(save(moved(second, 0.02, n)) for n in (1, 2, 3))]


def withdrawn(project: Project, files: Files, *numbers: int) -> dict[str, bytes]:
    """Add files, withdraw some of them, and return the others."""
    added(project, files)
    for number in numbers:
        project.registry().rm(f"net@v{number}")
    left = {f"net@v{number}": data for number, data in enumerate(files, start=1)}
    return {name: data for name, data in left.items() if int(name[5:]) not in numbers}


def assert_all_there(project: Project, kept: dict[str, bytes]) -> None:
    for name, data in kept.items():
        assert project.bytes_of(name) == data
    assert project.registry().fsck("full").ok


def planned(project: Project) -> Plan:
    registry = project.registry()
    store = registry.presence.store.alone()
    return plan(registry.place, registry.manifest, store, timedelta(0))


@pytest.mark.parametrize(
    ("files", "numbers"),
    [
        pytest.param(small_series(2), (1,), id="one over it"),
        pytest.param(small_series(4), (1,), id="several over it"),
        pytest.param(small_series(5), (1, 2), id="two below one"),
        pytest.param(variants(4), (1,), id="a base of variants"),
        pytest.param(restless_series(5), (1, 2, 3, 4), id="a whole chain"),
        pytest.param(series(3), (1,), id="of several chunks"),
    ],
)
def test_what_is_kept_over_the_dead_is_encoded_anew(
    project: Project, files: Files, numbers: tuple[int, ...]
) -> None:
    """What no version has goes at once, no chain grows, and the dry-run said about how much."""
    kept = withdrawn(project, files, *numbers)
    before, frames = stored(project), len(depths(project))
    links = {name: max(depths_of(project, name)) for name in kept}
    said = collected(project, dry_run=True)
    assert (stored(project), said.items[-1].kind) == (before, "bases")
    done = collected(project)
    assert before - stored(project) == done.freed
    assert abs(said.freed - done.freed) < 0.05 * done.freed
    assert (done.beneath, trash_of(project)) == (0, [])
    assert all(max(depths_of(project, name)) <= most for name, most in links.items())
    assert len(depths(project)) < frames
    assert_all_there(project, kept)
    again = collected(project)
    assert (again.freed, again.items) == (0, ())


def test_a_base_stays_where_that_takes_less(project: Project) -> None:
    """gc says what stays beneath; a repack keeps all over the newest, and nothing is beneath."""
    kept = withdrawn(project, tuned_afterwards(), 2)
    before = stored(project)
    done = collected(project)
    assert (done.freed, stored(project), done.beneath > 0) == (0, before, True)
    assert project.registry().du().beneath == done.beneath
    project.registry().repack()
    assert project.registry().du().beneath == 0
    assert collected(project).beneath == 0
    assert stored(project) < 1.05 * before
    assert_all_there(project, kept)


def test_a_base_in_a_young_pack_stays(project: Project) -> None:
    """Nothing is taken from a pack that is younger than the time of grace."""
    kept = withdrawn(project, small_series(3), 1)
    dated(project, 1, 3 * DAY)
    before = stored(project)
    done = collected(project, DAY)
    assert (done.freed, stored(project), done.beneath > 0) == (0, before, True)
    all_made_old(project, 3 * DAY)
    assert collected(project, DAY).freed > 0
    assert_all_there(project, kept)


def test_a_base_stays_where_there_is_no_room(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would have to be written first is not begun, and gc says what stays."""
    kept = withdrawn(project, small_series(3), 1)
    monkeypatch.setattr(fileio, "free_space", lambda folder: 1 << 20)
    first = collected(project)
    assert (first.beneath > 0, first.no_room > 0, first.room > 1 << 20) == (True, True, True)
    monkeypatch.setattr(fileio, "free_space", lambda folder: first.room - 1)
    assert collected(project).room == collected(project, dry_run=True).room == first.room
    monkeypatch.setattr(fileio, "free_space", lambda folder: first.room)
    done = collected(project)
    assert (done.beneath, done.no_room, done.room, done.freed > 0) == (0, 0, 0, True)
    monkeypatch.undo()
    assert_all_there(project, kept)


def test_no_more_room_is_asked_for_than_is_written(project: Project) -> None:
    """Frames that come do not count beside those that they replace, which are not copied."""
    kept = withdrawn(project, variants(4), 1)
    before = set(project.packs)
    room = planned(project).rebasing.room
    assert collected(project).beneath == 0
    written = sum(path.stat().st_size for path in project.packs if path not in before)
    assert 0 < room < 1.05 * written
    assert_all_there(project, kept)


def test_what_cannot_be_read_stays_as_it_is(project: Project) -> None:
    """Over a rotten base nothing is encoded anew: gc leaves it to fsck, and loses nothing."""
    withdrawn(project, small_series(2), 1)
    base = max(project.packs, key=lambda path: path.stat().st_size)
    flip(base, 1000)
    before = [path.read_bytes() for path in project.packs]
    assert collected(project).beneath > 0
    assert [path.read_bytes() for path in project.packs] == before


@pytest.mark.parametrize("merging", [True, False])
def test_packs_that_another_takes_meanwhile_are_left(project: Project, merging: bool) -> None:
    """Between plan and work the packs may be merged, or the dead be added again."""
    files = small_series(4)
    kept = withdrawn(project, files, 1)
    told = planned(project)
    assert told.rebasing.gain > 0
    if merging:
        store = project.registry().presence.store.alone()
        fileio.run(rewrite.merge(store, [path.name for path in project.packs]))
    else:
        kept |= {"net@v5": files[0]}
        project.add(files[0])
    registry = project.registry()
    fileio.run(gc.collect_steps(registry.manifest, registry.presence.store.alone(), told))
    assert_all_there(project, kept)
    collected(project)
    assert_all_there(project, kept)


def test_a_writer_that_reuses_the_dead_keeps_it(project: Project) -> None:
    """The dead bytes added again at each step, or others over them, are read afterwards."""
    files = small_series(12)
    kept = withdrawn(project, files[:4], 1)
    registry = project.registry()
    later = iter(files[4:])
    told = planned(project)
    steps = gc.collect_steps(registry.manifest, registry.presence.store.alone(), told)
    seen = set()
    for step in steps:
        if step in ("pack linked", "packs durable", "pack in trash", "marked", "judged"):
            seen.add(step)
            for data in (files[0], next(later, files[3])):
                kept[project.add(data).replace("/", "@")] = data
    assert {"pack linked", "pack in trash", "judged"} <= seen
    assert_all_there(project, kept)
    collected(project)
    assert_all_there(project, kept)


def test_the_plan_of_a_store_without_dead_bases_reads_no_object(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is kept over the dead, gc decodes nothing."""
    withdrawn(project, small_series(4), 4)

    def read(*_: object) -> bytes:
        raise AssertionError("an object was read")

    monkeypatch.setattr("mvc.store.store.Store.get_object", read)
    assert collected(project).freed > 0
