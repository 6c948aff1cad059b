"""Where a store is found, in which order, and when it may not be written to."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mvc import (
    Busy,
    Conflict,
    ModelRegistry,
    MvcError,
    MvcWarning,
    NotFound,
    StoreMissing,
    StoreWarning,
    UsageError,
    fileio,
    lines,
)
from mvc.registry.location import finding, lost
from tests.support.registry_builders import Project, files_in, rewrite


@pytest.fixture(autouse=True)
def own_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without notes on stores."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return tmp_path / "settings" / "mvc" / "stores.yaml"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project")


def away(project: Project, name: str) -> Path:
    """Copy the project's store beside it."""
    to = project.folder.parent / name
    shutil.copytree(project.mvc / "store", to)
    return to


def configure(project: Project, **changed: lines.Value) -> None:
    rewrite(
        project.mvc / "config.yaml",
        lambda data: lines.dumps({**lines.loads(data), **changed}),
    )


def how(project: Project, store: Path | None = None) -> tuple[str, Path]:
    with quiet():
        found = ModelRegistry(project.folder, store=store).store_info()
    return found.how, found.path


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_places_are_tried_in_their_order(project: Project) -> None:
    """Named, noted, configured, default, fallback, moved: the first that is there is used."""
    project.add(b"weights")
    store_id = project.registry().place.store_id
    places = {name: away(project, name) for name in ("named", "noted", "configured", "fallback")}
    moved = away(project, "moved")
    finding.note(store_id, places["noted"])
    configure(
        project,
        store={"path": str(places["configured"]), "id": store_id},
        fallbacks=[str(places["fallback"])],
    )
    assert how(project, places["named"]) == ("named", places["named"])
    shutil.rmtree(places["named"])
    assert how(project, places["named"]) == ("noted", places["noted"])
    shutil.rmtree(places["noted"])
    assert how(project) == ("configured", places["configured"])
    (places["configured"] / "moved-to.yaml").write_bytes(lines.dumps({"mvc": 1, "to": str(moved)}))
    assert how(project) == ("default", project.mvc / "store")
    shutil.rmtree(project.mvc / "store")
    assert how(project) == ("fallback", places["fallback"])
    shutil.rmtree(places["fallback"])
    assert how(project) == ("moved", moved)
    shutil.rmtree(moved)
    assert how(project) == ("moved", places["configured"])  # nothing better is left
    shutil.rmtree(places["configured"])
    with pytest.raises(StoreMissing, match="the store of"):
        project.registry().store_info()


@pytest.mark.parametrize("kind", ["named", "noted", "configured", "default", "fallback"])
def test_only_where_somebody_said_that_it_is_may_be_written(
    project: Project, kind: str, own_notes: Path
) -> None:
    """Named, noted or configured: writable. Found by looking: read only, with one warning."""
    project.add(b"weights")
    store_id = project.registry().place.store_id
    to = away(project, "there")
    named = to if kind == "named" else None
    if kind != "default":
        shutil.rmtree(project.mvc / "store")
    if kind == "noted":
        finding.note(store_id, to)
    if kind == "configured":
        configure(project, store={"path": str(to), "id": store_id})
    if kind == "default":
        configure(project, store={"path": "/nowhere", "id": store_id})
    if kind == "fallback":
        configure(project, fallbacks=[str(to)])
    registry = ModelRegistry(project.folder, store=named)
    if kind in ("named", "noted", "configured"):
        assert registry.add("net", project.file(b"more")).id == "net/v2"
        return
    before = files_in(to)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert registry.show("net@v1").present
        assert registry.checkout("net@v1", project.folder.parent / "out").path.exists()
        with pytest.raises(MvcError, match="read only") as raised:
            registry.add("net", project.file(b"more"))
    assert "mvc store relink" in (raised.value.hint or "")
    assert [item.category for item in caught] == [StoreWarning]
    assert files_in(to) == before
    with quiet():
        done = registry.relink_store()
    assert (done.configured, done.noted) == (True, kind == "fallback")
    assert project.add(b"more") == "net/v2"


