"""Ingest: read a file once, and put what it consists of into a sink.

Whole-file digest and chunk digests come from the same buffers, which are read
and hashed ahead of what is put. What the format says is a hint: the recipe is
checked against the file's size, every byte is in it, and the digest of the
whole is taken over the bytes read.

Public names: ``Ingested``, ``FileRead``, ``Contents``, ``ingest``, ``read``, ``reuse``,
``weights_of``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from math import prod

from mvc import formats, tree
from mvc.digest import Buffer, Digest, Hasher, digest_of
from mvc.errors import Conflict, Damaged
from mvc.formats import Layout, Tensor
from mvc.formats.broken import instead_of_model
from mvc.formats.content import Cutter
from mvc.formats.safety import safety_of
from mvc.progress import advance, job, say
from mvc.recipe import ObjectRef, Part, Recipe, TensorEntry
from mvc.registry.intake.cutting import CHUNK_SIZE, Kind, Stretch, chunk_size, stretches
from mvc.registry.intake.relatives import Offers, Relatives
from mvc.registry.intake.sink import Sink
from mvc.registry.intake.source import SourceFile
from mvc.registry.reach import files_of
from mvc.registry.record import DIRECTORY, FILE, Artifact, Record
from mvc.store import Store, Transaction
from mvc.store.pipeline import in_order
from mvc.store.transaction import Offer
from mvc.tree import Tree
from mvc.verdict import Safety, shortened

# Not parameters to anybody who counts them: what batch normalisation keeps.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True, slots=True)
class Ingested:
    """What was read turned out to be; ``notes`` are for who added it.

    Those of them that say it may be no whole model are ``doubts``.
    """

    artifact: Artifact
    weights: Digest | None
    framework: str | None
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contents:
    """What the tensors of a file come to; ``rows`` is what ``weights`` is the digest of.

    ``told`` is false where the file has tensors of which not all are known.
    """

    format: str
    framework: str | None
    tensors: int
    parameters: int
    dtypes: Counter[str]
    rows: list[bytes]
    told: bool


@dataclass(frozen=True, slots=True)
class FileRead:
    """A file that was read; ``contents`` is ``None`` where it is opaque.

    ``safety`` is what loading it would run, ``None`` where mvc cannot say;
    ``instead`` says of an opaque file that it is surely no model; ``elsewhere``
    are other files in which this one's weights are, by its own words.
    """

    digest: Digest
    size: int
    contents: Contents | None
    safety: Safety | None
    instead: str | None = None
    elsewhere: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is read in one go: of a large stretch a chunk, of small ones a whole run of them."""

    run: tuple[Stretch, ...]
    offset: int
    size: int


_GATHERED = (Kind.SKELETON, Kind.SMALL)

_Read = tuple[bytes, Digest | None]
"""A piece's bytes, and their digest where they are a chunk."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where a stretch went: into ``count`` chunks from ``first`` on, or into a gathered object."""

    stretch: Stretch
    first: int
    count: int
    offset: int


@dataclass(slots=True)
class _Gathered:
    """A file taken apart: its chunks, and what is gathered while they go by."""

    chunks: list[ObjectRef] = field(default_factory=list)
    placed: list[_Placed] = field(default_factory=list)
    skeleton: bytearray = field(default_factory=bytearray)
    small: dict[int | None, bytes] = field(default_factory=dict)


def ingest(source: SourceFile, sink: Sink, relatives: Relatives | None = None) -> Ingested:
    """Put a file's bytes into ``sink``. Raises as ``read`` does."""
    with job(f"reading {source.name}", source.size):
        return ingested(source.name, read(source, sink, relatives))


def ingested(name: str, file: FileRead) -> Ingested:
    """Return what a file turned out to be."""
    artifact = Artifact(FILE, name, file.digest, file.size, safety=shortened(file.safety))
    contents = file.contents
    if contents is None:
        notes = (f"'{name}' {file.instead}",) if file.instead else ()
        return Ingested(artifact, None, None, notes, notes)
    described = replace(
        artifact,
        format=contents.format,
        tensors=contents.tensors,
        parameters=contents.parameters,
        dtypes=dict(sorted(contents.dtypes.items())),
    )
    notes = (_elsewhere(name, file.elsewhere),) if file.elsewhere else ()
    return Ingested(described, weights_of(contents.rows), contents.framework, notes, notes)


