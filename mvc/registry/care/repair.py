"""Repair: what ``fsck`` finds is put right from what is still whole somewhere.

Records come back from their roots, roots from their records, objects from
damaged packs, from files and from other stores. Nothing is deleted and no
damaged byte is lost: what is replaced is in ``quarantine/`` first. What has
no source, or more than one that fits, is left as it is.

Order of every write: ``docs/repair.md``.
Public names: ``repair``, ``repair_steps``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mvc import fileio
from mvc.digest import Digest, digest_of
from mvc.errors import MvcError
from mvc.fileio import Steps
from mvc.lines import MAX_SIZE
from mvc.registry import event as events
from mvc.registry import family as families
from mvc.registry import record as records
from mvc.registry.care import modes
from mvc.registry.care.findings import Check, Lost, Report
from mvc.registry.care.material import collect
from mvc.registry.care.mending import Repair, damaged_bytes, put_back
from mvc.registry.care.repair_objects import mend_objects, say_taken, set_packs_aside
from mvc.registry.location.place import Place
from mvc.registry.location.presence import Presence
from mvc.registry.manifest import Manifest
from mvc.registry.reach import lacking
from mvc.registry.record import Record
from mvc.store import alternates, roots
from mvc.store.salvage import is_pack
from mvc.store.settings import PACKS, root_name
from mvc.system_errors import in_words

_ID = re.compile(rb'^id: "([0-9a-f]{32})"$', re.MULTILINE)


def repair(
    place: Place,
    manifest: Manifest,
    presence: Presence,
    level: str,
    sources: Sequence[Path] = (),
    *,
    lost_records: bool | str = False,
) -> Report:
    """Mend what can be mended, and check again.

    Args:
        sources: Files, folders or stores to take lost bytes from.
        lost_records: Make every root that has no version one, also those of other git branches.
            With an id also those of that registry, which are rooted here first. Its id is not
            taken, since nobody can know that it is not in use elsewhere.

    Returns:
        What is still wrong after it, and what was mended.
    """
    if isinstance(lost_records, str):
        store = presence.writable(if_old=True)
        names = sorted(roots.named(store, lost_records).names)
        fileio.run(roots.root_again(store, place.id, names))
    parts = place, manifest, presence, level, sources
    return fileio.run(repair_steps(*parts, lost_records=lost_records is not False))


def repair_steps(
    place: Place,
    manifest: Manifest,
    presence: Presence,
    level: str,
    sources: Sequence[Path] = (),
    *,
    lost_records: bool = False,
) -> Steps[Report]:
    """Mend, children after what names them is known: records, objects, packs, roots."""
    store = presence.writable(if_old=True)
    for name in manifest.families():
        manifest.own_folder(name)  # nothing is mended behind a link
    material = collect(sources, (place.folder, store.folder))
    for other in alternates.reachable(store.folder):
        if other.problem is None:
            material.packs += filter(is_pack, sorted((other.path / PACKS).iterdir()))
    run = Repair(place, manifest, presence, store.alone(), level, material, lost_records)
    _mend_modes(run)
    yield from _mend_records(run)
    found = run.examine()
    yield from mend_objects(run, found)
    say_taken(run)
    yield from set_packs_aside(run, found)
    yield from _mend_roots(run, found)
    _mend_derived(run, found)
    report = run.examine().report(run.mended)
    run.notes += [f"'{path}' holds nothing that is missing" for path in material.unused()]
    return Report(report.level, report.checked, report.findings,
                  (*run.notes, *report.notes), report.mended)  # fmt: skip


def _mend_modes(run: Repair) -> None:
    for found in modes.strayed(run.manifest, run.store, run.place.id):
        if count := modes.mend(found):
            what = f"{count} file{'s' if count > 1 else ''} in '{found.folder}'"
            run.done("mode", what, "read by who may, written to by nobody")


def _mend_records(run: Repair) -> Steps[None]:
    every = run.examine("quick").lost
    # What is left of a damaged one may tell which it was, so that less is left to choose from.
    for lost in sorted(every, key=lambda each: not each.path.exists()):
        try:
            old = damaged_bytes(lost.path)
        except (MvcError, OSError) as error:
            run.notes.append(f"{lost.id} was left as it is: {in_words(error)}")
            continue
        copies = _copies_of(run, lost, old, every)
        if len(copies) > 1:
            names = ", ".join(f"'{path}'" for path in copies.values())
            run.notes.append(f"{lost.id} was left as it is: several may be its record: {names}")
        if len(copies) != 1:
            continue
        ((data, source),) = copies.items()
        fileio.make_folder(lost.path.parent.parent)
        yield from put_back(run, lost.path, data, lost.path.parent.parent, old)
        run.material.use(source)
        run.done(lost.kind, lost.id, f"from '{source}'")


def _copies_of(
    run: Repair, lost: Lost, old: bytes | None, every: Sequence[Lost]
) -> dict[bytes, Path]:
    """Return the whole files that the lost one may have been, by their bytes."""
    if lost.kind == "event":
        return {
            data: path
            for path in run.material.sealed
            if path.parts[-3:] == (lost.family.lower(), "events", lost.path.name)
            and (data := _event_in(path, lost)) is not None
        }
    taken = {run.manifest.record(lost.family, n)[1] for n in _readable(run.manifest, lost.family)}
    found: dict[bytes, Path] = {}
    for path in lost.copies if lost.sure else (*lost.copies, *run.material.sealed):
        with contextlib.suppress(OSError, MvcError):
            data = fileio.read(path, MAX_SIZE)
            same = records.decode(data).family.lower() == lost.family.lower()
            if same and digest_of(data) not in taken:
                found.setdefault(data, path)
    sure = _ID.search(old or b"")
    if sure:  # the damaged file still says which it was
        return {d: p for d, p in found.items() if records.decode(d).id == sure[1].decode()}
    if lost.sure:
        return found
    fitting = {d: p for d, p in found.items() if _fits(run.manifest, lost, records.decode(d))}
    here = set(_readable(run.manifest, lost.family))
    left = [o for o in every if (o.kind, o.family) == (lost.kind, lost.family) and not o.sure]
    left = [o for o in left if o.number not in here]
    if len(fitting) == 1:  # it may as well be another that is lost
        (record,) = map(records.decode, fitting)
        if sum(_fits(run.manifest, other, record) for other in left) > 1:
            return {}
    return fitting


def _event_in(path: Path, lost: Lost) -> bytes | None:
    try:
        data = fileio.read(path, MAX_SIZE)
        event = events.decode(data, lost.number)
    except (OSError, MvcError):
        return None
    return data if event.family.lower() == lost.family.lower() else None


def _readable(manifest: Manifest, family: str) -> Iterator[int]:
    for number in manifest.numbers(family):
        with contextlib.suppress(MvcError):
            manifest.record(family, number)
            yield number


def _fits(manifest: Manifest, lost: Lost, found: Record) -> bool:
    """Say whether a record was made between its neighbours: another branch's may not be."""
    numbers = list(_readable(manifest, lost.family))
    below = max((n for n in numbers if n < lost.number), default=None)
    above = min((n for n in numbers if n > lost.number), default=None)
    after = below is None or manifest.record(lost.family, below)[0].created <= found.created
    before = above is None or found.created <= manifest.record(lost.family, above)[0].created
    return after and before


