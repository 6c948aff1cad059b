"""Where there are no hard links, a rename that replaces nothing gives each name once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mvc import ModelRegistry, Unsupported, system
from tests.faults.test_power_cut import Cuts, add, assert_survived
from tests.registry.test_repack import small_series
from tests.support import fault_trace
from tests.support.faults import (
    COMMIT_POINT,
    Death,
    Project,
    killed_after_steps,
    killed_before_calls,
    whole,
)
from tests.support.linkless import traced, without_links
from tests.support.registry_builders import files_in

Files = Callable[[str, int], Path]

IMPOSSIBLE = fault_trace.why_not()
needs_strace = pytest.mark.skipif(IMPOSSIBLE is not None, reason=str(IMPOSSIBLE))


@pytest.fixture
def no_links(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the links away from a project that is there."""
    monkeypatch.setattr(os, "link", without_links)


@pytest.mark.usefixtures("no_links")
@pytest.mark.parametrize("kill", [killed_after_steps, killed_before_calls])
def test_a_killed_add_leaves_a_whole_version_or_none(
    project: Project, files: Files, kill: Callable[..., Iterator[tuple[Project, Death]]]
) -> None:
    """Killed after any step, or before any call, ``add`` can be repeated and nothing is half."""
    source = files("noise", 3)
    versions = set()
    for copy, death in kill(project, lambda at: ModelRegistry(at).add("net", source)):
        registry = whole(copy)
        made = "v3" in registry.list("net")
        versions.add(made)
        if kill is killed_after_steps:
            assert made == (COMMIT_POINT in death.done), death
        copy.add("net", source)
        whole(copy)
    assert versions == {True, False}


@pytest.mark.usefixtures("no_links")
def test_what_was_acknowledged_survives_a_power_cut(
    project: Project, files: Files, tmp_path: Path
) -> None:
    """The power may fail at any call of ``add`` and ``tag``: what was acknowledged is there."""
    source = files("noise", 3)

    def work(at: Project) -> None:
        at.add("net", source)
        at.open().tag("net@v3", "new")
        at.tags["net@new"] = "net/v3"

    cuts = Cuts(project).during(work)
    assert assert_survived(cuts, tmp_path, lambda at: add(at, "net", source)) > 20


@pytest.mark.usefixtures("no_links")
def test_gc_and_repack_lose_nothing(project: Project, tmp_path: Path) -> None:
    """Packs are rewritten, thrown away and taken back there as anywhere."""
    path = tmp_path / "model.safetensors"
    for data in small_series(3):
        path.write_bytes(data)
        project.add("series", path)
    project.open().repack()
    whole(project).rm("series@v2")
    project.held.pop("series/v2")
    project.open().gc("0")
    whole(project)


ADDING = """
import errno, os, sys
from mvc import ModelRegistry
from tests.support.linkless import without_links

os.link = without_links
for path in sys.argv[1:]:
    print(ModelRegistry(".").add("net", path).id)
"""


