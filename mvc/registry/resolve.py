"""From a ref to a version.

Public names: ``resolve``, ``version_of``, ``versions_of``, ``checked``, ``log``,
``check_known``, ``with_tag``.
"""

from __future__ import annotations

import contextlib
import heapq
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from mvc.digest import PREFIX
from mvc.errors import MvcError, NotFound, StoreWarning, UnreadWarning, UsageError, warn
from mvc.registry import family as families
from mvc.registry import reach, refs, tags
from mvc.registry.directions import direction_of
from mvc.registry.family import Family, Rule
from mvc.registry.location.presence import Presence
from mvc.registry.manifest import Manifest
from mvc.registry.names import near
from mvc.registry.record import DIRECTORY, Record
from mvc.registry.refs import AnyRef, Ref
from mvc.registry.version import Version, view

if TYPE_CHECKING:
    from mvc.registry.search.columns import Columns


# What others call it.
_OTHER_WORDS = {
    **dict.fromkeys(("last", "newest", "new", "current", "head", "tip", "main"), "latest"),
    **dict.fromkeys(("top", "winner", "optimal"), "best"),
}

# Of families with a tag of one name, so many are named.
MOST_NAMED = 3

# Several versions, as somebody may write them.
_RANGE = re.compile(r"v?[0-9]+(\.\.|-)v?[0-9]+", re.IGNORECASE)


def resolve(
    manifest: Manifest, meant: AnyRef, *, withdrawn: bool = False, whole: bool = False
) -> tuple[Family, int]:
    """Return the family and the number that a ref means.

    Args:
        withdrawn: Whether a withdrawn version may be named.
        whole: Whether one file of a directory is not enough.

    Raises:
        UsageError: It is not a ref, or a digest prefix fits several versions;
            or it names one file, and ``whole`` is asked for.
        NotFound: There is no such family or version; the hint names those like it.
    """
    ref = refs.parse(meant)
    try:
        family = families.load(manifest, ref.family)
    except NotFound as error:
        raise _explained(manifest, error, ref) from None
    number = _select(manifest, family, ref)
    if number in family.withdrawn and not withdrawn:
        raise _withdrawn(manifest, family, number)
    number = _back(manifest, family, number, ref)
    record, _ = manifest.record(family.folder, number)
    file = record.artifact.kind != DIRECTORY  # what a directory has, its tree says
    if file and ref.path is not None and ref.path != record.artifact.name:
        raise _no_path(manifest, family, number, ref, record)
    if whole and not file and ref.path is not None:
        raise UsageError(
            f"'{ref.text}' names one file, but a whole version is needed",
            hint=f"leave the file out: {family.name}@v{number}",
        )
    return family, number


def version_of(manifest: Manifest, presence: Presence, family: Family, number: int) -> Version:
    """Return a version as it stands."""
    (version,) = versions_of(manifest, presence, [(family, number, False)])
    return version


def versions_of(
    manifest: Manifest, presence: Presence, chosen: Iterable[tuple[Family, int, bool]]
) -> list[Version]:
    """Return versions as they stand, each by family, number, and whether it is released.

    Only a log shows what is released. Their bytes are looked for at once.
    """
    known = [
        (family, number, manifest.record(family.folder, number)[0], released)
        for family, number, released in chosen
    ]
    present = presence.present(record.artifact for _, _, record, _ in known)
    return [
        Version(**view(family, number, record, there, released=released))
        for (family, number, record, released), there in zip(known, present, strict=True)
    ]


def checked(presence: Presence, version: Version) -> Version:
    """Warn if the store does not hold all that the version needs."""
    try:
        lacking = presence.lacking(version.artifact)
    except MvcError:  # the store is away, which was warned about
        return version
    if not lacking:
        return version
    warn(f"{version.id} cannot be checked out: {lacking[0]}; mvc fsck says more", StoreWarning)
    return Version(**{**vars(version), "present": False})


