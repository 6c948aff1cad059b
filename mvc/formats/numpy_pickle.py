"""Pickles that hold numpy arrays, and the dumps of joblib, which hold them in between.

The elements of an array are bytes in the pickle; in a joblib dump they lie
behind the opcode that builds a wrapper of the array, outside the pickle. The
walk reads the file in windows and passes over what is long, so that a file may
be much larger than memory. Nothing is imported and nothing is called.

Layout, limits and a worked example: ``docs/formats/pickle.md``.
Public names: ``matches``, ``describe``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from math import prod
from operator import mul

from mvc.errors import FormatError
from mvc.formats.dtypes import MAX_DIMENSIONS, width_of
from mvc.formats.inert_pickle import MAX_OPCODES
from mvc.formats.layout import Globals, Layout, Source
from mvc.formats.npy import type_of
from mvc.formats.pickle_machine import MAX_TEXT, NO_FRAME, Machine
from mvc.formats.pickle_nodes import Call, Pairs, Ref
from mvc.formats.pickle_opcodes import OPCODES, STOP
from mvc.formats.reading import read_exactly
from mvc.formats.safety import globals_of
from mvc.formats.storages import Range, arrange
from mvc.formats.torch_pickle import ROOT, Found, Search, StorageType

FRAMEWORK = "numpy"
WINDOW = 64 << 10
MARGIN = MAX_TEXT + 64  # an opcode and all of its argument that is kept
MAX_ARRAYS = 1 << 15
LARGEST_SCALAR = 32  # bytes
SMALLEST_ALONE = 64 << 10  # bytes; without a table many small arrays are better kept together

MODULES = ("numpy.core", "numpy._core")  # renamed in numpy 2
FROM_BUFFER = frozenset(f"{module}.numeric._frombuffer" for module in MODULES)
RECONSTRUCT = frozenset(f"{module}.multiarray._reconstruct" for module in MODULES)
WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"


def matches(head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` may be a pickle of protocol 2 to 5."""
    return head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5")


def describe(source: Source) -> Layout:
    """Return the numpy arrays of a pickle, or of a joblib dump.

    Raises:
        FormatError: it is not one pickle to the end of the file, or no array
            in it is told.
    """
    walk = _Walk(source)
    try:
        root = walk.run()
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise FormatError(f"no pickle at byte {walk.base + walk.at}: {error!r}") from None
    found = globals_of(source)
    if found is None or not walk.arrays:
        raise FormatError("no array in a pickle")
    arrays = [array for _, array in walk.arrays.values()]
    try:
        tensors = _named(walk, root)
    except FormatError:
        tensors = []
        arrays = [array for array in arrays if array.range.size >= SMALLEST_ALONE]
    ranges = {array.type.key: array.range for array in arrays}  # the same bytes only once
    types = {array.type.key: array.type for array in arrays}
    storages, table = arrange(ranges, types, tensors)
    if not storages and not table:
        raise FormatError("only small arrays, and not all understood")
    # Never a milder word on the file than if its arrays were not known.
    named = Globals(found.names.union(walk.globals), found.complete)
    return Layout("joblib" if walk.has_wrappers else "pickle", FRAMEWORK, storages, table, named)


