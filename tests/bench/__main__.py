"""The benchmarks: what mvc takes in time and on disk, beside other tools. Asserts nothing.

Run with ``make bench``, or one part with ``python -m tests.bench --only sizes``;
``--json`` prints the figures for a program. What was measured stands in
``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench import growth, looking, peers, sizes, speed

SERIES = Path(tempfile.gettempdir()) / "mvc-series"


def main() -> None:
    """Measure what is asked for and print it."""
    options = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    options.add_argument(
        "--only", choices=["speed", "sizes", "growth", "looking"], help="one part  [default: all]"
    )
    options.add_argument("--json", action="store_true", help="print one JSON value")
    options.add_argument("--no-peers", action="store_true", help="mvc alone")
    options.add_argument("--series", type=Path, default=SERIES, help="where the series lie, or go")
    options.add_argument("--folder", type=Path, help="where to work  [default: a temporary folder]")
    options.add_argument(
        "--versions", type=int, nargs="+", default=growth.COUNTS, metavar="N",
        help="how large registries grow; 100000 takes minutes",
    )  # fmt: skip
    chosen = options.parse_args()
    os.environ.update(MVC_DIR="", MVC_STORE="", MVC_CACHE="", MVC_AUTHOR="bench")
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        if chosen.only in (None, "sizes"):
            measured["sizes"] = _sizes(chosen.series, Path(folder), with_peers=not chosen.no_peers)
            if not chosen.json:
                print(sizes.table(measured["sizes"]), end="\n\n")
        if chosen.only in (None, "speed"):
            measured["speed"] = _speed(Path(folder), with_peers=not chosen.no_peers)
            if not chosen.json:
                print(speed.table(measured["speed"]))
        if chosen.only in (None, "growth"):
            measured["growth"] = _growth(Path(folder), chosen.versions)
            if not chosen.json:
                print(growth.table(measured["growth"]))
        if chosen.only in (None, "looking"):
            measured["looking"] = list(looking.run(Path(folder, "looking")))
            if not chosen.json:
                print(looking.table(measured["looking"]))
    if chosen.json:
        print(json.dumps({part: [asdict(f) for f in found] for part, found in measured.items()}))


def _sizes(series: Path, work: Path, *, with_peers: bool) -> list[sizes.Size]:
    """Measure sizes, or say why that cannot be done here; progress and versions go to stderr."""
    for peer in peers.found() if with_peers else ():
        print(f"{peer.name}: {peers.version(peer)}", file=sys.stderr)
    measured = []
    try:
        for size in sizes.run(series, work, with_peers=with_peers):
            print(f"measured: {size.case}", file=sys.stderr)
            measured.append(size)
    except (ModuleNotFoundError, subprocess.CalledProcessError) as problem:
        print(f"note: the series cannot be made here: {problem}", file=sys.stderr)
    return measured


def _speed(folder: Path, *, with_peers: bool) -> list[speed.Figure]:
    measured = []
    for figure in speed.run(folder, with_peers=with_peers):
        print(f"measured: {figure.case}", file=sys.stderr)
        measured.append(figure)
    return measured


def _growth(folder: Path, counts: Sequence[int]) -> list[growth.Grown]:
    measured = []
    for grown in growth.run(folder / "growth", counts):
        print(f"measured: {grown.command} of {grown.versions:,}", file=sys.stderr)
        measured.append(grown)
    return measured


main()
