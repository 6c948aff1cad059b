"""Command lines run in this process, and small model files to run them on."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from mvc.cli.app import run
from tests.support import schemas

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """What a command line left: its exit status and both streams."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def last(self) -> str:
        return self.out.splitlines()[-1]


def mvc(*arguments: str) -> Outcome:
    """Run one command line in this process; what it prints as JSON must follow its schema."""
    out, err = io.StringIO(), io.StringIO()
    here = Path.cwd()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            status = run(arguments)
    finally:
        os.chdir(here)  # -C changes it
    schemas.check(arguments, out.getvalue(), err.getvalue())
    return Outcome(status, out.getvalue(), err.getvalue())


def process(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run one command line as a process of its own, its output buffered as users have it."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-m", "mvc", *arguments],
        env={**inherited, "PYTHONPATH": str(ROOT), **(environment or {})},
        text=True,
        check=False,
        timeout=60,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def write_model(path: Path, seed: int = 1, *, bias: float = 0.0) -> Path:
    """Write a model of 100 kB; ``bias`` changes one of its two tensors."""
    numbers = random.Random(seed)
    weights = [numbers.gauss(0, 0.02) for _ in range(25_000)]
    tensors = {
        "fc.bias": np.full(100, bias, dtype="float32"),
        "fc.weight": np.array(weights, dtype="float32").reshape(100, 250),
    }
    save_file(tensors, path)
    return path
