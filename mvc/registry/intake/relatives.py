"""Relatives: earlier versions whose objects new ones may be kept over.

A checkpoint is near the one before it, a cast lies over its source, a
fine-tune over what it was made from. Which of a family's versions a file is
nearest to is measured on two of its tensors; then every tensor is offered the
chunks of its namesake there. Whether a chunk is kept so is decided anew for
each, where it is encoded: an offer costs reading, never correctness.

Nothing of it is in a record. What a version was made from is its parents.

Public names: ``Relatives``, ``Offers``, ``nearest``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from mvc.digest import Digest, digest_of
from mvc.errors import MvcError
from mvc.formats import Layout
from mvc.registry.family import Family
from mvc.registry.intake.cutting import SMALL_STORAGE, chunk_size
from mvc.registry.intake.source import SourceFile
from mvc.registry.manifest import Manifest
from mvc.registry.namesakes import Table
from mvc.registry.record import Artifact, Record
from mvc.store import Store, Transaction
from mvc.store.pack import MAX_DEPTH
from mvc.store.transaction import Under

LAST = 3
"""How many of a family's last versions are looked at."""

SAMPLES = 2

MOST_WHOLE = 6
"""Over how many others a file that is one object is tried."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """A relative, and how many bases below its objects ours are to be kept over."""

    relative: int
    hops: int


class Relatives:
    """Versions near to what is being added, as far as they can be told beforehand."""

    def __init__(self, transaction: Transaction, store: Store, artifacts: Sequence[Artifact]):
        self._store = store
        self.promise = transaction.promise
        self._artifacts = artifacts

    @cached_property
    def tables(self) -> list[Table]:
        """What each relative has."""
        return [Table(self._store, artifact) for artifact in self._artifacts]

    def below(self, digest: Digest, width: int) -> Iterator[Under]:
        """Yield an object and what it is kept over, down to what needs no base.

        Args:
            digest: The object.
            width: Its bytes per element. A cast keeps their number, so the sizes tell
                what they are below.
        """
        frames = self._store.entries_of(digest)
        for _ in range(MAX_DEPTH + 1):  # whatever a damaged store says
            if not frames:
                return
            entry = frames[0].entry
            yield Under(entry.digest, width)
            frames = self._store.entries_of(entry.base) if entry.base else []
            if frames and entry.size:
                wide, rest = divmod(width * frames[0].entry.size, entry.size)
                width = wide if not rest and wide in (1, 2, 4, 8) else width

    def holds(self, digest: Digest, size: int) -> bool:
        """Say whether the store has an object already."""
        return self._store.find(digest, size) is not None


class Offers:
    """What the relatives have for each object of one file."""

    def __init__(self, relatives: Relatives, source: SourceFile, layout: Layout | None) -> None:
        self._relatives = relatives
        self._source = source
        self._layout = layout
        self._names: dict[int, str] = {}
        for tensor in layout.tensors if layout else ():
            if tensor.storage is not None and not tensor.offset:
                self._names.setdefault(tensor.storage, tensor.name)

    def whole(self, width: int) -> Sequence[Under]:
        """Offer the files of relatives for a file that is one object."""
        files = [table.whole.digests[0] for table in self._relatives.tables if table.whole]
        found = (under for file in files for under in self._relatives.below(file, width))
        return list(dict.fromkeys(found))[:MOST_WHOLE]

    def chunk(self, storage: int | None, number: int) -> Sequence[Under]:
        """Offer an object for one chunk of a storage, or for small tensors put together."""
        name = None if storage is None else self._names.get(storage)
        if name is None or self._choice is None:
            return ()
        return self._under(name, number, self._choice)

    @cached_property
    def _choice(self) -> _Choice | None:
        """Return which relative is the nearest, measured on some tensors."""
        choices = self._choices()
        if len(choices) < 2:
            return next(iter(choices), None)
        costs = dict.fromkeys(choices, 0.0)
        for name, data, width in self._samples():
            alone = self._relatives.promise(data, width, None)
            for choice in choices:
                over = (
                    self._relatives.promise(data, width, u) for u in self._under(name, 0, choice)
                )
                costs[choice] += min([alone, *over])
        return min(costs, key=lambda choice: costs[choice])

    def _choices(self) -> list[_Choice]:
        """Return the relatives, and what those are kept over, each object once."""
        assert self._layout is not None
        found: dict[tuple[Under, ...], _Choice] = {}
        names = [name for name, _ in self._sampled()]
        for number, table in enumerate(self._relatives.tables):
            namesakes = filter(None, map(table.find, names))
            ways = [list(self._relatives.below(c.digests[0], c.width)) for c in namesakes]
            for hops in range(max(map(len, ways), default=0)):
                under = tuple(way[min(hops, len(way) - 1)] for way in ways if way)
                found.setdefault(under, _Choice(number, hops))
        return list(found.values())

    def _samples(self) -> Iterator[tuple[str, bytes, int]]:
        assert self._layout is not None
        for name, place in self._sampled():
            storage = self._layout.storages[place]
            size = min(storage.size, chunk_size(storage.width))
            data = self._source.read(storage.offset, size)
            if not self._relatives.holds(digest_of(data), size):
                yield name, data, storage.width

    def _sampled(self) -> list[tuple[str, int]]:
        """Return name and place of the storages to measure: the largest and a middling one."""
        assert self._layout is not None
        named = [(self._layout.storages[at].size, name, at) for at, name in self._names.items()]
        large = sorted(row for row in named if row[0] >= SMALL_STORAGE)
        picked = dict.fromkeys(large[at] for at in (-1, len(large) // 2) if large)
        return [(name, at) for _, name, at in picked][:SAMPLES]

    def _under(self, name: str, number: int, choice: _Choice) -> list[Under]:
        chunks = self._relatives.tables[choice.relative].find(name)
        if chunks is None or number >= len(chunks.digests):
            return []
        way = list(self._relatives.below(chunks.digests[number], chunks.width))
        return [way[min(choice.hops, len(way) - 1)]] if way else []


def nearest(manifest: Manifest, family: Family | None, parents: Sequence[Record]) -> list[Artifact]:
    """Return the artifacts of the versions that a new one may be near to.

    Those are its parents, else the last of its family and the best.
    """
    records = list(parents)
    if not records and family is not None:
        standing = family.live(manifest)
        numbers = standing[: -LAST - 1 : -1]
        if family.best and family.best[0] not in numbers:
            numbers.append(family.best[0])
        for number in numbers:
            with contextlib.suppress(MvcError):
                records.append(manifest.record(family.folder, number)[0])
    return list({record.artifact.digest: record.artifact for record in records}.values())
