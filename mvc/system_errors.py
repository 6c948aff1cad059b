"""System errors: what the system refused or failed to do, in words.

Whatever a call of ``ModelRegistry``, or a command, ends with is told alike:
the path that a person knows, what is wrong with it, and what to type.

Public names: ``in_words``, ``speaking``, ``public_methods``.
"""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Callable, Iterator
from shlex import quote
from types import FunctionType
from typing import ParamSpec, TypeVar

from mvc.errors import MissingFile, MvcError, NotPermitted, SystemFailed
from mvc.fileio import PRIVATE_PREFIX

C = TypeVar("C")
P = ParamSpec("P")
R = TypeVar("R")

# Message, hint and code. ``{}`` is the path.
_GONE = ("{} is not there", "ls shows what is; a name with spaces needs quotes", MissingFile.code)
_FULL = ("the disk is full: {}", "free some space and try again; nothing was lost", "disk-full")
_DENIED = ("no permission for {}", "ls -ld {} shows whose it is", NotPermitted.code)
_WORDS: dict[int, tuple[str, str, str]] = {
    errno.ENOENT: _GONE,
    errno.ENOTDIR: ("{} is not there: part of the path is no folder", _GONE[1], MissingFile.code),
    errno.ENOSPC: _FULL,
    errno.EDQUOT: ("the quota of disk space is used up: {}", _FULL[1], "disk-full"),
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: (
        "{} is on a read-only file system",
        "reading works there; to write, mount it writable or work in a copy",
        "read-only",
    ),
    errno.EISDIR: ("{} is a folder, not a file", "name a file", "is-a-folder"),
    errno.ENAMETOOLONG: ("the name {} is too long for the file system", "choose a shorter one",
                         "name-too-long"),
    errno.ELOOP: ("{} is a link that leads in a circle, or nowhere",
                  "ls -ld {} shows where it leads", "link-loop"),
    errno.EEXIST: ("{} is there already", "move it away or choose another name", "exists"),
    errno.EFBIG: ("{} would be too large for the file system", "put it on another disk",
                  "too-large"),
    errno.EMFILE: ("too many open files: {}", "ulimit -n 4096 allows more", "too-many-files"),
    errno.ENFILE: ("the system has too many open files: {}", "close other programs",
                   "too-many-files"),
    errno.EBUSY: ("{} is in use", "try again when nothing uses it", "in-use"),
    errno.EIO: ("the disk failed at {}",
                "copy what is still readable elsewhere, then: mvc fsck", "disk-failed"),
    errno.ESTALE: ("{} vanished from its server", "mount the network folder again", "stale"),
    errno.ENOTCONN: ("the server of {} is away", "mount the network folder again", "stale"),
    errno.EOPNOTSUPP: ("the file system cannot do this: {}", "put the registry on another disk",
                       "unsupported"),
    errno.ENOMEM: (
        "out of memory",
        "close other programs; a limit may be too low: ulimit -v, or the container's",
        "memory",
    ),
}  # fmt: skip
_NO_PATH = re.compile("(:| at| for) {}")
_DEFAULT = ("{reason}: {}", "ls -ld {} shows what it is", SystemFailed.code)


def in_words(error: MvcError | OSError) -> MvcError:
    """Return an error of the system as one of ours, which is Python's as well."""
    if isinstance(error, MvcError):
        return error
    path = _path_of(error)
    reason = error.strerror or str(error) or type(error).__name__
    reason = reason[:1].lower() + reason[1:].rstrip(".")
    message, hint, code = _WORDS.get(error.errno or 0, _DEFAULT)
    known = {kind.code: kind for kind in (NotPermitted, MissingFile)}
    kind = known.get(code, SystemFailed)
    if path is None:
        words = _NO_PATH.sub("", message).format("it", reason=reason)
        said = kind(words, hint=None if words == reason or "{}" in hint else hint)
    else:
        said = kind(
            message.format(f"'{path}'", reason=reason), hint=hint.format(quote(_seen(path)))
        )
    said.code, said.errno, said.strerror = code, error.errno, error.strerror
    said.filename, said.filename2 = error.filename, error.filename2
    return said


def speaking(kind: type[C]) -> type[C]:
    """Let the public methods of a class say in words what the system did not do.

    A class decorator. A closed pipe is no error of what was asked for, and passes.
    """
    for name, method in public_methods(kind):
        setattr(kind, name, _speaking(method))
    return kind


def public_methods(kind: type) -> Iterator[tuple[str, FunctionType]]:
    """Yield the methods by which a class is used, its ``__init__`` too, by name."""
    for name in ("__init__", *dir(kind)):
        method = getattr(kind, name)
        if isinstance(method, FunctionType) and (name == "__init__" or not name.startswith("_")):
            yield name, method


def _speaking(method: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(method)
    def call(*args: P.args, **given: P.kwargs) -> R:
        try:
            return method(*args, **given)
        except (MvcError, BrokenPipeError):
            raise
        except OSError as error:
            raise in_words(error) from error

    return call


def _seen(path: str) -> str:
    """Return the path, or the folder above it that its hint can still look at."""
    while not os.path.lexists(path) and os.path.dirname(path) not in (path, ""):
        path = os.path.dirname(path)
    return path


def _path_of(error: OSError) -> str | None:
    """Return the path that a person knows: the target of a link, the folder of a private name."""
    name = error.filename2 if error.filename2 is not None else error.filename
    if not isinstance(name, (str, bytes, os.PathLike)):
        return None
    path = os.fsdecode(name)
    folder, base = os.path.split(path)
    return folder or os.curdir if base.startswith(PRIVATE_PREFIX) else path
