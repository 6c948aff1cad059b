"""Relocation: a store goes to another folder, or disk, and is never in two places.

The target becomes a store by one link, of the move's own claim to
``store.yaml``, when all of the old one is in it; whoever takes the claim's
name away before has called the move off. The old one takes no more transactions as soon as it
has a ``moved-to.yaml``. Then the registry's settings are switched, and only
then is anything deleted.

Steps, what a kill after each leaves, and why: ``docs/relocation.md``.
Public names: ``MovePlan``, ``Moved``, ``plan``, ``move``, ``call_off``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from mvc import durability, fileio, lines
from mvc.compatibility import FORMAT
from mvc.digest import Hasher
from mvc.errors import Busy, Conflict, FormatError, MvcError, NotFound, UsageError
from mvc.fileio import NewFile, Steps
from mvc.progress import advance
from mvc.store.intents import settle
from mvc.store.naming import check_place
from mvc.store.pack import SUFFIX, PackReader
from mvc.store.settings import (
    CALLED_OFF,
    COLLECTED,
    FOLDERS,
    MAX_SETTINGS,
    MOVED,
    PACKS,
    QUARANTINE,
    ROOTS,
    SETTINGS,
    STAGING,
    TRASH,
    called_off_from,
    claims,
    identity_of,
    is_id,
    is_vacant,
    leads_on,
    leads_to,
    moved_from,
    moved_to,
    new_id,
    text_of,
)

# Kept for people, or for readers; copied as they are.
OTHERS = ("features", QUARANTINE)
ALTERNATES = "alternates.yaml"
PIECE = 8 << 20
# Folders, notes and the records of what is under way.
SPACE_BESIDE = 1 << 20
# How long writers under way are waited for.
SECONDS_TO_WAIT = 60.0
_PRIVATE = "-moving"


@dataclass(frozen=True, slots=True)
class MovePlan:
    """What a move will do; ``size`` is the bytes still to be copied, ``packs`` and ``roots`` all.

    ``finishing`` says that an earlier one has copied everything: what is
    left is to switch, and to delete. Where the store is in the target
    already, that is also the source, and nothing is to be done.
    """

    source: Path
    target: Path
    identity: str
    packs: int
    roots: int
    size: int
    free: int
    finishing: bool

    @property
    def done(self) -> bool:
        """Whether the store is there already."""
        return self.source == self.target


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move did: bytes ``copied``; packs that were ``damaged`` before; files left behind."""

    copied: int
    damaged: tuple[str, ...]
    left: int


def plan(source: Path, target: Path) -> MovePlan:
    """Say what moving the store in ``source`` to ``target`` takes, and refuse what cannot be.

    Raises:
        UsageError: One lies inside the other.
        Conflict: Something else is in ``target``, or goes there, or the store goes elsewhere.
        MvcError: Too little space is free.
    """
    identity = identity_of(source)
    names = list(_names(source))
    packs = sum(name.parent.name == PACKS for name in names)
    roots = sum(name.parts[0] == ROOTS for name in names)
    if source.resolve() == target.resolve():
        free = fileio.free_space(source)
        return MovePlan(source, source, identity, packs, roots, 0, free, finishing=False)
    _check_apart(source, target)
    text_of(source), text_of(target)  # each is noted in the other
    finishing = _is_committed(source, target)
    if not finishing:
        _check_target(source, target, identity)
    there = set(_names(target))
    missing = [path for path in names if path not in there]
    size = 0 if finishing else sum(_size(_file(source, name)) for name in missing)
    free = fileio.free_space(_nearest(target))
    if free < size + SPACE_BESIDE and not finishing:
        raise MvcError(
            f"the store needs {size:,} bytes and 1 MiB more, only {free:,} are free in '{target}'",
            hint="choose a larger disk, or free some space there",
        )
    return MovePlan(source, target, identity, packs, roots, size, free, finishing)


