"""fsck: every kind of damage is named, with the versions that it hurts and what helps."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable

import pytest

from mvc import Damaged, StoreMissing
from mvc.digest import Digest
from mvc.registry.care.findings import Finding, Report
from mvc.store import index as merged
from mvc.store.pack import Entry, IndexBlock
from tests.support.registry_builders import (
    MIB,
    Project,
    finished,
    flip,
    noise,
    python,
    resealed,
    rewrite,
)

LEVELS = ["quick", "default", "full"]


@pytest.fixture
def healthy(project: Project) -> Project:
    """Three versions: two share most of their bytes, one shares nothing; a tag, a withdrawal."""
    large = noise(9 * MIB)
    project.add(large, family="big", tags=["prod"])
    project.add(large + b"more", family="big")
    project.add(b"small", family="tiny", metrics={"acc": 0.5})
    project.add(b"gone", family="tiny")
    project.registry().rm("tiny@v2")
    return project


def check(project: Project, level: str = "default") -> Report:
    return project.registry().fsck(level)


def pack_of(project: Project, ref: str) -> int:
    """Return the place in ``packs`` of the one that holds a version's file."""
    registry = project.registry()
    found = registry.presence.store.find(registry.resolve(ref).artifact.digest)
    assert found is not None
    return project.packs.index(found.pack.path)


@pytest.mark.parametrize("level", LEVELS)
def test_a_healthy_registry_is_ok(healthy: Project, level: str) -> None:
    """Each level finds nothing, says what it looked at, and changes nothing."""
    report = check(healthy, level)
    assert report.ok
    assert report.notes == ()
    assert (report.checked["versions"], report.checked["events"]) == (4, 2)
    assert (report.checked["packs"], report.checked["roots"]) == (4, 4)
    assert ("objects" in report.checked) == (level != "quick")
    assert report.checked.get("files") == (4 if level == "full" else None)
    size = sum(pack.stat().st_size for pack in healthy.packs)
    if level != "full":
        assert healthy.registry().fsck_size(level) == (0 if level == "quick" else size)


def test_an_unknown_level_is_refused(healthy: Project) -> None:
    """A level that does not exist checks nothing."""
    with pytest.raises(ValueError, match="'deep'"):
        check(healthy, "deep")


@pytest.mark.parametrize("level", ["default", "full"])
def test_a_flipped_byte_names_the_versions_that_need_it(healthy: Project, level: str) -> None:
    """A damaged object hurts all versions that share it, and no other."""
    flip(healthy.packs[pack_of(healthy, "big@v1")], 100_000)
    report = check(healthy, level)
    (finding,) = report.findings
    assert (finding.kind, set(finding.versions)) == ("object", {"big/v1", "big/v2"})
    assert healthy.bytes_of("tiny") == b"small"
    for ref in finding.versions:
        with pytest.raises(Damaged, match="mvc fsck"):
            healthy.bytes_of(ref)


