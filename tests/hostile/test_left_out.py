"""A family that may not be looked into, or is damaged, hides no other; what deletes stops at it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mvc import Damaged, ModelRegistry, UnreadWarning
from tests.cli.running import mvc
from tests.support.registry_builders import Project, files_in
from tests.support.users import ANNA, BEN, User, needs_root, shared_folder

LOOKS = ["list -q", "log -q", "log --graph", "search acc>0 -q", "list --where acc>0 -q", "status"]
DELETES = ["gc --grace 0", "gc --dry-run"]


def _shown(out: str) -> set[str]:
    """Return which of the three families an answer speaks of."""
    return set(re.findall(r"\b[abc](?=/v1|$)", out, re.MULTILINE))


def _kept(folder: Path) -> dict[str, bytes]:
    """Return all packs and roots."""
    store = folder / ".mvc/store"
    return files_in(store / "packs") | files_in(store / "roots")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A registry of a group, with the families ``a``, ``b`` and ``c``."""
    for folder in shared_folder():
        anna = User(ANNA, folder)
        assert anna.mvc("init").status == 0
        for number, name in enumerate("abc"):
            assert anna.mvc("add", name, f"../m{number}.bin", "-m", "acc=0.5").status == 0
            shutil.copy(folder.parent / f"m{number}.bin", folder / f"{name}.bin")
        yield folder


@needs_root
@pytest.mark.parametrize("closed", ["b", "b/versions"])
def test_a_closed_family_hides_no_other(shared: Path, closed: str) -> None:
    """Each look shows the rest, names the family, its owner and what opens it, and ends with 8."""
    ben, manifest = User(BEN, shared), shared / ".mvc/manifest"
    (manifest / closed).chmod(0o700)
    remedy = f"to be run by uid-{ANNA}: chmod -R a+rX {manifest / 'b'}"
    for typed in LOOKS:
        said = ben.mvc(*typed.split())
        assert said.status == 8, typed
        assert _shown(said.out) == {"a", "c"}, typed
        (line,) = (each for each in said.err.splitlines() if not each.startswith("note: "))
        assert line.startswith("warning: family 'b' is left out: no permission for "), typed
        assert line.endswith(f", which is uid-{ANNA}'s ({remedy})")
    said = ben.mvc("list", "--json")
    assert [each["family"] for each in json.loads(said.out)] == ["a", "c"]
    error = json.loads(said.err.splitlines()[-1])["error"]
    assert (error["code"], error["status"], error["hint"]) == ("permission", 8, remedy)
    assert ben.mvc("list", "a", "-q").status == 0, "nothing that was asked for is left out"
    assert ben.mvc("show", "b").is_clear(8)


@needs_root
def test_a_closed_family_is_in_nobodys_way_but_gcs(shared: Path) -> None:
    """Others add, tag, withdraw and check out; what deletes ends before it begins."""
    anna, ben = User(ANNA, shared), User(BEN, shared)
    assert anna.mvc("keep", "a", "--last", "1").status == 0
    (shared / ".mvc/manifest/b").chmod(0o700)
    for typed in (
        "add a ../m3.bin",
        "add new ../m1.bin -t first",
        "tag a@v1 x",
        "rm c@v1",
        "restore c@v1",
        "checkout a -o b.bin --force",
        "show ./c.bin",
    ):
        said = ben.mvc(*typed.split())
        assert said.status == 0, (typed, said)
    (shared / "c.bin").write_text("mine")
    assert ben.mvc("checkout", "a", "-o", "c.bin").is_clear(5)
    before = _kept(shared)
    for typed in (*DELETES, "repack", "keep", "du"):
        assert ben.mvc(*typed.split()).is_clear(8), typed
    assert _kept(shared) == before
    found = ben.mvc("fsck", "--json")
    assert found.status == 3
    (finding,) = json.loads(found.out)["findings"]
    assert (finding["kind"], finding["object"]) == ("family", "b")
    assert anna.mvc("gc", "--grace", "0").status == 0
    assert anna.mvc("fsck", "--full").status == 0


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path)
    for name in "abc":
        made.add(name.encode() * 3000, family=name, name=f"{name}.bin", metrics={"acc": 0.5})
    made.registry().tag("b@v1", "prod")
    monkeypatch.chdir(tmp_path)
    return made


def hurt(project: Project, what: str) -> None:
    path = project.mvc / "manifest/b" / what
    path.chmod(0o644)
    path.write_text("strange")
    (project.mvc / "manifest/b/family.yaml").unlink()


@pytest.mark.parametrize("what", ["versions/v1.yaml", "events/00000001.yaml"])
def test_a_damaged_family_hides_no_other(project: Project, what: str) -> None:
    """Each look shows the rest and says what is damaged, with 3; what deletes ends with 3."""
    hurt(project, what)
    for typed in LOOKS:
        done = mvc(*typed.split())
        assert done.status == 3, typed
        assert _shown(done.out) >= {"a", "c"}, typed
        assert "cannot be trusted: the seal is missing" in done.err
        assert "error: " not in done.err
    done = mvc("log", "--json")
    assert [each["id"] for each in done.json] == ["c/v1", "a/v1"]
    error = json.loads(done.err.splitlines()[-1])["error"]
    assert (error["code"], error["status"]) == ("damaged", 3)
    before = _kept(project.folder)
    for typed in DELETES:
        done = mvc(*typed.split())
        assert (done.status, done.out) == (3, ""), typed
    assert _kept(project.folder) == before


def test_python_warns_of_what_is_left_out_and_goes_on(project: Project) -> None:
    """What looks at many families answers with the rest; the warning has the error."""
    hurt(project, "events/00000001.yaml")
    registry = project.registry()
    calls: dict[str, Callable[[ModelRegistry], list[str]]] = {
        "list": lambda r: r.list(),
        "log": lambda r: sorted(version.family for version in r.log()),
        "search": lambda r: sorted(version.family for version in r.search("acc > 0")),
        "families": lambda r: [family.name for family in r.families()],
    }
    for name, call in calls.items():
        with pytest.warns(UnreadWarning, match="family 'b' is left out: event 1 of 'b'") as caught:
            assert call(registry) == ["a", "c"], name
        (warning,) = caught
        assert isinstance(warning.message, UnreadWarning)
        assert isinstance(warning.message.error, Damaged)
    with pytest.warns(UnreadWarning):
        assert registry.status(project.folder).families == 2
    for name in ("b", "b@v1"):
        with pytest.raises(Damaged):
            registry.show(name)
    with pytest.raises(Damaged):
        registry.keep()
    with pytest.raises(Damaged):
        ModelRegistry(project.folder).gc("0")
