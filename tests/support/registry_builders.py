"""Registries, records and events to test with, and ways to look at and hurt what is stored."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import strategies as st

from mvc import ModelRegistry, fileio, lines, tree
from mvc.codecs import Encoded
from mvc.digest import digest_of
from mvc.errors import FormatError
from mvc.registry.event import STANDINGS, BestRule, Event, Policy, Standing, Tagged
from mvc.registry.record import Artifact, Record
from mvc.registry.record import encode as encode_record
from mvc.store import Transaction
from mvc.store.pack import Entry, PackReader, PackWriter

MIB = 1 << 20


@dataclass(frozen=True)
class Project:
    """A folder with a registry, made by the first ``add``, and model files beside it."""

    folder: Path

    @property
    def mvc(self) -> Path:
        return self.folder / ".mvc"

    @property
    def packs(self) -> list[Path]:
        return sorted((self.mvc / "store" / "packs").iterdir())

    def registry(self) -> ModelRegistry:
        """Open the registry anew, knowing nothing of before."""
        return ModelRegistry(self.folder)

    def file(self, data: bytes, name: str = "model.bin") -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def add(self, data: bytes, family: str = "net", name: str = "model.bin", **facts: Any) -> str:
        return self.registry().add(family, self.file(data, name), **facts).id

    def add_folder(
        self,
        files: Mapping[str, bytes],
        family: str = "net",
        *,
        listed: bool = True,
        forged: bytes | None = None,
    ) -> str:
        """Register a folder as a version, without a folder: executable where a path ends in .sh.

        Args:
            listed: Whether the record lists the files, or only the tree does.
            forged: What stands in the tree's place, whatever it is.
        """
        registry = self.registry()
        if not (self.mvc / "config.yaml").exists():
            registry.init()
        made = tree.Tree(
            tuple(
                tree.TreeFile(
                    tree.EXECUTABLE if path.endswith(".sh") else tree.PLAIN,
                    len(data),
                    digest_of(data),
                    path,
                )
                for path, data in files.items()
            )
        )
        data = tree.encode(made) if forged is None else forged
        artifact = replace(
            directory(family, made, listed=listed and forged is None),
            digest=digest_of(data),
            files=data.count(b"\n"),
        )
        record = Record(family, os.urandom(16).hex(), "2026-11-23T05:12:09.123456Z", artifact)
        transaction = Transaction(registry.presence.store)
        try:
            fileio.run(transaction.begin())
            for content in (*files.values(), data):
                transaction.put(content, digest_of(content), 0)
            fileio.run(transaction.publish(registry.place.id, encode_record(record)))
        finally:
            transaction.end()
        number = fileio.run(registry.manifest.create_version(family, encode_record(record)))
        return f"{family}/v{number}"

    def record(self, number: int, family: str = "net") -> Path:
        return self.mvc / "manifest" / family / "versions" / f"v{number}.yaml"

    def event(self, number: int, family: str = "net") -> Path:
        return self.mvc / "manifest" / family / "events" / f"{number:08d}.yaml"

    def family_file(self, family: str = "net") -> Path:
        return self.mvc / "manifest" / family / "family.yaml"

    def bytes_of(self, ref: str) -> bytes:
        """Check a version out beside everything else and return what was written."""
        with TemporaryDirectory() as folder:
            return self.registry().checkout(ref, Path(folder, "out")).path.read_bytes()


@contextmanager
def new_project() -> Iterator[Project]:
    """Give a project in a folder of its own: for tests that make one for each example."""
    with TemporaryDirectory() as folder:
        yield Project(Path(folder))


def noise(size: int, seed: int = 1) -> bytes:
    """Return bytes that nothing compresses."""
    return random.Random(seed).randbytes(size)


def files_in(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder by its relative name."""
    found = {}
    for above, _, names in os.walk(folder):
        for name in names:
            path = Path(above, name)
            found[str(path.relative_to(folder))] = path.read_bytes() if path.is_file() else b""
    return found


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file of a registry in place, whatever its mode says, as a disk does that rots."""
    data, mode = change(path.read_bytes()), path.stat().st_mode
    os.chmod(path, 0o644)
    path.write_bytes(data)
    os.chmod(path, mode)


def flip(path: Path, offset: int) -> None:
    """Turn all bits of one byte; ``offset`` may count from the end."""

    def flipped(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[offset] ^= 0xFF
        return bytes(changed)

    rewrite(path, flipped)


def repacked(pack: Path, change: Callable[[Entry], Entry | None]) -> None:
    """Write a pack anew with other entries, whatever their payloads are; ``None`` drops one."""
    reader, writer = PackReader(pack), PackWriter(pack.with_name("new"))
    for entry in reader.index:
        new, payload = change(entry), bytes(reader.payload(entry))
        if new is not None:
            encoded = Encoded(new.encoding, [payload], len(payload))
            writer.add(new.digest, new.size, encoded, depth=new.depth, base=new.base)
    pack.unlink()
    writer.path.rename(pack.with_name(writer.finish()))


def resealed(data: bytes, **fields: lines.Value | None) -> bytes:
    """Return a sealed file with other values, sealed again; a field ``...`` is left out."""
    values: dict[str, Any] = {**lines.loads(lines.unseal(data)), **fields}
    return lines.seal(lines.dumps({k: v for k, v in values.items() if v is not ...}))


def python(
    code: str, *arguments: object, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start Python with ``code``; ``sys.argv[1:]`` are the arguments."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **(environment or {})},
    )


def finished(process: subprocess.Popen[str]) -> str:
    """Wait for a process, which must succeed, and return what it printed."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


