"""Objects kept over others: in every order of publishing and retiring they keep their bases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from mvc import fileio
from mvc.codecs import Base, Encoded, Encoding
from mvc.digest import digest_of
from mvc.fileio import Steps
from mvc.store import Store, Transaction, mark, rebase, retire, transaction
from mvc.store.index import Found
from mvc.store.mark import Census, reachable
from mvc.store.pack import MAX_DEPTH, Entry, PackWriter
from mvc.store.transaction import Under
from tests.model import test_gc_protocol as protocol
from tests.model.test_gc_protocol import (
    REGISTRIES,
    X,
    Y,
    collecting,
    evicting,
    garbage,
    kept_raw,
    needs,
    opened,
    record_of,
    replacing,
    root,
    search_in,
    walk,
)
from tests.support.interleave import Broken
from tests.support.memory_disk import ROOT, MemoryDisk

disk = protocol.disk
Z = b"z" * 40


def kept_over(store: Store, work: Any) -> tuple[Encoded, list[Found] | tuple[()]]:
    """Keep an object over the first that is offered and here, whatever they are."""
    for under in work.under:
        chain = store.chain(under.digest, below=MAX_DEPTH)
        if chain:
            base = Base(under.digest, 0, chain[0].entry.depth, b"")
            return Encoded(Encoding.DELTA, [work.data], len(work.data), base), chain
    return kept_raw(store, work)


@pytest.fixture
def over(disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch) -> MemoryDisk:
    """A store in memory whose writers keep objects over each other."""
    monkeypatch.setattr(transaction, "_encode", kept_over)
    return disk


def writing(data: bytes, under: bytes, number: int = 0) -> Steps[str]:
    """Add an object, over another where that is here."""
    store = opened()
    store.find(digest_of(under))
    yield "opened"
    added = Transaction(store)
    try:
        yield from added.begin()
        added.put(data, digest_of(data), 0, lambda: [Under(digest_of(under), 0)])
        yield "put"
        record = record_of(digest_of(data), number)
        yield from added.publish(REGISTRIES[number % 2], record)
    finally:
        added.end()
    return "added"


def kept(data: bytes, base: bytes, depth: int) -> str:
    """Leave a pack of one object that is kept over another."""
    writer = PackWriter(ROOT / "new")
    encoded = Encoded.of(Encoding.DELTA, data)
    writer.add(digest_of(data), len(data), encoded, depth=depth, base=digest_of(base))
    name = writer.finish()
    fileio.rename(writer.path, ROOT / "packs" / name)
    return name


def test_a_base_that_was_garbage_is_kept(over: MemoryDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that builds on what a collector is taking away keeps it, or is evicted."""
    evicting(monkeypatch)
    garbage([X])
    walked = walk(over, partial(writing, Y, X), collecting)
    assert {("added", "collected"), ("Busy", "collected")} <= walked.ends


