"""The part of ``ModelRegistry`` that keeps a store in shape, and says whether it is.

Public names: ``CareMethods``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvc.errors import UsageError
from mvc.registry.location.place import AnyPath
from mvc.registry.names import several
from mvc.registry.tensor_methods import TensorMethods

if TYPE_CHECKING:
    from datetime import timedelta

    from mvc.registry.care.doctor import Diagnosis
    from mvc.registry.care.findings import Report
    from mvc.registry.care.repack import Repacked
    from mvc.registry.location.place import Place
    from mvc.registry.location.presence import Presence
    from mvc.registry.manifest import Manifest


class CareMethods(TensorMethods):
    """What looks after bytes: how they are kept, and whether they are whole."""

    if TYPE_CHECKING:

        def _reopen(self) -> None: ...

        def _writing(
            self, *, if_old: bool = False, always: bool = False, strict: bool = False
        ) -> tuple[Place, Manifest, Presence]: ...

    def fsck(
        self,
        level: str = "default",
        *,
        repair: bool = False,
        sources: Sequence[AnyPath] = (),
        lost_records: bool | str = False,
        sample: str | None = None,
        max_duration: timedelta | str | None = None,
    ) -> Report:
        """Check the registry and its store; ``level`` is ``quick``, ``default`` or ``full``.

        Args:
            repair: Put right what has a source before, and check again. Nothing is deleted.
            sources: Files, folders or stores to take lost bytes from.
            lost_records: With ``repair``: every record that only the store has becomes a
                version again, also those of other git branches. An id does it for those of
                that registry as well, whose folder is lost.
            sample: ``"2/7"`` reads the second of seven parts of what is stored.
            max_duration: How long to read packs, those checked longest ago first: a
                ``timedelta``, or text such as ``"30s"``, ``"10m"``; see ``docs/fsck.md``.

        Raises:
            UsageError: ``lost_records`` without ``repair``; ``level``, ``sample`` or
                ``max_duration`` is none, or does not go with the rest.
            NotFound: A source is not there, or no registry is called so.
            StoreMissing: The store is away.
            Busy: The store is being moved.
        """
        from mvc.registry.care import coverage, fsck
        from mvc.registry.care.confirmed import confirmed

        _check_level(level, fsck.LEVELS)
        scope = coverage.scope_of(sample, max_duration)
        if scope != fsck.EVERYTHING and (repair or level == "quick"):
            raise UsageError(
                "only a check that reads everything stored can be done in parts",
                hint="leave out quick and repair, or sample and max_duration",
            )
        if lost_records is not False and not repair:
            raise UsageError(
                "lost records are for a repair", hint="mvc fsck --repair --lost-records"
            )
        if repair:
            from mvc.registry.care import repair as mending

            paths = [Path(path) for path in several(sources)]
            parts = self._writing(if_old=True, always=True)
            return mending.repair(*parts, level, paths, lost_records=lost_records)

        def check() -> Report:
            return fsck.check(self.place, self.manifest, self.presence, level, scope)

        def store() -> Path:
            if self.presence.is_outdated():
                self._reopen()
            return self.presence.store.folder

        return check() if scope.limit is not None else confirmed(check, store)

    def fsck_size(
        self,
        level: str = "default",
        *,
        sample: str | None = None,
        max_duration: timedelta | str | None = None,
    ) -> int:
        """Return how many bytes of the store ``fsck`` would read, if time does not end it."""
        from mvc.registry.care import coverage, fsck

        _check_level(level, fsck.LEVELS)
        scope = coverage.scope_of(sample, max_duration)
        return fsck.bytes_to_read(self.place, self.manifest, self.presence, level, scope)

    def doctor(self) -> Diagnosis:
        """Look at what this registry stands on: its folder, store, disk, clock and libraries.

        Nothing lasting is written, and what cannot be opened is a problem, no error.
        """
        from mvc.registry.care import doctor

        def of(name: str) -> Callable[[], Any]:
            return lambda: getattr(self, name)

        return doctor.Diagnosis(tuple(doctor.examine(of("place"), of("presence"), of("manifest"))))

    def repack(self, *, dry_run: bool = False) -> Repacked:
        """Keep the versions that are read most without a base, all others one link above one.

        Those are the newest and the best of each family. Small packs are
        merged. Nobody is in the way: it may be interrupted at any time, and
        versions may be added and read meanwhile.

        Args:
            dry_run: Only tell what would be done.

        Raises:
            Damaged: Something cannot be read; nothing was removed.
            Busy: A gc, another repack or a move is under way.
            MvcError: The store may not be written to, as a dry run need not.
        """
        from mvc.registry.care import repack

        if not dry_run:
            self._writing(always=True, strict=True)
        store = self.presence.writable(dry_run=dry_run).alone()
        return repack.repack(self.manifest, store, dry_run=dry_run)


def _check_level(level: str, levels: Sequence[str]) -> None:
    if level not in levels:
        raise UsageError(f"'{level}' is no level of a check", hint=f"one of {', '.join(levels)}")
