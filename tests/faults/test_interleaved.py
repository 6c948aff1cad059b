"""Two who write at once, a step of one at a time, are as two who write one after the other."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mvc import Conflict, ModelRegistry, fileio
from mvc.errors import MvcError
from mvc.fileio import Steps
from mvc.registry import changes
from mvc.registry.intake import intake
from mvc.registry.intake.source import SourceFile
from mvc.registry.intake.unchanged import IfChanged
from mvc.registry.location import founding
from mvc.registry.location import place as places
from mvc.registry.version import Added
from tests.support.faults import Project, bytes_of, records_of, run_to_end, whole

Files = Callable[[str, int], Path]

STEPS_OF_ADD = 12  # one more than it yields
STEPS_OF_EVENT = 4


def interleavings(first: int, second: int) -> Iterator[tuple[int, ...]]:
    """Yield every order of ``first`` steps of 0 and ``second`` steps of 1."""
    for turns in itertools.combinations(range(first + second), first):
        yield tuple(0 if n in turns else 1 for n in range(first + second))


def with_two_switches(length: int) -> Iterator[tuple[int, ...]]:
    """Yield orders in which one gets so far, then the other so far, then each to its end."""
    for who, first, second in itertools.product((0, 1), range(length + 1), range(length + 1)):
        yield (who,) * first + (1 - who,) * second + (who,) * length


def adding(registry: ModelRegistry, name: str, source: SourceFile, **facts: Any) -> Steps[Added]:
    """Return the protocol of ``add`` as production runs it."""
    store, told = registry.presence.writable(), intake.Facts(**facts)
    return intake.add_steps(registry.place, registry.manifest, store, name, source, told)


def add_two(project: Project, paths: Sequence[Path], schedule: Sequence[int]) -> None:
    """Add two files in an interleaved order and check that both are whole."""
    before = records_of(project.open())
    with ExitStack() as opened:
        sources = [opened.enter_context(SourceFile(path)) for path in paths]
        adds = [adding(project.open(), "net", source) for source in sources]
        done = run_to_end(*adds, schedule=schedule)
    assert all(isinstance(result, Added) for result in done), (schedule, done)
    count = len(before)
    assert {result.id for result in done} == {f"net/v{count + 1}", f"net/v{count + 2}"}, schedule
    registry = whole(project)
    for result, path in zip(done, paths, strict=True):
        assert bytes_of(registry, result.id) == path.read_bytes(), schedule
    after = records_of(registry)
    assert {name: after[name] for name in before} == before, schedule


@pytest.mark.parametrize("equal", [False, True], ids=["different", "equal"])
def test_two_adds_get_two_numbers(project: Project, files: Files, equal: bool) -> None:
    """However two ``add`` take turns, at two switches, both versions are there and whole."""
    paths = [files("noise", 3), files("noise", 3 if equal else 4)]
    for number, schedule in enumerate(with_two_switches(STEPS_OF_ADD)):
        if number % 5 == 0:
            add_two(project.copied(f"turn-{number}"), paths, schedule)


@pytest.mark.parametrize(
    ("if_changed", "lineage"),
    [(True, {}), (True, {"imported": {"url": "https://example.org/m.pt"}}), ("any", {})],
    ids=["one", "imported", "of several"],
)
def test_two_who_add_the_same_if_it_is_new_make_one_version(
    project: Project, files: Files, if_changed: IfChanged, lineage: dict[str, Any]
) -> None:
    """However they take turns, both answer with the one version that one of them made."""
    path = files("noise", 3)
    for number, schedule in enumerate(with_two_switches(STEPS_OF_ADD)):
        if number % 7:
            continue
        copy = project.copied(f"turn-{number}")
        count = len(records_of(copy.open()))
        roots = len(list(copy.open().folder.glob("store/roots/*/*")))
        with SourceFile(path) as one, SourceFile(path) as two:
            facts: dict[str, Any] = {"if_changed": if_changed, "lineage": lineage}
            adds = [adding(copy.open(), "net", source, **facts) for source in (one, two)]
            done = run_to_end(*adds, schedule=schedule)
        assert [result.id for result in done] == [f"net/v{count + 1}"] * 2, (schedule, done)
        assert sorted(result.new for result in done) == [False, True], schedule
        registry = whole(copy)
        assert bytes_of(registry, f"net/v{count + 1}") == path.read_bytes(), schedule
        assert len(records_of(registry)) == count + 1, schedule
        assert len(list(registry.folder.glob("store/roots/*/*"))) == roots + 1, schedule


@pytest.mark.long
@pytest.mark.parametrize("equal", [False, True], ids=["different", "equal"])
def test_two_adds_in_any_order_get_two_numbers(project: Project, files: Files, equal: bool) -> None:
    """All orders with two switches, and a thousand of the 2.7 million others, taken at random."""
    paths = [files("noise", 3), files("noise", 3 if equal else 4)]
    chance = random.Random(0)
    orders = list(with_two_switches(STEPS_OF_ADD))
    for _ in range(1000):
        order = [0] * STEPS_OF_ADD + [1] * STEPS_OF_ADD
        chance.shuffle(order)
        orders.append(tuple(order))
    for number, schedule in enumerate(orders):
        add_two(project.copied(f"turn-{number}"), paths, schedule)


def test_two_who_take_the_next_number_get_two(project: Project) -> None:
    """In every order of their steps, two records for the next number get one each, for ever."""
    record = project.open().manifest.record_bytes("net", 1)
    for schedule in interleavings(STEPS_OF_EVENT, STEPS_OF_EVENT):
        manifests = [project.open().manifest for _ in range(2)]
        taking = [manifest.create_version("net", record) for manifest in manifests]
        before = records_of(project.open())
        numbers = run_to_end(*taking, schedule=schedule)
        count = len(before)
        assert sorted(numbers) == [count + 1, count + 2], schedule
        after = records_of(project.open())
        assert {name: after[name] for name in before} == before


def test_of_two_tags_with_one_expectation_one_wins(
    project: Project, files: Callable[[str, int], Path]
) -> None:
    """In every order of their steps, one ``tag --expect`` moves the tag and the other is told."""
    project.tags.clear()
    project.open().add("net", files("noise", 3))
    for number, schedule in enumerate(interleavings(STEPS_OF_EVENT, STEPS_OF_EVENT)):
        copy = project.copied(f"turn-{number}")
        moves = [
            changes.tag_steps(copy.open().manifest, "net", version, "prod", expect="v1")
            for version in (2, 3)
        ]
        done = run_to_end(*moves, schedule=schedule)
        lost = [result for result in done if isinstance(result, MvcError)]
        assert len(lost) == 1, (schedule, done)
        assert isinstance(lost[0], Conflict), schedule
        won = 2 + (done[1] is not lost[0])
        registry = whole(copy)
        assert registry.resolve("net@prod").version == f"v{won}", schedule
        assert len(registry.history("net@prod")) == 2, schedule


def test_two_tags_without_expectation_both_stand_in_the_history(project: Project) -> None:
    """In every order of their steps, two moves of different tags are both made."""
    for number, schedule in enumerate(interleavings(STEPS_OF_EVENT, STEPS_OF_EVENT)):
        copy = project.copied(f"turn-{number}")
        moves = [changes.tag_steps(copy.open().manifest, "net", 2, name) for name in ("one", "two")]
        run_to_end(*moves, schedule=schedule)
        copy.tags |= {"net@one": "net/v2", "net@two": "net/v2"}
        whole(copy)


INIT = "import sys; from mvc import ModelRegistry; ModelRegistry(sys.argv[1]).init()"


def test_of_many_who_init_at_once_all_end_well(tmp_path: Path) -> None:
    """Processes that make the same registry at once end well, and there is one registry."""
    for turn in range(3):
        folder = tmp_path / f"project-{turn}"
        folder.mkdir()
        command = [sys.executable, "-c", INIT, str(folder)]
        running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(6)]
        said = [process.communicate(timeout=60)[1] for process in running]
        assert (said, [process.returncode for process in running]) == ([b""] * 6, [0] * 6)
        assert [path.name for path in folder.iterdir()] == [".mvc"]
        assert whole(Project(folder)).list() == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        (fileio, "list_folder"),
        (places, "is_clone"),
        (places, "exists"),
        (founding, "check_place"),
        (fileio, "make_folder"),
        (fileio, "publish_folder"),
    ],
)
def test_who_loses_the_race_to_init_uses_the_winner_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, after: bool
) -> None:
    """Whoever finds a registry made while making one takes that, and leaves nothing of its own."""
    folder = tmp_path / "project"
    folder.mkdir()
    real = getattr(module, name)
    made: list[bool] = []

    def init() -> None:
        if not made:
            made.append(False)
            made[0] = ModelRegistry(folder).init()

    def raced(*args: Any) -> Any:
        if not after:
            init()
        result = real(*args)
        init()
        return result

    monkeypatch.setattr(module, name, raced)
    assert ModelRegistry(folder).init() + made[0] == 1
    assert [path.name for path in folder.iterdir()] == [".mvc"]
    whole(Project(folder))
