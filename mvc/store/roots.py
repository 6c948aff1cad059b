"""Roots: which registries have records in a store, and how they come and go in bulk.

One root is made by a ``Transaction`` with the objects that it needs. Here
roots are made of roots: a registry that was copied, or cloned without its
settings, takes what others have rooted under an id of its own, so that none
of them can give up what another needs.

Layout: ``docs/formats/store.md``.
Public names: ``Roots``, ``names_of``, ``rooted``, ``registries``, ``named``, ``root_again``,
``unroot``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from mvc import fileio, lines
from mvc.errors import MvcError, NotFound, UsageError
from mvc.fileio import Steps
from mvc.store.settings import ROOTS, is_id, root_name
from mvc.store.store import Store
from mvc.store.transaction import Transaction

SHORTEST_PREFIX = 8


@dataclass(frozen=True, slots=True)
class Roots:
    """What one registry has in a store; ``used`` is when a root of it last came or went."""

    registry: str
    names: frozenset[str]
    used: datetime

    @property
    def count(self) -> int:
        return len(self.names)


def names_of(store: Path, registry: str) -> frozenset[str]:
    """Return the names of the roots that a registry has in the store in a folder."""
    return frozenset(n for n in fileio.list_folder(store / ROOTS / registry) if n.endswith(".yaml"))


def rooted(store: Path) -> Iterator[str]:
    """Yield the names of the roots of all registries in the store in a folder."""
    for registry in filter(is_id, fileio.list_folder(store / ROOTS)):
        yield from names_of(store, registry)


def registries(store: Store) -> list[Roots]:
    """Return every registry that has roots in a store, by its id."""
    found = []
    for name in sorted(filter(is_id, fileio.list_folder(store.folder / ROOTS))):
        if names := names_of(store.folder, name):
            with contextlib.suppress(FileNotFoundError):  # they were given up meanwhile
                changed = os.stat(store.folder / ROOTS / name).st_mtime
                used = datetime.fromtimestamp(changed, timezone.utc)
                found.append(Roots(name, names, used))
    return found


def named(store: Store, registry: str) -> Roots:
    """Return the registry with roots in a store whose id begins like this.

    Raises:
        UsageError: That is too short.
        NotFound: There is none, or more than one.
    """
    if len(registry) < SHORTEST_PREFIX:
        raise UsageError(
            f"'{registry}' is too short for a registry's id",
            hint=f"at least {SHORTEST_PREFIX} letters; mvc store info lists them",
        )
    found = [known for known in registries(store) if known.registry.startswith(registry)]
    if len(found) != 1:
        raise NotFound(
            f"{len(found) or 'no'} registries called '{registry}' have roots in the store",
            hint="mvc store info lists those that have",
        )
    return found[0]


def root_again(store: Store, registry: str, names: Iterable[str]) -> Steps[int]:
    """Root under ``registry`` those of ``names`` that any registry has rooted.

    Each is a transaction of its own: a root that is still there once the
    intent is, is one whose objects no collector takes before it is our turn.

    Returns:
        How many roots were made.

    Raises:
        Busy: A collector evicted one of them; run it again.
    """
    there = registries(store)
    own = {name for roots in there if roots.registry == registry for name in roots.names}
    count = 0
    for name in names:
        others = [roots.registry for roots in there if name in roots.names]
        if name in own or not others:
            continue
        transaction = Transaction(store)
        try:
            yield from transaction.begin()
            data = _rooted(store, others, name)
            if data is not None:
                yield from transaction.publish(registry, data)
                count += 1
        finally:
            transaction.end()
    return count


def unroot(store: Store, registry: str) -> Steps[int]:
    """Remove every root of a registry; what only they kept is for the collector."""
    if not is_id(registry):
        raise MvcError(f"'{registry}' is no registry's id")
    folder = store.folder / ROOTS / registry
    names = sorted(fileio.list_folder(folder))
    for name in names:
        fileio.unlink(folder / name)
        yield "unrooted"
    if folder.is_dir():
        fileio.delete_folder(folder)
    return len(names)


def _rooted(store: Store, registries: Iterable[str], name: str) -> bytes | None:
    """Return a root's bytes from whichever registry has it whole."""
    for registry in registries:
        with contextlib.suppress(OSError, MvcError):
            data = fileio.read(store.folder / ROOTS / registry / name, lines.MAX_SIZE)
            if root_name(data) == name:
                return data
    return None
