"""What is listed: many objects are looked for at once, and found as a reader finds each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mvc import recipe
from mvc.codecs import Encoding
from mvc.digest import Digest, checksum_of, digest_of
from mvc.recipe import ObjectRef, Part, Recipe
from mvc.store import Store, alternates
from mvc.store.index import PackIndex
from mvc.store.listed import Content
from mvc.store.pack import FRAME_CHECKSUM, MAX_DEPTH, PACK_HEADER, Entry, IndexBlock, PackReader
from tests.support import store_builders as build

NAMES = [digest_of(b"%d" % number) for number in range(8)]
CHUNKS = [b"%d" % number * 50 for number in range(4)]
FILE = b"".join(CHUNKS)
CONTENT = digest_of(FILE), len(FILE)

# An object with the links and the base of its delta, or a file with what its recipe names.
Frame: TypeAlias = Any

objects = st.sampled_from(range(len(NAMES)))
deltas = st.tuples(objects, st.integers(0, MAX_DEPTH + 1), st.none() | objects)
recipes = st.tuples(objects, st.lists(objects, min_size=1, max_size=3))


def made_of(digests: list[Digest]) -> Recipe:
    refs = tuple(ObjectRef(digest, 1) for digest in digests)
    return Recipe(len(refs), refs, (Part(0, len(refs), 0, len(refs)),))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build.new_store(tmp_path_factory.mktemp("scratch") / "store")


def write(store: Store, frames: Iterable[Frame]) -> None:
    """Put a pack with these frames into a store."""
    rows, data = [], b""
    for name, *rest in frames:
        encoding, payload, size, depth, base = Encoding.DELTA, b"x", 1, 0, None
        if len(rest) == 1:
            made = made_of([NAMES[part] for part in rest[0]])
            encoding, payload, size = Encoding.RECIPE, recipe.encode(made), made.size
        else:
            depth, base = rest[0], None if rest[1] is None else NAMES[rest[1]]
        place = PACK_HEADER.size + len(data)
        bare = Entry(NAMES[name], place, len(payload), size, encoding, 0, depth, base)
        checksum = checksum_of(bare.header() + payload)
        rows.append(replace(bare, checksum=checksum).to_bytes())
        data += bare.header() + payload + FRAME_CHECKSUM.pack(checksum)
    build.forge_pack(store.folder / "packs", sorted(rows), data)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(deltas | recipes, max_size=14), packs=st.integers(1, 3))
def test_what_a_reader_could_follow_is_listed(
    scratch: Store, frames: list[Frame], packs: int
) -> None:
    """Whatever frames there are, in whatever packs: listed is what a reader gets to the end of.

    Each link leads to a frame of fewer links, recipes name no recipes, and one way is enough.
    """

    def readable(name: int, below: int = MAX_DEPTH + 1) -> bool:
        own = [frame for frame in frames if frame[0] == name and len(frame) == 3]
        return any(
            depth < below and (base is None or readable(base, depth)) for _, depth, base in own
        )

    expected = {
        NAMES[name]
        for name, *rest in frames
        if readable(name) or (len(rest) == 1 and all(map(readable, rest[0])))
    }
    for pack in build.packs_of(scratch):
        pack.unlink()
    for place in range(packs):
        write(scratch, frames[place::packs])
    scratch.index.refresh()
    every: list[Content] = [(name, None) for name in NAMES]
    assert {name for name, _ in scratch.listed(every, 100)} == expected
    for content in every:  # whose bases nobody asks for
        assert bool(scratch.listed([content], 100)) == (content[0] in expected)


def test_a_chain_is_followed_to_its_end(scratch: Store) -> None:
    """An object over as many links as there may be is listed until its last base is gone."""
    links: list[Frame] = [(link, link, link - 1 if link else None) for link in range(MAX_DEPTH + 1)]
    for frames in (links, links[1:]):
        for pack in build.packs_of(scratch):
            pack.unlink()
        write(scratch, frames)
        scratch.index.refresh()
        assert bool(scratch.listed([(NAMES[MAX_DEPTH], None)], 100)) == (frames == links)


@pytest.mark.parametrize("count", [0, 1, 3, 900])
def test_many_are_found_as_one_is(tmp_path: Path, count: int) -> None:
    """Few of an index or most of it: each of their frames is told, and of no other object."""
    data = [b"%d" % number for number in range(1000)]
    index = PackReader(build.write_pack(tmp_path, [*data, *data[:500]])).index
    wanted = {digest_of(one) for one in data[:count]} | {digest_of(b"missing")}
    found = sorted((link[0], link[2]) for link in index.links(wanted))
    assert found == sorted((e.digest, e.size) for one in wanted for e in index.find(one))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = build.new_store(tmp_path / "store")
    refs = tuple(ObjectRef(digest_of(chunk), len(chunk)) for chunk in CHUNKS)
    made = Recipe(len(FILE), refs, (Part(0, len(refs), 0, len(FILE)),))
    build.publish_file(store, CHUNKS, made, FILE)
    build.publish(store, [b"small"])
    return store


def lend(store: Store) -> None:
    """Leave everything in another store that this one borrows from."""
    lender = build.new_store(store.folder.with_name("lender"))
    for pack in build.packs_of(store):
        pack.rename(lender.folder / "packs" / pack.name)
    alternates.change(store.folder, add=lender.folder)


def retire(store: Store) -> None:
    """Leave everything on its way out."""
    (store.folder / "trash").mkdir(exist_ok=True)
    for pack in build.packs_of(store):
        pack.rename(store.folder / "trash" / f"0-{pack.name}")


@pytest.mark.parametrize("leave", [lend, retire])
def test_what_is_elsewhere_is_listed(store: Store, leave: Callable[[Store], None]) -> None:
    """What another store lends is there, and so is what gc is just moving."""
    leave(store)
    files = [CONTENT, (digest_of(b"small"), 5), (digest_of(b"missing"), 7)]
    assert store.listed(files, 100) == set(files[:2])


def test_nothing_else_is_asked_where_nothing_is_missing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is not here takes a look at other places, and only files take a look at packs."""
    monkeypatch.setattr(store, "_elsewhere", None)
    assert store.listed([CONTENT], 100) == {CONTENT}
    monkeypatch.setattr(store, "index", None)
    assert store.listed([], 100) == set()


