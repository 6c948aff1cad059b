"""System: calls of the kernel that Python has no name for, or not everywhere.

Each is asked of the C library when it is first needed; where there is no such
call, it answers as a kernel without it does. What they are good for is for
others to know.

Public names: ``sync_file_system``, ``reports_lost_writes``, ``rename_once``, ``no_links``,
``clone``, ``forget``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

# statfs(2) calls a file system by these numbers. Others, such as FUSE, answer syncfs without
# asking whoever keeps the bytes.
_LOCAL = {0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs"}
# The call, AT_FDCWD, and RENAME_NOREPLACE or RENAME_EXCL.
_RENAME_ONCE = ("renameatx_np", -2, 4) if sys.platform == "darwin" else ("renameat2", -100, 1)
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
# SMB has the server replace what another host put there since this one looked. A FUSE server is
# told to replace nothing, and some do not listen.
_REPLACE_ALL_THE_SAME = {0xFF534D42: "CIFS", 0xFE534D42: "SMB2", 0x65735546: "FUSE"}
_NO_SUCH_ORDER = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_CLONE = 0x40049409  # FICLONE of linux/fs.h
# From here on syncfs fails where bytes were lost before it was called.
_REPORTS = (5, 8)


def forget(descriptor: int, offset: int, size: int) -> None:
    """Let the system drop a part of a file from its memory, if it knows how."""
    if hasattr(os, "posix_fadvise"):  # not on macOS
        with contextlib.suppress(OSError, OverflowError):  # a forged offset may be any number
            os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_DONTNEED)


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
    return _kind(descriptor) in _LOCAL


def rename_once(
    source: str | Path,
    target: str | Path,
    *,
    source_folder: int | None = None,
    target_folder: int | None = None,
) -> bool | None:
    """Give a file another name if that is free, in one step.

    That is so for all hosts that see the folder, or there is no such order. The kernel itself
    refuses it on NFS, where another host may take the name meanwhile.

    Args:
        source_folder: A descriptor of the folder that ``source`` is relative to.
        target_folder: The same of ``target``.

    Returns:
        Whether the name was free; ``None`` where there is no such order.

    Raises:
        FileNotFoundError: ``source`` is gone.
    """
    name, here, once = _RENAME_ONCE
    rename = getattr(_library(), name, None)
    where = os.path.dirname(target) or "." if target_folder is None else target_folder
    if rename is None or _kind(where) in _REPLACE_ALL_THE_SAME:
        return None
    folders = [here if folder is None else folder for folder in (source_folder, target_folder)]
    if rename(folders[0], os.fsencode(source), folders[1], os.fsencode(target), once) == 0:
        return True
    error = _error()
    if error.errno == errno.EEXIST:
        return False
    if error.errno in _NO_SUCH_ORDER:
        return None
    raise error


def no_links(error: OSError) -> bool:
    """Say whether a link failed because the file system has none, or allows none here."""
    return error.errno in _NO_LINKS


def clone(source: int, target: int) -> bool:
    """Let one open file share the bytes of another, until either is written to: a reflink.

    What of the source is not on the disk yet is written there first.

    Returns:
        Whether it does; file systems without reflinks, and two of them, refuse.
    """
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(target, _CLONE, source)
    except OSError:
        return False
    return True


def _kind(where: int | str) -> int | None:
    """Return the number of the file system of a folder, by which Linux tells it from others."""
    import ctypes

    if sys.platform != "linux":
        return None
    status = (ctypes.c_long * 64)()  # the first of struct statfs is the number; it is smaller
    if isinstance(where, int):
        failed = _library().fstatfs(where, status)
    else:
        failed = _library().statfs(os.fsencode(where), status)
    return None if failed else status[0] & 0xFFFFFFFF


@cache
def _library() -> ctypes.CDLL:
    import ctypes  # some ms that most commands do without

    return ctypes.CDLL(None, use_errno=True)


def _error() -> OSError:
    import ctypes

    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
