"""``mvc log``.

Public names: ``log``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mvc.cli import command, output, versions

if TYPE_CHECKING:
    from mvc.registry.version import Version


@command.command(
    "log",
    usage="[FAMILY] [OPTIONS]",
    examples=[
        ("mvc log", "the newest versions of all families"),
        ("mvc log resnet18 -n 5", "the newest five of one"),
        ("mvc log resnet18 --withdrawn", "with those taken out of use"),
    ],
    statuses=versions.NO_FAMILY,
)
@click.argument("family", required=False)
@click.option("--withdrawn", is_flag=True, help="Show withdrawn versions too.")
@command.limit
@command.as_json
@command.quiet
def log(
    family: str | None,
    withdrawn: bool,
    most: int | None,
    everything: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show versions with their story, newest first.

    Per version: when and by whom it was registered, its message, metrics,
    and what it was made from; of one family, or of all.
    """
    registry = command.open_registry()
    name = None if family is None else command.family_name(family)
    found = command.limited(
        lambda n: registry.log(name, limit=n, withdrawn=withdrawn), most, everything
    )
    versions.answer(found, as_json, quiet, _stories)


def _stories(found: Sequence[Version]) -> None:
    for place, version in enumerate(found):
        if place:
            output.result("")
        standing = versions.standing(version)
        called = f"  ({standing})" if standing else ""
        who = f"{output.when(version.created)} UTC  {version.author}"
        output.result(output.clean(f"{version.id}  {who}{called}"))
        told = (version.message or "").split("\n") if version.message else []
        parents = [str(parent.get("id")) for parent in version.lineage.get("parents", [])]
        if version.metrics:
            told.append(output.pairs(version.metrics))
        told.append(f"{version.artifact.name}, {versions.measure(version)}")
        if parents:
            told[-1] += f", from {', '.join(parents)}"
        for text in told:
            output.result(f"    {output.clean(text)}".rstrip())
