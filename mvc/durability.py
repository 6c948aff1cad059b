"""Durability: what it takes until written bytes, or names, survive a power cut.

Every file and folder that is made durable comes through here. How far that
goes is the user's choice, for the whole process, and never a registry's,
which may come from somebody else: ``full`` waits for each until the disk has
it; ``batch`` waits once for many, before the name that shows them; ``none``
waits for nothing.

What each sync guards: ``docs/invariants.md``.
Public names: ``LEVELS``, ``choose``, ``chosen``, ``sync``, ``check_done``, ``Together``.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from mvc import system

LEVELS = ("full", "batch", "none")
"""What may be chosen; the first is in force until then."""

# What F_FULLFSYNC answers where a file system has no such thing; all else is a failed sync.
_NOT_KNOWN = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS}

_chosen = LEVELS[0]


def choose(level: str) -> None:
    """Let this process, from now on, go as far as ``level``, one of ``LEVELS``, says."""
    global _chosen
    _chosen = level


def chosen() -> str:
    """Return the level that this process keeps to."""
    return _chosen


def sync(descriptor: int) -> None:
    """Make the bytes of an open file durable, or the names in an open folder.

    Raises:
        OSError: They may be lost. A failure is final: never sync the same file again.
    """
    if _chosen == "none":
        return
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync stops at the drive's cache
    if full is not None:
        try:
            fcntl.fcntl(descriptor, full)
            return
        except OSError as error:
            if error.errno not in _NOT_KNOWN:
                raise
    os.fsync(descriptor)


def check_done(done: bool, path: Path | None = None) -> None:
    """Refuse to answer for a system that says it did what it did not.

    A lost write shows in a file's size, a lost name in that nothing is there.
    """
    if not done:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)


class Together:
    """Many new files that get a name which counts only when all of them are durable.

    ``at_once`` says that none of them is to be synced as it is written: ``finish`` does it
    for all. Else each is, and ``finish`` has nothing to do.

    Args of the constructor: ``descriptor`` is of a file or folder on the same file system,
    opened before the first of them was written to, as what was lost before is not reported.
    """

    def __init__(self, descriptor: int, count: int) -> None:
        self._descriptor = descriptor
        self.at_once = _chosen == "batch" and count > 1 and system.reports_lost_writes(descriptor)

    def finish(self) -> None:
        """Make durable what was written, and names, too.

        Raises:
            OSError: Something may be lost; none of the files is to be relied upon.
        """
        if self.at_once:
            system.sync_file_system(self._descriptor)
