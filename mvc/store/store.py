"""The store: immutable bytes under their digest, in packs.

It knows objects, recipes and roots. It knows no families, no versions and no
file formats. Writing goes through a ``Transaction``; this module makes,
opens and reads a store.

Layout: ``docs/formats/store.md``. Order of every write: ``docs/invariants.md``.
Public names: ``Store``, ``MAX_BASE``, ``check_size``.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TypeVar

from mvc import codecs, fileio, recipe
from mvc.codecs import Encoding
from mvc.digest import Buffer, Digest, digest_of
from mvc.errors import Conflict, Damaged, FormatError, MvcError, StoreWarning, warn
from mvc.recipe import ObjectRef, Recipe, Span
from mvc.store import alternates
from mvc.store.index import Found, PackIndex
from mvc.store.listed import Content, lacking, listed
from mvc.store.pack import MAX_DEPTH, Entry
from mvc.store.pipeline import in_order
from mvc.store.settings import PACKS, TRASH, establish, identity_of, is_vacant, new_id
from mvc.system_errors import in_words

T = TypeVar("T")

MAX_SKELETON = 64 << 20
# A skeleton is read in many small slices, and so are a file's small tensors.
_KEPT_OBJECTS = 2
# A larger object is no delta and no base: a chain of them must fit into memory.
MAX_BASE = 8 << 20


class Store:
    """Immutable bytes under their digest.

    It promises:

    1. ``get`` returns the bytes that hash to the digest, or raises. Never others.
    2. Once a transaction has published, any process sees its objects, also after a power cut.
    3. A write that fails or is killed leaves an object wholly there or wholly absent.
    4. Putting an object that is held succeeds and stores nothing, or a duplicate.
    5. A reader never sees a moved or repacked object as missing: on a miss it lists the packs
       again, then looks where the store was moved to and in its alternates, then among the
       packs on their way out, then lists once more.
    """

    def __init__(self, folder: Path, identity: str, cache: Path | None = None) -> None:
        self.folder = folder
        self.id = identity
        self.index = PackIndex(folder / PACKS, cache)
        self._others: dict[Path, PackIndex] = {}
        self._passed_over: set[Path] = set()
        self._borrows = True

    @classmethod
    def create(cls, folder: Path) -> str:
        """Make an empty store in ``folder`` and return its id.

        What a killed ``create`` left is carried on; of several at once, one wins.

        Raises:
            Conflict: There is something in ``folder`` already.
        """
        if not is_vacant(folder):
            raise Conflict(f"'{folder}' is not empty", hint="choose an empty folder, or a new one")
        fileio.run(establish(folder, new_id()))
        return identity_of(folder)

    @classmethod
    def open(cls, folder: Path, *, cache: Path | None = None) -> Store:
        """Open the store in ``folder``.

        Raises:
            NotFound: There is none.
            Unsupported: A newer mvc made it, or it uses a feature this one lacks.
            FormatError: Its ``store.yaml`` is damaged.
        """
        return cls(folder, identity_of(folder), cache)

    def alone(self) -> Store:
        """Return the store as it is by itself: nothing is looked for in its alternates."""
        store = Store(self.folder, self.id, self.index.cache)
        store._borrows = False
        return store

    def find(self, digest: Digest, size: int | None = None) -> Found | None:
        """Return a frame of the object that is where the index has it, or ``None``."""
        for place in self._places(digest):
            for found in place:
                if size in (None, found.entry.size) and found.pack.holds(found.entry):
                    return found
        return None

    def find_recipe(self, digest: Digest, size: int) -> Found | None:
        """Return a file's recipe to build upon: its checksum holds, and it is here to stay.

        An object of the same bytes does not stand for it, nor it for the
        object, since the parts of a recipe are never recipes.
        """
        for found in self.index.find(digest):
            fits = size == found.entry.size and found.entry.encoding == Encoding.RECIPE
            if fits and found.is_whole():
                return found
        return None

    def chain(
        self, digest: Digest, size: int | None = None, *, below: int = MAX_DEPTH + 1
    ) -> list[Found] | None:
        """Return the frames that an object is read from: its own, its base's, and so on.

        Their checksums hold, and they are here to stay; ``None`` where there is
        no such chain of fewer than ``below`` links.
        """
        for found in self.entries_of(digest):
            entry = found.entry
            fits = entry.encoding != Encoding.RECIPE and size in (None, entry.size)
            if not fits or entry.depth >= below or not found.is_whole():
                continue
            if entry.base is None:
                return [found]
            rest = self.chain(entry.base, below=entry.depth)
            if rest is not None:
                return [found, *rest]
        return None

    def get(self, digest: Digest) -> Buffer:
        """Return the bytes of an object or of a whole file.

        Raises:
            Damaged: They are missing, or no copy of them is whole.
        """
        if self.recipe(digest) is None:
            return self.get_object(digest)
        data = b"".join(self.pieces(digest))
        if digest_of(data) != digest:
            raise Damaged(f"file {digest.short} is not what was stored")
        return data

    def recipe(self, digest: Digest) -> Recipe | None:
        """Return how a file is put together; ``None`` if it is kept as one object."""
        frames = self.index.find(digest)
        kinds = [found.entry.encoding for found in frames if found.pack.holds(found.entry)]
        if kinds and Encoding.RECIPE not in kinds:
            return None

        def read(entry: Entry, payload: memoryview) -> Recipe | None:
            if entry.encoding != Encoding.RECIPE:
                return None
            made = recipe.decode(payload)
            if made.size != entry.size or any(ref.digest == digest for ref in made.objects):
                raise FormatError(f"recipe {digest.short} contradicts itself")
            if len(kinds) > 1 and any(self.find(ref.digest) is None for ref in made.objects):
                raise Damaged(f"recipe {digest.short} names what is not there any more")
            return made

        return self._first_whole(digest, None, read)

    def spans(self, digest: Digest) -> list[Span]:
        """Return what a file consists of, in order; an object is a span of itself."""
        made = self.recipe(digest)
        if made is not None:
            return list(made.spans())
        size = self._first_whole(digest, None, lambda entry, _: entry.size)
        return [Span(ObjectRef(digest, size), 0, size)]

    def pieces(self, digest: Digest, *, hashed: bool = False) -> Iterator[Buffer]:
        """Yield a file's bytes in order, decoding ahead of the reader.

        Checksums of frames are always compared; digests of objects only if
        ``hashed``. Without it the caller compares the whole file's digest.

        Raises:
            Damaged: A part is missing or damaged; it is named.
        """
        spans = self.spans(digest)
        if len(spans) == 1:  # nothing to do ahead, so no threads to start
            data = self.get_object(spans[0].object.digest, spans[0].object.size, hashed=hashed)
            yield memoryview(data)[spans[0].offset : spans[0].offset + spans[0].size]
            return
        slices = Counter(span.object for span in spans if span.size < span.object.size)
        kept = {
            ref: self.get_object(ref.digest, ref.size, hashed=hashed)
            for ref, _ in slices.most_common(_KEPT_OBJECTS)
        }

        def load(span: Span) -> Buffer:
            ref = span.object
            return kept.get(ref) or self.get_object(ref.digest, ref.size, hashed=hashed)

        for span, data in in_order(spans, load):
            yield memoryview(data)[span.offset : span.offset + span.size]

    def get_object(
        self,
        digest: Digest,
        size: int | None = None,
        *,
        hashed: bool = True,
        below: int = MAX_DEPTH + 1,
    ) -> Buffer:
        """Return an object that is not a recipe, from any frame of it that is whole.

        Args:
            digest: Its digest.
            size: Its plain size, if it is known.
            hashed: Whether to compare the digest, and those of its bases.
            below: Frames of this depth or more are passed over.
        """

        def read(entry: Entry, payload: memoryview) -> Buffer:
            if entry.encoding == Encoding.RECIPE:
                raise FormatError(f"{digest.short} is a recipe where an object should be")
            if entry.depth >= below:
                raise FormatError(f"object {digest.short} is kept over too many others")
            data = self.decoded(entry, payload, hashed=hashed)
            if hashed and digest_of(data) != digest:
                raise Damaged(f"object {digest.short} is not what was stored")
            return data

        return self._first_whole(digest, size, read)

    def decoded(self, entry: Entry, payload: memoryview, *, hashed: bool = True) -> Buffer:
        """Return the plain bytes of a frame that is no recipe; a delta's base is read for it.

        Raises:
            FormatError: The payload is not as its page says.
            Damaged: The base is missing, or no copy of it is whole; it is named.
        """
        if entry.encoding != Encoding.DELTA:
            return codecs.decode(entry.encoding, payload, entry.size)
        if entry.base is None or not entry.depth or entry.size > MAX_BASE:
            raise FormatError(f"object {entry.digest.short} is a delta that nobody writes")
        try:
            base = self.get_object(entry.base, hashed=hashed, below=entry.depth)
        except MvcError as error:
            message = f"object {entry.digest.short} is kept over another: {error.message}"
            raise Damaged(message, hint=error.hint) from None
        return codecs.decode_delta(payload, entry.size, base)

    def lacking(self, digest: Digest, *, read_at_most: int = 0) -> list[str]:
        """Say in words what of a file is missing or damaged.

        Every object is looked for in indexes; the checksums of the first
        ``read_at_most`` bytes of them are compared.
        """
        try:
            made = self.recipe(digest)
        except MvcError as error:
            return [error.message]
        parts = {ref.digest: ref.size for ref in made.objects} if made else {digest: None}
        found: dict[Digest, bool] = {}
        for asked in self._indexes():
            found = lacking(asked, parts)
            if not found:
                break
        reasons = [
            f"object {one.short} is missing from the store"
            for one, is_listed in found.items()
            if not is_listed
        ]
        for one in (one for one, is_listed in found.items() if is_listed):
            try:
                self.get_object(one)
            except MvcError as error:  # which tells what keeps it from being read
                reasons.append(error.message)
        here = {one: size for one, size in parts.items() if one not in found}
        damaged = self._damaged(here, read_at_most)
        return reasons + [f"object {one.short} is damaged" for one in damaged]

    def _damaged(self, objects: Mapping[Digest, int | None], most: int) -> Iterator[Digest]:
        """Yield the damaged of some objects and their bases, as far as ``most`` bytes tell."""
        waiting, seen = [*objects], {*objects}
        for one in waiting:  # which grows by bases
            if most <= 0:
                return
            try:
                found = self.find(one, objects.get(one))
            except MvcError:
                continue
            if found is None:
                continue
            most -= found.entry.stored
            frames = chain([found], chain.from_iterable(self._places(one)))
            if most >= 0 and not any(frame.is_whole() for frame in frames):
                yield one
            base = found.entry.base
            if base is not None and base not in seen:
                seen.add(base)
                waiting.append(base)

    def listed(self, files: Collection[Content], most: int) -> set[Content]:
        """Return those of some files of which indexes list all that reading them takes.

        Args:
            most: Once so many parts are looked for, of the files that follow only recipes are.
        """
        found: set[Content] = set()
        missing, indexes = [*files], self._indexes()
        while missing and (asked := next(indexes, None)):
            found |= listed(asked, missing, most)
            missing = [one for one in files if one not in found]
        return found

    def _indexes(self) -> Iterator[list[PackIndex]]:
        """Yield where to look for many objects at once, and for what is missing then once more.

        It is the order of ``_places``.
        """
        asked = [self.index]
        yield asked
        if self.index.refresh_if_changed():
            yield asked
        for other in self._elsewhere():
            asked.append(other)
            yield asked
        if self.index.refresh_if_changed():
            yield asked

    def size(self) -> int:
        """Return what all packs take on disk, in bytes."""
        self.index.refresh_if_changed()
        total = 0
        for name in self.index.names:
            with contextlib.suppress(FileNotFoundError):  # merged into another meanwhile
                total += (self.folder / PACKS / name).stat().st_size
        return total

    def entries_of(self, digest: Digest) -> list[Found]:
        """Return every frame of an object, those with the fewest links first."""
        return sorted(self.index.find(digest), key=lambda found: found.entry.depth)

    def _places(self, digest: Digest, *, distrust: bool = False) -> Iterator[list[Found]]:
        """Yield the frames of an object in each place where a reader looks, in that order.

        Args:
            distrust: Whether to ask every pack itself before the object is given up.
        """
        yield self.entries_of(digest)
        if self.index.refresh_if_changed():
            yield self.entries_of(digest)
        for index in self._elsewhere():
            yield list(index.find(digest))
        if distrust:
            self.index.refresh(trust_cache=False)
        if distrust or self.index.refresh_if_changed():  # taken out of the trash meanwhile
            yield self.entries_of(digest)

    def _elsewhere(self) -> Iterator[PackIndex]:
        """Yield the indexes of other stores, and that of the packs that are on their way out.

        A store that cannot be asked is named once.
        """
        for other in alternates.reachable(self.folder) if self._borrows else ():
            if other.problem is None:
                if other.path not in self._others:
                    self._others[other.path] = PackIndex(other.path / PACKS, None)
                yield self._others[other.path]
            elif other.path not in self._passed_over:
                self._passed_over.add(other.path)
                text = f"the alternate store '{other.path}' is passed over: {other.problem}"
                warn(text, StoreWarning)
        yield PackIndex(self.folder / TRASH, None)

    def _first_whole(
        self, digest: Digest, size: int | None, read: Callable[[Entry, memoryview], T]
    ) -> T:
        """Return what ``read`` makes of the first frame of an object that is whole.

        One whose checksum does not hold, or that ``read`` refuses, is passed
        over.
        """
        failure: MvcError = Damaged(
            f"object {digest.short} is missing from the store",
            hint="mvc fsck says which versions that hurts",
        )
        try:
            for place in self._places(digest, distrust=True):
                for found in place:
                    entry = found.entry
                    try:
                        check_size(entry, size)
                        return read(entry, found.pack.payload(entry))
                    except (MvcError, OSError) as error:
                        failure = _bare(error)
            raise failure
        finally:
            del failure  # or it and this frame hold each other


def _bare(error: MvcError | OSError) -> MvcError:
    """Return an error without the frames that it came through, as words.

    They hold views of payloads, and some versions of Python before 3.13 crash
    where the garbage collector comes upon such in a circle.
    """
    if isinstance(error, MvcError):
        error.__context__ = None
        return error.with_traceback(None)
    said = in_words(error)
    return Damaged(said.message, hint=said.hint)


def check_size(entry: Entry, size: int | None = None) -> None:
    """Refuse what claims another size than expected, or one that nothing here has.

    Raises:
        FormatError: ``entry.size`` is not ``size``, or above the limit of its kind.
    """
    limit = MAX_SKELETON if entry.encoding != Encoding.RECIPE else 1 << 62
    if size not in (None, entry.size) or entry.size > limit:
        raise FormatError(f"object {entry.digest.short} has a size it cannot have")
