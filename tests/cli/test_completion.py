"""Completion: in real shells, what TAB makes of a command line; and what it may cost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mvc.cli.app import ENTRIES, root
from mvc.cli.complete import answer, words_of
from tests.cli.running import ROOT, mvc, process, write_model
from tests.support.terminal import Terminal, open_terminal

SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
START = {
    "bash": "PS1='ready> '; eval \"$(mvc completion bash)\"",
    "zsh": "PS1='ready> '; autoload -U compinit; compinit -D -u; eval \"$(mvc completion zsh)\"",
    "fish": "function fish_prompt; echo 'ready> '; end; mvc completion fish | source",
}


@pytest.fixture
def project(resnet18: Path) -> Path:
    """A registry with two families, tags, a folder, and an ``mvc`` that a shell finds."""
    (resnet18 / "bert").mkdir()
    write_model(resnet18 / "bert/model.safetensors", 3)
    (resnet18 / "bert/config.json").write_text("{}")
    assert mvc("add", "bert", "bert").status == 0
    assert mvc("tag", "resnet18@v1", "prod").status == 0
    bin = resnet18 / "bin"
    bin.mkdir()
    (bin / "mvc").write_text(f'#!/bin/sh\nexec {sys.executable} -m mvc "$@"\n')
    (bin / "mvc").chmod(0o755)
    return resnet18


@contextmanager
def shell(name: str, folder: Path, start: str = "") -> Iterator[Terminal]:
    """Open a shell that completes mvc, at its prompt on an empty screen."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    variables = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_DATA_HOME": str(folder / "data"),
        "PYTHONPATH": str(ROOT),
    }
    with open_terminal(SHELLS[name], folder=folder, environment=variables, rows=40) as terminal:
        terminal.type(f"{START[name]}; {start or 'true'}; echo set-'up'\r")
        terminal.wait_for("\nset-up\nready>")
        yield terminal


CASES = [
    ("mvc chec", "mvc checkout"),
    ("mvc show res", "mvc show resnet18"),
    ("mvc show resnet18@pr", "mvc show resnet18@prod"),
    ("mvc checkout bert@v1:con", "mvc checkout bert@v1:config.json"),
    ("mvc add resnet18 bett", "mvc add resnet18 better.safetensors"),
    ("mvc add resnet18 x -m a", "mvc add resnet18 x -m acc="),
    ("mvc -q list --no-prog", "mvc -q list --no-progress"),
]
MORE = [
    ("mvc show --tens", "mvc show --tensors"),
    ("mvc show resnet18/v1", "mvc show resnet18/v1"),
    ("mvc checkout bert/v1:mo", "mvc checkout bert/v1:model.safetensors"),
    ("mvc add resnet18 x --parent=resnet18@pr", "mvc add resnet18 x --parent=resnet18@prod"),
    ("mvc rollback resnet18@p", "mvc rollback resnet18@prod"),
    ("mvc best resnet18 a", "mvc best resnet18 acc"),
    ("mvc search x --sort a", "mvc search x --sort acc"),
    ("mvc show 'resnet18@pr", "mvc show 'resnet18@prod'"),
]


def press_tab(terminal: Terminal, cases: list[tuple[str, str]]) -> None:
    """Type each line and TAB, and wait for what that must become; then clear the line."""
    for number, (typed, expected) in enumerate(cases):
        terminal.type(f"{typed}\t")
        terminal.wait_for(f"ready> {expected}")
        terminal.type(f"\x15echo done-{number}\r")
        terminal.wait_for(f"\ndone-{number}\nready>")


@pytest.mark.parametrize("name", SHELLS)
def test_tab_completes_what_can_only_be_one_thing(name: str, project: Path) -> None:
    """In each shell TAB completes commands, options, families, refs, files, tags and metrics."""
    with shell(name, project) as terminal:
        press_tab(terminal, CASES + (MORE if name == "bash" else []))
        terminal.type("mvc show resnet18@\t\t")
        for word in ("latest", "best", "prod", "v1", "v2"):
            terminal.wait_for(word)


def test_bash_may_break_words_as_it_likes(project: Path) -> None:
    """Also where neither ``@`` nor ``:`` ends a word for bash, the line becomes right."""
    with shell("bash", project, "COMP_WORDBREAKS=${COMP_WORDBREAKS//[:@=]/}") as terminal:
        press_tab(terminal, CASES[2:4] + MORE[3:4])


def test_another_folder_is_asked_for_its_own_names(project: Path) -> None:
    """With ``-C DIR`` and with ``MVC_DIR`` the names are those of that registry."""
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    asked = ["-C", str(project), "show", "res"]
    done = process(asked, {"_MVC_COMPLETE": "zsh"}, cwd="/")
    assert done.stdout == "open\tresnet18\t\n"
    done = process(["show", "res"], {"_MVC_COMPLETE": "zsh", "MVC_DIR": str(project)}, cwd="/")
    assert done.stdout == "open\tresnet18\t\n"


def lines(*words: str) -> list[str]:
    return list(answer("zsh", root, words))


def offered(*words: str) -> list[str]:
    return [line.split("\t")[1] for line in lines(*words)]


