"""numpy's files: ``.npy`` with one array, and ``.npz``, a zip file of such.

The header of an array is text that looks like Python. It is read with a
pattern and not with Python's own parser, which nesting can overflow; what the
pattern does not fit, as structured types and pickled objects, is not told.

Layout, limits and a worked example: ``docs/formats/npy.md``.
Public names: ``matches``, ``describe``, ``matches_npz``, ``describe_npz``, ``type_of``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from operator import mul

from mvc.errors import FormatError
from mvc.formats.dtypes import bits_of, is_row_major, width_of, with_mark
from mvc.formats.layout import Globals, Layout, Source, Storage, Tensor
from mvc.formats.reading import read_exactly
from mvc.formats.zip_directory import locate, read_directory

FRAMEWORK = "numpy"
MAGIC = b"\x93NUMPY"
PREFIX_SIZES = {1: 2, 2: 4, 3: 4}  # of the length of the header, by version
MAX_HEADER = 10_000  # numpy's own limit
MAX_ARRAYS = 1 << 15
ENDING = ".npy"
NAME = "tensor"  # as torch's tensor that was saved by itself

KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}
BYTES_PER_UNIT = {"U": 4}  # text, counted in characters
WIDTHS = (1, 2, 4, 8)
FIELDS = {"descr": 2, "fortran_order": 3, "shape": 4}
"""The fields of a header, with the group of ``_ITEM`` that has the value."""

_NUMBER = r"\s*\d{1,19}L?\s*"  # Python 2 wrote the L
_ITEM = re.compile(
    rf"\s*'(\w+)'\s*:\s*(?:'([^']*)'|(True|False)|\(((?:{_NUMBER},)*(?:{_NUMBER}|\s*))\))\s*,?\s*"
)
_TYPE = re.compile(r"([<>|=])([a-zA-Z])(\d{1,9})((?:\[\w{1,16}\])?)")


@dataclass(frozen=True, slots=True)
class _Array:
    """What a header says, and the bytes of the file that are the elements."""

    dtype: str
    width: int
    shape: tuple[int, ...]
    stride: tuple[int, ...] | None
    offset: int
    size: int


def matches(head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` may be an array."""
    return head.startswith(MAGIC)


def matches_npz(head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` may be a zip file of arrays."""
    return head.startswith(b"PK\3\4")


def describe(source: Source) -> Layout:
    """Return the array of a ``.npy`` file.

    Raises:
        FormatError: the header is too long, of another version or of a type
            without a fixed size; or the array does not end with the file.
    """
    return _layout("npy", {NAME: _array(source, 0, source.size)})


def describe_npz(source: Source) -> Layout:
    """Return the arrays of a ``.npz`` file that are not compressed.

    If one of them is not understood, or compressed, no tensor is told.

    Raises:
        FormatError: the zip file contradicts itself, or no array is told.
    """
    arrays: dict[str, _Array] = {}
    entries = read_directory(source)
    if len(entries) > MAX_ARRAYS:
        raise FormatError(f"a zip file with {len(entries)} entries")
    for name, entry in entries.items():
        if entry.is_plain and name.endswith(ENDING):
            start = locate(source, entry)
            try:
                arrays[name.removesuffix(ENDING)] = _array(source, start, start + entry.size)
            except FormatError:
                continue
    if not arrays:
        raise FormatError("a zip file without arrays")
    layout = _layout("npz", arrays)
    if len(arrays) == len(entries):
        return layout
    return replace(layout, tensors=(), globals=Globals(complete=False))  # objects, or anything


def _layout(format: str, arrays: dict[str, _Array]) -> Layout:
    full = [array for array in arrays.values() if array.size]
    full.sort(key=lambda array: array.offset)
    position = {array.offset: index for index, array in enumerate(full)}
    storages = tuple(Storage(array.offset, array.size, array.width) for array in full)
    tensors = tuple(
        Tensor(name, array.dtype, array.shape, position[array.offset], 0, array.size, array.stride)
        if array.size
        else Tensor(name, array.dtype, array.shape, None, 0, 0)
        for name, array in arrays.items()
    )
    return Layout(format, FRAMEWORK, storages, tensors)


def _array(source: Source, start: int, end: int) -> _Array:
    """Read the header at ``start`` of an array that must end at ``end``."""
    prefix = read_exactly(source, start, min(end - start, len(MAGIC) + 6), limit=len(MAGIC) + 6)
    version = prefix[len(MAGIC)] if len(prefix) > len(MAGIC) else 0
    if not prefix.startswith(MAGIC) or version not in PREFIX_SIZES:
        raise FormatError("no array, or one of another version")
    at = len(MAGIC) + 2
    length = int.from_bytes(prefix[at : at + PREFIX_SIZES[version]], "little")
    at += PREFIX_SIZES[version] + start
    fields = _fields(read_exactly(source, at, length, limit=MAX_HEADER).decode("latin-1"))
    descr, order, lengths = fields["descr"], fields["fortran_order"], fields["shape"]
    dtype, width, item_size = type_of(descr)
    shape = tuple(int(number) for number in re.findall(r"\d+", lengths))
    stride = (1, *accumulate(shape[:-1], mul)) if order == "True" and shape else None
    if stride is not None and (0 in shape or is_row_major(shape, stride)):
        stride = None
    size = prod(shape) * item_size
    if at + length + size != end:
        raise FormatError(f"an array of {size} bytes where {end - at - length} are")
    return _Array(dtype, width, shape, stride, at + length, size)


def _fields(header: str) -> dict[str, str]:
    """Return the three fields of a header as text."""
    text = header.strip()
    fields: dict[str, str] = {}
    at = 1
    while item := _ITEM.match(text, at):
        name = item[1]
        if name not in FIELDS or name in fields or item[FIELDS[name]] is None:
            raise FormatError(f"a header with {name[:80]!r} twice, or of another kind")
        fields[name] = item[FIELDS[name]]
        at = item.end()
    if not text.startswith("{") or text[at:] != "}" or fields.keys() != FIELDS.keys():
        raise FormatError("a header that is not the text of a dict, or of a structured type")
    return fields


def type_of(descr: str) -> tuple[str, int, int]:
    """Return the word for a type, the width of its storages, and the bytes of an element."""
    found = _TYPE.fullmatch(descr)
    if found is None:
        raise FormatError(f"an array of type {descr[:80]!r}")
    order, kind, count, unit = found.groups()
    size = int(count) * BYTES_PER_UNIT.get(kind, 1)
    if kind == "O":
        raise FormatError("an array of pickled objects")
    if not size:
        raise FormatError("an array whose elements have no bytes")
    word = "bool" if descr == "|b1" else f"{KINDS.get(kind, '')}{size * 8}"
    if bits_of(word) != size * 8:  # no number of ours: told by numpy's own word
        width = size if kind == "V" and size in WIDTHS else 0  # V2 may be bfloat16
        word = f"{kind}{count}{unit}"
    else:
        width = width_of(word)
    return with_mark(word, "big") if order == ">" and size > 1 else word, width, size
