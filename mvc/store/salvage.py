"""Salvage: what is still whole in packs, and how only what is wanted is stored again.

A frame proves itself: its header and checksum say that it is the one that was
written, and its bytes hash to its name. So frames are found in a pack without
its index, wherever the damage lies.

What a repair makes of them: ``docs/repair.md``.
A delta proves itself only with its base, which may be in another pack.

Public names: ``is_pack``, ``frames``, ``entries_in``, ``Salvage``, ``Sieve``.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mvc import codecs, fileio, recipe
from mvc.codecs import Encoded, Encoding
from mvc.digest import Buffer, Digest, checksum_of, digest_of
from mvc.errors import Damaged, FormatError, MvcError
from mvc.recipe import Recipe
from mvc.store.pack import (
    FRAME_CHECKSUM,
    FRAME_HEADER,
    FRAME_MAGIC,
    MAX_DEPTH,
    MAX_PAYLOAD,
    PACK_MAGIC,
    Entry,
    PackReader,
)
from mvc.store.store import Store, check_size
from mvc.store.transaction import Offer, Transaction

_WINDOW = 1 << 20

_Read = Callable[[int, int], bytes]
Frame = tuple[Entry, memoryview]


def is_pack(path: Path) -> bool:
    """Say whether a file is a pack, by its name or by how it begins."""
    if path.suffix == ".pack":
        return True
    with contextlib.suppress(OSError, MvcError):
        descriptor = fileio.open_regular(path)
        try:
            return os.read(descriptor, len(PACK_MAGIC)) == PACK_MAGIC
        finally:
            os.close(descriptor)
    return False


def frames(path: Path, *, forgiving: bool = True) -> Iterator[tuple[Entry, memoryview]]:
    """Yield the frames of a file whose checksums hold, with their payloads; no index is read.

    Args:
        forgiving: Stretches that the disk does not give are passed over.

    Raises:
        OSError, FormatError: The file cannot be opened, or not be read.
    """

    def read(size: int, offset: int) -> bytes:
        try:
            return os.pread(descriptor, size, offset)
        except OSError:
            if forgiving:
                return b""
            raise

    descriptor = fileio.open_regular(path)
    try:
        size, at = os.fstat(descriptor).st_size, 0
        while at < size:
            found = _frame_at(read, at)
            if found is not None:
                yield found
            at = found[0].end if found else _next_magic(read, at + 1, size)
    finally:
        os.close(descriptor)


def entries_in(path: Path) -> Mapping[Digest, Sequence[Entry]]:
    """Return the frames of a file, by its index if that is whole; none is proved to be whole.

    Raises:
        OSError: The file cannot be opened.
    """
    found: dict[Digest, list[Entry]] = {}
    try:
        pack = PackReader(path)
        pack.check()
        listed: Iterable[Entry] = list(pack.index)
    except MvcError:
        listed = (entry for entry, _ in frames(path))
    for entry in listed:
        found.setdefault(entry.digest, []).append(entry)
    return found


class Salvage:
    """Decodes frames of any pack, with bases from the store, and from given packs where it fails.

    Args:
        store: Where a base is looked for first.
        packs: Where after that, however damaged they are.
    """

    def __init__(self, store: Store, packs: Sequence[Path] = ()) -> None:
        self._store = store
        self._packs = packs
        self._entries = functools.cache(_entries_if_any)

    def frames_of(self, path: Path, wanted: Collection[Digest] | None = None) -> Iterator[Frame]:
        """Yield the frames of ``wanted`` objects, or all, that are whole; bases come first."""
        found = self._entries(path)
        chosen = found if wanted is None else [digest for digest in wanted if digest in found]
        entries = [entry for digest in chosen for entry in found[digest]]
        pack = PackReader(path) if entries else None
        for entry in sorted(entries, key=lambda entry: (entry.depth, entry.offset)):
            with contextlib.suppress(MvcError, OSError):
                assert pack is not None, "there are entries"
                payload = pack.payload(entry)
                if self.is_whole(entry, payload):
                    yield entry, payload

    def is_whole(self, entry: Entry, payload: memoryview) -> bool:
        """Say whether a frame whose checksum holds decodes to the object that it names.

        Of a recipe only the form can be seen: its file may not be there.
        """
        try:
            check_size(entry)
            if entry.encoding == Encoding.RECIPE:
                return recipe.decode(payload).size == entry.size
            return digest_of(self.plain(entry, payload)) == entry.digest
        except MvcError:
            return False

    def plain(self, entry: Entry, payload: memoryview) -> Buffer:
        """Decode a frame that is no recipe.

        Raises:
            MvcError: It cannot be decoded, or its base is nowhere whole.
        """
        check_size(entry)
        if entry.encoding != Encoding.DELTA:
            return codecs.decode(entry.encoding, payload, entry.size)
        if entry.base is None or not 0 < entry.depth <= MAX_DEPTH:
            raise FormatError(f"object {entry.digest.short} is a delta without a base")
        return codecs.decode_delta(payload, entry.size, self._base(entry.base, entry.depth))

    def _base(self, digest: Digest, below: int) -> Buffer:
        with contextlib.suppress(MvcError, OSError):
            return self._store.get_object(digest, below=below)
        for path in self._packs:
            for entry in self._entries(path).get(digest, ()):
                if entry.depth < below and entry.encoding != Encoding.RECIPE:
                    with contextlib.suppress(MvcError, OSError):
                        data = self.plain(entry, PackReader(path).payload(entry))
                        if digest_of(data) == digest:
                            return data
        raise Damaged(f"the base {digest.short} is nowhere whole")


def _entries_if_any(path: Path) -> Mapping[Digest, Sequence[Entry]]:
    with contextlib.suppress(OSError, MvcError):
        return entries_in(path)
    return {}


class Sieve(Transaction):
    """A transaction that stores what is ``wanted``, and lets everything else pass.

    Args:
        wanted: Objects that are stored again, whatever the index says of them.
    """

    def __init__(self, store: Store, wanted: Collection[Digest]) -> None:
        super().__init__(store)
        self._wanted = wanted
        self._unsifted = False
        self._links: dict[Digest, int] = {}
        self._most_links: dict[Digest, int] | None = None

    @property
    def taken(self) -> int:
        """How many objects were taken so far."""
        return len(self._seen) + len(self._recipes)

    @property
    def objects(self) -> frozenset[Digest]:
        """The objects that were taken so far."""
        return frozenset(self._seen | self._recipes)

    @contextlib.contextmanager
    def unsifted(self) -> Iterator[None]:
        """Take all that the store does not hold: a file whose parts nobody knows."""
        self._unsifted = True
        try:
            yield
        finally:
            self._unsifted = False

    def hold(self, digest: Digest, size: int) -> bool:
        if digest in self._wanted and digest not in self._seen:
            return False
        return super().hold(digest, size)

    def put(self, data: Buffer, digest: Digest, width: int, offer: Offer = tuple) -> None:
        if self._unsifted or digest in self._wanted:
            super().put(data, digest, width, offer)

    def put_recipe(self, digest: Digest, made: Recipe) -> None:
        if self._unsifted or digest in self._wanted:
            super().put_recipe(digest, made)

    def put_frame(self, entry: Entry, payload: memoryview, salvage: Salvage) -> None:
        """Store a frame that is whole as it is, unless its object is held or was put.

        A delta whose base is not here, or only over as many links, is stored anew.
        """
        if entry.encoding == Encoding.RECIPE:
            held = self._store.find_recipe(entry.digest, entry.size)
            wanted = entry.digest in self._wanted or held is None
            if entry.digest in self._recipes or not wanted:
                return
            self._recipes.add(entry.digest)
        elif self.hold(entry.digest, entry.size):
            return
        elif entry.base is not None and not self._fits(entry, entry.base):
            # The first byte of a delta says how many bytes an element has.
            super().put(salvage.plain(entry, payload), entry.digest, payload[0])
            self._links[entry.digest] = 0
            return
        else:
            self._seen.add(entry.digest)
            self._links[entry.digest] = entry.depth
        self._drain()
        encoded = Encoded(entry.encoding, [bytes(payload)], entry.stored)
        self._write(entry.digest, entry.size, encoded, entry.depth, entry.base)

    def _fits(self, entry: Entry, base: Digest) -> bool:
        """Say whether a delta can be read here, and what is kept over it too; its base stays."""
        if self._most_links is None:
            self._most_links = {}
            for below in (e for pack in self._store.index.packs() for e in pack.index if e.base):
                assert below.base is not None, "these have one"
                most = self._most_links.get(below.base, MAX_DEPTH + 1)
                self._most_links[below.base] = min(most, below.depth)
        if entry.depth >= self._most_links.get(entry.digest, MAX_DEPTH + 1):
            return False
        if base in self._links:
            return self._links[base] < entry.depth
        chain = None if base in self._wanted else self._store.chain(base, below=entry.depth)
        self._reused_from.update(found.pack for found in chain or ())
        return chain is not None


def _frame_at(read: _Read, at: int) -> tuple[Entry, memoryview] | None:
    header = read(FRAME_HEADER.size, at)
    if len(header) < FRAME_HEADER.size or not header.startswith(FRAME_MAGIC):
        return None
    _, encoding, depth, reserved, size, stored, digest, base = FRAME_HEADER.unpack(header)
    if reserved or stored > MAX_PAYLOAD or encoding not in frozenset(Encoding):
        return None
    frame = read(FRAME_HEADER.size + stored + FRAME_CHECKSUM.size, at)
    body = memoryview(frame)[: FRAME_HEADER.size + stored]
    checksum = frame[len(body) :]
    if checksum != FRAME_CHECKSUM.pack(checksum_of(body)):
        return None
    number = FRAME_CHECKSUM.unpack(checksum)[0]
    kind = Encoding(encoding), number, depth, Digest(base) if any(base) else None
    entry = Entry(Digest(digest), at, stored, size, *kind)
    return entry, body[FRAME_HEADER.size :]


def _next_magic(read: _Read, at: int, size: int) -> int:
    """Return where the next frame may begin, or the file's end."""
    while at < size:
        place = read(_WINDOW, at).find(FRAME_MAGIC)
        if place >= 0:
            return at + place
        at += _WINDOW - len(FRAME_MAGIC) + 1
    return size
