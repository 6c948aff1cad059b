"""What a terminal shows is what the captures in ``terminal/`` say.

A capture is text like a transcript's: ``[80x24]`` sets the size of the
terminal for the lines that follow, ``$ mvc …`` is typed there in a process of
its own, and below it stands the screen. ``MVC_BLESS=1`` writes down what is
shown now.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from mvc.registry import record as records
from tests.cli.running import write_model
from tests.support.registry_builders import Project
from tests.support.terminal import ended

HERE = Path(__file__).parent / "terminal"
CAPTURES = sorted(HERE.glob("*.txt"))
SIZE = re.compile(r"\[(\d+)x(\d+)\]")
# What differs from run to run keeps its width, so that columns stand where they stood.
TIME = re.compile(r"\b\d{4}-\d\d-\d\d\b( \d\d:\d\d(:\d\d)?)?")
# What the store takes depends on a library's version.
STORED = re.compile(r"\b\d\.\d\d kB\b|\b\d{3} B\b")
FREE = re.compile(r"\b[\d.]+ [kMGT]B free")
LONG = "chest_xray_densenet121-with-a-long-name"
JAPANESE = "日本語の音声認識モデル、再学習"
# Family, who made it how long ago, and what was said of it.
VERSIONS: tuple[tuple[str, str, timedelta, dict[str, Any]], ...] = (
    ("resnet18", "anna", timedelta(days=9.1), {"metrics": {"acc": 0.61, "loss": 1.2}}),
    (
        "resnet18",
        "anna",
        timedelta(days=3.1),
        {"metrics": {"acc": 0.93}, "message": "longer schedule", "parents": ["resnet18@v1"]},
    ),
    (
        "resnet18",
        "bob",
        timedelta(hours=3.5),
        {"metrics": {"acc": 0.95}, "parents": ["resnet18@v1"]},
    ),
    (LONG, "anna", timedelta(hours=1.1), {}),
    ("whisper", "anna", timedelta(days=800), {"metrics": {"wer": 0.12}, "message": JAPANESE}),
    (
        "soup",
        "anna",
        timedelta(hours=2.5),
        {"message": "the mean of both", "parents": ["resnet18@v2", "resnet18@v3", "whisper@v1"]},
    ),
)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A registry of four families with versions of several ages, and files beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("working"))
        folder = tmp_path_factory.mktemp("home") / "thesis"
        folder.mkdir()
        return _filled(Project(folder))


def _filled(project: Project) -> Project:
    for number, (family, author, age, facts) in enumerate(VERSIONS):
        identity = project.add(b"%d" % number * 1_234_567, family, f"model{number}.bin", **facts)
        path = project.record(int(identity.rpartition("/v")[2]), family)
        made = (datetime.now(timezone.utc) - age).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        record = replace(records.decode(path.read_bytes()), created=made, author=author)
        path.chmod(0o644)
        path.write_bytes(records.encode(record))
        project.family_file(family).unlink(missing_ok=True)
    write_model(project.folder / "model.safetensors")
    write_model(project.folder / "better.safetensors", bias=0.5)
    registry = project.registry()
    registry.tag("resnet18@v2", "prod")
    registry.tag("resnet18@v3", "canary")
    return project


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_capture(path: Path, project: Project) -> None:
    """Typing the lines of a capture in a terminal of its size shows what it says."""
    expected = path.read_text(encoding="utf-8")
    shown = _shown(expected, project.folder)
    if os.environ.get("MVC_BLESS") == "1":
        path.write_text(shown, encoding="utf-8")
    else:
        assert shown == expected


def _shown(capture: str, folder: Path) -> str:
    columns, rows = 80, 24
    parts: list[str] = []
    expected = False
    for line in capture.splitlines():
        if line.startswith("$ "):
            command = shlex.split(line[2:])
            home = {"HOME": str(folder.parent)}
            terminal, status = ended(
                command, columns=columns, rows=rows, folder=folder, environment=home
            )
            text = FREE.sub("0 GB free", terminal.shown)
            for pattern in (TIME, STORED):
                text = pattern.sub(lambda found: re.sub(r"\d", "0", found[0]), text)
            ending = f"[{status}]\n" if status else ""
            parts.append(f"{line}\n{text}\n{ending}")
            expected = True
        elif (size := SIZE.fullmatch(line)) or line.startswith("# "):
            if size:
                columns, rows = int(size[1]), int(size[2])
            parts.append(f"\n{line}\n" if expected else f"{line}\n")
            expected = False
        elif not expected:
            parts.append(f"{line}\n")
    return "".join(parts)
