"""The part of ``ModelRegistry`` that looks into model files, stored or not.

Public names: ``TensorMethods``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mvc.registry import reach, refs, resolve
from mvc.registry.location import place
from mvc.registry.location.place import AnyPath
from mvc.registry.location.store_methods import StoreMethods

if TYPE_CHECKING:
    from mvc.registry.intake.unregistered import Described
    from mvc.registry.tensors import TensorTable


class TensorMethods(StoreMethods):
    """What is told of the inside of a file."""

    def tensors(self, ref: str, pattern: str | None = None) -> TensorTable:
        """Return the tensors of a version, or of one file of it, and what each takes.

        Args:
            pattern: A glob for their names, where case counts; all of them if not given.

        Raises:
            NotFound: There is no such version, file or tensor, or the store is away.
            Damaged: How a file is put together cannot be read.
        """
        from mvc.registry import tensors
        from mvc.registry.checkout import contents

        found, number = resolve.resolve(self.manifest, ref)
        artifact = self.manifest.record(found.folder, number)[0].artifact
        identity, path = f"{found.name}/v{number}", refs.parse(ref).path
        files = reach.files_of(self.presence.store, artifact)
        if path is not None and artifact.files is not None:
            one = contents.file_of(self.presence, artifact, identity, path)
            files, identity = (one,), f"{identity}:{path}"
        return tensors.stored_tensors(self.presence.store, files, pattern, identity)

    def describe(self, path: AnyPath) -> Described:
        """Say what a file or folder is that need not be registered, and which versions are like it.

        It is read once, and nothing is stored. Works without a registry as well.

        Raises:
            NotFound: There is no such file.
            Conflict: It changed while it was read.
        """
        from mvc.registry.intake import unregistered

        manifest = self.manifest if place.exists(self.folder) else None
        return unregistered.describe(Path(path), manifest)

    def describe_tensors(self, path: AnyPath, pattern: str | None = None) -> TensorTable:
        """Return the tensors of a file or folder that need not be registered; see ``tensors``."""
        from mvc.registry import tensors
        from mvc.registry.intake import unregistered

        sources = unregistered.sources_of(Path(path))
        return tensors.file_tensors(sources, pattern, f"'{path}'")
