"""How what is told of many things shows itself at a Python prompt and in a notebook.

Each ``of_…`` returns a card: what it is about, its counts in words, and rows of text.

Public names: ``Card``, ``line``, ``table``, ``of_difference``, ``of_status``, ``of_usage``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mvc.registry.card import rows_as_html

if TYPE_CHECKING:
    from mvc.registry.care.usage import Usage
    from mvc.registry.diff import Difference, FactChange, FileChange, TensorChange
    from mvc.registry.status import Status

MOST_LINES = 50


@dataclass(frozen=True, slots=True)
class Card:
    """``counts`` in words are about ``title``; ``rows`` have a name and lines of text."""

    title: str
    counts: tuple[str, ...]
    rows: tuple[tuple[str, Sequence[str]], ...]


def line(card: Card) -> str:
    """Return one line."""
    return f"<{card.title}: {', '.join(card.counts)}>"


def table(card: Card) -> str:
    """Return a table in HTML; of many lines the first are shown."""
    rows = [(name, _first(lines)) for name, lines in card.rows]
    return rows_as_html([(card.title, card.counts), *rows])


def of_difference(found: Difference) -> Card:
    """Tell how two versions or files differ."""
    differ = [
        _count(len(items), what)
        for items, what in ((found.files, "file"), (found.facts, "fact"), (found.tensors, "tensor"))
        if items
    ]
    said = f"{', '.join(differ)} different" if differ else "the same"
    said += f"; {_count(found.equal, 'tensor')} equal" if found.equal else ""
    groups = dict.fromkeys(fact.group for fact in found.facts)
    facts = [(name, [_fact(f) for f in found.facts if f.group == name]) for name in groups]
    files, tensors = list(map(_file, found.files)), list(map(_tensor, found.tensors))
    rows = (("files", files), *facts, ("tensors", tensors))
    return Card(f"{found.a} → {found.b}", (said,), rows)


def of_status(found: Status) -> Card:
    """Tell where a registry is, and what the files beside it are."""
    states: dict[str, list[str]] = {}
    for file in found.files:
        version = f" ({file.version})" if file.version else ""
        states.setdefault(file.state, []).append(f"{file.path}{version}")
    counts = [_count(found.families, "family", "families"), _count(found.versions, "version")]
    counts += [f"{_count(len(files), 'file')} {state}" for state, files in states.items()]
    store = "not there" if found.store is None else f"{found.store}, {found.stored or 0:,} bytes"
    return Card(str(found.registry), tuple(counts), (("store", [store]), *states.items()))


def of_usage(found: Usage) -> Card:
    """Tell what versions cost on disk."""
    counts = (
        _count(found.versions, "version"),
        f"{found.stored:,} bytes stored",
        f"{found.plain:,} as plain copies",
    )
    others = {"withdrawn": found.withdrawn, "other": found.other, "cache": found.cache}
    families = [
        (f.family, [f"{_count(f.versions, 'version')}, {f.stored:,} bytes, {f.plain:,} as copies"])
        for f in found.families
    ]
    rows = [(name, [f"{size:,} bytes"] if size else []) for name, size in others.items()]
    return Card("usage", counts, (*families, *rows))


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _first(lines: Sequence[str]) -> Sequence[str]:
    more = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], f"and {more:,} more"] if more > 0 else lines


def _file(file: FileChange) -> str:
    return f"{file.change} {_both((file.a, file.b))}"


def _fact(fact: FactChange) -> str:
    a, b = ("none" if side is None else side for side in (fact.a, fact.b))
    return f"{fact.name} {a} → {b}".strip()


def _tensor(tensor: TensorChange) -> str:
    dtypes, shapes = (tensor.dtype_a, tensor.dtype_b), (tensor.shape_a, tensor.shape_b)
    return f"{tensor.name} {tensor.change} {_both(dtypes)} {_both(shapes)}"


def _both(sides: Iterable[object]) -> str:
    return " → ".join(dict.fromkeys(str(side) for side in sides if side is not None))
