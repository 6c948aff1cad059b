"""A registry that comes to its store, killed on the way: no half of one, and a repeat succeeds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mvc import ModelRegistry
from mvc.registry.location import place
from tests.faults.test_killed_at_steps import KILLS, Kill
from tests.support.faults import Project, whole

Files = Callable[[str, int], Path]


@pytest.fixture(params=KILLS)
def kill(request: pytest.FixtureRequest) -> Kill:
    """Die after every step of the protocols, and before every single call."""
    return KILLS[request.param]


def test_a_killed_init_with_a_store_can_be_repeated(
    tmp_path: Path, files: Files, kill: Kill
) -> None:
    """Whenever ``init --store`` dies, the same command then makes a registry on that store."""
    empty = Project(tmp_path / "empty")
    empty.folder.mkdir()

    def init(folder: Path) -> None:
        ModelRegistry(folder).init(store=folder / "weights")

    for copy, death in kill(empty, init):
        assert death.finished == (copy.folder / ".mvc").exists() or not death.finished
        init(copy.folder)
        assert copy.add("net", files("noise", 1)) == "net/v1"
        assert whole(copy).store_info().path == copy.folder / "weights"
        assert not (copy.folder / ".mvc" / "store").exists()


def test_a_killed_init_in_a_clone_can_be_repeated(
    project: Project, files: Files, kill: Kill
) -> None:
    """Whenever ``init`` on a shared store dies in a clone, it stays a clone or has everything."""
    shared = project.folder / "shared"
    project.open().move_store(shared)
    for name in ("config.yaml", "newest.yaml"):
        (project.folder / ".mvc" / name).unlink()
    shutil.rmtree(project.folder / ".mvc" / "store")

    def init(folder: Path) -> None:
        ModelRegistry(folder).init(store=folder / "shared")

    for copy, death in kill(project, init):
        made = (copy.folder / ".mvc" / "config.yaml").exists()
        assert made or not death.finished
        if made:
            whole(copy)
        init(copy.folder)
        whole(copy)
        copy.add("net", files("noise", 3))
        whole(copy)


def test_a_killed_first_write_of_a_copy_can_be_repeated(
    project: Project, files: Files, kill: Kill
) -> None:
    """Whenever a copied registry dies while it takes its id, it has the old id or a rooted new one.

    The next ``add`` then finishes it, and no version is left without its root.
    """
    source = files("noise", 3)
    old = place.read(project.folder / ".mvc").id

    def add(folder: Path) -> None:
        place.change(folder / ".mvc", inode=1)  # as in a copy
        ModelRegistry(folder).add("net", source)

    seen = set()
    for copy, death in kill(project, add):
        registry = whole(copy)
        seen.add(registry.place.id == old)
        copy.add("net", source)
        registry = whole(copy)
        assert registry.place.is_copy is False, death
        inode = place.inode_of(registry.folder)
        left = {path.name for path in registry.folder.glob("identity-*")}
        assert left <= {f"identity-{inode}.yaml"}, death
    assert seen == {True, False}
