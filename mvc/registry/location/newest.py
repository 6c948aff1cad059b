"""The newest version that this registry put into its store, by which a stale copy is told.

A copy of the store made last month bears the same id. What it lacks is the
root of what was added since, so that is noted here, beside ``config.yaml``
and outside git: records that git brought from elsewhere say nothing about
this registry's store.

Why so, and what else could be: ``docs/decisions/0009-stale-copies.md``.
Public names: ``note``, ``forget``, ``forget_if_gone``, ``refusal``, ``number_in``.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from mvc import fileio, lines
from mvc.compatibility import FORMAT
from mvc.digest import Digest
from mvc.errors import MvcError
from mvc.registry.event import Standing
from mvc.registry.location.place import Place
from mvc.registry.manifest import Manifest
from mvc.registry.names import folder_of
from mvc.registry.version import Version
from mvc.store.settings import ROOTS, read_note

if TYPE_CHECKING:
    from mvc.store import Store

FILE = "newest.yaml"


def note(place: Place, manifest: Manifest, added: Version) -> None:
    """Note a version that was just added. If it fails, an older note serves."""
    with contextlib.suppress(MvcError, OSError):
        _, record = manifest.record(added.family, added.number)
        values: dict[str, lines.Value] = {
            "mvc": FORMAT,
            "version": added.id,
            "record": str(record),
        }
        fileio.replace(place.folder / FILE, lines.dumps(values))


def forget(place: Place) -> None:
    """Drop the note: the store is accepted as it is."""
    fileio.remove(place.folder / FILE)


def forget_if_gone(place: Place, store: Store) -> None:
    """Drop the note of a version whose root was just given up, as on another git branch."""
    noted = _noted(place)
    if noted is not None and not _root(place, store, noted[1]).exists():
        forget(place)


def refusal(place: Place, store: Store) -> MvcError | None:
    """Return why nothing may be written to ``store``: it lacks what was put there last.

    A version that gc has released is not missed, nor is anything where the
    note is lost.
    """
    noted = _noted(place)
    if noted is None:
        return None
    version, record = noted
    if _root(place, store, record).exists() or _is_released(place, version):
        return None
    return MvcError(
        f"the store in '{store.folder}' is an old copy: it lacks '{version}', which was added "
        "last; so it is read only",
        hint="bring the newer one back, or go on without what this lacks: "
        f"mvc store relink --force {quote(str(store.folder))}",
    )


def number_in(place: Place, family: str) -> tuple[str, int] | None:
    """Return digest and number of the version added last, if it is one of ``family``."""
    noted = _noted(place)
    if noted is None:
        return None
    name, _, number = noted[0].rpartition("/v")
    if folder_of(name) != folder_of(family) or not number.isdecimal():
        return None
    return noted[1].hex(), int(number)


def _root(place: Place, store: Store, record: Digest) -> Path:
    return store.folder / ROOTS / place.id / f"{record.hex()}.yaml"


def _noted(place: Place) -> tuple[str, Digest] | None:
    with contextlib.suppress(MvcError, OSError):
        values = read_note(Path(place.folder, FILE)) or {}
        version, record = values.get("version"), values.get("record")
        if isinstance(version, str) and isinstance(record, str):
            return version, Digest.parse(record)
    return None


def _is_released(place: Place, version: str) -> bool:
    family, _, number = version.partition("/v")
    manifest = Manifest(place.manifest)
    with contextlib.suppress(MvcError, ValueError):
        events = (manifest.event(family, n) for n in manifest.event_numbers(family))
        changes = [event.change for event in events]
        return int(number) in {
            change.version
            for change in changes
            if isinstance(change, Standing) and change.kind == "released"
        }
    return False
