"""Salvage: what is still whole in packs, and how only what is wanted is stored again.

A frame proves itself: its header and checksum say that it is the one that was
written, and its bytes hash to its name. So frames are found in a pack without
its index, wherever the damage lies.

What a repair makes of them: ``docs/repair.md``.
Public names: ``is_pack``, ``frames``, ``frames_of``, ``whole``, ``Sieve``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from mvc import codecs, fileio, recipe
from mvc.codecs import Encoded, Encoding
from mvc.digest import Buffer, Digest, checksum_of, digest_of
from mvc.errors import MvcError
from mvc.recipe import Recipe
from mvc.store.pack import (
    FRAME_CHECKSUM,
    FRAME_HEADER,
    FRAME_MAGIC,
    MAX_PAYLOAD,
    PACK_MAGIC,
    Entry,
    PackReader,
)
from mvc.store.store import Store, check_size
from mvc.store.transaction import Offer, Transaction

KNOWN = frozenset(Encoding) - {Encoding.DELTA}
_WINDOW = 1 << 20

_Read = Callable[[int, int], bytes]


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


def frames_of(path: Path, wanted: Collection[Digest]) -> Iterator[tuple[Entry, memoryview]]:
    """Yield the whole frames of ``wanted`` objects; by the pack's index, if that is whole."""
    try:
        pack = PackReader(path)
        entries = [entry for digest in wanted for entry in pack.index.find(digest)]
    except MvcError:
        for entry, payload in frames(path):
            if entry.digest in wanted and whole(entry, payload):
                yield entry, payload
        return
    for entry in entries:
        with contextlib.suppress(MvcError, OSError):
            payload = pack.payload(entry)
            if whole(entry, payload):
                yield entry, payload


def whole(entry: Entry, payload: memoryview) -> bool:
    """Say whether a frame whose checksum holds decodes to the object that it names.

    Of a recipe only the form can be seen: its file may not be there.
    """
    try:
        check_size(entry)
        if entry.encoding == Encoding.RECIPE:
            made = recipe.decode(payload)
            return made.size == entry.size
        data = codecs.decode(entry.encoding, payload, entry.size)
    except MvcError:
        return False
    return digest_of(data) == entry.digest


class Sieve(Transaction):
    """A transaction that stores what is ``wanted``, and lets everything else pass.

    Args:
        wanted: Objects that are stored again, whatever the index says of them.
    """

    def __init__(self, store: Store, wanted: Collection[Digest]) -> None:
        super().__init__(store)
        self._wanted = wanted
        self._unsifted = False

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

    def put_frame(self, entry: Entry, payload: memoryview) -> None:
        """Store a frame that is whole as it is, unless its object is held or was put."""
        if entry.encoding == Encoding.RECIPE:
            held = self._store.find_whole(entry.digest, entry.size, recipe=True)
            wanted = entry.digest in self._wanted or held is None
            if entry.digest in self._recipes or not wanted:
                return
            self._recipes.add(entry.digest)
        elif self.hold(entry.digest, entry.size):
            return
        else:
            self._seen.add(entry.digest)
        self._drain()
        encoded = Encoded(entry.encoding, [bytes(payload)], entry.stored)
        self._write(entry.digest, entry.size, encoded)


def _frame_at(read: _Read, at: int) -> tuple[Entry, memoryview] | None:
    header = read(FRAME_HEADER.size, at)
    if len(header) < FRAME_HEADER.size or not header.startswith(FRAME_MAGIC):
        return None
    _, encoding, depth, reserved, size, stored, digest, base = FRAME_HEADER.unpack(header)
    if reserved or depth or any(base) or stored > MAX_PAYLOAD or encoding not in KNOWN:
        return None
    frame = read(FRAME_HEADER.size + stored + FRAME_CHECKSUM.size, at)
    body = memoryview(frame)[: FRAME_HEADER.size + stored]
    checksum = frame[len(body) :]
    if checksum != FRAME_CHECKSUM.pack(checksum_of(body)):
        return None
    number = FRAME_CHECKSUM.unpack(checksum)[0]
    entry = Entry(Digest(digest), at, stored, size, Encoding(encoding), number)
    return entry, body[FRAME_HEADER.size :]


def _next_magic(read: _Read, at: int, size: int) -> int:
    """Return where the next frame may begin, or the file's end."""
    while at < size:
        place = read(_WINDOW, at).find(FRAME_MAGIC)
        if place >= 0:
            return at + place
        at += _WINDOW - len(FRAME_MAGIC) + 1
    return size
