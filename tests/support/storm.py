"""One of many processes at work on a registry: ``python -m tests.support.storm``.

Each has a role and takes one turn of it after the other. What was acknowledged
it prints, a JSON value in a line each. Told to run a command again it goes on,
after its time as well until one is done; anything else that goes wrong ends it with a
traceback and status 1.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from mvc import ModelRegistry
from mvc.errors import Busy, Conflict, NotFound
from mvc.registry.care import gc, repack
from mvc.store import relocation

FIXED = 4  # versions of the family "read", which nobody withdraws


@dataclass
class Actor:
    """Who works: where, with which files, and what it was told."""

    folder: Path
    number: int
    sources: list[Path]
    chance: random.Random
    long_open: ModelRegistry
    own: dict[str, int] = field(default_factory=dict)
    withdrawn: dict[str, int] = field(default_factory=dict)

    def registry(self) -> ModelRegistry:
        """Open the registry as a new process would, or take the one that is open since long."""
        return self.long_open if self.chance.random() < 0.3 else ModelRegistry(self.folder)

    def reads(self, ref: str, kind: int) -> None:
        """Check a version out and compare it."""
        with tempfile.TemporaryDirectory() as out:
            got = self.registry().checkout(ref, Path(out, "out")).path.read_bytes()
        assert got == self.sources[kind].read_bytes(), f"{ref} is not what was added"


def say(*words: object) -> None:
    print(json.dumps(words), flush=True)


def write(actor: Actor) -> None:
    """Add; then perhaps withdraw, restore or read back what was added before."""
    registry, choose = actor.registry(), actor.chance
    kind = choose.randrange(len(actor.sources))
    added = registry.add("net", actor.sources[kind]).id
    say("added", added, kind)
    actor.own[added] = kind
    choice = choose.random()
    if choice < 0.6:
        version = choose.choice(list(actor.own))
        kind = actor.own.pop(version)
        say("withdrawing", version)
        registry.rm(version)
        say("withdrawn", version)
        actor.withdrawn[version] = kind
    elif choice < 0.8 and actor.withdrawn:
        version, kind = actor.withdrawn.popitem()
        say("restoring", version)
        try:
            registry.restore(version)
        except NotFound:  # gc was first
            say("released", version)
        else:
            say("restored", version, kind)
            actor.own[version] = kind
    elif actor.own:
        version = choose.choice(list(actor.own))
        actor.reads(version, actor.own[version])


def tag(actor: Actor) -> None:
    """Move a tag that others move as well, if it still stands where it was seen."""
    registry = actor.registry()
    before = registry.resolve("read@prod").version
    after = actor.chance.choice([f"v{n + 1}" for n in range(FIXED) if f"v{n + 1}" != before])
    name = f"{actor.number}-{time.monotonic_ns()}"
    registry.tag(f"read@{after}", "prod", expect=before, message=name)
    say("moved", name, before, after)


def read(actor: Actor) -> None:
    """Check a version out, or take its path."""
    kind = actor.chance.randrange(FIXED)
    ref = f"read@v{kind + 1}"
    if actor.chance.random() < 0.3:
        got = actor.registry().path(ref).read_bytes()
        assert got == actor.sources[kind].read_bytes(), ref
    else:
        actor.reads(ref, kind)


def collect(actor: Actor) -> None:
    """Give up whatever may go, now; then let others have the lock."""
    actor.registry().gc(timedelta(0), force=True)
    time.sleep(actor.chance.uniform(0, 3))


def make_quick_to_read(actor: Actor) -> None:
    """Repack; then let others have the lock."""
    actor.registry().repack()
    time.sleep(actor.chance.uniform(0, 3))


def move(actor: Actor) -> None:
    """Take the store where it is not: back, or to a new place if something was left there.

    Where no lock is kept a pack may be made in the old place when all was copied.
    """
    time.sleep(actor.chance.uniform(0, 3))
    registry = ModelRegistry(actor.folder)
    home = actor.folder / ".mvc" / "store"
    if registry.store_info().path != home:
        try:
            registry.move_store(home)
            return
        except Conflict:
            pass
    registry.move_store(actor.folder / f"away-{actor.chance.randrange(1 << 30)}")


def check(actor: Actor) -> None:
    """Check everything, in one of the three ways: all is whole, at every instant."""
    report = actor.registry().fsck(actor.chance.choice(["quick", "default", "full"]))
    assert report.ok, [(found.kind, found.object, found.remedy) for found in report.findings]


ROLES: dict[str, Callable[[Actor], None]] = {
    "write": write, "tag": tag, "read": read, "collect": collect,
    "repack": make_quick_to_read, "move": move, "check": check,
}  # fmt: skip


def main() -> None:
    """Take turns of a role for so many seconds, then say how many."""
    role, folder, number, seconds, patience = sys.argv[1:]
    gc.WAIT = vars(repack)["WAIT"] = float(patience)
    relocation.SECONDS_TO_WAIT = 5 * float(patience)
    warnings.simplefilter("ignore")
    sources = sorted(Path(folder, "sources").iterdir())
    chance = random.Random(int(number))
    registry = ModelRegistry(folder)
    actor = Actor(Path(folder), int(number), sources, chance, registry)
    until, done, again = time.monotonic() + float(seconds), 0, 0
    while time.monotonic() < until or not done:
        try:
            ROLES[role](actor)
            done += 1
        except (Busy, Conflict):
            again += 1
            time.sleep(chance.uniform(0, 0.1))
    say("turns", role, done, again)


if __name__ == "__main__":
    os.environ["MVC_AUTHOR"] = "storm"
    main()
