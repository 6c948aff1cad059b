"""Retention: which versions a family's policy keeps, and the withdrawing of the others.

What any rule names is kept; so are the newest version, those with a tag, those that
somebody restored and those from which another family's were made. Withdrawing is the
ordinary event, with the policy as its reason.

What is promised: ``docs/retention.md``.
Public names: ``GRACE``, ``Kept``, ``Going``, ``Parent``, ``sorted_out``, ``unnamed``,
``grace_of``, ``graces``,
``in_words``, ``set_policy``, ``withdraw_steps``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from mvc import fileio
from mvc.errors import StoreWarning, UsageError, warn
from mvc.fileio import Steps
from mvc.registry import changes, descent, reach
from mvc.registry import family as families
from mvc.registry.duration import written
from mvc.registry.event import Change, Policy, Standing
from mvc.registry.family import Family, Rule
from mvc.registry.manifest import Manifest
from mvc.registry.record import finite
from mvc.registry.sealed import timestamp

# How long a version withdrawn can be restored, where its family has no other time.
GRACE = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Going:
    """A version that no rule names, and what giving it up would free, where that can be told."""

    id: str
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Parent:
    """A version that no rule names and that is kept: from it those of other families were made."""

    id: str
    children: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A family's policy, what it would withdraw now, and what only its children keep."""

    family: str
    policy: Policy
    withdraws: tuple[Going, ...]
    parents: tuple[Parent, ...] = ()


def unnamed(manifest: Manifest, family: Family, policy: Policy, moment: datetime) -> list[int]:
    """Return the versions not withdrawn that nothing keeps, ascending. Raises as ``sorted_out``."""
    return sorted_out(manifest, family, policy, moment)[0]


def sorted_out(
    manifest: Manifest, family: Family, policy: Policy, moment: datetime
) -> tuple[list[int], dict[int, tuple[str, ...]]]:
    """Return the versions that nothing keeps, ascending, and those that only children keep.

    None where the policy has no rule, or where nobody can tell which versions are best.

    Raises:
        Damaged: A record or event cannot be read.
    """
    if not policy.has_rules:
        return [], {}
    live = family.live(manifest)
    kept = {*live[-(policy.last or 1) :], *family.tags.values()}
    if policy.best:
        if family.best is None or _is_guessed(family.rule):
            warn(
                f"the policy of '{family.name}' withdraws nothing: {_no_best(family)}", StoreWarning
            )
            return [], {}
        assert family.rule is not None
        kept.update(_best(manifest, family, family.rule, policy.best))
    if policy.younger:
        since = timestamp(moment - timedelta(seconds=policy.younger))
        others = (number for number in live if number not in kept)
        kept.update(n for n in others if manifest.record(family.folder, n)[0].created >= since)
    left = [number for number in live if number not in kept]
    standings = reach.standings(manifest, family.folder) if left else {}
    left = [number for number in left if number not in standings]  # or it was restored
    children = descent.children(manifest, family.folder, left) if left else {}
    return [number for number in left if number not in children], children


def grace_of(policy: Policy) -> timedelta:
    """Return how long a version withdrawn under a policy can be restored."""
    return GRACE if policy.grace is None else timedelta(seconds=policy.grace)


def graces(manifest: Manifest, folder: str) -> dict[int, timedelta]:
    """Return for each version withdrawn the time that its family gave when that was done.

    So a policy set later shortens no time that somebody was promised.
    """
    grace, found = GRACE, {}
    for number in manifest.event_numbers(folder):
        change = manifest.event(folder, number).change
        if isinstance(change, Policy):
            grace = grace_of(change)
        elif isinstance(change, Standing) and change.kind == "withdrawn":
            found[change.version] = grace
    return found


def in_words(policy: Policy) -> str:
    """Write the rules of a policy: ``last 5, best 3, tagged, younger than 30d``."""
    said = [
        f"last {policy.last}" if policy.last else "",
        f"best {policy.best}" if policy.best else "",
        "tagged" if policy.tagged else "",
        f"younger than {written(policy.younger)}" if policy.younger else "",
    ]
    return ", ".join(filter(None, said))


def set_policy(manifest: Manifest, name: str, policy: Policy) -> None:
    """Set which versions of a family are kept; one without rules keeps all."""

    def decide() -> Change | None:
        return None if families.load(manifest, name).keep == policy else policy

    fileio.run(changes.record_change(manifest, name, decide))


def check(family: Family, policy: Policy) -> None:
    """Refuse a policy that could not be applied.

    Raises:
        UsageError: ``best`` is a rule, and nobody can tell what is best.
    """
    if policy.best and (family.rule is None or _is_guessed(family.rule)):
        metric = family.rule.metric if family.rule else "METRIC"
        raise UsageError(
            f"best by what? {_no_best(family)}",
            hint=f"mvc best {family.name} {metric} --max, or --min",
        )


def withdraw_steps(
    manifest: Manifest, folder: str, policy: Policy, numbers: Iterable[int]
) -> Steps[None]:
    """Withdraw versions, each only while the policy stands and nothing keeps it.

    Each is one event, its commit point. Whoever tags, restores or withdraws one
    meanwhile, or sets another policy, comes first; then it is decided anew.
    """
    message = f"mvc keep: {in_words(policy)}"
    decided_at = -1  # how many events there were when it was decided, ours included
    named: list[int] = []
    for number in numbers:
        standing = Standing("withdrawn", number, manifest.record(folder, number)[1])

        def decide(standing: Standing = standing) -> Change | None:
            nonlocal named, decided_at
            family = families.load(manifest, folder)
            if family.events != decided_at:
                stands = family.keep == policy
                moment = datetime.now(timezone.utc)
                named = unnamed(manifest, family, policy, moment) if stands else []
                decided_at = family.events
            return standing if standing.version in named else None

        event = yield from changes.record_change(manifest, folder, decide, message)
        if event is not None:
            decided_at = event.number


def _best(manifest: Manifest, family: Family, rule: Rule, count: int) -> list[int]:
    """Return the versions with the best finite values; of equal ones, the lowest numbers."""
    found = []
    for number in family.live(manifest):
        value = finite(manifest.record(family.folder, number)[0].metrics.get(rule.metric))
        if value is not None:
            found.append((value if rule.mode == "min" else -value, number))
    return [number for _, number in sorted(found)[:count]]


def _is_guessed(rule: Rule | None) -> bool:
    return rule is not None and rule.source == "guessed"


def _no_best(family: Family) -> str:
    if family.rule is None:
        return f"no version of '{family.name}' has a metric"
    if _is_guessed(family.rule):
        return f"is a higher or a lower '{family.rule.metric}' better?"
    return f"no version has a finite '{family.rule.metric}'"
