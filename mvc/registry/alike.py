"""Alike: which versions hold the same bytes or the same weights.

Most records are passed over unread: one that names a digest has its text in it.

Public names: ``Like``, ``versions_like``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mvc.digest import Digest
from mvc.errors import MvcError
from mvc.registry.manifest import Manifest
from mvc.registry.record import Record


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
    folders: Iterable[str],
    *,
    most: int | None = None,
) -> Iterator[Like]:
    """Yield versions that name ``digest`` or ``weights``, newest first in each family.

    What cannot be read is passed over: who looks after that is ``fsck``.

    Args:
        most: How many versions are looked at.
    """
    sought = [str(each).encode() for each in (digest, weights) if each]
    looked_at = 0
    for folder in folders:
        for number in reversed(manifest.numbers(folder)):
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
