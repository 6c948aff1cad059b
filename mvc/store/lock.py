"""The maintenance lock: gc, merging, repacking and moving do not get in each other's way.

It saves work and nothing else: no correctness rests on it, so where a file
system has no locks, or grants them all, everything goes on without.

Public names: ``maintenance``, ``undisturbed``, ``there``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvc import fileio
from mvc.errors import Busy, MvcError
from mvc.store.settings import standing

LOCKS = "locks"
FILE_NAME = "maintenance.lock"


@contextmanager
def maintenance(store: Path) -> Iterator[bool]:
    """Hold the lock of a store if it is free; give whether nobody else has it."""
    from filelock import FileLock, Timeout  # 35 ms that few commands need

    fileio.make_folder(store / LOCKS)
    lock = FileLock(store / LOCKS / FILE_NAME, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError):
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def undisturbed(store: Path, *folders: str) -> Iterator[None]:
    """Let what fails because others took away what it needs fail as ``Busy``.

    They do where no lock keeps them away, or before this one got it.

    Args:
        folders: Those of the store from which only others take names away.
    """
    before = there(store, *folders)
    try:
        yield
    except (MvcError, OSError) as error:
        gone = isinstance(error, FileNotFoundError) or not before <= there(store, *folders)
        if isinstance(error, Busy) or not gone:
            raise
        raise Busy(
            "another gc, repack or move was under way", hint="run the command again"
        ) from error


def there(store: Path, *folders: str) -> set[object]:
    """Return what a store has in some folders, and whether it is still where it was."""
    found: set[object] = {standing(store)}
    for folder in folders:
        for above, _, names in os.walk(store / folder):
            found.update(os.path.join(above, name) for name in names)
    return found
