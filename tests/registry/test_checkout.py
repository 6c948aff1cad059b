"""Checkout: where a file goes, what it replaces, and what it never touches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mvc import Conflict, Damaged, NotFound, UsageError, fileio
from mvc.durability import Together
from mvc.registry import record as records
from mvc.registry.record import Artifact
from tests.support.registry_builders import MIB, Project, files_in, flip, noise, rewrite


@pytest.fixture
def out(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder outside the project."""
    folder = tmp_path_factory.mktemp("out")
    monkeypatch.chdir(folder)
    return folder


def test_a_file_goes_to_its_stored_name_in_the_working_folder(project: Project, out: Path) -> None:
    """Without a target the result has the name that was added."""
    project.add(b"weights", name="model.pt")
    made = project.registry().checkout("net")
    assert (made.path, made.written, made.id) == (Path("model.pt"), True, "net/v1")
    assert files_in(out) == {"model.pt": b"weights"}


def test_a_target_is_a_file_or_an_existing_folder(project: Project, out: Path) -> None:
    """A new name is the file; an existing folder, also behind a link, receives it."""
    project.add(b"weights", name="model.pt")
    (out / "folder").mkdir()
    (out / "link").symlink_to("folder")
    (out / "deep").mkdir()
    registry = project.registry()
    assert registry.checkout("net", "named.bin").path == Path("named.bin")
    assert registry.checkout("net", out / "folder").path == out / "folder" / "model.pt"
    assert registry.checkout("net", "link/other.pt").path == Path("link/other.pt")
    assert registry.checkout("net", str(out / "deep")).path == out / "deep" / "model.pt"
    assert set(files_in(out)) == {
        "named.bin",
        "folder/model.pt",
        "folder/other.pt",
        "deep/model.pt",
    }
    with pytest.raises(UsageError, match="there is no folder 'missing'"):
        registry.checkout("net", "missing/model.pt")
    assert not (out / "missing").exists()


def test_a_slash_at_the_end_means_a_folder(project: Project, out: Path) -> None:
    """A file does not get a name that was written as a folder's; an existing folder takes it."""
    project.add(b"weights")
    with pytest.raises(UsageError, match="there is no folder 'models'"):
        project.registry().checkout("net", "models/")
    assert not os.path.lexists("models")
    os.mkdir("models")
    assert project.registry().checkout("net", "models/").path == Path("models/model.bin")


def test_a_file_that_is_right_already_is_not_written(project: Project, out: Path) -> None:
    """A second checkout changes nothing and says so."""
    project.add(b"weights")
    project.registry().checkout("net")
    before = os.stat("model.bin")
    assert project.registry().checkout("net").written is False
    assert os.stat("model.bin").st_ino == before.st_ino
    assert os.stat("model.bin").st_mtime_ns == before.st_mtime_ns


def test_a_version_is_replaced_by_another(project: Project, out: Path) -> None:
    """What can be had again is replaced without asking, also if it is of another family."""
    project.add(b"one")
    project.add(b"two")
    project.add(b"three", family="other")
    registry = project.registry()
    for ref, data in (("net@v1", b"one"), ("net@v2", b"two"), ("other", b"three"), ("net", b"two")):
        assert registry.checkout(ref).written is True
        assert files_in(out) == {"model.bin": data}


def test_what_is_no_version_is_replaced_only_by_force(project: Project, out: Path) -> None:
    """A changed file is a conflict and stays, until ``force``."""
    project.add(b"weights")
    (out / "model.bin").write_bytes(b"my own work")
    with pytest.raises(Conflict, match="holds something that is no version here"):
        project.registry().checkout("net")
    assert files_in(out) == {"model.bin": b"my own work"}
    project.registry().checkout("net", force=True)
    assert files_in(out) == {"model.bin": b"weights"}


def test_a_checkout_is_a_writable_copy_of_its_own(project: Project, out: Path) -> None:
    """Changing the file changes nothing in the store; other names of the old file stay."""
    project.add(b"one")
    project.add(b"two")
    registry = project.registry()
    registry.checkout("net@v1")
    os.link("model.bin", "other name")
    registry.checkout("net@v2")
    assert files_in(out) == {"model.bin": b"two", "other name": b"one"}
    assert os.access("model.bin", os.W_OK)
    (out / "model.bin").write_bytes(b"changed")
    assert project.bytes_of("net@v2") == b"two"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "kind", ["link", "dangling link", "link to the same bytes", "folder", "pipe"]
)
def test_nothing_but_a_regular_file_is_ever_replaced(
    project: Project, out: Path, kind: str, force: bool
) -> None:
    """A link, folder or pipe at the target is a conflict, also by force; what it leads to stays."""
    project.add(b"weights")
    victim = out / "victim"
    victim.write_bytes(b"weights" if kind == "link to the same bytes" else b"precious")
    target = out / "target"
    if "link" in kind:
        target.symlink_to("nowhere" if kind == "dangling link" else "victim")
    elif kind == "folder":
        target = out / "folder"
        (target / "model.bin").mkdir(parents=True)
    else:
        os.mkfifo(target)
    before = files_in(out)
    with pytest.raises(Conflict, match="symbolic link" if "link" in kind else "regular file"):
        project.registry().checkout("net", target, force=force)
    assert files_in(out) == before
    assert target.is_symlink() == ("link" in kind)


