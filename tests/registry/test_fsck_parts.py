"""fsck a part at a time: samples add up, time goes to what was checked longest ago."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from mvc import UsageError, fileio
from mvc.digest import checksum_of
from mvc.registry.care import coverage
from mvc.registry.care.coverage import NEVER, Coverage
from mvc.registry.care.findings import Report
from tests.support.registry_builders import MIB, Project, flip, noise, python, rewrite
from tests.support.store_builders import regions_of

PAGE = Path(__file__).parents[2] / "docs" / "fsck.md"
LARGE = noise(9 * MIB)
PACKS = 5
AT_ONCE = timedelta(0)


@pytest.fixture
def held(project: Project) -> Project:
    """Five packs: a file of several objects, a second that shares most of them, three small."""
    project.add(LARGE, family="big")
    project.add(LARGE + b"more", family="big")
    for number in range(PACKS - 2):
        project.add(noise(2000, number), family="tiny")
    assert len(project.packs) == PACKS
    return project


def notes(project: Project) -> Path:
    (found,) = (project.mvc / "cache").glob("fsck-*")
    return found


def noted(project: Project) -> dict[str, list[str]]:
    """Return the times noted of each pack."""
    rows = [line.split() for line in notes(project).read_text().splitlines()[1:-1]]
    return {f"{row[0]}.pack": row[1:] for row in rows}


def covered(report: Report) -> Coverage:
    assert report.coverage is not None
    return report.coverage


# --sample


@pytest.mark.parametrize("level", ["default", "full"])
@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_all_samples_together_check_everything_once(held: Project, level: str, parts: int) -> None:
    """N of T for N = 1 … T look at as many objects, files and bytes as one whole check."""
    whole = held.registry().fsck(level).checked
    each = [held.registry().fsck(level, sample=f"{n}/{parts}").checked
            for n in range(1, parts + 1)]  # fmt: skip
    for kind in ("objects", "bytes", *(["files"] if level == "full" else [])):
        assert sum(checked.get(kind, 0) for checked in each) == whole[kind], kind
    assert all(checked["records"] == whole["records"] for checked in each)


def test_damage_is_found_by_one_sample_always_the_same(held: Project) -> None:
    """Of all parts one finds a rotten object, also after the store has grown and was repacked."""
    pack = max(held.packs, key=lambda path: path.stat().st_size)
    (region, *_) = [r for r in regions_of(pack) if r.digest is not None and r.end - r.start > MIB]
    assert region.digest is not None
    expected = int.from_bytes(region.digest[:8], "big") % 4 + 1
    for _ in range(2):
        flip(pack, region.start + 5000)
        found = [n for n in range(1, 5) if not held.registry().fsck(sample=f"{n}/4").ok]
        assert found == [expected]
        flip(pack, region.start + 5000)
        held.add(noise(9 * MIB, 9), family="other")


def test_a_sample_notes_nothing(held: Project) -> None:
    """A part of every pack is no pack: what was checked when is as before."""
    held.registry().fsck(sample="1/2")
    assert list((held.mvc / "cache").glob("fsck-*")) == []


# --max-duration


def test_time_goes_to_what_was_checked_longest_ago(held: Project) -> None:
    """One pack at a time, each is read once before any is read twice; it says what is left."""
    seen = []
    for run in range(2 * PACKS):
        before = noted(held) if run else {}
        report = held.registry().fsck(max_duration=AT_ONCE)
        after = noted(held)
        (read,) = [name for name in after if after[name] != before.get(name)]
        seen.append(read)
        now = covered(report)
        assert report.ok
        assert (now.packs, now.of_packs) == (1, PACKS)
        assert now.never == max(0, PACKS - run - 1)
        assert now.oldest == min(times[0] for times in after.values())
    assert sorted(seen[:PACKS]) == [pack.name for pack in held.packs]
    assert seen[PACKS:] == seen[:PACKS]


def test_with_time_enough_each_pack_is_read_once(held: Project) -> None:
    """A check that has the time looks at everything, and ends."""
    report = held.registry().fsck("full", max_duration="2h")
    size = sum(pack.stat().st_size for pack in held.packs)
    now = covered(report)
    assert (now.packs, now.size, now.never) == (PACKS, size, 0)
    assert report.checked == held.registry().fsck("full").checked


def test_a_whole_check_counts(held: Project) -> None:
    """What a plain check read is not read first by one with a time; a new pack is."""
    held.registry().fsck()
    assert set(noted(held)) == {pack.name for pack in held.packs}
    before = set(held.packs)
    held.add(b"new")
    (new,) = set(held.packs) - before
    assert covered(held.registry().fsck(max_duration=AT_ONCE)).never == 0
    assert max(noted(held).items(), key=lambda item: item[1])[0] == new.name


def test_only_a_full_check_counts_for_a_full_one(held: Project) -> None:
    """Checksums that held say nothing of digests; digests that held say that checksums do."""
    held.registry().fsck()
    report = held.registry().fsck("full", max_duration=AT_ONCE)
    assert covered(report).never == PACKS - 1
    held.registry().fsck("full")
    assert {times[0] == times[1] for times in noted(held).values()} == {True}
    held.registry().fsck()
    assert {times[0] > times[1] for times in noted(held).values()} == {True}


@pytest.mark.parametrize("level", ["default", "full"])
def test_a_damaged_pack_comes_first_again(held: Project, level: str) -> None:
    """A pack that was not whole counts as never checked, until it is whole."""
    held.registry().fsck(level)
    flip(pack := held.packs[2], 120)
    assert not held.registry().fsck(level).ok
    assert pack.name not in noted(held)
    for _ in range(2):
        report = held.registry().fsck(level, max_duration=AT_ONCE)
        assert (report.ok, covered(report).never) == (False, 1)
    flip(pack, 120)
    report = held.registry().fsck(level, max_duration=AT_ONCE)
    assert (report.ok, covered(report).never) == (True, 0)


def test_records_and_indexes_are_checked_whole(held: Project) -> None:
    """Whatever part is read: a damaged record, root or index is found."""
    flip(held.record(1, "tiny"), 60)
    flip(held.packs[3], -20)
    registry = held.registry()
    for report in (registry.fsck(sample="1/1000"), registry.fsck(max_duration="0s")):
        assert {"record", "pack"} <= {finding.kind for finding in report.findings}


INTERRUPTED = """
import sys, time
from mvc import ModelRegistry
from mvc.registry.care import coverage, fsck
coverage.SAVE_AFTER = float(sys.argv[2])
real = coverage.Progress.note
def note(self, pack, *, whole):
    real(self, pack, whole=whole)
    print(pack.path.name, flush=True)
    time.sleep(0.3)
