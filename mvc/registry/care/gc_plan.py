"""What gc will do: worked out from what there is, changing nothing.

Which versions no policy keeps, which were withdrawn long enough ago, which roots
belong to nobody here, what would become free, and in which packs it lies. Whatever cannot be
read or understood ends it: what nobody understands may be what somebody needs.

Public names: ``Item``, ``Plan``, ``plan``, ``note_live``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import chain
from pathlib import Path
from typing import Any

from mvc import fileio, lines
from mvc.compatibility import FORMAT
from mvc.digest import Digest
from mvc.errors import MvcError
from mvc.registry.care.gc_survey import NO_RULE, Release, Withdrawal, surveyed
from mvc.registry.care.rooted import Root, needs_of, roots
from mvc.registry.event import Policy
from mvc.registry.location.place import Place
from mvc.registry.manifest import Manifest
from mvc.registry.sealed import parse_time, timestamp
from mvc.store import Store, rebase
from mvc.store.intents import leftovers
from mvc.store.mark import Census, reachable
from mvc.store.pack import SUFFIX, IndexBlock, PackReader
from mvc.store.rebase import Rebasing
from mvc.store.rewrite import SPACE_BESIDE
from mvc.store.settings import COLLECTED, PACKS, TRASH

# What a pack may hold that nobody needs before it is written anew.
MOST_WASTE = 0.1
# Clocks that differ by more cannot tell what is old.
MOST_SKEW = timedelta(minutes=5)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing given up, or kept for now; ``bytes`` become free where nothing else needs them.

    ``kind`` is ``version``, ``orphan`` (a root whose record is not here),
    ``packs`` (what no version needs, or was on its way out), ``bases`` (what no version has, but
    some are kept over), ``staging`` (what a killed command left) or ``registry`` (another one on
    the same store).
    """

    kind: str
    name: str
    bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What gc will do.

    ``items`` are given up now, ``later`` when their time has come; ``orphans``
    and ``others`` are kept. ``garbage`` are bytes that nobody needs and that
    stay for now, ``live`` those that are needed afterwards. ``idle`` are packs
    that nobody needs today, ``dead`` those that nobody needs afterwards,
    ``wasteful`` those to be written anew. ``beneath`` are bytes that no version
    has and that stay, because versions are kept over them; ``rebasing`` frees
    those of which that takes less. ``crowded`` has, of each pack that there is no room to
    write anew, the bytes to be written and those of ``items`` that stay for want of that.
    """

    items: tuple[Item, ...]
    later: tuple[Item, ...]
    orphans: tuple[Item, ...]
    others: tuple[Item, ...]
    garbage: int
    live: int
    releases: tuple[Release, ...] = field(repr=False)
    dropped: tuple[Root, ...] = field(repr=False)
    idle: tuple[str, ...] = field(repr=False)
    dead: tuple[str, ...] = field(repr=False)
    wasteful: tuple[str, ...] = field(repr=False)
    leftovers: tuple[Path, ...] = field(repr=False)
    beneath: int = 0
    rebasing: Rebasing = field(default=Rebasing(), repr=False)
    withdrawals: tuple[Withdrawal, ...] = field(default=(), repr=False)
    crowded: tuple[tuple[int, int], ...] = ()

    @property
    def withdrawn(self) -> tuple[Item, ...]:
        """Versions that a policy withdraws; most are among ``items`` or ``later``, too."""
        told = {item.name: item for item in (*self.items, *self.later) if item.kind == "version"}
        names = [f"{each.name}/v{number}" for each in self.withdrawals for number in each.numbers]
        return tuple(told.get(name) or Item("version", name, 0, NO_RULE) for name in names)

    @property
    def freed(self) -> int:
        """Bytes that become free by it."""
        return sum(item.bytes for item in self.items) - sum(waste for _, waste in self.crowded)

    @property
    def remaining(self) -> int:
        """Bytes that a later gc can free."""
        return self.garbage + sum(item.bytes for item in self.later)


def plan(
    place: Place,
    manifest: Manifest,
    store: Store,
    grace: timedelta | None = None,
    *,
    orphans: bool = False,
    force: bool = False,
    policies: Mapping[str, Policy] | None = None,
) -> Plan:
    """Work out what may go.

    Args:
        grace: How long a version must have been withdrawn, or a pack be there; else as given.
        orphans: Give up roots whose record is not here, if they are as old.
        force: Go on though half of what was needed after the last gc is not needed now.
        policies: By a family's folder, one to look at instead of its own.

    Raises:
        Damaged: Something cannot be read, or a version has lost its root.
        MvcError: The clock cannot be trusted, or much less is needed than before.
    """
    moment = _checked_clock(store)
    survey = surveyed(place, manifest, store, roots(store), moment, grace, policies or {})
    dropped = [r for r in survey.orphans if orphans and _age(r.path, moment) >= survey.grace]
    left_alone = [root for root in survey.orphans if root not in dropped]
    kept = [*survey.kept, *survey.others, *left_alone]
    census = Census.of(store)
    needs = needs_of([*kept, *(release.root for release in survey.later)])
    after = reachable(census, needs)
    going = [*(release.root for release in survey.releases), *dropped]
    given_up = [_reached(census, root) - after for root in going]
    today = after.union(*given_up)
    _refuse_shrunk(store, _cost(census, today), force)
    old = _older(store, census, moment, survey.least)
    dead = after - reachable(census, needs, bases=False)
    rebasing = _rebasing(store, census, after, dead, old)
    packs = _Packs(store, census, after, today, old, {*rebasing.packs, *rebasing.spent})
    left = leftovers(store.folder)  # once: what is listed is what is removed
    trashed = dict(_in_trash(store, census, after))
    going_now = packs.items_of(survey.releases, dropped, given_up), packs.garbage_items(today)
    return Plan(
        items=(*chain(*going_now), *_bases(rebasing), *_left_behind(left, trashed)),
        later=tuple(_later(census, survey.later, reachable(census, needs_of(kept)))),
        orphans=tuple(Item("orphan", root.path.stem, 0, _told(root)) for root in left_alone),
        others=tuple(_others(survey.others)),
        garbage=packs.staying,
        live=_cost(census, after) - rebasing.gain,
        releases=tuple(survey.releases),
        dropped=tuple(dropped),
        idle=tuple(packs.idle),
        dead=(*packs.dead, *trashed),
        wasteful=tuple(packs.wasteful),
        crowded=tuple(packs.crowded(sum(trashed.values()))),
        leftovers=tuple(left),
        beneath=_cost(census, dead - rebasing.dead),
        rebasing=rebasing,
        withdrawals=tuple(survey.withdrawals),
    )


def _left_behind(staged: Iterable[Path], trashed: Mapping[str, int]) -> Iterator[Item]:
    """Yield items for what a command, or a gc, left when it was cut short."""
    for path in staged:
        yield Item("staging", path.name, _size_of(path), "left by a command that was killed")
    if trashed:  # what is needed today goes back first, and then goes
        yield Item("packs", "in trash", sum(trashed.values()), "were on their way out")


def note_live(store: Store, live: int) -> None:
    """Note how much is needed, for the next gc to compare with, if that can be."""
    values: dict[str, lines.Value] = {
        "mvc": FORMAT,
        "live": live,
        "created": timestamp(datetime.now(timezone.utc)),
    }
    with contextlib.suppress(OSError):
        fileio.replace(store.folder / COLLECTED, lines.dumps(values))


def _refuse_shrunk(store: Store, live: int, force: bool) -> None:
    """Refuse where roots may have been lost: only gc and forget take any away."""
    try:
        values: dict[str, Any] = lines.loads(fileio.read(store.folder / COLLECTED, lines.MAX_SIZE))
        before = int(values["live"])
    except (OSError, MvcError, KeyError, TypeError, ValueError):
        return
    if live < before / 2 and not force:
        raise MvcError(
            f"versions need {live:,} bytes now, and needed {before:,} after the last gc",
            hint="if roots were lost, put them back; if that is as it should be: mvc gc --force",
        )


def _checked_clock(store: Store) -> datetime:
    """Return this moment, if the store's file system agrees on it."""
    here = datetime.now(timezone.utc)
    if not fileio.may_write(store.folder):  # a dry run: what it calls old enough does not go
        return here
    there = datetime.fromtimestamp(fileio.clock(store.folder) / 1e9, timezone.utc)
    if abs(here - there) > MOST_SKEW:
        seconds = round((here - there).total_seconds())
        raise MvcError(
            f"the clock here is {seconds:,} seconds off that of the store",
            hint="set the clock: with a wrong one nobody can tell what is old enough to go",
        )
    return here


def _reached(census: Census, root: Root) -> set[Digest]:
    """Return what a root that is to go needs; nothing where that cannot be told any more."""
    try:
        return reachable(census, needs_of([root]))
    except MvcError:
        return set()


@dataclass(slots=True)
class _Going:
    """A pack that goes, or is written anew.

    ``beside`` is what it takes beside its frames; it counts with the first of them.
    """

    index: IndexBlock
    beside: int


class _Packs:
    """The packs, by what is to become of them.

    What lies in one that stays is not free, however dead it is.
    """

    def __init__(
        self,
        store: Store,
        census: Census,
        after: set[Digest],
        today: set[Digest],
        old: set[str],
        rebased: set[str],
    ) -> None:
        self.idle: list[str] = []
        self.dead: list[str] = []
        self.wasteful: dict[str, tuple[int, int]] = {}  # what stays of each, and what does not
        self.staying = 0
        self._room = fileio.free_space(store.folder)
        self._going: list[_Going] = []
        for name, index in census.packs.items():
            waste = sum(entry.cost for entry in index if entry.digest not in after)
            if not waste:
                continue
            try:
                size = (store.folder / PACKS / name).stat().st_size
            except FileNotFoundError:  # somebody took it meanwhile
                continue
            live = any(entry.digest in after for entry in index)
            little = live and name not in rebased and waste < MOST_WASTE * size
            if name not in old or little:
                self.staying += waste
                continue
            frames = sum(entry.cost for entry in index)
            self._going.append(_Going(index, 0 if live else size - frames))
            if name in rebased:  # it goes without what is waste
                continue
            if live:
                self.wasteful[name] = frames - waste, waste
                continue
            self._room += size
            needed = any(entry.digest in today for entry in index)
            (self.dead if needed else self.idle).append(name)
        self.wasteful = dict(sorted(self.wasteful.items(), key=lambda pack: pack[1]))

    def crowded(self, trashed: int) -> Iterator[tuple[int, int]]:
        """Yield what stays, and what is waste, of each that there is no room to write anew."""
        room = self._room + trashed
        for stays, waste in self.wasteful.values():
            if stays + SPACE_BESIDE > room:
                yield stays, waste
            else:
                room += waste

    def items_of(
        self, releases: Iterable[Release], dropped: Iterable[Root], given_up: list[set[Digest]]
    ) -> Iterator[Item]:
        """Yield an item for each version and root; what several need counts for the first."""
        named = [("version", release.id, release.why) for release in releases]
        named += [("orphan", root.path.stem, _told(root)) for root in dropped]
        counted: set[Digest] = set()
        for (kind, name, why), digests in zip(named, given_up, strict=True):
            own = digests - counted
            yield Item(kind, name, self._count(own.__contains__)[0], why)
            counted |= digests

    def garbage_items(self, today: set[Digest]) -> Iterator[Item]:
        """Yield one item for all that no version needs already now."""
        size, count = self._count(lambda digest: digest not in today)
        if size:
            yield Item("packs", f"in {count}", size, "needed by no version")

    def _count(self, meant: Callable[[Digest], bool]) -> tuple[int, int]:
        """Return what some objects take in the packs that go, and in how many they are."""
        size, count = 0, 0
        for pack in self._going:
            frames = sum(entry.cost for entry in pack.index if meant(entry.digest))
            if frames:
                size += frames + pack.beside
                count += 1
                pack.beside = 0
        return size, count


