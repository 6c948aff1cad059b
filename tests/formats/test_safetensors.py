"""What mvc reads of safetensors files, and what it refuses."""

from __future__ import annotations

import json
import re
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest

from mvc.errors import FormatError
from mvc.formats import describe, safetensors
from mvc.formats.safetensors import DTYPES
from tests.formats.sources import Bytes, bytes_of, is_sound, layout_of, named

np = pytest.importorskip("numpy")
safetensors_numpy = pytest.importorskip("safetensors.numpy")
save = safetensors_numpy.save


def written(header: object, body: bytes = b"", *, padding: int = 0) -> bytes:
    """Write a file by hand; ``header`` may be text, to be wrong in any way."""
    text = header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))
    raw = text.encode("utf-8", "surrogatepass") + b" " * padding
    return len(raw).to_bytes(8, "little") + raw + body


def entry(dtype: str, shape: list[Any], begin: Any, end: Any) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_files_of_the_library_are_told() -> None:
    """Names, types, shapes and bytes are those that the real library was given."""
    words = "float32 float64 float16 int8 uint8 int16 uint16 int32 uint32 int64 uint64 bool"
    arrays = {f"größe.{word}": np.arange(6).reshape(2, 3).astype(word) for word in words.split()}
    arrays |= {"empty": np.zeros((0, 3), "float32"), "scalar": np.array(2.5)}
    arrays["complex"] = np.ones(3, "complex64")
    data = save(arrays, metadata={"format": "pt", "note": "x" * 5000})
    layout = layout_of(data)
    assert (layout.format, layout.framework) == ("safetensors", "pytorch")
    assert is_sound(layout, len(data))
    assert named(layout).keys() == arrays.keys()
    for name, tensor in named(layout).items():
        array = arrays[name]
        assert (tensor.dtype, tensor.shape) == (array.dtype.name, array.shape)
        assert bytes_of(data, layout, tensor) == array.tobytes(), name
    assert len(layout.storages) == len(arrays) - 1


def test_frameworks() -> None:
    """The framework is the one that the metadata names, if it is one we know."""
    words = {"pt": "pytorch", "tf": "tensorflow", "flax": "jax", "np": "numpy", "mlx": None}
    for word, framework in words.items():
        assert layout_of(written({"__metadata__": {"format": word}})).framework == framework
    assert layout_of(written({})).framework is None


