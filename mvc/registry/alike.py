"""Alike: which versions hold the same bytes or the same weights, and which name a version.

Most records are passed over unread: one that names a digest has its text in it.

Public names: ``Like``, ``Related``, ``versions_like``, ``earlier_like``, ``related``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from mvc.digest import Digest
from mvc.errors import MvcError
from mvc.registry import family as families
from mvc.registry.family import Family
from mvc.registry.manifest import Manifest
from mvc.registry.record import Record

# Among so many versions equal ones and children are looked for, to be named.
MOST_COMPARED = 300


@dataclass(frozen=True, slots=True)
class Like:
    """A version whose record names a digest that was looked for."""

    folder: str
    number: int
    record: Record

    @property
    def id(self) -> str:
        return f"{self.record.family}/v{self.number}"

    def holding(self, digest: Digest) -> list[str]:
        """Return what of it has these bytes: itself, or files of it as ``bert/v1:config.json``."""
        artifact = self.record.artifact
        if artifact.digest == digest:
            return [self.id]
        return [f"{self.id}:{f.path}" for f in artifact.listing or () if f.digest == digest]


@dataclass(frozen=True, slots=True)
class Related:
    """Versions in use, by their ids: made from one, or equal to it.

    ``same_bytes`` may be files of versions, as ``bert/v1:model.bin``. It is
    ``complete`` if all versions were looked at.
    """

    children: tuple[str, ...]
    same_bytes: tuple[str, ...]
    same_weights: tuple[str, ...]
    complete: bool


def versions_like(
    manifest: Manifest,
    digests: Iterable[Digest | None],
    where: Iterable[tuple[str, Iterable[int]]],
    *,
    most: int | None = None,
) -> Iterator[Like]:
    """Yield versions that name any of ``digests``, in the order they are looked at.

    What cannot be read is passed over: who looks after that is ``fsck``.

    Args:
        where: Folders of families, and which of their versions to look at.
        most: How many versions are looked at.
    """
    sought = [str(each).encode() for each in digests if each]
    looked_at = 0
    for folder, numbers in where:
        for number in numbers:
            if looked_at == most:
                return
            looked_at += 1
            try:
                data = manifest.record_bytes(folder, number)
                if not any(text in data for text in sought):
                    continue
                record, _ = manifest.record(folder, number)
            except MvcError:
                continue
            yield Like(folder, number, record)


def earlier_like(
    manifest: Manifest, family: str, number: int, digest: Digest, weights: Digest | None
) -> tuple[str | None, str | None]:
    """Return the id of an earlier version with the same bytes, and of one with the same weights.

    The first of this family, else of another: of each as far back as is looked.
    """
    bytes_of: Like | None = None
    weights_of: Like | None = None
    where = _newest_of_each(manifest, family, number)
    for like in versions_like(manifest, (digest, weights), where, most=MOST_COMPARED):
        if bytes_of and like.folder != bytes_of.folder:
            break
        if like.record.artifact.digest == digest:
            bytes_of = like
        elif bytes_of or not weights or like.record.weights != weights:
            continue
        elif weights_of is None or like.folder == weights_of.folder:
            weights_of = like
    return bytes_of.id if bytes_of else None, weights_of.id if weights_of else None


def related(manifest: Manifest, family: Family, number: int) -> Related:
    """Return what was made from a version, and what equals it, as far as is looked.

    The newest versions are asked first, one of each family in turn.

    Raises:
        NotFound, Damaged: Its record cannot be read.
    """
    record, own = manifest.record(family.folder, number)
    digest, weights = record.artifact.digest, record.weights
    known, whole = _in_use(manifest, family)
    count = sum(len(numbers) for _, numbers in known)
    in_turn = ((at, [n]) for at, n in _in_turn(known) if (at, n) != (family.folder, number))
    likes = sorted(
        versions_like(manifest, (own, digest, weights), in_turn, most=MOST_COMPARED),
        key=lambda like: (like.folder != family.folder, like.folder, like.number),
    )
    holding = [(like, like.holding(digest)) for like in likes]
    return Related(
        children=tuple(like.id for like in likes if str(own) in _parents(like.record)),
        same_bytes=tuple(chain.from_iterable(held for _, held in holding)),
        same_weights=tuple(
            like.id for like, held in holding if not held and weights == like.record.weights
        )
        if weights
        else (),
        complete=whole and count <= MOST_COMPARED + 1,
    )


def _in_use(manifest: Manifest, first: Family) -> tuple[list[tuple[str, Sequence[int]]], bool]:
    """Return the versions in use of as many families as are looked at; and if these are all."""
    names = [first.folder, *(name for name in manifest.families() if name != first.folder)]
    known: list[tuple[str, Sequence[int]]] = []
    for name in names[:MOST_COMPARED]:
        with contextlib.suppress(MvcError):
            family = first if name == first.folder else families.load(manifest, name)
            known.append((name, family.live(manifest)))
    return known, len(known) == len(names)


def _in_turn(known: Sequence[tuple[str, Sequence[int]]]) -> Iterator[tuple[str, int]]:
    for row in zip_longest(*(reversed(numbers) for _, numbers in known)):
        for (name, _), number in zip(known, row, strict=True):
            if number is not None:
                yield name, number


def _parents(record: Record) -> list[Any]:
    parents = record.lineage.get("parents")
    listed = parents if isinstance(parents, (list, tuple)) else ()
    return [parent.get("record") for parent in listed if isinstance(parent, dict)]


def _newest_of_each(
    manifest: Manifest, family: str, number: int
) -> Iterator[tuple[str, Iterable[int]]]:
    """Yield the versions of a family before one of them, then those of the others."""
    yield family, range(number - 1, 0, -1)
    for other in manifest.families():
        if other != family:
            with contextlib.suppress(MvcError):  # it may not be looked into
                yield other, reversed(manifest.numbers(other))
