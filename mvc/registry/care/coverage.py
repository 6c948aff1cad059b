"""Coverage: which part of what is stored one check reads, and what was read when.

A check may read one of several parts, or for some time; then what was checked
longest ago comes first. When each pack was last whole is noted in a disposable
file of the cache. Rules and format: ``docs/fsck.md``.

Public names: ``Scope``, ``Progress``, ``Coverage``, ``scope_of``, ``cost_of_frame``,
``cost_of_file``, ``bytes_passing``.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mvc import fileio
from mvc.codecs import Encoding
from mvc.compatibility import FORMAT
from mvc.digest import Digest, checksum_of
from mvc.errors import MvcError, UsageError
from mvc.registry.duration import duration
from mvc.registry.location.place import inode_of
from mvc.registry.sealed import now
from mvc.store import Store
from mvc.store.pack import SUFFIX, Entry, PackReader

FILE = "fsck-"
MAX_SIZE = 64 << 20
SAVE_AFTER = 5.0
"""Seconds after which what was checked is noted, so that a kill costs no more."""

_SAMPLE = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}Z"
_LINE = re.compile(rf"([0-9a-f]{{64}}) ({_TIME}) ({_TIME}|-)")
NEVER = "-"  # which is before every time
Times = tuple[str, str]
"""When at the default level or above, and when at the full one."""
UNKNOWN = (NEVER, NEVER)


@dataclass(frozen=True, slots=True)
class Scope:
    """What of the packs is read: the ``part``-th of ``parts``; for how long at most."""

    part: int = 1
    parts: int = 1
    limit: timedelta | None = None

    def holds(self, digest: bytes) -> bool:
        """Say whether an object or file is of this part, which it is for ever."""
        return int.from_bytes(digest[:8], "big") % self.parts == self.part - 1


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far a check with a time limit came; sizes in bytes.

    ``never`` counts the packs that were never found whole at this level, and
    ``oldest`` is when the others were, all of them at least that late.
    """

    packs: int
    of_packs: int
    size: int
    of_size: int
    never: int
    oldest: str | None


def scope_of(sample: str | None, limit: timedelta | str | None) -> Scope:
    """Return what a user asked for.

    Raises:
        UsageError: ``sample`` is no ``"2/7"``, ``limit`` no time, or both are given.
    """
    if sample is None:
        return Scope(limit=None if limit is None else duration(limit, "max_duration"))
    if limit is not None:
        raise UsageError(
            "a sample and a time limit contradict each other", hint="choose one of them"
        )
    found = _SAMPLE.fullmatch(sample)
    part, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 0 < part <= parts:
        raise UsageError(
            f"'{sample}' is no part of what is stored",
            hint="N/T is one, as in --sample 2/7: the second of seven parts",
        )
    return Scope(part, parts)


class Progress:
    """When each pack was last found whole at a level, noted in a cache if there is one.

    What is noted by others meanwhile stays; what is known of packs that are gone does not.
    """

    def __init__(self, cache: Path | None, store: Store, level: str) -> None:
        self._path = cache and cache / f"{FILE}{store.id}"
        self._head = f"mvc {FORMAT} {store.id} {inode_of(store.folder)}\n"
        self._names = {name.removesuffix(SUFFIX) for name in store.index.names}
        self._place = 1 if level == "full" else 0
        self._known = self._read()
        self._new: dict[str, Times | None] = {}
        self._saved = time.monotonic()
        self._read_packs = self._read_size = 0

    def oldest_first(self, names: Sequence[str], limit: timedelta) -> Iterator[str]:
        """Yield packs, checked longest ago first, until the time is over; one at least."""
        start = time.monotonic()
        last = {name: self._last(name.removesuffix(SUFFIX)) for name in names}
        for number, name in enumerate(sorted(names, key=lambda name: (last[name], name))):
            if number and time.monotonic() - start >= limit.total_seconds():
                return
            yield name

    def note(self, pack: PackReader, *, whole: bool) -> None:
        """Note that all of a pack was read; one that was not whole comes first the next time."""
        moment, before = now(), self._known.get(_key(pack), UNKNOWN)
        self._new[_key(pack)] = (moment, moment if self._place else before[1]) if whole else None
        self._read_packs += 1
        self._read_size += pack.file_size
        if time.monotonic() - self._saved >= SAVE_AFTER:
            self.save()

    def save(self) -> None:
        """Write down what was noted. Where that cannot be, nothing is lost."""
        self._saved = time.monotonic()
        if self._path is None or not self._new:
            return
        merged = {**self._read(), **self._new}
        kept = ((key, times) for key, times in sorted(merged.items()) if key in self._names)
        body = self._head + "".join(f"{key} {' '.join(times)}\n" for key, times in kept if times)
        with contextlib.suppress(OSError):
            fileio.replace(self._path, f"{body}{_checksum(body)}".encode("ascii"))

    def coverage(self, size: int) -> Coverage:
        """Say how far the check came, of packs that take ``size`` bytes."""
        self._known = {**self._known, **{key: times or UNKNOWN for key, times in self._new.items()}}
        times = sorted(time for key in self._names if (time := self._last(key)) != NEVER)
        never = len(self._names) - len(times)
        oldest = times[0] if times else None
        return Coverage(self._read_packs, len(self._names), self._read_size, size, never, oldest)

    def _last(self, key: str) -> str:
        last = self._known.get(key, UNKNOWN)[self._place]
        return last if last <= now() else NEVER  # a clock that went wrong must not hide a pack

    def _read(self) -> dict[str, Times]:
        try:
            text = fileio.read(self._path, MAX_SIZE).decode("ascii") if self._path else ""
        except (OSError, MvcError, UnicodeDecodeError):
            return {}
        body = text[: -len(_checksum(""))]
        if not body.startswith(self._head) or text != body + _checksum(body):
            return {}
        found = [_LINE.fullmatch(line) for line in body.splitlines()[1:]]
        return {match[1]: (match[2], match[3]) for match in found if match}


def bytes_passing(store: Store, level: str, scope: Scope) -> int | None:
    """Return how many bytes a check of ``level`` will say are done; no one knows under a limit."""
    if scope.limit is not None:
        return None
    made = level == "full"  # and files are put together
    entries = (entry for pack in store.index.packs() for entry in pack.index)
    return sum(
        entry.stored + (entry.size if made and entry.encoding == Encoding.RECIPE else 0)
        for entry in entries
        if scope.holds(entry.digest)
    )


def cost_of_frame(store: Store, entry: Entry, *, with_bases: bool = True) -> int:
    """Return how many bytes are read to decode a frame, or only to compare its checksum."""
    size = entry.end - entry.offset
    for found in store.entries_of(entry.base) if entry.base and with_bases else ():
        if found.entry.depth < entry.depth:
            return size + cost_of_frame(store, found.entry)
    return size


def cost_of_file(store: Store, digest: Digest) -> int:
    """Return how many bytes are read to put a file together; 0 where it cannot be."""
    try:
        spans = store.spans(digest)
    except MvcError:
        return 0
    sliced = {span.object for span in spans if span.size < span.object.size}
    whole = [span.object for span in spans if span.size == span.object.size]
    frames = (next(iter(store.entries_of(ref.digest)), None) for ref in (*sliced, *whole))
    return sum(cost_of_frame(store, found.entry) for found in frames if found)


def _key(pack: PackReader) -> str:
    return pack.name.removesuffix(SUFFIX)


def _checksum(text: str) -> str:
    return f"{checksum_of(text.encode('ascii')):016x}\n"
