"""What a damaged or lost base does to what is kept over it: it is named, and comes back."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from mvc import Damaged
from mvc.codecs import Encoding
from mvc.errors import StoreWarning
from mvc.registry.care.findings import Report
from mvc.registry.care.fsck import LEVELS
from mvc.registry.location import presence
from mvc.store import alternates
from mvc.store.index import Found
from mvc.store.pack import IndexBlock, PackReader
from tests.support.growing import grow
from tests.support.registry_builders import Project, flip

SEED = np.random.default_rng(0).normal(0, 0.02, 100_000)
FILES = [
    save({"w": (SEED + step * 1e-6 * np.random.default_rng(step).normal(0, 1, 100_000))
          .astype("<f4")})
    for step in range(3)
]  # fmt: skip


@pytest.fixture
def held(project: Project) -> Project:
    """A base, a version kept over it, another family's kept over that, and one by itself."""
    project.add(FILES[0])
    project.add(FILES[1])
    project.add(FILES[2], family="tuned", parents=["net@v2"])
    project.add(b"by itself", family="other")
    (project.folder / "model.bin").unlink()
    kinds = [frame.entry.encoding for frame in frames(project)]
    assert kinds.count(Encoding.DELTA) == 2
    return project


@pytest.fixture
def backup(held: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(held.mvc, tmp_path_factory.mktemp("backup") / "old")


def frames(project: Project) -> list[Found]:
    index = project.registry().presence.store.index
    return [Found(pack, entry) for pack in index.packs() for entry in pack.index]


def of_version(project: Project, ref: str) -> Found:
    """Return the largest frame of what only this version has: its weights."""
    digest = project.registry().show(ref).artifact.digest
    store = project.registry().presence.store
    parts = {span.object.digest for span in store.spans(digest)}
    found = [frame for frame in frames(project) if frame.entry.digest in parts]
    return max(found, key=lambda frame: frame.entry.size)


def rot(found: Found) -> None:
    flip(found.pack.path, found.entry.end - 20)


def repair(project: Project, *sources: Path) -> Report:
    return project.registry().fsck("full", repair=True, sources=sources)


@pytest.mark.parametrize("level", ["default", "full"])
def test_a_damaged_base_is_one_finding_with_all_that_hang_on_it(held: Project, level: str) -> None:
    """The versions of all families that are read with a damaged base are named, and no other."""
    base = of_version(held, "net@v1")
    rot(base)
    (finding,) = held.registry().fsck(level).findings
    assert (finding.kind, finding.object) == ("object", str(base.entry.digest))
    assert finding.versions == ("net/v1", "net/v2", "tuned/v1")
    for ref in finding.versions:
        with pytest.raises(Damaged):
            held.bytes_of(ref.replace("/", "@"))
    assert held.bytes_of("other") == b"by itself"


@pytest.mark.parametrize("level", LEVELS)
def test_a_lost_base_is_one_finding_with_all_that_hang_on_it(held: Project, level: str) -> None:
    """A base that no pack has is named once, at every level, with every version read with it."""
    of_version(held, "net@v1").pack.path.unlink()
    found = held.registry().fsck(level).findings
    named = [finding.versions for finding in found]
    assert ("net/v1", "net/v2", "tuned/v1") in named
    assert not any("other/v1" in versions for versions in named)
    assert not [finding for finding in found if finding.kind == "object"]


def test_a_damaged_delta_hurts_only_what_is_read_with_it(held: Project) -> None:
    """Damage in the middle of a chain leaves the base's own version whole."""
    rot(of_version(held, "net@v2"))
    (finding,) = held.registry().fsck().findings
    below = of_version(held, "tuned").entry.base
    hurt = {"net/v2"} | ({"tuned/v1"} if str(below) == finding.object else set())
    assert set(finding.versions) == hurt
    assert held.bytes_of("net@v1") == FILES[0]


def plain_copy(project: Project, data: bytes) -> None:
    """Store a file's objects once more, over nothing, as another registry's add may."""
    other = Project(project.folder / "elsewhere")
    other.folder.mkdir()
    other.add(data)
    for pack in other.packs:
        shutil.copy(pack, project.mvc / "store" / "packs" / pack.name)


@pytest.fixture
def deeper(held: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A source that keeps the base over as many links as what is kept over it in ``held``."""
    source = Project(tmp_path_factory.mktemp("source"))
    source.add(FILES[2])
    source.add(FILES[0])
    plain_copy(held, FILES[2])
    return source


@pytest.mark.parametrize("rotten", ["plain", "delta", "base"])
def test_of_two_frames_one_serves(held: Project, rotten: str) -> None:
    """An object kept plainly and over another is read from the one that is whole."""
    delta = of_version(held, "net@v2")
    plain_copy(held, FILES[1])
    both = [f for f in frames(held) if f.entry.digest == delta.entry.digest]
    (plain,) = [f for f in both if f.entry.base is None]
    if rotten == "base":
        rot(of_version(held, "net@v1"))
    else:
        rot({"plain": plain, "delta": delta}[rotten])
    assert held.bytes_of("net@v2") == FILES[1]
    report = held.registry().fsck("full")
    hurt = {version for finding in report.findings for version in finding.versions}
    assert "net/v2" not in hurt
    assert report.ok == (rotten != "base")


def deltas(project: Project) -> int:
    return sum(found.entry.encoding is Encoding.DELTA for found in frames(project))


def all_is_whole(project: Project) -> None:
    assert project.registry().fsck("full").ok
    for ref, data in zip(("net@v1", "net@v2", "tuned"), FILES, strict=True):
        assert project.bytes_of(ref) == data


def test_a_backup_gives_bases_and_deltas_as_they_are(held: Project, backup: Path) -> None:
    """All packs are lost: what comes back from a store's packs is kept as it was there."""
    for pack in held.packs:
        pack.unlink()
    assert repair(held, backup).ok
    all_is_whole(held)
    assert deltas(held) == 2


@pytest.mark.parametrize("ref", ["net@v1", "net@v2", "tuned"])
def test_any_link_of_a_chain_comes_back(held: Project, backup: Path, ref: str) -> None:
    """A base, a delta that others are kept over, and the last of a chain come back alone."""
    of_version(held, ref).pack.path.unlink()
    assert repair(held, backup).ok
    all_is_whole(held)
    assert deltas(held) == 2


def test_a_delta_over_what_is_not_here_is_stored_anew(
    held: Project, backup: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What a backup keeps over an object that nothing here needs is decoded there first."""
    other = Project(tmp_path_factory.mktemp("other"))
    other.add(FILES[1])
    (other.folder / "model.bin").unlink()
    for pack in other.packs:
        pack.unlink()
    assert repair(other, backup).ok
    assert other.bytes_of("net") == FILES[1]
    assert deltas(other) == 0


def test_a_base_comes_back_with_few_enough_links(held: Project, deeper: Project) -> None:
    """A base that its source keeps over as many links as what needs it here is stored anew."""
    assert of_version(deeper, "net@v2").entry.depth == of_version(held, "net@v2").entry.depth == 1
    of_version(held, "net@v1").pack.path.unlink()
    assert repair(held, deeper.mvc).ok
    all_is_whole(held)


def test_a_base_on_its_way_out_still_serves(held: Project, deeper: Project) -> None:
    """What lies in the trash is read from there, so a check beside a gc finds no damage."""
    over_more = of_version(deeper, "net@v2").pack.path
    base = of_version(held, "net@v1").pack.path
    shutil.copy(over_more, held.mvc / "store" / "packs" / over_more.name)
    trash = held.mvc / "store" / "trash"
    trash.mkdir(exist_ok=True)
    on_its_way = base.rename(trash / f"{'0' * 32}-{base.name}")
    all_is_whole(held)
    on_its_way.unlink()
    (finding,) = held.registry().fsck("quick").findings
    assert finding.versions == ("net/v2",)
    assert "is not kept over fewer than 1 links" in finding.remedy


def test_deltas_of_a_pack_cut_off_are_saved(held: Project) -> None:
    """A delta found without its pack's index is stored again as it is, over its base."""
    for pack in held.packs:
        pack.chmod(0o644)
        with open(pack, "r+b") as file:
            file.truncate(pack.stat().st_size - 40)
    assert repair(held).ok
    all_is_whole(held)
    assert deltas(held) == 2


def test_a_base_without_a_copy_is_named_and_comes_back_later(held: Project) -> None:
    """A repair without a source hurts nothing else; a whole file mends all that hang on it."""
    rot(of_version(held, "net@v1"))
    report = repair(held)
    (finding,) = report.findings
    assert finding.versions == ("net/v1", "net/v2", "tuned/v1")
    assert held.bytes_of("other") == b"by itself"
    assert repair(held, held.file(FILES[0], "copy.bin")).ok
    all_is_whole(held)
    assert deltas(held) == 2


def test_bases_are_in_the_same_store_after_a_move(held: Project, tmp_path: Path) -> None:
    """A store that was moved has every base of its deltas, and needs nothing of the old place."""
    held.registry().move_store(tmp_path / "moved")
    shutil.rmtree(held.mvc / "store")
    assert held.registry().presence.store.folder == tmp_path / "moved"
    all_is_whole(held)
    assert deltas(held) == 2


def test_what_only_an_alternate_has_is_no_base(held: Project, tmp_path: Path) -> None:
    """What is near an object of another store is stored by itself, and reads without that store."""
    lent = Project(tmp_path / "lent")
    lent.folder.mkdir()
    lent.add(FILES[0])
    store = lent.mvc / "store"
    for pack in lent.packs:
        pack.unlink()
    alternates.change(store, add=held.mvc / "store")
    assert lent.bytes_of("net@v1") == FILES[0]
    lent.add(FILES[1])
    assert deltas(lent) == 0
    alternates.change(store, remove=held.mvc / "store")
    assert lent.bytes_of("net@v2") == FILES[1]


def test_a_lost_base_is_told_wherever_one_looks(held: Project) -> None:
    """A version is not there without what it is kept over: its file is new, a tag on it warned of.

    What needs none of it is there as before.
    """
    again = held.file(FILES[2], "again.safetensors")
    held.registry().status(held.folder)
    of_version(held, "net@v1").pack.path.unlink()
    registry = held.registry()
    there = {version.id: version.present for version in registry.log()}
    assert there == {"other/v1": True, "tuned/v1": False, "net/v2": False, "net/v1": False}
    assert [v.id for v in registry.search("family = net") if v.present] == []
    (file,) = registry.status(held.folder).files
    assert (file.path, file.state) == (again, "new")
    with pytest.warns(StoreWarning, match="net/v2 cannot be checked out"):
        assert not registry.tag("net@v2", "prod").present
    (problem,) = [fact.problem for fact in registry.doctor().facts if fact.name == "versions"]
    assert problem == "bytes are missing of 3 of the newest versions, as of tuned/v1"


@pytest.mark.parametrize(("limit", "recipes"), [(100, 2), (1, 1)])
def test_looking_whether_bytes_are_there_reads_each_recipe_once(
    project: Project, monkeypatch: pytest.MonkeyPatch, limit: int, recipes: int
) -> None:
    """Beside many versions as much is looked up as beside a few, and no recipe beyond the limit."""
    large = {name: np.resize(SEED.astype("<f4"), 700_000) for name in "ab"}
    project.add(save(large))
    project.add(save({**large, "b": large["b"] + np.float32(1e-6)}))
    monkeypatch.setattr(presence, "MOST_PARTS", limit)
    counts: Counter[str] = Counter()
    for kind, name in ((IndexBlock, "find"), (IndexBlock, "links"), (PackReader, "payload")):
        original = getattr(kind, name)

        def counting(*given: Any, name: str = name, original: Any = original) -> Any:
            counts[name] += 1
            return original(*given)

        monkeypatch.setattr(kind, name, counting)
    told = []
    for count in (10, 200):
        grow(project, count)
        registry = project.registry()
        counts.clear()
        assert all(version.present for version in registry.log())
        told.append(dict(counts))
    assert told[0] == told[1]
    assert told[0]["payload"] == recipes
