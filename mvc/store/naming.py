"""Naming: what a store does about names where not every file can be linked.

Some file systems have no hard links. And Linux lets nobody link a file of
another user's that they could not write to (``fs.protected_hardlinks``), and
packs are read only. So what cannot be linked is copied.

Public names: ``name_also``, ``check_place``.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from mvc import fileio
from mvc.errors import Unsupported
from mvc.fileio import NewFile

_PIECE = 4 << 20


def name_also(path: Path, final: Path, *, keep: bool = True) -> bool:
    """Give a read-only file a further name; where it cannot be linked, a copy gets that.

    The folder of ``final`` is not synced yet.

    Args:
        keep: Whether ``path`` is still needed. If not, it may be renamed instead.

    Returns:
        Whether the name was free.

    Raises:
        FileNotFoundError: ``path`` is gone.
    """
    with contextlib.suppress(Unsupported):
        return (fileio.link_also if keep else fileio.link_once)(path, final)
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


def check_place(folder: Path) -> None:
    """Refuse a place, there or not yet, where no name can be given once; leave nothing there.

    Raises:
        Unsupported: ``fileio.link_once`` cannot work there.
    """
    while not folder.is_dir():
        folder = folder.parent
    names = fileio.private_path(folder), fileio.private_path(folder)
    try:
        with contextlib.suppress(OSError):  # whoever makes something there will be told
            NewFile(names[0]).close()
            fileio.link_once(*names)
    finally:
        for name in names:
            fileio.remove(name)
