"""What commands cost as a registry grows: one family of many versions, and many families.

Times are those of whole processes, start-up included. The versions are records
made by the library and written straight into the manifest, all of one file.

Public names: ``COUNTS``, ``Grown``, ``run``, ``table``.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from mvc import ModelRegistry
from mvc.registry import record as records
from mvc.registry.sealed import timestamp

COUNTS = (1, 1_000)
FAMILY_OF = 100
FAMILY = "net0"
REPEATS = 5
SIZE = 1 << 20

COMMANDS: tuple[tuple[str, Sequence[str]], ...] = (
    ("list", ["list"]),
    ("list FAMILY", ["list", FAMILY]),
    ("log", ["log"]),
    ("log FAMILY", ["log", FAMILY]),
    ("status", ["status"]),
    ("show FAMILY", ["show", FAMILY]),
    ("show FAMILY@best.loss", ["show", f"{FAMILY}@best.loss"]),
    ("show FAMILY@b3:…", ["show", f"{FAMILY}@b3:DIGEST"]),
    ("search --sort --limit", ["search", "acc > 0.5", "--sort", "-acc", "--limit", "20"]),
    ("list --where", ["list", "--where", "acc > 0.5 and loss < 0.5"]),
    ("add", ["add", FAMILY, "FILE", "-m", "acc=0.3"]),
)


@dataclass(frozen=True, slots=True)
class Grown:
    """One command at one size; seconds are medians, ``first`` of the very first run."""

    command: str
    versions: int
    families: int
    wall: float
    processor: float
    first: float


def run(folder: Path, counts: Sequence[int] = COUNTS) -> Iterator[Grown]:
    """Yield what each command costs at each size, in one family and in many."""
    for count in counts:
        for families in sorted({1, max(1, count // FAMILY_OF)}):
            place = folder / f"{count}-{families}"
            build(place, count, families)
            for name, arguments in COMMANDS:
                yield _measured(place, name, arguments, count, families)


def build(folder: Path, count: int, families: int) -> None:
    """Make a registry of ``count`` versions, spread evenly; the last changes are minutes ago."""
    folder.mkdir(parents=True)
    chance = random.Random(count)
    registry = ModelRegistry(folder)
    (folder / "model.bin").write_bytes(chance.randbytes(SIZE))
    registry.add(FAMILY, folder / "model.bin", {"acc": 0.1, "loss": 1.0}, params={"lr": 0.1})
    first, _ = registry.manifest.record(FAMILY, 1)
    for number in range(1, count):
        family = f"net{number % families}"
        versions = registry.manifest.family_folder(family) / "versions"
        versions.mkdir(parents=True, exist_ok=True)
        made = replace(
            first,
            family=family,
            id=f"{number:032x}",
            created=_moment(number),
            metrics={"acc": chance.random(), "loss": chance.random()},
        )
        place = number // families + 1
        (versions / f"v{place}.yaml").write_bytes(records.encode(made))
    for changed in (folder / ".mvc" / "manifest").glob("*/*"):
        os.utime(changed, (time.time() - 600,) * 2)
    (folder / "model.bin").unlink()


def _moment(number: int) -> str:
    """Return a moment that is later for a later version."""
    return timestamp(datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=number))


def _measured(
    folder: Path, name: str, arguments: Sequence[str], count: int, families: int
) -> Grown:
    digest = ModelRegistry(folder).resolve(f"{FAMILY}@v1").artifact.digest.hex()
    wall, processor = [], []
    for _ in range(REPEATS + 1):
        file = folder.parent / "new.bin"
        file.write_bytes(os.urandom(SIZE))
        typed = [a.replace("DIGEST", digest[:16]).replace("FILE", str(file)) for a in arguments]
        before, started = os.times(), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "mvc", "-C", str(folder), *typed],
            check=True,
            capture_output=True,
        )
        after = os.times()
        wall.append(time.perf_counter() - started)
        spent = after.children_user + after.children_system
        processor.append(spent - before.children_user - before.children_system)
    return Grown(
        name,
        count,
        families,
        statistics.median(wall[1:]),
        statistics.median(processor[1:]),
        wall[0],
    )


def table(found: Sequence[Grown]) -> str:
    """Write the figures as a table, a line a command, a column a size."""
    sizes = list(dict.fromkeys((f.versions, f.families) for f in found))
    rows = ["| command, ms of wall clock (of the first run) | " + " | ".join(
        f"{versions:,} in {families:,}" for versions, families in sizes) + " |"]  # fmt: skip
    rows.append("|---|" + "---:|" * len(sizes))
    for name in dict.fromkeys(f.command for f in found):
        of_it = {(f.versions, f.families): f for f in found if f.command == name}
        cells = [
            f"{of_it[size].wall * 1000:,.0f} ({of_it[size].first * 1000:,.0f})" if size in of_it
            else ""
            for size in sizes
        ]  # fmt: skip
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)
