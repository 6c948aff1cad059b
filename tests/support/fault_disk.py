"""A disk that forgets what was not synced.

``Disk`` follows every call that changes a folder and keeps, beside what the
folder XX
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tests.support.faults import Call

# What lies below a folder: bytes by path; a folder in it is ``None``.
State: TypeAlias = dict[str, bytes | None]


@dataclass(slots=True, eq=False)
class File:
    """A file's bytes now, and those that a power cut leaves."""

    data: bytes = b""
    durable: bytes = b""


@dataclass(slots=True, eq=False)
class Folder:
    """A folder's names now, and those that a power cut leaves."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    durable: dict[str, File | Folder] = field(default_factory=dict)


# The names that count in some folders, by the folder's identity.
Names: TypeAlias = Mapping[int, dict[str, File | Folder]]


class Disk:
    """What lies in ``root``, all of it durable to begin with; hand it every call that worked."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._top = _taken_up(root)
        self._opened: dict[int, File | Folder] = {}

    def __call__(self, call: Call) -> None:
        folder, name = self._find(call.path)
        if call.name == "open":
            if call.flags & os.O_CREAT:
                folder.names.setdefault(name, File())
            self._opened[call.descriptor] = folder.names[name] if name != "." else folder
        elif call.name == "close":
            del self._opened[call.descriptor]
        elif call.name == "writev":
            file = self._opened[call.descriptor]
            assert isinstance(file, File)
            file.data += call.data
        elif call.name == "fsync":
            self._sync(self._opened[call.descriptor])
        elif call.name == "syncfs":
            for thing in (self._top, *(thing for _, thing in _walk(self._top, None))):
                self._sync(thing)
        elif call.name == "mkdir":
            folder.names[name] = Folder()
        elif call.name in ("unlink", "rmdir"):
            del folder.names[name]
        elif call.name in ("link", "rename"):
            assert call.target is not None
            target, new = self._find(call.target)
            target.names[new] = folder.names[name]
            if call.name == "rename":
                del folder.names[name]

    def now(self) -> State:
        """Return what ``root`` holds, as far as the calls tell."""
        return {
            path: None if isinstance(thing, Folder) else thing.data
            for path, thing in _walk(self._top, None)
        }

    def after_power_cut(self) -> Iterator[State]:
        """Yield what may be left.

        That is no change unasked, every one, those of one folder alone, or of one folder
        only that names went.
        """
        lucky = [
            thing
            for thing in (self._top, *(thing for _, thing in _walk(self._top, None)))
            if isinstance(thing, Folder) and thing.names != thing.durable
        ]
        choices: list[Names] = [{}, {id(thing): thing.names for thing in lucky}]
        for thing in lucky:
            left = {name: inner for name, inner in thing.durable.items() if name in thing.names}
            choices += [{id(thing): thing.names}, {id(thing): left}]
        for chosen in choices:
            yield {
                path: None if isinstance(thing, Folder) else thing.durable
                for path, thing in _walk(self._top, chosen)
            }

    @staticmethod
    def _sync(thing: File | Folder) -> None:
        if isinstance(thing, File):
            thing.durable = thing.data
        else:
            thing.durable = dict(thing.names)

    def _find(self, path: str) -> tuple[Folder, str]:
        """Return the folder that holds ``path``, and its name there; ``.`` is ``root`` itself."""
        *above, name = os.path.relpath(path, self._root).split(os.sep)
        folder = self._top
        for part in above:
            inner = folder.names[part]
            assert isinstance(inner, Folder)
            folder = inner
        return folder, name


def build(state: State, folder: Path) -> None:
    """Make ``folder`` hold what a state says."""
    folder.mkdir()
    for path, data in state.items():
        if data is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(data)


def found_in(folder: Path) -> State:
    """Return what a real folder holds."""
    return {
        os.fspath(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def _walk(
    folder: Folder, chosen: Names | None, path: str = ""
) -> Iterator[tuple[str, File | Folder]]:
    """Yield what lies below a folder by path: as of now, or the durable names but in ``chosen``."""
    names = folder.names if chosen is None else chosen.get(id(folder), folder.durable)
    for name, thing in sorted(names.items()):
        where = os.path.join(path, name)
        yield where, thing
        if isinstance(thing, Folder):
            yield from _walk(thing, chosen, where)


def _taken_up(root: Path) -> Folder:
    names: dict[str, File | Folder] = {}
    for path in root.iterdir():
        if path.is_dir():
            names[path.name] = _taken_up(path)
        else:
            names[path.name] = File(path.read_bytes(), path.read_bytes())
    return Folder(names, dict(names))