def move(plan: MovePlan, switch: Callable[[], None], wait: Callable[[], bool]) -> Steps[Moved]:
    """Carry out a plan. It may be cut off anywhere and begun again.

    Args:
        switch: Notes in the registry's settings that the store is in ``plan.target``, durably.
        wait: Waits a little for writers; False means that enough was waited.

    Raises:
        Busy: Writers are under way in the old store and do not end; it goes on as before.
        OSError, MvcError: It could not be copied; the old store goes on as before.
    """
    source, target = plan.source, plan.target
    claim = target / f"moving-{new_id()}.yaml"
    copier = _Copier(source, target, claim)
    if not plan.finishing:
        try:
            yield from _claim(plan, claim)
            yield from copier.packs()
            yield from _close(plan)
            left = yield from settle(source, wait)
            if left:
                raise Busy(
                    f"{len(left)} commands are still writing to the store in '{source}'",
                    hint="try again when they are done; nothing was moved",
                )
            yield from copier.packs()  # before the roots that need them
            yield from copier.others()
            yield from copier.packs()  # what a collector has put elsewhere meanwhile
            yield from _commit(plan, claim)
        except BaseException:
            copier.discard()
            with contextlib.suppress(MvcError, OSError):
                _give_up(source, target, claim)
            raise
        copier.discard()
    fileio.sync_folder(target)
    switch()
    yield "switched"
    kept = yield from _empty(source, target)
    for left_behind in claims(target):
        fileio.unlink(left_behind)
    fileio.sync_folder(target)
    yield "old place emptied"
    return Moved(copier.copied, tuple(sorted(copier.damaged)), kept)


def call_off(source: Path, target: Path) -> None:
    """End a move that is not complete: the store in ``source`` takes transactions again.

    Raises:
        Conflict: The move is complete.
        OSError: The target cannot be reached, so nobody knows.
    """
    _check_incomplete(source, target)
    for claim in claims(target):
        fileio.rename(claim, target / CALLED_OFF)
    if target.is_dir():
        fileio.sync_folder(target)
    _check_incomplete(source, target)
    _reopen(source, target)


class _Copier:
    """Copies files of one store to another, each read back before it gets its name."""

    def __init__(self, source: Path, target: Path, claim: Path) -> None:
        self._source, self._target, self._claim = source, target, claim
        self._private = fileio.private_path(target / STAGING, _PRIVATE)
        self.copied = 0
        self.damaged: set[str] = set()

    def packs(self) -> Steps[None]:
        """Copy packs until one look at the old store shows none that the new one lacks.

        Those in its trash count: a collector may bring them back.
        """
        while True:
            _check_claim(self._claim)
            missing = [path for path in _packs(self._source) if not self._has(_pack_name(path))]
            if not missing:
                return
            for path in missing:
                name = _pack_name(path)
                with contextlib.suppress(FileNotFoundError):  # collected: look again
                    if self._copy(path, self._target / PACKS / name, self._check_pack):
                        yield "pack copied"
            fileio.sync_folder(self._target / PACKS)
            yield "packs durable"

    def others(self) -> Steps[None]:
        """Copy roots, which come after the packs that they need, and whatever else there is."""
        _copy_alternates(self._source, self._target)
        for name in _names(self._source):
            if name.parent.name != PACKS and name.name != ALTERNATES:
                path = self._target / name
                if not path.parent.is_dir():
                    fileio.make_folder(path.parent)
                with contextlib.suppress(FileNotFoundError):  # released meanwhile
                    self._copy(self._source / name, path)
        for folder in {(self._target / name).parent for name in _names(self._target)}:
            fileio.sync_folder(folder)
        yield "roots durable"

    def discard(self) -> None:
        """Remove what was copied in part."""
        fileio.remove_folder(self._private)

    def _has(self, name: str) -> bool:
        return (self._target / PACKS / name).exists()

    def _copy(self, path: Path, final: Path, check: Callable[[Path], None] | None = None) -> bool:
        if final.exists():
            return False
        if not self._private.is_dir():
            fileio.make_folder(self._private)
        descriptor = fileio.open_regular(path)
        new = NewFile(self._private / final.name)
        try:
            written = Hasher()
            while piece := os.read(descriptor, PIECE):
                written.update(piece)
                new.write([piece])
                advance(len(piece))
            new.seal()
            new.sync()
            _check_same(new, written, path)
            new.close()
            if check is not None:
                check(new.path)
            made = fileio.link_once(new.path, final)
        finally:
            os.close(descriptor)
            new.discard()
        self.copied += new.size
        return made

    def _check_pack(self, path: Path) -> None:
        """Look at every frame; what was damaged before is copied as it is, and named."""
        try:
            pack = PackReader(path)
            pack.check()
            for entry in pack.index:
                pack.payload(entry)
        except MvcError:
            self.damaged.add(path.name)


