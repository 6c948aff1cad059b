"""Packs: every damaged byte is noticed, and costs no more than what it hit."""

from __future__ import annotations

import dataclasses
import os
import struct
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvc.codecs import Encoded, Encoding
from mvc.compatibility import FORMAT
from mvc.digest import Digest, checksum_of, digest_of
from mvc.errors import Damaged, FormatError, MvcError, Unsupported
from mvc.store import pack as packs
from mvc.store.pack import Entry, PackReader, PackWriter
from tests.support import store_builders as build

OBJECTS = [b"first object", b"second object, longer", b"", b"\x00" * 300]
U64 = (1 << 64) - 1
# Where damage leaves the pack's own index unreadable, and so all of its objects.
FATAL = {"index header", "index entries", "footer", "footer checksum"}


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return build.write_pack(tmp_path, OBJECTS)


def readable(path: Path) -> set[bytes]:
    """Return the objects that a pack still gives; what it gives must be right."""
    try:
        reader = PackReader(path)
        entries = list(reader.index)
    except (FormatError, Unsupported):
        return set()
    found = set()
    for entry in entries:
        try:
            data = bytes(reader.payload(entry))
        except Damaged:
            continue
        assert digest_of(data) == entry.digest
        found.add(data)
    return found


def noticed(path: Path) -> bool:
    """Say whether a full check of the pack finds anything wrong."""
    try:
        reader = PackReader(path)
        reader.check()
        for entry in reader.index:
            reader.payload(entry)
    except (FormatError, Damaged, Unsupported):
        return True
    return False


def test_what_is_written_reads_back(pack: Path) -> None:
    """Every object of a pack comes back, and a full check finds nothing."""
    assert readable(pack) == set(OBJECTS)
    assert not noticed(pack)
    reader = PackReader(pack)
    assert all(reader.holds(entry) for entry in reader.index)
    assert [entry.digest for entry in reader.index] == sorted(map(digest_of, OBJECTS))
    for data in OBJECTS:
        (entry,) = reader.index.find(digest_of(data))
        assert (entry.size, entry.stored, entry.encoding) == (len(data), len(data), Encoding.RAW)
    assert reader.index.find(digest_of(b"missing")) == []
    assert pack.stat().st_mode & 0o222 == 0


def test_an_empty_pack_is_a_pack(tmp_path: Path) -> None:
    """A pack without objects is whole and holds nothing."""
    empty = build.write_pack(tmp_path, [])
    assert not noticed(empty)
    assert readable(empty) == set()


def test_the_name_is_the_index(tmp_path: Path) -> None:
    """The same objects in the same order make the same pack, other objects another."""
    names = []
    for number, objects in enumerate((OBJECTS, OBJECTS, OBJECTS[:2], OBJECTS[::-1])):
        (tmp_path / str(number)).mkdir()
        names.append(build.write_pack(tmp_path / str(number), objects).name)
    assert names[0] == names[1]
    assert len(set(names)) == 3


@given(st.lists(st.binary(max_size=200), unique=True, max_size=8))
@settings(max_examples=30)
def test_regions_cover_a_pack(objects: list[bytes]) -> None:
    """No byte of a pack lies outside its regions, so the tests below reach them all."""
    with tempfile.TemporaryDirectory() as folder:
        path = build.write_pack(Path(folder), objects)
        end = 0
        for region in build.regions_of(path):
            assert region.start == end
            end = region.end
        assert end == path.stat().st_size


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_flipped_byte_is_noticed_and_hurts_only_its_own(pack: Path, mask: int) -> None:
    """A flipped byte in a frame costs that object, in header nothing, in index or footer all."""
    for region in build.regions_of(pack):
        lost = {data for data in OBJECTS if digest_of(data) == region.digest}
        expected = set() if region.name in FATAL else set(OBJECTS) - lost
        for at in range(region.start, region.end):
            build.flip(pack, at, mask)
            assert readable(pack) == expected, (region, at)
            assert noticed(pack), (region, at)
            build.flip(pack, at, mask)
    assert not noticed(pack)


def test_every_truncation_is_noticed(pack: Path) -> None:
    """A pack cut off anywhere, by power cut or full disk, is no pack and gives nothing."""
    raw = pack.read_bytes()
    for size in range(len(raw)):
        build.rewrite(pack, raw[:size])
        assert readable(pack) == set(), size
        assert noticed(pack), size


def test_bytes_behind_the_footer_are_noticed(pack: Path) -> None:
    """Nothing follows the footer, and nothing stands in front of the header."""
    raw = pack.read_bytes()
    for wrong in (raw + b"\0", raw + raw, b"\0" + raw, raw + raw[-packs.FOOTER_SIZE :]):
        build.rewrite(pack, wrong)
        assert noticed(pack)


