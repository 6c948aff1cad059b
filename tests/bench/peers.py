"""What other tools keep on disk for a series of models: those found installed here.

Each is used as its manual says, with its own compression where it has one:
every version takes the place of the one before, at the same path, and is
saved. Measured is what the tool keeps beside the files, not the files.

Public names: ``PEERS``, ``Peer``, ``found``, ``begin``, ``place``, ``call``, ``keep``,
``time_save``, ``size_of``, ``version``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

Command = Sequence[str]
MODEL = "model"


@dataclass(frozen=True, slots=True)
class Peer:
    """A tool: how it begins, how it saves the version in ``model``, and where it keeps things.

    ``save`` gets the number of the version, from 1.
    """

    name: str
    needs: str
    version: Command
    begin: Sequence[Command]
    save: Callable[[int], Sequence[Command]]
    kept_in: str


PEERS = (
    Peer(
        name="zstd -3",
        needs="zstd",
        version=["zstd", "--version"],
        begin=[["mkdir", "kept"]],
        save=lambda number: [
            ["mkdir", f"kept/{number}"],
            ["zstd", "-q", "-3", "-r", MODEL, "--output-dir-flat", f"kept/{number}"],
        ],
        kept_in="kept",
    ),
    Peer(
        name="restic, max",
        needs="restic",
        version=["restic", "version"],
        begin=[["restic", "-q", "init"]],
        save=lambda number: [["restic", "-q", "backup", "--compression", "max", MODEL]],
        kept_in="repository",
    ),
    Peer(
        name="borg, zstd",
        needs="borg",
        version=["borg", "--version"],
        begin=[["borg", "init", "-e", "none", "repository"]],
        save=lambda number: [["borg", "create", "-C", "zstd,3", f"repository::{number}", MODEL]],
        kept_in="repository",
    ),
    Peer(
        name="git-lfs",
        needs="git-lfs",
        version=["git-lfs", "version"],
        begin=[
            ["git", "init", "-q", "--template="],
            ["git", "lfs", "install", "--local"],
            ["git", "lfs", "track", MODEL, f"{MODEL}/**"],
        ],
        save=lambda number: [
            ["git", "add", "-A", MODEL, ".gitattributes"],
            ["git", "commit", "-q", "-m", str(number)],
        ],
        kept_in=".git",
    ),
    Peer(
        name="git-annex",
        needs="git-annex",
        version=["git-annex", "version", "--raw"],
        begin=[["git", "init", "-q", "--template="], ["git", "annex", "init", "-q", "bench"]],
        save=lambda number: [
            ["git", "annex", "add", "-q", MODEL],
            ["git", "commit", "-q", "-m", str(number)],
            ["chmod", "-R", "u+w", ".git"],  # so that it can be removed again
        ],
        kept_in=".git",
    ),
    Peer(
        name="DVC",
        needs="dvc",
        version=["dvc", "--version"],
        begin=[["dvc", "init", "-q", "--no-scm"]],
        save=lambda number: [["dvc", "add", "-q", MODEL]],
        kept_in=".dvc/cache",
    ),
)


def found() -> list[Peer]:
    """Return the peers that are installed here."""
    return [peer for peer in PEERS if shutil.which(peer.needs)]


def version(peer: Peer) -> str:
    """Return what the tool says of its version."""
    printed = subprocess.run(peer.version, check=True, capture_output=True, text=True).stdout
    return printed.strip().strip("*").strip()


def keep(peer: Peer, versions: Sequence[Path], folder: Path) -> int:
    """Save files or folders one after the other in the empty ``folder``; return the bytes kept."""
    environment = begin(peer, folder)
    for number, path in enumerate(versions, start=1):
        place(path, folder / MODEL)
        for command in peer.save(number):
            call(command, folder, environment)
    return size_of(folder / peer.kept_in)


def time_save(peer: Peer, path: Path, folder: Path, timed: Callable[[Command, Path], T]) -> T:
    """Save a file in the empty ``folder``, made durable, and return what ``timed`` tells of it."""
    environment = begin(peer, folder)
    place(path, folder / MODEL)
    os.sync()
    steps = [shlex.join(command) for command in (*peer.save(1), ["sync"])]
    settings = [f"{name}={value}" for name, value in environment.items()]
    return timed(["env", *settings, "sh", "-c", f"({' && '.join(steps)}) 2>/dev/null"], folder)


def size_of(folder: Path) -> int:
    """Return the bytes of all files under ``folder``, a file with several names once."""
    found = (path.lstat() for path in folder.rglob("*") if path.is_file())
    return sum({(stat.st_dev, stat.st_ino): stat.st_size for stat in found}.values())


def place(source: Path, target: Path) -> None:
    """Copy, as some tools take the file for themselves or change its mode."""
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def begin(peer: Peer, folder: Path) -> dict[str, str]:
    """Let a tool begin in the empty ``folder``; return the environment it is to have."""
    environment = _environment(folder)
    for command in peer.begin:
        call(command, folder, environment)
    return environment


def _environment(folder: Path) -> dict[str, str]:
    """Return an environment in which no settings or caches but those of ``folder`` count."""
    home = folder / "home"
    home.mkdir()
    person = {"NAME": "bench", "EMAIL": "bench@example.org"}
    people = {f"GIT_{who}_{key}": person[key] for who in ("AUTHOR", "COMMITTER") for key in person}
    return {
        **os.environ,
        **people,
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "RESTIC_REPOSITORY": "repository",
        "RESTIC_PASSWORD": "bench",
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "DVC_NO_ANALYTICS": "1",
    }


def call(command: Command, folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
