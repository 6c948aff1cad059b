"""Reach: which objects a version needs, and which versions need an object.

Edges are: version → artifact → what its recipe names.

Public names: ``Held``, ``held``, ``closure``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from mvc.digest import Digest
from mvc.errors import MvcError, StoreWarning
from mvc.registry import family as families
from mvc.registry.event import Standing
from mvc.registry.family import Family
from mvc.registry.manifest import Manifest
from mvc.registry.record import Record
from mvc.store import Store


@dataclass(frozen=True, slots=True)
class Held:
    """A version whose bytes must be in the store: every one that was not released."""

    id: str
    family: str
    number: int
    record: Record
    digest: Digest
    withdrawn: bool


def held(manifest: Manifest) -> Iterator[Held]:
    """Yield all versions that must be stored; a record that cannot be read is warned about."""
    for folder in manifest.families():
        family = families.load(manifest, folder)
        gone = released(manifest, family)
        for number in family.numbers(manifest):
            if number in gone:
                continue
            try:
                record, digest = manifest.record(folder, number)
            except MvcError as error:
                warnings.warn(error.message, StoreWarning, stacklevel=2)
                continue
            identity = f"{family.name}/v{number}"
            withdrawn = number in family.withdrawn
            yield Held(identity, family.name, number, record, digest, withdrawn)


def released(manifest: Manifest, family: Family) -> set[int]:
    """Return the versions whose bytes were given up by gc."""
    changes = (manifest.event(family.folder, n).change for n in range(1, family.events + 1))
    return {c.version for c in changes if isinstance(c, Standing) and c.kind == "released"}


def closure(store: Store, digest: Digest) -> frozenset[Digest]:
    """Return a file's digest and those of the objects it is made of.

    Raises:
        Damaged: Its recipe is missing or damaged.
    """
    recipe = store.recipe(digest)
    parts = (ref.digest for ref in recipe.objects) if recipe else ()
    return frozenset([digest, *parts])
