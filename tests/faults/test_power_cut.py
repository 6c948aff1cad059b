"""Whenever the power fails, what was acknowledged is there and the rest is whole or absent.

The disk is one that forgets whatever was not synced (``tests.support.fault_disk``).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mvc import MvcError, fileio
from mvc.digest import digest_of
from tests.registry.test_repack import small_series
from tests.support.fault_disk import Disk, build, found_in
from tests.support.faults import Call, Calls, FailingCall, Project, whole

Files = Callable[[str, int], Path]
Work = Callable[[Project], None]


class Cuts:
    """Does ``work`` in a project and keeps every state that a power cut during it may leave."""

    def __init__(self, project: Project, disk: Disk | None = None) -> None:
        self._project = project
        self._disk = disk or Disk(project.folder)
        self._states: dict[bytes, tuple[bytes, Project, str]] = {}

    def during(self, work: Work) -> Cuts:
        """Follow the work; what the project was told to hold at each call must survive it."""
        self._keep("the beginning")
        with Calls(self._project.folder, after=self._follow):
            work(self._project)
        self._keep("the end")
        assert self._disk.now() == found_in(self._project.folder), "a change went unseen"
        return self

    def rebuilt(self, beside: Path) -> Iterator[tuple[Project, str]]:
        """Yield a project for every state that differs, and the call after which the power fell."""
        for number, (state, project, call) in enumerate(self._states.values()):
            folder = beside / f"cut-{number}"
            build(pickle.loads(state), folder)
            yield project.moved_to(folder), call

    def _follow(self, call: Call) -> None:
        self._disk(call)
        if call.name not in ("writev", "close", "fchmod"):
            self._keep(f"{call.name} of {os.path.relpath(call.path, self._project.folder)}")

    def _keep(self, call: str) -> None:
        for state in self._disk.after_power_cut():
            raw = pickle.dumps(state)
            promised = pickle.dumps((sorted(self._project.held), self._project.tags))
            project = self._project.moved_to(self._project.folder)
            self._states.setdefault(digest_of(raw + promised), (raw, project, call))


def assert_survived(cuts: Cuts, beside: Path, again: Work) -> int:
    """Assert that each state left is whole and that ``again`` works in it; return their number."""
    count = 0
    for project, call in cuts.rebuilt(beside):
        count += 1
        try:
            if (project.folder / ".mvc").exists() or project.held:
                whole(project)
            again(project)
            whole(project)
        except Exception as error:
            raise AssertionError(f"power cut after {call}: {error}") from error
    return count


def add(at: Project, name: str, path: Path) -> None:
    at.add(name, path)


def retag(at: Project) -> None:
    at.open().tag("net@v1", "again")


def test_what_add_acknowledged_survives_a_power_cut(
    project: Project, files: Files, tmp_path: Path
) -> None:
    """The power may fail at any call of two ``add``: what was acknowledged by then is there."""
    first, second = files("weights", 3), files("noise", 4)

    def work(at: Project) -> None:
        at.add("net", first, tags=["new"])
        at.tags["net@new"] = "net/v3"
        at.add("other", second)

    cuts = Cuts(project).during(work)
    count = assert_survived(cuts, tmp_path, lambda at: add(at, "net", second))
    assert count > 50


def test_deltas_and_what_a_repack_makes_of_them_survive_a_power_cut(
    project: Project, tmp_path: Path
) -> None:
    """The power may fail at any call of an ``add`` over another version, and of a ``repack``."""
    path = tmp_path / "model.safetensors"
    first, second, third = small_series(3)
    for data in (first, second):
        path.write_bytes(data)
        project.add("series", path)
    path.write_bytes(third)

    def work(at: Project) -> None:
        at.add("series", path)
        assert at.open().repack().rebased > 0

    def again(at: Project) -> None:
        at.keep_identity()
        at.open().repack()

    beside = tmp_path / "cuts"
    beside.mkdir()
    assert assert_survived(Cuts(project).during(work), beside, again) > 50


def test_the_first_add_survives_a_power_cut(files: Files, tmp_path: Path) -> None:
    """The same in a folder without a registry, which the first ``add`` makes."""
    source = files("noise", 1)
    project = Project(tmp_path / "new")
    project.folder.mkdir()
    cuts = Cuts(project).during(lambda at: add(at, "net", source))
    assert_survived(cuts, tmp_path, lambda at: add(at, "net", source))


def test_a_moved_tag_survives_a_power_cut(project: Project, tmp_path: Path) -> None:
    """The power may fail at any call of ``tag``, ``rollback``, ``rm``: what was answered stays."""

    def work(at: Project) -> None:
        del at.tags["net@prod"]
        at.open().tag("net@v2", "prod")
        at.tags["net@prod"] = "net/v2"
        del at.tags["net@prod"]
        at.open().rollback("net@prod")
        at.tags["net@prod"] = "net/v1"
        at.open().rm("net@v2")
        at.tags["net@latest"] = "net/v1"

    cuts = Cuts(project).during(work)
    assert_survived(cuts, tmp_path, retag)


def killed_then_repeated(project: Project, work: Work) -> Iterator[tuple[Project, Disk, str]]:
    """Let ``work`` stop dead at each call it makes, and do it again on what that left.

    From the n-th call on everything fails, so that no cleanup gets done: what
    is left is what a kill leaves, and what another process in the midst of
    the same work leaves. None of it is synced but what was.
    """
    for number in itertools.count(1):
        copy = project.copied(f"stopped-{number}")
        disk = Disk(copy.folder)
        fault = FailingCall(number, errno.EIO, for_ever=True)
        with Calls(copy.folder, fault, disk), contextlib.suppress(OSError, MvcError):
            work(copy.moved_to(copy.folder))
        if fault.failed is None:
            return
        if fault.failed.changes:
            with Calls(copy.folder, after=disk):
                work(copy)
            yield copy, disk, f"{fault.failed.name} of {fault.failed.path}"


def assert_kept(project: Project, disk: Disk, stopped: str) -> None:
    """Assert that what the project holds survives a power cut now."""
    for number, state in enumerate(disk.after_power_cut()):
        left = project.moved_to(project.folder.with_name(f"{project.folder.name}-cut-{number}"))
        build(state, left.folder)
        try:
            whole(left)
        except Exception as error:
            raise AssertionError(f"stopped at {stopped}: {error}") from error


@pytest.mark.filterwarnings("ignore::mvc.MvcWarning")
def test_add_relies_on_nothing_that_another_left_unsynced(project: Project, files: Files) -> None:
    """An ``add`` that finds what an unfinished one left makes that durable before it answers."""
    source = files("weights", 3)
    for copy, disk, stopped in killed_then_repeated(project, lambda at: add(at, "new", source)):
        assert_kept(copy, disk, stopped)


@pytest.mark.filterwarnings("ignore::mvc.MvcWarning")
def test_tag_relies_on_nothing_that_another_left_unsynced(project: Project) -> None:
    """A ``tag`` that stands already, set by one who did not finish, is durable when answered."""

    def work(at: Project) -> None:
        at.open().tag("net@v2", "prod")
        at.tags["net@prod"] = "net/v2"

    for copy, disk, stopped in killed_then_repeated(project, work):
        assert_kept(copy, disk, stopped)


@pytest.mark.filterwarnings("ignore::mvc.MvcWarning")
def test_the_first_add_relies_on_nothing_that_another_left_unsynced(
    files: Files, tmp_path: Path
) -> None:
    """The same where the registry itself was made by one who did not finish."""
    source = files("noise", 3)
    empty = Project(tmp_path / "empty")
    empty.folder.mkdir()
    for copy, disk, stopped in killed_then_repeated(empty, lambda at: add(at, "new", source)):
        assert_kept(copy, disk, stopped)


def test_the_suite_notices_a_sync_that_does_nothing(
    project: Project, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``fsync`` turned into nothing, the claims of this page fail."""
    monkeypatch.setattr(fileio, "_sync", lambda descriptor: None)
    source = files("noise", 3)
    cuts = Cuts(project).during(lambda at: add(at, "net", source))
    with pytest.raises(AssertionError, match="power cut after"):
        assert_survived(cuts, tmp_path, lambda at: None)


@pytest.mark.parametrize("kept", ["folders", "files"])
def test_the_suite_notices_half_of_the_syncs_missing(
    project: Project, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    """Syncing only files, or only folders, is not enough either."""
    real = fileio._sync

    def half(descriptor: int) -> None:
        is_folder = os.path.isdir(f"/dev/fd/{descriptor}")
        if is_folder == (kept == "folders"):
            real(descriptor)

    monkeypatch.setattr(fileio, "_sync", half)
    source = files("noise", 3)
    cuts = Cuts(project).during(lambda at: add(at, "net", source))
    with pytest.raises(AssertionError, match="power cut after"):
        assert_survived(cuts, tmp_path, lambda at: None)
