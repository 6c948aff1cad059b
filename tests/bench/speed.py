"""What mvc's commands take in time and memory: beside ``cp`` + ``sync``, as whole processes.

Each case is run in turn with its yardstick, and medians are compared, so that
a disk or a machine that changes its speed changes both. Core-seconds are the
processor time of the process and its children. With ``--folder`` in a file
system of memory, no disk counts. Nothing here is asserted.

Public names: ``Figure``, ``run``, ``table``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tests.bench import peers

MVC = [sys.executable, "-m", "mvc"]
ROUNDS = 5
MOST_FOR_ALL = 1_000_000_000
TENSORS = 20
START_UP = (["--version"], ["--help"], ["list"], ["show", "m@v1"], ["log"], ["status"])
COPY = ["sh", "-c", "cp -r model copy && sync copy $(find copy)"]
MODELS = (
    ("45 MB fp32", 4, 45_000_000),
    ("1 GB fp32", 4, 1_000_000_000),
    ("1 GB bf16", 2, 1_000_000_000),
    ("4 GB fp32", 4, 4_000_000_000),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process took: seconds, processor seconds, and at most so many bytes of memory."""

    seconds: float
    cores: float
    memory: int


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians of a case, and of its yardstick where it has one; ``size`` are the plain bytes."""

    case: str
    size: int
    mvc: Usage
    yardstick: str = ""
    other: Usage | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A command with what is done before each run, and what it is compared with.

    ``cold`` has both read the packs from the disk, as if long not used.
    """

    name: str
    command: Sequence[str]
    before: Callable[[], None] = lambda: None
    yardstick: str = ""
    other: Sequence[str] = ()
    cold: bool = False


def run(folder: Path, *, with_peers: bool) -> Iterator[Figure]:
    """Measure every case in ``folder``, which gets up to 16 GB."""
    for label, width, size in MODELS:
        yield from _model(folder / "work", label, width, size, with_peers=with_peers)
    yield from _folder(folder / "work")
    work = _fresh(folder / "work")
    write_model(work / "model", 4, 1_000_000)
    call([*MVC, "init", "-q"], work)
    call([*MVC, "add", "m", "model", "-q"], work)
    for arguments in START_UP:
        yield _measured(work, Case(f"mvc {' '.join(arguments)}", [*MVC, *arguments]), 0)