def test_an_empty_mount_point_is_never_taken_for_the_store(project: Project) -> None:
    """Neither an empty folder nor another store in its place is written to, nor a second made."""
    project.add(b"weights")
    disk = away(project, "disk")
    configure(project, store={"path": str(disk), "id": project.registry().place.store_id})
    shutil.rmtree(project.mvc / "store")
    shutil.rmtree(disk)
    disk.mkdir()
    with pytest.raises(StoreMissing, match="no store in"):
        project.add(b"more")
    other = Project(project.folder.parent / "other")
    other.registry().init(store=disk)
    with pytest.raises(StoreMissing, match="is another one"):
        project.add(b"more")
    with pytest.raises(Conflict, match="is another one"):
        project.registry().relink_store(disk)
    assert files_in(disk).keys() == {"store.yaml"}
    assert not (project.mvc / "store").exists()


def test_an_old_copy_is_refused_for_writing_whoever_names_it(project: Project) -> None:
    """Split brain: last month's copy bears the same id, and serves reads only.

    It lacks the root of what was added last. Only ``relink --force`` accepts it.
    """
    project.add(b"one")
    old = away(project, "last-month")
    project.add(b"two")
    named = ModelRegistry(project.folder, store=old)
    with pytest.raises(MvcError, match="lacks 'net/v2'") as raised:
        named.add("net", project.file(b"three"))
    assert "relink --force" in (raised.value.hint or "")
    assert named.checkout("net@v1", project.folder / "out").path.read_bytes() == b"one"
    with pytest.raises(Conflict, match="lacks 'net/v2'"):
        project.registry().relink_store(old)
    shutil.rmtree(project.mvc / "store")
    shutil.copytree(old, project.mvc / "store")  # even where it is configured
    with pytest.raises(MvcError, match="lacks 'net/v2'"):
        project.add(b"three")
    assert not (project.mvc / "store" / "staging").exists() or not list(
        (project.mvc / "store" / "staging").iterdir()
    )
    project.registry().relink_store(old, force=True)
    assert project.add(b"three") == "net/v3"
    assert [f.versions for f in project.registry().fsck("quick").findings] == [
        ("net/v2",),
        ("net/v2",),
    ]


def test_what_git_brought_makes_no_store_stale(project: Project, tmp_path: Path) -> None:
    """A record of a colleague's, newer than all of ours, does not keep ours from being written."""
    project.add(b"one")
    theirs = Project(tmp_path / "theirs")
    theirs.folder.mkdir()
    theirs.add(b"theirs")
    theirs.add(b"theirs too")
    shutil.copy(theirs.record(2), project.record(2))
    assert project.add(b"three") == "net/v3"


@pytest.mark.parametrize("data", [b"", b"\xff", b"mvc: 9\n", b'mvc: 1\nversion: "x"\n'])
def test_a_lost_note_of_the_newest_is_no_matter(project: Project, data: bytes) -> None:
    """The note is written without syncing: after a power cut it may be empty."""
    project.add(b"one")
    rewrite(project.mvc / "newest.yaml", lambda _: data)
    assert project.add(b"two") == "net/v2"
    assert b"net/v2" in (project.mvc / "newest.yaml").read_bytes()


