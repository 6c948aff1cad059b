"""Alike: which versions hold the same bytes or the same weights.

Most records are passed over unread: one that names a digest has its text in it.

Public names: ``Like``, ``versions_like``, ``earlier_like``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mvc.digest import Digest
from mvc.errors import MvcError
from mvc.registry.manifest import Manifest
from mvc.registry.record import Record

# How far back an equal version is looked for, to be named.
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


def versions_like(
    manifest: Manifest,
    digest: Digest,
    weights: Digest | None,
    where: Iterable[tuple[str, Iterable[int]]],
    *,
    most: int | None = None,
) -> Iterator[Like]:
    """Yield versions that name ``digest`` or ``weights``, in the order they are looked at.

    What cannot be read is passed over: who looks after that is ``fsck``.

    Args:
        where: Folders of families, and which of their versions to look at.
        most: How many versions are looked at.
    """
    sought = [str(each).encode() for each in (digest, weights) if each]
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
    for like in versions_like(manifest, digest, weights, where, most=MOST_COMPARED):
        if bytes_of and like.folder != bytes_of.folder:
            break
        if like.record.artifact.digest == digest:
            bytes_of = like
        elif bytes_of or not weights or like.record.weights != weights:
            continue
        elif weights_of is None or like.folder == weights_of.folder:
            weights_of = like
    return bytes_of.id if bytes_of else None, weights_of.id if weights_of else None


def _newest_of_each(
    manifest: Manifest, family: str, number: int
) -> Iterator[tuple[str, Iterable[int]]]:
    """Yield the versions of a family before one of them, then those of the others."""
    yield family, range(number - 1, 0, -1)
    for other in manifest.families():
        if other != family:
            with contextlib.suppress(MvcError):  # it may not be looked into
                yield other, reversed(manifest.numbers(other))