coverage.Progress.note = note
ModelRegistry(sys.argv[1]).fsck()
"""


@pytest.mark.parametrize(("end", "save_after"), [(signal.SIGINT, 1e9), (signal.SIGKILL, 0)])
def test_an_interrupted_check_is_resumed(
    held: Project, end: signal.Signals, save_after: float
) -> None:
    """What was read before a check was interrupted, or killed, is read last by the next."""
    child = python(INTERRUPTED, held.folder, save_after)
    assert child.stdout is not None
    done = [child.stdout.readline().strip() for _ in range(2)]
    child.send_signal(end)
    child.wait(60)
    child.communicate()
    first = set(noted(held))
    assert set(done) <= first < {pack.name for pack in held.packs}
    for left in range(PACKS - len(first) - 1, -1, -1):
        assert covered(held.registry().fsck(max_duration=AT_ONCE)).never == left


def test_a_check_of_many_packs_notes_now_and_then(
    held: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notes are written at most every few seconds and at the end, not for each pack."""
    written: list[Path] = []
    real = fileio.replace

    def replace(path: Path, data: bytes) -> None:
        written.append(path)
        real(path, data)

    monkeypatch.setattr(fileio, "replace", replace)
    held.registry().fsck()
    assert written == [notes(held)]


# The notes.


def forged(project: Project, change: Callable[[str], str]) -> None:
    """Change the notes and give them a checksum that holds."""
    body = "".join(notes(project).read_text().splitlines(keepends=True)[:-1])
    body = change(body)
    notes(project).write_text(f"{body}{checksum_of(body.encode()):016x}\n")


def a_folder(project: Project) -> None:
    path = notes(project)
    path.unlink()
    path.mkdir()


WAYS: dict[str, Callable[[Project], object]] = {
    "gone": lambda p: notes(p).unlink(),
    "empty": lambda p: notes(p).write_bytes(b""),
    "cut off": lambda p: rewrite(notes(p), lambda data: data[:-30]),
    "a bit turned": lambda p: flip(notes(p), 90),
    "of bytes": lambda p: notes(p).write_bytes(os.urandom(500)),
    "a folder": a_folder,
    "of a newer mvc": lambda p: forged(p, lambda text: text.replace("mvc 1", "mvc 2", 1)),
    "of another store": lambda p: forged(p, lambda text: text[:6] + "f" * 32 + text[38:]),
    "of a copy": lambda p: forged(p, lambda text: text.replace("\n", "7\n", 1)),
    "of the future": lambda p: forged(p, lambda text: re.sub(r" 20\d\d-", " 2999-", text)),
}


