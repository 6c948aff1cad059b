"""gc killed, failing and cut off anywhere: what is needed stays, and the next gc finishes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mvc import ModelRegistry, fileio
from mvc.registry.intake import intake
from mvc.store import rewrite
from tests.faults.test_failing_calls import failing
from tests.faults.test_power_cut import Cuts, assert_survived
from tests.registry.test_repack import small_series
from tests.support.faults import (
    Death,
    Project,
    killed_after_steps,
    killed_before_calls,
    make_noise,
    whole,
)
from tests.support.registry_builders import noise

Kill = Callable[[Project, Callable[[Path], object]], Iterator[tuple[Project, Death]]]
KILLS = {"step": killed_after_steps, "call": killed_before_calls}
SMALL_PACKS = 4


@pytest.fixture
def wasteful(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project where gc releases a version, writes a pack anew, drops another, and merges."""
    monkeypatch.setattr(intake, "tidy", lambda store: None)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "shared").write_bytes(noise(20_000, 50))
    for number in (3, 4):
        (folder / "own").write_bytes(noise(20_000, number))
        project.open().add("net", folder)
    path = tmp_path / "small.bin"
    for number in range(SMALL_PACKS):
        make_noise(path, 10 + number, 400)
        project.add("small", path)
    make_noise(path, 99, 400)
    project.open().add("gone", path)
    project.open().rm("net@v3")
    project.open().rm("gone@v1")
    monkeypatch.setattr(rewrite, "MANY", SMALL_PACKS)
    return project


@pytest.fixture
def over_the_dead(project: Project, tmp_path: Path) -> Project:
    """A project where gc encodes two versions anew, since they are kept over one withdrawn."""
    path = tmp_path / "model.safetensors"
    dead, *live = small_series(3)
    path.write_bytes(dead)
    project.open().add("series", path)
    for data in live:
        path.write_bytes(data)
        project.add("series", path)
    project.open().rm("series@v1")
    return project


def collect(at: Path) -> int:
    return ModelRegistry(at).gc(timedelta(0)).freed


def collecting(project: Project) -> None:
    collect(project.folder)


def finished(project: Project) -> None:
    """Assert that another gc does what the first did not come to, and leaves nothing."""
    collect(project.folder)
    registry = whole(project)
    assert registry.list("gone") == []
    store = project.folder / ".mvc" / "store"
    assert list(store.glob("trash/*")) == []
    assert len(list(store.glob("roots/*/*"))) == 3 + SMALL_PACKS
    stored = sum(path.stat().st_size for path in store.glob("packs/*"))
    assert collect(project.folder) == 0
    assert stored < project_size(project)


def project_size(project: Project) -> int:
    """Return what the packs take at most when all is done."""
    return sum(map(len, project.held.values())) + 40_000 + 10_000


def test_what_a_whole_gc_does(wasteful: Project) -> None:
    """The project of these tests makes gc take every kind of step that it has."""
    *_, (copy, death) = killed_after_steps(wasteful, collect)
    assert death.finished
    assert {
        "root removed", "roots durable", "pack written", "pack linked", "packs durable",
        "pack in trash", "intents listed", "marked", "judged", "pack deleted",
    } <= set(death.done)  # fmt: skip
    assert death.done.count("pack written") == 2, "one pack written anew, one merged"
    assert not copy.folder.exists()


@pytest.mark.parametrize("kill", KILLS.values(), ids=KILLS)
def test_a_killed_gc_loses_nothing_and_is_finished_by_the_next(
    wasteful: Project, kill: Kill
) -> None:
    """Whenever gc dies, what has a root and was not released reads back; the next gc ends it."""
    points = 0
    for copy, death in kill(wasteful, collect):
        points += 1
        try:
            whole(copy)
            finished(copy)
        except Exception as error:
            raise AssertionError(f"killed {death}: {error}") from error
    assert points > 25