def test_each_command_offers_what_it_takes(project: Path) -> None:
    """rm offers what is not withdrawn, restore what is, and refs say where tags stand."""
    assert mvc("rm", "bert/v1").status == 0
    assert offered("restore", "bert@") == ["bert@v1"]
    assert offered("add", "bert", "", "--refuse") == ["--refuse-code"]  # that word may come yet
    assert offered("rm", "bert@") == []
    assert offered("rm", "resnet18/") == ["resnet18/v2", "resnet18/v1"]
    assert lines("show", "resnet18@") == [
        "plain\tresnet18@latest\tv2",
        "plain\tresnet18@best\tv2, acc 0.95",
        "plain\tresnet18@prod\tv1",
        "plain\tresnet18@v2\t",
        "plain\tresnet18@v1\t",
    ]
    assert offered("show", "resnet18@best.") == ["resnet18@best.acc"]
    assert offered("tag", "resnet18@v1", "--expect", "") == ["v2", "v1"]
    assert offered("tag", "--delete", "resnet18@") == ["resnet18@prod"]
    assert offered("tag", "--history", "resnet18@") == ["resnet18@prod"]
    assert offered("show", "RES") == ["resnet18"]
    assert offered("show", "") == ["bert", "resnet18"]
    assert [line.split("\t")[0] for line in lines("show", "./")] == ["file"]
    assert [line.split("\t")[0] for line in lines("-C", "/")] == ["dir"]
    assert offered("") == list(ENTRIES)


def test_metrics_are_offered_where_they_are_compared(project: Path) -> None:
    """To sort by, either way, and for the last word of an expression."""
    assert offered("search", "x", "--sort", "") == ["acc"]
    assert offered("search", "x", "--sort", "-") == ["-acc"]
    assert offered("search", "x", "--sort=-a") == ["--sort=-acc"]
    assert offered("search", "a") == ["acc"]
    assert offered("search", "no") == []
    assert offered("search", "lr = 1 and (a") == ["lr = 1 and (acc"]
    assert offered("list", "resnet18", "--where", "a") == ["acc"]
    gate = "acc >= @prod."
    assert offered("tag", "resnet18@v2", "prod", "--require", gate) == [f"{gate}acc"]


@pytest.mark.parametrize(
    "words",
    [["path", "no@"], ["path", "a b@"], ["nope", ""], ["path", "resnet18@v9:"], ["rm", "x@y@z"]],
    ids=" ".join,
)
def test_nothing_is_said_where_there_is_nothing(project: Path, words: list[str]) -> None:
    """What cannot be completed prints nothing, on either stream, and ends with 0."""
    done = process(words, {"_MVC_COMPLETE": "zsh"})
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_no_error_reaches_who_presses_tab(project: Path) -> None:
    """Damaged records, events and settings, or no registry at all, print nothing."""
    event = next((project / ".mvc/manifest/resnet18/events").iterdir())
    for path in (
        event,
        project / ".mvc/manifest/resnet18/family.yaml",
        project / ".mvc/config.yaml",
    ):
        path.chmod(0o644)
        path.write_bytes(b"\0damaged\n")
        done = process(["show", "resnet18@"], {"_MVC_COMPLETE": "fish"})
        assert (done.stderr, done.returncode) == ("", 0)
    done = process(["show", ""], {"_MVC_COMPLETE": "fish"}, cwd="/")
    assert (done.stderr, done.returncode) == ("", 0)
    done = process([""], {"_MVC_COMPLETE": "bash"}, cwd="/")
    assert (done.stderr, done.returncode) == ("", 0)


OPENED = """
import sys
opened = []
sys.addaudithook(lambda name, given: opened.append(str(given[0])) if name == "open" else None)
from mvc.cli import app
app.run(sys.argv[1:])
print(*(path for path in opened if "/.mvc/" in path), sep="\\n", file=sys.stderr)
print(*(name for name in sys.modules), file=sys.stderr)
"""


def test_names_alone_are_read_and_nothing_heavy_is_loaded(project: Path) -> None:
    """A ref is completed from a few small files, whatever the number of versions, and no store."""
    for number in range(3, 20):
        assert mvc("add", "resnet18", "--from", "resnet18@v1", "-m", f"acc=0.{number}").status == 0
    for folder in ("versions", "events"):  # changed long ago: what is noted of them stays
        os.utime(project / ".mvc/manifest/resnet18" / folder, (1, 1))
    mvc("list", "resnet18")
    done = subprocess.run(
        [sys.executable, "-c", OPENED, "checkout", "resnet18@"],
        env={**os.environ, "_MVC_COMPLETE": "zsh", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    *opened, modules = done.stderr.splitlines()
    assert len(done.stdout.splitlines()) == 19 + 3
    assert len(opened) <= 5
    assert not [path for path in opened if "/store/" in path]
    loaded = set(modules.split())
    assert not loaded & {"numpy", "rich", "torch", "filelock", "backports.zstd", "yaml"}
    commands = {entry.place.partition(":")[0] for entry in ENTRIES.values()}
    assert loaded & commands == {"mvc.cli.checkout"}


@pytest.mark.parametrize(
    ("line", "words", "quoted"),
    [
        ("mvc show ", ["mvc", "show", ""], False),
        ("mvc show res", ["mvc", "show", "res"], False),
        ("mvc show 'my fam", ["mvc", "show", "my fam"], True),
        ('mvc -C "a b" show r', ["mvc", "-C", "a b", "show", "r"], False),
        ("mvc add a\\ b", ["mvc", "add", "a b"], False),
        ("mvc", ["mvc"], False),
    ],
)
def test_a_line_is_cut_as_the_shell_cuts_it(line: str, words: list[str], quoted: bool) -> None:
    """Quotes, escapes and an empty last word are understood."""
    assert words_of(line) == (words, quoted)


def test_the_script_is_what_is_printed_alone(here: Path) -> None:
    """``mvc completion`` prints a script that its shell can read, and nothing else."""
    for name in SHELLS:
        done = mvc("completion", name)
        assert (done.status, done.err) == (0, "")
        if shutil.which(name):
            script = here / f"script.{name}"
            script.write_text(done.out)
            assert os.system(f"{name} -n {script}") == 0
    assert mvc("completion").status == mvc("completion", "tcsh").status == 2
