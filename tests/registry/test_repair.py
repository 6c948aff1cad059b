"""fsck --repair: what has a whole copy somewhere is mended, and no damaged byte is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mvc import ModelRegistry, MvcError, NotFound, lines
from mvc.digest import digest_of
from mvc.recipe import ObjectRef, Part, Recipe
from mvc.registry.care.findings import Report
from mvc.store import Store
from tests.support import faults
from tests.support.faults import Calls, killed_after_steps, killed_before_calls
from tests.support.registry_builders import MIB, Project, files_in, flip, noise, resealed, rewrite
from tests.support.store_builders import Region, new_store, publish_recipe, regions_of

LARGE = noise(9 * MIB)


@pytest.fixture
def held(project: Project) -> Project:
    """Three versions: two share most of their bytes, one shares nothing; a tag."""
    project.add(LARGE, family="big", tags=["prod"])
    project.add(LARGE + b"more", family="big")
    project.add(b"small", family="tiny", metrics={"acc": 0.5})
    (project.folder / "model.bin").unlink()
    return project


@pytest.fixture
def backup(held: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the whole registry from before the damage."""
    return shutil.copytree(held.mvc, tmp_path_factory.mktemp("backup") / "old")


def repair(project: Project, *sources: Path, level: str = "full") -> Report:
    return project.registry().fsck(level, repair=True, sources=sources)


def hurt_by(report: Report) -> set[str]:
    return {version for finding in report.findings for version in finding.versions}


def quarantined(project: Project) -> list[bytes]:
    return [path.read_bytes() for path in (project.mvc / "store" / "quarantine").glob("*")]


def roots_of(project: Project) -> list[Path]:
    return sorted((project.mvc / "store" / "roots").rglob("*.yaml"))


def root_of(project: Project, record: Path) -> Path:
    (found,) = [root for root in roots_of(project) if root.read_bytes() == record.read_bytes()]
    return found


def pack_with(project: Project, data: bytes) -> Path:
    """Return the one pack that holds an object."""
    store = Store.open(project.mvc / "store")
    found = store.find(digest_of(data))
    assert found is not None
    return found.pack.path


# Records, events and roots.


@pytest.mark.parametrize("how", ["edited", "emptied", "lost"])
def test_a_record_comes_back_from_its_root(held: Project, how: str) -> None:
    """However a record was hurt, its root takes its name again; what was there is kept."""
    record = held.record(1, "tiny")
    whole = record.read_bytes()
    hurt = {"edited": whole.replace(b"0.5", b"0.9"), "emptied": b"", "lost": b""}[how]
    held.registry().add("tiny", held.file(b"second"))
    if how == "lost":
        record.unlink()
    else:
        rewrite(record, lambda _: hurt)
    report = repair(held)
    assert report.ok
    assert [(m.kind, m.object) for m in report.mended] == [("record", "tiny/v1")]
    assert record.read_bytes() == whole
    assert (hurt in quarantined(held)) == (how != "lost")
    assert repair(held).mended == ()


def test_several_roots_that_fit_are_listed_and_none_is_taken(held: Project) -> None:
    """Three lost records of a family, and two roots that may be any: people must say."""
    for data in (b"second", b"third", b"fourth"):
        held.add(data, family="tiny")
    root_of(held, held.record(2, "tiny")).unlink()
    for number in (1, 2, 3):
        rewrite(held.record(number, "tiny"), lambda _: b"")
    report = repair(held)
    assert hurt_by(report) == {"tiny/v1", "tiny/v2", "tiny/v3"}
    assert report.mended == ()
    assert sum(str(root) in " ".join(report.notes) for root in roots_of(held)) == 2


def test_what_is_left_of_a_record_tells_which_it_was(held: Project) -> None:
    """Of several roots that fit, the one with the transaction's id in the damaged file is taken."""
    held.add(b"second", family="tiny")
    whole = [held.record(number, "tiny").read_bytes() for number in (1, 2)]
    for number in (1, 2):
        rewrite(held.record(number, "tiny"), lambda data: data[:-30])
    assert repair(held).ok
    assert [held.record(number, "tiny").read_bytes() for number in (1, 2)] == whole


