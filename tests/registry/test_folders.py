"""Folders: what becomes of one as a version, what is left out, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mvc import (
    Conflict,
    Damaged,
    ModelRegistry,
    MvcError,
    NotFound,
    StoreMissing,
    StoreWarning,
    UsageError,
    fileio,
)
from mvc.registry.intake.folder import MOST_NOTED, SourceFolder
from mvc.registry.intake.ingest_folder import ingest_folder
from mvc.registry.reach import closure_of_file
from mvc.registry.record import MOST_LISTED
from mvc.registry.selection import Selection
from mvc.store import Transaction
from mvc.tree import Tree
from tests.formats.test_onnx import field, model
from tests.support.registry_builders import (
    MIB,
    Project,
    files_in,
    flip,
    new_project,
    noise,
    rewrite,
    trees,
)

CONFIG = b'{"model_type": "bert"}\n'


def write(folder: Path, **files: bytes) -> Path:
    """Make a folder; ``__`` in a name is a folder, ``_`` before the last word a dot."""
    for name, data in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def stored(project: Project, ref: str) -> dict[str, bytes]:
    """Return the files of a version as the store has them."""
    registry = project.registry()
    store = registry.presence.store
    return {file.path: bytes(store.get(file.digest)) for file in registry.files(ref)}


@pytest.fixture
def bert(project: Project) -> Path:
    """A folder of three files, one of them large, one executable, one in a folder."""
    folder = write(
        project.folder / "bert", config_json=CONFIG, model_bin=noise(5 * MIB), src__run_sh=b"#!\n"
    )
    (folder / "src/run.sh").chmod(0o755)
    return folder


def test_a_folder_is_one_version(project: Project, bert: Path) -> None:
    """All files come back bit for bit, with their paths, and with modes 0644 and 0755 only."""
    (bert / "model.bin").chmod(0o600)
    before = {path: path.stat() for path in bert.rglob("*")}
    added = project.registry().add("net", bert, {"acc": 0.5})
    assert stored(project, added.id) == {
        "config.json": CONFIG,
        "model.bin": noise(5 * MIB),
        "src/run.sh": b"#!\n",
    }
    artifact = project.registry().resolve("net@best").artifact
    assert (artifact.kind, artifact.name, artifact.files) == ("directory", "bert", 3)
    assert artifact.size == sum(len(data) for data in stored(project, added.id).values())
    assert artifact.listing == project.registry().files(added.id)
    assert [(f.path, f.mode) for f in project.registry().files(added.id)] == [
        ("config.json", 0o644),
        ("model.bin", 0o644),
        ("src/run.sh", 0o755),
    ]
    assert {path: path.stat().st_mtime_ns for path in before} == {
        path: status.st_mtime_ns for path, status in before.items()
    }
    assert project.registry().fsck("full").ok
    out = project.registry().checkout("net", project.folder / "out").path
    assert files_in(out) == files_in(bert)
    assert (out / "src/run.sh").stat().st_mode & 0o111


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(trees, st.randoms(use_true_random=False))
def test_every_folder_comes_back(made: Tree, random: Any) -> None:
    """Whatever files are called and hold, the version has them all, and is sound."""
    with new_project() as project:
        contents = {file.path: random.randbytes(random.choice([0, 3, 900])) for file in made.files}
        for file in made.files:
            path = project.folder / "folder" / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents[file.path])
            path.chmod(file.mode)
        project.registry().add("net", project.folder / "folder", exclude=())
        assert stored(project, "net") == contents
        modes = {file.path: file.mode for file in made.files}
        assert {file.path: file.mode for file in project.registry().files("net")} == modes
        assert project.registry().fsck("full").ok


def test_links_to_files_are_read_through(project: Project) -> None:
    """A cache of models keeps its files as links to blobs; the version is that of their copies."""
    plain = write(project.folder / "model", config_json=CONFIG, w_bin=noise(100))
    snapshot = project.folder / "cache" / "model"
    (snapshot / "../blobs").resolve().mkdir(parents=True)
    snapshot.mkdir()
    for number, path in enumerate(sorted(plain.iterdir())):
        shutil.copy(path, project.folder / "cache/blobs" / str(number))
        (snapshot / path.name).symlink_to(f"../blobs/{number}")
    (project.folder / "latest").symlink_to(snapshot)
    first = project.registry().add("net", plain)
    second = project.registry().add("net", snapshot)
    named = project.registry().add("net", project.folder / "latest")
    assert first.artifact == second.artifact
    assert (second.stored, second.same_bytes) == (0, "net/v1")
    assert (named.artifact.digest, named.artifact.name) == (first.artifact.digest, "latest")


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # the whole path may be too long for an address
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def deep(path: Path, depth: int = 600) -> None:
    """Make folders in folders, which no path can name any more."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        for _ in range(depth):
            os.mkdir("deep")
            os.chdir("deep")
        Path("f").touch()
    finally:
        os.chdir(here)


