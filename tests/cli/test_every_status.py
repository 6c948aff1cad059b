"""Every status that a command's help promises, provoked: a line, a hint, and the same as JSON."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager as Setting
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from mvc.cli.app import root
from mvc.cli.command import Command
from mvc.partfile import PartFile
from mvc.registry import ModelRegistry
from mvc.registry.imports import download
from mvc.registry.imports.address import parse
from mvc.registry.imports.cached import Slot
from mvc.store.lock import maintenance
from tests.cli.running import mvc, write_model
from tests.support.file_server import serving

Prepare = Callable[[Path], "Setting[object] | None"]


@dataclass(frozen=True)
class Case:
    """A command line that ends with a status, in a folder with ``resnet18`` v1 and v2."""

    status: int
    words: str
    prepare: Prepare = lambda here: None

    @property
    def arguments(self) -> list[str]:
        return self.words.split()


def nothing_here(here: Path) -> None:
    os.chdir(here.parent)


def no_store(here: Path) -> None:
    (here / ".mvc/store").rename(here / "away")


def rotten(here: Path) -> None:
    for pack in (here / ".mvc/store/packs").iterdir():
        pack.chmod(0o644)
        data = bytearray(pack.read_bytes())
        data[200] ^= 0xFF
        pack.write_bytes(data)


def no_indexes(here: Path) -> None:
    for pack in (here / ".mvc/store/packs").iterdir():
        pack.chmod(0o644)
        pack.write_bytes(b"")


def strange_event(here: Path) -> None:
    folder = here / ".mvc/manifest/resnet18/events"
    folder.mkdir(exist_ok=True)
    (folder / "00000001.yaml").write_bytes(b"strange")


def tagged(here: Path) -> None:
    assert mvc("tag", "resnet18@v1", "prod").status == 0


def released(here: Path) -> None:
    assert mvc("rm", "resnet18@v1").status == 0
    assert mvc("gc", "--grace", "0").status == 0


def busy(here: Path) -> Setting[object]:
    return maintenance(here / ".mvc/store")


def occupied(here: Path) -> None:
    (here / "full").mkdir()
    (here / "full/file").write_text("mine")


def other_store(here: Path) -> None:
    assert mvc("-C", str(here), "init").status == 0
    (here / "other").mkdir()
    assert mvc("-C", "other", "init").status == 0


def written_over(here: Path) -> None:
    (here / "better.safetensors").write_text("mine")


@contextmanager
def _growing(here: Path) -> Iterator[None]:
    """Let a file change between the look at it and the end of its reading."""
    write_model(here / "new.safetensors", 5)
    real = os.pread

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        with (here / "new.safetensors").open("ab") as file:
            file.write(b"more")
        return real(descriptor, size, offset)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "pread", pread)
        yield


def without_metrics(here: Path) -> None:
    assert mvc("add", "plain", "better.safetensors").status == 0


def moved_away(here: Path) -> None:
    assert mvc("store", "move", "moved").status == 0


@contextmanager
def hosts(here: Path) -> Iterator[None]:
    """Be a proxy that knows ``models.test`` and, refusing, ``private.test``."""
    evil = pickle.dumps(print)
    with serving(evil) as server, pytest.MonkeyPatch.context() as patched:
        server.refusing = {"private.test": 401}
        patched.setenv("http_proxy", server.url)
        patched.delenv("no_proxy", raising=False)
        yield


@contextmanager
def held_by_another(here: Path) -> Iterator[None]:
    slot = Slot(here / "pretrained_models", parse("http://models.test/m.pt"))
    slot.make()
    part = PartFile.claim(slot.part)
    assert part is not None
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(download, "OTHERS_PATIENCE", 0.0)
        yield
    part.close()


CASES = [
    Case(2, "init --frobnicate"),
    Case(5, "init --store full", occupied),
    Case(2, "add resnet18 better.safetensors -m acc"),
    Case(1, "add resnet18 better.safetensors -m acc=0.1 --require acc>0.5"),
    Case(4, "add resnet18 nowhere.pt"),
    Case(4, "add resnet18 better.safetensors --parent resnet18@v9"),
    Case(5, "add resnet18 new.safetensors", _growing),
    Case(1, "import http://models.test/evil.pkl --refuse-code", hosts),
    Case(2, "import resnet18"),
    Case(4, "import http://models.test/m.pt --offline"),
    Case(4, "import http://models.test/m.pt", nothing_here),
    Case(6, "import http://models.test/m.pt", held_by_another),
    Case(7, "import http://private.test/m.pt", hosts),
    Case(2, "checkout resnet18@"),
    Case(3, "checkout resnet18@v1 -o out", rotten),
    Case(4, "checkout resnet18@v9"),
    Case(5, "checkout resnet18@v1 -o better.safetensors", written_over),
    Case(2, "path"),
    Case(3, "path resnet18@v1", rotten),
    Case(4, "path resnet18@v9"),
    Case(2, "list -n 0"),
    Case(4, "list nothing"),
    Case(4, "list", nothing_here),
    Case(2, "show --frobnicate"),
    Case(4, "show resnet18@v9"),
    Case(4, "show resnet18@v1 --tensors nothing"),
    Case(2, "log -n x"),
    Case(4, "log nothing"),
    Case(2, "diff resnet18@v1"),
    Case(3, "diff resnet18@v1 better.safetensors", rotten),
    Case(4, "diff resnet18@v1 resnet18@v9"),
    Case(2, "search acc>"),
    Case(4, "search acc>0 nothing"),
    Case(2, "status too many"),
    Case(4, "status", nothing_here),
    Case(2, "tag resnet18@v1 v7"),
    Case(1, "tag resnet18@v1 prod --require acc>0.99"),
    Case(4, "tag resnet18@v9 prod"),
    Case(5, "tag resnet18@v2 prod --expect none", tagged),
    Case(2, "rollback resnet18"),
    Case(4, "rollback resnet18@nothing"),
    Case(4, "rollback resnet18@prod", tagged),
    Case(2, "best"),
    Case(4, "best nothing acc"),
    Case(4, "best plain", without_metrics),
    Case(2, "rm resnet18"),
    Case(4, "rm resnet18@v9"),
    Case(5, "rm resnet18@v1", tagged),
    Case(2, "restore"),
    Case(4, "restore resnet18@v9"),
    Case(4, "restore resnet18@v1", released),
    Case(2, "keep resnet18 --grace 1h"),
    Case(3, "keep resnet18", strange_event),
    Case(4, "keep nothing --last 5"),
    Case(2, "fsck --quick --full"),
    Case(2, "gc --grace soon"),
    Case(3, "gc", strange_event),
    Case(4, "gc", no_store),
    Case(6, "gc", busy),
    Case(2, "repack now"),
    Case(3, "repack", strange_event),
    Case(4, "repack", no_store),
    Case(6, "repack", busy),
    Case(2, "du -x"),
    Case(4, "du", no_store),
    Case(2, "doctor now"),
    Case(2, "completion tcsh"),
    Case(2, "store frobnicate"),
    Case(2, "store info here"),
    Case(4, "store info", no_store),
    Case(2, "store move"),
    Case(5, "store move full", occupied),
    Case(6, "store move elsewhere", busy),
    Case(2, "store relink a b"),
    Case(4, "store relink nowhere"),
    Case(5, "store relink other/.mvc/store", other_store),
    Case(5, "store relink .mvc/store", moved_away),
    Case(2, "store alternates --add nowhere"),
    Case(4, "store alternates", no_store),
    Case(2, "store forget"),
    Case(4, "store forget 0123456789"),
]
# These answer in full with this status, or belong to those below; the demo is tested as a whole.
ELSEWHERE = {
    ("diff", 1),
    ("doctor", 1),
    ("fsck", 3),
    ("fsck", 6),
    ("import", 5),
    *((name, 3) for name in ("list", "log", "search", "status")),
    ("store", 4),
    ("store", 5),
    ("store", 6),
    ("store forget", 5),
}


def _commands(group: click.Group, above: str = "") -> Iterator[tuple[str, Command]]:
    for name in group.list_commands(click.Context(group)):
        found = group.get_command(click.Context(group), name)
        assert isinstance(found, Command)
        yield above + name, found
        if isinstance(found, click.Group):
            yield from _commands(found, f"{above}{name} ")


def test_every_status_of_every_command_is_here() -> None:
    """What a command's help says under 'Exit status' has a case, but for 0 and 8."""
    said = {
        (name, status)
        for name, command in _commands(root)
        for status in command.statuses
        if name != "demo" and status not in (0, 8)
    }
    names = sorted({name for name, _ in said}, key=len, reverse=True)
    provoked = {
        (next(name for name in names if f"{case.words} ".startswith(f"{name} ")), case.status)
        for case in CASES
    }
    assert said - provoked == ELSEWHERE - provoked
    assert provoked <= said


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.status} {case.words}")
def test_a_failure_is_a_line_a_hint_and_one_json_value(resnet18: Path, case: Case) -> None:
    """Nothing on stdout, no traceback, and the last line of stderr says the same for scripts."""
    with case.prepare(resnet18) or nullcontext():
        done = mvc(*case.arguments, "--json")
    assert (done.status, done.out) == (case.status, ""), done.err
    assert "Traceback" not in done.err
    error = json.loads(done.err.splitlines()[-1])["error"]
    assert list(error) == ["code", "message", "hint", "status"]
    assert error["status"] == case.status
    assert error["hint"]
    assert "\n" not in error["message"]
    first = error["message"].split()[0]
    assert not first[0].isupper() or first.isupper(), "only what a help calls so is in capitals"
    assert f"error: {error['message']}\n" in done.err
    assert f"hint: {error['hint']}\n" in done.err
    assert "internal" not in error["code"]


def test_a_forgotten_registry_that_is_ours_or_alive_is_a_conflict(resnet18: Path) -> None:
    """``store forget`` refuses the registry it is run in."""
    mine = ModelRegistry(resnet18).place.id
    done = mvc("store", "forget", mine, "--json")
    assert (done.status, done.out) == (5, "")
    assert json.loads(done.err.splitlines()[-1])["error"]["status"] == 5
