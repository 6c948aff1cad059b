"""A family: what its records and events add up to.

``latest``, ``best`` and the tags are pure functions of records and events.
``family.yaml`` keeps the answers beside the inode and the time of change of
the two folders; while those hold it is believed, otherwise only what it does
not know yet is read. It may be deleted at any time.

Format: ``docs/formats/family.md``.
Public names: ``Family``, ``Rule``, ``load``, ``readable``, ``with_new``, ``noted``, ``believed``,
``compute``, ``best_of``.
"""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_right
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mvc import fileio, lines
from mvc.compatibility import FORMAT
from mvc.digest import digest_of
from mvc.errors import FormatError, MvcError, UnreadWarning, warn
from mvc.lines import Value
from mvc.registry.directions import direction_of
from mvc.registry.event import BestRule, Event, Policy, Standing, encode, policy_of
from mvc.registry.manifest import Manifest
from mvc.registry.names import folder_of
from mvc.registry.record import Record, finite

FILE_NAME = "family.yaml"
# Folders changed more recently than this may change again unseen, because
# file systems tell time in ticks: their answers are not believed without a look.
SETTLED_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """What ``best`` means; ``source`` says how it came about.

    ``event``: somebody set it. ``known``: taken from the first metric whose
    direction its words tell. ``guessed``: from the first metric, as ``max``.
    """

    metric: str
    mode: str
    source: str

    def better(self, value: float, than: float) -> bool:
        return value > than if self.mode == "max" else value < than


@dataclass(frozen=True, slots=True)
class Family:
    """The state of a family after ``events`` events.

    ``count`` and ``highest`` are of all versions; ``best`` is a number and its
    value under ``rule``; ``keep`` says which versions are kept. ``tags`` maps names as
    first written to numbers; ``plain`` is the size of plain copies of all versions not withdrawn.
    ``last`` are the digests of the highest version's record and of the last
    event, and ``times`` the sum of all files' times where there is git; they
    tell another branch, where the same numbers hold something else. A state is
    not ``whole`` if a record could not be read, or an event is about a version
    that is not here; it is not kept.
    """

    folder: str
    name: str
    count: int = 0
    highest: int = 0
    events: int = 0
    latest: int | None = None
    best: tuple[int, float | int] | None = None
    rule: Rule | None = None
    keep: Policy = field(default=Policy())
    tags: dict[str, int] = field(default_factory=dict)
    withdrawn: frozenset[int] = frozenset()
    plain: int = 0
    last: tuple[str, str] = ("", "")
    times: int = 0
    whole: bool = True

    def tagged(self, tag: str) -> int | None:
        """Return the version that bears a tag, however its case is written."""
        return next((n for name, n in self.tags.items() if name.lower() == tag.lower()), None)

    def numbers(self, manifest: Manifest) -> Iterable[int]:
        """Return all version numbers, ascending; no listing where none is missing."""
        if self.count == self.highest:
            return range(1, self.highest + 1)
        return manifest.numbers(self.folder)

    def live(self, manifest: Manifest) -> list[int]:
        """Return the numbers of the versions that are not withdrawn, ascending."""
        return [number for number in self.numbers(manifest) if number not in self.withdrawn]


def load(manifest: Manifest, name: str) -> Family:
    """Return the state of a family, from ``family.yaml`` as far as it holds.

    Raises:
        NotFound: There is no such family.
        Damaged: An event cannot be read. A record that cannot is warned about
            and passed over.
    """
    folder = manifest.require(name)
    stamps = manifest.stamps(folder)
    known, noted, settled = _read(manifest, folder)
    if known and settled and noted == stamps:
        return known
    checked = time.time_ns()
    numbers, events = manifest.numbers(folder), manifest.event_numbers(folder)
    family = _extend(manifest, known, numbers, events) if known else None
    if family is None:
        family = compute(manifest, folder, numbers, events)
    settled = checked - max(stamps) > SETTLED_NS and stamps == manifest.stamps(folder)
    if family.whole and (not known or family != known or settled):
        _write(manifest, family, stamps, settled)
    return family


def readable(manifest: Manifest) -> Iterator[Family]:
    """Yield the states of all families but those that cannot be read, which a warning names."""
    for folder in manifest.families():
        try:
            yield load(manifest, folder)
        except MvcError as error:
            text = f"family '{folder}' is left out: {error}"
            warn(UnreadWarning(text, error))


def with_new(manifest: Manifest, before: Family | None, name: str, number: int) -> Family:
    """Return the state of a family after a version was made: ``before`` and that one.

    Nothing is listed, so who loads it next looks what else came meanwhile.
    """
    if before is None or not before.whole or not before.count == before.highest == number - 1:
        return load(manifest, name)
    stamps = manifest.stamps(before.folder)
    events = manifest.event_numbers(before.folder)
    family = _extend(manifest, before, range(1, number + 1), events, timed=False)
    if family is None:
        return load(manifest, name)
    _write(manifest, family, stamps, settled=False)
    return family


