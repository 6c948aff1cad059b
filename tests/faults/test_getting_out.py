"""Checkout of folders and the cache of ready files, killed, failing, and cut off anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mvc import ModelRegistry
from mvc.fileio import PRIVATE_PREFIX
from tests.faults.test_failing_calls import failing, how
from tests.support import registry_builders as builders
from tests.support.fault_disk import Disk
from tests.support.faults import Calls, Death, Project, killed_after_steps, killed_before_calls

Kill = Callable[[Project, Callable[[Path], object]], Iterator[tuple[Project, Death]]]
KILLS = {"step": killed_after_steps, "call": killed_before_calls}

ONE = {"a.bin": b"a", "old/deep.bin": b"old", "same.sh": b"same", "turns": b"a file"}
TWO = {"a.bin": b"A!", "new/deep.bin": b"new", "same.sh": b"same", "turns/into": b"a folder"}
MINE = {"notes.txt": b"mine", "old/mine": b"too"}


@pytest.fixture(params=KILLS)
def kill(request: pytest.FixtureRequest) -> Kill:
    """Die after every step of the protocols, and before every single call."""
    return KILLS[request.param]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with two versions of a folder, whose cache is its own."""
    for name in ("MVC_CACHE", "MVC_CACHE_SIZE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "folders"
    folder.mkdir()
    for files in (ONE, TWO):
        builders.Project(folder).add_folder(files)
    ModelRegistry(folder).log()  # so that what is derived is noted already
    return Project(folder)


def checkout(at: Path, number: int) -> object:
    return ModelRegistry(at).checkout(f"net@v{number}", at / "out")


def left_in(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder, without what a kill may leave."""
    return {
        path: data
        for path, data in builders.files_in(folder).items()
        if not path.startswith(PRIVATE_PREFIX)
    }


def test_a_killed_checkout_makes_a_whole_folder_or_none(folders: Project, kill: Kill) -> None:
    """Whenever it dies, the folder is there with all its files or not at all; a repeat makes it."""
    known = set()
    for copy, death in kill(folders, lambda at: checkout(at, 1)):
        there = (copy.folder / "out").exists()
        known.add(there)
        assert left_in(copy.folder / "out") == (ONE if there else {}), death
        assert all(
            name in (".mvc", "out") or name.startswith(PRIVATE_PREFIX)
            for name in os.listdir(copy.folder)
        ), death
        checkout(copy.folder, 1)
        assert left_in(copy.folder / "out") == ONE, death
    assert known == {True, False}


def test_a_killed_checkout_over_another_version_is_finished_by_a_repeat(
    folders: Project, kill: Kill
) -> None:
    """Whenever it dies, each file is of one version or the other, and the user's are untouched."""
    checkout(folders.folder, 1)
    for name, data in MINE.items():
        (folders.folder / "out" / name).write_bytes(data)
    for copy, death in kill(folders, lambda at: checkout(at, 2)):
        found = left_in(copy.folder / "out")
        for path, data in found.items():
            assert data in [files.get(path) for files in (ONE, TWO, MINE)], (death, path)
        assert found.items() >= MINE.items(), death
        checkout(copy.folder, 2)
        assert left_in(copy.folder / "out") == {**TWO, **MINE}, death


def test_a_checkout_that_dies_can_be_taken_back(folders: Project, kill: Kill) -> None:
    """Whenever it dies, the version that was there before can be checked out again."""
    checkout(folders.folder, 1)
    for copy, death in kill(folders, lambda at: checkout(at, 2)):
        checkout(copy.folder, 1)
        assert left_in(copy.folder / "out") == ONE, death


def test_a_killed_path_leaves_only_what_is_right(folders: Project, kill: Kill) -> None:
    """Whenever ``path`` dies, what has a name in the cache is whole; a repeat gives the version."""
    named = set()
    for copy, death in kill(folders, lambda at: ModelRegistry(at).path("net@v1")):
        cache = copy.folder / ".mvc/cache/path"
        for entry in cache.iterdir() if cache.exists() else ():
            if entry.name == "files":
                contents = {path.read_bytes() for path in entry.iterdir()}
                assert contents <= set(ONE.values()), death
            elif entry.is_dir() and not entry.name.startswith(PRIVATE_PREFIX):
                named.add(True)
                assert builders.files_in(entry) == ONE, death
        assert builders.files_in(ModelRegistry(copy.folder).path("net@v1")) == ONE, death
    assert named


def test_a_killed_mending_is_finished_by_a_repeat(folders: Project, kill: Kill) -> None:
    """Whenever ``path`` dies over files that were touched, none of them is ever believed."""
    path = ModelRegistry(folders.folder).path("net@v1")
    (path / "a.bin").chmod(0o644)
    (path / "a.bin").write_bytes(b"?")
    (path / "same.sh").unlink()
    (path / "more.py").write_bytes(b"?")
    for copy, death in kill(folders, lambda at: ModelRegistry(at).path("net@v1")):
        assert builders.files_in(ModelRegistry(copy.folder).path("net@v1")) == ONE, death


def test_a_killed_eviction_takes_no_file_from_what_stays(
    folders: Project, kill: Kill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever making room dies, both versions can still be had, whole."""
    ModelRegistry(folders.folder).path("net@v1")
    monkeypatch.setenv("MVC_CACHE_SIZE", "0")
    for copy, death in kill(folders, lambda at: ModelRegistry(at).path("net@v2")):
        for number, files in ((1, ONE), (2, TWO)):
            path = ModelRegistry(copy.folder).path(f"net@v{number}")
            assert builders.files_in(path) == files, death


@how
@pytest.mark.filterwarnings("ignore::mvc.MvcWarning")
def test_a_failing_call_of_a_checkout_harms_nothing(
    folders: Project, code: str, for_ever: bool
) -> None:
    """Whatever call fails: the new version is there, or an error comes and a repeat makes it."""
    checkout(folders.folder, 1)
    (folders.folder / "out/notes.txt").write_bytes(b"mine")
    for outcome in failing(folders, lambda at: checkout(at, 2), code, for_ever):
        out = outcome.project.folder / "out"
        found = left_in(out)
        assert found.pop("notes.txt") == b"mine", outcome
        assert found == TWO or outcome.error, outcome
        for path, data in found.items():
            assert data in (ONE.get(path), TWO.get(path)), outcome
        if not for_ever and PRIVATE_PREFIX not in outcome.failed.path:
            assert not [name for name in os.listdir(out) if PRIVATE_PREFIX in name], outcome
        checkout(outcome.project.folder, 2)
        assert left_in(out) == {**TWO, "notes.txt": b"mine"}, outcome


@how
@pytest.mark.filterwarnings("ignore::mvc.MvcWarning")
def test_a_failing_call_of_path_gives_right_bytes_or_an_error(
    folders: Project, code: str, for_ever: bool
) -> None:
    """Whatever call fails, the path that is given leads to the version."""
    given: list[Path] = []
    for outcome in failing(
        folders, lambda at: given.append(ModelRegistry(at).path("net@v1")), code, for_ever
    ):
        if outcome.error is None:
            assert builders.files_in(given[-1]) == ONE, outcome
        path = ModelRegistry(outcome.project.folder).path("net@v1")
        assert builders.files_in(path) == ONE, outcome


@pytest.mark.parametrize("before", [None, 1])
def test_what_a_checkout_acknowledged_survives_a_power_cut(
    folders: Project, before: int | None
) -> None:
    """When ``checkout`` has ended, all its files are on the disk, and stale ones are gone."""
    if before:
        checkout(folders.folder, before)
    disk = Disk(folders.folder)
    with Calls(folders.folder, after=disk):
        checkout(folders.folder, 2)
    for state in disk.after_power_cut():
        found = {
            path.removeprefix("out/"): data
            for path, data in state.items()
            if path.startswith("out/") and data is not None
        }
        assert found == TWO
