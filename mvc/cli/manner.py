"""Manner: how much a command says, and how, as options of every command ask for.

They may stand before the command's name and after it.

What each of them does: ``docs/terminal.md``.
Public names: ``Manner``, ``manner``, ``anew``, ``options``.
"""

from __future__ import annotations

from dataclasses import dataclass

import click

from mvc import environment


@dataclass(slots=True)
class Manner:
    """What was asked for so far."""

    verbose: bool = False
    quiet: bool = False
    debug: bool = False
    progress: bool = True
    pager: bool = True
    partial: bool = False
    """Whether what could not be read decides the exit status."""


manner = Manner()
"""That of the command line being run."""


def anew() -> None:
    """Start with what the environment says."""
    manner.verbose, manner.quiet, manner.pager, manner.partial = False, False, True, False
    manner.debug, manner.progress = environment.debug(), environment.progress()


def _set(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        name = parameter.name or ""
        setattr(manner, name.removeprefix("no_"), not name.startswith("no_"))


def _option(*names: str, help: str, hidden: bool) -> click.Option:
    return click.Option(
        names, is_flag=True, is_eager=True, expose_value=False, callback=_set, help=help,
        hidden=hidden,
    )  # fmt: skip


def options(*, hidden: bool, quiet: bool = True) -> list[click.Parameter]:
    """Return the options; ``hidden`` where the help need not repeat them.

    Args:
        quiet: Whether ``-q`` is one of them; a command may have its own.
    """
    own = [_option("-q", "--quiet", help="Say less: no notes, no progress.", hidden=hidden)]
    return [
        _option("-v", "--verbose", help="Say more: where, how and how long.", hidden=hidden),
        *(own if quiet else []),
        _option("--no-progress", help="Draw no progress.", hidden=hidden),
        _option("--no-pager", help="Print without a pager, however long.", hidden=hidden),
        _option("--debug", help="After an error, show where in the code.", hidden=hidden),
    ]