REFUSED: dict[str, tuple[type[MvcError], str, Callable[[Path], object]]] = {
    "folder": (UsageError, "link to a folder", lambda path: path.symlink_to("src")),
    "above": (UsageError, "link to a folder", lambda path: path.symlink_to("..")),
    "itself": (UsageError, "link to a folder", lambda path: path.symlink_to(".")),
    "dangling": (NotFound, "which is not there", lambda path: path.symlink_to("nowhere")),
    "loop": (UsageError, "leads back to itself", lambda path: path.symlink_to("loop")),
    "pipe": (UsageError, "is a pipe", os.mkfifo),
    "socket": (UsageError, "is a socket", bind),
    "device": (UsageError, "is a device", lambda path: path.symlink_to("/dev/null")),
    "endless": (UsageError, "is a device", lambda path: path.symlink_to("/dev/zero")),
    "line\nfeed": (UsageError, "control character", Path.touch),
    "\udcff": (UsageError, "not UTF-8", Path.touch),
    "CONFIG.JSON": (UsageError, "case or accents", Path.touch),
    "SRC/x": (UsageError, "case or accents", lambda path: write(path.parent, x=b"")),
    "deep": (UsageError, "at most 1024", deep),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_is_refused_in_a_line(project: Project, bert: Path, name: str) -> None:
    """Nothing is stored, nothing is waited for, and the hint says how to go on without it."""
    kind, message, make = REFUSED[name]
    try:
        make(bert / name)
        assert os.path.lexists(bert / name)
    except OSError as error:
        pytest.skip(f"this file system has no such name: {error}")
    with pytest.raises(kind, match=message) as raised:
        project.registry().add("net", bert)
    assert "\n" not in raised.value.message
    assert len(raised.value.message) < 500
    assert "--exclude" in (raised.value.hint or "")
    assert project.registry().list() == []
    assert project.packs == []
    subprocess.run(["rm", "-rf", bert], check=True)  # too deep for others


def test_what_is_excluded_may_be_anything(project: Project, bert: Path) -> None:
    """The hint of a refusal can be typed: what is excluded is not looked at."""
    names = ["[odd] *?", "pipe", "-rf", "a b"]
    for name in names:
        os.mkfifo(bert / "src" / name)
    with pytest.raises(UsageError) as raised:
        project.registry().add("net", bert)
    assert "--exclude" in (raised.value.hint or "")
    import glob

    exclude = [glob.escape(f"src/{name}") for name in names]
    assert project.registry().add("net", bert, exclude=exclude).artifact.files == 3


def test_names_that_differ_by_accents_only_are_refused(project: Project, bert: Path) -> None:
    """Two spellings of one accent are one name to some file systems."""
    for name in ("\u00e9", "e\u0301"):
        (bert / name).touch()
    if len(list(bert.iterdir())) < 5:
        pytest.skip("this file system takes them for one")
    with pytest.raises(UsageError, match="case or accents"):
        project.registry().add("net", bert)


def test_what_tools_keep_for_themselves_is_left_out(project: Project, bert: Path) -> None:
    """At any depth, counted in a note; a file that is only called so is a file."""
    for folder in (".git", "src/__pycache__", "src/deep/__pycache__", ".cache/huggingface"):
        write(bert / folder, x=b"x")
    (bert / "src/.git").write_text("gitdir: elsewhere")
    (bert / "src/.cache").write_text("a file")
    (bert / "src/.mvc-new-0123").write_text("left by a killed process")
    (bert / ".gitattributes").write_text("* -text")
    os.symlink("nowhere", bert / ".git/dangling")
    added = project.registry().add("net", bert)
    assert sorted(stored(project, "net")) == [
        ".gitattributes",
        "config.json",
        "model.bin",
        "src/.cache",
        "src/run.sh",
    ]
    (note,) = added.notes
    assert note.endswith("bert': .cache, 2 × .git, .mvc-new-0123, 2 × __pycache__")


def test_a_project_is_added_without_its_registry(project: Project) -> None:
    """The registry in a folder is no part of it, so adding it again changes nothing."""
    project.file(b"weights")
    first = project.registry().add("net", project.folder)
    assert (first.artifact.name, sorted(stored(project, "net"))) == (
        project.folder.name,
        ["model.bin"],
    )
    again = project.registry().add("net", project.folder, if_changed=True)
    assert (again.id, again.new) == (first.id, False)


def test_a_store_in_the_folder_is_no_part_of_it(project: Project) -> None:
    """The store may lie beside the models; what is written to it is not read as one of them."""
    project.file(b"weights")
    project.registry().init()
    store = (project.mvc / "store").rename(project.folder / "packs of mine")
    registry = ModelRegistry(project.folder, store=store)
    added = registry.add("net", project.folder)
    assert [file.path for file in registry.files(added.id)] == ["model.bin"]
    assert added.notes == (f"left out of '{project.folder}': .mvc, packs of mine",)


SELECTED: list[tuple[dict[str, Any], set[str]]] = [
    ({"include": "*.json"}, {"config.json", "unet/config.json"}),
    ({"include": ["*.json", "*.md"]}, {"config.json", "unet/config.json", "README.md"}),
    ({"include": "config.json"}, {"config.json", "unet/config.json"}),
    ({"include": "unet"}, {"unet/config.json", "unet/w.bin", "unet/old/w.bin"}),
    ({"include": "unet/*.bin"}, {"unet/w.bin", "unet/old/w.bin"}),
    ({"include": "unet/old/"}, {"unet/old/w.bin"}),
    ({"include": "readme.md"}, set()),
    ({"exclude": "*.bin"}, {"config.json", "README.md", "unet/config.json"}),
    ({"exclude": "unet"}, {"config.json", "README.md", "w.bin"}),
    ({"exclude": "old"}, {"config.json", "README.md", "w.bin", "unet/config.json", "unet/w.bin"}),
    ({"exclude": ["[cR]*", "unet/old"]}, {"w.bin", "unet/w.bin"}),
    ({"include": "unet", "exclude": "old"}, {"unet/config.json", "unet/w.bin"}),
    ({"include": "*.bin", "exclude": "*.bin"}, set()),
    ({"exclude": "*"}, set()),
]


@pytest.mark.parametrize(("globs", "expected"), SELECTED, ids=lambda value: str(value)[:40])
def test_globs_choose_files(project: Project, globs: dict[str, Any], expected: set[str]) -> None:
    """A glob means a file by its path or name, or by those of a folder above it."""
    folder = write(
        project.folder / "sd",
        config_json=b"1",
        README_md=b"2",
        w_bin=b"3",
        unet__config_json=b"4",
        unet__w_bin=b"5",
        unet__old__w_bin=b"6",
    )
    if not expected:
        with pytest.raises(UsageError, match="no file"):
            project.registry().add("net", folder, **globs)
        return
    added = project.registry().add("net", folder, **globs)
    assert set(stored(project, added.id)) == expected
    assert added.notes[0].startswith("excluded from")


def test_an_empty_folder_is_no_version(project: Project) -> None:
    """Nor one of empty folders, nor one in which everything is left out."""
    folder = project.folder / "empty"
    (folder / "a/b").mkdir(parents=True)
    (folder / ".git").mkdir()
    with pytest.raises(UsageError, match=r"holds no files; \.git is left out"):
        project.registry().add("net", folder)
    assert project.registry().list() == []


def test_globs_are_for_folders(project: Project) -> None:
    """With a file, or a version that is there, they are a mistake."""
    path = project.file(b"x")
    with pytest.raises(UsageError, match="is no folder"):
        project.registry().add("net", path, exclude="*.md")
    project.registry().add("net", path)
    with pytest.raises(UsageError, match="with all its files"):
        project.registry().add("net", from_version="net@v1", include=["*"])


def link_instead(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("model.bin")


def pipe_instead(folder: Path) -> None:
    (folder / "model.bin").unlink()
    os.mkfifo(folder / "model.bin")


CHANGES: dict[str, Callable[[Path], object]] = {
    "written to": lambda folder: (folder / "config.json").write_bytes(CONFIG),
    "replaced": lambda folder: os.replace(folder / "config.json", folder / "model.bin"),
    "added": lambda folder: (folder / "src/new").touch(),
    "removed": lambda folder: (folder / "src/run.sh").unlink(),
    "made executable": lambda folder: (folder / "config.json").chmod(0o755),
    "a pipe now": pipe_instead,
    "a pipe more": lambda folder: os.mkfifo(folder / "pipe"),
    "a link to another": link_instead,
    "gone": shutil.rmtree,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_changes_while_it_is_read_is_refused(
    project: Project, bert: Path, change: str
) -> None:
    """A version is never half of before and half of after."""
    registry = project.registry()
    registry.init()
    source = SourceFolder(bert, Selection())
    CHANGES[change](bert)
    transaction = Transaction(registry.presence.store)
    try:
        fileio.run(transaction.begin())
        with pytest.raises(Conflict, match="changed while it was read"):
            ingest_folder(source, transaction)
    finally:
        transaction.end()


def test_a_file_is_read_only_as_it_was_listed(bert: Path) -> None:
    """A link that leads elsewhere for a moment is noticed when it is opened."""
    link = bert / "link.json"
    link.symlink_to("config.json")
    source = SourceFolder(bert, Selection())
    (listed,) = (file for file in source.files if file.path == "link.json")
    source.open(listed).close()
    link.unlink()
    link.symlink_to("model.bin")
    with pytest.raises(Conflict, match=r"link\.json"):
        source.open(listed)


def test_folders_in_folders_are_no_matter(project: Project) -> None:
    """A path as deep as a path can be is kept."""
    folder = project.folder / "deep"
    path = folder.joinpath(*["d"] * 500, "f.bin")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"deep")
    project.registry().add("net", folder)
    assert list(stored(project, "net").values()) == [b"deep"]
    assert project.registry().fsck("full").ok


def test_what_is_known_costs_nothing(project: Project, bert: Path) -> None:
    """A file that is a version already is not stored again, nor a folder; a tree is small."""
    project.registry().add("weights", bert / "model.bin")
    first = project.registry().add("net", bert)
    assert first.stored < 1000
    (bert / "config.json").write_bytes(b"{}")
    second = project.registry().add("net", bert)
    assert second.stored < 1000
    assert second.new
    again = project.registry().add("net", bert)
    assert (again.stored, again.same_bytes) == (0, "net/v2")
    usage = project.registry().du()
    assert usage.plain > 4 * 5 * MIB - 100
    assert usage.stored < 6 * MIB
    assert usage.other < MIB


def test_a_mode_is_a_change(project: Project, bert: Path) -> None:
    """Whether a file may be run is part of the version."""
    project.registry().add("net", bert)
    (bert / "config.json").chmod(0o755)
    assert project.registry().add("net", bert, if_changed=True).new


def test_a_version_is_made_from_one_that_is_a_folder(project: Project, bert: Path) -> None:
    """``from_version`` needs no files, and sees that all of the earlier version is whole."""
    project.registry().add("net", bert)
    shutil.rmtree(bert)
    made = project.registry().add("net", metrics={"acc": 0.9}, from_version="net@v1")
    assert (made.stored, made.artifact) == (0, project.registry().resolve("net@v1").artifact)
    for pack in project.packs:
        rewrite(pack, lambda data: data.replace(b"#!\n", b"#?\n"))
    with pytest.raises(Damaged):
        project.registry().add("net", from_version="net@v1")


def test_a_version_from_another_mends_its_tree(project: Project, bert: Path) -> None:
    """A damaged list of files is stored again where the record has it."""
    tree = project.registry().add("net", bert).artifact.digest
    damage(project, tree)
    assert not project.registry().fsck().ok
    project.registry().add("net", from_version="net@v1")
    assert project.registry().fsck("full").ok


def test_space_is_looked_for_before_anything_is_stored(
    project: Project, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole folder must fit."""
    monkeypatch.setattr(fileio, "free_space", lambda path: 5 * MIB)
    with pytest.raises(MvcError, match="are free in") as raised:
        project.registry().add("net", bert)
    assert "mvc gc" in (raised.value.hint or "")
    assert project.packs == []


def test_what_the_store_has_needs_no_room(
    project: Project, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a whole folder does not fit, only what is new in it must."""
    project.registry().add("net", bert)
    copy = bert.parent / "copy"
    shutil.copytree(bert, copy)
    (copy / "notes.bin").write_bytes(noise(MIB, 8))
    monkeypatch.setattr(fileio, "free_space", lambda path: 3 * MIB)
    project.registry().add("net", copy)
    (copy / "notes.bin").write_bytes(noise(4 * MIB, 9))
    with pytest.raises(MvcError, match=r"4,19.,... bytes to store"):
        project.registry().add("net", copy)
    assert project.registry().list("net") == ["v1", "v2"]


def test_what_the_store_has_whole_needs_room_for_its_record_only(
    project: Project, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that are there need no mebibyte beside; any byte that is not does."""
    project.registry().add("net", bert)
    monkeypatch.setattr(fileio, "free_space", lambda path: MIB - 1)
    assert project.registry().add("net", bert).stored == 0
    (bert / "new.txt").write_bytes(b"new")
    with pytest.raises(MvcError, match="needs 1 MiB beside"):
        project.registry().add("net", bert)
    (bert / "new.txt").unlink()
    monkeypatch.setattr(fileio, "free_space", lambda path: 100_000)
    with pytest.raises(MvcError, match="needs 128 KiB for its record alone"):
        project.registry().add("net", bert)
    assert project.registry().list("net") == ["v1", "v2"]


def test_more_files_than_a_record_lists(project: Project) -> None:
    """Over 1,000 the record has totals, and the store has the list."""
    folder = project.folder / "many"
    folder.mkdir()
    for number in range(MOST_LISTED + 1):
        (folder / f"{number:04d}.bin").write_bytes(b"%d" % number)
    added = project.registry().add("net", folder)
    assert (added.artifact.files, added.artifact.listing) == (MOST_LISTED + 1, None)
    assert len(stored(project, "net")) == MOST_LISTED + 1
    assert project.record(1).stat().st_size < 2000
    states = project.registry().status(folder).files
    assert {(state.state, state.version) for state in states} == {("registered", "net/v1")}
    noted = (project.mvc / "cache/digests").read_bytes().splitlines()
    assert MOST_NOTED <= len(list(filter(None, noted))) <= MOST_LISTED + 1 + MOST_NOTED
    assert project.registry().fsck("full").ok
    (folder / "0000.bin").unlink()
    assert project.registry().add("net", folder).artifact.listing is not None
    shutil.rmtree(project.mvc / "store")
    with pytest.warns(StoreWarning), pytest.raises(StoreMissing, match="listed in the store"):
        project.registry().files("net@v1")
    with pytest.warns(StoreWarning):
        assert len(project.registry().files("net@v2")) == MOST_LISTED


def test_status_knows_the_files_of_a_folder(project: Project, bert: Path) -> None:
    """A file of a registered folder is registered, and changed once it is written to."""
    project.registry().add("net", bert)
    (state,) = project.registry().status(project.folder).files
    assert (state.path, state.state, state.version) == (bert / "model.bin", "registered", "net/v1")
    shutil.rmtree(project.mvc / "cache")
    (state,) = project.registry().status(project.folder).files
    assert (state.state, state.version) == ("registered", "net/v1")
    (bert / "model.bin").write_bytes(b"other")
    (state,) = project.registry().status(project.folder).files
    assert (state.state, state.version) == ("changed", "net/v1")


# Damage.


def damage(project: Project, digest: object) -> None:
    """Change the first byte of an object as it is stored."""
    for pack in project.registry().presence.store.index.packs():
        for entry in pack.index:
            if entry.digest == digest:
                flip(pack.path, entry.end - 8 - entry.stored)


@pytest.mark.parametrize("level", ["default", "full"])
def test_a_damaged_file_of_a_folder_is_named_with_its_versions(
    project: Project, bert: Path, level: str
) -> None:
    """fsck says which file of which versions is hurt, also where its parts are shared."""
    project.registry().add("net", bert)
    project.registry().add("other", bert, exclude=["src"])
    project.registry().add("alone", bert / "config.json")
    files = {file.path: file.digest for file in project.registry().files("net")}
    damage(project, files["config.json"])
    report = project.registry().fsck(level)
    (finding,) = (found for found in report.findings if found.kind == "object")
    assert finding.object == str(files["config.json"])
    assert finding.versions == ("alone/v1", "net/v1", "other/v1")
    assert "'config.json'" in finding.remedy


def test_a_damaged_tree_is_named_with_its_versions(project: Project, bert: Path) -> None:
    """The tree is an object that the version needs like any other."""
    tree = project.registry().add("net", bert).artifact.digest
    damage(project, tree)
    report = project.registry().fsck()
    assert [(f.object, f.versions) for f in report.findings] == [(str(tree), ("net/v1",))]


def test_what_is_missing_of_a_folder_is_named(project: Project, bert: Path) -> None:
    """Where a pack is gone, fsck and show say which file lacks what."""
    project.registry().add("net", bert / "config.json")
    (pack,) = project.packs
    project.registry().add("net", bert)
    pack.unlink()
    report = project.registry().fsck("quick")
    assert any(
        "'config.json': object" in found.object and "net/v2" in found.versions
        for found in report.findings
    )
    with pytest.warns(StoreWarning, match=r"'config\.json'"):
        assert not project.registry().show("net@v2").present


def test_a_folder_heals_what_has_rotted(project: Project, bert: Path) -> None:
    """Adding the same folder again stores anew what is damaged, for the older version too."""
    project.registry().add("net", bert)
    for file in project.registry().files("net"):
        for part in closure_of_file(project.registry().presence.store, file.digest):
            damage(project, part)
    assert not project.registry().fsck().ok
    project.registry().add("net", bert)
    assert stored(project, "net@v1")["src/run.sh"] == b"#!\n"
    assert project.registry().fsck("full").ok


# Weights.


def save(path: Path, tensors: dict[str, Any]) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    path.parent.mkdir(parents=True, exist_ok=True)
    numpy.save_file(tensors, str(path))


def tensors_of(count: int) -> dict[str, Any]:
    numpy = pytest.importorskip("numpy")
    random = numpy.random.default_rng(1)
    found = {f"layer.{n}.weight": random.random((800, 800), "float32") for n in range(count)}
    found["embed"] = random.random((3000, 500), "float32")  # of more than one chunk
    found["scale"] = numpy.float32(random.random(7))
    return found


def shard(folder: Path, tensors: dict[str, Any], parts: int, *, index: bool = True) -> Path:
    """Write tensors as the tools do: shards, and an index that says which holds what."""
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for part in range(parts):
        file = f"model-{part + 1:05d}-of-{parts:05d}.safetensors"
        mine = names[part::parts]
        save(folder / file, {name: tensors[name] for name in mine})
        weight_map |= dict.fromkeys(mine, file)
    if index:
        text = json.dumps({"metadata": {}, "weight_map": weight_map})
        (folder / "model.safetensors.index.json").write_text(text)
    (folder / "config.json").write_bytes(CONFIG)
    return folder


@pytest.mark.parametrize("parts", [1, 3, 5])
def test_weights_do_not_depend_on_how_they_are_sharded(project: Project, parts: int) -> None:
    """One file, the same in shards: equal weights, equal counts, and hardly any new bytes."""
    tensors = tensors_of(9)
    save(project.folder / "model.safetensors", tensors)
    single = project.registry().add("net", project.folder / "model.safetensors")
    sharded = project.registry().add("net", shard(project.folder / "sharded", tensors, parts))
    assert single.weights is not None
    assert sharded.weights == single.weights
    assert sharded.same_weights == single.id
    for fact in ("format", "tensors", "parameters", "dtypes"):
        assert getattr(sharded.artifact, fact) == getattr(single.artifact, fact), fact
    assert sharded.model == single.model
    assert sharded.stored < 100_000
    assert sharded.notes == ()
    assert project.registry().fsck("full").ok


def test_other_weights_are_other_weights(project: Project) -> None:
    """One changed element in one shard changes the digest of weights."""
    tensors = tensors_of(3)
    first = project.registry().add("net", shard(project.folder / "a", tensors, 2))
    tensors["layer.1.weight"][7, 7] += 1
    second = project.registry().add("net", shard(project.folder / "b", tensors, 2))
    assert first.weights != second.weights


def test_several_weight_files_that_nothing_ties_are_told_of(project: Project) -> None:
    """Checkpoints in a folder may be versions of one model: a note says how to make them so."""
    folder = shard(project.folder / "runs of may", tensors_of(2), 3, index=False)
    (note,) = project.registry().add("net", folder).notes
    assert "3 files" in note
    assert f"mvc add FAMILY '{folder}'/*.safetensors" in note
    index = {"weight_map": {"a": "model-00001-of-00003.safetensors", "b": ["odd"]}}
    for text in (json.dumps(index), "[" * 100_000, "[]", '{"weight_map": 1}', "\xff"):
        (folder / "x.index.json").write_bytes(text.encode("latin-1"))
        assert len(project.registry().add("net", folder).notes) == 1, text[:20]


def test_shards_that_an_index_names_are_missed(project: Project) -> None:
    """A model that was copied only in part is kept, with a note of what is not there."""
    folder = shard(project.folder / "bert", tensors_of(3), 3)
    for number in (2, 3):
        (folder / f"model-0000{number}-of-00003.safetensors").unlink()
        (note,) = project.registry().add("net", folder).notes
        named = "'model-00002-of-00003.safetensors'" + (" and 1 more" if number == 3 else "")
        assert note == f"'{folder}/model.safetensors.index.json' names {named}, not in the folder"


def test_a_model_whose_weights_are_in_another_file(project: Project) -> None:
    """ONNX keeps large weights beside the model: alone it is half a model, and that is said."""
    folder = project.folder / "onnx"
    folder.mkdir()
    location = field(13, field(1, b"location") + field(2, b"big.onnx.data"))
    weight = field(1, 5000) + field(2, 1) + field(8, b"w") + location
    (folder / "big.onnx").write_bytes(model(weight + field(14, 1)))
    (folder / "big.onnx.data").write_bytes(noise(20_000, 1))
    assert project.registry().add("net", folder).notes == ()
    (note,) = project.registry().add("net", folder / "big.onnx").notes
    assert "weights of 'big.onnx' are in 'big.onnx.data', which is no part of" in note
    (folder / "big.onnx.data").unlink()
    (note,) = project.registry().add("net", folder).notes
    assert note == f"'{folder}/big.onnx' names 'big.onnx.data', not in the folder"


def test_a_training_checkpoint_is_no_heap_of_versions(project: Project) -> None:
    """Weights beside an optimizer's state belong together; their formats differ: opaque."""
    torch = pytest.importorskip("torch")
    folder = project.folder / "checkpoint-500"
    save(folder / "model.safetensors", tensors_of(1))
    torch.save({"state": torch.ones(2000)}, folder / "optimizer.pt")
    torch.save({"step": 7}, folder / "scheduler.pt")
    added = project.registry().add("net", folder)
    assert (added.artifact.format, added.artifact.tensors, added.weights) == ("opaque", None, None)
    assert added.notes == ()


def test_weights_of_torch_files_in_a_folder(project: Project) -> None:
    """A folder with one file of torch has the weights of that file, and its framework."""
    torch = pytest.importorskip("torch")
    folder = write(project.folder / "model", config_json=CONFIG)
    torch.save({"w": torch.ones(50, 50)}, folder / "pytorch_model.bin")
    alone = project.registry().add("net", folder / "pytorch_model.bin")
    added = project.registry().add("net", folder)
    assert (added.weights, added.model) == (alone.weights, alone.model)
    assert added.artifact.format == "torch-zip"


def test_an_object_and_a_file_of_the_same_bytes_are_both_kept(project: Project) -> None:
    """A tensor's chunk may be a file of its own elsewhere, and that is kept in other pieces."""
    numpy = pytest.importorskip("numpy")
    data = noise(8 * MIB)
    tensors = {"w": numpy.frombuffer(data, "int64")}
    folder = write(project.folder / "both", a_bin=data)
    save(folder / "b.safetensors", tensors)
    project.registry().add("net", folder)
    assert stored(project, "net@v1")["a.bin"] == data
    assert stored(project, "net@v1")["b.safetensors"] == (folder / "b.safetensors").read_bytes()
    project.registry().add("alone", folder / "a.bin")
    project.registry().add("alone", folder / "b.safetensors")
    assert project.registry().fsck("full").ok


def test_one_file_does_not_stand_for_a_whole_version(project: Project) -> None:
    """Where a whole version is meant, one file of a directory is refused, there or not."""
    folder = write(project.folder / "bert", config_json=CONFIG)
    registry = project.registry()
    registry.register("bert", folder)
    for ref in ("bert:config.json", "bert@v1:nothing"):
        for wanted in (
            lambda ref=ref: registry.show(ref),
            lambda ref=ref: registry.tag(ref, "prod"),
            lambda ref=ref: registry.add("other", from_version=ref),
            lambda ref=ref: registry.register("bert", folder, parents=[ref]),
        ):
            with pytest.raises(UsageError, match="a whole version is needed") as raised:
                wanted()
            assert raised.value.hint == "leave the file out: bert@v1"
    assert registry.list() == ["bert"]
    assert registry.list("bert") == ["v1"]