def _elsewhere(name: str, files: Iterable[str]) -> str:
    """Say that a file has no weights of its own."""
    first, *others = sorted(files)
    where = f"'{first}' and {len(others)} other files" if others else f"'{first}'"
    return (
        f"weights of '{name}' are in {where}, which is no part of this version; "
        "add the folder that has all of it"
    )


def look(source: SourceFile, digest: Digest) -> FileRead:
    """Return what can be said of a file whose digest is known, from its headers: no rows."""
    layout = formats.describe(source)
    seen = _seen(source, layout)
    return FileRead(digest, source.size, _contents(layout, []), *seen)


def read(source: SourceFile, sink: Sink, relatives: Relatives | None = None) -> FileRead:
    """Put a file's bytes into ``sink``, with what ``relatives`` offer to keep them over.

    Memory stays bounded whatever the file's size.

    Raises:
        Conflict: The file changed while it was read.
    """
    layout = formats.describe(source)
    seen = _seen(source, layout)  # before it is known to be unchanged
    offers = Offers(relatives, source, layout) if relatives else None
    if source.size <= CHUNK_SIZE:
        digest, rows = _read_whole(source, sink, layout, offers)
    else:
        digest, rows = _read_parts(source, sink, layout, offers)
    contents = _contents(layout, rows)
    what = f"{contents.format}, {contents.tensors:,} tensors" if contents else "no known format"
    say("{}: {}", source.name, what)
    return FileRead(digest, source.size, contents, *seen)


def _seen(
    source: SourceFile, layout: Layout | None
) -> tuple[Safety | None, str | None, frozenset[str]]:
    """Return what loading a file would run, what it is instead of a model, and what it needs."""
    if layout is None:
        return safety_of(source, layout), instead_of_model(source), frozenset()
    return safety_of(source, layout), None, layout.elsewhere


def reuse(store: Store, record: Record, transaction: Transaction) -> Ingested:
    """Hold for ``transaction`` what an earlier version is made of.

    Raises:
        Damaged: The store does not have all of it whole.
    """
    artifact = record.artifact
    files = files_of(store, artifact)
    for file in files:
        recipe = store.recipe(file.digest)
        refs = recipe.objects if recipe else (ObjectRef(file.digest, file.size),)
        for ref in dict.fromkeys(refs):
            if not transaction.hold(ref.digest, ref.size):
                transaction.put(_from_elsewhere(store, ref), ref.digest, 0)
        if recipe is not None:
            transaction.put_recipe(file.digest, recipe)
    if artifact.kind == DIRECTORY:
        transaction.put(tree.encode(Tree(files)), artifact.digest, 0)
    return Ingested(artifact, record.weights, record.model.get("framework"))


def _from_elsewhere(store: Store, ref: ObjectRef) -> Buffer:
    """Read an object that this store does not have whole, from an alternate that has."""
    try:
        return store.get_object(ref.digest, ref.size)
    except Damaged:
        raise Damaged(
            f"object {ref.digest.short} is missing or damaged",
            hint="mvc fsck says more; add a whole copy of the file instead",
        ) from None


def weights_of(rows: list[bytes]) -> Digest | None:
    """Return the digest of weights; ``None`` where there are no tensors."""
    return digest_of(b"".join(sorted(rows))) if rows else None


def _read_whole(
    source: SourceFile, sink: Sink, layout: Layout | None, offers: Offers | None
) -> tuple[Digest, list[bytes]]:
    """A file of one chunk at most is one object, without a recipe."""
    data = _read(source, 0, source.size)
    digest = digest_of(data)
    advance(len(data))
    widths = Counter[int]()
    for storage in layout.storages if layout else ():
        widths[storage.width] += storage.size
    width = widths.most_common(1)[0][0] if widths else 0
    sink.put(data, digest, width, partial(offers.whole, width) if offers else tuple)
    rows = []
    if layout is not None:
        rows = [_row(tensor, _digests_of(source, layout, tensor)) for tensor in layout.tensors]
    source.check_unchanged()
    return digest, rows


