"""The pages of the registry's formats are true: examples and tables are read from them."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest
import yaml

from mvc import lines, tree
from mvc.digest import digest_of
from mvc.registry import event as events
from mvc.registry import names
from mvc.registry import record as records
from mvc.registry.event import Tagged
from tests.support.registry_builders import MIB, Project, noise, rewrite

PAGES = Path(__file__).parents[2] / "docs" / "formats"


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def example(name: str, kind: str = "yaml") -> bytes:
    """Return the one block of a kind on a page."""
    (block,) = re.findall(rf"```{kind}\n(.*?)```", page(name), re.DOTALL)
    return str(block).encode()


def fields(name: str, heading: str = "field, in order") -> list[str]:
    """Return the names in the first column of the table with a heading, in order."""
    table = re.search(rf"\| {heading} \|.*\n\|[-|]+\n((?:\|.*\n)+)", page(name))
    assert table is not None
    first = [row.split(" | ")[0] for row in table.group(1).splitlines()]
    return [word for cell in first for word in re.findall(r"`(\w+)`", cell)]


def test_the_example_of_a_record() -> None:
    """The record on the page is what the writer writes, and bears the digest told there."""
    data = example("record")
    record = records.decode(data)
    assert records.encode(record) == data
    assert (record.family, record.artifact.name, record.metrics["acc"]) == (
        "ResNet18",
        "model.pt",
        0.95,
    )
    assert f"begins with `{str(digest_of(data))[:15]}`." in page("record")
    assert list(lines.loads(data)) == fields("record")
    of_artifact = fields("record", "field of `artifact`, in order")
    assert list(record.artifact.as_values()) == of_artifact[:-2]
    assert set(record.lineage) == set(fields("record", "field of `lineage`"))


def test_the_example_of_a_directory() -> None:
    """The artifact on the page is that of the tree on the page of trees."""
    values: Any = lines.loads(example("record", "text"))["artifact"]
    artifact = records.Artifact.from_values(values)
    assert artifact.as_values() == values
    assert artifact.listing == tree.decode(example("tree", "text")).files
    of_artifact = fields("record", "field of `artifact`, in order")
    assert list(values) == [*of_artifact[:5], *of_artifact[-2:]]
    of_file = fields("record", "field of a file, in order")
    assert all(list(row) == of_file for row in values["listing"])


def test_the_example_of_the_digest_of_weights(project: Project) -> None:
    """The line on the page is that of the tensor told there, and its digest is what is noted."""
    header = b'{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'
    project.add(struct.pack("<Q", len(header)) + header + bytes(16), name="m.safetensors")
    line = example("record", "json")
    assert json.loads(line)[:3] == ["w", "float32", [2, 2]]
    assert project.registry().get("net")["weights"] == str(digest_of(line))


def test_the_digest_of_weights_of_a_large_file_follows_the_page(project: Project) -> None:
    """A reading of the page's rule gives the digest that mvc notes, over chunks and small ones."""
    large, small = noise(9 * MIB), noise(40)
    tensors = {"b": (small, [10]), "a": (large, [9 * MIB // 4])}
    table, start = {}, 0
    for name, (data, shape) in tensors.items():
        table[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, start + len(data)]}
        start += len(data)
    header = json.dumps(table).encode()
    project.add(struct.pack("<Q", len(header)) + header + small + large, name="m.safetensors")
    rows = []
    for name, (data, shape) in tensors.items():
        chunks = [str(digest_of(data[at : at + 4 * MIB])) for at in range(0, len(data), 4 * MIB)]
        rows.append(json.dumps([name, "float32", shape, chunks], separators=(",", ":")) + "\n")
    expected = digest_of("".join(sorted(rows)).encode())
    assert project.registry().get("net")["weights"] == str(expected)


def test_the_example_of_an_event() -> None:
    """The event on the page is what the writer writes, and says what the page says of it."""
    data = example("event")
    event = events.decode(data, 5)
    assert events.encode(event) == data
    assert isinstance(event.change, Tagged)
    assert (event.change.tag, event.change.version, event.change.undoes) == ("prod", 1, 4)
    assert list(lines.loads(data)) == fields("event")
    assert set(fields("event", "`kind`")) == {"tagged", "best", "keep", *events.STANDINGS}


def test_the_example_of_a_family_file(project: Project) -> None:
    """The file on the page has the form and the order of one that is written."""
    shown = lines.loads(lines.unseal(example("family")))
    project.add(b"1", metrics={"acc": 0.5}, tags=["prod"])
    written = lines.loads(lines.unseal(project.family_file().read_bytes()))
    assert list(shown) == list(written) == fields("family")[:-1]
    assert [type(value) for value in shown.values()] == [type(v) for v in written.values()]
    for name in ("rule", "versions"):
        one, other = shown[name], written[name]
        assert isinstance(one, dict)
        assert isinstance(other, dict)
        assert list(one) == list(other)


def test_the_example_of_a_manifest(project: Project) -> None:
    """Two versions and a tag make the files that the page lists."""
    project.add(b"1", family="ResNet18", tags=["prod"])
    project.add(b"2", family="ResNet18")
    manifest = project.mvc / "manifest"
    found = sorted(p.relative_to(project.mvc).as_posix() for p in manifest.rglob("*.yaml"))
    assert "".join(f"{name}\n" for name in found).encode() == example("manifest", "text")
    text = page("manifest")
    assert f"at most {names.MAX_NAME} characters" in text


def test_the_example_of_the_settings(project: Project) -> None:
    """The settings on the page are those of a registry, but for the ids, and open it."""
    project.add(b"1")
    path = project.mvc / "config.yaml"
    written, shown = path.read_bytes(), example("registry")
    new, old = yaml.safe_load(written), yaml.safe_load(shown)
    assert list(old) == list(new) == fields("registry")
    assert old["store"]["path"] == new["store"]["path"] == "store"
    settings = shown.replace(old["store"]["id"].encode(), new["store"]["id"].encode())
    roots = project.mvc / "store" / "roots"
    (roots / new["id"]).rename(roots / old["id"])
    rewrite(path, lambda _: settings)
    assert project.bytes_of("net") == b"1"
    assert project.registry().fsck("full").ok


@pytest.mark.parametrize("name", ["record", "event", "manifest", "family", "registry"])
def test_the_pages_lead_to_pages_that_exist(name: str) -> None:
    """Every link on a page is to a page beside it."""
    for target in re.findall(r"\]\(([\w-]+\.md)\)", page(name)):
        assert (PAGES / target).is_file(), target
