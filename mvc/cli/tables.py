"""Tables: aligned on a terminal, tab-separated for whoever reads a pipe.

People and programs are told in columns of their own: people have ``3 h`` and
``44.8 MB`` where programs have a time and bytes. What programs have is a
promise: ``docs/looking.md``.

On a terminal a table is at most as wide as that: elastic columns are cut
first, then columns are left out by rank, and that is said.

Public names: ``Column``, ``Value``, ``show``, ``the_end``, ``what_fits``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from mvc.cli import output
from mvc.cli.output import cells_of

T = TypeVar("T")
Value: TypeAlias = "str | int | float | Sequence[str] | None"
# A spare column is no narrower than this.
LEAST = 10
CUT = "…"
GAP = len(output.GAP)


def the_start(text: str, width: int) -> str:
    """Cut a text at its end."""
    while cells_of(text + CUT) > width and text:
        text = text[:-1]
    return text + CUT


def the_end(text: str, width: int) -> str:
    """Cut a text at its start: of ``encoder.layers.10.weight`` the end tells which it is."""
    return the_start(text[::-1], width)[::-1]


def what_fits(separator: str) -> Callable[[str, int], str]:
    """Take of a text's parts those that fit, and count the others."""

    def cut(text: str, width: int) -> str:
        parts, taken = text.split(separator), list[str]()
        for part in parts:
            more = f" +{len(parts) - len(taken) - 1}"
            if cells_of(separator.join([*taken, part]) + more) <= width:
                taken.append(part)
        more = f" +{len(parts) - max(1, len(taken))}" if len(parts) > 1 else ""
        return (separator.join(taken) or the_end(parts[0], width - len(more))) + more

    return cut


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column for people: its head, what stands in it, and how it gives way.

    Where a terminal is too narrow the text of an ``elastic`` column is ``cut``, but no
    shorter than that; columns are taken in, as far as they fit, by ``rank``, one of 0
    always. A ``spare`` one has the room that all others leave, or is not there.
    ``style`` is a colour as rich names it.
    """

    head: str
    text: Callable[[T], str]
    right: bool = False
    style: str = ""
    elastic: int = 0
    cut: Callable[[str, int], str] = the_start
    rank: int = 0
    spare: bool = False


def show(
    items: Sequence[T],
    people: Sequence[Column[T]],
    programs: Mapping[str, Callable[[T], Value]] | None,
    *,
    total: Mapping[str, str] | None = None,
) -> None:
    """Print a line for each item on stdout, below a line of heads.

    Args:
        programs: The columns where stdout is no terminal, by name; ``None`` in
            a report, which is for people wherever it goes.
        total: A last line for people, by head.
    """
    width = output.width()
    if width is None and programs is not None:
        output.result("\t".join(programs))
        for item in items:
            output.result("\t".join(_field(value(item)) for value in programs.values()))
        return
    rows = [[output.clean(column.text(item)) for column in people] for item in items]
    if total:
        rows.append([total.get(column.head, "") for column in people])
    if width is None:
        right = [place for place, column in enumerate(people) if column.right]
        output.table([[column.head for column in people], *rows], right=right)
    else:
        _draw(people, rows, width)


def _field(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, (str, int, float)):
        return output.clean(output.number(value))
    return ",".join(map(output.clean, value))


def _draw(columns: Sequence[Column[T]], rows: Sequence[Sequence[str]], width: int) -> None:
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    widths = [cell_len(column.head) for column in columns]
    for row in rows:
        widths = [max(known, cell_len(cell)) for known, cell in zip(widths, row, strict=True)]
    spare = [place for place, column in enumerate(columns) if column.spare]
    for place in spare:
        others = (wide + GAP for other, wide in enumerate(widths) if other not in spare)
        room = width - sum(others)
        widths[place] = min(widths[place], room) if room >= min(widths[place], LEAST) else 0
    widths = _fitted(columns, widths, width)
    shown = [place for place, width in enumerate(widths) if width]
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for place in shown:
        column = columns[place]
        table.add_column(
            column.head,
            justify="right" if column.right else "left",
            style=column.style,
            no_wrap=True,
            max_width=widths[place],
        )
    for row in rows:
        cells = ((columns[place].cut, row[place], widths[place]) for place in shown)
        fitting = (cut(text, wide) if cell_len(text) > wide else text for cut, text, wide in cells)
        table.add_row(*map(Text, fitting))
    output.draw(table)
    left_out = [
        columns[place].head for place in range(len(columns)) if place not in (*shown, *spare)
    ]
    if left_out:
        output.note(f"no room for {', '.join(left_out)}")


def _fitted(columns: Sequence[Column[T]], widths: Sequence[int], width: int) -> list[int]:
    """Return how wide each column may be for all to fit into ``width``; 0 leaves one out."""
    least = [
        min(wide, max(column.elastic, len(column.head))) if column.elastic else wide
        for column, wide in zip(columns, widths, strict=True)
    ]
    shown: list[int] = []
    there = [place for place, wide in enumerate(widths) if wide]
    for place in sorted(there, key=lambda place: columns[place].rank):
        needed = sum(least[other] + GAP for other in (*shown, place)) - GAP
        if columns[place].rank == 0 or needed <= width:
            shown.append(place)
    fitted = [wide if place in shown else 0 for place, wide in enumerate(widths)]
    over = sum(fitted) + GAP * (len(shown) - 1) - width
    while over > 0:
        widest = max(shown, key=lambda place: fitted[place] - least[place])
        room = fitted[widest] - least[widest]
        if room == 0:
            break
        cut = min(over, room, max(1, room // 2))
        fitted[widest], over = fitted[widest] - cut, over - cut
    return fitted
