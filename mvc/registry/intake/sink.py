"""Sinks: where a file's bytes go while it is read.

A ``Transaction`` is one, and stores them. Who only wants to know what a file
is lets them go nowhere, or counts what a store lacks of it.

Public names: ``Sink``, ``Nowhere``, ``Lacking``.
"""

from __future__ import annotations

from typing import Protocol

from mvc.digest import Buffer, Digest
from mvc.recipe import Recipe
from mvc.store import Store
from mvc.store.transaction import Offer


class Sink(Protocol):
    """Takes the objects of a file, then how it is put together."""

    def put(self, data: Buffer, digest: Digest, width: int, offer: Offer = ...) -> None: ...

    def put_recipe(self, digest: Digest, made: Recipe) -> None: ...


class Nowhere:
    """Keeps nothing."""

    def put(self, data: Buffer, digest: Digest, width: int, offer: Offer = tuple) -> None:
        pass

    def put_recipe(self, digest: Digest, made: Recipe) -> None:
        pass


class Lacking(Nowhere):
    """Keeps nothing; ``size`` counts the bytes of the objects that a store lacks."""

    def __init__(self, store: Store) -> None:
        self.size = 0
        self._store = store
        self._seen: set[Digest] = set()

    def put(self, data: Buffer, digest: Digest, width: int, offer: Offer = tuple) -> None:
        if digest not in self._seen and self._store.find(digest, len(data)) is None:
            self.size += len(data)
        self._seen.add(digest)
