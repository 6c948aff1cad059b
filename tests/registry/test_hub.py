"""A cache made by ``huggingface_hub``: its snapshots, all links into blobs, are versions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry.test_folders import CONFIG, shard, stored, tensors_of
from tests.support.hub_server import commit_of, serving_hub
from tests.support.registry_builders import Project, files_in

hub = pytest.importorskip("huggingface_hub")

REPOSITORY = "anna/bert"


@pytest.fixture
def snapshot(project: Project, tmp_path: Path) -> Iterator[Path]:
    """A snapshot as the hub's own library makes it, beside the folder that was served."""
    folder = shard(project.folder / "bert", tensors_of(4), 2)
    (folder / "onnx").mkdir()
    (folder / "onnx/config.json").write_bytes(CONFIG)
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    with serving_hub() as served:
        served.repositories[REPOSITORY] = {"main": files_in(folder)}
        found = hub.snapshot_download(
            REPOSITORY, endpoint=served.url, cache_dir=tmp_path / "hub", token=False
        )
        yield Path(found)


def test_a_snapshot_is_the_version_that_its_copy_is(project: Project, snapshot: Path) -> None:
    """Links into blobs are read through; nothing is stored twice, and no shard lacks."""
    assert all(path.is_symlink() for path in snapshot.rglob("*") if not path.is_dir())
    copied = project.registry().add("bert", project.folder / "bert")
    added = project.registry().add("bert", snapshot)
    assert added.artifact.name == commit_of(files_in(project.folder / "bert"))
    assert added.artifact.digest == copied.artifact.digest
    assert (added.stored, added.same_bytes) == (0, "bert/v1")
    assert added.weights == copied.weights
    assert added.notes == ()
    assert stored(project, added.id) == files_in(project.folder / "bert")
    out = project.registry().checkout("bert", project.folder / "out").path
    assert files_in(out) == files_in(project.folder / "bert")
    assert not any(path.is_symlink() for path in out.rglob("*"))


def test_a_repository_in_the_cache_is_a_folder_too(project: Project, snapshot: Path) -> None:
    """It holds blobs beside the links to them, which are stored once."""
    folder = snapshot.parents[1]
    assert folder.name == "models--anna--bert"
    added = project.registry().add("bert", folder)
    assert f"snapshots/{snapshot.name}/config.json" in stored(project, added.id)


def test_a_snapshot_that_lost_a_blob_is_refused(project: Project, snapshot: Path) -> None:
    """A cache that was cleaned leaves links that lead nowhere: no version lacks a shard."""
    from mvc import NotFound

    os.unlink((snapshot / "onnx/config.json").resolve())
    with pytest.raises(NotFound, match="which is not there"):
        project.registry().add("bert", snapshot)
    assert project.registry().list() == []
