"""A disk in memory, for protocols that are to be run in every order of their steps.

While it is entered, the calls that mvc makes below ``ROOT`` reach a dictionary
instead of the system. Which names a step has changed that others see, and
whether it has met any, is told; so a search knows which steps commute.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from mvc import fileio

ROOT = Path("/in-memory-disk")
FIRST_DESCRIPTOR = 1 << 29  # no descriptor of the system is so high
CALLS = (
    "open close read pread writev fstat stat lstat link rename unlink mkdir listdir scandir fsync "
    "fchmod utime urandom"
).split()


class File:
    """The bytes of a file, whatever names it has."""

    __slots__ = ("data", "links", "mode", "number")

    def __init__(self, number: int, data: bytes = b"") -> None:
        self.number, self.data, self.mode, self.links = number, data, 0o644, 0


@dataclass(frozen=True)
class Snapshot:
    """What is on a disk at a moment."""

    files: dict[str, tuple[int, bytes]]
    folders: frozenset[str]


class Frozen(OSError):
    """The process is dead: what its ``finally`` does has not happened."""


class MemoryDisk:
    """Names and files below ``ROOT``.

    ``process`` says whose turn it is; ``changed`` are the names that it has
    changed where others look, since its turn began, and ``met`` whether it
    has so much as looked where others change anything.
    """

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.folders: set[str] = {str(ROOT)}
        self.process = 0
        self.frozen = False
        self.changed: list[str] = []
        self.met = False
        self._handles: dict[int, tuple[str, File | None, int]] = {}
        self._numbers = itertools.count(1)
        self._random: dict[int, int] = {}
        self._real: dict[str, Any] = {name: getattr(os, name) for name in CALLS}
        self._patches = contextlib.ExitStack()

    def __enter__(self) -> MemoryDisk:
        for name in CALLS:
            self._patches.enter_context(mock.patch.object(os, name, getattr(self, f"_{name}")))
        self._patches.enter_context(mock.patch.object(fileio, "remove_folder", self._remove))
        return self

    def __exit__(self, *_: object) -> None:
        gc.collect()  # what is left of the processes closes what it had open here
        self._patches.close()

    def snapshot(self) -> Snapshot:
        named = {path: (file.number, file.data) for path, file in self.files.items()}
        return Snapshot(named, frozenset(self.folders))

    def restore(self, state: Snapshot) -> None:
        """Put back what was there at a snapshot."""
        known: dict[int, File] = {}
        self.files = {}
        for path, (number, data) in state.files.items():
            self.files[path] = file = known.setdefault(number, File(number, data))
            file.links += 1
        self.folders = set(state.folders)
        self._handles, self._random = {}, {}
        self.frozen = False
        self._numbers = itertools.count(max([0, *known]) + 1)

    def key(self) -> int:
        """Return what tells this disk from others; of inodes, which names are one file."""
        first: dict[int, str] = {}
        for path in sorted(self.files):
            first.setdefault(self.files[path].number, path)
        named = frozenset((p, file.data, first[file.number]) for p, file in self.files.items())
        return hash((named, frozenset(self.folders), frozenset(self._random.items())))

    def inside(self, folder: Path) -> dict[str, bytes]:
        """Return the files below a folder by their names in it; no process has looked."""
        start = f"{folder}/"
        return {p[len(start) :]: f.data for p, f in self.files.items() if p.startswith(start)}

    def begin_turn(self, process: int) -> None:
        self.process, self.met = process, False
        self.changed.clear()

    def _see(self, *what: object) -> None:
        """Note that the process whose turn it is meets what others may change."""
        if self.frozen:
            raise Frozen
        self.met = self.met or not self._is_own(what)

    def _is_own(self, what: tuple[object, ...]) -> bool:
        """Say whether a call is about a staged pack of the process, or bytes it alone writes."""
        if what == ("write",):
            return True
        mark = bytes([self.process + 1, 1]).hex() * 8
        return any(
            isinstance(word, str) and f"/staging/{mark}/" in word and word.endswith(".pack")
            for word in what
        )

    def _change(self, *names: str) -> None:
        """Note a change that others can see: staged packs and private names are not looked at."""
        for name in names:
            staged = name.endswith(".pack") and "/staging/" in name
            if not staged and fileio.PRIVATE_PREFIX not in name:
                self.changed.append(name)

    def _refuse(self, code: int, path: str) -> OSError:
        self._see(path, code)
        return OSError(code, os.strerror(code), path)

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        where = _ours(path)
        if where is None:
            return int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
        file = self.files.get(where)
        if flags & os.O_CREAT:
            if file is not None or os.path.dirname(where) not in self.folders:
                raise self._refuse(errno.EEXIST if file else errno.ENOENT, where)
            file = self.files[where] = File(next(self._numbers))
            file.links = 1
        elif file is None and where not in self.folders:
            raise self._refuse(errno.ENOENT, where)
        self._see("open", where, None if file is None else file.data)
        descriptor = FIRST_DESCRIPTOR + len(self._handles)
        self._handles[descriptor] = where, file, 0
        return descriptor

    def _close(self, descriptor: int) -> None:
        if descriptor < FIRST_DESCRIPTOR:
            self._real["close"](descriptor)

    def _read(self, descriptor: int, size: int) -> bytes:
        if descriptor < FIRST_DESCRIPTOR:
            return bytes(self._real["read"](descriptor, size))
        where, file, at = self._handles[descriptor]
        assert file is not None
        self._handles[descriptor] = where, file, at + size
        return file.data[at : at + size]

    def _pread(self, descriptor: int, size: int, offset: int) -> bytes:
        if descriptor < FIRST_DESCRIPTOR:
            return bytes(self._real["pread"](descriptor, size, offset))
        file = self._handles[descriptor][1]
        assert file is not None
        return file.data[offset : offset + size]

    def _writev(self, descriptor: int, pieces: Sequence[Any]) -> int:
        if descriptor < FIRST_DESCRIPTOR:
            return int(self._real["writev"](descriptor, pieces))
        self._see("write")
        file = self._handles[descriptor][1]
        assert file is not None
        data = b"".join(pieces)
        file.data += data
        return len(data)

    def _fstat(self, descriptor: int) -> Any:
        if descriptor < FIRST_DESCRIPTOR:
            return self._real["fstat"](descriptor)
        return _status(self._handles[descriptor][1])

    def _stat(self, path: Any, **named: Any) -> Any:
        where = _ours(path)
        if where is None:
            return self._real["stat"](path, **named)
        file = self.files.get(where)
        if file is None and where not in self.folders:
            raise self._refuse(errno.ENOENT, where)
        self._see("stat", where)
        return _status(file)

    def _lstat(self, path: Any, **named: Any) -> Any:
        return self._stat(path) if _ours(path) else self._real["lstat"](path, **named)

    def _link(self, source: Any, target: Any, **named: Any) -> None:
        old, new = _ours(source), _ours(target)
        if old is None or new is None:
            self._real["link"](source, target, **named)
            return
        if old not in self.files:
            raise self._refuse(errno.ENOENT, old)
        if new in self.files:
            raise self._refuse(errno.EEXIST, new)
        self._see("link", new)
        self.files[new] = file = self.files[old]
        file.links += 1
        self._change(new)

    def _rename(self, source: Any, target: Any, **named: Any) -> None:
        old, new = _ours(source), _ours(target)
        if old is None or new is None:
            self._real["rename"](source, target, **named)
            return
        if old not in self.files:
            raise self._refuse(errno.ENOENT, old)
        self._see("rename", new)
        self.files[new] = self.files.pop(old)
        self._change(new)

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        where = _ours(path)
        if where is None:
            self._real["unlink"](path, dir_fd=dir_fd)
            return
        if where not in self.files:
            raise self._refuse(errno.ENOENT, where)
        self._see("unlink", where)
        self.files.pop(where).links -= 1
        self._change(where)

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        where = _ours(path)
        if where is None:
            self._real["mkdir"](path, mode, dir_fd=dir_fd)
            return
        if where in self.folders:
            raise self._refuse(errno.EEXIST, where)
        self._see("mkdir", where)
        self.folders.add(where)

    def _listdir(self, path: Any = ".") -> list[str]:
        where = _ours(path)
        if where is None:
            return list(self._real["listdir"](path))
        if where not in self.folders:
            raise self._refuse(errno.ENOENT, where)
        start = f"{where}/"
        every = itertools.chain(self.files, self.folders)
        found = sorted({p[len(start) :].partition("/")[0] for p in every if p.startswith(start)})
        self._see("list", where, tuple(found))
        return found

    def _scandir(self, path: Any = ".") -> Any:
        if _ours(path) is None:
            return self._real["scandir"](path)
        found = [SimpleNamespace(name=name) for name in self._listdir(path)]
        return contextlib.nullcontext(found)

    def _fsync(self, descriptor: int) -> None:
        if descriptor < FIRST_DESCRIPTOR:
            self._real["fsync"](descriptor)

    def _fchmod(self, descriptor: int, mode: int) -> None:
        if descriptor < FIRST_DESCRIPTOR:
            self._real["fchmod"](descriptor, mode)

    def _utime(self, path: Any, *arguments: Any, **named: Any) -> None:
        own = isinstance(path, int) and path >= FIRST_DESCRIPTOR
        if not own and _ours(path) is None:
            self._real["utime"](path, *arguments, **named)

    def _urandom(self, size: int) -> bytes:
        """Return bytes that are another process's never, and the same in each run."""
        count = self._random[self.process] = self._random.get(self.process, 0) + 1
        return bytes([self.process + 1, count]) * (size // 2)

    def _remove(self, path: Path) -> None:
        """Stand for ``fileio.remove_folder``; what it removes nobody else looks at."""
        if self.frozen:
            return
        start = f"{path}/"
        gone = [name for name in self.files if name.startswith(start)]
        for name in gone:
            self.files.pop(name).links -= 1
        self.folders -= {str(path)}
        self._see("remove", str(path), len(gone))


def _ours(path: Any) -> str | None:
    if isinstance(path, int):
        return None
    text = os.fsdecode(path)
    return text if text.startswith(str(ROOT)) else None


def _status(file: File | None) -> Any:
    if file is None:
        return SimpleNamespace(st_mode=stat.S_IFDIR | 0o755, st_mtime_ns=0, st_ino=0, st_dev=0)
    return SimpleNamespace(
        st_mode=stat.S_IFREG | file.mode,
        st_size=len(file.data),
        st_ino=file.number,
        st_dev=0,
        st_nlink=file.links,
        st_mtime_ns=0,
    )