def test_processes_that_add_at_once_get_different_numbers(
    project: Project, files: Files, tmp_path: Path
) -> None:
    """No number is given twice, and each version holds the file that it was given for."""
    given: list[tuple[subprocess.Popen[str], list[Path]]] = []
    for process in range(4):
        paths = [files("noise", 10 * process + number) for number in range(10, 13)]
        running = subprocess.Popen(
            [sys.executable, "-c", ADDING, *map(str, paths)],
            cwd=project.folder,
            env={**os.environ, "PYTHONPATH": os.fspath(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            text=True,
        )
        given.append((running, paths))
    for running, paths in given:
        out = running.communicate()[0]
        assert running.returncode == 0
        for identity, path in zip(out.split(), paths, strict=True):
            assert identity not in project.held
            project.held[identity] = path.read_bytes()
    assert len(project.held) == 2 + 12
    whole(project)


def done(folder: Path, *arguments: object) -> str:
    """Run a command without links, which must succeed; return the last line that it printed."""
    ended = traced(folder, *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()[-1] if ended.stdout else ""


@needs_strace
def test_every_command_works(tmp_path: Path, files: Files) -> None:
    """The real process, to which the kernel refuses every link, does all that mvc does."""
    here, model = tmp_path / "here", tmp_path / "model"
    here.mkdir()
    model.mkdir()
    project = Project(here)
    first, second = files("weights", 1), files("noise", 2)
    (model / "a.bin").write_bytes(first.read_bytes())
    (model / "b.bin").write_bytes(b"b")
    done(here, "init")
    for path in (first, second):
        project.held[done(here, "add", "net", path, "--tag", "new")] = path.read_bytes()
    assert done(here, "add", "folder", model) == "folder/v1"
    done(here, "tag", "net@v1", "new")
    project.tags["net@new"] = "net/v1"
    done(here, "rm", "net@v2")
    done(here, "restore", "net@v2")
    done(here, "checkout", "net@v1", "-o", "out.bin")
    done(here, "checkout", "folder", "-o", "out")
    assert (here / "out.bin").read_bytes() == first.read_bytes()
    assert files_in(here / "out") == files_in(model)
    whole(project)
    done(here, "rm", "net@v2")
    del project.held["net/v2"]
    done(here, "gc", "--grace", "0")
    done(here, "store", "move", tmp_path / "moved")
    whole(project)
    damage(tmp_path / "moved" / "packs", first)
    done(here, "fsck", "--repair", "--from", first)
    assert [path.suffix for path in (tmp_path / "moved" / "quarantine").iterdir()] == [".pack"]
    whole(project)
    left = [path.name for path in tmp_path.rglob(".mvc-new-*")]
    assert left == []


def damage(packs: Path, path: Path) -> None:
    """Change a byte of the largest pack, which holds the file."""
    pack = max(packs.iterdir(), key=lambda path: path.stat().st_size)
    pack.chmod(0o644)
    raw = bytearray(pack.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    pack.write_bytes(raw)


@needs_strace
def test_a_place_with_neither_is_refused(tmp_path: Path, files: Files) -> None:
    """Without such a rename no registry and no store is made there, and nothing is left."""
    here, new = tmp_path / "here", tmp_path / "new"
    here.mkdir()
    new.mkdir()
    done(here, "init")
    done(here, "add", "net", files("noise", 1))
    done(here, "gc")  # which leaves the file that a move locks, too
    before = files_in(tmp_path)
    for folder, arguments in (
        (new, ("init",)),
        (new, ("init", "--store", tmp_path / "store")),
        (here, ("store", "move", tmp_path / "moved")),
    ):
        ended = traced(folder, *arguments, renames=False)
        assert (ended.returncode, ended.stdout) == (8, ""), ended.stderr
        *_, error, hint = ended.stderr.splitlines()
        assert error.endswith("neither hard links nor a rename that replaces nothing")
        assert hint == "hint: choose a folder on another, such as ext4, xfs, btrfs or APFS"
        assert files_in(tmp_path) == before
        assert sorted(os.listdir(tmp_path)) == ["here", "new", "noise-1.bin"]
    assert os.listdir(new) == []


def test_the_first_add_and_a_store_of_its_own_are_refused_there_too(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the registry may be and its store may not, neither is made."""
    monkeypatch.setattr(os, "link", without_links)
    monkeypatch.setattr(system, "rename_once", lambda *_, **__: None)
    source = files("noise", 1)
    with pytest.raises(Unsupported, match="neither hard links nor a rename"):
        ModelRegistry(tmp_path / "new").add("net", source)
    assert os.listdir(tmp_path) == [source.name]
    store = tmp_path / "elsewhere" / "store"
    monkeypatch.setattr(
        system, "rename_once", lambda one, other: None if one.parent == tmp_path else True
    )
    (tmp_path / "project").mkdir()
    with pytest.raises(Unsupported):
        ModelRegistry(tmp_path / "project").init(store=store)
    assert sorted(os.listdir(tmp_path)) == [source.name, "project"]
    assert os.listdir(tmp_path / "project") == []
