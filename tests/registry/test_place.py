"""Where a registry and its store are found, and what happens when one of them moves."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mvc import (
    FormatError,
    ModelRegistry,
    MvcError,
    MvcWarning,
    NotFound,
    StoreMissing,
    StoreWarning,
    Unsupported,
)
from mvc.registry.location import place
from mvc.training.recorder import Options
from tests.support.registry_builders import (
    Project,
    files_in,
    finished,
    python,
    resealed,
    rewrite,
)


def test_a_registry_is_found_upward_from_the_working_folder(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anywhere below a project its registry is the one meant; the nearest of several."""
    project.add(b"1")
    deep = project.folder / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert ModelRegistry().list() == ["net"]
    Project(deep).add(b"1", family="nearer")
    assert ModelRegistry().list() == ["nearer"]
    monkeypatch.setenv("MVC_DIR", str(project.folder))
    assert ModelRegistry().list() == ["net"]
    assert ModelRegistry(deep).list() == ["nearer"]


def test_a_path_means_exactly_that_path(project: Project) -> None:
    """A registry that is named is not looked for elsewhere; its ``.mvc`` may be named, too."""
    project.add(b"1")
    below = project.folder / "below"
    below.mkdir()
    assert ModelRegistry(below).list() == []
    assert ModelRegistry(project.mvc).list() == ModelRegistry(project.folder).list() == ["net"]


def test_a_used_registry_can_be_sent_to_another_process(project: Project) -> None:
    """It is the same folder there, found from anywhere, with the store and rights it was given."""
    project.add(b"1")
    shutil.move(project.mvc / "store", project.folder / "away")
    registry = ModelRegistry(project.folder, store=project.folder / "away", create=False)
    assert registry.get("net")["present"]
    sent = pickle.dumps(Options("net", registry, "all", 60.0, {}))
    assert len(sent) < 1000
    code = "import pickle, sys; options = pickle.loads(bytes.fromhex(sys.argv[1]))"
    code = f"{code}; print(options.registry.fsck().ok)"
    assert finished(python(code, sent.hex(), environment={"MVC_DIR": "/nowhere"})) == "True\n"
    for other in (pickle.loads(sent).registry, copy.deepcopy(registry)):
        assert other.get("net")["present"]
        with pytest.raises(NotFound):
            ModelRegistry(project.folder / "else", create=other._create).list()


