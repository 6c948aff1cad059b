"""The script beside the format pages restores every version, and knows nothing of mvc."""

from __future__ import annotations

import ast
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from mvc.codecs import Encoding
from mvc.codecs.predict import Prediction
from tests.codecs.test_choose import as_bf16
from tests.registry.test_deltas import model
from tests.registry.test_repack import small_series
from tests.support.registry_builders import Project, flip, noise

SCRIPT = Path(__file__).parents[2] / "docs" / "formats" / "rescue.py"


def rescue(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def of_every_kind() -> dict[str, list[bytes]]:
    """Return files by family, later ones near to earlier ones."""
    weights = model(0)
    weights["body.weight"][0, :4] = np.array([0x7F800001, 0xFFC12345, 0x80000000, 1], "<u4").view(
        "<f4"
    )
    with np.errstate(invalid="ignore"):
        fp16 = {name: value.astype("<f2") for name, value in weights.items()}
        wide = {name: value.astype("<f4") for name, value in fp16.items()}
    bf16 = {name: np.frombuffer(as_bf16(value.ravel()), "<i2") for name, value in weights.items()}
    widened = {name: (v.view("<u2").astype("<u4") << 16).view("<f4") for name, v in bf16.items()}
    random = np.random.default_rng(0)
    levels = random.integers(0, 200, 60_000).astype("u1")
    return {
        "chain": small_series(6),
        "casts": [save(weights), save(fp16), save(bf16)],
        "fp16": [save(fp16), save(wide)],
        "bf16": [save(bf16), save(widened)],
        "bytes": [save({"w": levels}), save({"w": levels + (random.random(60_000) < 0.1)})],
        "few": [save({"w": random.choice(np.array([0.1, 0.2, 0.7], "<f4"), 300_000)})],
        "text": [b"what is written twice is written twice\n" * 3000],
        "noise": [noise(5000, 1), b""],
    }


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty registry."""
    project = Project(tmp_path / "project")
    project.folder.mkdir()
    return project


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, bytes]]:
    """A registry with files of every kind, and what each record's artifact is."""
    project = Project(tmp_path_factory.mktemp("kept"))
    found = {}
    for family, files in of_every_kind().items():
        for number, data in enumerate(files, start=1):
            project.add(data, family=family)
            _, digest = project.registry().manifest.record(family, number)
            found[digest.hex()] = data
    return project, found


def test_it_knows_only_the_pages() -> None:
    """It imports nothing of mvc, and is short enough to be read in an emergency."""
    tree = ast.parse(SCRIPT.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert imports
    assert not any("mvc" in ast.unparse(node) for node in imports)
    assert len(SCRIPT.read_text().splitlines()) < 220


def test_every_version_comes_back(kept: tuple[Project, dict[str, bytes]], tmp_path: Path) -> None:
    """Whatever the encoding, the chain and the prediction, bytes are those that were added."""
    project, files = kept
    store = project.mvc / "store"
    listed = rescue(store).stdout.splitlines()
    assert len(listed) == len(files)
    for record, data in files.items():
        out = tmp_path / record
        done = rescue(store, record[:12], out)
        assert (done.returncode, done.stderr) == (0, "")
        assert out.read_bytes() == data
    entries = [e for pack in project.registry().presence.store.index.packs() for e in pack.index]
    assert {entry.encoding for entry in entries} == set(Encoding)
    assert max(entry.depth for entry in entries) > 2


def test_the_files_above_try_every_way_of_keeping(kept: tuple[Project, dict[str, bytes]]) -> None:
    """Palettes, groups, masks and casts are among them."""
    project, _ = kept
    seen = set()
    for pack in project.registry().presence.store.index.packs():
        for entry in pack.index:
            payload = pack.payload(entry)
            if entry.encoding is Encoding.DELTA:
                width, kind, _, thresholds = payload[:4]
                seen |= {f"width {width}", Prediction(kind).name}
                seen |= {"groups"} if thresholds else set()
            if entry.encoding is Encoding.PLANES and struct.unpack_from("<H", payload, 2)[0]:
                seen.add("palette")
    assert seen >= {kind.name for kind in Prediction} | {"groups", "palette", "width 1"}


def test_a_folder_comes_back(project: Project, tmp_path: Path) -> None:
    """With its paths and modes; the store alone is enough."""
    project.add_folder({"a/model.bin": noise(9000, 2), "run.sh": b"#!/bin/sh\n"})
    done = rescue(project.mvc / "store", "", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "a" / "model.bin").read_bytes() == noise(9000, 2)
    assert (tmp_path / "out" / "run.sh").stat().st_mode & 0o777 == 0o755


def test_damage_is_said_and_another_frame_serves(project: Project, tmp_path: Path) -> None:
    """What is lost is named, with status 1; a lost footer costs nothing."""
    project.add(noise(9000, 3))
    (pack,) = project.packs
    pack.chmod(0o644)
    whole = pack.read_bytes()
    pack.write_bytes(whole[:-100])
    assert rescue(project.mvc / "store", "", tmp_path / "out").returncode == 0
    assert (tmp_path / "out").read_bytes() == noise(9000, 3)
    pack.write_bytes(whole)
    flip(pack, 2000)
    done = rescue(project.mvc / "store", "", tmp_path / "bad")
    assert done.returncode == 1
    assert "is lost" in done.stderr
