"""``mvc keep``.

Public names: ``keep``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mvc.cli import command, output, tables, versions
from mvc.cli.tables import Column, Value
from mvc.errors import UsageError
from mvc.registry.duration import written
from mvc.registry.retention import grace_of, in_words

if TYPE_CHECKING:
    from mvc.registry.event import Policy
    from mvc.registry.retention import Kept

COUNT = click.IntRange(min=1)


@command.command(
    "keep",
    usage="[FAMILY] [OPTIONS]",
    examples=[
        ("mvc keep resnet18 --last 5 --best 3", "keep these, withdraw the others at the next gc"),
        ("mvc keep resnet18 --best 3 --dry-run", "what that would withdraw"),
        (
            "mvc keep run --last 2 --younger 1d --grace 1h --after-add",
            "a disk that does not fill up",
        ),
        ("mvc keep", "every family's policy"),
        ("mvc keep resnet18 --none", "keep all again"),
    ],
    statuses={3: "a record or event cannot be read", 4: "no such family or registry"},
)
@click.argument("family", required=False)
@click.option("--last", type=COUNT, metavar="N", help="Keep the N newest versions.")
@click.option("--best", type=COUNT, metavar="N", help="Keep the N best, by mvc best.")
@click.option("--tagged", is_flag=True, help="Keep those with a tag, as is always done.")
@click.option("--younger", metavar="TIME", help="Keep those made less long ago: 12h, 30d, 4w.")
@click.option(
    "--grace",
    metavar="TIME",
    help="How long the others can be restored once they are withdrawn.  [default: 14d]",
)
@click.option("--after-add", is_flag=True, help="Let mvc add do at once what mvc gc does.")
@click.option("--none", is_flag=True, help="Have no policy: keep all versions.")
@click.option("-n", "--dry-run", is_flag=True, help="Set nothing; only say what it would withdraw.")
@command.as_json
@click.option("-q", "--quiet", is_flag=True, help="Print only ids of versions to be withdrawn.")
def keep(
    family: str | None,
    last: int | None,
    best: int | None,
    tagged: bool,
    younger: str | None,
    grace: str | None,
    after_add: bool,
    none: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say which versions of a family are kept.

    A version is kept if any rule names it. So are the newest, those with a
    tag, those from which a version of another family was made, and those that
    mvc restore took back, until mvc rm. The others are withdrawn by the next
    mvc gc, as if by mvc rm: mvc restore takes each back, until its bytes are
    freed, 14 days later or when --grace has passed. What a policy would
    withdraw now is printed when it is set and when it is shown.

    The rules given replace those set before. A policy is part of the family's
    history, and travels with it through git.
    """
    name = (
        None
        if family is None
        else command.family_name(family, instead="mvc keep FAMILY; for one version: mvc show")
    )
    rules = any((last, best, tagged, younger))
    _check(name, rules=rules, extras=bool(grace or after_add), none=none, dry_run=dry_run)
    registry = command.open_registry()
    found = registry.keep(
        name,
        last=last,
        best=best,
        tagged=tagged,
        younger=younger,
        grace=grace,
        after_add=after_add,
        none=none,
        dry_run=dry_run,
    )
    if as_json:
        output.json_result([_plain(kept) for kept in found])
    elif quiet:
        for going in (going for kept in found for going in kept.withdraws):
            output.result(going.id)
    else:
        _tell(found, name, as_if=dry_run)


def _check(name: str | None, *, rules: bool, extras: bool, none: bool, dry_run: bool) -> None:
    if none and (rules or extras):
        raise UsageError("--none goes with no rule", hint=f"mvc keep {name or 'FAMILY'} --none")
    if extras and not rules:
        raise UsageError(
            "no rule says which versions to keep",
            hint=f"mvc keep {name or 'FAMILY'} --last 5, or --best, --tagged, --younger",
        )
    if dry_run and not (rules or none):
        raise UsageError(
            "--dry-run of what?", hint=f"mvc keep {name or 'FAMILY'} --last 5 --dry-run"
        )
    if name is None and (rules or none):
        raise UsageError("which family's versions?", hint="mvc keep FAMILY --last 5")


def _tell(found: list[Kept], name: str | None, *, as_if: bool) -> None:
    if not found:
        output.note("no family has a policy, so all are kept; mvc keep FAMILY --last 5 sets one")
    elif name is None:
        tables.show(found, PEOPLE, PROGRAMS)
    elif not found[0].policy.has_rules:
        (kept,) = found
        output.note(f"all versions of '{kept.family}' are kept")
    else:
        _tell_one(found[0])
    if as_if:
        output.note("nothing was set; leave out --dry-run to set it")


def _tell_one(kept: Kept) -> None:
    output.facts(
        [
            ("keeps", in_words(kept.policy)),
            ("grace", _grace(kept.policy)),
            ("applied by", _applied(kept.policy)),
        ]
    )
    if kept.withdraws:
        rows = [("withdraw", going.id, output.size(going.bytes)) for going in kept.withdraws]
        output.table(rows, right=[2])
    for parent in kept.parents[: versions.MOST_NOTES]:
        output.note(f"{parent.id} is kept: {versions.made_from(parent.children)} made from it")
    if more := len(kept.parents[versions.MOST_NOTES :]):
        output.note(f"{output.count(more, 'more version')} kept in the same way")
    output.note(f"the next {_applied(kept.policy)} would withdraw {_sum(kept)}")


def _sum(kept: Kept) -> str:
    if not kept.withdraws:
        return "nothing"
    return f"{output.count(len(kept.withdraws), 'version')}, {output.size(_bytes(kept))}"


def _bytes(kept: Kept) -> int | None:
    known = [going.bytes for going in kept.withdraws if going.bytes is not None]
    return sum(known) if len(known) == len(kept.withdraws) else None


def _grace(policy: Policy) -> str:
    return written(_seconds(policy))


def _seconds(policy: Policy) -> int:
    return int(grace_of(policy).total_seconds())


def _applied(policy: Policy) -> str:
    return "mvc gc or mvc add" if policy.after_add else "mvc gc"


def _plain(kept: Kept) -> output.Json:
    policy = {**asdict(kept.policy), "grace": _seconds(kept.policy)}
    return {
        "family": kept.family,
        "keep": policy if kept.policy.has_rules else None,
        "withdraws": [asdict(going) for going in kept.withdraws],
        "parents": [asdict(parent) for parent in kept.parents],
    }


PEOPLE: tuple[Column[Kept], ...] = (
    Column("FAMILY", lambda kept: kept.family, style="yellow", elastic=16),
    Column("KEEPS", lambda kept: in_words(kept.policy), elastic=24),
    Column("GRACE", lambda kept: _grace(kept.policy), right=True, rank=2),
    Column("APPLIED BY", lambda kept: _applied(kept.policy), rank=3),
    Column("WOULD WITHDRAW", _sum, rank=1),
)
PROGRAMS: dict[str, Callable[[Kept], Value]] = {
    "family": lambda kept: kept.family,
    "last": lambda kept: kept.policy.last,
    "best": lambda kept: kept.policy.best,
    "tagged": lambda kept: kept.policy.tagged,
    "younger": lambda kept: kept.policy.younger,
    "grace": lambda kept: _seconds(kept.policy),
    "after_add": lambda kept: kept.policy.after_add,
    "withdraws": lambda kept: len(kept.withdraws),
    "bytes": _bytes,
}
