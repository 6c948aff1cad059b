"""Durability: what it takes until written bytes, or names, survive a power cut.

Every file and folder that is made durable comes through here. How far that
goes is the user's choice, for the whole process, and never a registry's,
which may come from somebody else: ``full`` waits until the disk has it;
``none`` waits for nothing.

What each sync guards: ``docs/invariants.md``.
Public names: ``LEVELS``, ``choose``, ``sync``.
"""

from __future__ import annotations

import errno
import fcntl
import os

LEVELS = ("full", "none")
"""What may be chosen; the first is in force until then."""

# What F_FULLFSYNC answers where a file system has no such thing; all else is a failed sync.
_NOT_KNOWN = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS}

_chosen = LEVELS[0]


def choose(level: str) -> None:
    """Let this process, from now on, go as far as ``level``, one of ``LEVELS``, says."""
    global _chosen
    _chosen = level


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
