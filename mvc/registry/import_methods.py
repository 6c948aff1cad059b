"""The part of ``ModelRegistry`` that brings models of other places here.

Public names: ``ImportMethods``.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat

from mvc import environment
from mvc.errors import Conflict, MvcError, MvcWarning, NotFound, UsageError
from mvc.registry.keep_methods import KeepMethods
from mvc.registry.location import place
from mvc.registry.names import by_name, check_family, several

if TYPE_CHECKING:
    from pathlib import Path

    from mvc.registry.imports.cached import Slot
    from mvc.registry.version import Added, Imported

PRETRAINED = "pretrained_models"


class ImportMethods(KeepMethods):
    """Models that others published."""

    if TYPE_CHECKING:
        add: Any
        checkout: Any

    def import_(
        self,
        source: str,
        name: str | None = None,
        metrics: Mapping[str, SupportsFloat] | None = None,
        *,
        revision: str | None = None,
        sha256: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        offline: bool = False,
        **options: Any,
    ) -> Imported:
        """Download a model once, and register it as the next version of ``name``.

        A version that has the same bytes and says the same is returned instead (not ``new``).

        Args:
            source: A URL, ``torchvision:MODEL[@WEIGHTS]`` or ``hf:ORG/NAME[@REVISION]``.
            name: The family; the name of the source suggests one.
            metrics: Over those that the source tells.
            revision: A branch, tag or commit of a repository.
            sha256: The digest that the file must have.
            include, exclude: Globs for the files of a repository.
            offline: Take what was downloaded before, or nothing; ``MVC_OFFLINE`` asks for it too.
            options: Those of ``add``; they win over what the source tells.

        Raises:
            Unsupported: A library that the source needs is not installed.
            UsageError: It is no source, or a name or value is not allowed.
            NotFound: It was not downloaded before, and ``offline``.
            RemoteFailed: It cannot be downloaded, or is not what was asked for.
            Busy: Another process is downloading it and gets nowhere.
            Conflict: What was downloaded was deleted before it was added.
        """
        from mvc.registry.imports import sources
        from mvc.registry.version import Imported

        family = name if name is not None else sources.family_of(source)
        if not family:
            raise UsageError(
                "which family is this to be a version of?", hint="--family FAMILY says it"
            )
        told = {**options, "metrics": by_name("metrics", metrics)}
        self._check_before(family, told)
        wish = sources.Wish(
            source,
            self.folder.parent / PRETRAINED,
            revision,
            sha256,
            several(include),
            several(exclude),
            offline or environment.offline(),
            self._restore,
        )
        brought = sources.bring(wish)
        said = sources.said_of(brought, told)
        added = self._added(family, brought.path, said)
        known = {**vars(added), "notes": (*brought.notes, *added.notes)}
        return Imported(**known, received=brought.received, path=brought.path)

    def _added(self, family: str, path: Path, said: Mapping[str, Any]) -> Added:
        """Add what was brought, unless somebody deletes it meanwhile."""
        try:
            added: Added = self.add(family, path, if_changed=True, **said)
        except (Conflict, NotFound, FileNotFoundError):
            if path.exists():
                raise
            raise Conflict(
                f"'{path}' was deleted before it was added", hint="run this again"
            ) from None
        return added

    def _restore(self, slot: Slot) -> None:
        """Bring a file that was imported before back from the store, if it is there."""
        from mvc.registry.imports.cached import note_of

        if not place.exists(self.folder):
            return
        with contextlib.suppress(MvcError, OSError), warnings.catch_warnings():
            warnings.simplefilter("ignore", MvcWarning)  # of a name that no version has yet
            for version in self.search(f'lineage.imported.url = "{slot.url}"', limit=1):
                artifact = version.artifact
                said = {**version.lineage["imported"], "name": artifact.name, "size": artifact.size}
                note = note_of(said)
                slot.make()
                self.checkout(version.id, slot.folder / note.name)
                slot.note_whole(note)

    def _check_before(self, family: str, told: Mapping[str, Any]) -> None:
        """Refuse, before anything is downloaded for it, what could not be added."""
        from mvc.registry.intake.intake import Facts
        from mvc.registry.intake.origin import parent_of

        facts = Facts(**told)
        check_family(family)
        if place.exists(self.folder):
            self.presence.writable()
            for ref in several(facts.parents):
                parent_of(self.manifest, ref)
            self.manifest.refuse_closed(family)
