"""``mvc search``.

Public names: ``search``.
"""

from __future__ import annotations

import shlex
from functools import partial

import click

from mvc.cli import command, versions
from mvc.errors import UsageError

# What stands in no family's name, but in an expression that lacks its quotes.
_OPERATORS = frozenset("=<>~!()")


@command.command(
    "search",
    usage="EXPR [FAMILY…] [OPTIONS]",
    examples=[
        ("mvc search 'acc > 0.9 and not tag = archived'", "in all families, newest first"),
        ("mvc search 'dataset = imagenet-1k' --sort -acc -n 20", "the best twenty"),
        ("mvc search 'acc >= @best.acc - 0.01' resnet18", "nearly as good as the best"),
        ("mvc search 'size > 1GB and age > 30d'", "large, and made more than 30 days ago"),
        ("mvc search '' --sort loss -q", "all versions, as ids, the lowest loss first"),
    ],
    statuses=versions.OF_MANY,
    paged=True,
    partial=True,
)
@click.argument("expression", metavar="EXPR")
@click.argument("families", metavar="FAMILY", nargs=-1)
@click.option("--sort", metavar="[-]NAME", help="Lowest first by this value; with - highest first.")
@command.limit
@command.as_json
@command.quiet
def search(
    expression: str,
    families: tuple[str, ...],
    sort: str | None,
    most: int | None,
    everything: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find versions by what is known of them.

    EXPR compares values with = != < <= > >= or ~ (a glob), and joins with
    and, or, not and brackets. It stands in quotes, because the shell takes >
    for itself. Names are those of metrics, parameters, lineage, labels and the
    model, or family version tag latest best created age author message size
    digest format kind name dtype tensors parameters parent. @best.acc, @v3.acc
    and @prod.acc are values of other versions of the same family.

    Newest first, if nothing else is asked for; what lacks the value to sort by
    comes last. Withdrawn versions are never found.
    """
    if any(_OPERATORS.intersection(name) for name in families):
        typed = shlex.join(["mvc", "search", " ".join((expression, *families))])
        raise UsageError("EXPR is one word, in quotes", hint=typed)
    registry = command.open_registry()
    names = [command.family_name(name) for name in families] or None
    found = command.limited(
        lambda limit: registry.search(expression, name=names, sort=sort, limit=limit),
        most,
        everything,
        these="newest" if sort is None else "first",
    )
    table = partial(versions.version_table, column="id")
    nothing = "" if found else versions.nothing_fits(registry, names)
    versions.answer(found, as_json, quiet, table, nothing=nothing)
