"""The merged index: a cache that may be stale, damaged or gone without harm."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from mvc.digest import checksum_of, digest_of
from mvc.errors import Damaged
from mvc.recipe import ObjectRef, Part, Recipe
from mvc.store import Store
from mvc.store.index import MOST_OPEN, MOST_UNCOVERED, PackIndex
from mvc.store.pack import INDEX_ENTRY, PackReader
from tests.support import store_builders as build

OBJECTS = [b"object %d" % number for number in range(4)]
FILE = b"".join(OBJECTS[:2])


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store of objects in packs of their own, and a file with its recipe."""
    store = build.new_store(tmp_path / "store")
    refs = tuple(ObjectRef(digest_of(data), len(data)) for data in OBJECTS[:2])
    made = Recipe(len(FILE), refs, (Part(0, 2, 0, len(FILE)),))
    build.publish_file(store, OBJECTS[:2], made, FILE)
    for data in OBJECTS[2:]:
        build.write_pack(store.folder / "packs", [data])
    return store


@pytest.fixture
def merged(store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a merged index that covers every pack of the store."""
    monkeypatch.setattr("mvc.store.index.MOST_UNCOVERED", 0)
    PackIndex(store.folder / "packs", cache).merge_if_due()
    return cache / "index"


def all_is_read(store: Store, cache: Path) -> bool:
    """Say whether a fresh reader finds every object and the file, and nothing that is not there."""
    reader = Store.open(store.folder, cache=cache)
    for data in [*OBJECTS, FILE]:
        assert bytes(reader.get(digest_of(data))) == data
    assert reader.find(digest_of(b"missing")) is None
    with pytest.raises(Damaged, match="missing"):
        reader.get(digest_of(b"missing"))
    return True


def forget_packs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which packs' own indexes are read."""
    asked: list[str] = []
    read = PackReader._read_index

    def noted(reader: PackReader) -> object:
        asked.append(reader.path.name)
        return read(reader)

    monkeypatch.setattr(PackReader, "_read_index", noted)
    return asked


def test_it_is_built_when_many_packs_are_uncovered(tmp_path: Path, cache: Path) -> None:
    """With 64 packs uncovered nothing is written, with one more all are covered."""
    store = build.new_store(tmp_path / "store")
    data = [b"%d" % number for number in range(MOST_UNCOVERED + 1)]
    for content in data[:-1]:
        build.write_pack(store.folder / "packs", [content])
    PackIndex(store.folder / "packs", cache).merge_if_due()
    assert not (cache / "index").exists()
    build.write_pack(store.folder / "packs", data[-1:])
    PackIndex(store.folder / "packs", None).merge_if_due()
    assert os.listdir(cache) == []
    index = PackIndex(store.folder / "packs", cache)
    index.merge_if_due()
    assert (cache / "index").exists()
    for content in data:
        (found,) = index.find(digest_of(content))
        assert found.pack.payload(found.entry) == content


def test_covered_packs_are_not_asked(
    store: Store, cache: Path, merged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a merged index an object is found without reading any pack's own index."""
    asked = forget_packs(monkeypatch)
    reader = Store.open(store.folder, cache=cache)
    for data in [*OBJECTS, FILE]:
        assert bytes(reader.get(digest_of(data))) == data
    assert reader.find(digest_of(b"missing")) is None
    assert asked == []


def test_packs_it_does_not_know_are_asked(store: Store, cache: Path, merged: Path) -> None:
    """A stale index hides nothing that was published since."""
    before = merged.read_bytes()
    late = build.publish(store, [b"late"], b"mvc: 1\n")
    assert late.stored == 4
    reader = Store.open(store.folder, cache=cache)
    assert bytes(reader.get(digest_of(b"late"))) == b"late"
    assert all_is_read(store, cache)
    assert merged.read_bytes() == before


def test_packs_that_are_gone_are_not_found(store: Store, cache: Path, merged: Path) -> None:
    """Packs that a repack took away are neither found nor called damaged; their objects move."""
    packs = store.folder / "packs"
    for pack in build.packs_of(store):
        contents = [bytes(PackReader(pack).payload(e)) for e in PackReader(pack).index]
        kinds = [entry.encoding for entry in PackReader(pack).index]
        if 4 not in kinds:
            build.write_pack(packs, [*contents, b"more"])
            pack.unlink()
    assert all_is_read(store, cache)
    for pack in build.packs_of(store):
        pack.unlink()
    reader = Store.open(store.folder, cache=cache)
    for data in OBJECTS:
        assert reader.find(digest_of(data)) is None
        assert reader.index.damaged == {}
        with pytest.raises(Damaged, match="missing"):
            reader.get(digest_of(data))


def test_packs_that_go_while_open_are_not_missed(store: Store, cache: Path, merged: Path) -> None:
    """A reader that has listed the packs finds an object that moved meanwhile."""
    reader = Store.open(store.folder, cache=cache)
    for number, pack in enumerate(build.packs_of(store)):
        raw_objects = [
            bytes(PackReader(pack).payload(entry))
            for entry in PackReader(pack).index
            if entry.encoding == 0
        ]
        build.write_pack(store.folder / "packs", [*raw_objects, b"moved %d" % number])
        pack.unlink()
    for data in OBJECTS:
        assert bytes(reader.get(digest_of(data))) == data


@pytest.mark.parametrize("mask", [0x04, 0xFF])
def test_every_flipped_byte_is_harmless(store: Store, cache: Path, merged: Path, mask: int) -> None:
    """Whatever byte of the cache is wrong, every object is read and none is invented."""
    good = merged.read_bytes()
    assert len(good) > 5 * INDEX_ENTRY.size
    for at in range(len(good)):
        damaged = bytearray(good)
        damaged[at] ^= mask
        merged.write_bytes(damaged)
        assert all_is_read(store, cache), at


def test_every_truncation_is_harmless(store: Store, cache: Path, merged: Path) -> None:
    """A cache that is cut off anywhere, empty, or longer than it should be is passed over."""
    good = merged.read_bytes()
    for size in range(0, len(good), 7):
        merged.write_bytes(good[:size])
        assert all_is_read(store, cache), size
    merged.write_bytes(good + good[-INDEX_ENTRY.size :])
    assert all_is_read(store, cache)


@pytest.mark.parametrize("kind", ["missing", "a folder", "a dangling link", "of another store"])
def test_whatever_is_in_its_place_is_harmless(
    store: Store, cache: Path, merged: Path, kind: str, tmp_path: Path
) -> None:
    """No cache, or something else under its name, or another store's cache: reads are right."""
    merged.unlink()
    if kind == "a folder":
        merged.mkdir()
    elif kind == "a dangling link":
        merged.symlink_to("nothing")
    elif kind == "of another store":
        (tmp_path / "packs").mkdir()
        build.write_pack(tmp_path / "packs", [b"missing"])
        PackIndex(tmp_path / "packs", cache).merge_if_due()
        assert merged.exists()
    assert all_is_read(store, cache)


def test_entries_that_lie_are_harmless(store: Store, cache: Path, merged: Path) -> None:
    """Entries that point outside their pack, at another pack or at none are passed over."""
    good = merged.read_bytes()
    names = struct.unpack_from("<I", good, 8)[0]
    start = 24 + 32 * names + 8
    for field, value in (
        (64, 1 << 63),
        (64, (1 << 64) - 1),
        (72, (1 << 64) - 1),
        (80, 1),
        (100, 99),
    ):
        lies = bytearray(good)
        for at in range(start, len(good), INDEX_ENTRY.size):
            layout = "<I" if field == 100 else "<Q"
            struct.pack_into(layout, lies, at + field, value)
        merged.write_bytes(lies)
        assert all_is_read(store, cache), (field, value)


def test_lying_counts_are_harmless(store: Store, cache: Path, merged: Path) -> None:
    """Counts are compared with the file before they are believed, checksum or not."""
    for packs, count in ((1 << 31, 0), (0, 1 << 63), (0xFFFFFFFF, 0xFFFFFFFF), (1, 1)):
        head = struct.pack("<4sHHIIQ", b"MVCM", 0, 0, packs, 0, count)
        merged.write_bytes(head + struct.pack("<Q", checksum_of(head)))
        assert all_is_read(store, cache)


def test_a_damaged_pack_does_not_keep_the_others_out(
    store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pack that cannot be read is left out of the merged index and named; the rest is covered."""
    monkeypatch.setattr("mvc.store.index.MOST_UNCOVERED", 0)
    broken = build.write_pack(store.folder / "packs", [b"broken"])
    build.rewrite(broken, broken.read_bytes()[:-1])
    index = PackIndex(store.folder / "packs", cache)
    assert {pack.path.name for pack in index.packs()} == set(index.names) - {broken.name}
    assert list(index.damaged) == [broken.name]
    index.merge_if_due()
    assert all_is_read(store, cache)


def test_a_cache_that_cannot_be_written_is_no_error(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing may be written, reads go on without a merged index."""
    monkeypatch.setattr("mvc.store.index.MOST_UNCOVERED", 0)
    PackIndex(store.folder / "packs", tmp_path / "nowhere").merge_if_due()
    assert all_is_read(store, tmp_path / "nowhere")


def test_an_object_of_a_newer_mvc_does_not_stop_the_merge(store: Store, cache: Path) -> None:
    """An encoding that is not known leaves the merged index unwritten, and nothing else."""
    entry = bytearray(build.raw_entry(b"strange").to_bytes())
    entry[-8] = 200
    build.forge_pack(store.folder / "packs", [bytes(entry)], build.raw_frame(b"strange"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mvc.store.index.MOST_UNCOVERED", 0)
        PackIndex(store.folder / "packs", cache).merge_if_due()
    assert all_is_read(store, cache)


def test_few_packs_are_open_at_once(tmp_path: Path) -> None:
    """However many packs there are, descriptors stay bounded, and all objects are read."""
    store = build.new_store(tmp_path / "store")
    data = [b"%d" % number for number in range(MOST_OPEN + 30)]
    for content in data:
        build.write_pack(store.folder / "packs", [content])
    reader = Store.open(store.folder)
    before = len(os.listdir("/dev/fd"))
    for content in data:
        assert bytes(reader.get(digest_of(content))) == content
    assert len(os.listdir("/dev/fd")) - before <= MOST_OPEN


def test_a_replaced_pack_is_read_anew(store: Store) -> None:
    """A reader that holds a damaged pack open reads the whole one that took its name."""
    data = OBJECTS[2]
    pack = next(p for p in build.packs_of(store) if PackReader(p).index.find(digest_of(data)))
    good = pack.read_bytes()
    for wrong in (good[:-1], good.replace(data, bytes(len(data))), b""):
        build.rewrite(pack, wrong)
        reader = Store.open(store.folder)
        with pytest.raises(Damaged):
            reader.get(digest_of(data))
        build.rewrite(pack, good)
        assert bytes(reader.get(digest_of(data))) == data
