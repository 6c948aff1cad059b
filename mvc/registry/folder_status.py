"""Folders that are versions, and what became of each file of them.

A folder is known by the note that ``add`` or ``checkout`` left. What its files
hold is asked of the notes; only what these do not know is read.

What is told, and what is not looked at: ``docs/looking.md``.
Public names: ``FolderState``, ``Told``, ``folder_states``, ``MOST_FILES``, ``warn_of_many``.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from mvc import tree
from mvc.digest import Digest
from mvc.errors import MvcError, MvcWarning, warn
from mvc.registry import family as families
from mvc.registry.digests import Notes
from mvc.registry.family import Family
from mvc.registry.location.presence import Presence
from mvc.registry.manifest import Manifest
from mvc.registry.names import LEFT_OUT
from mvc.registry.reach import files_of
from mvc.registry.record import DIRECTORY, Artifact
from mvc.tree import TreeFile

MOST_FILES = 20_000
# The digests of so many files are noted; of any more, each is read each time.
MOST_NOTED = 1000
# Among so many versions of the family, the newest, it is looked whether a folder is another.
NEWEST = 50

Files: TypeAlias = tuple[TreeFile, ...]


@dataclass(frozen=True, slots=True)
class FolderState:
    """A folder, and its ``state``, one of those of files.

    ``version`` is the id of what it is, or of what it was; it is new if it is
    that, but the store does not hold it. Of its files, by their paths in it,
    some are other than in the version, ``missing``, or ``new`` to it.
    """

    path: Path
    state: str
    version: str
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    new: tuple[str, ...] = ()

    def __str__(self) -> str:
        kinds = {"changed": self.changed, "missing": self.missing, "new": self.new}
        files = "".join(f", {len(paths):,} {kind}" for kind, paths in kinds.items() if paths)
        return f"{self.path} ({self.state}, {self.version}{files})"


@dataclass(slots=True)
class Told:
    """What a call found out about model files, and goes on to find out about others.

    ``digests`` are those of files by path, ``versions`` the files that are or
    were one; ``noted`` counts files that were looked at beside them.
    """

    manifest: Manifest
    presence: Presence
    notes: Notes
    digests: dict[Path, Digest] = field(default_factory=dict)
    versions: set[Path] = field(default_factory=set)
    noted: int = 0

    def digest(self, path: Path) -> Digest:
        """Return the digest of a file, which is read unless it is known."""
        if path not in self.digests:
            self.noted += 1
            kept = self.notes if self.noted <= MOST_NOTED else Notes(None)
            digest, status, held = kept.look(path)
            note = kept.get(path)
            if not held:
                identity = note.id if note else ""
                changed = note is not None and (note.changed or note.digest != digest)
                kept.note(path, identity, digest, status, changed=bool(identity) and changed)
            self.digests[path] = digest
        return self.digests[path]


def folder_states(
    told: Told, paths: Sequence[Path]
) -> tuple[list[FolderState], Mapping[Path, Path]]:
    """Describe folders that have notes; and say of files in them which folder tells of each."""
    states: list[FolderState] = []
    folder_of: dict[Path, Path] = {}
    for path in sorted(paths, key=lambda path: len(path.parts)):  # the innermost folder last
        was = _noted(told, path)
        if was is None:
            continue
        state, files = _state(told, path, set(paths), *was)
        states.append(state)
        folder_of |= {path / file.path: path for file in files}
    return states, folder_of


def _noted(told: Told, path: Path) -> tuple[Family, int, Artifact, Files] | None:
    """Return the version that a folder was, unless a registry that shares the cache noted it."""
    note = told.notes.get(path)
    name, _, number = note.id.rpartition("/v") if note else ("", "", "")
    with contextlib.suppress(MvcError, ValueError):
        family = families.load(told.manifest, name)
        artifact = told.manifest.record(family.folder, int(number))[0].artifact
        if note and note.digest == artifact.digest and artifact.kind == DIRECTORY:
            return family, int(number), artifact, files_of(told.presence.if_there(), artifact)
    return None


def _state(
    told: Told,
    path: Path,
    others: set[Path],
    family: Family,
    number: int,
    artifact: Artifact,
    files: Files,
) -> tuple[FolderState, Files]:
    """Compare a folder with the version that it was; return with it the files of what it is."""
    changed, missing = _differing(told, path, files)
    new = tuple(sorted(_others(told, path, others) - {file.path for file in files}))
    differs, state = bool(changed or missing), "registered"
    if differs or number in family.withdrawn:
        here = {file.path for file in files}.difference(missing).union(new)
        another = _another(told, path, family, here)
        if another is not None:
            number, artifact, files = another
            told.notes.note(path, f"{family.name}/v{number}", artifact.digest, os.stat(path))
            changed, missing, new = (), (), ()
        else:
            state = "changed" if differs else "withdrawn"
    if (
        state != "changed"
        and told.presence.if_there()
        and not all(told.presence.present([artifact]))
    ):
        state = "new"
    identity = f"{family.name}/v{number}"
    return FolderState(path, state, identity, changed, missing, new), files


def _differing(told: Told, folder: Path, files: Files) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the paths of files that are other than in a version, and of those that are gone."""
    changed, missing = [], []
    for file in files:
        path = folder / file.path
        try:
            status = os.stat(path)
            same = stat.S_ISREG(status.st_mode) and status.st_size == file.size
            if not same or told.digest(path) != file.digest:
                changed.append(file.path)
        except (FileNotFoundError, NotADirectoryError):
            missing.append(file.path)
        except OSError as error:
            warn(f"'{path}' cannot be read: {error.strerror}", MvcWarning)
            changed.append(file.path)
    return tuple(changed), tuple(missing)


def _others(told: Told, folder: Path, others: set[Path]) -> set[str]:
    """Return the paths of all files in a folder but those that something else tells of."""
    found: set[str] = set()
    store = told.presence.if_there()
    left_out = {*others, Path(os.path.realpath(store.folder))} if store else others
    looked_at = 0
    for above, folders, names in os.walk(folder):
        within = (name for name in folders if name not in LEFT_OUT and not tree.is_own(name))
        places = {name: Path(above, name) for name in within}
        folders[:] = [
            name
            for name, path in places.items()
            if left_out.isdisjoint([path, Path(os.path.realpath(path))])
        ]
        paths = {Path(above, name) for name in names if not tree.is_own(name)} - told.versions
        found |= {path.relative_to(folder).as_posix() for path in paths}
        looked_at += len(names)
        if looked_at > MOST_FILES:
            warn_of_many(folder, looked_at)
            break
    return found


def warn_of_many(folder: Path, looked_at: int) -> None:
    """Say that no more files were looked at."""
    text = f"only the first {looked_at:,} files in '{folder}' were looked at"
    warn(text, MvcWarning)


def _another(
    told: Told, folder: Path, family: Family, here: set[str]
) -> tuple[int, Artifact, Files] | None:
    """Return the newest version in use that has the files that are ``here``, and no others."""
    for number, artifact, files in _newest(told, family):
        if {file.path for file in files} == here and not any(_differing(told, folder, files)):
            return number, artifact, files
    return None


def _newest(told: Told, family: Family) -> Iterator[tuple[int, Artifact, Files]]:
    for number in family.live(told.manifest)[: -NEWEST - 1 : -1]:
        with contextlib.suppress(MvcError):
            artifact = told.manifest.record(family.folder, number)[0].artifact
            if artifact.kind == DIRECTORY:
                yield number, artifact, files_of(told.presence.if_there(), artifact)
