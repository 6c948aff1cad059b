"""Modes that drifted: what may be written to, may not be read or is somebody else's is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mvc import ModelRegistry
from mvc.registry.care.findings import Report
from tests.registry.test_git import git
from tests.support.registry_builders import Project
from tests.support.users import ANNA, BEN, TEAM, User, needs_root, shared_folder

shared = pytest.fixture(shared_folder)
READABLE = 0o444


@pytest.fixture
def held(project: Project) -> Project:
    """A version with a tag: a record, an event, a pack and a root."""
    project.add(b"weights", tags=["prod"])
    return project


def sealed(project: Project) -> list[Path]:
    """Return a file of each kind that never changes."""
    (root,) = (project.mvc / "store" / "roots").rglob("*.yaml")
    return [project.record(1), project.event(1), *project.packs, root]


def modes(project: Project) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in sealed(project)}


def check(project: Project) -> Report:
    return project.registry().fsck("quick")


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o600, 0o200])
def test_what_may_be_written_to_is_noted_and_a_repair_mends_it(held: Project, mode: int) -> None:
    """Each kind of file is named with the command that helps; nothing is damaged by it."""
    assert check(held).notes == ()
    for path in sealed(held):
        path.chmod(mode)
    report = check(held)
    assert report.ok
    text = "\n".join(report.notes)
    for path in sealed(held):
        assert f"'{path.name}' in '{path.parent}' may be written to" in text
        assert f"chmod a-w '{path.parent}'/*" in text
    repaired = held.registry().fsck("quick", repair=True)
    assert (repaired.ok, repaired.notes) == (True, ())
    assert {mended.kind for mended in repaired.mended} == {"mode"}
    assert modes(held) == {mode & READABLE or READABLE}
    assert held.registry().fsck("quick", repair=True).mended == ()


def test_what_git_put_there_may_be_written_to(held: Project) -> None:
    """git keeps no such modes, so records and events in a work tree are as they should be."""
    git(held, "init", "-q")
    for path in (held.record(1), held.event(1)):
        path.chmod(0o644)
    assert check(held).notes == ()


def test_a_file_system_without_modes_is_not_mentioned(held: Project) -> None:
    """Where every file may be run, as on FAT, modes say nothing."""
    for path in sealed(held):
        path.chmod(0o755)
    assert check(held).notes == ()


@needs_root
def test_what_may_not_be_read_is_a_finding_with_the_command_that_helps(shared: Path) -> None:
    """For who cannot read it, it is as good as gone, and nothing is put in its place."""
    anna, ben = User(ANNA, shared), User(BEN, shared)
    project = Project(shared)
    assert anna.mvc("init").status == 0
    assert anna.mvc("add", "net", "../m0.bin", "-t", "prod").status == 0
    for path in sealed(project):
        path.chmod(0o400)
        said = ben.mvc("fsck")
        assert said.status == 3
        assert f"chmod a+r '{path}'" in said.out
        assert "Traceback" not in said.err
        repaired = ben.mvc("fsck", "--repair")
        assert (repaired.status, path.stat().st_mode & 0o777) == (3, 0o400)
        assert anna.mvc("fsck").status == 0
        path.chmod(0o444)
    assert ben.mvc("fsck").status == 0


@needs_root
def test_several_may_own_what_several_may_write(shared: Path) -> None:
    """In a folder for a team it is no matter who stored what."""
    anna, ben = User(ANNA, shared), User(BEN, shared)
    assert anna.mvc("init").status == 0
    assert anna.mvc("add", "net", "../m0.bin").status == 0
    assert ben.mvc("add", "net", "../m1.bin").status == 0
    said = anna.mvc("fsck")
    assert (said.status, "belong" in said.err) == (0, False)


@needs_root
def test_a_file_of_somebody_else_in_a_folder_of_ones_own_is_noted(held: Project) -> None:
    """What only root can have put there, as by sudo, is told with the command that helps."""
    pack = held.packs[0]
    os.chown(pack, BEN, TEAM)
    (note,) = check(held).notes
    assert f"'{pack.name}' in '{pack.parent}' belong" in note
    assert f"chown {os.getuid()} '{pack.parent}'/*" in note


def test_the_check_itself_changes_no_mode(held: Project) -> None:
    """Without a repair files stay as they are."""
    held.packs[0].chmod(0o666)
    ModelRegistry(held.folder).fsck("full")
    assert held.packs[0].stat().st_mode & 0o777 == 0o666
