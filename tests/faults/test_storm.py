"""Many processes do everything at once, at moments drawn apart by delays, and with no lock kept.

What was acknowledged and not withdrawn reads bit for bit meanwhile and
afterwards, no two versions have one number, a tag's history is what was
acknowledged, all is whole, and nothing is left lying about.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mvc import ModelRegistry, fileio
from tests.registry.test_repack import small_series
from tests.support import tally
from tests.support.faults import Project, make_noise, make_weights, whole
from tests.support.storm import FIXED

ROOT = Path(__file__).parents[2]

FEW = {"write": 3, "tag": 2, "read": 1, "collect": 1, "repack": 1, "move": 1, "check": 1}
MANY = {"write": 16, "tag": 4, "read": 6, "collect": 2, "repack": 1, "move": 1, "check": 2}


@dataclass
class Heard:
    """What the processes of a storm said."""

    added: list[str] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)
    moves: dict[str, tuple[str, str]] = field(default_factory=dict)
    turns: Counter[str] = field(default_factory=Counter)

    def take(self, what: str, *rest: Any) -> None:
        if what in ("added", "restored"):
            self.kept[rest[0]] = rest[1]
            if what == "added":
                self.added.append(rest[0])
        elif what in ("withdrawing", "restoring"):
            self.kept.pop(rest[0], None)
        elif what == "moved":
            self.moves[rest[0]] = rest[1], rest[2]
        elif what == "turns":
            role, done, again = rest
            self.turns[role] += done
            tally.count("turns of processes at once", done, of=role)
            tally.count("turns told to run again", again, of=role)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that draws calls apart and grants locks, compiled."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    made = tmp_path_factory.mktemp("shim") / "storm.so"
    source = ROOT / "tests" / "support" / "storm.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True)
    return made


@pytest.fixture
def stormy(tmp_path: Path) -> Project:
    """A registry with four versions that stay, kept over each other, and files to add."""
    folder = tmp_path / "project"
    (folder / "sources").mkdir(parents=True)
    project = Project(folder)
    sources = [folder / "sources" / f"{number:02d}" for number in range(14)]
    for path, data in zip(sources, small_series(FIXED + 2), strict=False):
        path.write_bytes(data)
    for number, path in enumerate(sources[FIXED + 2 :]):
        (make_weights if number % 3 else make_noise)(path, number)
    for path in sources[:FIXED]:
        project.add("read", path)
    project.open().tag("read@v1", "prod")
    return project


def storm(
    project: Project, who: dict[str, int], seconds: float, environment: dict[str, str]
) -> Heard:
    """Let all work at once, and return what they said; each must have ended well."""
    home = project.folder.parent
    patience = min(5, seconds / 5)
    running = []
    for number, role in enumerate(role for role, count in who.items() for _ in range(count)):
        said, complained = home / f"{number}.out", home / f"{number}.err"
        with said.open("wb") as out, complained.open("wb") as err:
            command = [sys.executable, "-m", "tests.support.storm", role, project.folder, number]
            process = subprocess.Popen(
                [*map(str, command), str(seconds), str(patience)],
                stdout=out,
                stderr=err,
                cwd=ROOT,
                env={**os.environ, "XDG_CACHE_HOME": str(home / "cache"), **environment},
            )
        running.append((role, process, said, complained))
    heard = Heard()
    problems: dict[str, str] = {}  # each in one line, and all that was complained of
    for role, process, said, complained in running:
        ended = ended_by(process, seconds + 600)
        if ended != "status 0":
            text = complained.read_text()[-3000:]
            last = text.rstrip().rpartition("\n")[2][:300]
            problems[f"{role} {said.stem}, {ended}: {last}"] = text
        for line in said.read_text().splitlines():
            heard.take(*json.loads(line))
    if problems:  # the first line is told last of all, too, where a long output is cut
        pytest.fail("\n".join([*problems, *problems.values()]), pytrace=False)
    return heard


def ended_by(process: subprocess.Popen[bytes], seconds: float) -> str:
    """Say how a process ended; one that does not is ended."""
    try:
        return f"status {process.wait(seconds)}"
    except subprocess.TimeoutExpired:
        process.kill()
        return f"did not end in {seconds:g} seconds"


def check_tag(registry: ModelRegistry, moves: dict[str, tuple[str, str]]) -> None:
    """Assert that a tag went the way of all moves that were acknowledged, one after the other."""
    history = registry.history("read@prod")[::-1]
    stands = "v1"
    for move in history[1:]:
        assert move.message is not None
        assert moves.pop(move.message) == (stands, move.version)
        stands = str(move.version)
    assert moves == {}
    assert registry.resolve("read@prod").version == stands


def litter(registry: ModelRegistry) -> Iterator[Path]:
    """Yield what somebody staged, or threw away, and what has a private name."""
    store = registry.store_info().path
    yield from store.glob("staging/*")
    yield from store.glob("trash/*")
    for folder in (store, registry.folder / "manifest"):
        yield from folder.rglob(f"{fileio.PRIVATE_PREFIX}*")


STORMS = [
    pytest.param(FEW, 3, "granted", id="few-locks-granted"),
    pytest.param(MANY, 600, "granted", id="many-locks-granted", marks=pytest.mark.long),
    pytest.param(MANY, 600, "kept", id="many-locks-kept", marks=pytest.mark.long),
]


@pytest.mark.parametrize(("who", "seconds", "locks"), STORMS)
def test_a_storm_loses_nothing(
    stormy: Project, shim: Path, who: dict[str, int], seconds: float, locks: str
) -> None:
    """Adding, tagging, withdrawing, collecting, repacking, moving, reading: all as promised."""
    environment = {
        "LD_PRELOAD": os.fspath(shim),
        "STORM_UNDER": os.fspath(stormy.folder),
        "STORM_LOCKS": locks,
    }
    heard = storm(stormy, who, seconds, environment)
    assert len(set(heard.added)) == len(heard.added)
    sources: Sequence[Path] = sorted((stormy.folder / "sources").iterdir())
    stormy.held |= {name: sources[kind].read_bytes() for name, kind in heard.kept.items()}
    registry = whole(stormy)
    assert {f"net/{version}" for version in registry.list("net")} == heard.kept.keys()
    check_tag(registry, heard.moves)
    for _ in range(2):
        registry.gc(timedelta(0), force=True)
    assert list(litter(whole(stormy))) == []
    assert heard.turns["write"] > 0
    tally.count("versions acknowledged in a storm", len(heard.added))
