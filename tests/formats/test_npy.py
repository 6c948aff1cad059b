"""What mvc reads of numpy's files, and what it refuses."""

from __future__ import annotations

import io
import struct
import warnings
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvc.errors import FormatError
from mvc.formats import describe, npy
from mvc.formats.npy import MAX_HEADER
from tests.formats.sources import Bytes, Record, bytes_of, is_sound, layout_of, named, zip_of

np = pytest.importorskip("numpy")

WORDS = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64"
    " complex64 complex128"
)


def saved(array: Any, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on versions that old numpy cannot read
        np.lib.format.write_array(file, np.asarray(array), version)
    return file.getvalue()


def zipped(arrays: dict[str, Any], *, compressed: bool = False) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def assert_told(data: bytes, arrays: dict[str, Any], *, format: str) -> None:
    layout = layout_of(data)
    assert is_sound(layout, len(data))
    assert (layout.format, layout.framework) == (format, "numpy")
    assert list(named(layout)) == list(arrays)
    for name, tensor in named(layout).items():
        array = arrays[name]
        assert (tensor.dtype, tensor.shape) == (array.dtype.name, array.shape), name
        order = "C" if tensor.stride is None else "F"
        assert bytes_of(data, layout, tensor) == array.tobytes(order), name
        if tensor.storage is not None:
            assert layout.storages[tensor.storage].width == array.dtype.itemsize
        if tensor.stride is not None:
            assert tensor.stride == tuple(step // array.itemsize for step in array.strides)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("word", WORDS.split())
def test_arrays_of_numpy_are_told(word: str, version: tuple[int, int]) -> None:
    """Type, shape and bytes are those that numpy was given, in every version of the header."""
    array = np.arange(6).reshape(2, 3).astype(word)
    assert_told(saved(array, version), {"tensor": array}, format="npy")


def test_zip_files_of_numpy_are_told() -> None:
    """Every array is told under its name, also those without elements or dimensions."""
    arrays = {word: np.arange(6).reshape(2, 3).astype(word) for word in WORDS.split()}
    arrays |= {"größe/0": np.zeros((0, 3)), "one": np.array(2.5), "f": np.ones((2, 3), order="F")}
    assert_told(zipped(arrays), arrays, format="npz")


def test_columns_first_is_told_with_strides() -> None:
    """An array in Fortran's order keeps its bytes and has strides, unless it needs none."""
    array = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))
    (tensor,) = layout_of(saved(array)).tensors
    assert (tensor.shape, tensor.stride) == ((2, 3, 4), (1, 2, 6))
    for flat in (
        np.ones((1, 5), order="F"),
        np.ones((3, 1), order="F"),
        np.zeros((0, 2, 2), order="F"),
    ):
        assert layout_of(saved(flat)).tensors[0].stride is None


def test_big_endian_arrays_say_so() -> None:
    """A big-endian array has the width of its type, and a type that does not pass for plain."""
    layout = layout_of(saved(np.arange(3, dtype=">f4")))
    assert (layout.tensors[0].dtype, layout.storages[0].width) == ("float32.big", 4)
    assert layout_of(saved(np.arange(3, dtype=">i1"))).tensors[0].dtype == "int8"


@pytest.mark.parametrize(
    ("dtype", "word", "width"),
    [
        ("S5", "S5", 0),
        ("<U3", "U3", 0),
        (">U3", "U3.big", 0),
        ("<M8[ns]", "M8[ns]", 0),
        ("<m8[25us]", None, 0),
        ("V2", "V2", 2),
        ("V3", "V3", 0),
        ("<f16", "f16", 0),
    ],
)
def test_types_without_a_number_keep_their_own_word(
    dtype: str, word: str | None, width: int
) -> None:
    """Text, dates and the like are told by numpy's word; two raw bytes may be bfloat16."""
    layout = layout_of(saved(np.zeros(4, dtype)))
    (tensor,) = layout.tensors
    assert word is None or tensor.dtype == word
    assert (tensor.size, layout.storages[0].width) == (4 * np.dtype(dtype).itemsize, width)


def test_pickled_and_structured_arrays_are_opaque() -> None:
    """Arrays of objects, whose bytes are a pickle, and of structures are not told."""
    assert describe(Bytes(saved(np.array([None, {}], object)))) is None
    assert describe(Bytes(saved(np.zeros(2, [("a", "f4"), ("b", "i8")])))) is None


def test_one_array_that_is_not_understood_leaves_no_table() -> None:
    """Where one array of a zip file is compressed or pickled, the others are storages only."""
    arrays = {"w": np.ones(4, np.float32), "o": np.array([None], object)}
    layout = layout_of(zipped(arrays))
    assert layout.tensors == ()
    assert [(storage.size, storage.width) for storage in layout.storages] == [(16, 4)]
    mixed = zip_of([Record("w.npy", saved(np.ones(2))), Record("c.npy", b"?", method=8)])
    assert [storage.size for storage in layout_of(mixed).storages] == [16]
    assert describe(Bytes(zipped(arrays, compressed=True))) is None


