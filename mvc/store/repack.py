"""Repacking: objects are encoded again, so that those read most are read without a base.

First the *plain* objects are settled: those wished for, and those that others
are kept over as things are. Every other has at most one link afterwards, to a
plain one; so no circle can close. All new frames are durable before an old
one leaves, and packs leave by ``retire``, which asks anew who relies on them.

What it promises, step by step: ``docs/repack.md``.
Public names: ``Wishes``, ``RepackPlan``, ``plan``, ``carry_out``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from mvc import fileio
from mvc.codecs import Encoding
from mvc.digest import Digest
from mvc.errors import Damaged, MvcError
from mvc.fileio import Steps
from mvc.store.anew import Change, Measure, Place, reads, written_anew
from mvc.store.mark import Need, marked
from mvc.store.pack import MAX_DEPTH, Entry
from mvc.store.retire import Retired, retire
from mvc.store.rewrite import SMALL, SPACE_BESIDE, write
from mvc.store.similar import over_similar
from mvc.store.store import MAX_BASE, Store
from mvc.store.transaction import Under

MOST_LARGER = 1.095
"""How much larger the packs may become, by estimate."""

_ADVICE = "mvc fsck says more; nothing is repacked before everything can be read"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is known of objects beside their bytes.

    ``plain`` are to be read without a base; ``offers`` says over which of
    those another may be kept; ``widths`` are bytes per element.
    ``standing`` are of versions not withdrawn: what is like them may be kept over
    them. ``idle`` are needed for nothing but that others are kept over them.
    """

    plain: frozenset[Digest]
    offers: Mapping[Digest, tuple[Under, ...]]
    widths: Mapping[Digest, int]
    standing: frozenset[Digest] = frozenset()
    idle: frozenset[Digest] = frozenset()


@dataclass(frozen=True, slots=True)
class RepackPlan:
    """What repacking will do.

    ``packs`` are written anew; ``before`` and ``after``, about, are bytes of
    all packs, ``room`` is what writing takes before anything goes. ``kept``
    are the frames that are copied, by digest and checksum.
    """

    changes: tuple[Change, ...]
    packs: tuple[str, ...]
    before: int
    after: int
    room: int
    kept: frozenset[tuple[Digest, int]] = field(repr=False)

    @property
    def plain(self) -> int:
        """How many objects lose their last link."""
        return sum(change.base is None for change in self.changes)

    @property
    def rebased(self) -> int:
        """How many objects get a new base."""
        return len(self.changes) - self.plain


def plan(store: Store, wishes: Wishes) -> RepackPlan:
    """Work out which objects to encode again and which packs to write anew; changes nothing.

    Raises:
        Damaged: A pack, an object or a base cannot be read.
    """
    holdings = _Holdings.of(store)
    changes = holdings.within(MOST_LARGER, _Planner(store, holdings, wishes).changes(), wishes)
    after = holdings.size_after(changes)
    packs = holdings.to_rewrite({change.digest for change in changes})
    changed = {change.digest for change in changes}
    kept = frozenset(
        (entry.digest, entry.checksum)
        for name, entry in holdings.final()
        if name in packs and (entry.encoding == Encoding.RECIPE or entry.digest not in changed)
    )
    room = after - holdings.size + sum(holdings.sizes[name] for name in packs)
    return RepackPlan(tuple(changes), tuple(packs), holdings.size, after, room, kept)


def carry_out(
    store: Store,
    planned: RepackPlan,
    needs: Callable[[], Iterable[Need]],
    patience: Callable[[], bool] = lambda: False,
) -> Steps[Retired]:
    """Write what a plan says into new packs, then retire the old ones.

    Raises:
        Damaged: Something cannot be read, or nobody knows what is needed; nothing is removed.
        MvcError: Too little space is free; nothing was written.
    """
    marked(store, needs)
    yield "checked"
    if not planned.packs:
        return Retired()
    free = fileio.free_space(store.folder)
    if free < planned.room + SPACE_BESIDE:
        raise MvcError(
            f"the new packs take about {planned.room:,} bytes and 1 MiB beside the old ones, "
            f"only {free:,} are free in '{store.folder}'",
            hint="free some space: mvc du shows what mvc gc, gc --grace 0 or gc --cache frees",
        )
    frames = written_anew(store, planned.packs, planned.kept, planned.changes)
    new = yield from write(store, frames, planned.room)
    old = [name for name in planned.packs if name not in new]
    return (yield from retire(store, old, needs, patience))


