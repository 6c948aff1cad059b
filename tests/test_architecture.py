"""The plan of the house, held: who may import whom, who prints, who writes, how long things are.

The reasons stand in the messages. The plan itself: ``docs/contributing.md``.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mvc"
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))

# Imports point down this list or stay in their own room.
FLOORS = (
    {"__init__", "__main__"},
    {"cli", "training"},
    {"registry"},
    {"store"},
    {"formats", "codecs"},
    set(
        "recipe tree verdict digest lines compatibility progress fileio partfile beneath "
        "durability system system_errors versions".split()
    ),
    {"errors"},
)
LEAVES = FLOORS[5]
# Beside the floors: who may come in.
VISITORS = {"environment": {"cli", "registry", "training"}, "frameworks": {"cli", "registry"}}
VISITORS_USE = {"environment": {"errors"}, "frameworks": {"errors"}}

MOST_LINES = 500
MOST_LINES_OF_A_FUNCTION = 60

# Each library has its places; where several modules share one, they are one room.
LIBRARIES: dict[str, set[str]] = {
    "blake3": {"mvc/digest.py"},
    "xxhash": {"mvc/digest.py", "mvc/store/pack.py"},
    "backports": {"mvc/codecs/zstd.py"},
    "compression": {"mvc/codecs/zstd.py"},
    "numpy": {
        "mvc/codecs/delta.py",
        "mvc/codecs/palette.py",
        "mvc/codecs/plan.py",
        "mvc/codecs/planes.py",
        "mvc/codecs/predict.py",
        "mvc/codecs/reading_back.py",
        "mvc/codecs/residual.py",
        "mvc/codecs/sections.py",
        "mvc/codecs/sketch.py",
        "mvc/codecs/transpose.py",
        "mvc/formats/numbers.py",
        "mvc/frameworks/without_torch.py",
    },
    "fastcdc": {"mvc/formats/content.py"},
    "filelock": {"mvc/store/lock.py"},
    "torch": {"mvc/frameworks/libraries.py"},
    "torchvision": {"mvc/frameworks/libraries.py"},
    "safetensors": {"mvc/frameworks/libraries.py"},
    "lightning": {"mvc/training/lightning.py"},
    "pytorch_lightning": {"mvc/training/lightning.py"},
    "transformers": {"mvc/training/transformers.py"},
    "huggingface_hub": {"mvc/registry/imports/hub_client.py"},
    "click": {path for path in MODULES if path.startswith("mvc/cli/")},
    "rich": {path for path in MODULES if path.startswith("mvc/cli/")},
    "yaml": {"mvc/registry/intake/card.py"},
}

HEAVY = {"torch", "torchvision", "safetensors", "rich", "yaml", "huggingface_hub"}

ENVIRONMENT = {"environ", "environb", "getenv", "putenv", "home", "expanduser", "getpass"}

# What makes, changes or removes a name or a file, as attributes of os, shutil, tempfile, Path.
CHANGING_OS = (
    "link symlink rename renames replace unlink remove rmdir removedirs mkdir makedirs mkfifo "
    "mknod truncate ftruncate chmod fchmod chown utime write writev pwrite pwritev sendfile fdopen"
).split()
CHANGING_PATHS = (
    "write_text write_bytes touch mkdir rename unlink rmdir symlink_to hardlink_to chmod"
).split()
WRITE_FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"}
# By path, what a later process goes on with, and for folders of the user's by name beneath an
# open folder.
WRITERS = {"mvc/fileio.py", "mvc/partfile.py", "mvc/beneath.py"}
# torch writes by itself, and the demo's files are no part of a registry.
WRITES_BY_ITSELF = "mvc/frameworks/"
EXCUSED = {
    ("mvc/system.py", "rename"): "what Python has no call for; only the two writers may ask for it",
    ("mvc/store/materialised.py", "mkdir"): "a folder in a cache, which may be lost",
    ("mvc/training/secured.py", "mkdir"): "a folder of names that are given up again",
}


def tree_of(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(), path)


def room_of(module: str) -> str:
    """Return the room a module of ours is in: ``mvc.store.pack`` is in ``store``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def own_room(path: str) -> str:
    parts = Path(path).with_suffix("").parts
    return parts[1]


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def imports_of(tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    """Yield each module imported, its line, and whether a function does it."""
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            submodules = PACKAGE.parent / (node.module or "").replace(".", "/")
            names = [
                f"{node.module}.{alias.name}" if _is_module(submodules, alias.name) else node.module
                for alias in node.names
                if node.module
            ]
        elif _is_dynamic(node):
            assert isinstance(node, ast.Call)
            names = [str(a.value) for a in node.args if isinstance(a, ast.Constant)]
        else:
            continue
        for name in names:
            yield name, getattr(node, "lineno", 0), id(node) in inside


def _is_module(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()


def _is_dynamic(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and name_of(node.func) in ("import_module", "__import__")


def name_of(node: ast.expr) -> str:
    """Return the last word of ``a.b.c``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def owner_of(node: ast.expr) -> str:
    """Return the word before the last of ``a.b.c``."""
    return name_of(node.value) if isinstance(node, ast.Attribute) else ""


def functions_of(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("path", MODULES)
def test_imports_point_downward(path: str) -> None:
    """A module uses the floors below it and its own room, so that each can be read by itself."""
    own = own_room(path)
    wrong = []
    for name, line, inside in imports_of(tree_of(path)):
        room = room_of(name)
        if not name.startswith("mvc.") or room == own:
            continue
        if room in VISITORS:
            if own not in VISITORS[room]:
                users = " and ".join(sorted(VISITORS[room]))
                wrong.append(f"line {line}: {name} is for {users} only; be told what it knows")
            elif room == "frameworks" and not inside:
                wrong.append(f"line {line}: {name} may be missing: import it in the function")
        elif own in VISITORS_USE:
            if room not in VISITORS_USE[own]:
                wrong.append(f"line {line}: {own} stands by itself and may not use {name}")
        elif floor_of(room) < floor_of(own) or (
            floor_of(room) == floor_of(own) and not {room, own} <= LEAVES
        ):
            wrong.append(
                f"line {line}: {name} is on floor {floor_of(room)}, this is on "
                f"{floor_of(own)}; data walks down and comes back up once"
            )
    assert not wrong, f"{path}: " + "; ".join(wrong)


@pytest.mark.parametrize("path", MODULES)
def test_each_library_has_its_place(path: str) -> None:
    """A library is imported where the table says, so that it can be replaced, or be missing."""
    wrong = []
    for name, line, inside in imports_of(tree_of(path)):
        library = name.partition(".")[0]
        if library == "mvc" or (library in sys.stdlib_module_names and library != "compression"):
            continue
        if path not in LIBRARIES.get(library, set()):
            places = ", ".join(sorted(LIBRARIES.get(library, {"no module"})))
            wrong.append(f"line {line}: {library} is for {places}")
        elif library in HEAVY and not inside:
            wrong.append(
                f"line {line}: {library} is heavy: import it in the function that needs it"
            )
    assert not wrong, f"{path}: " + "; ".join(wrong)


@pytest.mark.parametrize("path", MODULES)
def test_only_the_command_line_prints(path: str) -> None:
    """Nothing below ``cli`` prints or knows a terminal, so that Python users get values."""
    if path.startswith("mvc/cli/"):
        return
    wrong = [
        f"line {node.lineno}: {name_of(node)}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, (ast.Name, ast.Attribute))
        and (
            name_of(node) in ("print", "input", "breakpoint")
            or (name_of(node) in ("stdout", "stderr", "stdin") and owner_of(node) == "sys")
        )
    ]
    assert not wrong, f"{path}: only cli/ prints and asks; return a value, or warn: {wrong}"


@pytest.mark.parametrize("path", MODULES)
def test_only_environment_reads_the_environment(path: str) -> None:
    """Variables, home and login are read in one module, so that every other can be told."""
    if path == "mvc/environment.py":
        return
    wrong = [
        f"line {node.lineno}: {name_of(node)}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and node.attr in ENVIRONMENT
        and owner_of(node) != "environment"
    ]
    assert not wrong, f"{path}: only environment.py reads the environment and home: {wrong}"


@pytest.mark.parametrize("path", MODULES)
def test_only_fileio_writes(path: str) -> None:
    """Files are made, changed and removed in two modules, so that every write can be failed."""
    if path in WRITERS or path.startswith(WRITES_BY_ITSELF):
        return
    wrong = [
        f"line {node.lineno}: {word}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and (word := writing(node)) and (path, word) not in EXCUSED
    ]
    assert not wrong, f"{path}: only fileio.py writes; give it a function for this: {wrong}"


def writing(call: ast.Call) -> str | None:
    """Return the word for what a call changes on disk, ``None`` for any other call."""
    word, owner = name_of(call.func), owner_of(call.func)
    if owner in ("shutil", "tempfile"):
        return None if word == "which" else f"{owner}.{word}"
    if owner == "os":
        if word == "open":
            flags = {name_of(node) for node in ast.walk(call) if isinstance(node, ast.Attribute)}
            return "os.open" if flags & WRITE_FLAGS and "devnull" not in flags else None
        return f"os.{word}" if word in CHANGING_OS else None
    if owner == "system":
        return "system.rename_once" if word == "rename_once" else None
    if word == "open":
        return "open" if set(_mode(call)) & set("wax+") else None
    if owner in ("fileio", "dataclasses", "formatter"):  # click's formatter writes text to a page
        return None
    is_path_replace = word == "replace" and owner and len(call.args) == 1 and not call.keywords
    return word if word in CHANGING_PATHS or is_path_replace else None


def _mode(call: ast.Call) -> str:
    """Return the mode a file is opened with: ``open(path, mode)`` or ``path.open(mode)``."""
    position = 1 if isinstance(call.func, ast.Name) else 0
    given = [*call.args[position : position + 1]]
    given += [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    return "".join(str(node.value) for node in given if isinstance(node, ast.Constant))


def test_warnings_are_given_in_one_place() -> None:
    """So that each points at the line of the program that called, however deep it is found."""
    found = [path for path in MODULES if "warnings.warn(" in (ROOT / path).read_text()]
    assert found == ["mvc/errors.py"], "use mvc.errors.warn, which finds that line"


def test_what_is_excused_is_still_there() -> None:
    """An excuse goes when its reason goes."""
    for path, word in EXCUSED:
        calls = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
        assert word in map(writing, calls), f"{path} needs no excuse for {word} any more"


@pytest.mark.parametrize("path", MODULES)
def test_modules_and_functions_stay_short(path: str) -> None:
    """A module is one idea, a function one step: 350 and 35 lines are aimed at, 500 and 60 held."""
    lines = len((ROOT / path).read_text().splitlines())
    assert lines <= MOST_LINES, f"{path} has {lines} lines, at most {MOST_LINES}: cut it in two"
    for function in functions_of(tree_of(path)):
        size = (function.end_lineno or function.lineno) - function.lineno + 1
        assert size <= MOST_LINES_OF_A_FUNCTION, (
            f"{path}: {function.name} has {size} lines, at most {MOST_LINES_OF_A_FUNCTION}: "
            "give its steps names"
        )


@pytest.mark.parametrize("path", MODULES)
def test_everything_public_says_what_it_is(path: str) -> None:
    """A module names what it offers, and every function it offers has a docstring."""
    tree = tree_of(path)
    said = ast.get_docstring(tree) or ""
    assert said, f"{path} has no docstring: say which question it answers"
    public = [
        node
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]
    if public:
        listed = "Public names:" in said or all(node.name in said for node in public)
        assert listed, f"{path} does not list its public names"
    for node in public:
        assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"


@pytest.mark.parametrize("path", MODULES)
def test_the_public_names_are_there(path: str) -> None:
    """What a module's docstring lists is defined or imported in it."""
    tree = tree_of(path)
    said = ast.get_docstring(tree) or ""
    if "Public names:" not in said:
        return
    listed = said.partition("Public names:")[2].split("``")[1::2]
    known = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            known |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            known |= {name_of(target) for target in targets}
    missing = [name for name in listed if name.rstrip("_") not in known and name not in known]
    assert not missing, f"{path} lists {missing}, which it does not have"
