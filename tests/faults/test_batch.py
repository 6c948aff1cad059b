"""With ``MVC_DURABILITY=batch`` one call syncs many files, and what is acknowledged is as safe."""

from __future__ import annotations

import errno
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mvc import ModelRegistry, durability, system
from mvc.store import transaction
from tests.faults.test_power_cut import Cuts, add, assert_survived
from tests.support import registry_builders as builders
from tests.support.fault_disk import Disk
from tests.support.faults import Call, Calls, Project, bytes_of

Files = Callable[[str, int], Path]

ONE = {"a.bin": b"a", "old/deep.bin": b"old", "same.sh": b"same"}
TWO = {"a.bin": b"A!", "new/deep.bin": b"new", "same.sh": b"same", "more.bin": b"more"}


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """Give the next test the level that is in force unless one is chosen."""
    yield
    durability.choose("full")


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose the level; the disk is one of the tests' own, so it does not matter which is below."""
    monkeypatch.setenv("MVC_DURABILITY", "batch")
    monkeypatch.setattr(system, "reports_lost_writes", lambda descriptor: True)


@pytest.fixture
def several_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file of a folder have a pack of its own."""
    monkeypatch.setattr(transaction, "MAX_PACK_SIZE", 500)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of three files, none of which fits in a pack with another."""
    folder = tmp_path / "model"
    (folder / "below").mkdir(parents=True)
    for name in ("a.bin", "b.bin", "below/c.bin"):
        (folder / name).write_bytes(os.urandom(1000))
    return folder


def add_and_tag(at: Project, model: Path, file: Path) -> None:
    """Add a folder and a file and move a tag, each acknowledged before the next."""
    identity = at.open().add("net", model).id
    at.held[identity] = bytes_of(at.open(), identity)
    at.add("net", file)
    del at.tags["net@prod"]
    at.open().tag("net@v2", "prod")
    at.tags["net@prod"] = "net/v2"


@pytest.mark.usefixtures("batch", "several_packs")
def test_what_was_acknowledged_survives_a_power_cut(
    project: Project, files: Files, model: Path, tmp_path: Path
) -> None:
    """The power may fail at any call of ``add``, of a folder in several packs too, and ``tag``."""
    file = files("noise", 4)
    names: Counter[str] = Counter()
    with Calls(project.copied("counted").folder, lambda call: names.update([call.name])):
        add_and_tag(project.moved_to(project.folder.with_name("counted")), model, file)
    assert names["syncfs"] == 1, "or this test shows nothing of it"
    cuts = Cuts(project).during(lambda at: add_and_tag(at, model, file))
    assert assert_survived(cuts, tmp_path, lambda at: add(at, "net", file)) > 50


