"""Unregistered: what a file or folder is, read as ``add`` reads it and stored nowhere.

Public names: ``Described``, ``describe``, ``sources_of``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mvc.digest import Digest
from mvc.registry import family as families
from mvc.registry.alike import versions_like
from mvc.registry.intake.folder import SourceFolder
from mvc.registry.intake.ingest import ingest
from mvc.registry.intake.ingest_folder import ingest_folder
from mvc.registry.intake.sink import Nowhere
from mvc.registry.intake.source import SourceFile
from mvc.registry.manifest import Manifest
from mvc.registry.record import Artifact
from mvc.registry.selection import ALL


@dataclass(frozen=True, slots=True)
class Described:
    """What ``add`` would note of a path.

    ``same_bytes`` are the versions with the same bytes, oldest first in each
    family, and files of versions that are folders, as ``bert/v1:config.json``;
    ``same_weights`` those with the same weights in other files. Both are
    ``None`` where there is no registry. Withdrawn versions are left out.
    """

    path: Path
    artifact: Artifact
    weights: str | None
    framework: str | None
    same_bytes: tuple[str, ...] | None = None
    same_weights: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "path": str(self.path),
            "artifact": self.artifact.as_values(),
            "weights": self.weights,
            "model": {"framework": self.framework} if self.framework else {},
            "same_bytes": None if self.same_bytes is None else list(self.same_bytes),
            "same_weights": None if self.same_weights is None else list(self.same_weights),
        }


def describe(path: Path, manifest: Manifest | None) -> Described:
    """Read a file, or all files of a folder, and say what it is.

    Args:
        manifest: Where to look for versions like it.

    Raises:
        NotFound, UsageError: There is no such file, or it is none that ``add`` would take.
        Conflict: It changed while it was read.
    """
    if path.is_dir():
        got = ingest_folder(SourceFolder(path, ALL), Nowhere())
    else:
        with SourceFile(path) as source:
            got = ingest(source, Nowhere())
    weights = str(got.weights) if got.weights else None
    described = Described(path, got.artifact, weights, got.framework, notes=got.notes)
    return described if manifest is None else _compared(described, manifest)


def sources_of(path: Path) -> Iterator[tuple[str, SourceFile]]:
    """Yield the name of each file and the file, which is open until the next is asked for."""
    if not path.is_dir():
        with SourceFile(path) as source:
            yield source.name, source
        return
    folder = SourceFolder(path, ALL)
    for file in folder.files:
        with folder.open(file) as source:
            yield file.path, source


def _compared(described: Described, manifest: Manifest) -> Described:
    same_bytes: list[str] = []
    same_weights: list[str] = []
    digest = described.artifact.digest
    weights = Digest.parse(described.weights) if described.weights else None
    for family in families.readable(manifest):
        where = [(family.folder, family.live(manifest))]
        for like in versions_like(manifest, (digest, weights), where):
            held = like.holding(digest)
            same_bytes += held
            if not held and weights and like.record.weights == weights:
                same_weights.append(like.id)
    return replace(described, same_bytes=tuple(same_bytes), same_weights=tuple(same_weights))
