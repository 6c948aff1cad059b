"""What the system does not let mvc do: Python and the command line tell the same of it."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mvc import ModelRegistry, MvcError, StoreWarning, SystemFailed
from tests.cli.running import mvc
from tests.support.registry_builders import Project

Call = Callable[[ModelRegistry], object]
WRITES: dict[str, Call] = {
    "add net small.bin": lambda r: r.add("net", "small.bin"),
    "add new small.bin": lambda r: r.add("new", "small.bin"),
    "add net --from net@v1 -m acc=1": lambda r: r.add(
        "net", from_version="net@v1", metrics={"acc": 1}
    ),
    "tag net@v1 x": lambda r: r.tag("net@v1", "x"),
    "tag --delete net@prod": lambda r: r.delete_tag("net@prod"),
    "rollback net@prod": lambda r: r.rollback("net@prod"),
    "best net acc --min": lambda r: r.best("net", "acc", mode="min"),
    "rm net@v1": lambda r: r.rm("net@v1"),
    "restore net@v2": lambda r: r.restore("net@v2"),
    "keep net --last 1": lambda r: r.keep("net", last=1),
    "checkout net@v1 -o out.bin": lambda r: r.checkout("net@v1", "out.bin"),
    "store alternates --add {beside}": lambda r: r.store_alternates(add=beside(r)),
    "store move {beside}/new": lambda r: r.move_store(beside(r) / "new"),
}
# These find room on a full disk, and mend what is whole by writing nothing.
TIDYING: dict[str, Call] = {
    "gc --grace 0": lambda r: r.gc("0"),
    "repack": lambda r: r.repack(),
    "fsck --repair": lambda r: r.fsck(repair=True),
}


def beside(registry: ModelRegistry) -> Path:
    """Return the store of another registry."""
    return registry.folder.parents[1] / "other" / ".mvc" / "store"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A registry in the working folder, which is all of a small file system."""
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "other").mkdir()
    Project(tmp_path / "other").add(b"another")
    made = Project(folder)
    with _mounted(folder, ["-t", "tmpfs", "-o", "size=2M,mode=755", "tmpfs"]):
        for number in (1, 2, 3):
            made.add(random.Random(number).randbytes(3000), metrics={"acc": number}, tags=["prod"])
        made.registry().tag("net@v3", "prod")
        made.registry().rm("net@v2", force=True)
        made.file(b"small", "small.bin")
        yield made


@contextmanager
def _mounted(folder: Path, how: Sequence[str]) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    done = subprocess.run(["mount", *how, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)  # a traceback may hold a file open


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    here = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    with _mounted(folder, ["--bind", os.fspath(folder)]):
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield


@contextmanager
def full(folder: Path) -> Iterator[None]:
    with (folder / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(1 << 16))
    yield


@contextmanager
def failing(number: int) -> Iterator[None]:
    """Let every write to a file of ours fail, as a quota or a broken disk does."""

    def writev(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "writev", writev)
        yield


SITUATIONS: dict[str, tuple[Callable[[Project], AbstractContextManager[None]], int, str]] = {
    "read-only": (lambda p: read_only(p.folder), errno.EROFS, "read-only"),
    "full": (lambda p: full(p.folder), errno.ENOSPC, "disk-full"),
    "quota": (lambda p: failing(errno.EDQUOT), errno.EDQUOT, "disk-full"),
    "broken": (lambda p: failing(errno.EIO), errno.EIO, "disk-failed"),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_refused_write_is_told_alike(project: Project, situation: str) -> None:
    """Each writing method raises what its command prints: a line, a hint, a word, a status."""
    begin, number, code = SITUATIONS[situation]
    calls = WRITES | (TIDYING if situation == "read-only" else {})
    with begin(project), inside(project.folder):
        for typed, call in calls.items():
            if situation != "read-only" and typed.startswith("store move"):
                continue  # what it began is not there to begin again
            error = told(project, typed, call)
            assert error["status"] == 8, typed
            assert error["errno"] in (number, None), typed
            assert error["code"] == code or "are free in" in error["message"], (typed, error)
    assert project.registry().list("net") == ["v1", "v3"]


def told(project: Project, typed: str, call: Call) -> dict[str, Any]:
    """Return how a refusal is told, which must be the same in both ways."""
    with pytest.raises(MvcError) as raised:
        call(ModelRegistry(project.folder))
    error = raised.value
    done = mvc(*typed.format(beside=beside(project.registry())).split(), "--json")
    assert "Traceback" not in done.err
    printed: dict[str, Any] = json.loads(done.err.splitlines()[-1])["error"]
    raised_as: dict[str, Any] = {"code": error.code, "message": error.message}
    raised_as |= {"hint": error.hint, "status": error.status}
    assert _without_names(printed) == _without_names(raised_as), typed
    assert ".mvc-new-" not in printed["message"]
    return printed | {"errno": error.errno if isinstance(error, SystemFailed) else None}


def _without_names(told: dict[str, Any]) -> dict[str, Any]:
    """Return it without what is random: the names of transactions."""
    words = told["message"].partition("/staging/")[0]
    return {**told, "message": words}


def test_a_cache_of_ones_own_is_emptied_though_the_store_may_only_be_read(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``gc --cache`` takes what ``path`` made, and says that it takes nothing else."""
    monkeypatch.setenv("MVC_CACHE", str(tmp_path / "mine"))
    with read_only(project.folder), inside(project.folder):
        made = Path(mvc("path", "net@v1").out.strip())
        assert made.is_file()
        with pytest.warns(StoreWarning, match="only the cache is emptied: "):
            assert ModelRegistry().gc(cache=True).freed >= 3000
        assert not made.exists()
        mvc("path", "net@v1")
        done = mvc("gc", "--cache")
        assert (done.status, done.out.splitlines()[-1]) == (0, "3.06 kB freed")
        assert "warning: only the cache is emptied: " in done.err
        assert mvc("gc").status == 8
        monkeypatch.setenv("MVC_CACHE", str(project.folder / "theirs"))
        assert mvc("gc", "--cache").status == 8
