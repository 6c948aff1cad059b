"""``mvc list``.

Public names: ``list_``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mvc.cli import command, output, versions

if TYPE_CHECKING:
    from mvc.registry.family import Family
    from mvc.registry.version import Version


@command.command(
    "list",
    usage="[FAMILY] [OPTIONS]",
    examples=[
        ("mvc list", "all families"),
        ("mvc list resnet18", "its newest versions"),
        ("mvc list --where 'acc > 0.9'", "families with such a version"),
        ("mvc list resnet18 --json --all", "all of them, for a script"),
    ],
    statuses=versions.NO_FAMILY,
)
@click.argument("family", required=False)
@click.option(
    "--where", metavar="EXPR", help="Only what this is true of; mvc search --help explains it."
)
@command.limit
@command.as_json
@command.quiet
def list_(
    family: str | None,
    where: str | None,
    most: int | None,
    everything: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """List families, or the versions of one.

    Without FAMILY, a line for each family: how many versions it has, which
    is the newest, which the best and by what, and its tags. With FAMILY, a
    line for each of its versions, newest first. Withdrawn versions are left
    out; mvc log --withdrawn shows them. With --where, only the families that
    have a version of which EXPR is true, or only these versions of FAMILY.
    """
    registry = command.open_registry()
    if family is not None:
        name = command.family_name(family)

        def find(limit: int | None) -> list[Version]:
            if where is None:
                return registry.log(name, limit=limit)
            return registry.search(where, name=name, limit=limit)

        nothing = versions.NO_VERSIONS if where is None else versions.NOTHING_FITS
        found = command.limited(find, most, everything)
        versions.answer(found, as_json, quiet, versions.version_table, nothing=nothing)
        return
    families = command.limited(
        lambda limit: registry.families(where=where, limit=limit), most, everything, these="first"
    )
    if as_json:
        output.json_result([_family_json(known) for known in families])
    elif quiet:
        for known in families:
            output.result(known.name)
    elif families:
        _family_table(families)
    elif where is not None:
        output.note(versions.NOTHING_FITS)
    else:
        output.note("no families yet; mvc add FAMILY PATH registers the first version")


def _family_json(family: Family) -> output.Json:
    rule = family.rule
    return {
        "family": family.name,
        "versions": family.count - len(family.withdrawn),
        "latest": None if family.latest is None else f"v{family.latest}",
        "best": None if family.best is None else f"v{family.best[0]}",
        "rule": None if rule is None else {"metric": rule.metric, "mode": rule.mode},
        "tags": {tag: f"v{number}" for tag, number in family.tags.items()},
    }


def _family_table(families: Sequence[Family]) -> None:
    rows = [("FAMILY", "VERSIONS", "LATEST", "BEST", "TAGS")]
    for family in families:
        best = ""
        if family.best is not None and family.rule is not None:
            value = output.number(family.best[1])
            best = f"v{family.best[0]}  {family.rule.metric}={value}"
        rows.append(
            (
                family.name,
                f"{family.count - len(family.withdrawn):,}",
                f"v{family.latest}" if family.latest else "",
                best,
                ", ".join(f"{tag}=v{number}" for tag, number in family.tags.items()),
            )
        )
    output.table(rows, right=[1])