def test_a_store_that_moved_away_takes_no_more_writes(project: Project, tmp_path: Path) -> None:
    """After a move by one registry, another on the same store reads in the new place.

    It writes there once it has agreed; the old place refuses even if it is named.
    """
    shared = tmp_path / "shared"
    project.registry().init(store=shared)
    other = Project(tmp_path / "other")
    other.folder.mkdir()
    other.registry().init(store=shared)
    project.add(b"one")
    other.add(b"two", family="theirs")
    long_lived = project.registry()
    assert long_lived.show("net").present
    to = tmp_path / "to"
    project.registry().move_store(to)
    assert project.add(b"three") == "net/v2"
    assert long_lived.add("net", project.file(b"four")).id == "net/v3"
    with pytest.warns(StoreWarning, match="was moved from"):
        assert other.bytes_of("theirs") == b"two"
    for named in (None, shared):
        registry = ModelRegistry(other.folder, store=named)
        with quiet(), pytest.raises(MvcError, match="was moved to") as raised:
            registry.add("theirs", other.file(b"five"))
        assert "mvc store relink" in (raised.value.hint or "")
    with pytest.raises(Conflict, match="was moved to"):
        other.registry().relink_store(shared)
    with quiet():
        other.registry().relink_store()
    assert other.add(b"five", family="theirs") == "theirs/v2"
    left = files_in(shared).keys() - {"locks/maintenance.lock"}
    assert left == {"store.yaml", "moved-to.yaml"}
    assert project.registry().fsck("full").ok
    assert other.registry().fsck("full").ok


def test_a_move_that_is_done_is_done(project: Project, tmp_path: Path) -> None:
    """The same command again changes nothing, by whatever path the place is named."""
    project.add(b"one")
    to = tmp_path / "to"
    assert project.registry().move_store(to).copied > 0
    (tmp_path / "link").symlink_to(to)
    before = files_in(tmp_path)
    for path in (to, tmp_path / "link"):
        assert project.registry().plan_move_store(path).done
        assert project.registry().move_store(path).copied == 0
    assert files_in(tmp_path) == before
    assert project.add(b"two") == "net/v2"


def test_a_store_moves_back_after_gc(project: Project, tmp_path: Path) -> None:
    """What gc left in the old place is nobody's: the store goes back there, and away again."""
    project.add(b"one")
    project.registry().gc()
    old, to = project.mvc / "store", tmp_path / "to"
    for place in (to, old, to):
        project.registry().move_store(place)
        project.registry().gc()
        assert project.bytes_of("net") == b"one"
    assert {"collected.yaml", "store.yaml", "moved-to.yaml"} <= files_in(old).keys()


def test_a_move_to_where_it_was_only_named_is_for_relink(project: Project) -> None:
    """What the settings do not say is not called done: the hint names what would note it."""
    project.add(b"one")
    there = away(project, "there")
    registry = ModelRegistry(project.folder, store=there)
    with pytest.raises(UsageError, match="settings do not say") as raised:
        registry.move_store(there)
    assert f"mvc store relink {there}" in (raised.value.hint or "")


def test_a_store_cannot_be_noted_in_a_clone(project: Project) -> None:
    """There are no settings to note it in; the hint is what makes them, with the path."""
    project.add(b"one")
    store = away(project, "there")
    (project.mvc / "config.yaml").unlink()
    with pytest.raises(StoreMissing, match="has records only") as raised:
        project.registry().relink_store(store)
    assert f"mvc init --store {store}" in (raised.value.hint or "")


def test_a_store_named_for_a_clone_is_not_used_for_once(project: Project) -> None:
    """Its ids are not known here yet; the hint attaches the one named, if there is one."""
    project.add(b"one")
    store = away(project, "my store")
    (project.mvc / "config.yaml").unlink()
    for named, hint in (
        (store, f"mvc init --store '{store}' attaches"),
        (store.parent, "no store in"),
    ):
        with pytest.raises(StoreMissing, match="has records only") as raised:
            ModelRegistry(project.folder, store=named).checkout("net")
        assert (raised.value.hint or "").startswith(hint)


def test_moves_are_followed_only_so_far(project: Project, tmp_path: Path) -> None:
    """Notes of moves that lead in a circle, or nowhere, are no endless search."""
    project.add(b"one")
    twin = away(project, "twin")
    for store, to in ((project.mvc / "store", twin), (twin, project.mvc / "store")):
        (store / "moved-to.yaml").write_bytes(lines.dumps({"mvc": 1, "to": str(to)}))
    with pytest.warns(StoreWarning, match="being moved"):
        assert project.bytes_of("net") == b"one"
    with quiet(), pytest.raises(Busy, match="being moved"):
        project.add(b"two")
    (project.mvc / "store" / "moved-to.yaml").write_bytes(b'mvc: 1\nto: "not/absolute"\n')
    with pytest.raises(MvcError, match="names no folder"):
        project.add(b"two")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to another user")