def test_a_root_of_another_branch_fills_no_gap(held: Project) -> None:
    """A root made after the versions that follow the gap was never in it."""
    held.add(b"second", family="tiny")
    held.add(b"third", family="tiny")
    root_of(held, held.record(2, "tiny")).unlink()
    held.record(2, "tiny").unlink()
    held.add(b"fourth", family="tiny")
    held.record(4, "tiny").unlink()
    report = repair(held)
    assert hurt_by(report) == {"tiny/v2"}
    assert not held.record(2, "tiny").exists()


@pytest.mark.parametrize("how", ["damaged", "lost"])
def test_a_root_comes_back_from_its_record(held: Project, how: str) -> None:
    """A version whose root is gone or changed has it again, under its name."""
    root = root_of(held, held.record(2, "big"))
    whole = root.read_bytes()
    root.unlink() if how == "lost" else flip(root, 40)
    report = repair(held, level="quick")
    assert report.ok
    assert [(m.kind, m.object) for m in report.mended] == [("root", "big/v2")]
    assert root.read_bytes() == whole
    assert len(quarantined(held)) == (how == "damaged")


def test_a_version_without_its_bytes_gets_no_root(held: Project) -> None:
    """What a root names is stored: so where something is missing, none is made."""
    root = root_of(held, held.record(1, "tiny"))
    root.unlink()
    pack_with(held, b"small").unlink()
    report = repair(held)
    assert {finding.kind for finding in report.findings} == {"root", "missing"}
    assert not root.exists()


def test_a_record_that_was_forged_gets_no_root(held: Project) -> None:
    """A record sealed again with other metrics is not made true by a repair."""
    rewrite(held.record(1, "tiny"), lambda data: resealed(data, metrics={"acc": 0.99}))
    before = roots_of(held)
    report = repair(held)
    assert hurt_by(report) == {"tiny/v1"}
    assert "was changed after it was made" in " ".join(report.notes)
    assert roots_of(held) == before


def test_records_and_events_come_from_a_backup(held: Project, backup: Path) -> None:
    """A backup gives back a record whose root is gone as well, and an event."""
    whole = held.record(1, "tiny").read_bytes(), held.event(1, "big").read_bytes()
    root_of(held, held.record(1, "tiny")).unlink()
    rewrite(held.record(1, "tiny"), lambda data: data[:-9])
    rewrite(held.event(1, "big"), lambda data: data.replace(b"prod", b"prob"))
    assert hurt_by(repair(held)) == {"tiny/v1", "big/v1", "big/v2"}
    report = repair(held, backup)
    assert report.ok
    assert (held.record(1, "tiny").read_bytes(), held.event(1, "big").read_bytes()) == whole
    assert held.registry().resolve("big@prod").id == "big/v1"


# Objects.


def test_a_rotten_object_comes_back_from_a_file_and_no_other_is_stored(held: Project) -> None:
    """Of a whole copy of the file only the piece that had rotted is stored again."""
    before = set(held.packs)
    flip(pack_with(held, LARGE), 3_000_000)
    report = repair(held, held.file(LARGE, "copy.bin"))
    assert report.ok
    (new,) = set(held.packs) - before
    assert new.stat().st_size < 5 * MIB
    assert held.bytes_of("big@v1") == LARGE


def test_a_lost_pack_comes_back_from_files(held: Project) -> None:
    """Recipe and all pieces are stored again; versions that share them are whole, too."""
    pack_with(held, LARGE).unlink()
    assert hurt_by(repair(held)) == {"big/v1", "big/v2"}
    report = repair(held, held.file(LARGE, "copy.bin"))
    assert report.ok
    assert held.bytes_of("big@v2") == LARGE + b"more"


def test_a_file_that_shares_pieces_gives_them(held: Project) -> None:
    """Another file that has the lost piece helps as well, and nothing else of it is stored."""
    flip(pack_with(held, LARGE), 100_000)
    size = Store.open(held.mvc / "store").size()
    report = repair(held, held.file(LARGE[: 5 * MIB] + noise(4 * MIB, 7), "relative.bin"))
    assert report.ok
    assert Store.open(held.mvc / "store").size() < size + 5 * MIB


