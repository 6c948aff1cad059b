"""The part of ``ModelRegistry`` that names versions: tags, and what ``best`` means.

Public names: ``TagMethods``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mvc.errors import UsageError
from mvc.registry import changes, resolve
from mvc.registry.family import Family, Rule
from mvc.registry.refs import AnyRef
from mvc.registry.search_methods import SearchMethods
from mvc.registry.version import Version


class TagMethods(SearchMethods):
    """What moves a name from one version to another."""

    if TYPE_CHECKING:

        def resolve(self, ref: AnyRef) -> Version: ...

        def family(self, name: str) -> Family: ...

    def tag(
        self,
        ref: AnyRef,
        tag: str,
        *,
        expect: AnyRef | None = None,
        require: str | Sequence[str] | None = None,
        message: str | None = None,
    ) -> Version:
        """Move ``tag`` to the version that ``ref`` means.

        Args:
            expect: ``vN``, ``family/vN`` or ``none``: what the tag must stand on now.
            require: An expression, or several, that must be true of the version; see
                ``docs/search.md``.

        Raises:
            Conflict: The tag stands elsewhere than ``expect``.
            Refused: ``require`` is not true; the tag stays where it is.

        Warns:
            StoreWarning: The bytes of the version are not all there.
        """
        found, number = resolve.resolve(self.manifest, ref, whole=True)
        check = None
        if require is not None:
            from mvc.registry.search.requirement import of_version

            check = of_version(self.manifest, found.folder, number, require, tag).check
        self._root_if_writable()
        changes.tag(self.manifest, found, number, tag, expect, message, check)
        return self._warned_of(f"{found.folder}@v{number}")

    def delete_tag(self, ref: str) -> None:
        """Delete a tag, given as ``family@tag``; its history stays.

        Raises:
            NotFound: There is no such tag.
        """
        self._root_if_writable()
        changes.delete_tag(self.manifest, ref)

    def rollback(
        self, ref: str, *, to: AnyRef | None = None, message: str | None = None
    ) -> changes.RolledBack:
        """Undo the newest move of the tag ``family@tag`` that is not undone yet.

        Args:
            to: ``vN``: undo moves until the tag stands there.
            message: Why; it stands in the tag's history.

        Raises:
            NotFound: There is no such tag, or nothing to go back to.

        Warns:
            StoreWarning: The bytes of the version are not all there; the tag stands on it
                all the same.
        """
        self._root_if_writable()
        done = changes.rollback(self.manifest, ref, to, message)
        return replace(done, present=self._warned_of(done.id).present)

    def best(
        self, name: str, metric: str | None = None, mode: str | None = None
    ) -> tuple[Rule | None, Version | None]:
        """Return the rule for ``best`` and the version it picks; ``metric`` sets the rule.

        Args:
            mode: ``max`` or ``min``; not needed where the name of the metric tells.

        Raises:
            UsageError: It is no name for a metric, nobody knows which way is better, or
                ``mode`` is given without a metric.
            NotFound: No version has the metric, and some have others.
        """
        if mode is not None and metric is None:
            raise UsageError("which metric?", hint=f'best("{name}", "acc", mode="{mode}")')
        if metric is not None:
            self._root_if_writable()
            changes.set_best(self.manifest, name, metric, mode)
        known = self.family(name)
        if known.best is None:
            return known.rule, None
        return known.rule, self.resolve(f"{known.folder}@v{known.best[0]}")

    def _warned_of(self, ref: str) -> Version:
        version = self.resolve(ref)
        return version if version.present else resolve.checked(self.presence, version)

    def history(self, ref: str) -> list[changes.Move]:
        """Return every move of a tag, ``family@tag``, newest first.

        Raises:
            NotFound: There never was such a tag.
        """
        return changes.history(self.manifest, ref)
