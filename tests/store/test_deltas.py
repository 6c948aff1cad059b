"""Deltas in a store: what a frame may claim of its base."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvc.codecs import Encoded, Encoding
from mvc.digest import Digest, digest_of
from mvc.errors import MvcError
from mvc.store import Store
from mvc.store.pack import PackWriter
from mvc.store.store import MAX_BASE
from tests.support import store_builders as build

BASE = bytes(range(250)) * 4
SAME = bytes([1, 0, 0, 0])
"""A payload that says: the object is its base."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = build.new_store(tmp_path / "store")
    build.publish(store, [BASE])
    return store


def forge(store: Store, digest: Digest, size: int, depth: int, base: Digest | None) -> None:
    """Put a pack into the store with one delta in it."""
    writer = PackWriter(store.folder / "forged")
    writer.add(digest, size, Encoded.of(Encoding.DELTA, SAME), depth=depth, base=base)
    writer.path.rename(store.folder / "packs" / writer.finish())
    store.index.refresh()


def test_what_is_its_base_and_more_zeros_is_read(store: Store) -> None:
    """Elements that the base has not are zeros; what it has beyond does not count."""
    for data in (BASE + bytes(50), BASE[:77]):
        forge(store, digest_of(data), len(data), 1, digest_of(BASE))
        assert bytes(store.get(digest_of(data))) == data
        assert store.lacking(digest_of(data)) == []


@pytest.mark.parametrize(
    ("size", "depth", "based"),
    [(77, 0, True), (77, 1, False), (77, 5, True), (MAX_BASE + 1, 1, True)],
    ids=["no links", "no base", "too many links", "too large"],
)
def test_a_delta_that_nobody_writes_is_refused(
    store: Store, size: int, depth: int, based: bool
) -> None:
    """A frame whose base, links or size cannot be is an error, whatever its payload."""
    data = (BASE + bytes(size))[:size]
    forge(store, digest_of(data), size, depth, digest_of(BASE) if based else None)
    with pytest.raises(MvcError):
        store.get(digest_of(data))
