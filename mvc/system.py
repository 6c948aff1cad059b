"""System: calls of the kernel that Python has no name for.

Each is asked of the C library when it is first needed; where there is no such
call, it answers as a kernel without it does. What they are good for is for
others to know.

Public names: ``sync_file_system``, ``reports_lost_writes``.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from functools import cache

# statfs(2) calls a file system by these numbers. Others, such as FUSE, answer syncfs without
# asking whoever keeps the bytes.
_LOCAL = {0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs"}
# From here on syncfs fails where bytes were lost before it was called.
_REPORTS = (5, 8)


def sync_file_system(descriptor: int) -> None:
    """Make all durable that was written to the file system of an open file or folder.

    Raises:
        OSError: Something there was lost since the descriptor was opened.
    """
    if _library().syncfs(descriptor):
        raise _error()


def reports_lost_writes(descriptor: int) -> bool:
    """Say whether ``sync_file_system`` can be relied upon where an open file or folder is."""
    if sys.platform != "linux" or not hasattr(_library(), "syncfs"):
        return False
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if release is None or tuple(map(int, release.groups())) < _REPORTS:
        return False
    status = (ctypes.c_long * 64)()  # the first of struct statfs is the number; it is smaller
    return _library().fstatfs(descriptor, status) == 0 and status[0] in _LOCAL


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