def table(figures: Sequence[Figure]) -> str:
    """Lay the figures out as a table in Markdown."""
    lines = [
        "| case | mvc s | core-s/GB | peak MB | beside | its s | its core-s/GB | ratio |",
        "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for figure in figures:
        mine, other, size = figure.mvc, figure.other, figure.size / 1e9
        cells = [figure.case, f"{mine.seconds:.3f}"]
        cells += [f"{mine.cores / size:.2f}" if size else "", f"{mine.memory / 1e6:.0f}"]
        if other:
            cells += [figure.yardstick, f"{other.seconds:.3f}", f"{other.cores / size:.2f}"]
            cells += [f"{other.seconds / mine.seconds:.2f}"]
        lines.append(f"| {' | '.join(cells + [''] * (8 - len(cells)))} |")
    return "\n".join(lines)


def write_model(path: Path, width: int, size: int, drift: float = 0.0) -> None:
    """Write normal weights in fp32 or bf16 as ``.safetensors``; ``drift`` is added noise."""
    count = size // width // TENSORS
    header = {
        f"layers.{n}.weight": {
            "dtype": {4: "F32", 2: "BF16"}[width],
            "shape": [count],
            "data_offsets": [n * count * width, (n + 1) * count * width],
        }
        for n in range(TENSORS)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random, noise = np.random.default_rng(0), np.random.default_rng(1)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in range(TENSORS):
            weights = random.standard_normal(count, dtype=np.float32) * np.float32(0.02)
            if drift:
                weights *= 1 + np.float32(drift) * noise.standard_normal(count, dtype=np.float32)
            bits = weights.view(np.uint32)
            file.write(bits.tobytes() if width == 4 else (bits >> 16).astype(np.uint16).tobytes())


def call(command: Sequence[str], folder: Path) -> Usage:
    """Run a command to its end and return what it took; its output is read by nobody."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        said.seek(0)
        problem = said.read()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=problem)
    return Usage(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss << 10)


def _model(work: Path, label: str, width: int, size: int, *, with_peers: bool) -> Iterator[Figure]:
    """A model, and unless it is huge the next version of it, which is kept over it."""
    _fresh(work)
    _write(work / "model", width, size)
    if size <= MOST_FOR_ALL:
        _write(work / "next", width, size, drift=1e-3)

    registry, gone = partial(_registry, work), partial(_gone, work)

    def withdrawn() -> None:
        registry("model", "next")
        call([*MVC, "rm", "m@v2", "-q"], work)

    def copied(name: str, arguments: str, before: Callable[[], None]) -> Case:
        return _copied(f"{name}, {label}", arguments, before)

    def read(name: str, arguments: str) -> Case:
        cat = ["sh", "-c", "cat .mvc/store/packs/* >/dev/null"]
        command = [*MVC, *arguments.split()]
        return Case(f"{name}, {label}", command, yardstick="cat packs", other=cat, cold=True)

    cases = [
        copied("add", "add m model", registry),
        copied("add the same", "add m model", partial(gone, ".mvc/cache")),
        copied("checkout", "checkout m@v1 -o back", partial(gone, "back")),
    ]
    if size <= MOST_FOR_ALL:
        cases += [
            copied("add a delta", "add m next", partial(registry, "model")),
            copied("checkout a delta", "checkout m@v2 -o back", partial(gone, "back")),
            Case(f"path, {label}", [*MVC, "path", "m@v1"], partial(gone, ".mvc/cache")),
            Case(f"path again, {label}", [*MVC, "path", "m@v1"]),
            read("fsck --quick", "fsck --quick"),
            read("fsck", "fsck"),
            read("fsck --full", "fsck --full"),
            Case(f"gc, {label}", [*MVC, "gc", "--grace", "0", "-q"], withdrawn),
        ]
    if size >= MOST_FOR_ALL:  # by now it was left alone long enough to be known again
        cases.append(copied("add what did not change", "add m model", lambda: None))
    for case in cases:
        yield _measured(work, case, size)
    if with_peers and size == MOST_FOR_ALL:
        yield from _peers(work, label, size)


def _peers(work: Path, label: str, size: int) -> Iterator[Figure]:
    """What other tools take to save the same file; each ends with ``sync``, as ``add`` does."""
    for peer in peers.found():
        taken = []
        for _ in range(3):
            place = _fresh(work / "peer")
            taken.append(peers.time_save(peer, work / "model", place, call))
        yield Figure(f"{peer.name}: save, {label}", size, _median(taken))
    shutil.rmtree(work / "peer", ignore_errors=True)


def _folder(work: Path) -> Iterator[Figure]:
    """A folder of many files, as a sharded or exported model is."""
    _fresh(work)
    (work / "model").mkdir()
    for number in range(200):
        write_model(work / "model" / f"part-{number:03}", 4, 100_000 * (1 + number % 10))
    size = peers.size_of(work / "model")
    label = "a folder of 200 files"
    add = _copied(f"add, {label}", "add m model", partial(_registry, work))
    back = _copied(f"checkout, {label}", "checkout m -o back", partial(_gone, work, "back"))
    yield from (_measured(work, case, size) for case in (add, back))


def _copied(name: str, arguments: str, before: Callable[[], None]) -> Case:
    return Case(name, [*MVC, *arguments.split(), "-q"], before, "cp + sync", COPY)


def _registry(work: Path, *versions: str) -> None:
    """Make the registry anew, with these versions."""
    _gone(work, ".mvc")
    call([*MVC, "init", "-q"], work)
    for version in versions:
        call([*MVC, "add", "m", version, "-q"], work)


def _gone(work: Path, name: str) -> None:
    """Remove a file or folder, if it is there."""
    shutil.rmtree(work / name, ignore_errors=True)
    (work / name).unlink(missing_ok=True)


def _measured(work: Path, case: Case, size: int) -> Figure:
    """Run a case and its yardstick in turn; the first round only warms memory up."""
    mine, others = [], []
    for _ in range(1 + ROUNDS):
        case.before()
        os.sync()
        _cool(work, case)
        mine.append(call(case.command, work))
        if case.other:
            _gone(work, "copy")
            os.sync()
            _cool(work, case)
            others.append(call(case.other, work))
    other = _median(others[1:]) if others else None
    return Figure(case.name, size, _median(mine[1:]), case.yardstick, other)


def _cool(work: Path, case: Case) -> None:
    """Let the system forget what the packs hold, where the case asks for that."""
    for path in (work / ".mvc" / "store" / "packs").glob("*") if case.cold else ():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _median(found: Sequence[Usage]) -> Usage:
    return Usage(
        statistics.median(usage.seconds for usage in found),
        statistics.median(usage.cores for usage in found),
        max(usage.memory for usage in found),
    )


def _write(path: Path, width: int, size: int, drift: float = 0.0) -> None:
    """Write a model in another process: what this one ever held counts as held by its children."""
    process = multiprocessing.Process(target=write_model, args=(path, width, size, drift))
    process.start()
    process.join()


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