@pytest.mark.parametrize("code", [*DTYPES, "F9_NEW"])
def test_every_type_has_its_width(code: str) -> None:
    """Every type of the format is told; those below a byte, and new ones, have width 0."""
    bits = {"BOOL": 8, "F9_NEW": 24}.get(code) or int(code.lstrip("BFIUC").split("_")[0])
    shape = [2, 4] if code != "F9_NEW" else [8]
    data = written({"w": entry(code, shape, 0, bits)}, bytes(bits))
    (storage,) = layout_of(data).storages
    assert storage.size == bits
    assert storage.width == (bits // 8 if bits >= 8 and code != "F9_NEW" else 0)


def test_every_type_of_the_library_is_in_the_table() -> None:
    """The library, asked for the types it reads, names none that we do not know."""
    library = pytest.importorskip("safetensors")
    with pytest.raises(library.SafetensorError) as refusal:
        library.deserialize(written({"w": entry("F9_NEW", [8], 0, 8)}, bytes(8)))
    codes = set(re.findall(r"`([A-Z]\w+)`", str(refusal.value))) - {"F9_NEW"}
    assert {"F4", "F6_E2M3", "F8_E8M0", "C64", "U16"} <= codes <= set(DTYPES)
    for code in codes:
        width = {"BOOL": 8}.get(code) or int(code.lstrip("BFIUC").split("_")[0])
        data = written({"w": entry(code, [2, 4], 0, width)}, bytes(width))
        ((_, told),) = library.deserialize(data)
        assert (told["dtype"], told["shape"]) == (code, [2, 4])
        assert layout_of(data).tensors[0].size == len(told["data"]) == width


def test_padding_and_order_do_not_matter() -> None:
    """A header may be padded, and name tensors in another order than they lie."""
    header = {"b": entry("U8", [2], 4, 6), "a": entry("F32", [], 0, 4)}
    layout = layout_of(written(header, b"123456", padding=9))
    assert [tensor.name for tensor in layout.tensors] == ["b", "a"]
    assert [storage.size for storage in layout.storages] == [4, 2]
    assert [tensor.storage for tensor in layout.tensors] == [1, 0]


GOOD = entry("U8", [4], 0, 4)
BAD: dict[str, bytes] = {
    "a hole before the first": written({"w": entry("U8", [3], 1, 4)}, b"1234"),
    "a hole between": written({"v": entry("U8", [1], 0, 1), "w": entry("U8", [2], 2, 4)}, b"1234"),
    "an overlap": written({"v": entry("U8", [3], 0, 3), "w": entry("U8", [2], 2, 4)}, b"1234"),
    "the same range twice": written({"v": GOOD, "w": GOOD}, b"1234"),
    "bytes after the last": written({"w": GOOD}, b"12345"),
    "a range that ends after the file": written({"w": GOOD}, b"123"),
    "a range that goes backwards": written({"w": entry("U8", [4], 4, 0)}, b"1234"),
    "a negative offset": written({"w": entry("U8", [4], -4, 0)}, b"1234"),
    "a shape for another size": written({"w": entry("U8", [5], 0, 4)}, b"1234"),
    "a negative length": written({"w": entry("U8", [-2, -2], 0, 4)}, b"1234"),
    "a fraction": written({"w": entry("U8", [4.0], 0, 4)}, b"1234"),
    "a truth value": written({"w": entry("U8", [True, 4], 0, 4)}, b"1234"),
    "a length of thousands of digits": written({"w": entry("U8", ["@"], 0, 4)}, b"1234").replace(
        b'"@"', b"9" * 5000
    ),
    "a huge length": written({"w": entry("U8", [0, 2**70], 0, 0)}),
    "65 dimensions": written({"w": entry("U8", [1] * 65, 0, 1)}, b"1"),
    "three offsets": written({"w": {**GOOD, "data_offsets": [0, 2, 4]}}, b"1234"),
    "no shape": written({"w": {"dtype": "U8", "data_offsets": [0, 4]}}, b"1234"),
    "a field too many": written({"w": {**GOOD, "more": 1}}, b"1234"),
    "a type that is no word": written({"w": entry("U8 \n", [4], 0, 4)}, b"1234"),
    "two equal names": written(
        json.dumps({"v": entry("U8", [2], 0, 2), "w": entry("U8", [2], 2, 4)}).replace("v", "w"),
        b"1234",
    ),
    "two equal fields": written(
        json.dumps({"w": GOOD}).replace('{"dtype"', '{"shape": [4], "dtype"'), b"1234"
    ),
    "metadata that is a list": written({"__metadata__": []}),
    "a list": written("[]"),
    "text after the object": written("{}{}"),
    "not a number": written('{"w": NaN}'),
    "not UTF-8": b"\x03\0\0\0\0\0\0\0{\xff}",
    "no JSON": written("{nothing}"),
    "nesting without end": written('{"w":' + "[" * 100_000),
    "a header longer than the file": (2**20).to_bytes(8, "little") + b"{}",
    "a header longer than the format allows": (10**12).to_bytes(8, "little") + b"{}",
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_refused(what: str) -> None:
    """A file that breaks one rule of the format is opaque; without the break it is not."""
    assert describe(Bytes(written({"w": GOOD}, b"1234"))) is not None
    assert describe(Bytes(BAD[what])) is None
    with suppress(FormatError):  # and nothing else
        safetensors.describe(Bytes(BAD[what]))


def test_a_header_that_would_fill_memory_is_not_parsed() -> None:
    """A header of millions of empty lists is refused before a list is made of it."""
    source = Bytes(written('{"w":[' + "[]," * 3_000_000 + "[]]}"))
    tracemalloc.start()
    assert describe(source) is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * source.size


def test_names_are_made_utf8() -> None:
    """A name with half a surrogate pair is told in a form that can be written down."""
    (tensor,) = layout_of(written('{"\\ud800":' + json.dumps(GOOD) + "}", b"1234")).tensors
    assert tensor.name == "\\ud800"
