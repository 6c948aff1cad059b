"""Transactions: what a kill, an eviction, a rival or rot leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mvc import codecs, fileio
from mvc.codecs import Encoded, Encoding
from mvc.digest import digest_of
from mvc.errors import Busy, Damaged, MvcError
from mvc.recipe import ObjectRef, Part, Recipe
from mvc.store import Store, Transaction
from mvc.store import transaction as transactions
from mvc.store.intents import INTENT
from mvc.store.settings import root_name
from tests.support import store_builders as build

OBJECTS = [b"one object", b"another object", bytes(5000)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return build.new_store(tmp_path / "store")


@pytest.fixture
def begun(store: Store) -> Iterator[Transaction]:
    """Return a transaction whose objects are put, but not published."""
    transaction = Transaction(store)
    fileio.run(transaction.begin())
    for data in OBJECTS:
        transaction.put(data, digest_of(data), 0)
    yield transaction
    transaction.end()


def roots(store: Store) -> list[bytes]:
    return [path.read_bytes() for path in (store.folder / "roots").rglob("*.yaml")]


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


def payload_of(store: Store, data: bytes) -> tuple[Path, int]:
    """Return the pack that holds an object, and the offset of its payload there."""
    for pack in build.packs_of(store):
        for region in build.regions_of(pack):
            if region.name == "payload" and region.digest == digest_of(data):
                return pack, region.start
    raise AssertionError("not in the store")


def test_a_publish_takes_its_steps_in_order(store: Store) -> None:
    """Children first and the name last: packs are durable before the record is written."""
    transaction = Transaction(store)
    assert list(build.steps_of(transaction, OBJECTS)) == [
        "intent",
        "packs listed",
        "pack written",
        "pack linked",
        "packs durable",
        "record written",
        "rooted",
        "root durable",
    ]
    transaction.end()
    assert names(store.folder / "staging") == []


def test_a_published_record_is_a_root(store: Store) -> None:
    """The record stands under its digest in its registry's folder, read-only, and is shared."""
    build.publish(store, OBJECTS, b"mvc: 1\n")
    root = store.folder / "roots" / build.REGISTRY / root_name(b"mvc: 1\n")
    assert root.read_bytes() == b"mvc: 1\n"
    assert root.stat().st_mode & 0o222 == 0
    build.publish(store, OBJECTS, b"mvc: 1\n")
    assert roots(store) == [b"mvc: 1\n"]


def test_a_root_never_lacks_its_objects(store: Store) -> None:
    """Whatever step a publish dies in, every root's objects are stored, and a repeat works."""
    for step in build.killed_after_every_step(lambda: build.steps_of(Transaction(store), OBJECTS)):
        after = Store.open(store.folder)
        if roots(store):
            assert roots(store) == [build.RECORD]
            assert all(bytes(after.get(digest_of(data))) == data for data in OBJECTS), step
        assert len(names(store.folder / "staging")) == 1, "the kill left its intent for gc"
        build.publish(after, OBJECTS)
        assert roots(store) == [build.RECORD]
        for folder in ("packs", "roots", "staging"):
            fileio.remove_folder(store.folder / folder)
            fileio.make_folder(store.folder / folder)


def test_an_evicted_transaction_roots_nothing(store: Store, begun: Transaction) -> None:
    """The fence: once gc has removed the intent's name, publishing is Busy and leaves no root."""
    (store.folder / "staging" / begun.id / INTENT).unlink()
    with pytest.raises(Busy, match="evicted") as caught:
        fileio.run(begun.publish(build.REGISTRY, build.RECORD))
    assert "again" in (caught.value.hint or "")
    assert roots(store) == []
    begun.end()
    build.publish(store, OBJECTS)
    assert roots(store) == [build.RECORD]


