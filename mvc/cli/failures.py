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
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import click

from mvc import system_errors
from mvc.cli import output
from mvc.errors import Damaged, MvcError, UsageError

# What a shell shows for SIGINT and SIGTERM.
INTERRUPTED = 130
TERMINATED = 143
# Whoever read our output has had enough: what a shell shows for SIGPIPE.
PIPE_CLOSED = 141
OTHER = MvcError.status

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
    if isinstance(error, OSError):
        error = system_errors.in_words(error)
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
        return explain(OSError(errno.ENOMEM, ""))
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
            hint = _second_hint(ref, extra[1], command, context)
    return Failure(_lower(message), hint, UsageError.code, UsageError.status)


def _second_hint(ref: str, other: str, command: str, context: click.Context) -> str:
    """Say what to type where a second word stands beside a ref."""
    checkout = context.info_name == "checkout"
    version, _, file = other.partition(":")
    first, _, beside = ref.partition(":")
    if checkout and file and beside and version == first:
        return f"{command} {first} --include {shlex.quote(beside)} --include {shlex.quote(file)}"
    if file or "@" in other or re.search("/v[0-9]", other):
        return f"one at a time, then: {command} {other}{' -o PATH' if checkout else ''}"
    if checkout and re.search(r"[./*?[]", other):
        return f"{command} {ref} --include {shlex.quote(other)}"
    return f"a version is one word: {command} {ref if '@' in ref else f'{ref}@{other}'}"


def _metavar(option: str, context: click.Context) -> str:
    named = (p for p in context.command.params if option in p.opts)
    return next((p.make_metavar(context) for p in named), "VALUE")


def _option_hint(typed: str, context: click.Context | None, otherwise: str) -> str:
    """Say which option was meant: one that goes on or ends like what was typed, or is like it."""
    if typed in ("-C", "--store", "--version"):
        return f"{typed} comes before the command: mvc {typed} …"
    if typed == "--sort" and context and context.info_name in ("list", "log"):
        return "mvc search '' FAMILY --sort -acc lists the highest acc first"
    if typed in ("--since", "--after") and context and context.info_name in ("list", "log"):
        return "mvc search 'created > 2026-11-20' lists what came after that day"
    if typed == "--deep" and context and context.info_name == "fsck":
        return "did you mean '--full'?"
    if typed == "--json" and context and context.parent is None:
        return "--json comes after the command, as in mvc list --json"
    if typed in ("--as", "--name") and context and context.info_name == "import":
        return "mvc import SOURCE --family FAMILY"
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
