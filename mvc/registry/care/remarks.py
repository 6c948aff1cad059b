"""Remarks: what a check mentions though nothing is damaged by it.

Public names: ``MENDS``, ``ways_back``, ``of_pulled``, ``of_borrowed``, ``leftovers``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from mvc import fileio, lines
from mvc.errors import MvcError
from mvc.registry import record as records
from mvc.registry.manifest import Manifest
from mvc.store import Store
from mvc.store.settings import QUARANTINE, STAGING, TRASH

MENDS = "mvc fsck --repair"
MOST_ROOTS_SHOWN = 10


def ways_back(manifest: Manifest, folder: Path, names: Sequence[str]) -> Iterator[str]:
    """Say of the first roots without a version what they are, and how to make them one again."""
    have = "root in the store has" if len(names) == 1 else "roots in the store have"
    yield f"{len(names)} {have} no version here: another git branch, or an add that was cut off"
    for name in names[:MOST_ROOTS_SHOWN]:
        with suppress(OSError, MvcError):
            found = records.decode(fileio.read(folder / name, lines.MAX_SIZE))
            number = max(manifest.numbers(found.family), default=0) + 1
            where = manifest.record_path(found.family, number)
            what = f"{found.family}, '{found.artifact.name}' of {found.created[:10]}"
            yield f"{what}: cp -n '{folder / name}' '{where}' makes it v{number}"


def of_pulled(versions: Sequence[str]) -> str:
    """Say of versions that git brought who keeps their bytes until something is written here."""
    what = f"{len(versions)} versions are" if len(versions) > 1 else f"{versions[0]} is"
    more = f": {', '.join(versions)}" if len(versions) > 1 else ""
    return (
        f"{what} kept only for others on this store, until the next mvc add, tag or gc here{more}"
    )


def of_borrowed(count: int) -> str:
    """Say how many versions have their bytes in another store."""
    versions = "1 version is" if count == 1 else f"{count} versions are"
    return f"{versions} read from an alternate; {MENDS} brings the bytes here"


def leftovers(store: Store) -> Iterator[str]:
    """Say what lies in a store that is on its way in or out, or was put aside."""
    for name, one, several in (
        (STAGING, "unfinished transaction", "unfinished transactions"),
        (TRASH, "pack on its way out", "packs on their way out"),
        (QUARANTINE, "quarantined file", "quarantined files"),
    ):
        count = len(list(fileio.list_folder(store.folder / name)))
        if count:
            yield f"{count} {one if count == 1 else several} in '{store.folder / name}'"
