"""Recorder: what the callbacks share: the checkpoints of a run, and what became of them.

A checkpoint is secured while its trainer waits, which takes no reading, and
given to a process that adds it. Whatever goes wrong is said once, and never
reaches the trainer.

Public names: ``Recorder``, ``Options``, ``Summary``, ``LogModel``, ``WAIT``.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from mvc.errors import UsageError
from mvc.registry import ModelRegistry, refs
from mvc.registry.intake.intake import Facts
from mvc.registry.location import place
from mvc.registry.location.place import AnyPath
from mvc.registry.names import check_family, several
from mvc.training import plain
from mvc.training.secured import secure
from mvc.training.worker import Worker

LogModel: TypeAlias = 'bool | Literal["all"]'

WAIT = 600.0
"""Seconds that the end of a run waits at most, unless told otherwise, for what is being added."""

SILENCE = 3.0
"""Seconds of waiting after which it is said that there is some."""

# What ``add`` takes, without what a callback finds out itself.
_FACTS = frozenset(
    "params lineage parents framework architecture input_shape labels message tags "
    "refuse_code require".split()
)
_log = logging.getLogger("mvc.training")


@dataclass(frozen=True)
class Options:
    """What the user of a callback chose, checked when made.

    Raises:
        UsageError: A name or value is not allowed.
    """

    family: str
    registry: ModelRegistry | AnyPath | None
    log_model: LogModel
    wait: float
    facts: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_family(self.family)
        if self.log_model not in (True, False, "all"):
            raise UsageError(f"log_model is {self.log_model!r}", hint='it is True, False or "all"')
        if unknown := sorted(self.facts.keys() - _FACTS):
            raise UsageError(
                f"'{unknown[0]}' is nothing that this callback takes",
                hint=f"beside its own: {', '.join(sorted(_FACTS))}",
            )
        tags = several(self.facts.get("tags", ()))
        Facts(**{**self.facts, "parents": self.parents, "tags": tags})

    @property
    def parents(self) -> tuple[str, ...]:
        """The refs of the parents as text, which another process can be told."""
        return tuple(refs.parse(ref).text for ref in several(self.facts.get("parents", ())))

    @property
    def opened(self) -> dict[str, Any]:
        """What another process opens the same registry by, found as ``ModelRegistry`` finds it."""
        given = self.registry
        registry = given if isinstance(given, ModelRegistry) else ModelRegistry(given)
        store = registry._named_store  # which MVC_STORE may have been until now
        return {
            "path": os.fspath(registry.folder),
            "store": None if store is None else os.fspath(store),
            "create": registry._create,
        }


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a trainer saved, and what is to be said of it.

    ``leave_out`` tells of a path in it that it is not wanted; ``beside`` is
    what its second name is to lie beside, if not the checkpoint itself.
    """

    path: str
    metrics: Mapping[str, float]
    lineage: Mapping[str, Any]
    leave_out: Callable[[str], bool] = lambda path: False
    beside: Path | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of the checkpoints of a run, and in which registry.

    ``same`` equalled the version before them, ``passed_over`` waited until a
    newer one came, ``failed`` were not added, and ``problem`` says why the
    first was not; of ``unfinished`` nothing was heard in time.
    """

    family: str
    versions: tuple[str, ...] = ()
    stored: int = 0
    same: int = 0
    passed_over: int = 0
    failed: int = 0
    unfinished: int = 0
    problem: str | None = None
    registry: str | None = None

    def __str__(self) -> str:
        words = [f"no version of {self.family} registered"]
        if self.versions:
            count, ids = len(self.versions), self.versions
            names = ids[0] if count == 1 else f"{ids[0]} to {ids[-1]}"
            words = [f"{count} version{'s' * (count > 1)} registered, {names}"]
            words += [f"in {self.registry}"] * bool(self.registry)
            words.append(f"{self.stored:,} bytes stored")
        words += [f"{self.same} the same as the one before"] * bool(self.same)
        words += [f"{self.passed_over} passed over for newer ones"] * bool(self.passed_over)
        words += [f"{self.unfinished} still being added"] * bool(self.unfinished)
        words += [f"{self.failed} failed"] * bool(self.failed)
        words += [f"the first problem: {self.problem}"] * bool(self.problem)
        if len(words) == 1 and not self.versions:
            words.append("no checkpoint was saved")
        return "; ".join(words)


@dataclass
class Recorder:
    """The checkpoints of the runs of one callback, in the one process that registers.

    Copies may be made of it, and sent to other processes, until a run begins.
    ``versions`` are those of all its runs, ``summary`` is of the last one.
    """

    options: Options
    versions: list[str] = field(default_factory=list)
    summary: Summary = field(init=False)
    _worker: Worker | None = None
    _told: dict[str, Any] = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)
    _last_look: Callable[[], None] | None = None
    _saved: dict[str, str] = field(default_factory=dict)
    _passed_over: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.summary = Summary(self.options.family)

    @property
    def is_open(self) -> bool:
        """Say whether a run is under way, in this process."""
        return bool(self._told)

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Let nothing that goes wrong within reach the training."""
        try:
            yield
        except Exception as error:
            self._failed(plain.problem(error))

    def begin(
        self,
        params: Mapping[str, Any],
        best: tuple[str, str] | None,
        resumed: AnyPath | None = None,
        last_look: Callable[[], None] | None = None,
        **model: str,
    ) -> None:
        """Begin a run; one that is open is ended first.

        Args:
            best: The metric that the trainer goes by, and ``min`` or ``max``.
            resumed: The file that the training goes on from, which may be a version.
            last_look: Called before the run is ended, to find what was saved since.
            model: What is known of the model, where the user did not say it.
        """
        self.end()
        _be_seen()
        opened = self.options.opened
        self.summary = Summary(self.options.family, registry=opened["path"])
        self._said, self._saved, self._passed_over = set(), {}, set()
        if self.options.registry is None and not place.exists(Path(opened["path"])):
            _log.warning("mvc: no registry here or above, so one is made: %s", opened["path"])
        facts = {**model, **self.options.facts}
        facts.pop("parents", None)
        facts["params"] = {**plain.params(params), **plain.params(facts.get("params", {}))}
        self._told = {
            "family": self.options.family,
            "registry": opened,
            "facts": facts,
            "best": best,
            "parents": self.versions[-1:] or self.options.parents,
            "resumed": None if resumed is None else os.path.abspath(resumed),
        }
        self._last_look = last_look
        atexit.register(self.end)
        self._worker = Worker(self._told)

    def save(self, checkpoint: Checkpoint) -> None:
        """Have a checkpoint added. When this returns the trainer may delete it."""
        if self.is_open:
            try:
                self._give(checkpoint)
            except Exception as error:
                self._failed(plain.problem(error), of=checkpoint.path)

    def _give(self, checkpoint: Checkpoint) -> None:
        self._hear()
        if self._worker is None or not self._worker.is_alive():
            self._worker = Worker(
                {**self._told, "parents": self.versions[-1:] or self._told["parents"]}
            )
        path, owner = Path(checkpoint.path), self._worker.pid
        secured = secure(path, owner, checkpoint.leave_out, checkpoint.beside)
        self._saved[os.fspath(secured.path)] = checkpoint.path
        self._worker.give(secured, checkpoint.metrics, checkpoint.lineage)

    def end(self, chosen: Checkpoint | None = None) -> None:
        """End the run: wait for what is being added, and say what became of it all.

        Args:
            chosen: The best checkpoint, or the last: the one to be added if not
                all are, and to be added after all if it was passed over.
        """
        worker = self._worker
        if self.is_open and (worker is None or worker.is_ours):
            with self.guarded():
                self._end(chosen)

    def _end(self, chosen: Checkpoint | None) -> None:
        atexit.unregister(self.end)
        until = time.monotonic() + self.options.wait
        with self.guarded():
            if self._last_look is not None:
                self._last_look()
            if chosen is not None and self._is_wanted(chosen, until):
                self.save(chosen)
        self._told, self._last_look = {}, None
        if self._worker is not None:
            self._worker.end()
            self._wait(until)
            self.summary = replace(self.summary, unfinished=self._worker.unanswered)
            self._worker.leave()
            self._worker = None
        _log.info("mvc: %s", self.summary)

    def _is_wanted(self, chosen: Checkpoint, until: float) -> bool:
        """Say whether a checkpoint is still to be added when the training has ended."""
        if self.options.log_model != "all":
            return True
        self._wait(until)
        if chosen.path not in self._passed_over:
            return False
        self.summary = replace(self.summary, passed_over=self.summary.passed_over - 1)
        return True

    def _wait(self, until: float) -> None:
        """Hear of all that was given; say that this takes time, if it does."""
        if self._worker is None:
            return
        left = until - time.monotonic()
        for seconds in (min(left, SILENCE), left - SILENCE):
            for said in self._worker.answers(seconds):
                self._note(said)
            if self._worker.unanswered and left > SILENCE == seconds:
                count = self._worker.unanswered
                _log.info("mvc: %d still to be added, for which %.0f s are waited", count, left)

    def _hear(self) -> None:
        if self._worker is not None:
            for said in self._worker.answers():
                self._note(said)

    def _note(self, said: Mapping[str, Any]) -> None:
        """Take account of an answer."""
        known, second = self.summary, str(said["path"])
        path = self._saved.pop(second, second)  # the trainer's own name of it
        if "problem" in said:
            self._failed(said["problem"].replace(second, path), of=said["path"])
        elif said.get("dropped"):
            self._passed_over.add(path)
            self.summary = replace(known, passed_over=known.passed_over + 1)
        elif not said["new"]:
            self.summary = replace(known, same=known.same + 1)
        else:
            self.versions.append(said["id"])
            self.summary = replace(
                known,
                versions=(*known.versions, said["id"]),
                stored=known.stored + said["stored"],
            )
        for note in (note.replace(second, path) for note in said.get("notes", ())):
            if note not in self._said:
                self._said.add(note)
                _log.warning("mvc: %s", note)

    def _failed(self, problem: str, of: str | None = None) -> None:
        """Count a checkpoint that was not added, if it is ``of`` one, and say why, of the first."""
        known = self.summary
        if known.problem is None:
            _log.warning("mvc: %s; the training goes on", problem)
        failed = known.failed + (of is not None)
        self.summary = replace(known, failed=failed, problem=known.problem or problem)


def _be_seen() -> None:
    """Have the summary shown also where nobody set up logging."""
    if _log.level == logging.NOTSET:
        _log.setLevel(logging.INFO)
    if not _log.hasHandlers():
        _log.addHandler(logging.StreamHandler())
