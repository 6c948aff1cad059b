"""The command ``mvc``: which commands there are, and how each ends.

Commands are found by this table and imported when called, so that
``mvc --help`` loads none of them. The summaries stand here for that reason;
a test holds them equal to the first line of each command's help.

Public names: ``SECTIONS``, ``root``, ``run``.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import click

from mvc import environment
from mvc.cli import failures, manner, output
from mvc.cli.command import HELP, complete_names, once_each, refuse_empty, write_examples
from mvc.errors import (
    Damaged,
    ModelWarning,
    MvcError,
    MvcWarning,
    NotFound,
    UnreadWarning,
    UsageError,
)

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: where it is, what it does in a few words, and whether bytes of files go by."""

    name: str
    place: str
    summary: str
    heavy: bool = False


SECTIONS: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "Register and get back",
        (
            Entry("init", "mvc.cli.init:init", "Make a registry in this folder."),
            Entry(
                "add",
                "mvc.cli.add:add",
                "Register a model file or folder as the next version.",
                heavy=True,
            ),
            Entry(
                "import",
                "mvc.cli.import_:import_",
                "Download a model once, and register it.",
                heavy=True,
            ),
            Entry(
                "checkout", "mvc.cli.checkout:checkout", "Write a version's files here.", heavy=True
            ),
            Entry(
                "path", "mvc.cli.checkout:path", "Print a read-only path to a version.", heavy=True
            ),
        ),
    ),
    (
        "Look",
        (
            Entry("list", "mvc.cli.list:list_", "List families, or the versions of one."),
            Entry("show", "mvc.cli.show:show", "Show all that is known of a version."),
            Entry("log", "mvc.cli.log:log", "Show versions with their story, newest first."),
            Entry("diff", "mvc.cli.diff:diff", "Say how two versions differ.", heavy=True),
            Entry("search", "mvc.cli.search:search", "Find versions by what is known of them."),
            Entry("status", "mvc.cli.status:status", "Compare the files here with the registry."),
        ),
    ),
    (
        "Name and choose",
        (
            Entry("tag", "mvc.cli.tags:tag", "Give a version a name that can move, such as prod."),
            Entry("rollback", "mvc.cli.tags:rollback", "Move a tag back to where it was before."),
            Entry("best", "mvc.cli.tags:best", "Show or set which metric decides what is best."),
        ),
    ),
    (
        "Take out of use",
        (
            Entry("rm", "mvc.cli.withdraw:rm", "Withdraw versions; they can be restored."),
            Entry("restore", "mvc.cli.withdraw:restore", "Take back a withdrawal."),
            Entry(
                "keep",
                "mvc.cli.keep:keep",
                "Say which versions of a family are kept.",
                heavy=True,
            ),
        ),
    ),
    (
        "Take care",
        (
            Entry("fsck", "mvc.cli.care:fsck", "Check that every version is whole.", heavy=True),
            Entry(
                "gc", "mvc.cli.gc:gc", "Free the bytes of versions withdrawn long ago.", heavy=True
            ),
            Entry(
                "repack",
                "mvc.cli.repack:repack",
                "Make what is read most quick to read.",
                heavy=True,
            ),
            Entry("du", "mvc.cli.care:du", "Show what versions take on disk."),
            Entry(
                "store",
                "mvc.cli.store:store",
                "Look at the store, or take it elsewhere.",
                heavy=True,
            ),
            Entry(
                "demo",
                "mvc.cli.demo:demo",
                "Show the main job on real models, step by step.",
                heavy=True,
            ),
        ),
    ),
    (
        "Set up",
        (
            Entry("doctor", "mvc.cli.doctor:doctor", "Say whether mvc is set up well here."),
            Entry(
                "completion",
                "mvc.cli.completion:completion",
                "Print a script that completes mvc in a shell.",
            ),
        ),
    ),
)
ENTRIES = {entry.name: entry for _, entries in SECTIONS for entry in entries}

