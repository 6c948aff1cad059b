"""The bar: how far a long command has come, on stderr.

On a terminal it is drawn after a second and gone when its job ends. In a log
file there is a line when a job has taken ten seconds, and one at its end.

Public names: ``Bar``, ``heard``, ``DELAY``, ``LONG``.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from mvc import progress
from mvc.cli import output
from mvc.cli.manner import manner
from mvc.progress import Job

DELAY = 1.0
"""Seconds after which a bar is drawn."""
BESIDE = 3
"""Columns that stay free for the ``^C`` that a terminal shows: it must not begin a new line."""
LONG = 10.0
"""Seconds after which a log file is told of a job."""


@contextlib.contextmanager
def heard(name: str) -> Iterator[None]:
    """Show what is told while the command ``name`` runs, in the manner asked for."""
    bar = Bar(verbose=manner.verbose, drawn=manner.progress)
    moved = bar.moved if manner.progress or manner.verbose else None
    said = bar.said if manner.verbose else None
    begun = time.monotonic()
    with contextlib.closing(bar), progress.listening(moved, said, bar.noted):
        yield
        progress.say("{}: {:.2f} s in all", name, time.monotonic() - begun)


class Bar:
    """Shows what is told by ``mvc.progress``: the job under way, and words.

    Args:
        verbose: Whether each job is told of by a line at its end, however short it was.
        drawn: Whether jobs are shown while they are under way.
    """

    def __init__(self, *, verbose: bool, drawn: bool) -> None:
        self._verbose, self._drawn = verbose, drawn
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._job: Job | None = None
        self._begun = 0.0
        self._announced = False
        self._live: Any = None  # rich's Progress, once a bar is due

    def moved(self, job: Job) -> None:
        """Show how far a job has come."""
        now = time.monotonic()
        if job is not self._job:
            self.close()
            self._job, self._begun, self._announced = job, now, False
        if job.ended:
            self.close()
            if self._announced or (self._verbose and job.done):
                output.say(f"{job.title}: {output.size(job.done)} in {now - self._begun:.1f} s")
            self._job = None
        elif self._live is not None:
            self._live.update(self._live.task_ids[0], completed=job.done)
        elif self._drawn and self._terminal and now - self._begun >= DELAY:
            self._live = _live(job)
        elif self._drawn and not self._terminal and now - self._begun >= LONG:
            self._announce(job, now - self._begun)

    def said(self, text: str) -> None:
        """Print a line that is of interest."""
        output.say(text)

    def noted(self, text: str) -> None:
        """Print what who waits would want to know."""
        output.note(text)

    def close(self) -> None:
        """Take the bar away."""
        if self._live is not None:
            live, self._live, output.above = self._live, None, None
            live.stop()

    def _announce(self, job: Job, seconds: float) -> None:
        if not self._announced:
            self._announced = True
            whole = f" of {output.size(job.total)}" if job.total else ""
            output.say(f"{job.title}: {output.size(job.done)}{whole} after {seconds:.0f} s")


def _live(job: Job) -> Any:
    """Draw a bar: a line that comes and goes, with what is printed meanwhile above it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.table import Column
    from rich.text import Text

    console = Console(stderr=True)
    console.width = max(console.width - BESIDE, 1)
    live = Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=2)),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        DownloadColumn(table_column=Column(no_wrap=True)),
        TransferSpeedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        console=console,
        transient=True,
        redirect_stdout=False,  # an answer goes where it was sent
        redirect_stderr=False,
        expand=True,
    )
    live.start()
    live.console.show_cursor(True)  # whatever ends the process, the cursor is there
    output.above = lambda text: console.print(Text.from_ansi(text), soft_wrap=True)
    live.add_task(output.clean(job.title), total=job.total, completed=job.done)
    return live
