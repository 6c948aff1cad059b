"""What is told of a file or folder that is not registered."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from mvc import ModelRegistry, NotFound, UsageError
from tests.registry.test_tensors import arrays, known, rows
from tests.support.registry_builders import Project, files_in, noise


def small() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {name: array[:10] for name, array in arrays().items() if array.ndim}


def torch_file(
    path: Path, tensors: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]
) -> Path:
    torch = pytest.importorskip("torch")
    torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, path)
    return path


def written(folder: Path) -> list[Path]:
    """Write files of every kind, and a folder of some of them."""
    below = folder / "below"
    below.mkdir()
    for place in (folder, below):
        (place / "large.safetensors").write_bytes(save(arrays()))
        (place / "notes.bin").write_bytes(noise(100))
    (folder / "small.safetensors").write_bytes(save(small()))
    (folder / "opaque.bin").write_bytes(noise(5 << 20))
    (folder / "empty.bin").write_bytes(b"")
    return [folder / name for name in os.listdir(folder)]


def test_a_file_is_described_as_add_notes_it(project: Project, tmp_path: Path) -> None:
    """Digest, format, tensors and weights are those of the version that the file becomes."""
    (tmp_path / "files").mkdir()
    for path in written(tmp_path / "files"):
        told = project.registry().describe(path)
        added = project.registry().add("net", path)
        assert (told.artifact, told.weights) == (added.artifact, added.weights), path
        assert told.framework == added.model.get("framework")
        assert told.notes == added.notes


def test_describing_leaves_nothing(project: Project, tmp_path: Path) -> None:
    """Nothing is written, neither where there is a registry nor where there is none."""
    (tmp_path / "files").mkdir()
    paths = written(tmp_path / "files")
    alone = ModelRegistry(tmp_path / "files", create=False)
    before = files_in(tmp_path)
    for path in paths:
        told = alone.describe(path)
        assert (told.same_bytes, told.same_weights) == (None, None)
    assert files_in(tmp_path) == before
    project.registry().init()
    project.registry().list()  # makes the cache
    before = files_in(tmp_path)
    assert [project.registry().describe(path).same_bytes for path in paths] == [()] * len(paths)
    assert files_in(tmp_path) == before


def test_versions_like_a_file_are_named(project: Project, tmp_path: Path) -> None:
    """Those of the same bytes, and those of the same weights, in every family and any format."""
    for tensors, name in ((arrays(), "large"), (small(), "small")):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(save(tensors))
        other = torch_file(tmp_path / f"{name}.pt", tensors)
        for family in (name, f"{name}-other"):
            project.registry().add(family, path)
        project.registry().add(name, other)
        project.registry().add(name, path)
        project.registry().rm(f"{name}@v1")
        told = project.registry().describe(path)
        assert told.same_bytes == (f"{name}/v3", f"{name}-other/v1")
        assert told.same_weights == (f"{name}/v2",)
        told = project.registry().describe(other)
        assert told.same_bytes == (f"{name}/v2",)
        assert told.same_weights == (f"{name}/v3", f"{name}-other/v1")


def test_a_file_of_a_folder_is_named_by_a_ref(project: Project, tmp_path: Path) -> None:
    """Where a version is a folder with the file in it, its ref gives the file back."""
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "vocab.txt").write_text("a b c")
    project.registry().add("bert", tmp_path / "bert")
    (ref,) = project.registry().describe(tmp_path / "bert" / "vocab.txt").same_bytes or ()
    assert ref == "bert/v1:vocab.txt"
    assert project.bytes_of(ref) == b"a b c"


def test_tensors_of_a_file_are_those_of_its_version(project: Project, tmp_path: Path) -> None:
    """A file shows the tensors that its version will, without what they take."""
    (tmp_path / "files").mkdir()
    for path in written(tmp_path / "files"):
        table = project.registry().describe_tensors(path)
        project.registry().add("net", path)
        assert rows(table) == rows(project.registry().tensors("net"))
        assert table.stored is None
        assert all((t.stored, t.depth, t.encodings) == (None, None, ()) for t in table.tensors)
    table = project.registry().describe_tensors(tmp_path / "files" / "below", "a.*")
    assert {t.file for t in table.tensors} == {"large.safetensors"}
    assert rows(table) == {n: row for n, row in known(arrays()).items() if n.startswith("a.")}


def test_what_is_no_file_is_refused(project: Project, tmp_path: Path) -> None:
    """A name that leads nowhere is not found; a pipe is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    for ask in (project.registry().describe, project.registry().describe_tensors):
        with pytest.raises(NotFound, match="no file"):
            ask(tmp_path / "nothere.pt")
        with pytest.raises(UsageError, match="is a pipe"):
            ask(tmp_path / "pipe")
