"""Columns: one fact of many versions at a time.

They come from the query index where there are many versions, and from the
records themselves where there are few or the index cannot be used.

Public names: ``Columns``, ``Records``, ``opened``, ``SMALL``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from mvc.errors import MvcError, UnreadWarning, warn
from mvc.registry.family import Family
from mvc.registry.manifest import Manifest
from mvc.registry.search.facts import Facts, Values, facts_of

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


class Records:
    """Facts read from the records, of each family once; what cannot be read is warned about."""

    def __init__(self, manifest: Manifest, families: Iterable[Family]) -> None:
        self._manifest = manifest
        self._families = {family.folder: family for family in families}
        self._facts: dict[str, dict[int, Facts]] = {}

    def column(self, family: Family, name: str, beginning: str = "") -> Mapping[int, Values]:
        found = {n: facts[name] for n, facts in self._of(family).items() if name in facts}
        if not beginning:
            return found
        return {n: values for n, values in found.items() if str(values[0]).startswith(beginning)}

    def names(self) -> Collection[str]:
        known = map(self._of, self._families.values())
        return {name for versions in known for facts in versions.values() for name in facts}

    def close(self) -> None:
        self._facts.clear()

    def _of(self, family: Family) -> dict[int, Facts]:
        if family.folder not in self._facts:
            known: dict[int, Facts] = {}
            for number in family.numbers(self._manifest):
                try:
                    known[number] = facts_of(self._manifest.record(family.folder, number)[0])
                except MvcError as error:
                    warn(UnreadWarning(error.message, error))
            self._facts[family.folder] = known
        return self._facts[family.folder]


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
