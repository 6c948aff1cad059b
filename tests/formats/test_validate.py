"""The check that stands between a parser and everybody else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mvc import formats
from mvc.errors import FormatError
from mvc.formats import Layout, Storage, Tensor, describe
from mvc.formats.reading import read_exactly
from mvc.formats.validate import validated
from tests.formats.sources import Bytes

GOOD = Layout(
    "test",
    None,
    (Storage(0, 8, 4), Storage(8, 6, 2), Storage(20, 3, 0)),
    (
        Tensor("a", "float32", (2,), 0, 0, 8),
        Tensor("t", "float16", (2, 1, 2), 1, 0, 6, (0, 9, 2)),
        Tensor("e", "float32", (0, 5), None, 0, 0),
        Tensor("u", "new", (7,), 2, 1, 2),
    ),
)


def storages(*all: Storage) -> Layout:
    return replace(GOOD, storages=all, tensors=())


def tensor(number: int, **changes: Any) -> Layout:
    changed = list(GOOD.tensors)
    changed[number] = replace(changed[number], **changes)
    return replace(GOOD, tensors=tuple(changed))


BAD = {
    "an empty storage": storages(Storage(0, 0, 0)),
    "a storage before the file": storages(Storage(-1, 4, 0)),
    "a storage behind the file": storages(Storage(20, 4, 0)),
    "storages that overlap": storages(Storage(0, 8, 4), Storage(7, 6, 2)),
    "storages out of order": storages(Storage(8, 6, 2), Storage(0, 8, 4)),
    "an odd width": storages(Storage(0, 9, 3)),
    "half an element": storages(Storage(0, 9, 4)),
    "a tensor in no storage": tensor(0, storage=None),
    "a tensor in a storage that is not there": tensor(0, storage=3),
    "a tensor counted from the end": tensor(0, storage=-3),
    "a tensor before its storage": tensor(3, offset=-1),
    "a tensor that leaves its storage": tensor(3, size=3),
    "a tensor of another size": tensor(0, size=4),
    "a tensor of another shape": tensor(0, shape=(3,)),
    "a strided tensor of another size": tensor(1, stride=(0, 9, 1)),
    "strides for other dimensions": tensor(1, stride=(0, 2)),
    "strides of a row-major tensor": tensor(0, stride=(1,)),
    "a negative stride": tensor(1, stride=(0, -1, 2)),
    "a negative length": tensor(0, shape=(-2,)),
    "a huge length": tensor(2, shape=(0, 2**63)),
    "an empty tensor in a storage": tensor(2, storage=0),
    "an empty tensor of some size": tensor(2, size=1),
    "65 dimensions": tensor(0, shape=(1,) * 64 + (2,)),
}


@pytest.mark.parametrize("what", BAD)
def test_each_broken_promise_is_found(what: str) -> None:
    """A layout that breaks one promise is refused; without the break it passes as it is."""
    assert validated(GOOD, 23) == GOOD
    with pytest.raises(FormatError):
        validated(BAD[what], 23)


def test_names_are_made_unique() -> None:
    """A name keeps its first tensor; later ones get numbers that no tensor has."""
    names = ["w", "w#2", "w", "w", "\ud800", "v"]
    tensors = tuple(replace(GOOD.tensors[0], name=name) for name in names)
    unique = [tensor.name for tensor in validated(replace(GOOD, tensors=tensors), 23).tensors]
    assert unique == ["w", "w#2", "w#3", "w#4", "\\ud800", "v"]


def test_making_names_unique_is_not_quadratic() -> None:
    """A hundred thousand tensors of one name are told apart at once."""
    tensors = (GOOD.tensors[0],) * 100_000
    named = validated(replace(GOOD, tensors=tensors), 23).tensors
    assert named[-1].name == "a#100000"


@pytest.mark.parametrize(
    ("offset", "size", "limit"), [(0, 6, 5), (-1, 2, 9), (5, -1, 9), (8, 3, 9), (2**63, 1, 9)]
)
def test_only_what_is_there_and_small_is_read(offset: int, size: int, limit: int) -> None:
    """A read over its limit, or not inside the file, is refused before the source is asked."""

    class Untouched(Bytes):
        def read(self, offset: int, size: int) -> bytes:
            raise AssertionError("asked")

    assert read_exactly(Bytes(b"0123456789"), 3, 2, limit=2) == b"34"
    with pytest.raises(FormatError):
        read_exactly(Untouched(b"0123456789"), offset, size, limit=limit)


@pytest.mark.parametrize("error", [ValueError, RecursionError, MemoryError, FormatError])
def test_whatever_a_parser_raises_makes_a_file_opaque(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody thought of is no error of describe; the next format is asked."""

    def broken(_: object) -> Layout:
        raise error("surprise")

    def lying(_: object) -> Layout:
        return GOOD

    def everything(_: bytes) -> bool:
        return True

    monkeypatch.setattr(formats, "FORMATS", ((everything, broken), (everything, lying)))
    assert describe(Bytes(bytes(23))) == GOOD
    assert describe(Bytes(bytes(22))) is None
