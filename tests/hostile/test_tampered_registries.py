"""Registries in which something is not what it should be: a line each, no hang, nothing outside."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mvc import ModelRegistry, MvcError, MvcWarning, NotFound, StoreWarning, lines
from mvc.registry.location import place
from tests.support.faults import Project, bytes_of, confined, make_noise, whole

Tamper = Callable[[Path, Path], None]

quiet = pytest.mark.filterwarnings("ignore::mvc.MvcWarning")


def as_symlink(path: Path, outside: Path) -> None:
    """Put the file outside, and a link to it in its place."""
    path.replace(outside / path.name)
    path.symlink_to(outside / path.name)


def as_link_to_secret(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to(outside / "secret")


def as_pipe(path: Path, outside: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_folder(path: Path, outside: Path) -> None:
    path.unlink()
    path.mkdir()


def as_endless_device(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def as_loop(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def as_nothing(path: Path, outside: Path) -> None:
    path.write_bytes(b"")


TAMPERS: dict[str, Tamper] = {
    "a symlink to its own bytes": as_symlink,
    "a symlink to a secret": as_link_to_secret,
    "a pipe": as_pipe,
    "a folder": as_folder,
    "an endless device": as_endless_device,
    "a link loop": as_loop,
    "empty": as_nothing,
}
tampers = pytest.mark.parametrize("tamper", TAMPERS.values(), ids=TAMPERS)


def snapshot(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what would tell that something was written below ``folder``."""
    found: dict[str, tuple[int, ...]] = {}
    for path in [folder, *folder.rglob("*")]:
        status = os.lstat(path)
        found[os.fspath(path)] = status.st_mtime_ns, status.st_size, status.st_mode
    return found


def said(work: Callable[[], object]) -> str:
    """Return what came of it, with a limit on time and memory: a hang is a failure."""
    text = confined(work, seconds=5)
    assert "\n" not in text
    assert "hidden" not in text, "a secret was quoted"
    return text


@tampers
def test_a_record_that_is_no_file(project: Project, outside: Path, tamper: Tamper) -> None:
    """A record that is anything but a file is an error that names the version."""
    second = project.open().add("net", project.folder.parent / "other.bin")
    record = project.open().manifest.record_path("net", 2)
    tamper(record, outside)
    before = snapshot(outside)
    for work in (
        lambda: project.open().resolve(second.id),
        lambda: project.open().checkout(second.id, project.folder / "out"),
        lambda: project.open().tag(second.id, "prod"),
    ):
        text = said(work)
        assert ": " in text, text
        assert "net/v2" in text, text
    assert said(lambda: project.open().fsck().ok) == "False"
    assert said(lambda: project.open().fsck("quick").findings[0].object) == "net/v2"
    assert snapshot(outside) == before
    assert bytes_of(project.open(), "net/v1") == project.held["net/v1"]


@tampers
@quiet
def test_an_event_that_is_no_file(project: Project, outside: Path, tamper: Tamper) -> None:
    """An event that is anything but a file is an error that names it."""
    project.open().tag("net@v1", "prod")
    tamper(project.folder / ".mvc/manifest/net/events/00000001.yaml", outside)
    before = snapshot(outside)
    assert "event 1" in said(lambda: project.open().resolve("net@prod"))
    assert "event 1" in said(lambda: project.open().tag("net@v1", "next"))
    assert said(lambda: project.open().fsck().findings[0].kind) == "event"
    assert snapshot(outside) == before


@tampers
def test_a_pack_that_is_no_file(project: Project, outside: Path, tamper: Tamper) -> None:
    """A pack that is anything but a file is missing bytes: fsck finds it, adding again mends it."""
    (pack,) = (project.folder / ".mvc/store/packs").iterdir()
    tamper(pack, outside)
    before = snapshot(outside)
    target = project.folder / "out"
    assert said(lambda: project.open().checkout("net@v1", target)).startswith("Damaged: net/v1")
    assert not target.exists()
    assert said(lambda: project.open().fsck().ok) == "False"
    assert said(lambda: {f.versions for f in project.open().fsck().findings}) != "set()"
    source = project.folder / "again.bin"
    source.write_bytes(project.held["net/v1"])
    assert said(lambda: project.open().add("net", source).id) == "net/v2"
    assert snapshot(outside) == before
    whole(project)


