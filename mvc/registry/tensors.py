"""Tensors: the named tensors of a version or a file, and what they take in the store.

Of a version only recipes and indexes are read, no bytes of a tensor. A file
that is kept as one object has no recipe: it is read, and described anew.

Public names: ``TensorFacts``, ``TensorTable``, ``StoredTensor``, ``Wanted``, ``stored_tensors``,
``readable``, ``readable_by_name``, ``file_tensors``, ``by_name``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TypeVar

from mvc import formats
from mvc.digest import Buffer
from mvc.errors import NotFound
from mvc.formats import Source, Tensor
from mvc.recipe import ObjectRef, Part, Recipe, Span, TensorEntry
from mvc.registry.names import near
from mvc.store import Store
from mvc.store.pack import Entry
from mvc.tree import TreeFile

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """One tensor. ``plain`` and ``stored`` are bytes; ``depth`` is that of its deepest chunk.

    ``stored`` is what its chunks take on disk, also where other tensors have
    them too. A tensor that is ``gathered`` lies with others in one object, of
    which it takes its share. ``stored`` and ``depth`` are ``None`` where a chunk
    is missing, or for a file that is not in the store.
    """

    file: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    plain: int
    stored: int | None = None
    encodings: tuple[str, ...] = ()
    depth: int | None = None
    gathered: bool = False


@dataclass(frozen=True, slots=True)
class TensorTable:
    """Tensors in the order of their files; ``stored`` counts once what they share."""

    tensors: tuple[TensorFacts, ...]
    stored: int | None = None

    @property
    def plain(self) -> int:
        return sum(tensor.plain for tensor in self.tensors)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a store, which ``read`` reads, each object by ``load``."""

    file: str
    entry: TensorEntry
    recipe: Recipe
    load: Callable[[ObjectRef], Buffer]

    @property
    def chunks(self) -> tuple[ObjectRef, ...] | None:
        """The objects it consists of; ``None`` where one of them holds something else, too."""
        spans = list(self.recipe.spans_of(self.entry))
        whole = all(span.size == span.object.size for span in spans)
        return tuple(span.object for span in spans) if whole else None

    @property
    def place(self) -> Hashable:
        """Where its bytes are: tensors of one place are one tensor by several names."""
        return self.file, self.entry.first, self.entry.offset, self.entry.size

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[Buffer]:
        """Yield its bytes from ``start`` to ``stop``; each object is compared with its digest.

        Raises:
            Damaged: An object is missing or damaged.
        """
        at, stop = 0, self.entry.size if stop is None else stop
        for span in self.recipe.spans_of(self.entry):
            first, last = max(start - at, 0), min(stop - at, span.size)
            if first < last:
                data = memoryview(self.load(span.object))
                yield data[span.offset + first : span.offset + last]
            at += span.size


class Wanted:
    """Which tensors are asked for: those whose name, with or without its file, fits a glob."""

    def __init__(self, pattern: str | None) -> None:
        self._pattern = pattern
        self._seen: list[str] = []

    def __call__(self, file: str, name: str) -> bool:
        self._seen.append(name)
        return self._pattern is None or any(
            text == self._pattern or fnmatchcase(text, self._pattern)
            for text in (name, f"{file}:{name}")
        )

    def check(self, found: bool, what: str) -> None:
        """Raise ``NotFound`` if a glob was given that fits no tensor of ``what``."""
        if self._pattern is None or found:
            return
        hint = "mvc show REF --tensors shows all of them"
        if not self._seen:
            hint = "its format is not known, or has none"
        message = f"no tensor of {what} is called '{self._pattern}'"
        raise NotFound(message, hint=near(self._pattern, self._seen) or hint)


def stored_tensors(
    store: Store, files: Iterable[TreeFile], pattern: str | None, what: str
) -> TensorTable:
    """Return the tensors of stored files whose names fit ``pattern``.

    Args:
        what: What the files are, for the message.

    Raises:
        NotFound: A pattern is given, and nothing fits it.
        Damaged: A recipe, or a file without one, is missing or damaged.
    """
    wanted, costs = Wanted(pattern), _Costs(store)
    found: list[TensorFacts] = []
    for file in files:
        recipe = _recipe_of(store, file)
        found += (
            costs.facts(file.path, recipe, tensor)
            for tensor in recipe.tensors
            if wanted(file.path, tensor.name)
        )
    wanted.check(bool(found), what)
    return TensorTable(tuple(found), costs.total)