FIRST_STEPS = (
    ("mvc init", "make a registry in this folder"),
    ("mvc add resnet18 model.pt -m acc=0.95", "register a file: resnet18/v1"),
    ("mvc checkout resnet18@best", "get the best version back"),
    ("mvc fsck", "check that everything is whole"),
)
REFS = (
    ("resnet18", "the newest version; the same as resnet18@latest"),
    ("resnet18@v2", "version 2; resnet18/v2 as well"),
    ("resnet18@best", "the best by the family's metric; @best.loss by another"),
    ("resnet18@prod", "where the tag prod stands; prod@{1}: where it stood before"),
    ("resnet18@latest~1", "the version before the newest"),
    ("resnet18@b3:9f86d081", "the version whose file has this digest"),
    ("bert@v3:config.json", "one file of a version that is a folder"),
)
STATUSES = (
    "0 done, 1 no, 2 wrong usage, 3 damage, 4 not found, 5 conflict, 6 busy, 7 remote failed, "
    "8 anything else, 130 interrupted, 143 terminated"
)
# What others call it.
SYNONYMS = {
    "ls": "list", "families": "list", "models": "list", "register": "add", "put": "add",
    "save": "add", "commit": "add", "get": "checkout", "download": "checkout", "co": "checkout",
    "restore-file": "checkout", "which": "path", "where": "path", "locate": "path",
    "inspect": "show", "cat": "show", "compare": "diff",
    "history": "log", "versions": "log", "find": "search", "query": "search", "filter": "search",
    "remove": "rm", "delete": "rm", "del": "rm", "undelete": "restore", "undo": "restore",
    "export": "checkout", "verify": "fsck", "check": "fsck", "size": "du", "create": "init",
    "promote": "tag", "alias": "tag", "move": "store move", "repair": "fsck --repair",
    "relink": "store relink", "relocate": "store move", "alternates": "store alternates",
    "track": "add", "forget": "rm", "prune": "gc", "clean": "gc",
    "import-url": "import", "fetch": "import", "retain": "keep", "retention": "keep",
    "policy": "keep", "expire": "keep",
}  # fmt: skip

_RENAMED = "a family keeps its name; mvc add NEW --from FAMILY@vN gives a version to another"
# Where no one command is meant by a word.
ANSWERS = {
    "mv": _RENAMED,
    "rename": _RENAMED,
    "remote": "git carries the records; mvc store --help says how to share bytes",
    "info": "mvc show REF tells of a version, mvc store info of the store",
    "version": "mvc --version tells it",
}


class Root(click.Group):
    """The group of all commands, each loaded when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(ENTRIES)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        once_each(self, ctx, args)
        rest = super().parse_args(ctx, args)
        refuse_empty(self, ctx)
        return rest

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = ENTRIES.get(cmd_name)
        if entry is None:
            return None
        if entry.heavy:
            environment.keep_memory()
        module, _, name = entry.place.partition(":")
        found: click.Command = getattr(importlib.import_module(module), name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name == "help":  # as many type it first
            args = [*args[1:2], "--help"]
            name = args[0]
        if name not in ENTRIES and not name.startswith("-"):
            raise UsageError(f"mvc has no command '{name}'", hint=_near(name))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        named = [CompletionItem(e.name, help=e.summary) for e in ENTRIES.values()
                 if e.name.startswith(incomplete)]  # fmt: skip
        return named if incomplete[:1] != "-" else super().shell_complete(ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, ENTRIES))
        for title, entries in SECTIONS:
            with formatter.section(title):
                formatter.write_dl([(f"{e.name:<{width}}", e.summary) for e in entries])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("How to name a version"):
            formatter.write_dl(REFS)
        with formatter.section("Exit status"):
            formatter.write_text(STATUSES)
        formatter.write_paragraph()
        formatter.write_text("mvc COMMAND --help explains a command and shows examples.")

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        write_examples(formatter, "Getting started", FIRST_STEPS)


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from mvc import __version__

        output.result(f"mvc {__version__}")
        ctx.exit()


@click.group(
    cls=Root,
    invoke_without_command=True,
    context_settings=HELP,
    options_metavar="[-C DIR] [--store DIR]",
    subcommand_metavar="COMMAND …",
)
@click.option("-C", "folder", metavar="DIR", help="Work as if started in DIR.")
@click.option("--store", metavar="DIR", help="Look for the registry's store in DIR first.")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
    help="Print the version of mvc and leave.",
)  # fmt: skip
@click.pass_context
def root(ctx: click.Context, folder: str | None, store: str | None) -> None:
    """mvc is git for model weights.

    A registry holds families of versions: resnet18/v1, resnet18/v2, … A
    version is a model file with its metrics and its origin; it never changes
    and comes back bit for bit. It is a plain folder, .mvc, found from any
    folder below it.
    """
    if folder is not None:
        _work_in(folder)
    if ctx.invoked_subcommand is None:
        output.result(ctx.get_help())


def _work_in(folder: str) -> None:
    try:
        os.chdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        what = "is a file, not a folder" if os.path.isfile(folder) else "is no folder"
        raise NotFound(
            f"-C '{folder}' {what}", hint="-C DIR names the folder to work in, as if typed there"
        ) from None


root.params += manner.options(hidden=False)
complete_names(root.params)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; every error ends here."""
    as_json = "--json" in arguments
    _speak_any_text(sys.stdout, sys.stderr)
    manner.anew()
    with _warnings_in_words() as unread:
        try:
            status = _invoke(list(arguments)) or _left_out(unread, as_json)
            _flush()
        except BrokenPipeError:
            _close_quietly(sys.stdout)
            return failures.PIPE_CLOSED
        except click.exceptions.Exit as left:
            status = left.exit_code
        except BaseException as error:
            if not isinstance(error, (Exception, KeyboardInterrupt)):
                raise
            status = _fail(error, as_json)
    return status