@tampers
def test_settings_that_are_no_file(project: Project, outside: Path, tamper: Tamper) -> None:
    """A ``config.yaml`` or ``store.yaml`` that is anything but a file is an error at once."""
    folder = project.folder / ".mvc"
    for path in (folder / "store" / "store.yaml", folder / "config.yaml"):
        copy = project.copied(f"copy-{path.name}")
        tamper(copy.folder / path.relative_to(project.folder), outside)
        before = snapshot(outside)
        text = said(lambda copy=copy: bytes_of(copy.open(), "net/v1"))  # type: ignore[misc]
        assert text.split(":")[0] in ("FormatError", "StoreMissing", "MvcError"), text
        assert snapshot(outside) == before
        shutil.rmtree(copy.folder)


@pytest.mark.parametrize("tamper", TAMPERS.values(), ids=TAMPERS)
def test_a_cache_that_is_no_cache(project: Project, outside: Path, tamper: Tamper) -> None:
    """What may be deleted may be anything: ``family.yaml`` and the merged index are passed by."""
    family = project.folder / ".mvc/manifest/net/family.yaml"
    tamper(family, outside)
    index = project.folder / ".mvc/cache/index"
    index.write_bytes(b"")
    tamper(index, outside)
    before = snapshot(outside)
    assert said(lambda: bytes_of(project.open(), "net/v1") == project.held["net/v1"]) == "True"
    assert said(lambda: project.open().resolve("net@best").id) == "net/v1"
    assert said(lambda: project.open().fsck().ok) == "True"
    assert snapshot(outside) == before


CONFIG: dict[str, lines.Value] = {
    "mvc": 1,
    "id": "1" * 32,
    "store": {"path": "store", "id": "2" * 32},
    "fallbacks": [],
}


@quiet
@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/etc", id="etc"),
        pytest.param("/dev/zero", id="device"),
        pytest.param("../../outside", id="outside"),
        pytest.param("secret", id="relative"),
        pytest.param("", id="none"),
        pytest.param("a\0b", id="NUL"),
        pytest.param("x" * 5000, id="long"),
    ],
)
def test_a_store_that_is_configured_elsewhere(project: Project, outside: Path, path: str) -> None:
    """Only a folder that bears the store's id is the store, and only there is written."""
    config = project.folder / ".mvc" / "config.yaml"
    values = lines.loads(config.read_bytes())
    settings = values["store"]
    assert isinstance(settings, dict)
    config.write_bytes(lines.dumps({**values, "store": {**settings, "path": path}}))
    before = snapshot(outside)
    source = outside.parent / "more.bin"
    make_noise(source, 5)
    text = said(lambda: bytes_of(project.open(), "net/v1") == project.held["net/v1"])
    assert text == "True" or text.split(":")[0] in ("StoreMissing", "FormatError"), text
    text = said(lambda: project.open().add("net", source))
    assert text.split(":")[0] in ("MvcError", "StoreMissing", "FormatError"), text
    assert snapshot(outside) == before


@quiet
def test_another_store_in_the_place_of_ours(project: Project, tmp_path: Path) -> None:
    """A store with another id is not ours: nothing is read from it, nothing written to it."""
    other = Project(tmp_path / "other")
    other.folder.mkdir()
    other.open().init()
    ours = project.folder / ".mvc" / "store"
    ours.rename(tmp_path / "away")
    (other.folder / ".mvc" / "store").rename(ours)
    before = snapshot(ours)
    for work in (
        lambda: bytes_of(project.open(), "net/v1"),
        lambda: project.open().add("net", tmp_path / "noise.bin"),
        lambda: project.open().fsck(),
    ):
        assert said(work).startswith("StoreMissing: the store of")
    assert said(lambda: project.open().resolve("net@v1").id) == "net/v1"
    assert snapshot(ours) == before


