"""What mvc reads of numpy arrays in pickles and in dumps of joblib."""

from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvc.formats import describe, numpy_pickle, safety
from mvc.formats.layout import Layout
from mvc.formats.safety import judged, safety_of
from mvc.verdict import Verdict
from tests.formats.sources import TENSOR, Bytes, bytes_of, is_sound, layout_of, named

np = pytest.importorskip("numpy")
joblib = pytest.importorskip("joblib")

WORDS = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64"
    " complex64 complex128"
)
ARRAYS = {word: np.arange(60).reshape(5, 12).astype(word) for word in WORDS.split()} | {
    "columns first": np.asfortranarray(np.arange(600.0).reshape(20, 30)),
    "none": np.zeros((0, 3)),
    "one": np.array(2.5),
    "a part": np.arange(400.0).reshape(20, 20)[:, ::2],
    "large": np.arange(100_000, dtype=np.float32),
}


def dumped(value: Any, **options: Any) -> bytes:
    joblib.dump(value, file := io.BytesIO(), **options)
    return file.getvalue()


def written(value: Any, way: int | str) -> bytes:
    return dumped(value) if way == "joblib" else pickle.dumps(value, int(way))


WAYS: list[int | str] = [3, 4, 5, "joblib"]


@pytest.mark.parametrize("way", WAYS)
def test_arrays_are_told(way: int | str) -> None:
    """Names, types, shapes and bytes are those that pickle and joblib were given."""
    data = written(ARRAYS, way)
    layout = layout_of(data)
    assert is_sound(layout, len(data))
    assert layout.format == ("joblib" if way == "joblib" else "pickle")
    assert list(named(layout)) == list(ARRAYS)
    for name, tensor in named(layout).items():
        array = ARRAYS[name]
        assert (tensor.dtype, tensor.shape) == (array.dtype.name, array.shape), name
        order = "C" if tensor.stride is None else "F"
        assert bytes_of(data, layout, tensor) == array.tobytes(order), name
        if tensor.storage is not None:
            assert layout.storages[tensor.storage].width == array.dtype.itemsize
    assert named(layout)["columns first"].stride == (1, 20)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_dumps_of_joblib_in_every_protocol_are_told(protocol: int) -> None:
    """joblib writes arrays behind their wrappers in any protocol, and with several in a row."""
    data = dumped([ARRAYS["large"], {"w": ARRAYS["int16"]}], protocol=protocol)
    assert list(named(layout_of(data))) == ["0", "1.w"]


@pytest.mark.parametrize("way", WAYS)
def test_other_byte_orders_and_text_have_words_of_their_own(way: int | str) -> None:
    """Big-endian numbers are told apart from others, and text is of no width."""
    data = written({"big": np.arange(6, dtype=">f4"), "text": np.array(["ab", "c"])}, way)
    layout = layout_of(data)
    assert [tensor.dtype for tensor in layout.tensors] == ["float32.big", "U2"]
    assert [storage.width for storage in layout.storages] == [4, 0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "other",
    [
        np.zeros(10, [("a", "f4"), ("b", "i8")]),
        np.zeros(10, "M8[ns]"),
        b"bytes that may be weights as well, who knows",
        "text that may be a model " * 200,
    ],
    ids=["structure", "dates", "bytes", "text"],
)
def test_half_a_table_is_none(other: Any, way: int | str) -> None:
    """Beside something that is not told, large arrays are storages, and there is no tensor."""
    layout = layout_of(written({"w": ARRAYS["large"], "small": np.ones(3), "other": other}, way))
    assert layout.tensors == ()
    assert [storage.size for storage in layout.storages] == [400_000]


def test_an_array_under_two_names_is_there_twice() -> None:
    """One array of a pickle may have many names; it is stored once."""
    layout = layout_of(pickle.dumps({"a": ARRAYS["large"], "b": ARRAYS["large"]}, 5))
    assert list(named(layout)) == ["a", "b"]
    assert len(layout.storages) == 1


def test_an_array_that_is_nowhere_in_the_object_empties_the_table() -> None:
    """What a pickle builds and throws away is a storage, and then no tensor is told."""
    body = pickle.dumps(ARRAYS["large"], 3)[2:-1]
    layout = layout_of(b"\x80\x03" + body + b"0" + body + b".")
    assert layout.tensors == ()
    assert [storage.size for storage in layout.storages] == [400_000, 400_000]


