"""What is left of an acknowledged version when the power fails: mvc beside other tools.

On a file system of its own each tool keeps a first version of a model, which
is made durable. A second one, durable in its place, is saved; as soon as the
tool has ended with status 0 the power is cut, and the file system mounted
again. Then the tool's own check is asked, and the newest version it gives
back is compared. Needs root: ``python -m tests.bench.power_cuts`` prints a
table. DVC, if it is not installed, is taken from PyPI into a temporary folder.

Public names: ``Tool``, ``tools``, ``outcome``.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench import peers
from tests.bench.peers import MODEL, Peer
from tests.support.volumes import CUTS, Unavailable, Volume

SIZE = 300_000
PATIENCE = 120  # seconds for one command
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool, and what a user would type after a power cut, as lines for the shell.

    ``check`` is its own check; ``newest`` prints the bytes of the newest
    version, which need not be there any more; ``unlock`` is what its manual
    says where it takes itself for locked.
    """

    peer: Peer
    check: str
    newest: str
    unlock: str = ""


_GIT_CHECK = "git fsck --full && git status"
_GIT = Peer(
    name="git",
    needs="git",
    version=["git", "--version"],
    begin=[["git", "init", "-q", "--template="]],
    save=lambda number: [["git", "add", MODEL], ["git", "commit", "-q", "-m", str(number)]],
    kept_in=".git",
)
_FSYNC = ["git", "config", "core.fsync", "all"]
_MVC = [sys.executable, "-m", "mvc"]
_TOOLS = (
    Tool(_GIT, _GIT_CHECK, f"git show HEAD:{MODEL}"),
    Tool(
        replace(_GIT, name="git, core.fsync=all", begin=[*_GIT.begin, _FSYNC]),
        _GIT_CHECK,
        f"git show HEAD:{MODEL}",
    ),
    Tool(
        Peer(
            name="mvc",
            needs=sys.executable,
            version=[*_MVC, "--version"],
            begin=[[*_MVC, "init"]],
            save=lambda number: [[*_MVC, "add", "net", MODEL]],
            kept_in=".mvc",
        ),
        f"{sys.executable} -m mvc fsck --full",
        f"{sys.executable} -m mvc checkout -q net -o out >&2 && cat out",
    ),
)
# The others are used as they are for the sizes.
_CHECKS = {
    "git-lfs": (
        f"{_GIT_CHECK} && git lfs fsck",
        f"git show HEAD:{MODEL} | git lfs smudge",
        "",
    ),
    "DVC": (
        "dvc status",
        f"mv {MODEL} {MODEL}.own && dvc checkout -q >&2 && cat {MODEL}",
        "",
    ),
    "restic, max": (
        "restic check --read-data",
        f"restic -q dump latest /{MODEL}",
        "restic unlock",
    ),
    "borg, zstd": (
        "borg check --verify-data repository",
        "borg extract --stdout repository::$(borg list --short --last 1 repository)",
        "borg break-lock repository",
    ),
}


def tools() -> Iterator[Tool]:
    """Yield the tools that are installed, mvc last."""
    kept = {peer.name: peer for peer in peers.PEERS if peer.name in _CHECKS}
    *gits, mvc = _TOOLS
    for tool in (*gits, *(Tool(kept[name], *_CHECKS[name]) for name in _CHECKS), mvc):
        if shutil.which(tool.peer.needs):
            yield tool
        else:
            print(f"note: {tool.peer.name} is not installed", file=sys.stderr)


def outcome(tool: Tool, volume: Volume, folder: Path) -> tuple[str, str]:
    """Save two versions, cut the power right after the second, and say what is left.

    Returns:
        ``kept``, ``lost`` (the version before it is the newest) or ``broken`` (its check
        fails, or it gives back neither), perhaps with what else there is to say; and the
        last line that the tool printed about it.
    """
    project = volume.folder / "project"
    project.mkdir()
    environment = {**peers.begin(tool.peer, project), "PYTHONPATH": os.fspath(ROOT)}
    environment["MVC_AUTHOR"] = "bench"
    versions = []
    for number in (1, 2):
        versions.append(random.Random(number).randbytes(SIZE))
        source = folder / "source"
        source.write_bytes(versions[-1])
        peers.place(source, project / MODEL)
        subprocess.run(["sync", "-f", volume.folder], check=True)
        for command in tool.peer.save(number):
            peers.call(command, project, environment)
        if number == 1:
            subprocess.run(["sync", "-f", volume.folder], check=True)
    volume.cut_power()
    return _judged(tool, project, environment, versions)


def _judged(
    tool: Tool, project: Path, environment: Mapping[str, str], versions: list[bytes]
) -> tuple[str, str]:
    own = project / MODEL
    notes = [] if own.is_file() and own.read_bytes() == versions[1] else ["the user's file damaged"]
    checked = _shell(tool.check, project, environment)
    said = _said(checked)
    if checked.returncode and tool.unlock:
        _shell(tool.unlock, project, environment)
        checked = _shell(tool.check, project, environment)
        if checked.returncode == 0:
            notes.append("after unlocking by hand")
    given = _shell(tool.newest, project, environment)
    if given.stdout in versions and checked.returncode == 0:
        verdict = "kept" if given.stdout == versions[1] else "lost"
    else:
        verdict = "broken"
        said = said or _said(given)
        if checked.returncode == 0:
            notes.append("its check says nothing")
    return ", ".join([verdict, *notes]), said


def _shell(
    line: str, folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return lines[-1] if done.returncode and lines else ""


def _version(tool: Tool) -> str:
    found = re.search(r"\d+(\.\d+)+", peers.version(tool.peer))
    return found[0] if found else ""


def with_dvc(folder: Path) -> None:
    """Put DVC on the path, from PyPI if it is not installed and can be had."""
    if shutil.which("dvc"):
        return
    print("installing DVC into a temporary folder", file=sys.stderr)
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
        pip = os.fspath(folder / "bin" / "pip")
        subprocess.run([pip, "install", "-qq", "dvc"], check=True, capture_output=True, timeout=400)
    except (subprocess.SubprocessError, OSError):
        print("note: DVC cannot be had here", file=sys.stderr)
    else:
        os.environ["PATH"] += os.pathsep + os.fspath(folder / "bin")


def main() -> None:
    """Print a table: for each tool what each kind of power cut left."""
    options = argparse.ArgumentParser(prog="python -m tests.bench.power_cuts", description=__doc__)
    options.add_argument("--times", type=int, default=3, help="how often each  [default: 3]")
    times = options.parse_args().times
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        with_dvc(work / "dvc")
        print("| tool |", " | ".join(CUTS), "|")
        print("| --- |", " | ".join("---" for _ in CUTS), "|")
        said: list[str] = []
        for tool in tools():
            row = []
            for cut in CUTS:
                found = [_once(tool, cut, work) for _ in range(times)]
                row.append(" / ".join(dict.fromkeys(verdict for verdict, _ in found)))
                said += [f"{tool.peer.name}, {cut}: {line}" for line in {said for _, said in found}]
            print(f"| {tool.peer.name} ({_version(tool)}) |", " | ".join(row), "|", flush=True)
    print("\n".join(line for line in said if not line.endswith(": ")), file=sys.stderr)


def _once(tool: Tool, cut: str, work: Path) -> tuple[str, str]:
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name)
        try:
            volume = Volume(cut, folder / "image", folder / "mounted")
        except Unavailable as reason:
            return f"not run: {reason}", ""
        try:
            return outcome(tool, volume, folder)
        finally:
            volume.unmount()


if __name__ == "__main__":
    main()
