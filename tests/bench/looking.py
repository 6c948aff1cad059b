"""What it costs to look whether bytes are there: versions of many tensors, each over another.

Processor time of whole processes, in turn with ``mvc list``, which looks for nothing.

Public names: ``Looked``, ``run``, ``table``.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from mvc import ModelRegistry

VERSIONS, TENSORS, ELEMENTS = 60, 101, 12_000
FAMILY = "net"
COMMANDS = (["list", FAMILY], ["log"], ["search", "acc > 0"], ["show", FAMILY], ["status"])
REPEATS = 9


@dataclass(frozen=True, slots=True)
class Looked:
    """Medians of one command: processor seconds, and their ratio to those of ``list``."""

    command: str
    processor: float
    ratio: float


def run(folder: Path) -> Iterator[Looked]:
    """Yield what each command costs in a folder with every version's file."""
    build(folder)
    for command in COMMANDS:
        pairs = [(_spent(folder, command), _spent(folder, ["list"])) for _ in range(REPEATS + 1)]
        spent = statistics.median(one for one, _ in pairs[1:])
        ratio = statistics.median(one / other for one, other in pairs[1:])
        yield Looked(" ".join(command), spent, ratio)


def build(folder: Path) -> None:
    """Make the versions: every element is another one than before, by a little."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    registry = ModelRegistry(folder)
    shape = TENSORS, ELEMENTS
    weights = chance.normal(0, 0.02, shape).astype("<f4")
    for number in range(VERSIONS):
        weights += chance.normal(0, 1e-6, shape).astype("<f4")
        file = folder / f"model{number}.safetensors"
        save_file({f"layers.{at}.weight": row for at, row in enumerate(weights)}, file)
        registry.add(FAMILY, file, {"acc": number + 1})


def _spent(folder: Path, command: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "mvc", "-C", str(folder), *command],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def table(found: Sequence[Looked]) -> str:
    """Write the figures as a table, a line a command."""
    rows = [f"| {VERSIONS} versions of {TENSORS} tensors | processor, ms | to list |"]
    rows.append("|---|---:|---:|")
    rows += [f"| {f.command} | {f.processor * 1000:.0f} | {f.ratio:.2f} |" for f in found]
    return "\n".join(rows)
