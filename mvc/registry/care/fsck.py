"""fsck: is everything that a version needs here, and is it what was stored?

Three levels, each with all of the one before: ``quick`` reads records,
events, roots and the packs' indexes; ``default`` compares the checksum of
every frame; ``full`` decodes every object and compares its digest, and puts
every file together. It only reads. What it finds it says with the versions
that it hurts; ``mvc.registry.care.repair`` mends what has a source.

What each level reads, and how a part is checked at a time: ``docs/fsck.md``.
Public names: ``examine``, ``check``, ``bytes_to_read``, ``LEVELS``.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial
from itertools import groupby

from mvc.codecs import Encoding
from mvc.digest import Digest, Hasher
from mvc.errors import Damaged, FormatError, MvcError, Unsupported
from mvc.progress import advance, job
from mvc.registry import family as families
from mvc.registry.care import coverage, modes, remarks
from mvc.registry.care.check_roots import check_roots
from mvc.registry.care.coverage import Progress, Scope, cost_of_file, cost_of_frame
from mvc.registry.care.findings import Check, Lost, Report
from mvc.registry.care.frames import deep, shallow
from mvc.registry.care.remarks import MENDS
from mvc.registry.location.place import Place
from mvc.registry.location.presence import Presence
from mvc.registry.manifest import Manifest
from mvc.registry.reach import Held, files_of, lacking, released
from mvc.store import Store
from mvc.store.index import Found
from mvc.store.pack import PackReader
from mvc.store.pipeline import in_order
from mvc.tree import TreeFile

# Further missing numbers in a row are taken for one file with a wrong name.
MOST_MISSING = 1000
FROM_A_COPY = "mvc fsck --repair --from FILE_OR_DIR, a whole copy of the file or a backup"
LEVELS = ("quick", "default", "full")
EVERYTHING = Scope()


def bytes_to_read(
    place: Place, manifest: Manifest, presence: Presence, level: str, scope: Scope = EVERYTHING
) -> int:
    """Return how much of the packs a check of ``level`` reads, in bytes."""
    if level == "quick":
        return 0
    if level == "default" and scope.parts == 1:
        return presence.store.size()
    run = Check(level, place, manifest, presence.store.alone())
    store, size = run.store, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check_records(run)
        files = _files(run, scope) if level == "full" else {}
    for entry in (entry for pack in store.index.packs() for entry in pack.index):
        if scope.holds(entry.digest):
            size += cost_of_frame(store, entry, with_bases=level == "full")
            if entry.encoding == Encoding.RECIPE and entry.digest in files:
                size += cost_of_file(store, entry.digest)
    return size


def check(
    place: Place, manifest: Manifest, presence: Presence, level: str, scope: Scope = EVERYTHING
) -> Report:
    """Check a registry and its store. Raises only if there is nothing to check."""
    return examine(place, manifest, presence, level, scope).report()


def examine(
    place: Place,
    manifest: Manifest,
    presence: Presence,
    level: str,
    scope: Scope = EVERYTHING,
    *,
    lost_records: bool = False,
) -> Check:
    """Like ``check``, and keep what a repair needs to know."""
    run = Check(level, place, manifest, presence.store.alone(), lost_records)
    with warnings.catch_warnings():  # what is warned about elsewhere is a finding here
        warnings.simplefilter("ignore")
        _check_records(run)
        check_roots(run, presence.store)
        _check_packs(run, scope)
        _check_needs(run, presence.store)
        _find_files(run)
        run.notes += remarks.leftovers(run.store)
        run.notes += () if run.versions else remarks.of_others(run.store, run.place.id)
        run.notes += map(str, modes.strayed(run.manifest, run.store, run.place.id))
    run.counts["versions"] = len(run.versions)
    return run


def _check_records(run: Check) -> None:
    run.notes += [
        f"'{run.manifest.folder / name}' is passed over: no family's folder is called so"
        for name in run.manifest.strays()
    ]
    for folder in run.manifest.families():
        if _is_closed(run, folder):
            continue
        _check_links(run, folder)
        _check_events(run, folder)
        try:
            family = _family(run, folder)
            gone = released(run.manifest, family)
        except MvcError:  # an event, which was found above
            family, gone = families.Family(folder, folder), set()
        for number in _with_gaps(run.manifest.numbers(folder)):
            run.counts["records"] += 1
            identity = f"{family.name}/v{number}"
            try:
                record, digest = run.manifest.record(folder, number)
            except MvcError as error:
                run.unreadable[identity] = error.message
                continue
            if number not in gone:
                withdrawn = number in family.withdrawn
                run.versions.append(Held(identity, family.name, number, record, digest, withdrawn))


def _is_closed(run: Check, folder: str) -> bool:
    """Say whether a family may not be looked into, which is found."""
    error = run.manifest.refusal(folder)
    if error is not None:
        where = run.manifest.family_folder(folder)
        run.find("family", folder, where, [], f"{error.message}; {error.hint}")
    return error is not None


def _check_links(run: Check, folder: str) -> None:
    try:
        run.manifest.own_folder(folder)
    except FormatError as error:
        where = run.manifest.family_folder(folder)
        run.find("family", folder, where, [], f"{error.message}; {error.hint}")


def _family(run: Check, folder: str) -> families.Family:
    """Work a family out from its files, and find a ``family.yaml`` that answers otherwise."""
    numbers, events = run.manifest.numbers(folder), run.manifest.event_numbers(folder)
    family = families.compute(run.manifest, folder, numbers, events)
    believed = families.believed(run.manifest, folder, numbers, events)
    wrong = family.whole and believed and replace(believed, times=family.times) != family
    if wrong and (numbers, events) == (  # else it speaks of what came meanwhile
        run.manifest.numbers(folder),
        run.manifest.event_numbers(folder),
    ):
        where = run.manifest.family_folder(folder) / families.FILE_NAME
        remedy = f"it says otherwise than the records and events; {MENDS}, or: rm '{where}'"
        run.derived.append(folder)
        run.find("family", family.name, where, [], remedy)
    return family


def _with_gaps(numbers: list[int]) -> Iterable[int]:
    """Return also the numbers below that are missing; a stray one far above makes no gap."""
    highest = max(numbers, default=0)
    return range(1, highest + 1) if highest <= 2 * len(numbers) + MOST_MISSING else numbers


def _check_events(run: Check, folder: str) -> None:
    for number in _with_gaps(run.manifest.event_numbers(folder)):
        run.counts["events"] += 1
        try:
            run.manifest.event(folder, number)
        except MvcError as error:
            where = run.manifest.family_folder(folder) / "events" / f"{number:08d}.yaml"
            remedy = modes.unreadable(where) or remarks.way_on(where)
            name = f"{folder} event {number}"
            run.lost.append(Lost("event", name, folder, number, where))
            run.find("event", name, where, _unresolved(run, folder), f"{error.message}; {remedy}")


def _unresolved(run: Check, folder: str) -> list[str]:
    """Return a family's versions if nobody can read it; its derived file may still answer."""
    numbers, events = run.manifest.numbers(folder), run.manifest.event_numbers(folder)
    for answer in (families.believed, families.compute):
        with contextlib.suppress(MvcError):
            if answer(run.manifest, folder, numbers, events):
                return []
    return [f"{folder}/v{number}" for number in numbers]


