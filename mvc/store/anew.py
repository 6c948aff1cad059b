"""Encoding anew: about what an object would take over another or alone, and its new frame.

What is told is told from samples; what is written is decoded again and compared
before it is handed on.

Public names: ``Place``, ``Change``, ``Measure``, ``reads``, ``written_anew``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from mvc import codecs
from mvc.codecs import Base, Encoded, Encoding, choose
from mvc.digest import Buffer, Digest
from mvc.errors import Damaged
from mvc.progress import advance
from mvc.store.pack import Entry, PackReader
from mvc.store.pipeline import in_order
from mvc.store.rewrite import Frame, frames
from mvc.store.settings import PACKS
from mvc.store.store import Store
from mvc.store.transaction import Under

# Objects that stay decoded, while those near them are looked at one after the other.
_KEPT = 4

Place = tuple[str, Entry]
"""A frame, and the name of the pack it lies in."""


@dataclass(frozen=True, slots=True)
class Change:
    """An object to encode again; it will take ``about`` bytes.

    That is over ``base``, itself read over so many ``links``, or without.
    """

    digest: Digest
    size: int
    width: int
    base: Under | None
    about: int
    links: int = 0


class Measure:
    """Says about what objects take over others; the frames it is told of say what they are."""

    def __init__(
        self, store: Store, places: Mapping[Digest, Place], widths: Mapping[Digest, int]
    ) -> None:
        self._store = store
        self._places = places
        self._widths = widths
        self._read = _reader(store)
        self._found: dict[Digest, int] = {}  # widths, for which a payload may have been read
        self._alone: dict[Digest, float] = {}  # what objects promise without a base

    def over(
        self, digest: Digest, offers: Iterable[Under], links: int = 0
    ) -> dict[Under | None, int]:
        """Return about what an object takes over each base that is worth its links."""
        found: dict[Under | None, int] = {}
        for under in offers:
            about, taken = self._about(digest, under, links)
            if taken:
                found[under] = about
        return found

    def alone(self, digest: Digest) -> int:
        """Return about what an object takes without a base."""
        return self._about(digest, None)[0]

    def width(self, digest: Digest) -> int:
        """Return the bytes per element: as told, or as the payload begins with it."""
        if digest not in self._found:
            name, entry = self._places[digest]
            width = self._widths.get(digest) or 0
            if not width and entry.encoding in (Encoding.PLANES, Encoding.DELTA):
                width = PackReader(self._store.folder / PACKS / name).payload(entry)[0]
            self._found[digest] = width
        return self._found[digest]

    def length_class(self, digest: Digest) -> int:
        """Return which objects one may be like at all."""
        from mvc.codecs import sketch  # numpy, which importing this needs not

        return sketch.length_class(self._places[digest][1].size, self.width(digest))

    def alike(
        self, seeking: Sequence[Digest], among: Sequence[Digest]
    ) -> Iterator[tuple[Digest, list[Digest]]]:
        """Yield those that have any with the objects they are like, the nearest first.

        Each is read once. Where many are like one another the first come first.
        """
        from mvc.codecs import sketch

        if not seeking:
            return
        wanted = dict.fromkeys([*among, *seeking])
        made = {digest: sketch.make(self._read(digest), self.width(digest)) for digest in wanted}
        told = {digest: found for digest, found in made.items() if found is not None}
        known = [digest for digest in among if digest in told]
        sketches = sketch.Sketches([told[digest] for digest in known])
        for digest in seeking:
            if digest in told:
                yield digest, [known[place] for place in sketches.near(told[digest])]

    def change(self, digest: Digest, costs: Mapping[Under | None, int], links: int = 0) -> Change:
        """Return the cheapest of what ``costs`` has for an object."""
        base = min(costs, key=lambda under: costs[under])
        size, width = self._places[digest][1].size, self.width(digest)
        return Change(digest, size, width, base, costs[base], links if base else 0)

    def _about(self, digest: Digest, under: Under | None, links: int = 0) -> tuple[int, bool]:
        """Return about what an object takes, and whether the encoder would use the base."""
        data, width = self._read(digest), self.width(digest)
        advance(len(data))
        base = None if under is None else _base(self._read, under, width, links)
        if len(data) <= choose.SMALL:  # no more work than a promise
            made = codecs.encode(data, width, () if base is None else (base,))
            return made.size, made.base is not None
        if digest not in self._alone:
            self._alone[digest] = codecs.promise(data, width)
        alone = self._alone[digest]
        if base is None:
            return int(alone), False
        over = codecs.promise(data, width, base)
        return int(min(over, alone) * choose.LINK ** (links + 1)), over < alone


def reads(store: Store, place: Place) -> bool:
    """Say whether a frame can be read and its checksum holds."""
    name, entry = place
    try:
        PackReader(store.folder / PACKS / name).payload(entry)
    except (Damaged, OSError):
        return False
    return True


def _encoded(store: Store, changes: Iterable[Change], made: int) -> Iterator[Frame]:
    """Encode ahead, in order; each object is decoded again and compared before it is handed on.

    Args:
        made: When the frames count as made.

    Raises:
        Damaged: An object or a base cannot be read.
    """
    bases = _reader(store)

    def encode(change: Change) -> Encoded:
        data = store.get_object(change.digest, change.size)
        under = change.base
        over = () if under is None else (_base(bases, under, change.width, change.links),)
        encoded = codecs.encode(data, change.width, over)
        codecs.read_back(encoded, data)
        return encoded

    for change, encoded in in_order(changes, encode):
        base = encoded.base
        link = (base.depth + 1, base.digest) if base else (0, None)
        yield Frame(change.digest, change.size, encoded, made, *link)


def written_anew(
    store: Store,
    packs: Sequence[str],
    kept: Collection[tuple[Digest, int]],
    changes: Iterable[Change],
) -> Iterator[Frame]:
    """Yield what some packs become: frames to copy, by digest and checksum, then those changed.

    Raises:
        Damaged: A frame, an object or a base cannot be read.
    """
    made = max((PackReader(store.folder / PACKS / name).changed for name in packs), default=0)
    yield from frames(store, packs, lambda entry: (entry.digest, entry.checksum) in kept)
    yield from _encoded(store, changes, made)


def _reader(store: Store) -> Callable[[Digest], Buffer]:
    """Return what reads objects, and keeps the last of them."""
    return lru_cache(maxsize=_KEPT)(partial(store.get_object, size=None))


def _base(bases: Callable[[Digest], Buffer], under: Under, width: int, links: int) -> Base:
    return Base(under.digest, under.width or width, links, bases(under.digest))