def test_another_pack_under_the_name_is_noticed(pack: Path, tmp_path: Path) -> None:
    """A pack that bears another one's name is refused."""
    (tmp_path / "other").mkdir()
    other = build.write_pack(tmp_path / "other", [b"other"])
    build.rewrite(pack, other.read_bytes())
    with pytest.raises(FormatError, match="index"):
        _ = PackReader(pack).index


def test_a_hole_in_the_frames_is_noticed(tmp_path: Path) -> None:
    """Bytes that no index covers, and frames that overlap, are found by the check."""
    data = b"weights"
    gap = build.raw_entry(data, 20)
    path = build.forge_pack(tmp_path, [gap.to_bytes()], bytes(4) + build.raw_frame(data))
    assert readable(path) == {data}
    with pytest.raises(FormatError, match="gaps"):
        PackReader(path).check()
    path = build.forge_pack(
        tmp_path, [build.raw_entry(data).to_bytes()], build.raw_frame(data) + b"?"
    )
    with pytest.raises(FormatError, match="no index covers"):
        PackReader(path).check()
    twice = [build.raw_entry(data).to_bytes()] * 2
    with pytest.raises(FormatError, match="overlap"):
        PackReader(build.forge_pack(tmp_path, twice, build.raw_frame(data))).check()


def test_an_unsorted_index_is_noticed(tmp_path: Path) -> None:
    """An index out of order would hide objects from a search by halves."""
    one, other = sorted((b"one", b"other"), key=digest_of)
    frames = build.raw_frame(one) + build.raw_frame(other)
    entries = [build.raw_entry(one), build.raw_entry(other, 16 + len(build.raw_frame(one)))]
    PackReader(build.forge_pack(tmp_path, [e.to_bytes() for e in entries], frames)).check()
    path = build.forge_pack(tmp_path, [e.to_bytes() for e in reversed(entries)], frames)
    with pytest.raises(FormatError, match="not sorted"):
        PackReader(path).check()


numbers = st.one_of(
    st.integers(0, 400),
    st.sampled_from([1 << 31, 1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63, U64 - 96, U64 - 95, U64]),
)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers, st.integers(0, 255)), max_size=4))
@settings(max_examples=150)
def test_entries_that_lie_are_refused(lies: list[tuple[int, int, int, int, int]]) -> None:
    """Offsets and sizes beyond the file or 63 bits, overlapping: refused, at no cost."""
    rows = [
        packs.INDEX_ENTRY.pack(digest_of(b"x"), bytes(32), *four, kind, 0, 0, 0)
        for *four, kind in lies
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = build.forge_pack(Path(folder), rows, build.raw_frame(b"x"))
        tracemalloc.start()
        try:
            assert noticed(path)
            assert readable(path) <= {b"x"}
            for entry in _entries(PackReader(path)):
                PackReader(path).holds(entry)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()


def _entries(reader: PackReader) -> Iterator[Entry]:
    try:
        yield from reader.index
    except Unsupported:
        return


def test_a_frame_has_the_checksum_of_its_entry(tmp_path: Path) -> None:
    """A frame that is sound by itself, but not the one the index noted, is refused."""
    entry = dataclasses.replace(build.raw_entry(b"weights"), checksum=7)
    path = build.forge_pack(tmp_path, [entry.to_bytes()], build.raw_frame(b"weights"))
    with pytest.raises(Damaged, match="is damaged"):
        PackReader(path).payload(entry)


def test_sound_entries_beside_lies_are_read(tmp_path: Path) -> None:
    """A lying entry costs its own object, not the pack's others."""
    lie = packs.INDEX_ENTRY.pack(digest_of(b"lie"), bytes(32), U64, U64, U64, 0, 0, 0, 0, 0)
    rows = sorted([lie, build.raw_entry(b"weights").to_bytes()])
    path = build.forge_pack(tmp_path, rows, build.raw_frame(b"weights"))
    assert readable(path) == {b"weights"}
    assert noticed(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"offset": 1 << 63},
        {"offset": U64, "size": 73},
        {"size": 0},
        {"size": 1 << 40, "offset": 0},
        {"offset": 0},
    ],
)
def test_a_footer_that_lies_is_refused(pack: Path, fields: dict[str, int]) -> None:
    """A footer with a right checksum and a wrong place for the index is refused, at no cost."""
    raw = pack.read_bytes()
    magic, version, _, _, offset, size, name = packs.FOOTER.unpack_from(
        raw, len(raw) - packs.FOOTER_SIZE
    )
    place = fields.get("offset", offset), fields.get("size", size)
    footer = packs.FOOTER.pack(magic, version, 0, 0, *place, name)
    checksum = struct.pack("<Q", checksum_of(footer))
    build.rewrite(pack, raw[: -packs.FOOTER_SIZE] + footer + checksum)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            _ = PackReader(pack).index
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("count", [0, 1, 3, 1 << 31, U64])
def test_an_index_that_lies_is_refused(tmp_path: Path, count: int) -> None:
    """A count that is not that of the entries is refused, though name and footer are right."""
    index = packs.INDEX_HEADER.pack(b"MVCI", FORMAT, 0, count) + bytes(2 * packs.INDEX_ENTRY.size)
    path = forged_index(tmp_path, index)
    with pytest.raises(FormatError, match="claims"):
        _ = PackReader(path).index


