"""Dependents: which versions cannot be restored without an object, as things are now.

An object may have several frames; what counts is what would be read, with the
bases of it, over the frames that are not known to be damaged.

Public names: ``Dependents``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from mvc.digest import Digest
from mvc.errors import MvcError
from mvc.registry.care.frames import Frames
from mvc.registry.reach import Held, closure_of_file, files_of
from mvc.registry.record import DIRECTORY, Artifact
from mvc.store import Store


class Dependents:
    """What versions need, worked out once for each artifact however much is damaged."""

    def __init__(self, store: Store, frames: Frames, versions: Sequence[Held]) -> None:
        self._store = store
        self._frames = frames
        self._versions = versions
        self._needed: dict[Digest, frozenset[Digest]] = {}

    def of(self, digest: Digest) -> list[str]:
        """Return the versions that need an object."""
        return [v.id for v in self._versions if digest in self._needs(v.record.artifact)]

    def file_with(self, digest: Digest) -> str:
        """Say, to go on with, which file an object belongs to, if it is known."""
        for version in self._versions:
            artifact = version.record.artifact
            if digest not in self._needs(artifact):
                continue
            if artifact.kind != DIRECTORY:
                return f"; it is of '{artifact.name}' in {version.id}"
            with contextlib.suppress(MvcError):
                for file in files_of(self._store, artifact):
                    if digest in self.closure(file.digest):
                        return f"; it is of '{file.path}' in {version.id}"
        return ""

    def closure(self, digest: Digest) -> frozenset[Digest]:
        """Return what a file needs as it can be read now: over frames that are not damaged."""
        return closure_of_file(self._store, digest, self._frames.entry)

    def _needs(self, artifact: Artifact) -> frozenset[Digest]:
        digest = artifact.digest
        if digest not in self._needed:
            try:
                files = files_of(self._store, artifact)
            except MvcError:
                files = ()
            needed = {digest}
            for file in files:
                needed.add(file.digest)
                with contextlib.suppress(MvcError):
                    needed |= self.closure(file.digest)
            self._needed[digest] = frozenset(needed)
        return self._needed[digest]
