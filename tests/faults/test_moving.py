"""A store that moves: killed, failing, beside writers, to a real second disk; never in two."""

from __future__ import annotations

import contextlib
import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mvc import Busy, ModelRegistry, MvcError, fileio, lines
from mvc.compatibility import FORMAT
from mvc.registry.intake import intake
from mvc.registry.intake.source import SourceFile
from mvc.registry.location import place, stores
from mvc.registry.version import Added
from mvc.store import relocation
from mvc.store.relocation import Moved
from mvc.store.settings import claims
from tests.faults.test_failing_calls import failing, how
from tests.faults.test_killed_at_steps import KILLS, Kill
from tests.support.faults import (
    Project,
    killed_after_steps,
    killed_before_calls,
    make_noise,
    run_to_end,
    whole,
)
from tests.support.volumes import JOURNAL_LOST, Volume

pytestmark = pytest.mark.filterwarnings("ignore::mvc.StoreWarning")

Files = Callable[[str, int], Path]
two_disks = pytest.mark.parametrize("volume", JOURNAL_LOST, indirect=True)

# After each of these a kill leaves something else behind; docs/relocation.md names them.
STEPS = [
    "staged", "linked", "durable", "target claimed",
    "pack copied", "pack copied", "packs durable",
    "staged", "linked", "durable", "old place closed",
    "intents listed", "roots durable",
    "target whole", "target durable",
    "switched",
    "old roots deleted", "old packs deleted", "old place emptied",
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))


@pytest.fixture(params=KILLS)
def kill(request: pytest.FixtureRequest) -> Kill:
    """Die after every step of the protocol, and before every single call."""
    return KILLS[request.param]


def move(folder: Path) -> None:
    ModelRegistry(folder).move_store(folder / "moved")


def takes_writes(project: Project) -> list[str]:
    """Return the places that would take a transaction if they were named."""
    found = []
    for name in (".mvc/store", "moved"):
        registry = ModelRegistry(project.folder, store=project.folder / name)
        try:
            writable = registry.presence.writable().folder == project.folder / name
        except MvcError:
            continue
        if writable:
            found.append(name)
    return found


def test_a_move_takes_the_steps_that_are_documented(project: Project) -> None:
    """The steps are those of the page, in that order, and the page names each."""
    *_, (_, last) = killed_after_steps(project, move)
    assert last.done == STEPS
    page = (Path(__file__).parents[2] / "docs" / "relocation.md").read_text(encoding="utf-8")
    assert [step for step in STEPS if f"`{step}`" not in page] == []


def test_a_killed_move_leaves_one_whole_store(project: Project, files: Files, kill: Kill) -> None:
    """Whenever a move dies, every version reads, and at most one place takes writes.

    What is added then, if it is taken, is there when the move was finished;
    and the same command finishes it.
    """
    source = files("noise", 3)
    for copy, death in kill(project, move):
        whole(copy)
        assert len(takes_writes(copy)) <= 1, death
        with contextlib.suppress(MvcError):  # it is not taken
            copy.add("net", source)
        move(copy.folder)
        whole(copy)
        assert takes_writes(copy) == ["moved"], death
        old = copy.folder / ".mvc" / "store"
        names = {path.name for path in old.rglob("*") if path.is_file()}
        left = {name for name in names if not name.startswith(fileio.PRIVATE_PREFIX)}
        left -= {"maintenance.lock"}
        assert left == {"moved-to.yaml", "store.yaml"}, death
        assert sorted(fileio.list_folder(copy.folder / "moved")) == [
            "features", "locks", "packs", "roots", "staging", "store.yaml",
        ], death  # fmt: skip
        assert fileio.list_folder(copy.folder / "moved" / "staging") == [], death
        copy.add("net", source)
        whole(copy)


def move_back(folder: Path) -> None:
    store = folder / ".mvc" / "store"
    note = store / "moved-to.yaml"
    if note.exists():  # it names the project of which this is a copy
        note.chmod(0o644)
        note.write_bytes(lines.dumps({"mvc": FORMAT, "to": str(folder / "moved")}))
    ModelRegistry(folder).move_store(store)


def test_a_killed_move_back_is_finished_by_the_same_command(project: Project) -> None:
    """Before each call until the old place is claimed, and nothing says that it was left."""
    for name in ("trash", "quarantine"):  # as gc and a repair leave them
        (project.folder / ".mvc" / "store" / name).mkdir(exist_ok=True)
    move(project.folder)
    states = set()
    for copy, death in killed_before_calls(project, move_back):
        old = copy.folder / ".mvc" / "store"
        states.add(tuple((old / name).exists() for name in ("store.yaml", "moved-to.yaml")))
        claimed = bool(claims(old)) and not (old / "moved-to.yaml").exists()
        whole(copy)
        assert takes_writes(copy) == ["moved"], death
        move_back(copy.folder)
        whole(copy)
        assert takes_writes(copy) == [".mvc/store"], death
        if claimed:
            break
    assert states == {(True, True), (False, True), (False, False)}


def test_a_killed_move_can_be_called_off(project: Project, files: Files, kill: Kill) -> None:
    """Until the new place is whole the old one can be taken back; from then on it cannot."""
    source = files("noise", 3)
    outcomes = set()
    for copy, death in kill(project, move):
        old, new = copy.folder / ".mvc" / "store", copy.folder / "moved"
        whole_there = (new / "store.yaml").exists()
        try:
            copy.open().relink_store(old)
        except MvcError:
            assert whole_there, death
            copy.open().relink_store(new)
        else:
            assert not whole_there, death
        outcomes.add(whole_there)
        assert takes_writes(copy) == (["moved"] if whole_there else [".mvc/store"]), death
        copy.add("net", source)
        whole(copy)
        move(copy.folder)
        whole(copy)
        assert takes_writes(copy) == ["moved"], death
    assert outcomes == {True, False}


@how
def test_a_failing_call_leaves_the_old_store_or_the_new(
    project: Project, files: Files, code: str, for_ever: bool
) -> None:
    """Whatever call of a move fails, one place is whole, and the same command then succeeds.

    Where the new place was not whole yet, the old takes writes again at once,
    but for a disk on which nothing works any more.
    """
    source = files("noise", 3)
    for outcome in failing(project, move, code, for_ever):
        copy = outcome.project
        whole(copy)
        there = (copy.folder / "moved" / "store.yaml").exists()
        if not for_ever and not there:
            copy.add("net", source)
        move(copy.folder)
        whole(copy)
        assert takes_writes(copy) == ["moved"], outcome
        copy.add("net", source)
        whole(copy)


def schedules(count: int) -> Iterator[list[int]]:
    """Yield orders in which a writer and a mover take turns, with few and with many switches."""
    choose = random.Random(7)
    for first in range(26):
        yield [0] * first + [1] * 40
        yield [1] * first + [0] * 40
    for _ in range(count):
        yield [choose.randrange(2) for _ in range(40)]
    for _ in range(count):
        a, b = choose.randrange(20), choose.randrange(20)
        yield [1] * a + [0] * b + [1] * 40


def test_a_writer_beside_a_move_loses_nothing(project: Project, files: Files) -> None:
    """In whatever order both go, an acknowledged version is in the new place.

    A writer that began in time is waited for; one that did not is told to
    run again, and that succeeds.
    """
    source = files("weights", 3)
    results = set()
    for number, schedule in enumerate(schedules(40)):
        copy = project.copied(f"beside-{number}")
        registry, mover = copy.open(), copy.open()
        target = copy.folder / "moved"
        plan = mover.plan_move_store(target)

        def switch(folder: Path = copy.folder / ".mvc", identity: str = plan.identity) -> None:
            place.change(folder, store={"path": "../moved", "id": identity})

        with ExitStack() as opened:
            file = opened.enter_context(SourceFile(source))
            store = registry.presence.writable()
            adding = intake.add_steps(
                registry.place, registry.manifest, store, "net", file, intake.Facts()
            )
            moving = relocation.move(plan, switch, lambda: True)
            added, moved = run_to_end(adding, moving, schedule=schedule)
        results.add(type(added))
        assert isinstance(moved, Moved), (schedule, moved)
        assert isinstance(added, (Added, Busy)), (schedule, added)
        if isinstance(added, Added):
            copy.held[added.id] = source.read_bytes()
        whole(copy)
        assert takes_writes(copy) == ["moved"], schedule
        copy.add("net", source)
        whole(copy)
    assert results == {Added, Busy}


@pytest.mark.parametrize("begun_again", [False, True])
@pytest.mark.parametrize(
    "step",
    ["target claimed", "pack copied", "packs durable", "old place closed", "intents listed",
     "roots durable"],
)  # fmt: skip
def test_a_mover_that_wakes_up_after_it_was_called_off_changes_nothing(
    project: Project, files: Files, step: str, begun_again: bool
) -> None:
    """A move called off while its process slept cannot complete: what was added since stays.

    Nor does it disturb another move to the same place that was begun since.
    """
    plan = project.open().plan_move_store(project.folder / "moved")

    def switch() -> None:
        raise AssertionError("it was called off")

    moving = relocation.move(plan, switch, lambda: True)
    while next(moving) != step:
        pass
    if step in ("intents listed", "roots durable", "old place closed"):
        with pytest.raises(Busy):
            project.add("net", files("noise", 3))
    relocation.call_off(plan.source, plan.target)
    project.add("net", files("noise", 3))
    if not begun_again:
        with pytest.raises(Busy, match="called off"):
            fileio.run(moving)
        whole(project)
        assert takes_writes(project) == [".mvc/store"]
        move(project.folder)
    else:
        other = relocation.move(
            project.open().plan_move_store(plan.target),
            lambda: place.change(
                project.folder / ".mvc", store={"path": "../moved", "id": plan.identity}
            ),
            lambda: True,
        )
        while next(other) != "roots durable":
            pass
        with pytest.raises(Busy, match="called off"):
            fileio.run(moving)
        assert takes_writes(project) == []
        fileio.run(other)
    whole(project)
    assert takes_writes(project) == ["moved"]


def test_two_moves_at_once_end_in_one_store(project: Project, files: Files) -> None:
    """Two who move one store, to one place or to two, end with one that is whole."""
    source = files("noise", 3)
    choose = random.Random(5)
    for number in range(60):
        copy = project.copied(f"both-{number}")
        names = ("moved", "moved") if number % 2 else ("moved", "other")
        moves = []
        for name in names:
            registry = copy.open()
            plan = registry.plan_move_store(copy.folder / name)

            def switch(
                name: str = name, copy: Project = copy, identity: str = plan.identity
            ) -> None:
                place.change(copy.folder / ".mvc", store={"path": f"../{name}", "id": identity})

            moves.append(relocation.move(plan, switch, lambda: False))
        schedule = [choose.randrange(2) for _ in range(60)]
        run_to_end(*moves, schedule=schedule)
        whole(copy)
        try:
            copy.add("net", source)
        except Busy:  # both called the other's off: begin again
            move(copy.folder)
            copy.add("net", source)
        whole(copy)


def test_a_writer_that_does_not_end_keeps_the_store_where_it_is(
    project: Project, files: Files
) -> None:
    """A mover waits only so long for a writer; then it gives up, and nothing has changed."""
    registry = project.open()
    with SourceFile(files("noise", 3)) as source:
        steps = intake.add_steps(
            registry.place, registry.manifest, registry.presence.writable(), "net", source,
            intake.Facts(),
        )  # fmt: skip
        while next(steps) != "objects":
            pass
        plan = project.open().plan_move_store(project.folder / "moved")
        with pytest.raises(Busy, match="1 commands are still writing"):
            fileio.run(relocation.move(plan, lambda: None, lambda: False))
        added = fileio.run(steps)
    project.held[added.id] = (files("noise", 3)).read_bytes()
    whole(project)
    assert takes_writes(project) == [".mvc/store"]


@two_disks
def test_a_store_moves_to_another_disk_and_back(volume: Volume, project: Project) -> None:
    """Between real file systems everything comes along, bit for bit."""
    to = volume.folder / "models"
    project.open().move_store(to)
    assert whole(project).store_info().path == to
    volume.cut_power()
    whole(project)
    project.open().move_store(project.folder / ".mvc" / "store")
    assert whole(project).store_info().path == project.folder / ".mvc" / "store"
    volume.cut_power()
    whole(project)


@two_disks
def test_the_root_of_a_new_disk_will_do(volume: Volume, project: Project) -> None:
    """A disk's own folder, which has ``lost+found``, is as good as an empty one."""
    project.open().move_store(volume.folder)
    assert whole(project).store_info().path == volume.folder


@two_disks
def test_power_may_fail_at_any_step_of_a_move(volume: Volume, project: Project) -> None:
    """The new disk loses power after each step in turn: every version is there, and it finishes."""
    for count in range(len(STEPS)):
        copy = project.copied(f"cut-{count}")
        to = volume.folder / f"models-{count}"
        registry = copy.open()
        plan = registry.plan_move_store(to)
        folder = registry.folder

        def switch(folder: Path = folder, to: Path = to, identity: str = plan.identity) -> None:
            place.change(folder, store={"path": str(to), "id": identity})

        steps = relocation.move(plan, switch, lambda: True)
        for _ in range(count + 1):
            next(steps)
        volume.cut_power()
        whole(copy)
        copy.open().move_store(to)
        assert whole(copy).store_info().path == to
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            steps.close()
        whole(copy)


@two_disks
def test_a_disk_that_is_too_small_is_refused(
    volume: Volume, project: Project, tmp_path: Path
) -> None:
    """What does not fit is said before anything is copied; a disk that fills calls it off."""
    large = tmp_path / "large"
    make_noise(large, 9, 8 << 20)
    project.add("net", large)
    free = fileio.free_space(volume.folder)
    filler = volume.folder / "filler"
    filler.write_bytes(bytes(free - (4 << 20)))
    to = volume.folder / "models"
    with pytest.raises(MvcError, match="are free in"):
        project.open().move_store(to)
    assert not to.exists()
    filler.unlink()
    os.sync()  # xfs gives the space back in its own time
    plan = stores.plan_move(project.open().place, project.open().presence, to)
    filler.write_bytes(bytes(free - (4 << 20)))
    with pytest.raises(OSError, match="No space left"):
        stores.move(project.open().place, plan)
    whole(project)
    assert takes_writes(project) == [".mvc/store"]
    filler.unlink()
    os.sync()
    project.open().move_store(to)
    whole(project)
