"""gc gives up what was withdrawn long enough ago, and nothing that anybody needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from safetensors.numpy import save

from mvc import NotFound, fileio
from mvc.registry.care import gc, gc_plan, rooted
from mvc.registry.intake import intake
from mvc.registry.intake.intake import Facts
from mvc.registry.intake.source import SourceFile
from mvc.registry.sealed import parse_time, timestamp
from mvc.store import Store, Transaction, rewrite
from mvc.store.lock import maintenance
from mvc.store.settings import root_name
from tests.registry.test_git import commit, git
from tests.support.gc_builders import (
    DAY,
    NOW,
    all_made_old,
    collected,
    dated,
    everything,
    made_old,
    on_store_of,
    roots_of,
    store_of,
    trash_of,
)
from tests.support.linkless import without_links
from tests.support.registry_builders import Project, flip, noise

np = pytest.importorskip("numpy")


def weights(**seeds: int) -> bytes:
    """Return a safetensors file with a tensor of each seed: 2.4 MB that become 2.0.

    Two of them are more than a chunk, below which a file is kept as one object.
    """
    data: bytes = save(
        {
            name: np.random.default_rng(seed).normal(size=600_000).astype(np.float32)
            for name, seed in seeds.items()
        }
    )
    return data


def is_whole(project: Project) -> bool:
    return project.registry().fsck("full").ok


def test_only_bytes_that_nobody_else_needs_are_released(project: Project) -> None:
    """What a withdrawn version shares with another stays; only its own bytes go."""
    kept = weights(shared=1, own=2)
    project.add(kept, name="a.safetensors")
    project.add(weights(shared=1, gone=3), name="b.safetensors")
    project.registry().rm("net@v2")
    before = project.registry().presence.store.size()
    done = collected(project)
    assert [(item.kind, item.name) for item in done.items] == [("version", "net/v2")]
    assert 1_800_000 < done.freed < 2_400_000
    assert before - project.registry().presence.store.size() == done.freed
    assert project.bytes_of("net@v1") == kept
    assert is_whole(project)


def test_a_pack_of_which_a_part_is_needed_is_written_anew(project: Project) -> None:
    """Chunks that a later version took from a released one's pack stay, its others go."""
    project.add(weights(shared=1, gone=3), name="a.safetensors")
    kept = weights(shared=1, own=2)
    project.add(kept, name="b.safetensors")
    (first, second) = (path.stat().st_size for path in project.packs)
    project.registry().rm("net@v1")
    done = collected(project)
    assert 1_800_000 < done.freed < 2_400_000
    assert sum(path.stat().st_size for path in project.packs) == first + second - done.freed
    assert project.bytes_of("net@v2") == kept
    assert is_whole(project)


