"""Records: columns of facts that come from the records themselves.

Public names: ``Records``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from mvc.errors import MvcError, UnreadWarning, warn
from mvc.registry.family import Family
from mvc.registry.manifest import Manifest
from mvc.registry.search.facts import Facts, Values, facts_of


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
