"""gc: give up the bytes of versions withdrawn long ago, and those that nobody needs.

First it withdraws what no policy keeps. A version is *released* by an event,
created before anything else happens to it; then its root goes; then packs go, by
way of ``retire``. Restoring a version and releasing it compete for one number, so
only one of them happens.

The argument, step by step, and what a crash leaves: ``docs/gc.md``.
Public names: ``Collected``, ``collect``, ``collect_steps``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from mvc import fileio
from mvc.errors import Busy
from mvc.fileio import Steps
from mvc.registry import changes, retention
from mvc.registry import family as families
from mvc.registry.care.gc_plan import Item, Plan, note_live, plan
from mvc.registry.care.gc_survey import Release, Withdrawal
from mvc.registry.care.rooted import Root, needs_of, roots
from mvc.registry.checkout import paths
from mvc.registry.location.place import Place
from mvc.registry.manifest import Manifest
from mvc.store import Store, eviction, materialised, rebase
from mvc.store.intents import Intent, evict, waiting
from mvc.store.lock import maintenance, undisturbed
from mvc.store.mark import Need, marked
from mvc.store.rebase import Rebasing
from mvc.store.retire import Retired, retire
from mvc.store.rewrite import SPACE_BESIDE, merge_all, rewrite
from mvc.store.settings import PACKS, ROOTS

# How long writers under way are waited for, in seconds.
WAIT = 30.0


@dataclass(frozen=True, slots=True)
class Collected:
    """What a gc did, or where not ``executed`` would do; sizes in bytes.

    ``withdrawn`` are the versions that no rule of their family keeps any longer.
    ``items`` were given up; ``later`` are when their time has come. ``orphans``
    and ``others`` are kept. ``waiting`` counts the commands under way on whose
    account packs were kept back for the next gc. ``beneath`` are bytes that no
    version has any more and that stay, because versions are kept over them.
    """

    executed: bool
    freed: int
    remaining: int
    items: tuple[Item, ...]
    later: tuple[Item, ...]
    orphans: tuple[Item, ...]
    others: tuple[Item, ...]
    waiting: int = 0
    beneath: int = 0
    withdrawn: tuple[Item, ...] = ()


def collect(
    place: Place,
    manifest: Manifest,
    store: Store,
    grace: timedelta | None,
    *,
    dry_run: bool = False,
    orphans: bool = False,
    cache: bool = False,
    force: bool = False,
    wait: float = WAIT,
) -> Collected:
    """Plan, and unless ``dry_run`` carry the plan out. Raises as ``ModelRegistry.gc`` says."""
    emptied = _emptied(place, dry_run=dry_run) if cache else 0

    def planning() -> Plan:
        with undisturbed(store.folder, ROOTS):
            return plan(place, manifest, store, grace, orphans=orphans, force=force)

    if dry_run:
        planned = planning()
        return _told(planned, emptied, executed=False, freed=planned.freed)
    with undisturbed(store.folder), maintenance(store.folder) as alone:
        if not alone:
            raise Busy("another gc, repack or move is under way", hint="try again later")
        planned = planning()
        try:
            freed, kept_back = fileio.run(collect_steps(manifest, store, planned, waiting(wait)))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            freed, kept_back = _from_full_disk(manifest, store, planned, wait)
        planned = _as_it_came(manifest, planned)
        return _told(planned, emptied, executed=True, freed=freed, waiting=kept_back)


def collect_steps(
    manifest: Manifest,
    store: Store,
    planned: Plan,
    patience: Callable[[], bool] = lambda: False,
) -> Steps[tuple[int, int]]:
    """Carry a plan out; each version's event ``released`` is its commit point.

    Returns:
        The bytes that became free, and how many commands under way kept some back.
    """

    def needs() -> list[Need]:
        return needs_of(roots(store))

    for folder in planned.leftovers:
        evict(Intent(folder))
        fileio.remove_folder(folder)  # which may have none
        yield "leftover removed"
    # First what nobody needs anyway: on a full disk it makes room for the events.
    done = [(yield from retire(store, planned.idle, needs, patience))]
    gone = list(planned.dropped)
    for each in planned.withdrawals:
        yield from retention.withdraw_steps(manifest, each.folder, each.policy, each.numbers)
    for release in planned.releases:
        if (yield from changes.release(manifest, release.family, release.number, release.grace)):
            gone.append(release.root)
    note_live(store, planned.live)  # before roots go: a lower mark never raises an alarm
    yield from _unroot(gone)
    done.append((yield from retire(store, planned.dead, needs, patience)))
    for name in planned.wasteful:
        done.append((yield from _without_waste(store, name, needs, patience)))
    done.append((yield from rebase.carry_out(store, planned.rebasing, needs, patience)))
    yield from merge_all(store)
    freed = sum(one.freed for one in done)
    freed += sum(item.bytes for item in planned.items if item.kind == "staging")
    return freed, max(one.waiting for one in done)


def _from_full_disk(
    manifest: Manifest, store: Store, planned: Plan, wait: float
) -> tuple[int, int]:
    """Carry a plan out where there is no room for an event, or for the folder of the trash.

    Files that are made again when they are missed make room for the first
    version's event; what that version gives up makes room for the next.
    """
    for folder in manifest.families():
        fileio.remove(manifest.own_folder(folder) / families.FILE_NAME)
    if store.index.merged_path is not None:
        fileio.remove(store.index.merged_path)
    planned = replace(planned, rebasing=Rebasing())  # which takes room before it makes any
    singly = [
        replace(planned, withdrawals=_only(one, planned), releases=(one,), wasteful=())
        for one in planned.releases
    ]
    parts = [
        fileio.run(collect_steps(manifest, store, part, waiting(wait)))
        for part in (*singly, planned)
    ]
    return sum(freed for freed, _ in parts), max(kept_back for _, kept_back in parts)


def _only(release: Release, planned: Plan) -> tuple[Withdrawal, ...]:
    """Return what must be withdrawn before one version is released."""
    return tuple(
        replace(each, numbers=(release.number,))
        for each in planned.withdrawals
        if each.folder == release.family and release.number in each.numbers
    )


def _as_it_came(manifest: Manifest, planned: Plan) -> Plan:
    """Return a plan without the withdrawals before which somebody kept the version."""
    kept = {
        (each.name, number)
        for each in planned.withdrawals
        for number in set(each.numbers) - families.load(manifest, each.folder).withdrawn
    }
    names = {f"{name}/v{number}" for name, number in kept}
    return replace(
        planned,
        items=tuple(item for item in planned.items if item.name not in names),
        later=tuple(item for item in planned.later if item.name not in names),
        withdrawals=tuple(
            replace(each, numbers=tuple(n for n in each.numbers if (each.name, n) not in kept))
            for each in planned.withdrawals
        ),
    )


def _unroot(gone: Iterable[Root]) -> Steps[None]:
    """Remove roots, durably before any pack goes: what has a root must have its bytes."""
    folders = set()
    for root in gone:
        fileio.unlink(root.path)
        folders.add(root.path.parent)
        yield "root removed"
    for folder in folders:
        fileio.sync_folder(folder)
        yield "roots durable"


def _without_waste(
    store: Store, name: str, needs: Callable[[], list[Need]], patience: Callable[[], bool]
) -> Steps[Retired]:
    """Write what is needed of a pack into a new one, and retire it, if there is room for that."""
    try:
        size = (store.folder / PACKS / name).stat().st_size
        if fileio.free_space(store.folder) < size + SPACE_BESIDE:
            return Retired()
        _, needed = marked(store, needs)
        new = yield from rewrite(store, [name], lambda entry: entry.digest in needed)
        added = sum((store.folder / PACKS / one).stat().st_size for one in new)
    except FileNotFoundError:  # somebody took it, or the new one, meanwhile
        return Retired()
    done = yield from retire(store, [name], needs, patience)
    return Retired(done.deleted, done.restored, done.freed - added, done.waiting)


def _emptied(place: Place, *, dry_run: bool) -> int:
    """Remove the files that ``path`` made, and return their bytes."""
    folder = paths.cache_of(place)
    return eviction.size(folder) if dry_run else materialised.clear(folder)


def _told(planned: Plan, cache: int, *, executed: bool, freed: int, waiting: int = 0) -> Collected:
    kept_back = max(0, planned.freed - freed) if waiting else 0
    freed = max(0, freed)  # what was written anew may have to stay beside the old until later
    emptied = [Item("cache", "files", cache, "made by mvc path")] if cache else []
    return Collected(
        executed=executed,
        freed=freed + cache,
        remaining=planned.remaining + kept_back,
        items=(*emptied, *planned.items),
        later=planned.later,
        orphans=planned.orphans,
        others=planned.others,
        waiting=waiting,
        beneath=planned.beneath,
        withdrawn=planned.withdrawn,
    )
