"""Manner: how much a command says, and how, as options of every command ask for.

They may stand before the command's name and after it. Progress is drawn, and
what else a call tells is printed, by a listener to ``mvc.progress``.

What each of them does: ``docs/terminal.md``.
Public names: ``Manner``, ``manner``, ``anew``, ``options``, ``heard``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
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


@contextlib.contextmanager
def heard(name: str) -> Iterator[None]:
    """Show what is told while the command ``name`` runs, in the manner asked for."""
    if manner.quiet:
        yield
        return
    from mvc import progress
    from mvc.cli.bar import Bar

    bar = Bar(verbose=manner.verbose, drawn=manner.progress)
    moved = bar.moved if manner.progress or manner.verbose else None
    said = bar.said if manner.verbose else None
    begun = time.monotonic()
    with contextlib.closing(bar), progress.listening(moved, said, bar.noted):
        yield
        progress.say("{}: {:.2f} s in all", name, time.monotonic() - begun)
