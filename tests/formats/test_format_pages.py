"""The pages in docs/formats are true: their examples and tables are read from them."""

from __future__ import annotations

import io
import warnings

import pytest

from mvc.formats import (
    Layout,
    Storage,
    Tensor,
    describe,
    gguf,
    npy,
    numpy_pickle,
    onnx,
    safetensors,
    torch_dcp,
    torch_legacy,
    torch_zip,
    zip_directory,
)
from mvc.formats.content import AVERAGE_SIZE, MAX_SIZE, MIN_SIZE, Cutter
from mvc.formats.dtypes import width_of
from mvc.formats.inert_pickle import MAX_OPCODES
from mvc.formats.layout import Globals
from mvc.formats.pickle_machine import MAX_ALL_TEXT, MAX_GLOBALS, MAX_TEXT
from mvc.formats.torch_pickle import MAX_STEPS
from tests.formats.pages import example, page
from tests.formats.sources import Bytes, layout_of


def test_the_example_of_safetensors() -> None:
    """The example is the file that its page says it is."""
    data = example("safetensors.md")
    layout = layout_of(data)
    assert layout.storages == (Storage(120, 4, 2),)
    assert [(t.name, t.dtype, t.shape) for t in layout.tensors] == [
        ("b", "bfloat16", (2,)),
        ("e", "uint8", (0,)),
    ]
    loaded = pytest.importorskip("safetensors").deserialize(data)
    assert sorted(name for name, _ in loaded) == ["b", "e"]


def test_the_example_of_torch_zip() -> None:
    """The example is read as its page says, and one more byte makes it opaque."""
    data = example("torch-zip.md")
    assert layout_of(data) == Layout("torch-zip", "pytorch", (), (), Globals())
    (entry,) = zip_directory.read_directory(Bytes(data)).values()
    assert (entry.name, entry.size, entry.limit) == ("a/data.pkl", 2, 42)
    assert describe(Bytes(data + b"\0")) is None


def test_the_example_of_torch_legacy() -> None:
    """The example is read as its page says, and as torch itself reads it."""
    data = example("torch-legacy.md")
    layout = layout_of(data)
    assert layout.storages == (Storage(len(data) - 8, 8, 4),)
    assert [(t.name, t.dtype, t.shape) for t in layout.tensors] == [("tensor", "float32", (2,))]
    assert f"at offset {len(data) - 8}, of width 4" in page("torch-legacy.md")
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(torch.load(io.BytesIO(data), weights_only=False)) == [1.0, -2.0]


def test_the_example_of_torch_dcp() -> None:
    """Two archives in a row are one file, as the page says, one of them is another format."""
    single = example("torch-zip.md")
    assert layout_of(single * 2) == Layout("torch-dcp", "pytorch", (), (), Globals())
    assert zip_directory.start_of_last(Bytes(single * 2)) == len(single) == 196
    text = page("torch-dcp.md")
    assert f"{len(single * 2)} bytes, two archives at 0 and {len(single)}" in text
    assert f"at most {torch_dcp.MAX_ARCHIVES:,}," in text
    assert f"at most {torch_dcp.MAX_READ >> 20} MiB" in text


def test_the_example_of_gguf() -> None:
    """The example has the tensors that its page says, and every type has its line."""
    layout = layout_of(example("gguf.md"))
    assert layout.storages == (Storage(144, 4, 2), Storage(160, 18, 0))
    assert [(t.name, t.dtype, t.shape) for t in layout.tensors] == [
        ("b", "bfloat16", (2,)),
        ("q", "q4_0", (1, 32)),
    ]
    assert "4 bytes at offset 144, of width 2" in page("gguf.md")
    for number, word in gguf.PLAIN.items():
        assert f"| {number} | {word} | 1 | {width_of(word)} |" in page("gguf.md")
    for number, (word, elements, size) in gguf.BLOCKS.items():
        assert f"| {number} | {word} | {elements} | {size} |" in page("gguf.md")
    assert f"{gguf.MAX_TENSORS:,} tensors" in page("gguf.md")
    assert f"{gguf.MAX_HEADER >> 20} MiB for the header, {gguf.MAX_VALUES:,} val" in page("gguf.md")


def test_the_example_of_npy() -> None:
    """The example is read as its page says, and as numpy itself reads it."""
    data = example("npy.md")
    layout = layout_of(data)
    assert layout.storages == (Storage(128, 12, 2),)
    assert layout.tensors == (Tensor("tensor", "float16", (2, 3), 0, 0, 12, (1, 2)),)
    assert "12 bytes at offset 128, of width 2" in page("npy.md")
    loaded = pytest.importorskip("numpy").load(io.BytesIO(data))
    assert loaded.tolist() == [[1.0, 3.0, 5.0], [-2.0, 4.0, 6.0]]
    assert f"{npy.MAX_HEADER:,} bytes" in page("npy.md")
    assert f"{npy.MAX_ARRAYS:,} entries" in page("npy.md")


