"""Intents: which transactions are under way in a store, and how a collector ends one.

A transaction's intent is ``staging/<id>/record.yaml``, which becomes its
root's file by a link, or where there are none by a rename. So a transaction
whose intent has lost its name can no longer publish: whoever removes the name
has *evicted* it, and its writer is told to start again. Waiting for those that
live is politeness; whether one lives may be judged wrongly without any harm to
what is stored.

Why that is enough: ``docs/gc.md``.
Public names: ``INTENT``, ``Intent``, ``intents``, ``settle``, ``waiting``,
``leftovers``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mvc import fileio
from mvc.fileio import Steps
from mvc.progress import say
from mvc.store.settings import STAGING, is_id

INTENT = "record.yaml"
# A writer that has written nothing for so long is taken for suspended, or for lost on
# another host, whatever its lock says.
IDLE_NS = 3600 * 1_000_000_000
# How often those that are waited for are looked at, in seconds.
PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Intent:
    """A transaction that has begun: the folder it stages in."""

    folder: Path

    @property
    def path(self) -> Path:
        """The name whose removal ends the transaction."""
        return self.folder / INTENT

    def stands(self) -> bool:
        """Say whether the transaction may still publish."""
        return self.path.exists()


def intents(store: Path) -> list[Intent]:
    """Return the transactions that may publish, as of now, in the order of their names."""
    staging = store / STAGING
    found = [Intent(staging / name) for name in sorted(fileio.list_folder(staging))]
    return [intent for intent in found if intent.stands()]


def settle(store: Path, patience: Callable[[], bool]) -> Steps[list[Intent]]:
    """Wait for the transactions under way now to end, and evict those that are dead.

    Later ones do not matter: they began after whatever the caller has done.

    Args:
        patience: Waits a little; False means that enough was waited.

    Returns:
        Those that still stand.
    """
    waited_for = intents(store)
    yield "intents listed"
    told = False
    while True:
        still = []
        for intent in waited_for:
            if not intent.stands():
                continue
            if is_dead(intent, fileio.clock(store)):
                evict(intent)
                yield "intent evicted"
            else:
                still.append(intent)
        waited_for = still
        if not waited_for or not patience():
            return waited_for
        if not told:
            say("waiting: {} other commands write to the store", len(waited_for))
            told = True
        yield "waited"


def waiting(seconds: float) -> Callable[[], bool]:
    """Return a patience that waits in short pauses, for so many seconds in all."""
    end = time.monotonic() + seconds

    def wait() -> bool:
        time.sleep(PAUSE)
        return time.monotonic() < end

    return wait


def is_dead(intent: Intent, now: int) -> bool:
    """Say whether a transaction's process is gone, or has done nothing for very long."""
    return fileio.held_open(intent.path) is False or _idle(intent.folder, now)


def evict(intent: Intent) -> None:
    """End a transaction, and remove what it staged. One that has ended by itself is let be.

    Raises:
        OSError: Its intent cannot be removed; the transaction goes on.
    """
    if fileio.unlink(intent.path):
        fileio.remove_folder(intent.folder)


def leftovers(store: Path) -> list[Path]:
    """Return the folders of dead transactions, and those without an intent not used lately."""
    staging = store / STAGING
    folders = [staging / name for name in sorted(fileio.list_folder(staging)) if is_id(name)]
    now = fileio.clock(store) if fileio.may_write(store) else time.time_ns()

    def is_left(folder: Path) -> bool:
        intent = Intent(folder)
        if not intent.stands():
            return _idle(folder, now)
        return is_dead(intent, now) and intent.stands()  # or it has ended while it was looked at

    return list(filter(is_left, folders))


def _idle(folder: Path, now: int) -> bool:
    try:
        paths = [folder, *(folder / name for name in os.listdir(folder))]
        newest = max(os.stat(path, follow_symlinks=False).st_mtime_ns for path in paths)
    except FileNotFoundError:  # it is at work, if only at leaving
        return False
    return now - newest > IDLE_NS
