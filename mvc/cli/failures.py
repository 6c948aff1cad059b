"""Failures: where an error becomes words and an exit status.

Everything that can go wrong in a command ends here, so that all of it looks
alike: ``error:`` and what is wrong with which thing, ``hint:`` and what to
type. With ``--json`` the last line on stderr is the same as one JSON value.

Statuses: ``mvc.errors`` and ``docs/model.md``.
Public names: ``Failure``, ``explain``, ``report``, ``Terminated``, ``terminate``, ``nearest``,
``INTERRUPTED``, ``TERMINATED``, ``PIPE_CLOSED``.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import click

from mvc.cli import output
from mvc.errors import Damaged, MvcError, NotFound, UsageError
from mvc.fileio import PRIVATE_PREFIX

# What a shell shows for SIGINT and SIGTERM.
INTERRUPTED = 130
TERMINATED = 143
# Whoever read our output has had enough: what a shell shows for SIGPIPE.
PIPE_CLOSED = 141
OTHER = MvcError.status

MEMORY_HINT = "close other programs; a limit may be too low: ulimit -v, or the container's"
DAMAGE_HINT = "mvc fsck says which versions that hurts, and what mends it"
DEBUG_HINT = "a fault of mvc itself; run it again with --debug and report what that shows"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error in words; ``code`` and ``status`` are for scripts."""

    message: str
    hint: str | None
    code: str
    status: int

    def as_dict(self) -> dict[str, output.Json]:
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "status": self.status,
        }


class Terminated(KeyboardInterrupt):
    """Somebody asked the process to end: as after Ctrl-C, what was staged is taken away first."""


def terminate(*_: object) -> None:
    """Handle SIGTERM."""
    raise Terminated


def report(failure: Failure, *, as_json: bool) -> None:
    """Print a failure on stderr."""
    output.line("error", failure.message)
    if failure.hint:
        output.line("hint", failure.hint)
    if as_json:
        output.error_json({"error": failure.as_dict()})


def explain(error: BaseException) -> Failure:
    """Put any error into words. What nobody foresaw is ``internal``."""
    if isinstance(error, MvcError):
        hint = error.hint or (DAMAGE_HINT if isinstance(error, Damaged) else None)
        return Failure(error.message, hint, error.code, error.status)
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, Terminated):
        return Failure("terminated", None, "terminated", TERMINATED)
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return Failure("interrupted", None, "interrupted", INTERRUPTED)
    if _is_out_of_memory(error):
        return Failure("out of memory", MEMORY_HINT, "memory", OTHER)
    if isinstance(error, OSError):
        return _system(error)
    said = str(error).strip().partition("\n")[0]
    name = type(error).__name__
    return Failure(
        f"internal: {name}: {said}" if said else f"internal: {name}", DEBUG_HINT, "internal", OTHER
    )


_EXTRA = re.compile(r"unexpected extra arguments? \((\S+).*\)")
# What libraries, the loader of their modules and Python itself say where no memory is left.
_NO_MEMORY = ("cannot allocate memory", "failed to map segment", "can't start new thread")


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Say whether memory ran out, also where a library raised something else because of it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if isinstance(error, (ImportError, RuntimeError)):
            said = str(error).lower()
            if any(words in said for words in _NO_MEMORY):
                return True
        error = error.__cause__ or error.__context__
    return False


def _usage(error: click.ClickException) -> Failure:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "mvc"
    hint = f"{command} --help shows how it is used"
    message = error.format_message().strip()
    if isinstance(error, click.NoSuchOption):
        message = f"'{command}' has no option '{error.option_name}'"
        hint = _option_hint(error.option_name, context, hint)
    elif isinstance(error, click.MissingParameter) and context and error.param:
        message = f"{error.param.make_metavar(context)} is missing"
        hint = " ".join([command, *context.command.collect_usage_pieces(context)])
    elif isinstance(error, click.BadParameter) and _is_number(error.param):
        name, typed = error.param.opts[-1], message.partition(": ")[2].partition(" is not ")[0]
        message = f"{name} wants a whole number from 1 on, not {typed}"
        hint = f"as in {name} 5"
    elif isinstance(error, click.BadOptionUsage) and "requires" in message and context:
        value = _metavar(error.option_name, context)
        message = f"{error.option_name} wants a value: {value}"
        hint = f"{command} {error.option_name} {value}"
    elif context and (extra := _EXTRA.search(message)):
        message = f"'{extra[1]}' is one word too many"
        hint = " ".join([command, *context.command.collect_usage_pieces(context)])
        if ref := context.params.get("ref"):
            whole = ref if "@" in ref else f"{ref}@{extra[1]}"
            hint = f"a version is one word: {command} {whole}"
    return Failure(_lower(message), hint, UsageError.code, UsageError.status)


