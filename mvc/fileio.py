"""Files: the only module that creates, links, renames or removes any.

It knows durability and nothing else: a new file has a private name until it
is whole and synced, then gets its final name by ``link(2)``, which fails if
the name is taken, or by a rename that does; the directory is synced last. That
one primitive, *create-once*, publishes packs, roots, records and events; it
needs no lock and works on NFS. Only derived files are ever replaced.

A protocol is a generator that yields the name of each step it has done, so
that tests can stop it anywhere: ``run`` carries one through.

Why each call is there: ``docs/invariants.md``.
Public names: ``Steps``, ``run``, ``NewFile``, ``create_once``, ``link_once``, ``link_also``,
``replace``, ``append``, ``make_folder``, ``sync_folder``, ``rename``, ``unlink``, ``remove``,
``remove_folder``, ``delete_folder``, ``open_regular``, ``read``, ``list_folder``, ``held_open``,
``clock``, ``sync_open_folder``, ``sync_open``, ``touch``, ``may_write``, ``is_read_only``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

from mvc import durability, system
from mvc.digest import Buffer
from mvc.durability import Together
from mvc.errors import FormatError, Unsupported

T = TypeVar("T")
Steps: TypeAlias = Generator[str, None, T]

# Leftovers of a killed process begin like this; readers pass over them.
PRIVATE_PREFIX = ".mvc-new-"
WRITABLE = 0o222

_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_CREAT | os.O_EXCL | _NO_LINK
# IOV_MAX on Linux and macOS.
_MOST_PIECES = 1024

WRITE_BACK = 16 << 20
"""Bytes after which the disk is set to work, so that the last call finds little left to do."""

_sync = durability.sync  # a test that takes syncing away has one name to replace


def run(steps: Steps[T]) -> T:
    """Carry a protocol through to its end and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


