"""Transactions: how objects and roots get into a store.

A transaction stages an empty ``record.yaml``, its *intent*, before it looks
anything up; writes frames into packs of its own; publishes the packs; and
links the intent, now holding the record, into ``roots/``. A collector that
wants a transaction gone removes the intent's name, after which that link
fails: this is the *fence*. So nothing a live transaction reuses can vanish
under it, and no lock is needed.

Steps and what a kill after each leaves: ``docs/invariants.md``.
Public names: ``Transaction``, ``Under``, ``Offer``, ``is_whole``.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mvc import codecs, fileio, recipe
from mvc.codecs import Base, Encoded, Encoding
from mvc.digest import Buffer, Digest, digest_of
from mvc.errors import Busy, MvcError
from mvc.fileio import NewFile, Steps
from mvc.progress import say
from mvc.recipe import Recipe
from mvc.store.index import Found
from mvc.store.intents import INTENT
from mvc.store.naming import name_also
from mvc.store.pack import MAX_DEPTH, MAX_PACK_SIZE, PackReader, PackWriter, finish_all, is_whole
from mvc.store.pipeline import Ahead
from mvc.store.settings import (
    PACKS,
    QUARANTINE,
    ROOTS,
    STAGING,
    being_moved,
    moved_to,
    new_id,
    root_name,
)
from mvc.store.store import MAX_BASE, Store


@dataclass(frozen=True, slots=True)
class Under:
    """An object that a delta may be kept over, and the bytes per element there."""

    digest: Digest
    width: int


Offer = Callable[[], Sequence[Under]]
"""Says, once it is asked, over which objects another may be kept."""


@dataclass(frozen=True, slots=True)
class _Work:
    """An object to encode."""

    digest: Digest
    data: Buffer
    width: int
    under: Sequence[Under]


_Done = tuple[Encoded, Sequence[Found]]
"""An object encoded, and the frames of its base that must stay readable."""


class Transaction:
    """Puts objects, then publishes them together with the record that needs them.

    ``stored`` counts payload bytes written, ``reused`` plain bytes that the
    store held already; both are final after ``publish``.
    """

    def __init__(self, store: Store) -> None:
        self.id = new_id()
        self.stored = 0
        self.reused = 0
        self._store = store
        self._folder = store.folder / STAGING / self.id
        self._intent: NewFile | None = None
        self._packs: list[PackWriter] = []
        self._seen: set[Digest] = set()
        self._recipes: set[Digest] = set()
        # Packs reused from stay open, so that their bytes stay readable.
        self._reused_from: set[PackReader] = set()
        self._kinds: Counter[str] = Counter()
        self._encoding: Ahead[_Work, _Done] = Ahead(partial(_encode, store))

    def begin(self) -> Steps[None]:
        """Stage the intent. Nothing may be looked up before.

        Raises:
            Busy: The store is being moved. Who moves it waits for the intents
                that are there once it has said so, so one of us sees the other.
                Or a collector took this process for dead already.
        """
        fileio.make_folder(self._folder)
        # Nobody is to see the intent before it is held: it would pass for that of a dead process.
        self._intent = NewFile(fileio.private_path(self._folder))
        self._intent.hold()
        self._intent.appear_as(self._folder / INTENT)
        with self._fenced():
            fileio.sync_folder(self._folder)
        yield "intent"
        target = moved_to(self._store.folder)
        if target is not None:
            raise being_moved(self._store.folder, target)
        self._store.index.refresh()
        self._store.index.merge_if_due()
        yield "packs listed"

    @property
    def anything_new(self) -> bool:
        """Whether anything was put that the store did not hold."""
        return bool(self._seen or self._recipes)

    def hold(self, digest: Digest, size: int) -> bool:
        """Say whether the store has the object whole, and keep it from vanishing if so.

        The frame's checksum is compared: who deletes a file after ``add`` must
        not rely on a copy that has rotted since. A damaged one is stored again.
        """
        if digest in self._seen:
            self.reused += size
            return True
        chain = self._store.chain(digest, size)
        if chain is None:
            return False
        self._reused_from.update(found.pack for found in chain)
        self.reused += size
        return True

    def put(self, data: Buffer, digest: Digest, width: int, offer: Offer = tuple) -> None:
        """Store an object unless it is held.

        Args:
            data: The plain bytes; not changed before ``publish`` by anyone.
            digest: Their digest.
            width: Bytes per element where they are numbers, else 0.
            offer: Says over which objects it may be kept, if the store has
                them whole; asked only if it is not held.
        """
        if self.hold(digest, len(data)):
            return
        self._seen.add(digest)
        for work, done in self._encoding.submit(_Work(digest, data, width, offer())):
            self._take(work, done)

    def promise(self, data: Buffer, width: int, under: Under | None) -> float:
        """Say about how many bytes an object would take over another, or alone, links counted."""
        if under is None:
            return codecs.promise(data, width)
        bases = _bases(self._store, [under])
        return min((codecs.promise(data, width, base) for base, _ in bases), default=math.inf)

    def put_recipe(self, digest: Digest, made: Recipe) -> None:
        """Store a file as its recipe, whose objects have been put before.

        One that is held serves only if it is the same: another may name
        objects that nobody has looked at now.
        """
        payload = recipe.encode(made)
        if recipe.decode(payload) != made:
            raise MvcError("a recipe does not read back as it was written")
        if digest in self._seen or digest in self._recipes:
            return
        found = self._store.find_recipe(digest, made.size)
        if found and bytes(found.pack.payload(found.entry)) == payload:
            self._reused_from.add(found.pack)
            return
        self._recipes.add(digest)
        self._drain()
        self._write(digest, made.size, Encoded(Encoding.RECIPE, [payload], len(payload)))

    def publish(self, registry: str, record: bytes) -> Steps[None]:
        """Make the packs, then the root, durable.

        Raises:
            Busy: A collector evicted this transaction; run it again.
        """
        self._drain()
        kinds = (f"{count:,} as {kind}" for kind, count in sorted(self._kinds.items()))
        say("objects stored: {}; {:,} bytes, and {:,} were there", ", ".join(kinds) or "none",
            self.stored, self.reused)  # fmt: skip
        packs = self._store.folder / PACKS
        fileio.make_folder(packs)  # some tools copy no empty folders
        names = yield from finish_all(self._packs)
        for pack, name in zip(self._packs, names, strict=True):
            with self._fenced():
                self._link_pack(pack.path, packs / name)
            yield "pack linked"
        if self._packs or self._reused_from:  # whose writer may not have come to syncing its name
            fileio.sync_folder(packs)
            yield "packs durable"
        assert self._intent is not None, "begin comes first"
        self._intent.write([record])
        self._intent.seal()
        self._intent.sync()
        yield "record written"
        roots = self._store.folder / ROOTS / registry
        fileio.make_folder(roots)
        with self._fenced():
            fileio.link_once(self._folder / INTENT, roots / root_name(record))
        yield "rooted"
        fileio.sync_folder(roots)
        yield "root durable"

    def take_back(self, registry: str, record: bytes) -> None:
        """Remove the root of a record that became no version after all."""
        with contextlib.suppress(OSError):  # a root too many costs space only
            fileio.unlink(self._store.folder / ROOTS / registry / root_name(record))

    def end(self) -> None:
        """Remove what was staged, whether published or not."""
        self._encoding.close()
        fileio.remove(self._folder / INTENT)  # while it is held: it is not that of a dead process
        with contextlib.suppress(OSError):
            if self._intent:
                self._intent.close()
        for pack in self._packs:
            with contextlib.suppress(OSError):
                pack.discard()
        fileio.remove_folder(self._folder)

    def _drain(self) -> None:
        for work, done in self._encoding.drain():
            self._take(work, done)

    def _take(self, work: _Work, done: _Done) -> None:
        encoded, chain = done
        self._reused_from.update(found.pack for found in chain)
        base = encoded.base
        link = (base.depth + 1, base.digest) if base else (0, None)
        self._write(work.digest, len(work.data), encoded, *link)

    def _write(
        self,
        digest: Digest,
        size: int,
        encoded: Encoded,
        depth: int = 0,
        base: Digest | None = None,
    ) -> None:
        if not self._packs or self._packs[-1].size + encoded.size > MAX_PACK_SIZE:
            with self._fenced():
                self._packs.append(PackWriter(self._folder / f"{len(self._packs)}.pack"))
        self._packs[-1].add(digest, size, encoded, depth=depth, base=base)
        self.stored += encoded.size
        self._kinds[encoded.encoding.name.lower()] += 1

    @contextlib.contextmanager
    def _fenced(self) -> Iterator[None]:
        """Say what it means that a staged name is gone."""
        try:
            yield
        except FileNotFoundError:
            if (self._folder / INTENT).exists():
                raise
            said = "this was evicted by gc, because it wrote nothing for long; nothing was stored"
            raise Busy(said, hint="run the command again") from None

    def _link_pack(self, private: Path, final: Path) -> None:
        while not fileio.link_once(private, final) and not is_whole(final):
            with contextlib.suppress(FileNotFoundError):  # a collector took it: now ours goes there
                self._replace_pack(private, final)
                return

    def _replace_pack(self, private: Path, final: Path) -> None:
        """Take the place of a pack of the same objects that has rotted.

        It is kept aside, and at no instant is there nothing under the name.
        """
        quarantine = self._store.folder / QUARANTINE
        fileio.make_folder(quarantine)
        aside = quarantine / f"{self.id}-{final.name}"
        if final.is_dir() and not final.is_symlink():  # somebody's folder, which nothing can link
            fileio.rename(final, aside)
        else:
            name_also(final, aside)
        fileio.sync_folder(quarantine)
        fileio.move_into_place(private, final, overwrite=True)


def _encode(store: Store, work: _Work) -> _Done:
    """Encode, decode again and compare: what is published has been read back once."""
    bases = list(_bases(store, work.under)) if len(work.data) <= MAX_BASE else []
    encoded = codecs.encode(work.data, work.width, [base for base, _ in bases])
    codecs.read_back(encoded, work.data)
    return encoded, next((chain for base, chain in bases if base is encoded.base), ())


def _bases(store: Store, under: Sequence[Under]) -> Iterator[tuple[Base, Sequence[Found]]]:
    """Yield what may be built upon, each with the frames it is read from."""
    for each in under:
        with contextlib.suppress(MvcError, OSError):  # what cannot be read is no base
            chain = store.chain(each.digest, below=MAX_DEPTH)
            if chain and chain[0].entry.size <= MAX_BASE:
                base = Base(each.digest, each.width, chain[0].entry.depth, _plain(chain))
                if digest_of(base.data) == each.digest:
                    yield base, chain


def _plain(chain: Sequence[Found]) -> Buffer:
    """Return the plain bytes of the first frame of a chain."""
    data: Buffer = b""
    for found in reversed(chain):
        entry, payload = found.entry, found.pack.payload(found.entry)
        if entry.base is None:
            data = codecs.decode(entry.encoding, payload, entry.size)
        else:
            data = codecs.decode_delta(payload, entry.size, data)
    return data