CONFIGS = {
    "empty": b"",
    "2 MiB": b'mvc: 1\nid: "' + b"x" * (2 << 20) + b'"\n',
    "deep": b"mvc: 1\nstore: " + b"[" * 100_000 + b"\n",
    "no store": b'mvc: 1\nid: "' + b"1" * 32 + b'"\n',
    "a store that is text": lines.dumps({**CONFIG, "store": "store"}),
    "a path that is a number": lines.dumps({**CONFIG, "store": {"path": 1, "id": "2" * 32}}),
    "an id that leads upward": lines.dumps({**CONFIG, "id": "../../../../outside"}),
    "a newer format": lines.dumps({**CONFIG, "mvc": 9}),
    "twice the same": lines.dumps(CONFIG) + b'id: "0"\n',
}


@pytest.mark.parametrize("attack", CONFIGS)
def test_a_forged_config_is_one_clear_error(project: Project, attack: str) -> None:
    """A ``config.yaml`` that is not one is refused with its path, whatever is asked."""
    (project.folder / ".mvc" / "config.yaml").write_bytes(CONFIGS[attack])
    before = snapshot(project.folder)
    for work in (
        lambda: project.open().resolve("net"),
        lambda: project.open().add("net", project.folder.parent / "other.bin"),
        lambda: project.open().fsck(),
    ):
        text = said(work)
        assert text.split(":")[0] in ("FormatError", "Unsupported"), text
        assert ".mvc" in text
    assert snapshot(project.folder) == before


def test_a_registry_where_anyone_may_write(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry found upward in a folder that anyone may write to is passed over, with a word."""
    below = project.folder / "deep" / "down"
    below.mkdir(parents=True)
    assert place.find(below) == project.folder / ".mvc"
    project.folder.chmod(0o777)
    with (
        pytest.warns(MvcWarning, match="passed over .*: anyone may write"),
        pytest.raises(MvcError),
    ):
        place.find(below)
    monkeypatch.chdir(below)
    with pytest.warns(MvcWarning, match="passed over"):
        assert ModelRegistry().folder == below / ".mvc"
    monkeypatch.chdir(project.folder)
    with pytest.warns(MvcWarning, match="passed over"), pytest.raises(NotFound):
        ModelRegistry()
    project.folder.chmod(0o755)
    (project.folder / ".mvc").chmod(0o777)
    with pytest.warns(MvcWarning, match=r"anyone may write to '.*\.mvc'"), pytest.raises(NotFound):
        place.find(below)
    assert ModelRegistry(project.folder).list() == ["net"]
    monkeypatch.setenv("MVC_DIR", str(project.folder))
    assert ModelRegistry().list() == ["net"]


def test_a_store_elsewhere_is_said_to_be_read_only(project: Project) -> None:
    """A store found in the default place instead of the configured one is used with a warning."""
    config = project.folder / ".mvc" / "config.yaml"
    config.write_bytes(config.read_bytes().replace(b'"path": "store"', b'"path": "/nowhere"'))
    with pytest.warns(StoreWarning, match="read only"):
        assert bytes_of(project.open(), "net/v1") == project.held["net/v1"]


@quiet
def test_foreign_files_are_left_alone(project: Project) -> None:
    """Editors' backups, ``lost+found`` and NFS leftovers are passed over, never deleted."""
    folder = project.folder / ".mvc"
    names = ["lost+found", ".nfs0001", "v1.yaml~", "v01.yaml", "V2.yaml", "00000001.yaml.bak", "x"]
    for where in ("manifest", "manifest/net/versions", "store/packs", "store/roots", "store"):
        for name in names:
            (folder / where / name).write_bytes(b"?")
            os.chmod(folder / where / name, stat.S_IRUSR)
    before = {path for path in folder.rglob("*") if path.name in names}
    assert project.open().list() == ["net"]
    assert project.open().list("net") == ["v1"]
    project.add("net", project.folder.parent / "other.bin")
    whole(project)
    assert {path for path in folder.rglob("*") if path.name in names} == before
