"""How registries come to a store: their own, one that is there, one for a clone, one for a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from mvc import Conflict, Damaged, ModelRegistry, MvcError, StoreWarning, UsageError, fileio
from mvc.registry.location import founding, place
from mvc.store import Store, roots
from mvc.store.settings import identity_of
from tests.support.registry_builders import Project, files_in, finished, noise, python


@pytest.fixture(autouse=True)
def own_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))


def new(tmp_path: Path, name: str) -> Project:
    (tmp_path / name).mkdir()
    return Project(tmp_path / name)


def cp(project: Project, name: str) -> Project:
    """Copy a project as people do."""
    to = project.folder.parent / name
    subprocess.run(["cp", "-a", project.folder, to], check=True)
    return Project(to)


def roots_of(project: Project) -> dict[str, int]:
    """Return how many roots each registry has in the project's store."""
    return {known.id: known.roots for known in project.registry().store_info().registries}


def test_several_registries_share_one_store(tmp_path: Path) -> None:
    """The first ``init --store`` makes the store, the next attach to it; equal bytes are once."""
    shared = tmp_path / "shared"
    projects = [new(tmp_path, name) for name in ("one", "two", "three")]
    for project in projects:
        assert project.registry().init(store=shared) is True
        assert project.registry().init(store=shared) is False
        project.add(noise(5000), family="same")
        project.add(project.folder.name.encode(), family="own")
    assert len(list((shared / "packs").iterdir())) == 1 + len(projects)
    assert not any((project.mvc / "store").exists() for project in projects)
    assert list(roots_of(projects[0]).values()) == [2, 2, 2]
    for project in projects:
        assert project.bytes_of("own") == project.folder.name.encode()
        assert project.registry().fsck("full").ok


def test_a_store_inside_the_project_moves_with_it(tmp_path: Path) -> None:
    """A store beside ``.mvc`` is noted by a relative path: moving the project needs nothing."""
    project = new(tmp_path, "project")
    project.registry().init(store=project.folder / "weights")
    project.add(b"one")
    moved = Project(project.folder.rename(tmp_path / "elsewhere"))
    assert moved.bytes_of("net") == b"one"
    assert moved.add(b"two") == "net/v2"
    assert moved.registry().store_info().path == moved.folder / "weights"


@pytest.mark.parametrize("what", ["file", "folder", "half", "lost+found"])
def test_a_store_is_made_only_where_nothing_is(tmp_path: Path, what: str) -> None:
    """Somebody's files are left alone; what a killed ``init`` left, and a new disk, will do."""
    to = tmp_path / "to"
    if what == "file":
        to.write_bytes(b"mine")
    elif what == "folder":
        (to / "packs").mkdir(parents=True)
        (to / "packs" / "mine").write_bytes(b"mine")
    elif what == "half":
        (to / "packs").mkdir(parents=True)
    else:
        (to / "lost+found").mkdir(parents=True)
    project = new(tmp_path, "project")
    if what in ("file", "folder"):
        with pytest.raises(Conflict, match="is not empty"):
            project.registry().init(store=to)
        assert list(project.folder.iterdir()) == []
    else:
        assert project.registry().init(store=to)
        assert project.add(b"one") == "net/v1"