@pytest.mark.parametrize("way", WAYS)
def test_notes_that_say_nothing_mean_never_checked(held: Project, way: str) -> None:
    """However the notes are lost, the check goes on, finds what it would, and begins anew."""
    held.registry().fsck("full")
    WAYS[way](held)
    assert covered(held.registry().fsck(max_duration=AT_ONCE)).never == PACKS - 1
    assert held.registry().fsck("full").ok
    if way != "a folder":
        assert covered(held.registry().fsck(max_duration=AT_ONCE)).never == 0


def test_notes_of_others_stay_and_those_of_packs_that_are_gone_do_not(held: Project) -> None:
    """Two checks at once lose nothing of each other's, and the file does not grow without end."""
    registry = held.registry()
    store = registry.presence.store
    one, other = (coverage.Progress(registry.place.cache, store, "default") for _ in range(2))
    packs = list(store.index.packs())
    one.note(packs[0], whole=True)
    other.note(packs[1], whole=True)
    one.save()
    other.save()
    assert set(noted(held)) == {pack.path.name for pack in packs[:2]}
    packs[0].path.unlink()
    held.registry().fsck()
    assert packs[0].path.name not in noted(held)


def test_the_notes_of_the_page_are_read(held: Project) -> None:
    """The example in real bytes is what a reader takes and a writer writes."""
    block = PAGE.read_text().split("```text\n")[1].split("```")[0]
    body = "".join(block.splitlines(keepends=True)[:-1])
    assert block == f"{body}{checksum_of(body.encode()):016x}\n"
    held.registry().fsck()
    first = notes(held).read_text().splitlines()[0]
    assert re.fullmatch(r"mvc 1 [0-9a-f]{32} [0-9]+", first)
    lines = body.splitlines()[1:]
    assert all(coverage._LINE.fullmatch(line) for line in lines)
    assert lines[1].endswith(f" {NEVER}")


# What it says.


@pytest.mark.parametrize("sample", ["0/4", "5/4", "x", "", "1/0", "1", "-1/2", "1/2/3", "1.5/2"])
def test_a_sample_that_is_none_is_refused(held: Project, sample: str) -> None:
    """The hint shows how one is written."""
    with pytest.raises(UsageError, match="is no part") as raised:
        held.registry().fsck(sample=sample)
    assert "2/7" in (raised.value.hint or "")


def test_what_does_not_go_together_is_refused(held: Project) -> None:
    """A part of nothing, of a repair or of a part is asked for by mistake."""
    registry = held.registry()
    for sample, time in (("1/2", None), (None, "10m")):
        with pytest.raises(UsageError, match="in parts"):
            registry.fsck("quick", sample=sample, max_duration=time)
        with pytest.raises(UsageError, match="in parts"):
            registry.fsck(repair=True, sample=sample, max_duration=time)
    with pytest.raises(UsageError, match="contradict"):
        registry.fsck(sample="1/2", max_duration="10m")
    with pytest.raises(UsageError, match="is no time"):
        registry.fsck(max_duration="10")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the bytes that are read."""
    counts: list[int] = []
    real = os.pread

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        data = real(descriptor, size, offset)
        counts.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", pread)
    return counts


@pytest.mark.parametrize("sample", [None, "1/2", "2/2"])
@pytest.mark.parametrize("level", ["default", "full"])
def test_it_reads_as_much_as_it_said(
    held: Project, read: list[int], level: str, sample: str | None
) -> None:
    """The size said before is what is read, with bases and with files put together."""
    from tests.registry.test_deltas_damaged import FILES

    for data in FILES:
        held.add(data, family="near")
    said = held.registry().fsck_size(level, sample=sample)
    read.clear()
    assert held.registry().fsck(level, sample=sample).ok
    assert said * 0.98 - 20_000 < sum(read) < said * 1.02 + 200_000


def test_where_nothing_may_be_written_it_all_works(held: Project) -> None:
    """A cache that nobody may write to is no reason to fail."""
    shutil.rmtree(held.mvc / "cache")
    (held.mvc / "cache").write_bytes(b"a file where the folder should be")
    report = held.registry().fsck(max_duration="2h")
    assert (report.ok, covered(report).never) == (True, 0)
    assert held.registry().fsck(sample="1/1").ok
