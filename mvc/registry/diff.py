"""Diff: how two versions or files differ, in files, facts and tensors.

What it promises and what its words mean: ``docs/diff.md``.
Public names: ``Difference``, ``Side``, ``FileChange``, ``FactChange``, ``TensorChange``,
``of_version``, ``of_path``, ``difference``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import repeat
from math import prod
from pathlib import Path
from typing import Any

from mvc import formats
from mvc.digest import Buffer, digest_of
from mvc.errors import Conflict
from mvc.formats.dtypes import width_of
from mvc.formats.numbers import Statistics, are_numbers, compare, row_major
from mvc.progress import advance, job
from mvc.recipe import ObjectRef
from mvc.registry import tensors
from mvc.registry.display import Display, Displayed, count, first
from mvc.registry.intake import unregistered
from mvc.registry.intake.source import SourceFile
from mvc.registry.version import Version
from mvc.store import Store
from mvc.tree import TreeFile

GROUPS = ("metrics", "params", "model", "lineage", "labels")
PIECE = 4 << 20
ELEMENTS = 1 << 19
"""Elements of two tensors that are compared at once."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """``added``, ``removed``, ``renamed`` (the same bytes) or ``changed``; sizes in bytes."""

    change: str
    a: str | None
    b: str | None
    size_a: int | None
    size_b: int | None

    def __str__(self) -> str:
        return f"{self.change} {_both((self.a, self.b))}"


@dataclass(frozen=True, slots=True)
class FactChange:
    """A fact with its values; ``None`` where there is none."""

    group: str
    name: str
    a: Any
    b: Any

    def __str__(self) -> str:
        a, b = ("none" if side is None else side for side in (self.a, self.b))
        return f"{self.name} {a} → {b}".strip()


@dataclass(frozen=True, slots=True)
class TensorChange:
    """A tensor that differs, with its type and shape on both sides; see ``docs/diff.md``."""

    name: str
    change: str
    dtype_a: str | None = None
    dtype_b: str | None = None
    shape_a: tuple[int, ...] | None = None
    shape_b: tuple[int, ...] | None = None
    statistics: Statistics | None = None

    def __str__(self) -> str:
        dtypes, shapes = (self.dtype_a, self.dtype_b), (self.shape_a, self.shape_b)
        return f"{self.name} {self.change} {_both(dtypes)} {_both(shapes)}"


@dataclass(frozen=True, slots=True, repr=False)
class Difference(Displayed):
    """All that differs; ``equal`` counts the tensors that do not."""

    a: str
    b: str
    files: tuple[FileChange, ...]
    facts: tuple[FactChange, ...]
    tensors: tuple[TensorChange, ...]
    equal: int

    @property
    def same(self) -> bool:
        return not (self.files or self.facts or self.tensors)

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {"same": self.same, **asdict(self)}

    def _display(self) -> Display:
        kinds = (("file", self.files), ("fact", self.facts), ("tensor", self.tensors))
        differ = [count(len(changes), what) for what, changes in kinds if changes]
        said = f"{', '.join(differ)} different" if differ else "the same"
        said += f"; {count(self.equal, 'tensor')} equal" if self.equal else ""
        facts: dict[str, list[str]] = {}
        for fact in self.facts:
            facts.setdefault(fact.group, []).append(str(fact))
        files, tensors = ("files", [*map(str, self.files)]), ("tensors", [*map(str, self.tensors)])
        return Display(f"{self.a} → {self.b}", (said,), first((files, *facts.items(), tensors)))


@dataclass(frozen=True, slots=True)
class _Side:
    """One tensor on one side: ``chunks`` are known without reading it, ``pieces`` read it."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...] | None
    chunks: tuple[ObjectRef, ...] | None
    pieces: Callable[[], Iterator[Buffer]]

    @property
    def size(self) -> int:
        """Its bytes; 0 where nobody knows how many an element has."""
        return prod(self.shape) * width_of(self.dtype)


@dataclass(frozen=True, slots=True)
class Side:
    """What is compared: a version, or what lies at a path."""

    label: str
    files: tuple[TreeFile, ...]
    weights: str | None
    facts: Mapping[str, Mapping[str, Any]]
    tensors: Callable[[], Iterable[tuple[str, _Side]]]


