"""Writing: one file of a version into an open folder, as a copy or as a link to the cache.

Public names: ``Source``, ``State``, ``state_of``, ``check_unchanged``, ``mend_mode``,
``digest_in``, ``advice``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mvc import system
from mvc.beneath import Folder, holding
from mvc.digest import Digest, digest_of_open
from mvc.durability import Together
from mvc.errors import Conflict, Damaged, MvcWarning, warn
from mvc.registry.digests import Notes, stamp
from mvc.store import Store
from mvc.store.fetch import fetch
from mvc.tree import EXECUTABLE, TreeFile

_RUN = 0o100
_WRITE = 0o200


class State(Enum):
    """What stands where a file is wanted: the same, almost the same, or something else."""

    MISSING = "missing"
    RIGHT = "right"
    WRONG_MODE = "wrong mode"  # the right bytes
    NOT_OWN = "not own"  # the right bytes, but another file than a checkout makes
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of version ``identity`` come from, and where they go in the user's words.

    ``notes`` tell what stands there already. With ``cached``, a folder that holds the
    bytes read-only, files become links to those.
    """

    store: Store
    identity: str
    target: Path
    notes: Notes
    cached: Folder | None = None

    def write(
        self,
        file: TreeFile,
        folder: Folder,
        name: str,
        *,
        label: str = "",
        together: Together | None = None,
    ) -> None:
        """Make a file, whole, compared and durable, or ``together`` with others.

        ``label`` says which it is, in an error.

        Raises:
            Damaged: The store does not hold it whole; nothing is left.
            FileExistsError: Its name is taken.
        """
        if self.cached is not None and self._link(self.cached, file, folder, name):
            return
        new = folder.new_file(name, 0o777 if file.mode == EXECUTABLE else 0o666)
        try:
            fetch(self.store, file.digest, file.size, new, together)
            new.close()
        except Damaged as error:
            new.discard()
            raise Damaged(
                f"{self.identity} cannot be checked out: {label}{error.message}",
                hint=f"{advice(self.store, [file])}; nothing was written to '{self.target}'",
            ) from None
        except BaseException:
            new.discard()
            raise

    def _link(self, cached: Folder, file: TreeFile, folder: Folder, name: str) -> bool:
        try:
            with holding(cached, file.path) as (there, its_name):
                if not there.link(its_name, folder, name):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        except OSError as error:
            if not system.no_links(error) and error.errno != errno.EXDEV:
                raise
            warn(
                f"'{self.target}' was copied: it cannot be linked to the cache, "
                f"{(error.strerror or '').lower()}",
                MvcWarning,
            )
            return False
        return True


def state_of(
    folder: Folder, name: str, file: TreeFile, source: Source, *, modes: bool
) -> tuple[State, os.stat_result | None, Digest | None]:
    """Say what stands at a name, with its status and, where it is another file, its digest.

    Args:
        modes: Whether the right to run the file counts.

    Raises:
        Conflict: A link, folder or other thing is in the way.
    """
    found = folder.status(name)
    if found is None:
        return State.MISSING, None, None
    if source.cached is not None and _is_same(source.cached, file, found):
        return State.RIGHT, found, None
    digest = digest_in(folder, name, source.notes)
    if digest != file.digest or found.st_size != file.size:
        return State.OTHER, found, digest
    # A link to the cache is no copy of the user's own, and its mode is not theirs to change.
    shared = found.st_nlink > 1 and not found.st_mode & _WRITE
    runs = bool(found.st_mode & _RUN) == (file.mode == EXECUTABLE)
    if source.cached is not None or shared or (modes and not runs and found.st_nlink > 1):
        return State.NOT_OWN, found, digest
    return (State.WRONG_MODE if modes and not runs else State.RIGHT), found, digest


def mend_mode(folder: Folder, name: str, file: TreeFile) -> None:
    """Give whoever may read a file the right to run it, or nobody, as its version has it."""
    found = folder.status(name)
    if found is not None:
        mode = stat.S_IMODE(found.st_mode)
        runs = mode | (mode & 0o444) >> 2
        with contextlib.suppress(PermissionError):  # some file systems have no such right
            folder.set_mode(name, runs if file.mode == EXECUTABLE else mode & ~0o111)


def check_unchanged(folder: Folder, name: str, before: os.stat_result) -> None:
    """Refuse to touch what is no longer what was looked at.

    Raises:
        Conflict: It was changed, or is gone.
    """
    found = folder.status(name)
    if found is None or stamp(found) != stamp(before):
        raise Conflict(
            f"'{folder.path / name}' was changed meanwhile", hint="run the command again"
        )


def digest_in(folder: Folder, name: str, notes: Notes) -> Digest:
    """Return the digest of a file in an open folder, which is read unless it is known."""
    descriptor, path = folder.open_file(name), folder.path / name
    try:
        if notes.get(path) is None:  # a sync of many small files would cost more than to read them
            return digest_of_open(descriptor)
        return notes.digest(path, descriptor)[0]
    finally:
        os.close(descriptor)


def _is_same(cached: Folder, file: TreeFile, found: os.stat_result) -> bool:
    with holding(cached, file.path) as (there, its_name):
        other = there.status(its_name)
    return other is not None and (other.st_ino, other.st_dev) == (found.st_ino, found.st_dev)


def advice(store: Store, files: Iterable[TreeFile]) -> str:
    """Say what helps where files cannot be read: they are damaged, or may never have been here."""
    if any(store.find(file.digest) is None for file in files):
        return (
            "mvc store alternates --add PATH reads what was never in this store from another; "
            "mvc fsck says what is lost"
        )
    return "mvc fsck says what is damaged"