def _rebasing(
    store: Store, census: Census, needed: set[Digest], dead: set[Digest], old: set[str]
) -> Rebasing:
    """Return what frees bases that no version has, if there is room to write it."""
    found = rebase.plan(store, census, needed, dead, old)
    if found.room + SPACE_BESIDE <= fileio.free_space(store.folder):
        return found
    return Rebasing(put_off=found.gain, room=found.room)


def _bases(rebasing: Rebasing) -> Iterator[Item]:
    """Yield one item for the bases that go."""
    if rebasing.dead:
        why = "no version has them; what is kept over them is encoded anew"
        yield Item("bases", f"{len(rebasing.dead):,}", rebasing.gain, why)


def _in_trash(store: Store, census: Census, after: set[Digest]) -> Iterator[tuple[str, int]]:
    """Yield name and size of the packs in the trash of which nothing is needed afterwards."""
    held = {entry.digest for index in census.packs.values() for entry in index}
    for name in fileio.list_folder(store.folder / TRASH):
        if name.endswith(SUFFIX):
            with contextlib.suppress(FileNotFoundError):
                pack = PackReader(store.folder / TRASH / name)
                if {entry.digest for entry in pack.index} & after <= held:
                    yield pack.name, pack.file_size


def _cost(census: Census, digests: set[Digest]) -> int:
    """Return what some objects take in the packs that are not on their way out."""
    return sum(e.cost for index in census.packs.values() for e in index if e.digest in digests)


def _later(census: Census, releases: Iterable[Release], for_good: set[Digest]) -> Iterator[Item]:
    counted = set(for_good)
    for release in sorted(releases, key=lambda release: release.since):
        digests = _reached(census, release.root) - counted
        counted |= digests
        size = _cost(census, digests)
        due = timestamp(parse_time(release.since) + release.grace)
        when = due[:10] if release.grace >= DAY else f"{due[:10]} {due[11:16]} UTC"
        yield Item("version", release.id, size, f"{release.why}; goes after {when}")


def _others(found: Iterable[Root]) -> Iterator[Item]:
    """Yield an item for every other registry on the store."""
    by_registry: dict[str, list[Root]] = {}
    for root in found:
        by_registry.setdefault(root.registry, []).append(root)
    for registry, own in by_registry.items():
        size = sum(root.record.artifact.size for root in own)
        last = max(root.record.created for root in own)[:10]
        count = "1 version, made on" if len(own) == 1 else f"{len(own):,} versions, the last of"
        yield Item("registry", registry, size, f"{count} {last}")


def _told(root: Root) -> str:
    record = root.record
    return f"of '{record.family}', made on {record.created[:10]}, whose record is not here"


def _older(store: Store, census: Census, moment: datetime, least: timedelta) -> set[str]:
    """Return the packs of such an age, from which something may go."""
    packs = store.folder / PACKS
    return {name for name in census.packs if _age(packs / name, moment) >= least}


def _age(path: Path, moment: datetime) -> timedelta:
    try:
        changed = path.stat().st_mtime
    except FileNotFoundError:
        return timedelta(0)
    return moment - datetime.fromtimestamp(changed, timezone.utc)


def _size_of(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except FileNotFoundError:
        return 0
