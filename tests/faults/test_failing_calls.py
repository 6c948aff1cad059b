"""Each call that mvc makes of the system may fail, once or for ever, and nothing half is left."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mvc import ModelRegistry, MvcError
from tests.cli.running import Outcome as Ran
from tests.support import tally
from tests.support.fault_commands import (
    COMMANDS,
    Command,
    check_failed,
    hurt_in,
    run,
    state_of,
)
from tests.support.faults import ERRORS, Call, Calls, FailingCall, Project, records_of, whole

Files = Callable[[str, int], Path]
HOW = [("EIO", False), ("EIO", True), ("ENOSPC", True)]
how = pytest.mark.parametrize(("code", "for_ever"), HOW, ids=["EIO", "EIO-on", "ENOSPC-on"])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a command whose ``failed`` call failed: an error, or success all the same."""

    project: Project
    failed: Call
    error: Exception | None

    def __str__(self) -> str:
        return f"{self.failed.name} of {self.failed.path} failed: {self.error!r}"


def failing(
    project: Project, work: Callable[[Path], object], code: str, for_ever: bool, every: int = 1
) -> Iterator[Outcome]:
    """Do ``work`` on copies of the project, failing the first call, the second, and so on."""
    for place in itertools.count(1, every):
        copy = project.copied(f"failing-{place}")
        fault = FailingCall(place, ERRORS[code], for_ever=for_ever)
        error = None
        with Calls(copy.folder, fault):
            try:
                work(copy.folder)
            except (OSError, MvcError) as raised:
                error = raised
        if fault.failed is None:
            assert error is None
            return
        tally.count("calls failed", of="the library")
        outcome = Outcome(copy, fault.failed, error)
        assert fault.syncs_after_failure == [], outcome
        assert error is None or "\n" not in str(error), outcome
        yield outcome
        shutil.rmtree(copy.folder)


@how
@pytest.mark.filterwarnings("ignore::mvc.MvcWarning")
def test_a_failing_call_leaves_no_half_version(
    project: Project, files: Files, code: str, for_ever: bool
) -> None:
    """Whatever call of ``add`` fails, the version is there and whole, or ``add`` says it failed.

    One failure is neither: when the name of the version cannot be synced, the
    version is there, but whether it stays nobody knows; that is an error. The
    source is untouched, a failed sync is never tried again on the same file,
    and the same ``add`` afterwards succeeds.
    """
    before = records_of(project.open())
    source = files("weights", 3)
    data = source.read_bytes()
    for outcome in failing(
        project, lambda at: ModelRegistry(at).add("net", source), code, for_ever
    ):
        assert source.read_bytes() == data
        after = records_of(whole(outcome.project))
        new = after.keys() - before.keys()
        assert {name: after[name] for name in before} == before, outcome
        assert new in (set(), {"net/v3"}), outcome
        unsure = os.path.basename(outcome.failed.path) == "versions"
        assert bool(new) == (outcome.error is None) or (new and unsure), outcome
        if new:
            outcome.project.held["net/v3"] = data
        outcome.project.add("net", source)
        whole(outcome.project)


@how
@pytest.mark.filterwarnings("ignore::mvc.MvcWarning")
def test_a_failing_call_moves_a_tag_or_not(project: Project, code: str, for_ever: bool) -> None:
    """Whatever call of ``tag`` fails, the tag stands on the old version or on the new.

    A success is never reported for a tag that does not stand.
    """
    project.tags.clear()
    for outcome in failing(
        project, lambda at: ModelRegistry(at).tag("net@v2", "prod"), code, for_ever
    ):
        registry = whole(outcome.project)
        now = registry.resolve("net@prod").id
        assert now == "net/v2" or (now == "net/v1" and outcome.error), outcome
        registry.tag("net@v2", "prod")
        outcome.project.tags["net@prod"] = "net/v2"
        whole(outcome.project)


