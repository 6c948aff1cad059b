"""Meddling: somebody else acts between two calls, at each place in turn.

What is combined of several looks at a folder must be right whatever another
process publishes, moves or deletes between them. So one command is run over
and over, and each time another command is run whole before one more of its
calls.
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from mvc import MvcError
from tests.support import tally
from tests.support.faults import Project

LOOKING = ("stat", "lstat", "statvfs", "access", "open", "listdir", "scandir")
CHANGING = ("link", "rename", "unlink", "rmdir", "mkdir", "utime")

Command = Callable[[Project], Any]


class Meddling:
    """While entered, calls ``act`` once, before the call with this number below ``folder``."""

    def __init__(self, folder: Path, act: Callable[[], Any], number: int) -> None:
        self._folder, self._act, self._number = os.fspath(folder), act, number
        self._turn, self._acting, self._count = threading.RLock(), False, 0
        self._patches: list[Any] = []
        self.acted: Any = None
        self.before: str | None = None

    def __enter__(self) -> Meddling:
        for name in (*LOOKING, *CHANGING):
            call = functools.partial(self._call, name, getattr(os, name))
            self._patches.append(mock.patch.object(os, name, call))
            self._patches[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        for patch in self._patches:
            patch.stop()

    def _call(self, name: str, real: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        with self._turn:
            path = arguments[0] if arguments else "."
            inside = isinstance(path, int) or "dir_fd" in named
            inside = inside or os.path.abspath(os.fsdecode(path)).startswith(self._folder)
            if inside and not self._acting:
                if self._count == self._number:
                    self.before, self._acting = f"{name} {path}", True
                    self.acted = result_of(self._act)
                    self._acting = False
                self._count += 1
        return real(*arguments, **named)


def result_of(work: Callable[[], Any]) -> Any:
    """Return what ``work`` returns, or the error of mvc that it raises."""
    try:
        return work()
    except MvcError as error:
        return error


def meddled(
    project: Project, command: Command, other: Command, every: int = 1
) -> Iterator[tuple[Project, Any, Any, str]]:
    """Run ``command`` on copies of a project; before another of its calls each time, ``other``.

    Args:
        every: Of so many places in a row only one is tried.

    Yields:
        The copy, what the two returned or raised, and before which call ``other`` was run.
    """
    for number in itertools.count(0, every):
        copy = project.copied(f"place-{number}")
        meddling = Meddling(copy.folder, functools.partial(other, copy), number)
        with meddling:
            result = result_of(functools.partial(command, copy))
        if meddling.before is not None:
            tally.count("places between calls where another command was run")
            yield copy, result, meddling.acted, f"{number}: {meddling.before}"
        shutil.rmtree(copy.folder)
        if meddling.before is None:
            return
