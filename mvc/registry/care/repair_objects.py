"""Objects brought back: from damaged packs, from other stores and from files.

Only what is needed is stored again, as by any transaction; damaged packs go
to quarantine once all that is whole in them is elsewhere.

Public names: ``mend_objects``, ``say_taken``, ``set_packs_aside``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mvc import fileio, recipe, tree
from mvc.codecs import Encoding
from mvc.digest import Digest, Hasher
from mvc.errors import MvcError
from mvc.fileio import Steps
from mvc.recipe import Recipe
from mvc.registry.care.findings import Check
from mvc.registry.care.mending import Repair, keep_aside
from mvc.registry.digests import digest_of_file
from mvc.registry.intake.ingest import ingest
from mvc.registry.intake.source import SourceFile
from mvc.registry.reach import Held, closure_of_file, files_of
from mvc.registry.record import DIRECTORY
from mvc.store import Store
from mvc.store.pack import SUFFIX, Entry, PackReader, is_whole
from mvc.store.salvage import Salvage, Sieve, frames
from mvc.system_errors import in_words
from mvc.tree import Tree

# A tree leads to files, a file's recipe to its parts: each may come to light in a round.
MOST_ROUNDS = 6


@dataclass(slots=True)
class _Needs:
    """Objects that versions need and no pack has whole.

    ``files`` are those of them of which not even the parts are known.
    """

    wanted: set[Digest] = field(default_factory=set)
    files: set[Digest] = field(default_factory=set)


def mend_objects(run: Repair, found: Check) -> Steps[None]:
    """Store again what is needed, and what else is whole in packs that cannot stay."""
    own = [path for name in sorted(found.packs) if (path := _pack(run, name)).exists()]
    damaged, parts = set(found.damaged), set[Digest]()
    for number in range(MOST_ROUNDS if found.versions else 0):
        needs = _needs(run.store, found, damaged)
        if not needs.wanted and not own:
            return
        needs.wanted |= {part for part in parts if not _holds(run.store, part, damaged)}
        sieve = Sieve(run.store, needs.wanted)
        salvage = Salvage(run.store, (*own, *run.material.packs))
        try:
            yield from sieve.begin()
            _take_trees(run, found.versions, needs, sieve)
            _take_objects(run, own, needs, sieve, salvage)
            if number == 0 or parts:
                _take_files(run, needs, sieve)
            before, parts = parts, _take_recipes(run, own, needs, sieve, salvage)
            if sieve.anything_new:
                yield "objects"
                rooted = next((v for v in found.versions if v not in found.rootless), None)
                chosen = rooted or found.versions[0]
                data = run.manifest.record_bytes(chosen.family, chosen.number)
                yield from sieve.publish(run.place.id, data)
            taken, objects = sieve.taken, sieve.objects
        finally:
            sieve.end()
        run.store.index.refresh(trust_cache=False)
        damaged -= objects
        if not taken and parts <= before:
            return


def _needs(store: Store, found: Check, damaged: set[Digest]) -> _Needs:
    needs = _Needs()
    for artifact in {version.record.artifact.digest: version.record.artifact
                     for version in found.versions}.values():  # fmt: skip
        if artifact.kind == DIRECTORY and not _holds(store, artifact.digest, damaged):
            needs.wanted.add(artifact.digest)
        try:
            files = files_of(store, artifact)
        except MvcError:
            continue
        for file in files:
            try:
                store.spans(file.digest)
                refs = closure_of_file(store, file.digest, found.frames.entry)
            except MvcError:
                needs.wanted.add(file.digest)
                needs.files.add(file.digest)
                continue
            needs.wanted |= {ref for ref in refs if not _holds(store, ref, damaged)}
    return needs


def _holds(store: Store, digest: Digest, damaged: set[Digest]) -> bool:
    return digest not in damaged and store.find(digest) is not None


def _take_trees(run: Repair, versions: Sequence[Held], needs: _Needs, sieve: Sieve) -> None:
    """Make a directory's tree anew from its record, where that lists all files."""
    for version in versions:
        artifact = version.record.artifact
        if artifact.listing is not None and artifact.digest in needs.wanted:
            before = sieve.taken
            sieve.put(tree.encode(Tree(artifact.listing)), artifact.digest, 0)
            if sieve.taken > before:
                run.done("object", f"the tree of {version.id}", "from its record")


def _take_objects(
    run: Repair, own: list[Path], needs: _Needs, sieve: Sieve, salvage: Salvage
) -> None:
    """Take what packs have whole: of our damaged ones all that is nowhere else."""
    for path in own:
        taken = sieve.taken
        for entry, payload in salvage.frames_of(path):
            here = entry.digest in needs.wanted or not _elsewhere(run.store, entry, path, salvage)
            if here and entry.encoding != Encoding.RECIPE:
                needs.wanted.add(entry.digest)
                sieve.put_frame(entry, payload, salvage)
        _note_taken(run, sieve, taken, path)
    for path in run.material.packs:
        taken = sieve.taken
        for entry, payload in salvage.frames_of(path, needs.wanted):
            if entry.encoding != Encoding.RECIPE:
                sieve.put_frame(entry, payload, salvage)
        _note_taken(run, sieve, taken, path)


