"""Retire and rewrite on a real folder: what is needed comes back, what is not goes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from mvc import codecs, fileio
from mvc.codecs import Base, Encoded, Encoding
from mvc.digest import Digest, digest_of
from mvc.errors import Damaged
from mvc.recipe import ObjectRef, Part, Recipe
from mvc.store import Store
from mvc.store.lock import maintenance
from mvc.store.mark import Census, Need, reachable
from mvc.store.pack import PackReader, PackWriter
from mvc.store.retire import Retired, retire
from mvc.store.rewrite import MANY, Frame, due, merge, rewrite, tidy, write
from tests.support import store_builders as build

A, B, C = (bytes([letter]) * 5000 + os.urandom(100) for letter in b"abc")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return build.new_store(tmp_path / "store")


def names(store: Store) -> list[str]:
    return [path.name for path in build.packs_of(store)]


def trashed(store: Store) -> list[str]:
    return list(fileio.list_folder(store.folder / "trash"))


def pack_of(store: Store, *objects: bytes) -> str:
    """Add a pack with these objects, whatever else holds them."""
    name = build.write_pack(store.folder / "packs", objects).name
    store.index.refresh()
    return name


def retired(store: Store, packs: Iterable[str], *needed: bytes) -> Retired:
    return fileio.run(retire(store, packs, lambda: [Need(digest_of(data)) for data in needed]))


def test_what_is_needed_comes_back_whoever_wanted_it_gone(store: Store) -> None:
    """Every pack of a store may be given: those that hold something needed are there afterwards."""
    kept, gone = pack_of(store, A, B), pack_of(store, C)
    done = retired(store, [kept, gone], A)
    assert (done.restored, done.deleted) == ((kept,), (gone,))
    assert names(store) == [kept]
    assert trashed(store) == []
    assert bytes(store.get(digest_of(A))) == A
    assert done.freed > len(C)


def test_a_copy_elsewhere_is_enough(store: Store) -> None:
    """Of two packs with one needed object either may go, and not both."""
    one, two = pack_of(store, A), pack_of(store, A, B)
    assert retired(store, [one], A).deleted == (one,)
    assert retired(store, [two], A).restored == (two,)
    other = pack_of(store, A)
    assert len(retired(store, [two, other], A).deleted) < 2
    assert bytes(store.get(digest_of(A))) == A


def test_a_rotten_copy_elsewhere_is_none(store: Store) -> None:
    """What another pack holds counts only if its checksum holds."""
    good, rotten = pack_of(store, A), pack_of(store, A, B)
    (region,) = [
        r
        for r in build.regions_of(store.folder / "packs" / rotten)
        if r.name == "payload" and r.digest == digest_of(A)
    ]
    build.flip(store.folder / "packs" / rotten, region.start + 7)
    assert retired(store, [good], A).restored == (good,)


def test_a_recipe_does_not_stand_for_an_object(store: Store) -> None:
    """A file kept as a recipe does not replace an object of the same bytes."""
    whole = pack_of(store, A + B)
    made = Recipe(
        len(A + B),
        (ObjectRef(digest_of(A), len(A)), ObjectRef(digest_of(B), len(B))),
        (Part(0, 2, 0, len(A + B)),),
    )
    build.publish_file(store, [A, B], made, A + B)
    assert retired(store, [whole], A + B).restored == (whole,)


def test_where_marking_fails_every_pack_is_back(store: Store) -> None:
    """One thing that cannot be read, and nothing has moved when the error is told."""
    packs = [pack_of(store, A), pack_of(store, B)]

    def unreadable() -> list[Need]:
        raise Damaged("a root cannot be read")

    before = {name: (store.folder / "packs" / name).read_bytes() for name in names(store)}
    with pytest.raises(Damaged, match="a root cannot be read"):
        fileio.run(retire(store, packs, unreadable))
    with pytest.raises(Damaged, match="missing"):
        retired(store, packs, C)
    after = {name: (store.folder / "packs" / name).read_bytes() for name in names(store)}
    assert (before, trashed(store)) == (after, [])


def test_readers_find_what_is_on_its_way_out(store: Store) -> None:
    """At each step of a retirement an object that goes back reads, also for who opens anew."""
    name = pack_of(store, A)
    build.publish(store, [B])
    for _ in retire(store, [name], lambda: [Need(digest_of(A))]):
        assert bytes(Store.open(store.folder).get(digest_of(A))) == A
        assert store.find(digest_of(A), len(A)) is not None
    assert bytes(store.get(digest_of(A))) == A


def test_writers_do_not_build_on_what_is_on_its_way_out(store: Store) -> None:
    """A pack in the trash is read from and never reused: who adds it again stores it again."""
    steps = retire(store, [pack_of(store, A)], list)
    while next(steps) != "pack in trash":
        pass
    assert bytes(store.get(digest_of(A))) == A
    store.index.refresh()
    assert store.chain(digest_of(A), len(A)) is None
    assert build.publish(store, [A]).stored > 0
    steps.close()


def test_the_next_one_goes_on_where_one_was_killed(store: Store) -> None:
    """Killed after any step, what was needed is there and the next retirement leaves no trash."""
    kept, gone = pack_of(store, A, B), pack_of(store, C)
    data = [(store.folder / "packs" / name).read_bytes() for name in (kept, gone)]

    def steps() -> fileio.Steps[Retired]:
        return retire(Store.open(store.folder), [kept, gone], lambda: [Need(digest_of(A))])

    seen = []
    for step in build.killed_after_every_step(steps):
        seen.append(step)
        assert bytes(Store.open(store.folder).get(digest_of(A))) == A, step
        retired(Store.open(store.folder), [], A)
        assert trashed(store) == [], step
        assert kept in names(store), step
        for name, content in zip((kept, gone), data, strict=True):
            if name not in names(store):
                (store.folder / "packs" / name).write_bytes(content)
    assert {"pack in trash", "marked", "judged", "pack restored", "pack deleted"} <= set(seen)


def test_a_pack_under_two_names_frees_nothing_twice(store: Store) -> None:
    """What a kill left in the trash beside its own pack is removed, and not counted as freed."""
    name = pack_of(store, A)
    (store.folder / "trash").mkdir()
    os.link(store.folder / "packs" / name, store.folder / "trash" / f"{'0' * 32}-{name}")
    done = retired(store, [], A)
    assert (done.freed, trashed(store), names(store)) == (0, [], [name])


def test_foreign_names_in_the_trash_are_left_alone(store: Store) -> None:
    """Only packs are taken over and deleted."""
    (store.folder / "trash" / "lost+found").mkdir(parents=True)
    (store.folder / "trash" / ".nfs000001").write_bytes(b"?")
    retired(store, [pack_of(store, A)])
    assert sorted(trashed(store)) == [".nfs000001", "lost+found"]


def test_rewriting_keeps_what_is_asked_for_and_its_age(store: Store) -> None:
    """The new pack has the frames to keep, byte for byte, and the age of the youngest old one."""
    old = [pack_of(store, A, B), pack_of(store, B, C)]
    for name, age in zip(old, (1_000, 2_000), strict=True):
        os.utime(store.folder / "packs" / name, ns=(0, age * 10**9))
    keep = {digest_of(A), digest_of(C)}
    (new,) = fileio.run(rewrite(store, old, lambda entry: entry.digest in keep))
    pack = PackReader(store.folder / "packs" / new)
    assert [entry.digest for entry in pack.index] == sorted(keep)
    assert pack.changed == 2_000 * 10**9
    for entry in pack.index:
        assert bytes(pack.payload(entry)) in (A, C)
    assert list(fileio.list_folder(store.folder / "staging")) == []


def test_a_frame_keeps_its_base_when_it_is_copied(store: Store) -> None:
    """Depth and base of a delta are copied with it, so that marking goes on seeing the edge."""
    writer = PackWriter(store.folder / "packs" / "new")
    writer.add(digest_of(A), 9, Encoded.of(Encoding.DELTA, b"delta"), depth=2, base=digest_of(B))
    name = writer.finish()
    writer.path.rename(store.folder / "packs" / name)
    pack_of(store, B)
    (new,) = fileio.run(rewrite(store, [name, *names(store)], lambda entry: True))
    (entry,) = PackReader(store.folder / "packs" / new).index.find(digest_of(A))
    assert (entry.depth, entry.base) == (2, digest_of(B))
    census = Census.of(store)
    assert reachable(census, [Need(digest_of(A))]) == {digest_of(A), digest_of(B)}


def test_small_packs_become_one(store: Store) -> None:
    """When enough of one size have come together they are merged, and all reads as before."""
    objects = [os.urandom(400) for _ in range(MANY)]
    for data in objects[:-1]:
        pack_of(store, data)
    tidy(store)
    assert len(names(store)) == MANY - 1
    pack_of(store, objects[-1])
    tidy(store)
    assert len(names(store)) == 1
    assert due(store) == []
    assert [bytes(store.get(digest_of(data))) for data in objects] == objects


def test_who_finds_maintenance_under_way_does_not_merge(store: Store) -> None:
    """Merging waits for nobody: it is time again after the next add."""
    for _ in range(MANY):
        pack_of(store, os.urandom(400))
    with maintenance(store.folder) as alone:
        assert alone
        tidy(store)
        assert len(names(store)) == MANY
    tidy(store)
    assert len(names(store)) == 1


def test_a_damaged_pack_is_not_merged(store: Store) -> None:
    """It stays as it is for repair; the others are merged."""
    packs = [pack_of(store, os.urandom(400)) for _ in range(3)]
    build.flip(store.folder / "packs" / packs[0], 200)
    before = (store.folder / "packs" / packs[0]).read_bytes()
    done = fileio.run(merge(store, packs))
    assert sorted(done.deleted) == sorted(packs[1:])
    assert (store.folder / "packs" / packs[0]).read_bytes() == before


def test_merging_copies_each_object_a_few_times_only(store: Store) -> None:
    """Small packs come one by one: the bytes written stay a small multiple of the bytes."""
    written, seen = 0, set(names(store))
    for _ in range(300):
        pack_of(store, os.urandom(400))
        seen |= set(names(store))
        tidy(store)
        for name in set(names(store)) - seen:
            written += (store.folder / "packs" / name).stat().st_size
        seen |= set(names(store))
    total = sum((store.folder / "packs" / name).stat().st_size for name in names(store))
    assert len(names(store)) < 3 * MANY
    assert written < 3 * total


def test_marking_needs_every_edge_and_every_object(store: Store) -> None:
    """Whatever a needed object needs is reached; what is not there is an error that names it."""
    made = Recipe(len(A), (ObjectRef(digest_of(B), len(B)),), (Part(0, 1, 0, len(A)),))
    build.publish_recipe(store, [B], made, digest_of(A))
    found = reachable(Census.of(store), [Need(digest_of(A))])
    assert found == {digest_of(A), digest_of(B)}
    with pytest.raises(Damaged, match=Digest(digest_of(C)).short):
        reachable(Census.of(store), [Need(digest_of(C))])


def test_a_pack_that_cannot_be_read_ends_marking(store: Store) -> None:
    """Its objects, and what they need, are not known: so nothing is."""
    path = store.folder / "packs" / pack_of(store, A)
    build.flip(path, path.stat().st_size - 10)
    with pytest.raises(Damaged, match="cannot be read"):
        Census.of(store)


def frames_of(store: Store, *given: Frame) -> str:
    """Add a pack with these frames."""
    (name,) = fileio.run(write(store, given))
    store.index.refresh()
    return name


def as_delta(data: bytes, over: bytes, depth: int) -> Frame:
    encoded = codecs.encode(data, 1, [Base(digest_of(over), 1, depth - 1, over)])
    assert encoded.encoding == Encoding.DELTA
    return Frame(digest_of(data), len(data), encoded, 1, depth, digest_of(over))


def test_a_plain_frame_goes_where_nobody_relies_on_it(store: Store) -> None:
    """A delta of the same object stands for it: all others have no base, or one that stays."""
    old, near = os.urandom(50_000), os.urandom(50)
    new = near + old[50:]
    plain = pack_of(store, old)
    pack_of(store, new)
    frames_of(store, as_delta(old, new, 1))
    assert retired(store, [plain], old, new).deleted == (plain,)
    assert bytes(store.get(digest_of(old))) == old


def test_a_plain_frame_stays_where_a_delta_relies_on_it(store: Store) -> None:
    """What is kept over it at one link needs it without any, in a pack that stays or goes back."""
    old = os.urandom(50_000)
    new, third = os.urandom(50) + old[50:], old[:-50] + os.urandom(50)
    plain = pack_of(store, old)
    pack_of(store, new)
    over = frames_of(store, as_delta(third, old, 1))
    frames_of(store, as_delta(old, new, 1))
    assert retired(store, [plain], old, new, third).restored == (plain,)
    assert set(retired(store, [plain, over], old, new, third).restored) == {plain, over}
    assert bytes(store.get(digest_of(third))) == third


def test_a_delta_whose_base_has_more_links_stands_for_nothing(store: Store) -> None:
    """A frame that cannot be read by fewer links than its own is no copy."""
    old = os.urandom(50_000)
    new, third = os.urandom(50) + old[50:], old[:-50] + os.urandom(50)
    plain = pack_of(store, third)
    pack_of(store, new)
    frames_of(store, as_delta(old, new, 1))
    frames_of(store, as_delta(third, old, 1))
    assert retired(store, [plain], old, new, third).restored == (plain,)
    assert bytes(store.get(digest_of(third))) == third
