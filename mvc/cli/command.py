"""What all commands share: the shape of their help, common options, opening a registry.

Public names: ``command``, ``group``, ``as_json``, ``quiet``, ``limit``, ``limited``,
``open_registry``, ``find_registry``, ``registry_or_none``, ``family_name``,
``complete_names``, ``once_each``, ``refuse_empty``, ``PARTLY``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mvc import environment, progress
from mvc.cli import failures, manner, output
from mvc.errors import NotFound, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from mvc.registry import ModelRegistry

T = TypeVar("T")
Function = Callable[..., Any]

NEWEST = 50
HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 88}
PATHS = ("PATH", "DIR", "FILE.yaml", "FILE_OR_DIR")
"""What help calls a path, and nothing else."""
PARTLY = "what is damaged was left out"
_STATUSES = {0: "done", 2: "the command line is wrong", 8: "anything else, such as a full disk"}


def once_each(of: click.Command, ctx: click.Context, args: Sequence[str]) -> None:
    """Refuse an option that takes one value and is given two: nobody knows which was meant."""
    if ctx.resilient_parsing:
        return
    options = [p for p in of.get_params(ctx) if isinstance(p, click.Option)]
    single = [option for option in options if not (option.multiple or option.is_flag)]
    parser = of.make_parser(ctx)
    for option in single:
        gathering = copy(option)
        gathering.multiple = True
        gathering.add_to_parser(parser, ctx)
    given, _, _ = parser.parse_args([*args])
    for option in single:
        found = given.get(option.name or "", ())
        values = {v if isinstance(v, str) else option.flag_value: None for v in found}
        if len(values) > 1:
            both = " and ".join(f"'{value}'" for value in [*values][:2])
            text = f"{max(option.opts, key=len)} is given twice, with {both}"
            raise UsageError(text, hint="give it once")


def refuse_empty(of: click.Command, ctx: click.Context) -> None:
    """Refuse an empty path, which the system takes for the working folder: nobody types it."""
    if ctx.resilient_parsing:
        return
    for parameter in of.params:
        given = ctx.params.get(parameter.name or "")
        if (parameter.metavar or "").strip("[]") in PATHS and "" in (
            given if isinstance(given, tuple) else (given,)
        ):
            shown = parameter.opts[-1] if isinstance(parameter, click.Option) else PATHS[0]
            raise UsageError(
                f"{shown} is empty", hint="is a variable in it not set? this folder is written '.'"
            )


class Command(click.Command):
    """A command whose help ends with examples and what its exit statuses mean."""

    def __init__(
        self,
        *args: Any,
        usage: str = "[OPTIONS]",
        examples: Sequence[tuple[str, str]] = (),
        statuses: Mapping[int, str] | None = None,
        paged: bool = False,
        partial: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.usage = usage
        self.paged = paged
        self.partial = partial
        self.examples = examples
        self.statuses = {**_STATUSES, **(statuses or {})}
        quiet = all("-q" not in option.opts for option in self.params)
        self.params += manner.options(hidden=True, quiet=quiet)
        complete_names(self.params)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            once_each(self, ctx, args)
            rest = super().parse_args(ctx, args)
            refuse_empty(self, ctx)
            return rest
        except click.UsageError as error:  # some do not say which command was meant
            error.ctx = error.ctx or ctx
            raise

    def invoke(self, ctx: click.Context) -> Any:
        if ctx.params.get("as_json") and ctx.params.get("quiet"):
            raise UsageError("--json and -q are two ways to answer", hint="choose one")
        if "quiet" in ctx.params:  # before the command's name it says less, beside --json as well
            manner.manner.quiet |= ctx.params["quiet"]
            ctx.params["quiet"] = manner.manner.quiet
        if isinstance(self, click.Group):  # the command in it is heard, and says how long it took
            return super().invoke(ctx)
        manner.manner.partial = self.partial
        with self._pager(), self._heard(ctx):
            return super().invoke(ctx)

    def _pager(self) -> AbstractContextManager[None]:
        if not self.paged or not manner.manner.pager or output.width() is None:
            return nullcontext()
        from mvc.cli import paging

        return paging.paged()

    def _heard(self, ctx: click.Context) -> AbstractContextManager[None]:
        if manner.manner.quiet:
            return nullcontext()
        from mvc.cli import bar

        return bar.heard(ctx.command_path)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(ctx, incomplete)
        if len(incomplete) > 2:  # those of every command are found by who looks for them
            from click.shell_completion import CompletionItem

            hidden = (p for p in self.params if isinstance(p, click.Option) and p.hidden)
            names = (name for parameter in hidden for name in parameter.opts)
            found += [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return found

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [self.usage]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, "Examples", self.examples)
        with formatter.section("Exit status"):
            formatter.write_dl([(str(n), words) for n, words in sorted(self.statuses.items())])


def complete_names(parameters: Sequence[click.Parameter]) -> None:
    """Let shells complete what is no choice of a few words: families, refs, tags, files."""
    for parameter in parameters:
        if not isinstance(parameter.type, (click.Choice, click.types.BoolParamType)):
            vars(parameter)["shell_complete"] = partial(_completed, parameter)


def _completed(
    parameter: click.Parameter, ctx: click.Context, incomplete: str
) -> list[CompletionItem]:
    from mvc.cli import complete

    return complete.offers(parameter, ctx, incomplete)


class Group(Command, click.Group):
    """A command of several commands, which are explained like any other."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, above = args[0], ctx.command_path
        if name not in self.commands and not name.startswith("-") and not ctx.resilient_parsing:
            near = failures.nearest(name, list(self.commands))
            meant = f"did you mean '{above} {near}'?" if near else f"{above} --help lists them"
            raise UsageError(f"{above} has no command '{name}'", hint=meant)
        return super().resolve_command(ctx, args)


