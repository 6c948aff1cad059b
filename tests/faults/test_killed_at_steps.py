"""A process that dies between two steps leaves a whole registry, and nothing to repair by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from mvc import ModelRegistry
from mvc.fileio import PRIVATE_PREFIX
from mvc.store import transaction
from tests.support.faults import (
    COMMIT_POINT,
    Death,
    Project,
    killed_after_steps,
    killed_before_calls,
    make_noise,
    records_of,
    whole,
)

Files = Callable[[str, int], Path]
Kill = Callable[[Project, Callable[[Path], object]], Iterator[tuple[Project, Death]]]

# After each of these a kill leaves something else behind; docs/invariants.md names them.
STEPS_OF_ADD = [
    "intent",
    "packs listed",
    "objects",
    "pack written",
    "pack linked",
    "packs durable",
    "record written",
    "rooted",
    "root durable",
    "record staged",
    "version linked",
    "version durable",
]
STEPS_OF_TAG = ["staged", "linked", "durable"]


KILLS = {"step": killed_after_steps, "call": killed_before_calls}


@pytest.fixture(params=KILLS)
def kill(request: pytest.FixtureRequest) -> Kill:
    """Die after every step of the protocols, and before every single call."""
    return KILLS[request.param]


def through(death: Death, step: str) -> bool | None:
    """Say whether a step was done before the death, ``None`` where calls were counted instead."""
    known = any(done in (*STEPS_OF_ADD, *STEPS_OF_TAG) for done in death.done)
    return step in death.done if known else None


def test_add_takes_the_steps_that_are_documented(project: Project, files: Files) -> None:
    """The steps of ``add`` are those of the page on invariants, in that order."""
    source = files("noise", 3)
    *_, (_, last) = killed_after_steps(project, lambda at: ModelRegistry(at).add("net", source))
    assert last.done == STEPS_OF_ADD


@pytest.mark.parametrize("kind", ["weights", "noise"])
def test_a_killed_add_leaves_a_whole_version_or_none(
    project: Project, files: Files, kind: str, kill: Kill
) -> None:
    """Whenever ``add`` dies, its version is there, whole, from the commit point on, else not.

    Earlier versions stay as they are, the same ``add`` then succeeds, and no
    number comes to name another record.
    """
    before = records_of(project.open())
    source = files(kind, 3)
    data = source.read_bytes()
    for copy, death in kill(project, lambda at: ModelRegistry(at).add("net", source)):
        registry = whole(copy)
        assert source.read_bytes() == data
        after = records_of(registry)
        new = after.keys() - before.keys()
        assert {name: after[name] for name in before} == before, death
        assert new in (set(), {"net/v3"}), death
        assert through(death, COMMIT_POINT) in (None, bool(new)), death
        assert registry.list("net") == ["v1", "v2", "v3"][: 2 + len(new)], death
        if new:
            copy.held["net/v3"] = data
        assert copy.add("net", source) == f"net/v{3 + len(new)}", death
        again = records_of(whole(copy))
        assert {name: again[name] for name in after} == after, death


def test_a_killed_add_of_deltas_leaves_all_or_nothing(project: Project, files: Files) -> None:
    """A version kept over an earlier one is there with its base, or is not there."""
    source = files("noise", 3)
    weights = np.random.default_rng(0).normal(0, 0.02, 20_000).astype("<f4")
    source.write_bytes(save({"w": weights}))
    project.add("net", source)
    near = save({"w": np.nextafter(weights, np.float32(1))})
    source.write_bytes(near)
    for copy, death in killed_after_steps(project, lambda at: ModelRegistry(at).add("net", source)):
        registry = whole(copy)
        assert ("v4" in registry.list("net")) == (COMMIT_POINT in death.done), death
        copy.held[registry.add("net", source).id] = near
        packs = whole(copy).presence.store.index.packs()
        assert any(entry.base for pack in packs for entry in pack.index), death


def test_a_file_in_several_packs_is_there_whole_or_not_at_all(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An ``add`` of several packs that dies between them leaves no version with half of them."""
    monkeypatch.setattr(transaction, "MAX_PACK_SIZE", 1 << 20)
    source = tmp_path / "large.bin"
    data = make_noise(source, 4, 5 << 20)
    packs = 0
    for copy, death in killed_after_steps(project, lambda at: ModelRegistry(at).add("net", source)):
        registry = whole(copy)
        assert ("v3" in registry.list("net")) == (COMMIT_POINT in death.done), death
        packs = death.done.count("pack linked")
        copy.held[registry.add("net", source).id] = data
        whole(copy)
    assert packs > 1


