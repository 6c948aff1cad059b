"""Presence: the store as far as it can be found, and what of a version it holds.

Records are read without a store; a store that is away is warned about once
and makes every version absent.

Public names: ``Presence``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mvc import fileio
from mvc.digest import Digest
from mvc.errors import Busy, MvcError, StoreWarning, warn
from mvc.progress import say
from mvc.registry.location import newest
from mvc.registry.location.finding import HOW, Located, locate
from mvc.registry.location.place import Place
from mvc.registry.reach import files_of, lacking
from mvc.registry.record import DIRECTORY, Artifact
from mvc.store.settings import leads_on, standing

if TYPE_CHECKING:
    from mvc.store import Store
    from mvc.store.listed import Content

# What a look at a version reads of its bytes: a small model whole, of a large one a part.
READ_AT_MOST = 64 << 20
# How many parts are looked for by one call; of files that come then, only how they are made.
MOST_PARTS = 100_000


class Presence:
    """Opens the store when it is first asked for."""

    def __init__(self, place: Place, named: Path | None = None) -> None:
        self._place = place
        self._named = named
        self._located: Located | None = None
        self._failure: MvcError | None = None
        self._seen: tuple[int, ...] = ()
        self._standing: tuple[object, ...] = ()
        self._warned = False
        self._distrusted = False

    @property
    def located(self) -> Located:
        """The store, and how it was found.

        Raises:
            StoreMissing, FormatError, Unsupported: It cannot be opened.
        """
        if self._failure is None and self._located is None:
            try:
                self._located = locate(self._place, self._named)
                self._seen = _seen(self._located.store.folder)
                self._standing = standing(self._located.store.folder)
                say("store: '{}', {}", self._located.store.folder, HOW[self._located.how])
                self._warn_of_named(self._located)
            except MvcError as error:
                self._failure = error
        if self._located is None:
            assert self._failure is not None
            raise self._failure
        return self._located

    def look_again(self) -> None:
        """Forget that the store was not there, or where it was if it is there no more.

        Of a store that is there only its folder is looked at.
        """
        self._failure = None
        if self._located is not None and self._seen != (seen := _seen(self._located.store.folder)):
            self._seen = seen
            if standing(self._located.store.folder) != self._standing:
                self._located, self._warned = None, False

    def _warn_of_named(self, located: Located) -> None:
        if self._named is not None and not self._named.is_dir():
            text = (
                f"'{self._named}', which --store or MVC_STORE names, is no folder; "
                f"the store in '{located.store.folder}' is used"
            )
            warn(text, StoreWarning)

    @property
    def store(self) -> Store:
        """The store. Raises as ``located`` does."""
        return self.located.store

    def writable(self, *, if_old: bool = False, dry_run: bool = False) -> Store:
        """Return the store for writing.

        Args:
            if_old: Also one that lacks what was added last: to mend it.
            dry_run: Nothing will be written, so one that may only be read will do.

        Raises:
            MvcError: It is read only: found elsewhere than configured, moved
                away, an old copy, or being moved (``Busy``).
            OSError: Nothing may be written there.
        """
        refusal = self.refusal(if_old=if_old, dry_run=dry_run)
        if refusal is not None:
            raise refusal
        return self.store

    def refusal(self, *, if_old: bool = False, dry_run: bool = False) -> MvcError | OSError | None:
        """Return why nothing may be written to the store; ``None`` if it may be."""
        store = self.store
        for folder in () if dry_run else (store.folder, self._place.folder):
            if not fileio.may_write(folder):
                code = errno.EROFS if fileio.is_read_only(folder) else errno.EACCES
                return OSError(code, os.strerror(code), str(folder))
        if self.located.refusal is not None or if_old:
            return self.located.refusal
        old = newest.refusal(self._place, store)
        if old is not None and self.is_outdated():  # it lacks what has gone elsewhere with it
            return Busy(
                f"the store in '{store.folder}' was moved meanwhile", hint="run the command again"
            )
        return old

    def is_outdated(self) -> bool:
        """Say whether the store has been moved since it was opened, or was being moved then."""
        if self._located is None:
            return False
        folder, refusal = self._located.store.folder, self._located.refusal
        moved = standing(folder) != self._standing or leads_on(folder) is not None
        return moved or isinstance(refusal, Busy)

    def present(self, artifacts: Iterable[Artifact]) -> list[bool]:
        """Say of each artifact whether the store's indexes list all that it is made of.

        What comes first is looked for first. Warns once if the store is away.
        """
        wanted: dict[Content, None] = {}
        made: list[Sequence[Content]] = []
        for artifact in artifacts:
            files = self._files(artifact)[: max(1, MOST_PARTS - len(wanted))]
            wanted.update(dict.fromkeys(files))
            made.append(files)
        held = self.held(wanted)
        return [bool(files) and held.issuperset(files) for files in made]

    def _files(self, artifact: Artifact) -> Sequence[Content]:
        """Return what an artifact is made of; nothing where that cannot be told."""
        if artifact.kind != DIRECTORY:
            return [(artifact.digest, artifact.size)]
        store = self.if_there()
        try:
            files = files_of(store, artifact)
        except MvcError:
            return []
        return [(artifact.digest, None), *((file.digest, file.size) for file in files)]

    def held(self, files: Collection[Content]) -> set[Content]:
        """Like ``present``, of files: return those whose parts are all listed."""
        store = self.if_there()
        if store is None:
            return set()
        held = store.listed(files, MOST_PARTS)
        missing = [one for one in files if one not in held]
        return held | self.held(missing) if missing and self._distrust() else held

    def if_there(self) -> Store | None:
        """Return the store, or ``None`` with one warning of what is lacking."""
        try:
            return self.store
        except MvcError as error:
            if not self._warned:
                self._warned = True
                text = f"{error.message}; {error.hint}" if error.hint else error.message
                warn(text, StoreWarning)
            return None

    def lacking(self, artifact: Artifact) -> list[str]:
        """Say in words what the store lacks; only so much is read as keeps it quick."""
        store, left = self.store, READ_AT_MOST

        def look(digest: Digest, size: int) -> list[str]:
            nonlocal left
            found = store.lacking(digest, read_at_most=left)
            left = max(0, left - size)
            return found

        found = lacking(store, artifact, look)
        return self.lacking(artifact) if found and self._distrust() else found

    def _distrust(self) -> bool:
        """Have the packs themselves asked, the first time that something seems not to be there."""
        first, self._distrusted = not self._distrusted, True
        if first:
            self.store.index.refresh(trust_cache=False)
        return first


def _seen(folder: Path) -> tuple[int, ...]:
    """Return what is another when a folder is another, or what lies in it has other names."""
    try:
        found = os.stat(folder)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns
