"""What commands read does not grow with what a registry holds: counts, not clocks."""

from __future__ import annotations

import pytest

from mvc.cli import output
from tests.cli.running import mvc
from tests.support.growing import counted, grow
from tests.support.registry_builders import Project


def test_add_lists_its_family_once_and_opens_few_records(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new file reads no more beside many versions than beside a few."""
    project.add(b"one", metrics={"score": 0.5})  # nobody knows which way is better
    told = []
    for count in (20, 200):
        grow(project, count, metrics={"score": 0.1})
        project.registry().families()
        data = b"%03d" % count * 2_000_000
        with counted(monkeypatch) as counts:
            assert project.add(data, metrics={"score": 0.2, "other": 1})
        told.append(counts)
    assert told[0] == told[1]
    assert told[0]["numbers"] == 1
    assert told[0]["record_bytes"] <= 10
    state = project.registry().family("net")
    assert state.best == (1, 0.5)
    assert (state.latest, state.count) == (223, 223)


def test_a_log_opens_what_it_shows_and_one_of_each_family(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest of all families are found without reading every family's newest."""
    project.add(b"one")
    for family in ("net", "a", "b", "c"):
        grow(project, 9, family)
    grow(project, 5, "a")
    expected = sorted(project.registry().log(), key=lambda v: v.created, reverse=True)
    registry = project.registry()
    registry.families()
    registry = project.registry()
    with counted(monkeypatch) as counts:
        found = registry.log(limit=6)
    assert [version.id for version in found] == [version.id for version in expected[:6]]
    assert found[4].id == "a/v10"
    assert counts["record_bytes"] <= 6 + 2 * 4  # what is shown, and the last of each family twice


def test_only_names_of_versions_are_numbers(project: Project) -> None:
    """Whatever else lies among the versions is passed over."""
    project.add(b"one")
    grow(project, 1)
    folder = project.record(1).parent
    for name in ("v3.yaml~", "xv4.yaml", "v05.yaml", "x\nv6.yaml", "v7.yaml\n", "v0.yaml",
                 "V8.yaml", "v٣.yaml", "v9.yml", "v1234567890.yaml"):  # fmt: skip
        (folder / name).touch()
    assert project.registry().manifest.numbers("net") == [1, 2]
    assert project.registry().manifest.families() == ["net"]


@pytest.mark.parametrize("change", ["rm", "restore"])
def test_withdrawing_and_restoring_open_few_records(
    project: Project, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Unless it is the best that is withdrawn, nobody needs to look at all others."""
    project.add(b"one", metrics={"acc": 0.9})
    grow(project, 50, metrics={"acc": 0.5})
    if change == "restore":
        project.registry().rm("net@v51")
    project.registry().families()
    with counted(monkeypatch) as counts:
        getattr(project.registry(), change)("net@v51")
    assert counts["record_bytes"] <= 8
    state = project.registry().family("net")
    withdrawn = change == "rm"
    assert (state.best, state.latest) == ((1, 0.9), 50 if withdrawn else 51)
    assert state.plain == 3 * (50 if withdrawn else 51)


def test_a_list_works_out_the_families_it_shows(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many families only the first are looked at, and it is said that there are more."""
    project.add(b"one")
    for number in range(6):
        grow(project, 1, f"family{number}")
    project.registry().families()
    monkeypatch.chdir(project.folder)
    with counted(monkeypatch) as counts:
        done = mvc("list", "-n", "2", "-q")
    assert done.out.split() == ["family0", "family1"]
    assert done.err == "note: these are the first 2; --all shows the others too\n"
    assert counts["record_bytes"] <= 3


@pytest.mark.parametrize("piped", [True, False])
def test_a_table_of_families_reads_one_record_of_each(
    project: Project, monkeypatch: pytest.MonkeyPatch, piped: bool
) -> None:
    """Sizes come from what families add up to, and ages from the newest versions alone."""
    project.add(b"one", metrics={"acc": 0.5})
    for family in ("net", "a", "b"):
        grow(project, 60, family)
    project.registry().families()
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(output, "width", lambda: None if piped else 120)
    with counted(monkeypatch) as counts:
        done = mvc("list")
    assert (done.status, len(done.out.splitlines())) == (0, 4)
    assert counts["record_bytes"] <= 3
    with counted(monkeypatch) as counts:
        assert mvc("list", "net", "-n", "5").status == 0
    assert counts["record_bytes"] <= 8
