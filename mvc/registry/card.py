"""How a version shows itself at a Python prompt and in a notebook.

Public names: ``line``, ``table``, ``rows_as_html``.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mvc.registry.version import Version


def line(version: Version) -> str:
    """Return one line, short enough for a list of versions."""
    metrics = "".join(f" {name}={_rounded(value)}" for name, value in version.metrics.items())
    names = ", ".join(version.names)
    return f"<{version.id}{metrics}{f' ({names})' if names else ''}>"


def table(version: Version) -> str:
    """Return what people ask of a version, as a table in HTML."""
    return rows_as_html(_rows(version))


def rows_as_html(rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return a table in HTML with a name and lines of text in each row; rows of no line not."""
    written = "".join(
        f'<tr><th style="text-align: left; vertical-align: top">{html.escape(name)}</th>'
        f'<td style="text-align: left">{"<br>".join(map(html.escape, lines))}</td></tr>'
        for name, lines in rows
        if lines
    )
    return f"<table>{written}</table>"


def _rows(version: Version) -> Iterator[tuple[str, list[str]]]:
    artifact = version.artifact
    yield version.id, [", ".join(version.names) or "version"]
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