def test_an_eviction_at_the_last_moment_holds(store: Store, begun: Transaction) -> None:
    """The fence stands in the link itself: there is no moment between a look and a link."""
    intent = store.folder / "staging" / begun.id / INTENT
    steps = begun.publish(build.REGISTRY, build.RECORD)
    for step in steps:
        if step == "record written":
            break
    assert intent.read_bytes() == build.RECORD
    intent.unlink()
    with pytest.raises(Busy):
        fileio.run(steps)
    assert roots(store) == []


def test_a_transaction_that_ends_early_leaves_nothing(store: Store, begun: Transaction) -> None:
    """Without a publish there is no pack, no root and nothing staged; ``end`` may come twice."""
    begun.end()
    begun.end()
    assert [names(store.folder / f) for f in ("packs", "roots", "staging")] == [[], [], []]


def test_a_failed_sync_publishes_nothing(
    store: Store, begun: Transaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pack that could not be made durable gets no name, and its sync is not tried again."""
    synced = []

    def fail(descriptor: int) -> None:
        synced.append(descriptor)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(fileio, "_sync", fail)
        with pytest.raises(OSError, match="Input/output"):
            fileio.run(begun.publish(build.REGISTRY, build.RECORD))
    assert len(synced) == 1
    begun.end()
    assert [names(store.folder / f) for f in ("packs", "roots", "staging")] == [[], [], []]


def test_packs_reused_are_made_durable(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack may be linked by a writer that died before its sync: whoever reuses it syncs it."""
    build.publish(store, OBJECTS)
    synced: list[Path] = []
    sync_folder = fileio.sync_folder

    def noted(path: Path) -> None:
        synced.append(path)
        sync_folder(path)

    monkeypatch.setattr(fileio, "sync_folder", noted)
    build.publish(store, OBJECTS[:1], b"mvc: 1\n")
    assert store.folder / "packs" in synced
    assert synced.index(store.folder / "packs") < synced.index(
        store.folder / "roots" / build.REGISTRY
    )


def spoil_payload(raw: bytes) -> bytes:
    return raw.replace(OBJECTS[0], OBJECTS[0].upper())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: b"",
        lambda raw: raw[:-1],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw + b"\0",
        lambda raw: b"\0" * len(raw),
        lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
        spoil_payload,
    ],
    ids=["empty", "cut by one", "cut in half", "longer", "zeros", "footer", "payload"],
)
def test_a_damaged_pack_of_the_same_name_is_replaced(
    store: Store, begun: Transaction, spoil: Callable[[bytes], bytes]
) -> None:
    """Whole bytes take the place of rotten ones of the same name, which are kept aside."""
    build.publish(Store.open(store.folder), OBJECTS)
    (pack,) = build.packs_of(store)
    good = pack.read_bytes()
    bad = spoil(good)
    assert bad != good
    build.rewrite(pack, bad)
    fileio.run(begun.publish(build.REGISTRY, b"mvc: 1\n"))
    assert pack.read_bytes() == good
    (kept,) = (store.folder / "quarantine").iterdir()
    assert kept.read_bytes() == bad
    assert all(bytes(Store.open(store.folder).get(digest_of(data))) == data for data in OBJECTS)