def of_version(version: Version, label: str, files: tuple[TreeFile, ...], store: Store) -> Side:
    """Return a version, or one file of it, as a side."""
    facts = {group: getattr(version, group) for group in GROUPS}
    facts["message"] = {} if version.message is None else {"": version.message}
    weights = version.weights if label == version.id else None
    return Side(label, files, weights, facts, partial(_stored, store, files))


def of_path(path: Path) -> Side:
    """Read a file or folder, and return it as a side.

    Raises:
        NotFound, UsageError: There is no such file, or it is none that ``add`` would take.
        Conflict: It changed while it was read.
    """
    found = unregistered.describe(path, None)
    only = TreeFile(0o644, found.artifact.size, found.artifact.digest, found.artifact.name)
    files = (only,) if found.artifact.files is None else found.artifact.listing or ()
    return Side(str(path), files, found.weights, {}, partial(_lying, path))


def difference(a: Side, b: Side, pattern: str | None, *, statistics: bool) -> Difference:
    """Compare two sides.

    Args:
        pattern: Only tensors whose names fit this glob are compared, and nothing else.
        statistics: Whether to work out how much tensors changed.

    Raises:
        NotFound: A pattern is given, and fits no tensor of either.
        Damaged: What has to be read is missing or damaged.
    """
    if pattern is None and a.weights and a.weights == b.weights and not statistics:
        equal, changes = sum(1 for _ in a.tensors()), list[TensorChange]()
    else:
        equal, changes = _tensors(a, b, pattern, statistics)
    return Difference(
        a.label,
        b.label,
        () if pattern else tuple(sorted(_files(a.files, b.files), key=_place)),
        () if pattern else tuple(_facts(a.facts, b.facts)),
        tuple(changes),
        equal,
    )


def _place(change: FileChange) -> str:
    return change.b or change.a or ""


def _files(a: Iterable[TreeFile], b: Iterable[TreeFile]) -> Iterator[FileChange]:
    left, right = ({file.path: file for file in side} for side in (a, b))
    if len(left) == len(right) == 1:  # by whatever names
        (one,), (other,) = left.values(), right.values()
        if (one.digest, one.path) != (other.digest, other.path):
            change = "renamed" if one.digest == other.digest else "changed"
            yield FileChange(change, one.path, other.path, one.size, other.size)
        return
    gone = {left[path].digest: path for path in left.keys() - right.keys()}
    for path in left.keys() & right.keys():
        if left[path].digest != right[path].digest:
            yield FileChange("changed", path, path, left[path].size, right[path].size)
    for path in right.keys() - left.keys():
        size, before = right[path].size, gone.pop(right[path].digest, None)
        if before is None:
            yield FileChange("added", None, path, None, size)
        else:
            yield FileChange("renamed", before, path, size, size)
    for path in gone.values():
        yield FileChange("removed", path, None, left[path].size, None)


def _facts(
    a: Mapping[str, Mapping[str, Any]], b: Mapping[str, Mapping[str, Any]]
) -> Iterator[FactChange]:
    for group in a if b else ():  # files have none to compare
        for name in dict.fromkeys([*a[group], *b[group]]):
            before, after = a[group].get(name), b[group].get(name)
            if before != after:
                yield FactChange(group, name, before, after)


def _tensors(
    a: Side, b: Side, pattern: str | None, statistics: bool
) -> tuple[int, list[TensorChange]]:
    """Return how many tensors are equal, and the others."""
    wanted = tensors.Wanted(pattern)
    left, right = tensors.by_name(
        *(
            ((one.file, name, one) for name, one in side.tensors() if wanted(one.file, name))
            for side in (a, b)
        )
    )
    wanted.check(bool(left or right), f"{a.label} or {b.label}")
    names = dict.fromkeys([*left, *right])
    changes = []
    sizes = [(right.get(name) or left[name]).size for name in names]
    with job("comparing tensors", sum(sizes)):
        for name, size in zip(names, sizes, strict=True):
            changes.append(_change(name, left.get(name), right.get(name), statistics))
            advance(size)
    found = [change for change in changes if change]
    return len(changes) - len(found), found