def test_what_was_freed_is_never_negative(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a pack was written anew and the old one waits for a writer, the next gc frees it."""
    monkeypatch.setattr(gc, "WAIT", 0.1)
    project.add(weights(shared=1, gone=3), name="a.safetensors")
    project.add(weights(shared=1, own=2), name="b.safetensors")
    project.registry().rm("net@v1")
    writer = Transaction(project.registry().presence.store)
    fileio.run(writer.begin())
    try:
        done = collected(project)
    finally:
        writer.end()
    assert (done.waiting, done.freed) == (1, 0)
    trashed = sum(path.stat().st_size for path in trash_of(project))
    assert done.remaining == trashed > 3_900_000
    assert collected(project).freed == trashed
    assert is_whole(project)


@pytest.mark.parametrize("place", [(gc_plan, "_refuse_shrunk"), (gc, "rewrite")])
def test_a_pack_that_another_takes_meanwhile_is_left_to_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, place: tuple[ModuleType, str]
) -> None:
    """Where packs are merged while gc plans, or while it works, the next gc frees the rest."""

    def merge() -> None:
        store = project.registry().presence.store.alone()
        assert fileio.run(rewrite.merge(store, [path.name for path in project.packs])).deleted

    project.add(noise(3000, 1))
    project.add(noise(3000, 2))
    merge()
    project.add(noise(3000, 3))
    project.registry().rm("net@v1")
    real = getattr(*place)

    def merged_meanwhile(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(*place, real)
        merge()
        return real(*arguments, **options)

    monkeypatch.setattr(*place, merged_meanwhile)
    assert collected(project).freed == 0
    assert collected(project).freed > 3000
    assert project.bytes_of("net@v2") == noise(3000, 2)
    assert is_whole(project)


@pytest.mark.parametrize("listed", [True, False])
def test_a_folder_keeps_its_tree_and_its_files(project: Project, listed: bool) -> None:
    """Of two folders that share files, the one that stays is whole, whoever lists its files."""
    common = {"config.json": b"{}", "deep/a.bin": noise(5000, 1)}
    project.add_folder({**common, "b.bin": noise(5000, 2)}, listed=listed)
    project.add_folder({**common, "b.bin": noise(5000, 3)}, listed=listed)
    project.registry().rm("net@v1")
    done = collected(project)
    assert 5000 <= done.freed < 6000
    assert is_whole(project)
    registry = project.registry()
    files = {file.path for file in registry.files("net@v2")}
    assert files == {"config.json", "deep/a.bin", "b.bin"}
    out = registry.checkout("net@v2", project.folder / "out").path
    assert (out / "deep/a.bin").read_bytes() == common["deep/a.bin"]
    assert (out / "b.bin").read_bytes() == noise(5000, 3)


def test_a_version_withdrawn_lately_stays(project: Project) -> None:
    """Fourteen days must have passed since ``rm``; until then gc says when the time comes."""
    project.add(noise(3000))
    project.registry().rm("net@v1")
    all_made_old(project, 100 * DAY)
    before = everything(project)
    done = collected(project, None)
    (item,) = done.later
    assert item.name == "net/v1"
    due = project.registry().manifest.event("net", 1).created[:10]
    assert f"withdrawn on {due}" in item.why
    assert "goes after 2" in item.why
    assert (done.freed, done.items) == (0, ())
    assert done.remaining == item.bytes > 3000
    dated(project, 1, timedelta(days=13, hours=23))
    assert collected(project, None).freed == 0
    dated(project, 1, timedelta(days=14, seconds=1))
    assert before.keys() == everything(project).keys()
    assert collected(project, None).freed > 3000
    assert project.packs == []


def test_what_was_restored_is_kept_and_what_was_released_is_gone(project: Project) -> None:
    """``restore`` before gc gives the same bytes back; afterwards it says what happened."""
    data = noise(3000)
    project.add(data)
    project.registry().rm("net@v1")
    project.registry().restore("net@v1")
    assert collected(project).freed == 0
    assert project.bytes_of("net@v1") == data
    project.registry().rm("net@v1")
    assert collected(project).freed > 3000
    with pytest.raises(NotFound, match="was released: its bytes were given up by gc"):
        project.registry().restore("net@v1")
    assert is_whole(project)


def test_withdrawn_anew_the_time_counts_anew(project: Project) -> None:
    """Long ago withdrawn, restored, and now withdrawn again: the last withdrawal counts."""
    project.add(noise(3000))
    for change in ("rm", "restore", "rm"):
        getattr(project.registry(), change)("net@v1")
    dated(project, 1, 100 * DAY)
    dated(project, 2, 90 * DAY)
    all_made_old(project, 100 * DAY)
    assert collected(project, None).freed == 0
    assert [item.name for item in collected(project, None).later] == ["net/v1"]


def test_numbers_are_never_given_again(project: Project) -> None:
    """The next version after a released one takes the next number, with the same bytes as well."""
    data = noise(3000)
    project.add(data)
    project.registry().rm("net@v1")
    collected(project)
    assert project.add(data) == "net/v2"
    assert project.bytes_of("net@v2") == data
    assert project.registry().list("net") == ["v2"]


def test_the_same_bytes_of_another_version_stay(project: Project) -> None:
    """Of two versions with equal bytes one is released and frees nothing; the other reads back."""
    data = noise(3000)
    project.add(data)
    project.add(data)
    project.registry().rm("net@v1")
    done = collected(project)
    assert [(item.name, item.bytes) for item in done.items] == [("net/v1", 0)]
    assert done.freed == 0
    assert project.bytes_of("net@v2") == data
    with pytest.raises(NotFound, match="released"):
        project.registry().restore("net@v1")


def test_a_second_gc_frees_nothing_more(project: Project) -> None:
    """What gc left after the first time it leaves after the second, byte for byte."""
    project.add(weights(shared=1, gone=3), name="a.safetensors")
    project.add(weights(shared=1, own=2), name="b.safetensors")
    project.registry().rm("net@v1")
    assert collected(project).freed > 0
    before = everything(project)
    done = collected(project)
    assert (done.freed, done.remaining, done.items) == (0, 0, ())
    assert everything(project) == before
    assert trash_of(project) == []


# The same done on what only was told before.


def _two_withdrawn(project: Project) -> None:
    project.add(noise(3000, 1))
    project.add(noise(3000, 2))
    project.add(noise(3000, 3))
    project.registry().rm("net@v1")
    project.registry().rm("net@v3")


def _partly_dead(project: Project) -> None:
    project.add(weights(a=1, b=2), name="a.safetensors")
    project.add(weights(a=1, c=3), name="b.safetensors")
    project.registry().rm("net@v1")


def _hardly_dead(project: Project) -> None:
    project.add_folder({"large": noise(50_000, 1), "small": noise(500, 2)})
    project.add_folder({"large": noise(50_000, 1)})
    project.registry().rm("net@v1")


def _one_of_equals(project: Project) -> None:
    project.add(noise(3000))
    project.add(noise(3000))
    project.registry().rm("net@v2")


def _sharing_what_goes(project: Project) -> None:
    project.add(weights(a=1, b=2), name="a.safetensors")
    project.add(weights(a=1, b=2, c=4), name="b.safetensors")
    project.add(noise(100, 5))
    project.registry().rm("net@v1")
    project.registry().rm("net@v2")


def _never_published(project: Project) -> None:
    project.add(noise(3000, 1))
    dies_before_its_root(project, noise(4000, 2))


def _left_in_the_trash(project: Project) -> None:
    _two_withdrawn(project)
    trash = project.mvc / "store" / "trash"
    trash.mkdir(exist_ok=True)
    pack = next(path for path in project.packs if noise(3000, 1) in path.read_bytes())
    pack.rename(trash / f"{'0' * 32}-{pack.name}")


def _needed_in_the_trash(project: Project) -> None:
    _two_withdrawn(project)
    trash = project.mvc / "store" / "trash"
    trash.mkdir(exist_ok=True)
    pack = next(path for path in project.packs if noise(3000, 2) in path.read_bytes())
    pack.rename(trash / f"{'0' * 32}-{pack.name}")


def dies_before_its_root(project: Project, data: bytes) -> None:
    """Leave a pack that no root names, as a killed add does."""
    registry = project.registry()
    path = project.file(data, "killed.bin")
    with SourceFile(path) as source:
        steps = intake.add_steps(
            registry.place, registry.manifest, registry.presence.store, "net", source, Facts()
        )
        while next(steps) != "packs durable":
            pass
        steps.close()


SHAPES = [
    _two_withdrawn,
    _partly_dead,
    _hardly_dead,
    _one_of_equals,
    _sharing_what_goes,
    _never_published,
    _left_in_the_trash,
    _needed_in_the_trash,
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_dry_run_says_what_the_real_one_does(
    project: Project, shape: Callable[[Project], None]
) -> None:
    """Items and bytes are those that the real run gives up, and the dry run changes nothing."""
    shape(project)
    before = everything(project)
    told = collected(project, dry_run=True)
    assert everything(project) == before
    size = sum(map(len, before.values()))
    done = collected(project)
    assert (done.items, done.freed, done.remaining) == (told.items, told.freed, told.remaining)
    assert (told.executed, done.executed) == (False, True)
    packs = [name for name in before if name.endswith(".pack")]
    left = sum(path.stat().st_size for path in project.packs)
    assert sum(len(before[name]) for name in packs) - left == done.freed, size
    assert trash_of(project) == []
    assert is_whole(project)
    again = collected(project)
    assert (again.freed, again.items) == (0, ())


def test_a_little_waste_is_left(project: Project) -> None:
    """A pack of which less than a tenth is dead is not written anew; the waste is told."""
    _hardly_dead(project)
    packs = {path: path.read_bytes() for path in project.packs}
    done = collected(project)
    assert done.freed == 0
    assert 500 < done.remaining < 1100
    assert {path: path.read_bytes() for path in project.packs} == packs


def test_what_a_killed_add_left_goes_when_it_is_old(project: Project) -> None:
    """A pack without a root stays for the grace time from its making, then goes."""
    _never_published(project)
    done = collected(project, None)
    assert (done.freed, done.items) == (0, ())
    assert 4000 < done.remaining < 4300
    all_made_old(project, 15 * DAY)
    done = collected(project, None)
    assert [item.kind for item in done.items] == ["packs"]
    assert done.freed > 4000
    assert project.bytes_of("net@v1") == noise(3000, 1)


def test_what_a_killed_add_staged_goes_when_it_is_old(project: Project) -> None:
    """A staging folder without an intent goes after an hour, one that is used does not."""
    project.add(noise(3000))
    left = project.mvc / "store" / "staging" / ("ab" * 16)
    left.mkdir()
    (left / "0.pack").write_bytes(noise(2000))
    assert collected(project).items == ()
    for path in (left / "0.pack", left):
        made_old(path, timedelta(hours=2))
    told = collected(project, dry_run=True)
    assert [(item.kind, item.bytes) for item in told.items] == [("staging", 2000)]
    done = collected(project)
    assert (done.items, done.freed) == (told.items, 2000)
    assert not left.exists()


# Roots whose record is not here.


def forgotten(project: Project, number: int) -> Path:
    """Take a version's record away, as a lost folder does; return its root."""
    path = project.record(number)
    root = next(root for root in roots_of(project) if root.name == root_name(path.read_bytes()))
    path.unlink()
    return root


def test_orphans_go_only_when_asked_and_only_when_old(project: Project) -> None:
    """A root without a record keeps its bytes; ``--orphans`` gives up those of 14 days."""
    project.add(noise(3000, 1))
    project.add(noise(3000, 2))
    all_made_old(project, 15 * DAY)
    root = forgotten(project, 2)
    done = collected(project, None)
    assert ([item.kind for item in done.orphans], done.freed) == (["orphan"], 0)
    made_old(root, DAY)
    assert collected(project, None, orphans=True).freed == 0
    made_old(root, 15 * DAY)
    told = collected(project, None, orphans=True, dry_run=True)
    done = collected(project, None, orphans=True)
    assert [item.kind for item in done.items] == ["orphan"]
    assert (done.items, done.freed) == (told.items, told.freed)
    assert done.freed > 3000
    assert not root.exists()
    assert project.bytes_of("net@v1") == noise(3000, 1)


@pytest.mark.parametrize("links", [True, False])
def test_an_add_under_way_is_no_orphan(
    project: Project, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Between its root and its version an add is no orphan, whatever grace is given.

    Without hard links its intent has become the root, and stands no more.
    """
    if not links:
        monkeypatch.setattr(os, "link", without_links)
    project.add(noise(3000, 1))
    registry = project.registry()
    data = noise(3000, 2)
    with SourceFile(project.file(data, "other.bin")) as source:
        steps = intake.add_steps(
            registry.place, registry.manifest, registry.presence.store, "net", source, Facts()
        )
        while next(steps) != "rooted":
            pass
        done = collected(project, orphans=True, dry_run=True)
        assert (done.orphans, done.items) == ((), ())
        registry.gc(NOW, orphans=True, dry_run=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mvc.registry.care.gc.WAIT", 0.0)
            done = collected(project, orphans=True)
        assert done.freed == 0
        added = fileio.run(steps)
    assert added.id == "net/v2"
    assert project.bytes_of("net@v2") == data
    assert is_whole(project)


def test_a_version_added_while_gc_looks_is_no_damage(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that comes after gc has read the roots is kept, and stops nobody."""
    project.add(noise(3000, 1))
    real = rooted.roots

    def added_meanwhile(store: Store) -> list[rooted.Root]:
        found = real(store)
        monkeypatch.setattr(gc_plan, "roots", real)
        project.add(noise(3000, 2))
        return found

    monkeypatch.setattr(gc_plan, "roots", added_meanwhile)
    done = collected(project, orphans=True)
    assert (done.freed, done.items) == (0, ())
    assert project.bytes_of("net@v2") == noise(3000, 2)


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_versions_of_another_branch_stay(project: Project) -> None:
    """After switching to a branch without a version gc keeps its bytes, and says so."""
    git(project, "init", "-q", "-b", "main")
    project.add(noise(3000, 1))
    commit(project)
    git(project, "switch", "-q", "-c", "other")
    data = noise(3000, 2)
    project.add(data)
    commit(project)
    git(project, "switch", "-q", "main")
    before = store_of(project)
    done = collected(project)
    assert len(done.orphans) == 1
    assert store_of(project) == before
    git(project, "switch", "-q", "other")
    assert project.bytes_of("net@v2") == data
    assert is_whole(project)


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_a_release_on_one_branch_spares_the_other(project: Project) -> None:
    """Withdrawn on this branch and not on that: the bytes go by this branch's word, and the
    other says honestly what is lacking; what only the other has stays."""
    git(project, "init", "-q", "-b", "main")
    project.add(noise(3000, 1))
    commit(project)
    git(project, "switch", "-q", "-c", "other")
    project.add(noise(3000, 2))
    commit(project)
    git(project, "switch", "-q", "main")
    project.registry().rm("net@v1")
    assert collected(project).freed > 3000
    git(project, "add", ".mvc")
    git(project, "commit", "-q", "-m", "released")
    git(project, "switch", "-q", "other")
    assert project.bytes_of("net@v2") == noise(3000, 2)
    assert not project.registry().fsck("default").ok


def test_another_registry_keeps_what_it_needs(project: Project, tmp_path: Path) -> None:
    """Two registries on one store: what one withdraws stays while the other has it."""
    data = noise(3000, 1)
    project.add(data)
    other = on_store_of(project, tmp_path / "other")
    other.add(data)
    (item,) = collected(project, dry_run=True).others
    assert item.why.startswith("1 version, made on 2")
    other.add(noise(3000, 2))
    project.registry().rm("net@v1")
    done = collected(project)
    assert done.freed == 0
    (item,) = done.others
    assert (item.kind, item.name) == ("registry", other.registry().place.id)
    assert item.why.startswith("2 versions, the last of 2")
    assert other.bytes_of("net@v1") == data
    assert other.bytes_of("net@v2") == noise(3000, 2)
    other.registry().rm("net@v1")
    assert collected(other).freed > 3000
    assert other.bytes_of("net@v2") == noise(3000, 2)
    assert is_whole(project)
    assert is_whole(other)


def test_a_release_that_was_cut_short_is_finished(project: Project) -> None:
    """A version released whose root is still there loses it, and its bytes, in the next gc."""
    project.add(noise(3000, 1))
    project.add(noise(3000, 2))
    project.registry().rm("net@v1")
    before = store_of(project)
    collected(project)
    for name, data in before.items():  # the store as it was, the event as it is
        path = project.mvc / "store" / name
        if not path.exists():
            path.write_bytes(data)
    assert len(roots_of(project)) == 2
    told = collected(project, None, dry_run=True)
    assert [item.name for item in told.items] == ["net/v1"]
    assert told.items[0].why.startswith("released on ")
    all_made_old(project, 15 * DAY)
    assert collected(project, None).freed > 3000
    assert len(roots_of(project)) == 1
    assert project.registry().manifest.event_numbers("net") == [1, 2]
    assert is_whole(project)


def test_the_cache_goes_when_asked(project: Project) -> None:
    """``--cache`` removes the files that ``path`` made, which it then makes again."""
    data = noise(3000)
    project.add(data)
    made = project.registry().path("net@v1")
    assert collected(project).freed == 0
    assert made.exists()
    told = collected(project, cache=True, dry_run=True)
    assert made.exists()
    done = collected(project, cache=True)
    assert (told.freed, told.items) == (done.freed, done.items)
    assert done.freed >= 3000
    assert not made.exists()
    assert project.registry().path("net@v1").read_bytes() == data


# Merging.


def test_many_small_adds_leave_few_packs(project: Project) -> None:
    """Two hundred small versions lie in few packs, by merging on the way, and read back."""
    path = project.folder / "model.bin"
    for number in range(200):
        path.write_bytes(noise(100 + number, number))
        project.registry().add("net", path)
    assert len(project.packs) < 60
    assert trash_of(project) == []
    store = project.registry().presence.store
    for number in range(200):
        record, _ = project.registry().manifest.record("net", number + 1)
        assert bytes(store.get(record.artifact.digest)) == noise(100 + number, number)
    assert project.registry().fsck("default").ok


def small_packs(project: Project, count: int, patch: pytest.MonkeyPatch) -> None:
    """Add so many small versions without merging."""
    with patch.context() as inner:
        inner.setattr(intake, "tidy", lambda store: None)
        for number in range(count):
            project.add(noise(500, number))


def test_merging_waits_while_another_is_at_work(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a gc holds the lock, adds work and merge nothing; afterwards the next one merges."""
    small_packs(project, 20, monkeypatch)
    with maintenance(project.mvc / "store") as alone:
        assert alone
        project.add(noise(500, 100))
        assert len(project.packs) == 21
    project.add(noise(500, 101))
    assert len(project.packs) == 1
    assert is_whole(project)


def test_a_damaged_pack_is_not_merged(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack with a rotten frame stays as it is, and merging the others comes to an end."""
    small_packs(project, 20, monkeypatch)
    rotten = project.packs[3]
    flip(rotten, 100)
    before = rotten.read_bytes()
    project.add(noise(500, 100))
    assert rotten.read_bytes() == before
    assert len(project.packs) == 2
    findings = project.registry().fsck("default").findings
    assert [finding.kind for finding in findings] == ["object"]


def test_many_damaged_packs_do_not_hold_anyone_up(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every small pack is damaged, add and gc end and leave them all."""
    small_packs(project, 20, monkeypatch)
    for path in project.packs:
        flip(path, 100)
    before = [path.read_bytes() for path in project.packs]
    rewrite.tidy(project.registry().presence.store)
    assert collected(project).freed == 0
    assert [path.read_bytes() for path in project.packs] == before


def test_garbage_keeps_its_age_when_it_is_merged(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merged pack is as old as the youngest in it: garbage neither starts anew nor gets older."""
    small_packs(project, 20, monkeypatch)
    ages = {}
    for number, path in enumerate(project.packs):
        made_old(path, (30 + number) * DAY)
        ages[path] = path.stat().st_mtime
    rewrite.tidy(project.registry().presence.store)
    (merged,) = project.packs
    assert merged.stat().st_mtime == max(ages.values())


def test_a_store_without_empty_folders_is_collected(project: Project) -> None:
    """Folders that a copying tool left out because they were empty are no obstacle."""
    project.add(noise(3000))
    project.registry().rm("net@v1")
    for name in ("staging", "trash", "locks", "features"):
        shutil.rmtree(project.mvc / "store" / name, ignore_errors=True)
    assert collected(project).freed > 3000
    assert collected(project).freed == 0


def test_a_whole_copy_in_the_trash_outlives_a_damaged_one_in_its_place(project: Project) -> None:
    """A pack in the trash whose name is taken by a rotten copy is not thrown away for it."""
    project.add(noise(3000))
    (pack,) = project.packs
    data = pack.read_bytes()
    trash = project.mvc / "store" / "trash"
    trash.mkdir(exist_ok=True)
    (trash / f"{'0' * 32}-{pack.name}").write_bytes(data)
    flip(pack, 200)
    assert project.bytes_of("net@v1") == noise(3000)
    collected(project)
    assert project.bytes_of("net@v1") == noise(3000)


def test_a_record_that_came_with_git_is_kept_by_whoever_rooted_it(tmp_path: Path) -> None:
    """A version of another registry on the same store, here by its record only, stops nothing."""
    ours, theirs = Project(tmp_path / "ours"), Project(tmp_path / "theirs")
    for project in (ours, theirs):
        project.folder.mkdir()
        project.registry().init(store=tmp_path / "store")
    ours.add(b"ours" * 100)
    theirs.add(b"first" * 100)
    theirs.add(b"theirs" * 100)
    record = ours.record(2)
    record.write_bytes(theirs.record(2).read_bytes())
    done = ours.registry().gc(timedelta(0))
    assert (done.executed, done.freed) == (True, 0)
    assert ours.bytes_of("net@v2") == theirs.bytes_of("net@v2") == b"theirs" * 100


def test_du_says_from_when_the_first_withdrawn_version_goes(project: Project) -> None:
    """That is fourteen days after the earliest withdrawal that stands."""
    for number in range(3):
        project.add(noise(3000, number))
    assert project.registry().du().freed_from is None
    for number in (1, 2, 3):
        project.registry().rm(f"net@v{number}")
    project.registry().restore("net@v1")
    dated(project, 1, 9 * DAY)
    dated(project, 2, 5 * DAY)
    made = parse_time(project.registry().manifest.event("net", 2).created)
    assert project.registry().du().freed_from == timestamp(made + 14 * DAY)
    collected(project)
    assert project.registry().du().freed_from is None


def test_fsck_counts_what_lies_in_the_trash(project: Project) -> None:
    """What a gc that was cut short has left there is a note, and nothing that is damaged."""
    _needed_in_the_trash(project)
    report = project.registry().fsck("full")
    assert report.ok
    assert any("1 pack on its way out" in note for note in report.notes)


def test_what_a_killed_add_staged_goes_though_nothing_else_does(project: Project) -> None:
    """A gc with no pack to free removes it, and says beforehand how much that is."""
    project.add(b"kept" * 100)
    store = project.registry().presence.writable()
    begun = Transaction(store)
    fileio.run(begun.begin())
    (store.folder / "staging" / begun.id / "0.pack").write_bytes(bytes(5000))
    assert project.registry().gc(dry_run=True).items == ()
    assert begun._intent is not None
    begun._intent.close()  # as when its process is killed
    (item,) = project.registry().gc(dry_run=True).items
    assert (item.kind, item.bytes) == ("staging", 5000)
    assert project.registry().gc().freed == 5000
    assert list((store.folder / "staging").iterdir()) == []
    assert project.bytes_of("net") == b"kept" * 100
