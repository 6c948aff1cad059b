"""Alternates: what they serve, and every way in which one cannot be trusted."""

from __future__ import annotations

import os
import warnings
from itertools import pairwise
from pathlib import Path

import pytest

from mvc import fileio, lines
from mvc.digest import digest_of
from mvc.errors import Damaged, FormatError, MvcError, StoreWarning, UsageError
from mvc.store import Store, Transaction, alternates
from tests.support import store_builders as build

DATA = b"weights" * 100


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return build.new_store(tmp_path / "store")


@pytest.fixture
def lender(tmp_path: Path) -> Store:
    """A store with one object."""
    made = build.new_store(tmp_path / "lender")
    build.publish(made, [DATA])
    return made


def lists(store: Path, *paths: object) -> None:
    """Write a list as anybody might."""
    data = lines.dumps({"mvc": 1, "alternates": [str(path) for path in paths]})
    (store / alternates.FILE).write_bytes(data)


def problems(store: Store) -> dict[str, str | None]:
    return {other.path.name: other.problem for other in alternates.reachable(store.folder)}


def test_what_is_lacking_is_read_from_an_alternate(store: Store, lender: Store) -> None:
    """Objects, and their presence, come from the other store as from this one."""
    alternates.change(store.folder, add=lender.folder)
    assert bytes(store.get(digest_of(DATA))) == DATA
    assert store.find(digest_of(DATA), len(DATA)) is not None
    assert store.lacking(digest_of(DATA), read_at_most=1 << 20) == []
    alternates.change(store.folder, remove=lender.folder)
    with pytest.raises(Damaged, match="missing"):
        Store.open(store.folder).get(digest_of(DATA))


def test_what_has_rotted_here_is_read_from_an_alternate(store: Store, lender: Store) -> None:
    """A damaged object reads whole from wherever it is whole."""
    build.publish(store, [DATA])
    (pack,) = build.packs_of(store)
    build.flip(pack, build.regions_of(pack)[2].start)
    with pytest.raises(Damaged):
        store.get(digest_of(DATA))
    alternates.change(store.folder, add=lender.folder)
    assert bytes(store.get(digest_of(DATA))) == DATA


def test_what_lies_in_an_alternate_is_stored_again(store: Store, lender: Store) -> None:
    """A transaction holds and reuses nothing of another store: its owner may clear it out."""
    alternates.change(store.folder, add=lender.folder)
    transaction = Transaction(store)
    fileio.run(transaction.begin())
    assert transaction.hold(digest_of(DATA), len(DATA)) is False
    transaction.end()
    build.publish(store, [DATA])
    for pack in build.packs_of(lender):
        pack.unlink()
    assert bytes(Store.open(store.folder).get(digest_of(DATA))) == DATA


def test_alternates_of_alternates_are_asked_five_far(tmp_path: Path, store: Store) -> None:
    """The fifth store is read from; the sixth is named and passed over."""
    chain = [store, *(build.new_store(tmp_path / f"s{n}") for n in range(1, 7))]
    for one, other in pairwise(chain):
        lists(one.folder, other.folder)
    build.publish(chain[5], [DATA])
    build.publish(chain[6], [b"too far"])
    assert bytes(store.get(digest_of(DATA))) == DATA
    with pytest.warns(StoreWarning, match="more than 5 stores away"), pytest.raises(Damaged):
        store.get(digest_of(b"too far"))


def test_a_circle_of_alternates_is_named_and_ends(tmp_path: Path, store: Store) -> None:
    """A store that leads back to itself, at once or by others, is no endless search."""
    other = build.new_store(tmp_path / "other")
    lists(store.folder, store.folder, other.folder)
    lists(other.folder, store.folder)
    build.publish(store, [DATA])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bytes(store.get(digest_of(DATA))) == DATA  # what is here needs nobody
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            with pytest.raises(Damaged):
                store.get(digest_of(b"nowhere"))
    assert ["leads back" in str(item.message) for item in caught] == [True]


def test_two_ways_to_one_store_are_no_circle(tmp_path: Path, store: Store, lender: Store) -> None:
    """A store that two alternates share is asked once, without complaint."""
    for name in ("left", "right"):
        made = build.new_store(tmp_path / name)
        lists(made.folder, lender.folder)
    lists(store.folder, tmp_path / "left", tmp_path / "right")
    assert problems(store) == {"left": None, "right": None, "lender": None}


