"""Paths: a version's files in the cache, read-only and shared.

Public names: ``path``, ``ready``, ``cache_of``, ``may_fill``.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from mvc import environment, fileio
from mvc.errors import Damaged, MvcError, is_denied
from mvc.progress import say
from mvc.registry.checkout import contents
from mvc.registry.checkout.writing import advice
from mvc.registry.family import Family
from mvc.registry.location.place import CACHE_TAG, Place
from mvc.registry.location.presence import Presence
from mvc.registry.manifest import Manifest
from mvc.registry.record import DIRECTORY
from mvc.store import materialised
from mvc.tree import Tree


def cache_of(place: Place) -> Path:
    """Return where files are made ready: ``MVC_CACHE``, the registry's cache, or the user's.

    Raises:
        MvcError: There is no such place.
    """
    named = environment.cache_folder()
    own = place.folder / "cache"
    if named is not None:
        return named / materialised.FOLDER
    leads_on = any(map(os.path.islink, (own, own / materialised.FOLDER)))
    if not leads_on and os.access(own, os.W_OK | os.X_OK):
        return own / materialised.FOLDER
    users = environment.users_cache()
    if users is None:
        raise MvcError(f"'{own}' may not be written to", hint="name another place: MVC_CACHE=DIR")
    return users / materialised.FOLDER


def may_fill(cache: Path) -> bool:
    """Say whether files may be made in a cache, or it may be made where it is to be."""
    nearest = next(folder for folder in (cache, *cache.parents) if os.path.exists(folder))
    return nearest.is_dir() and fileio.may_write(nearest)


def path(
    place: Place,
    manifest: Manifest,
    presence: Presence,
    family: Family,
    number: int,
    path: str | None,
) -> Path:
    """Return a version's file or folder in the cache, or one file of its folder."""
    artifact = manifest.record(family.folder, number)[0].artifact
    identity = f"{family.name}/v{number}"
    if artifact.kind != DIRECTORY:
        return (
            ready(place, presence, contents.tree_of(presence, artifact), identity) / artifact.name
        )
    if path is None:
        return ready(place, presence, contents.tree_of(presence, artifact), identity)
    file = contents.file_of(presence, artifact, identity, path)
    return ready(place, presence, Tree((file,)), identity) / file.path


def ready(place: Place, presence: Presence, files: Tree, identity: str) -> Path:
    """Return a read-only folder with ``files`` in the cache.

    Raises:
        Damaged: The store does not hold them whole.
        MvcError: The cache may not be written to.
        OSError: The disk is full, or fails.
    """
    cache = cache_of(place)
    say("cache: '{}'", cache)
    limit = environment.cache_size()
    try:
        made = materialised.materialise(
            lambda: presence.store,
            cache,
            files,
            limit=materialised.LIMIT if limit is None else limit,
        )
    except OSError as error:
        if not is_denied(error):
            raise
        raise MvcError(
            f"'{cache}' may not be written to", hint="name another place: MVC_CACHE=DIR"
        ) from None
    except Damaged as error:
        raise Damaged(
            f"{identity} cannot be read: {error.message}",
            hint=advice(presence.store, files.files),
        ) from None
    _tag(cache.parent)
    return made


def _tag(folder: Path) -> None:
    """Tell programs that make backups to pass over a cache."""
    tag = folder / "CACHEDIR.TAG"
    if not tag.exists():
        with contextlib.suppress(OSError):
            fileio.replace(tag, CACHE_TAG)
