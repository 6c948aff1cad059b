"""Output: results on stdout, everything else on stderr, and how values look to people.

Text that comes from a record is shown without control characters, so that
no message of somebody else's can steer a terminal. Times are UTC, sizes
decimal. Lines of a report are aligned by ``table`` wherever they go; what is
a table, each line like the other, is printed by ``mvc.cli.tables``.

Public names: ``Json``, ``result``, ``json_result``, ``ids``, ``line``, ``note``,
``table``, ``draw``, ``styled``, ``width``, ``speaks_unicode``, ``facts``, ``size``, ``count``,
``when``, ``age``, ``moved``, ``cells_of``, ``number``, ``brief``, ``pairs``, ``names_of``,
``first``, ``path``, ``home_path``, ``clean``.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from mvc import environment
from mvc.cli import manner

if TYPE_CHECKING:
    from mvc.registry.version import Version

# What ``json.dumps`` takes; its exact shape is the business of who makes it.
Json: TypeAlias = Any

GAP = "  "
NAME_WIDTH = 12
USUAL_WIDTH = 80
LITTLE_ROOM = 16
_COLOURS = {"error": "red", "warning": "yellow"}
_UNITS = ("kB", "MB", "GB", "TB", "PB")
# Ages up to so many of a unit, and its seconds.
_AGES = ((60, "s", 1), (60, "min", 60), (48, "h", 3600), (730, "d", 86400))
# What we draw ourselves, where only ASCII can be shown.
_ASCII = str.maketrans("…×→", "~x>")
_YEAR = 365.25 * 86400


def result(text: str) -> None:
    """Print one line of the answer on stdout."""
    click.echo(text)


def json_result(value: Json) -> None:
    """Print the answer as one JSON value, in plain ASCII, so that no terminal can spoil it."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


above: Callable[[str], object] | None = None
"""Prints a line on stderr while a bar stands there: above it."""


def _echo(text: str) -> None:
    if above is None:
        click.echo(text, err=True)
    else:
        above(text)


def error_json(value: Json) -> None:
    """Print an error as one JSON value in one line on stderr."""
    click.echo(json.dumps(value, allow_nan=False), err=True)


def ids(versions: Iterable[Version]) -> None:
    """Print ids, one a line: what ``-q`` is for."""
    for version in versions:
        result(version.id)


def line(kind: str, text: str) -> None:
    """Print ``kind: text`` on stderr; errors and warnings bear a colour on a terminal."""
    label = f"{kind}:"
    if kind in _COLOURS and sys.stderr.isatty() and environment.colours():
        label = click.style(label, fg=_COLOURS[kind], bold=True)
    _echo(f"{label} {clean(text)}")


def note(text: str) -> None:
    """Print on stderr something worth knowing that changes nothing, unless ``-q`` is given."""
    if not manner.manner.quiet:
        line("note", text)


def say(text: str) -> None:
    """Print on stderr what was done, unless ``-q`` is given."""
    if not manner.manner.quiet:
        _echo(clean(text))


def table(rows: Sequence[Sequence[str]], *, right: Iterable[int] = (), gap: str = GAP) -> None:
    """Print rows in aligned columns on stdout; the columns in ``right`` to the right.

    On a terminal the last column goes on below itself where it does not fit.
    Where there is no room for that, a row with a very long cell is not
    aligned, so that the others are; where that does not help, none is.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    whole = width() or sys.maxsize
    gaps = len(gap) * (len(cells[0]) - 1)
    widths = _usual_widths(cells, whole - gaps)
    margin = sum(widths[:-1]) + gaps
    room = whole - margin
    for row in cells:
        long = any(cells_of(cell) > wide for cell, wide in zip(row[:-1], widths, strict=False))
        if long or room < min(LITTLE_ROOM, widths[-1]):
            result(gap.join(filter(None, row)))
            continue
        *before, last = [
            " " * (wide - cells_of(cell)) + cell if place in right else cell
            for place, (cell, wide) in enumerate(zip(row, widths, strict=True))
        ]
        padded = [
            cell + " " * (wide - cells_of(cell)) for cell, wide in zip(before, widths, strict=False)
        ]
        first, *more = _wrapped(last, room)
        result(gap.join([*padded, first]).rstrip())
        for text in more:
            result(" " * margin + text)


def _usual_widths(cells: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return how wide columns are, without the longest cells where there is no room for them."""
    taken = [[cells_of(cell) for cell in column] for column in zip(*cells, strict=True)]
    longest = [max(column) for column in taken]
    widths = list(longest)
    while sum(widths[:-1]) + min(LITTLE_ROOM, widths[-1]) > room:
        place = max(range(len(widths) - 1), key=widths.__getitem__, default=None)
        shorter = [] if place is None else [n for n in taken[place] if n < widths[place]]
        if place is None or not shorter:
            return longest
        widths[place] = max(shorter)
    return widths