def noted(manifest: Manifest, name: str) -> Family:
    """Return the state as it was noted last; where there is none, as ``load`` does.

    For whoever has just changed the family, and needs not know what else came meanwhile.
    """
    return _read(manifest, folder_of(name))[0] or load(manifest, name)


def believed(
    manifest: Manifest, folder: str, numbers: list[int], events: list[int]
) -> Family | None:
    """Return what ``load`` would answer without working the family out anew, if anything."""
    known, noted, settled = _read(manifest, folder)
    if known is None or (settled and noted == manifest.stamps(folder)):
        return known
    return _extend(manifest, known, numbers, events)


def compute(manifest: Manifest, folder: str, numbers: list[int], events: list[int]) -> Family:
    """Work a family out from all its records and events."""
    family = Family(folder, folder, len(numbers), max(numbers, default=0))
    here = frozenset(numbers)
    changes = [manifest.event(folder, number) for number in events]
    for event in changes:
        family = _after(family, event)
    found = [(n, record) for n in numbers if (record := _record(manifest, folder, n))]
    family = replace(
        family,
        name=found[0][1].family if found else folder,
        last=_last(manifest, family),
        times=manifest.times(folder, numbers, events),
        whole=len(found) == len(numbers) and not any(_astray(e, here) for e in changes),
    )
    live = [number for number in numbers if number not in family.withdrawn]
    plain = sum(record.artifact.size for n, record in found if n not in family.withdrawn)
    family = replace(family, latest=max(live, default=None), plain=plain)
    rule = family.rule or _rule_from(record for _, record in found)
    if rule is None:
        return family
    return replace(
        family, rule=rule, best=best_of(_values(found, rule.metric), rule, family.withdrawn)
    )


def best_of(
    found: Iterable[tuple[int, object]], rule: Rule, withdrawn: Container[int]
) -> tuple[int, float | int] | None:
    """Return the best version not withdrawn and its value; ties go to the lowest number.

    Args:
        found: Numbers, ascending, and values of the rule's metric.
    """
    best: tuple[int, float | int] | None = None
    for number, given in found:
        value = finite(given)
        if value is None or number in withdrawn:
            continue
        if best is None or rule.better(value, best[1]):
            best = number, value
    return best


def _values(found: Iterable[tuple[int, Record]], metric: str) -> Iterator[tuple[int, object]]:
    for number, record in found:
        yield number, record.metrics.get(metric)


def _extend(
    manifest: Manifest,
    known: Family,
    numbers: Sequence[int],
    events: list[int],
    *,
    timed: bool = True,
) -> Family | None:
    """Add what is new to a known state; ``None`` where only working it out anew is right.

    Args:
        timed: Whether to compare the files' times, which tell what git has put there.
    """
    fresh = numbers[bisect_right(numbers, known.highest) :]
    whole = events == list(range(1, len(events) + 1)) and len(events) >= known.events
    whole = whole and known.count == known.highest == len(numbers) - len(fresh)
    if not whole or known.last != _last(manifest, known):
        return None
    before = numbers[: known.count], events[: known.events]
    if timed and known.times != manifest.times(known.folder, *before):
        return None
    times = known.times + manifest.times(known.folder, fresh, events[known.events :])
    family = known
    for number in events[known.events :]:
        change = manifest.event(known.folder, number)
        if isinstance(change.change, BestRule) or _astray(change, numbers[: known.count]):
            return None
        after = _after(family, change)
        standing = isinstance(change.change, Standing)
        stood = _restood(manifest, family, after) if standing else after
        if stood is None:
            return None
        family = stood
    for number in fresh:
        record = _record(manifest, known.folder, number)
        if record is None:
            return None
        plain = family.plain + record.artifact.size
        family = replace(family, count=family.count + 1, highest=number, latest=number, plain=plain)
        if not record.metrics:
            continue
        if family.rule is None:
            family = replace(family, rule=_rule_from([record]))
        elif family.rule.source == "guessed" and any(map(direction_of, record.metrics)):
            return None
        assert family.rule is not None
        value = finite(record.metrics.get(family.rule.metric))
        if value is not None and (not family.best or family.rule.better(value, family.best[1])):
            family = replace(family, best=(number, value))
    return replace(family, last=_last(manifest, family), times=times)


def _restood(manifest: Manifest, before: Family, after: Family) -> Family | None:
    """Add what follows from withdrawing or restoring; ``None`` if the best one was withdrawn."""
    for number in before.withdrawn ^ after.withdrawn:
        record, back = _record(manifest, after.folder, number), number in before.withdrawn
        if record is None or (after.best and after.best[0] == number):
            return None
        size = record.artifact.size
        after = replace(after, plain=after.plain + (size if back else -size))
        if back and after.rule:
            values = _values([(number, record)], after.rule.metric)
            known = [after.best] if after.best else []
            best = best_of(sorted([*values, *known]), after.rule, ())
            after = replace(after, best=best)
    live = (n for n in range(after.highest, 0, -1) if n not in after.withdrawn)
    return replace(after, latest=next(live, None))


