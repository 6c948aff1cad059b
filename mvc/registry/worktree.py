"""Notes on the user's files: which version a file was when last seen.

They let ``status`` tell a changed file from a new one without reading those
that did not change. One small file a path, disposable, never relied upon for
what is stored.

Public names: ``Note``, ``note``, ``notes``, ``stamp``, ``digest_of_file``.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvc import fileio, lines
from mvc.digest import Digest, digest_of, digest_of_open
from mvc.errors import MvcError

FOLDER = "files"
# A file written within this time of a look may change again with the same times.
SETTLED_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Note:
    """What a file was when ``seen``: version ``id`` with ``digest``, or none and no id."""

    path: Path
    id: str
    digest: Digest
    size: int
    stamp: tuple[int, ...]
    seen: int

    def holds(self, status: os.stat_result) -> bool:
        """Say whether the file is surely what it was."""
        return stamp(status) == self.stamp and self.seen - status.st_mtime_ns > SETTLED_NS


def stamp(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file does: size, times, inode."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def digest_of_file(path: Path) -> Digest:
    """Return the digest of a user's file."""
    with open(path, "rb") as file:
        return digest_of_open(file.fileno())


def note(
    cache: Path | None, path: Path, identity: str, digest: Digest, status: os.stat_result
) -> None:
    """Note what a file is. Where that cannot be, nothing is lost."""
    if cache is None:
        return
    path = Path(os.path.abspath(path))
    values: dict[str, lines.Value] = {
        "path": str(path),
        "id": identity,
        "digest": str(digest),
        "size": status.st_size,
        "stamp": list(stamp(status)),
        "seen": time.time_ns(),
    }
    with contextlib.suppress(OSError, ValueError):
        if not (cache / FOLDER).is_dir():
            fileio.make_folder(cache / FOLDER)
        name = digest_of(os.fsencode(path)).hex()[:32] + ".yaml"
        fileio.replace(cache / FOLDER / name, lines.dumps(values))


def notes(cache: Path | None) -> Iterator[Note]:
    """Yield all notes that can be read."""
    if cache is None:
        return
    for name in fileio.list_folder(cache / FOLDER):
        try:
            values: dict[str, Any] = lines.loads(fileio.read(cache / FOLDER / name, lines.MAX_SIZE))
            yield Note(
                path=Path(values["path"]),
                id=str(values["id"]),
                digest=Digest.parse(values["digest"]),
                size=int(values["size"]),
                stamp=tuple(values["stamp"]),
                seen=int(values["seen"]),
            )
        except (OSError, MvcError, KeyError, TypeError, ValueError):
            continue
