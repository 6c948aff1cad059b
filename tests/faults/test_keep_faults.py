"""gc killed or failing while it applies a policy: what is kept stays, and the next gc goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mvc import ModelRegistry
from tests.faults.test_failing_calls import failing
from tests.support.faults import (
    Death,
    Project,
    killed_after_steps,
    killed_before_calls,
    make_noise,
    whole,
)

KILLS = {"step": killed_after_steps, "call": killed_before_calls}
Kill = Callable[[Project, Callable[[Path], object]], Iterator[tuple[Project, Death]]]


@pytest.fixture
def under_policy(project: Project, tmp_path: Path) -> Project:
    """A project where gc withdraws two versions of four, and frees their bytes at once."""
    path = tmp_path / "run.bin"
    for number in range(4):
        make_noise(path, 60 + number, 3000)
        project.open().add("run", path)
    project.open().keep("run", last=2, grace="0")
    return project


def collect(at: Path) -> None:
    ModelRegistry(at).gc()


def assert_it_goes_on(project: Project) -> None:
    """Assert that nothing kept is lost, what is withdrawn can be had back, and gc ends it."""
    whole(project)
    registry = ModelRegistry(project.folder)
    assert registry.list("run")[-2:] == ["v3", "v4"]
    for version in registry.log("run", withdrawn=True):
        if not version.released:
            assert version.present
    collect(project.folder)
    registry = ModelRegistry(project.folder)
    assert registry.list("run") == ["v3", "v4"]
    assert [v.released for v in registry.log("run", withdrawn=True)] == [True, True]
    whole(project)
    assert registry.gc(dry_run=True).freed == 0


@pytest.mark.parametrize("kill", KILLS.values(), ids=KILLS)
def test_a_killed_gc_leaves_some_withdrawn(under_policy: Project, kill: Kill) -> None:
    """Whenever it dies: each version is withdrawn or not, released or not, and has its bytes."""
    points = 0
    for copy, death in kill(under_policy, collect):
        points += 1
        try:
            assert_it_goes_on(copy)
        except Exception as error:
            raise AssertionError(f"killed {death}: {error}") from error
    assert points > 15


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::mvc.MvcWarning")
@pytest.mark.parametrize(
    ("code", "for_ever"),
    [("ENOSPC", True), ("EIO", False)],
)
def test_a_gc_in_which_a_call_fails_withdraws_nothing_kept(
    under_policy: Project, code: str, for_ever: bool
) -> None:
    """Whatever call fails, once or as on a full disk: the next gc does what is left."""
    for outcome in failing(under_policy, collect, code, for_ever):
        try:
            assert_it_goes_on(outcome.project)
        except Exception as error:
            raise AssertionError(f"{outcome}: {error}") from error