def test_what_is_lacking_is_named_once(scratch: Store) -> None:
    """Of a file it is told what is not there, at the end of whatever leads to it."""
    for pack in build.packs_of(scratch):
        pack.unlink()
    shared = [(1, 1, 4), (2, 1, 4), (3, 0, None), (4, 0, None)]
    write(scratch, [(0, [1, 2, 3]), *shared])
    scratch.index.refresh()
    assert scratch.lacking(NAMES[0]) == []
    for pack in build.packs_of(scratch):
        pack.unlink()
    write(scratch, [(0, [1, 2, 3]), *shared[:2], (3, MAX_DEPTH + 1, None)])
    scratch.index.refresh()
    missing, unreadable = scratch.lacking(NAMES[0])
    assert missing == f"object {NAMES[4].short} is missing from the store"
    assert unreadable.startswith(f"object {NAMES[3].short} ")


def test_what_is_lacking_is_looked_for_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects are found one by one only to read them, and no more of them than are to be read."""
    found: list[Digest] = []
    original = Store.find

    def finding(self: Store, digest: Digest, size: int | None = None) -> object:
        found.append(digest)
        return original(self, digest, size)

    monkeypatch.setattr(Store, "find", finding)
    assert store.lacking(digest_of(FILE)) == []
    assert found == []
    assert store.lacking(digest_of(FILE), read_at_most=1) == []
    assert found == [digest_of(CHUNKS[0])]


def test_another_size_is_another_file(store: Store) -> None:
    """A file is known by digest and size, as for every reader."""
    other = digest_of(FILE), len(FILE) + 1
    assert store.listed([other, CONTENT, (digest_of(b"small"), 6)], 100) == {CONTENT}


def test_beyond_the_limit_a_recipe_is_enough(store: Store) -> None:
    """Whose turn comes when so many parts were looked for is believed by its recipe."""
    lacking = made_of([digest_of(b"missing")])
    build.publish_recipe(store, [], lacking, NAMES[0])
    files = [CONTENT, (NAMES[0], 1), (NAMES[1], 1)]
    assert store.listed(files, len(CHUNKS) + 1) == {CONTENT}
    assert store.listed(files, len(CHUNKS)) == {CONTENT, (NAMES[0], 1)}


def test_a_merged_index_lists_what_is_in_packs_that_are_there(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pack is opened for all of its objects once, and one that is gone holds nothing."""
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr("mvc.store.index.MOST_UNCOVERED", 0)
    PackIndex(store.folder / "packs", tmp_path / "cache").merge_if_due()
    opened: list[Path] = []
    original = PackReader.__init__

    def opening(self: PackReader, path: Path) -> None:
        opened.append(path)
        original(self, path)

    monkeypatch.setattr(PackReader, "__init__", opening)
    monkeypatch.setattr(PackReader, "index", property(IndexBlock))  # is asked of none
    digests = {digest_of(chunk) for chunk in CHUNKS}
    index = PackIndex(store.folder / "packs", tmp_path / "cache")
    assert {link[0] for link in index.links(digests)} == digests
    (pack,) = opened
    pack.unlink()
    index = PackIndex(store.folder / "packs", tmp_path / "cache")
    assert list(index.links(digests)) == []
