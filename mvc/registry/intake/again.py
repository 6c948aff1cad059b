"""Again: what is noted to be a version's and has not changed is not read another time.

The bytes stay unread, not the headers: what may be said of them is for this
mvc to say. Whatever is not as the version has it, nothing is taken from there.

When a note is believed: ``docs/digest-cache.md``.
Public names: ``again``.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from mvc.errors import Damaged, MvcError
from mvc.registry.intake.folder import SourceFolder
from mvc.registry.intake.ingest import Ingested, ingested, look, read, reuse
from mvc.registry.intake.ingest_folder import FilesRead, put_together
from mvc.registry.intake.sink import Nowhere
from mvc.registry.intake.source import SourceFile
from mvc.registry.manifest import Manifest
from mvc.registry.names import check_family
from mvc.registry.reach import files_of
from mvc.registry.record import Record
from mvc.store import Store, Transaction
from mvc.tree import TreeFile


def again(
    source: SourceFile | SourceFolder,
    manifest: Manifest,
    store: Store,
    transaction: Transaction,
) -> Ingested | None:
    """Hold for ``transaction`` what a source is noted to be; ``None`` if it must be read.

    Raises:
        Conflict: The source changed meanwhile.
    """
    notes = source.notes.values() if isinstance(source, SourceFolder) else [source.note]
    for identity in dict.fromkeys(note.id for note in notes if note is not None):
        held = transaction.reused
        try:
            record = _record(manifest, identity)
            got = _seen(source, store, record) if record else None
            if record and got and _is_same(got, record):
                source.check_unchanged()
                reuse(store, record, transaction)
                return replace(got, weights=record.weights)
        except Damaged:  # the store lacks some of it, which is now to be stored again
            transaction.reused = held
    return None


def _record(manifest: Manifest, identity: str) -> Record | None:
    """Return the record of a version; a cache may serve several registries, or outlive one."""
    name, _, number = identity.rpartition("/v")
    with contextlib.suppress(MvcError, ValueError):
        return manifest.record(check_family(name), int(number))[0]
    return None


def _is_same(got: Ingested, record: Record) -> bool:
    """Compare with a version, but for its name, and what an older mvc said of it."""
    ours, theirs = (replace(a, name="", safety=None) for a in (got.artifact, record.artifact))
    return ours == theirs


def _seen(source: SourceFile | SourceFolder, store: Store, record: Record) -> Ingested | None:
    """Return what a source is, from notes and headers, if it may be what the record tells of."""
    digest = record.artifact.digest
    if isinstance(source, SourceFolder):
        return _folder_seen(source, files_of(store, record.artifact))
    if source.note is None or source.note.digest != digest:
        return None
    return ingested(source.name, look(source, digest))


def _folder_seen(source: SourceFolder, files: tuple[TreeFile, ...]) -> Ingested | None:
    here = [(file.path, file.mode, file.status.st_size) for file in source.files]
    if here != [(file.path, file.mode, file.size) for file in files]:
        return None
    wanted = {file.path: file.digest for file in files}
    noted = sum(file.status.st_size for file in source.files if file.path in source.notes)
    if 2 * noted < source.size or any(
        note.digest != wanted[path] for path, note in source.notes.items()
    ):
        return None
    found: FilesRead = []
    for file in source.files:
        note = source.notes.get(file.path)
        with source.open(file) as opened:
            got = look(opened, note.digest) if note else read(opened, Nowhere())
        found.append((file, got))
    return put_together(source, found)