def _change(name: str, a: _Side | None, b: _Side | None, statistics: bool) -> TensorChange | None:
    if a is None or b is None:
        change = TensorChange(name, "removed" if b is None else "added")
    else:
        kind = "reshaped" if a.shape != b.shape else "retyped" if a.dtype != b.dtype else "changed"
        if kind == "changed" and _are_equal(a, b):
            return None
        apart = _statistics(a, b) if statistics and kind != "reshaped" else None
        change = TensorChange(name, kind, statistics=apart)
    if a is not None:
        change = replace(change, dtype_a=a.dtype, shape_a=a.shape)
    if b is not None:
        change = replace(change, dtype_b=b.dtype, shape_b=b.shape)
    return change


def _are_equal(a: _Side, b: _Side) -> bool:
    """Say whether two tensors of one type and shape have the same elements, reading little."""
    if a.stride != b.stride:
        return digest_of(b"".join(_in_order(a))) == digest_of(b"".join(_in_order(b)))
    if a.chunks is None:
        a, b = b, a
    if a.chunks is None:
        both = (_cut(side.pieces(), repeat(PIECE)) for side in (a, b))
        return all(one == other for one, other in zip(*both, strict=True))
    sizes = [chunk.size for chunk in a.chunks]
    if b.chunks is not None and sizes == [chunk.size for chunk in b.chunks]:
        return a.chunks == b.chunks
    read = _cut(b.pieces(), sizes)
    return all(digest_of(data) == ref.digest for data, ref in zip(read, a.chunks, strict=True))


def _statistics(a: _Side, b: _Side) -> Statistics | None:
    if not (are_numbers(a.dtype) and are_numbers(b.dtype)):
        return None
    dtypes = a.dtype, b.dtype
    streams = (_cut(_in_order(side), repeat(ELEMENTS * width_of(side.dtype))) for side in (a, b))
    return compare(zip(*streams, strict=True), dtypes)


def _in_order(side: _Side) -> Iterator[Buffer]:
    """Yield the elements of a tensor in row-major order."""
    if side.stride is None:
        return side.pieces()
    data = b"".join(side.pieces())
    return iter([row_major(data, width_of(side.dtype), side.shape, side.stride)])


def _cut(pieces: Iterator[Buffer], sizes: Iterable[int]) -> Iterator[bytes]:
    """Yield bytes that come in any pieces in pieces of given sizes; the last may be shorter."""
    held = bytearray()
    for size in sizes:
        while len(held) < size and (piece := next(pieces, None)) is not None:
            held += piece
        if not held:
            return
        yield bytes(memoryview(held)[:size])
        del held[:size]


def _stored(store: Store, files: Iterable[TreeFile]) -> Iterator[tuple[str, _Side]]:
    for tensor in tensors.readable(store, files):
        entry = tensor.entry
        side = _Side(
            tensor.file, entry.dtype, entry.shape, entry.stride, tensor.chunks, tensor.read
        )
        yield entry.name, side


def _lying(path: Path) -> Iterator[tuple[str, _Side]]:
    for name, source in unregistered.sources_of(path):
        layout = formats.describe(source)
        for tensor in layout.tensors if layout else ():
            assert layout is not None
            read = partial(_read_lying, source.path, layout.start_of(tensor), tensor.size)
            yield (
                tensor.name,
                _Side(name, tensor.dtype, tensor.shape, tensor.stride, None, read),
            )


def _read_lying(path: Path, offset: int, size: int) -> Iterator[Buffer]:
    with SourceFile(path) as source:
        for at in range(offset, offset + size, PIECE):
            wanted = min(PIECE, offset + size - at)
            data = source.read(at, wanted)
            if len(data) < wanted:
                raise Conflict(f"'{path}' changed while it was read", hint="run the command again")
            yield data


def _both(sides: Iterable[object]) -> str:
    return " → ".join(dict.fromkeys(str(side) for side in sides if side is not None))
