"""The power fails at random moments of several who add, tag, withdraw, collect and repack at once.

Each says what it is about to do and what was acknowledged, into a pipe that
no power cut reaches. What was acknowledged must be there afterwards; what was
only begun may be.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mvc import ModelRegistry
from mvc.errors import Busy, Conflict, NotFound
from mvc.registry.care import gc
from tests.registry.test_repack import small_series
from tests.support import tally
from tests.support.faults import Project, make_noise, make_weights, whole
from tests.support.volumes import Volume

Say = Callable[..., None]
Turn = Callable[[random.Random, Say], None]

WRITERS = 3
LONGEST = 0.7  # seconds until the power fails: some dozen of commands


class Worker:
    """A process that takes one turn after the other until it is killed."""

    def __init__(self, turn: Turn, chance: random.Random) -> None:
        self._report, writing = os.pipe()
        with warnings.catch_warnings():  # numpy's idle threads are nothing to the child
            warnings.simplefilter("ignore")
            self._process = os.fork()
        if self._process:
            os.close(writing)
            return
        warnings.simplefilter("ignore")

        def say(*words: object) -> None:
            os.write(writing, json.dumps(words).encode() + b"\n")

        try:
            while True:
                with contextlib.suppress(Busy, Conflict):  # "run the command again"
                    turn(chance, say)
        except BaseException:
            say("failed", time.monotonic(), traceback.format_exc()[-3000:])
        finally:
            os._exit(0)

    def stop(self) -> None:
        """Let it do nothing from now on; what the system was doing for it is done."""
        os.kill(self._process, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def kill(self) -> list[list[Any]]:
        """End it, and return what it said."""
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        with open(self._report, encoding="utf-8") as report:
            return [json.loads(line) for line in report]


@dataclass
class Known:
    """What several who work at once were told, and had begun."""

    kept: dict[str, int] = field(default_factory=dict)  # what kind of bytes by version
    gone: set[str] = field(default_factory=set)
    tags: dict[str, set[str | None]] = field(default_factory=dict)  # where each may stand

    def hear(self, what: str, *rest: Any) -> None:
        """Take in one thing that was said."""
        if what == "added":
            self.kept[rest[0]] = rest[1]
        elif what in ("withdrawing", "restoring"):
            self.kept.pop(rest[0], None)
            self.gone.discard(rest[0])
        elif what == "withdrawn":
            self.gone.add(rest[0])
        elif what == "restored":
            self.kept[rest[0]] = rest[1]
        elif what == "tagging":
            self.tags.setdefault(rest[0], {None}).add(rest[1])
        elif what == "tagged":
            self.tags[rest[0]] = {rest[1]}
        else:
            raise AssertionError(f"{what}: {rest}")


class Scene:
    """A volume with a registry, and who works there; the same again for every moment."""

    def __init__(self, volume: Volume, folder: Path) -> None:
        self.volume, self.saved = volume, folder / "saved"
        self.sources = [folder / f"{number}.bin" for number in range(8)]
        for number, path in enumerate(self.sources[:4]):
            make_noise(path, number)
        for number, path in enumerate(self.sources[4:6]):
            make_weights(path, number, elements=4000)
        for path, data in zip(self.sources[6:], small_series(2), strict=True):
            path.write_bytes(data)
        Project(volume.folder).add("net", self.sources[0])
        volume.save(self.saved)

    def writing(self, number: int) -> Turn:
        """Return a turn that adds, and moves its own tag, withdraws or restores what it added."""
        own: dict[str, int] = {}
        withdrawn: dict[str, int] = {}

        def turn(chance: random.Random, say: Say) -> None:
            registry = ModelRegistry(self.volume.folder)
            kind = chance.randrange(len(self.sources))
            added = registry.add("net", self.sources[kind]).id
            say("added", added, kind)
            own[added] = kind
            choice = chance.random()
            if choice < 0.3:
                del own[added]  # what a tag stands on is not withdrawn
                say("tagging", f"w{number}", added)
                registry.tag(added, f"w{number}")
                say("tagged", f"w{number}", added)
            elif choice < 0.6 and own:
                version = chance.choice(list(own))
                withdrawn[version] = own.pop(version)
                say("withdrawing", version)
                registry.rm(version)
                say("withdrawn", version)
            elif choice < 0.7 and withdrawn:
                version = chance.choice(list(withdrawn))
                kind = withdrawn.pop(version)
                say("restoring", version)
                with contextlib.suppress(NotFound):  # gc was first
                    registry.restore(version)
                    say("restored", version, kind)

        return turn

    def collecting(self, chance: random.Random, say: Say) -> None:
        """Collect without grace, or repack."""
        registry = ModelRegistry(self.volume.folder)
        if chance.random() < 0.7:
            registry.gc(timedelta(0), force=True)
        else:
            registry.repack()

    def moment(self, chance: random.Random) -> Known:
        """Let all work, cut the power at a random moment, and return what is known then."""
        self.volume.begin_again(self.saved)
        turns: list[Turn] = [self.writing(number) for number in range(WRITERS)]
        workers = [
            Worker(turn, random.Random(chance.random())) for turn in (*turns, self.collecting)
        ]
        time.sleep(chance.uniform(0.05, LONGEST))
        if self.volume.kind == "btrfs":
            for worker in workers:
                worker.stop()
        cut = time.monotonic()
        self.volume.lose_power()
        said = [worker.kill() for worker in workers]
        self.volume.come_back()
        known = Known(kept={"net/v1": 0})
        for words in (words for worker in said for words in worker):
            if words[0] == "failed":
                assert words[1] > cut, words[2]
            else:
                known.hear(*words)
        return known

    def check(self, known: Known) -> None:
        """Assert that all that was acknowledged is there, that all is whole, and works."""
        project = Project(self.volume.folder)
        data = {name: self.sources[kind].read_bytes() for name, kind in known.kept.items()}
        project.held = data
        registry = whole(project)
        listed = {f"net/{version}" for version in registry.list("net")}
        assert known.kept.keys() <= listed
        assert not known.gone & listed
        stand = registry.family("net").tags
        for tag, places in known.tags.items():
            assert (f"net/v{stand[tag]}" if tag in stand else None) in places
        project.add("net", self.sources[1])
        whole(project)


@pytest.mark.parametrize("moments", [1, pytest.param(200, marks=pytest.mark.long)])
def test_what_was_acknowledged_at_a_random_moment_survives(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moments: int
) -> None:
    """Whatever three writers and a collector were doing: all acknowledged is there, and whole."""
    monkeypatch.setattr(gc, "WAIT", 0.2)
    scene = Scene(volume, tmp_path)
    for number in range(moments):
        known = scene.moment(random.Random(f"{volume.cut} {number}"))
        try:
            scene.check(known)
        except Exception as error:
            raise AssertionError(f"moment {number}: {error}") from error
        tally.count("acknowledged versions read after a power cut", len(known.kept))