@pytest.mark.usefixtures("batch", "several_packs")
def test_the_suite_notices_packs_that_are_not_synced(
    project: Project, files: Files, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the one call for all of them the claim above fails."""
    monkeypatch.setattr(durability.Together, "finish", lambda self: None)
    cuts = Cuts(project).during(lambda at: add_and_tag(at, model, files("noise", 4)))
    with pytest.raises(AssertionError, match="power cut after"):
        assert_survived(cuts, tmp_path, lambda at: None)


@pytest.fixture
def folders(tmp_path: Path) -> Project:
    """A project with two versions of a folder."""
    folder = tmp_path / "folders"
    folder.mkdir()
    for files in (ONE, TWO):
        builders.Project(folder).add_folder(files)
    return Project(folder)


def checkout(at: Project, number: int) -> object:
    return at.open().checkout(f"net@v{number}", at.folder / "out")


def states_during_checkout(project: Project, number: int) -> list[dict[str, bytes]]:
    """Return what a power cut at any call of a checkout leaves of its target, the end last."""
    disk, found = Disk(project.folder), []

    def follow(call: Call) -> None:
        disk(call)
        for state in disk.after_power_cut():
            found.append(
                {
                    path.removeprefix("out/"): data
                    for path, data in state.items()
                    if path.startswith("out/") and data is not None and "/.mvc-new-" not in path
                }
            )

    with Calls(project.folder, after=follow):
        checkout(project, number)
    return found


@pytest.mark.usefixtures("batch")
def test_a_folder_checked_out_is_whole_or_not_there(folders: Project) -> None:
    """The power may fail at any call: the new folder has all its bytes, or has no name yet."""
    states = states_during_checkout(folders, 2)
    assert all(state in ({}, TWO) for state in states)
    assert states[-1] == TWO


@pytest.mark.usefixtures("batch")
def test_over_another_version_each_file_is_old_or_new(folders: Project) -> None:
    """The power may fail at any call: no file is left empty or in part."""
    checkout(folders, 1)
    states = states_during_checkout(folders, 2)
    for state in states:
        assert all(data in (ONE.get(path), TWO.get(path)) for path, data in state.items()), state
    assert states[-1] == TWO


@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize("before", [None, 1])
def test_the_suite_notices_files_that_are_not_synced(
    folders: Project, monkeypatch: pytest.MonkeyPatch, before: int | None
) -> None:
    """Without the one call for all of them both claims above fail."""
    if before:
        checkout(folders, before)
    monkeypatch.setattr(durability.Together, "finish", lambda self: None)
    assert states_during_checkout(folders, 2)[-1] != TWO


@pytest.mark.usefixtures("batch")
def test_a_sync_of_all_that_fails_is_an_error(folders: Project) -> None:
    """Bytes that may be lost get no name, and the same command again writes them anew."""

    def fail(call: Call) -> None:
        if call.name == "syncfs":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    before = sorted(os.listdir(folders.folder))
    with Calls(folders.folder, fail), pytest.raises(OSError, match="the disk failed"):
        checkout(folders, 2)
    assert sorted(os.listdir(folders.folder)) == before
    checkout(folders, 2)
    assert builders.files_in(folders.folder / "out") == TWO


def syncs(folder: Path, work: Callable[[], object]) -> dict[str, int]:
    """Return how often what was synced during ``work``."""
    names: Counter[str] = Counter()
    with Calls(folder, lambda call: names.update([call.name])):
        work()
    return {name: names[name] for name in ("fsync", "syncfs") if names[name]}


def test_one_call_stands_for_all_files_of_a_checkout(tmp_path: Path, batch: None) -> None:
    """However many files a new folder has: one ``syncfs``, and one ``fsync`` for its name."""
    files = {f"{number % 5}/{number}": b"%d" % number for number in range(100)}
    builders.Project(tmp_path).add_folder(files)
    registry = ModelRegistry(tmp_path)
    found = syncs(tmp_path, lambda: registry.checkout("net", tmp_path / "batch"))
    assert found == {"fsync": 1, "syncfs": 1}
    durability.choose("full")
    found = syncs(tmp_path, lambda: registry.checkout("net", tmp_path / "full"))
    assert found == {"fsync": 100 + 6 + 1}


def test_an_add_of_one_pack_has_nothing_to_save(project: Project, model: Path, batch: None) -> None:
    """A file or a folder is one pack, synced once at either level; so ``batch`` is no slower."""
    file = model / "a.bin"
    for path in (file, model):
        found = []
        for level in ("full", "batch"):
            copy = project.copied(f"{path.name}-{level}")
            registry = ModelRegistry(copy.folder)
            durability.choose(level)
            found.append(syncs(copy.folder, partial(registry.add, "new", path)))
        assert found[0] == found[1]
        assert "syncfs" not in found[1]


def test_where_syncfs_tells_too_little_each_file_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another system, an older kernel, or a file system that is not known: as with ``full``."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        here = system.reports_lost_writes(descriptor)
        for name, value in (("release", "5.7.19-amd64"), ("release", "odd"), ("platform", "mac")):
            with monkeypatch.context() as patch:
                if name == "platform":
                    patch.setattr(sys, "platform", value)
                else:
                    patch.setattr(os, "uname", lambda value=value: type("", (), {"release": value}))
                assert not system.reports_lost_writes(descriptor)
        assert system.reports_lost_writes(descriptor) == here
    finally:
        os.close(descriptor)
    shared = os.open("/proc", os.O_RDONLY)
    try:
        assert not system.reports_lost_writes(shared)
    finally:
        os.close(shared)
    with pytest.raises(OSError, match="Bad file descriptor"):
        system.sync_file_system(shared)
