"""A manifest kept in git: committed, cloned, branched and merged by the real git."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from mvc import Damaged, ModelRegistry, MvcError, NotFound, StoreMissing, StoreWarning
from tests.support.registry_builders import Project, files_in, noise, rewrite

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")

IDENTITY = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "anna"), ("EMAIL", "anna@example.org"))
}


def git(project: Project, *arguments: str, fails: bool = False) -> str:
    """Run git in a project and return what it printed."""
    done = subprocess.run(
        ["git", "-C", str(project.folder), *arguments],
        env={**os.environ, **IDENTITY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout


def commit(project: Project, *names: str) -> None:
    git(project, "add", *(names or [".mvc"]))
    git(project, "commit", "-q", "-m", "versions")


def clone(project: Project, folder: Path, *options: str) -> Project:
    """Clone a project as git does it: without what git was told to leave out."""
    git(project, "clone", "-q", *options, str(project.folder), str(folder))
    return Project(folder)


@pytest.fixture
def work_tree(project: Project) -> Project:
    """A project in git, with one version and a tag committed."""
    git(project, "init", "-q", "-b", "main")
    project.add(noise(1000), metrics={"acc": 0.5}, tags=["prod"])
    commit(project)
    return project


def names_in(status: str) -> set[str]:
    return {line[3:] for line in status.splitlines()}


def test_only_the_manifest_is_ever_seen_by_git(work_tree: Project) -> None:
    """Neither store, settings, cache, answers nor leftovers of a killed writer show in git."""
    work_tree.add(noise(1000, 2))
    work_tree.registry().list()
    family = work_tree.mvc / "manifest" / "net"
    for folder in (work_tree.mvc, family, family / "versions", family / "events"):
        (folder / ".mvc-new-0123456789abcdef").write_bytes(b"half")
    assert (work_tree.mvc / "cache").is_dir()
    assert family.joinpath("family.yaml").is_file()
    git(work_tree, "add", "-A", ".mvc")
    assert git(work_tree, "ls-files", ".mvc").split() == [
        ".mvc/.gitignore",
        ".mvc/manifest/.gitattributes",
        ".mvc/manifest/net/events/00000001.yaml",
        ".mvc/manifest/net/versions/v1.yaml",
        ".mvc/manifest/net/versions/v2.yaml",
    ]


def test_git_that_comes_after_the_registry_leaves_the_store_alone(project: Project) -> None:
    """``git init`` in a project that has a registry, and ``git add .``, take no store."""
    project.add(noise(1000))
    git(project, "init", "-q")
    git(project, "add", ".")
    taken = git(project, "ls-files").split()
    assert ".mvc/manifest/net/versions/v1.yaml" in taken
    assert not [name for name in taken if "store" in name or "config" in name or "cache" in name]


def test_a_clone_reads_from_its_records_alone(work_tree: Project, tmp_path: Path) -> None:
    """Without settings and store everything known is told, with one warning, and nothing made."""
    there = clone(work_tree, tmp_path / "clone")
    before = files_in(there.mvc).keys()
    reads: dict[str, Callable[[ModelRegistry], object]] = {
        "list": lambda registry: registry.list() == ["net"],
        "versions": lambda registry: registry.list("net") == ["v1"],
        "show": lambda registry: registry.show("net@best").id == "net/v1",
        "get": lambda registry: registry.get("net@prod")["present"] is False,
        "log": lambda registry: [version.id for version in registry.log()] == ["net/v1"],
        "history": lambda registry: len(registry.history("net@prod")) == 1,
        "best": lambda registry: registry.best("net")[1],
        "status": lambda registry: registry.status(there.folder).store is None,
    }
    for name, read in reads.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert read(there.registry()), name
        said = [str(item.message) for item in caught if item.category is StoreWarning]
        assert len(said) == (name not in ("list", "versions", "history")), (name, said)
        assert all("no store here" in text and "mvc init --store" in text for text in said)
    assert files_in(there.mvc).keys() - before <= {"manifest/net/family.yaml"}
    assert git(there, "status", "--porcelain") == ""


def test_a_clone_refuses_what_needs_bytes(work_tree: Project, tmp_path: Path) -> None:
    """Without a store nothing is written out, checked or added, and no store is made unasked."""
    there = clone(work_tree, tmp_path / "clone")
    registry = there.registry()
    model = there.file(noise(1000, 3))
    for needs in (
        lambda: registry.checkout("net", tmp_path / "out"),
        registry.du,
        registry.fsck,
        lambda: registry.add("net", model),
        lambda: registry.add("net", from_version="net@v1"),
    ):
        with pytest.raises(StoreMissing, match="no store here") as raised:
            needs()
        assert "mvc init" in (raised.value.hint or "")
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in there.mvc.iterdir()) == [".gitignore", "manifest"]


def test_a_clone_that_reads_from_an_alternate_is_whole(work_tree: Project, tmp_path: Path) -> None:
    """Its check finds nothing while the alternate has the bytes, and notes what is kept by nobody.

    Once the bytes are brought here the roots are, too.
    """
    work_tree.add(noise(2000), metrics={"acc": 0.4})
    commit(work_tree)
    there = clone(work_tree, tmp_path / "clone")
    there.registry().init()
    there.registry().store_alternates(add=work_tree.mvc / "store")
    for level in ("quick", "full"):
        report = there.registry().fsck(level)
        assert report.ok
        assert [*report.notes] == [
            "2 versions are read from an alternate; mvc fsck --repair brings the bytes here"
        ]
    other = Project(tmp_path / "other").registry()
    other.init(store=work_tree.mvc / "store")
    other.forget_registry(work_tree.registry().place.id, force=True)
    report = there.registry().fsck()
    assert report.ok
    assert "no registry keeps net/v1, net/v2 in the alternate any longer" in report.notes[1]
    assert there.registry().fsck(repair=True).ok
    there.registry().store_alternates(remove=work_tree.mvc / "store")
    shutil.rmtree(work_tree.mvc / "store")
    report = there.registry().fsck("full")
    assert (report.ok, report.notes, report.checked["roots"]) == (True, (), 2)


def test_a_clone_tells_what_the_files_beside_it_are(work_tree: Project, tmp_path: Path) -> None:
    """``status`` knows a file by its record, without any store."""
    there = clone(work_tree, tmp_path / "clone")
    there.file(noise(1000), "mine.bin")
    there.file(noise(1000, 9), "other.bin")
    with pytest.warns(StoreWarning, match="no store here"):
        files = there.registry().status(there.folder).files
    assert [(file.path.name, file.state, file.version) for file in files] == [
        ("mine.bin", "registered", "net/v1"),
        ("other.bin", "new", None),
    ]


def test_a_clone_is_found_from_below(
    work_tree: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search upward takes a clone for the registry that it is, however it is named."""
    there = clone(work_tree, tmp_path / "clone")
    deep = there.folder / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert ModelRegistry().list() == ["net"]
    assert ModelRegistry(there.mvc).list() == ["net"]