def test_a_folder_where_anyone_may_write_is_passed_over(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's registry above is not used unawares; naming it uses it."""
    project.add(b"1")
    project.folder.chmod(0o777)
    below = project.folder / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    with pytest.warns(MvcWarning, match="passed over"):
        assert ModelRegistry().list() == []
    monkeypatch.setenv("MVC_DIR", str(project.mvc))
    assert ModelRegistry().list() == ["net"]


def test_init_makes_a_registry_once(project: Project) -> None:
    """A second ``init`` changes nothing."""
    assert project.registry().init() is True
    before = files_in(project.mvc)
    assert project.registry().init() is False
    assert files_in(project.mvc) == before
    assert project.registry().fsck().ok
    assert list(project.folder.iterdir()) == [project.mvc]


def test_init_in_a_git_work_tree_keeps_git_away_from_what_is_not_its(project: Project) -> None:
    """git sees the manifest, unconverted, and neither store, settings, cache nor answers."""
    subprocess.run(["git", "init", "-q", str(project.folder)], check=True)
    project.add(b"1", tags=["prod"])
    command = ["git", "-C", str(project.folder), "status", "--porcelain", "-uall", ".mvc"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    assert sorted(line[3:] for line in shown if line) == [
        ".mvc/.gitignore",
        ".mvc/manifest/.gitattributes",
        ".mvc/manifest/net/events/00000001.yaml",
        ".mvc/manifest/net/versions/v1.yaml",
    ]


def test_something_else_under_the_name_is_left_alone(project: Project) -> None:
    """A ``.mvc`` that is no registry is an error, and stays as it is."""
    project.mvc.mkdir()
    (project.mvc / "mine").write_text("x")
    with pytest.raises(MvcError, match="is no registry"):
        project.registry().init()
    assert files_in(project.folder) == {".mvc/mine": b"x"}


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_moved_or_copied_project_works_unchanged(
    project: Project, tmp_path_factory: pytest.TempPathFactory, how: str
) -> None:
    """Records hold no paths: the whole folder may go anywhere."""
    project.add(b"weights", tags=["prod"])
    to = tmp_path_factory.mktemp("elsewhere") / "project"
    if how == "moved":
        project.folder.rename(to)
    else:
        shutil.copytree(project.folder, to)
    there = Project(to)
    assert there.bytes_of("net@prod") == b"weights"
    assert there.registry().fsck("full").ok
    assert there.add(b"more") == "net/v2"
    assert there.registry().status(to).files[0].state == "registered"
    if how == "moved":
        project.folder.mkdir()


def test_a_store_that_is_away_leaves_reads_with_one_warning(project: Project) -> None:
    """Records are read without the store, with one warning; what needs bytes says they are away."""
    project.add(b"weights", metrics={"acc": 1}, tags=["prod"])
    project.add(b"more")
    away = project.folder / "away"
    (project.mvc / "store").rename(away)
    for read in ("show", "log", "list", "resolve", "get"):
        registry = project.registry()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            answer = getattr(registry, read)("net")
        said = [str(item.message) for item in caught if item.category is StoreWarning]
        assert len(said) == (read != "list"), read
        assert all("the store of" in text for text in said)
        assert answer
    with pytest.warns(StoreWarning):
        assert project.registry().status(project.folder).store is None
    registry = project.registry()
    for needs in (
        lambda: registry.checkout("net", project.folder / "x"),
        registry.du,
        registry.fsck,
    ):
        with pytest.raises(StoreMissing, match="the store of"), quiet():
            needs()
    with pytest.raises(StoreMissing, match="the store of") as raised:
        project.add(b"new")
    assert "MVC_STORE" in (raised.value.hint or "")
    assert not (project.mvc / "store").exists()
    assert project.registry().list("net") == ["v1", "v2"]
    away.rename(project.mvc / "store")
    assert project.bytes_of("net@v1") == b"weights"


def test_a_store_is_used_where_it_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``MVC_STORE`` and ``store=`` say where it is now, for reading and writing."""
    project.add(b"weights")
    away = project.folder / "away"
    (project.mvc / "store").rename(away)
    named = ModelRegistry(project.folder, store=away)
    assert named.add("net", project.file(b"more")).id == "net/v2"
    monkeypatch.setenv("MVC_STORE", str(away))
    assert project.bytes_of("net@v1") == b"weights"
    assert project.add(b"third") == "net/v3"
    assert not (project.mvc / "store").exists()


def test_another_store_is_not_taken_for_this_one(
    project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store counts only by its id: another one, or an empty folder, never passes."""
    other = Project(tmp_path_factory.mktemp("other"))
    other.add(b"other")
    project.add(b"weights")
    monkeypatch.setenv("MVC_STORE", str(other.mvc / "store"))
    assert project.bytes_of("net") == b"weights"
    shutil.rmtree(project.mvc / "store")
    with pytest.raises(StoreMissing, match="is another one"):
        project.add(b"more")
    (project.mvc / "store").mkdir()
    with pytest.raises(StoreMissing, match="no store in"):
        project.add(b"more")
    assert list((project.mvc / "store").iterdir()) == []


def test_a_store_found_where_it_is_not_configured_is_read_only(project: Project) -> None:
    """At its default place instead of the configured one it serves reads, with a warning."""
    project.add(b"weights")
    rewrite(
        project.mvc / "config.yaml",
        lambda data: data.replace(b'"path": "store"', b'"path": "/nowhere/store"'),
    )
    with pytest.warns(StoreWarning, match="read only"):
        assert project.bytes_of("net") == b"weights"
    with pytest.warns(StoreWarning), pytest.raises(MvcError, match="read only"):
        project.add(b"more")


@pytest.mark.parametrize(("version", "hint"), [(0, "add them to a new registry"), (2, "upgrade")])
@pytest.mark.parametrize("name", ["config.yaml", "store/store.yaml"])
def test_another_format_is_unsupported_and_left_alone(
    project: Project, name: str, version: int, hint: str
) -> None:
    """A registry or store of a newer mvc, or of one before the first release, is refused."""
    project.add(b"weights")
    rewrite(project.mvc / name, lambda data: data.replace(b"mvc: 1", b"mvc: %d" % version))
    before = files_in(project.mvc)
    for needs in (lambda: project.add(b"more"), lambda: project.bytes_of("net")):
        with pytest.raises(Unsupported, match=f"has format {version}") as refused, quiet():
            needs()
        assert hint in str(refused.value.hint)
    assert files_in(project.mvc) == before


def test_an_unknown_feature_of_a_store_is_unsupported(project: Project) -> None:
    """A store that uses what this mvc does not know is not written to, nor misread."""
    project.add(b"weights")
    (project.mvc / "store" / "features" / "delta-9").touch()
    with pytest.raises(Unsupported, match="delta-9"):
        project.add(b"more")


def test_a_record_of_a_newer_format_is_unsupported_and_others_are_read(project: Project) -> None:
    """One version that a newer mvc added does not keep the others from being used."""
    project.add(b"one")
    project.add(b"two")
    rewrite(project.record(2), lambda data: resealed(data, mvc=2))
    with pytest.raises(Unsupported, match="record of net/v2 cannot be read"), quiet():
        project.registry().resolve("net@v2")
    with pytest.warns(StoreWarning, match="net/v2"):
        assert project.bytes_of("net@v1") == b"one"
    project.family_file().unlink()
    with pytest.warns(StoreWarning, match="net/v2"):
        assert project.registry().resolve("net@v1").id == "net/v1"


@pytest.mark.parametrize(
    "data",
    [b"", b"mvc: 1\n", b"\xff", b'mvc: 1\nid: "x"\nstore: {}\n', b"mvc: x\n", b"a" * (2 << 20)],
)
def test_damaged_settings_are_named(project: Project, data: bytes) -> None:
    """A ``config.yaml`` that cannot be read is an error with its path."""
    project.add(b"weights")
    rewrite(project.mvc / "config.yaml", lambda _: data)
    with pytest.raises(FormatError, match=r"config\.yaml|does not say its format"):
        project.registry().resolve("net")


def test_the_cache_may_be_anywhere_or_nowhere(
    project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``MVC_CACHE`` moves it; deleting it loses nothing; where it cannot be made there is none."""
    project.add(b"weights")
    cache = tmp_path_factory.mktemp("cache") / "mine"
    shutil.rmtree(project.mvc / "cache")
    monkeypatch.setenv("MVC_CACHE", str(cache))
    assert project.bytes_of("net") == b"weights"
    assert (cache / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f0688")
    assert not (project.mvc / "cache").exists()
    monkeypatch.setenv("MVC_CACHE", os.devnull + "/x")
    assert project.bytes_of("net") == b"weights"
    assert place.read(project.mvc).cache is None


@contextmanager
def quiet() -> Iterator[None]:
    """Let warnings pass that are not what a test is about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_a_second_line_of_fallbacks_is_told_with_what_mends_it(project: Project) -> None:
    """Whoever adds a line instead of changing the one there is not told to delete the file."""
    project.add(b"1")
    config = project.mvc / "config.yaml"
    line = b'fallbacks: ["../copy"]\n'
    with config.open("ab") as file:
        file.write(line)
    with pytest.raises(FormatError, match="line 6 repeats the key 'fallbacks'") as raised:
        project.registry().list()
    assert raised.value.hint == "each key stands once: make one line of the two in an editor"
    rewrite(config, lambda data: data.removesuffix(line).replace(b"[]", b'"../copy"'))
    with pytest.raises(FormatError, match="are not a list of folders") as raised:
        project.registry().list()
    assert 'fallbacks: ["/backup/models", "../copy"]' in (raised.value.hint or "")
    rewrite(config, lambda data: data.replace(b'"../copy"', b'["../copy"]'))
    assert project.registry().list() == ["net"]
