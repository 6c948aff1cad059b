"""Damage in every file of a registry, in every region: what is hurt is named, all else reads.

A registry has one of every kind of file that mvc makes. Each is damaged in
every way, in a copy, and then the whole program is asked: what ``fsck`` names
is what cannot be restored, every other version is the same bytes, and no
command ends but with one line and a documented status.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mvc import ModelRegistry, fileio
from mvc.digest import digest_of
from mvc.recipe import ObjectRef, Part, Recipe
from mvc.registry.location import place
from mvc.registry.reach import closure_of_file, files_of
from mvc.registry.record import Artifact, Record, encode
from mvc.store import Transaction
from mvc.store.pack import PackReader
from tests.cli.running import mvc
from tests.registry.test_deltas_damaged import FILES
from tests.support import tally
from tests.support.registry_builders import Project, files_in, noise, rewrite
from tests.support.store_builders import regions_of

STATUSES = {0, 1, 2, 3, 4, 5, 6, 8}
WITHDRAWN = "tiny/v2"
# Findings about what protects or answers for a version that can be restored all the same.
NO_LOSS = {"root", "family", "index"}
# What each kind of file is known by, and what hangs on it: see ``Whole.bound``.
KINDS = {
    "pack": r"store/packs/[0-9a-f]{64}\.pack",
    "root": r"store/roots/[0-9a-f]{32}/[0-9a-f]{64}\.yaml",
    "record": r"manifest/\w+/versions/v\d+\.yaml",
    "event": r"manifest/\w+/events/\d{8}\.yaml",
    "family.yaml": r"manifest/\w+/family\.yaml",
    "config.yaml": r"config\.yaml",
    "store.yaml": r"store/store\.yaml",
    "alternates.yaml": r"store/alternates\.yaml",
    "collected.yaml": r"store/collected\.yaml",
    "newest.yaml": r"newest\.yaml",
    "merged index": r"cache/index",
    "query index": r"cache/query-.*\.sqlite",
    "digest cache": r"cache/digests",
    "fsck notes": r"cache/fsck-[0-9a-f]{32}",
    "checkout notes": r"cache/path/[0-9a-f]{64}\.note",
    "checkout file": r"cache/path/(files/[0-9a-f]{64}(-x)?|[0-9a-f]{64}/.*)",
    "cache tag": r"cache/CACHEDIR\.TAG",
    "lock": r"store/locks/maintenance\.lock",
    "for git": r"\.gitignore|manifest/\.gitattributes",
}
SETTINGS = {"config.yaml", "store.yaml"}
# Others than these answer alike whatever becomes of a file that is derived, or read by few.
NO_CACHE = {"pack", "record", "event", *SETTINGS}
COMMANDS = (
    ("list",),
    ("log",),
    ("show", "net@prod"),
    ("search", "acc > 0", "-q"),
    ("tag", "--history", "net@prod"),
    ("status",),
    ("du",),
    ("gc", "--dry-run"),
    ("path", "net@v1"),
)
SAME = 5


@dataclass(frozen=True)
class Whole:
    """A registry before the damage: what its versions are, and what each needs."""

    folder: Path
    held: dict[str, dict[str, bytes]]
    needs: dict[str, frozenset[bytes]]
    answers: list[tuple[int, str]]
    listed: frozenset[str] = frozenset({"bert/v1"})

    def bound(self, digests: set[bytes]) -> set[str]:
        """Return the versions that need one of these objects."""
        return {version for version, needed in self.needs.items() if needed & digests}


@dataclass(frozen=True)
class Damage:
    """What is done to a file of a registry; ``hurts`` are the versions that may be lost by it."""

    kind: str
    path: str
    way: str
    do: Callable[[Path], object]
    hurts: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.kind}, {self.way}: {self.path}"


def kind_of(path: str) -> str:
    (kind,) = [kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, path)]
    return kind


def put_in_parts(project: Project, data: bytes) -> str:
    """Register a file that is kept in parts, as large ones are."""
    registry = project.registry()
    parts = [data[:3000], data[3000:]]
    refs = tuple(ObjectRef(digest_of(part), len(part)) for part in parts)
    made = Recipe(len(data), refs, (Part(0, len(refs), 0, len(data)),), ())
    artifact = Artifact("file", "parts.bin", digest_of(data), len(data))
    record = encode(Record("parts", "5" * 32, "2026-11-23T05:12:09.123456Z", artifact))
    transaction = Transaction(registry.presence.store)
    try:
        fileio.run(transaction.begin())
        for part in parts:
            transaction.put(part, digest_of(part), 0)
        transaction.put_recipe(digest_of(data), made)
        fileio.run(transaction.publish(registry.place.id, record))
    finally:
        transaction.end()
    return f"parts/v{fileio.run(registry.manifest.create_version('parts', record))}"


def needs_of(registry: ModelRegistry, identity: str) -> frozenset[bytes]:
    """Return the digests of all that a version is read from."""
    family, _, number = identity.partition("/v")
    artifact = registry.manifest.record(family, int(number))[0].artifact
    needed: set[bytes] = {artifact.digest}
    for file in files_of(registry.presence.store, artifact):
        needed |= closure_of_file(registry.presence.store, file.digest)
    return frozenset(needed)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """Every kind of file: versions over others, in parts, of folders, withdrawn; tags, caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MVC_AUTHOR", "anna")
        patch.setattr("mvc.store.index.MOST_UNCOVERED", 0)
        patch.setattr("mvc.registry.search.columns.SMALL", 0)
        folder = tmp_path_factory.mktemp("whole")
        project, other = Project(folder / "project"), Project(folder / "other")
        project.folder.mkdir()
        other.folder.mkdir()
        other.add(noise(500, 7))
        held: dict[str, dict[str, bytes]] = {}
        for data, acc in ((FILES[0], 0.5), (FILES[1], 0.7)):
            made = project.add(data, name="net.safetensors", metrics={"acc": acc})
            held[made] = {"net.safetensors": data}
        bert = {"config.json": b"{}", "sub/w.bin": noise(3000, 1), "z.bin": noise(2000, 2)}
        for listed in (True, False):
            bert = {**bert, "z.bin": noise(2000, listed)}
            held[project.add_folder(bert, "bert", listed=listed)] = bert
        held[put_in_parts(project, noise(5000, 5))] = {"parts.bin": noise(5000, 5)}
        for seed in (3, 4):
            made = project.add(noise(900, seed), family="tiny")
            held[made] = {"model.bin": noise(900, seed)}
        registry = project.registry()
        registry.tag("net@v1", "prod")
        registry.best("net", "acc", "max")
        registry.rm(WITHDRAWN)
        registry.store_alternates(add=other.mvc / "store")
        registry.gc("1d")
        registry.search("acc > 0")
        registry.status(project.folder)
        registry.path("bert@v1")
        registry.path("net@v1")
        assert registry.fsck("full").ok
        os.utime(project.mvc / "manifest" / "net" / "versions", (1, 1))
        os.utime(project.mvc / "manifest" / "net" / "events", (1, 1))
        registry.list("net")
        needs = {each: needs_of(registry, each) for each in held}
        answers = [ask(project.folder, *command) for command in COMMANDS]
        yield Whole(project.folder, held, needs, answers)