@pytest.mark.parametrize("index", [b"", b"MVCI", bytes(16), b"MVCI\2\0" + bytes(10)])
def test_an_index_without_a_header_is_refused(tmp_path: Path, index: bytes) -> None:
    """Bytes that are no index are refused, though name and footer are right."""
    with pytest.raises(FormatError, match="index"):
        _ = PackReader(forged_index(tmp_path, index)).index


def forged_index(folder: Path, index: bytes) -> Path:
    name = digest_of(index)
    head = packs.PACK_HEADER.pack(b"MVCPACK\n", FORMAT, 0, 0)
    footer = packs.FOOTER.pack(b"MVCEND\r\n", FORMAT, 0, 0, len(head), len(index), name)
    path = folder / (name.hex() + packs.SUFFIX)
    path.write_bytes(head + index + footer + struct.pack("<Q", checksum_of(footer)))
    return path


@pytest.mark.parametrize("version", [FORMAT - 1, FORMAT + 1])
def test_a_pack_of_another_format_is_unsupported(pack: Path, version: int) -> None:
    """A whole pack of a newer or an older format is not called damaged; a damaged one is."""
    place = pack.stat().st_size - packs.FOOTER_SIZE + 8
    build.flip(pack, place, version ^ FORMAT)
    with pytest.raises(FormatError, match="no footer"):
        _ = PackReader(pack).index
    footer = pack.read_bytes()[-packs.FOOTER_SIZE : -8]
    build.rewrite(pack, pack.read_bytes()[:-8] + struct.pack("<Q", checksum_of(footer)))
    with pytest.raises(Unsupported, match=f"format {version}"):
        _ = PackReader(pack).index


def test_a_pack_that_shrinks_while_open_is_damaged(pack: Path) -> None:
    """Whoever cuts off a pack that is being read causes an error of ours, not a crash."""
    reader = PackReader(pack)
    entries = list(reader.index)
    size = reader.file_size
    for keep in (size // 2, 20, 3, 0):
        pack.chmod(0o644)
        os.truncate(pack, keep)
        for entry in entries:
            if entry.end > keep:
                with pytest.raises(Damaged):
                    reader.payload(entry)
            assert reader.holds(entry) == (entry.offset + packs.FRAME_HEADER.size <= keep)
        with pytest.raises(FormatError):
            _ = PackReader(pack).index


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_only_regular_files_are_packs(pack: Path, tmp_path: Path, kind: str) -> None:
    """A link, a folder or a pipe under a pack's name is refused and never waited for."""
    path = tmp_path / ("0" * 64 + packs.SUFFIX)
    if kind == "link":
        path.symlink_to(pack)
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises((MvcError, OSError)):
        PackReader(path)


def test_a_reader_keeps_its_pack(pack: Path) -> None:
    """A pack that is removed while open is read to the end, and closed when let go."""
    reader = PackReader(pack)
    entries = list(reader.index)
    pack.unlink()
    assert {bytes(reader.payload(entry)) for entry in entries} == set(OBJECTS)
    before = len(os.listdir("/dev/fd"))
    del reader
    assert len(os.listdir("/dev/fd")) == before - 1


def test_a_frame_of_the_wrong_size_is_never_finished(tmp_path: Path) -> None:
    """An encoder that says another size than it writes is noticed before the pack has a name."""
    writer = PackWriter(tmp_path / "new")
    with pytest.raises(ValueError, match="wrong size"):
        writer.add(digest_of(b"x"), 1, Encoded(Encoding.RAW, [b"x"], 2))
    writer.discard()
    assert os.listdir(tmp_path) == []


def test_an_entry_counts_what_it_takes(pack: Path) -> None:
    """The costs of all entries and the pack's fixed parts add up to the file."""
    reader = PackReader(pack)
    fixed = packs.PACK_HEADER.size + packs.INDEX_HEADER.size + packs.FOOTER_SIZE
    assert sum(entry.cost for entry in reader.index) + fixed == reader.file_size


entries = st.builds(
    Entry,
    st.binary(min_size=32, max_size=32).map(Digest),
    *[st.integers(0, U64)] * 3,
    st.sampled_from(Encoding),
    st.integers(0, U64),
    st.integers(0, 255),
    st.none() | st.binary(min_size=32, max_size=32).filter(any).map(Digest),
    st.integers(0, (1 << 32) - 1),
)


@given(entries)
def test_an_entry_reads_back(entry: Entry) -> None:
    """Every field of an entry survives, with base and depth, and the pack it is told."""
    assert Entry.from_bytes(b"??" + entry.to_bytes(entry.pack), 2) == entry
