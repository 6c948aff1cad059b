"""Worker: the training's hold on the process that adds its checkpoints.

Nothing here waits for that process unless told how long. It
is started by exec, never by fork, and outlives the training if need be.

Public names: ``Worker``.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mvc.training.adding import Job
from mvc.training.secured import Secured, release

# Nothing in the folder of the training is taken for a module of Python's.
_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; from mvc.training.adding import main; main({socket})"
)

_LONGEST = 60.0  # seconds that are waited for in one call
_ITS_END = 1.0  # seconds that a process takes to end when it has nothing to do

# Of those that go on by themselves: Python warns of a process that nobody asks after.
_left: list[subprocess.Popen[bytes]] = []


class Worker:
    """A running process, and what it was given and has not answered yet."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        _left[:] = [process for process in _left if process.poll() is None]
        self._ours, theirs = multiprocessing.Pipe()
        program = _PROGRAM.format(path=sys.path, socket=theirs.fileno())
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", program],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt is for the training
            )
        self._starter = os.getpid()
        self._given: set[str] = set()
        self._ours.send_bytes(json.dumps(told, default=str).encode())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_ours(self) -> bool:
        """Say whether this process started it; one that the training forked did not."""
        return self._starter == os.getpid()

    @property
    def unanswered(self) -> int:
        return len(self._given)

    def give(
        self, secured: Secured, metrics: Mapping[str, float], lineage: Mapping[str, Any]
    ) -> None:
        """Have a secured checkpoint added, and released."""
        job = Job(os.fspath(secured.path), secured.linked, metrics, lineage)
        try:
            data = job.encode()
            self._given.add(os.fspath(secured.path))
            with contextlib.suppress(OSError):  # it is dead: ``answers`` tells
                self._ours.send_bytes(data)
        except BaseException:
            release(secured.folder)
            raise

    def answers(self, wait: float = 0.0) -> Iterator[dict[str, Any]]:
        """Yield what it says of all it was given, within ``wait`` seconds.

        Of one that is dead: that nothing came of it.
        """
        until = time.monotonic() + wait
        try:
            while self._ours.poll() or (self._given and time.monotonic() < until):
                if self._ours.poll(min(max(until - time.monotonic(), 0.0), _LONGEST)):
                    said = json.loads(self._ours.recv_bytes())
                    self._given.discard(said.get("path"))
                    yield said
        except (EOFError, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            for path in sorted(self._given):
                release(Path(path).parent)
                ended = self._process.returncode
                yield {"path": path, "problem": f"the process that adds them ended ({ended})"}
            self._given.clear()

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        """Tell it that no more comes: it ends when it has added what waits."""
        with contextlib.suppress(OSError):
            self._ours.send_bytes(Job(None, {}, {}, {}).encode())

    def leave(self) -> None:
        """Let it go on by itself, if it still does."""
        self._ours.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if self._given else _ITS_END)
        if self.is_alive():
            _left.append(self._process)
