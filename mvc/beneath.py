"""Beneath: files in a folder of the user's, reached name by name and through no link.

Between two calls another process can put a link where a folder was, so a
path is looked up once: a ``Folder`` is an open descriptor, which stays what
it is, and every name is a single one, relative to it. Beside ``fileio`` this
is the only module that makes or removes files; it knows nothing of models.

Why: ``docs/checkout.md``.
Public names: ``Folder``, ``holding``, ``walk``, ``remove_all``.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mvc import durability, fileio, system
from mvc.errors import Conflict
from mvc.fileio import NewFile

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Folder:
    """An open folder; ``path`` is what messages call it, and is never looked up."""

    descriptor: int
    path: Path

    @classmethod
    def open(cls, path: Path, *, follow: bool = True) -> Folder:
        """Open the folder that a user names; ``follow`` says whether it may be a link itself.

        Raises:
            Conflict: It is a link, or no folder.
            FileNotFoundError: It is not there.
        """
        if follow:
            return cls(os.open(path, _FOLDER), path)
        return cls(_open_folder(os.fspath(path), None, path), path)

    def enter(self, name: str) -> Folder:
        """Open a folder in this one.

        Raises:
            Conflict: It is a link, or no folder.
            FileNotFoundError: It is not there.
        """
        path = self.path / name
        return Folder(_open_folder(name, self.descriptor, path), path)

    def make(self, name: str) -> Folder:
        """Open a folder in this one, made if it is not there. Nothing is synced."""
        with contextlib.suppress(FileExistsError), _naming(self.path / name):
            os.mkdir(name, dir_fd=self.descriptor)
        return self.enter(name)

    def status(self, name: str) -> os.stat_result | None:
        """Return what a name is, itself and not what it leads to; ``None`` if nothing is there."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def new_file(self, name: str, mode: int = 0o666) -> NewFile:
        """Make a file; its name must be free."""
        with _naming(self.path / name):
            return NewFile(self.path / name, mode, within=self.descriptor)

    def open_file(self, name: str) -> int:
        """Open a regular file for reading.

        Raises:
            Conflict: It is something else.
            OSError: It cannot be read.
        """
        with _naming(self.path / name):
            found = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
            _check_regular(found, self.path / name)
            descriptor = os.open(name, _FILE, dir_fd=self.descriptor)
        try:
            _check_regular(os.fstat(descriptor), self.path / name)
        except Conflict:
            os.close(descriptor)
            raise
        return descriptor

    def seal(self, name: str) -> bool:
        """Let nobody write to a file, and its owner read it, and who reads the folder then, too.

        Returns:
            Whether it had another mode, and has this one now.
        """
        try:
            descriptor = self.open_file(name)
        except (Conflict, OSError):
            return False
        try:
            old = stat.S_IMODE(os.fstat(descriptor).st_mode)
            read = 0 if old & stat.S_IRUSR else 0o444 & os.fstat(self.descriptor).st_mode
            os.fchmod(descriptor, old & ~fileio.WRITABLE | read)
            return stat.S_IMODE(os.fstat(descriptor).st_mode) != old
        except OSError:  # it is somebody else's
            return False
        finally:
            os.close(descriptor)

    def link(self, source: str, target: Folder, name: str) -> bool:
        """Give a file of this folder a further name in another; False if that is taken.

        Raises:
            OSError: There are no hard links (see ``system.no_links``), or not to there.
        """
        try:
            with _naming(target.path / name):
                os.link(
                    source, name, src_dir_fd=self.descriptor, dst_dir_fd=target.descriptor,
                    follow_symlinks=False,
                )  # fmt: skip
                durability.check_done(target.status(name) is not None)
        except FileExistsError:
            return False
        return True

    def move(self, source: str, target: Folder, name: str, *, overwrite: bool) -> bool:
        """Give a file of this folder its name in another; False if that is taken and must stay.

        Where there are no hard links, nor a rename that replaces nothing, the
        name is looked for before: what appears in that instant is lost there.
        """
        if not overwrite:
            try:
                if not self.link(source, target, name):
                    return False
                self.remove(source)
                return True
            except OSError as error:
                if not system.no_links(error):
                    raise
            with _naming(target.path / name):
                renamed = system.rename_once(
                    source, name, source_folder=self.descriptor, target_folder=target.descriptor
                )
            if renamed is not None:
                return renamed
            if target.status(name) is not None:
                return False
        with _naming(target.path / name):
            os.rename(source, name, src_dir_fd=self.descriptor, dst_dir_fd=target.descriptor)
            durability.check_done(self.status(source) is None)
        return True

    def remove(self, name: str) -> None:
        """Remove a file's name."""
        with _naming(self.path / name):
            os.unlink(name, dir_fd=self.descriptor)

    def remove_empty(self, name: str) -> bool:
        """Remove a folder if nothing is in it; say whether it is gone."""
        try:
            os.rmdir(name, dir_fd=self.descriptor)
        except OSError:
            return False
        return True

    def set_mode(self, name: str, mode: int) -> None:
        """Set the mode of a regular file."""
        descriptor = self.open_file(name)
        try:
            with _naming(self.path / name):
                os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Make the names in this folder durable."""
        with _naming(self.path):
            fileio.sync_open_folder(self.descriptor)

    def close(self) -> None:
        os.close(self.descriptor)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


@contextlib.contextmanager
def holding(root: Folder, path: str, *, make: bool = False) -> Iterator[tuple[Folder, str]]:
    """Open the folder that holds ``path``, name by name; give it with the last name.

    Args:
        path: Relative to ``root``, with ``/``; it is the caller who checked it.
        make: Whether folders that are missing are made.

    Raises:
        Conflict: A link, or something else that is no folder, is on the way.
        FileNotFoundError: A folder on the way is missing.
    """
    *folders, name = path.split("/")
    with contextlib.ExitStack() as opened:
        here = root
        for folder in folders:
            here = opened.enter_context(here.make(folder) if make else here.enter(folder))
        yield here, name


def walk(root: Folder, leave_out: Callable[[str], bool]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path and the status of all beneath a folder, folders before what is in them.

    A folder that this user may not look into is given, and what is in it is not.

    Args:
        leave_out: Which names are neither given nor entered.
    """
    pending = [""]
    while pending:
        above = pending.pop()
        for name, found in _children(root, above, leave_out):
            yield above + name, found
            if stat.S_ISDIR(found.st_mode):
                pending.append(f"{above}{name}/")


