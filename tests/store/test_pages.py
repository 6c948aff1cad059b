"""The pages on packs, the merged index and stores are what the code reads and writes."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from mvc import lines
from mvc.digest import digest_of
from mvc.store import Store, Transaction, pack
from mvc.store import index as merged
from mvc.store.index import PackIndex
from mvc.store.pack import PackReader
from tests.support import store_builders as build

OBJECTS = [b"weights", b""]


def place_example(folder: Path) -> Path:
    """Write the page's pack under its name."""
    raw = build.example("pack.md")
    name: bytes = pack.FOOTER.unpack_from(raw, len(raw) - pack.FOOTER_SIZE)[-1]
    path = folder / (name.hex() + pack.SUFFIX)
    path.write_bytes(raw)
    return path


def test_the_example_of_a_pack_reads_as_its_page_says(tmp_path: Path) -> None:
    """The page's pack is whole, bears the name told there, and gives the two objects."""
    path = place_example(tmp_path)
    (told,) = re.findall(r"Its name begins with `([0-9a-f]+)`", build.page("pack.md"))
    assert path.name.startswith(told)
    reader = PackReader(path)
    reader.check()
    contents = {entry.digest: bytes(reader.payload(entry)) for entry in reader.index}
    assert contents == {digest_of(data): data for data in OBJECTS}


def test_the_example_of_a_pack_is_the_writers(tmp_path: Path) -> None:
    """The writer lays out the same two objects byte for byte as on the page."""
    assert build.write_pack(tmp_path, OBJECTS).read_bytes() == build.example("pack.md")


@pytest.mark.parametrize(
    ("name", "heading", "size"),
    [
        ("pack.md", "## Header", pack.PACK_HEADER.size),
        ("pack.md", "## Frame", pack.FRAME_HEADER.size),
        ("pack.md", "## Index", pack.INDEX_HEADER.size),
        ("pack.md", "### Entry", pack.INDEX_ENTRY.size),
        ("pack.md", "## Footer", pack.FOOTER_SIZE),
        ("merged-index.md", "## Header", merged._HEADER.size),
    ],
)
def test_the_tables_are_the_codes(name: str, heading: str, size: int) -> None:
    """The fields in a page's table leave no gap and add up to what the code reads."""
    assert build.sizes_add_up(name, heading) == size


def test_the_limits_on_the_page_are_the_codes() -> None:
    """The numbers in the rules are those that are enforced."""
    assert pack.MAX_PAYLOAD == 65 << 20
    assert "A payload MUST NOT be over 65 MiB, an index not over 1 GiB." in build.page("pack.md")
    assert pack.MAX_INDEX_SIZE == pack.MAX_PACK_SIZE == 1 << 30
    assert f"more than {merged.MOST_UNCOVERED} packs" in build.page("merged-index.md")


def test_the_example_of_a_merged_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's index is what is written over the page's pack, and finds its objects."""
    monkeypatch.setattr(merged, "MOST_UNCOVERED", 0)
    (tmp_path / "packs").mkdir()
    (tmp_path / "cache").mkdir()
    path = place_example(tmp_path / "packs")
    PackIndex(path.parent, tmp_path / "cache").merge_if_due()
    raw = build.example("merged-index.md")
    assert (tmp_path / "cache" / "index").read_bytes() == raw
    entries, names = merged._read_merged(tmp_path / "cache" / "index")
    assert names == [path.name]
    assert [entry.pack for data in OBJECTS for entry in entries.find(digest_of(data))] == [0, 0]


def test_the_example_of_settings_opens(tmp_path: Path) -> None:
    """A store that bears the page's ``store.yaml`` opens under the id that stands there."""
    raw = build.example("store.md")
    build.new_store(tmp_path / "store")
    build.rewrite(tmp_path / "store" / "store.yaml", raw)
    store = Store.open(tmp_path / "store")
    assert store.id == lines.loads(raw)["id"] == "5f3c" * 8
    build.publish(store, [b"weights"])
    assert bytes(store.get(digest_of(b"weights"))) == b"weights"


def test_the_folders_are_those_of_the_page(tmp_path: Path) -> None:
    """Whatever a store makes, also while a transaction is under way, has a row on the page."""
    told = re.findall(r"^\| `([a-z]+)[./][^`]*` \|", build.page("store.md"), re.MULTILINE)
    store = build.new_store(tmp_path / "store")
    transaction = Transaction(store)
    list(build.steps_of(transaction, [b"weights"]))
    assert {name.removesuffix(".yaml") for name in os.listdir(store.folder)} <= set(told)
    for path in store.folder.rglob("*"):
        relative = path.relative_to(store.folder).as_posix()
        known = (
            r"store\.yaml|features|locks|packs(/[0-9a-f]{64}\.pack)?"
            r"|roots(/[0-9a-f]{32}(/[0-9a-f]{64}\.yaml)?)?"
            r"|staging(/[0-9a-f]{32}(/record\.yaml|/\d+\.pack)?)?"
        )
        assert re.fullmatch(known, relative), relative
        if path.is_file():
            assert not stat.S_IMODE(path.stat().st_mode) & 0o222, relative
    transaction.end()


def test_the_steps_on_the_page_are_those_of_a_publish(tmp_path: Path) -> None:
    """Every step that a kill can follow has a row on the page, in its order."""
    below = build.page("store.md").split("## What a kill leaves\n", 1)[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([a-z, ]+) \|", below, re.MULTILINE)[1:]
    transaction = Transaction(build.new_store(tmp_path / "store"))
    steps = list(build.steps_of(transaction, [b"weights"]))
    transaction.end()
    assert [step for row in rows for step in row.split(", ")] == steps
