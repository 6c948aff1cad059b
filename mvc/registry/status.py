"""Status: the model files in a folder beside what is registered.

Public names: ``Status``, ``FileState``, ``status``.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mvc import fileio
from mvc.errors import MvcError, MvcWarning
from mvc.progress import job
from mvc.registry import family as families
from mvc.registry.digests import Notes
from mvc.registry.location.place import Place
from mvc.registry.location.presence import Presence
from mvc.registry.manifest import Manifest
from mvc.registry.names import MODEL_SUFFIXES
from mvc.registry.reach import files_of, released

if TYPE_CHECKING:
    from mvc.registry.checkout.known import Content
    from mvc.store import Store

LEFT_OUT = frozenset(["node_modules", "__pycache__", "venv", "site-packages"])
MOST_FILES = 20_000
# In the order in which they are told: what needs a look comes last.
STATES = ("registered", "withdrawn", "changed", "new")


@dataclass(frozen=True, slots=True)
class FileState:
    """A model file, and its ``state``, one of ``STATES``.

    ``version`` is the id of what it is, or of what it was. A file of which the
    store has no version that can be had back is new, whatever it was before.
    """

    path: Path
    state: str
    version: str | None
    size: int


@dataclass(frozen=True, slots=True, repr=False)
class Status:
    """Where things are and how much they take, in bytes; and the files looked at.

    ``stored`` is what the store takes on disk, ``plain`` what plain copies
    would; both are ``None`` when the store is not there. Files stand by state,
    then by path.
    """

    registry: Path
    families: int
    versions: int
    store: Path | None
    stored: int | None
    plain: int
    free: int | None
    files: tuple[FileState, ...]

    def __repr__(self) -> str:
        from mvc.registry import card  # nothing that the command line needs

        return card.line(card.of_status(self))

    def _repr_html_(self) -> str:
        from mvc.registry import card

        return card.table(card.of_status(self))


def status(place: Place, manifest: Manifest, presence: Presence, folder: Path) -> Status:
    """Describe a registry, and the model files in ``folder`` and below."""
    known = [families.load(manifest, name) for name in manifest.families()]
    store = presence.if_there()
    return Status(
        registry=place.folder,
        families=len(known),
        versions=sum(family.count - len(family.withdrawn) for family in known),
        store=store.folder if store else None,
        stored=store.size() if store else None,
        plain=sum(family.plain for family in known),
        free=fileio.free_space(store.folder) if store else None,
        files=tuple(sorted(_states(place, manifest, presence.anew(), folder), key=_rank)),
    )


def _states(
    place: Place, manifest: Manifest, presence: Presence, folder: Path
) -> Iterator[FileState]:
    store = presence.if_there()
    notes = Notes(place.cache)
    known = cache(lambda: _known_files(manifest, store))
    contents = cache(lambda identity: _contents(manifest, store, identity))
    for path in _model_files(folder, notes):
        note = notes.get(path)
        try:
            status = path.stat()
            held = note is not None and note.holds(status)
            if note and held:
                digest = note.digest
            else:
                with open(path, "rb") as file, job(f"reading {path.name}", status.st_size):
                    digest, status = notes.digest(path, file.fileno())
        except OSError as error:
            warnings.warn(f"'{path}' cannot be read: {error.strerror}", MvcWarning, stacklevel=2)
            continue
        content = digest, status.st_size
        identity, state = "", "registered"
        if store is None or presence.holds(*content):
            if note and note.id and content in contents(note.id):
                identity = note.id
            else:
                identity, state = known().get(content, ("", state))
        before = note.id if note and (note.changed or note.digest != digest) else ""
        if not held:
            noted_as = identity or (note.id if note else "")
            notes.note(path, noted_as, digest, status, changed=bool(before and not identity))
        if not identity:
            state = "changed" if before else "new"
        yield FileState(path, state, identity or before or None, status.st_size)
    notes.save()


def _rank(file: FileState) -> tuple[int, Path]:
    return STATES.index(file.state), file.path


def _model_files(folder: Path, notes: Notes) -> Iterator[Path]:
    """Yield files that are noted, or whose name says that they hold a model; no links."""
    looked_at = 0
    for above, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in LEFT_OUT)
        for name in sorted(names):
            looked_at += 1
            path = Path(above, name)
            suffix = path.suffix.lower() in MODEL_SUFFIXES
            known = suffix or notes.get(path) is not None
            if known and path.is_file() and not path.is_symlink():
                yield path
        if looked_at > MOST_FILES:
            warnings.warn(
                f"only the first {looked_at:,} files in '{folder}' were looked at",
                MvcWarning,
                stacklevel=2,
            )
            return


def _contents(manifest: Manifest, store: Store | None, identity: str) -> frozenset[Content]:
    """Return what the files of a version hold; nothing if it is not in use here any more."""
    name, _, number = identity.rpartition("/v")
    with contextlib.suppress(MvcError, ValueError):
        family = families.load(manifest, name)
        if int(number) not in family.withdrawn:
            artifact = manifest.record(family.folder, int(number))[0].artifact
            return frozenset((file.digest, file.size) for file in files_of(store, artifact))
    return frozenset()


def _known_files(manifest: Manifest, store: Store | None) -> dict[Content, tuple[str, str]]:
    """Return the first version of each file, and its state; a withdrawn one only if no other is."""
    used: dict[Content, tuple[str, str]] = {}
    withdrawn: dict[Content, tuple[str, str]] = {}
    for folder in manifest.families():
        family = families.load(manifest, folder)
        gone = family.withdrawn
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
