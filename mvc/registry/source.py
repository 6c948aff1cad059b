"""A user's file, opened to be read once; nothing of it is ever changed.

Public names: ``SourceFile``.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import TracebackType

from mvc.errors import Conflict, MvcError, NotFound, UsageError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class SourceFile:
    """A regular file, also behind symbolic links, as it was when opened.

    Raises (on opening):
        NotFound: There is no such file, or the link to it leads nowhere.
        UsageError: It is a folder, pipe, socket or device, none of which is
            waited for, or its name is not text.
        OSError: It may not be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = _name(path)
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _explained(path, error) from None
        self._status = os.fstat(self._descriptor)
        self.size = self._status.st_size
        for test, kind in _KINDS:
            if test(self._status.st_mode):
                os.close(self._descriptor)
                raise UsageError(f"'{path}' is {kind}", hint=_kind_hint(kind))

    def __enter__(self) -> SourceFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes at ``offset``; fewer only at the end of the file."""
        data = os.pread(self._descriptor, size, offset)
        while len(data) < min(size, self.size - offset):
            more = os.pread(self._descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def check_unchanged(self) -> None:
        """Raise ``Conflict`` if the file was written to, or replaced, since it was opened."""
        if _identity(os.fstat(self._descriptor)) != _identity(self._status):
            raise Conflict(
                f"'{self.path}' changed while it was read",
                hint="nothing was stored; run it again when the file is finished",
            )

    @property
    def status(self) -> os.stat_result:
        return self._status


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _explained(path: Path, error: OSError) -> OSError | MvcError:
    if error.errno == errno.ENOENT and path.is_symlink():
        where = os.readlink(path)
        hint = "mend the link, or name the file itself"
        return NotFound(f"'{path}' is a link to '{where}', which is not there", hint=hint)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(f"no file '{path}'", hint="check the path; mvc add FAMILY PATH")
    if error.errno == errno.ELOOP:
        hint = "mend the link, or name the file itself"
        return UsageError(f"'{path}' is a link that leads back to itself", hint=hint)
    if error.errno == errno.ENXIO:
        return UsageError(f"'{path}' is a socket", hint=_kind_hint("a socket"))
    return error


def _name(path: Path) -> str:
    try:
        return path.name.encode("utf-8").decode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            f"the name of {os.fsencode(path)!r} is not UTF-8", hint="rename it, then add it"
        ) from None


def _kind_hint(kind: str) -> str:
    if kind == "a folder":
        return "name a file in it; folders as one version come with a later release"
    return "only regular files can be stored; write it to a file first"
