"""What ``mvc add`` says of several files, and of files that are no models."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mvc.cli import output
from tests.cli.running import mvc, write_model

BREAKS_OFF = "that breaks off; it may have been copied or downloaded only in part"


def cut_zip(path: Path) -> None:
    """Write a zip archive as a download leaves it that broke off."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", b"\0" * 5000)
    path.write_bytes(path.read_bytes()[:2000])


def cut_safetensors(path: Path, size: int) -> None:
    """Write the first ``size`` bytes of a safetensors file."""
    path.write_bytes(write_model(path).read_bytes()[:size])


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("empty.pt", lambda path: path.write_bytes(b""), "is empty"),
        ("page.pt", lambda path: path.write_bytes(b"\n<!DOCTYPE HTML><p>404"), "is a web page"),
        ("cut.pt", cut_zip, f"is a zip archive {BREAKS_OFF}"),
        (
            "pointer.safetensors",
            lambda path: path.write_text(
                "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
            ),
            "is a pointer of git-lfs, no model: git lfs pull brings what it stands for",
        ),
        (
            "model.pt",
            lambda path: path.write_text("outs:\n- md5: 4d7a\n  size: 12345\n  path: model.pt\n"),
            "is a pointer of DVC, no model: dvc pull brings what it stands for",
        ),
        (
            "cut.safetensors",
            lambda path: cut_safetensors(path, 50_000),
            f"is a safetensors file {BREAKS_OFF}",
        ),
        (
            "head.safetensors",
            lambda path: cut_safetensors(path, 20),
            f"is a safetensors file {BREAKS_OFF}",
        ),
    ],
)
def test_what_is_no_model_is_told_and_kept(
    registry: Path, name: str, write: Callable[[Path], object], said: str
) -> None:
    """A file that nobody means to keep is called what it is, alone and in a folder, and stored."""
    write(registry / name)
    alone = mvc("add", "net", name)
    assert alone.status == 0
    assert f"note: '{name}' {said}\n" in alone.err
    (registry / "folder").mkdir()
    (registry / name).rename(registry / "folder" / name)
    within = mvc("add", "folder", "folder")
    assert within.status == 0
    assert f"note: 'folder/{name}' {said}\n" in within.err


def test_models_and_opaque_bytes_are_not_suspected(registry: Path) -> None:
    """A whole model, and bytes of a format that mvc does not know, get no such note."""
    (registry / "notes.bin").write_bytes(b"notes" * 1000)
    assert "note:" not in mvc("add", "net", "model.safetensors").err
    assert "note:" not in mvc("add", "other", "notes.bin").err


def test_of_several_paths_those_without_tensors_are_named(registry: Path) -> None:
    """One line at the end names every new version without tensors, and how to take one out."""
    (registry / "README.md").write_text("a net\n")
    (registry / "empty.pt").touch()
    several = ("add", "net", "README.md", "model.safetensors", "empty.pt")
    done = mvc(*several)
    assert done.status == 0
    note = done.err.splitlines()[-1]
    assert note.startswith("note: mvc knows no tensors in 2 of 3: ")
    assert "README.md" in note
    assert "empty.pt" in note
    assert "model.safetensors" not in note
    typed = note.rpartition("; ")[2].removesuffix(" takes the first out").split()
    assert mvc(*typed[1:]).status == 0
    assert "tensors" not in mvc(*several, "-q").err


def test_several_paths_if_changed_take_only_what_is_no_version_yet(registry: Path) -> None:
    """A second time, each file whose bytes are a live version's is passed over."""
    for seed in (1, 2, 3):
        write_model(registry / f"{seed}.safetensors", seed)
    names = [f"{seed}.safetensors" for seed in (1, 2, 3)]
    assert mvc("add", "net", *names, "-q").status == 0
    assert mvc("add", "net", "--from", "net@v1", "-m", "acc=0.9", "-q").last == "net/v4"
    assert mvc("rm", "net@v2").status == 0
    (registry / names[2]).rename(registry / "renamed.safetensors")
    write_model(registry / "4.safetensors", 4)
    (registry / "copy.safetensors").write_bytes((registry / "4.safetensors").read_bytes())
    files = [*names[:2], "renamed.safetensors", "4.safetensors", "copy.safetensors"]
    again = mvc("add", "net", *files, "--if-changed", "-q")
    assert again.out.split() == ["net/v1", "net/v5", "net/v3", "net/v6", "net/v6"]
    told = mvc("add", "net", *files, "--if-changed")
    assert told.out.count(" already\n") == 5
    assert told.err.startswith("0 versions, ")


def test_one_long_name_widens_no_other_line(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal only the file with the long name has a line that does not fit."""
    long = "x" * 120 + ".safetensors"
    for seed, name in enumerate(["a.safetensors", long, "c.safetensors"]):
        write_model(registry / name, seed)
    monkeypatch.setattr(output, "width", lambda: 80)
    monkeypatch.setenv("NO_COLOR", "1")
    added = mvc("add", "net", "a.safetensors", long, "c.safetensors").out
    status = mvc("status").out
    for told in (added, status):
        wide = [line for line in told.splitlines() if "safetensors" in line and len(line) > 80]
        assert len(wide) == 1
        assert long in wide[0]
    sizes = {line.index(" kB") for line in added.splitlines() if long not in line}
    assert len(sizes) == 1


def test_equal_files_are_told_by_the_first_of_them(registry: Path) -> None:
    """Whoever adds the same bytes again and again is told the version that had them first."""
    write_model(registry / "other.safetensors", 2)
    for name in ("other.safetensors", "model.safetensors", "other.safetensors"):
        assert mvc("add", "net", name, "-q").status == 0
    assert "the same bytes as net/v1\n" in mvc("add", "net", "other.safetensors").err
    assert "the same bytes as net/v2\n" in mvc("add", "net", "model.safetensors").err
