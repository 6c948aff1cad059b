"""Sizes at the edges, and a lender that collects what a borrower still reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mvc import Damaged, UsageError
from tests.support.faults import Project, bytes_of, whole

GIB = 1 << 30


@pytest.mark.parametrize("size", [0, 1, 4095, (4 << 20) - 1, 4 << 20, (4 << 20) + 1])
def test_a_file_of_any_size_comes_back(project: Project, tmp_path: Path, size: int) -> None:
    """Empty, of one byte, and around the size from which files are kept in parts."""
    source = tmp_path / "edge.bin"
    source.write_bytes(bytes(range(256)) * (size // 256) + bytes(size % 256))
    made = project.add("edge", source)
    assert project.open().resolve(made).artifact.size == size
    whole(project)


def test_a_folder_without_files_is_refused_and_one_of_empty_files_is_not(
    project: Project, tmp_path: Path
) -> None:
    """No file is no version; files without bytes are files."""
    (tmp_path / "none/below").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds no files"):
        project.open().add("none", tmp_path / "none")
    (tmp_path / "some").mkdir()
    for name in ("a", "b"):
        (tmp_path / "some" / name).touch()
    made = project.open().add("some", tmp_path / "some")
    out = project.open().checkout(made.id, tmp_path / "out").path
    assert sorted((path.name, path.read_bytes()) for path in out.iterdir()) == [
        ("a", b""),
        ("b", b""),
    ]
    assert project.open().fsck("full").ok


@pytest.mark.long
def test_ten_gibibytes_of_holes(project: Project, tmp_path: Path) -> None:
    """A sparse file of 10 GiB takes some kilobytes in the store, and comes back."""
    source = tmp_path / "sparse.bin"
    with source.open("wb") as file:
        file.truncate(10 * GIB)
        file.seek(7 * GIB)
        file.write(b"weights")
    made = project.open().add("sparse", source)
    assert project.open().presence.store.size() < 20 << 20
    assert project.open().fsck().ok
    assert made.artifact.size == 10 * GIB


@pytest.mark.long
def test_a_hundred_thousand_small_files(project: Project, tmp_path: Path) -> None:
    """They are one version, listed and checked like any other, and come back."""
    for part in range(100):
        (tmp_path / "many" / f"{part:02}").mkdir(parents=True)
        for number in range(1000):
            (tmp_path / "many" / f"{part:02}" / f"{number:03}").write_bytes(b"%d" % number)
    made = project.open().add("many", tmp_path / "many")
    assert made.artifact.files == 100_000
    assert project.open().fsck().ok
    out = project.open().checkout(made.id, tmp_path / "out").path
    assert (out / "99/999").read_bytes() == b"999"
    assert sum(1 for path in out.rglob("*") if path.is_file()) == 100_000


def test_what_a_lender_collects_is_missed_by_name_and_nothing_else(
    project: Project, tmp_path: Path
) -> None:
    """A borrower keeps its own, also what the lender had first; fsck names what it never had."""
    lender = project
    lender.add("net", tmp_path / "other.bin")
    folder = tmp_path / "borrower"
    shutil.copytree(lender.folder / ".mvc/manifest", folder / ".mvc/manifest")
    borrower = Project(folder)
    borrower.open().init()
    borrower.open().store_alternates(add=lender.folder / ".mvc/store")
    assert bytes_of(borrower.open(), "net/v2") == b"other"
    borrower.add("mine", tmp_path / "other.bin")
    for number in (1, 2):
        lender.open().rm(f"net@v{number}")
    lender.open().gc("0d", force=True)
    assert bytes_of(borrower.open(), "mine/v1") == b"other"
    assert bytes_of(borrower.open(), "net/v2") == b"other"
    with pytest.raises(Damaged, match="net/v1"):
        borrower.open().checkout("net@v1", tmp_path / "out")
    report = borrower.open().fsck()
    assert {name for found in report.findings for name in found.versions} >= {"net/v1"}
    assert "mine/v1" not in {name for found in report.findings for name in found.versions}