def _by_base(change: Change) -> tuple[bytes, bytes]:
    return change.base.digest if change.base else b"", change.digest


@dataclass(slots=True)
class _Holdings:
    """Every frame in the packs; of an object that has several, the one with the fewest links."""

    store: Store
    size: int
    sizes: dict[str, int]
    objects: dict[Digest, Place] = field(default_factory=dict)
    recipes: dict[tuple[Digest, int], Place] = field(default_factory=dict)
    superseded: set[str] = field(default_factory=set)
    beside: int = 0

    @classmethod
    def of(cls, store: Store) -> _Holdings:
        store.index.refresh(trust_cache=False)
        sizes: dict[str, int] = {}
        frames: dict[Digest, list[Place]] = {}
        found = cls(store, 0, sizes)
        for pack in store.index.packs():
            sizes[pack.name] = pack.file_size
            for entry in pack.index:
                if entry.encoding != Encoding.RECIPE:
                    frames.setdefault(entry.digest, []).append((pack.name, entry))
                elif (entry.digest, entry.checksum) in found.recipes:
                    found.superseded.add(pack.name)
                else:
                    found.recipes[entry.digest, entry.checksum] = pack.name, entry
        for name, error in store.index.damaged.items():
            raise Damaged(f"pack '{name}' cannot be read: {error.message}", hint=_ADVICE)
        found.size = sum(sizes.values())
        for digest, places in frames.items():
            found.objects[digest] = found._best(places)
            found.superseded |= {p[0] for p in places if p is not found.objects[digest]}
        found.beside = found.size - sum(e.cost for row in frames.values() for _, e in row)
        return found

    def _best(self, places: list[Place]) -> Place:
        if len(places) == 1:
            return places[0]
        ordered = sorted(places, key=lambda p: (p[1].depth, p[1].stored, p[0]))
        return next(filter(partial(reads, self.store), ordered), ordered[0])

    def final(self) -> Iterator[Place]:
        """Yield the frames that stay, unless their object is encoded again."""
        yield from self.objects.values()
        yield from self.recipes.values()

    def size_after(self, changes: Iterable[Change]) -> int:
        """Return about what all packs take when ``changes`` are carried out."""
        about = {change.digest: change.about for change in changes}
        costs = (
            e.cost - e.stored + about.get(e.digest, e.stored) for _, e in self.objects.values()
        )
        return self.beside + sum(costs)

    def within(self, most: float, changes: list[Change], wishes: Wishes) -> list[Change]:
        """Leave out the changes that cost most, where all packs would become too large.

        A frame of two links or more may stay as it is: what it is kept over
        has one link afterwards, or stays as well. Not so where others are to be
        kept over it.
        """
        needed = wishes.plain | {change.base.digest for change in changes if change.base}
        excess = self.size_after(changes) - most * self.size
        kept = []
        for change in sorted(changes, key=self._growth, reverse=True):
            _, entry = self.objects[change.digest]
            growth = self._growth(change)
            if excess > 0 < growth and entry.depth > 1 and change.digest not in needed:
                excess -= growth
            else:
                kept.append(change)
        return sorted(kept, key=_by_base)

    def _growth(self, change: Change) -> int:
        return change.about - self.objects[change.digest][1].stored

    def to_rewrite(self, changed: set[Digest]) -> list[str]:
        """Return the packs with a frame that is to go, and the small ones, if they are several."""
        packs = {name for name, entry in self.objects.values() if entry.digest in changed}
        packs |= self.superseded
        small = {name for name, size in self.sizes.items() if size < SMALL}
        return sorted(packs | small if packs or len(small) > 1 else ())