@pytest.mark.parametrize("when", ["is_whole", "name_also"])
def test_a_pack_of_the_same_name_that_a_collector_takes_is_made(
    store: Store, begun: Transaction, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Where the name was taken and is not any more, ours has it."""
    build.publish(Store.open(store.folder), OBJECTS)
    (pack,) = build.packs_of(store)
    if when == "name_also":  # it is looked at because it has rotted
        build.flip(pack, 100)
    real = getattr(transactions, when)

    def late(path: Path, *given: Path) -> object:
        pack.unlink()
        monkeypatch.setattr(transactions, when, real)
        return real(path, *given)

    monkeypatch.setattr(transactions, when, late)
    fileio.run(begun.publish(build.REGISTRY, b"mvc: 1\n"))
    assert build.packs_of(store) == [pack]
    assert all(bytes(Store.open(store.folder).get(digest_of(data))) == data for data in OBJECTS)


def test_a_rotten_object_is_stored_again(store: Store) -> None:
    """Who adds a file again after its copy has rotted gets it back, also from a lone pack."""
    for objects in ([OBJECTS[0]], OBJECTS):
        store = build.new_store(store.folder.parent / f"store-{len(objects)}")
        build.publish(store, objects)
        pack, at = payload_of(store, OBJECTS[0])
        build.flip(pack, at)
        with pytest.raises(Damaged):
            Store.open(store.folder).get(digest_of(OBJECTS[0]))
        writer = Store.open(store.folder)
        again = build.publish(writer, objects, b"mvc: 1\n")
        assert again.stored == len(OBJECTS[0])
        assert again.reused == sum(map(len, objects[1:]))
        for reader in (writer, Store.open(store.folder)):
            for data in objects:
                assert bytes(reader.get(digest_of(data))) == data


def test_a_rotten_recipe_is_stored_again(store: Store) -> None:
    """The same for a file's recipe."""
    ref = ObjectRef(digest_of(b"abc"), 3)
    made = Recipe(6, (ref,), (Part(0, 1, 0, 3),) * 2)
    build.publish_file(store, [b"abc"], made, b"abcabc")
    pack, at = payload_of(store, b"abcabc")
    build.flip(pack, at + 70)
    with pytest.raises(MvcError):
        Store.open(store.folder).get(digest_of(b"abcabc"))
    build.publish_file(Store.open(store.folder), [b"abc"], made, b"abcabc")
    assert bytes(Store.open(store.folder).get(digest_of(b"abcabc"))) == b"abcabc"


def test_a_whole_pack_of_the_same_name_stays(store: Store) -> None:
    """Two writers of the same objects make one pack: the second finds the first one's whole."""
    one, other = Transaction(store), Transaction(Store.open(store.folder))
    for transaction in (one, other):
        fileio.run(transaction.begin())
        for data in OBJECTS:
            transaction.put(data, digest_of(data), 0)
    fileio.run(one.publish(build.REGISTRY, b"mvc: 1\n"))
    (pack,) = build.packs_of(store)
    before = pack.stat().st_ino
    fileio.run(other.publish(build.REGISTRY, b"mvc: 2\n"))
    assert [p.stat().st_ino for p in build.packs_of(store)] == [before]
    assert not (store.folder / "quarantine").exists()
    assert len(roots(store)) == 2
    one.end()
    other.end()


def test_a_kill_while_replacing_leaves_a_pack_under_the_name(store: Store) -> None:
    """While a rotten pack is replaced, its name is never free: what it still holds stays found."""
    build.publish(store, [OBJECTS[0]])
    pack, at = payload_of(store, OBJECTS[0])
    for _ in range(2):
        build.flip(pack, at)
        for step in build.killed_after_every_step(
            lambda: build.steps_of(Transaction(Store.open(store.folder)), [OBJECTS[0]], b"mvc: 2\n")
        ):
            assert pack.exists(), step
        assert bytes(Store.open(store.folder).get(digest_of(OBJECTS[0]))) == OBJECTS[0]


def test_packs_that_are_full_make_room_for_another(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the limit a transaction begins another pack; all are published together."""
    monkeypatch.setattr("mvc.store.transaction.MAX_PACK_SIZE", 1000)
    objects = [os.urandom(300) for _ in range(10)]
    done = build.publish(store, objects)
    packs = build.packs_of(store)
    assert len(packs) == 5
    assert all(pack.stat().st_size < 1000 + 10 * 108 for pack in packs)
    assert done.stored == 3000
    assert all(bytes(Store.open(store.folder).get(digest_of(data))) == data for data in objects)


def test_a_kill_among_several_packs_leaves_objects_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several packs each object is there or not, and without a root none is relied upon."""
    monkeypatch.setattr("mvc.store.transaction.MAX_PACK_SIZE", 400)
    objects = [os.urandom(300) for _ in range(3)]
    counts = []
    for step in build.killed_after_every_step(lambda: build.steps_of(Transaction(store), objects)):
        after = Store.open(store.folder)
        there = [data for data in objects if after.find(digest_of(data))]
        assert all(bytes(after.get(digest_of(data))) == data for data in there), step
        assert not roots(store) or there == objects
        counts.append(len(there))
        fileio.remove_folder(store.folder / "packs")
        fileio.remove_folder(store.folder / "roots")
        fileio.make_folder(store.folder / "packs")
        fileio.make_folder(store.folder / "roots")
    assert counts == [0, 0, 0, 0, 0, 1, 2, 3, 3, 3, 3, 3]


def test_an_object_larger_than_a_pack_has_one_of_its_own(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit begins a pack, it never refuses an object."""
    monkeypatch.setattr("mvc.store.transaction.MAX_PACK_SIZE", 10)
    build.publish(store, OBJECTS)
    assert len(build.packs_of(store)) == len(OBJECTS)
    assert all(bytes(store.get(digest_of(data))) == data for data in OBJECTS)


def test_what_does_not_decode_is_not_published(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder that loses bytes is caught before anything has a name."""
    zeros = codecs.encode(bytes(5000), 0)
    assert zeros.encoding != Encoding.RAW
    for wrong in (zeros, Encoded.of(zeros.encoding, b"no payload")):
        with monkeypatch.context() as patch:
            patch.setattr(codecs, "encode", lambda data, width, bases, wrong=wrong: wrong)
            with pytest.raises(MvcError):
                build.publish(store, [b"\x01" * 5000])
    assert [names(store.folder / f) for f in ("packs", "roots", "staging")] == [[], [], []]


def test_a_recipe_that_does_not_read_back_is_not_published(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for a recipe."""
    empty: Any = Recipe(0, (), ())
    monkeypatch.setattr("mvc.recipe.decode", lambda raw: empty)
    ref = ObjectRef(digest_of(b"abc"), 3)
    with pytest.raises(MvcError, match="does not read back"):
        build.publish_file(store, [b"abc"], Recipe(3, (ref,), (Part(0, 1, 0, 3),)), b"file")
    assert [names(store.folder / f) for f in ("packs", "roots", "staging")] == [[], [], []]


def test_a_pack_reused_from_stays_readable(store: Store) -> None:
    """What a transaction relies on stays open to it, even if gc takes the name away."""
    build.publish(store, OBJECTS)
    transaction = Transaction(store)
    fileio.run(transaction.begin())
    assert transaction.hold(digest_of(OBJECTS[0]), len(OBJECTS[0]))
    for pack in build.packs_of(store):
        pack.unlink()
    (kept,) = transaction._reused_from
    (entry,) = kept.index.find(digest_of(OBJECTS[0]))
    assert kept.payload(entry) == OBJECTS[0]
    transaction.end()


@pytest.mark.parametrize("together", [True, False])
def test_a_file_kept_in_parts_is_no_object(store: Store, together: bool) -> None:
    """A recipe does not stand for an object of the same bytes, which is then stored beside it."""
    parts = [b"first half, ", b"second half"]
    whole = b"".join(parts)
    refs = tuple(ObjectRef(digest_of(part), len(part)) for part in parts)
    made = Recipe(len(whole), refs, (Part(0, 2, 0, len(whole)),))
    for steps in ([1, 2],) if together else ([1], [2]):
        transaction = Transaction(store)
        fileio.run(transaction.begin())
        if 1 in steps:
            for part in parts:
                transaction.put(part, digest_of(part), 0)
            transaction.put_recipe(digest_of(whole), made)
        if 2 in steps:
            transaction.put(whole, digest_of(whole), 0)
        fileio.run(transaction.publish(build.REGISTRY, build.RECORD))
        transaction.end()
    opened = Store.open(store.folder)
    assert bytes(opened.get_object(digest_of(whole))) == whole
    assert bytes(opened.get(digest_of(whole))) == whole
