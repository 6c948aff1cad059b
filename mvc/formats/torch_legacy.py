"""Files of ``torch.save`` before 1.6, and since then where one asks for it.

Five pickles, one behind the other, then the storages in the order that the
fifth pickle names. The pickles are only looked at, never run. Where a storage
lies follows from the sizes of all before it, so a file whose pickle is not
understood is opaque; only its tensors may be unknown.

Layout, limits and a worked example: ``docs/formats/torch-legacy.md``.
Public names: ``matches``, ``describe``.
"""

from __future__ import annotations

from collections.abc import Sequence

from mvc.errors import FormatError
from mvc.formats.dtypes import width_of
from mvc.formats.inert_pickle import walk
from mvc.formats.layout import Globals, Layout, Source
from mvc.formats.reading import read_exactly
from mvc.formats.storages import Range, arrange_what_fits
from mvc.formats.torch_pickle import Found, StorageType, find_tensors, storage_types

FORMAT = "torch-legacy"
FRAMEWORK = "pytorch"
MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
MAX_PREAMBLE = 4096  # magic, protocol and the sizes of types take 120 bytes
MAX_PICKLES = 64 << 20  # all five together; how long they are is not said
COUNT_SIZE = 8

_BINARY_MAGIC = b"\x8a\x0a" + MAGIC.to_bytes(10, "little")
_TEXT_MAGIC = b"L%dL" % MAGIC


def matches(head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` begins with the magic number's pickle."""
    return _BINARY_MAGIC in head or head.startswith(_TEXT_MAGIC)


def describe(source: Source) -> Layout:
    """Return the storages and tensors of a legacy torch file.

    Raises:
        FormatError: its pickles are not understood, or its storages are not
            as the pickle says, or do not end with the file.
    """
    data = read_exactly(source, 0, min(source.size, MAX_PICKLES), limit=MAX_PICKLES)
    before, end = _preamble(data[:MAX_PREAMBLE])
    saved = walk(data, end)
    named = walk(data, saved.end)
    types = storage_types(saved.persistent)
    ranges = _ranges(source, named.end, _keys(named.root), types)
    arranged = arrange_what_fits(ranges, types, _tensors(saved.root))
    return Layout(FORMAT, FRAMEWORK, *arranged, Globals(before | saved.globals | named.globals))


def _preamble(data: bytes) -> tuple[frozenset[str], int]:
    """Return what the first three, small pickles name, and where that of the object begins."""
    magic = walk(data)
    protocol = walk(data, magic.end)
    if magic.root != MAGIC or protocol.root != PROTOCOL:
        raise FormatError("pickles, but not those of torch")
    # Whether the machine was little-endian is not looked at: the storages always are.
    machine = walk(data, protocol.end)
    return magic.globals | protocol.globals | machine.globals, machine.end


def _keys(root: object) -> Sequence[str]:
    """Return the keys of the storages, in the order in which they lie."""
    if not isinstance(root, list) or not all(isinstance(key, (str, int)) for key in root):
        raise FormatError("keys of storages that are none")
    keys = [str(key) for key in root]
    if len(set(keys)) != len(keys):
        raise FormatError("a storage that is there twice")
    return keys


def _ranges(
    source: Source, at: int, keys: Sequence[str], types: dict[str, StorageType]
) -> dict[str, Range]:
    """Return where each storage lies: behind its own count of elements."""
    ranges: dict[str, Range] = {}
    for key in keys:
        if key not in types:
            raise FormatError(f"storage {key[:80]!r} is not in the pickle")
        width = width_of(types[key].dtype) or 1
        raw = read_exactly(source, at, COUNT_SIZE, limit=COUNT_SIZE)
        size = int.from_bytes(raw, "little") * width
        at += COUNT_SIZE
        if size > source.size - at:
            raise FormatError(f"storage {key[:80]!r} of {size} bytes runs out of the file")
        ranges[key] = Range(at, size)
        at += size
    if at != source.size:
        raise FormatError(f"storages end at {at}, the file at {source.size}")
    return ranges


def _tensors(root: object) -> Sequence[Found]:
    try:
        return find_tensors(root)
    except FormatError:
        return ()