def test_a_small_file_comes_back(held: Project) -> None:
    """A file that is one object is found by its whole digest, also in a folder of others."""
    flip(pack_with(held, b"small"), 120)
    folder = held.folder / "given"
    folder.mkdir()
    for name, data in (("a.bin", b"other"), ("b.bin", b"small")):
        (folder / name).write_bytes(data)
    assert repair(held, folder).ok
    assert held.bytes_of("tiny") == b"small"


@pytest.mark.parametrize("what", ["registry", "store", "pack"])
def test_a_backup_gives_what_is_lost(held: Project, backup: Path, what: str) -> None:
    """Frames are taken from the packs of another store, recipes with what they name."""
    lost = pack_with(held, LARGE)
    given = {"registry": backup, "store": backup / "store",
             "pack": backup / "store" / "packs" / lost.name}[what]  # fmt: skip
    lost.unlink()
    report = repair(held, given)
    assert report.ok
    assert held.bytes_of("big@v2") == LARGE + b"more"


def test_what_came_from_one_place_is_one_line(held: Project, backup: Path) -> None:
    """However many packs and rounds it takes; before, the check names the files to look for."""
    for pack in (held.mvc / "store" / "packs").glob("*.pack"):
        pack.unlink()
    check = held.registry().fsck()
    assert check.findings
    for finding in check.findings:
        assert finding.remedy.startswith(f"it is of 'model.bin' in {finding.versions[0]}; ")
    report = repair(held, backup)
    assert report.ok
    (objects,) = [mended for mended in report.mended if mended.kind == "object"]
    assert objects.how == f"from 3 packs in '{backup / 'store' / 'packs'}'"


def test_what_only_an_alternate_has_is_noted_and_brought_home(held: Project, backup: Path) -> None:
    """An alternate serves readers; the check says that it does, and a repair needs it no more."""
    lost = pack_with(held, LARGE)
    held.registry().store_alternates(add=backup / "store")
    lost.unlink()
    assert held.bytes_of("big@v1") == LARGE
    report = held.registry().fsck("full")
    assert report.ok
    assert "2 versions are read from an alternate" in " ".join(report.notes)
    assert repair(held).ok
    shutil.rmtree(backup)
    assert held.bytes_of("big@v2") == LARGE + b"more"
    assert held.registry().fsck("full").notes == ()


def test_a_source_of_no_use_is_named_and_nothing_is_stored(held: Project) -> None:
    """What holds nothing that is missing is said to, and leaves the store as it is."""
    before = files_in(held.mvc / "store")
    report = repair(held, held.file(noise(5000, 5), "useless.bin"))
    assert report.ok
    assert "useless.bin' holds nothing that is missing" in report.notes[0]
    assert files_in(held.mvc / "store") == before
    with pytest.raises(NotFound, match=r"no file or folder .*nowhere"):
        repair(held, held.folder / "nowhere")


def test_a_source_that_lies_is_not_believed(held: Project, backup: Path) -> None:
    """A backup's pack with damage of its own gives only what is whole in it."""
    lost = pack_with(held, LARGE)
    flip(backup / "store" / "packs" / lost.name, 100_000)
    lost.unlink()
    report = repair(held, backup)
    assert hurt_by(report) == {"big/v1", "big/v2"}
    flip(backup / "store" / "packs" / lost.name, 100_000)
    assert repair(held, backup).ok


def test_a_recipe_that_makes_another_file_is_not_believed(held: Project, tmp_path: Path) -> None:
    """Only the file proves a recipe: a forged one of a given pack is not stored."""
    pack_with(held, LARGE).unlink()
    forged = new_store(tmp_path / "forged")
    part = noise(1000, 8)
    made = Recipe(1000, (ObjectRef(digest_of(part), 1000),), (Part(0, 1, 0, 1000),), ())
    publish_recipe(forged, [part], made, digest_of(LARGE))
    assert hurt_by(repair(held, forged.folder)) == {"big/v1", "big/v2"}
    found = Store.open(held.mvc / "store").index.find(digest_of(LARGE))
    assert list(found) == []