def test_a_note_of_a_move_to_somebody_elses_store_is_not_followed(
    project: Project, tmp_path: Path
) -> None:
    """Whoever may write a note into a store cannot lead its readers to a store of their own."""
    project.add(b"one")
    theirs = away(project, "theirs")
    os.chown(theirs, 4242, -1)
    (project.mvc / "store" / "moved-to.yaml").write_bytes(
        lines.dumps({"mvc": 1, "to": str(theirs)})
    )
    assert how(project) == ("moved", project.mvc / "store")
    shutil.rmtree(project.mvc / "store" / "roots")
    with pytest.raises(StoreMissing, match=r"belongs to another user \(4242\)"):
        project.registry().store_info()


def test_a_store_that_cannot_be_reached_is_passed_over(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead mount at the configured place leads on to the fallbacks, for reading."""
    project.add(b"one")
    copy = away(project, "copy")
    configure(project, fallbacks=[str(copy)])
    real = os.open

    def dead(path: str | Path, *rest: int, **more: int) -> int:
        if str(path).startswith(str(project.mvc / "store")):
            raise OSError(116, "Stale file handle", str(path))
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", dead)
    with pytest.warns(StoreWarning, match="read only"):
        assert project.bytes_of("net") == b"one"


def test_notes_of_the_user_are_read_and_kept(project: Project, own_notes: Path) -> None:
    """Each store has one note; a damaged file of notes is a warning and no obstacle."""
    project.add(b"one")
    finding.note("a" * 32, Path("/a"))
    finding.note("b" * 32, Path("/b"))
    finding.note("a" * 32, Path("/c"))
    assert (finding.noted("a" * 32), finding.noted("b" * 32)) == (Path("/c"), Path("/b"))
    finding.forget_note("a" * 32)
    assert finding.noted("a" * 32) is None
    own_notes.write_bytes(b"\xff")
    with pytest.warns(MvcWarning, match="passed over"):
        assert project.add(b"two") == "net/v2"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to another user")
def test_relink_notes_only_where_the_settings_are_somebody_elses(
    project: Project, own_notes: Path
) -> None:
    """Who may not change the settings gets a note, and it serves reading and writing."""
    project.add(b"one")
    there = away(project, "there")
    shutil.rmtree(project.mvc / "store")
    before = (project.mvc / "config.yaml").read_bytes()
    os.chown(project.mvc / "config.yaml", 4242, -1)
    done = project.registry().relink_store(there)
    assert (done.configured, done.noted) == (False, True)
    assert (project.mvc / "config.yaml").read_bytes() == before
    assert how(project) == ("noted", there)
    assert project.add(b"two") == "net/v2"


def read_only_mount(folder: Path) -> Callable[[], None]:
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)

    def undo() -> None:
        subprocess.run(["umount", folder], check=True)

    return undo


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("what", ["store", "registry"])
def test_a_read_only_file_system_is_named_before_anything_is_read(
    project: Project, tmp_path: Path, what: str
) -> None:
    """Store or registry mounted read only: reads work, ``add`` fails at once and names it."""
    shared = tmp_path / "shared"
    project.registry().init(store=shared)
    project.add(b"one")
    new = project.file(b"new")
    folder = shared if what == "store" else project.mvc
    undo = read_only_mount(folder)
    try:
        assert project.bytes_of("net") == b"one"
        assert project.registry().store_info().refusal is not None
        with pytest.raises(OSError, match="is on a read-only file system") as raised:
            project.registry().add("net", new)
        assert raised.value.filename == str(folder)
    finally:
        undo()
    assert project.add(b"two") == "net/v2"


def test_a_lost_store_yaml_is_put_back(project: Project) -> None:
    """The error names the command, and it makes the store what it was, with the same id."""
    project.add(b"one")
    store, before = project.mvc / "store", project.registry().place.store_id
    (store / "store.yaml").unlink()
    with pytest.raises(StoreMissing, match="no store in") as missed:
        project.add(b"two")
    command = f"mvc store relink --force {store}"
    assert command in (missed.value.hint or "")
    with pytest.raises(NotFound, match="no store in") as raised:
        project.registry().relink_store(store)
    assert command in (raised.value.hint or "")
    project.registry().relink_store(store, force=True)
    assert project.registry().store_info().id == before
    assert project.add(b"two") == "net/v2"
    assert project.registry().fsck("full").ok


@pytest.mark.parametrize(
    "what",
    [
        "no packs",
        "no roots",
        "roots of another registry",
        "roots of no version here",
        "a root that was changed",
        "moving",
        "moved-to",
        "called-off",
        "a feature of a newer mvc",
        "a damaged store.yaml",
        "a link that leads nowhere",
        "a file",
    ],
)
def test_nothing_but_our_own_store_gets_a_store_yaml(project: Project, what: str) -> None:
    """What is not plainly this registry's store, and at rest, is left as it is, and not named."""
    project.add(b"one")
    store, registry = project.mvc / "store", project.registry().place.id
    settings = (store / "store.yaml").read_bytes()
    (store / "store.yaml").unlink()
    (root,) = (store / "roots" / registry).iterdir()
    note = lines.dumps({"mvc": 1, "to": "/there", "from": "/here"})
    if what == "no packs":
        shutil.rmtree(store / "packs")
    elif what == "no roots":
        root.unlink()
    elif what == "roots of another registry":
        root.parent.rename(store / "roots" / ("a" * 32))
    elif what == "roots of no version here":
        project.record(1).unlink()
    elif what == "a root that was changed":
        rewrite(root, lambda data: data + b"\n")
    elif what == "moving":
        (store / f"moving-{'a' * 32}.yaml").write_bytes(settings)
    elif what in ("moved-to", "called-off"):
        (store / f"{what}.yaml").write_bytes(note)
    elif what == "a feature of a newer mvc":
        (store / "features" / "sparse").write_bytes(b"")
    elif what == "a damaged store.yaml":
        (store / "store.yaml").write_bytes(b"\xff")
    elif what == "a link that leads nowhere":
        (store / "store.yaml").symlink_to("/nowhere/at/all")
    elif what == "a file":
        shutil.rmtree(store)
        store.write_bytes(b"mine")
    before = files_in(project.mvc)
    with pytest.raises(MvcError) as raised:
        project.registry().relink_store(store, force=True)
    assert "relink --force" not in (raised.value.hint or "")
    with pytest.raises(MvcError) as raised:
        project.registry().store_info()
    assert "relink --force" not in (raised.value.hint or "")
    assert files_in(project.mvc) == before


def test_an_old_copy_without_store_yaml_is_accepted_only_as_an_old_copy(project: Project) -> None:
    """Putting the file back does not agree to what the copy lacks; that is asked for apart."""
    project.add(b"one")
    old = away(project, "last-month")
    project.add(b"two")
    (old / "store.yaml").unlink()
    shutil.rmtree(project.mvc / "store")
    with pytest.raises(Conflict, match="lacks 'net/v2'"):
        project.registry().relink_store(old, force=True)
    named = ModelRegistry(project.folder, store=old)
    assert named.checkout("net@v1", project.folder / "out").path.read_bytes() == b"one"
    with pytest.raises(MvcError, match="lacks 'net/v2'"):
        named.add("net", project.file(b"three"))
    project.registry().relink_store(old, force=True)
    assert project.add(b"three") == "net/v3"


@pytest.mark.parametrize("path", ["a\0b", "x" * 300, "nowhere", "model.bin/store"])
def test_a_path_where_nothing_is_gets_no_store_yaml(project: Project, path: str) -> None:
    """Whatever is given for a path, the answer is that no store is there."""
    project.add(b"one")
    with pytest.raises(NotFound, match="no store in") as raised:
        project.registry().relink_store(project.folder / path, force=True)
    assert "store.yaml" in (raised.value.hint or "")


def test_of_several_that_put_it_back_at_once_all_have_one_store(project: Project) -> None:
    """``store.yaml`` is created once: whoever comes second changes nothing."""
    project.add(b"one")
    store = project.mvc / "store"
    (store / "store.yaml").unlink()
    place = project.registry().place
    steps = [lost.put_back(place, store) for _ in range(2)]
    assert [next(step) for step in steps] == ["staged", "staged"]
    assert fileio.run(steps[0]) is True
    first = (store / "store.yaml").read_bytes()
    assert fileio.run(steps[1]) is False
    assert (store / "store.yaml").read_bytes() == first
    assert project.add(b"two") == "net/v2"


def test_a_store_that_was_named_and_is_not_there_is_told_of(project: Project) -> None:
    """Whoever names a store by a slip learns that another one was used."""
    project.add(b"one")
    registry = ModelRegistry(project.folder, store=project.folder / "nope")
    with pytest.warns(StoreWarning, match=r"nope', which --store .* is no folder; the store in"):
        assert registry.resolve("net").present


def test_an_alternate_may_be_named_by_its_project(project: Project, tmp_path: Path) -> None:
    """A project stands for the store it has, wherever that is; so it does to take it off again."""
    other = ModelRegistry(tmp_path / "other")
    other.init(store=tmp_path / "elsewhere")
    project.add(b"one")
    (found,) = project.registry().store_alternates(add=tmp_path / "other")
    assert (found.path, found.problem) == (tmp_path / "elsewhere", None)
    assert project.registry().store_alternates(remove=tmp_path / "other") == ()


def test_a_store_that_comes_back_is_found_by_who_missed_it(project: Project) -> None:
    """What was asked while a disk was away ends with the asking: nobody has to begin anew."""
    project.add(b"weights")
    store, unplugged = project.mvc / "store", project.folder / "unplugged"
    asked, unasked = project.registry(), project.registry()
    assert asked.get("net")["present"]
    store.rename(unplugged)
    for registry in (asked, unasked):
        with pytest.warns(StoreWarning, match="no store in"):
            assert not registry.get("net")["present"]
        with pytest.raises(StoreMissing, match="no store in"):
            registry.add("net", project.file(b"more"))
        with pytest.raises(StoreMissing, match="no store in") as raised:
            registry.tensors("net")
        assert raised.value.status == NotFound.status
        assert not isinstance(raised.value, NotFound)  # who begins anew then must not do so now
    unplugged.rename(store)
    for registry in (asked, unasked):
        assert registry.get("net")["present"]
        assert registry.fsck().ok
        assert registry.add("net", project.file(b"more")).new


@pytest.mark.parametrize("way", ["moved", "copied"])
def test_what_another_process_relinked_is_seen_by_an_open_registry(
    project: Project, way: str
) -> None:
    """It goes on in the new place, also where the old one still stands."""
    project.add(b"weights")
    registry = project.registry()
    assert registry.get("net")["present"]
    new = away(project, "there")
    if way == "moved":
        shutil.rmtree(project.mvc / "store")
    project.registry().relink_store(new)
    assert registry.add("net", project.file(b"more")).id == "net/v2"
    assert registry.store_info().path == new
    assert project.registry().fsck().ok


def test_looking_again_costs_two_questions_to_the_system(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for the settings and one for the store's folder, each time the store is asked for."""
    project.add(b"weights")
    registry = project.registry()
    where = registry.presence.located.store.folder
    asked: list[str] = []
    stat = os.stat

    def counted(path: Path, **how: bool) -> os.stat_result:
        asked.append(str(path))
        return stat(path, **how)

    monkeypatch.setattr(os, "stat", counted)
    assert registry.presence.located.store.folder == where
    assert asked == [str(project.mvc / "config.yaml"), str(project.mvc / "store")]
