"""Zip files whose directory lies; written by hand, as no library writes them."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest

from mvc.errors import FormatError
from mvc.formats import describe, torch_zip
from tests.formats.sources import TENSOR, Bytes, Record, is_sound, layout_of, named, zip_of

FULL = 0xFFFFFFFF
PICKLE = b"\x80\x02}X\x01\0\0\0w" + TENSOR + b"s."
DATA = b"12345678"


def records(**changes: object) -> list[Record]:
    """A good file of one tensor, with changes to the record of its storage."""
    storage = {"name": "a/data/0", "data": DATA} | changes
    return [
        Record("a/data.pkl", PICKLE),
        Record(**storage),  # type: ignore[arg-type]  # as the tests write them
        Record("a/version", b"3\n"),
    ]


GOOD = zip_of(records())
DIRECTORY = GOOD.index(b"PK\1\2")
DIRECTORY_SIZE = GOOD.index(b"PK\5\6") - DIRECTORY


def zip64_extra(*values: int) -> bytes:
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values)


def test_a_good_file_is_told() -> None:
    """The file that all others here are made from is read, with and without zip64."""
    offset = GOOD.index(DATA)
    large = records(offset=FULL, size=FULL, extra=zip64_extra(8, 8, offset - 38))
    zip64 = (3, DIRECTORY_SIZE, DIRECTORY)
    full = zip_of(records(), count=0xFFFF, zip64=zip64)
    for data in (GOOD, zip_of(records(), zip64=zip64), full):
        layout = layout_of(data)
        assert [(s.offset, s.size, s.width) for s in layout.storages] == [(offset, 8, 4)]
        assert named(layout)["w"].shape == (2,)
    layout = layout_of(zip_of(large))
    assert [(s.offset, s.size, s.width) for s in layout.storages] == [(offset, 8, 4)]


BAD = {
    "bytes after the end": GOOD + b"\0",
    "bytes before the beginning": b"PK\3\4" + GOOD,
    "no directory": GOOD[:DIRECTORY],
    "an end cut short": GOOD[:-1],
    "more entries than there are": zip_of(records(), count=4),
    "fewer entries than there are": zip_of(records(), count=2),
    "two entries of one name": zip_of([*records(), Record("a/data/0", DATA)]),
    "two entries for one range": zip_of([*records(), Record("a/data/1", DATA, offset=54)]),
    "a header that is another's": zip_of(records(offset=0)),
    "a header of another name": zip_of(records(local_name="a/data/1")),
    "a header of a longer name": zip_of(records(local_name="a/data/00")),
    "an offset outside": zip_of(records(offset=2**31)),
    "a size that runs into the directory": zip_of(records(size=200)),
    "a size that runs out of the file": zip_of(records(size=2**31)),
    "a zip64 size of exabytes": zip_of(records(size=FULL, extra=zip64_extra(2**63, 2**63))),
    "a zip64 offset of exabytes": zip_of(records(offset=FULL, extra=zip64_extra(2**63))),
    "zip64: another count": zip_of(records(), zip64=(2, DIRECTORY_SIZE, DIRECTORY)),
    "zip64: another count in the plain end record": zip_of(
        records(), count=2, zip64=(3, DIRECTORY_SIZE, DIRECTORY)
    ),
    "zip64: another size": zip_of(records(), zip64=(3, DIRECTORY_SIZE - 1, DIRECTORY)),
    "zip64: another offset": zip_of(records(), zip64=(3, DIRECTORY_SIZE, 0)),
    "zip64: a size of exabytes": zip_of(records(), zip64=(3, 2**63, DIRECTORY)),
    "zip64: a count of exabytes": zip_of(records(), zip64=(2**63, DIRECTORY_SIZE, DIRECTORY)),
    "a name that is not UTF-8": GOOD.replace(b"a/version", b"a/v\xffrsion"),
    "no pickle": zip_of(records()[1:]),
}


@pytest.mark.parametrize("what", BAD)
def test_a_directory_that_lies_is_not_believed(what: str) -> None:
    """A file with one contradiction is opaque."""
    assert describe(Bytes(BAD[what])) is None
    with suppress(FormatError):  # and nothing else
        torch_zip.describe(Bytes(BAD[what]))


HALF = {
    "a storage that is compressed": zip_of(records(method=8)),
    "a storage that is encrypted": zip_of(records(flags=0x0801)),
    "a storage that is too small": zip_of(records(data=b"1234")),
    "a storage that is too large": zip_of(records(data=b"1234" * 3)),
    "a storage that is not there": zip_of([records()[0]]),
    "a pickle that is compressed": zip_of([Record("a/data.pkl", PICKLE, method=8), records()[1]]),
    "a pickle that is none": zip_of([Record("a/data.pkl", b"?"), records()[1]]),
}


@pytest.mark.parametrize("what", HALF)
def test_a_pickle_that_lies_is_not_believed(what: str) -> None:
    """A file whose pickle does not fit it has no tensors, and storages without a type."""
    layout = layout_of(HALF[what])
    assert is_sound(layout, len(HALF[what]))
    assert layout.tensors == ()
    assert {storage.width for storage in layout.storages} <= {0}


def test_a_package_is_understood_whole_or_not() -> None:
    """In a package of several pickles, one that is not understood leaves none with tensors."""
    rest = [Record("a/.data/0.storage", DATA), Record("a/.data/extern_modules", b"")]
    odd = PICKLE.replace(b"QK\0K\x02", b"QK\0N")
    two = zip_of([Record("a/m/x.pkl", PICKLE), Record("a/m/y.pkl", PICKLE), *rest])
    half = zip_of([Record("a/m/x.pkl", PICKLE), Record("a/m/y.pkl", odd), *rest])
    assert list(named(layout_of(two))) == ["m.x.w", "m.y.w"]
    assert layout_of(half).tensors == ()
    assert [storage.width for storage in layout_of(half).storages] == [4]


def test_an_entry_inside_another_is_opaque() -> None:
    """A storage that lies within a storage makes the file opaque."""
    inner = zip_of([Record("a/data/1", b"1234")])
    inner = inner[: inner.index(b"PK\1\2")]
    assert describe(Bytes(zip_of([*records(data=inner), Record("a/data/2", b"12")]))) is not None
    at = GOOD.index(DATA)
    nested = zip_of([*records(data=inner), Record("a/data/1", b"1234", offset=at)])
    assert describe(Bytes(nested)) is None
