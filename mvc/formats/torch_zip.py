"""Zip files of torch: ``torch.save``, TorchScript and ``torch.package``.

Finds the records that hold storages through the zip directory, and their
types and tensors through the pickle beside them, which is only looked at,
never run. If the pickle is not understood, the storages are still told, as
bytes of unknown type. Every other pickle in the file is looked through for
the names in it.

Layout, limits and a worked example: ``docs/formats/torch-zip.md``.
Public names: ``matches``, ``describe``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mvc.errors import FormatError
from mvc.formats.dtypes import bits_of, with_mark
from mvc.formats.inert_pickle import BrokenPickle, Walked, names_in, walk
from mvc.formats.layout import Globals, Layout, Source
from mvc.formats.reading import read_exactly
from mvc.formats.storages import Range, arrange_what_fits
from mvc.formats.torch_pickle import Found, StorageType, find_tensors, storage_types
from mvc.formats.zip_directory import Entry, locate, read_directory

MAX_PICKLES = 16  # only packages have more than one
MAX_PICKLE = 64 << 20  # all pickles of a file together; 5,000 tensors take 1 MB
MAX_BYTE_ORDER = 16
# What torch writes beside pickles and storages.
NOTES = ("byteorder", "version", ".format_version", ".storage_alignment", ".data/serialization_id")
SCRIPT_CODE, PACKAGE_CODE = "TorchScript code", "torch.package code"

FRAMEWORK = "pytorch"


@dataclass(frozen=True, slots=True)
class _Archive:
    """Which entries of a zip are what: storages by key, pickles by the prefix of their names.

    ``code`` says what code the archive has beside its pickles; ``others`` are
    the entries that torch does not write.
    """

    format: str
    storages: dict[str, Entry]
    pickles: dict[str, Entry]
    byte_order: Entry | None
    code: str | None = None
    others: tuple[Entry, ...] = ()


def matches(head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` may be a zip file."""
    return head.startswith(b"PK\3\4")


def describe(source: Source) -> Layout:
    """Return the storages and tensors of a torch zip file.

    Raises:
        FormatError: it is no zip file of torch, or its directory and headers
            contradict each other.
    """
    entries = read_directory(source)
    archive = _sort_out(entries)
    ranges = {
        key: Range(locate(source, entry), entry.size)
        for key, entry in archive.storages.items()
        if entry.is_plain
    }
    walked, found = _walked(source, archive)
    if not _are_told_apart(entries):
        found = replace(found, complete=False)
    types, tensors = _described(source, archive, walked)
    return Layout(archive.format, FRAMEWORK, *arrange_what_fits(ranges, types, tensors), found)


def _sort_out(entries: Mapping[str, Entry]) -> _Archive:
    """Recognise the kinds of archives that torch writes, by the names in them."""
    folder = next(iter(entries), "").partition("/")[0] + "/"
    byte_order = entries.get(folder + "byteorder")
    if folder + "data.pkl" in entries:
        is_script = folder + "constants.pkl" in entries
        storages = _below(entries, folder + "data/", "")
        if is_script:
            constants = _below(entries, folder + "constants/", "")
            storages |= {f"/constants/{key}": entry for key, entry in constants.items()}
        pickles = {"": entries[folder + "data.pkl"]}
        if is_script:
            return _Archive("torch-script", storages, pickles, byte_order, SCRIPT_CODE)
        known = {folder + "data.pkl", *(folder + note for note in NOTES)}
        known |= {entry.name for entry in storages.values()}
        others = tuple(entry for name, entry in entries.items() if name not in known)
        return _Archive("torch-zip", storages, pickles, byte_order, None, others)
    if folder + ".data/extern_modules" in entries:
        storages = _below(entries, folder + ".data/", ".storage")
        pickles = _below(entries, folder, ".pkl")
        if len(pickles) == 1:
            pickles = dict(zip([""], pickles.values(), strict=True))
        return _Archive("torch-package", storages, pickles, byte_order, PACKAGE_CODE)
    raise FormatError("a zip file, but none of torch")


