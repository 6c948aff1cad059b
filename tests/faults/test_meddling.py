"""What is combined of several looks is right, whatever others do between them."""

from __future__ import annotations

import os
import shutil
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from mvc import Busy, Conflict, ModelRegistry, fileio
from mvc.registry.care.usage import Usage
from mvc.registry.checkout import paths
from mvc.registry.location import place
from mvc.store import Transaction, materialised, relocation, roots
from mvc.store.intents import leftovers
from tests.support import store_builders as build
from tests.support.faults import Project, make_noise, whole
from tests.support.meddling import Meddling, meddled


@pytest.fixture
def empty(tmp_path: Path) -> Project:
    """A folder with a file and no registry."""
    folder = tmp_path / "empty"
    folder.mkdir()
    make_noise(folder / "model.bin", 1)
    return Project(folder)


@pytest.fixture
def clone(empty: Project) -> Project:
    """Records without settings and store, as git leaves them."""
    empty.open().add("net", empty.folder / "model.bin")
    os.unlink(empty.folder / ".mvc" / "config.yaml")
    shutil.rmtree(empty.folder / ".mvc" / "store")
    return empty


def init(project: Project) -> bool:
    return project.open().init()


def init_elsewhere(project: Project) -> bool:
    return project.open().init(store=project.folder / "elsewhere")


def test_a_clone_is_a_registry_while_it_is_given_a_store(clone: Project) -> None:
    """Wherever ``init`` comes between two looks, the records are there and a registry is found."""
    for _, found, made, where in meddled(clone, lambda p: place.find(p.folder), init):
        assert (made, isinstance(found, Path)) == (True, True), (where, found)
    for _, found, made, where in meddled(clone, lambda p: p.open().list(), init):
        assert (made, found) == (True, ["net"]), where


@pytest.mark.parametrize("given", ["empty", "clone"])
def test_who_loses_the_race_to_init_gets_the_store_that_it_names(
    given: str, request: pytest.FixtureRequest
) -> None:
    """Whoever names a store and finds a registry just made has it take that store."""
    project: Project = request.getfixturevalue(given)
    for copy, done, made, where in meddled(project, init_elsewhere, init, every=5):
        assert (done, made) in [(True, True), (True, False)], where
        assert place.read(copy.folder / ".mvc").store_path == copy.folder / "elsewhere", where


def test_a_version_is_in_the_store_that_the_registry_has(empty: Project) -> None:
    """Whenever ``init --store`` exchanges an empty store, an ``add`` goes there or is told."""

    def add(project: Project) -> str:
        return project.open().add("net", project.folder / "model.bin").id

    told = 0
    for copy, added, done, where in meddled(empty, add, init_elsewhere, every=7):
        assert done is True or isinstance(done, (Conflict, Busy)), where
        assert added == "net/v1" or isinstance(added, Busy), where
        told += isinstance(added, Busy)
        registry = whole(copy)
        assert registry.list() == ([] if isinstance(added, Busy) else ["net"]), where
    assert told


def test_a_cache_may_be_cleared_while_files_are_made_in_it(empty: Project) -> None:
    """Wherever ``gc --cache`` comes in between, ``path`` makes the files again."""
    empty.open().add("net", empty.folder / "model.bin")

    def path(project: Project) -> Path:
        return project.open().path("net@latest")

    def clear(project: Project) -> int:
        return materialised.clear(paths.cache_of(project.open().place))

    for copy, made, _, where in meddled(empty, path, clear, every=3):
        assert isinstance(made, Path), (where, made)
        assert ModelRegistry(copy.folder).path("net@latest").is_file(), where


def test_a_transaction_that_ends_is_never_left_over(tmp_path: Path) -> None:
    """Whoever ends while it is looked at has ended by itself, and leaves nothing."""
    for number in count():
        store = build.new_store(tmp_path / str(number))
        transaction = Transaction(store)
        fileio.run(transaction.begin())
        with Meddling(store.folder, transaction.end, number) as meddling:
            assert leftovers(store.folder) == [], meddling.before
        if meddling.before is None:
            transaction.end()
            break
    assert number > 5


def test_a_transaction_that_ends_is_not_left_over_at_any_moment(tmp_path: Path) -> None:
    """Whoever looks while a transaction ends sees it at work, or gone."""
    for number in count():
        store = build.new_store(tmp_path / str(number))
        transaction = Transaction(store)
        fileio.run(transaction.begin())
        with Meddling(store.folder, partial(leftovers, store.folder), number) as meddling:
            transaction.end()
        if meddling.before is None:
            break
        assert meddling.acted == [], meddling.before
    assert number > 2


def test_roots_that_are_given_up_meanwhile_are_passed_over(tmp_path: Path) -> None:
    """A registry whose roots go between two looks is listed with them, or not at all."""
    for number in count():
        store = build.new_store(tmp_path / str(number))
        folder = store.folder / "roots" / ("0" * 32)
        folder.mkdir()
        (folder / "a.yaml").touch()
        gone = partial(shutil.rmtree, folder)
        with Meddling(store.folder, gone, number) as meddling:
            assert [known.count for known in roots.registries(store)] in ([], [1])
        if meddling.before is None:
            break
    assert number > 2


def test_what_versions_cost_is_told_whatever_gc_takes_meanwhile(project: Project) -> None:
    """Wherever gc releases a withdrawn version, ``du`` counts without it or with it, and warns not.

    Python turns a warning into an error here.
    """
    project.open().rm("net/v2")

    def gc(project: Project) -> object:
        return project.open().gc(grace="0")

    for _, used, _, where in meddled(project, lambda p: p.open().du(), gc, every=5):
        assert isinstance(used, Usage), (where, used)
        assert (used.withdrawn_versions, used.freed_from is None) in [
            (0, True),
            (1, False),
            (1, True),
        ]


def move(project: Project) -> object:
    return project.open().move_store(project.folder / "moved")


def test_a_store_that_moves_is_described_where_it_is(project: Project) -> None:
    """Wherever a move comes in between, ``du`` and ``store info`` tell of all that is there.

    Nobody is warned that it is read only, which it is not: that would be an error here.
    """
    stored = project.open().du().stored
    for _, used, _, where in meddled(project, lambda p: p.open().du().stored, move, every=6):
        assert used == stored, where
    for _, packs, _, where in meddled(
        project, lambda p: p.open().store_info().packs, move, every=4
    ):
        assert packs == 2, where


def test_who_adds_while_the_store_moves_is_at_most_told_to_run_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a move comes in between, ``add`` makes its version or says that it is busy."""
    monkeypatch.setattr(relocation, "SECONDS_TO_WAIT", 0)
    make_noise(project.folder / "model.bin", 1)

    def add(project: Project) -> str:
        return project.open().add("net", project.folder / "model.bin").id

    for _, added, moved, where in meddled(project, add, move, every=5):
        assert added == "net/v3" or isinstance(added, Busy), (where, added)
        assert not isinstance(moved, Exception) or isinstance(moved, Busy), (where, moved)
