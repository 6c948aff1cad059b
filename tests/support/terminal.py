"""A terminal of a given size: what a person sees of a command, and types while it runs.

``open_terminal(["mvc", …])`` starts a command in one; ``shown`` is the screen as it is
now, ``written`` every byte that came, ``type`` and ``type_until_ended`` press keys,
``wait_for`` waits until some text is on the screen, ``finish`` until the command has ended.
``mvc`` is the one of this working tree. A kernel's pseudo-terminal carries
the bytes, and ``pyte`` understands them as an xterm does.

Public names: ``Terminal``, ``open_terminal``, ``ended``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyte

ROOT = Path(__file__).parents[2]
SECONDS = 60
# A terminal as most have it, whatever the tests themselves run in.
USUAL = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
UNSET = ("COLUMNS", "LINES", "NO_COLOR", "PAGER", "MVC_PAGER", "LESS", "PYTHONUNBUFFERED", "CI")


class Terminal:
    """A running command and the screen before it."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int, size: tuple[int, int]):
        self.written = b""
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self._process = process
        self._descriptor = descriptor

    @property
    def shown(self) -> str:
        """The lines of the screen, without spaces at their ends and empty lines at its end."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip("\n")

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._descriptor, keys.encode())

    def wait_for(self, text: str) -> str:
        """Wait until the screen has ``text`` on it, and return the screen."""
        end = time.monotonic() + SECONDS
        while text not in self.shown:
            assert self._read(end), f"{text!r} was not shown, but:\n{self.shown}"
        return self.shown

    def type_until_ended(self, keys: str) -> None:
        """Press keys again and again, as where Ctrl-C may have swallowed what was typed before."""
        end = time.monotonic() + SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError):  # it ended just now
                self.type(keys)
            time.sleep(0.1)

    def finish(self) -> int:
        """Wait until the command has ended, and return its exit status."""
        end = time.monotonic() + SECONDS
        while self._read(end):
            pass
        return self._process.wait(max(0, end - time.monotonic()))

    def _read(self, end: float) -> bool:
        """Take in what comes next; false if no more will come."""
        ready, _, _ = select.select([self._descriptor], [], [], max(0, end - time.monotonic()))
        assert ready, f"nothing new for {SECONDS} s; the screen is:\n{self.shown}"
        try:
            data = os.read(self._descriptor, 1 << 16)
        except OSError:  # Linux says so where others send nothing
            data = b""
        self.written += data
        self._stream.feed(data)
        return data != b""


@contextmanager
def open_terminal(
    command: Sequence[str],
    *,
    columns: int = 80,
    rows: int = 24,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Terminal]:
    """Run a command in a terminal; it is ended when the context is left."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    if command[0] == "mvc":
        command = [sys.executable, "-m", *command]
    inherited = {name: value for name, value in os.environ.items() if name not in UNSET}
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={**inherited, **USUAL, "PYTHONPATH": str(ROOT), **(environment or {})},
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours, (columns, rows))
    finally:
        os.close(ours)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


def ended(
    command: Sequence[str],
    *,
    columns: int = 80,
    rows: int = 24,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[Terminal, int]:
    """Run a command in a terminal to its end; return what that shows, and the exit status.

    There is no pager, which would wait for keys.
    """
    environment = {"MVC_PAGER": "", **(environment or {})}
    with open_terminal(
        command, columns=columns, rows=rows, folder=folder, environment=environment
    ) as terminal:
        return terminal, terminal.finish()


def _take_terminal() -> None:
    """Make stdin the terminal that rules the new process, as for a shell's command."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
