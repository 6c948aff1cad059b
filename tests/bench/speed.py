"""What mvc's commands take in time: beside ``cp`` + ``sync``, as whole processes.

Each case is run in turn with its yardstick, and medians are compared, so that
a disk or a machine that changes its speed changes both. Core-seconds are the
processor time of the process and its children. Nothing here is asserted.

Public names: ``Figure``, ``run``, ``table``.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MVC = [sys.executable, "-m", "mvc"]
ROUNDS = 5
START_UP = (["--version"], ["--help"], ["list"], ["show", "m@v1"], ["log"], ["status"])


@dataclass(frozen=True, slots=True)
class Figure:
    """A case: medians in seconds, core-seconds a GB, and the ratio to ``cp`` + ``sync``."""

    case: str
    seconds: float
    core_seconds_per_gb: float | None
    yardstick_seconds: float | None
    ratio: float | None


def run(folder: Path) -> list[Figure]:
    """Measure every case in ``folder``."""
    figures: list[Figure] = []
    for dtype, elements in (
        ("float32", 11_700_000),
        ("float32", 250_000_000),
        ("bfloat16", 500_000_000),
    ):
        size = write_model(folder / "model.safetensors", dtype, elements)
        label = f"{size / 1e6:.0f} MB {dtype}"
        figures += measure(folder, label, size)
    for arguments in START_UP:
        seconds, _ = median([lambda a=arguments: call([*MVC, *a], folder) for _ in range(ROUNDS)])  # type: ignore[misc]
        figures.append(Figure(f"mvc {' '.join(arguments)}", seconds, None, None, None))
    return figures


def table(figures: Sequence[Figure]) -> str:
    """Lay the figures out for people."""
    lines = [f"{'case':<28} {'mvc s':>8} {'core-s/GB':>10} {'cp+sync s':>10} {'cp+sync / mvc':>14}"]
    for figure in figures:
        cells = figure.core_seconds_per_gb, figure.yardstick_seconds, figure.ratio
        shown = ["" if cell is None else f"{cell:.2f}" for cell in cells]
        lines.append(
            f"{figure.case:<28} {figure.seconds:>8.3f} {shown[0]:>10} {shown[1]:>10} {shown[2]:>14}"
        )
    return "\n".join(lines)


def measure(folder: Path, label: str, size: int) -> list[Figure]:
    """Time add, add again and checkout of ``model.safetensors``, each beside ``cp`` + ``sync``."""

    def fresh() -> None:
        shutil.rmtree(folder / ".mvc", ignore_errors=True)
        call([*MVC, "init", "-q"], folder)

    def add() -> None:
        call([*MVC, "add", "m", "model.safetensors", "-q"], folder)

    def checkout() -> None:
        call([*MVC, "checkout", "m@latest", "-o", "back.safetensors", "-q"], folder)

    def remove() -> None:
        (folder / "back.safetensors").unlink(missing_ok=True)

    def copy() -> None:
        call(["sh", "-c", "cp model.safetensors copy && sync copy ."], folder)

    def uncopy() -> None:
        (folder / "copy").unlink(missing_ok=True)

    cases: Sequence[tuple[str, Callable[[], None], Callable[[], None]]] = (
        ("add", fresh, add),
        ("add again", lambda: None, add),
        ("checkout", remove, checkout),
    )
    return [side_by_side(f"{n}, {label}", size, b, w, uncopy, copy) for n, b, w in cases]


def side_by_side(
    case: str,
    size: int,
    before: Callable[[], None],
    work: Callable[[], None],
    before_yardstick: Callable[[], None],
    yardstick: Callable[[], None],
) -> Figure:
    """Run ``work`` and ``yardstick`` in turn, each after its preparation, and compare medians."""
    mine, theirs = [], []
    for _ in range(ROUNDS):
        before()
        os.sync()
        mine.append(timed(work))
        before_yardstick()
        os.sync()
        theirs.append(timed(yardstick)[0])
    seconds = statistics.median(wall for wall, _ in mine)
    cores = statistics.median(core for _, core in mine)
    other = statistics.median(theirs)
    return Figure(case, seconds, cores / (size / 1e9), other, other / seconds)


def median(calls: Sequence[Callable[[], None]]) -> tuple[float, float]:
    """Return the medians of wall and processor time of ``calls``."""
    times = [timed(each) for each in calls]
    return statistics.median(t[0] for t in times), statistics.median(t[1] for t in times)


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return the wall time and the processor time of child processes, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    work()
    wall = time.perf_counter() - start
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, now.ru_utime - used.ru_utime + now.ru_stime - used.ru_stime


def call(command: Sequence[str], folder: Path) -> None:
    """Run a command to its end; its output is thrown away."""
    subprocess.run(
        command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def write_model(path: Path, dtype: str, elements: int) -> int:
    """Write normal weights in twenty tensors as ``.safetensors``; return the size in bytes."""
    width = 4 if dtype == "float32" else 2
    each = elements // 20
    word = "F32" if dtype == "float32" else "BF16"
    header = {
        f"layers.{n}.weight": {
            "dtype": word,
            "shape": [each],
            "data_offsets": [n * each * width, (n + 1) * each * width],
        }
        for n in range(20)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(0)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in range(20):
            weights = random.standard_normal(each, dtype=np.float32) * np.float32(0.02)
            if width == 2:
                file.write((weights.view(np.uint32) >> 16).astype(np.uint16).tobytes())
            else:
                file.write(weights.tobytes())
    return path.stat().st_size
