"""How what mvc returns shows itself at a Python prompt and in a notebook.

Each ``of_…`` returns a card: what it is about, its counts in words, and rows of text.

Public names: ``Card``, ``line``, ``table``, ``version_line``, ``of_version``,
``of_difference``, ``of_status``, ``of_usage``.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mvc.registry.care.usage import Usage
    from mvc.registry.diff import Difference, FactChange, FileChange, TensorChange
    from mvc.registry.folder_status import FolderState
    from mvc.registry.status import Status
    from mvc.registry.version import Version

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
    """Return a table in HTML, without the rows of no line."""
    written = "".join(
        f'<tr><th style="text-align: left; vertical-align: top">{html.escape(name)}</th>'
        f'<td style="text-align: left">{"<br>".join(map(html.escape, lines))}</td></tr>'
        for name, lines in ((card.title, card.counts), *card.rows)
        if lines
    )
    return f"<table>{written}</table>"


def version_line(version: Version) -> str:
    """Return one line, short enough for a list of versions."""
    metrics = "".join(f" {name}={_rounded(value)}" for name, value in version.metrics.items())
    names = ", ".join(version.names)
    return f"<{version.id}{metrics}{f' ({names})' if names else ''}>"


def of_version(version: Version) -> Card:
    """Tell what people ask of a version."""
    names = ", ".join(version.names) or "version"
    return Card(version.id, (names,), tuple(_version_rows(version)))


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
    return Card(f"{found.a} → {found.b}", (said,), _first(rows))


def of_status(found: Status) -> Card:
    """Tell where a registry is, and what the files beside it are."""
    states: dict[str, list[str]] = {}
    for file in found.files:
        version = f" ({file.version})" if file.version else ""
        states.setdefault(file.state, []).append(f"{file.path}{version}")
    counts = [_count(found.families, "family", "families"), _count(found.versions, "version")]
    counts += [f"{_count(len(files), 'file')} {state}" for state, files in states.items()]
    counts += [_count(len(found.folders), "folder")] if found.folders else []
    store = "not there" if found.store is None else f"{found.store}, {found.stored or 0:,} bytes"
    rows = (("store", [store]), ("folders", list(map(_folder, found.folders))), *states.items())
    return Card(str(found.registry), tuple(counts), _first(rows))


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


def _version_rows(version: Version) -> Iterator[tuple[str, list[str]]]:
    artifact = version.artifact
    yield "created", [f"{version.created[:19].replace('T', ' ')} UTC by {version.author}"]
    files = f", {artifact.files:,} files" if artifact.files is not None else ""
    yield artifact.kind, [f"{artifact.name}{files}, {artifact.size:,} bytes, {artifact.format}"]
    if artifact.tensors is not None:
        kinds = ", ".join(artifact.dtypes or {})
        yield "tensors", [f"{artifact.tensors:,}, {artifact.parameters:,} parameters, {kinds}"]
    for name in ("metrics", "params", "lineage", "labels"):
        yield name, _pairs(getattr(version, name))
    yield "message", [version.message] if version.message else []
    yield "bytes", [] if version.present else ["not in the store"]


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} {_text(value)}" for name, value in values.items() if value not in (None, {}, [])
    ]


def _text(value: Any) -> str:
    if isinstance(value, list):  # parents, by their ids alone
        return ", ".join(_text(item["id"] if _has_id(item) else item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _rounded(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _has_id(value: Any) -> bool:
    return isinstance(value, dict) and "id" in value


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _first(rows: Iterable[tuple[str, list[str]]]) -> tuple[tuple[str, list[str]], ...]:
    """Return the rows; of many lines the first."""
    return tuple(
        (name, [*lines[:MOST_LINES], f"and {more:,} more"] if more > 0 else lines)
        for name, lines in rows
        for more in (len(lines) - MOST_LINES,)
    )


def _folder(folder: FolderState) -> str:
    kinds = {"changed": folder.changed, "missing": folder.missing, "new": folder.new}
    files = "".join(f", {len(paths):,} {kind}" for kind, paths in kinds.items() if paths)
    return f"{folder.path} ({folder.state}, {folder.version}{files})"


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
