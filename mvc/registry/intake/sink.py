"""Sinks: where a file's bytes go while it is read.

A ``Transaction`` is one, and stores them. Who only wants to know what a file
is lets them go nowhere.

Public names: ``Sink``, ``Nowhere``.
"""

from __future__ import annotations

from typing import Protocol

from mvc.digest import Buffer, Digest
from mvc.recipe import Recipe
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
