"""Mending: what a repair has to go by, and how it puts files back without losing any.

Whatever is replaced has another name in ``quarantine/`` before, so that its
bytes exist somewhere at every instant.

Public names: ``Repair``, ``damaged_bytes``, ``put_back``, ``keep_aside``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mvc import fileio
from mvc.fileio import Steps
from mvc.registry.care import fsck
from mvc.registry.care.findings import Check, Mended
from mvc.registry.care.material import Material
from mvc.registry.location.place import Place
from mvc.registry.location.presence import Presence
from mvc.registry.manifest import Manifest
from mvc.store import Store
from mvc.store.naming import name_also
from mvc.store.settings import QUARANTINE, new_id

# What is kept aside of a file that should be small.
MAX_ASIDE = 64 << 20


@dataclass(slots=True)
class Repair:
    """A repair under way: what there is to mend from, and what was mended.

    ``taken`` counts objects by the pack or file that they came from.
    """

    place: Place
    manifest: Manifest
    presence: Presence
    store: Store
    level: str
    material: Material
    lost_records: bool = False
    mended: list[Mended] = field(default_factory=list)
    taken: Counter[Path] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def examine(self, level: str | None = None) -> Check:
        """Check everything anew, at the repair's level unless another is named."""
        parts = self.place, self.manifest, self.presence, level or self.level
        return fsck.examine(*parts, lost_records=self.lost_records)

    def done(self, kind: str, thing: str, how: str) -> None:
        """Note what was mended, for the report."""
        self.mended.append(Mended(kind, thing, how))


def damaged_bytes(path: Path) -> bytes | None:
    """Return the bytes of a damaged file; ``None`` if there is none.

    Raises:
        MvcError: It is no file that could be kept aside.
    """
    try:
        return fileio.read(path, MAX_ASIDE)
    except FileNotFoundError:
        return None


def put_back(
    run: Repair, path: Path, data: bytes, staged_in: Path, old: bytes | None
) -> Steps[None]:
    """Give whole bytes their name; damaged ones that have it are in quarantine before."""
    if old is not None:
        kept = _quarantine(run) / f"{new_id()}-{path.parent.parent.name}-{path.name}"
        yield from fileio.create_once(kept, old, kept.parent)
    private = fileio.write_private(staged_in, [data])
    try:
        yield "whole copy staged"
        fileio.make_folder(path.parent)
        fileio.move_into_place(private, path, overwrite=old is not None)
    finally:
        fileio.remove(private)
    yield "put back"


def keep_aside(run: Repair, path: Path) -> Steps[None]:
    """Give a damaged file of the store a second name in quarantine."""
    folder = _quarantine(run)
    name_also(path, folder / f"{new_id()}-{path.name}")
    fileio.sync_folder(folder)
    yield "kept aside"


def _quarantine(run: Repair) -> Path:
    folder = run.store.folder / QUARANTINE
    fileio.make_folder(folder)
    return folder