def _check_packs(run: Check, scope: Scope) -> None:
    index = run.store.index
    index.refresh(trust_cache=False)
    right = index.merged_is_right()
    if not right:
        remedy = f"it says otherwise than the packs; {MENDS}, or: rm '{index.merged_path}'"
        run.find("index", "the merged index", index.merged_path, [], remedy)
    known, seen = [], 0
    for pack in index.packs():
        seen += 1
        try:
            pack.check()
        except Unsupported as error:
            run.find("pack", pack.path.name, pack.path, [], f"{error.message}; {error.hint}")
            continue
        except MvcError as error:
            _find_pack(run, pack.path.name, error.message)
        known.append(pack.path.name)
    for name, reason in list(index.damaged.items()):
        if isinstance(reason, Unsupported):
            run.find("pack", name, index.folder / name, [], f"{reason.message}; {reason.hint}")
        else:
            _find_pack(run, name, reason.message)
    run.counts["packs"] = seen + len(index.damaged)
    if right:  # so it may answer from here on: to ask each of many packs would take for ever
        index.refresh()
    with job("checking packs", partial(coverage.bytes_passing, run.store, run.level, scope)):
        failures = _read_packs(run, known, scope) if run.level != "quick" else []
    misplaced = list(run.frames.misplaced(index.packs(known)))
    for found, _ in misplaced:
        run.frames.note(found)
    for found, failure in (*failures, *misplaced):
        _find_object(run, found, failure)


def _read_packs(run: Check, names: list[str], scope: Scope) -> list[tuple[Found, str]]:
    """Look at the frames in scope, and note which packs are whole; return those that are not."""
    progress = Progress(run.place.cache, run.store, run.level)
    chosen = names if scope.limit is None else progress.oldest_first(names, scope.limit)
    packs = run.store.index.packs(chosen)
    frames = (Found(p, entry) for p in packs for entry in p.index if scope.holds(entry.digest))
    look = partial(deep, run.store) if run.level == "full" else shallow
    files = _files(run, scope) if run.level == "full" else {}
    failures: list[tuple[Found, str]] = []
    try:
        for pack, looked in groupby(in_order(frames, look), key=lambda each: each[0].pack):
            whole = pack.path.name not in run.packs
            for found, failure in looked:
                run.counts["objects"] += 1
                run.counts["bytes"] += found.entry.stored
                advance(found.entry.stored)
                if failure and _still(run, found, look):
                    whole = False
                    failures.append((found, failure))
                    run.frames.note(found)
            whole = _check_files(run, pack, files) and whole
            if scope.parts == 1:
                progress.note(pack, whole=whole)
    finally:
        progress.save()
    if scope.limit is not None:
        run.coverage = progress.coverage(run.store.size())
    return failures


