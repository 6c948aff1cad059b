"""What ``status`` and ``du`` count."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mvc import MvcWarning, NotFound
from mvc.codecs import Encoding
from mvc.digest import Digest, digest_of, digest_of_open
from mvc.registry import digests
from mvc.registry import family as families
from mvc.registry.family import Family
from mvc.registry.manifest import Manifest
from mvc.registry.names import MODEL_SUFFIXES
from mvc.registry.status import FileState
from mvc.store import Store
from mvc.store.pack import Entry
from tests.cli.running import mvc
from tests.support.registry_builders import MIB, Project, noise, python, repacked

ROOT = Path(__file__).parents[2]


def states(project: Project) -> dict[str, tuple[str, str | None]]:
    found: tuple[FileState, ...] = project.registry().status(project.folder).files
    return {file.path.name: (file.state, file.version) for file in found}


@pytest.fixture
def left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever is written be left alone for a minute before anything reads it."""
    monkeypatch.setattr(digests, "SETTLED_NS", 0)


def test_files_are_registered_changed_or_new(project: Project) -> None:
    """Each model file is told by its bytes, whatever it is called now."""
    project.add(b"one", name="one.pt")
    project.add(b"two", name="two.pt")
    project.add(b"any", name="no_suffix")
    os.rename(project.folder / "two.pt", project.folder / "renamed.safetensors")
    project.file(b"changed", "one.pt")
    project.file(b"three", "three.onnx")
    project.file(b"text", "notes.txt")
    (project.folder / ".hidden").mkdir()
    project.file(b"x", ".hidden/m.pt")
    (project.folder / "link.pt").symlink_to("three.onnx")
    expected = {
        "one.pt": ("changed", "net/v1"),
        "renamed.safetensors": ("registered", "net/v2"),
        "no_suffix": ("registered", "net/v3"),
        "three.onnx": ("new", None),
    }
    assert states(project) == expected
    assert states(project) == expected


KILLED = """
import os, sys
from mvc import ModelRegistry, beneath
beneath.Folder.move = lambda *arguments, **options: os._exit(9)
ModelRegistry(sys.argv[1]).checkout(sys.argv[2], sys.argv[3])
"""


def test_what_a_killed_checkout_left_is_told(project: Project) -> None:
    """Of a file and of folders, once nothing was written there for an hour; removed as told."""
    project.add(noise(3000))
    folder = project.folder / "bert"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.bin", "deep/b.bin"):
        (folder / name).write_bytes(name.encode())
    project.registry().add("bert", folder)
    (folder / "a.bin").unlink()
    for ref, target in (("net", "out.bin"), ("bert", "new"), ("bert", "bert")):
        with python(KILLED, project.folder, ref, project.folder / target) as child:
            assert child.communicate() == ("", "")
        assert child.returncode == 9
    left = sorted(project.folder.rglob(".mvc-new-*"))
    assert {path.parent for path in left} == {project.folder, folder}
    assert len(left) == 3
    assert project.registry().status(project.folder).leftovers == ()
    then = time.time() - 3601
    for path in (*left, *(path for one in left for path in one.rglob("*"))):
        os.utime(path, (then, then))
    others = [".mvc-new-host.17", ".mvc-new-0123456789abcdef.txt", "mvc-new-0123456789abcdef"]
    for name in others:
        os.utime(project.file(b"", name), (then, then))
    told = mvc("-C", str(project.folder), "status")
    assert project.registry().status(project.folder).leftovers == tuple(left)
    (note,) = told.err.splitlines()
    subprocess.run(shlex.split(note.partition("use: ")[2]), check=True, cwd=project.folder)
    assert project.registry().status(project.folder).leftovers == ()
    assert all((project.folder / name).exists() for name in others)


def test_the_page_names_what_is_looked_at(project: Project) -> None:
    """Status lists every ending that the page names, in any case, and no archive or text."""
    page = (ROOT / "docs" / "looking.md").read_text(encoding="utf-8")
    named = re.findall(r"\s(\.\S+)", page.partition("Looked at are ")[2].split("```")[1])
    assert set(named) == {*MODEL_SUFFIXES, ".data-00000-of-00001"}
    expected = {f"m{n}{suffix}" for n, suffix in enumerate(named)} | {"UPPER.PTH.TAR"}
    project.add(b"added", name="added.txt")
    for name in (*expected, "a.zip", "a.tar", "a.txt", "a.data-1-of-2", "pt", ".pt"):
        project.file(b"weights", name)
    assert set(states(project)) == expected | {"added.txt"}