class NewFile:
    """A file under a private name, seen by nobody until it is linked or renamed.

    Args of the constructor: ``path`` must not exist; ``mode`` is masked by
    the umask; ``within`` is a descriptor of the folder that ``path`` lies in,
    for one that must not be looked up again. A write that fails leaves the
    file unusable: ``discard`` it.
    """

    def __init__(self, path: Path, mode: int = 0o666, *, within: int | None = None) -> None:
        self.path = path
        self.size = 0
        self._begun = 0
        self._within = within
        name = path if within is None else path.name
        self._descriptor = os.open(name, os.O_RDWR | _CREATE, mode, dir_fd=within)

    def write(self, pieces: Sequence[Buffer]) -> None:
        """Append ``pieces`` in one vectored write where the system allows it."""
        views = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
        with _naming(self.path):
            while views:
                written = os.writev(self._descriptor, views[:_MOST_PIECES])
                self.size += written
                while views and written >= len(views[0]):
                    written -= len(views.pop(0))
                if views and written:
                    views[0] = views[0][written:]
        if self.size - self._begun >= WRITE_BACK:
            self._write_back()

    def _write_back(self) -> None:
        """Set the disk to work. Pages that are not on it yet stay in memory whatever is advised."""
        system.forget(self._descriptor, self._begun, self.size - self._begun)
        self._begun = self.size

    def clone(self, descriptor: int) -> bool:
        """Share the bytes of an open file, if the file system can: nothing is copied."""
        return system.clone(descriptor, self._descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """Return what was written at ``offset``."""
        return os.pread(self._descriptor, size, offset)

    def sync(self, together: Together | None = None) -> None:
        """Make the bytes durable, now or ``together`` with those of others.

        A failure is final: never sync the same file again.
        """
        with _naming(self.path):
            durability.check_done(os.fstat(self._descriptor).st_size == self.size)
            if together is None or not together.at_once:
                _sync(self._descriptor)

    def together(self, count: int) -> Together:
        """Make ready to sync so many files at once, the first of which is this one."""
        return Together(self._descriptor, count)

    def seal(self) -> None:
        """Take away everybody's right to write, keeping who may read, or run it."""
        mode = stat.S_IMODE(os.fstat(self._descriptor).st_mode)
        os.fchmod(self._descriptor, mode & ~WRITABLE)

    def appear_as(self, path: Path) -> None:
        """Take another private name."""
        os.rename(self.path, path)
        self.path = path

    def hold(self) -> None:
        """Let others see, by ``held_open``, that this process lives; where that cannot be, no."""
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def set_time(self, moment: int) -> None:
        """Set when the file was last changed, in nanoseconds."""
        os.utime(self._descriptor, ns=(moment, moment))

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def discard(self) -> None:
        """Close and remove the private name; what was linked elsewhere stays."""
        with contextlib.suppress(OSError):
            self.close()
        if self._within is None:
            remove(self.path)
        else:
            with contextlib.suppress(OSError):
                os.unlink(self.path.name, dir_fd=self._within)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say in an error of a call on a descriptor which file it was about."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def private_path(folder: Path, label: str = "") -> Path:
    """Return a name in ``folder`` that nobody else has."""
    return folder / f"{PRIVATE_PREFIX}{os.urandom(8).hex()}{label}"


def write_private(folder: Path, pieces: Sequence[Buffer]) -> Path:
    """Write a durable, read-only file under a private name in ``folder``."""
    new = NewFile(private_path(folder))
    try:
        new.write(pieces)
        new.seal()
        new.sync()
        new.close()
    except BaseException:
        new.discard()
        raise
    return new.path


def link_once(private: Path, final: Path) -> bool:
    """Give ``private`` its final name unless it is taken; the directory is not synced yet.

    Where there are no hard links it is renamed, and the private name is gone.

    Returns:
        Whether the final name is now this very file. A lost reply of a
        network file system looks like a taken name, so the inode decides.

    Raises:
        FileNotFoundError: ``private`` is gone: the transaction was evicted.
        Unsupported: The file system has neither hard links nor a rename that replaces nothing.
    """
    with contextlib.suppress(Unsupported):
        return link_also(private, final)
    renamed = system.rename_once(private, final)
    if renamed is None:
        raise Unsupported(
            f"'{final.parent}' is on a file system with neither hard links nor a rename that "
            "replaces nothing",
            hint="choose a folder on another, such as ext4, xfs, btrfs or APFS",
        )
    return renamed


def link_also(path: Path, final: Path) -> bool:
    """Give a file a further name, as ``link_once`` does but by a link alone.

    Raises:
        FileNotFoundError: ``path`` is gone.
        Unsupported: The file system has no hard links, or allows none of this file.
    """
    try:
        os.link(path, final, follow_symlinks=False)
    except FileExistsError:
        ours = os.lstat(path)
        try:
            return os.path.samestat(ours, os.lstat(final))
        except FileNotFoundError:  # whoever had the name has given it up meanwhile
            return link_also(path, final)
    except OSError as error:
        if system.no_links(error):
            raise Unsupported(f"cannot link '{path}': {os.strerror(error.errno or 0)}") from None
        raise
    return True


def create_once(final: Path, data: Buffer, staged_in: Path) -> Steps[bool]:
    """Create ``final`` with ``data``, durable, unless the name is taken.

    Args:
        staged_in: An existing folder on the same file system for the private name.

    Returns:
        Whether this call made it.
    """
    private = write_private(staged_in, [data])
    try:
        yield "staged"
        made = link_once(private, final)
        yield "linked"
        sync_folder(final.parent)
        yield "durable"
    finally:
        remove(private)
    return made


def replace(path: Path, data: Buffer, *, durable: bool = False) -> None:
    """Put ``data`` at ``path``, whole or not at all. For derived files and settings only."""
    new = NewFile(private_path(path.parent))
    try:
        new.write([data])
        if durable:
            new.sync()
        new.close()
        os.rename(new.path, path)
    except BaseException:
        new.discard()
        raise
    if durable:
        sync_folder(path.parent)


def move_into_place(private: Path, final: Path, *, overwrite: bool) -> bool:
    """Give a finished private file its name; without ``overwrite`` only if it is free.

    Returns:
        Whether ``final`` is now that file.
    """
    if overwrite:
        os.rename(private, final)
    elif not link_once(private, final):
        return False
    else:
        remove(private)
    sync_folder(final.parent)
    return True


def append(path: Path, data: Buffer) -> None:
    """Add to the end of a derived file, in one write; the file is made if it is not there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK, 0o666)
    try:
        os.writev(descriptor, [data])
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make ``path`` and its missing parents, each durable in the one above it.

    So is the one that was there: who made it may not have come to syncing it.
    """
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    with contextlib.suppress(PermissionError):  # then it is the user's, not of our making
        sync_folder(path.parent)
    for folder in reversed(missing):
        while not folder.is_dir():  # others may make it, and take it away, meanwhile
            try:
                os.mkdir(folder)
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):
                    if not stat.S_ISDIR(os.lstat(folder).st_mode):  # a file or a dangling link
                        raise
        sync_folder(folder.parent)