def _still(run: Check, found: Found, look: Callable[[Found], str | None]) -> bool:
    """Say whether a frame is damaged when it is read anew: what only came wrong once is not."""
    found.pack.forget(found.entry)
    if look(found):
        return True
    run.notes.append(
        f"{found.entry.digest.short} in '{found.pack.path.name}' was read wrong once and right "
        "the second time: the disk, the cable or the memory may be failing"
    )
    return False


def _find_pack(run: Check, name: str, reason: str) -> None:
    run.packs.add(name)
    where = run.store.folder / "packs" / name
    remedy = modes.unreadable(where) or f"{MENDS} saves what is whole in it"
    run.find("pack", name, where, [], f"{reason}; {remedy}")


def _find_object(run: Check, found: Found, reason: str) -> None:
    digest = found.entry.digest
    lies = shallow(found) is None
    (run.packs if lies else run.rotten).add(found.pack.path.name)
    if run.frames.serves(digest):
        run.notes.append(
            f"{digest.short} in '{found.pack.path.name}' is damaged; another copy serves"
        )
        return
    run.damaged[digest] = reason
    remedy = f"{reason}{run.dependents.file_with(digest)}; {FROM_A_COPY}"
    run.find("object", str(digest), found.pack.path, run.dependents.of(digest), remedy)


def _check_needs(run: Check, with_alternates: Store) -> None:
    """Every object that a version needs is in some index."""
    missing: dict[str, list[str]] = {}
    borrowed: list[Held] = []
    look = cache(lambda digest, _: run.store.lacking(digest))  # many versions may have one file
    for version in run.versions:
        reasons = lacking(run.store, version.record.artifact, look)
        if reasons and not lacking(with_alternates, version.record.artifact):
            borrowed.append(version)
            continue
        for reason in reasons:
            missing.setdefault(reason, []).append(version.id)
    run.notes += remarks.of_borrowed(run.store, borrowed)
    called = {version.id: version.record.artifact.name for version in run.versions}
    for reason, versions in missing.items():
        if not run.damaged or not set(versions) <= _hurt(run):
            remedy = f"it is of '{called[versions[0]]}' in {versions[0]}; {FROM_A_COPY}"
            run.find("missing", reason, run.store.folder / "packs", versions, remedy)


def _check_files(run: Check, pack: PackReader, files: dict[Digest, TreeFile]) -> bool:
    """Put the files together whose recipes are in a pack; say whether they are what was stored."""
    here = [(files[entry.digest], entry) for entry in pack.index if entry.digest in files]
    for file, entry in here:
        try:
            made = file.digest, entry.size  # one object: its digest was compared
            if entry.encoding == Encoding.RECIPE:
                hasher, size = Hasher(), 0
                for piece in run.store.pieces(file.digest):
                    hasher.update(piece)
                    size += len(piece)
                    advance(len(piece))
                made = hasher.digest(), size
            if made != (file.digest, file.size):
                raise Damaged("its parts are whole, but do not make the file")
            run.made.add(file.digest)
        except MvcError as error:
            run.unmade[file.digest] = error.message
    return not any(file.digest in run.unmade for file, _ in here)


def _find_files(run: Check) -> None:
    """Find the files that could not be made, but for those of which a part is known to be hurt."""
    for digest, reason in run.unmade.items():
        if run.store.lacking(digest) or run.damaged.keys() & run.dependents.closure(digest):
            continue
        run.made.add(digest)
        remedy = f"{reason}; {FROM_A_COPY}"
        run.find("file", str(digest), run.store.folder, run.dependents.of(digest), remedy)
    if run.level == "full":
        run.counts["files"] = len(run.made)


def _files(run: Check, scope: Scope) -> dict[Digest, TreeFile]:
    """Return each file of each version once; a tree that cannot be read is found elsewhere."""
    files: dict[Digest, TreeFile] = {}
    for version in run.versions:
        with contextlib.suppress(MvcError):
            for file in files_of(run.store, version.record.artifact):
                if scope.holds(file.digest):
                    files.setdefault(file.digest, file)
    return files


def _hurt(run: Check) -> set[str]:
    return {identity for finding in run.findings for identity in finding.versions}