def test_what_cannot_be_an_alternate_is_named(tmp_path: Path, store: Store, lender: Store) -> None:
    """Missing, relative, no store, newer, with a link inside, or with tricks in its path."""
    build.new_store(tmp_path / "newer")
    (tmp_path / "newer" / "store.yaml").chmod(0o644)
    (tmp_path / "newer" / "store.yaml").write_bytes(
        lines.dumps({"mvc": 9, "id": "a" * 32, "created": "x"})
    )
    linked = build.new_store(tmp_path / "linked")
    (linked.folder / "packs").rmdir()
    (linked.folder / "packs").symlink_to(lender.folder / "packs")
    (tmp_path / "empty").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    expected = {
        tmp_path / "missing": "it is not there",
        Path("relative"): "does not begin at the root",
        Path("../lender"): "does not begin at the root",
        tmp_path / "empty": "no store in",
        tmp_path / "newer": "has format 9",
        tmp_path / "linked": "is a symbolic link",
        tmp_path / "circle": "",
        tmp_path / "a\nb": "it is not there",
        tmp_path / "empty" / ".." / "store": "leads back",
    }
    for path, words in expected.items():
        lists(store.folder, path, lender.folder)
        (other, good) = list(alternates.reachable(store.folder))
        assert words in (other.problem or ""), path
        assert other.problem, path
        assert good.problem is None
        with pytest.raises(UsageError, match="cannot be an alternate"):
            alternates.change(lender.folder, add=path if path.name != "store" else lender.folder)
        with pytest.warns(StoreWarning, match="passed over"), pytest.raises(Damaged):
            Store.open(store.folder).get(digest_of(b"nowhere"))


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"mvc: 9\nalternates: []\n", b"mvc: 1\nalternates: [1]\n",
             b'mvc: 1\nalternates: "x"\n', lines.dumps({"mvc": 1, "alternates": ["/x"] * 101})],
)  # fmt: skip
def test_a_damaged_list_is_named_and_no_obstacle(store: Store, data: bytes) -> None:
    """What is here is read, whatever the list looks like; it is not written over."""
    build.publish(store, [DATA])
    (store.folder / alternates.FILE).write_bytes(data)
    assert bytes(store.get(digest_of(DATA))) == DATA
    with pytest.warns(StoreWarning, match="passed over"), pytest.raises(Damaged):
        store.get(digest_of(b"nowhere"))
    with pytest.raises(MvcError):
        alternates.change(store.folder, remove=Path("/x"))
    assert (store.folder / alternates.FILE).read_bytes() == data


def test_a_list_behind_a_link_is_refused(store: Store, tmp_path: Path, lender: Store) -> None:
    """The list is a file of the store, not a link to anybody's."""
    lists(tmp_path, lender.folder)
    (store.folder / alternates.FILE).symlink_to(tmp_path / alternates.FILE)
    with pytest.raises(FormatError, match="symbolic link"):
        alternates.listed(store.folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to another user")
@pytest.mark.parametrize("what", ["", "store.yaml", "packs"])
def test_a_store_of_somebody_else_is_not_read_from(store: Store, lender: Store, what: str) -> None:
    """Who is neither this store's owner, nor root, nor the reader, could change what is read."""
    lists(store.folder, lender.folder)
    os.chown(lender.folder / what, 4242, -1)
    (other,) = alternates.reachable(store.folder)
    assert other.problem == "it belongs to another user (4242)"
    lists(store.folder)
    with pytest.raises(UsageError, match="another user"):
        alternates.change(store.folder, add=lender.folder)
    lists(store.folder, lender.folder)
    for path in (store.folder, store.folder / "packs"):
        os.chown(path, 4242, -1)  # now both are theirs
    assert problems(store) == {"lender": None}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user_reads_their_own_and_roots(tmp_path: Path, store: Store) -> None:
    """In a process of another user, a store of a third is passed over, one of root's is not."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        parent.chmod(0o755)
    roots, theirs = (build.new_store(tmp_path / name) for name in ("roots", "theirs"))
    build.publish(roots, [DATA])
    lists(store.folder, theirs.folder, roots.folder)
    os.chown(theirs.folder, 4242, -1)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            read = {other.path.name: other.problem for other in alternates.reachable(store.folder)}
            assert read == {"theirs": "it belongs to another user (4242)", "roots": None}
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_a_reader_is_led_on_when_the_store_moves(tmp_path: Path, store: Store) -> None:
    """Who opened a store before it was moved finds what was published there since."""
    target = build.new_store(tmp_path / "target")
    assert target.id
    (target.folder / "store.yaml").unlink()
    (target.folder / "store.yaml").write_bytes((store.folder / "store.yaml").read_bytes())
    build.publish(target, [DATA])
    with pytest.raises(Damaged):
        store.get(digest_of(DATA))
    (store.folder / "moved-to.yaml").write_bytes(lines.dumps({"mvc": 1, "to": str(target.folder)}))
    assert bytes(store.get(digest_of(DATA))) == DATA
