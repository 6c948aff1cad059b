"""Lightning: the callback for the ``Trainer`` of PyTorch Lightning.

``ModelCheckpoint`` saves and deletes; nobody is told after it saved. But it
always comes after the other callbacks, so that at each of their hooks its
last files are there, and those that it deletes next still are.

What it promises: ``docs/training.md``.
Public names: ``MvcCallback``.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError:
    try:
        from pytorch_lightning import Callback  # the same under its older name
    except ModuleNotFoundError:
        raise ImportError(
            "PyTorch Lightning is not installed: pip install 'mvc-registry[lightning]'"
        ) from None

from mvc.errors import UsageError
from mvc.registry import ModelRegistry
from mvc.registry.location.place import AnyPath
from mvc.training import plain
from mvc.training.recorder import WAIT, Checkpoint, LogModel, Options, Recorder, Summary

PATIENCE = 10.0
"""Seconds that the end of a training waits for a file that Lightning says it has saved."""


@dataclass
class _Seen:
    """What of a run was seen: files as they were, and when the training was last looked at."""

    files: dict[str, tuple[int, int, int] | None] = field(default_factory=dict)
    said: list[Any] = field(default_factory=list)
    awaited: dict[str, Checkpoint] = field(default_factory=dict)
    saved: dict[str, Checkpoint] = field(default_factory=dict)
    moment: dict[str, int] = field(default_factory=dict)
    step: int = -1
    last: str | None = None


class MvcCallback(Callback):  # type: ignore[misc]  # its library may be missing
    """Registers the checkpoints of a ``Trainer`` as versions of ``name``.

    Args:
        name: The family.
        registry: Its project folder, or a ``ModelRegistry``; found as ``ModelRegistry()`` does.
        log_model: ``"all"``: every checkpoint, as it is saved. ``True``: at the end, the
            best one if a metric is monitored, else the last. ``False``: none.
        wait: How many seconds the end of training waits at most.
        facts: What ``ModelRegistry.add`` takes, such as ``labels``, ``tags``, ``parents``.

    Raises:
        UsageError: A name or value is not allowed.
    """

    def __init__(
        self,
        name: str,
        registry: ModelRegistry | AnyPath | None = None,
        *,
        log_model: LogModel = True,
        wait: float = WAIT,
        **facts: Any,
    ) -> None:
        self._recorder = Recorder(Options(name, registry, log_model, wait, facts))
        self._seen = _Seen()

    @property
    def versions(self) -> tuple[str, ...]:
        """The ids of what was registered, of all runs of this callback."""
        return tuple(self._recorder.versions)

    @property
    def summary(self) -> Summary:
        """What became of the checkpoints of the last run."""
        return self._recorder.summary

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start what adds the checkpoints, on the first process of all."""
        if self._recorder.options.log_model is False or not trainer.is_global_zero:
            return
        with self._recorder.guarded():
            self._recorder.end()  # of a run that failed, which is looked at once more
            self._seen = _Seen()
            self._recorder.begin(
                {**getattr(trainer.datamodule, "hparams", {}), **pl_module.hparams},
                _best(trainer),
                _file(trainer.ckpt_path),
                partial(self._look, trainer),
                architecture=type(pl_module).__name__,
            )
            self._seen.said = _said(trainer)
            for path in _named(trainer):  # a training that is resumed has some already
                self._seen.files[path] = _stamp(path)
            for one in trainer.checkpoint_callbacks:
                if "://" in str(getattr(one, "dirpath", "")):
                    raise UsageError(
                        f"checkpoints in '{one.dirpath}' are on no disk of this machine"
                    )

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        """Look for new checkpoints."""
        self._look(trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        """Look for new checkpoints."""
        self._look(trainer)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Look for new checkpoints."""
        self._look(trainer)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Look for new checkpoints."""
        self._look(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Look for new checkpoints."""
        self._look(trainer, closely=True)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Look for new checkpoints."""
        self._look(trainer, closely=True)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Secure what there is; what is saved because of the exception is seen at the end."""
        self._look(trainer, closely=True)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Wait for what is being added, and tell what became of it."""
        if stage != "fit" or not self._recorder.is_open:
            return
        chosen = None
        with self._recorder.guarded():
            self._look(trainer, closely=True)
            until = time.monotonic() + PATIENCE
            while self._seen.awaited and time.monotonic() < until:
                time.sleep(0.02)
                self._look(trainer)
            chosen = self._chosen(trainer)
        self._recorder.end(chosen)
        self._seen = _Seen()

    def _chosen(self, trainer: Any) -> Checkpoint | None:
        """Return the best checkpoint of a run, or the last one, if it is still there."""
        seen = self._seen
        monitored = _best(trainer) is not None
        best = getattr(trainer.checkpoint_callback, "best_model_path", "") if monitored else ""
        paths = [os.path.realpath(best) if best else None, seen.last]
        return next((seen.saved[p] for p in paths if p in seen.saved and os.path.exists(p)), None)

    def _look(self, trainer: Any, closely: bool = False) -> None:
        """Find what was saved since the last look, at the moment that was noted then.

        Unless ``closely``, files are asked for only where ``ModelCheckpoint`` says
        something else than before.
        """
        if not self._recorder.is_open:
            return
        with self._recorder.guarded():
            said = _said(trainer)
            if closely or said != self._seen.said or self._seen.awaited:
                self._seen.said = said
                self._find(trainer)
            self._seen.moment = {"step": trainer.global_step, "epoch": trainer.current_epoch}

    def _find(self, trainer: Any) -> None:
        seen, best = self._seen, _best(trainer)
        for path, score in _named(trainer).items():
            stamp = _stamp(path)
            if path in seen.files and stamp in (seen.files[path], None):
                continue
            values = dict(trainer.callback_metrics)
            if best is not None and score is not None:
                values[best[0]] = score
            metrics = plain.metrics(values, best[0] if best else None)
            found = Checkpoint(path, metrics, dict(seen.moment))
            if stamp is None:  # it is being written while the training goes on
                seen.awaited.setdefault(path, found)
            else:
                seen.files[path] = stamp
                self._take(seen.awaited.pop(path, found))

    def _take(self, found: Checkpoint) -> None:
        """Have a checkpoint added, unless another file of the same step was."""
        seen, step = self._seen, found.lineage.get("step", 0)
        seen.saved[found.path], seen.last = found, found.path
        if self._recorder.options.log_model == "all" and step != seen.step:
            self._recorder.save(found)
            seen.step = step


def _file(path: Any) -> str | None:
    return str(path) if path and os.path.isfile(path) else None


def _best(trainer: Any) -> tuple[str, str] | None:
    """Return what is monitored, and whether less or more of it is better."""
    first = trainer.checkpoint_callback
    monitor = getattr(first, "monitor", None)
    return (monitor, first.mode) if monitor else None


def _said(trainer: Any) -> list[Any]:
    """Return what changes in a ``ModelCheckpoint`` when it saves."""
    names = (
        "best_model_path", "last_model_path", "_last_checkpoint_saved", "_last_global_step_saved",
    )  # fmt: skip
    return [
        [*(getattr(one, name, None) for name in names), len(getattr(one, "best_k_models", ()))]
        for one in trainer.checkpoint_callbacks
    ]


def _named(trainer: Any) -> dict[str, Any]:
    """Return the checkpoints that were saved, links followed, and the scores of those with one.

    They are on disks of this machine, or seem to be.
    """
    found: dict[str, Any] = {}
    for one in trainer.checkpoint_callbacks:
        paths = dict(getattr(one, "best_k_models", {}))
        for name in ("best_model_path", "_last_checkpoint_saved", "last_model_path"):
            paths.setdefault(getattr(one, name, ""), None)
        for path, score in paths.items():
            if path and "://" not in path:
                found.setdefault(os.path.realpath(path), score)
    return found


def _stamp(path: str) -> tuple[int, int, int] | None:
    """Return what tells one writing of a file from another; ``None`` if it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