def test_files_stand_by_state_then_by_path(project: Project) -> None:
    """What is a version stands first, then what was withdrawn, what changed, and what is new."""
    for name in ("d.pt", "c.pt", "b.pt"):
        project.add(name.encode(), name=name)
    project.registry().rm("net@v2")
    project.file(b"changed", "b.pt")
    for name in ("e.pt", "a.pt"):
        project.file(b"new", name)
    (project.folder / "0").mkdir()
    project.file(b"d.pt", "0/z.pt")
    files = project.registry().status(project.folder).files
    assert [(file.state, file.path.name) for file in files] == [
        ("registered", "z.pt"),
        ("registered", "d.pt"),
        ("withdrawn", "c.pt"),
        ("changed", "b.pt"),
        ("new", "a.pt"),
        ("new", "e.pt"),
    ]


@pytest.mark.usefixtures("left_alone")
def test_a_file_that_did_not_change_is_not_read_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is noted of a file is believed while size, times and inode hold; not otherwise."""
    project.add(b"one", name="one.pt")
    path = project.file(b"two", "two.pt")
    states(project)
    read: list[int] = []

    def counted(descriptor: int, *_: object) -> Digest:
        read.append(os.fstat(descriptor).st_ino)
        return digest_of_open(descriptor)

    monkeypatch.setattr(digests, "digest_of_open", counted)
    assert states(project) == {"one.pt": ("registered", "net/v1"), "two.pt": ("new", None)}
    assert not read
    path.write_bytes(b"one")
    assert states(project)["two.pt"] == ("registered", "net/v1")
    assert read == [path.stat().st_ino]


def test_a_family_is_read_once_for_all_its_files(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of its versions lie in the folder, its state is loaded once."""
    for number in range(5):
        project.add(b"one more %d" % number, name=f"{number}.pt")
    assert len(states(project)) == 5
    loaded: list[str] = []
    real = families.load

    def counted(manifest: Manifest, name: str) -> Family:
        loaded.append(name)
        return real(manifest, name)

    monkeypatch.setattr(families, "load", counted)
    assert len(states(project)) == 5
    assert loaded == ["net"]


def test_a_checked_out_file_is_known(project: Project, tmp_path: Path) -> None:
    """A checkout notes what it wrote, so that a change to it is told from a new file."""
    project.add(b"one")
    project.registry().checkout("net", tmp_path / "copy")
    assert states(project)["copy"] == ("registered", "net/v1")
    (tmp_path / "copy").write_bytes(b"edited")
    assert states(project)["copy"] == ("changed", "net/v1")


@pytest.mark.usefixtures("left_alone")
def test_a_file_of_a_withdrawn_version_is_not_called_registered(project: Project) -> None:
    """A withdrawn version is told apart from one in use, also when the file was noted before."""
    project.add(b"one", name="one.pt")
    project.add(b"two", name="two.pt")
    assert states(project)["one.pt"] == ("registered", "net/v1")
    project.registry().rm("net@v1")
    expected = {"one.pt": ("withdrawn", "net/v1"), "two.pt": ("registered", "net/v2")}
    assert states(project) == expected
    assert states(project) == expected
    project.add(b"one", name="again.pt")
    assert states(project)["one.pt"] == ("registered", "net/v3")


@pytest.mark.usefixtures("left_alone")
def test_a_file_whose_bytes_were_given_up_is_new(project: Project) -> None:
    """What nothing here can bring back is not shown as a version, as if it could be deleted."""
    project.add(noise(MIB), name="one.pt")
    states(project)
    project.registry().rm("net@v1")
    project.registry().gc(timedelta(0))
    assert states(project) == {"one.pt": ("new", None)}


@pytest.mark.usefixtures("left_alone")
def test_a_file_that_the_store_lacks_is_new(project: Project) -> None:
    """A record alone, without the bytes in the store, does not make a file registered."""
    project.add(noise(MIB), name="one.pt")
    states(project)
    for pack in project.packs:
        pack.unlink()
    assert states(project) == {"one.pt": ("new", None)}