def log(
    manifest: Manifest, presence: Presence, name: str | None, limit: int | None, withdrawn: bool
) -> list[Version]:
    """Return versions in use, or those out of use, newest first.

    A record or family that cannot be read is warned about and left out.
    """
    every = families.readable(manifest) if name is None else [families.load(manifest, name)]
    newest = [_newest(manifest, family, withdrawn) for family in every]
    # A family is asked for its next version when the one before it is taken.
    found = heapq.merge(*newest, key=lambda item: (item[0], item[1].folder, item[2]), reverse=True)
    return versions_of(manifest, presence, (item[1:] for item in islice(found, limit)))


def _newest(
    manifest: Manifest, family: Family, withdrawn: bool
) -> Iterator[tuple[str, Family, int, bool]]:
    """Yield when versions were made, and which: family, number, and whether it is released."""
    gone: set[int] = set()
    if withdrawn and family.withdrawn:
        with contextlib.suppress(MvcError):  # an event that cannot be read hides no version
            gone = reach.released(manifest, family)
    for number in reversed(sorted(family.withdrawn) if withdrawn else family.live(manifest)):
        try:
            created = manifest.record(family.folder, number)[0].created
            yield created, family, number, number in gone
        except MvcError as error:
            warn(UnreadWarning(error.message, error))


def _select(manifest: Manifest, family: Family, ref: Ref) -> int:
    if ref.number is not None:
        manifest.record(family.folder, ref.number)
        return ref.number
    if ref.best and family.latest is not None:
        return _best(manifest, family, ref)
    if ref.digest is not None:
        return _by_digest(manifest, family, ref.digest)
    if ref.tag is not None:
        return _by_tag(manifest, family, ref.tag, ref.when)
    if family.latest is None:
        raise NotFound(
            f"every version of '{family.name}' is withdrawn",
            hint=f"mvc log {family.name} --withdrawn lists them, mvc restore takes one back",
        )
    return family.latest


def _best(manifest: Manifest, family: Family, ref: Ref) -> int:
    rule = family.rule
    if ref.metric is not None and (rule is None or rule.metric != ref.metric):
        rule = Rule(ref.metric, direction_of(ref.metric) or "max", "guessed")
    if rule is None:
        raise NotFound(
            f"no version of '{family.name}' has a metric",
            hint=f"mvc add {family.name} PATH -m acc=0.95 gives one",
        )
    if rule == family.rule:
        best = family.best
    else:
        with _columns(manifest, family) as facts:
            values = facts.column(family, f"metrics.{rule.metric}")
        found = ((number, of_it[0]) for number, of_it in values.items())
        best = families.best_of(found, rule, family.withdrawn)
    if best is None:
        raise NotFound(
            f"no version of '{family.name}' has a finite '{rule.metric}'",
            hint=near(rule.metric, _metrics(manifest, family) - {rule.metric})
            or f"mvc best {family.name} METRIC chooses another",
        )
    return best[0]


def _by_digest(manifest: Manifest, family: Family, prefix: str) -> int:
    found: dict[str, int] = {}
    with _columns(manifest, family) as facts:
        digests = facts.column(family, "artifact.digest", PREFIX + prefix)
    for number, (digest,) in digests.items():
        found.setdefault(str(digest), number)
    if len(found) > 1:
        shown = len(PREFIX) + 16
        candidates = ", ".join(f"v{n} {digest[:shown]}" for digest, n in found.items())
        raise UsageError(f"'{PREFIX}{prefix}' fits several versions", hint=candidates)
    if not found:
        raise NotFound(
            f"no version of '{family.name}' has digest {PREFIX}{prefix[:12]}",
            hint=f"mvc log {family.name} lists what it has",
        )
    return next(iter(found.values()))


