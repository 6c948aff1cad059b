"""Status: the model files in a folder beside what is registered.

Public names: ``Status``, ``FileState``, ``status``, ``rank``.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mvc import fileio
from mvc.errors import MvcError, MvcWarning, warn
from mvc.registry import family as families
from mvc.registry.digests import Notes
from mvc.registry.display import Display, Displayed, count, first
from mvc.registry.family import Family
from mvc.registry.folder_status import MOST_FILES, FolderState, Told, folder_states, warn_of_many
from mvc.registry.location.place import Place
from mvc.registry.location.presence import Presence
from mvc.registry.manifest import Manifest
from mvc.registry.names import model_suffix
from mvc.registry.reach import files_of, released

if TYPE_CHECKING:
    from mvc.registry.checkout.known import Content
    from mvc.store import Store

LEFT_OUT = frozenset(["node_modules", "__pycache__", "venv", "site-packages"])
# In the order in which they are told: what needs a look comes last.
STATES = ("registered", "withdrawn", "changed", "new")
# The private name of a checkout or an init; those of training callbacks go by themselves.
PRIVATE = re.compile(rf"{re.escape(fileio.PRIVATE_PREFIX)}[0-9a-f]{{16}}(\.mvc)?")
# Where nothing was written for so many seconds, whoever made it is taken for dead.
IDLE = 3600


@dataclass(frozen=True, slots=True)
class FileState:
    """A model file, and its ``state``, one of ``STATES``.

    ``version`` is the id of what it is, or of what it was. A file of which the
    store has no version that can be had back is new, whatever it was before.
    ``folder`` is that of the folders which tells of it, if one does.
    """

    path: Path
    state: str
    version: str | None
    size: int
    folder: Path | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Status(Displayed):
    """Where things are and how much they take, in bytes; and the files looked at.

    ``stored`` is what the store takes on disk, ``plain`` what plain copies
    would; both are ``None`` when the store is not there. Files, and folders that
    are versions or were, stand by state, then by path. ``leftovers`` are of a
    checkout or init that was killed, and may be removed.
    """

    registry: Path
    families: int
    versions: int
    store: Path | None
    stored: int | None
    plain: int
    free: int | None
    files: tuple[FileState, ...]
    folders: tuple[FolderState, ...]
    leftovers: tuple[Path, ...]

    def _display(self) -> Display:
        states: dict[str, list[str]] = {}
        for file in self.files:
            version = f" ({file.version})" if file.version else ""
            states.setdefault(file.state, []).append(f"{file.path}{version}")
        counts = [count(self.families, "family", "families"), count(self.versions, "version")]
        counts += [f"{count(len(files), 'file')} {state}" for state, files in states.items()]
        counts += [count(len(self.folders), "folder")] if self.folders else []
        store = "not there" if self.store is None else f"{self.store}, {self.stored or 0:,} bytes"
        rows = (("store", [store]), ("folders", [*map(str, self.folders)]), *states.items())
        return Display(str(self.registry), counts, first(rows))


def status(place: Place, manifest: Manifest, presence: Presence, folder: Path) -> Status:
    """Describe a registry, and the model files in ``folder`` and below."""
    known = list(families.readable(manifest))
    store = presence.if_there()
    files, folders, leftovers = _looked_at(place, manifest, presence, known, folder)
    return Status(
        registry=place.folder,
        families=len(known),
        versions=sum(family.count - len(family.withdrawn) for family in known),
        store=store.folder if store else None,
        stored=store.size() if store else None,
        plain=sum(family.plain for family in known),
        free=fileio.free_space(store.folder) if store else None,
        files=tuple(sorted(files, key=rank)),
        folders=tuple(sorted(folders, key=rank)),
        leftovers=tuple(sorted(leftovers)),
    )


def rank(found: FileState | FolderState) -> tuple[int, Path]:
    """Return where a file or folder stands among others."""
    return STATES.index(found.state), found.path


def _looked_at(
    place: Place,
    manifest: Manifest,
    presence: Presence,
    known: Sequence[Family],
    folder: Path,
) -> tuple[list[FileState], list[FolderState], list[Path]]:
    notes = Notes(place.cache)
    told = Told(manifest, presence, notes)
    paths, folders, leftovers = _found(folder, notes)
    files = list(_states(told, known, paths))
    states, folder_of = folder_states(told, folders)
    notes.save()
    files = [replace(file, folder=folder_of.get(file.path)) for file in files]
    return files, states, leftovers


def _states(told: Told, known: Sequence[Family], paths: Iterable[Path]) -> Iterator[FileState]:
    """Say what files are, and keep for later what was found out."""
    manifest, presence, notes = told.manifest, told.presence, told.notes
    store = presence.if_there()
    of_all = cache(lambda: _known_files(manifest, store, known))
    named = {family.name: family for family in known}
    of_one = cache(lambda identity: _contents(manifest, store, named, identity))
    found = list(_read(paths, notes))
    there = presence.held([content for _, content, _, _ in found])
    for path, content, status, held in found:
        note, (digest, size) = notes.get(path), content
        identity, state = "", "registered"
        if store is None or content in there:
            if note and note.id and content in of_one(note.id):
                identity = note.id
            else:
                identity, state = of_all().get(content, ("", state))
        before = note.id if note and (note.changed or note.digest != digest) else ""
        if not held:
            noted_as = identity or (note.id if note else "")
            notes.note(path, noted_as, digest, status, changed=bool(before and not identity))
        if not identity:
            state = "changed" if before else "new"
        told.digests[path] = digest
        if state != "new":
            told.versions.add(path)
        yield FileState(path, state, identity or before or None, size)


def _read(
    paths: Iterable[Path], notes: Notes
) -> Iterator[tuple[Path, Content, os.stat_result, bool]]:
    """Yield what files hold, with their status and whether that was known without reading."""
    for path in paths:
        try:
            digest, status, held = notes.look(path)
        except OSError as error:
            warn(f"'{path}' cannot be read: {error.strerror}", MvcWarning)
            continue
        yield path, (digest, status.st_size), status, held


def _found(folder: Path, notes: Notes) -> tuple[list[Path], list[Path], list[Path]]:
    """Return files noted as a version, or named as a model, no links; noted folders; leftovers."""
    files: list[Path] = []
    leftovers: list[Path] = []
    noted = [folder] if notes.get(folder) else []
    looked_at = 0
    for above, folders, names in os.walk(folder):
        private = (Path(above, n) for n in (*folders, *names) if PRIVATE.fullmatch(n))
        leftovers += filter(_is_left, private)
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in LEFT_OUT)
        noted += (path for name in folders if notes.get(path := Path(above, name)))
        for path in (Path(above, name) for name in sorted(names)):
            note = notes.get(path)
            known = model_suffix(path.name) or (note is not None and note.id)
            if known and path.is_file() and not path.is_symlink():
                files.append(path)
        looked_at += len(names)
        if looked_at > MOST_FILES:
            warn_of_many(folder, looked_at)
            break
    return files, noted, leftovers


def _is_left(path: Path) -> bool:
    """Say whether nothing was written there for long."""
    then = time.time() - IDLE
    inside = (Path(above, n) for above, folders, names in os.walk(path) for n in (*folders, *names))
    try:
        return all(os.lstat(each).st_mtime < then for each in (path, *inside))
    except OSError:  # it is going, or got its name
        return False


def _contents(
    manifest: Manifest, store: Store | None, known: Mapping[str, Family], identity: str
) -> frozenset[Content]:
    """Return what the files of a version hold; nothing if it is not in use here any more."""
    name, _, number = identity.rpartition("/v")
    family = known.get(name)
    with contextlib.suppress(MvcError, ValueError):
        if family and int(number) not in family.withdrawn:
            artifact = manifest.record(family.folder, int(number))[0].artifact
            return frozenset((file.digest, file.size) for file in files_of(store, artifact))
    return frozenset()


def _known_files(
    manifest: Manifest, store: Store | None, known: Iterable[Family]
) -> dict[Content, tuple[str, str]]:
    """Return the first version of each file, and its state; a withdrawn one only if no other is."""
    used: dict[Content, tuple[str, str]] = {}
    withdrawn: dict[Content, tuple[str, str]] = {}
    for family in known:
        folder, gone = family.folder, family.withdrawn
        with contextlib.suppress(MvcError):
            gone = frozenset(released(manifest, family))
        for number in manifest.numbers(folder):
            if number in gone:
                continue
            into, state = used, "registered"
            if number in family.withdrawn:
                into, state = withdrawn, "withdrawn"
            with contextlib.suppress(MvcError):
                artifact = manifest.record(folder, number)[0].artifact
                for file in files_of(store, artifact):
                    into.setdefault((file.digest, file.size), (f"{family.name}/v{number}", state))
    return withdrawn | used
