"""Modes: files that never change and may be written to, or that not even their owner may read.

Those are not damaged, so a check mentions them and a repair mends what it may.
Who owns a file is nobody's fault where several may write; where only the
folder's owner may, a file of somebody else came there by mistake.

Public names: ``Strayed``, ``strayed``, ``mend``, ``unreadable``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mvc import environment, fileio
from mvc.beneath import Folder
from mvc.registry.manifest import Manifest
from mvc.store import Store
from mvc.store.pack import SUFFIX
from mvc.store.settings import PACKS, ROOTS

# A file that may be run is none of ours: it lies on a file system that keeps no modes.
_RUNS = 0o111


@dataclass(frozen=True, slots=True)
class Strayed:
    """Files of one folder that are not as they were made; ``command`` puts them right."""

    folder: Path
    what: str
    command: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        count = f"{len(self.names)} files" if len(self.names) > 1 else f"'{self.names[0]}'"
        return f"{count} in '{self.folder}' {self.what}: {self.command} '{self.folder}'/*"


def strayed(manifest: Manifest, store: Store, registry: str) -> Iterator[Strayed]:
    """Yield what is not as it was made, of records, events, packs and this registry's roots.

    git gives a file that it puts into place the mode it likes, so the manifest
    in a git work tree may be written to.
    """
    in_git = environment.in_git(manifest.folder)
    for family in manifest.families():
        for name in ("versions", "events"):
            yield from _in_folder(manifest.family_folder(family) / name, sealed=not in_git)
    yield from _in_folder(store.folder / PACKS)
    yield from _in_folder(store.folder / ROOTS / registry)


def mend(found: Strayed) -> int:
    """Make files what they were made as; return of how many that may be done."""
    folder = Folder.open(found.folder)
    try:
        return sum(folder.seal(name) for name in found.names)
    finally:
        os.close(folder.descriptor)


def unreadable(path: Path) -> str:
    """Return the command that helps where a file is there and may not be read, else nothing."""
    there = os.path.lexists(path) and not path.is_symlink()
    return f"chmod a+r '{path}', as who owns it" if there and not os.access(path, os.R_OK) else ""


def _in_folder(folder: Path, *, sealed: bool = True) -> Iterator[Strayed]:
    found: dict[tuple[str, str], list[str]] = {}
    try:
        above, names = os.stat(folder), fileio.list_folder(folder)
    except (FileNotFoundError, PermissionError):  # whoever asks for what is in it is told
        return
    ours = (name for name in names if name.endswith((SUFFIX, ".yaml")))
    for name in sorted(ours):
        try:
            status = os.lstat(folder / name)
        except FileNotFoundError:  # a gc, a repack or a move took it meanwhile
            continue
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode) or mode & _RUNS:
            continue
        if sealed and mode & fileio.WRITABLE:
            kind = "may be written to, which nothing needs", "mvc fsck --repair, or: chmod a-w"
            found.setdefault(kind, []).append(name)
        if not mode & stat.S_IRUSR:
            kind = "may not be read by who owns them", "mvc fsck --repair, or: chmod a+r"
            found.setdefault(kind, []).append(name)
        if status.st_uid != above.st_uid and not above.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            kind = "belong to others than the folder does", f"chown {above.st_uid}"
            found.setdefault(kind, []).append(name)
    for (what, command), names in found.items():
        yield Strayed(folder, what, command, tuple(names))