def _children(
    root: Folder, above: str, leave_out: Callable[[str], bool]
) -> list[tuple[str, os.stat_result]]:
    try:
        with holding(root, above + ".") as (folder, name), folder.enter(name) as here:
            names = sorted(os.listdir(here.descriptor))
            found = ((name, here.status(name)) for name in names if not leave_out(name))
            return [(name, status) for name, status in found if status is not None]
    except PermissionError:
        return []


def remove_all(within: Folder, name: str) -> None:
    """Remove a folder of ours and what is in it, as far as possible; no link is followed."""
    with contextlib.suppress(OSError, Conflict):
        with within.enter(name) as folder:
            for entry in os.listdir(folder.descriptor):
                found = folder.status(entry)
                if found is not None and stat.S_ISDIR(found.st_mode):
                    remove_all(folder, entry)
                else:
                    folder.remove(entry)
        within.remove_empty(name)


def _open_folder(name: str, within: int | None, path: Path) -> int:
    try:
        with _naming(path):
            return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=within)
    except OSError:
        # The error differs from system to system, and does not say which of the two it is.
        with _naming(path):
            found = os.stat(name, dir_fd=within, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            raise Conflict(
                f"'{path}' is a symbolic link", hint="remove it, or name another: -o PATH"
            ) from None
        if not stat.S_ISDIR(found.st_mode):
            raise Conflict(f"'{path}' is not a folder", hint="name another: -o PATH") from None
        raise


def _check_regular(found: os.stat_result, path: Path) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise Conflict(f"'{path}' is a symbolic link", hint="remove it, or name another: -o PATH")
    if not stat.S_ISREG(found.st_mode):
        raise Conflict(f"'{path}' is not a regular file", hint="name another: -o PATH")


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say in an error of a call which file it was about, by its whole path."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
