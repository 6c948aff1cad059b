"""A real file system filled to its last byte is made room on by gc."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mvc.fileio import Steps
from mvc.registry.event import Event
from mvc.registry.manifest import Manifest
from tests.cli.running import ROOT
from tests.registry.test_gc import dies_before_its_root
from tests.support import registry_builders as builders
from tests.support.faults import Project, make_noise, whole
from tests.support.registry_builders import noise

SIZE = 24 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 of 24 MiB of which root keeps nothing back."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed")
    image, folder = tmp_path / "image", tmp_path / "mounted"
    with image.open("wb") as file:
        file.truncate(SIZE)
    folder.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, folder], check=False).returncode:
        pytest.skip("no loop device can be mounted")
    yield folder
    subprocess.run(["umount", folder], check=True)


def filled(folder: Path) -> None:
    """Take every byte that is left, small pieces as well."""
    with (folder / "ballast").open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    status = os.statvfs(folder)
    assert status.f_bavail == 0


def gc(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mvc", "-C", folder, "gc", "--grace", "0", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def with_versions(folder: Path, tmp_path: Path, count: int) -> Project:
    """Make a project with so many versions of a MiB, and one that stays."""
    project = Project(folder / "project")
    project.folder.mkdir()
    source = tmp_path / "source.bin"
    make_noise(source, 1, 1 << 20)
    project.add("kept", source)
    for number in range(count):
        make_noise(source, 100 + number, 1 << 20)
        project.open().add("net", source)
    return project


def without_caches(project: Project) -> None:
    """Remove the files that gc could remove to make room."""
    shutil.rmtree(project.folder / ".mvc/cache", ignore_errors=True)
    for path in project.folder.glob(".mvc/manifest/*/family.yaml"):
        path.unlink()


def free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def test_withdrawn_versions_go_from_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """Not a byte is free: gc gives up what is withdrawn all the same, events and all."""
    project = with_versions(small_disk, tmp_path, 5)
    for number in (1, 2, 3, 4):
        project.open().rm(f"net@v{number}")
    filled(small_disk)
    done = gc(project.folder)
    assert done.returncode == 0, done.stderr
    assert free(small_disk) > 4 << 20
    assert whole(project).list("net") == ["v5"]


def test_what_a_killed_add_left_goes_from_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """Packs that no version needs go first, and make room for the rest."""
    project = with_versions(small_disk, tmp_path, 2)
    project.open().rm("net@v1")
    dies_before_its_root(builders.Project(project.folder), noise(1 << 20, 7))
    filled(small_disk)
    done = gc(project.folder)
    assert done.returncode == 0, done.stderr
    assert free(small_disk) > 2 << 20
    assert whole(project).list("net") == ["v2"]


def test_a_policy_is_applied_on_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """What was withdrawn before goes first; then what no rule keeps is withdrawn, and goes."""
    project = with_versions(small_disk, tmp_path, 6)
    project.open().rm("net@v5")
    project.open().keep("net", last=2)
    filled(small_disk)
    done = gc(project.folder)
    assert done.returncode == 0, done.stderr
    assert free(small_disk) > 4 << 20
    assert "3 versions withdrawn" in done.stdout
    assert whole(project).list("net") == ["v4", "v6"]


def test_bytes_of_one_version_make_room_for_the_next(small_disk: Path, tmp_path: Path) -> None:
    """What a pack given up took is free at once: gc itself does not keep it open."""
    project = with_versions(small_disk, tmp_path, 3)
    project.open().keep("net", last=1)
    project.open().rm("net@v1")
    filled(small_disk)
    registry = project.open()
    assert registry.gc("0").freed > 2 << 20
    assert free(small_disk) > 15 << 17  # the events took some of it


def test_without_room_for_one_note_nothing_is_released(small_disk: Path, tmp_path: Path) -> None:
    """Where no event can be made, gc says that the disk is full, and restore still works after."""
    project = with_versions(small_disk, tmp_path, 3)
    project.open().rm("net@v1")
    project.open().keep("net", last=1)
    without_caches(project)
    filled(small_disk)
    done = gc(project.folder)
    assert done.returncode == 8
    assert "the disk is full" in done.stderr
    (small_disk / "ballast").unlink()
    project.open().restore("net@v1")
    assert whole(project).list("net") == ["v1", "v2", "v3"]


@pytest.mark.parametrize("family", ["net", "kept"])
def test_what_cannot_be_noted_is_put_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Where the events of one family find no room, gc gives up what is left, and tells of it."""
    project, source = Project(tmp_path / "project"), tmp_path / "source.bin"
    project.folder.mkdir()
    for name in ("net", "kept"):
        for number in range(2):
            make_noise(source, ord(name[0]) + number, 3000)
            project.open().add(name, source)
    project.open().rm("kept@v1")
    project.open().keep("net", last=1)
    dies_before_its_root(builders.Project(project.folder), noise(5000, 7))
    real = Manifest.create_event

    def create_event(self: Manifest, name: str, event: Event) -> Steps[bool]:
        if name == family:
            raise OSError(errno.ENOSPC, "no room", "events")
        return (yield from real(self, name, event))

    monkeypatch.setattr(Manifest, "create_event", create_event)
    done = project.open().gc("0")
    assert done.put_off == {"net": ("net/v1",), "kept": ("kept/v1", "net/v1")}[family]
    assert done.freed > 5000
    assert not {item.name for item in done.items} & set(done.put_off)
    monkeypatch.undo()
    whole(project)
    assert project.open().gc("0").put_off == ()
    assert [whole(project).list(name) for name in ("net", "kept")] == [["v2"], ["v2"]]


def test_what_takes_room_first_is_told_beforehand(small_disk: Path, tmp_path: Path) -> None:
    """Half a pack goes once there is room for the other half: plan and run say so alike."""
    project, files = Project(small_disk / "project"), [tmp_path / "1.bin", tmp_path / "2.bin"]
    project.folder.mkdir()
    for number, path in enumerate(files):
        make_noise(path, number, 1 << 20)
    project.open().add("apart", files[0])
    folder = tmp_path / "both"
    folder.mkdir()
    for path in files:
        path.rename(folder / path.name)
    make_noise(folder / "3.bin", 3, 2 << 20)
    project.open().add("net", folder)
    project.open().add("net", folder / "3.bin")
    project.open().rm("net@v1")
    filled(small_disk)
    plan, done = gc(project.folder, "--dry-run"), gc(project.folder)
    assert (plan.returncode, done.returncode) == (0, 0), done.stderr
    assert "1.05 MB can go once 3.15 MB are free: run mvc gc again" in plan.stderr
    assert "1.05 MB can go once 3.15 MB are free: run mvc gc again" in done.stderr
    assert plan.stdout.splitlines()[-1].split()[:2] == done.stdout.splitlines()[-1].split()[:2]
    (small_disk / "ballast").unlink()
    assert project.open().gc("0").freed > 1 << 20
    assert project.open().gc("0").no_room == 0
    whole(project)