def test_a_killed_add_of_a_folder_leaves_all_of_its_files_or_none(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A version of a folder is there with its tree and every file, or is not there."""
    monkeypatch.setattr(transaction, "MAX_PACK_SIZE", 4 << 20)
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    large = make_noise(folder / "large.bin", 4, 5 << 20)
    (folder / "sub/config.json").write_text("{}")
    for copy, death in killed_after_steps(project, lambda at: ModelRegistry(at).add("net", folder)):
        registry = whole(copy)
        assert ("v3" in registry.list("net")) == (COMMIT_POINT in death.done), death
        made = registry.add("net", folder)
        store = whole(copy).presence.store
        held = {file.path: bytes(store.get(file.digest)) for file in registry.files(made.id)}
        assert held == {"large.bin": large, "sub/config.json": b"{}"}, death


def test_the_first_add_may_die_as_well(tmp_path: Path, files: Files, kill: Kill) -> None:
    """A project without a registry has, whenever the first ``add`` dies, none or a whole one."""
    source = files("noise", 1)
    empty = Project(tmp_path / "empty")
    empty.folder.mkdir()
    for copy, death in kill(empty, lambda at: ModelRegistry(at).add("net", source)):
        if (copy.folder / ".mvc").exists():
            assert whole(copy).list() in ([], ["net"]), death
        copy.add("net", source)
        whole(copy)


def test_a_killed_init_leaves_a_registry_or_none(tmp_path: Path, kill: Kill) -> None:
    """Whenever ``init`` dies, ``.mvc`` is not there or is whole, and ``init`` can be repeated."""
    empty = Project(tmp_path / "empty")
    (empty.folder / ".git").mkdir(parents=True)
    for copy, death in kill(empty, lambda at: ModelRegistry(at).init()):
        names = {path.name for path in copy.folder.iterdir()} - {".git"}
        assert all(name == ".mvc" or name.startswith(PRIVATE_PREFIX) for name in names), death
        assert death.finished == ModelRegistry(copy.folder).folder.exists() or ".mvc" in names
        ModelRegistry(copy.folder).init()
        assert whole(copy).list() == []
        assert (copy.folder / ".mvc" / ".gitignore").exists()


def test_a_killed_tag_stands_where_it_stood_or_where_it_should(
    project: Project, kill: Kill
) -> None:
    """Whenever ``tag`` dies, the tag stands on the old version or the new, and can be moved."""
    project.tags.clear()
    for copy, death in kill(project, lambda at: ModelRegistry(at).tag("net@v2", "prod")):
        registry = whole(copy)
        now = registry.resolve("net@prod").id
        assert now in ("net/v1", "net/v2"), death
        assert through(death, "linked") in (None, now == "net/v2"), death
        assert len(registry.history("net@prod")) == int(now[-1]), death
        registry.tag("net@v2", "prod")
        copy.tags["net@prod"] = "net/v2"
        whole(copy)


def test_a_killed_rollback_has_moved_the_tag_or_not(project: Project, kill: Kill) -> None:
    """Whenever ``rollback`` dies, the tag is back where it was before, or not moved."""
    project.open().tag("net@v2", "prod")
    project.tags.clear()
    for copy, death in kill(project, lambda at: ModelRegistry(at).rollback("net@prod")):
        registry = whole(copy)
        moves, now = len(registry.history("net@prod")), registry.resolve("net@prod").id
        assert (moves, now) in ((2, "net/v2"), (3, "net/v1")), death
        assert through(death, "linked") in (None, moves == 3), death
        if moves == 2:
            assert registry.rollback("net@prod").id == "net/v1"


def test_a_killed_rm_or_restore_has_happened_or_not(project: Project, kill: Kill) -> None:
    """Whenever ``rm`` dies the version is withdrawn or not, and likewise ``restore``."""
    for copy, death in kill(project, lambda at: ModelRegistry(at).rm("net@v2")):
        left = whole(copy).list("net")
        assert through(death, "linked") in (None, left == ["v1"]), death
        assert left in (["v1"], ["v1", "v2"]), death
        copy.open().restore("net@v2")
        assert whole(copy).list("net") == ["v1", "v2"]
    project.open().rm("net@v2")
    for copy, death in kill(project, lambda at: ModelRegistry(at).restore("net@v2")):
        left = whole(copy).list("net")
        assert through(death, "linked") in (None, left == ["v1", "v2"]), death
        assert left in (["v1"], ["v1", "v2"]), death


def test_a_killed_checkout_leaves_the_old_file_or_the_new(project: Project, kill: Kill) -> None:
    """Whenever ``checkout`` dies, the target is what it was or what was asked for."""
    (project.folder / "model.bin").write_bytes(project.held["net/v2"])

    def fetch(folder: Path) -> None:
        ModelRegistry(folder).checkout("net@v1", folder / "model.bin")

    for copy, death in kill(project, fetch):
        found = (copy.folder / "model.bin").read_bytes()
        assert found in (project.held["net/v1"], project.held["net/v2"]), death
        fetch(copy.folder)
        assert (copy.folder / "model.bin").read_bytes() == project.held["net/v1"]
        whole(copy)
