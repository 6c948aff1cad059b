"""Rebasing: live objects are encoded anew, so that the dead that they are kept over may go.

An object is *dead* here if no version has it, and it is there all the same
because others are kept over it. It may go once all that is live above it, also
over other dead ones, is kept in another way. No frame gets more links than the
one it stands for: so no chain grows, and no circle closes.

What it promises, step by step: ``docs/gc.md``.
Public names: ``Rebasing``, ``plan``, ``carry_out``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from mvc.codecs import Encoding
from mvc.digest import Digest
from mvc.errors import MvcError
from mvc.fileio import Steps
from mvc.store.anew import Change, Measure, Place, reads, written_anew
from mvc.store.mark import Census, Need
from mvc.store.pack import MAX_DEPTH, Entry
from mvc.store.retire import Retired, retire
from mvc.store.rewrite import rewrite, write
from mvc.store.settings import PACKS
from mvc.store.store import Store
from mvc.store.transaction import Under

WORTH = 0.01
"""What must become free of the packs that are written anew for it."""


@dataclass(frozen=True, slots=True)
class Rebasing:
    """Which objects to encode anew, and what becomes free by it.

    ``dead`` are the objects that go; ``packs`` are written anew, ``spent``
    need only be removed. ``kept`` are the frames that are copied, by digest
    and checksum. ``gain`` is about what becomes free, ``room`` what writing
    takes before anything is removed, both in bytes. ``put_off`` would become free
    of a plan for which there is no such room.
    """

    changes: tuple[Change, ...] = ()
    dead: frozenset[Digest] = frozenset()
    packs: tuple[str, ...] = ()
    spent: tuple[str, ...] = ()
    gain: int = 0
    room: int = 0
    put_off: int = 0
    kept: frozenset[tuple[Digest, int]] = field(default=frozenset(), repr=False)


def plan(
    store: Store,
    census: Census,
    needed: Collection[Digest],
    dead: Collection[Digest],
    old: Collection[str],
) -> Rebasing:
    """Work out what to encode anew; changes nothing. What cannot be read stays as it is.

    Args:
        needed: Everything that must be kept as things are, ``dead`` with it.
        old: The packs from which something may be removed.
    """
    if not dead:
        return Rebasing()
    planner = _Planner(store, census, needed, dead, old)
    planner.choose()
    return planner.planned()


def carry_out(
    store: Store,
    planned: Rebasing,
    needs: Callable[[], Iterable[Need]],
    patience: Callable[[], bool] = lambda: False,
) -> Steps[Retired]:
    """Write what a plan says into new packs, then retire the old ones, then the dead.

    As long as there is an old frame over a dead object, that is needed: so it is copied into
    a pack of its own, which goes after the old frames have gone.

    Raises:
        Damaged: Something cannot be read, or nobody knows what is needed; nothing is lost.
    """
    if not planned.dead:
        return Retired()
    try:
        new, apart = yield from _written(store, planned)
        added = sum((store.folder / PACKS / name).stat().st_size for name in (*new, *apart))
    except FileNotFoundError:  # somebody took one of the packs meanwhile; the next gc looks again
        return Retired()
    old = [name for name in planned.packs if name not in (*new, *apart)]
    first = yield from retire(store, old, needs, patience)
    if first.waiting:
        return Retired(freed=-added, waiting=first.waiting)
    last = yield from retire(store, (*apart, *planned.spent), needs, patience)
    deleted, restored = first.deleted + last.deleted, first.restored + last.restored
    return Retired(deleted, restored, first.freed + last.freed - added, last.waiting)


def _written(store: Store, planned: Rebasing) -> Steps[tuple[list[str], list[str]]]:
    """Write the packs of what stays, and apart from them those of what is to go."""
    staying = written_anew(store, planned.packs, planned.kept, planned.changes)
    new = yield from write(store, staying, planned.room)
    apart = yield from rewrite(store, planned.packs, lambda entry: entry.digest in planned.dead)
    return new, apart


class _Planner:
    """Decides which dead objects go, those with the fewest live ones above them first."""

    def __init__(
        self,
        store: Store,
        census: Census,
        needed: Collection[Digest],
        dead: Collection[Digest],
        old: Collection[str],
    ) -> None:
        self._store, self._census = store, census
        self._needed, self._dead, self._old = needed, dead, old
        self._over = census.kept_over()
        self._places: dict[Digest, list[Place]] = {}  # those of the fewest links first
        for name, index in census.packs.items():
            for entry in index:
                if entry.digest in needed and entry.encoding != Encoding.RECIPE:
                    self._places.setdefault(entry.digest, []).append((name, entry))
        for places in self._places.values():
            places.sort(key=lambda place: place[1].depth)
        self._measure = Measure(store, {d: row[0] for d, row in self._places.items()}, {})
        self._going: set[Digest] = set()
        self._settled: set[Digest] = set()  # live objects that are not kept over those
        self._changes: list[Change] = []
        self._standing: dict[Digest, Entry] = {}  # of settled ones, a frame that is enough
        self._gain = 0

    def choose(self) -> None:
        """Settle what goes: what is above it is kept in another way where that takes less."""
        above = {digest: found for digest in self._dead if (found := self._above(digest))}
        below: dict[Digest, list[Digest]] = {}
        for digest, live in above.items():
            for one in live:
                below.setdefault(one, []).append(digest)
        for digest in sorted(above, key=lambda digest: (len(above[digest]), digest)):
            if digest not in self._going:
                live = above[digest] - self._settled
                also = {one for other in live for one in below[other]} - self._going
                self._settle(live, {one for one in also if above[one] <= self._settled | live})

    def planned(self) -> Rebasing:
        """Return what was settled, with the packs that this touches, if it is worth the writing."""
        packs, spent, kept, size = [], [], set[tuple[Digest, int]](), 0
        copied: dict[tuple[Digest, int], int] = {}  # what writing takes, of each frame once
        for name, index in self._census.packs.items():
            touched = [e for e in index if e.digest in self._going or e.digest in self._settled]
            staying = {(e.digest, e.checksum) for e in index if self._stays(name, e)}
            if all((entry.digest, entry.checksum) in staying for entry in touched):
                continue
            if staying or any(entry.digest in self._settled for entry in touched):
                packs.append(name)
                size += sum(entry.cost for entry in index)
                kept |= staying
                for entry in index:
                    frame = entry.digest, entry.checksum
                    if frame in staying or entry.digest in self._going:
                        copied[frame] = entry.cost
            else:
                spent.append(name)
        if self._gain <= WORTH * size:
            return Rebasing()
        return Rebasing(
            changes=tuple(self._changes),
            dead=frozenset(self._going),
            packs=tuple(packs),
            spent=tuple(spent),
            gain=self._gain,
            room=sum(copied.values()) + sum(change.about for change in self._changes),
            kept=frozenset(kept),
        )

    def _stays(self, name: str, entry: Entry) -> bool:
        """Say whether a frame is to be there afterwards, here or copied."""
        digest = entry.digest
        if digest in self._going:
            return False
        if digest not in self._needed:
            return name not in self._old
        if digest not in self._settled or entry.encoding == Encoding.RECIPE:
            return True
        return digest in self._standing and entry.checksum == self._standing[digest].checksum

    def _above(self, digest: Digest) -> frozenset[Digest]:
        """Return the live objects above a dead one; none where it, or one between, must stay."""
        found, seen, waiting = set(), set[Digest](), {digest}
        while waiting:
            one = waiting.pop()
            seen.add(one)
            places = self._places.get(one, [])
            if not places:  # on its way out; the next gc looks again
                return frozenset()
            if one not in self._dead:
                found.add(one)
                continue
            over = {other for other in self._over.get(one, ()) if other in self._needed}
            if not over or any(name not in self._old for name, _ in places):
                return frozenset()
            waiting |= over - seen
        return frozenset(found)

    def _settle(self, live: frozenset[Digest], freed: set[Digest]) -> None:
        """Let dead objects go if keeping those above them in another way takes less."""
        standing = {digest: entry for digest in live if (entry := self._enough(digest))}
        try:
            changes = self._encoded_anew(live - standing.keys())
        except (MvcError, OSError):  # what cannot be read is left to fsck
            return
        before = sum(e.cost for digest in (*live, *freed) for _, e in self._places[digest])
        after = sum(entry.cost for entry in standing.values())
        for change in changes:
            entry = self._places[change.digest][0][1]
            after += entry.cost - entry.stored + change.about
        if after < before:
            self._going |= freed
            self._settled |= live
            self._standing |= standing
            self._changes += changes
            self._gain += before - after

    def _enough(self, digest: Digest) -> Entry | None:
        """Return a frame of a live object that may be its only one, if there is one."""
        places = self._places[digest]
        for place in places:
            _, entry = place
            fewest = entry.depth == places[0][1].depth
            if fewest and entry.base not in self._dead and reads(self._store, place):
                return entry
        return None

    def _encoded_anew(self, live: Collection[Digest]) -> list[Change]:
        """Return how to keep live objects: each over a live one below it, the first, or none.

        First is the one that takes least, since that is nearest to what all were kept over.
        """
        made: list[Change] = []
        for digest in sorted(live, key=lambda d: (self._places[d][0][1].stored, d)):
            links = dict(self._live_below(digest))
            if made:
                first = made[0]
                links[Under(first.digest, first.width)] = first.links + 1 if first.base else 0
            costs: dict[Under | None, int] = {None: self._measure.alone(digest)}
            for under, depth in links.items():
                if depth < self._places[digest][0][1].depth:
                    costs |= self._measure.over(digest, [under], depth)
            base = min(costs, key=lambda under: costs[under])
            taken = links[base] if base else 0
            made.append(self._measure.change(digest, {base: costs[base]}, taken))
        return made

    def _live_below(self, digest: Digest) -> Iterator[tuple[Under, int]]:
        """Yield the first live object down the chain, and its links."""
        base = self._places[digest][0][1].base
        for _ in range(MAX_DEPTH):
            if base is None or base not in self._places:
                return
            entry = self._places[base][0][1]
            if base not in self._dead:
                yield Under(base, self._measure.width(base)), entry.depth
                return
            base = entry.base