def _mend_roots(run: Repair, found: Check) -> Steps[None]:
    for version in found.rootless:
        if lacking(run.store, version.record.artifact):
            continue
        folder = run.store.folder / "roots" / run.place.id
        if rival := _rival(folder, version.record, version.digest):
            run.notes.append(
                f"{version.id} was left as it is: its record was changed after it was made; "
                f"the store has the one that was made: '{rival}'"
            )
            continue
        data = run.manifest.record_bytes(version.family, version.number)
        path = folder / root_name(data)
        fileio.make_folder(folder)
        try:
            old = damaged_bytes(path)
        except (MvcError, OSError) as error:
            run.notes.append(f"the root of {version.id} was left as it is: {in_words(error)}")
            continue
        if old != data:  # else it came with what was mended of the version
            yield from put_back(run, path, data, folder, old)
        run.done("root", version.id, "from its record")


def _rival(folder: Path, record: Record, digest: Digest) -> Path | None:
    """Return a whole root of the same transaction with other bytes, if there is one."""
    for name in sorted(fileio.list_folder(folder)):
        with contextlib.suppress(OSError, MvcError):
            data = fileio.read(folder / name, MAX_SIZE)
            if records.decode(data).id == record.id and digest_of(data) != digest:
                return folder / name
    return None


def _mend_derived(run: Repair, found: Check) -> None:
    for name in found.derived:
        fileio.remove(run.manifest.family_folder(name) / families.FILE_NAME)
        families.load(run.manifest, name)
        run.done("family", name, "worked out anew")
    index = run.store.index
    if index.merged_path and not index.merged_is_right():
        fileio.remove(index.merged_path)
        index.refresh()
        index.merge_if_due()
        run.done("index", "the merged index", "made anew from the packs")