def _take_files(run: Repair, needs: _Needs, sieve: Sieve) -> None:
    """Cut the given files as ``add`` does, and take the pieces that are wanted."""
    for path in run.material.files if needs.wanted else ():
        taken = sieve.taken
        with contextlib.ExitStack() as stack:
            try:
                if needs.files and digest_of_file(path) in needs.files:
                    stack.enter_context(sieve.unsifted())
                ingest(stack.enter_context(SourceFile(path)), sieve)
            except (MvcError, OSError) as error:
                run.notes.append(f"'{path}' was left out: {in_words(error)}")
        _note_taken(run, sieve, taken, path)


def _take_recipes(
    run: Repair, own: list[Path], needs: _Needs, sieve: Sieve, salvage: Salvage
) -> set[Digest]:
    """Take recipes that make their file; return the parts of those that lack some.

    A recipe's name is the digest of the file, so only the file proves it.
    """
    parts: set[Digest] = set()
    for path in (*own, *run.material.packs):
        ours = path in own
        taken = sieve.taken
        for entry, payload in salvage.frames_of(path, None if ours else needs.wanted):
            if entry.encoding != Encoding.RECIPE:
                continue
            if entry.digest not in needs.wanted and (
                not ours or _elsewhere(run.store, entry, path, salvage)
            ):
                continue
            made = recipe.decode(payload)
            if _makes(run.store, made, entry.digest):
                needs.wanted.add(entry.digest)
                sieve.put_frame(entry, payload, salvage)
            else:
                parts |= {ref.digest for ref in made.objects}
        _note_taken(run, sieve, taken, path)
    return parts


def _makes(store: Store, made: Recipe, digest: Digest) -> bool:
    hasher = Hasher()
    try:
        for span in made.spans():
            data = memoryview(store.get_object(span.object.digest, span.object.size))
            hasher.update(data[span.offset : span.offset + span.size])
    except MvcError:
        return False
    return hasher.digest() == digest


def _note_taken(run: Repair, sieve: Sieve, before: int, path: Path) -> None:
    count = sieve.taken - before
    if count:
        run.material.use(path)
        run.taken[path] += count


def say_taken(run: Repair) -> None:
    """Note how many objects came from where: from a file, or from the packs of a folder."""
    places: dict[Path, list[Path]] = {}
    for path in run.taken:
        places.setdefault(path.parent if path.suffix == SUFFIX else path, []).append(path)
    for folder, paths in places.items():
        count = sum(run.taken[path] for path in paths)
        source = f"{len(paths):,} packs in '{folder}'" if len(paths) > 1 else f"'{paths[0]}'"
        run.done("object", f"{count:,} object{'s' if count > 1 else ''}", f"from {source}")


def set_packs_aside(run: Repair, found: Check) -> Steps[None]:
    """Move damaged packs to quarantine, once all that is whole in them is elsewhere, too."""
    salvage = Salvage(run.store)
    for name in sorted(found.packs | found.rotten):
        path = _pack(run, name)
        if not path.exists():
            continue
        if is_whole(path) and not _lies(path, salvage):
            run.done("pack", name, "replaced by a whole one; the damaged is in quarantine")
            continue
        contents = _contents(path)
        if contents is None or not all(
            _elsewhere(run.store, entry, path, salvage) for entry in contents
        ):
            why = "it cannot be read" if contents is None else "it holds what is nowhere else"
            run.notes.append(f"'{name}' stays where it is: {why}")
            continue
        yield from keep_aside(run, path)
        fileio.unlink(path)
        fileio.sync_folder(path.parent)
        yield "pack removed"
        run.store.index.refresh(trust_cache=False)
        run.done("pack", name, "in quarantine; all it held is in other packs")


def _contents(path: Path) -> list[Entry] | None:
    """Return what a pack holds: all that its index lists, else every frame that may be whole.

    ``None`` where the disk does not give all of it: then nobody knows.
    """
    try:
        return list(PackReader(path).index)
    except (MvcError, OSError):
        pass
    try:
        return [entry for entry, _ in frames(path, forgiving=False)]
    except (MvcError, OSError):
        return None


def _lies(path: Path, salvage: Salvage) -> bool:
    pack = PackReader(path)
    return not all(salvage.is_whole(entry, pack.payload(entry)) for entry in pack.index)


def _elsewhere(store: Store, entry: Entry, path: Path, salvage: Salvage) -> bool:
    """Say whether another pack has the object, or the recipe, whole."""
    for other in store.entries_of(entry.digest):
        kinds = {each.encoding == Encoding.RECIPE for each in (entry, other.entry)}
        if other.pack.path != path and len(kinds) == 1:
            with contextlib.suppress(MvcError, OSError):
                if salvage.is_whole(other.entry, other.pack.payload(other.entry)):
                    return True
    return False


def _pack(run: Repair, name: str) -> Path:
    return run.store.folder / "packs" / name
