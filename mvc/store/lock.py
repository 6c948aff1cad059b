"""The maintenance lock: gc, merging, repacking and moving do not get in each other's way.

It saves work and nothing else: no correctness rests on it, so where a file
system has no locks, or grants them all, everything goes on without.

Public names: ``maintenance``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvc import fileio

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