def _metavar(option: str, context: click.Context) -> str:
    named = (p for p in context.command.params if option in p.opts)
    return next((p.make_metavar(context) for p in named), "VALUE")


def _option_hint(typed: str, context: click.Context | None, otherwise: str) -> str:
    """Say which option was meant: one that goes on or ends like what was typed, or is like it."""
    if typed in ("-C", "--store", "--version"):
        return f"{typed} comes before the command: mvc {typed} …"
    if typed == "--sort" and context and context.info_name in ("list", "log"):
        return "mvc search '' FAMILY --sort -acc lists the highest acc first"
    if typed == "--json" and context and context.parent is None:
        return "--json comes after the command, as in mvc list --json"
    parameters = context.command.params if context else []
    known = [name for parameter in parameters for name in parameter.opts if name[:2] == "--"]
    near = nearest(typed, known)
    return f"did you mean '{near}'?" if near else otherwise


def nearest(typed: str, known: Sequence[str]) -> str | None:
    """Return the one of ``known`` that was meant, if any is like what was typed."""
    import difflib

    begun = [name for name in known if typed.startswith(name) or name.startswith(typed)]
    if typed[:2] == "--" and len(begun) == 1 and len(typed) > 3:
        return begun[0]
    return next(iter(difflib.get_close_matches(typed, known, n=1, cutoff=0.6)), None)


def _is_number(parameter: click.Parameter | None) -> TypeGuard[click.Parameter]:
    kind = parameter.type if parameter else None
    return isinstance(kind, click.IntRange) and kind.min == 1


def _lower(message: str) -> str:
    if message[1:2].isupper():  # a name such as REF
        return message.rstrip(".")
    return message[:1].lower() + message[1:].rstrip(".")


# What the system says, in words: message, hint and code. ``{}`` is the path.
_GONE = ("{} is not there", "ls shows what is; a name with spaces needs quotes", NotFound.code)
_FULL = ("the disk is full: {}", "free some space and try again; nothing was lost", "disk-full")
_DENIED = ("no permission for {}", "ls -l shows whose it is", "permission")
_SYSTEM: dict[int, tuple[str, str, str]] = {
    errno.ENOENT: _GONE,
    errno.ENOTDIR: ("{} is not there: part of the path is no folder", _GONE[1], NotFound.code),
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
    errno.ELOOP: ("{} is a link that leads in a circle, or nowhere", "ls -l shows where it leads",
                  "link-loop"),
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
}  # fmt: skip
_DEFAULT = ("{reason}: {}", "ls -l shows what it is", "system")


def _system(error: OSError) -> Failure:
    path = _path_of(error)
    reason = _lower(error.strerror or str(error) or type(error).__name__)
    message, hint, code = _SYSTEM.get(error.errno or 0, _DEFAULT)
    status = NotFound.status if code == NotFound.code else OTHER
    if path is None:
        words = message.replace(": {}", "").format("it", reason=reason)
        return Failure(words, None if words == reason else hint, code, status)
    return Failure(message.format(f"'{path}'", reason=reason), hint, code, status)


def _path_of(error: OSError) -> str | None:
    """Return the path that a person knows: the target of a link, the folder of a private name."""
    name = error.filename2 if error.filename2 is not None else error.filename
    if not isinstance(name, (str, bytes, os.PathLike)):
        return None
    path = os.fsdecode(name)
    folder, base = os.path.split(path)
    return folder if base.startswith(PRIVATE_PREFIX) and folder else path