@how
def test_a_failing_call_makes_a_registry_or_none(tmp_path: Path, code: str, for_ever: bool) -> None:
    """Whatever call of ``init`` fails, a whole registry is there or none; a repeat makes it."""
    empty = Project(tmp_path / "empty")
    empty.folder.mkdir()
    for outcome in failing(empty, lambda at: ModelRegistry(at).init(), code, for_ever):
        made = (outcome.project.folder / ".mvc").exists()
        assert made or outcome.error, outcome
        if not for_ever and outcome.failed.name != "unlink":  # what cannot be removed stays
            names = os.listdir(outcome.project.folder)
            assert names == [".mvc"] * made, outcome
        outcome.project.open().init()
        whole(outcome.project)


@how
@pytest.mark.filterwarnings("ignore::mvc.MvcWarning")
def test_a_failing_call_leaves_the_file_that_was_there(
    project: Project, code: str, for_ever: bool
) -> None:
    """Whatever call of ``checkout`` fails, the target is what it was or what was asked for."""
    target = project.folder / "model.bin"
    target.write_bytes(project.held["net/v2"])

    def fetch(folder: Path) -> None:
        ModelRegistry(folder).checkout("net@v1", folder / "model.bin")

    for outcome in failing(project, fetch, code, for_ever):
        found = (outcome.project.folder / "model.bin").read_bytes()
        assert found in (project.held["net/v1"], project.held["net/v2"]), outcome
        assert found == project.held["net/v1"] or outcome.error, outcome
        fetch(outcome.project.folder)
        whole(outcome.project)


# Those that have no test of their own above, in part; in the long run all, in every way.
WAYS = [
    *(
        pytest.param(c, "EIO", False, 7, id=f"{c.name}-some")
        for c in COMMANDS
        if c.name not in ("add", "tag", "init", "checkout", "gc", "store move")
    ),
    *(
        pytest.param(c, code, on, 1, id=f"{c.name}-{code}{'-on' * on}", marks=pytest.mark.long)
        for c in COMMANDS
        for code in ERRORS
        for on in (False, True)
    ),
]


@pytest.mark.parametrize(("command", "code", "for_ever", "every"), WAYS)
@pytest.mark.filterwarnings("ignore::mvc.MvcWarning")
def test_a_command_in_which_a_call_fails_says_so_in_one_line_or_has_done_its_work(
    project: Project, command: Command, code: str, for_ever: bool, every: int
) -> None:
    """Whatever call fails, in whatever way: all is whole, and the same command then succeeds."""
    command.prepare(project)
    project.tags.clear()
    hurt = hurt_in(project)
    unharmed = project.copied("unharmed")
    assert run(unharmed, command.arguments).status == 0
    after = state_of(unharmed)
    ran: list[Ran] = []
    for outcome in failing(
        project, lambda at: ran.append(run(Project(at), command.arguments)), code, for_ever, every
    ):
        ended = ran[-1].status, ran[-1].err
        check_failed(outcome.project, command, ended, after, hurt, outcome)


def test_a_write_that_is_cut_short_is_carried_on(project: Project, files: Files) -> None:
    """A system that takes one byte, or a few thousand, at a time stores the same file."""
    source = files("weights", 3)
    for most in (1_000, 65_537):
        copy = project.copied(f"short-{most}")
        real = os.writev

        def short(descriptor: int, pieces: list[memoryview], most: int = most) -> int:
            return real(descriptor, [pieces[0][:most]])  # noqa: B023 -- called in this round only

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "writev", short)
            copy.add("net", source)
        whole(copy)


def test_a_rotten_copy_is_replaced_when_the_file_is_added_again(
    project: Project, files: Files
) -> None:
    """Adding a file whose stored copy has rotted stores it again, and keeps the rotten one aside.

    A file of one object makes a pack of the very name that is there already.
    """
    source = files("noise", 3)
    packs = project.folder / ".mvc" / "store" / "packs"
    before = set(packs.iterdir())
    project.add("net", source)
    (pack,) = set(packs.iterdir()) - before
    raw = bytearray(pack.read_bytes())
    raw[200] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(raw)
    assert not project.open().fsck().ok
    project.add("net", source)
    whole(project)
    quarantine = packs.parent / "quarantine"
    assert [path.read_bytes() for path in quarantine.iterdir()] == [bytes(raw)]
