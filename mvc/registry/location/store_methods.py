"""The part of ``ModelRegistry`` that is about where things are: the methods of ``mvc store``.

Public names: ``StoreMethods``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mvc.errors import MvcError, StoreWarning, warn
from mvc.registry.location import place
from mvc.registry.location.place import AnyPath, Place
from mvc.registry.location.presence import Presence
from mvc.system_errors import in_words

if TYPE_CHECKING:
    from mvc.registry.location.pulled import Stamps
    from mvc.registry.location.stores import ForgetPlan, Relinked, StoreInfo
    from mvc.registry.manifest import Manifest
    from mvc.store.alternates import Alternate
    from mvc.store.relocation import Moved, MovePlan

T = TypeVar("T")


class StoreMethods:
    """A registry's folder, and its store as far as it can be found.

    Both are kept until somebody gives the registry other settings, or the store another place.
    ``folder``, ``_create`` and ``_named_store`` are set by who inherits this.
    """

    folder: Path
    _create: bool
    _named_store: Path | None
    _read: tuple[tuple[int, ...], Place] | None = None
    _present: Presence | None = None
    _rooted: Stamps | None = None
    if TYPE_CHECKING:

        @property
        def manifest(self) -> Manifest: ...

    @property
    def place(self) -> Place:
        """The registry's folders and ids."""
        stamp = place.stamp(self.folder)
        if self._read is None or self._read[0] != stamp:
            self._reopen()
            self._read = stamp, place.read(self.folder)
        return self._read[1]

    @property
    def _is_to_come(self) -> bool:
        """Whether the first ``add`` is to make the registry: until then it has no version."""
        return self._create and not place.exists(self.folder)

    @property
    def presence(self) -> Presence:
        """The store, as far as it can be found."""
        known = self.place
        if self._present is None:
            self._present = Presence(known, self._named_store)
        self._present.look_again()
        return self._present

    def store_info(self) -> StoreInfo:
        """Describe the store: where it is, who else uses it, whether it may be written to."""
        from mvc.registry.location import stores

        return self._where_it_is(stores.info)

    def plan_move_store(self, path: AnyPath) -> MovePlan:
        """Say what ``move_store`` would do; raises as it does, but needs no right to write."""
        from mvc.registry.location import stores

        return stores.plan_move(self.place, self.presence, Path(path))

    def move_store(self, path: AnyPath) -> Moved:
        """Move the store to another folder: copy, verify, switch, then delete.

        It may be interrupted; the same call again goes on where it stopped.

        Raises:
            Conflict, UsageError: ``path`` is no place for it; nothing was moved.
            Busy: Others are still writing; nothing was moved.
        """
        from mvc.registry.location import stores

        plan = stores.plan_move(self.place, self.presence, Path(path), dry_run=False)
        moved = stores.move(self.place, plan)
        self._reopen()
        return moved

    def relink_store(self, path: AnyPath | None = None, *, force: bool = False) -> Relinked:
        """Accept ``path``, or where the store was found, as its place from now on.

        Args:
            force: Also a copy that lacks what was added last, or a store that
                lost its ``store.yaml``, which gets it back.

        Raises:
            NotFound: There is no store in ``path``.
            StoreMissing: Nowhere else is it either.
            Conflict: It is another one, an old copy, or one that was moved away.
        """
        from mvc.registry.location import stores

        where = None if path is None else Path(path)
        done = stores.relink(self.place, self.presence, where, force)
        self._reopen()
        return done

    def store_alternates(
        self, *, add: AnyPath | None = None, remove: AnyPath | None = None
    ) -> tuple[Alternate, ...]:
        """Return the stores that are asked for what this one lacks, after changing the list.

        Raises:
            UsageError: What is to be added cannot be an alternate, or what is to be
                removed is none.
        """
        from mvc.registry.location import stores

        more, less = (None if path is None else Path(path) for path in (add, remove))
        return stores.change_alternates(self.presence, more, less)

    def plan_forget_registry(self, registry: str) -> ForgetPlan:
        """Say what ``forget_registry`` would free; raises as it does."""
        from mvc.registry.location import stores

        return stores.plan_forget(self.place, self.presence, registry)

    def forget_registry(self, registry: str, *, force: bool = False) -> ForgetPlan:
        """Drop the roots that a registry which is no more has in the store.

        Raises:
            NotFound: None is called so.
            Conflict: It is this registry, or was used lately, without ``force``.
        """
        from mvc.registry.location import stores

        plan = self.plan_forget_registry(registry)
        stores.forget(self.presence, plan, force)
        return plan

    def _where_it_is(self, look: Callable[[Place, Presence], T]) -> T:
        """Look at the store; if it was moved meanwhile, what was found is nothing: look again."""
        presence = self.presence
        found = look(self.place, presence)
        if not presence.is_outdated():
            return found
        self._reopen()
        return look(self.place, self.presence)

    def _root_pulled(self, *, always: bool = False, strict: bool = False) -> None:
        """Root what came by git; a failure is a warning, unless ``strict``."""
        from mvc.registry.location import pulled

        self._rooted = None
        try:
            self._rooted = pulled.root_pulled(
                self.place, self.manifest, self.presence.store, always=always
            )
        except (MvcError, OSError) as error:
            if strict:
                raise
            text = f"what came by git is not kept for this registry yet: {in_words(error)}"
            warn(text, StoreWarning)

    def _root_if_writable(self) -> None:
        """Root what came by git on the way to a change that needs no store."""
        with contextlib.suppress(MvcError, OSError):
            if not self.place.store_id or self.place.is_copy or self.presence.refusal() is not None:
                return
            self._root_pulled()

    def _note_rooted(self, family: str) -> None:
        """Note that our own new version is rooted."""
        from mvc.registry.location import pulled

        pulled.note_added(self.place, self.manifest, self.presence.store, self._rooted, family)

    def _reopen(self) -> None:
        """Forget where things are: settings were changed."""
        self._read = self._present = None
