"""Runs protocols in every order of their steps, on a disk in memory.

A process that is never given another turn is one that died, so every death at
every step is among the orders; what must hold is looked at after each step.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mvc.errors import MvcError
from mvc.fileio import Steps
from tests.support import tally
from tests.support.local_state import state_of
from tests.support.memory_disk import MemoryDisk, Snapshot


class Broken(AssertionError):
    """What must hold does not, after these steps."""


@dataclass
class Walked:
    """What a search has been through; ``ends`` are the results when all have finished."""

    states: int = 0
    steps: int = 0
    ends: set[tuple[str, ...]] = field(default_factory=set)


class Search:
    """All orders of the steps of ``processes``, each made anew for every run.

    Orders that differ only in when a process did what nobody else can see or
    change are alike, and one of them is taken.

    Args:
        check: Raises ``AssertionError`` where what must hold does not.
    """

    def __init__(
        self,
        disk: MemoryDisk,
        processes: Sequence[Callable[[], Steps[Any]]],
        check: Callable[[], None],
    ) -> None:
        self._disk, self._processes, self._check = disk, processes, check
        self._start: Snapshot = disk.snapshot()
        self._known: set[int] = set()
        self.walked = Walked()

    def run(self, most_states: int = 1 << 30) -> Walked:
        """Go through all orders, or through as many as lead to so many states."""
        waiting: list[list[int]] = [[]]
        while waiting and self.walked.states < most_states:
            self._follow(waiting.pop(), waiting)
        return self.walked

    def sample(self, orders: int, seed: int) -> Walked:
        """Go through so many orders, taken at random: for spaces too large to walk."""
        chance = random.Random(seed)
        for _ in range(orders):
            self._follow([], [], chance)
        return self.walked

    def _follow(
        self, path: list[int], waiting: list[list[int]], chance: random.Random | None = None
    ) -> None:
        """Repeat ``path`` and go on from there to something known; note where else to go."""
        self._disk.restore(self._start)
        running = [process() for process in self._processes]
        ends: list[str | None] = [None] * len(running)
        said: list[str] = []
        try:
            for turn in path:
                self._step(running, ends, said, turn)
            while True:
                key = hash((self._disk.key(), tuple(map(state_of, running)), tuple(ends)))
                if key in self._known and not chance:
                    return
                if key not in self._known:
                    self._known.add(key)
                    self.walked.states += 1
                    tally.count("states of processes that take turns")
                    self._look(said)
                able = [place for place, end in enumerate(ends) if end is None]
                if not able:
                    self.walked.ends.add(tuple(map(str, ends)))
                    return
                able.sort(key=lambda place: place != path[-1] if path else False)
                if chance:
                    chance.shuffle(able)
                before, path = path, [*path, able[0]]
                self._step(running, ends, said, able[0])
                # What nobody else can see or change may as well be done first.
                if self._disk.met:
                    waiting += [[*before, turn] for turn in able[1:]]
        finally:
            self._disk.frozen = True
            for process in running:
                with contextlib.suppress(OSError):
                    process.close()

    def _step(
        self, running: list[Steps[Any]], ends: list[str | None], said: list[str], turn: int
    ) -> None:
        self._disk.begin_turn(turn)
        self.walked.steps += 1
        try:
            said.append(f"{turn}: {next(running[turn])}")
        except StopIteration as end:
            ends[turn] = str(end.value)
            said.append(f"{turn}: ended with {end.value}")
        except MvcError as error:
            ends[turn] = type(error).__name__
            said.append(f"{turn}: {error.message}")
        changed = self._disk.changed
        if len(changed) > 1:
            raise Broken(f"one step makes several changes that others see: {said[-1]}: {changed}")

    def _look(self, said: list[str]) -> None:
        try:
            self._check()
        except AssertionError as error:
            raise Broken("\n".join([str(error), *said])) from None