def draw(picture: object) -> None:
    """Print on a terminal what rich knows how to draw: in colour, unless that is not wanted."""
    from rich.console import Console

    canvas = io.StringIO()
    Console(
        file=canvas,
        width=width(),
        force_terminal=True,
        force_jupyter=False,
        color_system="standard" if environment.colours() else None,
        emoji=False,
        markup=False,
        highlight=False,
    ).print(picture)
    for text in canvas.getvalue().split("\n")[:-1]:
        result((text if speaks_unicode() else text.translate(_ASCII)).rstrip())


def styled(text: str, colour: str) -> str:
    """Return a text that has a colour if stdout is a terminal to which that may be given."""
    return click.style(text, fg=colour) if width() and environment.colours() else text


def width() -> int | None:
    """Return how many columns the terminal has that stdout is; ``None`` if it is none."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or USUAL_WIDTH
    except (OSError, ValueError):
        return USUAL_WIDTH


def speaks_unicode() -> bool:
    """Say whether stdout can show more than ASCII."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")


def facts(rows: Iterable[tuple[str, str]]) -> None:
    """Print ``name  value`` lines; a value goes on below itself, by its lines and where it must."""
    room = (width() or sys.maxsize) - NAME_WIDTH - len(GAP)
    for name, value in rows:
        label = clean(name)
        for text in value.split("\n"):
            for part in _wrapped(clean(text), max(room, LITTLE_ROOM)):
                result(f"{label:<{NAME_WIDTH}}{GAP}{part}".rstrip())
                label = ""


def size(amount: int | None) -> str:
    """Write bytes as people say them: three digits and a decimal unit."""
    if amount is None:
        return "?"
    if amount < 1000:
        return f"{amount} B"
    value, place = amount / 1000, 0
    while value >= 999.5 and place < len(_UNITS) - 1:
        value, place = value / 1000, place + 1
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {_UNITS[place]}"


def count(number: int, word: str, words: str | None = None) -> str:
    """Write a number of things: ``1 version``, ``12,000 versions``."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


def when(created: str, *, seconds: bool = False) -> str:
    """Write a record's time for people; it stays UTC, as in ``tag@{date}``."""
    return created[: 19 if seconds else 16].replace("T", " ")


def moved(tag: str, before: int | None, number: int) -> str:
    """Write where a tag went: ``prod: v2 → v4``."""
    if before == number:
        return f"{tag}: v{number} already"
    return f"{tag}: {'none' if before is None else f'v{before}'} → v{number}"


def cells_of(text: str) -> int:
    """Return how many columns of a terminal a text takes: of Chinese, two a character."""
    if text.isascii() or width() is None:
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def age(created: str | None) -> str:
    """Write how long ago a record's time is: ``3 h``, ``2 d``."""
    if created is None:
        return ""
    from mvc.registry.sealed import parse_time

    then = parse_time(created)
    seconds = max(0.0, (then.now(then.tzinfo) - then).total_seconds())
    for most, unit, length in _AGES:
        if seconds < most * length:
            return f"{int(seconds / length)} {unit}"
    return f"{int(seconds / _YEAR)} y"


def number(value: object) -> str:
    """Write a metric or parameter: as given, without a ``.0`` that says nothing."""
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def brief(value: object) -> str:
    """Write a number as ``number`` does; on a terminal with six digits, where that is shorter."""
    whole = number(value)
    if not isinstance(value, float) or width() is None:
        return whole
    return min(f"{value:.6g}", whole, key=len)


def pairs(values: Mapping[str, object], write: Callable[[object], str] = number) -> str:
    """Write ``acc=0.95 loss=0.1``."""
    return " ".join(f"{name}={write(value)}" for name, value in values.items())


def names_of(version: Version) -> str:
    """Write what else a version is called: ``latest, best, prod``."""
    return ", ".join(version.names)


def first(names: Sequence[str], most: int) -> str:
    """Write the first of some names: ``a, b and 3 more``."""
    more = len(names) - most
    return f"{', '.join(names[:most])}{f' and {more:,} more' if more > 0 else ''}"


def path(place: Path) -> str:
    """Write a path as short as it stays true: from here, or from ``~``."""
    full = Path(os.path.abspath(place))
    here = Path.cwd()
    if full == here or here in full.parents:
        return str(full.relative_to(here))
    return home_path(full)


def home_path(place: Path) -> str:
    """Write a path from ``~``, or from the root if it is not the user's."""
    full, home = Path(os.path.abspath(place)), environment.home()
    if home is not None and home in full.parents:
        return f"~/{full.relative_to(home)}"
    return str(full)


def clean(text: str) -> str:
    """Return ``text`` with every character that a terminal would obey made visible."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is no text
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _wrapped(text: str, room: int) -> list[str]:
    """Cut a text at spaces into lines that fit."""
    if cells_of(text) <= room:
        return [text]
    import textwrap

    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
