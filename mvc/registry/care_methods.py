"""The part of ``ModelRegistry`` that keeps a store in shape.

Public names: ``CareMethods``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvc.registry.tensor_methods import TensorMethods

if TYPE_CHECKING:
    from mvc.registry.care.repack import Repacked
    from mvc.registry.location.place import Place
    from mvc.registry.location.presence import Presence
    from mvc.registry.manifest import Manifest


class CareMethods(TensorMethods):
    """What changes how bytes are kept, and never which."""

    if TYPE_CHECKING:

        def _writing(
            self, *, if_old: bool = False, always: bool = False, strict: bool = False
        ) -> tuple[Place, Manifest, Presence]: ...

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
            MvcError: The store may not be written to.
        """
        from mvc.registry.care import repack

        if not dry_run:
            self._writing(always=True, strict=True)
        store = self.presence.writable().alone()
        return repack.repack(self.manifest, store, dry_run=dry_run)
