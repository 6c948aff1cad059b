"""``mvc list``.

Public names: ``list_``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mvc.cli import command, output, tables, versions
from mvc.cli.tables import Column, Value
from mvc.errors import MvcError, UnreadWarning, warn

if TYPE_CHECKING:
    from mvc.registry import ModelRegistry
    from mvc.registry.family import Family
    from mvc.registry.version import Version


@command.command(
    "list",
    usage="[FAMILY] [OPTIONS]",
    examples=[
        ("mvc list", "all families"),
        ("mvc list resnet18", "its newest versions"),
        ("mvc list --where 'acc > 0.9'", "families with such a version"),
        ("mvc list resnet18 --all | cut -f1,4", "ids and metrics of all, for a script"),
    ],
    statuses=versions.OF_MANY,
    paged=True,
    partial=True,
)
@click.argument("family", required=False)
@click.option(
    "--where",
    multiple=True,
    metavar="EXPR",
    help="Only what this is true of; mvc search --help explains it.",
)
@command.limit
@command.as_json
@command.quiet
def list_(
    family: str | None,
    where: tuple[str, ...],
    most: int | None,
    everything: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """List families, or the versions of one.

    Without FAMILY, a line for each family: how many versions it has, which is
    the newest and how old, which the best and by what, what plain copies of
    all would take, and its tags. With FAMILY, a line for each of its versions,
    newest first. Withdrawn versions are left out; mvc log --withdrawn shows
    them. With --where, only the families that have a version of which EXPR is
    true, or only these versions of FAMILY; given several times, all must be true.

    Where a pipe or a file takes the answer it is lines of tab-separated
    columns, with bytes and times (UTC) in full.
    """
    registry = command.open_registry()
    if family is not None:
        name = command.family_name(family)

        def find(limit: int | None) -> list[Version]:
            if not where:
                return registry.log(name, limit=limit)
            return registry.search(where, name=name, limit=limit)

        found = command.limited(find, most, everything)
        nothing = versions.NO_VERSIONS
        if where and not found:
            nothing = versions.nothing_fits(registry, [name])
        versions.answer(found, as_json, quiet, versions.version_table, nothing=nothing)
        return
    families = command.limited(
        lambda limit: registry.families(where=where or None, limit=limit),
        most,
        everything,
        these="first",
    )
    if as_json:
        output.json_result([_family_json(known) for known in families])
    elif quiet:
        for known in families:
            output.result(known.name)
    elif families:
        rows = [Row(known, _newest(registry, known)) for known in families]
        tables.show(rows, PEOPLE, PROGRAMS)
    elif where:
        output.note(versions.nothing_fits(registry, None))
    else:
        output.note("no families yet; mvc add FAMILY PATH registers the first version")


@dataclass(frozen=True, slots=True)
class Row:
    """A family, and when its newest version was made."""

    family: Family
    newest: str | None


def _family_json(family: Family) -> output.Json:
    rule = family.rule
    return {
        "family": family.name,
        "versions": _versions(family),
        "latest": _latest(family),
        "best": _best(family),
        "rule": None if rule is None else {"metric": rule.metric, "mode": rule.mode},
        "tags": {tag: f"v{number}" for tag, number in family.tags.items()},
    }


def _newest(registry: ModelRegistry, family: Family) -> str | None:
    """Return when a family's newest version was made: of its records this one is read."""
    if family.latest is None:
        return None
    try:
        return registry.manifest.record(family.folder, family.latest)[0].created
    except MvcError as error:
        warn(UnreadWarning(error.message, error))
        return None


def _best(family: Family) -> str | None:
    return f"v{family.best[0]}" if family.best else None


def _latest(family: Family) -> str | None:
    return f"v{family.latest}" if family.latest else None


def _versions(family: Family) -> int:
    return family.count - len(family.withdrawn)


def _tags(family: Family) -> list[str]:
    return [f"{tag}=v{number}" for tag, number in family.tags.items()]


def _metric(family: Family) -> str:
    if family.best is None or family.rule is None:
        return ""
    return f"{family.rule.metric}={output.brief(family.best[1])}"


PEOPLE: tuple[Column[Row], ...] = (
    Column("FAMILY", lambda row: row.family.name, style="yellow", elastic=16),
    Column("VERSIONS", lambda row: f"{_versions(row.family):,}", right=True, rank=4),
    Column("LATEST", lambda row: _latest(row.family) or ""),
    Column("BEST", lambda row: _best(row.family) or "", style="green"),
    Column(
        "METRIC",
        lambda row: _metric(row.family),
        style="green",
        elastic=12,
        cut=tables.the_end,
        rank=2,
    ),
    Column("PLAIN", lambda row: output.size(row.family.plain), right=True, rank=5),
    Column("AGE", lambda row: output.age(row.newest), right=True, rank=3),
    Column(
        "TAGS",
        lambda row: ", ".join(_tags(row.family)),
        style="cyan",
        elastic=12,
        cut=tables.what_fits(", "),
        rank=1,
    ),
)
PROGRAMS: dict[str, Callable[[Row], Value]] = {
    "family": lambda row: row.family.name,
    "versions": lambda row: _versions(row.family),
    "latest": lambda row: _latest(row.family),
    "best": lambda row: _best(row.family),
    "metric": lambda row: row.family.rule.metric if row.family.rule else None,
    "value": lambda row: row.family.best[1] if row.family.best else None,
    "plain": lambda row: row.family.plain,
    "created": lambda row: row.newest,
    "tags": lambda row: _tags(row.family),
}