@pytest.mark.parametrize("times", [1, 2])
def test_what_is_read_wrong_once_is_no_damage(
    healthy: Project, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Bytes that came wrong once are read again: right, they are a note; wrong, damage."""
    left, real = times, os.pread
    first: list[tuple[int, int]] = []

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal left
        data = real(descriptor, size, offset)
        if size < MIB or not left or (descriptor, offset) not in (first or [(descriptor, offset)]):
            return data
        first.append((descriptor, offset))
        left -= 1
        return data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})  # one after the other
    monkeypatch.setattr(os, "pread", pread)
    report = check(healthy)
    assert (len(report.findings), len(report.notes)) == ((0, 1) if times == 1 else (1, 0))
    assert times == 2 or "wrong once and right" in report.notes[0]


def test_every_byte_of_a_pack_is_covered(project: Project) -> None:
    """Whichever byte of a pack is flipped, the default check finds it."""
    project.add(noise(100), tags=["prod"])
    (pack,) = project.packs
    for offset in range(pack.stat().st_size):
        flip(pack, offset)
        assert not check(project).ok, offset
        flip(pack, offset)
    assert check(project).ok


@pytest.mark.parametrize("name", ["record", "event", "root"])
def test_every_byte_of_a_small_file_is_covered(project: Project, name: str) -> None:
    """Whichever byte of a record, an event or a root is flipped, the quick check finds it."""
    project.add(b"weights", tags=["prod"])
    (root,) = (project.mvc / "store" / "roots").rglob("*.yaml")
    path = {"record": project.record(1), "event": project.event(1), "root": root}[name]
    for offset in range(0, path.stat().st_size, 7):
        flip(path, offset)
        assert name in {finding.kind for finding in check(project, "quick").findings}, offset
        flip(path, offset)
    assert check(project).ok


def cut(project: Project, place: int) -> None:
    rewrite(project.packs[place], lambda data: data[: len(data) // 2])


def emptied(project: Project, place: int) -> None:
    rewrite(project.packs[place], lambda _: b"")


def missing(project: Project, place: int) -> None:
    project.packs[place].unlink()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("hurt", [cut, emptied, missing])
def test_a_lost_pack_names_the_versions_it_held(
    healthy: Project, hurt: Callable[[Project, int], None], level: str
) -> None:
    """A pack cut off, emptied or missing is found at every level; other versions are whole."""
    name = healthy.packs[place := pack_of(healthy, "tiny@v1")].name
    hurt(healthy, place)
    report = check(healthy, level)
    assert versions(report) == {"tiny/v1"}
    assert ("pack" in {f.kind for f in report.findings}) == (hurt is not missing)
    assert hurt is missing or name in str(report.findings[0])
    assert len(healthy.bytes_of("big")) == 9 * MIB + 4


def test_a_lost_pack_that_others_build_on_names_them_all(healthy: Project) -> None:
    """Versions that share bytes with a lost pack are hurt, too."""
    missing(healthy, pack_of(healthy, "big@v1"))
    assert versions(check(healthy)) == {"big/v1", "big/v2"}


def test_an_edited_record_is_named_and_mended_as_the_remedy_says(healthy: Project) -> None:
    """The finding gives the command that brings the record back from the store."""
    rewrite(healthy.record(1, "tiny"), lambda data: data.replace(b"0.5", b"0.9"))
    (finding,) = check(healthy, "quick").findings
    assert (finding.kind, finding.versions) == ("record", ("tiny/v1",))
    assert finding.place == str(healthy.record(1, "tiny"))
    with pytest.raises(Damaged, match="the file was changed"):
        healthy.registry().resolve("tiny@v1")
    assert len(healthy.bytes_of("big")) == 9 * MIB + 4
    follow(finding)
    assert check(healthy, "full").ok
    assert healthy.registry().get("tiny@v1")["metrics"] == {"acc": 0.5}


def test_a_lost_record_is_named_and_mended_as_the_remedy_says(healthy: Project) -> None:
    """A gap in the numbers is a lost record, which the store still has."""
    healthy.record(1, "tiny").unlink()
    (finding,) = check(healthy, "quick").findings
    assert (finding.kind, finding.versions) == ("record", ("tiny/v1",))
    follow(finding)
    assert check(healthy).ok


@pytest.mark.parametrize(("copy", "over"), [(1, 2), (2, 1)])
def test_a_record_copied_over_another_is_named_and_mended_as_the_remedy_says(
    healthy: Project, copy: int, over: int
) -> None:
    """The version whose record is gone is told by its root, which has no version any more."""
    whole = healthy.record(over, "big").read_bytes()
    rewrite(healthy.record(over, "big"), lambda _: healthy.record(copy, "big").read_bytes())
    (finding,) = check(healthy, "quick").findings
    assert (finding.kind, finding.versions) == ("record", (f"big/v{over}",))
    follow(finding)
    assert healthy.record(over, "big").read_bytes() == whole
    assert check(healthy).ok


def test_a_number_too_many_for_a_record_is_no_damage(healthy: Project) -> None:
    """Where all roots have a version, one that is there twice hurts nobody."""
    healthy.record(3, "big").write_bytes(healthy.record(1, "big").read_bytes())
    assert check(healthy).ok


def test_a_record_replaced_by_another_sealed_one_lacks_its_root(healthy: Project) -> None:
    """A forged record with a seal of its own is told by the root it does not have."""
    rewrite(healthy.record(1, "tiny"), lambda data: resealed(data, metrics={"acc": 0.99}))
    report = check(healthy, "quick")
    found = [(f.kind, f.versions) for f in report.findings]
    assert found == [("family", ()), ("root", ("tiny/v1",))]


def test_a_missing_root_is_named_and_mended_as_the_remedy_says(healthy: Project) -> None:
    """A version whose root is gone would be collected; the finding says how to root it again."""
    data = healthy.record(2, "big").read_bytes()
    roots = list((healthy.mvc / "store" / "roots").rglob("*.yaml"))
    next(root for root in roots if root.read_bytes() == data).unlink()
    (finding,) = check(healthy, "quick").findings
    assert (finding.kind, finding.versions) == ("root", ("big/v2",))
    follow(finding)
    assert check(healthy).ok


def test_an_edited_event_is_named(healthy: Project) -> None:
    """A changed event is found, and versions are still checked."""
    rewrite(healthy.event(1, "big"), lambda data: data.replace(b"prod", b"prob"))
    report = check(healthy)
    assert [(f.kind, f.object) for f in report.findings] == [("event", "big event 1")]
    assert report.checked["versions"] == 4


def test_a_lost_event_is_named(healthy: Project) -> None:
    """A gap in the numbers of events is a lost event."""
    healthy.registry().tag("big@v2", "prod")
    healthy.event(1, "big").unlink()
    (finding,) = check(healthy).findings
    assert (finding.kind, finding.object) == ("event", "big event 1")


def test_stray_numbers_do_not_keep_it_busy(healthy: Project) -> None:
    """A file with a number far above all others is checked, and makes no million gaps."""
    data = healthy.record(1, "tiny").read_bytes()
    (healthy.record(999_999_999, "tiny")).write_bytes(data)
    assert check(healthy, "quick").checked["records"] == 5


def test_roots_without_a_version_are_a_note(healthy: Project) -> None:
    """What another git branch or a killed ``add`` left is mentioned, and is no damage."""
    (roots,) = (healthy.mvc / "store" / "roots").iterdir()
    (roots / ("0" * 64 + ".yaml")).write_bytes(b"x")
    (healthy.mvc / "store" / "staging" / ("0" * 32)).mkdir()
    report = check(healthy)
    assert report.ok
    assert ["1 root in" in report.notes[0], "1 unfinished" in report.notes[1]] == [True, True]


def test_a_second_whole_copy_is_no_damage(healthy: Project) -> None:
    """Where another pack has the same object whole, the damaged one is only noted."""
    place = pack_of(healthy, "tiny@v1")
    rotten = healthy.packs[place]
    flip(rotten, 50)
    assert not check(healthy).ok
    healthy.add(b"small", family="tiny")
    assert versions(check(healthy)) == set()
    assert healthy.bytes_of("tiny@v1") == b"small"


def test_full_finds_what_checksums_cannot(healthy: Project) -> None:
    """An object whose frame is consistent but whose bytes are others is found by ``full`` only."""
    from mvc.codecs import Encoded, Encoding
    from mvc.digest import digest_of
    from mvc.store.pack import PackWriter

    place = pack_of(healthy, "tiny@v1")
    healthy.packs[place].unlink()
    writer = PackWriter(healthy.mvc / "store" / "packs" / ".mvc-new-forged")
    writer.add(digest_of(b"small"), 5, Encoded(Encoding.RAW, [b"SMALL"], 5))
    name = writer.finish()
    writer.path.rename(writer.path.with_name(name))
    assert check(healthy, "default").ok
    (finding,) = check(healthy, "full").findings
    assert (finding.kind, finding.versions) == ("object", ("tiny/v1",))
    with pytest.raises(Damaged):
        healthy.bytes_of("tiny@v1")


def test_without_its_store_there_is_nothing_to_check(healthy: Project) -> None:
    """A store that is away is an error, not a report that all is well."""
    (healthy.mvc / "store").rename(healthy.folder / "elsewhere")
    with pytest.raises(StoreMissing, match="the store of"):
        check(healthy)


def versions(report: Report) -> set[str]:
    return {version for finding in report.findings for version in finding.versions}


def follow(finding: Finding) -> None:
    """Run the command that a remedy names, as a user would."""
    command = finding.remedy[finding.remedy.index("cp ") :]
    subprocess.run(["sh", "-c", command], check=True)
    assert shlex.split(command)[0] == "cp"


def test_a_cache_that_hides_an_object_is_not_believed_by_who_looks(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a damaged merged index what is stored is still shown as here."""
    monkeypatch.setattr("mvc.store.index.MOST_UNCOVERED", 0)
    project.add(b"one")
    project.add(b"two")
    index = project.mvc / "cache" / "index"
    for offset in range(index.stat().st_size - 208, index.stat().st_size, 8):
        flip(index, offset)
    assert [version.present for version in project.registry().log()] == [True, True]
    assert project.registry().get("net@v1")["present"]


MANY = """
import os, resource, sys
from mvc import ModelRegistry
from mvc.store import index, rewrite
rewrite.MANY = 1000
index.MOST_OPEN = index.MOST_UNCOVERED = 8
os.fsync = lambda descriptor: None
registry = ModelRegistry(sys.argv[1])
for number in range(60):
    registry.add("net", sys.argv[2])
    with open(sys.argv[2], "ab") as file:
        file.write(b"more")
registry.fsck_size("full")
opened = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 32, opened + 32))
registry = ModelRegistry(sys.argv[1])
for level in ("quick", "default", "full"):
    report = registry.fsck(level)
    print(report.ok, report.checked["packs"])
print(registry.fsck(max_duration="1h").coverage.packs, registry.fsck_size("full") > 0)
print(registry.add("net", sys.argv[2]).id)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc/self/fd")
def test_there_may_be_more_packs_than_a_process_may_open(project: Project) -> None:
    """Every level reads a store of many packs with few of them open at a time."""
    project.folder.mkdir(exist_ok=True)
    said = finished(python(MANY, project.folder, project.file(b"weights"))).splitlines()
    assert said == ["True 60", "True 60", "True 60", "60 True", "net/v61"]


def test_many_packs_are_not_each_asked_for_each_object(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the merged index was compared with the packs it answers: one look-up, not one a pack."""
    monkeypatch.setattr(merged, "MOST_UNCOVERED", 0)
    packs = 12
    for number in range(packs):
        project.add(noise(9000, number))
    asked = []
    find = IndexBlock.find

    def counting(block: IndexBlock, digest: Digest) -> list[Entry]:
        asked.append(digest)
        return find(block, digest)

    monkeypatch.setattr(IndexBlock, "find", counting)
    report = project.registry().fsck("quick")
    assert (report.ok, report.checked["packs"]) == (True, packs)
    assert len(asked) < packs * packs / 2
