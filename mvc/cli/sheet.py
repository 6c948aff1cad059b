"""What a terminal shows of one version, in groups, and how it stands beside others.

Beside each metric stands by how much it differs from the first parent and
from the best version, which are two more records to read; beside each tag
since when it stands there, for which events are read from the newest on.

Public names: ``show``, ``show_version``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from mvc.cli import output, versions
from mvc.registry import tags
from mvc.registry.directions import direction_of

if TYPE_CHECKING:
    from mvc.registry import ModelRegistry
    from mvc.registry.family import Family
    from mvc.registry.version import Version

# A text, or what rich draws.
Shown: TypeAlias = Any

# What stands together; what is named in no group stands with the origin.
GROUPS = (
    ("created", "message"),
    ("file", "directory", "digest", "weights", "tensors", "loading", "model"),
    ("metrics",),
    ("params",),
    (
        "lineage",
        "imported",
        "made from",
        "parents",
        "children",
        "same bytes",
        "same weights",
        "code",
        "labels",
    ),
    ("tags", "get it back"),
)
ORIGIN = 4
NAME_WIDTH = 12


def show_version(
    registry: ModelRegistry, version: Version, rows: Sequence[tuple[str, str]]
) -> None:
    """Print on a terminal what is known of a version; ``rows`` is what is told elsewhere."""
    output.result(output.styled(version.id, "yellow") + versions.called(version))
    family = registry.family(version.family)
    told: dict[str, Shown] = dict(rows)
    told["created"] = f"{told['created']}, {output.age(version.created)} ago"
    if version.metrics:
        told["metrics"] = _columns(_metrics(registry, family, version))
    told["tags"] = "\n".join(_tags(registry, family, version))
    told["get it back"] = f"mvc checkout {version.family}@{version.version}"
    groups: list[list[tuple[str, Shown]]] = [[] for _ in GROUPS]
    for name, value in told.items():
        place = next((at for at, names in enumerate(GROUPS) if name in names), ORIGIN)
        groups[place].append((name, value))
    show(groups)


def show(groups: Sequence[Sequence[tuple[str, Shown]]]) -> None:
    """Print names and values on a terminal, an empty line between groups."""
    from rich.table import Table
    from rich.text import Text

    sheet = Table.grid(padding=(0, 1, 0, 0))  # a digest fits into 80 columns so
    sheet.add_column(style="bold", min_width=NAME_WIDTH, no_wrap=True)
    sheet.add_column(overflow="fold")
    for place, group in enumerate([row for row in group if row[1]] for group in groups):
        if place and group:
            sheet.add_row("", "")
        for name, value in group:
            if isinstance(value, str):
                lines = map(output.clean, value.split("\n"))
                sheet.add_row(name, Text("\n".join(lines)))
            else:
                sheet.add_row(name, value)
    output.draw(sheet)


def _metrics(
    registry: ModelRegistry, family: Family, version: Version
) -> Iterator[list[tuple[str, str]]]:
    """Yield for each metric its name, value and differences, each with a colour."""
    beside = list(_beside(registry, family, version))
    for name, value in version.metrics.items():
        line = [(name, ""), (output.number(value), "")]
        if version.best and family.rule is not None and family.rule.metric == name:
            line.append(("the best", "green"))
        for whom, metrics in beside:
            difference = _difference(value, metrics.get(name))
            if difference is not None:
                text = f"{difference:+.4g} on {whom}" if difference else f"as {whom}"
                line.append((text, _colour(name, difference)))
        yield line


def _beside(
    registry: ModelRegistry, family: Family, version: Version
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield whom to compare with, as far as they are here: the first parent, and the best."""
    best = family.best and f"{family.name}/v{family.best[0]}"
    for parent in versions.parents_of(version)[:1]:
        record, _ = versions.look_up(registry, parent)
        if record is not None:
            called = f"{parent.id}, the best" if parent.id == best else parent.id
            yield called, record.metrics
            if parent.id == best:
                return
    if best is not None and not version.best:
        record, _ = versions.look_up(registry, versions.Parent(best, None))
        if record is not None:
            yield f"{best}, the best", record.metrics


def _difference(value: object, other: object) -> float | None:
    if not isinstance(value, (int, float)) or not isinstance(other, (int, float)):
        return None
    with contextlib.suppress(OverflowError):  # an integer beyond any float
        return float(value) - float(other)
    return None


def _colour(metric: str, difference: float) -> str:
    better = {"max": difference > 0, "min": difference < 0}.get(direction_of(metric) or "")
    return "" if better is None or not difference else "green" if better else "red"


def _columns(lines: Iterable[list[tuple[str, str]]]) -> Shown:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    for line in lines:
        table.add_row(*(Text(output.clean(text), style=colour) for text, colour in line))
    return table


def _tags(registry: ModelRegistry, family: Family, version: Version) -> Iterator[str]:
    """Yield each tag of a version, since when it stands there, and who set it."""
    moves = tags.last_moves(registry.manifest, family, version.tags)
    width = max(map(output.cells_of, version.tags), default=0)
    for tag in version.tags:
        move = moves.get(tag.lower())
        since = f"  since {output.when(move.created)[:10]} by {move.author}" if move else ""
        yield f"{tag:<{width}}{since}".rstrip()
