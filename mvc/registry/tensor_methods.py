"""The part of ``ModelRegistry`` that looks into model files: their tensors.

Public names: ``TensorMethods``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvc.registry import reach, refs, resolve
from mvc.registry.location.store_methods import StoreMethods

if TYPE_CHECKING:
    from mvc.registry.tensors import TensorTable


class TensorMethods(StoreMethods):
    """What is told of tensors, of which none is read."""

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