def _below(entries: Mapping[str, Entry], folder: str, ending: str) -> dict[str, Entry]:
    """Return the entries in ``folder`` with ``ending``, by what is between the two."""
    return {
        name[len(folder) : len(name) - len(ending)]: entry
        for name, entry in entries.items()
        if name.startswith(folder) and name.endswith(ending)
    }


def _walked(source: Source, archive: _Archive) -> tuple[dict[str, Walked] | None, Globals]:
    """Walk the pickles; ``None`` where one of them is not understood. Return all they name."""
    entries = archive.pickles
    names = set[str]() if archive.code is None else {archive.code}
    if len(entries) > MAX_PICKLES or sum(entry.size for entry in entries.values()) > MAX_PICKLE:
        return None, Globals(frozenset(names), complete=False)
    walked: dict[str, Walked] = {}
    complete = True
    for prefix, entry in entries.items():
        try:
            data = _contents(source, entry, MAX_PICKLE)
            pickle = walked[prefix] = walk(data)
            names |= pickle.globals
            complete &= pickle.end == len(data)
        except BrokenPickle as broken:
            names |= broken.globals
        except FormatError:
            complete = False
    for found in _in_others(source, archive.others):
        names |= found.names
        complete &= found.complete
    is_whole = len(walked) == len(entries)
    return walked if is_whole else None, Globals(frozenset(names), complete and is_whole)


def _in_others(source: Source, entries: Sequence[Entry]) -> Iterator[Globals]:
    """Look through what torch does not write: it may be told to load it."""
    room = MAX_PICKLE
    for entry in entries[:MAX_PICKLES]:
        try:
            found = names_in(_contents(source, entry, room))
        except FormatError:
            found = Globals(complete=False)
        if found is not None:
            yield found
        room -= min(room, entry.size)
    if len(entries) > MAX_PICKLES:
        yield Globals(complete=False)


def _are_told_apart(entries: Mapping[str, Entry]) -> bool:
    """Tell whether every reader of zip files takes the same entry for a name."""
    return len({name.lower() for name in entries}) == len(entries) and not any(
        mark in name for name in entries for mark in "\\\0"
    )


def _described(
    source: Source, archive: _Archive, walked: Mapping[str, Walked] | None
) -> tuple[dict[str, StorageType], Sequence[Found]]:
    """Return what the pickles say: of the storages, and of the tensors if all is clear."""
    if walked is None:
        return {}, ()
    tensors: list[Found] = []
    is_clear = True
    try:
        for prefix, pickle in walked.items():
            try:
                tensors.extend(_prefixed(find_tensors(pickle.root), prefix))
            except FormatError:
                is_clear = False
        types = storage_types(node for pickle in walked.values() for node in pickle.persistent)
        if _is_big_endian(source, archive):
            tensors = [_big_endian(tensor) for tensor in tensors]
    except FormatError:
        return {}, ()
    return types, tensors if is_clear else ()


def _contents(source: Source, entry: Entry, limit: int) -> bytes:
    if not entry.is_plain:
        raise FormatError(f"{entry.name[:80]!r} is not stored plainly")
    return read_exactly(source, locate(source, entry), entry.size, limit=limit)


def _prefixed(tensors: list[Found], prefix: str) -> list[Found]:
    if not prefix:
        return tensors
    folder = prefix.replace("/", ".")
    return [replace(tensor, name=f"{folder}.{tensor.name}") for tensor in tensors]


def _is_big_endian(source: Source, archive: _Archive) -> bool:
    if archive.byte_order is None:  # torch before 2.1 wrote none, and knew only little
        return False
    return _contents(source, archive.byte_order, MAX_BYTE_ORDER) == b"big"


def _big_endian(tensor: Found) -> Found:
    if bits_of(tensor.dtype) == 8:
        return tensor
    return replace(tensor, dtype=with_mark(tensor.dtype, "big"))