def readable(store: Store, files: Iterable[TreeFile]) -> Iterator[StoredTensor]:
    """Yield the tensors of stored files; those that share an object read it once."""
    load = lru_cache(maxsize=2)(lambda ref: store.get_object(ref.digest, ref.size))
    for file in files:
        made = _recipe_of(store, file)
        for entry in made.tensors:
            yield StoredTensor(file.path, entry, made, load)


def readable_by_name(store: Store, files: Iterable[TreeFile]) -> dict[str, StoredTensor]:
    """Return the tensors of stored files by name, as ``by_name`` says."""
    found = readable(store, files)
    (named,) = by_name((one.file, one.entry.name, one) for one in found)
    return named


def file_tensors(
    sources: Iterable[tuple[str, Source]], pattern: str | None, what: str
) -> TensorTable:
    """Return the tensors of files that need not be stored; only their headers are read.

    Raises:
        NotFound: A pattern is given, and nothing fits it.
    """
    wanted = Wanted(pattern)
    found = tuple(
        TensorFacts(path, tensor.name, tensor.dtype, tensor.shape, tensor.size)
        for path, source in sources
        for tensor in _told(source)
        if wanted(path, tensor.name)
    )
    wanted.check(bool(found), what)
    return TensorTable(found)


def by_name(*sides: Iterable[tuple[str, str, T]]) -> tuple[dict[str, T], ...]:
    """Return things by name, or by ``file:name`` where several files of a side have the name.

    Args:
        sides: Each with the file, the name and the thing.
    """
    listed = [list(side) for side in sides]
    several = {
        name
        for side in listed
        for name, count in Counter(name for _, name, _ in side).items()
        if count > 1
    }
    return tuple(
        {f"{file}:{name}" if name in several else name: thing for file, name, thing in side}
        for side in listed
    )


def _told(source: Source) -> tuple[Tensor, ...]:
    layout = formats.describe(source)
    return layout.tensors if layout else ()


@dataclass(frozen=True, slots=True)
class _Bytes:
    """A whole file in memory, as formats read it."""

    name: str
    data: Buffer

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(memoryview(self.data)[offset : offset + size])


def _recipe_of(store: Store, file: TreeFile) -> Recipe:
    """Return how a file is put together; one that is one object is read, and described so."""
    kept = store.recipe(file.digest)
    if kept is not None:
        return kept
    source = _Bytes(file.path, store.get_object(file.digest, file.size))
    layout = formats.describe(source)
    tensors = []
    for tensor in layout.tensors if layout else ():
        assert layout is not None
        place = 0, 1, layout.start_of(tensor), tensor.size
        tensors.append(TensorEntry(tensor.name, tensor.dtype, tensor.shape, *place, tensor.stride))
    whole = Part(0, 1, 0, file.size)
    return Recipe(file.size, (ObjectRef(file.digest, file.size),), (whole,), tuple(tensors))


class _Costs:
    """What objects take in the store, looked up once each, and what was asked for of each."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries: dict[ObjectRef, Entry | None] = {}
        self._asked: dict[ObjectRef, set[Span]] = {}

    @property
    def total(self) -> int:
        """What all that was asked for takes, each byte of an object counted once at most."""
        return sum(
            self._cost(ref, min(ref.size, sum(span.size for span in spans)))
            for ref, spans in self._asked.items()
        )

    def facts(self, file: str, recipe: Recipe, tensor: TensorEntry) -> TensorFacts:
        spans = list(recipe.spans_of(tensor))
        for span in spans:
            self._asked.setdefault(span.object, set()).add(span)
        entries = [entry for span in spans if (entry := self._entry(span.object))]
        whole = len(entries) == len(spans)
        return TensorFacts(
            file,
            tensor.name,
            tensor.dtype,
            tensor.shape,
            tensor.size,
            stored=sum(self._cost(span.object, span.size) for span in spans) if whole else None,
            encodings=tuple(e.name.lower() for e in sorted({entry.encoding for entry in entries})),
            depth=max((entry.depth for entry in entries), default=0) if whole else None,
            gathered=any(span.size < span.object.size for span in spans),
        )

    def _cost(self, ref: ObjectRef, size: int) -> int:
        """Return what ``size`` bytes of an object take: all of it, or their share."""
        entry = self._entry(ref)
        return round(entry.cost * size / ref.size) if entry else 0

    def _entry(self, ref: ObjectRef) -> Entry | None:
        if ref not in self._entries:
            found = self._store.find(ref.digest, ref.size)
            self._entries[ref] = found.entry if found else None
        return self._entries[ref]
