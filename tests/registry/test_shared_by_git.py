"""Versions that git brought to a registry on a shared store, and who keeps their bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from mvc import Damaged, ModelRegistry, StoreWarning
from mvc.registry.manifest import Manifest
from tests.registry.test_git import clone, commit, git
from tests.support.registry_builders import Project, files_in, noise

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")

NOW = timedelta(0)


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Project, Project]:
    """A project and a clone of it on one store; the clone has just pulled ``net/v2``."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    (tmp_path / "a").mkdir()
    ours = Project(tmp_path / "a")
    ours.registry().init(store=tmp_path / "shared")
    git(ours, "init", "-q", "-b", "main")
    ours.add(noise(1000))
    commit(ours)
    theirs = clone(ours, tmp_path / "b")
    theirs.registry().init(store=tmp_path / "shared")
    ours.add(noise(1000, 2))
    commit(ours)
    git(theirs, "pull", "-q")
    return ours, theirs


def give_up(project: Project, ref: str) -> None:
    project.registry().rm(ref)
    project.registry().gc(NOW, force=True)


def roots_in(project: Project) -> set[str]:
    store = project.registry().presence.store.folder
    return {path.name for path in (store / "roots" / project.registry().place.id).iterdir()}


def add_other(project: Project) -> object:
    return project.add(noise(500, 7), "other")


WRITERS: dict[str, Callable[[Project], object]] = {
    "add": add_other,
    "tag": lambda project: project.registry().tag("net@v2", "prod"),
    "best": lambda project: project.registry().best("net", "acc", "max"),
    "rm": lambda project: project.registry().rm("net@v1"),
    "gc": lambda project: project.registry().gc(NOW),
    "repair": lambda project: project.registry().fsck(repair=True),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_the_next_writing_command_keeps_a_pulled_version(
    both: tuple[Project, Project], writer: str
) -> None:
    """After it, whoever added the version may withdraw and collect it: the bytes stay for us."""
    ours, theirs = both
    WRITERS[writer](theirs)
    give_up(ours, "net@v2")
    assert theirs.bytes_of("net@v2") == noise(1000, 2)
    assert theirs.registry().fsck("full").ok


def test_a_pulled_version_is_no_damage(both: tuple[Project, Project]) -> None:
    """After a pull a check finds nothing, and says who keeps the version until a command writes."""
    _, theirs = both
    report = theirs.registry().fsck("full")
    assert report.ok
    assert [note for note in report.notes if note.startswith("net/v2 is kept only for others")]
    add_other(theirs)
    assert theirs.registry().fsck().notes == ()


def test_a_root_of_ours_that_is_lost_is_damage(both: tuple[Project, Project]) -> None:
    """Where nothing came since all was rooted, a missing root is found, whoever else has one."""
    _, theirs = both
    add_other(theirs)
    registry = theirs.registry()
    _, record = registry.manifest.record("net", 2)
    store = registry.presence.store.folder
    (store / "roots" / registry.place.id / f"{record.hex()}.yaml").unlink()
    assert [found.kind for found in registry.fsck().findings] == ["root"]


def test_reading_roots_nothing(both: tuple[Project, Project], tmp_path: Path) -> None:
    """What only reads writes no root, and so keeps nothing."""
    _, theirs = both
    before = roots_in(theirs)
    theirs.registry().checkout("net@v2", tmp_path / "out")
    theirs.registry().show("net@v2")
    theirs.registry().gc(NOW, dry_run=True)
    assert roots_in(theirs) == before


def test_what_is_here_is_looked_at_once(
    both: tuple[Project, Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No record is read for roots when nothing came, after our own versions neither."""
    ours, theirs = both
    reads: list[int] = []
    read = Manifest.record_bytes

    def counted(self: Manifest, family: str, number: int) -> bytes:
        reads.append(number)
        return read(self, family, number)

    monkeypatch.setattr(Manifest, "record_bytes", counted)

    def reads_of(registry: ModelRegistry) -> int:
        reads.clear()
        registry._writing()
        return len(reads)

    assert reads_of(theirs.registry())
    assert reads_of(theirs.registry()) == 0
    theirs.add(noise(300, 3))
    theirs.add(noise(300, 4), "other")
    assert reads_of(theirs.registry()) == 0
    ours.add(noise(300, 5), "third")
    commit(ours)
    git(theirs, "pull", "-q", "--no-rebase")
    assert reads_of(theirs.registry())
    assert len(roots_in(theirs)) == 5
    assert git(theirs, "status", "--porcelain", "--", ".mvc/rooted.yaml") == ""


def test_what_comes_during_an_add_is_not_missed(both: tuple[Project, Project]) -> None:
    """A version that is pulled while ours is stored is rooted by the command after."""
    ours, theirs = both
    registry = theirs.registry()
    registry._writing()
    ours.add(noise(300, 5), "third")
    commit(ours)
    git(theirs, "pull", "-q")
    registry._note_rooted("net")
    add_other(theirs)
    give_up(ours, "third@v1")
    assert theirs.bytes_of("third") == noise(300, 5)


def test_a_store_of_ones_own_gets_no_note(project: Project) -> None:
    """Where nobody else is on the store, nothing is looked at or noted."""
    project.add(noise(100))
    project.add(noise(100, 2))
    assert "rooted.yaml" not in files_in(project.mvc)


@pytest.mark.parametrize("ends", [b"\n", b""])
def test_git_is_told_of_the_note_where_it_was_not(
    both: tuple[Project, Project], ends: bytes
) -> None:
    """A registry made before there was that note gets its line; its own lines stay, once each."""
    _, theirs = both
    ignored = theirs.mvc / ".gitignore"
    old = ignored.read_bytes().replace(b"/rooted.yaml\n", b"") + b"/mine" + ends
    ignored.write_bytes(old)
    add_other(theirs)
    add_other(theirs)
    assert ignored.read_bytes() == old.rstrip() + b"\n/rooted.yaml\n"
    assert git(theirs, "status", "--porcelain", "--", ".mvc/rooted.yaml") == ""


def test_who_has_no_gitignore_gets_none(both: tuple[Project, Project]) -> None:
    """Whoever took it away meant it; the version is added and noted all the same."""
    _, theirs = both
    (theirs.mvc / ".gitignore").unlink()
    add_other(theirs)
    assert (theirs.mvc / "rooted.yaml").exists()
    assert not (theirs.mvc / ".gitignore").exists()


def test_a_root_that_cannot_be_read_is_said(both: tuple[Project, Project]) -> None:
    """Damage to the owner's root is a warning for writers; gc ends and removes nothing."""
    ours, theirs = both
    (name,) = roots_in(ours) - roots_in(theirs)
    path = ours.registry().presence.store.folder / "roots" / ours.registry().place.id / name
    path.chmod(0o644)
    path.write_bytes(b"rotten\n")
    with pytest.warns(StoreWarning, match="not kept for this registry yet"):
        add_other(theirs)
    with pytest.warns(StoreWarning, match="not kept for this registry yet"):
        add_other(theirs)
    before = files_in(ours.registry().presence.store.folder)
    with pytest.raises(Damaged, match="another registry's roots"):
        theirs.registry().gc(NOW)
    assert files_in(ours.registry().presence.store.folder) == before