def written(
    header: str, body: bytes = bytes(8), *, version: int = 1, length: int | None = None
) -> bytes:
    """Write a file by hand; ``header`` may be wrong in any way."""
    raw = header.encode("latin-1")
    size = struct.pack("<H" if version == 1 else "<I", len(raw) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + raw + body


def header(descr: str = "'<f4'", order: str = "False", shape: str = "(2,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


def test_headers_of_other_writers_are_read() -> None:
    """Order, blanks and a missing comma do not matter, nor do the long numbers of Python 2."""
    for text in (
        header(),
        header(shape="( 2 , )") + "    \n",
        header(shape="(2L, 1L)"),
        "{'shape':(2,),'descr':'<f4','fortran_order':True}",
    ):
        assert layout_of(written(text)).tensors[0].size == 8, text


BAD = {
    "version 0": written(header(), version=0),
    "version 4": written(header(), version=4),
    "one byte too few": written(header())[:-1],
    "one byte too many": written(header()) + b"\0",
    "a header longer than the file": written(header(), length=2000),
    "a header longer than numpy reads": written(header() + " " * MAX_HEADER),
    "a header of gigabytes": written(header(), version=2, length=2**32 - 1),
    "a header cut short": written(header(), length=30),
    "nothing after the magic": b"\x93NUMPY",
    "no dict": written("[]"),
    "text after the dict": written(header() + "()"),
    "a field twice": written(header().replace("{", "{'shape': (2,), ")),
    "a field too many": written(header().replace("{", "{'more': (2,), ")),
    "a field too few": written("{'descr': '<f4', 'shape': (2,)}"),
    "a shape that is text": written(header(shape="'2'")),
    "a type that is a truth value": written(header(descr="True")),
    "an order that is a shape": written(header(order="(1,)")),
    "a call": written(header(shape="tuple([2])")),
    "numbers without a comma": written(header(shape="(1 2)")),
    "a negative length": written(header(shape="(-2,)")),
    "a huge length": written(header(shape="(0, 9999999999999999999)"), b""),
    "a length of thousands of digits": written(header(shape=f"({'9' * 5000},)")),
    "65 dimensions": written(header(shape="(1, " * 1 + "1, " * 63 + "2)")),
    "elements without bytes": written(header(descr="'|V0'"), b""),
    "elements of gigabytes": written(header(descr="'|V999999999'")),
    "an object": written(header(descr="'|O'")),
    "a structure": written(header(descr="[('a', '<f4')]")),
    "nesting": written(header(shape="(" * 4000 + ")" * 4000)),
    "a tower of signs": written(header(shape="-" * 9000 + "1")),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_refused(what: str) -> None:
    """A file that breaks one rule of the format is opaque; without the break it is not."""
    assert describe(Bytes(written(header()))) is not None
    assert describe(Bytes(BAD[what])) is None
    with suppress(FormatError):  # and nothing else
        npy.describe(Bytes(BAD[what]))


def test_zip_files_that_lie_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays that overlap, and more of them than are read, make a zip file opaque."""
    array = saved(np.ones(2))
    good = zip_of([Record("a.npy", array), Record("b.npy", array)])
    assert len(layout_of(good).tensors) == 2
    inner = zip_of([Record("b.npy", saved(np.ones(1)))])
    inner = inner[: inner.index(b"PK\1\2")]
    outer = written(header(descr="'|V1'", shape=f"({len(inner)},)"), inner)
    twice = zip_of(
        [
            Record("a.npy", outer),
            Record("b.npy", saved(np.ones(1)), offset=len("a.npy") + 30 + len(outer) - len(inner)),
        ]
    )
    assert describe(Bytes(twice)) is None
    monkeypatch.setattr("mvc.formats.npy.MAX_ARRAYS", 1)
    assert describe(Bytes(good)) is None


def test_what_is_within_is_not_mistaken() -> None:
    """A zip file in an array in a zip file is one array."""
    inner = np.frombuffer(zipped({"w": np.ones(3)}), np.uint8)
    assert list(named(layout_of(zipped({"zip": inner})))) == ["zip"]


shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
kinds = st.tuples(shapes, st.sampled_from(WORDS.split()), st.sampled_from("CF"))
names = st.text(st.characters(codec="utf-8", exclude_characters="\0/\\:"), max_size=8)


@given(st.dictionaries(names, kinds, min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_any_arrays_are_told(given: dict[str, tuple[tuple[int, ...], str, str]]) -> None:
    """Whatever names, shapes, types and orders numpy is given, the table has them all."""
    arrays = {
        f"n{name}": np.asarray(np.arange(np.prod(shape)).reshape(shape).astype(word), order=order)
        for name, (shape, word, order) in given.items()
    }
    file = io.BytesIO()
    np.savez(file, **arrays)
    assert_told(file.getvalue(), arrays, format="npz")
    for array in arrays.values():
        assert_told(saved(array), {"tensor": array}, format="npy")
