"""What a command may import: the cheap ones stay cheap."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.cli.running import ROOT, mvc

HEAVY = ["numpy", "compression.zstd", "backports.zstd", "torch", "torchvision", "safetensors",
         "rich", "filelock", "fastcdc", "yaml", "sqlite3", "asyncio", "multiprocessing", "http",
         "email", "unittest"]  # fmt: skip
NEVER = ["torch", "torchvision", "safetensors", "rich", "filelock", "asyncio", "multiprocessing"]
LIBRARIES = {"click", "blake3", "xxhash"}


def _ours(names: str, *more: set[str]) -> set[str]:
    """Read names below ``mvc``, and add sets of them."""
    return {f"mvc.{name}" for name in names.split()}.union(*more)


ALWAYS = _ours(
    """
    cli cli.app cli.command cli.failures cli.manner cli.output
    digest durability environment errors fileio progress system_errors
    """,
    {"mvc", "mvc.system"},
)
RECORDS = _ours(
    """
    cli.bar compatibility lines tree verdict
    registry registry.arguments registry.registry registry.care_methods registry.import_methods
    registry.keep_methods registry.search_methods registry.tag_methods registry.tensor_methods
    registry.location.store_methods
    registry.changes registry.directions registry.display registry.duration registry.event
    registry.family
    registry.manifest registry.names registry.reach registry.record registry.refs registry.resolve
    registry.sealed registry.tags registry.unchanging registry.version
    registry.location registry.location.finding registry.location.lost registry.location.newest
    registry.location.place registry.location.presence
    store store.alternates store.settings
    """,
    ALWAYS,
)
STORE = _ours(
    """
    codecs codecs.encoding recipe
    store.index store.listed store.pack store.pipeline store.store
    """,
    RECORDS,
)
SEARCH = _ours(
    """
    registry.search registry.search.columns registry.search.expression registry.search.facts
    registry.search.matching registry.search.parser registry.search.records registry.search.search
    registry.search.times
    """
)
# To tag, it is looked whether records came by git, and what they need is rooted.
ROOTING = _ours(
    "registry.location.pulled store.intents store.naming store.roots store.transaction", STORE
)
LIGHT = [
    (["--help"], ALWAYS),
    (["--version"], ALWAYS),
    (["list"], _ours("cli.list cli.tables cli.versions", RECORDS)),
    (["list", "resnet18"], _ours("cli.list cli.tables cli.versions", STORE)),
    (["show", "resnet18"], _ours("cli.show cli.tables cli.versions registry.alike", STORE)),
    (["log"], _ours("cli.log cli.tables cli.versions", STORE)),
    (
        ["search", "acc > 0.9 and not tag = archived", "--sort", "-acc"],
        _ours("cli.search cli.tables cli.versions", SEARCH, STORE),
    ),
    (
        ["list", "--where", "acc >= @best.acc - 0.01"],
        _ours("cli.list cli.tables cli.versions", SEARCH, RECORDS),
    ),
    (["tag", "resnet18"], _ours("cli.tables cli.tags", RECORDS)),
    (["tag", "resnet18@v1", "prod"], _ours("cli.tables cli.tags", ROOTING)),
    (
        ["status"],
        _ours("cli.status registry.status registry.folder_status registry.digests", STORE),
    ),
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
before = set(sys.modules)
from mvc.cli.app import run
status = run(sys.argv[1:])
print("STATUS", status, file=sys.stderr)
print("MODULES", *(set(sys.modules) - before), file=sys.stderr)
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


@pytest.mark.parametrize(("arguments", "ours"), LIGHT, ids=[" ".join(row[0]) for row in LIGHT])
def test_looking_imports_what_it_needs(
    resnet18: Path, arguments: list[str], ours: set[str]
) -> None:
    """Each command that looks, searches or tags loads modules that are listed, and no others."""
    imported = _imported(arguments)
    assert imported & set(HEAVY) == set()
    found = {name for name in imported if name.partition(".")[0] == "mvc"}
    assert sorted(found - ours) == [], "loaded as well: list it if it must be, else import it later"
    assert sorted(ours - found) == [], "not loaded any more: take it off the list"
    tops = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - {"mvc"}
    assert tops <= LIBRARIES


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
    ours = ("app", "command", "failures", "manner", "output")
    assert imported == {f"mvc.cli.{name}" for name in ours}


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
