"""Paging: what does not fit on the screen goes to a pager, as with git.

What a command prints on stdout is held until it has ended; only then is it
known whether it fits. Whoever prints meanwhile meets what looks like the
terminal. How the pager ends, and when, changes nothing for the command.

Which pager: ``docs/terminal.md``.
Public names: ``paged``.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

import click

from mvc import environment
from mvc.cli import output


class _Held(io.StringIO):
    """What was printed so far, and the terminal that it is for."""

    def __init__(self, terminal: TextIO) -> None:
        super().__init__()
        self._terminal = terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has a variable
        return self._terminal.encoding

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._terminal.fileno()


@contextmanager
def paged() -> Iterator[None]:
    """Show what is printed inside in a pager, if stdout is a terminal on which it does not fit."""
    command, size = environment.pager(), _size()
    if not command or size is None:
        yield
        return
    held = _Held(sys.stdout)
    try:
        with redirect_stdout(held):
            yield
    finally:
        text = held.getvalue()
        if _height(text, size.columns) < size.lines or not _through(command, text):
            sys.stdout.write(text)


def _size() -> os.terminal_size | None:
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return None
    return size if size.lines else None  # some terminals say that they have none


def _height(text: str, columns: int) -> int:
    """Return how many lines of the screen a text takes."""
    lines = map(output.cells_of, click.unstyle(text).splitlines())
    return sum(max(1, -(-cells // (columns or output.USUAL_WIDTH))) for cells in lines)


def _through(command: Sequence[str], text: str) -> bool:
    """Let a pager show a text, and wait until it has ended; false if there is no such pager."""
    sys.stdout.flush()
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, env=environment.of_pager(),
            encoding=sys.stdout.encoding, errors=sys.stdout.errors,
        )  # fmt: skip
    except OSError as error:
        if command != [environment.USUAL_PAGER]:  # nobody asked for that one
            output.line("warning", f"the pager '{command[0]}' cannot be run: {error.strerror}")
        return False
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pager's business, as in git
    try:
        process.communicate(text)  # a pager that has seen enough is no error
    finally:
        signal.signal(signal.SIGINT, before)
    return True
