"""Every error becomes a line, a hint and a status; nothing else reaches the user."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest

import mvc.errors
from mvc import system_errors
from mvc.cli import failures
from mvc.errors import Damaged, MvcError, MvcWarning, NotFound, StoreWarning
from mvc.registry import ModelRegistry
from tests.cli.running import mvc as run
from tests.cli.running import process, write_model
from tests.support.linkless import without_links

ERRNOS = sorted({*system_errors._WORDS, errno.ENOTTY, errno.EXDEV, errno.ENOLCK} - {errno.ENOMEM})


@pytest.mark.parametrize("number", ERRNOS, ids=errno.errorcode.get)
def test_every_error_of_the_system_is_a_line_with_path_and_hint(number: int) -> None:
    """An error of the system names the path in one lower-case line, and says what to do."""
    failure = failures.explain(OSError(number, os.strerror(number), "models/a.pt"))
    assert "'models/a.pt'" in failure.message
    assert "\n" not in failure.message
    assert failure.message[0].islower() or failure.message[0] == "'"
    assert failure.hint
    expected = 4 if number in (errno.ENOENT, errno.ENOTDIR) else 8
    assert failure.status == expected
    assert failure.code


@pytest.mark.parametrize("number", ERRNOS, ids=errno.errorcode.get)
def test_an_error_of_the_system_without_a_path_reads_well(number: int) -> None:
    """Where the system names no path, as for a failed write, no empty quotes are shown."""
    message = failures.explain(OSError(number, os.strerror(number))).message
    assert "''" not in message
    assert "{" not in message
    assert "None" not in message


def test_a_full_disk_is_called_so() -> None:
    """``ENOSPC`` and a used-up quota have one code, which scripts can tell from others."""
    full = failures.explain(OSError(errno.ENOSPC, "No space left on device", "x"))
    quota = failures.explain(OSError(errno.EDQUOT, "Disk quota exceeded", "x"))
    assert full.message == "the disk is full: 'x'"
    assert full.code == quota.code == "disk-full"


def test_a_private_name_is_not_shown() -> None:
    """A file that only mvc knows is shown as the folder it lies in."""
    error = OSError(errno.ENOSPC, "No space left on device", "/s/staging/.mvc-new-0a1b")
    assert failures.explain(error).message == "the disk is full: '/s/staging'"


def _classes(base: type[MvcError]) -> list[type[MvcError]]:
    """Return the public classes; a module may have one of its own, for its own use."""
    below = [cls for cls in base.__subclasses__() if cls.__module__ == mvc.errors.__name__]
    return [base, *(found for cls in below for found in _classes(cls))]


@pytest.mark.parametrize("kind", _classes(MvcError), ids=lambda kind: kind.__name__)
def test_an_error_of_mvc_keeps_its_words_code_and_status(kind: type[MvcError]) -> None:
    """Message, hint, code and status of each class arrive unchanged."""
    failure = failures.explain(kind("'x' is wrong", hint="type y"))
    assert (failure.message, failure.hint) == ("'x' is wrong", "type y")
    assert (failure.code, failure.status) == (kind.code, kind.status)
    assert kind.status in (1, 2, 3, 4, 5, 6, 7, 8)


def test_all_errors_of_mvc_are_known_here() -> None:
    """The public error classes are those the test above looks at."""
    public = {name for name in vars(mvc.errors) if isinstance(getattr(mvc.errors, name), type)}
    seen = {kind.__name__ for kind in _classes(MvcError)}
    assert public == {*seen, "ModelWarning", "MvcWarning", "StoreWarning", "UnreadWarning"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_is_130(error: BaseException) -> None:
    """Ctrl-C ends with the status that shells expect, and no traceback."""
    assert failures.explain(error).status == 130


def _raising(error: BaseException) -> Any:
    def families(self: ModelRegistry, **_: Any) -> NoReturn:
        raise error

    return families


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (NotFound("no family 'x'", hint="mvc list"), 4, "error: no family 'x'"),
        (OSError(errno.EROFS, "Read-only file system", "a"), 8, "error: 'a' is on a read-only"),
        (ValueError("two\nlines"), 8, "error: internal: ValueError: two"),
        (RecursionError(), 8, "error: internal: RecursionError"),
        (MemoryError(), 8, "error: out of memory"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_command_raises_ends_in_one_line(
    registry: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, line: str
) -> None:
    """Any exception in a command gives one ``error:`` line, nothing on stdout, no traceback."""
    monkeypatch.setattr(ModelRegistry, "families", _raising(error))
    done = run("list")
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith(line)
    assert done.err.count("error:") == 1
    assert "Traceback" not in done.err


def test_debugging_shows_where_it_came_from(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``MVC_DEBUG=1`` adds the traceback above the error."""
    monkeypatch.setattr(ModelRegistry, "families", _raising(ValueError("odd")))
    monkeypatch.setenv("MVC_DEBUG", "1")
    done = run("list")
    assert "Traceback" in done.err
    assert "error: internal: ValueError: odd" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "nope", "--json"],
        ["show", "--json"],
        ["frobnicate", "--json"],
        ["list", "--frobnicate", "--json"],
        ["add", "x", "nope.pt", "--json"],
        ["checkout", "a b", "--json"],
        ["tag", "--history", "--delete", "x@y", "--json"],
    ],
    ids=" ".join,
)
def test_a_failure_in_json_is_the_last_line_of_stderr(resnet18: Path, arguments: list[str]) -> None:
    """With ``--json`` a failure leaves stdout empty and one JSON object as stderr's last line."""
    done = run(*arguments)
    assert done.out == ""
    (key, error), *rest = json.loads(done.err.splitlines()[-1]).items()
    assert (key, rest) == ("error", [])
    assert list(error) == ["code", "message", "hint", "status"]
    assert error["status"] == done.status != 0
    assert f"error: {error['message']}\n" in done.err