def _check_apart(source: Path, target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise Conflict(f"'{target}' is not a folder", hint="choose an empty folder, or a new one")
    one, other = source.resolve(), target.resolve()
    if one in other.parents or other in one.parents:
        inner, outer = (target, source) if one in other.parents else (source, target)
        raise UsageError(f"'{inner}' lies inside '{outer}'", hint="choose a folder beside it")


def _check_target(source: Path, target: Path, identity: str) -> None:
    going = moved_to(source)
    if going is not None and going != target:
        raise Conflict(
            f"the store in '{source}' is being moved to '{going}'",
            hint=f"mvc store move {quote(str(going))} finishes that, "
            f"mvc store relink {quote(str(source))} calls it off",
        )
    coming = moved_from(target) or called_off_from(target)
    if coming is not None and coming != source:
        raise Conflict(
            f"another store is being moved to '{target}', from '{coming}'",
            hint="choose another folder",
        )
    if coming is None and not is_vacant(target) and not _is_old_place(source, target):
        words = "there is a store in" if (target / SETTINGS).exists() else "something is in"
        raise Conflict(f"{words} '{target}' already", hint="choose an empty folder, or a new one")


def _is_committed(source: Path, target: Path) -> bool:
    """Say whether an earlier move from ``source`` has made ``target`` the store."""
    return moved_to(source) == target and leads_on(source) == target


def _is_old_place(source: Path, target: Path) -> bool:
    """Say whether ``target`` is where this store was before, emptied by a move from there."""
    known = {SETTINGS, MOVED, COLLECTED, TRASH, *FOLDERS, *OTHERS}
    if set(fileio.list_folder(target)) - known or any(_names(target)):
        return False  # a move back that was killed leaves moved-to.yaml, without store.yaml
    begin = target if (target / SETTINGS).exists() else moved_to(target)
    return begin is not None and (begin == source or leads_to(begin, source))


def _check_claim(claim: Path) -> None:
    if not claim.exists():
        raise Busy(f"the move to '{claim.parent}' was called off", hint="run the command again")


def _check_incomplete(source: Path, target: Path) -> None:
    with contextlib.suppress(NotFound):
        if identity_of(target) == identity_of(source):
            raise Conflict(
                f"the store in '{source}' was moved to '{target}'",
                hint=f"mvc store relink {quote(str(target))} uses it there",
            )


def _give_up(source: Path, target: Path, claim: Path) -> None:
    """Call off one's own move; if somebody has done that before, the rest is theirs, too."""
    _check_incomplete(source, target)
    if fileio.rename(claim, target / CALLED_OFF):
        fileio.sync_folder(target)
        _reopen(source, target)


def _reopen(source: Path, target: Path) -> None:
    if moved_to(source) == target and fileio.unlink(source / MOVED):
        fileio.sync_folder(source)


def _claim(plan: MovePlan, claim: Path) -> Steps[None]:
    """Make the target's folders, and the file that will be its ``store.yaml``.

    Earlier moves to the same place are called off: of several, only the last can complete.
    """
    source, target = plan.source, plan.target
    check_place(target)
    if _is_old_place(source, target):
        fileio.unlink(target / COLLECTED)
        fileio.unlink(target / SETTINGS)
    for name in FOLDERS:
        fileio.make_folder(target / name)
    for name in os.listdir(target / STAGING):
        if name.startswith(fileio.PRIVATE_PREFIX) and name.endswith(_PRIVATE):
            fileio.remove_folder(target / STAGING / name)  # of a move that was killed
    values = lines.loads(fileio.read(source / SETTINGS, MAX_SETTINGS))
    data = lines.dumps({**values, "from": str(source)})
    for other in claims(target):
        fileio.rename(other, target / CALLED_OFF)
    yield from fileio.create_once(claim, data, target)
    fileio.unlink(target / CALLED_OFF)
    if (target / SETTINGS).exists():
        raise Conflict(f"there is a store in '{target}' already", hint="choose another folder")
    fileio.unlink(target / MOVED)  # of an old place: until now it says whose that is
    yield "target claimed"


def _close(plan: MovePlan) -> Steps[None]:
    """Let no transaction begin in the old store any more."""
    data = lines.dumps({"mvc": FORMAT, "to": str(plan.target)})
    yield from fileio.create_once(plan.source / MOVED, data, plan.source)
    if moved_to(plan.source) != plan.target:
        raise Conflict(
            f"the store in '{plan.source}' is being moved elsewhere just now",
            hint="mvc store info says where, once that is done",
        )
    yield "old place closed"


def _commit(plan: MovePlan, claim: Path) -> Steps[None]:
    """Make the target the store, unless the move was called off."""
    target = plan.target
    if moved_to(plan.source) != target:
        raise Busy(f"the move to '{target}' was called off", hint="run the command again")
    try:
        made = fileio.link_once(claim, target / SETTINGS)
    except FileNotFoundError:
        _check_claim(claim)
        raise
    if not made:
        raise Conflict(f"there is a store in '{target}' already", hint="choose another folder")
    yield "target whole"
    fileio.sync_folder(target)
    durability.check_done((target / SETTINGS).exists(), target)
    yield "target durable"


def _empty(source: Path, target: Path) -> Steps[int]:
    """Delete from the old place what the new one has: roots first, then what they need.

    Returns:
        How many files the new one lacks; they stay.
    """
    if not _is_committed(source, target):
        return 0
    there = set(_names(target))
    kept, last = 0, ""
    for name in sorted(_names(source), key=lambda name: name.parts[0] != ROOTS):
        if name not in there:
            kept += 1
            continue
        if last and name.parts[0] != last:
            yield f"old {last} deleted"
        fileio.unlink(_file(source, name))
        last = name.parts[0]
    if last:
        yield f"old {last} deleted"
    for registry in fileio.list_folder(source / ROOTS):
        fileio.delete_folder(source / ROOTS / registry)
    return kept


def _names(store: Path) -> Iterator[Path]:
    """Yield the files of a store that a move takes along, by their names in the new one."""
    for pack in _packs(store):
        yield Path(PACKS, _pack_name(pack))
    for folder in (ROOTS, *OTHERS):
        for name in sorted(fileio.list_folder(store / folder)):
            path = store / folder / name
            if folder == ROOTS and is_id(name):
                yield from (Path(ROOTS, name, root) for root in sorted(fileio.list_folder(path)))
            elif folder != ROOTS:
                yield Path(folder, name)
    if (store / ALTERNATES).exists():
        yield Path(ALTERNATES)


def _copy_alternates(source: Path, target: Path) -> None:
    """Copy the one file that is ever changed, as it is now."""
    try:
        data = fileio.read(source / ALTERNATES, MAX_SETTINGS)
    except FileNotFoundError:
        fileio.unlink(target / ALTERNATES)
    else:
        fileio.replace(target / ALTERNATES, data, durable=True)


def _packs(store: Path) -> Iterator[Path]:
    """Yield every pack, also of the trash; one that moves between them is seen at least once."""
    found: dict[str, Path] = {}
    for folder in (PACKS, TRASH, PACKS):
        for entry in sorted(fileio.list_folder(store / folder)):
            path = store / folder / entry
            if entry.endswith(SUFFIX) and _pack_name(path) not in found:
                found[_pack_name(path)] = path
    yield from found.values()


def _pack_name(path: Path) -> str:
    """Return a pack's name: in the trash another one stands before it."""
    return path.name.rpartition("-")[2]


def _file(store: Path, name: Path) -> Path:
    path = store / name
    if name.parent.name == PACKS and not path.exists():
        return next((p for p in _packs(store) if _pack_name(p) == name.name), path)
    return path


def _check_same(new: NewFile, written: Hasher, path: Path) -> None:
    again, at = Hasher(), 0
    while piece := new.read(at, PIECE):
        again.update(piece)
        at += len(piece)
    if again.digest() != written.digest():
        raise FormatError(
            f"the copy of '{path.name}' is not what was written",
            hint="the new disk, or the way there, is failing",
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _nearest(path: Path) -> Path:
    while not path.is_dir():
        path = path.parent
    return path