def test_the_example_of_pickle() -> None:
    """The example is read as its page says, and as joblib itself reads it."""
    data = example("pickle.md")
    layout = layout_of(data)
    assert layout.storages == (Storage(240, 8, 4),)
    assert layout.tensors == (Tensor("w", "float32", (2,), 0, 0, 8),)
    assert "8 bytes at offset 240, of width 4" in page("pickle.md")
    loaded = pytest.importorskip("joblib").load(io.BytesIO(data))
    assert loaded["w"].tolist() == [1.0, -2.0]
    assert f"windows of {numpy_pickle.WINDOW >> 10} KiB" in page("pickle.md")
    assert f"{MAX_OPCODES:,} opcodes, {MAX_ALL_TEXT >> 20} MiB of text" in page("pickle.md")
    assert f"at most {MAX_TEXT:,} bytes, and {numpy_pickle.MAX_ARRAYS:,} arr" in page("pickle.md")
    assert f"at least {numpy_pickle.SMALLEST_ALONE:,} bytes" in page("pickle.md")
    assert f"bytes over {numpy_pickle.LARGEST_SCALAR} that" in page("pickle.md")


def test_the_example_of_onnx() -> None:
    """The example, a file of torch and onnx 1.23, has the tensors that its page says."""
    layout = layout_of(example("onnx.md"))
    assert layout.storages == (Storage(309, 24, 4), Storage(349, 8, 4), Storage(377, 8, 4))
    assert layout.tensors == (
        Tensor("0.weight", "float32", (2, 3), 0, 0, 24),
        Tensor("0.bias", "float32", (2,), 1, 0, 8),
        Tensor("1.weight", "float32", (1, 2), 2, 0, 8),
    )
    assert "at offsets 309, 349 and 377" in page("onnx.md")
    for number, word in onnx.TYPES.items():
        assert f"| {number} | {word} | {width_of(word)} |" in page("onnx.md")
    assert f"{onnx.MAX_FIELDS:,} fields that are looked at, {onnx.MAX_TENSORS:,} ini" in page(
        "onnx.md"
    )


def test_the_example_of_opaque() -> None:
    """Ten million zeros are cut as the page says."""
    cutter = Cutter()
    sizes = [len(c) for c in cutter.feed(bytes(10_000_000))] + [len(c) for c in cutter.finish()]
    assert sizes == [4_194_304, 4_194_304, 1_611_392]


def test_the_rule_of_cutting_is_that_of_the_page() -> None:
    """A plain reading of the page's rule cuts where the cutter cuts."""
    import random

    from fastcdc.fastcdc_py import GEAR

    data = random.Random(5).randbytes(MAX_SIZE)
    pattern, cut = 0, 0
    for at in range(MIN_SIZE, MAX_SIZE):
        pattern = ((pattern >> 1) + GEAR[data[at]]) & 0xFFFFFFFF
        if not pattern & (2**21 - 1 if at < 655_360 else 2**19 - 1):
            cut = at + 1
            break
    assert 0 < cut < MAX_SIZE
    assert len(next(Cutter().feed(data * 4))) == cut


def test_the_numbers_on_the_pages() -> None:
    """Sizes, limits and types on the pages are those of the code."""
    opaque, torch, other = page("opaque.md"), page("torch-zip.md"), page("safetensors.md")
    assert all(f"| {size:,} bytes |" in opaque for size in (MIN_SIZE, AVERAGE_SIZE, MAX_SIZE))
    for number in (MAX_OPCODES, MAX_GLOBALS, MAX_STEPS, zip_directory.MAX_ENTRIES):
        assert f"{number:,}" in torch
    assert f"{torch_zip.MAX_PICKLE >> 20} MiB for all pickles" in torch
    assert f"{torch_legacy.MAX_PREAMBLE:,} bytes" in page("torch-legacy.md")
    assert f"{torch_legacy.MAX_PICKLES >> 20} MiB" in page("torch-legacy.md")
    assert f"{safetensors.MAX_HEADER:,}" in other
    assert f"{safetensors.MAX_VALUES:,}" in other
    for code, dtype in safetensors.DTYPES.items():
        (row,) = [line for line in other.splitlines() if f"`{code}`" in line and "|" in line]
        assert str(width_of(dtype)) in row.split("|")[3], code