def test_an_unreadable_file_is_passed_over(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file that cannot be read is a warning, and the others are shown."""
    project.add(b"one", name="one.pt")
    project.file(b"two", "two.pt")

    refused = (project.folder / "two.pt").stat().st_ino

    def refuse(descriptor: int, *_: object) -> Digest:
        if os.fstat(descriptor).st_ino == refused:
            raise PermissionError(13, "Permission denied")
        return digest_of_open(descriptor)

    monkeypatch.setattr(digests, "digest_of_open", refuse)
    with pytest.warns(MvcWarning, match=r"two\.pt' cannot be read"):
        assert set(states(project)) == {"one.pt"}


def test_the_numbers_of_status(project: Project) -> None:
    """Families, versions that are not withdrawn, and bytes: stored, and of plain copies."""
    large = noise(5 * MIB)
    project.add(large)
    project.add(large)
    project.add(b"123", family="other")
    project.add(b"gone", family="other")
    project.registry().rm("other@v2")
    shown = project.registry().status(project.folder)
    assert (shown.families, shown.versions) == (2, 3)
    assert shown.plain == 2 * len(large) + 3
    assert shown.stored == sum(pack.stat().st_size for pack in project.packs)
    assert shown.registry == project.mvc
    assert shown.store == project.mvc / "store"
    assert shown.free is not None


def test_the_numbers_of_du(project: Project) -> None:
    """Shared bytes count once, withdrawn ones apart, and everything adds up to the packs."""
    large = noise(6 * MIB)
    project.add(large)
    project.add(large)
    project.add(large, family="same")
    project.add(noise(MIB, 2), family="other")
    project.add(noise(2 * MIB, 3), family="other")
    project.add(large, family="other")
    project.registry().rm("other@v2")
    project.registry().rm("other@v3")
    used = project.registry().du()
    assert (used.versions, used.withdrawn_versions) == (4, 2)
    assert used.plain == 3 * len(large) + MIB
    assert len(large) + MIB < used.stored < len(large) + MIB + 20_000
    assert 2 * MIB < used.withdrawn < 2 * MIB + 1000
    packs = sum(pack.stat().st_size for pack in project.packs)
    assert used.stored + used.withdrawn + used.other == packs
    assert 0 < used.other < 1000
    families = {family.family: family for family in used.families}
    assert families["net"].stored == families["same"].stored
    assert (families["net"].versions, families["net"].plain) == (2, 2 * len(large))
    assert families["net"].stored + families["other"].stored == used.stored
    assert used.ratio == used.stored / used.plain
    assert used.cache > 0


def test_du_counts_what_a_delta_is_made_upon(project: Project) -> None:
    """Whoever needs a delta needs its base, and the base's base, also if nobody else does."""
    first, second, third = (noise(MIB, seed) for seed in (1, 2, 3))
    for data in (first, second, third):
        project.add(data)
    project.add(third, family="other")
    bases = {digest_of(second): digest_of(first), digest_of(third): digest_of(second)}

    def as_delta(entry: Entry) -> Entry:
        if entry.digest not in bases:
            return entry
        return replace(entry, encoding=Encoding.DELTA, depth=1, base=bases[entry.digest])

    for pack in project.packs:
        repacked(pack, as_delta)
    for ref in ("net@v1", "net@v2"):
        project.registry().rm(ref)
    used = project.registry().du()
    assert {family.family: family.versions for family in used.families} == {"net": 1, "other": 1}
    assert all(3 * MIB < family.stored < 3 * MIB + 1000 for family in used.families)
    assert used.stored == used.families[0].stored
    assert (used.withdrawn_versions, used.withdrawn) == (2, 0)
    packs = sum(pack.stat().st_size for pack in project.packs)
    assert used.stored + used.other == packs
    assert used.other < 1000


def test_du_counts_what_is_in_the_store_itself(project: Project, tmp_path: Path) -> None:
    """What an alternate keeps takes nothing here; a second frame of an object is no version's."""
    data = noise(MIB)
    project.add(data)
    (pack,) = project.packs
    before = pack.read_bytes()
    repacked(pack, lambda entry: replace(entry, encoding=Encoding.ZSTD))
    pack.write_bytes(before)
    used = project.registry().du()
    assert MIB < used.stored < MIB + 1000
    assert MIB < used.other < MIB + 1000
    Store.create(tmp_path / "lender")
    for moved in project.packs:
        moved.rename(tmp_path / "lender" / "packs" / moved.name)
    project.registry().store_alternates(add=tmp_path / "lender")
    used = project.registry().du()
    assert (used.stored, used.other, used.plain) == (0, 0, MIB)


def test_the_status_of_no_folder_is_not_that_of_an_empty_one(project: Project) -> None:
    """A slip in the name of a folder does not read as if nothing were in it."""
    project.add(b"weights")
    for name in ("nowhere", "model.bin"):
        with pytest.raises(NotFound, match=f"no folder '.*{name}'"):
            project.registry().status(project.folder / name)


def test_du_of_nothing(project: Project) -> None:
    """An empty registry has no ratio."""
    project.registry().init()
    used = project.registry().du()
    assert (used.versions, used.plain, used.stored, used.ratio) == (0, 0, 0, None)
