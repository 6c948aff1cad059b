"""What every store must do, numbered like the promises on ``Store``.

A new kind of store is tested by a subclass of ``StoreContract`` that has a
fixture ``store``, and a way to open the same bytes anew. Damage is done by
``damage_everything``: whatever the store keeps of its objects, one byte in
each stretch of it is changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvc.digest import Digest, digest_of
from mvc.errors import Damaged, MvcError
from mvc.fileio import Steps
from mvc.recipe import ObjectRef, Part, Recipe
from mvc.store import Store, Transaction
from tests.support import store_builders as build

OBJECTS = [b"", b"weights", bytes(100_000), bytes(range(256)) * 40]
MISSING = digest_of(b"never stored")

contents = st.binary(max_size=40) | st.integers(0, 30).map(lambda n: bytes([n]) * n * 97)


class StoreContract:
    """The promises, as tests. Subclasses say how a store is made and opened."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return self.make(tmp_path / "store")

    def make(self, folder: Path) -> Store:
        raise NotImplementedError

    def reopened(self, store: Store) -> Store:
        """Open the same bytes as another process would."""
        raise NotImplementedError

    def every_damage(self, store: Store) -> Iterator[object]:
        """Damage the store in one place after another, undoing each; yield what was damaged."""
        raise NotImplementedError

    # 1. ``get`` returns the bytes that hash to the digest, or raises. Never others.

    def test_1_get_returns_what_was_put(self, store: Store) -> None:
        """Objects of every size come back, also the empty one."""
        build.publish(store, OBJECTS)
        for data in OBJECTS:
            assert bytes(store.get(digest_of(data))) == data
            assert bytes(store.get_object(digest_of(data), len(data))) == data

    def test_1_what_is_missing_raises(self, store: Store) -> None:
        """An object that nobody put is an error with its name, in every way of asking."""
        build.publish(store, [b"weights"])
        for ask in (store.get, store.get_object, store.recipe, store.spans):
            with pytest.raises(Damaged, match=MISSING.short):
                ask(MISSING)
        assert store.find(MISSING) is None
        assert store.chain(MISSING, 7) is None
        assert len(store.lacking(MISSING)) == 1

    def test_1_a_digest_of_another_size_is_no_match(self, store: Store) -> None:
        """Equality means digest and length: with another length an object is not found."""
        build.publish(store, [b"weights"])
        with pytest.raises(MvcError):
            store.get_object(digest_of(b"weights"), 8)
        assert store.find(digest_of(b"weights"), 8) is None
        assert store.chain(digest_of(b"weights"), 8) is None

    def test_1_damage_never_reads_as_other_bytes(self, store: Store) -> None:
        """Whatever byte is changed, ``get`` returns the right bytes or raises an error of ours."""
        objects = [b"one object", b"another object", bytes(3000)]
        build.publish(store, objects)
        raised = 0
        for what in self.every_damage(store):
            for data in objects:
                try:
                    assert bytes(self.reopened(store).get(digest_of(data))) == data, what
                except MvcError:
                    raised += 1
        assert raised

    def test_1_a_file_is_put_together_from_slices(self, store: Store) -> None:
        """A file comes back from its recipe: slices of one object around runs of others."""
        skeleton, chunks = b"<head><tail>", [bytes([n]) * 5000 for n in range(6)]
        file = b"<head>" + b"".join(chunks[:3]) + b"".join(chunks[2:]) + b"<tail>"
        refs = [ObjectRef(digest_of(data), len(data)) for data in (skeleton, *chunks)]
        parts = Part(0, 1, 0, 6), Part(1, 3, 0, 15000), Part(3, 4, 0, 20000), Part(0, 1, 6, 6)
        made = Recipe(len(file), tuple(refs), parts)
        build.publish_file(store, [skeleton, *chunks], made, file)
        for other in (store, self.reopened(store)):
            assert bytes(other.get(digest_of(file))) == file
            assert b"".join(other.pieces(digest_of(file), hashed=True)) == file
            assert other.recipe(digest_of(file)) == made
            assert other.spans(digest_of(file)) == list(made.spans())
            assert other.lacking(digest_of(file)) == []

    def test_1_a_recipe_for_other_bytes_is_noticed(self, store: Store) -> None:
        """A recipe that puts the wrong file together, or names itself, gives no bytes at all."""
        refs = ObjectRef(digest_of(b"abc"), 3), ObjectRef(digest_of(b"def"), 3)
        wrong = Recipe(6, refs, (Part(1, 1, 0, 3), Part(0, 1, 0, 3)))
        build.publish_file(store, [b"abc", b"def"], wrong, b"abcdef")
        with pytest.raises(Damaged, match="not what was stored"):
            store.get(digest_of(b"abcdef"))
        itself = Recipe(3, (ObjectRef(MISSING, 3),), (Part(0, 1, 0, 3),))
        build.publish_recipe(store, [], itself, MISSING)
        with pytest.raises(Damaged, match="contradicts itself"):
            store.get(MISSING)

    def test_1_a_part_that_is_a_recipe_is_refused(self, store: Store) -> None:
        """Recipes do not nest: a loop of them ends at once."""
        inner = Recipe(3, (ObjectRef(digest_of(b"abc"), 3),), (Part(0, 1, 0, 3),))
        build.publish_file(store, [b"abc"], inner, b"inner")
        ref = ObjectRef(digest_of(b"inner"), 3)
        build.publish_file(store, [], Recipe(3, (ref,), (Part(0, 1, 0, 3),)), b"outer")
        with pytest.raises(Damaged, match="a recipe where an object should be"):
            store.get(digest_of(b"outer"))

    # 2. Once a transaction has published, any process sees its objects.

    def test_2_what_is_published_is_seen_by_all(self, store: Store) -> None:
        """The writer, a reader opened before and one opened later all find an object."""
        before = self.reopened(store)
        with pytest.raises(Damaged):
            before.get(digest_of(b"weights"))
        build.publish(store, [b"weights"])
        for other in (store, before, self.reopened(store)):
            assert bytes(other.get(digest_of(b"weights"))) == b"weights"
        assert before.find(digest_of(b"weights")) is not None

    def test_2_nothing_is_seen_before_it_is_published(self, store: Store) -> None:
        """Objects of a transaction that has not published, or never does, are not there."""
        transaction = Transaction(store)
        list(transaction.begin())
        transaction.put(b"weights", digest_of(b"weights"), 0)
        assert self.reopened(store).find(digest_of(b"weights")) is None
        transaction.end()
        assert self.reopened(store).find(digest_of(b"weights")) is None

    # 3. A write that fails or is killed leaves an object wholly there or wholly absent.

    def test_3_a_killed_write_leaves_all_or_nothing(self, store: Store) -> None:
        """Whatever step a publish dies in, each object found reads back, and a repeat works."""
        number = 0

        def objects(number: int) -> list[bytes]:
            return [b"%d of %d" % (n, number) * 100 for n in range(3)]

        def steps() -> Steps[None]:
            return build.steps_of(Transaction(store), objects(number), b"mvc: %d\n" % number)

        for step in build.killed_after_every_step(steps):
            after = self.reopened(store)
            present = [after.find(digest_of(data)) is not None for data in objects(number)]
            assert len(set(present)) == 1, step
            for data, there in zip(objects(number), present, strict=True):
                if there:
                    assert bytes(after.get(digest_of(data))) == data
            repeat = build.publish(after, objects(number), b"mvc: %d\n" % number)
            assert repeat.reused == (sum(map(len, objects(number))) if present[0] else 0)
            for data in objects(number):
                assert bytes(self.reopened(store).get(digest_of(data))) == data
            number += 1
        assert number >= 5

    # 4. Putting an object that is held succeeds and stores nothing, or a duplicate.

    def test_4_a_held_object_is_stored_once(self, store: Store) -> None:
        """Objects put again, in the same transaction or later, take no space and are counted."""
        first = build.publish(store, [b"weights", b"weights", b"others"])
        assert (first.stored, first.reused) == (13, 7)
        size = store.size()
        again = build.publish(self.reopened(store), [b"others", b"weights"], b"mvc: 1\n")
        assert (again.stored, again.reused) == (0, 13)
        assert self.reopened(store).size() == size

    def test_4_two_at_once_are_both_right(self, store: Store) -> None:
        """Two transactions that do not see each other may both store an object; it reads back."""
        one, other = Transaction(store), Transaction(self.reopened(store))
        steps = [
            build.steps_of(transaction, [b"weights", b"of %d" % n], b"mvc: %d\n" % n)
            for n, transaction in enumerate((one, other))
        ]
        for _ in range(20):
            for generator in steps:
                next(generator, None)
        one.end()
        other.end()
        for data in (b"weights", b"of 0", b"of 1"):
            assert bytes(self.reopened(store).get(digest_of(data))) == data

    # 5. A reader never sees a moved or repacked object as missing.

    def test_5_a_reader_lists_again_before_it_gives_up(self, store: Store) -> None:
        """What is stored behind a reader's back is found, in every way of asking."""
        reader = self.reopened(store)
        for number in range(3):
            data = b"object %d" % number
            build.publish(self.reopened(store), [data], b"mvc: %d\n" % number)
            asks: list[Callable[[Digest], object]] = [reader.get, reader.find, reader.spans]
            assert asks[number](digest_of(data)) is not None

    def test_all_promises_together(self) -> None:
        """Over any series of transactions the store answers like a dictionary."""

        @settings(max_examples=25)
        @given(st.lists(st.lists(contents, max_size=6), min_size=1, max_size=5))
        def check(transactions: list[list[bytes]]) -> None:
            with tempfile.TemporaryDirectory() as folder:
                self.check_against_a_dictionary(self.make(Path(folder, "store")), transactions)

        check()

    def check_against_a_dictionary(self, store: Store, transactions: list[list[bytes]]) -> None:
        model: dict[Digest, bytes] = {}
        for number, objects in enumerate(transactions):
            new = {digest_of(data): data for data in objects}
            done = build.publish(store, objects, b"mvc: %d\n" % number)
            held = sum(len(data) for name, data in new.items() if name in model)
            repeated = sum(map(len, objects)) - sum(map(len, new.values()))
            assert done.reused == held + repeated
            model.update(new)
            for reader in (store, self.reopened(store)):
                for data in model.values():
                    assert bytes(reader.get(digest_of(data))) == data
                assert reader.find(MISSING) is None
