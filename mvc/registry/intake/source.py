"""A user's file, opened to be read once; nothing of it is ever changed.

Public names: ``SourceFile``, ``kind_of``, ``name_of``, ``explained``.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
from pathlib import Path
from types import TracebackType

from mvc.errors import Conflict, MvcError, NotFound, UsageError
from mvc.registry.digests import Note, Notes, stamp

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_KIND_HINT = "only regular files can be stored; write it to a file first"

# What is elsewhere, and was given as a path.
_ADDRESS = re.compile(r"([a-z][a-z0-9+]+):/+(.+)", re.IGNORECASE | re.DOTALL)


class SourceFile:
    """A regular file, also behind symbolic links, as it was when opened, or settled.

    ``note`` says what it is where that is known, so that it need not be read.

    Raises (on opening):
        NotFound: There is no such file, or the link to it leads nowhere.
        UsageError: It is a folder, pipe, socket or device, none of which is
            waited for, or its name is not text.
        OSError: It may not be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = name_of(path)
        self.note: Note | None = None
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise explained(path, error) from None
        self._status = os.fstat(self._descriptor)
        self.size = self._status.st_size
        if kind := kind_of(self._status):
            self.close()
            raise UsageError(f"'{path}' is {kind}", hint=_KIND_HINT)

    def __enter__(self) -> SourceFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)

    def settle(self, notes: Notes) -> None:
        """Make sure, before it is read, that it can be noted what it is; see what is noted."""
        self._status = notes.settle(self.path, self._descriptor)
        self.size = self._status.st_size
        self.note = notes.believed(self.path, self._status)

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
        if stamp(os.fstat(self._descriptor)) != stamp(self._status):
            raise Conflict(
                f"'{self.path}' changed while it was read",
                hint="nothing was stored; run it again when the file is finished",
            )

    @property
    def status(self) -> os.stat_result:
        return self._status


def kind_of(status: os.stat_result) -> str | None:
    """Say in words what something is that is no regular file."""
    return next((kind for test, kind in _KINDS if test(status.st_mode)), None)


def name_of(path: Path) -> str:
    """Return the last component of a path.

    Raises:
        UsageError: It is not text, or there is none.
    """
    try:
        name = path.name.encode("utf-8").decode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            f"the name of {os.fsencode(path)!r} is not UTF-8", hint="rename it, then add it"
        ) from None
    if not name:
        raise UsageError(f"'{path}' has no name", hint="add a folder in it")
    return name


def explained(path: Path, error: OSError, hint: str | None = None) -> OSError | MvcError:
    """Return what it means that a file cannot be opened; ``hint`` says what else to do."""
    mend = "mend the link, or " + (hint or "name the file itself")
    if error.errno == errno.ENOENT and path.is_symlink():
        where = os.readlink(path)
        return NotFound(f"'{path}' is a link to '{where}', which is not there", hint=mend)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if address := _ADDRESS.match(str(path)):  # a path has one slash of the two
            typed = f"{address[1]}://{address[2]}"
            return NotFound(
                f"no file '{typed}'", hint=f"mvc import {shlex.quote(typed)} --family FAMILY"
            )
        return NotFound(
            f"no file '{path}'",
            hint=hint or "ls shows what is here; a name with spaces needs quotes",
        )
    if error.errno == errno.ELOOP:
        return UsageError(f"'{path}' is a link that leads back to itself", hint=mend)
    if error.errno == errno.ENXIO:
        return UsageError(f"'{path}' is a socket", hint=_KIND_HINT)
    return error
