"""A registry on file systems of other kinds, which containers and scratch disks have."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mvc import ModelRegistry
from tests.support.registry_builders import Project, files_in, noise

Mount = Callable[[Path, Path], list[str]]


def tmpfs(below: Path, merged: Path) -> list[str]:
    return ["-t", "tmpfs", "tmpfs", os.fspath(merged)]


def overlay(below: Path, merged: Path) -> list[str]:
    """Show the folder as the layer of an image does, and keep what is written elsewhere."""
    upper, work = (below.with_name(name) for name in ("upper", "work"))
    upper.mkdir()
    work.mkdir()
    layers = f"lowerdir={below},upperdir={upper},workdir={work}"
    return ["-t", "overlay", "overlay", "-o", layers, os.fspath(merged)]


@pytest.fixture(params=[tmpfs, overlay], ids=lambda kind: kind.__name__)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    """A project there; on an overlay its first version is in the layer below."""
    below, merged = tmp_path / "below", tmp_path / "merged"
    for folder in (below, merged):
        folder.mkdir()
    Project(below).add(noise(3000, 1))
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    done = subprocess.run(
        ["mount", *request.param(below, merged)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    made = Project(merged)
    if request.param is tmpfs:
        made.add(noise(3000, 1))
    yield made
    subprocess.run(["umount", merged], check=True)


@pytest.mark.parametrize("level", ["full", "batch"])
def test_everything_works(project: Project, monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    """What is there, and what is added, is checked out, tagged, given up and mended as anywhere."""
    monkeypatch.setenv("MVC_DURABILITY", level)
    project.add(noise(4000, 2))
    project.add_folder({"a.bin": noise(3000, 3), "b/c.bin": noise(3000, 1)}, family="folder")
    registry = ModelRegistry(project.folder)
    registry.tag("net@v1", "prod")
    registry.tag("net@v2", "prod")
    assert registry.rollback("net@prod").id == "net/v1"
    registry.checkout("net@prod", project.folder / "out.bin")
    assert (project.folder / "out.bin").read_bytes() == noise(3000, 1)
    registry.checkout("folder", project.folder / "out")
    assert files_in(project.folder / "out")["b/c.bin"] == noise(3000, 1)
    registry.rm("net@v2")
    assert registry.gc("0").freed > 3000
    report = ModelRegistry(project.folder).fsck("full")
    assert (report.ok, registry.list("net")) == (True, ["v1"])
    assert project.bytes_of("net@v1") == noise(3000, 1)
