"""What ``--json`` prints is described, all of it: the schemas in ``docs/json`` and their page."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator

from mvc.cli.app import root
from tests.cli.running import mvc, write_model
from tests.support import schemas
from tests.support.schemas import NAMES, faults, name_of, schema

PAGE = schemas.FOLDER.parent / "json.md"
SHARED = {"common", "error"}

# One after the other, in a folder with resnet18 v1 and v2 and more.
SESSION = """
init
list
list resnet18
log
log --withdrawn
search acc>0.5
show resnet18@v1
show resnet18@v1 --tensors
show bert
show bert --tensors
show ./folder
show ./better.safetensors --tensors
show ./model.pkl
diff resnet18@v1 resnet18@v2 --stat
diff resnet18@v1 folder
status
du
fsck
fsck --quick
fsck --full --max-duration 10s
fsck --repair
path resnet18@v1
checkout resnet18@v1 -o out
checkout bert -o there
best resnet18
best resnet18 acc --max
best plain acc
tag resnet18
tag --history resnet18@prod
rollback resnet18@prod
tag resnet18@v1 prod
add resnet18 model.safetensors -m loss=nan -p lr=1e-5 --input-shape 1,3 --message hi --label a=b
add resnet18 --from resnet18@v1
add bert folder
add many model.safetensors better.safetensors
add pickled model.pkl
rm resnet18@v2
restore resnet18@v2
keep
keep resnet18 --last 1 --younger 30d
keep resnet18
keep many --last 1
gc --dry-run --grace 0
gc
gc --grace 0
repack --dry-run
repack
tag --delete resnet18@prod
store info
store relink
store move elsewhere --dry-run
store forget OTHER --force --dry-run
doctor
store alternates
store alternates --add other/.mvc/store
"""
LINES = SESSION.strip().splitlines()


@pytest.fixture
def busy_folder(resnet18: Path) -> Path:
    """A registry with a bit of everything, and another one on its store."""
    Path("folder").mkdir()
    shutil.copy("model.safetensors", "folder")
    Path("folder/config.json").write_text("{}")
    Path("model.pkl").write_bytes(b"cbuiltins\nprint\n.")
    Path("other").mkdir()
    for line in (
        "add bert folder", "add plain folder/config.json", "add gone model.pkl", "rm gone@v1",
        "tag resnet18@v2 prod", "tag resnet18@v1 prod", "-C other init",
    ):  # fmt: skip
        assert mvc(*line.split()).status == 0
    Path("shared").mkdir()
    assert mvc("-C", "shared", "init", "--store", str(resnet18 / ".mvc/store")).status == 0
    assert mvc("-C", "shared", "add", "net", "../better.safetensors").status == 0
    write_model(Path("better.safetensors"), bias=0.7)
    return resnet18


def commands(group: click.Group, above: str = "") -> Iterator[str]:
    """Yield the names of commands that take ``--json``."""
    for name in group.list_commands(click.Context(group)):
        found = group.get_command(click.Context(group), name)
        assert found is not None
        if any("--json" in option.opts for option in found.params):
            yield above + name
        if isinstance(found, click.Group):
            yield from commands(found, f"{above}{name} ")


def objects_in(part: Any) -> Iterator[dict[str, Any]]:
    """Yield every part of a schema that describes an object, or adds to one."""
    if isinstance(part, dict):
        if "properties" in part or part.get("type") == "object":
            yield part
        for value in part.values():
            yield from objects_in(value)
    elif isinstance(part, list):
        for value in part:
            yield from objects_in(value)


def test_every_command_that_answers_in_json_has_a_schema() -> None:
    """And there is no schema of anything else."""
    assert {name.replace(" ", "-") for name in commands(root)} == set(NAMES) - SHARED


def test_the_page_names_every_schema() -> None:
    """Its table has each command once, with the file that describes it."""
    rows = re.findall(r"^\| `([a-z ]+)` \|.*\| \[(.*)\]\((.*)\) \|$", PAGE.read_text(), re.M)
    expected = [(n, n.replace(" ", "-")) for n in sorted(commands(root))]
    assert [(name, shown) for name, shown, _ in rows] == expected
    assert {link for *_, link in rows} == {f"json/{shown}.schema.json" for _, shown in expected}


def test_the_page_names_every_field_of_a_version() -> None:
    """Those of the one Version object stand in its table."""
    table = PAGE.read_text().partition("## The Version")[2].partition("## The commands")[0]
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.M)))
    assert sorted(named) == sorted(schema("common")["$defs"]["version_fields"]["properties"])


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_leaves_nothing_open(name: str) -> None:
    """It is one, its objects name all their fields, and each field says what it is."""
    text = schema(name)
    Draft202012Validator.check_schema(text)
    assert text["$id"] == f"{name}{schemas.SUFFIX}"
    known = schema("common")["$defs"]
    for part in objects_in({k: v for k, v in text.items() if k != "$defs"} | text.get("$defs", {})):
        closed = part.get("additionalProperties", part.get("unevaluatedProperties"))
        given = part in (known["lineage"], known["version_fields"]) or "properties" not in part
        assert closed is False or given, part
        for field, described in part.get("properties", {}).items():
            shared = known.get(described.get("$ref", "").rpartition("/")[2], {})
            assert "description" in described or "description" in shared, field


def test_answers_follow_their_schemas(busy_folder: Path) -> None:
    """Each command, as ``mvc`` of these tests checks it, succeeds and prints what is described."""
    config = (busy_folder / ".mvc/config.yaml").read_text()
    roots = os.listdir(busy_folder / ".mvc/store/roots")
    (other,) = (registry for registry in roots if registry not in config)
    for line in LINES:
        done = mvc(*line.replace("OTHER", other).split(), "--json")
        well = (0, 1) if line == "doctor" else (0,)  # as the machine is
        assert done.status in well, (line, done.err)
        assert faults(name_of(line.split()), done.json) == [], line


def test_a_damaged_store_is_described_too(busy_folder: Path) -> None:
    """``fsck`` answers with what it found, and with what it mended."""
    shutil.copytree(busy_folder / ".mvc/store", "copy")
    for pack in (busy_folder / ".mvc/store/packs").iterdir():
        os.chmod(pack, 0o644)
        pack.write_bytes(pack.read_bytes()[:-1] + b"?")
    found = mvc("fsck", "--json")
    assert found.status == 3
    assert found.json["findings"]
    mended = mvc("fsck", "--repair", "--from", "copy", "--json")
    assert mended.status == 0
    assert mended.json["mended"]


def test_every_schema_is_tried() -> None:
    """Each has an answer here; ``import`` brings its models from a server of its own tests."""
    tried = {name_of(line.split()) for line in LINES}
    assert tried | SHARED | {"import"} == set(NAMES)


@pytest.mark.parametrize("where", ["", "artifact", "model", "artifact.safety"])
def test_a_field_that_is_not_described_is_noticed(resnet18: Path, where: str) -> None:
    """In a version and in what is inside it, alone, in an array and with more beside it."""
    for line in ("show resnet18", "list resnet18", "add resnet18 model.safetensors"):
        answer = mvc(*line.split(), "--json").json
        part = answer[0] if isinstance(answer, list) else answer
        for name in filter(None, where.split(".")):
            part = part[name]
        part["surprise"] = 1
        assert faults(name_of(line.split()), answer)
