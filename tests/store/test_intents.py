"""Intents: who is under way is seen, who is dead is evicted, who lives is waited for."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mvc import fileio
from mvc.errors import Busy
from mvc.store import Transaction
from mvc.store.intents import IDLE_NS, Intent, intents, leftovers, settle
from tests.support import store_builders as build

ROOT = Path(__file__).parents[2]
# Begins a transaction and sleeps in the middle of it.
BEGIN = """
import sys, time
from pathlib import Path
from mvc import fileio
from mvc.store import Store, Transaction
transaction = Transaction(Store.open(Path(sys.argv[1])))
fileio.run(transaction.begin())
print("begun", flush=True)
time.sleep(600)
"""


def begun(store: Path) -> subprocess.Popen[str]:
    """Start a process that is in the middle of a transaction."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN, str(store)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)


def settled(store: Path, turns: int = 0) -> list[Intent]:
    """Settle, waiting ``turns`` times at most."""
    left = iter(range(turns))
    return fileio.run(settle(store, lambda: next(left, None) is not None))


def grown_old(folder: Path) -> None:
    """Let a transaction look as if it had done nothing for longer than is waited."""
    long_ago = fileio.clock(folder.parent) - IDLE_NS - 10**9
    for path in (*folder.iterdir(), folder):
        os.utime(path, ns=(long_ago, long_ago))


def test_a_killed_process_is_evicted_at_once(tmp_path: Path) -> None:
    """What a killed process staged is removed without waiting."""
    store = build.new_store(tmp_path / "store")
    ended(begun(store.folder))
    assert len(intents(store.folder)) == 1
    assert settled(store.folder) == []
    assert list((store.folder / "staging").iterdir()) == []


def test_a_living_process_is_waited_for(tmp_path: Path) -> None:
    """While a process lives its transaction stands; when it has ended it is waited for no more."""
    store = build.new_store(tmp_path / "store")
    process = begun(store.folder)
    try:
        assert len(settled(store.folder, turns=3)) == 1
        assert len(intents(store.folder)) == 1
    finally:
        ended(process)
    assert settled(store.folder, turns=3) == []


def test_a_suspended_process_is_evicted_after_an_hour(tmp_path: Path) -> None:
    """Who holds the intent and does nothing for an hour is evicted, lives on and cannot publish."""
    store = build.new_store(tmp_path / "store")
    process = begun(store.folder)
    try:
        process.send_signal(signal.SIGSTOP)
        (intent,) = intents(store.folder)
        grown_old(intent.folder)
        assert settled(store.folder) == []
        assert not intent.folder.exists()
    finally:
        ended(process)


def test_later_transactions_are_not_waited_for(tmp_path: Path) -> None:
    """Only those are waited for that had begun when waiting began."""
    store = build.new_store(tmp_path / "store")
    steps = settle(store.folder, lambda: pytest.fail("waits for one that began later"))
    assert next(steps) == "intents listed"
    later = Transaction(store)
    fileio.run(later.begin())
    assert fileio.run(steps) == []
    assert len(intents(store.folder)) == 1
    later.end()


def test_a_transaction_is_never_seen_before_it_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At no call of its beginning does a living transaction look like one whose process died."""
    store = build.new_store(tmp_path / "store")
    seen: list[bool | None] = []
    real = fileio.sync_folder

    def look(folder: Path) -> None:
        seen.extend(fileio.held_open(intent.path) for intent in intents(store.folder))
        real(folder)

    monkeypatch.setattr(fileio, "sync_folder", look)
    transaction = Transaction(store)
    fileio.run(transaction.begin())
    transaction.end()
    assert seen
    assert set(seen) == {True}


def test_an_evicted_writer_is_told_to_start_again(tmp_path: Path) -> None:
    """Publishing after an eviction is Busy and roots nothing; the repeat succeeds."""
    store = build.new_store(tmp_path / "store")
    transaction = Transaction(store)
    steps = build.steps_of(transaction, [b"weights"])
    while next(steps) != "pack written":
        pass
    (intent,) = intents(store.folder)
    grown_old(intent.folder)
    assert settled(store.folder) == []
    with pytest.raises(Busy, match="evicted"):
        fileio.run(steps)
    transaction.end()
    assert list((store.folder / "roots").iterdir()) == []
    build.publish(store, [b"weights"])


def test_what_a_killed_process_staged_is_left_over(tmp_path: Path) -> None:
    """A dead transaction is left over at once, a living one is not."""
    store = build.new_store(tmp_path / "store")
    process = begun(store.folder)
    try:
        assert leftovers(store.folder) == []
    finally:
        ended(process)
    (intent,) = intents(store.folder)
    assert leftovers(store.folder) == [intent.folder]


def test_only_old_folders_without_an_intent_are_left_over(tmp_path: Path) -> None:
    """A folder nobody can publish from is left over after an hour, not before."""
    store = build.new_store(tmp_path / "store")
    folder = store.folder / "staging" / ("0" * 32)
    folder.mkdir()
    (folder / "0.pack").write_bytes(b"half")
    assert leftovers(store.folder) == []
    grown_old(folder)
    assert leftovers(store.folder) == [folder]


def test_where_there_are_no_locks_an_hour_of_silence_is_a_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer whose life nobody can tell, as on another host, is left alone until then."""

    def refused(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)
    store = build.new_store(tmp_path / "store")
    transaction = Transaction(store)
    fileio.run(transaction.begin())
    (intent,) = intents(store.folder)
    assert fileio.held_open(intent.path) is None
    assert settled(store.folder, turns=3) == [intent]
    grown_old(intent.folder)
    assert settled(store.folder) == []
    assert not intent.folder.exists()


def test_a_lock_that_anybody_gets_costs_a_repetition_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every lock is granted a living writer passes for dead: it is told to run again."""
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, operation: None)
    store = build.new_store(tmp_path / "store")
    transaction = Transaction(store)
    steps = build.steps_of(transaction, [b"weights"])
    next(steps)
    assert settled(store.folder) == []
    with pytest.raises(Busy, match="evicted"):
        fileio.run(steps)
    transaction.end()
    assert list((store.folder / "roots").iterdir()) == []
