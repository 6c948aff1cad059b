"""A real file system loses power right after a real command has answered with status 0.

``tests.support.volumes`` says how. The suite is held against itself: the same
commands with ``fsync`` turned into nothing by libeatmydata lose what they acknowledged.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mvc import MvcError
from tests.registry.test_repack import small_series
from tests.support.faults import Project, whole
from tests.support.volumes import CUTS, JOURNAL_LOST, Volume

Files = Callable[[str, int], Path]

EATMYDATA = "libeatmydata.so*"


def on(*quick: str) -> pytest.MarkDecorator:
    """Do it on every volume, in the quick run only on these."""
    marks = {cut: () if cut in quick else (pytest.mark.long,) for cut in CUTS}
    cuts = [pytest.param(cut, marks=marks[cut]) for cut in CUTS]
    return pytest.mark.parametrize("volume", cuts, indirect=True)


class Commands:
    """The command line on a volume, with all that it writes there, notes of the user too."""

    def __init__(self, volume: Volume, **environment: str) -> None:
        self.volume = volume
        self.project = Project(volume.folder / "project")
        self._environment = {
            **os.environ,
            **environment,
            "HOME": os.fspath(volume.folder),
            "PYTHONPATH": os.fspath(Path(__file__).parents[2]),
        }

    def run(self, *arguments: object) -> str:
        """Run a command, which must succeed; return the last line that it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "mvc", "-C", self.project.folder, *map(str, arguments)],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1] if done.stdout else ""

    def add(self, family: str, path: Path, *options: object) -> str:
        """Register a file, and remember that this was acknowledged."""
        identity = self.run("add", family, path, *options)
        self.project.held[identity] = path.read_bytes()
        return identity

    def cut_power(self) -> None:
        """Cut the power now: nothing has to be unlocked or repaired."""
        self.volume.cut_power()
        whole(self.project)


@pytest.fixture
def level(request: pytest.FixtureRequest) -> str:
    """What ``MVC_DURABILITY`` says: ``full``, unless a test has it otherwise."""
    return str(getattr(request, "param", "full"))


@pytest.fixture
def commands(volume: Volume, level: str) -> Commands:
    """A registry, durable on the volume."""
    made = Commands(volume, MVC_DURABILITY=level)
    made.project.folder.mkdir()
    made.run("init")
    made.cut_power()
    return made


@on("ext4-journal-lost", "xfs-journal-ahead", "btrfs-copied")
def test_versions_and_tags_survive(commands: Commands, files: Files) -> None:
    """Power cut right after ``add``, ``tag``, ``rollback`` and ``rm``: all of it is there."""
    project = commands.project
    commands.add("net", files("weights", 1))
    commands.cut_power()
    commands.add("net", files("noise", 2), "--tag", "prod")
    project.tags["net@prod"] = "net/v2"
    commands.cut_power()
    commands.run("tag", "net@v1", "prod")
    project.tags["net@prod"] = "net/v1"
    commands.cut_power()
    commands.run("rollback", "net@prod")
    project.tags["net@prod"] = "net/v2"
    commands.cut_power()
    commands.run("rm", "--force", "net@v2")
    project.tags = {"net@latest": "net/v1"}
    commands.cut_power()


@on("ext4-journal-ahead")
@pytest.mark.parametrize("level", ["full", "batch"], indirect=True)
def test_a_folder_survives_and_what_is_checked_out(
    commands: Commands, files: Files, tmp_path: Path
) -> None:
    """Power cut right after ``add`` of a folder, and ``checkout`` of it or a file: bit for bit."""
    model = tmp_path / "model"
    (model / "below").mkdir(parents=True)
    files("weights", 1).rename(model / "weights.bin")
    files("noise", 2).rename(model / "below" / "noise.bin")
    wanted = {path.relative_to(model): path.read_bytes() for path in model.rglob("*.bin")}
    assert commands.run("add", "net", model) == "net/v1"
    commands.cut_power()
    out = commands.volume.folder / "out"
    commands.run("checkout", "net", "-o", out)
    commands.cut_power()
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*.bin")} == wanted
    file = commands.volume.folder / "one.bin"
    commands.run("checkout", "net@latest:weights.bin", "-o", file)
    commands.cut_power()
    assert file.read_bytes() == wanted[Path("weights.bin")]


@on("xfs-journal-lost")
def test_what_care_leaves_survives(commands: Commands, tmp_path: Path) -> None:
    """Power cut right after ``repack``, ``gc`` and ``store move``: every version is there."""
    project, path = commands.project, tmp_path / "model.safetensors"
    for data in small_series(3):
        path.write_bytes(data)
        commands.add("series", path)
    commands.run("repack")
    commands.cut_power()
    commands.run("rm", "series@v2")
    del project.held["series/v2"]
    commands.run("gc", "--grace", "0")
    commands.cut_power()
    commands.run("store", "move", commands.volume.folder / "moved")
    commands.cut_power()
    assert project.open().store_info().path == commands.volume.folder / "moved"
    commands.add("series", path)
    commands.cut_power()


@pytest.mark.parametrize("volume", JOURNAL_LOST, indirect=True)
@pytest.mark.parametrize("how", ["eatmydata", "none"])
def test_without_syncing_it_is_lost(volume: Volume, files: Files, how: str) -> None:
    """With ``fsync`` turned into nothing the same cut loses the version: the suite can see.

    That is what the level ``none`` does as well.
    """
    if how == "eatmydata" and not eatmydata():
        pytest.skip("libeatmydata is not installed")
    unsynced = {"MVC_DURABILITY": "none"} if how == "none" else {"LD_PRELOAD": eatmydata()}
    commands = Commands(volume, **unsynced)
    commands.project.folder.mkdir()
    os.sync()
    commands.run("init")
    commands.add("net", files("weights", 1))
    with pytest.raises((AssertionError, MvcError)):
        commands.cut_power()


@pytest.mark.parametrize("volume", JOURNAL_LOST, indirect=True)
def test_who_holds_the_volume_from_before_disturbs_nothing(volume: Volume) -> None:
    """A mount namespace made before the cut keeps the dead file system; ours is another one."""
    (volume.folder / "kept").write_bytes(b"kept")
    os.sync()
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; read end"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"\n"
        volume.cut_power()
        (volume.folder / "new").write_bytes(b"new")
        assert (volume.folder / "kept").read_bytes() == b"kept"
        holder.communicate()


def eatmydata() -> str:
    """Return the path of libeatmydata, if this system has it."""
    found = next(Path("/usr/lib").glob(f"*/{EATMYDATA}"), None)
    return os.fspath(found) if found else ""