# Packs.


def regions(project: Project) -> Iterator[tuple[Path, Region]]:
    for pack in project.packs:
        yield from ((pack, region) for region in regions_of(pack))


def test_damage_in_every_region_of_every_pack(
    held: Project, backup: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Exactly what is hurt is named, the rest is saved and reads; with a backup all is whole."""
    all_bytes = {"big/v1": LARGE, "big/v2": LARGE + b"more", "tiny/v1": b"small"}
    for number, (pack, region) in enumerate(list(regions(held))):
        copy = Project(tmp_path_factory.mktemp("damaged") / str(number))
        shutil.copytree(held.folder, copy.folder)
        damaged = copy.mvc / "store" / "packs" / pack.name
        flip(damaged, (region.start + region.end) // 2)
        bad = damaged.read_bytes()
        found = copy.registry().fsck()
        assert not found.ok, region
        report = repair(copy, level="default")
        # Only a frame of which no byte is spare can hurt a version for good.
        assert bool(hurt_by(report)) == (region.digest is not None), region
        for identity, data in all_bytes.items():
            if identity not in hurt_by(report):
                assert faults.bytes_of(copy.registry(), identity) == data, (region, identity)
        if region.digest is None:
            assert report.ok, region
            assert bad in quarantined(copy), region
        report = repair(copy, backup, level="default")
        assert report.ok, (region, report.findings)
        assert bad in [path.read_bytes() for path in copy.mvc.rglob("*.pack")], region
        assert repair(copy, level="default").mended == (), region
        shutil.rmtree(copy.folder)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.95])
def test_of_a_pack_cut_off_what_is_left_is_saved(held: Project, backup: Path, kept: float) -> None:
    """Whole frames of a pack without its end are stored again, and the rest comes from a backup."""
    pack = pack_with(held, LARGE)
    rewrite(pack, lambda data: data[: int(len(data) * kept)])
    left = pack.read_bytes()
    report = repair(held)
    assert hurt_by(report) == ({"big/v1", "big/v2"} if kept < 0.9 else {"big/v1"})
    assert left in quarantined(held)
    assert bool([m for m in report.mended if m.kind == "object"]) == (kept > 0)
    pack_sizes = sum(path.stat().st_size for path in held.packs)
    assert pack_sizes > kept * 9 * MIB - 4.5 * MIB
    assert repair(held, backup).ok
    assert held.bytes_of("big@v2") == LARGE + b"more"


def test_what_other_registries_have_in_a_damaged_pack_is_saved(
    held: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A store may serve several registries: all that is whole is saved, not only what is ours."""
    theirs = Project(tmp_path_factory.mktemp("theirs"))
    theirs.registry().init()
    config = lines.loads((held.mvc / "config.yaml").read_bytes())
    other = lines.dumps({**config, "id": "e" * 32}).replace(
        b'"path": "store"', b'"path": "%s"' % os.fsencode(held.mvc / "store")
    )
    rewrite(theirs.mvc / "config.yaml", lambda _: other)
    theirs.add(b"theirs alone")
    rewrite(pack_with(held, b"theirs alone"), lambda data: data[:-10])
    assert repair(held).ok
    assert theirs.bytes_of("net") == b"theirs alone"


def test_a_frame_that_is_whole_and_lies_is_replaced(held: Project) -> None:
    """An object whose checksum holds but whose bytes are others is stored again and set aside."""
    from mvc.codecs import Encoded, Encoding
    from mvc.store.pack import PackWriter

    pack_with(held, b"small").unlink()
    writer = PackWriter(held.mvc / "store" / "packs" / ".mvc-new-forged")
    writer.add(digest_of(b"small"), 5, Encoded(Encoding.RAW, [b"SMALL"], 5))
    name = writer.finish()
    writer.path.rename(writer.path.with_name(name))
    assert hurt_by(repair(held)) == {"tiny/v1"}
    report = repair(held, held.file(b"small", "copy.bin"))
    assert report.ok
    assert held.bytes_of("tiny") == b"small"
    assert any(b"SMALL" in data for data in quarantined(held))


def test_a_pack_that_may_not_be_read_stays(held: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk does not give a pack's bytes, nobody knows what is in it: it is not moved."""
    pack = pack_with(held, b"small")
    rewrite(pack, lambda data: data[:-10])
    real = os.pread

    def failing(descriptor: int, size: int, offset: int) -> bytes:
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(pack):
            raise OSError(5, "Input/output error")
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", failing)
    report = repair(held)
    assert pack.exists()
    assert "stays where it is: it cannot be read" in " ".join(report.notes)
    monkeypatch.undo()
    assert repair(held).ok


def test_a_pack_of_a_newer_mvc_is_left_alone(held: Project) -> None:
    """What cannot be understood is no damage that a repair may touch."""
    from mvc.digest import checksum_of
    from mvc.store.pack import FOOTER, FOOTER_SIZE

    def newer(data: bytes) -> bytes:
        footer = bytearray(data[-FOOTER_SIZE:-8])
        footer[8] = 9
        return data[:-FOOTER_SIZE] + bytes(footer) + checksum_of(footer).to_bytes(8, "little")

    assert FOOTER.size == FOOTER_SIZE - 8
    pack = pack_with(held, b"small")
    rewrite(pack, newer)
    before = pack.read_bytes()
    report = repair(held)
    assert "has format 9" in str(report.findings)
    assert pack.read_bytes() == before


# What is derived.


def test_a_family_file_that_answers_wrongly_is_found_and_made_anew(held: Project) -> None:
    """One with a seal of its own is believed by readers, so the check compares it."""
    family = held.family_file("big")
    os.utime(held.mvc / "manifest" / "big" / "versions", (1, 1))
    os.utime(held.mvc / "manifest" / "big" / "events", (1, 1))
    held.registry().list("big")
    rewrite(
        family,
        lambda data: lines.seal(lines.unseal(data).replace(b'"prod": "v1"', b'"prod": "v2"')),
    )
    assert held.registry().resolve("big@prod").id == "big/v2"
    (finding,) = held.registry().fsck("quick").findings
    assert (finding.kind, finding.place) == ("family", str(family))
    assert repair(held).ok
    assert held.registry().resolve("big@prod").id == "big/v1"


def test_a_merged_index_that_lies_is_found_and_made_anew(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that is wrong makes an object look missing; the check compares with the packs."""
    monkeypatch.setattr("mvc.store.rewrite.MANY", 1000)  # an index is merged where packs are not
    for number in range(70):
        project.add(b"%d" % number)
    index = project.mvc / "cache" / "index"
    assert project.registry().fsck("quick").ok
    flip(index, index.stat().st_size - 100)
    (finding,) = project.registry().fsck("quick").findings
    assert (finding.kind, finding.place) == ("index", str(index))
    assert repair(project).ok
    assert index.exists()


# Never worse.


def test_a_check_writes_nothing(held: Project) -> None:
    """Without a repair nothing below the registry is written to but the cache."""
    flip(pack_with(held, b"small"), 120)
    rewrite(held.record(1, "big"), lambda data: data[:-5])
    rewrite(held.event(1, "big"), lambda data: data[:-5])
    held.family_file("tiny").unlink()
    root_of(held, held.record(1, "tiny")).unlink()
    written = []

    def watch(call: faults.Call) -> None:
        if (call.name != "open" and call.changes) or call.flags & (os.O_WRONLY | os.O_RDWR):
            written.append(call.path)

    def kept() -> dict[str, bytes]:
        return {n: data for n, data in files_in(held.mvc).items() if not n.startswith("cache/")}

    before = kept()
    with Calls(held.mvc, watch):
        for level in ("quick", "default", "full"):
            assert not held.registry().fsck(level).ok
    assert [path for path in written if not path.startswith(str(held.mvc / "cache"))] == []
    assert kept() == before


def hurt_record(project: faults.Project) -> list[bytes]:
    path = project.folder / ".mvc/manifest/net/versions/v1.yaml"
    flip(path, 60)
    return [path.read_bytes()]


def hurt_root(project: faults.Project) -> list[bytes]:
    path = sorted((project.folder / ".mvc/store/roots").rglob("*.yaml"))[0]
    flip(path, 60)
    return [path.read_bytes()]


def hurt_footer(project: faults.Project) -> list[bytes]:
    path = sorted((project.folder / ".mvc/store/packs").glob("*.pack"))[0]
    flip(path, -20)
    return [path.read_bytes()]


def hurt_frame(project: faults.Project) -> list[bytes]:
    path = sorted((project.folder / ".mvc/store/packs").glob("*.pack"))[0]
    flip(path, 120)
    return [path.read_bytes()]


KILLS = {"step": killed_after_steps, "call": killed_before_calls}


@pytest.mark.parametrize("hurt", [hurt_record, hurt_root, hurt_footer, hurt_frame])
@pytest.mark.parametrize("kill", ["step", pytest.param("call", marks=pytest.mark.long)])
def test_a_killed_repair_leaves_nothing_worse(
    tmp_path: Path, hurt: Callable[[faults.Project], list[bytes]], kill: str
) -> None:
    """Whenever it dies the damaged bytes are still somewhere, nothing else is hurt, and a second
    repair ends the work."""
    project = faults.Project(tmp_path / "project")
    project.folder.mkdir()
    source = tmp_path / "source"
    source.mkdir()
    for number in (1, 2):
        faults.make_noise(source / f"{number}.bin", number)
        project.add("net", source / f"{number}.bin")
    damaged = hurt(project)
    hurt_before = {v for f in project.open().fsck().findings for v in f.versions}

    def work(folder: Path) -> None:
        ModelRegistry(folder).fsck(repair=True, sources=[source])

    for copy, death in KILLS[kill](project, work):
        kept = list(files_in(copy.folder / ".mvc").values())
        assert all(data in kept for data in damaged), death
        now = {v for f in copy.open().fsck().findings for v in f.versions}
        assert now <= hurt_before, death
        assert copy.open().fsck(repair=True, sources=[source]).ok, death
        faults.whole(copy)
        kept = list(files_in(copy.folder / ".mvc").values())
        assert all(data in kept for data in damaged), death


def test_odd_things_in_the_place_of_files_end_no_repair(held: Project) -> None:
    """A folder or a link where a record or root should be is named, and the rest is mended."""
    record, root = held.record(1, "tiny"), root_of(held, held.record(2, "big"))
    other = root_of(held, held.record(1, "big"))
    record.unlink()
    record.symlink_to("/etc/passwd")
    root.unlink()
    root.mkdir()
    whole = other.read_bytes()
    other.unlink()
    report = repair(held)
    assert hurt_by(report) == {"tiny/v1", "big/v2"}
    assert other.read_bytes() == whole
    assert sum("was left as it is" in note for note in report.notes) == 2
    assert record.is_symlink()


def test_a_repair_needs_a_store_that_may_be_written_to(held: Project) -> None:
    """Without its store, or with one found elsewhere, nothing is mended."""
    (held.mvc / "store").rename(held.folder / "away")
    with pytest.raises(MvcError, match="the store of"):
        repair(held)


def test_a_directory_is_mended_like_its_files(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A tree comes back from its record, its files and their pieces from the folder or a backup."""
    folder = tmp_path_factory.mktemp("model") / "net"
    folder.mkdir()
    contents = {"config.json": b"{}", "large.bin": LARGE, "small.bin": b"small"}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    project.registry().add("net", folder)
    backup = shutil.copytree(project.mvc, tmp_path_factory.mktemp("backup") / "old")
    for number, source in enumerate((folder, backup)):
        for pack in project.packs:
            pack.unlink()
        assert not repair(project).ok
        assert repair(project, source).ok
        target = project.folder / f"out-{number}"
        project.registry().checkout("net", target)
        assert files_in(target) == contents
