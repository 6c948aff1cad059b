"""The part of ``ModelRegistry`` that looks into model files, stored or not.

Public names: ``TensorMethods``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

from mvc.errors import Damaged, UsageError
from mvc.registry import reach, refs, resolve
from mvc.registry.location import place
from mvc.registry.location.place import AnyPath
from mvc.registry.location.store_methods import StoreMethods

if TYPE_CHECKING:
    from mvc.registry.diff import Difference, Side
    from mvc.registry.family import Family
    from mvc.registry.intake.unregistered import Described
    from mvc.registry.opened import Opened
    from mvc.registry.refs import AnyRef
    from mvc.registry.tensors import TensorTable
    from mvc.registry.version import Added, Version
    from mvc.tree import TreeFile


class TensorMethods(StoreMethods):
    """What is told of the inside of a file."""

    if TYPE_CHECKING:

        def resolve(self, ref: AnyRef) -> Version: ...

        def family(self, name: str) -> Family: ...

        add: Any

    def tensors(self, ref: AnyRef, pattern: str | None = None) -> TensorTable:
        """Return the tensors of a version, or of one file of it, and what each takes.

        Args:
            pattern: A glob for their names, where case counts; all of them if not given.

        Raises:
            NotFound: There is no such version, file or tensor.
            StoreMissing: The store is away.
            Damaged: How a file is put together cannot be read.
        """
        from mvc.registry import tensors

        identity, files = self._files_of(ref)
        return tensors.stored_tensors(self.presence.store, files, pattern, identity)

    def _files_of(self, ref: AnyRef) -> tuple[str, tuple[TreeFile, ...]]:
        """Return what a ref means, as ``net/v1`` or ``net/v1:config.json``, and its files."""
        from mvc.registry.checkout import contents

        found, number = resolve.resolve(self.manifest, ref)
        artifact = self.manifest.record(found.folder, number)[0].artifact
        identity, path = f"{found.name}/v{number}", refs.parse(ref).path
        if path is None or artifact.files is None:
            return identity, reach.files_of(self.presence.store, artifact)
        one = contents.file_of(self.presence, artifact, identity, path)
        return f"{identity}:{path}", (one,)

    def open(self, ref: AnyRef) -> Opened:
        """Return the tensors of a version, or of one file of it, read as they are asked for.

        Raises:
            NotFound: There is no such version or file.
            StoreMissing: The store is away.
            Damaged: How a file is put together cannot be read.
        """
        from mvc.registry.opened import Opened

        identity, files = self._files_of(ref)
        return Opened(identity, files, self.presence.store)

    def load(self, ref: AnyRef, *, device: Any = None, dtype: Any = None) -> dict[str, Any]:
        """Return a version's tensors as a state dict of torch, read straight from the store.

        Whatever kind of file it is, nothing in it is unpickled or run. Needs the extra ``torch``.

        Args:
            device: Where they are to be, as torch names it; in memory if not given.
            dtype: What floating point tensors are to become, as ``"float16"``.

        Raises:
            NotFound: There is no such version or file.
            StoreMissing: The store is away.
            UsageError: No tensors are known of it, or torch has no such type.
            Damaged: A part of it is missing or damaged.
            Unsupported: torch is not installed.
        """
        from mvc.frameworks import state_dicts
        from mvc.registry import tensors

        identity, files = self._files_of(ref)
        named = tensors.readable_by_name(self.presence.store, files)
        if not named:
            raise UsageError(
                f"no tensors are known of {identity}",
                hint=f"mvc path {identity} prints where its file can be read",
            )
        stored = {
            name: state_dicts.Stored(
                one.entry.dtype, one.entry.shape, one.entry.stride, one.entry.size, one.place,
                one.read,
            )
            for name, one in named.items()
        }  # fmt: skip
        return state_dicts.state_dict(stored, device, dtype)

    def save(
        self,
        name: str,
        state: Any,
        metrics: Mapping[str, SupportsFloat] | None = None,
        **facts: Any,
    ) -> Added:
        """Register a torch module, or a state dict, as the next version of ``name``.

        It is written to a temporary safetensors file first, in ``TMPDIR``. Needs
        the extra ``torch``.

        Args:
            facts: What ``add`` takes beside a path.

        Raises:
            UsageError: It has something that is no tensor, or a name or value is not allowed.
            Unsupported: torch or safetensors is not installed.
        """
        from tempfile import TemporaryDirectory

        from mvc.frameworks import state_dicts
        from mvc.registry.names import by_name, check_family

        check_family(name)
        by_name("metrics", metrics)
        with TemporaryDirectory() as folder:
            path = Path(folder, f"{name}.safetensors")
            called = state_dicts.write(state, path)
            known = {"framework": "pytorch", **({"architecture": called} if called else {})}
            added: Added = self.add(name, path, metrics, **{**known, **facts})
        return added

    def diff(
        self,
        a: AnyRef | AnyPath,
        b: AnyRef | AnyPath,
        pattern: str | None = None,
        *,
        statistics: bool = False,
    ) -> Difference:
        """Compare two versions, or files or folders that need not be registered.

        Args:
            a: A ref; a ``Path`` is a file or folder, and so is text that begins with / or .,
                or names what is there and no family.
            b: The same.
            pattern: Only tensors whose names fit this glob are compared, and nothing else.
            statistics: Whether to work out how much tensors changed, which reads them.

        Raises:
            NotFound: There is no such version, file or tensor.
            StoreMissing: The store is away.
            Damaged: What has to be read is missing or damaged.
        """
        from mvc.registry import diff

        try:
            return diff.difference(self._side(a), self._side(b), pattern, statistics=statistics)
        except Damaged as error:
            raise Damaged(error.message, hint=error.hint or "mvc fsck says more") from None

    def _side(self, side: AnyRef | AnyPath) -> Side:
        from mvc.registry import diff

        if isinstance(side, str) and refs.names_file(side, self.family):
            return diff.of_path(Path(side))
        if isinstance(side, os.PathLike):
            return diff.of_path(Path(side))
        identity, files = self._files_of(side)
        return diff.of_version(self.resolve(side), identity, files, self.presence.store)

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
        """Return the tensors of a file or folder that need not be registered; see ``tensors``.

        Raises:
            NotFound: There is no such file or tensor.
        """
        from mvc.registry import tensors
        from mvc.registry.intake import unregistered

        sources = unregistered.sources_of(Path(path))
        return tensors.file_tensors(sources, pattern, f"'{path}'")
