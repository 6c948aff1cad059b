"""The part of ``ModelRegistry`` that chooses versions by what is known of them.

Public names: ``SearchMethods``.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from mvc.registry import family as families
from mvc.registry import resolve
from mvc.registry.care_methods import CareMethods

if TYPE_CHECKING:
    import builtins
    from collections.abc import Sequence

    from mvc.registry.alike import Related
    from mvc.registry.family import Family
    from mvc.registry.refs import AnyRef
    from mvc.registry.version import Version


class SearchMethods(CareMethods):
    """Questions about many versions at once."""

    def families(
        self, *, where: str | Sequence[str] | None = None, limit: int | None = None
    ) -> builtins.list[Family]:
        """Return the state of every family, sorted by name; of ``limit`` of them at most.

        One that cannot be read is left out.

        Args:
            where: An expression, or several: only families with a version of which all are true.

        Raises:
            UsageError: The expression does not follow the grammar; the message names the column.

        Warns:
            UnreadWarning: A family or record cannot be read; ``list``, ``log``, ``search`` and
                ``status`` warn alike, and answer without it.
        """
        if self._is_to_come:
            return []
        if where is None:
            return list(islice(families.readable(self.manifest), limit))
        from mvc.registry.search import search

        return search.families_with(self.manifest, where)[:limit]

    def related(self, ref: AnyRef) -> Related:
        """Return the versions made from one, and those with the same bytes or weights.

        Only versions in use count, and the newest 300 of them are looked at; what is
        returned is ``complete`` if there are no more.

        Raises:
            NotFound: There is no such version.
        """
        from mvc.registry import alike

        found, number = resolve.resolve(self.manifest, ref, whole=True)
        return alike.related(self.manifest, found, number)

    def search(
        self,
        expression: str | Sequence[str] = "",
        *,
        name: str | Sequence[str] | None = None,
        sort: str | None = None,
        limit: int | None = None,
    ) -> builtins.list[Version]:
        """Return the versions of which an expression is true; withdrawn ones never.

        Args:
            expression: As ``"acc > 0.9 and not tag = archived"``, or several, all
                of which must hold; empty means all. Grammar and names: ``docs/search.md``.
            name: The family to look in, or several; all if not given.
            sort: The value to sort by, lowest first; with ``-`` before it,
                highest first. What lacks it comes last. Newest first if not given.
            limit: How many to return at most.

        Raises:
            UsageError: The expression does not follow the grammar; the message names the column.
            NotFound: There is no family ``name``.
        """
        from mvc.registry.search import search

        if self._is_to_come and name is None:
            return []
        names = [name] if isinstance(name, str) else name
        return search.search(
            self.manifest, self.presence, expression, names=names, sort=sort, limit=limit
        )
