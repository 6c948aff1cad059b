"""Paths: files in the cache, verified once, shared, read-only, and made again when touched."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from mvc import Damaged, FormatError, NotFound, UsageError
from mvc.digest import digest_of
from mvc.registry.checkout import paths
from mvc.store import fetch, materialised
from mvc.tree import Tree, TreeFile
from tests.support.registry_builders import MIB, Project, files_in, finished, flip, noise, python

BERT = {"config.json": b"{}\n", "model.bin": noise(5 * MIB), "src/run.sh": b"#!\n"}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give the user an empty home, so that no test writes into a real one."""
    for name in ("MVC_CACHE", "MVC_CACHE_SIZE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count what is read of files: those in the cache, and objects of the store."""
    seen: list[str] = []
    real_digest, real_fetch = materialised._digest_of, fetch.fetch

    def digest_of(path: Path) -> object:
        seen.append(f"compared {path.name}")
        return real_digest(path)

    def fetched(*arguments: Any) -> None:
        seen.append("fetched")
        real_fetch(*arguments)

    monkeypatch.setattr(materialised, "_digest_of", digest_of)
    monkeypatch.setattr(materialised, "fetch", fetched)
    return seen


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def change(path: Path, data: bytes) -> None:
    """Write into a file of the cache, as somebody who insists, and hide it as well as one can."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_file_is_read_only_and_keeps_its_name(project: Project) -> None:
    """The path ends with the name that was added; nobody may write to the file."""
    project.add(b"weights", name="model.pt")
    path = project.registry().path("net")
    assert (path.name, path.read_bytes(), mode_of(path)) == ("model.pt", b"weights", 0o444)
    assert project.mvc / "cache" in path.parents
    assert (project.mvc / "cache" / "CACHEDIR.TAG").exists()


def test_a_folder_has_its_files_and_modes(project: Project) -> None:
    """A folder comes whole, with the right to run what may be run."""
    project.add_folder(BERT)
    path = project.registry().path("net@v1")
    assert files_in(path) == BERT
    assert mode_of(path / "model.bin") == 0o444
    assert mode_of(path / "src" / "run.sh") == 0o555


def test_one_file_of_a_folder(project: Project) -> None:
    """``REF:path`` is that file, under its last name."""
    project.add_folder(BERT)
    path = project.registry().path("net@v1:src/run.sh")
    assert (path.name, path.read_bytes(), mode_of(path)) == ("run.sh", b"#!\n", 0o555)
    assert list(files_in(path.parent)) == ["run.sh"]


def test_a_path_that_is_not_there_is_not_found(project: Project) -> None:
    """The hint names what is like it, or what lies in a folder of that name."""
    project.add_folder(BERT, listed=False)
    project.add(b"weights", family="single", name="model.pt")
    registry = project.registry()
    for ref, hint in (
        ("net@v1:confg.json", "did you mean 'config.json'?"),
        ("net@v1:run.sh", "did you mean 'src/run.sh'?"),
        ("net@v1:src", "as in net/v1:src/run.sh"),
        ("net@v1:src/", "as in net/v1:src/run.sh"),
        ("net@v1:zzz", "mvc show net/v1 lists its files; a tag is written net@zzz"),
        ("net@v1:zzz.txt", "mvc show net/v1 lists its files"),
        ("single@v1:other", "single/v1 holds one file, 'model.pt'"),
    ):
        with pytest.raises(NotFound) as raised:
            registry.path(ref)
        assert raised.value.hint == hint
    assert registry.path("single@v1:model.pt") == registry.path("single")


@pytest.mark.parametrize("ref", ["file", "folder", "folder@v1:model.bin"])
def test_the_second_time_no_contents_are_read(project: Project, ref: str, reads: list[str]) -> None:
    """What was compared once is believed, by a process that knows nothing of before as well."""
    project.add(noise(5 * MIB), family="file")
    project.add_folder(BERT, family="folder")
    first = project.registry().path(ref)
    assert "fetched" in reads
    reads.clear()
    assert project.registry().path(ref) == first
    assert reads == []


def test_versions_share_what_they_have_in_common(project: Project, reads: list[str]) -> None:
    """A file that two versions have is one file on disk, made once."""
    project.add_folder(BERT)
    project.add_folder({**BERT, "config.json": b"{ }\n"})
    registry = project.registry()
    one = registry.path("net@v1")
    reads.clear()
    two = registry.path("net@v2")
    assert reads.count("fetched") == 1
    assert (one / "model.bin").stat().st_ino == (two / "model.bin").stat().st_ino
    assert (one / "config.json").read_bytes() != (two / "config.json").read_bytes()


def test_versions_that_share_do_not_make_each_other_be_read_for_ever(
    project: Project, reads: list[str]
) -> None:
    """A link more changes a file's times; it is compared once for that, and no other file is."""
    project.add_folder(BERT)
    project.add_folder({"model.bin": BERT["model.bin"]})
    for ref in ("net@v1", "net@v2"):
        project.registry().path(ref)
    reads.clear()
    project.registry().path("net@v1")
    assert reads == ["compared model.bin"]
    reads.clear()
    for ref in ("net@v1", "net@v2", "net@v1"):
        project.registry().path(ref)
    assert reads == []


def test_the_note_on_the_page_is_read_as_it_says(tmp_path: Path) -> None:
    """The example in ``docs/cache.md`` is a note; with a line changed it is none."""
    page = (Path(__file__).parents[2] / "docs" / "cache.md").read_text()
    example = page.partition("```text\nmvc 1")[2].partition("```")[0]
    file = TreeFile(0o644, 3, digest_of(b"{}\n"), "config.json")
    entry = materialised._Entry(tmp_path, Tree((file,)), materialised._no_store)
    entry.note.write_text("mvc 1" + example)
    made, changed = materialised.MADE_NS, 1795527527803728237
    assert materialised._noted(entry) == [
        (300_000, made, changed, 2311661),
        (3, made, changed, 2311662),
    ]
    for wrong in ("mvc 2" + example, f"mvc 1{example}3 4\n", f"mvc 1{example}a b c d\n"):
        entry.note.write_text(wrong)
        assert materialised._noted(entry) is None


@pytest.mark.parametrize(
    "harm", ["other bytes", "longer", "gone", "too many", "a link", "a folder", "writable"]
)
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_what_was_touched_is_noticed_and_made_again(
    project: Project, folder: bool, harm: str, tmp_path: Path
) -> None:
    """Whatever becomes of a file in the cache, the next call gives the right bytes."""
    files = BERT if folder else {"model.bin": noise(1000)}
    ref = project.add_folder(files) if folder else project.add(files["model.bin"])
    path = project.registry().path(ref)
    top = path if folder else path.parent
    victim = top / "model.bin"
    if harm == "other bytes":
        change(victim, bytes(len(files["model.bin"])))
    elif harm == "longer":
        change(victim, files["model.bin"] + b"!")
    elif harm == "too many":
        (top / "extra.py").write_bytes(b"import os\n")
        (top / "more").mkdir()
        (top / "more" / "link").symlink_to("/etc")
    elif harm == "writable":
        victim.chmod(0o644)
    else:
        victim.unlink()
    if harm == "a link":
        (tmp_path / "same").write_bytes(files["model.bin"])
        victim.symlink_to(tmp_path / "same")
    elif harm == "a folder":
        (victim / "inside").mkdir(parents=True)
    assert project.registry().path(ref) == path
    assert files_in(top) == files
    assert mode_of(victim) == 0o444
    assert not victim.is_symlink()


def test_a_whole_entry_replaced_by_a_link_is_made_again(project: Project, tmp_path: Path) -> None:
    """A link in the folder's place is taken away, and what it leads to stays."""
    ref = project.add(b"weights")
    top = project.registry().path(ref).parent
    os.rename(top, tmp_path / "elsewhere")
    top.symlink_to(tmp_path / "elsewhere")
    assert project.registry().path(ref).read_bytes() == b"weights"
    assert not top.is_symlink()
    assert (tmp_path / "elsewhere" / "model.bin").exists()


def test_a_damaged_version_gives_no_path(project: Project) -> None:
    """Damage is an error that names the version, and nothing of it stays in the cache."""
    ref = project.add(noise(1000))
    flip(project.packs[0], 500)
    with pytest.raises(Damaged, match="net/v1 cannot be read"):
        project.registry().path(ref)
    assert files_in(project.mvc / "cache" / "path") == {}


def test_a_forged_name_leads_nowhere(project: Project) -> None:
    """A record whose file would lie outside of its folder is refused."""
    ref = project.add(b"weights")
    registry = project.registry()
    record, digest = registry.manifest.record("net", 1)
    object.__setattr__(record.artifact, "name", "../../escaped")
    registry.manifest._records[("net", 1)] = record, digest
    with pytest.raises(FormatError, match="no path within a folder"):
        registry.path(ref)


def test_the_cache_may_be_elsewhere(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``MVC_CACHE`` names the place; it is made if need be."""
    ref = project.add(b"weights")
    monkeypatch.setenv("MVC_CACHE", str(tmp_path / "a" / "cache"))
    assert tmp_path / "a" / "cache" in project.registry().path(ref).parents


def test_a_registry_that_may_not_be_written_to_is_read_through_the_users_cache(
    project: Project, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A user without the right to write has a path in a cache of their own."""
    project.add_folder(BERT)
    project.registry().path("net")
    home = tmp_path_factory.mktemp("other")
    for folder in (project.folder, *project.folder.parents[:2], *home.parents[:2]):
        folder.chmod(0o755)  # pytest's folders are for their owner only
    home.chmod(0o777)
    code = """
import os, sys, json, warnings
from mvc import ModelRegistry
import mvc.registry.checkout.paths
warnings.simplefilter("ignore")
folder, home, warm = sys.argv[1:]
os.environ["MVC_CACHE"] = warm  # what the other user may not import is imported now
ModelRegistry(folder).path("net")
os.environ["HOME"] = home
del os.environ["MVC_CACHE"]
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
else:
    os.chmod(folder + "/.mvc/cache", 0o555)
path = ModelRegistry(folder).path("net")
reads = []
mvc.store.materialised._digest_of = reads.append
again = ModelRegistry(folder).path("net")
try:
    (path / "model.bin").open("r+b")
    allowed = True
except PermissionError:
    allowed = False
print(json.dumps([str(path), path == again, reads, allowed]))
"""
    shown = json.loads(finished(python(code, project.folder, home, tmp_path)))
    (project.mvc / "cache").chmod(0o755)
    path = Path(shown[0])
    assert shown[1:] == [True, [], False]
    assert home / ".cache" / "mvc" in path.parents
    assert files_in(path) == BERT


def test_what_was_not_used_for_longest_goes(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above ``MVC_CACHE_SIZE`` the least recently used leave, with the bytes nobody else has."""
    for number in range(4):
        project.add_folder({"own.bin": noise(1000, number), "shared.bin": b"s" * 500})
    monkeypatch.setenv("MVC_CACHE_SIZE", "3.2kB")
    registry = project.registry()
    at = {number: registry.path(f"net@v{number}") for number in (1, 2)}
    for number, seconds in ((1, 100), (2, 50)):
        os.utime(f"{at[number]}.note", (seconds, seconds))
    registry.path("net@v1")  # used again, so that v2 is the older
    at[3] = registry.path("net@v3")
    assert [path.exists() for path in at.values()] == [True, False, True]
    assert files_in(at[1])["shared.bin"] == b"s" * 500
    contents = at[1].parent / "files"
    assert sorted(path.stat().st_size for path in contents.iterdir()) == [500, 1000, 1000]


def test_what_is_returned_stays_however_small_the_limit(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version larger than the whole cache is there when its path is given."""
    project.add(noise(1000, 1))
    project.add(noise(1000, 2))
    monkeypatch.setenv("MVC_CACHE_SIZE", "0")
    registry = project.registry()
    first = registry.path("net@v1")
    assert first.exists()
    assert registry.path("net@v2").read_bytes() == noise(1000, 2)
    assert not first.exists()


@pytest.mark.parametrize("size", ["much", "-1", "1e9", "1 XB", "nan"])
def test_a_size_that_is_none_is_a_usage_error(
    project: Project, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    """``MVC_CACHE_SIZE`` is a number with a unit; the error quotes what it is."""
    project.add(b"weights")
    monkeypatch.setenv("MVC_CACHE_SIZE", size)
    with pytest.raises(UsageError, match=f"MVC_CACHE_SIZE is '{size}'"):
        project.registry().path("net")


def test_leftovers_of_a_killed_process_go_after_a_day(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What bears a private name stays while it is young, and is removed when it is old."""
    project.add(noise(1000, 1))
    project.add(noise(1000, 2))
    registry = project.registry()
    cache = registry.path("net@v1").parents[1]
    (cache / ".mvc-new-left").write_bytes(b"half")
    (cache / ".mvc-new-folder").mkdir()
    registry.path("net@v2")
    assert (cache / ".mvc-new-left").exists()
    monkeypatch.setattr("mvc.store.eviction._LEFT_BEHIND", -1)
    (registry.path("net@v1").parents[1] / f"{registry.path('net@v1').parent.name}.note").unlink()
    registry.path("net@v1")
    assert not [path for path in cache.iterdir() if path.name.startswith(".mvc-new-")]


def test_clearing_frees_what_it_says(project: Project) -> None:
    """``clear`` removes all files and returns their bytes, shared ones counted once."""
    project.add_folder(BERT)
    project.add_folder({"model.bin": BERT["model.bin"]})
    registry = project.registry()
    for ref in ("net@v1", "net@v2"):
        registry.path(ref)
    cache = paths.cache_of(registry.place)
    notes = sum(path.stat().st_size for path in cache.glob("*.note"))
    assert materialised.clear(cache) == sum(map(len, BERT.values())) + notes
    assert not cache.exists()
    assert files_in(registry.path("net@v1")) == BERT
    assert materialised.clear(cache.parent / "nowhere") == 0


def test_what_is_ready_counts_as_cache(project: Project) -> None:
    """``du`` counts the files of ``path``, each once."""
    project.add(noise(MIB))
    before = project.registry().du().cache
    project.registry().path("net")
    assert MIB <= project.registry().du().cache - before < MIB + 1000


def test_a_store_that_is_away_is_not_needed_for_what_is_ready(project: Project) -> None:
    """What is in the cache is found without the store."""
    ref = project.add(b"weights")
    folder = project.add_folder(BERT, family="folder")
    registry = project.registry()
    before = registry.path(ref), registry.path(folder)
    os.rename(project.mvc / "store", project.folder / "away")
    registry = project.registry()
    assert (registry.path(ref), registry.path(folder)) == before


def test_two_processes_at_once_make_one(project: Project) -> None:
    """Processes that ask at once all get whole bytes, and there is one file in the end."""
    project.add_folder(BERT)
    code = """
import sys
from mvc import ModelRegistry
path = ModelRegistry(sys.argv[1]).path("net")
print(path, (path / "model.bin").stat().st_size)
"""
    children = [python(code, project.folder) for _ in range(4)]
    shown = {finished(child) for child in children}
    assert len(shown) == 1
    path = project.registry().path("net")
    assert files_in(path) == BERT
    contents = path.parent / "files"
    assert sum(item.stat().st_size for item in contents.iterdir()) == sum(map(len, BERT.values()))
    assert [item.name for item in path.parent.iterdir() if item.name.startswith(".mvc")] == []
