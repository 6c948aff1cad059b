"""Adding: the process that adds one checkpoint after the other while a training goes on.

A process, and not a thread: it takes no turn from the training's interpreter,
has no part in a fork, is given the processor only when nobody else wants it,
and ends its work when the training was killed. It is told what to add as JSON
over a socket and answers each with one line; of those that wait it keeps the
newest.

Public names: ``main``, ``Job``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mvc import environment
from mvc.errors import Conflict, MvcError, MvcWarning, warn
from mvc.registry import ModelRegistry
from mvc.registry.intake.origin import parent_of
from mvc.registry.location import place
from mvc.registry.version import Added
from mvc.training import plain
from mvc.training.secured import Secured, clear_abandoned, detach, release

TRIES = 5
"""Names of a file that come and go while it is read look as if it had changed."""

_NICE = 10


@dataclass(frozen=True, slots=True)
class Job:
    """A secured checkpoint, and what is to be said of it. No path: there is none to come."""

    path: str | None
    linked: Mapping[str, tuple[int, int]]
    metrics: Mapping[str, float]
    lineage: Mapping[str, Any]

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @property
    def secured(self) -> Secured:
        linked = {name: (size, moment) for name, (size, moment) in self.linked.items()}
        return Secured(Path(self.path or ""), linked)


def main(descriptor: int) -> None:
    """Add what comes over a socket until the training has no more, or is gone."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # there is some time before what follows it
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    queue = _Newest(Connection(descriptor))
    adder = _Adder(json.loads(queue.connection.recv_bytes()))
    queue.start()
    if problem := adder.prepare():
        queue.answer(path=None, problem=problem)
    for job in queue:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            said = adder.add(job)
        release(job.secured.folder)
        notes = [str(one.message) for one in caught if issubclass(one.category, MvcWarning)]
        queue.answer(path=job.path, notes=notes, **said)


class _Newest:
    """The jobs of a socket: one is taken, the newest waits, others are let go."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._changed = threading.Condition()
        self._answering = threading.Lock()
        self._waiting: Job | None = None
        self._ended = False

    def start(self) -> None:
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        try:
            while (job := Job(**json.loads(self.connection.recv_bytes()))).path is not None:
                # Soon, for a link is safe only until the trainer writes to the file.
                job = replace(job, linked=detach(job.secured).linked)
                with self._changed:
                    older, self._waiting = self._waiting, job
                    self._changed.notify()
                if older is not None:
                    release(older.secured.folder)
                    self.answer(path=older.path, dropped=True)
        except (EOFError, OSError):
            pass  # the training is gone
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def __iter__(self) -> Iterator[Job]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._waiting is not None)
                job, self._waiting = self._waiting, None
            if job is None:
                return
            yield job

    def answer(self, **said: Any) -> None:
        """Tell the training, if it is still there to hear it."""
        with contextlib.suppress(OSError), self._answering:
            self.connection.send_bytes(json.dumps(said).encode())


class _Adder:
    """Adds checkpoints to one family, each with the one before as its parent."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._family: str = told["family"]
        self._facts: Mapping[str, Any] = told["facts"]
        self._best: tuple[str, str] | None = told["best"] and tuple(told["best"])
        self._parents: list[str] = told["parents"]
        self._resumed: str | None = told["resumed"]
        self._cleared: set[Path] = set()
        self._registry = ModelRegistry(**told["registry"])
        environment.hold_code_state(Path.cwd())

    def prepare(self) -> str | None:
        """Return what will be in the way; better now than after the first night."""
        try:
            if place.exists(self._registry.folder):
                self._registry.presence.writable()
            self._parents = [parent_of(self._registry.manifest, ref).id for ref in self._parents]
            if self._resumed and not self._parents:
                self._parents = self._versions_of(Path(self._resumed))[-1:]
        except Exception as error:
            return plain.problem(error)
        return None

    def _versions_of(self, file: Path) -> list[str]:
        """Return the versions of the family that are a file, or have it, oldest first."""
        same = self._registry.describe(file).same_bytes or ()
        ids = [identity.partition(":")[0] for identity in same]
        own = f"{self._family}/".lower()
        return [identity for identity in ids if identity.lower().startswith(own)]

    def add(self, job: Job) -> dict[str, Any]:
        """Add a checkpoint, and say how it went."""
        beside = job.secured.folder.parent
        try:
            if beside not in self._cleared:
                self._cleared.add(beside)
                clear_abandoned(beside)
            added = self._tried(job.secured, job)
            self._parents = [added.id]
            if added.new and added.number == 1:
                self._say_what_is_best(added)
            return {"id": added.id, "new": added.new, "stored": added.stored}
        except Exception as error:  # whatever it is, the next one may go well
            return {"problem": plain.problem(error)}

    def _tried(self, secured: Secured, job: Job) -> Added:
        facts = {
            **self._facts,
            "lineage": {**job.lineage, **self._facts.get("lineage", {})},
            "parents": list(self._known_parents()),
            "if_changed": True,
        }
        tries = 0
        while True:
            secured.check_unchanged()
            tries += 1
            try:
                return self._registry.add(self._family, secured.path, job.metrics, **facts)
            except Conflict:
                if tries == TRIES:
                    raise

    def _known_parents(self) -> Iterator[str]:
        """Yield the parents that are there. No checkpoint is given up for its parent."""
        for ref in self._parents:
            try:
                yield parent_of(self._registry.manifest, ref).id
            except MvcError as error:
                warn(f"a version is added without its parent {ref}: {error.message}")

    def _say_what_is_best(self, added: Added) -> None:
        """Let ``best`` mean what the trainer goes by, in a family that is new."""
        if self._best and self._best[0] in added.metrics:
            rule, _ = self._registry.best(self._family)
            if rule is None or (rule.metric, rule.mode) != self._best:
                self._registry.best(self._family, *self._best)
