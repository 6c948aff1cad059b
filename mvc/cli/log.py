"""``mvc log``.

Public names: ``log``, ``course``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from mvc.cli import command, output, versions
from mvc.errors import MvcError, UsageError

if TYPE_CHECKING:
    from mvc.cli.graph import Node
    from mvc.registry import ModelRegistry
    from mvc.registry.version import Version

BARS, ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-~=+*#"


@command.command(
    "log",
    usage="[FAMILY] [OPTIONS]",
    examples=[
        ("mvc log", "the newest versions of all families"),
        ("mvc log resnet18 -n 5", "the newest five of one"),
        ("mvc log --graph", "with lines to what they were made from"),
        ("mvc log resnet18 --withdrawn", "those taken out of use"),
    ],
    statuses=versions.OF_MANY,
    paged=True,
    partial=True,
)
@click.argument("family", required=False)
@click.option("--graph", is_flag=True, help="Draw what was made from what.")
@click.option("--withdrawn", is_flag=True, help="Show what is out of use instead.")
@command.limit
@command.as_json
@command.quiet
def log(
    family: str | None,
    graph: bool,
    withdrawn: bool,
    most: int | None,
    everything: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show versions with their story, newest first.

    Per version: when and by whom it was registered, its message, metrics,
    labels, and what it was made from; of one family, or of all. On a terminal each
    family begins with how its best metric went, from the oldest version
    shown to the newest.

    With --graph lines lead from each version, *, down to its parents, of
    whatever family; a parent that is not among the versions shown is an o.
    """
    if graph and as_json:
        raise UsageError("--json and --graph are two ways to answer", hint="choose one")
    registry = command.open_registry()
    name = None if family is None else command.family_name(family)
    found = command.limited(
        lambda n: registry.log(name, limit=n, withdrawn=withdrawn), most, everything
    )

    def tell(found: Sequence[Version]) -> None:
        lines = _graph(registry, found) if graph else _stories(registry, found)
        if output.width() is not None:
            _tell_courses(registry, found)
        for line in lines:
            output.result(line)

    nothing = versions.NONE_WITHDRAWN if withdrawn else versions.NO_VERSIONS
    versions.answer(found, as_json, quiet, tell, nothing=nothing)


def _stories(registry: ModelRegistry, found: Sequence[Version]) -> Iterator[str]:
    standings = _standings(registry, found)
    for place, version in enumerate(found):
        if place:
            yield ""
        first, *more = _story(version, standings)
        yield first
        yield from (f"    {text}".rstrip() for text in more)


def _standings(registry: ModelRegistry, found: Sequence[Version]) -> dict[str, str]:
    """Say in words since when, by whom and why versions are out of use."""
    from mvc.registry import reach

    said = {}
    for name in {version.family for version in found if version.withdrawn}:
        with contextlib.suppress(MvcError):  # an event that cannot be read hides no version
            known = reach.standings(registry.manifest, name).items()
            said.update({f"{name}/v{number}": reach.told(*last) for number, last in known})
    return said


def _story(version: Version, standings: Mapping[str, str]) -> list[str]:
    who = output.clean(f"{output.when(version.created)} UTC  {version.author}")
    told = (version.message or "").split("\n") if version.message else []
    if version.metrics:
        told.append(output.pairs(version.metrics, output.brief))
    if version.labels:
        told.append(output.pairs(version.labels))
    made_from = ", ".join(parent.id for parent in versions.parents_of(version))
    held = f"{version.artifact.name}, {versions.measure(version)}"
    told.append(f"{held}, from {made_from}" if made_from else held)
    if version.withdrawn and version.id in standings:
        told.append(standings[version.id])
    identity = output.styled(version.id, "yellow")
    return [f"{identity}  {who}{versions.called(version)}", *map(output.clean, told)]


def _tell_courses(registry: ModelRegistry, found: Sequence[Version]) -> None:
    """Print for each family how its best metric went over the versions found."""
    by_family: dict[str, list[Version]] = {}
    for version in found:
        by_family.setdefault(version.family, []).append(version)
    lines = []
    for name, of_it in by_family.items():
        rule = registry.family(name).rule
        if rule is not None:
            live = (version for version in reversed(of_it) if not version.withdrawn)
            lines.append(course(name, rule.metric, (v.metrics.get(rule.metric) for v in live)))
    for line in filter(None, lines):
        output.result(line)
    if any(lines):
        output.result("")


def course(family: str, metric: str, given: Iterable[object]) -> str:
    """Draw values, the oldest first, as far as there is room; nothing of fewer than two."""
    values: list[float] = []
    for value in given:
        with contextlib.suppress(OverflowError):  # an integer beyond any float
            if isinstance(value, (int, float)):
                values.append(float(value))
    beside = output.clean(f"{family}  {metric} ")
    room = (
        (output.width() or output.USUAL_WIDTH) - output.cells_of(beside) - len("  -1.234e-05" * 2)
    )
    values = values[-max(room, 2) :]
    if len(values) < 2:
        return ""
    bars = BARS if output.speaks_unicode() else ASCII_BARS
    low, high = min(values) / 2, max(values) / 2  # halves, whose difference is always finite
    last = len(bars) - 1
    drawn = "".join(
        bars[int((v / 2 - low) / (high - low) * last) if high > low else last // 2] for v in values
    )
    arrow = "→" if output.speaks_unicode() else "->"
    return f"{beside}{drawn} {values[0]:.4g} {arrow} {values[-1]:.4g}"


def _graph(registry: ModelRegistry, found: Sequence[Version]) -> Iterator[str]:
    from mvc.cli.graph import drawn

    return drawn([*_nodes(registry, found)])


def _nodes(registry: ModelRegistry, found: Sequence[Version]) -> Iterator[Node]:
    """Yield the versions found, and those that they name as parents besides.

    A parent is known by the digest of its record, because where branches of
    git met it may bear another number than when it was named.
    """
    from mvc.cli.graph import MOST_PARENTS, Node

    keys = {v.id: str(registry.manifest.record(v.family, v.number)[1]) for v in found}
    shown = frozenset(keys.values())
    standings = _standings(registry, found)
    others: dict[str, versions.Parent] = {}
    for version in found:
        parents = []
        for parent in versions.parents_of(version)[:MOST_PARENTS]:
            key = parent.record or keys.get(parent.id, parent.id)
            if key not in shown:
                key = f"{parent.id} {key}"
                others[key] = parent
            parents.append(key)
        yield Node(keys[version.id], tuple(parents), (*_story(version, standings), ""))
    for key, parent in others.items():
        _, why = versions.look_up(registry, parent)
        told = output.styled(output.clean(parent.id), "yellow")
        yield Node(key, (), (f"{told}  ({why})" if why else told, ""), mark="o")