def test_a_folder_of_ones_own_is_not_taken_for_a_registry(project: Project) -> None:
    """A project's own ``config.yaml`` or ``manifest`` folder is not mvc's."""
    (project.folder / "config.yaml").write_text("lr: 0.1\n")
    project.add(noise(10))
    (project.folder / "config.yaml").unlink()
    (project.folder / "manifest").mkdir()
    assert project.registry().list() == ["net"]
    assert project.registry().folder == project.mvc
    with pytest.raises(MvcError):
        ModelRegistry(project.folder / "manifest").show("net")


def branch(project: Project, name: str) -> None:
    git(project, "checkout", "-q", name)


def state(project: Project) -> dict[str, object]:
    """Return what a new process answers."""
    registry = project.registry()
    family = registry.family("net")
    return {
        "versions": registry.list("net"),
        "latest": registry.resolve("net").metrics,
        "best": registry.resolve("net@best").metrics,
        "tags": {tag: registry.resolve(f"net@{tag}").metrics for tag in family.tags},
        "plain": family.plain,
    }


def test_answers_are_of_the_branch_that_is_checked_out(work_tree: Project) -> None:
    """latest, best and tags are right at once after each switch, however fast they follow."""
    git(work_tree, "checkout", "-q", "-b", "other")
    work_tree.add(noise(1000, 2), metrics={"acc": 0.9}, tags=["prod", "mine"])
    work_tree.registry().rm("net@v1")
    commit(work_tree)
    expected = {"other": state(work_tree)}
    branch(work_tree, "main")
    work_tree.add(noise(900, 3), metrics={"acc": 0.4})
    commit(work_tree)
    expected["main"] = state(work_tree)
    assert expected["main"] != expected["other"]
    kept = work_tree.registry()
    for name in ("other", "main") * 4:
        branch(work_tree, name)
        assert state(work_tree) == expected[name], name
        assert kept.resolve("net").metrics == expected[name]["latest"], "one process throughout"
        assert kept.resolve("net@prod").metrics == kept.show("net@prod").metrics
        assert state(work_tree) == expected[name], name