@dataclass(frozen=True, slots=True)
class _Span:
    """Bytes of the pickle, by where they are in the file."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class _Array:
    """An array by what is said of it, and where its elements are."""

    type: StorageType
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    range: Range


class _Walk(Machine):
    """A walk over a file of which only a window is in memory: ``data``, from ``base`` on.

    ``at`` and ``frame_end`` are counted from ``base``.
    """

    __slots__ = ("arrays", "base", "has_wrappers", "is_understood", "source", "unclaimed")

    def __init__(self, source: Source) -> None:
        super().__init__(b"", 0)
        self.source = source
        self.base = 0
        self.arrays: dict[int, tuple[Call, _Array]] = {}  # the call is kept: its id is the key
        self.has_wrappers = False
        self.is_understood = True
        self.unclaimed: set[int] = set()  # where bytes are that no array has yet

    def run(self) -> object:
        """Walk the only pickle of the file and return what it describes."""
        for _ in range(MAX_OPCODES):
            self.slide()
            code = self.data[self.at]
            self.at += 1
            if code == STOP:
                if self.frame_end != NO_FRAME:
                    self.leave_frame()
                if self.base + self.at != self.source.size:
                    raise FormatError("a pickle that does not end with the file")
                return self.stack.pop()
            _OPCODES[code](self)
            if self.at >= self.frame_end:
                self.leave_frame()
            if code in _BUILDS:
                _note(self, self.stack[-1])
        raise FormatError(f"a pickle of more than {MAX_OPCODES} opcodes")

    def slide(self) -> None:
        """Have the next opcode in memory, whole, as far as the file goes."""
        if self.at + MARGIN > len(self.data) and self.base + len(self.data) < self.source.size:
            self.base += self.at
            if self.frame_end != NO_FRAME:
                self.frame_end -= self.at
            self.at = 0
            left = self.source.size - self.base
            self.data = read_exactly(self.source, self.base, min(WINDOW, left), limit=WINDOW)

    def skip(self, size: int) -> int:
        start = self.at
        self.at += size
        if self.base + self.at > self.source.size:
            raise IndexError("a pickle ends early")
        return start

    def text(self, size: int, encoding: str = "utf-8") -> object:
        self.is_understood &= size <= MAX_TEXT  # or it may be a model, as text
        return super().text(size, encoding)

    def line(self, encoding: str = "utf-8") -> object:
        if self.data.find(b"\n", self.at, self.at + MAX_TEXT) < 0:
            raise FormatError("a line that is too long to be read, or has no end")
        return super().line(encoding)


def _bytes(machine: Machine, prefix: int) -> None:
    assert isinstance(machine, _Walk)
    size = machine.number(prefix)
    span = _Span(machine.base + machine.skip(size), size)
    machine.stack.append(span)
    if size > LARGEST_SCALAR:
        machine.unclaimed.add(span.offset)


_OPCODES = OPCODES | {
    code: partial(_bytes, prefix=prefix)
    for code, prefix in ((ord("B"), 4), (ord("C"), 1), (0x8E, 8), (0x96, 8))
}
_BUILDS = b"Rbio"  # the opcodes behind which an array may be whole


def _note(walk: _Walk, node: object) -> None:
    """Note the array that ``node`` is, once nothing of it is to come any more."""
    if type(node) is not Call or type(node.function) is not Ref or id(node) in walk.arrays:
        return
    if node.function == WRAPPER and node.state is not None:
        array = _behind_wrapper(walk, node.state)
    elif node.function in FROM_BUFFER:
        array = _from_buffer(node.args)
    elif node.function in RECONSTRUCT and node.state is not None:
        array = _reconstructed(node.state)
    else:
        return
    if array is None:
        walk.is_understood = False
        return
    walk.unclaimed.discard(array.range.offset)
    if len(walk.arrays) >= MAX_ARRAYS:
        raise FormatError(f"a pickle with more than {MAX_ARRAYS} arrays")
    walk.arrays[id(node)] = node, array


def _from_buffer(args: tuple[object, ...]) -> _Array | None:
    """Return the array of protocol 5: bytes, type, shape and order."""
    span, dtype, shape, order = args if len(args) == 4 else (None, None, None, None)
    return _array(span, _type(dtype), shape, order)


def _reconstructed(state: object) -> _Array | None:
    """Return the array of protocols before 5: version, shape, type, Fortran's order, bytes."""
    if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[3], bool):
        return None
    _, shape, dtype, is_fortran, span = state
    return _array(span, _type(dtype), shape, "F" if is_fortran else "C")


