"""The real steps of publishing and retiring, in every order, lose nothing.

Two registries share one store; each writer wants objects that are garbage
when it begins. The steps are those that production runs; the disk is one in
memory. With any one of them taken out or put elsewhere, something is lost:
that is how we know that the search would see it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mvc import fileio, system
from mvc.codecs import Encoded, Encoding
from mvc.digest import Digest, digest_of
from mvc.errors import Damaged, Unsupported
from mvc.fileio import Steps
from mvc.recipe import ObjectRef, Part, Recipe
from mvc.recipe import decode as decode_recipe
from mvc.recipe import encode as encode_recipe
from mvc.store import Store, Transaction, intents, retire, rewrite, transaction
from mvc.store.mark import Census, Need, reachable
from mvc.store.pack import (
    FOOTER,
    FOOTER_SIZE,
    FRAME_HEADER,
    INDEX_HEADER,
    MAX_DEPTH,
    Entry,
    IndexBlock,
    PackWriter,
)
from tests.support.interleave import Broken, Search, Walked
from tests.support.memory_disk import ROOT, MemoryDisk

REGISTRIES = ("aa" * 16, "bb" * 16)
MARKED = [*REGISTRIES]
X, Y = b"x" * 40, b"y" * 40
FILE = X + Y


class InTurn:
    """Stands for ``Ahead``: the same calls, without threads."""

    def __init__(self, call: Callable[[Any], Any]) -> None:
        self._call = call

    def submit(self, item: Any) -> Iterator[tuple[Any, Any]]:
        yield item, self._call(item)

    def drain(self) -> Iterator[tuple[Any, Any]]:
        return iter(())

    def close(self) -> None:
        pass


def kept_raw(store: Store, work: Any) -> tuple[Encoded, tuple[()]]:
    return Encoded.of(Encoding.RAW, work.data), ()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryDisk]:
    """An empty store on a disk in memory, with the folders that it may need."""
    monkeypatch.setattr(transaction, "Ahead", InTurn)
    monkeypatch.setattr(transaction, "_encode", kept_raw)
    with MemoryDisk() as memory:
        folders = [ROOT, *(ROOT / name for name in ("packs", "roots", "staging", "trash"))]
        folders += [ROOT / "roots" / registry for registry in REGISTRIES]
        memory.folders = {str(folder) for folder in folders}
        yield memory


def opened() -> Store:
    return Store(ROOT, "cc" * 16)


def record_of(need: Digest, writer: object) -> bytes:
    """Return what stands for a record: who made it, and what it needs."""
    return f"{need} {writer}\n".encode()


def needs() -> list[Need]:
    """Read all roots, of both registries."""
    return [
        Need(Digest.parse(data.decode().split()[0]))
        for registry in MARKED
        for data in roots_of(registry)
    ]


def roots_of(registry: str) -> Iterator[bytes]:
    folder = ROOT / "roots" / registry
    for name in sorted(fileio.list_folder(folder)):
        yield fileio.read(folder / name, 1 << 20)


def writing(number: int, *, whole_file: bool = True) -> Steps[str]:
    """Add the file, or only its first object, as a long-lived process that has seen them before."""
    store = opened()
    store.find(digest_of(X))
    yield "opened"
    added = Transaction(store)
    try:
        yield from added.begin()
        for data in (X, Y) if whole_file else (X,):
            added.put(data, digest_of(data), 0)
            yield "put"
        if whole_file:
            added.put_recipe(digest_of(FILE), recipe_of(X, Y))
            yield "recipe put"
        record = record_of(digest_of(FILE if whole_file else X), number)
        yield from added.publish(REGISTRIES[number % 2], record)
    finally:
        added.end()
    return "added"


def collecting(steps: Callable[..., Steps[Any]] = retire.retire) -> Steps[str]:
    """Plan as gc does, from what is there now, and retire what is needed by nobody."""
    store = opened()
    names = dead_packs(store)
    yield "planned"
    done = yield from steps(store, names, needs)
    return "waited" if done.waiting else "collected"


def dead_packs(store: Store) -> list[str]:
    """Return the packs that hold nothing needed."""
    census = Census.of(store)
    live = reachable(census, needs())
    return [n for n, index in census.packs.items() if not any(e.digest in live for e in index)]


def replacing(name: str, *, all_again: bool) -> Steps[str]:
    """Retire a pack whose frames, or whose objects, are in another."""
    done = yield from retire.retire(opened(), [name], None if all_again else needs)
    return "restored" if done.restored else "retired"


# What must hold.


@functools.cache
def frames_in(data: bytes) -> list[tuple[Entry, frozenset[Digest]]]:
    """Return the frames of a pack, each with the parts that it names if it is a recipe."""
    place, size = FOOTER.unpack_from(data, len(data) - FOOTER_SIZE)[4:6]
    found = []
    for entry in IndexBlock(memoryview(data)[place + INDEX_HEADER.size : place + size]):
        refs: frozenset[Digest] = frozenset()
        if entry.encoding == Encoding.RECIPE:
            start = entry.offset + FRAME_HEADER.size
            made = decode_recipe(data[start : start + entry.stored])
            refs = frozenset(ref.digest for ref in made.objects)
        found.append((entry, refs))
    return found


@functools.cache
def readable(packs: frozenset[bytes]) -> frozenset[Digest]:
    """Return what can be read from these packs, bases over fewer links than what needs them."""
    frames = [frame for pack in packs for frame in frames_in(pack)]
    links: dict[Digest, int] = {}
    for entry, refs in sorted(frames, key=lambda frame: frame[0].depth):
        if not refs and (entry.base is None or links.get(entry.base, MAX_DEPTH) < entry.depth):
            links.setdefault(entry.digest, entry.depth)
    return frozenset(
        {*links, *(entry.digest for entry, refs in frames if refs and refs <= links.keys())}
    )


def everything_is_there(disk: MemoryDisk) -> None:
    """Every root has its bytes, in packs or on their way out; nobody is between the two."""
    names = {**disk.inside(ROOT / "packs"), **disk.inside(ROOT / "trash")}
    there = readable(frozenset(names.values()))
    for data in disk.inside(ROOT / "roots").values():
        need = Digest.parse(data.decode().split()[0])
        assert need in there, f"root of writer {data.split()[1]!r} has lost its bytes"


def walk(disk: MemoryDisk, *processes: Callable[[], Steps[Any]]) -> Walked:
    """Go through all orders; say how many states there were."""
    walked = search_in(disk, *processes).run()
    print(f"{walked.states} states, {walked.steps} steps, ends {sorted(walked.ends)}")
    return walked


def search_in(disk: MemoryDisk, *processes: Callable[[], Steps[Any]]) -> Search:
    return Search(disk, processes, lambda: everything_is_there(disk))


def garbage(objects: list[bytes], *, made: Recipe | None = None) -> str:
    """Leave a pack that no root needs, as a killed writer does."""
    writer = PackWriter(ROOT / "new")
    for data in objects:
        writer.add(digest_of(data), len(data), Encoded.of(Encoding.RAW, data))
    if made:
        payload = encode_recipe(made)
        writer.add(digest_of(FILE), made.size, Encoded.of(Encoding.RECIPE, payload))
    name = writer.finish()
    fileio.rename(writer.path, ROOT / "packs" / name)
    return name


def recipe_of(*objects: bytes) -> Recipe:
    refs = tuple(ObjectRef(digest_of(data), len(data)) for data in objects)
    size = sum(map(len, objects))
    return Recipe(size, refs, (Part(0, len(refs), 0, size),))


def evicting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every transaction for dead: then each writer may be evicted at any step."""
    monkeypatch.setattr(intents, "is_dead", lambda intent, now: True)


def waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every transaction for alive: then each collector waits, and gives up."""
    monkeypatch.setattr(intents, "is_dead", lambda intent, now: False)


POLICIES = {"evicting": evicting, "waiting": waiting}
policies = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)


def test_two_writers_and_a_collector_that_evicts(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their order, two writers of two registries keep what they reuse, or are evicted."""
    evicting(monkeypatch)
    garbage([X, Y])
    walked = walk(disk, partial(writing, 0), partial(writing, 1), collecting)
    assert {("added", "added", "collected"), ("Busy", "Busy", "collected")} <= walked.ends


def test_two_writers_and_a_collector_that_waits(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is evicted who lives: both writers end well, and what they wanted is kept."""
    waiting(monkeypatch)
    garbage([X, Y])
    walked = walk(disk, partial(writing, 0), partial(writing, 1), collecting)
    assert walked.ends == {("added", "added", "collected"), ("added", "added", "waited")}


def merging() -> Steps[str]:
    """Merge all packs there are, as an add does now and then."""
    done = yield from rewrite.merge(opened(), sorted(pack_names()))
    return "merged" if done.deleted else "left"


def pack_names() -> list[str]:
    return [n for n in fileio.list_folder(ROOT / "packs") if n.endswith(".pack")]


@policies
def test_two_writers_two_collectors_and_a_merge(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch, policy: Callable[[Any], None]
) -> None:
    """Nothing is lost in any of some thousand orders of five processes, taken at random."""
    policy(monkeypatch)
    garbage([X])
    garbage([Y])
    writers = [partial(writing, 0), partial(writing, 1, whole_file=False)]
    search = search_in(disk, *writers, collecting, giving_up_first, merging)
    assert search.sample(2000, seed=1).states > 10_000


@pytest.mark.long
@policies
def test_many_more_orders_of_the_same(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch, policy: Callable[[Any], None]
) -> None:
    """Nor in any of some ten thousand others."""
    policy(monkeypatch)
    garbage([X])
    garbage([Y])
    writers = [partial(writing, 0), partial(writing, 1, whole_file=False)]
    search_in(disk, *writers, collecting, giving_up_first, merging).sample(40_000, seed=2)


@policies
def test_a_writer_and_two_collectors(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch, policy: Callable[[Any], None]
) -> None:
    """Collectors may take over from each other what is in the trash, and lose nothing."""
    policy(monkeypatch)
    garbage([X])
    walked = walk(disk, partial(writing, 0, whole_file=False), collecting, collecting)
    assert ("added", "collected", "collected") in walked.ends


def without_links(patch: pytest.MonkeyPatch) -> None:
    """Let the disk have no links, and a rename that replaces nothing."""

    def refuse(path: Path, final: Path) -> bool:
        raise Unsupported("no links")

    def rename_once(source: Path, target: Path) -> bool:
        if os.path.lexists(target):
            return False
        os.rename(source, target)
        return True

    patch.setattr(fileio, "link_also", refuse)
    patch.setattr(system, "rename_once", rename_once)


@policies
@pytest.mark.parametrize("collectors", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_rename_is_as_good_as_a_link(
    disk: MemoryDisk,
    monkeypatch: pytest.MonkeyPatch,
    policy: Callable[[Any], None],
    collectors: int,
) -> None:
    """Nothing is lost where an intent becomes the root, and a pack comes back, by a rename."""
    policy(monkeypatch)
    without_links(monkeypatch)
    garbage([X])
    processes = [partial(writing, 0, whole_file=False)] + [collecting] * collectors
    walked = walk(disk, *processes)
    assert ("added", *["collected"] * collectors) in walked.ends


@pytest.mark.long
def test_two_writers_and_two_collectors_that_wait(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In all orders of two writers and two collectors, any of which may die, nothing is lost."""
    waiting(monkeypatch)
    garbage([X])
    small = [partial(writing, n, whole_file=False) for n in range(2)]
    walked = walk(disk, *small, collecting, collecting)
    assert ("added", "added", "collected", "collected") in walked.ends


@pytest.mark.long
def test_two_writers_and_two_collectors_that_evict(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where each writer may be evicted at any step: in very many orders, or in all of them.

    All of them take an hour of a core; MVC_ALL_ORDERS=1 asks for that.
    """
    evicting(monkeypatch)
    garbage([X])
    small = [partial(writing, n, whole_file=False) for n in range(2)]
    search = search_in(disk, *small, collecting, collecting)
    if os.environ.get("MVC_ALL_ORDERS"):
        assert len(search.run().ends) == 4
    else:
        search.sample(40_000, seed=3)


def kept_in_two_ways() -> str:
    """Keep the file by two recipes, one in a pack of its own; return that pack's name."""
    first = garbage([], made=recipe_of(X, Y))
    garbage([X, Y])
    halves = [FILE[:30], FILE[30:]]
    garbage([], made=recipe_of(*halves))
    garbage(halves)
    root(FILE)
    return first


def test_one_file_kept_in_two_ways(disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What any frame of a needed object needs is kept: the other frame may be the one that goes."""
    evicting(monkeypatch)
    first = kept_in_two_ways()
    walked = walk(disk, collecting, partial(replacing, first, all_again=False))
    assert ("collected", "retired") in walked.ends


def test_two_copies_are_not_both_retired(disk: MemoryDisk) -> None:
    """Two who each retire a pack because of the other's leave one of them."""
    packs = [garbage([X]), garbage([X, Y])]
    root(X)
    walked = walk(disk, *(partial(replacing, name, all_again=True) for name in packs))
    assert ("retired", "retired") not in walked.ends
    assert ("retired", "restored") in walked.ends


# With any step taken out or put elsewhere something is lost, and the search sees it.


def _nothing_is_marked_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(retire, "_is_needed", lambda store, path, needed, depths: False)


def _nobody_is_asked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(retire, "settle", lambda store, patience: steps_of_nothing([]))


def _the_evicted_keep_their_intent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(intents, "evict", lambda intent: None)
    patch.setattr(intents.Intent, "stands", lambda intent: intent.path.exists())


def _roots_are_written_anew(patch: pytest.MonkeyPatch) -> None:
    """No fence: the root is another file than the intent, as with a write and a rename."""
    real = fileio.link_once

    def copied(private: Any, final: Any) -> bool:
        if private.name != intents.INTENT:
            return real(private, final)
        new = fileio.NewFile(final)
        new.write([open_record(private)])
        return True

    patch.setattr(fileio, "link_once", copied)


def open_record(path: Any) -> bytes:
    """Return what a writer has in its hands, whether or not the name is there."""
    number = int(path.parent.name[:2], 16) - 1
    return record_of(digest_of(FILE), number)


def _packs_are_listed_before_the_intent(patch: pytest.MonkeyPatch) -> None:
    real = Transaction.begin

    def begin(self: Transaction) -> Steps[None]:
        self._store.index.refresh()
        yield "packs listed"
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self._store.index, "refresh", lambda: None)
            yield from real(self)

    patch.setattr(Transaction, "begin", begin)


def _packs_are_not_listed(patch: pytest.MonkeyPatch) -> None:
    """The index is stale: what was known when the store was opened is believed."""
    real = Transaction.begin

    def begin(self: Transaction) -> Steps[None]:
        self._store.index.refresh = lambda **_: None  # type: ignore[method-assign]  # to be wrong
        yield from real(self)

    patch.setattr(Transaction, "begin", begin)


def _the_trash_is_reused_from(patch: pytest.MonkeyPatch) -> None:
    def found_anywhere(self: Store, digest: Digest, size: int) -> Any:
        found = self.find(digest, size)
        return [found] if found else None

    patch.setattr(Store, "chain", found_anywhere)


def _roots_of_one_registry(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sys.modules[__name__], "MARKED", [REGISTRIES[0]])


def steps_of_nothing(result: Any) -> Steps[Any]:
    yield "nothing"
    return result


def _deleted_at_once(store: Store, names: Any, needs: Any) -> Steps[retire.Retired]:
    for name in names:
        fileio.unlink(ROOT / "packs" / name)
        yield "deleted"
    return retire.Retired()


def _intents_before_the_move(store: Store, names: Any, needs: Any) -> Steps[retire.Retired]:
    living = yield from intents.settle(store.folder, lambda: False)
    if living:
        return retire.Retired(waiting=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retire, "settle", lambda store, patience: steps_of_nothing([]))
        return (yield from retire.retire(store, names, needs))


def _marked_before_the_wait(store: Store, names: Any, needs: Any) -> Steps[retire.Retired]:
    taken = yield from retire._to_trash(store, names, take_over=True)
    needed = reachable(Census.of(store), needs())
    yield "marked"
    if (yield from intents.settle(store.folder, lambda: False)):
        return retire.Retired(waiting=1)
    for path in taken:
        if not retire._is_needed(store, path, needed, {}):
            fileio.unlink(path)
            yield "deleted"
    return retire.Retired()


def _marks_before_the_trash(store: Store, names: Any, needs: Any) -> Steps[retire.Retired]:
    needed = reachable(Census.of(store), needs())
    yield "marked"
    taken = yield from retire._to_trash(store, names, take_over=True)
    if (yield from intents.settle(store.folder, lambda: False)):
        return retire.Retired(waiting=1)
    for path in taken:
        if not retire._is_needed(store, path, needed, {}):
            fileio.unlink(path)
            yield "deleted"
    return retire.Retired()


IN_THE_CODE = (
    _nothing_is_marked_again,
    _nobody_is_asked,
    _the_evicted_keep_their_intent,
    _roots_are_written_anew,
    _packs_are_listed_before_the_intent,
    _packs_are_not_listed,
    _the_trash_is_reused_from,
    _roots_of_one_registry,
)
IN_ANOTHER_ORDER = (
    _deleted_at_once,
    _intents_before_the_move,
    _marked_before_the_wait,
    _marks_before_the_trash,
)


@pytest.mark.parametrize("mutation", IN_THE_CODE, ids=lambda m: m.__name__.strip("_"))
def test_without_this_something_is_lost(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch, mutation: Callable[[Any], None]
) -> None:
    """Each rule is needed: with it broken, a root loses its bytes in some order."""
    evicting(monkeypatch)
    mutation(monkeypatch)
    garbage([X, Y])
    with pytest.raises(Broken, match="lost its bytes"):
        walk(disk, partial(writing, 1), collecting)


@pytest.mark.parametrize("mutation", IN_ANOTHER_ORDER, ids=lambda m: m.__name__.strip("_"))
def test_in_another_order_something_is_lost(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch, mutation: Callable[..., Steps[Any]]
) -> None:
    """Each step has its place: put elsewhere, a root loses its bytes in some order."""
    evicting(monkeypatch)
    garbage([X, Y])
    with pytest.raises(Broken, match="lost its bytes"):
        walk(disk, partial(writing, 1), partial(collecting, mutation))


def test_without_all_frames_something_is_lost(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marking from one frame of an object loses what the other needs."""
    evicting(monkeypatch)
    first = kept_in_two_ways()
    real = Census.edges

    def of_one_frame(self: Census, digest: Digest, *, bases: bool = True) -> set[Digest]:
        frames = self._edged.get(digest, [])
        if disk.process == 0:  # the collector; the other counts on what it should have kept
            frames[:] = [f for f in frames if f[0].name.endswith(first)] or frames
        return real(self, digest, bases=bases)

    monkeypatch.setattr(Census, "edges", of_one_frame)
    with pytest.raises(Broken, match="lost its bytes"):
        walk(disk, collecting, partial(replacing, first, all_again=False))


def test_counting_the_trash_as_a_copy_loses_something(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that is itself on its way out is none."""
    packs = [garbage([X]), garbage([X, Y])]
    root(X)
    monkeypatch.setattr(retire, "_is_elsewhere", lambda store, entry, needed, depths: True)
    with pytest.raises(Broken, match="lost its bytes"):
        walk(disk, *(partial(replacing, name, all_again=True) for name in packs))


def test_names_in_the_trash_bear_their_owner_s_mark(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, what was taken back and thrown away again is deleted on an old view."""
    evicting(monkeypatch)
    garbage([X])
    monkeypatch.setattr(retire, "new_id", lambda: "0" * 32)
    search = search_in(disk, partial(writing, 0, whole_file=False), collecting, giving_up_first)
    with pytest.raises(Broken, match="lost its bytes"):
        search.sample(5000, seed=1)


def test_a_merge_that_does_not_look_for_its_copies_loses_something(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old packs may go only where the new one is still there: a collector may have had it."""
    evicting(monkeypatch)
    garbage([X])
    garbage([Y])

    def collecting_the_merged() -> Steps[str]:
        store = opened()
        names = [n for n in dead_packs(store) if len(Census.of(store).packs[n]) > 1]
        yield "planned"
        yield from retire.retire(store, names, needs)
        return "collected"

    small = partial(writing, 0, whole_file=False)
    search_in(disk, small, merging, collecting_the_merged).sample(3000, seed=1)
    real = retire._is_needed
    monkeypatch.setattr(retire, "_is_needed", lambda *a: a[2] is not None and real(*a))
    with pytest.raises(Broken, match="lost its bytes"):
        search_in(disk, small, merging, collecting_the_merged).sample(20_000, seed=1)


def giving_up_first() -> Steps[str]:
    """Collect, find something that cannot be read, put all back, and collect again."""
    store = opened()

    def unreadable() -> list[Need]:
        raise Damaged("a root cannot be read")

    with contextlib.suppress(Damaged):
        yield from retire.retire(store, dead_packs(store), unreadable)
    yield "gave up"
    return (yield from collecting())


def root(data: bytes) -> None:
    """Root an object that is there."""
    record = record_of(digest_of(data), "before")
    new = fileio.NewFile(ROOT / "roots" / REGISTRIES[0] / f"{digest_of(record).hex()}.yaml")
    new.write([record])
