"""Digests of the user's files, noted so that what did not change is not read again.

A note is about a path: the digest that its file had, which version that was,
and size, times and inode as they were. It is believed while they are the same,
if they were old enough when the file was read and what others had written
through a mapping had reached the disk. All notes are one disposable file.

Format, and why a note can be believed: ``docs/digest-cache.md``.
Public names: ``Note``, ``Notes``, ``stamp``, ``digest_of_file``.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mvc import environment, fileio
from mvc.digest import Digest, checksum_of, digest_of_open
from mvc.errors import MvcError
from mvc.progress import advance, job

FILE = "digests"
MAX_SIZE = 64 << 20
KEPT = 10_000
"""How many notes are left when there were twice as many."""

SETTLED_NS = 60 * 1_000_000_000
"""How long before it is read a file must have been left alone."""

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Note:
    """What a file was: ``digest``, which is that of version ``id``, or of none and no id.

    It is not that version's where the file has ``changed`` since. ``stamp`` is
    ``None`` where nobody can tell whether the file is still the same. ``boot``
    names the run of the machine in which this was noted; it may be empty.
    """

    id: str
    digest: Digest
    stamp: Stamp | None
    boot: str
    changed: bool = False

    def holds(self, status: os.stat_result) -> bool:
        """Say whether the file is what it was, if no crash took the time of a write with it."""
        return self.stamp == stamp(status)


def stamp(status: os.stat_result) -> Stamp:
    """Return what changes when a file is written to or replaced: size, times, inode."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def digest_of_file(path: Path) -> Digest:
    """Return the digest of a user's file."""
    with open(path, "rb") as file:
        return digest_of_open(file.fileno())


class Notes:
    """The notes of a cache, as they were when first asked for, and those that a command adds.

    Without a cache there are none, and nothing is noted.
    """

    def __init__(self, cache: Path | None) -> None:
        self._cache = cache
        self._started = time.time_ns()
        self._settled: dict[str, Stamp] = {}
        self._new: dict[bytes, bytes] = {}

    def get(self, path: Path) -> Note | None:
        """Return what is noted of a path."""
        key = _key(path)
        return _note_of(self._new.get(key) or self._lines.get(key))

    def settle(self, path: Path, descriptor: int) -> os.stat_result:
        """Return the status of an open file that is about to be read.

        If it was left alone long enough, it is synced first: then whoever has
        it mapped changes its times with the next byte, and it can be noted.
        """
        status = os.fstat(descriptor)
        with contextlib.suppress(OSError):
            if self._is_old(status):
                fileio.sync_open(descriptor)
                status = os.fstat(descriptor)
                if self._is_old(status):
                    self._settled[os.path.abspath(path)] = stamp(status)
        return status

    def _is_old(self, status: os.stat_result) -> bool:
        latest = max(status.st_mtime_ns, status.st_ctime_ns) + SETTLED_NS
        return self._cache is not None and latest <= self._started and latest <= self._moment

    def believed(self, path: Path, status: os.stat_result) -> Note | None:
        """Return what is noted of a file that was settled and then had ``status``, if it is sure.

        It is not if noted before the machine was last started, as a crash may
        have kept a write and lost its time; nor where another machine's clock
        gives the times.
        """
        note = self.get(path)
        settled = self._settled.get(os.path.abspath(path)) == stamp(status)
        if note is None or not (settled and note.holds(status)):
            return None
        return note if note.boot == environment.boot() != "" and self._has_clock(status) else None

    def digest(self, path: Path, descriptor: int) -> tuple[Digest, os.stat_result]:
        """Return the digest of an open file, which is read unless it is known, and its status."""
        status = self.settle(path, descriptor)
        note = self.believed(path, status)
        return (note.digest if note else digest_of_open(descriptor, advance)), status

    def look(self, path: Path) -> tuple[Digest, os.stat_result, bool]:
        """Return a file's digest and status, and whether it was believed without being opened."""
        status, note = path.stat(), self.get(path)
        if note is not None and note.holds(status):
            return note.digest, status, True
        with open(path, "rb") as file, job(f"reading {path.name}", status.st_size):
            return (*self.digest(path, file.fileno()), False)

    def note(
        self,
        path: Path,
        identity: str,
        digest: Digest,
        status: os.stat_result,
        *,
        changed: bool = False,
    ) -> None:
        """Note that a file had ``digest`` when it had ``status``, and which version that was.

        That is believed later only if it was settled before it was read.
        """
        old, known, boot = self.get(path), None, environment.boot()
        if self._settled.get(os.path.abspath(path)) == stamp(status):
            known = stamp(status)
        elif old is not None and old.digest == digest and old.holds(status):
            known, boot = old.stamp, old.boot
        note = Note(identity, digest, known, boot, changed)
        if self._cache is not None and old != note:
            key = _key(path)
            self._new[key] = _line(key, note)

    def save(self) -> None:
        """Add to the file what was noted. Where that cannot be, nothing is lost."""
        if self._cache is None or not self._new:
            return
        known, new = self._lines, self._new
        path = self._cache / FILE
        with contextlib.suppress(OSError):
            if self._count + len(new) > 2 * KEPT:
                kept = [*(line for key, line in known.items() if key not in new), *new.values()]
                fileio.replace(path, b"\n".join([*kept[-KEPT:], b""]))
            else:  # an end of line first: what is there may have lost its own
                fileio.append(path, b"\n".join([b"", *new.values(), b""]))

    def _has_clock(self, status: os.stat_result) -> bool:
        """Say whether a file's times come from a clock that was asked: the cache's, or our own."""
        if os.major(status.st_dev):  # a disk of this machine
            return True
        return self._cache is not None and os.stat(self._cache).st_dev == status.st_dev

    @cached_property
    def _moment(self) -> int:
        """What time it is for the file system of the cache, before anything is noted."""
        return 0 if self._cache is None else fileio.clock(self._cache)

    @cached_property
    def _found(self) -> tuple[dict[bytes, bytes], int]:
        """The newest whole line of each path, oldest first, and how many lines there are."""
        if self._cache is None:
            return {}, 0
        try:
            data = fileio.read(self._cache / FILE, MAX_SIZE)
        except FileNotFoundError:
            return {}, 0
        except (OSError, MvcError):  # to be written anew
            return {}, 2 * KEPT
        found: dict[bytes, bytes] = {}
        count = 0
        for line in data.split(b"\n"):
            checksum, _, text = line.partition(b" ")
            if checksum == _checksum(text):
                key = text[: text.find(b"\t")]
                found.pop(key, None)
                found[key] = line
            count += bool(line)
        return found, count

    @property
    def _lines(self) -> dict[bytes, bytes]:
        return self._found[0]

    @property
    def _count(self) -> int:
        return self._found[1]


def _key(path: Path) -> bytes:
    """Write a path as a line has it: text without tabs and line ends, whatever its bytes."""
    return json.dumps(os.path.abspath(path)).encode()


def _line(key: bytes, note: Note) -> bytes:
    values = [note.id, str(note.digest), note.stamp, note.boot, note.changed]
    text = key + b"\t" + json.dumps(values, separators=(",", ":")).encode()
    return _checksum(text) + b" " + text


def _note_of(line: bytes | None) -> Note | None:
    if line is None:
        return None
    try:
        identity, digest, seen, boot, changed = json.loads(line.partition(b"\t")[2])
        known = tuple(seen) if seen else None
        return Note(str(identity), Digest.parse(digest), known, str(boot), bool(changed))
    except (MvcError, TypeError, ValueError):
        return None


def _checksum(text: bytes) -> bytes:
    return b"%016x" % checksum_of(text)