NAMES = ["../escaped", "/tmp/escaped", "a/b", "a\\b", "..", ".", "", "a\0b"]


@pytest.mark.parametrize("name", NAMES)
def test_a_forged_name_leads_nowhere(project: Project, out: Path, name: str) -> None:
    """A record whose file name is more than one plain component writes only where ``-o`` says."""
    project.add(b"weights")
    registry = project.registry()
    record, _ = registry.manifest.record("net", 1)
    artifact = Artifact("file", name, record.artifact.digest, record.artifact.size)
    forged = records.Record("net", "0" * 32, record.created, artifact)
    fileio.run(registry.manifest.create_version("net", records.encode(forged)))
    (out / "in").mkdir()
    for target in (None, out / "in"):
        with pytest.raises(UsageError, match="is no name for a file"):
            project.registry().checkout("net@v2", target)
    assert files_in(out) == {}
    assert project.registry().checkout("net@v2", out / "named").path.read_bytes() == b"weights"


@pytest.mark.parametrize("size", [1000, 9 * MIB])
@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("damage", ["flipped", "cut off", "missing"])
def test_damage_leaves_no_file_behind(
    project: Project, out: Path, size: int, existing: bool, damage: str
) -> None:
    """A damaged pack is an error that names the version; the folder is as it was."""
    project.add(noise(size))
    if existing:
        (out / "model.bin").write_bytes(b"mine")
    (pack,) = project.packs
    if damage == "flipped":
        flip(pack, size - 500)
    elif damage == "cut off":
        rewrite(pack, lambda data: data[: size // 2])
    else:
        pack.unlink()
    before = files_in(out)
    with pytest.raises(Damaged, match="net/v1 cannot be checked out"):
        project.registry().checkout("net", force=True)
    assert files_in(out) == before
    assert [path for path in out.iterdir() if path.name != "model.bin"] == []


def test_every_byte_of_a_pack_is_looked_at_before_a_file_is_made(
    project: Project, out: Path
) -> None:
    """Whichever byte is flipped, a checkout gives the right bytes or no file."""
    data = noise(200)
    project.add(data)
    (pack,) = project.packs
    for offset in range(pack.stat().st_size):
        flip(pack, offset)
        try:
            assert project.registry().checkout("net").path.read_bytes() == data
            (out / "model.bin").unlink()
        except Damaged:
            assert files_in(out) == {}
        flip(pack, offset)
    assert project.bytes_of("net") == data


def test_a_damaged_pack_is_mended_by_adding_the_file_again(project: Project) -> None:
    """Bytes that rotted are stored anew, so that deleting the file afterwards is safe."""
    for data in (noise(1000), noise(9 * MIB)):
        ref = project.add(data, family=f"net{len(data)}")
        rotten = max(project.packs, key=lambda path: path.stat().st_mtime_ns)
        flip(rotten, len(data) // 2)
        with pytest.raises(Damaged):
            project.bytes_of(ref)
        again = project.add(data, family=f"net{len(data)}")
        assert project.bytes_of(again) == data
        assert project.bytes_of(ref) == data


def test_a_failed_write_leaves_nothing(
    project: Project, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk refuses to sync, the error comes out and no private file stays."""
    project.add(b"weights")

    def refuse(self: fileio.NewFile, together: Together | None = None) -> None:
        raise OSError(5, "i/o error")

    monkeypatch.setattr(fileio.NewFile, "sync", refuse)
    with pytest.raises(OSError, match="the disk failed"):
        project.registry().checkout("net")
    assert list(out.iterdir()) == []


def test_a_target_that_appears_meanwhile_is_not_overwritten(
    project: Project, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that somebody else makes during the checkout is theirs."""
    project.add(b"weights")
    real = fileio.NewFile.sync

    def appearing(self: fileio.NewFile, together: Together | None = None) -> None:
        (out / "model.bin").write_bytes(b"theirs")
        real(self, together)

    monkeypatch.setattr(fileio.NewFile, "sync", appearing)
    with pytest.raises(Conflict, match="appeared meanwhile"):
        project.registry().checkout("net")
    assert files_in(out) == {"model.bin": b"theirs"}


def test_what_is_not_registered_is_not_found(project: Project, out: Path) -> None:
    """An unknown version writes nothing."""
    project.add(b"weights")
    for ref in ("net@v2", "nte", "net@prod"):
        with pytest.raises(NotFound):
            project.registry().checkout(ref)
    assert list(out.iterdir()) == []
