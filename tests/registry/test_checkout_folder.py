"""Checkout of directories: what is written, replaced, removed, and never touched."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mvc import Conflict, Damaged, FormatError, MvcWarning, NotFound, UsageError
from mvc.digest import digest_of
from mvc.durability import Together
from mvc.fileio import PRIVATE_PREFIX
from mvc.registry.checkout import checkout_folder, writing
from tests.support.registry_builders import MIB, Project, files_in, flip, noise, python

BERT = {
    "config.json": b"{}\n",
    "model-1.bin": noise(5 * MIB, 1),
    "model-2.bin": noise(1000, 2),
    "tokenizer/vocab.txt": b"a\nb\n",
    "tokenizer/run.sh": b"#!/bin/sh\n",
    "empty": b"",
}


@pytest.fixture(autouse=True)
def out(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder outside the project, and the usual umask."""
    for name in ("MVC_CACHE", "MVC_CACHE_SIZE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path_factory.mktemp("out")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def umask() -> Iterator[int]:
    """The umask that is set while a test runs."""
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def inodes(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("listed", [True, False])
def test_a_directory_goes_to_the_folder_of_its_family(
    project: Project, out: Path, listed: bool, umask: int
) -> None:
    """All files come back bit for bit, with modes 0644 and 0755 masked by the umask."""
    project.add_folder(BERT, family="Bert", listed=listed)
    done = project.registry().checkout("bert")
    assert (done.path, done.written, done.removed, done.others) == (Path("Bert"), True, (), ())
    assert files_in(out / "Bert") == BERT
    assert mode_of(out / "Bert/config.json") == 0o644 & ~umask
    assert mode_of(out / "Bert/tokenizer/run.sh") == 0o755 & ~umask
    assert [path.name for path in out.iterdir()] == ["Bert"]


def test_the_output_names_the_folder_itself(project: Project, out: Path) -> None:
    """``-o`` is the folder, there already or not; the one above it must be there."""
    project.add_folder(BERT)
    registry = project.registry()
    (out / "empty").mkdir()
    assert registry.checkout("net", "named").path == Path("named")
    assert registry.checkout("net", "empty").path == Path("empty")
    assert files_in(out / "named") == files_in(out / "empty") == BERT
    with pytest.raises(UsageError, match="there is no folder 'missing'"):
        registry.checkout("net", "missing/named")


def test_one_file_of_a_directory(project: Project, out: Path) -> None:
    """``REF:path`` goes to its last name in the working folder, or where ``-o`` says."""
    project.add_folder(BERT)
    registry = project.registry()
    assert registry.checkout("net@v1:tokenizer/run.sh").path == Path("run.sh")
    assert mode_of(out / "run.sh") & 0o100
    (out / "in").mkdir()
    registry.checkout("net@v1:config.json", "in")
    registry.checkout("net@v1:config.json", "in/named.json")
    assert files_in(out) == {
        "run.sh": b"#!/bin/sh\n",
        "in/config.json": b"{}\n",
        "in/named.json": b"{}\n",
    }
    with pytest.raises(NotFound, match=r"no file 'confg\.json' in net/v1") as raised:
        registry.checkout("net@v1:confg.json")
    assert raised.value.hint == "did you mean 'config.json'?"


def test_some_files_of_a_directory(project: Project, out: Path) -> None:
    """Globs choose, as for ``add``: a name or a folder; ``exclude`` wins; each is at its path."""
    project.add_folder(BERT)
    registry = project.registry()
    done = registry.checkout("net", include=["tokenizer", "*.json"], exclude="run.sh")
    chosen = {name: BERT[name] for name in ("config.json", "tokenizer/vocab.txt")}
    assert files_in(out / "net") == chosen
    assert (done.path, done.written, done.size) == (
        Path("net"),
        True,
        sum(map(len, chosen.values())),
    )
    assert not registry.checkout("net", include=["tokenizer", "*.json"], exclude="run.sh").written
    assert registry.checkout("net").size == sum(map(len, BERT.values()))
    assert files_in(out / "net") == BERT


def test_who_asks_for_some_files_keeps_the_others(project: Project, out: Path) -> None:
    """Nothing that another version left is removed, and the folder is not noted as the version."""
    project.add_folder(BERT)
    project.add_folder({"config.json": b"{1}", "new.bin": b"new"})
    registry = project.registry()
    registry.checkout("net@v1")
    (out / "net/mine.txt").write_text("mine")
    done = registry.checkout("net@v2", include="config.json")
    assert (done.removed, done.others) == ((), ())
    assert files_in(out / "net") == BERT | {"config.json": b"{1}", "mine.txt": b"mine"}
    (folder,) = registry.status(out).folders
    assert (folder.state, folder.version, folder.changed) == ("changed", "net/v1", ("config.json",))


def test_globs_that_mean_nothing_are_refused(project: Project, out: Path) -> None:
    """No file meant, or globs for what is one file: nothing is written, and the hint says why."""
    project.add_folder(BERT)
    project.add(b"one", family="one")
    registry = project.registry()
    with pytest.raises(NotFound, match="no file of net/v1 is meant") as raised:
        registry.checkout("net", include="*.gguf")
    assert "mvc show net/v1" in str(raised.value.hint)
    for ref in ("one", "net@v1:config.json"):
        with pytest.raises(UsageError, match="is one file"):
            registry.checkout(ref, exclude="*.json")
    assert files_in(out) == {}


def test_what_is_right_already_is_not_written(project: Project, out: Path) -> None:
    """A second checkout writes nothing; one of a folder that lacks a file writes only that."""
    project.add_folder(BERT)
    project.registry().checkout("net")
    before = inodes(out)
    assert project.registry().checkout("net").written is False
    assert inodes(out) == before
    (out / "net/empty").unlink()
    assert project.registry().checkout("net").written is True
    after = inodes(out)
    assert {path for path in after if before[path] == after[path]} >= before.keys() - {
        str(out / "net/empty")
    }


def test_a_wrong_mode_is_mended(project: Project, out: Path) -> None:
    """A file with the right bytes gets the right to run, or loses it; other bits stay."""
    project.add_folder(BERT)
    project.registry().checkout("net")
    (out / "net/config.json").chmod(0o750)
    (out / "net/tokenizer/run.sh").chmod(0o640)
    before = inodes(out)
    assert project.registry().checkout("net").written is True
    assert mode_of(out / "net/config.json") == 0o640
    assert mode_of(out / "net/tokenizer/run.sh") == 0o750
    assert inodes(out) == before
    assert project.registry().checkout("net").written is False


@pytest.mark.parametrize("noted", [True, False])
def test_two_shards_over_four_leave_no_stale_shard(
    project: Project, out: Path, noted: bool
) -> None:
    """What the older version had and the newer has not is removed, with folders left empty."""
    four = {f"model-{n}-of-4.safetensors": noise(1000, n) for n in range(4)}
    two = {f"model-{n}-of-2.safetensors": noise(2000, n) for n in range(2)}
    project.add_folder({**four, "config.json": b"4", "extra/deep/vocab.txt": b"v"})
    project.add_folder({**two, "config.json": b"2"})
    project.registry().checkout("net@v1")
    if not noted:
        for path in (project.mvc / "cache").rglob("*.yaml"):
            path.unlink()
    done = project.registry().checkout("net@v2")
    assert files_in(out / "net") == {**two, "config.json": b"2"}
    assert set(done.removed) == {*four, "extra/deep/vocab.txt"}
    assert done.others == ()
    assert not (out / "net/extra").exists()


def test_files_of_a_user_stay_and_are_named(project: Project, out: Path) -> None:
    """What no version of the family had at that path stays, as does what was changed since."""
    project.add_folder({"a.bin": b"a", "b.bin": b"bb", "c/c.bin": b"c"})
    project.add_folder({"a.bin": b"A"})
    project.add(b"other", family="other", name="model.pt")
    project.registry().checkout("net@v1")
    (out / "net/b.bin").write_bytes(b"BB")
    (out / "net/notes.txt").write_bytes(b"mine")
    (out / "net/c/a copy").write_bytes(b"a")
    (out / "net/c/link").symlink_to("/etc/passwd")
    (out / "net/model.pt").write_bytes(b"other")  # a version's, but of no folder of this family
    done = project.registry().checkout("net@v2")
    assert done.removed == ("c/c.bin",)
    assert done.others == ("b.bin", "c/a copy", "c/link", "model.pt", "notes.txt")
    assert files_in(out / "net") == {
        "a.bin": b"A", "b.bin": b"BB", "notes.txt": b"mine", "c/a copy": b"a",
        "c/link": Path("/etc/passwd").read_bytes(), "model.pt": b"other",
    }  # fmt: skip


def test_a_changed_file_is_a_conflict_and_nothing_is_written(project: Project, out: Path) -> None:
    """One file that is no version's stops the whole, until ``force``."""
    project.add_folder({"a.bin": b"a", "b.bin": b"b"})
    project.add_folder({"a.bin": b"A", "b.bin": b"B", "c.bin": b"C"})
    project.registry().checkout("net@v1")
    (out / "net/b.bin").write_bytes(b"mine")
    with pytest.raises(Conflict, match=r"'net/b\.bin' holds something that is no version here"):
        project.registry().checkout("net@v2")
    assert files_in(out) == {"net/a.bin": b"a", "net/b.bin": b"mine"}
    project.registry().checkout("net@v2", force=True)
    assert files_in(out / "net") == {"a.bin": b"A", "b.bin": b"B", "c.bin": b"C"}


def test_bytes_that_were_given_up_are_not_thrown_away(project: Project, out: Path) -> None:
    """A file is replaced only if its bytes are in the store: else it may be the last copy."""
    project.add_folder({"a.bin": b"a"})
    project.registry().checkout("net@v1")
    for pack in project.packs:
        pack.unlink()
    for path in (project.mvc / "cache").glob("*index*"):
        path.unlink()
    project.add_folder({"a.bin": b"A"})
    with pytest.raises(Conflict, match="holds something that is no version here"):
        project.registry().checkout("net@v2")
    assert files_in(out) == {"net/a.bin": b"a"}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_nothing_but_a_regular_file_is_ever_replaced(
    project: Project, out: Path, kind: str, force: bool
) -> None:
    """A link, pipe or folder where a file must be is a conflict, also by force; nothing changes."""
    project.add_folder(BERT)
    (out / "net").mkdir()
    (out / "victim").write_bytes(BERT["config.json"])
    target = out / "net/config.json"
    if kind == "link":
        target.symlink_to("../victim")
    elif kind == "pipe":
        os.mkfifo(target)
    else:
        target.mkdir()
        (target / "inside").write_bytes(b"mine")
    before = files_in(out)
    with pytest.raises(Conflict, match=r"net/config\.json' is "):
        project.registry().checkout("net", force=force)
    assert files_in(out) == before
    assert target.is_symlink() == (kind == "link")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_folder_is_needed_where_something_else_is(
    project: Project, out: Path, kind: str, force: bool
) -> None:
    """A link or file where a folder must be is a conflict, and what a link leads to stays."""
    project.add_folder(BERT)
    (out / "net").mkdir()
    (out / "elsewhere").mkdir()
    if kind == "link":
        (out / "net/tokenizer").symlink_to("../elsewhere")
    else:
        (out / "net/tokenizer").write_bytes(b"mine")
    with pytest.raises(Conflict, match="where a folder must be"):
        project.registry().checkout("net", force=force)
    assert list((out / "elsewhere").iterdir()) == []
    assert [path.name for path in (out / "net").iterdir()] == ["tokenizer"]
    assert (out / "net/tokenizer").is_symlink() == (kind == "link")


def test_a_file_may_become_a_folder_and_a_folder_a_file(project: Project, out: Path) -> None:
    """Between two versions of a family either may take the other's name, there and back."""
    one = {"data": b"one file", "other/deep/x": b"x", "other/y": b"y"}
    two = {"data/part": b"two", "other": b"a file now"}
    project.add_folder(one)
    project.add_folder(two)
    registry = project.registry()
    for ref, files in (("net@v1", one), ("net@v2", two), ("net@v1", one)):
        registry.checkout(ref)
        assert files_in(out / "net") == files
    (out / "net/other/deep/and/deeper").mkdir(parents=True)  # what holds no file gives way
    registry.checkout("net@v2")
    assert files_in(out / "net") == two
    registry.checkout("net@v1")
    (out / "net/other/mine").write_bytes(b"mine")
    with pytest.raises(Conflict, match="'net/other' is a folder where a file must be"):
        registry.checkout("net@v2")
    assert files_in(out / "net") == {**one, "other/mine": b"mine"}


@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "pipe"])
def test_the_target_must_be_a_folder_or_nothing(project: Project, out: Path, kind: str) -> None:
    """A file, link or pipe in the folder's own place is a conflict and stays."""
    project.add_folder(BERT)
    (out / "elsewhere").mkdir()
    target = out / "net"
    if kind == "file":
        target.write_bytes(b"mine")
    elif kind == "pipe":
        os.mkfifo(target)
    else:
        target.symlink_to("elsewhere" if kind == "link" else "nowhere")
    before = files_in(out)
    with pytest.raises(Conflict, match=r"'net' is (a symbolic link|not a folder)"):
        project.registry().checkout("net", force=True)
    assert files_in(out) == before
    assert list((out / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", [".mvc", ".mvc/new", ".git", "a/.GIT/x", ".mvc/store/packs"])
def test_a_registry_and_a_repository_are_no_targets(project: Project, name: str) -> None:
    """Nothing is checked out into ``.mvc``, ``.git`` or the store, also by force."""
    project.add_folder(BERT)
    project.add(b"weights", family="file")
    (project.folder / ".git").mkdir()
    (project.folder / "a" / ".GIT").mkdir(parents=True)
    before = files_in(project.folder)
    os.chdir(project.folder)
    for ref in ("net", "file", "net@v1:config.json"):
        with pytest.raises(UsageError, match="belongs to mvc or git"):
            project.registry().checkout(ref, name, force=True)
    after = files_in(project.folder)
    assert {k: v for k, v in after.items() if "family.yaml" not in k} == {
        k: v for k, v in before.items() if "family.yaml" not in k
    }


def test_the_project_itself_may_be_the_folder(project: Project) -> None:
    """``-o .`` writes beside ``.mvc`` and ``.git``, which are neither touched nor named."""
    project.add_folder({"a.bin": b"a", "old.bin": b"old"})
    project.add_folder({"a.bin": b"A"})
    (project.folder / ".git").mkdir()
    (project.folder / ".git" / "HEAD").write_bytes(b"ref")
    (project.folder / "train.py").write_bytes(b"")
    os.chdir(project.folder)
    project.registry().checkout("net@v1", ".")
    done = project.registry().checkout("net@v2", ".")
    assert (done.path, done.removed, done.others) == (Path(), ("old.bin",), ("train.py",))
    assert (project.folder / "a.bin").read_bytes() == b"A"
    assert project.registry().fsck("full").ok


@pytest.mark.parametrize("where", ["net", "home"])
def test_a_folder_of_other_things_is_refused_before_it_is_walked(
    project: Project, out: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Where nothing of the family is, nothing is written or looked through until ``force``."""
    project.add_folder(BERT)
    mine = {"notes.txt": b"mine", "deep/er/config.json": b"mine"}
    for path, data in mine.items():
        (out / where / path).parent.mkdir(parents=True, exist_ok=True)
        (out / where / path).write_bytes(data)
    output = None if where == "net" else where
    with monkeypatch.context() as patch:
        patch.setattr(checkout_folder, "walk", None)
        refused = f"'{where}' is not empty and holds nothing of 'net'"
        with pytest.raises(Conflict, match=refused) as raised:
            project.registry().checkout("net", output)
    assert "--force" in (raised.value.hint or "")
    assert files_in(out / where) == mine
    done = project.registry().checkout("net", output, force=True)
    assert done.others == ("deep/er/config.json", "notes.txt")
    assert files_in(out / where) == {**BERT, **mine}


@pytest.mark.parametrize("listed", [True, False])
def test_any_version_of_the_family_makes_a_folder_its_own(
    project: Project, out: Path, listed: bool
) -> None:
    """A version that shares no path with what an older one left takes its place, without force."""
    project.add_folder({"old/a.bin": b"a"}, listed=listed)
    project.add_folder({"new/b.bin": b"b"}, listed=listed)
    project.registry().checkout("net@v1")
    (out / "net/notes.txt").write_bytes(b"mine")
    done = project.registry().checkout("net@v2")
    assert (done.removed, done.others) == (("old/a.bin",), ("notes.txt",))


def test_what_a_killed_checkout_left_makes_no_folder_anothers(project: Project, out: Path) -> None:
    """A folder with nothing but a leftover of mvc counts as empty."""
    project.add_folder(BERT)
    (out / "net" / f"{PRIVATE_PREFIX}x").mkdir(parents=True)
    assert project.registry().checkout("net").written is True
    assert files_in(out / "net") == BERT


HOSTILE = {
    "up": "../escaped",
    "up in the middle": "a/../../escaped",
    "absolute": "/tmp/escaped",
    "dot": "./a",
    "empty part": "a//b",
    "git": ".git/hooks/post-checkout",
    "git in capitals": "sub/.GIT/config",
    "mvc": ".mvc/config.yaml",
    "private": ".mvc-new-x/a",
    "zero": "a\0b",
    "return": "a\rb",
}


@pytest.mark.parametrize("path", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_tree_writes_nothing(project: Project, out: Path, path: str) -> None:
    """A tree that leads out of its folder, or into git or mvc, is refused before any write."""
    line = f"0644 1 {digest_of(b'x')} {path}\n".encode()
    project.add_folder({"x": b"x"}, forged=line)
    with pytest.raises(FormatError):
        project.registry().checkout("net")
    with pytest.raises(FormatError):
        project.registry().path("net")
    assert list(out.iterdir()) == []
    assert not (out.parent / "escaped").exists()


@pytest.mark.parametrize(
    "names",
    [("Data", "data"), ("caf\u00e9", "cafe\u0301"), ("data", "data/x"), ("a/B/c", "a/b/d")],
)
def test_names_that_some_file_system_takes_for_one_are_refused(
    project: Project, out: Path, names: tuple[str, str]
) -> None:
    """A tree with two such names is refused wherever it is checked out."""
    lines = sorted(f"0644 1 {digest_of(b'x')} {name}\n".encode() for name in names)
    project.add_folder({"x": b"x", "y": b"y"}, forged=b"".join(lines))
    with pytest.raises(FormatError):
        project.registry().checkout("net")
    assert list(out.iterdir()) == []


def test_a_mode_that_is_none_is_refused(project: Project, out: Path) -> None:
    """A tree cannot make a file setuid, or open to all, or anything but a file."""
    for mode in ("4755", "0777", "120000"):
        line = f"{mode} 1 {digest_of(b'x')} x\n".encode()
        project.add_folder({"x": b"x"}, family=f"net{mode}", forged=line)
        with pytest.raises(FormatError):
            project.registry().checkout(f"net{mode}")
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("existing", [False, True])
def test_damage_leaves_the_folder_as_it_was(project: Project, out: Path, existing: bool) -> None:
    """One damaged file is named, and nothing at all is written."""
    project.add_folder({"a.bin": b"a"})
    project.add_folder(BERT)
    if existing:
        project.registry().checkout("net@v1")
    before = files_in(out)
    for pack in project.packs:
        if pack.stat().st_size > MIB:
            flip(pack, 3 * MIB)
    with pytest.raises(Damaged, match=r"net/v2 cannot be checked out: 'model-1\.bin': ") as raised:
        project.registry().checkout("net@v2")
    assert "nothing was written to 'net'" in (raised.value.hint or "")
    assert files_in(out) == before
    assert [path.name for path in out.rglob("*")] == (["net", "a.bin"] if existing else [])


def test_a_folder_that_appears_meanwhile_is_not_overwritten(
    project: Project, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody else makes in the folder's place during the checkout is theirs."""
    project.add_folder(BERT)
    real = checkout_folder._sync_folders

    def appearing(*arguments: object) -> None:
        (out / "net").mkdir()
        (out / "net/theirs").write_bytes(b"theirs")
        real(*arguments)  # type: ignore[arg-type]  # whatever was given

    monkeypatch.setattr(checkout_folder, "_sync_folders", appearing)
    with pytest.raises(Conflict, match="'net' appeared meanwhile"):
        project.registry().checkout("net")
    assert files_in(out) == {"net/theirs": b"theirs"}


@pytest.mark.parametrize("what", ["new", "replaced", "removed"])
def test_a_file_that_changes_meanwhile_is_not_overwritten(
    project: Project, out: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A file that a user makes or changes after it was looked at is theirs."""
    project.add_folder({"a.bin": b"a", "old.bin": b"old"})
    project.add_folder({"a.bin": b"A", "new.bin": b"new"})
    project.registry().checkout("net@v1")
    name = {"new": "new.bin", "replaced": "a.bin", "removed": "old.bin"}[what]
    real = writing.Source.write

    def meddling(self: writing.Source, *arguments: Any, **named: Any) -> None:
        (out / "net" / name).write_bytes(b"my work")
        real(self, *arguments, **named)

    monkeypatch.setattr(writing.Source, "write", meddling)
    with pytest.raises(Conflict, match=f"'net/{name}' (appeared|was changed) meanwhile"):
        project.registry().checkout("net@v2")
    assert files_in(out / "net")[name] == b"my work"
    assert not [path for path in (out / "net").iterdir() if PRIVATE_PREFIX in path.name]


SWAPPING = """
import itertools, os, random, sys, time
folder, elsewhere, parking = sys.argv[1:]
real, link = os.path.join(folder, "sub"), os.path.join(parking, "link")
os.symlink(elsewhere, link)
print("ready", flush=True)
for number in itertools.count():
    aside = os.path.join(parking, str(number))
    # One that meanwhile was made anew is what is swapped next.
    for source, target in ((real, aside), (link, real), (real, link), (aside, real)):
        try:
            os.rename(source, target)
        except OSError:
            pass
        if target == real:
            time.sleep(random.random() / 200)
"""


@pytest.mark.parametrize("place", ["sub", "sub/deep"])
def test_a_link_that_appears_after_the_look_leads_nowhere(
    project: Project, out: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A folder that becomes a link once all is planned and written is a conflict."""
    project.add_folder({"sub/deep/a": b"a", "sub/deep/old": b"old"})
    project.add_folder({"sub/deep/a": b"A", "sub/deep/b": b"B"})
    registry = project.registry()
    registry.checkout("net@v1")
    (out / "elsewhere/deep").mkdir(parents=True)
    victims = out / "elsewhere" if place == "sub/deep" else out / "elsewhere/deep"
    for name, data in (("a", b"a"), ("old", b"old")):
        (victims / name).write_bytes(data)
    before = files_in(out / "elsewhere")
    real = checkout_folder._write_all

    def meddling(*arguments: Any) -> Together:
        together = real(*arguments)
        os.rename(out / "net" / place, out / "aside")
        (out / "net" / place).symlink_to(out / "elsewhere")
        return together

    monkeypatch.setattr(checkout_folder, "_write_all", meddling)
    with pytest.raises(Conflict, match=f"'net/{place}' is a symbolic link"):
        registry.checkout("net@v2")
    assert files_in(out / "elsewhere") == before


def test_a_link_swapped_in_during_checkout_leads_nowhere(
    project: Project, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process swaps a folder for a link all the time; nothing is ever written through."""
    one = {f"sub/{n}.bin": bytes([n]) for n in range(20)}
    two = {f"sub/{n}.bin": bytes([n, n]) for n in range(10, 30)}
    project.add_folder(one)
    project.add_folder(two)
    registry = project.registry()
    registry.checkout("net@v1")
    elsewhere = out / "elsewhere"
    elsewhere.mkdir()
    precious = {f"{n}.bin": bytes([n]) for n in range(30)}  # would be taken for a stale file
    for name, data in precious.items():
        (elsewhere / name).write_bytes(data)
    before = {path: path.stat().st_ino for path in elsewhere.iterdir()}
    (out / "parking").mkdir()
    swapper = python(SWAPPING, out / "net", elsewhere, out / "parking")
    met = 0
    try:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        for turn in range(200):
            try:
                registry.checkout(f"net@v{1 + turn % 2}", force=True)
            except (Conflict, OSError):
                met += 1
    finally:
        swapper.kill()
        swapper.communicate()
    assert files_in(elsewhere) == precious
    assert {path: path.stat().st_ino for path in elsewhere.iterdir()} == before
    assert met, "the link was never met"


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.long)])
def test_thousands_of_files(project: Project, out: Path, count: int) -> None:
    """A large folder comes back whole; changing to another version writes what differs."""
    files = {f"part-{n % 100:02}/{n:05}.txt": b"%d" % n for n in range(count)}
    project.add_folder(files, listed=False)
    project.add_folder({**files, "part-00/00000.txt": b"changed"}, listed=False)
    registry = project.registry()
    registry.checkout("net@v1")
    assert files_in(out / "net") == files
    before = inodes(out / "net")
    registry.checkout("net@v2")
    after = inodes(out / "net")
    assert [path for path in after if after[path] != before[path]] == [
        str(out / "net/part-00/00000.txt")
    ]


# Links to the cache.


def test_linked_files_are_those_of_the_cache(project: Project, out: Path) -> None:
    """With ``link`` a file is the read-only one of ``path``, and costs nothing."""
    project.add_folder(BERT)
    project.add(b"weights", family="file", name="model.pt")
    registry = project.registry()
    done = registry.checkout("net", link=True)
    assert (done.written, files_in(out / "net")) == (True, BERT)
    assert (out / "net/empty").stat().st_ino == (registry.path("net") / "empty").stat().st_ino
    assert mode_of(out / "net/config.json") == 0o444
    assert mode_of(out / "net/tokenizer/run.sh") == 0o555
    registry.checkout("file", link=True)
    assert (out / "model.pt").stat().st_ino == registry.path("file").stat().st_ino
    registry.checkout("net@v1:empty", "named", link=True)
    assert (out / "named").stat().st_ino == registry.path("net@v1:empty").stat().st_ino
    for ref in ("net", "file"):
        assert registry.checkout(ref, link=True).written is False


def test_linking_does_not_make_the_cache_be_read_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link changes a file's times; that it is our own link is noted."""
    project.add_folder(BERT)
    project.registry().checkout("net", link=True)
    monkeypatch.setattr("mvc.store.materialised._digest_of", None)
    monkeypatch.setattr("mvc.store.materialised.fetch", None)
    project.registry().path("net")
    assert project.registry().checkout("net", link=True).written is False


def test_a_copy_becomes_a_link_and_a_link_a_copy(project: Project, out: Path) -> None:
    """Each kind of checkout gives what it promises, whatever the other left; the cache is whole."""
    project.add_folder(BERT)
    project.add(b"weights", family="file", name="model.pt")
    for ref, place in (("net", "net/tokenizer/run.sh"), ("file", "model.pt")):
        for link in (False, True, False):
            assert project.registry().checkout(ref, link=link).written is True
            assert bool(mode_of(out / place) & 0o200) is not link
            assert ((out / place).stat().st_nlink > 1) is link
    assert files_in(out / "net") == BERT
    assert files_in(project.registry().path("net")) == BERT


def test_links_are_copies_where_there_can_be_none(
    project: Project, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another file system than the cache's the files are copied, with a warning."""
    if os.stat("/dev/shm").st_dev == out.stat().st_dev:
        pytest.skip("there is no second file system")
    monkeypatch.setenv("MVC_CACHE", f"/dev/shm/mvc-test-{os.getpid()}")
    project.add_folder(BERT)
    try:
        with pytest.warns(MvcWarning, match="'net' was copied: it cannot be linked to the cache"):
            assert project.registry().checkout("net", link=True).written is True
        assert files_in(out / "net") == BERT
        assert mode_of(out / "net/config.json") & 0o200
    finally:
        subprocess.run(["rm", "-rf", os.environ["MVC_CACHE"]], check=True)


# Other file systems.


@contextlib.contextmanager
def mounted(image: Path, folder: Path, make: list[str], options: str = "loop") -> Iterator[Path]:
    """Mount a new file system at ``folder``, or skip."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    with image.open("wb") as file:
        file.truncate(64 << 20)
    folder.mkdir()
    for command in ([*make, str(image)], ["mount", "-o", options, str(image), str(folder)]):
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"there is no {command[0]}")
        if done.returncode:
            pytest.skip(f"{command[0]}: {done.stderr.decode()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


FOLDING = {
    "vfat": ["mkfs.vfat"],
    "ext4": ["mkfs.ext4", "-q", "-O", "casefold", "-E", "encoding=utf8"],
}


@pytest.fixture
def folding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system tell no case apart in names that are looked up beneath an open folder."""

    def fold(name: str, *descriptors: str) -> None:
        real = getattr(os, name)

        def folded(*arguments: object, **named: object) -> object:
            if any(named.get(descriptor) is not None for descriptor in descriptors):
                arguments = tuple(a.lower() if isinstance(a, str) else a for a in arguments)
            return real(*arguments, **named)

        monkeypatch.setattr(os, name, folded)

    for name in ("open", "mkdir", "stat", "unlink", "rmdir"):
        fold(name, "dir_fd")
    for name in ("link", "rename"):
        fold(name, "src_dir_fd")


@pytest.mark.usefixtures("folding")
def test_names_that_the_system_takes_for_one_are_a_conflict(
    project: Project, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that pass as a tree's and are one on this very file system are an error, in a new
    folder and over another version, and nothing is lost."""
    # As if the system folded more than the rules of trees know of.
    monkeypatch.setattr("mvc.tree._check_apart", lambda paths: None)
    project.add_folder({"data": b"old", "mine": b"m"})
    project.add_folder({"Data": b"one", "data": b"two"})
    project.add_folder({"x/DATA": b"old", "X/mine": b"m"}, family="deep")
    registry = project.registry()
    for ref in ("net@v2", "deep"):
        with pytest.raises(Conflict, match=r"cannot hold '.*' apart from another name"):
            registry.checkout(ref)
        assert list(out.iterdir()) == []
    registry.checkout("net@v1")
    with pytest.raises(Conflict, match=r"cannot hold '.*' apart from another name"):
        registry.checkout("net@v2")
    assert files_in(out) == {"net/data": b"old", "net/mine": b"m"}


@pytest.mark.usefixtures("folding")
def test_another_name_for_what_is_there_is_not_overwritten(project: Project, out: Path) -> None:
    """A user's file stays if the system takes its name for that of a version's."""
    project.add_folder({"MODEL.bin": b"weights", "x": b"x"})
    (out / "net").mkdir()
    (out / "net/model.bin").write_bytes(b"mine")
    with pytest.raises(Conflict, match="another name for what is there"):
        project.registry().checkout("net", force=True)
    assert files_in(out / "net")["model.bin"] == b"mine"


@pytest.mark.parametrize("kind", FOLDING)
def test_a_name_may_change_its_case_between_versions(
    project: Project, tmp_path: Path, kind: str
) -> None:
    """Where case does not count, a version takes the place of another with other case."""
    project.add_folder({"DATA": b"old", "mine": b"m"})
    project.add_folder({"data": b"new"})
    with mounted(tmp_path / "image", tmp_path / "mounted", FOLDING[kind]) as folder:
        (folder / "in").mkdir()
        if kind == "ext4":
            done = subprocess.run(["chattr", "+F", str(folder / "in")], check=False)
            if done.returncode:
                pytest.skip("no folder that does not tell case apart")
        registry = project.registry()
        registry.checkout("net@v1", folder / "in" / "net")
        registry.checkout("net@v2", folder / "in" / "net")
        assert files_in(folder / "in" / "net") == {"data": b"new"}
        (folder / "in" / "net" / "MINE").write_bytes(b"a user's")
        with pytest.raises(Conflict, match="another name for what is there"):
            registry.checkout("net@v1", folder / "in" / "net")
        assert files_in(folder / "in" / "net")["MINE"] == b"a user's"