def _by_tag(manifest: Manifest, family: Family, tag: str, when: str | None) -> int:
    number = family.tagged(tag)
    if when is not None:
        moves = tags.moves_of(manifest, family.folder, tag)
        number = tags.before(moves, when, f"{family.name}@{tag}") if moves else None
    if number is None:
        newest = family.latest or family.highest
        raise NotFound(
            f"'{family.name}' has no tag '{tag}'" + (f" at '{when}'" if when else ""),
            hint=_meant(family, tag) or f"mvc tag {family.name}@v{newest} {tag} sets it",
        )
    return number


def _meant(family: Family, tag: str) -> str | None:
    head, meant = f"{family.name}@", _OTHER_WORDS.get(tag.lower())
    if _RANGE.fullmatch(tag):
        return (
            f"a ref is one version: {head}v1; where several are taken, as by mvc rm, each is a word"
        )
    if meant is not None:
        return f"did you mean '{head}{meant}'?"
    return near(tag, [*family.tags, "latest", "best"], head)


def _back(manifest: Manifest, family: Family, number: int, ref: Ref) -> int:
    if not ref.back:
        return number
    earlier = [n for n in family.live(manifest) if n < number]
    if ref.back > len(earlier):
        raise NotFound(
            f"there are no {ref.back} versions before {family.name}/v{number}, only {len(earlier)}",
            hint=f"mvc log {family.name} lists them",
        )
    return earlier[-ref.back]


def _metrics(manifest: Manifest, family: Family) -> set[str]:
    with _columns(manifest, family) as facts:
        named = [name.partition(".") for name in facts.names()]
    return {metric for group, _, metric in named if group == "metrics"}


def check_known(manifest: Manifest, family: Family, metric: str) -> None:
    """Raise ``NotFound`` if all versions with metrics have others: it is likely mistyped.

    Before there are any, it is one to come.
    """
    known = _metrics(manifest, family)
    if known and metric not in known:
        first = f"mvc add {family.name} PATH -m {metric}=NUMBER"
        raise NotFound(
            f"no version of '{family.name}' has a metric '{metric}'",
            hint=near(metric, known) or f"if it is yet to come, give it first: {first}",
        )


def with_tag(manifest: Manifest, tag: str) -> str | None:
    """Return a hint with the families that have a tag of this name, or ``None``."""
    found = []
    for folder in manifest.families():
        with contextlib.suppress(MvcError):
            family = families.load(manifest, folder)
            if (number := family.tagged(tag)) is not None and number not in family.withdrawn:
                found.append(f"'{family.name}@{tag}'")
    return f"did you mean {' or '.join(found[:MOST_NAMED])}?" if found else None


def _columns(manifest: Manifest, family: Family) -> contextlib.closing[Columns]:
    from mvc.registry.search import columns  # few refs need it, and it brings a lot

    return columns.opened(manifest, [family])


def _withdrawn(manifest: Manifest, family: Family, number: int) -> NotFound:
    event, change = reach.standings(manifest, family.folder)[number]
    hint = f"mvc restore {family.name}@v{number} takes it back"
    if change.kind == "released":
        told = f"mvc log {family.name} --withdrawn tells what it was"
        hint = f"its bytes were given up; {told}; the file added again becomes a new version"
    return NotFound(f"{family.name}/v{number} was {reach.told(event, change)}", hint=hint)


def _explained(manifest: Manifest, error: NotFound, ref: Ref) -> NotFound:
    if meant := None if ref.explicit else with_tag(manifest, ref.family):
        return NotFound(error.message, hint=meant)
    if ref.path is not None and not ref.explicit:
        hint = f"a tag is written family@word: {ref.family}@{ref.path}"
        return NotFound(error.message, hint=error.hint or hint)
    return error


def _no_path(manifest: Manifest, family: Family, number: int, ref: Ref, record: Record) -> NotFound:
    hint = f"{family.name}/v{number} holds one file, '{record.artifact.name}'"
    if not ref.explicit and ref.path is not None:
        hint = f"a tag is written family@word: {family.name}@{ref.path}"
    return NotFound(f"no file '{ref.path}' in {family.name}/v{number}", hint=hint)
