"""Commands that a move or a gc overtakes: they are right all the same, or told to run again.

Locks keep most of them apart; on a file system that grants every lock nothing does.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from itertools import count, cycle
from pathlib import Path
from typing import Any

import pytest

from mvc import Busy, ModelRegistry, fileio
from mvc.registry import family
from mvc.registry.care import confirmed, fsck, gc, modes, repack, rooted
from mvc.registry.care.check_roots import check_roots
from mvc.registry.care.findings import Check
from mvc.registry.location import finding, newest, place
from mvc.registry.manifest import Manifest
from mvc.store import Store, relocation
from mvc.store.mark import Census, Need
from mvc.store.settings import claims
from tests.support.gc_builders import collected
from tests.support.registry_builders import Project, noise

pytestmark = pytest.mark.filterwarnings("ignore::mvc.StoreWarning")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two versions; the user's notes do not say where the store is."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    made = Project(tmp_path / "project")
    made.folder.mkdir()
    for number in (1, 2):
        made.add(noise(3000, number))
    return made


def moving(project: Project, to: Path) -> fileio.Steps[relocation.Moved]:
    """Return the steps of a move."""
    plan = project.registry().plan_move_store(to)

    def switch() -> None:
        store = {"path": place.path_text(project.mvc, to), "id": plan.identity}
        place.change(project.mvc, store=store)

    return relocation.move(plan, switch, lambda: True)


def moves_when(
    project: Project, patch: pytest.MonkeyPatch, module: object, name: str, to: str = "moved"
) -> None:
    """Let the store move as soon as a function is called, before it does anything."""
    real = getattr(module, name)

    def first(*arguments: object) -> object:
        patch.setattr(module, name, real)
        fileio.run(moving(project, project.folder / to))
        return real(*arguments)

    patch.setattr(module, name, first)


@pytest.mark.parametrize("there", ["moved", ".mvc/store"])
@pytest.mark.parametrize("step", ["target claimed", "old place closed", "target whole"])
def test_who_adds_during_a_move_waits_for_it(project: Project, step: str, there: str) -> None:
    """From when the old place is closed until the new one is noted, ``add`` is Busy, then works.

    So it is for a process that goes on trying, and wherever the store is moved to.
    """
    if there == ".mvc/store":
        project.registry().move_store(project.folder / "moved")
    steps = moving(project, project.folder / there)
    while next(steps) != step:
        pass
    trying = project.registry()
    path = project.file(noise(3000, 3))
    if step == "target claimed":
        trying.add("net", path)
    else:
        for _ in range(2):
            with pytest.raises(Busy, match="is being moved to"):
                trying.add("net", path)
    fileio.run(steps)
    added = trying.add("net", path)
    assert project.bytes_of(added.id) == noise(3000, 3)


def test_settings_read_before_a_move_are_read_again(project: Project) -> None:
    """Who had read where the store is when it moved, there and back, finds it."""
    early = [project.registry() for _ in range(2)]
    assert early[0].place == early[1].place
    for number, to in enumerate(("moved", ".mvc/store", "moved")):
        late = project.registry()
        assert late.place.store_id
        project.registry().move_store(project.folder / to)
        for registry in (early[0], late):
            data = noise(3000, 10 + number)
            added = registry.add("net", project.file(data))
            assert project.bytes_of(added.id) == data
    assert early[1].fsck("full").ok


def test_a_store_that_was_moved_meanwhile_is_no_old_copy(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks at the old place is told to run again, and finds the new one then."""
    path, adding = project.file(noise(3000, 3)), project.registry()
    moves_when(project, monkeypatch, newest, "_noted")
    with pytest.raises(Busy, match="was moved meanwhile"):
        adding.add("net", path)
    assert adding.add("net", path).id == "net/v3"
    moves_when(project, monkeypatch, Manifest, "refuse_closed", ".mvc/store")
    with pytest.raises(Busy, match="was moved meanwhile"):
        adding.add("net", path)
    assert adding.add("net", path).id == "net/v4"


@pytest.mark.parametrize("looks", [1, 2])
def test_a_move_that_ends_while_somebody_looks_refuses_nobody_for_good(
    project: Project, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    """Who had read the settings before is told to run again, or finds the new place at once."""
    steps = moving(project, project.folder / "moved")
    while next(steps) != "target durable":
        pass
    looked = count(1)

    def ends(folder: Path) -> list[Path]:
        if next(looked) == looks:
            fileio.run(steps)
        return claims(folder)

    monkeypatch.setattr(finding, "claims", ends)
    adding, path = project.registry(), project.file(noise(3000, 3))
    with suppress(Busy):
        adding.add("net", path)
    assert adding.add("net", path).number in (3, 4)


def test_a_check_that_a_move_overtakes_is_made_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``fsck`` does not take an old place for a damaged store."""
    moves_when(project, monkeypatch, fsck, "check_roots")
    report = project.registry().fsck("full")
    assert (report.ok, report.checked["versions"]) == (True, 2)


def test_a_check_names_nothing_that_gc_gave_up_meanwhile(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that is released while ``fsck`` looks is no damage; one that stays is."""
    project.registry().rm("net@v1")
    real = check_roots

    def late(run: Check, store: Store) -> None:
        monkeypatch.setattr(fsck, "check_roots", real)
        assert collected(project).freed > 3000
        real(run, store)

    monkeypatch.setattr(fsck, "check_roots", late)
    report = project.registry().fsck("full")
    assert (report.ok, report.checked["versions"]) == (True, 1)


def test_a_check_that_begins_in_an_old_place_is_made_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is moved just before the check looks around is looked for once more."""
    moves_when(project, monkeypatch, confirmed, "there")
    report = project.registry().fsck("full")
    assert (report.ok, report.checked["versions"]) == (True, 2)


def test_a_check_that_every_move_overtakes_finds_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no check ends before the next move, ``fsck`` is to be run again; nothing is damaged."""
    real, places = check_roots, cycle(["moved", ".mvc/store"])

    def late(run: Check, store: Store) -> None:
        fileio.run(moving(project, project.folder / next(places)))
        real(run, store)

    monkeypatch.setattr(fsck, "check_roots", late)
    with pytest.raises(Busy, match="is moved while it is checked"):
        project.registry().fsck("full")
    monkeypatch.setattr(fsck, "check_roots", real)
    assert project.registry().fsck("full").ok


@pytest.mark.parametrize("command", ["gc", "repack"])
def test_who_works_on_a_store_that_moves_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Where no lock kept the move away, gc and repack are Busy, not damaged; the repeat works."""
    project.registry().rm("net@v1")
    if command == "gc":
        moves_when(project, monkeypatch, gc, "note_live")
    else:
        moves_when(project, monkeypatch, repack, "needs_of")
    registry = project.registry()

    def run(at: ModelRegistry) -> object:
        return at.gc(timedelta(0)) if command == "gc" else at.repack()

    with pytest.raises(Busy, match="another gc, repack or move was under way"):
        run(registry)
    run(registry)
    assert project.bytes_of("net@v2") == noise(3000, 2)
    assert project.registry().fsck("full").ok


def test_a_repack_that_a_gc_overtakes_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no lock kept the gc away, what it gave up is no damage to who repacks."""
    project.registry().rm("net@v1")
    real = rooted.needs_of

    def late(found: list[rooted.Root]) -> list[Need]:
        needs = real(found)
        monkeypatch.undo()
        collected(project)
        return needs

    store = project.registry().presence.store.alone()
    monkeypatch.setattr(repack, "needs_of", late)
    with pytest.raises(Busy, match="another gc, repack or move was under way"):
        repack.repack(project.registry().manifest, store, dry_run=True)


@pytest.mark.parametrize("command", ["gc", "repack"])
def test_a_dry_run_that_a_gc_overtakes_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """It takes no lock; a pack that goes meanwhile is no damage, and the repeat works."""
    packs = project.registry().presence.store.index.names
    real = Census.of

    def late(store: Store) -> Census:
        for name in packs:  # as one who writes them anew does
            (project.mvc / "store/packs" / name).rename(project.folder / name)
        return real(store)

    def run() -> object:
        registry = project.registry()
        return registry.gc(dry_run=True) if command == "gc" else registry.repack(dry_run=True)

    with monkeypatch.context() as patch:
        patch.setattr(Census, "of", late)
        with pytest.raises(Busy, match="another gc, repack or move was under way"):
            run()
    for name in packs:
        (project.folder / name).rename(project.mvc / "store/packs" / name)
    run()


def test_what_goes_while_modes_are_looked_at_is_no_error(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``fsck`` goes on where a file is gone that it has just seen listed."""
    real = fileio.list_folder

    def listed(folder: Path) -> list[str]:
        return [*real(folder), f"{'0' * 64}.yaml"]

    def strayed(*arguments: Any) -> list[object]:
        with monkeypatch.context() as patch:
            patch.setattr(fileio, "list_folder", listed)
            return list(modes_of(*arguments))

    modes_of = modes.strayed
    monkeypatch.setattr(modes, "strayed", strayed)
    assert project.registry().fsck("quick").ok


def test_a_family_that_grows_meanwhile_is_no_damage(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others add while ``fsck`` works a family out makes its file no wrong one."""
    real = family.compute

    def late(*arguments: Any) -> family.Family:
        monkeypatch.setattr(family, "compute", real)
        made = real(*arguments)
        project.add(noise(3000, 3))
        monkeypatch.setattr(family, "SETTLED_NS", -(10**12))  # as if some time had passed
        family.load(project.registry().manifest, "net")
        return made

    monkeypatch.setattr(family, "compute", late)
    assert project.registry().fsck("quick").findings == ()


@pytest.mark.parametrize("look", [1, 2, 3, 4])
def test_events_that_come_while_they_are_listed_are_not_missing(
    project: Project, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    """A large folder may list a later of two new events without the earlier: ``gc`` goes on."""
    for number in (1, 2, 1):
        project.registry().tag(f"net@v{number}", "prod")
    real = Manifest.event_numbers
    looked: list[list[int]] = []

    def early(manifest: Manifest, name: str) -> list[int]:
        numbers = real(manifest, name)
        looked.append(numbers)
        return [numbers[0], *numbers[2:]] if len(looked) == look else numbers

    monkeypatch.setattr(Manifest, "event_numbers", early)
    project.registry().gc(dry_run=True)
    assert len(looked) >= look
