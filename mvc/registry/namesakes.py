"""Namesakes: the objects of a version's tensors, by the names of the tensors.

Public names: ``Chunks``, ``Table``, ``tensors_of``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from mvc.digest import Digest
from mvc.errors import MvcError
from mvc.formats.dtypes import width_of
from mvc.recipe import Recipe
from mvc.registry.intake.cutting import SMALL_STORAGE
from mvc.registry.reach import files_of
from mvc.registry.record import Artifact
from mvc.store import Store


@dataclass(frozen=True, slots=True)
class Chunks:
    """A tensor's objects in order, and the bytes per element."""

    digests: tuple[Digest, ...]
    width: int


class Table:
    """A version's tensors by name, and by the ends of names where only one is called so.

    So ``model.layer1.weight`` of a checkpoint and ``layer1.weight`` of the
    weights alone, or with a wrapper's prefix, are namesakes.
    """

    def __init__(self, store: Store, artifact: Artifact) -> None:
        tensors = dict(tensors_of(store, artifact))
        self.whole = tensors.pop(None, None)
        self._named: dict[str, Chunks | None] = {}
        for name, chunks in tensors.items():
            for ending in _endings(name or ""):
                self._named[ending] = None if ending in self._named else chunks
        self._named.update((name, chunks) for name, chunks in tensors.items() if name)

    def find(self, name: str) -> Chunks | None:
        return next(filter(None, map(self._named.get, (name, *_endings(name)))), None)


def _endings(name: str) -> Iterator[str]:
    """Yield the ends of a dotted name, of two parts and more, the longest first."""
    parts = name.split(".")
    return (".".join(parts[start:]) for start in range(1, len(parts) - 1))


def tensors_of(store: Store, artifact: Artifact) -> Iterator[tuple[str | None, Chunks]]:
    """Yield the tensors of an artifact; under ``None`` a file that is one object."""
    with contextlib.suppress(MvcError, OSError):  # what cannot be read is nobody's relative
        for file in files_of(store, artifact):
            recipe = store.recipe(file.digest)
            if recipe is None:
                yield None, Chunks((file.digest,), 0)
            else:
                yield from _tensors(recipe)


def _tensors(recipe: Recipe) -> Iterator[tuple[str, Chunks]]:
    for tensor in recipe.tensors:
        refs = recipe.objects[tensor.first : tensor.first + tensor.count]
        # Small tensors lie together, as fp32 wherever they are kept.
        small = tensor.size < SMALL_STORAGE
        width = 4 if small else width_of(tensor.dtype)
        if refs and (small or not tensor.offset):
            yield tensor.name, Chunks(tuple(ref.digest for ref in refs), width)
