"""gc: give up the bytes of versions withdrawn long ago, and those that nobody needs.

What no policy keeps it withdraws. A version is *released* by an event,
created before anything else happens to it; then its root goes; then packs go, by
way of ``retire``. Restoring a version and releasing it compete for one number, so
only one of them happens.

The argument, step by step, and what a crash leaves: ``docs/gc.md``.
Public names: ``Collected``, ``Outcome``, ``collect``, ``cache_alone``, ``collect_steps``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from mvc import fileio
from mvc.errors import Busy, is_full
from mvc.fileio import Steps
from mvc.registry import changes, digests, retention
from mvc.registry import family as families
from mvc.registry.care.gc_plan import Item, Plan, note_live, plan
from mvc.registry.care.gc_survey import Release, Withdrawal
from mvc.registry.care.rooted import Root, needs_of, roots
from mvc.registry.checkout import paths
from mvc.registry.location.place import Place
from mvc.registry.manifest import Manifest
from mvc.store import Store, eviction, index, materialised, rebase
from mvc.store.intents import Intent, evict, waiting
from mvc.store.lock import maintenance, undisturbed
from mvc.store.mark import Need, marked
from mvc.store.retire import Retired, retire
from mvc.store.rewrite import SPACE_BESIDE, merge_all, rewrite
from mvc.store.settings import PACKS, ROOTS, TRASH

# How long writers under way are waited for, in seconds.
WAIT = 30.0
# What an event takes on a disk, with its name in a folder, is less.
EVENT_SPACE = 16 << 10


@dataclass(frozen=True, slots=True)
class Collected:
    """What a gc did, or where not ``executed`` would do; sizes in bytes.

    ``withdrawn`` are the versions that no rule of their family keeps any longer.
    ``items`` were given up; ``later`` are when their time has come. ``orphans``
    and ``others`` are kept. ``waiting`` counts the commands under way on whose
    account packs were kept back for the next gc. ``beneath`` are bytes that no
    version has any more and that stay, because versions are kept over them.
    ``put_off`` are the versions that would have gone, had there been room to note it;
    ``no_room`` are the bytes, theirs with them, that can go once ``room`` bytes are free.
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
    put_off: tuple[str, ...] = ()
    no_room: int = 0
    room: int = 0


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
        with undisturbed(store.folder, ROOTS, PACKS):
            return plan(place, manifest, store, grace, orphans=orphans, force=force)

    if dry_run:
        planned = planning()
        return _told(planned, emptied, _foreseen(planned), executed=False)
    with undisturbed(store.folder), maintenance(store.folder) as alone:
        if not alone:
            raise Busy("another gc, repack or move is under way", hint="try again later")
        planned = planning()
        done = fileio.run(collect_steps(manifest, store, planned, waiting(wait)))
        if done.full is not None and not done.freed:
            raise done.full
        left = sum(item.bytes for item in planned.items if item.name in done.put_off)
        done = replace(done, no_room=done.no_room + left)
        planned = _as_it_came(manifest, planned, done.put_off)
        return _told(planned, emptied, done, executed=True)


