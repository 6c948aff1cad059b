"""File systems in a file whose power can be cut, as the system really has them.

A loop-mounted ext4 or xfs is shut down by the ioctl that both have for it,
with its journal thrown away or flushed ahead of the data. A btrfs, which has
none, is copied as it lies on its disk while it is mounted, and the copy takes
its place. Whoever writes to a btrfs meanwhile has to be stopped first: a copy
takes a while, and a disk loses its power at one instant.

What is mounted next is always a copy, in a file of its own: whoever made a
mount namespace meanwhile keeps the one before alive, and with the same file
the system would mount that again, dead as it is.

Needs root, loop devices, and the ``mkfs`` of each.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support import tally

GOING_DOWN = 0x8004587D  # XFS_IOC_GOINGDOWN; ext4 has it under the same number
FLUSH_JOURNAL, DROP_JOURNAL = 1, 2
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Kind:
    """How a file system is made; no smaller one is taken, and the file is sparse."""

    make: list[str]
    size: int
    options: str = "loop"


KINDS = {
    "ext4": Kind(["mkfs.ext4", "-q", "-F", "-m", "0"], 320 * MIB),
    "xfs": Kind(["mkfs.xfs", "-q", "-f"], 320 * MIB, "loop,nouuid"),
    "btrfs": Kind(["mkfs.btrfs", "-q", "-f"], 160 * MIB, "loop,commit=300"),
}


class Unavailable(Exception):
    """Such a file system cannot be had here; says why."""


class Volume:
    """An empty file system of a kind, mounted, whose power fails in one way."""

    def __init__(self, cut: str, image: Path, mounted: Path) -> None:
        self.cut = cut
        self.kind, self._lose_power = CUTS[cut]
        self.image, self.folder = image, mounted
        kind = KINDS[self.kind]
        if os.geteuid() != 0:
            raise Unavailable("only root may mount")
        if shutil.which(kind.make[0]) is None:
            raise Unavailable(f"{kind.make[0]} is not installed")
        with image.open("wb") as file:
            file.truncate(kind.size)
        mounted.mkdir()
        _run(*kind.make, os.fspath(image))
        try:
            self.mount()
        except OSError as error:
            raise Unavailable(f"cannot mount a loop device: {error}") from None

    def mount(self) -> None:
        options = KINDS[self.kind].options
        image, folder = os.fspath(self.image), os.fspath(self.folder)
        _run("mount", "-t", self.kind, "-o", options, image, folder)

    def unmount(self) -> None:
        _run("umount", os.fspath(self.folder))

    def cut_power(self) -> None:
        """Lose what is not on the disk, and come back."""
        self.lose_power()
        self.come_back()

    def lose_power(self) -> None:
        """Lose what is not on the disk: from now on nothing that is written counts."""
        self._lose_power(self)
        tally.count("power cuts", of=self.cut)

    def come_back(self) -> None:
        """Mount again after a loss of power. Nobody may use the volume any more."""
        self.unmount()
        if not self._left.exists():
            self.copy_image()
        self._left.rename(self.image)
        self.mount()

    def save(self, to: Path) -> None:
        """Keep the volume, which is unmounted for it, as it is now."""
        _run("sync", "-f", os.fspath(self.folder))
        self.unmount()
        _copy(self.image, to)
        self.mount()

    def begin_again(self, saved: Path) -> None:
        """Let the volume be as it was when it was saved."""
        self.unmount()
        _copy(saved, self._left)
        self._left.rename(self.image)
        self.mount()

    def shut_down(self, how: int) -> None:
        """Stop the file system where it is."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, GOING_DOWN, struct.pack("I", how))
        finally:
            os.close(descriptor)

    def copy_image(self) -> None:
        """Keep what is on the disk now, for ``come_back``."""
        _copy(self.image, self._left)

    @property
    def _left(self) -> Path:
        return self.image.with_name("left")


# By the file system and by what becomes of its journal.
CUTS: dict[str, tuple[str, Callable[[Volume], None]]] = {
    "ext4-journal-lost": ("ext4", lambda volume: volume.shut_down(DROP_JOURNAL)),
    "ext4-journal-ahead": ("ext4", lambda volume: volume.shut_down(FLUSH_JOURNAL)),
    "xfs-journal-lost": ("xfs", lambda volume: volume.shut_down(DROP_JOURNAL)),
    "xfs-journal-ahead": ("xfs", lambda volume: volume.shut_down(FLUSH_JOURNAL)),
    "btrfs-copied": ("btrfs", lambda volume: volume.copy_image()),
}
JOURNAL_LOST = ["ext4-journal-lost", "xfs-journal-lost"]


def _copy(image: Path, to: Path) -> None:
    _run("cp", "--sparse=always", os.fspath(image), os.fspath(to))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
