"""Records that vanished from the manifest, of which the store keeps copies."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mvc import Conflict, ModelRegistry, NotFound, StoreWarning, UsageError, fileio
from mvc.fileio import Steps
from mvc.registry.care.findings import Report
from mvc.registry.care.vanished import vanished
from mvc.registry.intake import intake
from mvc.registry.intake.source import SourceFile
from mvc.registry.location import newest
from mvc.registry.version import Version
from tests.registry.test_git import commit, git
from tests.support.registry_builders import Project, files_in, noise


@pytest.fixture
def three(project: Project) -> Project:
    """Three versions of ``net``, added last, and two of ``other``."""
    project.add(noise(500, 8), "other")
    project.add(noise(500, 9), "other")
    for seed in (1, 2, 3):
        project.add(noise(1000, seed))
    return project


def records(project: Project) -> dict[str, bytes]:
    found = files_in(project.mvc / "manifest").items()
    return {name: data for name, data in found if "/versions/" in name}


def found_in(report: Report) -> list[str]:
    return [finding.object for finding in report.findings]


GONE = ["net", "net/versions", "net/versions/v3.yaml", "net/versions/v2.yaml"]


@pytest.mark.parametrize("gone", GONE)
def test_records_come_back_with_their_numbers(three: Project, gone: str) -> None:
    """A check names every record that is gone, and a repair brings each back as it was."""
    before = records(three)
    path = three.mvc / "manifest" / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    lost = sorted(before.keys() - records(three).keys())
    report = three.registry().fsck()
    assert found_in(report) == [f"net/v{name[-6]}" for name in lost]
    assert three.registry().fsck(repair=True).ok
    assert records(three) == before
    assert three.bytes_of("net@v3") == noise(1000, 3)


def test_several_between_come_back_in_their_order(three: Project) -> None:
    """Of two neighbours that are gone each gets its own number again."""
    before = records(three)
    for number in (1, 2):
        (three.mvc / "manifest" / "net" / "versions" / f"v{number}.yaml").unlink()
    assert three.registry().fsck(repair=True).ok
    assert records(three) == before


def test_the_whole_manifest_is_missed(three: Project) -> None:
    """Without any record a check ends in findings; with the option all come back, in order."""
    before = records(three)
    shutil.rmtree(three.mvc / "manifest")
    report = three.registry().fsck(repair=True)
    assert found_in(report) == ["other/v1", "other/v2"], "nothing says what numbers these had"
    assert "--lost-records" in report.findings[0].remedy
    assert three.registry().fsck(repair=True, lost_records=True).ok
    assert records(three) == before


def test_a_number_is_not_given_again(three: Project) -> None:
    """An add after records vanished takes the number above theirs, and says so."""
    before = records(three)
    shutil.rmtree(three.mvc / "manifest")
    for family, number in (("net", 4), ("other", 3)):
        with pytest.warns(StoreWarning, match="whose record is not here any more"):
            assert three.add(noise(700, number), family) == f"{family}/v{number}"
    assert three.registry().fsck(repair=True).ok
    assert before.items() <= records(three).items()
    assert three.add(noise(700, 5)) == "net/v5"


def test_a_number_that_is_not_certain_is_not_guessed(three: Project) -> None:
    """Where a version was released its root is gone too, and others are not put in its place."""
    three.registry().rm("net@v1")
    three.registry().gc("0s", force=True)
    before = records(three)
    shutil.rmtree(three.mvc / "manifest" / "net" / "versions")
    shutil.rmtree(three.mvc / "manifest" / "net" / "events")
    for _ in range(2):
        report = three.registry().fsck(repair=True)
        assert found_in(report) == ["net/v1", "net/v2"], "which of them the one that is left was"
    assert records(three)["net/versions/v3.yaml"] == before["net/versions/v3.yaml"]


def test_an_add_that_was_cut_off_is_no_lost_record(three: Project) -> None:
    """One root that never was a version's is a note, and its number is free."""
    three.add(noise(300), "third")
    (three.mvc / "newest.yaml").unlink()
    shutil.rmtree(three.mvc / "manifest" / "third")
    report = three.registry().fsck()
    assert report.ok
    assert any("mkdir -p" in note and "makes it v1" in note for note in report.notes)
    assert three.add(noise(300, 2), "third") == "third/v1"


