"""gc removes nothing where anything cannot be read or understood, and never what is not ours."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mvc import Busy, Damaged, ModelRegistry, MvcError, fileio
from mvc.digest import digest_of
from mvc.errors import Unsupported
from mvc.store.lock import maintenance
from mvc.store.settings import root_name
from tests.cli.running import ROOT, mvc
from tests.support.gc_builders import (
    DAY,
    NOW,
    collected,
    dated,
    everything,
    on_store_of,
    roots_of,
    trash_of,
)
from tests.support.registry_builders import MIB, Project, files_in, flip, noise, resealed, rewrite

KEPT, GONE = noise(5 * MIB, 1), noise(3000, 2)


@pytest.fixture
def withdrawn(project: Project) -> Project:
    """A project with a version kept as a recipe, one of a folder, and one that may go."""
    project.add(KEPT)
    project.add(GONE)
    project.add_folder({"a": b"a", "b": noise(100, 4)}, listed=False)
    project.registry().rm("net@v2")
    return project


def root_of(project: Project, number: int) -> Path:
    name = root_name(project.record(number).read_bytes())
    return next(path for path in roots_of(project) if path.name == name)


def pack_with(project: Project, data: bytes) -> Path:
    return next(path for path in project.packs if data in path.read_bytes())


def in_place(path: Path, data: bytes) -> None:
    rewrite(path, lambda _: data)


def bears_its_digest(path: Path, data: bytes) -> None:
    """Put other bytes in a root's place, under the name that is theirs."""
    path.unlink()
    path.with_name(root_name(data)).write_bytes(data)