def write_examples(
    formatter: click.HelpFormatter, title: str, examples: Sequence[tuple[str, str]]
) -> None:
    """Write command lines with what they do, all beside them or all below."""
    if not examples:
        return
    width = max(len(typed) for typed, _ in examples)
    widest = max(len(words) for _, words in examples)
    with formatter.section(title):
        margin = " " * formatter.current_indent
        beside = len(margin) + width + 2 + widest <= formatter.width
        for typed, words in examples:
            below = f"{typed}\n{margin}    {words}"
            formatter.write(margin + (f"{typed:<{width}}  {words}" if beside else below) + "\n")


def command(
    name: str,
    *,
    usage: str = "[OPTIONS]",
    examples: Sequence[tuple[str, str]],
    statuses: Mapping[int, str] | None = None,
    paged: bool = False,
    partial: bool = False,
) -> Callable[[Function], Command]:
    """Make a command from a function whose docstring is its help.

    Args:
        usage: The arguments as the first line of the help shows them.
        paged: Whether a pager shows what does not fit on the screen.
        partial: Whether what could not be read, and is left out, decides the exit status.
    """
    return click.command(
        name,
        cls=Command,
        usage=usage,
        examples=examples,
        statuses=statuses,
        paged=paged,
        partial=partial,
        context_settings=HELP,
    )


def group(
    name: str,
    *,
    usage: str,
    examples: Sequence[tuple[str, str]],
    statuses: Mapping[int, str] | None = None,
) -> Callable[[Function], Group]:
    """Make a command of commands, as ``command`` makes one; by itself it shows its help."""

    def make(function: Function) -> Group:
        @click.pass_context
        def shown(ctx: click.Context, /, **given: Any) -> None:
            if ctx.invoked_subcommand is None:
                output.result(ctx.get_help())

        return click.group(
            name,
            cls=Group,
            usage=usage,
            examples=examples,
            statuses=statuses,
            context_settings=HELP,
            invoke_without_command=True,
            help=function.__doc__,
        )(shown)

    return make


as_json = click.option("--json", "as_json", is_flag=True, help="Answer with one JSON value.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Answer with ids only.")


def limit(function: Function) -> Function:
    """Add ``-n`` and ``--all``; see ``limited``."""
    function = click.option("--all", "everything", is_flag=True, help="Show all of them.")(function)
    return click.option(
        "-n",
        "--limit",
        "most",
        type=click.IntRange(min=1),
        metavar="N",
        help=f"Show at most N.  [default: {NEWEST}]",
    )(function)


def limited(
    find: Callable[[int | None], list[T]],
    most: int | None,
    everything: bool,
    *,
    these: str = "newest",
) -> list[T]:
    """Return at most ``most`` things of those that ``find`` finds; say if there are more.

    Args:
        these: Which come first.
    """
    if everything:
        if most is not None:
            raise UsageError("-n and --all contradict each other", hint="choose one")
        return find(None)
    most = most or NEWEST
    found = find(most + 1)
    if len(found) > most:
        output.line("note", f"these are the {these} {most}; --all shows the others too")
    return found[:most]


def open_registry() -> ModelRegistry:
    """Return the registry this command is about: of ``-C``, ``MVC_DIR``, or found upward.

    Raises:
        NotFound: There is none; a command never makes one, except ``mvc init``.
    """
    from mvc.registry import ModelRegistry

    folder, how = find_registry()
    progress.say("registry: '{}', {}", folder, how)
    given = click.get_current_context().find_root().params
    return ModelRegistry(folder, store=given.get("store"), create=False)


def find_registry() -> tuple[Path, str]:
    """Return the folder of the registry this command is about, and how it was found."""
    from mvc.registry.location import place

    named = environment.registry_folder()
    if named is not None:
        if not place.exists(place.at(named)):
            raise NotFound(
                f"no registry in '{named}', which MVC_DIR names",
                hint="mvc init makes one there; unset MVC_DIR looks upward from here instead",
            )
        return named, "as MVC_DIR says"
    given = click.get_current_context().find_root().params.get("folder") is not None
    found = place.find(Path.cwd(), named=given)
    return found, "as -C says" if given else "found from here upward"


def registry_or_none() -> ModelRegistry:
    """Return the registry as ``open_registry`` does; where none is, one that holds nothing."""
    try:
        return open_registry()
    except NotFound:
        from mvc.registry import ModelRegistry

        return ModelRegistry(Path(os.devnull), create=False)  # nothing can be there


def family_name(text: str, instead: str = "mvc show") -> str:
    """Return ``text`` if it is a family's name alone.

    Raises:
        UsageError: It names a version, or is no name; the hint says what to type.
    """
    from mvc.registry import refs
    from mvc.registry.names import check_family

    if any(mark in text for mark in "@/~:") and (ref := refs.parse(text)).family != text:
        whole = text.removesuffix(f":{ref.path}")
        raise UsageError(f"'{text}' is a version, not a family", hint=f"{instead} {whole}")
    return check_family(text)
