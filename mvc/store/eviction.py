"""Eviction: what leaves a cache of materialised files when it is full.

Least recently used first. When an entry was used is the time of its note;
its bytes are gone when no other entry has them.

Public names: ``evict``, ``size``, ``CONTENTS``, ``NOTE``.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mvc import fileio

CONTENTS = "files"
NOTE = ".note"
# What a killed process left is removed when it is so old; what is younger may be somebody's.
_LEFT_BEHIND = 24 * 3600


def size(cache: Path) -> int:
    """Return what a cache holds in bytes, each file counted once whatever its names."""
    return sum({found.st_ino: found.st_size for _, found in _files(cache)}.values())


def evict(cache: Path, limit: int, keep: str) -> None:
    """Remove what was not used for longest until ``limit`` bytes are left, but not ``keep``."""
    _sweep(cache)
    sizes: dict[int, int] = {}
    names: Counter[int] = Counter()
    contents: dict[int, Path] = {}
    for path, found in _files(cache):
        sizes[found.st_ino] = found.st_size
        if path.parent == cache / CONTENTS:
            contents[found.st_ino] = path
        else:
            names[found.st_ino] += 1
    total = sum(sizes.values())
    if total <= limit:
        return
    for inode, path in contents.items():
        if not names[inode] and not _young(path):
            fileio.remove(path)
            total -= sizes[inode]
    for entry in _by_last_use(cache):
        if total <= limit:
            return
        if entry.name == keep:
            continue
        for inode in _take_away(cache, entry):
            names[inode] -= 1
            if not names[inode]:
                total -= sizes.get(inode, 0)
                if inode in contents:
                    fileio.remove(contents[inode])


def _take_away(cache: Path, entry: Path) -> list[int]:
    """Remove an entry and return the inodes of its files."""
    aside = fileio.private_path(cache)
    fileio.remove(cache / f"{entry.name}{NOTE}")
    if not fileio.rename(entry, aside):
        return []
    inodes = [found.st_ino for _, found in _files(aside)]
    fileio.remove_folder(aside)
    return inodes


def _by_last_use(cache: Path) -> list[Path]:
    used = {}
    for name in fileio.list_folder(cache):
        if name != CONTENTS and not name.endswith(NOTE):
            used[cache / name] = _time(cache / f"{name}{NOTE}") or _time(cache / name)
    return sorted(used, key=lambda path: used[path])


def _sweep(cache: Path) -> None:
    """Remove what processes left that were killed long ago."""
    with contextlib.suppress(OSError):
        for name in os.listdir(cache):
            if name.startswith(fileio.PRIVATE_PREFIX) and not _young(cache / name):
                fileio.remove(cache / name)
                fileio.remove_folder(cache / name)


def _young(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return time.time() - os.lstat(path).st_ctime < _LEFT_BEHIND
    return False


def _time(path: Path) -> float:
    with contextlib.suppress(OSError):
        return os.lstat(path).st_mtime
    return 0.0


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for above, _, names in os.walk(folder):
        for name in names:
            path = Path(above, name)
            with contextlib.suppress(OSError):
                yield path, os.lstat(path)
