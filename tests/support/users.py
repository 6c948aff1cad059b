"""Users: command lines run by people who are not the one who runs the tests."""

from __future__ import annotations

import io
import json
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from mvc import ModelRegistry
from mvc.cli.app import run

TEAM = 5000

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be several users")


@dataclass(frozen=True)
class Said:
    """What a command line left."""

    status: int
    out: str
    err: str

    def is_clear(self, status: int) -> bool:
        """Say whether it failed with that status, one line and a hint."""
        one = self.err.count("error: ") == 1 and "hint: " in self.err
        return self.status == status and one and "Traceback" not in self.err


@dataclass(frozen=True)
class User:
    """Somebody with a number, a home, groups and a umask, in a working folder."""

    number: int
    folder: Path
    groups: tuple[int, ...] = (TEAM,)
    umask: int = 0o002

    def mvc(self, *arguments: str) -> Said:
        """Run one command line as this user, in a forked process."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writing, json.dumps(self._run(arguments)).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading, encoding="utf-8") as answer:
            said = json.loads(answer.read() or '[-1, "", "it died"]')
        os.waitpid(child, 0)
        return Said(*said)

    def _run(self, arguments: tuple[str, ...]) -> tuple[int, str, str]:
        os.setgroups(self.groups)
        os.setgid(self.number)
        os.setuid(self.number)
        os.umask(self.umask)
        for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "MVC_DIR", "MVC_CACHE"):
            os.environ.pop(name, None)
        os.environ["HOME"] = str(home(self.folder.parent, self.number))
        os.environ["MVC_AUTHOR"] = str(self.number)
        os.chdir(self.folder)
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = run(arguments)
        return status, out.getvalue(), err.getvalue()


def home(above: Path, number: int) -> Path:
    return above / f"home-{number}"


ANNA, BEN = 4001, 4002


def shared_folder() -> Iterator[Path]:
    """Yield a folder of Anna's that her team may write to; ``m0.bin`` to ``m3.bin`` beside it.

    Pytest's own folders are closed to others. What a user may not import is
    imported before, by doing all of it once.
    """
    with tempfile.TemporaryDirectory() as name:
        above = Path(name)
        above.chmod(0o755)
        _warm()
        for number in (ANNA, BEN):
            home(above, number).mkdir()
            os.chown(home(above, number), number, number)
        for number in range(4):
            path = above / f"m{number}.bin"
            path.write_bytes(random.Random(number).randbytes(3000))
            path.chmod(0o644)
        folder = above / "project"
        folder.mkdir()
        os.chown(folder, ANNA, TEAM)
        folder.chmod(0o2775)
        yield folder


@cache
def _warm() -> None:
    b"".decode("raw-unicode-escape")  # a codec is a module too
    with tempfile.TemporaryDirectory() as name:
        _do_everything(Path(name))


def _do_everything(folder: Path) -> None:
    (folder / "a").write_bytes(bytes(9000))
    registry = ModelRegistry(folder)
    registry.add("net", folder / "a", metrics={"acc": 1})
    registry.search("acc > 0")
    registry.checkout("net@v1", folder / "out")
    registry.path("net@v1")
    registry.fsck("full", repair=True)
    registry.gc("0d")
    registry.repack()
