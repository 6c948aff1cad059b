"""What mvc reads of GGUF files, and what it refuses."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvc.errors import FormatError
from mvc.formats import describe
from mvc.formats import gguf as mvc_gguf
from mvc.formats.gguf import BLOCKS, MAX_DEPTH, PLAIN, SIZES
from tests.formats.gguf_files import entry, saved, text, written
from tests.formats.sources import Bytes, bytes_of, is_sound, layout_of, named

gguf = pytest.importorskip("gguf")
np = pytest.importorskip("numpy")

WORDS = "float32 float16 float64 int8 int16 int32 int64"


def assert_told(data: bytes, arrays: dict[str, Any]) -> None:
    layout = layout_of(data)
    assert is_sound(layout, len(data))
    assert (layout.format, layout.framework) == ("gguf", "ggml")
    assert list(named(layout)) == list(arrays)
    for name, tensor in named(layout).items():
        array = arrays[name]
        assert (tensor.dtype, tensor.shape) == (array.dtype.name, array.shape), name
        assert bytes_of(data, layout, tensor) == array.tobytes(), name
        assert tensor.storage is not None
        assert layout.storages[tensor.storage].width == array.dtype.itemsize


@pytest.mark.parametrize("alignment", [8, 32, 4096])
def test_files_of_the_library_are_told(alignment: int) -> None:
    """Names, types, shapes and bytes are those that the real library was given."""
    arrays = {
        f"größe.{word}": np.arange(24).reshape(2, 3, 4).astype(word) for word in WORDS.split()
    }
    data = saved(arrays, alignment=alignment, values=True)
    assert_told(data, arrays)
    assert all(storage.offset % alignment == 0 for storage in layout_of(data).storages)


def test_the_tables_are_those_of_the_library() -> None:
    """Every type of the library is known, with its block; Q8_1 is left out on purpose."""
    sizes = {kind.value: (kind.name, *size) for kind, size in gguf.GGML_QUANT_SIZES.items()}
    known = {kind: (word.upper(), *block) for kind, (word, *block) in BLOCKS.items()}
    for kind, word in PLAIN.items():
        width = 2 if word == "bfloat16" else np.dtype(word).itemsize
        known[kind] = (sizes[kind][0], 1, width)
    # In ggml itself a block of Q8_1 has 36 bytes, in its Python library 40.
    assert known == {kind: size for kind, size in sizes.items() if size[0] != "Q8_1"}
    assert {kind.value for kind in gguf.GGUFValueType} == {*SIZES, 8, 9}


@pytest.mark.parametrize("number", [*BLOCKS, 9, 30])
def test_quantized_tensors_are_told_whole(number: int) -> None:
    """A tensor in blocks has its word, its shape in elements, its bytes, and no width."""
    kind = gguf.GGMLQuantizationType(number)
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = np.random.default_rng(1).integers(0, 256, (3, 2 * size), dtype=np.uint8)
    data = saved({"a": (kind, blocks), "w": np.ones(3, np.float32)})
    layout = layout_of(data)
    tensor = named(layout)["a"]
    assert tensor.storage == 0
    assert tensor.shape == (3, 2 * elements)
    assert tensor.dtype == {9: "ggml9", 30: "bfloat16"}.get(kind, kind.name.lower())
    found = bytes_of(data, layout, tensor)
    assert found[: blocks.size] == blocks.tobytes()
    assert kind == 9 or len(found) == blocks.size
    assert layout.storages[0].width == (2 if kind == 30 else 0)


def test_new_types_reach_to_the_next_tensor() -> None:
    """A tensor of a type we do not know lies up to the next one, the last up to the end."""
    entries = [entry("new", [7], 99, 0), entry("w", [2], 0, 64), entry("last", [9], 98, 96)]
    layout = layout_of(written(entries, bytes(64) + b"12345678" + bytes(24) + b"end"))
    assert [(t.name, t.dtype, t.size) for t in layout.tensors] == [
        ("new", "ggml99", 64),
        ("w", "float32", 8),
        ("last", "ggml98", 3),
    ]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_is_read(version: int) -> None:
    """Version 1 has lengths of four bytes, versions 2 and 3 of eight."""
    width = "I" if version == 1 else "Q"
    values = [text(b"general.name", width) + struct.pack("<I", 8) + text(b"x", width)]
    entries = [entry("w", [2, 3], 0, 0, width), entry("b", [2], 1, 32, width)]
    body = bytes(range(24)) + bytes(8) + b"1234"
    data = written(entries, body, values=values, version=version)
    layout = layout_of(data)
    assert [(t.name, t.shape) for t in layout.tensors] == [("w", (3, 2)), ("b", (2,))]
    assert bytes_of(data, layout, layout.tensors[0]) == bytes(range(24))
    assert bytes_of(data, layout, layout.tensors[1]) == b"1234"


def test_what_a_file_may_lack() -> None:
    """No tensors, no dimensions, no elements, no padding at the end: all are read."""
    assert layout_of(saved({})).tensors == ()
    scalar, empty = entry("s", [], 0, 0), entry("e", [0, 3], 0, 32)
    layout = layout_of(written([scalar, empty], b"1234"))
    assert [(t.shape, t.size, t.storage) for t in layout.tensors] == [((), 4, 0), ((3, 0), 0, None)]


def test_big_endian_files_are_opaque() -> None:
    """A big-endian file, which the format cannot tell from a broken one, is opaque."""
    data = saved({"w": np.ones(3, np.float32)}, endianess=gguf.GGUFEndian.BIG)
    assert data.startswith(b"GGUF\0\0\0\3")
    assert describe(Bytes(data)) is None


def value(kind: int, data: bytes = b"", *, key: bytes = b"k") -> bytes:
    return text(key) + struct.pack("<I", kind) + data


def nested(depth: int, *, count: int = 1) -> bytes:
    """An array of arrays of arrays, ``count`` at each depth but of none at the innermost."""
    return value(9, struct.pack("<IQ", 9, count) * depth + struct.pack("<IQ", 0, 0))


W = entry("w", [2], 0, 0)
BODY = b"12345678"
ALIGNMENT = b"general.alignment"
BAD = {
    "another magic": b"GGML" + written([W], BODY)[4:],
    "version 0": written([W], BODY, version=0),
    "version 4": written([W], BODY, version=4),
    "a tensor that leaves the file": written([W], BODY[:-1]),
    "a tensor outside the file": written([entry("w", [2], 0, 2**62)], BODY),
    "two tensors in one place": written([W, entry("v", [2], 0, 0)], BODY),
    "two tensors that overlap": written([W, entry("v", [2], 0, 4)], BODY + BODY),
    "an unknown type in the place of another": written([W, entry("v", [2], 99, 0)], BODY),
    "a length of exabytes": written([entry("w", [2**63, 2**63], 0, 0)], BODY),
    "lengths whose product is small in 64 bits": written([entry("w", [2**33, 2**31], 0, 0)], BODY),
    "65 dimensions": written([entry("w", [1] * 65, 0, 0)], BODY),
    "four billion dimensions": written([text(b"w") + b"\xff" * 24], BODY),
    "a row of a broken block": written([entry("w", [31, 32], 2, 0)], bytes(18 * 31)),
    "a scalar in blocks": written([entry("w", [], 2, 0)], bytes(18)),
    "more tensors than there are": written([W], BODY, counts=(2, 0)),
    "exabytes of tensors": written([W], BODY, counts=(2**63, 0)),
    "exabytes of values": written([W], BODY, counts=(1, 2**63)),
    "a key of exabytes": written([W], BODY, values=[struct.pack("<Q", 2**63)]),
    "text of exabytes": written([W], BODY, values=[value(8, struct.pack("<Q", 2**63))]),
    "an array of exabytes": written([W], BODY, values=[value(9, struct.pack("<IQ", 4, 2**63))]),
    "endless text in an array": written([W], BODY, values=[value(9, struct.pack("<IQ", 8, 2**63))]),
    "a value of type 13": written([W], BODY, values=[value(13, b"1234")]),
    "an array of type 13": written([W], BODY, values=[value(9, struct.pack("<IQ", 13, 1))]),
    "a name that is not UTF-8": written([W.replace(b"w", b"\xff")], BODY),
    "an alignment of 0": written([W], BODY, values=[value(4, bytes(4), key=ALIGNMENT)]),
    "an alignment of 48": written([W], BODY, values=[value(4, b"\x30\0\0\0", key=ALIGNMENT)]),
    "an alignment that is text": written([W], BODY, values=[value(8, text(b" "), key=ALIGNMENT)]),
    "an alignment over the file": written(
        [W], BODY, values=[value(4, b"\0\0\0\x80", key=ALIGNMENT)]
    ),
    "arrays nested 100,000 deep": written([W], BODY, values=[nested(100_000)]),
    "two arrays at each of 100,000 depths": written([W], BODY, values=[nested(100_000, count=2)]),
    "a header alone": b"GGUF",
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_refused(what: str) -> None:
    """A file that breaks one rule of the format is opaque; without the break it is not."""
    assert list(named(layout_of(written([W], BODY)))) == ["w"]
    assert describe(Bytes(BAD[what])) is None
    with suppress(FormatError):  # and nothing else
        mvc_gguf.describe(Bytes(BAD[what]))


def test_arrays_may_be_nested() -> None:
    """Arrays of arrays are passed over, up to a limit."""
    assert describe(Bytes(written([W], BODY, values=[nested(MAX_DEPTH - 1)]))) is not None
    assert describe(Bytes(written([W], BODY, values=[nested(MAX_DEPTH)]))) is None


def test_a_header_of_too_many_values_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts and arrays are counted before they are read, and given up."""
    texts = value(9, struct.pack("<IQ", 8, 10) + text(b"x") * 10)
    for count, data in (
        (12, written([W], BODY, values=[texts])),
        (4, written([W], BODY, values=[nested(2)])),
    ):
        monkeypatch.setattr("mvc.formats.gguf.MAX_VALUES", count)
        assert describe(Bytes(data)) is not None
        monkeypatch.setattr("mvc.formats.gguf.MAX_VALUES", count - 1)
        assert describe(Bytes(data)) is None
    monkeypatch.setattr("mvc.formats.gguf.MAX_TENSORS", 1)
    assert describe(Bytes(written([W], BODY))) is not None
    assert describe(Bytes(written([W, entry("v", [2], 0, 8)], BODY + BODY))) is None


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
arrays = st.tuples(shapes, st.sampled_from(WORDS.split()))


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), arrays, max_size=6),
    st.sampled_from([8, 32, 64]),
    st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_any_tensors_are_told(
    kinds: dict[str, tuple[tuple[int, ...], str]], alignment: int, values: bool
) -> None:
    """Whatever names, shapes and types the library is given, the table has them all."""
    random = np.random.default_rng(7)
    tensors = {
        f"n{name}": np.frombuffer(random.bytes(np.prod(shape) * 8), word)[: np.prod(shape)].reshape(
            shape
        )
        for name, (shape, word) in kinds.items()
    }
    assert_told(saved(tensors, alignment=alignment, values=values), tensors)
