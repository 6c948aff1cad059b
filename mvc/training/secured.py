"""Secured: a checkpoint under a second name, so that its trainer may delete the first.

The second name is a hard link beside it: nothing is read or written, whatever
the size. Where there are no hard links, the bytes are shared or copied. A link
is still the trainer's file, which could be written to: how it was is noted, to
be compared before it is read, and ``detach`` makes it a file of its own.

Why not a reflink at once: ``docs/decisions/0042-training.md``.
Public names: ``Secured``, ``secure``, ``detach``, ``release``,
``clear_abandoned``.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mvc import environment, fileio, tree
from mvc.errors import Conflict, MvcError, NotFound, UsageError
from mvc.fileio import PRIVATE_PREFIX, NewFile

ABANDONED = 3600
"""Seconds after which what a dead process had secured is taken away."""

_PIECE = 4 << 20


@dataclass(frozen=True, slots=True)
class Secured:
    """A checkpoint's second name: ``path``, in a folder of its own.

    ``linked`` tells of each file that is still the trainer's, by its path in
    ``folder``, what size it had and when it was last written to.
    """

    path: Path
    linked: dict[str, tuple[int, int]]

    @property
    def folder(self) -> Path:
        return self.path.parent

    def check_unchanged(self) -> None:
        """Raise ``Conflict`` if the trainer wrote to a file since it saved it."""
        for name, before in self.linked.items():
            if _written(os.stat(self.folder / name)) != before:
                raise Conflict(f"'{self.path.name}' was written to after it was saved")


def secure(
    source: Path, owner: int, leave_out: Callable[[str], bool], beside: Path | None = None
) -> Secured:
    """Give a checkpoint, a file or a folder, a second name beside it.

    Args:
        owner: The process that will release it; when it is dead, others may.
        leave_out: Says of a path in a folder that it is not wanted.
        beside: Beside what else, if a link can be made there.

    Raises:
        NotFound: There is no such file, or nothing in the folder.
        UsageError: A folder in it is a link.
        OSError: It cannot be read, or nothing can be made beside it.
    """
    real = Path(os.path.realpath(source))
    if not real.exists():
        raise NotFound(f"there is no checkpoint '{source}'")
    above = real.parent
    if beside is not None and os.stat(beside.parent).st_dev == os.stat(above).st_dev:
        above = beside.parent if fileio.may_write(beside.parent) else above
    folder = above / f"{_prefix()}{owner}.{os.urandom(8).hex()}"
    folder.mkdir()
    secured = Secured(folder / source.name, {})
    try:
        if real.is_dir():
            _secure_folder(real, secured, leave_out)
        else:
            _secure_file(real, secured.path, secured)
    except BaseException:
        release(folder)
        raise
    return secured


def detach(secured: Secured) -> Secured:
    """Make the files that are still the trainer's into own ones, where that costs nothing."""
    linked = dict(secured.linked)
    for name, before in secured.linked.items():
        with contextlib.suppress(OSError):  # then it stays a link
            if _cloned(secured.folder / name, before):
                del linked[name]
    return Secured(secured.path, linked)


def release(folder: Path) -> None:
    """Remove a second name and its folder."""
    fileio.remove_folder(folder)


def clear_abandoned(folder: Path) -> None:
    """Remove what processes of this host, dead for long, had secured in a folder."""
    for name in os.listdir(folder):
        match = re.fullmatch(re.escape(_prefix()) + r"(\d+)\.[0-9a-f]{16}", name)
        if match and not _lives(int(match.group(1))):
            with contextlib.suppress(OSError):
                if os.stat(folder / name).st_mtime + ABANDONED < time.time():
                    release(folder / name)


def _secure_folder(source: Path, secured: Secured, leave_out: Callable[[str], bool]) -> None:
    secured.path.mkdir()
    found = False
    for above, folders, names in os.walk(source, onerror=_raise):
        here = Path(above).relative_to(source)
        folders[:] = [n for n in folders if not (tree.is_own(n) or leave_out(str(here / n)))]
        for name in folders:
            if (source / here / name).is_symlink():
                raise UsageError(f"'{source / here / name}' is a link to a folder")
            (secured.path / here / name).mkdir()
        for name in names:
            if not tree.is_own(name) and not leave_out(str(here / name)):
                real = Path(os.path.realpath(source / here / name))
                _secure_file(real, secured.path / here / name, secured)
                found = True
    if not found:
        raise NotFound(f"there is no model in the checkpoint '{source}'")


def _raise(error: OSError) -> None:
    raise error


def _secure_file(source: Path, target: Path, secured: Secured) -> None:
    try:
        fileio.link_also(source, target)
    except (MvcError, OSError):
        _copy(source, target)
    else:
        secured.linked[str(target.relative_to(secured.folder))] = _written(os.stat(target))


def _copy(source: Path, target: Path) -> None:
    new = NewFile(target, _mode(source))
    with contextlib.closing(new), open(source, "rb") as file:
        if not new.clone(file.fileno()):
            for piece in _pieces(file.fileno()):
                new.write([piece])


def _cloned(path: Path, before: tuple[int, int]) -> bool:
    """Put a clone in the place of a file, if it is as it was."""
    new = NewFile(fileio.private_path(path.parent), _mode(path))
    try:
        with open(path, "rb") as file:
            same = new.clone(file.fileno()) and _written(os.fstat(file.fileno())) == before
        return same and fileio.rename(new.path, path)
    finally:
        new.discard()


def _pieces(descriptor: int) -> Iterator[bytes]:
    while piece := os.read(descriptor, _PIECE):
        yield piece


def _mode(path: Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def _written(status: os.stat_result) -> tuple[int, int]:
    """Return what a write changes, and a name that comes or goes does not."""
    return status.st_size, status.st_mtime_ns


def _prefix() -> str:
    return f"{PRIVATE_PREFIX}{environment.host()}."


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