def _invoke(arguments: list[str]) -> int:
    asked = environment.completion()
    if asked is not None:
        from mvc.cli import complete

        for line in complete.answer(asked, root, arguments):
            output.result(line)
        return 0
    with root.make_context("mvc", arguments) as context:
        status: Any = root.invoke(context)
    return status if isinstance(status, int) else 0


def _left_out(unread: list[MvcError], as_json: bool) -> int:
    """Return the status of an answer: 0, or why something is not in it; damage counts first."""
    if not unread or not manner.manner.partial:
        return 0
    failure = failures.explain(max(unread, key=lambda error: error.status == Damaged.status))
    if as_json:
        output.error_json({"error": failure.as_dict()})
    return failure.status


def _fail(error: BaseException, as_json: bool) -> int:
    failure = failures.explain(error)
    try:
        if manner.manner.debug:
            import traceback

            from mvc import versions

            output.line("debug", versions.header())
            traceback.print_exception(error)
        failures.report(failure, as_json=as_json)
        _flush()
    except OSError:  # nobody listens, or stdout is on the full disk that failed us
        _close_quietly(sys.stdout)
    return failure.status


@contextmanager
def _warnings_in_words() -> Iterator[list[MvcError]]:
    """Print each of mvc's warnings once, as a line; those of others only for debugging.

    Yields why something could not be read.
    """
    said: set[str] = set()
    unread: list[MvcError] = []
    with warnings.catch_warnings():
        original = warnings.showwarning

        def show(
            message: Warning | str, category: type[Warning], filename: str, lineno: int,
            file: TextIO | None = None, line: str | None = None,
        ) -> None:  # fmt: skip
            if not issubclass(category, MvcWarning):
                if manner.manner.debug:
                    original(message, category, filename, lineno, file, line)
            elif str(message) not in said:
                said.add(str(message))
                if isinstance(message, UnreadWarning):
                    unread.append(message.error)
                output.line("warning", str(message))

        warnings.simplefilter("always", MvcWarning)
        warnings.simplefilter("ignore", ModelWarning)  # its notes say so in their place
        warnings.showwarning = show
        yield unread


def _speak_any_text(*streams: TextIO) -> None:
    """Let no character that a terminal cannot show, and no odd file name, end a command."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            utf8 = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


def _flush() -> None:
    if sys.stdout is not None:  # as in: mvc add … >&-
        sys.stdout.flush()


def _close_quietly(stream: TextIO) -> None:
    """Point a stream nobody reads at nothing, so that Python's last flush cannot fail."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def _near(name: str) -> str:
    name = name.lower()
    if name in ANSWERS:
        return ANSWERS[name]
    if name in ("push", "pull", "clone"):
        return f"git {name} carries the records; mvc store --help says how to share bytes"
    meant = SYNONYMS.get(name) or failures.nearest(name, list(ENTRIES))
    return f"did you mean 'mvc {meant}'?" if meant else "mvc --help lists the commands"
