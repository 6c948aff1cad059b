"""Usage: what versions cost on disk, shared bytes counted once.

Public names: ``Usage``, ``FamilyUsage``, ``usage``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mvc.digest import Digest
from mvc.errors import MvcError, StoreWarning
from mvc.registry.manifest import Manifest
from mvc.registry.place import Place
from mvc.registry.presence import Presence
from mvc.registry.reach import Held, closure, held
from mvc.registry.record import Artifact
from mvc.store import Store


@dataclass(frozen=True, slots=True)
class FamilyUsage:
    """A family's versions that are not withdrawn: bytes of plain copies, and of what they need.

    ``stored`` counts what families share in each of them.
    """

    family: str
    versions: int
    plain: int
    stored: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes: ``plain`` copies of all live versions, ``stored`` for them, shared bytes once.

    ``withdrawn`` is what only withdrawn versions need, ``other`` what no
    version of this registry needs, ``cache`` the disposable files.
    """

    versions: int
    plain: int
    stored: int
    withdrawn_versions: int
    withdrawn: int
    other: int
    cache: int
    families: tuple[FamilyUsage, ...]

    @property
    def ratio(self) -> float | None:
        return self.stored / self.plain if self.plain else None


def usage(place: Place, manifest: Manifest, presence: Presence) -> Usage:
    """Add up what versions need; what cannot be read counts as nothing."""
    store = presence.store
    sizes = _Sizes(store)
    live: dict[str, list[Held]] = {}
    withdrawn: list[Held] = []
    for item in held(manifest):
        if item.withdrawn:
            withdrawn.append(item)
        else:
            live.setdefault(item.family, []).append(item)
    needed = {family: sizes.needed(items) for family, items in live.items()}
    kept = frozenset[Digest]().union(*needed.values())
    only_withdrawn = sizes.needed(withdrawn) - kept
    stored, given_up = sizes.total(kept), sizes.total(only_withdrawn)
    return Usage(
        versions=sum(map(len, live.values())),
        plain=sum(item.record.artifact.size for items in live.values() for item in items),
        stored=stored,
        withdrawn_versions=len(withdrawn),
        withdrawn=given_up,
        other=max(0, store.size() - stored - given_up),
        cache=_folder_size(place.cache),
        families=tuple(
            FamilyUsage(
                family=family,
                versions=len(items),
                plain=sum(item.record.artifact.size for item in items),
                stored=sizes.total(needed[family]),
            )
            for family, items in live.items()
        ),
    )


class _Sizes:
    """What objects take in the store, looked up once each."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sizes: dict[Digest, int] = {}
        self._closures: dict[Digest, frozenset[Digest]] = {}

    def needed(self, items: Iterable[Held]) -> frozenset[Digest]:
        return frozenset[Digest]().union(*(self._closure(item.record.artifact) for item in items))

    def total(self, digests: Iterable[Digest]) -> int:
        return sum(map(self._size, digests))

    def _closure(self, artifact: Artifact) -> frozenset[Digest]:
        if artifact.digest not in self._closures:
            try:
                self._closures[artifact.digest] = closure(self._store, artifact)
            except MvcError as error:
                warnings.warn(error.message, StoreWarning, stacklevel=2)
                self._closures[artifact.digest] = frozenset()
        return self._closures[artifact.digest]

    def _size(self, digest: Digest) -> int:
        if digest not in self._sizes:
            found = self._store.find(digest)
            self._sizes[digest] = found.entry.cost if found else 0
        return self._sizes[digest]


def _folder_size(folder: Path | None) -> int:
    if folder is None:
        return 0
    return sum(
        os.lstat(os.path.join(above, name)).st_size
        for above, _, names in os.walk(folder)
        for name in names
    )
