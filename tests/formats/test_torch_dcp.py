"""What mvc reads of the files of torch's distributed checkpoints."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvc.errors import FormatError
from mvc.formats import Layout, Source, describe, torch_dcp, torch_zip
from tests.formats.sources import Bytes, Record, bytes_of, is_sound, layout_of, zip_of
from tests.formats.torch_files import of_every_type, raw, saved, saved_distributed, small_model

torch = pytest.importorskip("torch")


def contents(data: bytes) -> list[tuple[object, ...]]:
    """Return every tensor as type, shape and bytes, sorted, without its name."""
    layout = layout_of(data)
    assert is_sound(layout, len(data))
    return sorted(
        (tensor.dtype, tensor.shape, bytes_of(data, layout, tensor)) for tensor in layout.tensors
    )


def expected(state: dict[str, Any]) -> list[tuple[object, ...]]:
    return sorted(
        (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), raw(tensor))
        for tensor in state.values()
    )


def test_checkpoints_of_torch_are_told() -> None:
    """Every tensor of a distributed checkpoint is told, with its type, shape and bytes."""
    state = of_every_type() | {"none": torch.zeros(0, 3), "scalar": torch.tensor(2.5)}
    data = saved_distributed(state)
    assert (layout_of(data).format, layout_of(data).framework) == ("torch-dcp", "pytorch")
    assert contents(data) == expected(state)


def test_tensors_are_numbered_and_objects_are_none() -> None:
    """Names are the archives' numbers; what is no tensor has a number and no line."""
    data = saved_distributed({"model": small_model().state_dict(), "step": 7, "lr": {"a": 0.1}})
    numbers = [int(tensor.name) for tensor in layout_of(data).tensors]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == len(small_model().state_dict())
    assert min(numbers) == 2


def test_storages_are_those_of_other_files() -> None:
    """Each tensor is a storage of the bytes and width that it is in a torch file."""
    state = small_model().state_dict()

    def storages(data: bytes) -> list[tuple[int, bytes]]:
        return sorted(
            (one.width, data[one.offset : one.offset + one.size])
            for one in layout_of(data).storages
        )

    assert storages(saved_distributed(state)) == storages(saved(state))


ONE = saved(torch.ones(2))
TWO = saved({"w": torch.zeros(3).expand(2, 3)})
OTHER = zip_of([Record("a/b", b"?")], zip64=(1, 49, 34))
BAD = {
    "a byte before": b"P" + ONE + TWO,
    "a byte between": ONE + b"\0" + TWO,
    "a byte behind": ONE + TWO + b"\0",
    "the last cut short": (ONE + TWO)[:-1],
    "the first cut short": ONE[4:] + TWO,
    "a zip file that is not torch's": ONE + OTHER + TWO,
    "a directory of exabytes": ONE + zip_of([Record("a/b", b"?")], zip64=(1, 2**63, 2**63)),
    "nothing but end records": ONE + TWO[-98:],
    "an archive of two tensors": ONE + saved([torch.ones(1), torch.ones(2)]) + TWO,
    "an archive of a tensor under two names": ONE + saved([torch.ones(1)] * 2) + TWO,
    "an archive that is not understood": ONE + TWO.replace(b"FloatStorage", b"GloatStorage"),
    "zip files without entries": zip_of([], zip64=(0, 0, 0)) * 3 + TWO,
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_refused(what: str) -> None:
    """Anything but whole archives of torch makes the file opaque."""
    assert layout_of(ONE + TWO).format == "torch-dcp"
    assert describe(Bytes(BAD[what])) is None
    with suppress(FormatError):  # and nothing else
        torch_dcp.describe(Bytes(BAD[what]))


def test_what_is_read_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many archives, or too much to read in them, are given up."""
    data = (ONE + TWO) * 4
    assert describe(Bytes(data)) is not None
    with monkeypatch.context() as patch:
        patch.setattr(torch_dcp, "MAX_ARCHIVES", 7)
        assert describe(Bytes(data)) is None
    monkeypatch.setattr(torch_dcp, "MAX_READ", 4096)
    assert describe(Bytes(data)) is None


def test_many_archives_that_take_long_are_given_up_at_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row of small archives, each a search of millions of steps, costs one such search."""
    node: object = torch.ones(1)
    for _ in range(12):
        node = [node, node]
    archive = saved(node)
    described: list[Layout] = []
    describe_one = torch_zip.describe

    def counted(source: Source) -> Layout:
        described.append(describe_one(source))
        return described[-1]

    monkeypatch.setattr(torch_zip, "describe", counted)
    assert describe(Bytes(ONE + archive * 50)) is None
    assert [len(layout.tensors) for layout in described] == [1, 4096]


shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@given(st.lists(shapes, min_size=2, max_size=6))
@settings(max_examples=40, deadline=None)
def test_any_row_of_tensors_is_told(row: list[Any]) -> None:
    """Whatever tensors lie in a row, each is told in its place."""
    tensors = [torch.rand(shape) for shape in row]
    data = b"".join(saved(tensor) for tensor in tensors)
    layout = layout_of(data)
    assert is_sound(layout, len(data))
    assert [
        (tensor.name, tensor.shape, bytes_of(data, layout, tensor)) for tensor in layout.tensors
    ] == [(str(n), tuple(tensor.shape), raw(tensor)) for n, tensor in enumerate(tensors)]
