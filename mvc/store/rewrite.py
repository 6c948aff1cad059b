"""Rewriting: frames copied from packs into new ones, so that the old may be retired.

Small packs are merged when there are many of about one size: each time sixteen
have come together they become one, so an object is copied again only a few
times in its life, and a store of any age has some hundred small packs at most.
What is copied is checked and kept as it is, byte for byte; the new pack is
durable before an old one is touched.

Public names: ``Frame``, ``frames``, ``write``, ``rewrite``, ``merge``, ``merge_all``, ``tidy``,
``due``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from mvc import fileio
from mvc.codecs import Encoded
from mvc.digest import Digest
from mvc.errors import MvcError
from mvc.fileio import Steps
from mvc.progress import advance, job
from mvc.store.lock import maintenance
from mvc.store.pack import (
    MAX_PACK_SIZE,
    SUFFIX,
    Entry,
    PackReader,
    PackWriter,
    finish_all,
    is_whole,
)
from mvc.store.retire import Retired, retire
from mvc.store.settings import PACKS, STAGING, new_id
from mvc.store.store import Store

SMALL = 64 << 20
MANY = 16
# What writing packs takes beside their frames.
SPACE_BESIDE = 1 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """An object as it is to be written; ``made`` is when its pack counts as made, in ns."""

    digest: Digest
    size: int
    encoded: Encoded
    made: int
    depth: int = 0
    base: Digest | None = None


def due(store: Store) -> list[str]:
    """Return the small packs to merge next: those of the lowest size class that has many."""
    classes: dict[int, list[str]] = {}
    folder = store.folder / PACKS
    for name in sorted(n for n in fileio.list_folder(folder) if n.endswith(SUFFIX)):
        with contextlib.suppress(FileNotFoundError):
            size = (folder / name).stat().st_size
            if size < SMALL:
                classes.setdefault(size.bit_length() // 2, []).append(name)
    full = [names for _, names in sorted(classes.items()) if len(names) >= MANY]
    return full[0] if full else []


def merge(store: Store, names: Iterable[str]) -> Steps[Retired]:
    """Put all frames of some packs into one, and retire them; one with damage stays as it is."""
    whole = [name for name in names if is_whole(store.folder / PACKS / name)]
    if len(whole) < 2:
        return Retired()
    new = yield from rewrite(store, whole, lambda entry: True)
    return (yield from retire(store, [name for name in whole if name not in new], None))


def merge_all(store: Store) -> Steps[None]:
    """Merge small packs until no size class has many."""
    while names := due(store):
        if not (yield from merge(store, names)).deleted:
            return


def tidy(store: Store) -> None:
    """Merge small packs if it is time; if that cannot be, it is time again later."""
    with contextlib.suppress(MvcError, OSError):
        if due(store):
            with maintenance(store.folder) as alone:
                if alone:
                    fileio.run(merge_all(store))


def rewrite(store: Store, names: Iterable[str], keep: Callable[[Entry], bool]) -> Steps[list[str]]:
    """Write the frames to ``keep`` of some packs into new packs, durable when this ends.

    Returns:
        The names of the new packs.

    Raises:
        Damaged: A frame to keep is not whole; nothing was published.
    """
    return (yield from write(store, frames(store, names, keep)))


def write(store: Store, given: Iterable[Frame], about: int | None = None) -> Steps[list[str]]:
    """Write frames into new packs, durable when this ends; return their names.

    A new pack counts as made when the youngest of the old was: what is garbage
    in it does not get younger by being copied. ``about`` is how many bytes they take.
    """
    folder = store.folder / STAGING / new_id()
    fileio.make_folder(folder)
    packs: list[PackWriter] = []
    try:
        with job("writing packs", about):
            for frame in given:
                if not packs or packs[-1].size + frame.encoded.size > MAX_PACK_SIZE:
                    packs.append(PackWriter(folder / f"{len(packs)}.pack"))
                pack, encoded = packs[-1], frame.encoded
                pack.add(frame.digest, frame.size, encoded, depth=frame.depth, base=frame.base)
                pack.made = max(pack.made or 0, frame.made)
                advance(encoded.size)
        new = yield from finish_all(packs)
        for pack, name in zip(packs, new, strict=True):
            fileio.link_once(pack.path, store.folder / PACKS / name)
            yield "pack linked"
        fileio.sync_folder(store.folder / PACKS)
        yield "packs durable"
        return new
    finally:
        for pack in packs:
            pack.discard()
        fileio.remove_folder(folder)


def frames(store: Store, names: Iterable[str], keep: Callable[[Entry], bool]) -> Iterator[Frame]:
    """Yield the frames to keep in the order in which they lie, equal ones once."""
    seen = set()
    for name in names:
        pack = PackReader(store.folder / PACKS / name)
        for entry in sorted(pack.index, key=lambda entry: entry.offset):
            if keep(entry) and (entry.digest, entry.checksum) not in seen:
                seen.add((entry.digest, entry.checksum))
                payload = pack.payload(entry)
                encoded = Encoded(entry.encoding, [payload], len(payload))
                yield Frame(
                    entry.digest, entry.size, encoded, pack.changed, entry.depth, entry.base
                )