def cache_alone(place: Place) -> Collected:
    """Empty the cache where the store is not ours to take anything from."""
    cache = _emptied(place, dry_run=False)
    return Collected(True, cache, 0, _cache_item(cache), (), (), ())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan: bytes that became free, commands under way that kept some back.

    ``full`` is the error that a full disk answered with in the end, before
    ``put_off`` could be withdrawn or released. ``no_room`` are the bytes that
    stay because what is to stay beside them could not be written anew; ``room`` is what
    writing it takes, of what takes most.
    """

    freed: int
    waiting: int = 0
    full: OSError | None = None
    put_off: tuple[str, ...] = ()
    no_room: int = 0
    room: int = 0


def _foreseen(planned: Plan) -> Outcome:
    rebasing = [(planned.rebasing.room, planned.rebasing.put_off)]
    left = [*planned.crowded, *(rebasing if planned.rebasing.put_off else ())]
    room = max((stays for stays, _ in left), default=0)
    return Outcome(planned.freed, no_room=sum(waste for _, waste in left), room=room)


def collect_steps(
    manifest: Manifest,
    store: Store,
    planned: Plan,
    patience: Callable[[], bool] = lambda: False,
) -> Steps[Outcome]:
    """Carry a plan out; each version's event ``released`` is its commit point.

    Where there is no room for an event, what was released before gives its bytes up first.
    """

    def needs() -> list[Need]:
        return needs_of(roots(store))

    for folder in planned.leftovers:
        evict(Intent(folder))
        fileio.remove_folder(folder)  # which may have none
        yield "leftover removed"
    _make_trash(manifest, store)  # before anything is released that could not go there
    # First what nobody needs anyway: on a full disk it makes room for the events.
    done = [(yield from retire(store, planned.idle, needs, patience))]
    gone, todo = list(planned.dropped), _todo(planned, fileio.free_space(manifest.folder))
    tidied = False  # once, for those files may have come again
    while True:
        full = yield from _decided(manifest, todo, gone)
        note_live(store, planned.live)  # before roots go: a lower mark never raises an alarm
        yield from _unroot(gone)
        gone.clear()
        done.append((yield from retire(store, planned.dead, needs, patience)))
        if full is None or (tidied and not done[-1].freed):
            break
        if not done[-1].freed:
            tidied = True
            _make_room(manifest, store)
    crowded = room = 0
    for name in planned.wasteful:
        retired, waste, stays = yield from _without_waste(store, name, needs, patience)
        done.append(retired)
        crowded += waste
        room = max(room, stays)
    unrebased = planned.rebasing.put_off or planned.rebasing.gain
    with _where_there_is_room():
        done.append((yield from rebase.carry_out(store, planned.rebasing, needs, patience)))
        unrebased = planned.rebasing.put_off
        yield from merge_all(store)
    room = max(room, planned.rebasing.room if unrebased else 0)
    freed = sum(one.freed for one in done)
    freed += sum(item.bytes for item in planned.items if item.kind == "staging")
    waits = max(one.waiting for one in done)
    return Outcome(freed, waits, full, _ids(todo), crowded + unrebased, room)


def _todo(planned: Plan, free: int) -> list[Withdrawal | Release]:
    """Return which events are to be made, in this order: first what frees, and needs no other.

    A policy's versions are all withdrawn and then all released; where there may be no room
    for that, one after the other, so that each can make room for the next.
    """
    by_policy = {(each.folder, n): each for each in planned.withdrawals for n in each.numbers}
    due = {(release.family, release.number): release for release in planned.releases}
    todo: list[Withdrawal | Release] = [due[key] for key in due if key not in by_policy]
    if free > EVENT_SPACE * (len(by_policy) + len(due)):
        return [*todo, *planned.withdrawals, *(due[key] for key in due if key in by_policy)]
    for key, each in sorted(by_policy.items(), key=lambda item: item[0] not in due):
        todo.append(replace(each, numbers=(key[1],)))
        todo += [due[key]] if key in due else []
    return todo


def _decided(
    manifest: Manifest, todo: list[Withdrawal | Release], gone: list[Root]
) -> Steps[OSError | None]:
    """Make events as long as there is room, taking each from ``todo``; return what says no."""
    try:
        while todo:
            each = todo[0]
            if isinstance(each, Withdrawal):
                yield from retention.withdraw_steps(
                    manifest, each.folder, each.policy, each.numbers
                )
            elif (yield from changes.release(manifest, each.family, each.number, each.grace)):
                gone.append(each.root)
            del todo[0]
    except OSError as error:
        if not is_full(error):
            raise
        return error
    return None


def _ids(todo: Iterable[Withdrawal | Release]) -> tuple[str, ...]:
    """Return the versions of which no event was made, each once."""
    found: dict[str, None] = {}
    for each in todo:
        if isinstance(each, Withdrawal):
            found |= dict.fromkeys(f"{each.name}/v{number}" for number in each.numbers)
        else:
            found[each.id] = None
    return tuple(found)


def _make_trash(manifest: Manifest, store: Store) -> None:
    try:
        fileio.make_folder(store.folder / TRASH)
    except OSError as error:
        if not is_full(error):
            raise
        _make_room(manifest, store)
        fileio.make_folder(store.folder / TRASH)


def _make_room(manifest: Manifest, store: Store) -> None:
    """Remove the files that are made again when they are missed."""
    found = [manifest.own_folder(each) / families.FILE_NAME for each in manifest.families()]
    if store.index.cache is not None:
        found += [store.index.cache / name for name in (index.FILE_NAME, digests.FILE)]
    for path in found:
        fileio.remove(path)


@contextlib.contextmanager
def _where_there_is_room() -> Iterator[None]:
    """Leave to the next gc what a full disk does not allow."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise


def _as_it_came(manifest: Manifest, planned: Plan, put_off: Iterable[str]) -> Plan:
    """Return a plan without what was put off, and the versions that somebody kept before."""
    kept = {
        (each.name, number)
        for each in planned.withdrawals
        for number in set(each.numbers) - families.load(manifest, each.folder).withdrawn
    }
    names = {f"{name}/v{number}" for name, number in kept} | set(put_off)
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
) -> Steps[tuple[Retired, int, int]]:
    """Write what is needed of a pack into a new one, and retire it.

    Returns:
        What became of it, the bytes that stay because there is no room for that, and how
        much that takes.
    """
    waste = stays = 0
    try:
        census, needed = marked(store, needs)
        index = census.packs.get(name, ())
        stays = sum(entry.cost for entry in index if entry.digest in needed)
        waste = sum(entry.cost for entry in index) - stays
        if fileio.free_space(store.folder) < stays + SPACE_BESIDE:
            return Retired(), waste, stays
        new = yield from rewrite(store, [name], lambda entry: entry.digest in needed)
        added = sum((store.folder / PACKS / one).stat().st_size for one in new)
    except FileNotFoundError:  # somebody took it, or the new one, meanwhile
        return Retired(), 0, 0
    except OSError as error:
        if not is_full(error):
            raise
        return Retired(), waste, stays
    done = yield from retire(store, [name], needs, patience)
    return Retired(done.deleted, done.restored, done.freed - added, done.waiting), 0, 0


def _emptied(place: Place, *, dry_run: bool) -> int:
    """Remove the files that ``path`` made, and return their bytes."""
    folder = paths.cache_of(place)
    return eviction.size(folder) if dry_run else materialised.clear(folder)


def _cache_item(size: int) -> tuple[Item, ...]:
    return (Item("cache", "files", size, "made by mvc path"),) if size else ()


def _told(planned: Plan, cache: int, done: Outcome, *, executed: bool) -> Collected:
    kept_back = max(0, planned.freed - done.freed) if done.waiting else 0
    freed = max(0, done.freed)  # what was written anew may have to stay beside the old until later
    return Collected(
        executed=executed,
        freed=freed + cache,
        remaining=planned.remaining + kept_back,
        items=(*_cache_item(cache), *planned.items),
        later=planned.later,
        orphans=planned.orphans,
        others=planned.others,
        waiting=done.waiting,
        beneath=planned.beneath,
        withdrawn=planned.withdrawn,
        put_off=done.put_off,
        no_room=done.no_room,
        room=done.room + SPACE_BESIDE if done.room else 0,
    )
