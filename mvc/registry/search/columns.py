"""Columns: one fact of many versions at a time.

They come from the query index where there are many versions, and from the
records themselves where there are few or the index cannot be used.

Public names: ``Columns``, ``opened``, ``SMALL``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from mvc.registry.family import Family
from mvc.registry.manifest import Manifest
from mvc.registry.search.facts import Values
from mvc.registry.search.records import Records

# So many records are read sooner than an index is brought up to date.
SMALL = 500


class Columns(Protocol):
    """The facts of all versions of some families."""

    def column(self, family: Family, name: str, beginning: str = "") -> Mapping[int, Values]:
        """Return one fact of every version that has it, by number, ascending.

        Args:
            beginning: Only of those whose value is text that begins so.
        """

    def names(self) -> Collection[str]:
        """Return the names of all facts that any version has."""

    def close(self) -> None:
        """Let go of what was opened."""


def opened(manifest: Manifest, families: Sequence[Family]) -> contextlib.closing[Columns]:
    """Return the facts of families, until the context ends."""
    records = Records(manifest, families)
    if manifest.index is None or sum(family.count for family in families) <= SMALL:
        return contextlib.closing(records)
    try:
        from mvc.registry.search.index import Index
    except ImportError:  # some builds of Python lack SQLite
        return contextlib.closing(records)
    return contextlib.closing(Index(manifest, families, manifest.index, records))