def _behind_wrapper(walk: _Walk, state: object) -> _Array | None:
    """Return the array of a joblib dump, and go on behind it.

    Where the pickle goes on follows from the type and the shape, so that an
    array of which these are not known, or one of objects, ends the walk.
    """
    members = _members(state)
    walk.has_wrappers = True
    size = _byte_size(members.get("dtype"), members.get("shape"))
    if size is None or walk.frame_end != NO_FRAME:
        raise FormatError("an array of joblib whose size is not known")
    if members.get("numpy_array_alignment_bytes") is not None:
        walk.slide()
        walk.skip(1 + walk.data[walk.at])
    start = walk.base + walk.skip(size)
    kind = _type(members["dtype"])
    return _array(_Span(start, size), kind, members["shape"], members.get("order"))


def _members(state: object) -> dict[str, object]:
    pairs = state if isinstance(state, Pairs) else ()
    found = zip(pairs[::2], pairs[1::2], strict=True)
    return {key: value for key, value in found if isinstance(key, str)}


def _descr(node: object) -> tuple[str, bool] | None:
    """Return the text of a type, ``<f4``, and whether it says all."""
    if type(node) is not Call or node.function != "numpy.dtype" or not node.args:
        return None
    name, state = node.args[0], node.state
    if not isinstance(name, str) or not isinstance(state, tuple) or len(state) < 8:
        return None
    is_plain = len(state) == 8 and all(part is None for part in state[2:5])
    holds_objects = not isinstance(state[7], int) or state[7] & 1
    return None if holds_objects else (f"{state[1]}{name}", is_plain)


def _type(node: object) -> tuple[str, int] | None:
    """Return the word for a type and the bytes of an element; not of structures, or of dates."""
    found = _descr(node)
    if found is None or not found[1]:
        return None
    try:
        word, _, size = type_of(found[0])
    except FormatError:
        return None
    return word, size


def _shape(node: object) -> tuple[int, ...] | None:
    if not isinstance(node, tuple) or len(node) > MAX_DIMENSIONS:
        return None
    lengths = [length for length in node if type(length) is int and 0 <= length < 1 << 63]
    return tuple(lengths) if len(lengths) == len(node) else None


def _byte_size(dtype: object, shape: object) -> int | None:
    descr, lengths = _descr(dtype), _shape(shape)
    return None if descr is None or lengths is None else prod(lengths) * type_of(descr[0])[2]


def _array(
    span: object, type_: tuple[str, int] | None, shape: object, order: object
) -> _Array | None:
    lengths = _shape(shape)
    if not isinstance(span, _Span) or type_ is None or lengths is None or order not in ("C", "F"):
        return None
    word, size = type_
    if prod(lengths) * size != span.size:
        return None
    before = lengths if order == "F" else lengths[::-1]
    stride = tuple(accumulate((1, *before[:-1]), mul)) if lengths else ()
    count = span.size // (width_of(word) or 1)
    return _Array(
        StorageType(str(span.offset), word, count),
        lengths,
        stride if order == "F" else stride[::-1],
        Range(span.offset, span.size),
    )


class _Arrays(Search):
    """The search for arrays by name, by the rules of torch's."""

    def __init__(self, walk: _Walk) -> None:
        super().__init__()
        self.arrays = walk.arrays
        self.seen: set[int] = set()

    def take(self, name: str, node: object) -> bool:
        if id(node) not in self.arrays:
            return False
        self.seen.add(id(node))
        _, array = self.arrays[id(node)]
        kind = array.type
        self.found.append(
            Found(name or ROOT, kind, kind.dtype or "uint8", array.shape, array.stride, 0)
        )
        return True


def _named(walk: _Walk, root: object) -> list[Found]:
    """Return every array under its names.

    Raises:
        FormatError: some array is not understood, or is nowhere; or there are
            bytes, text or persistent ids that may be weights as well.
    """
    if not walk.is_understood or walk.unclaimed or walk.persistent:
        raise FormatError("a pickle with more than arrays that are understood")
    search = _Arrays(walk)
    found = search.run(root)
    if search.seen != walk.arrays.keys():
        raise FormatError("arrays that are not all understood")
    return found
