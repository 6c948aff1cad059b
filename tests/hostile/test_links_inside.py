"""Links where ``.mvc`` should have folders of its own: nothing is written or deleted behind one."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from mvc import Damaged, FormatError, ModelRegistry, MvcError
from mvc.store import Store
from tests.hostile.test_tampered_registries import snapshot
from tests.support.faults import Project, bytes_of, make_noise, whole

pytestmark = pytest.mark.filterwarnings("ignore::mvc.MvcWarning")

IN_STORE = [
    "packs",
    "roots",
    "roots/REGISTRY",
    "staging",
    "staging/" + "a" * 32,
    "trash",
    "quarantine",
    "locks",
    "features",
]
IN_MANIFEST = ["", "net", "net/versions", "net/events"]
FOREIGN = [
    "foreign.pack",
    "secret.txt",
    "record.yaml",
    "notes.yaml",
    "maintenance.lock",
    "sub/x.pack",
]
OLD = 10**18

JOBS: dict[str, Callable[[ModelRegistry, Path], object]] = {
    "add": lambda registry, new: registry.add("net", new),
    "tag": lambda registry, new: registry.tag("net@v1", "next"),
    "rm": lambda registry, new: registry.rm("net@v2"),
    "gc": lambda registry, new: registry.gc("0d", cache=True, force=True),
    "repack": lambda registry, new: registry.repack(),
    "repair": lambda registry, new: registry.fsck("full", repair=True),
    "path": lambda registry, new: registry.path("net@v1"),
    "search": lambda registry, new: registry.search("acc > 0"),
    "move": lambda registry, new: registry.move_store(new.with_name("moved")),
}


def lead_out(folder: Path, outside: Path) -> dict[str, tuple[int, ...]]:
    """Put a link in a folder's place, the folder outside, and files of others into it."""
    behind = outside / "behind"
    if folder.exists():
        shutil.move(folder, behind)
    (behind / "sub").mkdir(parents=True)
    for name in FOREIGN:
        (behind / name).write_text("not ours")
    for path in [behind, *behind.rglob("*")]:
        os.utime(path, ns=(OLD, OLD))
    folder.parent.mkdir(exist_ok=True)
    folder.symlink_to(behind)
    return snapshot(outside)


def withdrawn(project: Project, tmp_path: Path) -> None:
    """Give every command something to do: a tag, a second version, a third that is withdrawn."""
    for number in (2, 3):
        make_noise(tmp_path / "more.bin", number)
        project.add("net", tmp_path / "more.bin", metrics={"acc": number / 10})
    project.open().tag("net@v1", "prod")
    project.open().rm("net@v3")


def refusal(project: Project, job: str) -> MvcError | None:
    """Do a job and return what was raised."""
    new = project.folder.parent / "new.bin"
    make_noise(new, 9)
    try:
        JOBS[job](project.open(), new)
    except MvcError as error:
        return error
    return None


@pytest.mark.parametrize("name", IN_STORE)
def test_a_link_in_a_store_is_named_and_nothing_behind_it_changes(
    project: Project, outside: Path, tmp_path: Path, name: str
) -> None:
    """Whoever needs the store gets an error that names the link; with it gone, all is well."""
    withdrawn(project, tmp_path)
    folder = project.folder / ".mvc/store" / name.replace("REGISTRY", project.open().place.id)
    before = lead_out(folder, outside)
    for job in JOBS:
        error = refusal(project, job)
        if job in ("tag", "rm", "search"):
            assert error is None
        else:
            assert isinstance(error, FormatError | Damaged), job
            assert f"'{folder}' is a symbolic link" in error.message
            assert error.hint
        assert snapshot(outside) == before, job
    folder.unlink()
    (outside / "behind").rename(folder)
    for name in FOREIGN:
        (folder / name).unlink()
    (folder / "sub").rmdir()
    whole(project)


@pytest.mark.parametrize("name", IN_MANIFEST)
def test_a_link_in_a_manifest_is_not_written_through(
    project: Project, outside: Path, tmp_path: Path, name: str
) -> None:
    """What would create or mend a file behind a link is refused; fsck names it, reading goes on."""
    withdrawn(project, tmp_path)
    folder = project.folder / ".mvc/manifest" / name
    before = lead_out(folder, outside)
    for job in ("add", "tag", "rm", "gc", "repair"):
        error = refusal(project, job)
        assert isinstance(error, FormatError), job
        assert "is a symbolic link" in error.message
        assert snapshot(outside) == before, job
    for job in ("repack", "path", "search"):
        assert refusal(project, job) is None, job
        assert snapshot(outside) == before, job
    assert [found.kind for found in project.open().fsck().findings] == ["family"]
    assert bytes_of(project.open(), "net/v1") == project.held["net/v1"]


@pytest.mark.parametrize("name", ["cache", "cache/path"])
def test_a_link_in_place_of_the_cache_is_passed_over(
    project: Project, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Everything works as it does without a cache, and the user's own serves ``mvc path``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    withdrawn(project, tmp_path)
    before = lead_out(project.folder / ".mvc" / name, outside)
    for job in JOBS:
        assert refusal(project, job) is None, job
        assert snapshot(outside) == before, job
    assert project.open().path("net@v1").is_relative_to(tmp_path / "users")


def test_a_link_in_place_of_the_query_index_is_passed_over(project: Project, outside: Path) -> None:
    """A database of somebody else's is neither asked nor filled."""
    index = project.open().place.query_index
    assert index is not None
    database = outside / "theirs.sqlite"
    with sqlite3.connect(database) as theirs:
        theirs.execute("CREATE TABLE own (inode TEXT)")
    index.unlink(missing_ok=True)
    index.symlink_to(database)
    before = database.read_bytes()
    assert [version.id for version in project.open().search("acc > 0")] == ["net/v1"]
    assert database.read_bytes() == before


def test_a_store_is_not_made_in_folders_that_lead_elsewhere(tmp_path: Path) -> None:
    """A folder that has only links in it, each to an empty folder, is not an empty one."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store/packs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MvcError, match="not empty"):
        Store.create(tmp_path / "store")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_store_itself_may_lie_behind_a_link(project: Project, tmp_path: Path) -> None:
    """Where a user puts the store is theirs to say: a link to it counts like its path."""
    (project.folder / ".mvc/store").rename(tmp_path / "big-disk")
    (project.folder / ".mvc/store").symlink_to(tmp_path / "big-disk")
    project.add("net", tmp_path / "other.bin")
    project.open().gc("0d")
    whole(project)