@pytest.mark.filterwarnings("ignore::mvc.MvcWarning")
@pytest.mark.parametrize(
    ("code", "for_ever"),
    [
        ("ENOSPC", True),
        pytest.param("EIO", False, marks=pytest.mark.long),
        pytest.param("EIO", True, marks=pytest.mark.long),
    ],
)
def test_a_gc_in_which_a_call_fails_loses_nothing(
    wasteful: Project, code: str, for_ever: bool
) -> None:
    """Whatever call fails, once or for ever: nothing needed is lost, the next gc ends it."""
    for outcome in failing(wasteful, collect, code, for_ever):
        try:
            whole(outcome.project)
            finished(outcome.project)
        except Exception as error:
            raise AssertionError(f"{outcome}: {error}") from error


def test_a_power_cut_during_gc_loses_nothing(wasteful: Project, tmp_path: Path) -> None:
    """The power may fail at any call of gc: what has a root and was not released is there."""
    beside = tmp_path / "cuts"
    beside.mkdir()
    cuts = Cuts(wasteful).during(collecting)

    def again(at: Project) -> None:
        at.keep_identity()
        finished(at)

    assert assert_survived(cuts, beside, again) > 40


def nothing_beneath(project: Project) -> None:
    """Assert that after further gcs the dead base is gone, and what is live is whole."""
    for _ in range(3):
        collect(project.folder)
    left = ModelRegistry(project.folder).gc(timedelta(0))
    assert (left.freed, left.remaining, left.beneath) == (0, 0, 0)
    assert list((project.folder / ".mvc" / "store" / "trash").iterdir()) == []
    whole(project)


@pytest.mark.parametrize("kill", KILLS.values(), ids=KILLS)
def test_a_gc_killed_while_deltas_are_encoded_anew_loses_nothing(
    over_the_dead: Project, kill: Kill
) -> None:
    """Whenever gc dies, what is live reads back, and the dead base goes by and by."""
    done = set[str]()
    for copy, death in kill(over_the_dead, collect):
        done |= set(death.done)
        try:
            whole(copy)
            nothing_beneath(copy)
        except Exception as error:
            raise AssertionError(f"killed {death}: {error}") from error
    assert len(done) > 8


def test_a_power_cut_while_deltas_are_encoded_anew_loses_nothing(
    over_the_dead: Project, tmp_path: Path
) -> None:
    """The power may fail at any call while a dead base goes: what is live reads back."""
    cuts = Cuts(over_the_dead).during(collecting)

    def again(at: Project) -> None:
        at.keep_identity()
        nothing_beneath(at)

    beside = tmp_path / "cuts"
    beside.mkdir()
    assert assert_survived(cuts, beside, again) > 40


def test_packs_synced_late_are_noticed_under_deltas(
    over_the_dead: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without syncing what was encoded anew before the old goes, versions are lost."""
    monkeypatch.setattr(fileio, "sync_folder", unsynced_in("packs"))
    cuts = Cuts(over_the_dead).during(collecting)
    with pytest.raises(AssertionError, match=r"power cut after [a-z]+ of"):
        assert_survived(cuts, tmp_path, lambda at: None)


def unsynced_in(name: str) -> Callable[[Path], None]:
    """Return ``sync_folder`` that passes over folders of this name, or in one of this name."""
    real = fileio.sync_folder

    def sync(path: Path) -> None:
        if name not in (path.name, path.parent.name):
            real(path)

    return sync


@pytest.mark.parametrize("name", ["roots", "packs", "events"])
def test_the_suite_notices_a_sync_that_is_missing(
    wasteful: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Without syncing roots, packs or events before what relies on them, something is lost."""
    monkeypatch.setattr(fileio, "sync_folder", unsynced_in(name))
    cuts = Cuts(wasteful).during(collecting)
    with pytest.raises(AssertionError, match=r"power cut after [a-z]+ of"):
        assert_survived(cuts, tmp_path, lambda at: None)
