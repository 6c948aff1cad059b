"""Real files, damaged at random: a layout is sound, or there is none."""

from __future__ import annotations

import io
import pickle
import tracemalloc
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvc.formats import describe
from tests.formats.sources import Bytes, is_sound, layout_of
from tests.formats.torch_files import of_every_type, saved, saved_the_old_way, small_model

joblib = pytest.importorskip("joblib")
np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

FLAT = torch.arange(40.0)
ARRAYS = {"a": np.ones((3, 4)), "b": np.zeros(2, np.int8), "t": np.ones((2, 3), order="F")}
STATE = {"a": torch.ones(3, 4), "b": torch.zeros(2, dtype=torch.int8), "c": torch.ones(())}


def dumped(value: Any) -> bytes:
    joblib.dump(value, file := io.BytesIO())
    return file.getvalue()


FILES = [
    saved(STATE | {"flat": [FLAT[:10], FLAT[10:30]], "t": torch.ones(2, 3).t()}),
    saved(small_model()),
    saved(of_every_type(), pickle_protocol=4),
    saved_the_old_way(STATE | {"flat": [FLAT[:10], FLAT[10:30]], "t": torch.ones(2, 3).t()}),
    safetensors_torch.save(STATE),
    pickle.dumps(ARRAYS, 4),
    pickle.dumps(ARRAYS, 5),
    dumped(ARRAYS),
]


@given(st.sampled_from(FILES), st.data())
@settings(max_examples=400, deadline=None)
def test_damage_never_raises_and_never_lies(file: bytes, data: st.DataObject) -> None:
    """Changed, cut, doubled or removed bytes give a sound layout or none."""
    raw = bytearray(file)
    for _ in range(data.draw(st.integers(1, 4), label="changes")):
        at = data.draw(st.integers(0, len(raw) - 1), label="offset")
        match data.draw(st.sampled_from(["change", "remove", "double"]), label="what"):
            case "change":
                raw[at] = data.draw(st.integers(0, 255), label="byte")
            case "remove":
                del raw[at : at + data.draw(st.integers(1, 8), label="size")]
            case _:
                raw[at:at] = raw[at : at + data.draw(st.integers(1, 64), label="size")]
    layout = describe(Bytes(bytes(raw)))
    assert layout is None or is_sound(layout, len(raw))


@pytest.mark.parametrize("number", range(len(FILES)))
def test_no_file_cut_short_is_believed(number: int) -> None:
    """A file that lacks its end, by however little, is opaque."""
    file = FILES[number]
    layout_of(file)
    step = max(1, len(file) // 300)
    for size in {*range(0, len(file), step), *range(len(file) - 30, len(file))}:
        assert describe(Bytes(file[:size])) is None, size


@given(st.binary(max_size=300), st.sampled_from([b"PK\3\4", b"\x40\0\0\0\0\0\0\0{", b""]))
def test_noise_is_opaque(noise: bytes, magic: bytes) -> None:
    """Any bytes behind a format's first are opaque, or a sound layout."""
    layout = describe(Bytes(magic + noise))
    assert layout is None or is_sound(layout, len(magic + noise))


@dataclass
class Endless:
    """A file that claims to be huge and has zeros wherever no other bytes are put."""

    parts: dict[int, bytes]
    size: int = 1 << 50
    name: str = "huge"
    read_at_most: int = 0

    def read(self, offset: int, size: int) -> bytes:
        self.read_at_most = max(self.read_at_most, size)
        return self.parts.get(offset, b"")[:size].ljust(size, b"\0")


@pytest.mark.parametrize(
    "head",
    [
        b"PK\3\4",
        saved_the_old_way({})[: len(saved_the_old_way({})) - 10],
        (100_000_000).to_bytes(8, "little") + b"{",
        b"\xff" * 8 + b"{",
        b"\x80\x05\x96" + (1 << 49).to_bytes(8, "little"),
    ],
)
def test_claims_are_capped_before_they_are_read(head: bytes) -> None:
    """A petabyte that claims to be a model makes nobody allocate more than the caps."""
    source = Endless({0: head})
    tracemalloc.start()
    assert describe(source) is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert source.read_at_most <= 100_000_000
    assert peak < 400 << 20


def test_a_failing_disk_is_not_a_format() -> None:
    """An OSError from the source is passed on, not taken for an opaque file."""

    class Failing(Bytes):
        def read(self, offset: int, size: int) -> bytes:
            if offset:
                raise OSError(5, "Input/output error")
            return super().read(offset, size)

    with pytest.raises(OSError, match="Input/output"):
        describe(Failing(FILES[0]))
