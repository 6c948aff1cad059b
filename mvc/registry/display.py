"""Display: how what mvc returns shows itself at a Python prompt and in a notebook.

Public names: ``Display``, ``Displayed``, ``count``, ``first``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

MOST_LINES = 50


class Display(NamedTuple):
    """``counts`` in words are about ``title``; ``rows`` have a name and lines of text."""

    title: str
    counts: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


class Displayed:
    """What is one line at a prompt, and a table in a notebook."""

    __slots__ = ()

    def _display(self) -> Display:
        raise NotImplementedError

    def __repr__(self) -> str:
        shown = self._display()
        return f"<{shown.title}: {', '.join(shown.counts)}>"

    def _repr_html_(self) -> str:
        """Return a table, without the rows of no line."""
        from html import escape  # nothing that the command line needs

        shown = self._display()
        written = "".join(
            f'<tr><th style="text-align: left; vertical-align: top">{escape(name)}</th>'
            f'<td style="text-align: left">{"<br>".join(map(escape, lines))}</td></tr>'
            for name, lines in ((shown.title, shown.counts), *shown.rows)
            if lines
        )
        return f"<table>{written}</table>"


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number of things in words."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def first(rows: Iterable[tuple[str, list[str]]]) -> tuple[tuple[str, list[str]], ...]:
    """Return the rows; of many lines the first."""
    return tuple(
        (name, [*lines[:MOST_LINES], f"and {more:,} more"] if more > 0 else lines)
        for name, lines in rows
        for more in (len(lines) - MOST_LINES,)
    )