class _Planner:
    """Decides of every object what it is kept over."""

    def __init__(self, store: Store, holdings: _Holdings, wishes: Wishes) -> None:
        self._entries = {digest: entry for digest, (_, entry) in holdings.objects.items()}
        self._wishes = wishes
        self._wished = wishes.plain & self._entries.keys()
        self._measure = Measure(store, holdings.objects, wishes.widths)

    def changes(self) -> list[Change]:
        """Return what to encode again; those over one base follow one another."""
        made = [self._measure.change(digest, {None: self._measure.alone(digest)})
                for digest in self._wished if self._entries[digest].depth]  # fmt: skip
        above: dict[Digest, list[Digest]] = {}
        for digest, entry in self._entries.items():
            if entry.depth and digest not in self._wished:
                above.setdefault(self._anchor(entry), []).append(digest)
        for digest, entry in self._entries.items():
            if not entry.depth and digest not in self._wished and self._offers(digest):
                above.setdefault(digest, [])
        for anchor, those in sorted(above.items()):
            made += self._around(anchor, those)
        standing = self._wishes.standing
        return over_similar(self._measure, self._entries, made, self._wished, standing)

    def _around(self, anchor: Digest, above: list[Digest]) -> Iterator[Change]:
        """Yield the changes to an object that is plain, or will be, and to those kept over it.

        One that was not wished for is kept over another itself, and an idle one
        left to gc, where that saves more than it costs those kept over it.
        """
        entry, idle = self._entries[anchor], self._wishes.idle
        good = {digest for digest in above if self._entries[digest].depth == 1}
        fixed = anchor in self._wished or anchor in idle
        own = {} if fixed else self._measure.over(anchor, self._offers(anchor))
        if not own and anchor not in idle:
            yield from (
                self._measure.change(d, self._costs(d, anchor)) for d in above if d not in good
            )
            return
        costs = {digest: self._costs(digest, anchor, own) for digest in above}
        keeping = entry.stored + sum(
            self._entries[digest].stored if digest in good else min(found.values())
            for digest, found in costs.items()
        )
        elsewhere = {
            digest: {u: cost for u, cost in found.items() if u is None or u.digest != anchor}
            for digest, found in costs.items()
            if own or digest not in idle
        }
        changed = {**elsewhere, anchor: own} if own else elsewhere
        moving = sum(min(found.values()) for found in changed.values())
        if moving < keeping:
            yield from (self._measure.change(digest, found) for digest, found in changed.items())
        else:
            yield from (
                self._measure.change(d, found) for d, found in costs.items() if d not in good
            )

    def _anchor(self, entry: Entry) -> Digest:
        """Return the first object below that has no base, or will have none."""
        base = entry.base
        for _ in range(MAX_DEPTH):
            below = self._entries.get(base) if base is not None else None
            if below is None:
                break
            if not below.depth or below.digest in self._wished:
                return below.digest
            base = below.base
        raise Damaged(f"what object {entry.digest.short} is kept over is missing", hint=_ADVICE)

    def _offers(self, digest: Digest) -> list[Under]:
        if self._entries[digest].size > MAX_BASE:
            return []
        return [
            under
            for under in self._wishes.offers.get(digest, ())
            if under.digest != digest
            and under.digest in self._wished
            and self._entries[under.digest].size <= MAX_BASE
        ]

    def _costs(
        self, digest: Digest, anchor: Digest, instead: Iterable[Under | None] = ()
    ) -> dict[Under | None, int]:
        """Return what a delta would take over each of its possible bases, and without any.

        Args:
            instead: What the anchor may be kept over; so may what no version has, and nobody
                offers anything.
        """
        offers = self._offers(digest) or [under for under in instead if under]
        entry = self._entries[digest]
        costs: dict[Under | None, int] = {None: self._measure.alone(digest)}
        costs |= self._measure.over(digest, offers)
        if all(under.digest != anchor for under in offers):
            under = Under(anchor, self._measure.width(anchor))
            costs |= (
                {under: entry.stored}
                if entry.base == anchor
                else self._measure.over(digest, [under])
            )
        return costs
