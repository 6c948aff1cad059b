"""What mvc reads of ONNX files, and what it refuses.

The library is heavy, so the one real file here is the example on the page of
the format: torch 2.13 and onnx 1.23 wrote it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvc.errors import FormatError
from mvc.formats import describe, onnx
from mvc.formats.dtypes import width_of
from tests.formats.pages import example
from tests.formats.sources import Bytes, bytes_of, is_sound, layout_of, named

REAL = example("onnx.md")


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def field(number: int, content: int | bytes) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name: str, kind: int, shape: Iterable[int], data: bytes, *, number: int = 9) -> bytes:
    dims = b"".join(field(1, length) for length in shape)
    return dims + field(2, kind) + field(8, name.encode()) + field(number, data)


def model(*initializers: bytes, rest: bytes = b"", after: bytes = b"") -> bytes:
    weights = b"".join(field(5, one) for one in initializers)
    graph = field(1, b"\x0a\x01x") + field(2, b"g") + weights + rest
    return field(1, 9) + field(2, b"tests") + field(7, graph) + after


def test_a_file_of_the_library_is_told() -> None:
    """Names, shapes and bytes of a file that torch exported are those of its layers."""
    layout = layout_of(REAL)
    assert (layout.format, layout.framework) == ("onnx", "onnx")
    assert {t.name: bytes_of(REAL, layout, t) for t in layout.tensors} == {
        "0.weight": struct.pack("<6f", *range(6)),
        "0.bias": struct.pack("<2f", 1, -2),
        "1.weight": struct.pack("<2f", 0.5, 0.25),
    }


@pytest.mark.parametrize("kind", [*onnx.TYPES, 22, 99])
def test_every_type_has_its_word_and_width(kind: int) -> None:
    """Types of the table have its words; others are told by their number, with width 0."""
    word = onnx.TYPES.get(kind, f"onnx{kind}")
    width = width_of(word)
    layout = layout_of(model(tensor("w", kind, [2, 3], bytes(6 * (width or 1)))))
    assert [(t.name, t.dtype, t.shape) for t in layout.tensors] == [("w", word, (2, 3))]
    assert [one.width for one in layout.storages] == [width]


def test_what_writers_may_do_otherwise() -> None:
    """Packed dimensions, packed floats, other orders of fields and empty tensors are read."""
    packed = field(9, b"12345678") + field(1, b"\x02\x01") + field(2, 1) + field(8, b"packed")
    floats = tensor("floats", 1, [2], b"12345678", number=4)
    doubles = tensor("doubles", 11, [1], b"12345678", number=10)
    scalar, empty = tensor("scalar", 3, [], b"1"), tensor("empty", 1, [0, 3], b"")
    bare = field(1, 0) + field(2, 1) + field(8, b"bare")
    data = model(packed, floats, doubles, scalar, empty, bare)
    assert {name: (t.shape, t.size) for name, t in named(layout_of(data)).items()} == {
        "packed": ((2, 1), 8),
        "floats": ((2,), 8),
        "doubles": ((1,), 8),
        "scalar": ((), 1),
        "empty": ((0, 3), 0),
        "bare": ((0,), 0),
    }


GOOD = tensor("w", 1, [2], b"12345678")
HALF = {
    "numbers as varints": model(GOOD, tensor("v", 7, [2], b"\x01\x02", number=7)),
    "elements in another file": model(GOOD, tensor("v", 1, [2], b"\x0a\x01x", number=13)),
    "elements twice": model(GOOD, tensor("v", 1, [2], b"12345678") + field(9, b"12345678")),
    "too few elements": model(GOOD, tensor("v", 1, [3], b"12345678")),
    "half an element": model(GOOD, tensor("v", 1, [3], b"123456789")),
    "elements that should not be": model(GOOD, tensor("v", 1, [0], b"1234")),
    "a length of exabytes": model(GOOD, tensor("v", 1, [2**63], b"12345678")),
    "a sparse one": model(GOOD, rest=field(15, b"")),
}


@pytest.mark.parametrize("what", HALF)
def test_one_weight_that_is_not_understood_leaves_no_table(what: str) -> None:
    """Where a weight is kept otherwise, the others are storages and no tensor is told."""
    layout = layout_of(HALF[what])
    assert is_sound(layout, len(HALF[what]))
    assert layout.tensors == ()
    assert (layout.storages[0].size, layout.storages[0].width) == (8, 4)


BAD = {
    "a byte behind": model(GOOD) + b"\0",
    "cut short": model(GOOD)[:-1],
    "no graph": field(1, 9) + field(2, b"tests"),
    "two graphs": model(GOOD, after=field(7, b"")),
    "a graph that is a number": field(1, 9) + field(7, 1),
    "version 0": b"\x08\0" + model(GOOD)[2:],
    "version 33": b"\x08\x21" + model(GOOD)[2:],
    "another first field": model(GOOD)[2:],
    "a field without a number": model(GOOD, after=field(0, b"")),
    "a group": model(GOOD, after=b"\x13\x14"),
    "a field of exabytes": model(GOOD, after=varint(10 << 3 | 2) + varint(2**63)),
    "a number of eleven bytes": model(GOOD, after=varint(10 << 3) + b"\x80" * 10 + b"\1"),
    "a number without end": model(GOOD, after=varint(10 << 3) + b"\x80"),
    "an initializer that leaves the graph": field(1, 9) + field(7, b"\x2a\x7f") + bytes(200),
    "a field that leaves its initializer": model(b"\x4a\x09" + b"12345678", GOOD),
    "a negative length": model(tensor("w", 22, [2**64 - 1], b"12345678")),
    "65 dimensions": model(tensor("w", 1, [1] * 65, b"1234")),
    "a hundred thousand dimensions": model(field(1, b"\x01" * 100_000) + GOOD),
    "a name of 5,000 bytes": model(tensor("w" * 5000, 1, [2], b"12345678")),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_refused(what: str) -> None:
    """A file that breaks one rule of the format is opaque; without the break it is not."""
    assert list(named(layout_of(model(GOOD)))) == ["w"]
    assert describe(Bytes(BAD[what])) is None
    with suppress(FormatError):  # and nothing else
        onnx.describe(Bytes(BAD[what]))


def test_no_file_cut_short_is_believed() -> None:
    """A file that lacks its end is opaque, wherever it was cut but between two fields."""
    parts = {len(REAL) - 4}  # behind the graph
    for size in range(len(REAL)):
        assert (describe(Bytes(REAL[:size])) is not None) == (size in parts), size


def test_what_is_read_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields are counted, and given up when there are too many; nodes are not entered."""
    data = model(GOOD, rest=field(1, b"\x0a\x00" * 5000))
    monkeypatch.setattr(onnx, "MAX_FIELDS", 11)
    assert describe(Bytes(data)) is not None
    monkeypatch.setattr(onnx, "MAX_FIELDS", 10)
    assert describe(Bytes(data)) is None
    monkeypatch.setattr(onnx, "MAX_FIELDS", 11)
    with monkeypatch.context() as patch:
        patch.setattr(onnx, "MAX_SIZE", len(data) - 1)
        assert describe(Bytes(data)) is None
    monkeypatch.setattr(onnx, "MAX_TENSORS", 0)
    assert describe(Bytes(data)) is None


shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
weights = st.tuples(shapes, st.sampled_from(sorted(onnx.TYPES)), st.binary(max_size=6000))


@given(st.dictionaries(st.text(max_size=8), weights, max_size=6))
def test_any_weights_are_told(given: dict[str, tuple[tuple[int, ...], int, bytes]]) -> None:
    """Whatever names, shapes, types and nodes between, the table has all weights."""
    expected, parts = {}, []
    for number, (name, (shape, kind, noise)) in enumerate(given.items()):
        count = 1
        for length in shape:
            count *= length
        data = (noise * 1024 + bytes(4096))[: count * width_of(onnx.TYPES[kind])]
        expected[f"{number}{name}"] = (onnx.TYPES[kind], shape, data)
        parts += [field(5, tensor(f"{number}{name}", kind, shape, data)), field(1, noise)]
    file = model(rest=b"".join(parts))
    layout = layout_of(file)
    assert is_sound(layout, len(file))
    assert {
        t.name: (t.dtype, t.shape, bytes_of(file, layout, t)) for t in layout.tensors
    } == expected
