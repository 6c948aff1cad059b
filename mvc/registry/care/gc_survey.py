"""What is to become of every version and every root, for gc: worked out from the manifest.

Which versions no policy keeps any longer, which are withdrawn and since when,
and which roots belong to nobody here. Whatever cannot be read ends it.

Public names: ``NO_RULE``, ``Release``, ``Withdrawal``, ``Survey``, ``surveyed``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mvc import fileio
from mvc.errors import Damaged
from mvc.registry import family as families
from mvc.registry import reach, retention
from mvc.registry.care.rooted import Root, root_of
from mvc.registry.event import Policy
from mvc.registry.family import Family
from mvc.registry.location.place import Place
from mvc.registry.manifest import Manifest
from mvc.registry.sealed import parse_time, timestamp
from mvc.store import Store
from mvc.store.settings import STAGING

NO_RULE = "no rule of its family keeps it"


@dataclass(frozen=True, slots=True)
class Release:
    """A version withdrawn, or released whose root is still here; ``since`` is the event's time.

    ``grace`` is how long after that it can be restored.
    """

    id: str
    family: str
    number: int
    root: Root
    since: str
    why: str
    grace: timedelta


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """The versions of a family that its policy keeps no longer."""

    name: str
    folder: str
    policy: Policy
    numbers: tuple[int, ...]


@dataclass(slots=True)
class Survey:
    """Every root, by what is to become of it.

    ``releases`` are due, ``later`` not yet; versions of ``withdrawals`` are among
    them. ``grace`` is the usual time; ``graces`` are those that families give, and
    that releases were given.
    """

    grace: timedelta
    releases: list[Release] = field(default_factory=list)
    later: list[Release] = field(default_factory=list)
    orphans: list[Root] = field(default_factory=list)
    others: list[Root] = field(default_factory=list)
    kept: list[Root] = field(default_factory=list)
    withdrawals: list[Withdrawal] = field(default_factory=list)
    graces: list[timedelta] = field(default_factory=list)

    @property
    def least(self) -> timedelta:
        """How long a pack that nobody needs stays."""
        return min([self.grace, *self.graces])


def surveyed(
    place: Place,
    manifest: Manifest,
    store: Store,
    found: list[Root],
    moment: datetime,
    grace: timedelta | None,
    policies: Mapping[str, Policy],
) -> Survey:
    """Look at every version.

    Args:
        grace: How long all must have been withdrawn; if not given, as long as each was given.
        policies: By a family's folder, one to look at instead of its own.

    Raises:
        Damaged: Something cannot be read, or a version has lost its root.
    """
    survey = Survey(retention.GRACE if grace is None else grace)
    survey.others = [root for root in found if root.registry != place.id]
    mine = {root.path.stem: root for root in found if root.registry == place.id}
    # An add under way has a root before it has a version. Its folder, called like the record's
    # id, stays until it has both: so roots were read first, then that is, and versions last.
    staged = set(fileio.list_folder(store.folder / STAGING))
    under_way = {name for name, root in mine.items() if root.record.id in staged}
    elsewhere = {root.path.stem for root in survey.others}
    seen: set[str] = set()
    for folder in manifest.families():
        family = families.load(manifest, folder)
        standings = _how_they_stand(manifest, family, survey, moment, grace, policies.get(folder))
        for number in manifest.numbers(folder):
            record, digest = manifest.record(folder, number)
            seen.add(digest.hex())
            standing = standings.get(number)
            held = mine.get(digest.hex())
            released = standing is not None and standing.kind == "released"
            if held is None and not released:  # it may have come since the roots were read
                held = root_of(store, place.id, digest)
            if held is None:
                rooted = released or digest.hex() in elsewhere  # by whom it was shared through git
                if not rooted and store.find(record.artifact.digest):
                    raise Damaged(
                        f"{family.name}/v{number} has no root in the store",
                        hint="mvc fsck --repair makes it",
                    )
            elif standing is None:
                survey.kept.append(held)
            else:
                release = standing.release(family, number, held)
                due = released or parse_time(standing.since) <= moment - standing.grace
                (survey.releases if due else survey.later).append(release)
    kept = set(survey.kept) | {release.root for release in survey.later}
    survey.releases = [release for release in survey.releases if release.root not in kept]
    survey.graces += [release.grace for release in survey.releases]
    survey.kept += [root for name, root in mine.items() if name in under_way and name not in seen]
    survey.orphans = [r for name, r in mine.items() if name not in seen and name not in under_way]
    return survey


@dataclass(frozen=True, slots=True)
class _Withdrawn:
    """How a version stands that is not in use; one that is to be withdrawn is so by now."""

    kind: str
    since: str
    why: str
    grace: timedelta

    def release(self, family: Family, number: int, root: Root) -> Release:
        identity = f"{family.name}/v{number}"
        return Release(identity, family.folder, number, root, self.since, self.why, self.grace)


def _how_they_stand(
    manifest: Manifest,
    family: Family,
    survey: Survey,
    moment: datetime,
    grace: timedelta | None,
    policy: Policy | None,
) -> dict[int, _Withdrawn]:
    """Return the versions of a family that are not in use, or are not to be."""
    folder = family.folder
    events = manifest.event_numbers(folder)
    missing = set(range(1, max(events, default=0))).difference(events)
    # Of events that come while a large folder is listed it may show the later and not the earlier.
    if missing and missing.difference(manifest.event_numbers(folder)):
        # A withdrawal may have been taken back in it.
        raise Damaged(f"an event of '{family.name}' is missing", hint="mvc fsck names it")
    graces = retention.graces(manifest, folder)
    found = {
        number: _Withdrawn(
            change.kind,
            event.created,
            reach.told(event, change),
            graces.get(number, retention.GRACE) if grace is None else grace,
        )
        for number, (event, change) in reach.standings(manifest, folder).items()
        if change.kind != "restored"
    }
    policy = policy or family.keep
    if not policy.has_rules:
        return found
    own = retention.grace_of(policy) if grace is None else grace
    survey.graces.append(own)
    going = retention.unnamed(manifest, family, policy, moment)
    if going:
        survey.withdrawals.append(Withdrawal(family.name, folder, policy, tuple(going)))
    now = timestamp(moment)
    return found | {n: _Withdrawn("withdrawn", now, NO_RULE, own) for n in going}