def test_a_branch_that_differs_only_in_the_middle_is_noticed(work_tree: Project) -> None:
    """Where the numbers, the newest version and the events are equal, best is still worked out."""
    git(work_tree, "checkout", "-q", "-b", "other")
    work_tree.add(noise(1000, 2), metrics={"acc": 0.9})
    commit(work_tree)
    branch(work_tree, "main")
    work_tree.add(noise(1000, 3), metrics={"acc": 0.1})
    work_tree.add(noise(1000, 4), metrics={"acc": 0.2})
    commit(work_tree)
    branch(work_tree, "other")
    git(work_tree, "checkout", "main", "--", ".mvc/manifest/net/versions/v3.yaml")
    commit(work_tree)
    for name, best in (("main", "net/v1"), ("other", "net/v2")) * 2:
        branch(work_tree, name)
        assert work_tree.registry().resolve("net@best").id == best, name


def test_a_version_of_another_branch_is_noted_and_no_damage(work_tree: Project) -> None:
    """A record that this branch does not have keeps its root, and ``fsck`` only mentions it."""
    git(work_tree, "checkout", "-q", "-b", "other")
    work_tree.add(noise(1000, 2))
    commit(work_tree)
    branch(work_tree, "main")
    report = work_tree.registry().fsck("full")
    assert report.ok
    assert "another git branch" in report.notes[0]
    copy = report.notes[1][report.notes[1].index("cp ") : report.notes[1].index(" makes it v2")]
    branch(work_tree, "other")
    assert work_tree.registry().fsck("full").notes == ()
    assert work_tree.bytes_of("net@v2") == noise(1000, 2)
    branch(work_tree, "main")
    subprocess.run(["sh", "-c", copy], check=True)
    assert work_tree.bytes_of("net@v2") == noise(1000, 2)
    assert work_tree.registry().fsck("full").notes == ()


@pytest.fixture
def merging(work_tree: Project, tmp_path: Path) -> Project:
    """A merge that stopped: ours and theirs each added a v2 and moved ``prod`` to it.

    Both use one store, as a team does that shares one.
    """
    git(work_tree, "checkout", "-q", "-b", "theirs")
    work_tree.add(noise(1000, 2), metrics={"acc": 0.7}, tags=["prod"])
    commit(work_tree)
    branch(work_tree, "main")
    work_tree.add(noise(1000, 3), metrics={"acc": 0.8}, tags=["prod"])
    commit(work_tree)
    git(work_tree, "merge", "theirs", fails=True)
    return work_tree


def test_a_conflict_leaves_sealed_files_unmarked(merging: Project) -> None:
    """git keeps ours whole where both sides added a number, says so, and everything still reads."""
    assert set(git(merging, "status", "--porcelain", ".mvc").splitlines()) == {
        "AA .mvc/manifest/net/events/00000002.yaml",
        "AA .mvc/manifest/net/versions/v2.yaml",
    }
    assert merging.registry().resolve("net@prod").metrics == {"acc": 0.8}
    assert merging.registry().fsck().ok


