"""Frames: which of them are damaged, and what an object can still be read from.

A delta is read with its base, so damage of a base is found in two places. It
is the base's: a delta is blamed only for what is wrong with its own frame.

Public names: ``Frames``, ``shallow``, ``deep``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mvc.codecs import Encoding
from mvc.digest import Digest, digest_of
from mvc.errors import MvcError
from mvc.store import Store
from mvc.store.index import Found
from mvc.store.pack import MAX_DEPTH, Entry, PackReader
from mvc.store.store import check_size
from mvc.system_errors import in_words

ANY_DEPTH = MAX_DEPTH + 1


class Frames:
    """What is known of a store's frames; ``damaged`` ones were found so, all others are believed.

    Only the index is asked, so nothing is said of damage that nobody looked for.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._damaged: set[tuple[str, int]] = set()

    def note(self, found: Found) -> None:
        """Note that a frame is damaged."""
        self._damaged.add(_place(found))

    def serves(self, digest: Digest, below: int = ANY_DEPTH) -> Found | None:
        """Return a frame that an object can be read from, over fewer than ``below`` links."""
        for found in self._believed(digest):
            entry = found.entry
            if entry.depth >= below or (entry.encoding == Encoding.RECIPE and below != ANY_DEPTH):
                continue
            if entry.base is None or self.serves(entry.base, entry.depth):
                return found
        return None

    def entry(self, digest: Digest) -> Entry | None:
        """Return the frame that an object is read from, or would be if its base were whole."""
        found = self.serves(digest) or next(iter(self._believed(digest)), None)
        return found.entry if found else None

    def misplaced(self, packs: Iterable[PackReader]) -> Iterator[tuple[Found, str]]:
        """Yield the deltas whose number of links is wrong, each with what is wrong.

        Where the base cannot be read for another reason, that is said of the base.
        """
        for pack in packs:
            for entry in pack.index:
                found = Found(pack, entry)
                if _place(found) not in self._damaged and (reason := self._wrong(entry)):
                    yield found, reason

    def _wrong(self, entry: Entry) -> str | None:
        if entry.encoding != Encoding.DELTA:
            return None
        if entry.base is None or not 0 < entry.depth <= MAX_DEPTH:
            return f"it is a delta of {entry.depth} links without a base that fits"
        if self.serves(entry.base, entry.depth):
            return None
        kept = self._store.entries_of(entry.base)
        fit = (f for f in kept if f.entry.depth < entry.depth)
        recipes = all(f.entry.encoding == Encoding.RECIPE for f in fit)
        if not kept or not (recipes or self.serves(entry.base)):
            return None
        if _base_is_read(self._store, entry):  # a gc is just taking it, or has put it back
            return None
        return f"its base {entry.base.short} is not kept over fewer than {entry.depth} links"

    def _believed(self, digest: Digest) -> Iterator[Found]:
        for found in self._store.entries_of(digest):
            if _place(found) not in self._damaged:
                yield found


def shallow(found: Found) -> str | None:
    """Compare a frame's checksum; return what is wrong."""
    try:
        found.pack.payload(found.entry)
    except (MvcError, OSError) as error:
        return in_words(error).message
    return None


def deep(store: Store, found: Found) -> str | None:
    """Decode an object and compare its digest; files are put together later."""
    entry = found.entry
    try:
        check_size(entry)
        payload = found.pack.payload(entry)
    except (MvcError, OSError) as error:
        return in_words(error).message
    if entry.encoding == Encoding.RECIPE:
        return None
    try:
        data = store.decoded(entry, payload)
    except (MvcError, OSError) as error:
        return in_words(error).message if _base_is_read(store, entry) else None
    return None if digest_of(data) == entry.digest else "its bytes are not what was stored"


def _base_is_read(store: Store, entry: Entry) -> bool:
    """Say whether a frame's base, if it has one, can be read: then what is wrong is its own."""
    if entry.encoding != Encoding.DELTA or entry.base is None:
        return True
    try:
        store.get_object(entry.base, below=entry.depth)
    except (MvcError, OSError):
        return False
    return True


def _place(found: Found) -> tuple[str, int]:
    return found.pack.path.name, found.entry.offset
