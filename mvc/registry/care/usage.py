"""Usage: what versions cost on disk, shared bytes counted once.

Public names: ``Usage``, ``FamilyUsage``, ``usage``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain

from mvc.digest import Digest
from mvc.errors import MvcError, StoreWarning, warn
from mvc.registry import reach, retention
from mvc.registry.checkout import paths
from mvc.registry.display import Display, Displayed, count
from mvc.registry.location.place import Place
from mvc.registry.location.presence import Presence
from mvc.registry.manifest import Manifest
from mvc.registry.reach import Held, closure_of_file, files_of, held, preferred
from mvc.registry.record import Artifact
from mvc.registry.sealed import parse_time, timestamp
from mvc.store import Store, eviction


@dataclass(frozen=True, slots=True)
class FamilyUsage:
    """A family's versions that are not withdrawn: bytes of plain copies, and of what they need.

    ``stored`` counts what families share in each of them.
    """

    family: str
    versions: int
    plain: int
    stored: int

    def __str__(self) -> str:
        versions = count(self.versions, "version")
        return f"{versions}, {self.stored:,} bytes, {self.plain:,} as copies"


@dataclass(frozen=True, slots=True, repr=False)
class Usage(Displayed):
    """Bytes: ``plain`` copies of all live versions, ``stored`` for them, shared bytes once.

    ``withdrawn`` is what only withdrawn versions need, which gc frees from
    ``freed_from`` on; ``other`` what no version of this registry needs,
    ``cache`` the disposable files. ``beneath`` is the part of ``stored`` that is
    in no version any more, and that versions are kept over.
    """

    versions: int
    plain: int
    stored: int
    withdrawn_versions: int
    withdrawn: int
    freed_from: str | None
    other: int
    cache: int
    families: tuple[FamilyUsage, ...]
    beneath: int = 0

    @property
    def ratio(self) -> float | None:
        return self.stored / self.plain if self.plain else None

    def _display(self) -> Display:
        counts = (
            count(self.versions, "version"),
            f"{self.stored:,} bytes stored",
            f"{self.plain:,} as plain copies",
        )
        others = {"withdrawn": self.withdrawn, "other": self.other, "cache": self.cache}
        families = [(family.family, [str(family)]) for family in self.families]
        rows = [(name, [f"{size:,} bytes"] if size else []) for name, size in others.items()]
        return Display("usage", counts, (*families, *rows))


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
    _warn(sizes, manifest)
    return Usage(
        versions=sum(map(len, live.values())),
        plain=sum(item.record.artifact.size for items in live.values() for item in items),
        stored=stored,
        withdrawn_versions=len(withdrawn),
        withdrawn=given_up,
        freed_from=_freed_from(manifest) if withdrawn else None,
        other=max(0, store.size() - stored - given_up),
        cache=_cache_size(place),
        families=tuple(
            FamilyUsage(
                family=family,
                versions=len(items),
                plain=sum(item.record.artifact.size for item in items),
                stored=sizes.total(needed[family]),
            )
            for family, items in live.items()
        ),
        beneath=sizes.beneath(kept, chain(withdrawn, *live.values())),
    )


def _warn(sizes: _Sizes, manifest: Manifest) -> None:
    """Say what could not be counted, but of versions that gc has given up meanwhile."""
    if sizes.failed:
        for digest in dict.fromkeys(item.record.artifact.digest for item in held(manifest)):
            if digest in sizes.failed:
                warn(sizes.failed[digest], StoreWarning)


def _freed_from(manifest: Manifest) -> str | None:
    """Return when the first of the versions withdrawn has been so for its grace time."""
    ends = []
    for folder in manifest.families():
        standings = reach.standings(manifest, folder)
        graces = retention.graces(manifest, folder)  # looked up last: it has all that stand so
        ends += [
            parse_time(event.created) + graces[number]
            for number, (event, change) in standings.items()
            if change.kind == "withdrawn"
        ]
    return timestamp(min(ends)) if ends else None  # they may be released meanwhile


class _Sizes:
    """What objects take in the store itself, looked up once each.

    Of several frames of an object the one counts that a reader prefers, and
    what that one is a delta upon is needed with it. What lies in an alternate
    takes nothing here; a frame too many is ``other``. ``failed`` says why an
    artifact counts as nothing.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._closures: dict[Digest, frozenset[Digest]] = {}
        self.failed: dict[Digest, str] = {}
        self._entry = cache(partial(preferred, store))
        self._of_file = cache(partial(closure_of_file, store, entry=self._entry))
        self._parts_of = cache(partial(closure_of_file, store, entry=lambda _: None))

    def needed(self, items: Iterable[Held]) -> frozenset[Digest]:
        return frozenset[Digest]().union(*(self._closure(item.record.artifact) for item in items))

    def total(self, digests: Iterable[Digest]) -> int:
        return sum(entry.cost for entry in map(self._entry, digests) if entry)

    def beneath(self, needed: frozenset[Digest], items: Iterable[Held]) -> int:
        """Return what objects take that are needed, and only because others are kept over them."""
        entries = filter(None, map(self._entry, needed))
        if not any(entry.base for entry in entries):
            return 0
        own = set[Digest]()
        for artifact in {
            item.record.artifact.digest: item.record.artifact for item in items
        }.values():
            with contextlib.suppress(MvcError):
                parts = (self._parts_of(file.digest) for file in files_of(self._store, artifact))
                own |= frozenset([artifact.digest]).union(*parts)
        return self.total(needed - own)

    def _closure(self, artifact: Artifact) -> frozenset[Digest]:
        if artifact.digest not in self._closures:
            try:
                files = files_of(self._store, artifact)
                parts = (self._of_file(file.digest) for file in files)
                self._closures[artifact.digest] = frozenset([artifact.digest]).union(*parts)
            except MvcError as error:
                self.failed[artifact.digest] = error.message
                self._closures[artifact.digest] = frozenset()
        return self._closures[artifact.digest]


def _cache_size(place: Place) -> int:
    """Return what the disposable files of a registry and its user take, links counted once."""
    folders = {place.cache} if place.cache else set()
    with contextlib.suppress(MvcError):  # there is no place for files of mvc path
        folders.add(paths.cache_of(place))
    tops = [folder for folder in folders if not folders.intersection(folder.parents)]
    return sum(map(eviction.size, tops))
