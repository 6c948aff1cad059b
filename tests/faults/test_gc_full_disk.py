"""A real file system filled to its last byte is made room on by gc."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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