# Values of records and events.

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | floats | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
digests = st.integers(0, 255).map(lambda number: digest_of(bytes([number])))
ids = st.integers(0, (1 << 128) - 1).map(lambda number: f"{number:032x}")
times = st.datetimes().map(lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27))
sizes = st.integers(0, 1 << 50)
counts = st.integers(0, 1 << 40)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True)
numbers = st.integers(1, 999_999_999)


components = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=9
).filter(lambda name: name not in (".", "..") and not tree.is_own(name))
paths = st.lists(components, min_size=1, max_size=3).map("/".join)
tree_files = st.builds(
    tree.TreeFile, st.sampled_from([0o644, 0o755]), st.integers(0, 1 << 40), digests, paths
)


def _apart(files: list[tree.TreeFile]) -> tree.Tree | None:
    try:
        return tree.Tree(tuple(files))
    except FormatError:
        return None


trees = st.lists(tree_files, min_size=1, max_size=5).map(_apart).filter(bool)


def _facts(artifact: Artifact, dtypes: dict[str, int] | None) -> Artifact:
    if dtypes is None:
        return artifact
    count, total = len(dtypes), sum(dtypes.values())
    return replace(artifact, format="torch-zip", tensors=count, parameters=total, dtypes=dtypes)


def directory(name: str, files: tree.Tree, *, listed: bool = True) -> Artifact:
    """Return the artifact that a record has for a directory."""
    digest = digest_of(tree.encode(files))
    listing = files.files if listed else None
    return Artifact("directory", name, digest, files.size, files=len(files.files), listing=listing)


file_artifacts = st.builds(Artifact, st.just("file"), texts, digests, sizes)
directories = st.builds(directory, texts, trees, listed=st.booleans())
artifacts = st.builds(
    _facts,
    file_artifacts | directories,
    st.none() | st.dictionaries(texts, counts, max_size=3),
)
records = st.builds(
    Record,
    family=names,
    id=ids,
    created=times,
    artifact=artifacts,
    weights=st.none() | digests,
    model=st.dictionaries(texts, values, max_size=3),
    metrics=st.dictionaries(
        texts, floats | st.integers(-(1 << 70), 1 << 70) | st.sampled_from(["nan", "inf", "-inf"])
    ),
    params=st.dictionaries(texts, values, max_size=3),
    lineage=st.dictionaries(texts, values, max_size=3),
    labels=st.dictionaries(texts, texts, max_size=3),
    message=st.none() | texts,
    author=texts,
)
changes = st.one_of(
    st.builds(Tagged, names, numbers, digests, st.none() | numbers),
    st.builds(Tagged, names, st.none(), st.none()),
    st.builds(BestRule, texts, st.sampled_from(["max", "min"])),
    st.builds(
        Policy,
        last=st.none() | numbers,
        best=numbers,
        tagged=st.booleans(),
        younger=st.none() | numbers,
        grace=st.none() | numbers,
        after_add=st.booleans(),
    ),
    st.builds(Standing, st.sampled_from(STANDINGS), numbers, digests),
)
events = st.builds(
    Event,
    family=names,
    id=ids,
    created=times,
    change=changes,
    author=texts,
    message=st.none() | texts,
    number=st.integers(1, 99_999_999),
)
