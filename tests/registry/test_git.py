"""A manifest kept in git: committed, cloned, branched and merged by the real git."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from mvc import ModelRegistry, MvcError, NotFound, StoreWarning
from tests.support.registry_builders import Project, files_in, noise

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")

IDENTITY = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "anna"), ("EMAIL", "anna@example.org"))
}


def git(project: Project, *arguments: str, fails: bool = False) -> str:
    """Run git in a project and return what it printed."""
    done = subprocess.run(
        ["git", "-C", str(project.folder), *arguments],
        env={**os.environ, **IDENTITY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout


def commit(project: Project, *names: str) -> None:
    git(project, "add", *(names or [".mvc"]))
    git(project, "commit", "-q", "-m", "versions")


def clone(project: Project, folder: Path, *options: str) -> Project:
    """Clone a project as git does it: without what git was told to leave out."""
    git(project, "clone", "-q", *options, str(project.folder), str(folder))
    return Project(folder)


@pytest.fixture
def work_tree(project: Project) -> Project:
    """A project in git, with one version and a tag committed."""
    git(project, "init", "-q", "-b", "main")
    project.add(noise(1000), metrics={"acc": 0.5}, tags=["prod"])
    commit(project)
    return project


def names_in(status: str) -> set[str]:
    return {line[3:] for line in status.splitlines()}


def test_only_the_manifest_is_ever_seen_by_git(work_tree: Project) -> None:
    """Neither store, settings, cache, answers nor leftovers of a killed writer show in git."""
    work_tree.add(noise(1000, 2))
    work_tree.registry().list()
    family = work_tree.mvc / "manifest" / "net"
    for folder in (work_tree.mvc, family, family / "versions", family / "events"):
        (folder / ".mvc-new-0123456789abcdef").write_bytes(b"half")
    assert (work_tree.mvc / "cache").is_dir()
    assert family.joinpath("family.yaml").is_file()
    git(work_tree, "add", "-A", ".mvc")
    assert git(work_tree, "ls-files", ".mvc").split() == [
        ".mvc/.gitignore",
        ".mvc/manifest/.gitattributes",
        ".mvc/manifest/net/events/00000001.yaml",
        ".mvc/manifest/net/versions/v1.yaml",
        ".mvc/manifest/net/versions/v2.yaml",
    ]


def test_git_that_comes_after_the_registry_leaves_the_store_alone(project: Project) -> None:
    """``git init`` in a project that has a registry, and ``git add .``, take no store."""
    project.add(noise(1000))
    git(project, "init", "-q")
    git(project, "add", ".")
    taken = git(project, "ls-files").split()
    assert ".mvc/manifest/net/versions/v1.yaml" in taken
    assert not [name for name in taken if "store" in name or "config" in name or "cache" in name]


def test_a_clone_reads_from_its_records_alone(work_tree: Project, tmp_path: Path) -> None:
    """Without settings and store everything known is told, with one warning, and nothing made."""
    there = clone(work_tree, tmp_path / "clone")
    before = files_in(there.mvc).keys()
    reads: dict[str, Callable[[ModelRegistry], object]] = {
        "list": lambda registry: registry.list() == ["net"],
        "versions": lambda registry: registry.list("net") == ["v1"],
        "show": lambda registry: registry.show("net@best").id == "net/v1",
        "get": lambda registry: registry.get("net@prod")["present"] is False,
        "log": lambda registry: [version.id for version in registry.log()] == ["net/v1"],
        "history": lambda registry: len(registry.history("net@prod")) == 1,
        "best": lambda registry: registry.best("net")[1],
        "status": lambda registry: registry.status(there.folder).store is None,
    }
    for name, read in reads.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert read(there.registry()), name
        said = [str(item.message) for item in caught if item.category is StoreWarning]
        assert len(said) == (name not in ("list", "versions", "history")), (name, said)
        assert all("no store here" in text and "mvc init --store" in text for text in said)
    assert files_in(there.mvc).keys() - before <= {"manifest/net/family.yaml"}
    assert git(there, "status", "--porcelain") == ""


def test_a_clone_refuses_what_needs_bytes(work_tree: Project, tmp_path: Path) -> None:
    """Without a store nothing is written out, checked or added, and no store is made unasked."""
    there = clone(work_tree, tmp_path / "clone")
    registry = there.registry()
    model = there.file(noise(1000, 3))
    for needs in (
        lambda: registry.checkout("net", tmp_path / "out"),
        registry.du,
        registry.fsck,
        lambda: registry.add("net", model),
        lambda: registry.add("net", from_version="net@v1"),
    ):
        with pytest.raises(NotFound, match="no store here") as raised:
            needs()
        assert "mvc init" in (raised.value.hint or "")
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in there.mvc.iterdir()) == [".gitignore", "manifest"]


def test_a_clone_tells_what_the_files_beside_it_are(work_tree: Project, tmp_path: Path) -> None:
    """``status`` knows a file by its record, without any store."""
    there = clone(work_tree, tmp_path / "clone")
    there.file(noise(1000), "mine.bin")
    there.file(noise(1000, 9), "other.bin")
    with pytest.warns(StoreWarning, match="no store here"):
        files = there.registry().status(there.folder).files
    assert [(file.path.name, file.state, file.version) for file in files] == [
        ("mine.bin", "registered", "net/v1"),
        ("other.bin", "new", None),
    ]


def test_a_clone_is_found_from_below(
    work_tree: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search upward takes a clone for the registry that it is, however it is named."""
    there = clone(work_tree, tmp_path / "clone")
    deep = there.folder / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert ModelRegistry().list() == ["net"]
    assert ModelRegistry(there.mvc).list() == ["net"]


def test_a_folder_of_ones_own_is_not_taken_for_a_registry(project: Project) -> None:
    """A project's own ``config.yaml`` or ``manifest`` folder is not mvc's."""
    (project.folder / "config.yaml").write_text("lr: 0.1\n")
    project.add(noise(10))
    (project.folder / "config.yaml").unlink()
    (project.folder / "manifest").mkdir()
    assert project.registry().list() == ["net"]
    assert project.registry().folder == project.mvc
    with pytest.raises(MvcError):
        ModelRegistry(project.folder / "manifest").show("net")