def _last(manifest: Manifest, family: Family) -> tuple[str, str]:
    """Return the digests of the last record and event; empty where there is none to read."""
    record = event = ""
    with contextlib.suppress(MvcError):
        if family.highest:
            record = str(manifest.record(family.folder, family.highest)[1])
    if family.events:
        event = str(digest_of(encode(manifest.event(family.folder, family.events))))
    return record, event


def _astray(event: Event, numbers: Container[int]) -> bool:
    """Say whether an event is about a version that is not here, as after a merge by hand."""
    change = event.change
    return (
        not isinstance(change, (BestRule, Policy))
        and change.record is not None
        and change.version not in numbers
    )


def _after(family: Family, event: Event) -> Family:
    change = event.change
    if isinstance(change, BestRule):
        rule = Rule(change.metric, change.mode, "event")
        return replace(family, events=event.number, rule=rule)
    if isinstance(change, Policy):
        return replace(family, events=event.number, keep=change)
    if isinstance(change, Standing):
        if not change.version:  # of another branch
            return replace(family, events=event.number)
        withdrawn = family.withdrawn | {change.version}
        if change.kind == "restored":
            withdrawn = family.withdrawn - {change.version}
        return replace(family, events=event.number, withdrawn=withdrawn)
    tags = {tag: number for tag, number in family.tags.items() if tag.lower() != change.tag.lower()}
    if change.version is not None:
        shown = next((t for t in family.tags if t.lower() == change.tag.lower()), change.tag)
        tags[shown] = change.version
    return replace(family, events=event.number, tags=dict(sorted(tags.items())))


def _rule_from(found: Iterable[Record]) -> Rule | None:
    guess = None
    for record in found:
        for metric in record.metrics:
            mode = direction_of(metric)
            if mode:
                return Rule(metric, mode, "known")
            guess = guess or Rule(metric, "max", "guessed")
    return guess


def _record(manifest: Manifest, folder: str, number: int) -> Record | None:
    try:
        return manifest.record(folder, number)[0]
    except MvcError as error:
        warn(UnreadWarning(error.message, error))
        return None


def _write(manifest: Manifest, family: Family, stamps: tuple[int, ...], settled: bool) -> None:
    """Keep the answers for the next reader; where that cannot be, nothing is lost."""
    rule, best = family.rule, family.best
    values: dict[str, Value] = {
        "mvc": FORMAT,
        "family": family.name,
        "latest": family.latest and f"v{family.latest}",
        "best": best and f"v{best[0]}",
        "value": best and best[1],
        "rule": None if rule is None else asdict(rule),
        "keep": asdict(family.keep) if family.keep.has_rules else None,
        "tags": {tag: f"v{number}" for tag, number in family.tags.items()},
        "withdrawn": [f"v{number}" for number in sorted(family.withdrawn)],
        "versions": {"count": family.count, "highest": family.highest, "plain": family.plain},
        "events": family.events,
        "last": list(family.last),
        "times": family.times,
        "stamps": list(stamps),
        "settled": settled,
    }
    with contextlib.suppress(OSError, FormatError):
        path = manifest.own_folder(family.folder) / FILE_NAME
        fileio.replace(path, lines.seal(lines.dumps(values)))


def _read(manifest: Manifest, folder: str) -> tuple[Family | None, tuple[int, ...], bool]:
    try:
        path = manifest.family_folder(folder) / FILE_NAME
        values: dict[str, Any] = lines.loads(lines.unseal(fileio.read(path, lines.MAX_SIZE)))
        if values["mvc"] != FORMAT:
            raise FormatError("family.yaml of another format")
        rule, best, value = values["rule"], values["best"], values["value"]
        if type(value) not in ((type(None),) if best is None else (int, float)):
            raise FormatError("family.yaml with a best version and no value, or none of numbers")
        if rule is not None and not all(isinstance(part, str) for part in rule.values()):
            raise FormatError("family.yaml with a rule that is none")
        if folder_of(values["family"]) != folder:
            raise FormatError("family.yaml of another family")
        family = Family(
            folder=folder,
            name=values["family"],
            count=int(values["versions"]["count"]),
            highest=int(values["versions"]["highest"]),
            plain=int(values["versions"]["plain"]),
            events=int(values["events"]),
            last=(str(values["last"][0]), str(values["last"][1])),
            times=int(values["times"]),
            latest=_number(values["latest"]),
            best=None if best is None else (int(best[1:]), value),
            rule=None if rule is None else Rule(**rule),
            keep=Policy() if values["keep"] is None else policy_of(values["keep"]),
            tags={str(tag): int(text[1:]) for tag, text in values["tags"].items()},
            withdrawn=frozenset(int(text[1:]) for text in values["withdrawn"]),
        )
        return family, tuple(values["stamps"]), values["settled"] is True
    except (OSError, MvcError, LookupError, TypeError, ValueError, AttributeError):
        return None, (), False


def _number(text: str | None) -> int | None:
    return int(text[1:]) if text else None
