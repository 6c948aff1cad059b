"""A real file system loses power right after ``add`` has answered.

A loop-mounted ext4 or xfs is shut down by the ioctl that both have for it,
with its journal flushed ahead of the data or thrown away, and mounted again.
Needs root, loop devices and the two ``mkfs``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mvc import fileio
from tests.support.faults import Project, whole

Files = Callable[[str, int], Path]

GOING_DOWN = 0x8004587D  # XFS_IOC_GOINGDOWN; ext4 has it under the same number
FLUSH_JOURNAL, DROP_JOURNAL = 1, 2
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-m", "0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}
SIZE = 320 << 20  # the smallest that xfs takes is 300 MiB; it is sparse


class Volume:
    """A file system in a file, whose power can be cut."""

    def __init__(self, kind: str, image: Path, mounted: Path) -> None:
        self.kind, self.image, self.folder = kind, image, mounted
        with image.open("wb") as file:
            file.truncate(SIZE)
        mounted.mkdir()
        _run(*MAKE[kind], os.fspath(image))
        self.mount()

    def mount(self) -> None:
        _run("mount", "-t", self.kind, "-o", "loop", os.fspath(self.image), os.fspath(self.folder))

    def unmount(self) -> None:
        _run("umount", os.fspath(self.folder))

    def cut_power(self, how: int) -> None:
        """Lose what is not on the disk, and come back."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, GOING_DOWN, struct.pack("I", how))
        finally:
            os.close(descriptor)
        self.unmount()
        self.mount()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


@pytest.fixture(params=MAKE)
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Volume]:
    """An empty file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    if shutil.which(MAKE[request.param][0]) is None:
        pytest.skip(f"{MAKE[request.param][0]} is not installed")
    try:
        made = Volume(request.param, tmp_path / "image", tmp_path / "mounted")
    except OSError as error:
        pytest.skip(f"cannot mount a loop device: {error}")
    yield made
    made.unmount()


HOW = {"journal-ahead": FLUSH_JOURNAL, "journal-lost": DROP_JOURNAL}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_what_add_acknowledged_survives(volume: Volume, files: Files, how: int) -> None:
    """Power cut right after ``add``, ``tag`` or ``rm`` answered: all of it is there after mounting.

    Nothing has to be unlocked or repaired, and what comes next works.
    """
    project = Project(volume.folder)
    project.add("net", files("weights", 1), metrics={"acc": 0.5})
    volume.cut_power(how)
    whole(project)
    project.add("net", files("noise", 2), tags=["prod"])
    project.tags["net@prod"] = "net/v2"
    volume.cut_power(how)
    whole(project)
    project.open().tag("net@v1", "prod")
    project.tags["net@prod"] = "net/v1"
    volume.cut_power(how)
    whole(project).rm("net@v2")
    project.tags["net@latest"] = "net/v1"
    volume.cut_power(how)
    whole(project)


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_a_checked_out_file_survives(volume: Volume, files: Files, how: int) -> None:
    """Power cut right after ``checkout`` answered: the file it wrote is there, bit for bit."""
    project = Project(volume.folder)
    project.add("net", files("weights", 1))
    project.open().checkout("net", volume.folder / "model.bin")
    volume.cut_power(how)
    assert (volume.folder / "model.bin").read_bytes() == project.held["net/v1"]


def test_without_syncing_it_is_lost(
    volume: Volume, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``fsync`` turned into nothing the same cut loses the version: the test can see."""
    monkeypatch.setattr(fileio, "_sync", lambda descriptor: None)
    project = Project(volume.folder)
    project.add("net", files("weights", 1))
    volume.cut_power(DROP_JOURNAL)
    assert project.open().list() == []
