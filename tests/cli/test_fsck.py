"""What ``mvc fsck`` prints where much is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.running import mvc


@pytest.fixture
def clone(registry: Path) -> Path:
    """The records of twelve versions with a store that has none of their bytes."""
    for number in range(12):
        Path(f"{number}.bin").write_bytes(bytes([number]) * 1000)
        assert mvc("add", "net", f"{number}.bin").status == 0
    shutil.copytree(registry / ".mvc/manifest", registry / "clone/.mvc/manifest")
    assert mvc("-C", "clone", "init").status == 0
    return registry / "clone"


def test_what_a_clone_lacks_is_told_in_one(clone: Path) -> None:
    """A block for all that is missing, with the first versions that it hurts and one remedy."""
    told = mvc("-C", str(clone), "fsck", "--quick")
    assert told.status == 3
    named = ", ".join(f"net/v{number}" for number in range(1, 11))
    one_line = " ".join(told.out.split())
    assert told.out.count("remedy") == 2
    assert f"missing 12 objects of 12 versions; --json names all in {clone}" in one_line
    assert f"root 12 roots of 12 versions; --json names all in {clone}" in one_line
    assert one_line.count(f"{named} and 2 more") == 3
    assert "remedy mvc fsck --repair --from FILE_OR_DIR, a whole copy" in one_line


def test_records_that_are_gone_are_told_in_one(clone: Path) -> None:
    """A block for each family that has lost all of its records; one repair brings them back."""
    shutil.rmtree(clone.parent / ".mvc/manifest/net")
    told = mvc("fsck", "--quick")
    one_line = " ".join(told.out.split())
    assert (told.status, told.out.count("remedy")) == (3, 1)
    assert f"record 12 records of 12 versions; --json names all in {clone.parent}" in one_line
    assert "remedy the record is not here, and the store keeps it; mvc fsck --repair" in one_line
    assert mvc("fsck", "--repair").status == 0


def test_more_is_named_if_asked_for(clone: Path) -> None:
    """``-v`` names every version, ``--json`` every finding with what it is of."""
    assert mvc("-C", str(clone), "fsck", "--quick", "-v").out.count("net/v12") == 3
    findings = mvc("-C", str(clone), "fsck", "--quick", "--json").json["findings"]
    missing = [finding for finding in findings if finding["kind"] == "missing"]
    assert [one["versions"] for one in missing] == [[f"net/v{n}"] for n in range(1, 13)]
    assert "it is of '11.bin' in net/v12" in missing[-1]["remedy"]


def test_one_thing_that_is_missing_is_told_as_it_is(registry: Path) -> None:
    """Alone it is named with the file that it belongs to."""
    assert mvc("add", "net", "model.safetensors").status == 0
    shutil.rmtree(registry / ".mvc/store/packs")
    told = " ".join(mvc("fsck", "--quick").out.split())
    assert "missing object b3:" in told
    assert "remedy it is of 'model.safetensors' in net/v1;" in told
