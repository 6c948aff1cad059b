"""Every error that mvc raises, cut by what the one who catches it would do.

::

    MvcError                    8  something else: a full disk, a refused write
    ├── UsageError (ValueError) 2  the call is wrong; the hint says what was meant
    ├── Refused                 1  what was required does not hold, so nothing was done
    ├── Damaged                 3  stored bytes are missing or not what they were
    │   └── FormatError         3  bytes that do not follow their format page
    ├── NotFound (LookupError)  4  no such family, version, tag or file
    ├── StoreMissing            4  the store is not there now; what it holds may well be
    ├── Conflict                5  somebody else was first, or a file is in the way
    ├── Busy                    6  another process holds what this one needs
    ├── RemoteFailed            7  another machine could not be asked, or gave something else
    └── SystemFailed (OSError)  8  the system did not do it: no permission, a full disk
        ├── NotPermitted (PermissionError)
        └── MissingFile (NotFound, FileNotFoundError)  4

    Unsupported (MvcError)      8  a newer mvc wrote it, or this system cannot do it

    MvcWarning (UserWarning)       done, but something about it should be known
    ├── ModelWarning               what was added may be no whole model
    └── StoreWarning               a version is known, but its bytes are not all there
        └── UnreadWarning          what could not be read is not in the answer

The number is the command line's exit status; ``code`` is the word for
scripts and is never changed, only added to. A reader of stored bytes raises
``FormatError`` (or ``Unsupported`` for a newer format) and nothing else.
Messages are one line, lower case, with the subject in quotes; what to do
about it is the ``hint``.

Public names: those above, ``warn``, ``is_full``, ``is_denied``.
"""

from __future__ import annotations

import errno
import os
import sys
import warnings

_HERE = os.path.dirname(__file__) + os.sep


class MvcError(Exception):
    """What every error of mvc is; raised as itself where no class below fits."""

    code = "failed"
    status = 8

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(MvcError, ValueError):
    """The call itself is wrong: a name, a number or a combination of options."""

    code = "usage"
    status = 2


class Refused(MvcError):
    """What the caller required does not hold, so nothing was done."""

    code = "refused"
    status = 1


class Damaged(MvcError):
    """Stored bytes are missing, or are not the bytes that were stored."""

    code = "damaged"
    status = 3


class FormatError(Damaged):
    """Bytes that do not follow the page of their format."""

    code = "format"


class NotFound(MvcError, LookupError):
    """No such registry, family, version, tag or file."""

    code = "not-found"
    status = 4


class StoreMissing(MvcError):
    """The registry is here and its store is not: a disk is not mounted, or it was moved.

    No ``NotFound``: who begins anew where nothing is found must not do so here.
    """

    code = "store-missing"
    status = NotFound.status


class Conflict(MvcError):
    """Somebody else was first, or a file that is not ours is in the way."""

    code = "conflict"
    status = 5


class Busy(MvcError):
    """Another process holds what this one needs; try again later."""

    code = "busy"
    status = 6


class RemoteFailed(MvcError):
    """Another machine could not be reached, refused, or sent what was not asked for."""

    code = "remote"
    status = 7


class SystemFailed(MvcError, OSError):
    """The system did not do what it was asked: no permission, a full disk, a disk that fails.

    ``errno``, ``filename`` and ``code``, such as ``disk-full``, tell which.
    """

    code = "system"


class NotPermitted(SystemFailed, PermissionError):
    """The right to read or to write something is missing."""

    code = "permission"


class MissingFile(SystemFailed, NotFound, FileNotFoundError):
    """A file or folder that was named is not there."""

    code = NotFound.code
    status = NotFound.status


class Unsupported(MvcError):
    """Written by a newer mvc, or impossible on this file system."""

    code = "unsupported"


class MvcWarning(UserWarning):
    """Something was done, but not quite as its caller may think."""


class ModelWarning(MvcWarning):
    """What was added may be no model, or not all of one; it is kept as it is."""


class StoreWarning(MvcWarning):
    """A version is known, but its record or its bytes are not all there."""


class UnreadWarning(StoreWarning):
    """A record or a family could not be read, so the answer is without it; ``error`` says why."""

    def __init__(self, message: str, error: MvcError) -> None:
        super().__init__(message)
        self.error = error


def warn(warning: str | MvcWarning, kind: type[MvcWarning] = MvcWarning) -> None:
    """Warn of something at the line of the program that called mvc, however deep it is found."""
    frame, level, outermost = sys._getframe(), 1, 1
    while frame.f_back is not None:
        if frame.f_code.co_filename.startswith(_HERE):
            outermost = level
        frame, level = frame.f_back, level + 1
    warnings.warn(warning, kind, stacklevel=outermost + 1)


def is_full(error: OSError) -> bool:
    """Say whether a call failed because there is no room, on the disk or for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_denied(error: OSError) -> bool:
    """Say whether a call failed because something may not be written to, or not by this user."""
    return error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
