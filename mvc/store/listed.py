"""Listed: which files can be read, as far as indexes of packs tell.

A file takes its recipe, each object that it names, and what these are kept
over, link by link. Many are asked for at once: an index is gone through for
all of them, instead of once for each. Of bytes only recipes are read; whether
frames are whole is not looked at.

Public names: ``Content``, ``listed``, ``lacking``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from operator import itemgetter
from typing import TypeAlias

from mvc import recipe
from mvc.codecs import Encoding
from mvc.digest import Digest
from mvc.errors import MvcError
from mvc.store.index import PackIndex
from mvc.store.pack import MAX_DEPTH, NO_BASE, Link

# A file by its digest, and by its size where that is known.
Content: TypeAlias = tuple[Digest, int | None]

_OBJECTS = frozenset(Encoding) - {Encoding.RECIPE}


def listed(indexes: Sequence[PackIndex], files: Collection[Content], most: int) -> set[Content]:
    """Return those of some files of which ``indexes`` list all, as ``Store.listed`` says."""
    kinds: dict[bytes, set[tuple[int, bool]]] = {}
    for digest, _, held, encoding, *_ in _links(indexes, {digest for digest, _ in files}):
        kinds.setdefault(digest, set()).add((held, encoding == Encoding.RECIPE))
    ways: dict[Content, list[list[bytes]]] = {}  # each of them is enough
    wanted: set[bytes] = set()
    for digest, size in files:
        fits = {is_recipe for held, is_recipe in kinds.get(digest, ()) if size in (None, held)}
        parts: list[list[bytes]] = [[digest]] if False in fits else []
        if True in fits:
            parts += _recipes(indexes, digest, size) if len(wanted) < most else [[]]
        ways[digest, size] = parts
        wanted.update(*parts)
    whole = _whole(_chains(indexes, wanted))
    return {one for one, parts in ways.items() if any(whole.issuperset(way) for way in parts)}


def lacking(
    indexes: Sequence[PackIndex], objects: Mapping[Digest, int | None]
) -> dict[Digest, bool]:
    """Return what keeps some objects from being read, each given with its size.

    That is they themselves or their bases, with whether they are listed at all.
    """
    sizes: dict[bytes, int | None] = dict(objects.items())
    links = [
        link for link in _chains(indexes, sizes.keys()) if sizes.get(link[0]) in (None, link[2])
    ]
    whole = {NO_BASE, *_whole(links)}
    bases: dict[bytes, set[bytes]] = {}
    for digest, base, *_ in links:
        bases.setdefault(digest, set()).add(base)
    found: dict[Digest, bool] = {}
    hurt = [one for one in sizes if one not in whole]
    seen = {*hurt}
    for one in hurt:  # which grows by bases
        below = bases.get(one, set()) - whole
        if not below:
            found[Digest(one)] = one in bases
        hurt += below - seen
        seen |= below
    return found


def _recipes(
    indexes: Iterable[PackIndex], digest: Digest, size: int | None
) -> Iterator[list[bytes]]:
    """Yield what each recipe of a file names, of those that can be read."""
    for index in indexes:
        with contextlib.suppress(MvcError):  # an encoding that this mvc does not know
            for found in index.find(digest):
                entry = found.entry
                if entry.encoding == Encoding.RECIPE and size in (None, entry.size):
                    with contextlib.suppress(MvcError, OSError):
                        yield recipe.objects_in(found.pack.payload(entry))


def _whole(links: Iterable[Link]) -> set[bytes]:
    """Return the objects that can be followed down to their last base."""
    depths: dict[bytes, int] = {}
    for digest, base, _, encoding, depth, _ in sorted(links, key=itemgetter(4)):
        readable = encoding in _OBJECTS and depth <= MAX_DEPTH
        if readable and (base == NO_BASE or depths.get(base, depth) < depth):
            depths.setdefault(digest, depth)
    return set(depths)


def _chains(indexes: Sequence[PackIndex], objects: Set[bytes]) -> list[Link]:
    """Return what is said of some objects, of their bases, of the bases of these, and so on."""
    links: list[Link] = []
    seen, new = {NO_BASE, *objects}, objects
    for _ in range(MAX_DEPTH + 1):
        found = list(_links(indexes, new))
        links += found
        new = {base for _, base, *_ in found} - seen
        seen |= new
    return links


def _links(indexes: Iterable[PackIndex], digests: Set[bytes]) -> Iterator[Link]:
    return (link for index in indexes for link in index.links(digests))