@contextmanager
def at_look(
    patch: pytest.MonkeyPatch, number: int, act: Callable[[], object]
) -> Iterator[list[str]]:
    """Do something just before the so-manieth time that a file is read or a folder listed."""
    looks: list[str] = []

    def looking(real: Callable[..., Any], *given: Any) -> Any:
        looks.append(real.__name__)
        if len(looks) == number:
            act()
        return real(*given)

    with patch.context() as patched:
        for look in (fileio.read, fileio.list_folder):
            patched.setattr(fileio, look.__name__, partial(looking, look))
        yield looks


def rooted(registry: ModelRegistry, family: str, path: Path, *tags: str) -> Steps[Version]:
    """Add as far as the root; what is returned are the steps that are left."""
    parts = registry.place, registry.manifest, registry.presence.store
    with SourceFile(path) as source:
        steps = intake.add_steps(*parts, family, source, intake.Facts(tags=tags))
        assert "root durable" in steps
    return steps


@pytest.mark.parametrize("earlier", [0, 2])
def test_an_add_that_ends_meanwhile_is_no_lost_record(
    project: Project, earlier: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever look of a check another command makes its version, that one is not missed."""
    project.registry().init()
    for moment in count(1):
        family = f"net{moment}"
        for seed in range(earlier):
            project.add(noise(100, seed), family)
        registry = project.registry()
        steps = rooted(registry, family, project.file(noise(200, moment)), "prod")
        roots = (project.mvc / "store" / "roots").glob("*/*.yaml")
        names = [root.name for root in roots if f'"{family}"' in root.read_text()]

        def ends(registry: ModelRegistry = registry, steps: Steps[Version] = steps) -> None:
            newest.note(registry.place, registry.manifest, fileio.run(steps))

        with at_look(monkeypatch, moment, ends) as looks:
            anew = project.registry()
            found = vanished(anew.place, anew.manifest, anew.presence.store, names)
        assert [each.id for each in found if each.lost] == [], f"look {moment} of {looks}"
        if moment > len(looks):
            break


def test_a_number_that_is_here_is_not_given_to_another(project: Project) -> None:
    """An add between two versions, as they were made, is not the third, made out of turn."""
    project.registry().init()
    slow = rooted(project.registry(), "net", project.file(noise(100, 1)))
    assert project.add(noise(100, 2)) == "net/v1"
    cut_off = rooted(project.registry(), "net", project.file(noise(100, 3)))
    assert fileio.run(slow).id == "net/v2"
    assert project.add(noise(100, 4)) == "net/v3"
    assert project.registry().fsck().ok, "while it is under way"
    cut_off.close()
    assert project.registry().fsck(repair=True).ok
    assert len(records(project)) == 3


def test_a_root_of_a_version_that_is_here_makes_no_second_one(three: Project) -> None:
    """The root of a released version, as a killed gc leaves it, is no lost record."""
    root = three.mvc / "store" / "roots" / three.registry().place.id
    three.registry().rm("net@v2")
    name = f"{three.registry().manifest.record('net', 2)[1].hex()}.yaml"
    data = (root / name).read_bytes()
    three.registry().gc("0s", force=True)
    (root / name).write_bytes(data)
    before = records(three)
    assert three.registry().fsck().ok
    three.registry().fsck(repair=True, lost_records=True)
    assert records(three) == before


def put_back(project: Project, backup: Path) -> None:
    """Put the registry back as it was, beside the store as it is."""
    (project.mvc / "store").rename(backup / "store")
    shutil.rmtree(project.mvc)
    backup.rename(project.mvc)


def test_a_registry_from_an_older_backup_is_completed(three: Project, tmp_path: Path) -> None:
    """What was added after the backup is noted by a check, and comes back with its number."""
    shutil.copytree(
        three.mvc, tmp_path / "backup", ignore=lambda folder, names: {"store"} & {*names}
    )
    for seed in (1, 2):
        three.add(noise(900, seed))
    later = records(three)
    put_back(three, tmp_path / "backup")
    notes = three.registry().fsck().notes
    assert any("'.mvc' was put back from an older copy" in note for note in notes)
    assert three.registry().fsck(repair=True, lost_records=True).ok
    assert records(three) == later


def test_lost_records_are_for_a_repair(three: Project) -> None:
    """The option alone is refused."""
    with pytest.raises(UsageError, match="repair"):
        three.registry().fsck(lost_records=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_in_git_it_may_be_another_branch(three: Project, tmp_path: Path) -> None:
    """In a work tree it is a note with the command, which brings back all, in their order."""
    git(three, "init", "-q", "-b", "main")
    commit(three)
    before = records(three)
    shutil.rmtree(three.mvc / "manifest")
    report = three.registry().fsck()
    assert report.ok
    told = " ".join(report.notes)
    assert f"git checkout -- '{three.mvc / 'manifest'}'" in told
    assert "mvc fsck --repair --lost-records" in told
    numbers = [note.rpartition(" ")[2] for note in report.notes if "makes it v" in note]
    assert numbers == ["v1", "v2", "v3", "v1", "v2"]
    assert three.registry().fsck(repair=True, lost_records=True).ok
    assert records(three) == before


@pytest.fixture
def refounded(tmp_path: Path) -> tuple[Project, str]:
    """A project with a version, on a store where a registry that is gone keeps three; its id."""
    project = Project(tmp_path / "project")
    project.folder.mkdir()
    project.registry().init(store=tmp_path / "store")
    for seed in (1, 2):
        project.add(noise(1000, seed))
    project.add(noise(500, 8), "other")
    lost = project.registry().place.id
    shutil.rmtree(project.mvc)
    project.registry().init(store=tmp_path / "store")
    return project, lost


def test_a_registry_whose_folder_is_gone_is_told_of_and_brought_back(
    refounded: tuple[Project, str],
) -> None:
    """Its versions come under our id, behind what was added since; its own roots may go then."""
    project, lost = refounded
    (note,) = project.registry().fsck().notes
    command = f"mvc fsck --repair --lost-records-of {lost}"
    assert "another registry keeps 3 versions" in note
    assert command in note
    project.add(noise(1000, 3))
    assert project.registry().fsck().notes == ()
    with pytest.raises(Conflict) as refused:
        project.registry().forget_registry(lost)
    assert command in str(refused.value.hint)
    assert project.registry().fsck(repair=True, lost_records=lost[:8]).ok
    own = project.registry().place.id
    assert own != lost
    assert project.registry().forget_registry(lost, force=True).freed == 0
    project.registry().gc("0d")
    assert project.registry().fsck("full").checked["roots"] == 4
    assert [project.bytes_of(f"net@v{n}") for n in (1, 2, 3)] == [noise(1000, n) for n in (3, 1, 2)]
    assert project.bytes_of("other@v1") == noise(500, 8)


def test_a_registry_that_is_in_use_loses_nothing_when_another_takes_its_versions(
    refounded: tuple[Project, str], tmp_path: Path
) -> None:
    """What was named by mistake stays its own: both keep what both have."""
    project, lost = refounded
    other = Project(tmp_path / "another")
    other.folder.mkdir()
    other.registry().init(store=tmp_path / "store")
    assert other.registry().fsck(repair=True, lost_records=lost).ok
    assert project.registry().fsck(repair=True, lost_records=other.registry().place.id).ok
    for number in (1, 2):
        other.registry().rm(f"net@v{number}")
    other.registry().gc("0d")
    assert project.registry().fsck("full").ok
    assert project.bytes_of("net@v2") == noise(1000, 2)


@pytest.mark.parametrize("named", ["", "abc", "0" * 32])
def test_a_lost_registry_is_named_by_its_id(refounded: tuple[Project, str], named: str) -> None:
    """An id that is none of the store's, or too short to be sure, is refused."""
    project, lost = refounded
    with pytest.raises(UsageError, match="for a repair"):
        project.registry().fsck(lost_records=lost)
    with pytest.raises((UsageError, NotFound), match=f"'{named}'"):
        project.registry().fsck(repair=True, lost_records=named)
