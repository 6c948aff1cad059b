"""Records that vanished from the manifest, of which the store keeps copies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mvc import StoreWarning, UsageError
from mvc.registry.care.fsck import Report
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
