"""The store of packs in a folder: the contract, and what only it does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mvc.codecs import Encoded, Encoding
from mvc.compatibility import FORMAT
from mvc.digest import Digest, digest_of
from mvc.errors import Conflict, Damaged, FormatError, MvcError, NotFound, Unsupported
from mvc.recipe import ObjectRef, Part, Recipe
from mvc.store import Store, Transaction
from mvc.store.pack import PackWriter
from mvc.store.store import MAX_SKELETON
from tests.store.contract import StoreContract
from tests.support import store_builders as build


class TestFolderStore(StoreContract):
    """The contract, for a store in a folder."""

    def make(self, folder: Path) -> Store:
        return build.new_store(folder)

    def reopened(self, store: Store) -> Store:
        return Store.open(store.folder)

    def every_damage(self, store: Store) -> Iterator[object]:
        for pack in build.packs_of(store):
            for region in build.regions_of(pack):
                for at in {region.start, (region.start + region.end) // 2, region.end - 1}:
                    build.flip(pack, at)
                    yield region
                    build.flip(pack, at)


class TestCachedStore(TestFolderStore):
    """The contract, for a store in a folder with a merged index of all packs beside it."""

    @pytest.fixture(autouse=True)
    def merged_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mvc.store.index.MOST_UNCOVERED", 0)

    def make(self, folder: Path) -> Store:
        (folder.parent / "cache").mkdir()
        return build.new_store(folder, folder.parent / "cache")

    def reopened(self, store: Store) -> Store:
        opened = Store.open(store.folder, cache=store.folder.parent / "cache")
        opened.index.merge_if_due()
        return opened


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return build.new_store(tmp_path / "store")


def put_frame(store: Store, digest: Digest, size: int, encoded: Encoded) -> None:
    """Put a frame into the store by hand, in a pack of its own."""
    writer = PackWriter(store.folder / "staging" / "by-hand")
    writer.add(digest, size, encoded)
    writer.path.rename(store.folder / "packs" / writer.finish())


def settings_of(store: Store) -> Path:
    return store.folder / "store.yaml"


@pytest.mark.parametrize("kind", ["nothing", "an empty folder", "a file"])
def test_an_empty_mount_point_never_passes(tmp_path: Path, kind: str) -> None:
    """Where no ``store.yaml`` is, there is no store, and none is made."""
    folder = tmp_path / "store"
    if kind == "an empty folder":
        folder.mkdir()
    elif kind == "a file":
        folder.write_bytes(b"")
    before = os.listdir(tmp_path), folder.is_dir() and os.listdir(folder)
    with pytest.raises(NotFound, match="no store"):
        Store.open(folder)
    assert (os.listdir(tmp_path), folder.is_dir() and os.listdir(folder)) == before


@pytest.mark.parametrize("version", [FORMAT - 1, FORMAT + 1])
def test_a_store_of_another_format_is_not_touched(store: Store, version: int) -> None:
    """A store of a newer or an older format is Unsupported, whatever id is expected."""
    build.rewrite(settings_of(store), f'mvc: {version}\nid: "{store.id}"\n'.encode())
    with pytest.raises(Unsupported, match=f"format {version}"):
        Store.open(store.folder)


def test_an_unknown_feature_shuts_the_store(store: Store) -> None:
    """A feature that this mvc does not know is named; a leftover of a killed writer is none."""
    (store.folder / "features" / ".mvc-new-0123").write_bytes(b"")
    assert Store.open(store.folder).id == store.id
    (store.folder / "features" / "sharded-packs").write_bytes(b"")
    with pytest.raises(Unsupported, match="sharded-packs"):
        Store.open(store.folder)


@pytest.mark.parametrize(
    "settings",
    [
        b"",
        b"\xff",
        b"mvc: 1\n",
        b'mvc: 1\nid: ""\n',
        b'mvc: 1\nid: "ABCDEF"\n',
        b'mvc: 1\nid: "' + b"A" * 32 + b'"\n',
        b'mvc: 1\nid: "' + b"0" * 32 + b'\\n"\n',
        b"mvc: 1\nid: 7\n",
        b'id: "' + b"0" * 32 + b'"\n',
        b'mvc: "0"\nid: "' + b"0" * 32 + b'"\n',
        b'mvc: true\nid: "' + b"0" * 32 + b'"\n',
        b'mvc: -1\nid: "' + b"0" * 32 + b'"\n',
        b'mvc: 1.0\nid: "' + b"0" * 32 + b'"\n',
        b'mvc: 1\nid: "' + b"0" * 32 + b'"',
        b'mvc: 1\nid: "' + b"0" * 32 + b'"\nnote: "' + b"a" * 65536 + b'"\n',
    ],
)
def test_damaged_settings_are_an_error(store: Store, settings: bytes) -> None:
    """A damaged ``store.yaml`` is a FormatError that names the store, never a guess."""
    build.rewrite(settings_of(store), settings)
    with pytest.raises(FormatError, match=store.folder.name):
        Store.open(store.folder)


def test_settings_behind_a_link_are_refused(store: Store, tmp_path: Path) -> None:
    """``store.yaml`` is a file of the store, not a link to one."""
    settings_of(store).rename(tmp_path / "elsewhere")
    settings_of(store).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FormatError, match="symbolic link"):
        Store.open(store.folder)


def test_a_store_is_never_made_over_another(store: Store) -> None:
    """Making a store where one is fails and leaves that one as it was."""
    with pytest.raises(Conflict, match="is not empty"):
        Store.create(store.folder)
    assert Store.open(store.folder).id == store.id


def test_the_other_frame_is_read_when_one_is_damaged(store: Store) -> None:
    """An object with two frames, one of them damaged, is read from the other, either way round."""
    data, companion = b"weights" * 50, b"companion"
    packs = [
        build.write_pack(store.folder / "packs", objects) for objects in ([data], [data, companion])
    ]
    for pack in packs:
        for region in build.regions_of(pack):
            build.flip(pack, region.start)
            assert bytes(Store.open(store.folder).get(digest_of(data))) == data, region
            build.flip(pack, region.start)
    for pack in packs:
        build.flip(pack, build.regions_of(pack)[2].start)
    with pytest.raises(Damaged):
        Store.open(store.folder).get(digest_of(data))


def test_a_damaged_part_is_named(store: Store) -> None:
    """A file that lacks a chunk says which, and the chunks around it are still read."""
    chunks = [bytes([n]) * 100 for n in range(3)]
    refs = tuple(ObjectRef(digest_of(chunk), 100) for chunk in chunks)
    file = b"".join(chunks)
    made = Recipe(300, refs, (Part(0, 3, 0, 300),))
    build.publish_file(store, chunks, made, file)
    (pack,) = build.packs_of(store)
    (region,) = [
        r for r in build.regions_of(pack) if (r.name, r.digest) == ("payload", refs[1].digest)
    ]
    build.flip(pack, region.start)
    broken = Store.open(store.folder)
    with pytest.raises(Damaged, match=refs[1].digest.short):
        broken.get(digest_of(file))
    assert bytes(broken.get(refs[2].digest)) == chunks[2]
    assert len(broken.lacking(digest_of(file), read_at_most=1 << 20)) == 1
    build.rewrite(pack, pack.read_bytes()[: region.start])
    assert Store.open(store.folder).lacking(digest_of(file))


def test_a_frame_with_right_checksum_and_wrong_bytes_is_noticed(store: Store) -> None:
    """The digest has the last word: bytes under a name that is not theirs are never returned."""
    put_frame(store, digest_of(b"right"), 5, Encoded.of(Encoding.RAW, b"wrong"))
    reader = Store.open(store.folder)
    with pytest.raises(Damaged, match="not what was stored"):
        reader.get(digest_of(b"right"))
    with pytest.raises(Damaged, match="not what was stored"):
        b"".join(reader.pieces(digest_of(b"right"), hashed=True))


@pytest.mark.parametrize("size", [MAX_SKELETON + 1, 1 << 40, (1 << 64) - 1])
def test_a_lying_size_allocates_nothing(store: Store, size: int) -> None:
    """A frame that claims more plain bytes than any object may have is refused at once."""
    digest = digest_of(b"a bomb")
    put_frame(store, digest, size, Encoded.of(Encoding.ZSTD, b"a bomb"))
    with pytest.raises(FormatError, match="a size it cannot have"):
        Store.open(store.folder).get(digest)


def test_an_unknown_encoding_hurts_only_its_object(store: Store) -> None:
    """An object in an encoding of a newer mvc is Unsupported; its neighbours are read."""
    strange, known = b"kept in a newer way", b"kept in a known way"
    entry = bytearray(build.raw_entry(strange).to_bytes())
    entry[-8] = 200
    frames = build.raw_frame(strange) + build.raw_frame(known)
    offset = 16 + len(build.raw_frame(strange))
    rows = sorted([bytes(entry), build.raw_entry(known, offset).to_bytes()])
    build.forge_pack(store.folder / "packs", rows, frames)
    reader = Store.open(store.folder)
    assert bytes(reader.get(digest_of(known))) == known
    with pytest.raises(Unsupported, match="encoding 200"):
        reader.get(digest_of(strange))


def test_a_file_named_twice_is_a_file_or_an_object(store: Store) -> None:
    """A file kept both as a recipe and as one object is read, whichever of them is damaged."""
    file = b"abc" * 5
    ref = ObjectRef(digest_of(b"abc"), 3)
    made = Recipe(15, (ref,), (Part(0, 1, 0, 3),) * 5)
    build.publish_file(store, [b"abc"], made, file)
    (recipe_pack,) = build.packs_of(store)
    object_pack = build.write_pack(store.folder / "packs", [file])
    assert bytes(Store.open(store.folder).get(digest_of(file))) == file
    for pack in (recipe_pack, object_pack):
        (region,) = [
            region
            for region in build.regions_of(pack)
            if region.name == "payload" and region.digest == digest_of(file)
        ]
        build.flip(pack, region.start)
        assert bytes(Store.open(store.folder).get(digest_of(file))) == file, pack
        build.flip(pack, region.start)


def test_a_reader_writes_nothing(store: Store) -> None:
    """Reading, also in vain, leaves the folder as it was."""
    build.publish(store, [b"weights"])

    def state() -> list[tuple[str, int, float]]:
        paths = sorted(store.folder.rglob("*"))
        return [(str(p), p.lstat().st_size, p.lstat().st_mtime_ns) for p in paths]

    before = state()
    reader = Store.open(store.folder)
    reader.get(digest_of(b"weights"))
    with pytest.raises(MvcError):
        reader.get(digest_of(b"others"))
    assert state() == before


def test_what_is_no_pack_is_passed_over(store: Store, tmp_path: Path) -> None:
    """Foreign files, folders, pipes and links among the packs hurt nobody."""
    build.publish(store, [b"weights"])
    packs = store.folder / "packs"
    (packs / "notes.txt").write_bytes(b"hello")
    (packs / ".mvc-new-0123.pack").write_bytes(b"cut o")
    (packs / ("0" * 64 + ".pack")).mkdir()
    os.mkfifo(packs / ("1" * 64 + ".pack"))
    (packs / ("2" * 64 + ".pack")).symlink_to(tmp_path / "nothing")
    (packs / "not-hex.pack").write_bytes(build.packs_of(store)[-1].read_bytes()[:50])
    reader = Store.open(store.folder)
    assert bytes(reader.get(digest_of(b"weights"))) == b"weights"
    with pytest.raises(Damaged):
        reader.get(digest_of(b"others"))


def test_the_intent_comes_before_any_look(store: Store) -> None:
    """A transaction is seen by a collector before it relies on anything that is there."""
    transaction = Transaction(store)
    steps = transaction.begin()
    assert next(steps) == "intent"
    assert [p.name for p in (store.folder / "staging").rglob("record.yaml")] == ["record.yaml"]
    transaction.end()
    assert list((store.folder / "staging").iterdir()) == []
