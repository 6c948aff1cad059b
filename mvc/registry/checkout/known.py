"""Known: which bytes in the way of a checkout can be had again.

What belongs to a version whose bytes were not given up, and is in the store,
may be replaced or removed; anything else is a user's.

Public names: ``Content``, ``known``, ``paths_in_family``, ``places_in_family``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from mvc.digest import Digest
from mvc.errors import MvcError
from mvc.registry import reach
from mvc.registry.manifest import Manifest
from mvc.registry.record import DIRECTORY
from mvc.store import Store
from mvc.tree import TreeFile

# What a file holds: its digest and its size.
Content: TypeAlias = tuple[Digest, int]


def known(manifest: Manifest, store: Store, family: str, wanted: set[Content]) -> set[Content]:
    """Return those of ``wanted`` that are files of versions here; ``family`` is asked first."""
    found: set[Content] = set()
    for folder in sorted(manifest.families(), key=lambda name: name != family):
        with contextlib.suppress(MvcError):  # what cannot be read is known to nobody
            for files in _versions(manifest, store, folder):
                found |= wanted.intersection((file.digest, file.size) for file in files)
                if found == wanted:
                    break
        if found == wanted:
            break
    return _stored(store, found)


def paths_in_family(manifest: Manifest, store: Store, family: str) -> Iterator[str]:
    """Yield every path that some directory of the family has, once."""
    seen: set[str] = set()
    for files in _versions(manifest, store, family, kind=DIRECTORY):
        for file in files:
            if file.path not in seen:
                seen.add(file.path)
                yield file.path


def places_in_family(
    manifest: Manifest, store: Store, family: str, wanted: Mapping[str, int]
) -> dict[str, set[Content]]:
    """Return what the family's directories have at given paths, where it is of the given size."""
    found: dict[str, set[Content]] = {}
    for files in _versions(manifest, store, family, kind=DIRECTORY):
        for file in files:
            if wanted.get(file.path) == file.size:
                found.setdefault(file.path, set()).add((file.digest, file.size))
    return found


def _versions(
    manifest: Manifest, store: Store, family: str, kind: str | None = None
) -> Iterator[tuple[TreeFile, ...]]:
    """Yield the files of each version of a family; those of a damaged tree are not known."""
    seen: set[Digest] = set()
    for item in reach.held_of(manifest, family):
        artifact = item.record.artifact
        if artifact.digest in seen or kind not in (None, artifact.kind):
            continue
        seen.add(artifact.digest)
        with contextlib.suppress(MvcError):
            yield reach.files_of(store, artifact)


def _stored(store: Store, contents: set[Content]) -> set[Content]:
    return {(digest, size) for digest, size in contents if store.find(digest, size)}
