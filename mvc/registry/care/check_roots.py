"""The roots of a check: each version has its own, and one without a version may be a lost record.

Public names: ``check_roots``.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from mvc import environment, fileio, lines
from mvc.errors import MvcError
from mvc.registry.care import modes, remarks, rooted
from mvc.registry.care.findings import Check
from mvc.registry.care.remarks import MENDS
from mvc.registry.care.vanished import Vanished, vanished
from mvc.registry.location import pulled
from mvc.registry.reach import Held, lacking
from mvc.registry.record import Artifact
from mvc.store import Store
from mvc.store.roots import names_of
from mvc.store.settings import moved_to, root_name


def check_roots(run: Check, with_alternates: Store) -> None:
    """Every version has its root; a root without a version may mend a damaged record."""
    folder = run.store.folder / "roots" / run.place.id
    unmatched = set(names_of(run.store.folder, run.place.id))
    run.counts["roots"] = len(unmatched)
    first: dict[str, Held] = {}
    twice: list[tuple[Held, Held]] = []
    came = pulled.is_pending(run.place, run.manifest, run.store)
    for version in run.versions:
        data = run.manifest.record_bytes(version.family, version.number)
        name = root_name(data)
        unmatched.discard(name)
        if first.setdefault(name, version) is not version:
            twice.append((first[name], version))
        _check_root(run, version, data, came, with_alternates)
    if run.pulled:
        run.notes.append(remarks.of_pulled(run.pulled))
    for one, other in () if environment.in_git(run.manifest.folder) else twice:
        if lost := rooted.copied_over(folder, sorted(unmatched), one, other):
            run.unreadable[lost.id] = f"{one.id} and {other.id} have the same record"
    _check_lost(run, folder, sorted(unmatched))


def _check_lost(run: Check, folder: Path, unmatched: list[str]) -> None:
    """Find records that are missing or damaged, and those of which only the root is left."""
    found = vanished(run.place, run.manifest, run.store, unmatched)
    told = {each.id.lower(): each for each in found if each.sure or run.lost_records}
    for identity, reason in run.unreadable.items():
        family, _, number = identity.rpartition("/v")
        where = run.manifest.record_path(family, int(number))
        closed = modes.unreadable(where)
        one = None if closed else told.get(identity.lower())
        copies = [one.root.name] if one else []
        if not copies and not closed:
            copies = [name for name in unmatched if rooted.is_of(folder / name, family)]
        paths = [folder / copy for copy in copies]
        run.lose(("record", identity, family, int(number)), where, paths, sure=one is not None)
        remedy = closed or remarks.way_on(where, folder)
        if copies:
            commands = (f"cp -f '{folder / copy}' '{where}'" for copy in copies)
            alone = sum(i.rpartition("/v")[0] == family for i in run.unreadable) == 1
            certain = one is not None or (alone and len(copies) == 1)
            remedy = f"the store keeps it: {MENDS}" if certain else "the store may keep it"
            remedy = ", or: ".join([remedy, *commands])
        run.find("record", identity, where, [identity], f"{reason}; {remedy}")
    unreadable = {identity.lower() for identity in run.unreadable}
    gone = [f for f in found if f.lost or run.lost_records]
    for each in gone:
        if each.id.lower() not in unreadable:
            _find_vanished(run, each)
    left = [each for each in found if each not in gone]
    if len(unmatched) > len(gone) and not run.unreadable:
        run.notes += remarks.ways_back(run.manifest, len(unmatched) - len(gone), left)


def _find_vanished(run: Check, found: Vanished) -> None:
    where = run.manifest.record_path(found.record.family, found.number)
    reason = "the record is not here, and the store keeps it"
    remedy = f"{MENDS}, or: {remarks.copying(found, where)}"
    if found.sure or run.lost_records:
        lost = ("record", found.id, found.record.family, found.number)
        run.lose(lost, where, [found.root], sure=True)
    else:
        remedy = (
            "the number is told by the order of what is left only, so take the folder "
            f"'{run.manifest.folder}' from a backup if there is one; else: {MENDS} --lost-records"
        )
    run.find("record", found.id, where, [found.id], f"{reason}; {remedy}")


def _check_root(run: Check, version: Held, data: bytes, came: bool, with_alternates: Store) -> None:
    """Compare a version's root; of one that just came by git others may have it.

    One that is read from an alternate has nothing here for a root to keep.
    """
    path = run.store.folder / "roots" / run.place.id / root_name(data)
    with contextlib.suppress(OSError, MvcError):
        if fileio.read(path, lines.MAX_SIZE) == data:
            return
    if came and pulled.is_kept_by_others(run.place, run.store, data):
        run.pulled.append(version.id)
        return
    source = run.manifest.record_path(version.family, version.number)
    remedy = modes.unreadable(path) or f"{MENDS}, or: cp '{source}' '{path}'"
    run.rootless.append(version)
    if path.exists() or not _is_borrowed(run.store, with_alternates, version.record.artifact):
        run.find("root", version.id, path, [version.id], remedy)


def _is_borrowed(alone: Store, with_alternates: Store, artifact: Artifact) -> bool:
    here = alone.find(artifact.digest) is not None or moved_to(alone.folder) is not None
    return not here and not lacking(with_alternates, artifact)
