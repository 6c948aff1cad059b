"""Doctor: what is set up wrong is found, with what to type; what is right is left alone."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mvc import ModelRegistry, fileio, versions
from mvc.registry import sealed
from mvc.registry.care import doctor
from mvc.registry.manifest import Manifest
from tests.cli.running import mvc, process
from tests.support.linkless import without_links

GROUPS = {"software", "registry", "store", "cache", "terminal"}


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk has room, however full this machine's is."""
    monkeypatch.setattr(fileio, "free_space", lambda path: 10**12)


def problems(*words: str) -> dict[str, str]:
    """Return the problems that are found, each with its hint; status and lines agree with them."""
    done = mvc("doctor", *words)
    lines = done.out.splitlines()
    found = {
        line.removeprefix("problem: "): lines[number + 1].removeprefix("hint: ")
        for number, line in enumerate(lines)
        if line.startswith("problem: ")
    }
    assert done.status == (1 if found else 0)
    assert all(found.values())
    assert lines[-1] == "all is well" or found
    return found


def test_a_good_set_up_is_well(resnet18: Path) -> None:
    """In a fresh registry nothing is to be mended, and everything is looked at."""
    assert problems() == {}
    told = mvc("doctor", "--json").json
    assert told["ok"] is True
    assert {fact["group"] for fact in told["facts"]} == GROUPS
    found = {(fact["group"], fact["name"]): fact["found"] for fact in told["facts"]}
    assert found["registry", "folder"].endswith(".mvc, found from here upward")
    assert found["store", "folder"].endswith(".mvc/store, where it is configured")
    assert found["store", "hard links"] == "yes"
    assert found["store", "durability"] == "full"
    assert mvc("doctor", "-q").out == ""
    assert len(mvc("doctor").out.splitlines()) <= 24


def test_nothing_is_left_behind(resnet18: Path) -> None:
    """Looking changes no file and leaves none, in the registry and beside it."""

    def all_of() -> dict[str, tuple[int, int]]:
        files = (path for path in resnet18.rglob("*") if path.is_file())
        return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in files}

    for folder in ("versions", "events"):  # changed long ago: what is noted of them stays
        if (path := resnet18 / ".mvc/manifest/resnet18" / folder).is_dir():
            os.utime(path, (1, 1))
    mvc("doctor")
    before = all_of()
    assert mvc("doctor").status == 0
    assert ModelRegistry(resnet18).doctor().ok
    assert all_of() == before


def test_without_a_registry_it_says_what_makes_one(here: Path) -> None:
    """Where there is none, software and terminal are looked at all the same."""
    assert problems() == {f"no registry in '{here}' or above it": "mvc init makes one"}
    facts = mvc("doctor", "--json").json["facts"]
    assert {fact["group"] for fact in facts} == {"software", "registry", "terminal"}


def break_store(here: Path) -> None:
    (here / ".mvc/store").rename(here / "away")


def move_store_by_hand(here: Path) -> None:
    assert mvc("store", "move", str(here / "elsewhere")).status == 0
    (here / "elsewhere").rename(here / ".mvc/store-new")
    shutil.rmtree(here / ".mvc/store")
    (here / ".mvc/store-new").rename(here / ".mvc/store")


def open_to_all(here: Path) -> None:
    (here / ".mvc/manifest").chmod(0o777)


def forget_git(here: Path) -> None:
    subprocess.run(["git", "init", "-q", str(here)], check=True)
    (here / ".mvc/.gitignore").write_text("/cache/\n")


def damage_settings(here: Path) -> None:
    (here / ".mvc/config.yaml").write_bytes(b"\0\n")


def lose_alternate(here: Path) -> None:
    (here / "other").mkdir()
    assert mvc("-C", "other", "init").status == 0
    assert mvc("store", "alternates", "--add", "other/.mvc/store").status == 0
    shutil.rmtree(here / "other")


