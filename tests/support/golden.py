"""Golden registries: one of each format, as the mvc that began the format wrote it.

``python -m tests.support.golden`` makes that of the present format, once: a
golden registry is neither edited nor made again. It holds every kind of file,
of event and of way to keep bytes, and what was told of it, in as little as
that takes.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mvc import ModelRegistry
from mvc.compatibility import FORMAT
from mvc.registry.version import Version

GOLDEN = Path(__file__).parents[1] / "golden"


def unpacked(number: int, folder: Path) -> tuple[Path, Any]:
    """Unpack the golden registry of a format; return its project and what was told of it."""
    with tarfile.open(GOLDEN / f"{number}.tar.xz") as tar:
        tar.extractall(folder, filter="tar")
    return folder / "project", json.loads((GOLDEN / f"{number}.json").read_text(encoding="utf-8"))


def told_of(project: Path) -> dict[str, Any]:
    """Return all that a registry tells, and the SHA-256 of what it gives back."""
    registry, told = ModelRegistry(project), dict[str, Any]()
    for name in registry.list():
        family = registry.family(name)
        live = [registry.resolve(f"{name}@{number}") for number in registry.list(name)]
        told[name] = {
            "versions": {version.id: _told_of(registry, version) for version in live},
            "bytes": {version.id: _bytes_of(registry, version) for version in live},
            "withdrawn": sorted(family.withdrawn),
            "rule": family.rule and asdict(family.rule),
            "tags": family.tags,
            "moves": {
                tag: [asdict(move) for move in registry.history(f"{name}@{tag}")]
                for tag in family.tags
            },
        }
    return told


def _told_of(registry: ModelRegistry, version: Version) -> dict[str, Any]:
    _, record = registry.manifest.record(version.family, version.number)
    values: dict[str, Any] = json.loads(json.dumps(version.as_dict()))
    return {"record": str(record), **values}


def _bytes_of(registry: ModelRegistry, version: Version) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return digest_of_tree(registry.checkout(version.id, Path(folder, "out")).path)


def digest_of_tree(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's paths, modes and files."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    rows = [
        f"{file.relative_to(path).as_posix()} {os.access(file, os.X_OK)} {digest_of_tree(file)}"
        for file in files
    ]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _write(project: Path) -> None:
    """Make a registry with one of everything."""
    from tests.formats import corpus

    registry, source = ModelRegistry(project), project.parent / "source"
    source.mkdir()

    def add(family: str, data: bytes, name: str = "model.bin", **values: Any) -> str:
        path = source / name
        path.write_bytes(data)
        return registry.add(family, path, **values).id

    for format in corpus.FORMATS:
        for number, data in enumerate(corpus.files(format)):
            add(format, data, f"{number}.{format}")
    for family, files in _weights().items():
        for number, data in enumerate(files):
            add(family, data, "w.safetensors", metrics={"loss": 1 / (number + 1)})
    add("other", b"")
    add("other", b"what is written twice is written twice\n" * 500, "log.txt")
    add("other", os.urandom(3000), "größe, 1.bin")

    add(
        "Net", b"one", metrics={"acc": 0.5, "loss": float("nan")}, tags=["prod"],
        params={"lr": 1e-5, "version": "1.10", "warm": True, "name": "größe\u2028"},
        lineage={"dataset": "imagenet"}, labels={"team": "vision"}, message="two\nlines",
        framework="none", architecture="résumé", input_shape=[1, 3, 224, 224],
    )  # fmt: skip
    add("Net", b"two", metrics={"acc": 0.75}, parents=["Net@v1"])
    registry.add("Net", from_version="Net@v1", metrics={"acc": 0.625}, tags=["Next.1", "gone"])
    for name in ("withdrawn", "taken back", "released"):
        add("Net", name.encode() * 100)
    registry.tag("Net@v2", "prod", message="better")
    registry.tag("Net@v3", "prod")
    registry.rollback("Net@prod")
    registry.delete_tag("Net@gone")
    registry.best("Net", "acc", "min")
    registry.rm("Net@v6")
    registry.gc("0")
    registry.rm("Net@v4", message="wrong data")
    registry.rm("Net@v5")
    registry.restore("Net@v5")

    folder = source / "folder"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "model.bin").write_bytes(os.urandom(2000))
    (folder / "same.bin").write_bytes((folder / "deep" / "er" / "model.bin").read_bytes())
    (folder / "run.sh").write_bytes(b"#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "empty").touch()
    registry.add("folder", folder)
    for number in range(1001):
        (folder / f"{number}.txt").write_bytes(b"%d" % (number % 7))
    registry.add("folder", folder)


def _weights() -> dict[str, list[bytes]]:
    """Return files by family that are kept in every way there is."""
    import numpy as np
    from safetensors.numpy import save

    random = np.random.default_rng(FORMAT)
    first = random.normal(0, 0.02, (40, 500)).astype("<f4")
    moved = [first]
    for step in (1e-4, 2e-5, 4e-6):
        moved.append((moved[-1] + step * random.normal(0, 1, first.shape)).astype("<f4"))
    half = first.astype("<f2")
    bits = first.view("<u4")
    bf16 = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").view("<i2")
    large = np.tile(first.ravel()[:1000], 1500)
    again = np.concatenate([large[:700_000], large[700_001:], large[:1]])
    levels = random.integers(0, 200, 20_000).astype("u1")
    # What lets a file have a recipe: over 4 MiB, and nearly nothing on disk.
    pad = {"pad": np.zeros(5 << 20, "u1")}
    bf16_as_fp32 = (bf16.view("<u2").astype("<u4") << 16).view("<f4")
    return {
        "chain": [save({"w": value}) for value in moved],
        "to_fp16": [save({"w": value, **pad}) for value in (first, half)],
        "to_bf16": [save({"w": value, **pad}) for value in (first, bf16)],
        "fp16": [save({"w": value, **pad}) for value in (half, half.astype("<f4"))],
        "bf16": [save({"w": value, **pad}) for value in (bf16, bf16_as_fp32)],
        "large": [save({"a": value, "b": first}) for value in (large, again)],
        "bytes": [save({"w": levels}), save({"w": levels + (random.random(20_000) < 0.1)})],
        "few": [save({"w": random.choice(np.array([0.1, 0.2, 0.7], "<f4"), 40_000)})],
    }


def _plain(item: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if item.name.endswith("/cache"):
        return None
    item.uid = item.gid = item.mtime = 0
    item.uname = item.gname = ""
    return item


def main() -> None:
    archive = GOLDEN / f"{FORMAT}.tar.xz"
    if archive.exists():
        sys.exit(f"'{archive}' is there, and is never made again")
    os.environ["MVC_AUTHOR"] = "anna"
    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "project")
        project.mkdir()
        _write(project)
        with tarfile.open(archive, "x:xz", format=tarfile.PAX_FORMAT) as tar:
            tar.add(project, "project", filter=_plain)
        told = json.dumps(told_of(project), indent=1, ensure_ascii=False, sort_keys=True)
        (GOLDEN / f"{FORMAT}.json").write_text(told + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
