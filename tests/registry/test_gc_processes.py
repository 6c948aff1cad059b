"""gc beside real processes that write, read, sleep and collect as well."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mvc.store.intents import IDLE_NS
from tests.support.gc_builders import collected, trash_of
from tests.support.registry_builders import Project, finished, noise, python

# Goes through an add and sleeps after a step, as a process that was suspended there.
SUSPENDED = """
import os, signal, sys
from mvc.cli import app
from mvc import fileio
step = sys.argv.pop(1)

def run(steps):
    while True:
        try:
            if next(steps) == step:
                print(step, flush=True)
                os.kill(os.getpid(), signal.SIGSTOP)
        except StopIteration as end:
            return end.value

fileio.run = run
sys.exit(app.run(sys.argv[1:]))
"""

# No lock keeps collectors apart here, as where a file system grants every lock.
NO_LOCK = """
import contextlib, sys, time, warnings
from datetime import timedelta
from mvc import Damaged, ModelRegistry, MvcError
from mvc.errors import Busy
from mvc.registry.care import gc
from mvc.store import rewrite

@contextlib.contextmanager
def unlocked(store):
    yield True

gc.maintenance = rewrite.maintenance = unlocked
gc.WAIT = 0.5
"""
COLLECT = (
    NO_LOCK
    + """
folder, seconds = sys.argv[1], float(sys.argv[2])
until, runs, freed = time.monotonic() + seconds, 0, 0
while time.monotonic() < until:
    try:
        freed += ModelRegistry(folder).gc(timedelta(0), force=True).freed
    except Busy:
        pass
    runs += 1
print(runs, freed)
"""
)
WRITE = (
    NO_LOCK
    + """
import os, random
folder, seconds, number = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
source, until = random.Random(number), time.monotonic() + seconds
path = os.path.join(folder, f"{number}.bin")
kept = {}
while time.monotonic() < until:
    # Few kinds, so that everyone wants what somebody else is just giving up.
    kind = source.randrange(12)
    with open(path, "wb") as file:
        file.write(random.Random(kind).randbytes(3000 + kind))
    try:
        made = ModelRegistry(folder).add(f"net{number}", path).id
    except Busy:
        continue
    kept[made] = kind
    if source.random() < 0.7:
        gone = source.choice(list(kept))
        del kept[gone]
        ModelRegistry(folder).rm(gone)
print(kept)
"""
)
READ = """
import sys, tempfile, time
from pathlib import Path
from mvc import ModelRegistry
folder, seconds = sys.argv[1], float(sys.argv[2])
until, runs = time.monotonic() + seconds, 0
registry = ModelRegistry(folder)
while time.monotonic() < until or not runs:
    with tempfile.TemporaryDirectory() as out:
        for number in (1, 2, 3):
            data = registry.checkout(f"read@v{number}", Path(out, str(number))).path.read_bytes()
            assert len(data) == 5000 + number, number
    runs += 1
print(runs)
"""


@pytest.fixture
def suspended(project: Project, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Suspend an ``mvc add`` after a step of it; it wants what a withdrawn version has."""
    project.add(noise(4000, 1))
    project.registry().rm("net@v1")
    path = project.file(noise(4000, 1), "again.bin")
    arguments = ("-C", project.folder, "add", "net", path)
    process = python(SUSPENDED, request.param, *arguments)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    yield process
    process.kill()
    process.communicate()


def staged(project: Project) -> list[Path]:
    return list((project.mvc / "store" / "staging").glob("*/record.yaml"))


def grown_old(project: Project) -> None:
    """Let all that is staged look as if nobody had touched it for over an hour."""
    then = time.time_ns() - IDLE_NS - 10**10
    for intent in staged(project):
        for path in (*intent.parent.iterdir(), intent.parent):
            os.utime(path, ns=(then, then))


BEFORE_ITS_ROOT = ["intent", "packs listed", "objects", "packs durable", "record written"]


@pytest.mark.parametrize("suspended", BEFORE_ITS_ROOT, indirect=True)
def test_a_suspended_writer_is_waited_for_then_evicted_and_told(
    project: Project, suspended: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it counts as alive nothing goes that it may want; evicted and woken, it says so.

    Its repeat stores the right bytes.
    """
    monkeypatch.setattr("mvc.registry.care.gc.WAIT", 0.3)
    held_back = collected(project)
    assert (held_back.waiting, held_back.freed) == (1, 0)
    assert held_back.remaining > 4000
    assert len(staged(project)) == 1
    grown_old(project)
    assert collected(project).freed > 4000
    assert (staged(project), trash_of(project)) == ([], [])
    os.kill(suspended.pid, signal.SIGCONT)
    out, err = suspended.communicate(timeout=60)
    assert (suspended.returncode, out.splitlines()[1:]) == (6, []), err
    assert "evicted by gc" in err
    assert "hint: run the command again" in err
    assert project.add(noise(4000, 1)) == "net/v2"
    assert project.bytes_of("net@v2") == noise(4000, 1)
    assert project.registry().fsck("full").ok


@pytest.mark.parametrize("suspended", ["rooted", "root durable", "record staged"], indirect=True)
def test_a_writer_suspended_behind_its_root_has_its_bytes_kept(
    project: Project, suspended: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its root on nothing that it needs goes, and evicting it does not end it."""
    monkeypatch.setattr("mvc.registry.care.gc.WAIT", 0.3)
    collected(project, orphans=True)
    grown_old(project)
    collected(project)
    os.kill(suspended.pid, signal.SIGCONT)
    out, err = suspended.communicate(timeout=60)
    assert (suspended.returncode, out.splitlines()[1:]) == (0, ["net/v2"]), err
    assert project.bytes_of("net@v2") == noise(4000, 1)
    assert project.registry().fsck("full").ok


@pytest.mark.parametrize("suspended", ["objects"], indirect=True)
def test_a_writer_that_was_killed_is_not_waited_for(
    project: Project, suspended: subprocess.Popen[str]
) -> None:
    """What a dead process staged goes at once, and so do the bytes that it had reused."""
    suspended.kill()
    suspended.wait(60)
    began = time.monotonic()
    assert collected(project).freed > 4000
    assert time.monotonic() - began < 20
    assert (staged(project), project.packs) == ([], [])


@pytest.mark.parametrize("seconds", [8, pytest.param(60, marks=pytest.mark.long)])
def test_writers_readers_and_two_collectors_without_a_lock(project: Project, seconds: int) -> None:
    """Four writers, two collectors that do not know of each other, merges and two readers.

    Every version that was acknowledged and not withdrawn reads back, no reader
    ever fails, and everything is whole afterwards.
    """
    for number in (1, 2, 3):
        project.add(noise(5000 + number, number), "read")
    writers = [python(WRITE, project.folder, seconds, number) for number in range(4)]
    others = [python(COLLECT, project.folder, seconds) for _ in range(2)]
    readers = [python(READ, project.folder, seconds) for _ in range(2)]
    kept: dict[str, int] = {}
    for process in writers:
        kept |= eval(finished(process))
    runs, freed = zip(*(map(int, finished(process).split()) for process in others), strict=True)
    assert all(int(finished(process)) > 0 for process in readers)
    assert sum(runs) > 2
    assert sum(freed) > 0
    assert kept
    for identity, kind in kept.items():
        assert project.bytes_of(identity) == _content(kind), identity
    assert project.registry().fsck("full").ok
    collected(project)
    assert trash_of(project) == []
    assert project.registry().fsck("full").ok
    for identity, kind in kept.items():
        assert project.bytes_of(identity) == _content(kind), identity


def _content(kind: int) -> bytes:
    return noise(3000 + kind, kind)
