"""Presence: the store as far as it can be found, and what of a version it holds.

Records are read without a store; a store that is away is warned about once
and makes every version absent.

Public names: ``Presence``.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from mvc.digest import Digest
from mvc.errors import MvcError, StoreWarning
from mvc.registry.place import Place
from mvc.registry.reach import lacking
from mvc.registry.record import DIRECTORY, Artifact
from mvc.store import Store

# What a look at a version reads of its bytes: a small model whole, of a large one a part.
READ_AT_MOST = 64 << 20


class Presence:
    """Opens the store when it is first asked for."""

    def __init__(self, place: Place, named: Path | None = None) -> None:
        self._place = place
        self._named = named
        self._opened: tuple[Store, bool] | None = None
        self._failure: MvcError | None = None
        self._warned = False

    @property
    def store(self) -> Store:
        """The store.

        Raises:
            NotFound, FormatError, Unsupported: It cannot be opened.
        """
        if self._failure is None and self._opened is None:
            try:
                self._opened = self._place.open_store(self._named)
            except MvcError as error:
                self._failure = error
        if self._opened is None:
            assert self._failure is not None
            raise self._failure
        return self._opened[0]

    def writable(self) -> Store:
        """Return the store for writing.

        Raises:
            MvcError: It was found elsewhere than configured, and is read only.
        """
        store = self.store
        if self._opened and not self._opened[1]:
            raise MvcError(
                f"the store in '{store.folder}' is not where it is configured, so it is read only",
                hint=f"MVC_STORE={store.folder} uses it for writing",
            )
        return store

    def present(self, artifact: Artifact) -> bool:
        """Say whether the store's index lists the artifact. Warns once if the store is away."""
        store = self.if_there()
        try:
            size = None if artifact.kind == DIRECTORY else artifact.size
            return store is not None and store.find(artifact.digest, size) is not None
        except MvcError:
            return False

    def if_there(self) -> Store | None:
        """Return the store, or ``None`` with one warning of what is lacking."""
        try:
            return self.store
        except MvcError as error:
            if not self._warned:
                self._warned = True
                text = f"{error.message}; {error.hint}" if error.hint else error.message
                warnings.warn(text, StoreWarning, stacklevel=2)
            return None

    def lacking(self, artifact: Artifact) -> list[str]:
        """Say in words what the store lacks; only so much is read as keeps it quick."""
        store, left = self.store, READ_AT_MOST

        def look(digest: Digest, size: int) -> list[str]:
            nonlocal left
            found = store.lacking(digest, read_at_most=left)
            left = max(0, left - size)
            return found

        return lacking(store, artifact, look)
