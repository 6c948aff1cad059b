"""Transformers: the callback for the ``Trainer`` of Hugging Face.

What it promises: ``docs/training.md``.
Public names: ``MvcCallback``.
"""

from __future__ import annotations

import os
import time
from dataclasses import MISSING, fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

try:
    from transformers import TrainerCallback
except ModuleNotFoundError:
    raise ImportError(
        "transformers is not installed: pip install 'mvc-registry[transformers]'"
    ) from None

from mvc.registry import ModelRegistry
from mvc.registry.location.place import AnyPath
from mvc.training import plain
from mvc.training.recorder import WAIT, Checkpoint, LogModel, Options, Recorder, Summary

PATIENCE = 1.0
"""Seconds that other processes are given to write what a training is resumed from."""

# What training is resumed from, and no model needs.
_STATE = (
    "optimizer*", "scheduler.pt", "scaler.pt", "rng_state*.pth", "trainer_state.json",
    "training_args.bin", "global_step*", "latest", "zero_to_fp32.py",
)  # fmt: skip
# What is worth a line also where it is left as it is.
_ALWAYS = frozenset(
    "learning_rate num_train_epochs max_steps per_device_train_batch_size "
    "gradient_accumulation_steps weight_decay lr_scheduler_type optim seed".split()
)
# Of this machine, or of what is saved, measured and told when: not of the model.
_NEVER = (
    "accelerator_config", "dataloader_", "debug", "ddp_", "disable_tqdm", "do_", "eval_",
    "greater_is_better", "hub_", "load_best", "local_rank", "logging_", "metric_for", "output_dir",
    "prediction_loss_only", "push_to_hub", "report_to", "resume_from", "run_name", "save_",
    "skip_memory", "use_cpu",
)  # fmt: skip
# Of the machine, or of the schedule.
_NO_METRIC = (
    "_runtime", "_per_second", "_preparation_time", "total_flos", "learning_rate", "grad_norm",
)  # fmt: skip


class MvcCallback(TrainerCallback):  # type: ignore[misc]  # its library may be missing
    """Registers the checkpoints of a ``Trainer`` as versions of ``name``.

    Args:
        name: The family.
        registry: Its project folder, or a ``ModelRegistry``; found as ``ModelRegistry()`` does.
        log_model: ``"all"``: every checkpoint, as it is saved. ``True``: at the end, the
            best one if the trainer knows which that is, else the last. ``False``: none.
        training_state: Whether optimizer, schedule and random states are taken
            too, from which the training can be resumed.
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
        training_state: bool = False,
        wait: float = WAIT,
        **facts: Any,
    ) -> None:
        self._recorder = Recorder(Options(name, registry, log_model, wait, facts))
        self._training_state = training_state
        self._last: Path | None = None

    @property
    def versions(self) -> tuple[str, ...]:
        """The ids of what was registered, of all runs of this callback."""
        return tuple(self._recorder.versions)

    @property
    def summary(self) -> Summary:
        """What became of the checkpoints of the last run."""
        return self._recorder.summary

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Start what adds the checkpoints, on the first process of all."""
        if self._recorder.options.log_model is False or not state.is_world_process_zero:
            return
        with self._recorder.guarded():
            self._last = None
            best = _best(args)
            resumed = self._weights(_saved(Path(args.output_dir), state))
            self._recorder.begin(
                _params(args), best, resumed, architecture=_called(rest.get("model"))
            )

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Secure the checkpoint that was just saved."""
        if not self._recorder.is_open:
            return
        with self._recorder.guarded():
            self._last = _saved(Path(args.output_dir), state)
            if self._training_state and args.world_size > 1:
                _wait_for_others(self._last, args.world_size)
            if self._recorder.options.log_model == "all":
                self._recorder.save(self._checkpoint(self._last, args, state))

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Wait for what is being added, and tell what became of it."""
        if not self._recorder.is_open:
            return
        chosen = None
        with self._recorder.guarded():
            best = state.best_model_checkpoint
            last = Path(best) if best and Path(best).is_dir() else self._last
            chosen = None if last is None else self._checkpoint(last, args, state)
        self._recorder.end(chosen)

    def _checkpoint(self, path: Path, args: Any, state: Any) -> Checkpoint:
        step = int(path.name.rpartition("-")[2])
        logged = _logged(state.log_history, step)
        epoch = logged.pop("epoch", None)
        lineage = {"step": step, "epoch": state.epoch if epoch is None else epoch}
        best = _best(args)
        metrics = plain.metrics(logged, best[0] if best else None)
        # What is pushed to the Hub is all that is in this folder.
        beside = Path(os.path.abspath(args.output_dir)) if args.push_to_hub else None
        return Checkpoint(os.fspath(path), metrics, lineage, self._leave_out, beside)

    def _weights(self, folder: Path) -> Path | None:
        """Return the largest file of a checkpoint's model, if there is such a folder."""
        if not folder.is_dir():
            return None
        files = [path for path in folder.iterdir() if path.is_file() and not _is_state(path.name)]
        return max(files, key=lambda path: path.stat().st_size, default=None)

    def _leave_out(self, path: str) -> bool:
        return not self._training_state and _is_state(path)


def _is_state(path: str) -> bool:
    return any(fnmatch(path, glob) for glob in _STATE)


def _saved(folder: Path, state: Any) -> Path:
    """Return the folder of the newest checkpoint; in a search each trial has one of its own."""
    name = f"checkpoint-{state.global_step}"
    found = [folder / name, *folder.glob(f"run-*/{name}")]
    there = [path for path in found if path.is_dir()]
    return max(there, key=lambda path: path.stat().st_mtime) if there else folder / name


def _wait_for_others(folder: Path, processes: int) -> None:
    """Wait shortly until every process has written its random states: no barrier sees to it."""
    until = time.monotonic() + PATIENCE
    files = [folder / f"rng_state_{number}.pth" for number in range(processes)]
    while not all(is_zipfile(file) for file in files) and time.monotonic() < until:
        time.sleep(0.005)


def _best(args: Any) -> tuple[str, str] | None:
    """Return by what the trainer tells which checkpoint is best, as it is called in its logs."""
    metric = args.metric_for_best_model
    if not metric:
        return None
    name = metric if metric.startswith("eval_") else f"eval_{metric}"
    return name, "max" if args.greater_is_better else "min"


def _logged(history: list[dict[str, Any]], step: int) -> dict[str, Any]:
    """Return what was measured of the model at ``step``, its epoch, and the last loss before."""
    found: dict[str, Any] = {}
    for entry in reversed(history):
        at = entry.get("step", 0)
        if at == step:
            found = {**entry, **found}
        elif at < step and not any(name.startswith("eval_") for name in entry):
            found = {**entry, **found, "epoch": found.get("epoch")}
            break
    found.pop("step", None)
    return {name: value for name, value in found.items() if not name.endswith(_NO_METRIC)}


def _params(args: Any) -> dict[str, Any]:
    """Return the arguments that were chosen, and those that everybody asks for."""
    known = args.to_dict()
    chosen = {}
    for one in fields(args):
        if one.name not in known or one.name.startswith(_NEVER):
            continue
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if one.name in _ALWAYS or getattr(args, one.name) != default:
            chosen[one.name] = known[one.name]
    return chosen


def _called(model: Any) -> str:
    named = getattr(getattr(model, "config", None), "architectures", None)
    return str(named[0]) if named else type(model).__name__