def _read_parts(
    source: SourceFile, sink: Sink, layout: Layout | None, offers: Offers | None
) -> tuple[Digest, list[bytes]]:
    whole = Hasher()
    gathered = _Gathered()
    pieces = _pieces(stretches(layout, source.size))
    with closing(in_order(pieces, partial(_read_piece, source))) as ahead:
        for run, found in groupby(ahead, key=lambda done: done[0].run):
            read = _hashed(found, whole)
            if run[0].kind in _GATHERED:
                _gather(run, read, gathered)
            else:
                _put_chunks(run[0], read, sink, gathered, offers)
    digest = whole.digest()
    recipe, rows = _finish(source, layout, gathered, sink, offers)
    source.check_unchanged()
    sink.put_recipe(digest, recipe)
    return digest, rows


def _pieces(found: Sequence[Stretch]) -> Iterator[_Piece]:
    """Yield what to read: to hand over each of many small stretches would cost more than it has."""
    run: list[Stretch] = []
    for stretch in found:
        end = stretch.offset + stretch.size
        small = stretch.kind in _GATHERED
        if run and not (small and end - run[0].offset <= CHUNK_SIZE):
            yield _piece_of(run)
            run = []
        if small:
            run.append(stretch)
            continue
        size = chunk_size(stretch.width)
        for offset in range(stretch.offset, end, size):
            yield _Piece((stretch,), offset, min(size, end - offset))
    if run:
        yield _piece_of(run)


def _piece_of(run: list[Stretch]) -> _Piece:
    return _Piece(tuple(run), run[0].offset, sum(stretch.size for stretch in run))


def _read_piece(source: SourceFile, piece: _Piece) -> _Read:
    data = _read(source, piece.offset, piece.size)
    return data, digest_of(data) if piece.run[0].kind is Kind.STORAGE else None


def _hashed(found: Iterable[tuple[_Piece, _Read]], whole: Hasher) -> Iterator[_Read]:
    for _, (data, digest) in found:
        whole.update(data)
        advance(len(data))
        yield data, digest


def _gather(run: Sequence[Stretch], read: Iterator[_Read], gathered: _Gathered) -> None:
    for data, _ in read:
        for stretch in run:
            offset, start = len(gathered.skeleton), stretch.offset - run[0].offset
            found = data[start : start + stretch.size]
            if stretch.kind is Kind.SKELETON:
                gathered.skeleton += found
            else:
                gathered.small[stretch.storage] = found
            gathered.placed.append(_Placed(stretch, len(gathered.chunks), 0, offset))


def _put_chunks(
    stretch: Stretch,
    read: Iterator[_Read],
    sink: Sink,
    gathered: _Gathered,
    offers: Offers | None,
) -> None:
    first = len(gathered.chunks)
    chunks = read if stretch.kind is Kind.STORAGE else _cut(read)
    for number, (chunk, digest) in enumerate(chunks):
        offer = partial(offers.chunk, stretch.storage, number) if offers else tuple
        gathered.chunks.append(_put(sink, chunk, stretch.width, offer, digest))
    count = len(gathered.chunks) - first
    gathered.placed.append(_Placed(stretch, first, count, len(gathered.skeleton)))


def _cut(read: Iterator[_Read]) -> Iterator[_Read]:
    """Cut by content. A chunk is copied, as it is a view of a window that is used again."""
    cutter = Cutter()
    for data, _ in read:
        yield from ((bytes(chunk), None) for chunk in cutter.feed(data))
    yield from ((bytes(chunk), None) for chunk in cutter.finish())


def _finish(
    source: SourceFile,
    layout: Layout | None,
    gathered: _Gathered,
    sink: Sink,
    offers: Offers | None,
) -> tuple[Recipe, list[bytes]]:
    """Put skeleton and small tensors, now that they are whole, and make the recipe."""
    small, offsets = _gather_small(layout, gathered.small)
    heads = {}
    if gathered.skeleton:
        heads[Kind.SKELETON] = _put(sink, bytes(gathered.skeleton), 0)
    if small:
        offer = partial(offers.chunk, next(iter(offsets)), 0) if offers else tuple
        heads[Kind.SMALL] = _put(sink, small, 4, offer)
    ordinals = {kind: ordinal for ordinal, kind in enumerate(heads)}
    refs = (*heads.values(), *gathered.chunks)
    parts: list[Part] = []
    places: dict[int | None, tuple[int, int, int]] = {None: (0, 0, 0)}
    for placed in gathered.placed:
        kind, storage = placed.stretch.kind, placed.stretch.storage
        place = len(heads) + placed.first, placed.count, 0
        if kind in ordinals:
            offset = offsets[storage] if kind is Kind.SMALL else placed.offset
            place = ordinals[kind], 1, offset
        parts.append(Part(*place, placed.stretch.size))
        if storage is not None:
            places[storage] = place
    tensors, rows = [], []
    for tensor in layout.tensors if layout else ():
        assert layout is not None
        if tensor.storage is not None and tensor.storage not in places:
            # So much lies around the tensors that the whole file is cut by content.
            first, count, start = 0, len(refs), layout.storages[tensor.storage].offset
            digests = _digests_of(source, layout, tensor)
        else:
            first, count, start = places[tensor.storage]
            chunks = refs[first : first + count]
            if tensor.storage in offsets:
                digests = [digest_of(small[start + tensor.offset :][: tensor.size])]
            elif tensor.size == sum(ref.size for ref in chunks):
                digests = [ref.digest for ref in chunks]
            else:
                digests = _digests_of(source, layout, tensor)
        where = first, count, start + tensor.offset, tensor.size
        tensors.append(TensorEntry(tensor.name, tensor.dtype, tensor.shape, *where, tensor.stride))
        rows.append(_row(tensor, digests))
    recipe = Recipe(source.size, refs, tuple(parts), tuple(tensors))
    return recipe, rows


def _gather_small(
    layout: Layout | None, found: dict[int | None, bytes]
) -> tuple[bytes, dict[int | None, int]]:
    """Lay small storages end to end, by the name of their first tensor, else as they come."""
    names: dict[int | None, str] = {}
    for tensor in layout.tensors if layout else ():
        names[tensor.storage] = min(tensor.name, names.get(tensor.storage, tensor.name))
    order = sorted(found, key=lambda storage: (storage not in names, names.get(storage, "")))
    offsets: dict[int | None, int] = {}
    data = bytearray()
    for storage in order:
        offsets[storage] = len(data)
        data += found[storage]
    return bytes(data), offsets


def _put(
    sink: Sink, data: bytes, width: int, offer: Offer = tuple, digest: Digest | None = None
) -> ObjectRef:
    digest = digest or digest_of(data)
    sink.put(data, digest, width, offer)
    return ObjectRef(digest, len(data))


def _digests_of(source: SourceFile, layout: Layout, tensor: Tensor) -> list[Digest]:
    """Return the digests of a tensor's bytes, cut from its own start, whatever lies around it."""
    if tensor.storage is None:
        return []
    storage = layout.storages[tensor.storage]
    size, end = chunk_size(storage.width), tensor.offset + tensor.size
    return [
        digest_of(_read(source, storage.offset + at, min(size, end - at)))
        for at in range(tensor.offset, end, size)
    ]


def _row(tensor: Tensor, digests: list[Digest]) -> bytes:
    """Write one line of what ``weights`` is the digest of."""
    row: list[object] = [tensor.name, tensor.dtype, tensor.shape, [str(d) for d in digests]]
    if tensor.stride is not None:
        row.append(tensor.stride)
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass") + b"\n"


def _contents(layout: Layout | None, rows: list[bytes]) -> Contents | None:
    if layout is None:
        return None
    counted = {
        (tensor.storage, tensor.offset, tensor.shape)
        for tensor in layout.tensors
        if tensor.name.rpartition(".")[2] not in _STATISTICS
    }
    return Contents(
        format=layout.format,
        framework=layout.framework,
        tensors=len(layout.tensors),
        parameters=sum(prod(shape) for _, _, shape in counted),
        dtypes=Counter(tensor.dtype for tensor in layout.tensors),
        rows=rows,
        told=bool(layout.tensors) or not layout.storages,
    )


def _read(source: SourceFile, offset: int, size: int) -> bytes:
    data = source.read(offset, size)
    if len(data) != size:
        source.check_unchanged()
        raise Conflict(
            f"'{source.path}' ends at {offset + len(data)} bytes, not {source.size}",
            hint="nothing was stored; run it again when the file is finished",
        )
    return data