def test_init_says_why_a_store_cannot_be_attached(tmp_path: Path) -> None:
    """Inside the registry, elsewhere than it has it, moved away, or a path that is no text."""
    project = new(tmp_path, "project")
    with pytest.raises(UsageError, match="inside the registry"):
        project.registry().init(store=project.mvc / "deep")
    with pytest.raises(UsageError, match="no text"):
        project.registry().init(store=os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    project.registry().init(store=project.mvc / "store")
    project.add(b"one")
    with pytest.raises(Conflict, match="has its store in"):
        project.registry().init(store=tmp_path / "other")
    project.registry().move_store(tmp_path / "there")
    with pytest.raises(Conflict, match="was moved"):
        new(tmp_path, "second").registry().init(store=project.mvc / "store")
    assert not (tmp_path / "other").exists()


def test_an_empty_store_is_given_up_for_another(tmp_path: Path) -> None:
    """A clone that got a store of its own by mistake takes the team's, with what is in it."""
    shared = tmp_path / "shared"
    anna = new(tmp_path, "anna")
    anna.registry().init(store=shared)
    anna.add(b"one")
    ben = new(tmp_path, "ben")
    shutil.copytree(anna.mvc / "manifest", ben.mvc / "manifest")
    registry = ben.registry()
    assert registry.init()
    with pytest.warns(StoreWarning, match="cannot be checked out"):
        registry.show("net@v1")
    assert registry.init(store=shared)
    assert registry.init(store=shared) is False
    assert registry.show("net@v1").present
    assert registry.fsck().ok
    assert ben.bytes_of("net@v1") == b"one"
    assert ben.add(b"two") == "net/v2"
    with pytest.raises(Conflict) as refused:
        registry.init(store=anna.folder / "own")
    assert "mvc store move" in str(refused.value.hint)
    other = new(tmp_path, "other")
    other.registry().init()
    with pytest.raises(Conflict) as refused:
        registry.init(store=other.mvc / "store")
    assert "mvc store alternates --add" in str(refused.value.hint)


def test_bytes_that_were_never_here_are_told_from_damage(tmp_path: Path) -> None:
    """Who checks out, or asks for the path of, what the store never had learns how to read it."""
    anna, ben = new(tmp_path, "anna"), new(tmp_path, "ben")
    anna.add(b"one")
    shutil.copytree(anna.mvc / "manifest", ben.mvc / "manifest")
    ben.registry().init()
    for read in (ben.registry().checkout, ben.registry().path):
        with pytest.raises(Damaged) as refused:
            read("net@v1")
        assert "mvc store alternates --add PATH" in str(refused.value.hint)


def test_a_store_moves_back_by_way_of_another_place(tmp_path: Path) -> None:
    """Where it was two moves ago there is only what leads on: it may go there again."""
    project = new(tmp_path, "project")
    project.add(b"one")
    for there in (tmp_path / "a", tmp_path / "b", project.mvc / "store", tmp_path / "a"):
        project.registry().move_store(there)
        assert project.registry().place.store_path == there
        assert project.registry().fsck().ok
    assert project.bytes_of("net@v1") == b"one"


def test_many_inits_at_once_make_one_store(tmp_path: Path) -> None:
    """Registries that are made at the same moment on one empty folder share what comes out."""
    shared = tmp_path / "shared"
    projects = [new(tmp_path, f"p{n}") for n in range(6)]
    code = "import sys; from mvc import ModelRegistry as R; R(sys.argv[1]).init(store=sys.argv[2])"
    children = [python(code, project.folder, shared) for project in projects]
    for child in children:
        finished(child)
    assert len({project.registry().place.store_id for project in projects}) == 1
    assert {project.add(b"same") for project in projects} == {"net/v1"}


def test_a_store_that_another_makes_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there was none when it was looked for, and one when it is to be made, that serves."""
    shared, made = tmp_path / "shared", []
    name = "mvc.registry.location.founding.identity_of"

    def none_yet(folder: Path) -> str:
        monkeypatch.setattr(name, identity_of)
        try:
            return identity_of(folder)
        finally:
            made.append(Store.create(folder))

    monkeypatch.setattr(name, none_yet)
    project = new(tmp_path, "late")
    assert project.registry().init(store=shared)
    assert [project.registry().place.store_id] == made


def clone_of(project: Project, name: str) -> Project:
    """Return what git makes of a project: its manifest, and nothing else."""
    to = project.folder.parent / name
    shutil.copytree(
        project.folder,
        to,
        ignore=lambda *_: ["config.yaml", "newest.yaml", "rooted.yaml", "store", "cache"],
    )
    return Project(to)


def test_init_in_a_clone_keeps_its_records(tmp_path: Path) -> None:
    """A clone gets settings and an empty store; what it lacks is said, and new versions work."""
    project = new(tmp_path, "project")
    project.add(b"one", tags=["prod"])
    clone = clone_of(project, "clone")
    before = files_in(clone.mvc)
    assert clone.registry().init() is True
    assert {name: files_in(clone.mvc)[name] for name in before} == before
    assert clone.registry().place.id != project.registry().place.id
    assert clone.add(b"two") == "net/v2"
    assert clone.bytes_of("net@v2") == b"two"
    assert not clone.registry().resolve("net@v1").present
    with pytest.raises(Damaged):
        clone.bytes_of("net@prod")


def test_a_clone_on_a_shared_store_has_everything(tmp_path: Path) -> None:
    """Attached to the store of the original, a clone roots its versions under an id of its own."""
    shared = tmp_path / "shared"
    project = new(tmp_path, "project")
    project.registry().init(store=shared)
    project.add(b"one")
    project.add(b"two")
    clone = clone_of(project, "clone")
    assert clone.registry().init(store=shared) is True
    assert clone.bytes_of("net@v1") == b"one"
    assert clone.registry().fsck("full").ok
    assert sorted(roots_of(clone).values()) == [2, 2]
    assert clone.registry().place.id in roots_of(clone)


def test_a_copied_registry_takes_an_id_of_its_own_when_it_writes(tmp_path: Path) -> None:
    """After ``cp -a`` reading changes nothing; the first ``add`` takes an id and roots anew."""
    shared = tmp_path / "shared"
    project = new(tmp_path, "project")
    project.registry().init(store=shared)
    project.add(b"one", tags=["prod"])
    project.add(b"two")
    copy = cp(project, "copy")
    before = files_in(copy.mvc / "manifest"), (copy.mvc / "config.yaml").read_bytes()
    assert copy.bytes_of("net@prod") == b"one"
    assert copy.registry().fsck().ok
    assert (files_in(copy.mvc / "manifest"), (copy.mvc / "config.yaml").read_bytes()) == before
    assert copy.registry().place.id == project.registry().place.id
    assert copy.add(b"three") == "net/v3"
    ids = project.registry().place.id, copy.registry().place.id
    assert ids[0] != ids[1]
    assert roots_of(copy) == {ids[0]: 2, ids[1]: 3}
    assert copy.registry().fsck("full").ok
    assert project.registry().fsck("full").ok
    assert [path.name for path in copy.mvc.glob("identity-*")] == []
    assert copy.add(b"four") == "net/v4"
    assert copy.registry().place.id == ids[1]


def test_copies_on_one_store_cannot_give_up_each_others_roots(tmp_path: Path) -> None:
    """Whatever one of two copies removes of its own, all that the other has stays rooted."""
    shared = tmp_path / "shared"
    project = new(tmp_path, "project")
    project.registry().init(store=shared)
    project.add(b"one")
    copy = cp(project, "copy")
    copy.add(b"two")
    project.add(b"three")
    store = Store.open(shared)
    fileio.run(roots.unroot(store, project.registry().place.id))
    assert copy.registry().fsck("full").ok
    assert len(roots_of(copy)) == 1


def test_gc_in_a_copy_gives_up_nothing_of_the_original(tmp_path: Path) -> None:
    """Even where gc is the first thing that a copied registry does to the shared store."""
    shared = tmp_path / "shared"
    project = new(tmp_path, "project")
    project.registry().init(store=shared)
    project.add(noise(5000), metrics={"acc": 1})
    project.add(b"two")
    copy = cp(project, "copy")
    for ours, theirs in ((copy, project), (project, copy)):
        ours.registry().rm("net@v1")
        ours.registry().gc(timedelta(0))
        assert theirs.registry().place.id in roots_of(theirs)
        assert (theirs is copy) or theirs.bytes_of("net@v1") == noise(5000)
        assert theirs.registry().fsck("full").ok
        assert ours.registry().fsck("full").ok
    assert shared.is_dir()
    assert project.registry().place.id != copy.registry().place.id
    assert project.add(b"three") == "net/v3"
    assert copy.add(b"four") == "net/v3"


def test_a_version_given_up_as_an_orphan_is_not_missed(tmp_path: Path) -> None:
    """After ``gc --orphans`` dropped what another branch added last, the store takes writes."""
    project = new(tmp_path, "project")
    project.add(b"one")
    project.add(b"two")
    aside = project.record(2).rename(tmp_path / "v2.yaml")  # as git does for another branch
    project.registry().gc(timedelta(0), orphans=True, force=True)
    assert project.add(b"three") == "net/v2"
    assert aside.exists()


def test_only_what_is_still_rooted_is_rooted_again(tmp_path: Path) -> None:
    """A version that the original has given up since is not rooted: its bytes may be gone."""
    shared = tmp_path / "shared"
    project = new(tmp_path, "project")
    project.registry().init(store=shared)
    project.add(b"one")
    project.add(b"two")
    copy = cp(project, "copy")
    own = shared / "roots" / project.registry().place.id
    _, digest = project.registry().manifest.record("net", 1)
    (own / f"{digest.hex()}.yaml").unlink()
    copy.add(b"three")
    assert roots_of(copy)[copy.registry().place.id] == 2
    hurt = {version for f in copy.registry().fsck().findings for version in f.versions}
    assert hurt == {"net/v1"}


def test_what_is_on_another_branch_is_rooted_again_too(tmp_path: Path) -> None:
    """A version that is not in the copy's manifest just now keeps its bytes all the same."""
    shared = tmp_path / "shared"
    project = new(tmp_path, "project")
    project.registry().init(store=shared)
    project.add(b"one")
    project.add(b"two")
    copy = cp(project, "copy")
    aside = copy.record(2).rename(tmp_path / "v2.yaml")  # as git does for another branch
    copy.add(b"other", family="other")
    fileio.run(roots.unroot(Store.open(shared), project.registry().place.id))
    aside.rename(copy.record(2))
    assert copy.registry().fsck("full").ok


def test_a_moved_registry_stays_what_it_is(tmp_path: Path) -> None:
    """``mv`` on the same disk keeps the folder's inode, and so the id."""
    project = new(tmp_path, "project")
    project.add(b"one")
    before = project.registry().place.id
    moved = Project(project.folder.rename(tmp_path / "moved"))
    assert moved.add(b"two") == "net/v2"
    assert moved.registry().place.id == before


def test_many_first_writers_of_a_copy_agree_on_one_id(tmp_path: Path) -> None:
    """Processes that write to a copied registry at once end with one id that has every root."""
    project = new(tmp_path, "project")
    project.add(b"one")
    copy = cp(project, "copy")
    code = (
        "import sys; from mvc import ModelRegistry as R;"
        "print(R(sys.argv[1]).add('net', sys.argv[2]).id)"
    )
    children = []
    for number in range(5):
        path = copy.file(str(number).encode(), f"{number}.bin")
        children.append(python(code, copy.folder, path))
    assert len({finished(child) for child in children}) == 5
    assert copy.registry().fsck("full").ok
    assert roots_of(copy)[copy.registry().place.id] == 6


def test_a_copy_that_lost_its_claim_in_between_takes_the_settled_id(tmp_path: Path) -> None:
    """Whoever comes late, knowing only the old settings, takes the id that is there by now."""
    project = new(tmp_path, "project")
    project.add(b"one")
    copy = cp(project, "copy")
    late = copy.registry()
    assert late.place.is_copy
    copy.add(b"two")
    settled = copy.registry().place.id
    steps = founding.settle_copy(late.place, late.manifest, late.presence.store)
    fileio.run(steps)
    assert place.read(copy.mvc).id == settled
    assert list(copy.mvc.glob("identity-*")) == []


def test_settings_of_earlier_registries_are_read(tmp_path: Path) -> None:
    """A ``config.yaml`` without an inode is no copy: nobody can tell, and nothing is changed."""
    project = new(tmp_path, "project")
    project.add(b"one")
    config = project.mvc / "config.yaml"
    lines = [line for line in config.read_text().splitlines(True) if "inode" not in line]
    config.write_text("".join(lines))
    assert cp(project, "copy").add(b"two") == "net/v2"


@pytest.mark.parametrize(
    "name", ["store", "cache", "config.yaml", "newest.yaml", "rooted.yaml", "identity-1.yaml"]
)
def test_git_keeps_families_whatever_they_are_called(tmp_path: Path, name: str) -> None:
    """What is not for git is left out at its place only: a family may have the same name."""
    project = new(tmp_path, "project")
    subprocess.run(["git", "init", "-q", str(project.folder)], check=True)
    project.add(b"one", family=name)
    command = ["git", "-C", str(project.folder), "status", "--porcelain", "-uall", ".mvc"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    listed = [line[3:] for line in shown.splitlines()]
    assert f".mvc/manifest/{name}/versions/v1.yaml" in listed
    assert len(listed) == 3


def test_two_threads_of_one_process_settle_a_copy(tmp_path: Path) -> None:
    """A server that opens a copied registry in two threads gets two whole versions."""
    project = new(tmp_path, "project")
    project.add(b"one")
    copy = cp(project, "copy")
    paths = [copy.file(str(n).encode(), f"{n}.bin") for n in range(2)]
    threads = [
        threading.Thread(target=ModelRegistry(copy.folder).add, args=("net", path))
        for path in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert copy.registry().list("net") == ["v1", "v2", "v3"]
    assert copy.registry().fsck("full").ok


def test_a_registry_is_not_made_in_somebody_elses_folder(tmp_path: Path) -> None:
    """A ``.mvc`` with neither settings nor manifest is left alone, with --store as without."""
    project = new(tmp_path, "project")
    project.mvc.mkdir()
    (project.mvc / "mine").write_text("x")
    with pytest.raises(MvcError, match="is no registry"):
        project.registry().init(store=tmp_path / "store")
    assert files_in(tmp_path) == {"project/.mvc/mine": b"x"}


def test_a_version_read_from_an_alternate_can_be_made_ones_own(tmp_path: Path) -> None:
    """``add --from`` in a clone stores what only an alternate has: then that may go."""
    project = new(tmp_path, "project")
    data = noise(3_000_000)
    project.add(data, metrics={"acc": 0.5})
    clone = clone_of(project, "clone")
    clone.registry().init()
    clone.registry().store_alternates(add=project.mvc / "store")
    assert clone.bytes_of("net@v1") == data
    assert clone.registry().show("net@v1").present
    added = clone.registry().add("mine", from_version="net@v1", metrics={"acc": 0.6})
    assert added.stored > len(data) * 0.9
    shutil.rmtree(project.folder)
    assert clone.bytes_of("mine@v1") == data