def publish_folder(private: Path, final: Path) -> bool:
    """Rename a finished folder to ``final`` unless something is there already."""
    try:
        os.rename(private, final)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            return False
        raise
    sync_folder(final.parent)
    return True


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_open_folder(descriptor)
    finally:
        os.close(descriptor)


def sync_open_folder(descriptor: int) -> None:
    """Make the names in a folder durable."""
    try:
        _sync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync a folder
            raise


def sync_open(descriptor: int) -> None:
    """Write an open file of somebody else's back, so that its times tell of writes by a mapping.

    That is done at every level of durability: what is noted of the file relies on it.
    """
    os.fsync(descriptor)


def touch(path: Path) -> None:
    """Set a file's time to now, which tells when it was last used. Where that cannot be, no."""
    with contextlib.suppress(OSError):
        os.utime(path)


def rename(path: Path, target: Path) -> bool:
    """Give ``path`` another name, not synced yet; False if it is gone."""
    try:
        os.rename(path, target)
    except FileNotFoundError:
        return False
    return True


def unlink(path: Path) -> bool:
    """Remove a name that counts; False if it was gone already. The folder is not synced yet.

    Raises:
        OSError: It is still there.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def held_open(path: Path) -> bool | None:
    """Say whether a process lives that called ``NewFile.hold``; ``None`` where nobody can tell.

    This is politeness: some file systems grant every lock, others none.
    """
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


def clock(folder: Path) -> int:
    """Return what time it is for the file system that holds ``folder``, in nanoseconds.

    That of a server may differ from this machine's. The folder's own time is changed.
    """
    os.utime(folder)
    return os.stat(folder).st_mtime_ns


def remove(path: Path) -> None:
    """Remove a private name as far as possible; readers pass over one that stays."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def delete_folder(path: Path) -> None:
    """Delete an empty folder; one that is gone, or that somebody used again, is no matter."""
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            raise


def remove_folder(path: Path) -> None:
    """Remove a folder of ours and what is in it, as far as possible."""
    import shutil  # it loads every kind of archive

    shutil.rmtree(path, ignore_errors=True)


def open_regular(path: Path) -> int:
    """Open a regular file of ours for reading, without waiting and through no link.

    Raises:
        FormatError: It is no regular file.
        FileNotFoundError, PermissionError, OSError: As ``open(2)`` has it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FormatError(f"'{path}' is a symbolic link") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FormatError(f"'{path}' is not a regular file")
    return descriptor


def read(path: Path, limit: int) -> bytes:
    """Return the bytes of a small regular file of ours.

    Raises:
        FormatError: It is no regular file, or larger than ``limit`` bytes.
        FileNotFoundError, PermissionError, OSError: As ``open(2)`` has it.
    """
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        if size > limit:
            raise FormatError(f"'{path}' has {size} bytes, the limit is {limit}")
        data = b""
        while len(data) < size and (more := os.read(descriptor, size - len(data))):
            data += more
        return data
    finally:
        os.close(descriptor)


def list_folder(path: Path) -> Iterable[str]:
    """Return the names in a folder, without leftovers; none if it is not there."""
    try:
        return [name for name in os.listdir(path) if not name.startswith(PRIVATE_PREFIX)]
    except FileNotFoundError:
        return []


def free_space(path: Path) -> int:
    """Return how many bytes may still be written where ``path`` is."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def may_write(folder: Path) -> bool:
    """Say whether names may be made in ``folder``; one that is away is not in the way."""
    effective = os.access in os.supports_effective_ids
    return not folder.is_dir() or os.access(folder, os.W_OK | os.X_OK, effective_ids=effective)


def is_read_only(folder: Path) -> bool:
    """Say whether the whole file system of ``folder`` is read only."""
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
