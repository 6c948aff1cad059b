"""Cutting: which stretches of a file become which objects.

Tensor storages are cut every 2^20 elements from their start, so that equal
tensors give equal chunks in any file, and chunk *k* of a cast lies over
chunk *k* of its source. Small storages go together into one object, sorted by
the names of their tensors; all bytes that are no tensor's go into another, the
skeleton. What is not understood is cut by content.

Rules and limits: ``docs/formats/recipe.md``; why small tensors have an object
of their own: ``docs/decisions/0002-small-tensors.md``.
Public names: ``Stretch``, ``Kind``, ``stretches``, ``chunk_size``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from mvc.formats import Layout

CHUNK_ELEMENTS = 1 << 20
CHUNK_SIZE = 4 << 20
MAX_CHUNK = 8 << 20
SMALL_STORAGE = 4 << 10
MAX_SMALL = 16 << 20
MAX_LITERAL = 64 << 10
MAX_SKELETON = 64 << 20


class Kind(Enum):
    """What a stretch of a file is kept as."""

    SKELETON = "skeleton"
    SMALL = "small"
    STORAGE = "storage"
    CONTENT = "content"


@dataclass(frozen=True, slots=True)
class Stretch:
    """``size`` bytes of the file at ``offset``; ``storage`` is a place in ``Layout.storages``."""

    kind: Kind
    offset: int
    size: int
    width: int = 0
    storage: int | None = None


def chunk_size(width: int) -> int:
    """Return the size in bytes of one chunk of elements of ``width`` bytes."""
    return min(CHUNK_ELEMENTS * width, MAX_CHUNK) if width else CHUNK_SIZE


def stretches(layout: Layout | None, size: int) -> tuple[Stretch, ...]:
    """Return what a file of ``size`` bytes consists of: in order, without gap or overlap."""
    if layout is not None:
        found = tuple(_with_literals(layout, size))
        skeleton = sum(s.size for s in found if s.kind is Kind.SKELETON)
        if skeleton <= MAX_SKELETON:
            return found
    return (Stretch(Kind.CONTENT, 0, size),) if size else ()


def _with_literals(layout: Layout, size: int) -> Iterator[Stretch]:
    end = small = 0
    for position, storage in enumerate(layout.storages):
        yield from _literal(end, storage.offset)
        kind = Kind.STORAGE
        if storage.size < SMALL_STORAGE and small + storage.size <= MAX_SMALL:
            small += storage.size
            kind = Kind.SMALL
        yield Stretch(kind, storage.offset, storage.size, storage.width, position)
        end = storage.offset + storage.size
    yield from _literal(end, size)


def _literal(start: int, end: int) -> Iterator[Stretch]:
    if end > start:
        kind = Kind.SKELETON if end - start <= MAX_LITERAL else Kind.CONTENT
        yield Stretch(kind, start, end - start)