def test_warnings_are_lines_and_each_is_said_once(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning of mvc is one ``warning:`` line however often it is raised; others are hushed."""

    def families(self: ModelRegistry, **options: Any) -> list[Any]:
        for _ in range(3):
            warnings.warn("the store is away", StoreWarning, stacklevel=2)
        warnings.warn("passed over", MvcWarning, stacklevel=2)
        return []

    monkeypatch.setattr(ModelRegistry, "families", families)
    done = run("list")
    assert done.status == 0
    assert done.err.startswith("warning: the store is away\nwarning: passed over\n")


def test_a_closed_pipe_ends_quietly(resnet18: Path) -> None:
    """When the reader of our output leaves, as head does, nothing is said."""
    reading, writing = os.pipe()
    os.close(reading)
    done = process(["log"], stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (failures.PIPE_CLOSED, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_an_error(resnet18: Path) -> None:
    """An answer that does not fit on the disk is not taken for an answer."""
    with open("/dev/full", "w") as full:
        done = process(["list"], stdout=full)
    assert done.returncode == 8
    assert done.stderr.startswith("error: the disk is full")


def test_closed_streams_are_no_error(resnet18: Path) -> None:
    """Without stdout and stderr a command still does its work."""
    script = f'"{sys.executable}" -m mvc tag resnet18@v1 prod >&- 2>&-'
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert os.spawnvpe(os.P_WAIT, "sh", ["sh", "-c", script], {**os.environ, **environment}) == 0
    assert run("show", "resnet18@prod", "-q").out == "resnet18/v1\n"


def test_control_characters_of_others_do_not_reach_the_terminal(registry: Path) -> None:
    """A message in a record cannot steer the terminal of whoever reads it."""
    evil = "safe\x1b]0;title\x07\x1b[2J\r gone"
    assert run("add", "m", "model.safetensors", "--message", evil).status == 0
    for arguments in (["log"], ["show", "m"], ["list", "m"]):
        out = run(*arguments).out
        assert "\x1b" not in out
        assert "\r" not in out
        assert "safe\\x1b" in out


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("add resnet18 better.safetensors --metrics acc=1", "did you mean '--metric'?"),
        ("add resnet18 better.safetensors --parents resnet18", "did you mean '--parent'?"),
        ("add resnet18 better.safetensors --metadata m.yaml", "did you mean '--meta'?"),
        ("list --al", "did you mean '--all'?"),
        ("--verbos list", "did you mean '--verbose'?"),
        ("list --frobnicate", "mvc list --help shows how it is used"),
        ("store mov x", "did you mean 'mvc store move'?"),
        ("push", "git push carries the records; mvc store --help says how to share bytes"),
        ("repair", "did you mean 'mvc fsck --repair'?"),
        ("move ../store", "did you mean 'mvc store move'?"),
        ("relink", "did you mean 'mvc store relink'?"),
        ("track m.pt", "did you mean 'mvc add'?"),
        ("remote add", "git carries the records; mvc store --help says how to share bytes"),
        ("info", "mvc show REF tells of a version, mvc store info of the store"),
        ("version", "mvc --version tells it"),
        ("fsck --deep", "did you mean '--full'?"),
        ("store frobnicate", "mvc store --help lists them"),
        ("log -n 0", "as in --limit 5"),
        ("--json list", "--json comes after the command, as in mvc list --json"),
        ("rollback resnet18@prod --to 2", "--to takes a version by its number, as in --to v3"),
        ("tag --delete resnet18@zzz", "mvc tag resnet18 lists those there are"),
        ("checkout resnet18 config.json", "mvc checkout resnet18 --include config.json"),
        ("checkout resnet18 -- *.bin", "mvc checkout resnet18 --include '*.bin'"),
        ("log resnet18 extra", "mvc log [FAMILY] [OPTIONS]"),
        ("search acc --sort", "mvc search --sort [-]NAME"),
        ("-C nowhere list", "-C DIR names the folder to work in, as if typed there"),
        ("import https://a.org/m.pt --as net", "mvc import SOURCE --family FAMILY"),
        ("show resnt18", "did you mean 'resnet18'?"),
        ("show resnet18@lates", "did you mean 'resnet18@latest'?"),
        ("show resnet18@newest", "did you mean 'resnet18@latest'?"),
        ("show resnet18@v7", "it has v1 to v2; mvc log resnet18 lists them"),
        ("path m.pt", "mvc show and diff take a file as ./m.pt; mvc list shows all families"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(resnet18: Path, typed: str, hint: str) -> None:
    """A wrong option, command, family, tag or version is answered with the one it is most like."""
    assert f"hint: {hint}" in run(*typed.split()).err.splitlines()


def test_damage_without_a_hint_of_its_own_leads_to_fsck(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where damaged bytes are met on the way, the hint is the command that says more."""
    monkeypatch.setattr(ModelRegistry, "families", _raising(Damaged("object 1f is damaged")))
    done = run("list")
    assert (done.status, done.err.splitlines()[-1].startswith("hint: mvc fsck says")) == (3, True)


def test_a_library_that_finds_no_memory_is_out_of_memory() -> None:
    """However a library, the loader or Python says it, too little memory is one clear line."""
    loader = ImportError("libopenblas.so: failed to map segment from shared object")
    wrapped = ImportError("IMPORTANT: PLEASE READ THIS")
    wrapped.__cause__ = loader
    thread = RuntimeError("can't start new thread")
    for error in (wrapped, loader, thread, OSError(errno.ENOMEM, "Cannot allocate memory")):
        failure = failures.explain(error)
        assert (failure.message, failure.status, failure.code) == ("out of memory", 8, "memory")
    other = ImportError("No module named 'frobnicate'")
    assert failures.explain(other).code == "internal"


def test_little_memory_is_no_fault_of_mvc(resnet18: Path) -> None:
    """A process that may have 60 MB says that they are too few, and nothing of a fault."""
    script = f'ulimit -v 60000; "{sys.executable}" -m mvc add small large.safetensors'
    write_model(resnet18 / "large.safetensors", 9)
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert "internal" not in done.stderr
    assert done.returncode == 0 or "error: out of memory\n" in done.stderr


def test_a_copy_is_not_called_a_link(resnet18: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ``checkout --link`` had to copy, that is what it says it did."""
    monkeypatch.setattr(os, "link", without_links)
    done = run("checkout", "resnet18", "--link", "-o", "out.safetensors")
    assert done.status == 0
    assert "was copied: it cannot be linked" in done.err
    assert done.err.splitlines()[-1].startswith("resnet18/v2: 101 kB written")


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("add resnet18@v2 -m acc=.91", "mvc add resnet18 --from resnet18@v2 -m acc=.91"),
        (
            "add resnet18 --from model.safetensors",
            "mvc show model.safetensors says which version it is: --from FAMILY@vN",
        ),
        (
            "rm resnet18@v1..v2",
            "a ref is one version: resnet18@v1; where several are taken, as by mvc rm, "
            "each is a word",
        ),
        ("search acc", "as in 'acc > 0.9', in quotes; operators are = != < <= > >= ~"),
        ("list net --sort -acc", "mvc search '' FAMILY --sort -acc lists the highest acc first"),
        ("rollback resnet18 prod", "a version is one word: mvc rollback resnet18@prod"),
        (
            "checkout resnet18@v1 resnet18@v2",
            "one at a time, then: mvc checkout resnet18@v2 -o PATH",
        ),
        ("show resnet18@v1 resnet18/v2", "one at a time, then: mvc show resnet18/v2"),
        (
            "checkout bert:config.json bert:vocab.txt",
            "mvc checkout bert --include config.json --include vocab.txt",
        ),
        ("checkout bert *.json", "mvc checkout bert --include '*.json'"),
        ("add net https://x.org/y.pt", "mvc import https://x.org/y.pt --family FAMILY"),
        (
            "add resnet18 model.safetensors -m 0.95",
            "a metric has a name, as in -m acc=0.95; a note is --message",
        ),
        ("show resnet18@v0", "versions are numbered from v1, as in resnet18@v1"),
        ("show resnet18@v01", "versions are numbered from v1, as in resnet18@v1"),
        ("log --since 3d", "mvc search 'created > 2026-11-20' lists what came after that day"),
        (
            "mv resnet18 x",
            "a family keeps its name; mvc add NEW --from FAMILY@vN gives a version to another",
        ),
    ],
)  # fmt: skip
def test_what_is_nearly_right_is_answered_with_what_to_type(
    resnet18: Path, typed: str, hint: str
) -> None:
    """A hint leads on to what was meant, and not to another mistake."""
    done = run(*typed.split())
    assert done.status in (2, 4)
    assert done.err.splitlines()[-1] == f"hint: {hint}"


def test_a_tensor_taken_for_a_file_is_called_so(resnet18: Path) -> None:
    """Who asks for a tensor as for a file is told what gives it, which does."""
    done = run("checkout", "resnet18@v1:fc.bias")
    assert done.status == 4
    typed = done.err.splitlines()[-1].partition("it is a tensor; in Python: mvc.")[2]
    given = eval(typed, {"ModelRegistry": ModelRegistry})
    assert given.shape == (100,)
    assert "it is a tensor" not in run("checkout", "resnet18@v1:fc.nothing").err
    assert "it is a tensor" not in run("checkout", "nothing@v1:fc.bias").err


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (("add", "resnet18", ""), "PATH"),
        (("add", "resnet18", "model.safetensors", ""), "PATH"),
        (("add", "resnet18", "model.safetensors", "--meta", ""), "--meta"),
        (("checkout", "resnet18", "-o", ""), "--output"),
        (("init", "--store", ""), "--store"),
        (("--store", "", "list"), "--store"),
        (("-C", "", "list"), "-C"),
        (("store", "move", ""), "PATH"),
        (("store", "relink", ""), "PATH"),
        (("store", "alternates", "--add", ""), "--add"),
        (("store", "alternates", "--remove="), "--remove"),
        (("fsck", "--repair", "--from", ""), "--from"),
    ],
)
def test_an_empty_path_is_never_the_working_folder(
    registry: Path, typed: tuple[str, ...], shown: str
) -> None:
    """A variable that is not set registers, replaces and makes nothing: a usage error."""
    before = sorted(registry.rglob("*"))
    told = run(*typed)
    assert (told.status, told.out) == (2, "")
    assert told.err == (
        f"error: {shown} is empty\nhint: is a variable in it not set? this folder is written '.'\n"
    )
    assert sorted(registry.rglob("*")) == before
