"""What a series of models costs on disk: mvc beside other tools, on the same files.

Everything under ``.mvc/store`` counts: packs, roots, what is left over. Sizes
do not depend on the machine or on what else it does.

Public names: ``CASES``, ``Case``, ``Size``, ``run``, ``table``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import peers, series

MVC = [sys.executable, "-m", "mvc"]
AFTER_REPACK = "after repack"


@dataclass(frozen=True, slots=True)
class Case:
    """Versions added one after the other; each a path under the folder of series, or a pattern.

    Ratios are to all their bytes, or to those of the first version alone.
    """

    name: str
    versions: Sequence[str]
    goal: str
    goal_after_repack: str = ""
    to_first: bool = False


@dataclass(frozen=True, slots=True)
class Size:
    """A case measured: bytes, and what each tool keeps of them.

    ``after_each`` are the bytes of mvc's store after each version.
    """

    case: str
    raw: int
    kept: dict[str, int]
    after_each: list[int]


CASES = (
    Case("ResNet-18 fp32, 9", ["resnet-fp32/*"], "0.28", "0.305"),
    Case("… with optimizer, 7", ["resnet-optimizer/*"], "0.33"),
    Case("ResNet-18 bf16, 9", ["resnet-bf16/*"], "0.155", "0.16"),
    Case("LoRA merged bf16, 1 + 10", ["lora-bf16/*"], "0.17"),
    Case("sentence fp32 fp16 bf16 .pt, to the first", ["sentence/*"], "0.84", to_first=True),
    Case("sentence fp32", ["single/model.safetensors"], "0.835"),
    Case("… in four shards", ["sharded"], "1.01 × the line above"),
    Case(
        "… as one file, then in four shards, to the first",
        ["single/model.safetensors", "sharded"],
        "1.01 × one file",
        to_first=True,
    ),
    Case("sentence bf16", ["sentence/3-bf16.safetensors"], "0.667"),
    Case("sentence fp16", ["sentence/2-fp16.safetensors"], "0.86"),
    Case("ResNet-18 fp32", ["resnet-fp32/9.pt"], "0.835"),
    Case("ResNet-18 bf16", ["resnet-bf16/9.pt"], "0.667"),
    Case("ResNet-18 fp16", ["resnet-fp16/9.pt"], "0.86"),
)


def run(folder: Path, work: Path, *, with_peers: bool) -> Iterator[Size]:
    """Measure every case, whose files are written to ``folder`` once, in folders in ``work``."""
    series.write(folder)
    for case in CASES:
        versions = [path for pattern in case.versions for path in sorted(folder.glob(pattern))]
        counted = versions[:1] if case.to_first else versions
        raw = sum(
            path.stat().st_size if path.is_file() else peers.size_of(path) for path in counted
        )
        with tempfile.TemporaryDirectory(dir=work) as place:
            kept, after_each = _keep(versions, Path(place))
        for peer in peers.found() if with_peers else ():
            with tempfile.TemporaryDirectory(dir=work) as place:
                kept[peer.name] = peers.keep(peer, versions, Path(place))
        yield Size(case.name, raw, kept, after_each)


def table(sizes: Sequence[Size]) -> str:
    """Lay the figures out as a table in Markdown: a line for a case, a column for a tool."""
    tools = list(dict.fromkeys(tool for size in sizes for tool in size.kept))
    lines = [["series", "MB", "goal", *tools], ["---", *["---:"] * (len(tools) + 2)]]
    goals = {case.name: case for case in CASES}
    for size in sizes:
        goal = goals[size.case]
        ratios = [
            f"{size.kept[tool] / size.raw:.3f}" if tool in size.kept else "" for tool in tools
        ]
        after = f" ({goal.goal_after_repack} {AFTER_REPACK})" if goal.goal_after_repack else ""
        lines.append([size.case, f"{size.raw / 1e6:.1f}", f"{goal.goal}{after}", *ratios])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _keep(versions: Sequence[Path], place: Path) -> tuple[dict[str, int], list[int]]:
    """Add versions to a new registry in ``place``; return what the store holds then."""
    store = place / ".mvc" / "store"
    _mvc(place, "init")
    after_each = []
    for path in versions:
        _mvc(place, "add", "model", str(path))
        after_each.append(peers.size_of(store))
    kept = {"mvc": after_each[-1]}
    if _has_repack():
        _mvc(place, "repack")
        kept[AFTER_REPACK] = peers.size_of(store)
    return kept, after_each


def _has_repack() -> bool:
    return subprocess.run([*MVC, "repack", "--help"], capture_output=True).returncode == 0


def _mvc(place: Path, *arguments: str) -> None:
    done = subprocess.run([*MVC, *arguments, "-q"], cwd=place, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"mvc {' '.join(arguments)}: {done.stderr}")
