"""A store that lost its ``store.yaml``: by what else it is known, and how it gets it back.

Without that file a folder is no store. The packs and roots are as they were,
and a root under this registry's id of a version that is here shows whose they
are; the id that the file bore stands in ``config.yaml``.

When and why: ``docs/repair.md``.
Public names: ``is_nameless``, ``put_back``, ``remedy``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from mvc import fileio, lines
from mvc.errors import MvcError
from mvc.fileio import Steps
from mvc.registry.location.place import Place
from mvc.registry.manifest import Manifest
from mvc.store.settings import (
    CALLED_OFF,
    MOVED,
    PACKS,
    ROOTS,
    SETTINGS,
    check_features,
    claims,
    establish,
    root_name,
)


def is_nameless(place: Place, folder: Path) -> bool:
    """Say whether ``folder`` is this registry's store, but for a ``store.yaml``.

    One that moves, or has moved, is not: it lacks that file for good reason,
    or is not to be used. Nor is what cannot be read, or what a newer mvc wrote.
    """
    try:
        names = set(fileio.list_folder(folder))
        if names & {SETTINGS, MOVED, CALLED_OFF} or claims(folder):
            return False
        check_features(folder)
        own = folder / ROOTS / place.id
        return place.store_id != "" and (folder / PACKS).is_dir() and _has_root(place, own)
    except (MvcError, OSError, ValueError):  # the last where it is no path at all
        return False


def put_back(place: Place, folder: Path) -> Steps[bool]:
    """Give a nameless store the ``store.yaml`` that this registry knows it by, once."""
    return (yield from establish(folder, place.store_id))


def remedy(folder: Path) -> str:
    """Return the hint for a nameless store."""
    return f"its store.yaml is lost; to put it back: mvc store relink --force {quote(str(folder))}"


def _has_root(place: Place, folder: Path) -> bool:
    """Say whether a root in ``folder`` is, byte for byte, the record of a version here."""
    rooted = set(fileio.list_folder(folder))
    if not rooted:
        return False
    for record in _records(Manifest(place.manifest)):
        name = root_name(record)
        if name in rooted and fileio.read(folder / name, lines.MAX_SIZE) == record:
            return True
    return False


def _records(manifest: Manifest) -> Iterator[bytes]:
    for family in manifest.families():
        with contextlib.suppress(MvcError):
            for number in manifest.numbers(family):
                with contextlib.suppress(MvcError):
                    yield manifest.record_bytes(family, number)