def as_the_page_shows(project: Project, *, rebase: bool = False) -> None:
    """Type the lines of the page for a v2, but for those of mvc."""
    page = (Path(__file__).parents[2] / "docs" / "git.md").read_text(encoding="utf-8")
    (commands,) = [block for block in page.split("```") if "git show :2:" in block]
    lines = commands.removeprefix("sh\n").replace("resnet18", "net")
    lines = lines.replace("v8", "v2").replace("00000005", "00000002")
    if rebase:
        for merging, rebasing in (
            (":2:", ":3:"),
            ("--theirs", "--ours"),
            ('git commit -q -m "both versions"', "git rebase --continue"),
        ):
            assert rebasing in page
            lines = lines.replace(merging, rebasing)
    done = subprocess.run(
        ["sh", "-ec", "\n".join(ln for ln in lines.splitlines() if not ln.startswith("mvc "))],
        cwd=project.folder,
        env={**os.environ, **IDENTITY, "GIT_EDITOR": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert git(project, "status", "--porcelain", ".mvc") == ""


def test_both_sides_of_a_conflict_are_kept_as_the_page_shows(merging: Project) -> None:
    """Theirs keeps the number, ours takes the next, unchanged; tags follow the records."""
    ours = git(merging, "show", "HEAD:.mvc/manifest/net/versions/v2.yaml")
    as_the_page_shows(merging)
    assert merging.record(3).read_text() == ours
    registry = merging.registry()
    assert registry.list("net") == ["v1", "v2", "v3"]
    assert (registry.resolve("net@v2").metrics, registry.resolve("net@v3").metrics) == (
        {"acc": 0.7},
        {"acc": 0.8},
    )
    assert registry.resolve("net@prod").id == "net/v2"
    assert registry.fsck("full").ok
    assert merging.bytes_of("net@v3") == noise(1000, 3)


@pytest.mark.parametrize("rebase", [False, True])
def test_a_number_that_either_side_has_is_not_overwritten(
    work_tree: Project, *, rebase: bool
) -> None:
    """What was shared keeps its number, ours of before keep theirs, in a merge and in a rebase."""
    git(work_tree, "checkout", "-q", "-b", "shared")
    work_tree.add(noise(1000, 2), metrics={"acc": 0.7}, tags=["prod"])
    commit(work_tree)
    branch(work_tree, "main")
    work_tree.add(noise(1000, 3), metrics={"acc": 0.8}, tags=["prod"])
    work_tree.add(noise(1000, 4), metrics={"acc": 0.9})
    commit(work_tree)
    git(work_tree, "rebase" if rebase else "merge", "shared", fails=True)
    as_the_page_shows(work_tree, rebase=rebase)
    registry = work_tree.registry()
    assert registry.list("net") == ["v1", "v2", "v3", "v4"]
    accuracies = [registry.resolve(f"net@v{number}").metrics["acc"] for number in (2, 3, 4)]
    assert accuracies == [0.7, 0.9, 0.8]
    assert registry.fsck("full").ok


@pytest.mark.parametrize("kind", ["tag", "rm"])
def test_an_event_means_the_record_it_names(work_tree: Project, kind: str) -> None:
    """Where its version has another number here, that is meant; where it is not here, none."""
    work_tree.add(noise(1000, 2), metrics={"acc": 0.7})
    if kind == "tag":
        work_tree.registry().tag("net@v2", "prod")
    else:
        work_tree.registry().rm("net@v2")
    renamed = work_tree.record(3)
    work_tree.record(2).rename(renamed)
    work_tree.add(noise(1000, 4), metrics={"acc": 0.1})  # becomes v4
    work_tree.record(4).rename(work_tree.record(2))
    registry = work_tree.registry()
    if kind == "tag":
        assert registry.resolve("net@prod").id == "net/v3"
        assert [move.version for move in registry.history("net@prod")] == ["v3", "v1"]
    else:
        assert registry.list("net") == ["v1", "v2"]
    renamed.unlink()
    registry = work_tree.registry()
    assert registry.list("net") == ["v1", "v2"]
    if kind == "tag":
        with pytest.raises(NotFound, match="no tag 'prod'"):
            registry.resolve("net@prod")
        work_tree.registry().tag("net@v2", "prod")
        assert work_tree.registry().resolve("net@prod").id == "net/v2"


def test_line_ends_are_kept_whatever_git_is_told(work_tree: Project, tmp_path: Path) -> None:
    """A clone with ``core.autocrlf`` has the same bytes, and every seal holds."""
    there = clone(work_tree, tmp_path / "clone", "-c", "core.autocrlf=true")
    assert there.record(1).read_bytes() == work_tree.record(1).read_bytes()
    with pytest.warns(StoreWarning, match="no store here"):
        assert there.registry().show("net@prod").id == "net/v1"


@pytest.mark.filterwarnings("ignore::mvc.StoreWarning")
@pytest.mark.parametrize("name", ["record", "event"])
def test_converted_line_ends_are_named_and_mended_as_the_hint_says(
    work_tree: Project, tmp_path: Path, name: str
) -> None:
    """Without git's attributes a seal breaks; the error says why, and its remedy works."""
    git(work_tree, "rm", "-q", ".mvc/manifest/.gitattributes")
    commit(work_tree)
    there = clone(work_tree, tmp_path / "clone", "-c", "core.autocrlf=true")
    path = there.record(1) if name == "record" else there.event(1)
    if name == "record":
        shutil.copy(work_tree.event(1), there.event(1))
    with pytest.raises(Damaged, match="CRLF") as raised:
        there.registry().resolve("net@v1")
    assert "* -text -merge" in (raised.value.hint or "")
    (there.mvc / "manifest" / ".gitattributes").write_text("* -text -merge\n")
    path.unlink()
    git(there, "checkout", "--", str(path))
    there.record(1).unlink()
    git(there, "checkout", "--", str(there.record(1)))
    assert there.registry().resolve("net@v1").id == "net/v1"


@pytest.mark.filterwarnings("ignore::mvc.StoreWarning")
def test_conflict_markers_are_named(work_tree: Project) -> None:
    """Where git marked inside a record or event all the same, the error says so."""
    for path, ref in ((work_tree.event(1), "net"), (work_tree.record(1), "net@v1")):
        whole = path.read_bytes()
        rewrite(path, lambda data: b"<<<<<<< HEAD\n" + data + b"=======\n>>>>>>> theirs\n")
        with pytest.raises(Damaged, match="conflict markers") as raised:
            work_tree.registry().resolve(ref)
        assert "git checkout --ours" in (raised.value.hint or "")
        path.write_bytes(whole)
