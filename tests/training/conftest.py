"""What the tests of callbacks stand on: a project each, recorders, and real trainers or a skip."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mvc import Version
from mvc.training.recorder import Options, Recorder
from tests.registry.conftest import project
from tests.support.registry_builders import Project

__all__ = ["project"]

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0


@pytest.fixture
def recorder(project: Project) -> Iterator[Callable[..., Recorder]]:
    """Makes recorders of the project, each with a run that has begun."""
    made: list[Recorder] = []

    def make(
        family: str = "net",
        folder: Any = None,
        wait: float = PATIENCE,
        resumed: Path | None = None,
        **facts: Any,
    ) -> Recorder:
        options = Options(family, folder or project.folder, "all", wait, facts)
        made.append(Recorder(options))
        made[-1].begin({}, None, resumed)
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return the warnings that were logged."""
    caplog.set_level(logging.INFO, logger="mvc.training")
    return lambda: [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def checkpoint(project: Project, step: int, size: int = 1000) -> Path:
    """Write a file as a trainer would, other bytes for each step."""
    folder = project.folder / "checkpoints"
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{step}.bin"
    path.write_bytes(bytes([step]) * size)
    return path


def versions(project: Project, family: str = "net") -> list[Version]:
    """Return the versions of a family, oldest first."""
    return project.registry().log(family)[::-1]


def pid(recorder: Recorder) -> int:
    """Return the process that adds what a recorder is given."""
    worker = recorder._worker
    assert worker is not None
    return worker.pid


def stopped(process: int) -> None:
    """Stop a process, and return when it stands still."""
    os.kill(process, signal.SIGSTOP)
    until(lambda: _state(process) == "T")


def killed(process: int) -> None:
    """Kill a process, and return when all that it had open is closed."""
    os.kill(process, signal.SIGKILL)
    until(lambda: _state(process) == "Z")


def _state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def until(true: Callable[[], bool]) -> None:
    """Wait for something, not for ever."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def left_over(folder: Path) -> list[Path]:
    """Return the second names that were not given up again."""
    found = []
    for above, names, _ in os.walk(folder):  # which passes over what goes meanwhile
        found += [Path(above, name) for name in names if name.startswith(".mvc-new-")]
        names[:] = [name for name in names if not name.startswith(".mvc")]
    return found


def run_script(text: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of a user's in a folder."""
    (folder / "script.py").write_text(text)
    return subprocess.run(
        [sys.executable, "script.py", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        start_new_session=True,  # so that an interrupt can be for it and all that it started
    )