def damages(whole: Whole) -> Iterator[Damage]:
    """Yield everything that is done to every file."""
    files = files_in(whole.folder / ".mvc")
    for path, data in sorted(files.items()):
        kind = kind_of(path)
        hurts = hurt_by_loss(whole, path)
        for way, change, hurt in changes(whole, path, data):
            yield Damage(kind, path, way, partial(rewritten, path, change), hurt & hurts)
        yield Damage(kind, path, "deleted", partial(deleted, path), hurts)
        for name in same_kind(files, path):
            both = hurts | hurt_by_loss(whole, name)
            yield Damage(kind, path, f"swapped with {name}", partial(swapped, path, name), both)
            yield Damage(kind, path, f"copied over {name}", partial(copied, path, name), both)


def changes(
    whole: Whole, path: str, data: bytes
) -> Iterator[tuple[str, Callable[[bytes], bytes], frozenset[str]]]:
    """Yield ways to change a file's bytes, each with the versions that it may hurt."""
    every = frozenset(whole.held)
    yield "garbage appended", lambda old: old + b"\0garbage", every
    yield "zeros appended", lambda old: old + bytes(4096), every
    regions = regions_of(whole.folder / ".mvc" / path) if kind_of(path) == "pack" else []
    bounds = {0, 1, len(data) // 2, len(data) - 1} & set(range(len(data)))
    if kind_of(path).endswith(("file", "index", "lock")):
        bounds -= {1}
    elif not regions:
        bounds |= {match.end() for match in re.finditer(b"\n", data[:-1])}
    for at in sorted(bounds | {region.start for region in regions}):
        yield f"cut off at {at}", partial(cut_off, at), every
    for region in regions:
        hurt = frozenset(whole.bound({region.digest})) if region.digest else every
        for at in {region.start, (region.start + region.end) // 2, region.end - 1}:
            yield f"bit of byte {at} turned ({region.name})", partial(turned, at), hurt
    if not regions:
        for at in range(0, len(data), max(1, len(data) // 12)):
            yield f"bit of byte {at} turned", partial(turned, at), every


def cut_off(at: int, data: bytes) -> bytes:
    return data[:at]


def turned(at: int, data: bytes) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def hurt_by_loss(whole: Whole, path: str) -> frozenset[str]:
    """Return the versions that are gone with a file: its record, or objects that they need."""
    if kind_of(path) == "record":
        _, family, _, name = path.split("/")
        return frozenset({f"{family}/{name.removesuffix('.yaml')}"})
    if kind_of(path) == "event":  # it may have said that one of them is out of use
        return frozenset(each for each in whole.held if each.split("/")[0] == path.split("/")[1])
    if kind_of(path) == "pack":
        index = PackReader(whole.folder / ".mvc" / path).index
        return frozenset(whole.bound({bytes(entry.digest) for entry in index}))
    return frozenset()


def same_kind(files: dict[str, bytes], path: str) -> list[str]:
    """Return a file of the same kind with other bytes, of another family if it has one."""
    kind, family = kind_of(path), path.split("/")[1:2]
    others = [name for name in files if kind_of(name) == kind and files[name] != files[path]]
    if kind in ("record", "event", "family.yaml"):
        others = [name for name in others if name.split("/")[1:2] != family]
    return sorted(others)[:1]


def rewritten(path: str, change: Callable[[bytes], bytes], mvc: Path) -> None:
    rewrite(mvc / path, change)


def deleted(path: str, mvc: Path) -> None:
    (mvc / path).unlink()


def swapped(path: str, name: str, mvc: Path) -> None:
    (mvc / path).rename(mvc / "aside")
    (mvc / name).rename(mvc / path)
    (mvc / "aside").rename(mvc / name)


def copied(path: str, name: str, mvc: Path) -> None:
    rewrite(mvc / name, lambda _: (mvc / path).read_bytes())


def ask(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run a command, which ends with a documented status, and at most one line of error."""
    done = mvc("-C", str(folder), *arguments)
    said = done.err.splitlines()
    assert done.status in STATUSES, (arguments, done)
    assert "Traceback" not in done.err, (arguments, done)
    errors = [line for line in said if line.startswith("error: ")]
    if arguments[0] != "fsck" and done.status not in (0, 1):
        left_out = [line for line in said if line.startswith("warning: ")]  # and the rest is shown
        assert len(errors) == 1 or (not errors and left_out), (arguments, done)
        assert all(not line or line.startswith(("error:", "hint:", "warning:", "note:", " "))
                   for line in said), (arguments, done)  # fmt: skip
    return done.status, done.out


def restored(whole: Whole, folder: Path, out: Path) -> set[str]:
    """Return the versions that are handed out, every file as it was; no other is handed out."""
    good = set()
    for identity, files in whole.held.items():
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        if identity == WITHDRAWN:
            status, _ = ask(folder, "restore", identity)
            if status != 0:
                continue
        target = out / "it" if len(files) > 1 else out
        status, _ = ask(folder, "checkout", identity, "-o", f"{target}/")
        found = files_in(target)
        if identity == WITHDRAWN:
            ask(folder, "rm", identity)
        if status == 0:
            assert found == files, identity
            good.add(identity)
        else:
            assert all(data == files[name] for name, data in found.items()), identity
    return good


def findings(folder: Path, *options: str) -> tuple[int, list[dict[str, Any]]] | None:
    """Return what a check finds; ``None`` where there was nothing to check."""
    status, out = ask(folder, "fsck", "--json", *options)
    if not out:
        assert status in (3, 4, 8)
        return None
    found = json.loads(out)["findings"]
    assert status == (3 if found else 0)
    return status, found


def named(found: list[dict[str, Any]]) -> set[str]:
    """Return the versions that findings say cannot be restored."""
    return {v for f in found if f["kind"] not in NO_LOSS for v in f["versions"]}


def look_at(whole: Whole, damage: Damage, folder: Path) -> None:
    """Damage a copy of the registry, and see that what is said of it is so."""
    project, out = folder / "project", folder / "out"
    shutil.copytree(whole.folder, project)
    place.change(project / ".mvc", inode=place.inode_of(project / ".mvc"))
    before = files_in(project / ".mvc")
    damage.do(project / ".mvc")
    if damage.kind == "pack":  # by which some could be read all the same, for a time
        shutil.rmtree(project / ".mvc" / "cache")
    tally.count("files damaged", of=damage.kind)
    first = findings(project)
    answers = [ask(project, *command) for command in COMMANDS]
    if damage.kind not in NO_CACHE:
        assert answers[:SAME] == whole.answers[:SAME], damage
    lost = set(whole.held) - restored(whole, project, out)
    if damage.kind in SETTINGS:
        assert not lost or lost == set(whole.held)
        rewrite_or_make(project / ".mvc" / damage.path, before[damage.path])
        assert findings(project) == (0, []), damage
        assert restored(whole, project, out) == set(whole.held), damage
        return
    assert first is not None
    said = named(first[1])
    if damage.kind == "record" and damage.way == "deleted" and not first[1]:
        said |= lost  # the last of a family may be on another branch: that is a note
    listed = whole.listed & damage.hurts  # the record tells what the damaged tree did
    assert said - listed <= lost <= said, (damage, first)
    assert lost <= damage.hurts, (damage, lost)
    repaired = findings(project, "--repair")
    assert findings(project) == repaired, damage
    assert repaired is not None
    if repaired[1] or first[1]:
        left = set(whole.held) - restored(whole, project, out)
        assert named(repaired[1]) - listed <= left <= named(repaired[1]), (damage, repaired)


def rewrite_or_make(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def a_few(every: list[Damage]) -> list[Damage]:
    """Choose of each kind of file one that is emptied, and one damaged in another way or two."""
    chosen = random.Random(4)
    few = []
    for kind in KINDS:
        of_kind = [damage for damage in every if damage.kind == kind]
        few += [damage for damage in of_kind if damage.way == "cut off at 0"][:1]
        few += chosen.sample(of_kind, min(len(of_kind), 4 if kind == "pack" else 1))
    return few


def test_some_damage_of_every_kind_is_told_as_it_is(whole: Whole, tmp_path: Path) -> None:
    """What is named is what cannot be restored, before a repair and after; all else reads."""
    for number, damage in enumerate(a_few(list(damages(whole)))):
        look_at(whole, damage, tmp_path / str(number))
        shutil.rmtree(tmp_path / str(number))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_all_damage_is_told_as_it_is(whole: Whole, kind: str, tmp_path: Path) -> None:
    """As above, for every file of a kind, in every region and every way."""
    of_kind = [damage for damage in damages(whole) if damage.kind == kind]
    assert of_kind
    for number, damage in enumerate(of_kind):
        look_at(whole, damage, tmp_path / str(number))
        shutil.rmtree(tmp_path / str(number))


def test_a_copied_registry_is_mended_like_any_other(whole: Whole, tmp_path: Path) -> None:
    """A copy, which takes an id of its own, is repaired though an event of it is damaged."""
    shutil.copytree(whole.folder, tmp_path / "copy")
    event = tmp_path / "copy" / ".mvc" / "manifest/net/events/00000001.yaml"
    rewrite(event, partial(turned, 40))
    assert findings(tmp_path / "copy", "--repair", "--from", str(whole.folder)) == (0, [])
    assert restored(whole, tmp_path / "copy", tmp_path / "out") == set(whole.held)


@pytest.mark.parametrize("name", ["moved-to.yaml", "features/unheard-of"])
def test_what_a_store_says_of_itself_may_be_damaged(
    whole: Whole, name: str, tmp_path: Path
) -> None:
    """A note of a move, or a feature, that cannot be read stops nothing for good."""
    project = tmp_path / "project"
    shutil.copytree(whole.folder, project)
    place.change(project / ".mvc", inode=place.inode_of(project / ".mvc"))
    path = project / ".mvc" / "store" / name
    for data in (b"", b"mvc: 1\n", b"mvc: 1\nto: 5\n", b'mvc: 1\nto: "/nowhere"\n', noise(300)):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        tally.count("files damaged", of=name)
        findings(project)
        for command in COMMANDS:
            ask(project, *command)
        restored(whole, project, tmp_path / "out")
        path.unlink()
    assert findings(project) == (0, [])
    assert restored(whole, project, tmp_path / "out") == set(whole.held)