@pytest.mark.parametrize(
    ("spoil", "said", "typed"),
    [
        (break_store, "is not there", "mvc store relink"),
        (move_store_by_hand, "mvc store relink", ""),
        (open_to_all, "anyone may write to", "chmod o-w "),
        (forget_git, "git would take what is this machine's own: /store/, /config.yaml", ">> "),
        (damage_settings, "config.yaml", "mvc init"),
        (lose_alternate, "other", "mvc store alternates --remove "),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_each_thing_wrong_is_found(
    resnet18: Path, spoil: Callable[[Path], None], said: str, typed: str
) -> None:
    """A problem is one line that says what is wrong with which thing, and one what to type."""
    spoil(resnet18)
    found = problems()
    assert any(said in f"{problem} {hint}" and typed in hint for problem, hint in found.items())
    assert mvc("doctor", "-q").out.startswith("problem: ")


@pytest.mark.parametrize(("free", "told"), [(200_000_000, "200.0 MB"), (46_100, "46.1 kB")])
def test_a_full_disk_is_found(
    resnet18: Path, monkeypatch: pytest.MonkeyPatch, free: int, told: str
) -> None:
    """Less than a gigabyte is said, with the commands that make room."""
    monkeypatch.setattr(fileio, "free_space", lambda path: free)
    ((problem, hint),) = problems().items()
    assert problem == f"the disk is almost full: {told} left"
    assert "mvc gc, gc --grace 0 or gc --cache" in hint


def test_a_cache_that_cannot_be_is_found(resnet18: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the next ``path`` would fail of is said before, with the commands that need it."""
    monkeypatch.setenv("MVC_CACHE", str(resnet18 / "model.safetensors" / "cache"))
    ((problem, hint),) = problems().items()
    assert "may not be written to, so mvc path and mvc checkout --link fail" in problem
    assert hint.endswith("MVC_CACHE=DIR")
    assert mvc("path", "resnet18").status == 8


def test_a_version_from_the_future_tells_of_a_wrong_clock(
    resnet18: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record made later than now means that a clock is, or was, wrong."""
    with monkeypatch.context() as later:
        later.setattr(sealed, "now", lambda: "2199-01-01T00:00:00.000000Z")
        for name in ("mvc.registry.intake.intake.now", "mvc.registry.changes.now"):
            later.setattr(name, sealed.now, raising=False)
        assert mvc("add", "future", "model.safetensors").status == 0
    ((problem, _),) = problems().items()
    assert "future/v1 was made at 2199-01-01T00:00:00Z" in problem


def test_a_family_that_is_taken_away_meanwhile_is_no_failure(
    resnet18: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when git goes to a branch without it, between the look at names and that at versions."""
    monkeypatch.setattr(Manifest, "families", lambda manifest: ["gone", "resnet18"])
    assert problems() == {}


def test_a_missing_library_is_found(resnet18: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What mvc cannot do without is a problem, what single methods need is not."""
    there = versions.library
    monkeypatch.setattr(
        versions, "library", lambda name: None if name in ("rich", "torch") else there(name)
    )
    assert problems() == {"not installed: rich": "python -m pip install rich"}


def test_a_disk_without_links_is_told(resnet18: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has no hard links that is said, and is no problem."""
    monkeypatch.setattr(os, "link", without_links)
    assert problems() == {}
    assert "hard links  none" in " ".join(mvc("doctor").out.split(" " * 3)).replace("   ", "  ")


def test_who_may_only_read_is_told_so(resnet18: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a registry of others nothing is tried, and nothing is to be mended."""
    monkeypatch.setattr(fileio, "may_write", lambda folder: ".mvc" not in folder.parts)
    monkeypatch.setenv("MVC_CACHE", str(resnet18 / "mine"))
    assert problems() == {}
    facts = {f"{f.group} {f.name}": f.found for f in ModelRegistry(resnet18).doctor().facts}
    assert facts["store writable"] == "no: you may only read"
    assert facts["store tried"] == "nothing: it may not be written to"
    assert "store sync" not in facts


def test_a_terminal_that_knows_no_letters_is_found(resnet18: Path) -> None:
    """Where the encoding is not UTF-8 the hint is the variable that makes it so."""
    done = process(["doctor"], {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 1
    assert "hint: export LC_ALL=C.UTF-8\n" in done.stdout


def test_completion_is_found_where_it_is_set_up(
    resnet18: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the user's shell loads completion is told, and is never a problem."""
    monkeypatch.setenv("SHELL", "/bin/bash")
    monkeypatch.setenv("HOME", str(resnet18))
    assert "not found for bash" in mvc("doctor").out
    (resnet18 / ".bashrc").write_text('eval "$(mvc completion bash)"\n')
    assert "set up for bash" in mvc("doctor").out


def test_what_is_printed_may_be_shown_to_others(
    resnet18: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The home stands as ``~``, and no variable's value is printed."""
    monkeypatch.setenv("HOME", str(resnet18.parent))
    monkeypatch.setenv("MVC_AUTHOR", "hunter2")
    monkeypatch.setenv("HF_TOKEN", "hunter2")
    for words in ((), ("--json",)):
        printed = mvc("doctor", *words).out
        assert f"~/{resnet18.name}/.mvc" in printed
        assert str(resnet18.parent) not in printed
        assert "hunter2" not in printed


def test_the_kind_of_file_system_is_known(tmp_path: Path) -> None:
    """What the system calls the file system of a folder is told, also below a mount."""
    assert doctor.file_system(Path("/proc/self")) == "proc"
    assert doctor.file_system(tmp_path) not in ("unknown", "proc")


def test_a_full_disk_is_not_taken_for_somebody_elses(
    resnet18: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a trial fails for want of space, what to type frees some."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "trial")

    monkeypatch.setattr(fileio, "NewFile", full)
    ((problem, hint),) = problems().items()
    assert problem == "the disk is full: 'trial'"
    assert "gc --grace 0" in hint
