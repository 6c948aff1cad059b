"""What a command may import: the cheap ones stay cheap."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.cli.running import ROOT, mvc, process

HEAVY = ["numpy", "compression.zstd", "backports.zstd", "torch", "torchvision", "safetensors",
         "rich", "filelock", "fastcdc", "yaml", "sqlite3", "asyncio", "multiprocessing", "http",
         "email", "unittest"]  # fmt: skip
NEVER = ["torch", "torchvision", "safetensors", "rich", "filelock", "asyncio", "multiprocessing"]
LIGHT = [
    ["--help"],
    ["--version"],
    ["list"],
    ["list", "resnet18"],
    ["show", "resnet18"],
    ["log"],
    ["search", "acc > 0.9 and not tag = archived", "--sort", "-acc"],
    ["list", "--where", "acc >= @best.acc - 0.01"],
    ["tag", "resnet18"],
    ["tag", "resnet18@v1", "prod"],
    ["status"],
]
OTHERS = [
    ["add", "resnet18", "model.safetensors"],
    ["checkout", "resnet18@v1", "-o", "out"],
    ["path", "resnet18@v1"],
    ["fsck", "--full"],
    ["du"],
]
PROGRAM = """
import sys
from mvc.cli.app import run
status = run(sys.argv[1:])
print("STATUS", status, file=sys.stderr)
print("MODULES", *sys.modules, file=sys.stderr)
"""


def _imported(arguments: list[str]) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "MVC_AUTHOR": "anna"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *_, status, modules = done.stderr.splitlines()
    assert status == "STATUS 0", done.stderr
    return set(modules.split()[1:])


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_looking_imports_nothing_heavy(resnet18: Path, arguments: list[str]) -> None:
    """Looking, searching and tagging load no library for bytes, and no large module."""
    assert _imported(arguments) & set(HEAVY) == set()


def test_tensors_are_told_without_anything_heavy(registry: Path) -> None:
    """What a version's tensors take stands in recipes and indexes, which need no library."""
    save_file({"w": np.zeros((2000, 1000), "float32")}, registry / "large.safetensors")
    assert mvc("add", "m", "large.safetensors").status == 0
    assert _imported(["show", "m", "--tensors"]) & set(HEAVY) == set()


@pytest.mark.parametrize("arguments", OTHERS, ids=" ".join)
def test_no_command_needs_a_framework(resnet18: Path, arguments: list[str]) -> None:
    """Whatever mvc does with a model file, it loads no framework that could run it."""
    assert _imported(arguments) & set(NEVER) == set()


def test_a_path_that_is_ready_needs_nothing_heavy(resnet18: Path) -> None:
    """The second ``mvc path`` decodes nothing, so it loads nothing that could."""
    first = _imported(["path", "resnet18@v1"])
    assert "numpy" in first
    assert _imported(["path", "resnet18@v1"]) & set(HEAVY) == set()


def test_help_loads_no_command(here: Path) -> None:
    """``mvc --help`` is made from a table, without a single command's module."""
    imported = {name for name in _imported(["--help"]) if name.startswith("mvc.cli.")}
    assert imported == {"mvc.cli.app", "mvc.cli.command", "mvc.cli.failures", "mvc.cli.output"}


def test_a_shell_can_complete_commands(here: Path) -> None:
    """Shells that ask for completion get the names of commands and options."""
    asked = {"_MVC_COMPLETE": "bash_complete", "COMP_WORDS": "mvc ch", "COMP_CWORD": "1"}
    assert process([], asked).stdout == "plain,checkout\n"
    asked = {"_MVC_COMPLETE": "bash_complete", "COMP_WORDS": "mvc fsck --q", "COMP_CWORD": "2"}
    assert process([], asked).stdout == "plain,--quick\n"


ROOM = """
import resource
from mvc import environment
environment.keep_memory()
size = 8 << 20
bytearray(size)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    bytearray(size)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_buffers_are_used_over_and_over() -> None:
    """Fifty buffers, one after the other, touch no more new pages than one of them has."""
    if not platform.libc_ver()[0].startswith("glibc"):
        pytest.skip("only glibc can be told")
    done = subprocess.run(
        [sys.executable, "-c", ROOM], capture_output=True, text=True, check=True, timeout=60,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert int(done.stdout) <= 8 << 8
