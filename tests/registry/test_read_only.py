"""A registry that may not be written to: every read works, every write is refused."""

from __future__ import annotations

import json
import os
import shutil
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.support.registry_builders import MIB, Project, files_in, finished, noise, python

# As another user where the tests run as root, for whom no mode is an obstacle. What
# that user may not import is imported before, by asking the same of a copy.
CHILD = """
import json, os, sys, warnings
from mvc import ModelRegistry, MvcError

def reads(folder, out):
    registry = ModelRegistry(folder)
    return {
        "list": registry.list(),
        "versions": registry.list("net"),
        "show": registry.show("net@best").id,
        "get": registry.get("net@prod")["present"],
        "log": [version.id for version in registry.log()],
        "history": len(registry.history("net@prod")),
        "status": [file.state for file in registry.status(folder).files],
        "fsck": registry.fsck("full").ok,
        "du": registry.du().versions,
        "gc": [item.name for item in registry.gc("0", dry_run=True).items],
        "repack": registry.repack(dry_run=True).executed,
        "move": registry.plan_move_store(out + "/moved").roots,
        "foreseen": [going.id for going in registry.keep("net", last=1, dry_run=True)[0].withdraws],
        "checkout": registry.checkout("net@v1", out).path.stat().st_size,
        "again": registry.checkout("net@v1", out).written,
    }

warnings.simplefilter("ignore")
folder, out, copy = sys.argv[1:]
ModelRegistry(copy).add("net", copy + "/model.bin")
reads(copy, copy + "/out")
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
answers = reads(folder, out)
registry = ModelRegistry(folder)
calls = {
    "add": lambda: registry.add("net", folder + "/model.bin"),
    "tag": lambda: registry.tag("net@v1", "test"),
    "rm": lambda: registry.rm("net@v1", force=True),
    "best": lambda: registry.best("net", "acc", "min"),
    "keep": lambda: registry.keep("net", last=1),
    "gc for good": lambda: registry.gc("0"),
    "repack for good": registry.repack,
    "move for good": lambda: registry.move_store(out + "/moved"),
    "over": lambda: registry.checkout("net@v1", folder + "/new.bin"),
    "secret": lambda: registry.add("net", folder + "/secret.bin"),
}
for name, call in calls.items():
    try:
        call()
    except MvcError as error:
        assert isinstance(error, PermissionError) and error.hint, name
        answers[name] = error.message.partition(" '")[0]
    else:
        answers[name] = "done"
print(json.dumps(answers))
"""


REFUSED = ["add", "tag", "rm", "best", "keep", "over", "secret"]
REFUSED += ["gc for good", "repack for good", "move for good"]


@pytest.fixture
def locked() -> Iterator[Project]:
    """A project of which nobody has the right to write anything."""
    with TemporaryDirectory() as folder:
        project = Project(Path(folder, "project"))
        project.folder.mkdir()
        project.add(noise(5 * MIB), metrics={"acc": 0.5}, tags=["prod"])
        project.add(noise(1000), metrics={"acc": 0.4})
        project.registry().rm("net@v2")
        for number in (3, 4):
            project.add(noise(1000, number))
        Path(folder).chmod(0o755)
        project.file(b"secret", "secret.bin").chmod(0)
        _allow(project.folder, "a-w")
        try:
            yield project
        finally:
            _allow(project.folder, "u+w")


@pytest.mark.parametrize("cached", [True, False])
def test_every_read_works_where_nothing_may_be_written(locked: Project, cached: bool) -> None:
    """Listing, looking, checking, checking out elsewhere and dry runs need no right to write."""
    if not cached:  # and nothing was ever noted
        _allow(locked.folder, "u+w")
        locked.family_file().unlink()
        for path in sorted((locked.mvc / "cache").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        (locked.mvc / "cache").rmdir()
        _allow(locked.folder, "a-w")
    before = files_in(locked.mvc)
    with TemporaryDirectory() as out, TemporaryDirectory() as copy:
        os.chmod(out, 0o777)
        shutil.copytree(locked.mvc, Path(copy, ".mvc"))
        shutil.copy(locked.folder / "model.bin", copy)
        _allow(Path(copy), "u+w")
        child = python(CHILD, locked.folder, out, copy)
        answers: dict[str, Any] = json.loads(finished(child))
    assert answers == {
        "list": ["net"],
        "versions": ["v1", "v3", "v4"],
        "show": "net/v1",
        "get": True,
        "log": ["net/v4", "net/v3", "net/v1"],
        "history": 1,
        "status": ["registered"],
        "fsck": True,
        "du": 3,
        "checkout": 5 * MIB,
        "again": False,
        "gc": ["net/v2"],
        "repack": False,
        "move": 4,
        "foreseen": ["net/v3"],
        **dict.fromkeys(REFUSED, "no permission for"),
    }
    assert files_in(locked.mvc) == before


def test_an_event_or_record_that_may_not_be_read_is_named(locked: Project) -> None:
    """A file of the manifest without the right to read it is damage, not a crash."""
    code = """
import os, sys
from mvc import Damaged, ModelRegistry
import mvc.registry.care.fsck
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    ModelRegistry(sys.argv[1]).resolve("net@v1")
except Damaged as error:
    print(error.message)
print([finding.kind for finding in ModelRegistry(sys.argv[1]).fsck("quick").findings])
"""
    locked.record(1).chmod(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = finished(python(code, locked.folder)).splitlines()
    assert out == [
        f"the record of net/v1 cannot be trusted: no permission for '{locked.record(1)}'",
        "['record']",
    ]


def _allow(folder: Path, change: str) -> None:
    for above, _, names in os.walk(folder):
        for path in (Path(above), *(Path(above, name) for name in names)):
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | 0o200 if change == "u+w" else mode & ~0o222)


BECOME = """
import os, sys
from mvc import ModelRegistry, MvcError
from mvc.registry.care import rooted
import mvc.registry.checkout.paths
registry = ModelRegistry(sys.argv[1])
store = registry.presence.store
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
def tell(call, *given):
    try:
        call(*given)
    except MvcError as error:
        print(type(error).__name__, error.message, error.hint, sep=" | ")
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_colleagues_closed_root_is_named_with_its_owner(locked: Project, what: str) -> None:
    """Roots that a umask keeps to their owner are no damage: who can open them is told, and how."""
    place = locked.registry().place
    roots = locked.mvc / "store" / "roots" / place.id
    closed = roots if what == "folder" else sorted(roots.iterdir())[0]
    mode = closed.stat().st_mode
    closed.chmod(0)
    try:
        told = finished(python(BECOME + "tell(rooted.roots, store)", locked.folder)).strip()
    finally:
        closed.chmod(mode)
    owner = closed.owner()
    assert told == (
        f"MvcError | '{closed}' may not be read, and is {owner}'s: what it keeps is not known, so "
        f"nothing is removed | to be run by {owner}: chmod -R a+rX '{locked.mvc / 'store'}'; and "
        "umask 002 from then on"
    )


def test_a_cache_that_may_not_be_made_names_the_setting(
    locked: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has no home to write to learns of ``MVC_CACHE``, from Python as well."""
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    for name in ("MVC_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    told = finished(python(BECOME + "tell(registry.path, 'net@v1')", locked.folder)).strip()
    assert told.startswith("MvcError | ")
    assert told.endswith(" may not be written to | name another place: MVC_CACHE=DIR")
