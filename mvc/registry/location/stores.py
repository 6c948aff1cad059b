"""What ``mvc store`` does: look at a registry's store, take it elsewhere, accept another place.

Finding it is ``mvc.registry.location.finding``; the protocol of a move is
``mvc.store.relocation``.

Public names: ``StoreInfo``, ``RegistryInfo``, ``Relinked``, ``ForgetPlan``, ``info``,
``plan_move``, ``move``, ``relink``, ``change_alternates``, ``plan_forget``, ``forget``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from shlex import quote

from mvc import fileio, lines
from mvc.digest import Digest
from mvc.errors import Busy, Conflict, MvcError, NotFound, StoreWarning, UsageError, warn
from mvc.progress import job
from mvc.registry import record as records
from mvc.registry.care.gc_plan import note_live
from mvc.registry.location import finding, lost, newest
from mvc.registry.location import place as places
from mvc.registry.location.place import CONFIG, Place
from mvc.registry.location.presence import Presence
from mvc.registry.reach import closure
from mvc.registry.retention import GRACE
from mvc.registry.sealed import timestamp
from mvc.store import Store, alternates, relocation, roots
from mvc.store.alternates import Alternate
from mvc.store.intents import waiting
from mvc.store.lock import maintenance
from mvc.store.relocation import Moved, MovePlan
from mvc.store.roots import Roots
from mvc.store.settings import (
    MOVED,
    ROOTS,
    SETTINGS,
    claims,
    identity_of,
    leads_on,
    moved_from,
    moved_to,
)
from mvc.system_errors import in_words


@dataclass(frozen=True, slots=True)
class RegistryInfo:
    """A registry that has roots in a store; ``own`` is the one that is asked."""

    id: str
    roots: int
    used: str
    own: bool


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """A store as a registry sees it; ``refusal`` says why nothing may be written there.

    ``how`` is how it was found: ``named``, ``noted``, ``configured``,
    ``default``, ``fallback`` or ``moved``.
    """

    path: Path
    id: str
    how: str
    configured: Path
    size: int
    packs: int
    free: int
    refusal: str | None
    registries: tuple[RegistryInfo, ...]
    alternates: tuple[Alternate, ...]
    fallbacks: tuple[Alternate, ...]


@dataclass(frozen=True, slots=True)
class Relinked:
    """Where the store is from now on: in the registry's settings, in the user's note, or both."""

    path: Path
    configured: bool
    noted: bool


@dataclass(frozen=True, slots=True)
class ForgetPlan:
    """The registry to forget; ``freed`` is the bytes that nothing but its roots keeps."""

    registry: str
    roots: int
    used: str
    freed: int


def info(place: Place, presence: Presence) -> StoreInfo:
    """Describe the store, its registries and where else is looked."""
    located = presence.located
    store, refusal = located.store, presence.refusal()
    registries = [
        RegistryInfo(found.registry, found.count, timestamp(found.used), found.registry == place.id)
        for found in roots.registries(store)
    ]
    return StoreInfo(
        path=store.folder,
        id=store.id,
        how=located.how,
        configured=place.store_path,
        size=store.size(),
        packs=len(store.index.names),
        free=fileio.free_space(store.folder),
        refusal=None if refusal is None else in_words(refusal).message,
        registries=tuple(sorted(registries, key=lambda known: not known.own)),
        alternates=tuple(alternates.reachable(store.folder)),
        fallbacks=tuple(_fallback(path, store.id) for path in place.fallbacks),
    )


def plan_move(place: Place, presence: Presence, target: Path, *, dry_run: bool = True) -> MovePlan:
    """Say what moving the store to ``target`` takes. Raises as ``relocation.plan``, and as writing.

    A move that was cut off is taken up where it stopped.

    Args:
        dry_run: It is only to be said, so a store that may only be read will do.
    """
    target = places.tidy(target)
    places.path_text(place.folder, target)
    plan = relocation.plan(_source(place, presence, target, dry_run), target)
    if plan.done and place.store_path.resolve() != target.resolve():
        raise UsageError(
            f"the store is in '{target}' already, which the registry's settings do not say",
            hint=f"mvc store relink {quote(str(target))} notes it there",
        )
    return plan


def move(place: Place, plan: MovePlan) -> Moved:
    """Carry out what ``plan_move`` said; nothing where the store is there already."""
    if plan.done:
        return Moved(copied=0, damaged=(), left=0)

    def switch() -> None:
        text = places.path_text(place.folder, plan.target)
        places.change(place.folder, store={"path": text, "id": plan.identity})

    with _alone(plan.source), job("copying packs", plan.size):
        moved = fileio.run(relocation.move(plan, switch, waiting(relocation.SECONDS_TO_WAIT)))
    for name in moved.damaged:
        warn(
            f"pack '{name}' was damaged before, and is as it was; mvc fsck says more", StoreWarning
        )
    if moved.left:
        warn(
            f"{moved.left} files in '{plan.source}' are not in the new place and were left there",
            StoreWarning,
        )
    return moved


def relink(place: Place, presence: Presence, path: Path | None, force: bool) -> Relinked:
    """Accept a place as that of the store: where it was found, or ``path``.

    Args:
        force: Also an old copy, which lacks what was added last; where the
            target of a move that was cut off cannot be asked; and a store
            whose ``store.yaml`` is lost, which gets it back.

    Raises:
        NotFound: It is not there, or this is a clone without settings.
        Conflict: It was moved away, or it is an old copy.
    """
    path = presence.located.store.folder if path is None else places.tidy(path)
    nameless = lost.is_nameless(place, path)
    if nameless and force:
        fileio.run(lost.put_back(place, path))
    identity, typed = _identity(path, nameless), quote(str(path))
    if not place.store_id:
        raise finding.records_only(place, f"mvc init --store {typed} attaches the one there")
    if identity != place.store_id:
        raise Conflict(
            f"the store in '{path}' is another one ({identity[:8]}, not {place.store_id[:8]})",
            hint=f"mvc init --store {typed} takes it if this registry's own is still empty; "
            f"mvc store alternates --add {typed} reads from it, too",
        )
    _call_off(path, force)
    stale = newest.refusal(place, Store(path, identity))
    if stale is not None and (nameless or not force):  # nobody has agreed to an old copy yet
        raise Conflict(stale.message, hint=stale.hint)
    own = _is_own(place)
    if own:
        text = places.path_text(place.folder, path)
        places.change(place.folder, store={"path": text, "id": identity})
        if stale is not None:
            newest.forget(place)
    return Relinked(path, own, _note(place, path))


def change_alternates(
    presence: Presence, add: Path | None = None, remove: Path | None = None
) -> tuple[Alternate, ...]:
    """Add a store to those asked for what this one lacks, or take one off; return them all."""
    folder = presence.store.folder
    if add is not None or remove is not None:
        folder = presence.writable().folder
        add, remove = add and _store_of(add), remove and _store_of(remove)
        alternates.change(folder, add=add, remove=remove)
    return tuple(alternates.reachable(folder))


def _store_of(path: Path) -> Path:
    """Return where a store is that is named by its folder, or by that of a project."""
    path = places.tidy(path)
    registry = places.at(path)
    if not (path / SETTINGS).exists() and (registry / CONFIG).is_file():
        return places.read(registry).store_path
    return path


def plan_forget(place: Place, presence: Presence, registry: str) -> ForgetPlan:
    """Say what forgetting a registry would free.

    Raises:
        NotFound: No registry with roots in the store is called so.
        Conflict: It is this one.
    """
    store = presence.store
    every = roots.registries(store)
    dead = roots.named(store, registry)
    if dead.registry == place.id:
        raise Conflict(
            f"'{dead.registry}' is this registry itself", hint="mvc rm withdraws versions"
        )
    needed = frozenset[Digest]()
    for other in every:
        if other.registry != dead.registry:
            needed |= _needed(store, other)
    freed = sum(
        found.entry.cost
        for digest in _needed(store, dead) - needed
        for found in store.index.find(digest)
    )
    return ForgetPlan(dead.registry, dead.count, timestamp(dead.used), freed)


def forget(presence: Presence, plan: ForgetPlan, force: bool) -> int:
    """Remove the roots of a registry; return how many there were.

    Raises:
        Conflict: It was used within the grace time, without ``force``.
    """
    store = presence.writable()
    dead = roots.named(store, plan.registry)
    if datetime.now(timezone.utc) - dead.used < GRACE and not force:
        raise Conflict(
            f"registry '{dead.registry}' was used on {timestamp(dead.used)[:10]}, "
            f"less than {GRACE.days} days ago",
            hint="to have back here first what it keeps, if its .mvc was lost: mvc fsck --repair "
            f"--lost-records-of {dead.registry}; if nobody needs that any more: --force",
        )
    note_live(store, 0)  # what is needed next may be far less, and rightly so
    return fileio.run(roots.unroot(store, dead.registry))


@contextlib.contextmanager
def _alone(store: Path) -> Iterator[None]:
    with maintenance(store) as alone:
        if not alone:
            raise Busy("a gc, repack or move of this store is under way", hint="try again later")
        yield


def _source(place: Place, presence: Presence, target: Path, dry_run: bool) -> Path:
    """Return where the store is that is to go to ``target``, or was going there already."""
    if _is_bound_for(place.store_path, target):
        return place.store_path
    before = moved_from(target)
    if before is not None and _is_bound_for(before, target):  # switched, but not emptied
        return before
    return presence.writable(dry_run=dry_run).folder


def _is_bound_for(folder: Path, target: Path) -> bool:
    with contextlib.suppress(MvcError, OSError):
        return moved_to(folder) == target
    return False


def _identity(path: Path, nameless: bool) -> str:
    try:
        return identity_of(path)
    except NotFound as error:
        hint = lost.remedy(path) if nameless else "PATH is the folder in which store.yaml lies"
        raise NotFound(error.message, hint=hint) from None


def _call_off(path: Path, force: bool) -> None:
    """End a move from ``path`` that was cut off, if there is one."""
    target = moved_to(path)
    if target is None:
        return
    if leads_on(path) is not None:
        raise Conflict(
            f"the store in '{path}' was moved to '{target}'",
            hint=f"mvc store relink {quote(str(target))} uses it there",
        )
    reached = bool(claims(target)) or (target / "packs").is_dir()
    if not reached and not force:
        raise Conflict(
            f"the store in '{path}' was being moved to '{target}', which is not there, "
            "so nobody knows whether it has all",
            hint="mount it and try again; if it is lost for good: --force",
        )
    if reached:
        with _alone(path):
            relocation.call_off(path, target)
    elif fileio.unlink(path / MOVED):
        fileio.sync_folder(path)


def _is_own(place: Place) -> bool:
    """Say whether the settings are this user's to change."""
    owner = os.stat(place.folder / CONFIG).st_uid
    return owner == os.geteuid() and fileio.may_write(place.folder)


def _note(place: Place, path: Path) -> bool:
    """Note the place for this user; the one inside the registry needs none."""
    if path == place.default_store:
        finding.forget_note(place.store_id)
        return False
    finding.note(place.store_id, path)
    return True


def _needed(store: Store, registry: Roots) -> frozenset[Digest]:
    """Return the objects that a registry's roots need, as far as they can be read."""
    needed = frozenset[Digest]()
    for name in registry.names:
        path = store.folder / ROOTS / registry.registry / name
        try:
            artifact = records.decode(fileio.read(path, lines.MAX_SIZE)).artifact
            needed |= closure(store, artifact)
        except (MvcError, OSError) as error:
            warn(f"'{path}' is not counted: {in_words(error).message}", StoreWarning)
    return needed


def _fallback(path: Path, store_id: str) -> Alternate:
    try:
        identity = identity_of(path)
    except (MvcError, OSError) as error:
        return Alternate(path, in_words(error).message)
    return Alternate(path, None if identity == store_id else "it is another store")
