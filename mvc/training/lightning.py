"""Lightning: the callback for the ``Trainer`` of PyTorch Lightning.

``ModelCheckpoint`` saves and deletes; nobody is told after it saved. But it
always comes after the other callbacks, so that at each of their hooks its
last files are there, and those that it deletes next still are.

What it promises: ``docs/training.md``.
Public names: ``MvcCallback``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
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

from mvc.registry import ModelRegistry
from mvc.registry.location.place import AnyPath
from mvc.training import plain
from mvc.training.recorder import WAIT, LogModel, Options, Recorder, Summary


@dataclass(frozen=True, slots=True)
class _Saved:
    """A checkpoint as it was found: where, and what was known of the training then."""

    path: str
    metrics: dict[str, float]
    lineage: dict[str, int]


@dataclass
class _Seen:
    """What of a run was seen: files as they were, and when the training was last looked at."""

    files: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    said: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    saved: dict[str, _Saved] = field(default_factory=dict)
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
            for found in _files(trainer):  # a training that is resumed has some already
                self._seen.files[found] = _stamp(found)

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
        with self._recorder.guarded():
            self._look(trainer, closely=True)
            chosen = self._chosen(trainer)
            if chosen is not None and self._recorder.options.log_model is True:
                self._recorder.save(chosen.path, chosen.metrics, chosen.lineage)
        with self._recorder.guarded():
            self._recorder.end()
        self._seen = _Seen()

    def _chosen(self, trainer: Any) -> _Saved | None:
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
            said = {id(one): _says(one) for one in trainer.checkpoint_callbacks}
            if closely or said != self._seen.said:
                self._seen.said = said
                self._find(trainer)
            self._seen.moment = {"step": trainer.global_step, "epoch": trainer.current_epoch}

    def _find(self, trainer: Any) -> None:
        for path, score in _files(trainer).items():
            stamp = _stamp(path)
            if self._seen.files.get(path) == stamp:
                continue
            self._seen.files[path] = stamp
            best = _best(trainer)
            values = dict(trainer.callback_metrics)
            if best is not None and score is not None:
                values[best[0]] = score
            metrics = plain.metrics(values, best[0] if best else None)
            saved = _Saved(path, metrics, dict(self._seen.moment))
            self._seen.saved[path], self._seen.last = saved, path
            # Files of one step, as the best and the last, are one checkpoint.
            new = self._seen.moment.get("step", 0) != self._seen.step
            if new and self._recorder.options.log_model == "all":
                self._recorder.save(saved.path, saved.metrics, saved.lineage)
                self._seen.step = self._seen.moment.get("step", 0)


def _file(path: Any) -> str | None:
    return str(path) if path and os.path.isfile(path) else None


def _best(trainer: Any) -> tuple[str, str] | None:
    """Return what is monitored, and whether less or more of it is better."""
    first = trainer.checkpoint_callback
    monitor = getattr(first, "monitor", None)
    return (monitor, first.mode) if monitor else None


def _says(one: Any) -> tuple[Any, ...]:
    """Return what changes in a ``ModelCheckpoint`` when it saves."""
    names = ("best_model_path", "last_model_path", "_last_checkpoint_saved")
    return (
        *(getattr(one, name, None) for name in names),
        getattr(one, "_last_global_step_saved", None),
        len(getattr(one, "best_k_models", ())),
    )


def _files(trainer: Any) -> dict[str, Any]:
    """Return the checkpoints there are, links followed, and the score of each that has one."""
    found: dict[str, Any] = {}
    for one in trainer.checkpoint_callbacks:
        for path, score in _named(one):
            real = os.path.realpath(path) if path else ""
            if path and os.path.exists(real):
                found.setdefault(real, score)
    return found


def _named(one: Any) -> Iterator[tuple[str, Any]]:
    yield from getattr(one, "best_k_models", {}).items()
    for name in ("best_model_path", "_last_checkpoint_saved", "last_model_path"):
        yield getattr(one, name, ""), None


def _stamp(path: str) -> tuple[int, int, int]:
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns
