"""Many at once: every ``add`` gets a number of its own, without a lock."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from mvc import Conflict, fileio
from mvc.registry.manifest import Manifest
from tests.support.gc_builders import collected
from tests.support.registry_builders import MIB, Project, finished, noise, python

ADD = """
import sys
from mvc import ModelRegistry
folder, number = sys.argv[1:]
print(ModelRegistry(folder).register("net", f"{folder}/{number}.bin", {"acc": int(number)}))
"""

ADD_IF_CHANGED = """
import sys
from mvc import ModelRegistry
for family in ("a", "b", "c"):
    added = ModelRegistry(sys.argv[1]).add(family, f"{sys.argv[1]}/model.bin", if_changed=True)
    print(added.id, added.new)
"""


def test_many_processes_get_as_many_numbers_each_its_own_bytes(project: Project) -> None:
    """Thirty-two processes that add to one new family at once lose nothing and mix up nothing."""
    data = [
        noise(50_000 + number, number) + noise(5 * MIB) * (number % 8 == 0) for number in range(32)
    ]
    for number, content in enumerate(data):
        project.file(content, f"{number}.bin")
    started = [python(ADD, project.folder, number) for number in range(32)]
    ids = [finished(process).strip() for process in started]
    assert sorted(ids) == sorted(f"net/v{number}" for number in range(1, 33))
    registry = project.registry()
    for identity, content, number in zip(ids, data, range(32), strict=True):
        assert registry.get(identity)["metrics"] == {"acc": number}
        assert project.bytes_of(identity) == content
    assert registry.resolve("net@best").id == ids[31]
    assert registry.list("net") == [f"v{number}" for number in range(1, 33)]
    report = project.registry().fsck("full")
    assert report.ok
    assert report.notes == ()


@pytest.mark.parametrize("count", [6, pytest.param(32, marks=pytest.mark.long)])
def test_many_processes_may_add_the_same(project: Project, count: int) -> None:
    """Processes that add the same file at once all succeed; its bytes are stored once."""
    data = noise(200_000)
    for number in range(count):
        project.file(data, f"{number}.bin")
    started = [python(ADD, project.folder, number) for number in range(count)]
    ids = {finished(process).strip() for process in started}
    assert ids == {f"net/v{number}" for number in range(1, count + 1)}
    assert all(project.bytes_of(identity) == data for identity in ids)
    collected(project)
    assert sum(pack.stat().st_size for pack in project.packs) < 2 * len(data)
    assert project.registry().fsck("full").ok


def test_many_processes_that_add_what_is_new_make_one_version(project: Project) -> None:
    """Of processes that add the same file at once with ``if_changed`` all answer with one version.

    Each asks for several families, so that they meet at different steps.
    """
    project.file(noise(200_000), "model.bin")
    said = [
        finished(process).split()
        for process in [python(ADD_IF_CHANGED, project.folder) for _ in range(4)]
    ]
    names = [f"{family}/v1" for family in ("a", "b", "c")]
    assert [answers[::2] for answers in said] == [names] * 4
    assert [sum(answers[n] == "True" for answers in said) for n in (1, 3, 5)] == [1, 1, 1]
    registry = project.registry()
    assert [registry.list(name[0]) for name in names] == [["v1"]] * 3
    assert len(list(project.mvc.glob("store/roots/*/*"))) == 3
    assert registry.fsck("full").ok


def test_of_many_who_expect_the_same_of_a_tag_one_wins(project: Project) -> None:
    """Sixteen that move a tag from where they all saw it: one does, the others are in conflict."""
    for number in range(17):
        project.add(b"%d" % number)
    project.registry().tag("net@v1", "prod")

    def move(number: int) -> str:
        try:
            return project.registry().tag(f"net@v{number}", "prod", expect="v1").version
        except Conflict:
            return ""

    with ThreadPoolExecutor(16) as threads:
        moved = list(filter(None, threads.map(move, range(2, 18))))
    assert len(moved) == 1
    assert project.registry().resolve("net@prod").version == moved[0]
    assert [move.version for move in project.registry().history("net@prod")] == [moved[0], "v1"]


def test_a_number_taken_meanwhile_is_left_to_whoever_took_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ``add`` that lost the race for a number takes the next one, with its own bytes."""
    project.add(b"first")
    project.add(b"second")
    before = project.record(1).read_bytes(), project.record(2).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "numbers", lambda *_: [])  # listed before the others came
        made = fileio.run(project.registry().manifest.create_version("net", b"third"))
    assert made == 3
    assert project.record(3).read_bytes() == b"third"
    assert (project.record(1).read_bytes(), project.record(2).read_bytes()) == before


def test_one_registry_object_serves_many_threads(project: Project) -> None:
    """Threads that share a registry, and those that do not, see each other's versions."""
    shared = project.registry()
    shared.init()
    paths = [project.file(noise(1000, number), f"{number}.bin") for number in range(24)]
    with ThreadPoolExecutor(8) as threads:
        added = list(threads.map(lambda path: shared.add("net", path), paths))
    assert {version.number for version in added} == set(range(1, 25))
    for version, path in zip(added, paths, strict=True):
        assert project.bytes_of(version.id) == path.read_bytes()


def test_what_another_process_added_is_seen_by_an_open_registry(project: Project) -> None:
    """A registry that was opened long ago answers with the versions and tags of now."""
    project.add(b"one", metrics={"acc": 1}, tags=["prod"])
    long_open = project.registry()
    assert long_open.show("net@prod").id == "net/v1"
    project.add(b"two", metrics={"acc": 2}, tags=["prod"])
    for ref in ("net", "net@best", "net@prod", "net/v2"):
        assert long_open.show(ref).id == "net/v2"
        assert long_open.show(ref).present
    assert long_open.checkout("net", project.folder / "out").path.read_bytes() == b"two"
    assert long_open.fsck("full").ok