def test_a_model_of_scikit_learn_is_named_by_its_attributes() -> None:
    """The weights of a network are called by the attribute and their place in its list."""
    neural = pytest.importorskip("sklearn.neural_network")
    model = neural.MLPRegressor(hidden_layer_sizes=(50,), max_iter=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two steps are few
        model.fit(np.arange(80.0).reshape(20, 4), np.arange(20.0))
    for data in (pickle.dumps(model), dumped(model)):
        layout = layout_of(data)
        tensors = named(layout)
        assert bytes_of(data, layout, tensors["coefs_.0"]) == model.coefs_[0].tobytes()
        assert {"coefs_.1", "intercepts_.0"} <= tensors.keys()


OPAQUE = {
    "compressed": dumped(ARRAYS, compress=3),
    "arrays of objects": dumped({"w": ARRAYS["large"], "o": np.array([{}, None])}),
    "no arrays": pickle.dumps({"a": 1}),
    "small arrays, not all understood": pickle.dumps([np.ones(3), np.zeros(1, "M8[ns]")]),
    "text instead of bytes": pickle.dumps(ARRAYS, 2),
    "bytes behind it": pickle.dumps(ARRAYS, 5) + b"\0",
    "a second pickle": pickle.dumps(ARRAYS, 5) * 2,
    "only a tensor": b"\x80\x02" + TENSOR + b".",
}


@pytest.mark.parametrize("what", OPAQUE)
def test_what_is_not_understood_is_opaque(what: str) -> None:
    """Compressed dumps, pickles without arrays, and more than one pickle have no layout."""
    assert describe(Bytes(OPAQUE[what])) is None


@pytest.mark.parametrize("way", WAYS)
def test_no_file_cut_short_is_believed(way: int | str) -> None:
    """A file that lacks its end, by however little, is opaque."""
    data = written({"w": np.arange(9.0), "v": np.arange(3000, dtype="f4")}, way)
    layout_of(data)
    for size in {*range(0, len(data), 7), *range(600), *range(len(data) - 300, len(data))}:
        assert describe(Bytes(data[:size])) is None, size


DTYPE = b"cnumpy\ndtype\n(X\x02\0\0\0f4\x89\x88tR" + (
    b"(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
)


def wrapped(shape: bytes, *, dtype: bytes = DTYPE, align: bytes = b"N", behind: bytes) -> bytes:
    """Write a joblib dump by hand, in protocol 2, with whatever lies."""
    return (
        b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(X\x05\0\0\0shape" + shape
        + b"X\x05\0\0\0dtype" + dtype + b"X\x05\0\0\0orderX\x01\0\0\0C"
        + b"X\x1b\0\0\0numpy_array_alignment_bytes" + align + b"ub" + behind
    )  # fmt: skip


def test_a_dump_by_hand_is_told() -> None:
    """What the lies below begin with is true, with and without bytes before the array."""
    for align, before in ((b"N", b""), (b"K\x10", b"\x03\xff\xff\xff")):
        data = wrapped(b"K\x02\x85", align=align, behind=before + bytes(8) + b".")
        (tensor,) = layout_of(data).tensors
        assert (tensor.name, tensor.dtype, tensor.shape) == ("tensor", "float32", (2,))


LIES = {
    "a huge length": wrapped(b"\x8a\x08" + b"\xff" * 7 + b"\x7f\x85", behind=bytes(8) + b"."),
    "a length of 2^63": wrapped(b"\x8a\x09" + bytes(7) + b"\x80\0\x85", behind=b"."),
    "a negative length": wrapped(b"J\xff\xff\xff\xff\x85", behind=bytes(8) + b"."),
    "huge lengths and nothing": wrapped(b"(" + b"J\xff\xff\xff\x7f" * 9 + b"t", behind=b"."),
    "a shape that is none": wrapped(b"N", behind=bytes(8) + b"."),
    "too many dimensions": wrapped(b"(" + b"K\x01" * 65 + b"t", behind=bytes(4) + b"."),
    "a type that is none": wrapped(b"K\x02\x85", dtype=b"N", behind=bytes(8) + b"."),
    "an array too short": wrapped(b"K\x03\x85", behind=bytes(8) + b"."),
    "an array too long": wrapped(b"K\x01\x85", behind=bytes(8) + b"."),
    "a padding out of the file": wrapped(b"K\x02\x85", align=b"K\x10", behind=b"\xff" + bytes(9)),
    "a frame over the array": b"\x80\x04\x95"
    + struct.pack("<Q", len(wrapped(b"K\x02\x85", behind=bytes(8) + b".")) - 2)
    + wrapped(b"K\x02\x85", behind=bytes(8) + b".")[2:],
    "bytes out of the file": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f" + bytes(9) + b".",
    "bytes of 2^63": b"\x80\x05\x96" + bytes(7) + b"\x80" + bytes(9) + b".",
    "a frame of 2^64": b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
    "a deep nest": b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "marks without end": b"\x80\x04" + b"(" * 100_000,
    "a line without end": b"\x80\x02c" + b"x" * 200_000,
}


@pytest.mark.parametrize("what", LIES)
def test_lies_are_opaque(what: str) -> None:
    """Lengths beyond the file, wrappers that lie and endless nests give no layout."""
    assert describe(Bytes(LIES[what])) is None


def test_an_array_in_a_deep_nest_has_no_name_and_is_found() -> None:
    """A hundred thousand lists around an array give a storage, not a crash."""
    data = b"\x80\x03" + b"]" * 100_000 + pickle.dumps(ARRAYS["large"], 3)[2:-1]
    data += b"a" * 100_000 + b"."
    layout = layout_of(data)
    assert layout.tensors == ()
    assert [storage.size for storage in layout.storages] == [400_000]


class Sparse:
    """A file of many GiB of which only the ends are there; between them are zeros."""

    name = "huge"

    def __init__(self, head: bytes, gap: int, tail: bytes) -> None:
        self.head, self.tail = head, tail
        self.gap, self.size = gap, len(head) + gap + len(tail)
        self.read_bytes = 0

    def read(self, offset: int, size: int) -> bytes:
        self.read_bytes += size
        end = min(offset + size, self.size)
        parts = [self.head[offset:end]]
        start = max(offset, len(self.head))
        stop = min(end, len(self.head) + self.gap)
        parts.append(bytes(max(0, stop - start)))
        behind = len(self.head) + self.gap
        parts.append(self.tail[max(0, offset - behind) : max(0, end - behind)])
        return b"".join(parts)


def test_a_pickle_larger_than_memory_is_walked_in_windows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An array of 16 GiB is found without being read."""
    monkeypatch.setattr(safety, "MAX_PICKLE", 1 << 20)
    gap = 16 << 30
    head = wrapped(b"\x8a\x05" + (gap // 4).to_bytes(5, "little") + b"\x85", behind=b"")
    source = Sparse(head, gap, b".")
    tracemalloc.start()
    layout = describe(source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert layout is not None
    assert [(storage.size, storage.width) for storage in layout.storages] == [(gap, 4)]
    assert source.read_bytes < 4 << 20
    assert peak < 16 << 20


@pytest.mark.parametrize("window", [numpy_pickle.MARGIN, numpy_pickle.MARGIN + 77, 10_000])
def test_windows_do_not_show(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the file is cut into windows, the layout is the same."""
    for way in WAYS:
        data = written([ARRAYS, ["some words" * 30] * 9, list(range(9999)), ARRAYS], way)
        whole = layout_of(data)
        monkeypatch.setattr(numpy_pickle, "WINDOW", window)
        assert layout_of(data) == whole
        monkeypatch.undo()


RANKS = {Verdict.TENSORS: 0, Verdict.NUMPY: 1, Verdict.OTHER: 2, Verdict.UNPARSEABLE: 3}


def assert_no_milder(data: bytes) -> Layout | None:
    layout = describe(Bytes(data))
    without = safety_of(Bytes(data), None)
    if layout is not None and layout.format in ("pickle", "joblib"):
        assert without is not None
        now = judged(layout.globals)
        assert RANKS[now.verdict] >= RANKS[without.verdict]
        assert set(now.globals) >= set(without.globals)
    return layout


def test_labels_are_never_milder_than_without_the_arrays() -> None:
    """Plain pickles are judged by what they name, dumps of joblib are unparseable, as before."""
    for way in WAYS:
        layout = assert_no_milder(written(ARRAYS, way))
        assert layout is not None
        expected = Verdict.UNPARSEABLE if way == "joblib" else Verdict.NUMPY
        assert judged(layout.globals).verdict is expected


def test_code_beside_arrays_is_named() -> None:
    """A payload beside an array, or behind the array of a joblib dump, is told."""
    payload = b"0cos\nsystem\n(S'id'\ntR."
    for data in (
        pickle.dumps(ARRAYS["large"], 3)[:-1] + payload,
        wrapped(b"K\x02\x85", behind=bytes(8) + payload),
    ):
        found = safety_of(Bytes(data), describe(Bytes(data)))
        assert found is not None
        assert found.may_run_code
    data = pickle.dumps([ARRAYS["large"], 1], 3)
    data = data[:-1] + b"cos\nsystem\n(S'id'\ntRa."
    layout = assert_no_milder(data)
    assert layout is not None
    assert judged(layout.globals).globals == ("os.system",)
    joined = wrapped(b"K\x02\x85", behind=bytes(8) + b"cos\nsystem\n(S'id'\ntR\x86.")
    layout = assert_no_milder(joined)
    assert layout is not None
    assert "os.system" in judged(layout.globals).globals


def test_what_looks_like_another_container_stays_unparseable() -> None:
    """A pickle that is read as tar or HDF5 as well is called neither harmless nor plain."""
    array = np.zeros(1000, "u1")
    data = bytearray(pickle.dumps(array, 4))
    data[257:262] = b"ustar"
    layout = assert_no_milder(bytes(data))
    assert layout is not None
    assert judged(layout.globals).verdict is Verdict.UNPARSEABLE


@given(st.sampled_from(WAYS), st.data())
@settings(max_examples=200, deadline=None)
def test_damage_makes_no_label_milder(way: int | str, data: st.DataObject) -> None:
    """Whatever is changed in a file, its label is as strict as that of an opaque file."""
    raw = bytearray(written({"w": np.arange(9.0), "n": [1, "x"]}, way))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    layout = assert_no_milder(bytes(raw))
    assert layout is None or is_sound(layout, len(raw))


def test_a_file_on_disk_gives_the_same(tmp_path: Path) -> None:
    """joblib aligns by the place in the file; a file of its own is told as one in memory."""
    joblib.dump(ARRAYS, tmp_path / "m.joblib")
    assert layout_of((tmp_path / "m.joblib").read_bytes()) == layout_of(dumped(ARRAYS))