def replaced_by(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


# Each with what makes it whole again, for nothing but this is to be in the way.
UNREADABLE: dict[str, Callable[[Project], object]] = {
    "root emptied": lambda at: in_place(root_of(at, 1), b""),
    "root garbled": lambda at: flip(root_of(at, 1), 30),
    "root cut short": lambda at: rewrite(root_of(at, 1), lambda data: data[:-20]),
    "root a folder": lambda at: replaced_by(root_of(at, 1), Path.mkdir),
    "root a pipe": lambda at: replaced_by(root_of(at, 1), os.mkfifo),
    "root a link": lambda at: replaced_by(root_of(at, 1), lambda p: p.symlink_to(at.record(1))),
    "root of a newer format": lambda at: bears_its_digest(
        root_of(at, 1), resealed(root_of(at, 1).read_bytes(), mvc=2)
    ),
    "root of a kind not known": lambda at: bears_its_digest(
        root_of(at, 1),
        resealed(
            root_of(at, 1).read_bytes(),
            artifact={"kind": "ensemble", "name": "x", "digest": str(digest_of(b"")), "size": 0},
        ),
    ),
    "root under another name": lambda at: root_of(at, 1).rename(
        root_of(at, 1).with_name(f"{'0' * 64}.yaml")
    ),
    "root of nobody": lambda at: shutil.copytree(
        root_of(at, 1).parent, root_of(at, 1).parent.with_name("not-an-id")
    ),
    "root lost": lambda at: root_of(at, 1).unlink(),
    "index of a pack": lambda at: flip(pack_with(at, KEPT[:1000]), -100),
    "index of a pack to go": lambda at: flip(pack_with(at, GONE), -100),
    "pack cut short": lambda at: rewrite(pack_with(at, KEPT[:1000]), lambda data: data[:-50]),
    "pack emptied": lambda at: in_place(pack_with(at, KEPT[:1000]), b""),
    "pack lost": lambda at: pack_with(at, KEPT[:1000]).unlink(),
    "pack a folder": lambda at: replaced_by(pack_with(at, KEPT[:1000]), Path.mkdir),
    "pack with the tree lost": lambda at: pack_with(at, noise(100, 4)).unlink(),
    "recipe garbled": lambda at: garbled_recipe(at),
    "tree garbled": lambda at: garbled_tree(at),
    "record garbled": lambda at: flip(at.record(1), 30),
    "record of what goes garbled": lambda at: flip(at.record(2), 30),
    "record emptied": lambda at: in_place(at.record(3), b""),
    "record of a newer format": lambda at: rewrite(
        at.record(3), lambda data: resealed(data, mvc=2)
    ),
    "event garbled": lambda at: flip(at.event(1), 30),
    "event missing": lambda at: at.event(1).rename(at.event(2)),
    "pack in the trash": lambda at: damaged_in_trash(at),
}


def garbled_recipe(project: Project) -> None:
    record, _ = project.registry().manifest.record("net", 1)
    found = project.registry().presence.store.find(record.artifact.digest)
    assert found is not None
    assert found.entry.encoding.name == "RECIPE"
    flip(found.pack.path, found.entry.end - 20)


def garbled_tree(project: Project) -> None:
    record, _ = project.registry().manifest.record("net", 3)
    found = project.registry().presence.store.find(record.artifact.digest)
    assert found is not None
    flip(found.pack.path, found.entry.end - 20)


def damaged_in_trash(project: Project) -> None:
    trash = project.mvc / "store" / "trash"
    trash.mkdir(exist_ok=True)
    pack = pack_with(project, GONE)
    flip(pack, -100)
    pack.rename(trash / f"{'0' * 32}-{pack.name}")


@pytest.mark.filterwarnings("ignore::mvc.StoreWarning")
@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("force", [False, True])
def test_nothing_goes_where_something_cannot_be_read(
    withdrawn: Project, damage: Callable[[Project], object], force: bool
) -> None:
    """Whatever is damaged, unknown or missing: gc says so and not one file is another."""
    damage(withdrawn)
    before = everything(withdrawn)
    for dry_run in (True, False):
        with pytest.raises((Damaged, Unsupported)) as raised:
            collected(withdrawn, force=force, orphans=True, dry_run=dry_run)
        assert raised.value.hint
        assert "\n" not in raised.value.message
        assert raised.value.message[0].islower() or raised.value.message[0] in "'\""
        assert everything(withdrawn) == before


def test_without_damage_it_goes(withdrawn: Project) -> None:
    """The project of these tests is one that gc collects from."""
    assert collected(withdrawn).freed > 3000
    assert withdrawn.registry().fsck("full").ok


# Clocks.


def test_a_record_from_the_future_stops_nobody(withdrawn: Project, tmp_path: Path) -> None:
    """Where a version was made by a clock ten years ahead it stays, and what may go goes."""
    root = root_of(withdrawn, 1)
    created = f"{time.gmtime().tm_year + 10}-01-01T00:00:00.000000Z"
    bears_its_digest(root, resealed(root.read_bytes(), created=created))
    in_place(withdrawn.record(1), resealed(withdrawn.record(1).read_bytes(), created=created))
    assert collected(withdrawn).freed > 3000
    assert withdrawn.bytes_of("net@v1") == KEPT


def test_what_was_withdrawn_in_the_future_stays(withdrawn: Project) -> None:
    """A version withdrawn by a clock ten years ahead can be restored until then."""
    created = f"{time.gmtime().tm_year + 10}-01-01T00:00:00.000000Z"
    event = max((withdrawn.mvc / "manifest" / "net" / "events").iterdir())
    in_place(event, resealed(event.read_bytes(), created=created))
    report = collected(withdrawn)
    assert report.freed == 0
    assert [item.name for item in report.later] == ["net/v2"]
    withdrawn.registry().restore("net@v2")
    assert withdrawn.bytes_of("net@v2") == GONE


@pytest.mark.parametrize("seconds", [-3600, -301, 301, 3600])
def test_a_store_with_another_clock_stops_gc(
    withdrawn: Project, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """Where the store's file system tells another time by over five minutes nothing goes."""
    real = fileio.clock
    monkeypatch.setattr(fileio, "clock", lambda folder: real(folder) + seconds * 10**9)
    before = everything(withdrawn)
    with pytest.raises(
        MvcError, match=r"the clock here is -?[0-9,]+ seconds off that of the store"
    ):
        collected(withdrawn)
    assert everything(withdrawn) == before


def test_a_few_minutes_off_are_no_matter(
    withdrawn: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clocks are never quite the same: four minutes stop nobody."""
    real = fileio.clock
    monkeypatch.setattr(fileio, "clock", lambda folder: real(folder) + 240 * 10**9)
    assert collected(withdrawn).freed > 3000


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
@pytest.mark.parametrize("shift", ["-1d", "-1y"])
def test_a_machine_whose_clock_was_set_back_collects_nothing(
    withdrawn: Project, shift: str
) -> None:
    """The real program on a machine that is back in the past: nothing is old enough to go.

    Set ahead, a machine of which the store is a part has nothing to tell it by.
    """
    before = everything(withdrawn)
    done = subprocess.run(
        [
            "faketime",
            "-f",
            shift,
            sys.executable,
            "-m",
            "mvc",
            "-C",
            withdrawn.folder,
            "gc",
            "--grace",
            "0",
        ],
        env={**os.environ, "NO_FAKE_STAT": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "net/v2 stays" in done.stderr
    assert before.items() <= everything(withdrawn).items()


# Roots that went away all at once.


def test_a_live_set_that_shrank_by_half_stops_gc(withdrawn: Project, tmp_path: Path) -> None:
    """Where roots of another registry were lost nothing goes, until ``--force`` is said."""
    other = on_store_of(withdrawn, tmp_path / "other")
    other.add(noise(12 * MIB, 7))
    assert collected(other).freed == 0
    shutil.rmtree(withdrawn.mvc / "store" / "roots" / other.registry().place.id)
    before = everything(withdrawn)
    with pytest.raises(MvcError, match=r"versions need .* bytes now, and needed") as raised:
        collected(withdrawn)
    assert "--force" in (raised.value.hint or "")
    assert everything(withdrawn) == before
    assert collected(withdrawn, force=True).freed > 12 * MIB
    assert collected(withdrawn).freed == 0


def test_withdrawing_nearly_everything_is_no_alarm(project: Project) -> None:
    """What goes by release does not look like lost roots, neither now nor in the next gc."""
    for number in range(6):
        project.add(noise(50_000, number))
    assert collected(project).freed == 0
    for number in range(1, 6):
        project.registry().rm(f"net@v{number}")
    assert collected(project).freed > 250_000
    assert collected(project).freed == 0
    assert project.bytes_of("net@v6") == noise(50_000, 5)


# What is not ours.


def test_foreign_files_are_left_alone(withdrawn: Project) -> None:
    """Editor backups, ``.nfs`` files and ``lost+found`` anywhere in the store stay as they are."""
    store = withdrawn.mvc / "store"
    (store / "trash").mkdir(exist_ok=True)
    registry = roots_of(withdrawn)[0].parent
    foreign = []
    for folder in (store, *(store / n for n in ("packs", "roots", "trash", "staging")), registry):
        for name in (".nfs000000000", "notes.txt~", ".DS_Store", "#x#", "x.pack.bak"):
            foreign.append(folder / name)
            foreign[-1].write_bytes(b"not ours")
            os.utime(foreign[-1], (0, 0))
        (folder / "lost+found").mkdir()
        foreign.append(folder / "lost+found" / "0001")
        foreign[-1].write_bytes(b"found")
        os.utime(foreign[-1], (0, 0))
        os.utime(foreign[-1].parent, (0, 0))
    assert collected(withdrawn, orphans=True).freed > 3000
    assert [path for path in foreign if not path.exists()] == []
    assert withdrawn.bytes_of("net@v1") == KEPT


# Stores that may not be written to.


@pytest.mark.filterwarnings("ignore::mvc.StoreWarning")
def test_a_store_moved_away_is_not_collected(withdrawn: Project, tmp_path: Path) -> None:
    """A store that says it was moved is not collected, also by one who names it."""
    store = withdrawn.mvc / "store"
    shutil.copytree(store, tmp_path / "new")
    (store / "moved-to.yaml").write_text(f'mvc: 1\nto: "{tmp_path / "new"}"\n')
    before = everything(withdrawn)
    with pytest.raises(MvcError, match="moved"):
        ModelRegistry(withdrawn.folder, store=store).gc(NOW)
    assert everything(withdrawn) == before


@pytest.mark.filterwarnings("ignore::mvc.StoreWarning")
def test_a_store_found_elsewhere_is_not_collected(withdrawn: Project, tmp_path: Path) -> None:
    """Found where nobody configured it a store is read only, for gc as well."""
    elsewhere = tmp_path / "elsewhere"
    (withdrawn.mvc / "store").rename(elsewhere)
    config = withdrawn.mvc / "config.yaml"
    text = f'fallbacks: ["{elsewhere}"]\n'.encode()
    rewrite(config, lambda data: data.replace(b"fallbacks: []\n", text))
    before = files_in(elsewhere)
    with pytest.raises(MvcError, match="read only") as raised:
        collected(withdrawn)
    assert raised.value.hint
    assert files_in(elsewhere) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_store_on_a_read_only_file_system_is_not_collected(withdrawn: Project) -> None:
    """On a read-only mount gc ends with one line that says so."""
    store = str(withdrawn.mvc / "store")
    if subprocess.run(["mount", "--bind", store, store], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", store], check=True)
        before = everything(withdrawn)
        done = mvc("-C", str(withdrawn.folder), "gc", "--grace", "0")
        assert everything(withdrawn) == before
    finally:
        subprocess.run(["umount", store], check=True)
    assert done.status == 8
    assert done.err.count("error:") == 1
    assert "read-only" in done.err.lower()
    assert done.out == ""


def test_another_gc_under_way_is_told(withdrawn: Project) -> None:
    """While another gc holds the lock gc is refused as busy, and may be only planned."""
    before = everything(withdrawn)
    with maintenance(withdrawn.mvc / "store"):
        with pytest.raises(Busy, match="another gc, repack or move is under way"):
            collected(withdrawn)
        assert mvc("-C", str(withdrawn.folder), "gc").status == 6
        assert collected(withdrawn, dry_run=True).freed > 3000
    assert everything(withdrawn) == before
    assert collected(withdrawn).freed > 3000


def test_a_lock_that_was_forked_is_released_with_its_holder(withdrawn: Project) -> None:
    """A child that lives on does not keep the lock that it was born with."""
    with maintenance(withdrawn.mvc / "store"):
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        assert collected(withdrawn).freed > 3000
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_a_lock_whose_file_is_taken_away_costs_nothing(withdrawn: Project, replaced: bool) -> None:
    """With the lock deleted, or replaced, while a gc holds it, another goes on: nothing is lost."""
    lock = withdrawn.mvc / "store" / "locks" / "maintenance.lock"
    kept = withdrawn.add(noise(4000, 5))

    def meanwhile(gone: Project = withdrawn) -> int:
        lock.unlink()
        if replaced:
            lock.write_bytes(b"")
        return collected(gone).freed

    with maintenance(withdrawn.mvc / "store") as alone:
        assert alone
        assert meanwhile() > 3000
    assert withdrawn.bytes_of(kept) == noise(4000, 5)
    assert collected(withdrawn).freed == 0
    assert withdrawn.registry().fsck("full").ok


def test_a_lock_that_is_a_link_or_in_the_way_does_no_harm(
    withdrawn: Project, tmp_path: Path
) -> None:
    """Where the lock's name is taken by a link, what it leads to is neither made nor changed."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    lock = withdrawn.mvc / "store" / "locks" / "maintenance.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.unlink(missing_ok=True)
    lock.symlink_to(victim)
    collected(withdrawn)
    assert victim.read_bytes() == b"mine"
    assert withdrawn.bytes_of("net@v1") == KEPT
    assert trash_of(withdrawn) == []


def test_a_withdrawal_merged_out_of_order_counts_by_its_number(project: Project) -> None:
    """After a restore that is younger by number nothing goes, whatever times the events bear."""
    project.add(noise(3000))
    for change in ("rm", "restore"):
        getattr(project.registry(), change)("net@v1")
    dated(project, 1, DAY)
    dated(project, 2, 100 * DAY)
    assert collected(project).freed == 0
    assert project.bytes_of("net@v1") == noise(3000)
