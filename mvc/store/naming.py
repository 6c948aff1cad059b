"""Naming: a further name for a file of the store, whoever it belongs to.

Linux lets nobody link a file of another user's that they could not write to
(``fs.protected_hardlinks``), and packs are read only. So in a store that
several people share, a colleague's file is copied where one's own is linked.

Public names: ``name_also``.
"""

from __future__ import annotations

import os
from pathlib import Path

from mvc import fileio
from mvc.errors import Unsupported
from mvc.fileio import NewFile

_PIECE = 4 << 20


def name_also(path: Path, final: Path) -> bool:
    """Give a read-only file a further name, or its bytes and time where only its owner may.

    The folder of ``final`` is not synced yet.

    Returns:
        Whether the name was free.

    Raises:
        FileNotFoundError: ``path`` is gone.
        Unsupported: The file system has no hard links.
    """
    try:
        return fileio.link_once(path, final)
    except Unsupported:
        if os.lstat(path).st_uid == os.geteuid():
            raise
    descriptor = fileio.open_regular(path)
    new = NewFile(fileio.private_path(final.parent))
    try:
        while piece := os.read(descriptor, _PIECE):
            new.write([piece])
        new.set_time(os.fstat(descriptor).st_mtime_ns)
        new.seal()
        new.sync()
        new.close()
        return fileio.link_once(new.path, final)
    finally:
        os.close(descriptor)
        new.discard()