def test_a_chain_that_grows_is_kept(over: MemoryDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything lost where one builds on what another is just storing."""
    evicting(monkeypatch)
    garbage([X])
    writers = [partial(writing, Y, X, 0), partial(writing, Z, Y, 1)]
    assert search_in(over, *writers, collecting).sample(1000, seed=1).states > 1000


def without_edges(patch: pytest.MonkeyPatch) -> None:
    real = mark.edges_of
    patch.setattr(mark, "edges_of", lambda entry, *more: real(replace(entry, base=None), *more))


def without_intents(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(retire, "settle", lambda store, patience: protocol.steps_of_nothing([]))


@pytest.mark.parametrize("mutation", [without_edges, without_intents])
def test_without_this_a_base_is_lost(
    over: MemoryDisk, monkeypatch: pytest.MonkeyPatch, mutation: Callable[[Any], None]
) -> None:
    """Marking must follow bases, and must wait for those who may be building on one."""
    evicting(monkeypatch)
    mutation(monkeypatch)
    garbage([X])
    with pytest.raises(Broken, match="lost its bytes"):
        walk(over, partial(writing, Y, X, 1), collecting)


def two_ways_each() -> list[str]:
    """Keep two objects plainly and over each other; return the packs with the plain frames."""
    packs = [garbage([X]), garbage([Y])]
    kept(X, Y, 1)
    kept(Y, X, 1)
    root(X)
    root(Y)
    return packs


def in_a_chain() -> list[str]:
    """Keep an object over one that is kept plainly and over a third; return that one's packs."""
    packs = [garbage([X]), kept(X, Z, 1)]
    garbage([Z])
    kept(Y, X, 1)
    root(Y)
    root(Z)
    return packs


SCENES = pytest.mark.parametrize("scene", [two_ways_each, in_a_chain])


@SCENES
def test_two_who_each_drop_a_frame_leave_all_readable(
    over: MemoryDisk, scene: Callable[[], list[str]]
) -> None:
    """No frame is replaced by one of more links, so no chain grows and no circle closes."""
    packs = scene()
    walked = walk(over, *(partial(replacing, name, all_again=False) for name in packs))
    second = "restored" if scene is two_ways_each else "retired"
    assert ("restored", second) in walked.ends


def test_a_frame_of_more_links_serves_what_has_more_still(over: MemoryDisk) -> None:
    """Where what is kept over an object allows it, either of its frames may go, and not both."""
    packs = [garbage([X]), kept(X, Z, 1)]
    garbage([Z])
    kept(Y, X, 2)
    root(Y)
    root(Z)
    walked = walk(over, *(partial(replacing, name, all_again=False) for name in packs))
    assert {("retired", "restored"), ("restored", "retired")} <= walked.ends
    assert ("retired", "retired") not in walked.ends


@SCENES
def test_without_the_rule_of_depth_something_is_lost(
    over: MemoryDisk, monkeypatch: pytest.MonkeyPatch, scene: Callable[[], list[str]]
) -> None:
    """Where a frame stands for one of fewer links, what is kept over it cannot be read."""
    packs = scene()
    real = retire._is_elsewhere

    def of_any_depth(store: Store, entry: Entry, *more: Any) -> bool:
        return real(store, replace(entry, depth=MAX_DEPTH), *more)

    monkeypatch.setattr(retire, "_is_elsewhere", of_any_depth)
    monkeypatch.setattr(retire, "_stands", lambda store, found, needed: True)
    with pytest.raises(Broken, match="lost its bytes"):
        walk(over, *(partial(replacing, name, all_again=False) for name in packs))


def live_over_dead() -> None:
    """Keep an object over one that no root has, both in one pack, and plainly in another."""
    writer = PackWriter(ROOT / "new")
    writer.add(digest_of(X), len(X), Encoded.of(Encoding.RAW, X))
    writer.add(digest_of(Y), len(Y), Encoded.of(Encoding.DELTA, Y), depth=1, base=digest_of(X))
    fileio.rename(writer.path, ROOT / "packs" / writer.finish())
    garbage([Y])
    root(Y)


def rebasing() -> Steps[str]:
    """Let what is live be kept without the dead, as gc does: the old frame goes, then the dead."""
    store = opened()
    census = Census.of(store)
    needed = reachable(census, needs())
    dead = needed - reachable(census, needs(), bases=False)
    planned = rebase.plan(store, census, needed, dead, census.packs)
    yield "planned"
    done = yield from rebase.carry_out(store, planned, needs)
    return "rebased" if len(done.deleted) > 1 else "kept"


@pytest.mark.parametrize("others", [[(Z, X)], [(Z, Y)], [(X, Z)]], ids=["over", "above", "again"])
def test_who_builds_on_the_dead_meanwhile_keeps_it(
    over: MemoryDisk, monkeypatch: pytest.MonkeyPatch, others: list[tuple[bytes, bytes]]
) -> None:
    """A writer that needs the dead, or builds on the live, reads back, or is evicted."""
    evicting(monkeypatch)
    live_over_dead()
    walked = walk(over, *(partial(writing, *other) for other in others), rebasing)
    assert {("added", "rebased"), ("Busy", "rebased")} <= walked.ends


@pytest.mark.parametrize("all_orders", [False, pytest.param(True, marks=pytest.mark.long)])
def test_two_who_encode_anew_lose_nothing(over: MemoryDisk, all_orders: bool) -> None:
    """Two collectors without a lock may both do it: all that is live is read at every step."""
    live_over_dead()
    search = search_in(over, rebasing, rebasing)
    walked = search.run() if all_orders else search.sample(300, seed=1)
    assert {("kept", "rebased"), ("rebased", "kept")} <= walked.ends


def test_without_waiting_the_dead_is_lost_to_who_builds_on_it(
    over: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taking the dead away without asking who is under way loses what they build on it."""
    evicting(monkeypatch)
    without_intents(monkeypatch)
    live_over_dead()
    with pytest.raises(Broken, match="lost its bytes"):
        walk(over, partial(writing, Z, X), rebasing)
