"""Withdrawing a version, and taking that back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mvc import Conflict, MvcWarning, NotFound, UsageError, fileio
from mvc.registry.changes import record_change
from mvc.registry.event import Standing
from tests.support.registry_builders import Project


@pytest.fixture
def three(project: Project) -> Project:
    """Three versions, the second best, the first tagged."""
    for number, accuracy in ((1, 0.5), (2, 0.9), (3, 0.7)):
        project.add(bytes([number]), metrics={"acc": accuracy})
    project.registry().tag("net@v1", "prod")
    return project


def test_a_withdrawn_version_is_not_found_and_says_who_when_and_what_to_do(three: Project) -> None:
    """No ref finds it; the error names the author, the day and the way back."""
    withdrawn = three.registry().rm("net@v3", message="diverged")
    assert (withdrawn.id, withdrawn.withdrawn) == ("net/v3", True)
    digest = withdrawn.artifact.digest
    for ref in ("net@v3", "net/v3", f"net@{digest}", "net@v3~1"):
        with pytest.raises(NotFound, match=r"withdrawn on 20..-..-.. by anna") as raised:
            three.registry().resolve(ref)
        assert raised.value.hint == "mvc restore net@v3 takes it back"
    with pytest.raises(NotFound, match="withdrawn"):
        three.registry().tag("net@v3", "next")
    with pytest.raises(NotFound, match="withdrawn"):
        three.registry().rm("net@v3")
    assert three.registry().list("net") == ["v1", "v2"]
    assert [version.id for version in three.registry().log("net")] == ["net/v2", "net/v1"]
    assert [version.id for version in three.registry().log(withdrawn=True)] == ["net/v3"]
    three.registry().restore("net@v3")
    assert three.registry().log(withdrawn=True) == []


def test_latest_and_best_are_the_next_ones(three: Project) -> None:
    """A withdrawn version is neither; a restored one is again."""
    registry = three.registry()
    registry.rm("net@v3")
    registry.rm("net@v2")
    assert registry.resolve("net").id == registry.resolve("net@best").id == "net/v1"
    assert registry.restore("net@v2").withdrawn is False
    assert registry.resolve("net").id == registry.resolve("net@best").id == "net/v2"
    registry.restore("net@v3")
    registry.restore("net@v3")
    assert registry.resolve("net").id == "net/v3"
    assert three.bytes_of("net@v3") == b"\x03"


def test_a_family_whose_versions_are_all_withdrawn_says_so(three: Project) -> None:
    """The family stays; its latest and its best version are not found, with the way back."""
    for number in (1, 2, 3):
        three.registry().rm(f"net@v{number}", force=True)
    registry = three.registry()
    assert (registry.list(), registry.list("net")) == (["net"], [])
    for ref in ("net", "net@latest", "net@best", "net@best.acc"):
        with pytest.raises(NotFound, match="every version of 'net' is withdrawn"):
            registry.resolve(ref)
    assert registry.best("net")[1] is None
    assert three.add(b"4") == "net/v4"


def test_a_tagged_version_is_withdrawn_only_by_force(three: Project) -> None:
    """The conflict names the tag; by force the tag then leads to what is not found."""
    with pytest.raises(Conflict, match="net/v1 bears the tag 'prod'"):
        three.registry().rm("net@v1")
    assert three.registry().resolve("net@prod").id == "net/v1"
    three.registry().rm("net@v1", force=True)
    with pytest.raises(NotFound, match="net/v1 was withdrawn"):
        three.registry().resolve("net@prod")


@pytest.mark.parametrize(
    ("ref", "meant"),
    [
        ("net", "net/v3: mvc rm net@v3"),
        ("net@latest", "net/v3: mvc rm net@v3"),
        ("net@best", "net/v2: mvc rm net@v2"),
        ("net@prod", "net/v1: mvc rm net@v1"),
        ("net@v3~1", "net/v2: mvc rm net@v2"),
        ("net@v3:model.bin", "net/v3: mvc rm net@v3"),
    ],
)
def test_only_an_exact_version_is_withdrawn(three: Project, ref: str, meant: str) -> None:
    """What may mean another version tomorrow is a usage error that names the one meant now."""
    with pytest.raises(UsageError) as raised:
        three.registry().rm(ref)
    assert meant in (raised.value.hint or "")
    assert three.registry().list("net") == ["v1", "v2", "v3"]


@pytest.mark.parametrize("ref", ["net", "net@latest", "net@prod", "net@v2~1"])
def test_only_an_exact_version_is_restored(three: Project, ref: str) -> None:
    """Restoring takes a number, too."""
    with pytest.raises(UsageError, match="does not name one version"):
        three.registry().restore(ref)


def test_what_was_released_cannot_be_restored(three: Project) -> None:
    """After gc gave up a version's bytes, its withdrawal stays, and the hint says what is left."""
    registry = three.registry()
    registry.rm("net@v3")
    digest = registry.manifest.record("net", 3)[1]
    release = Standing("released", 3, digest)
    fileio.run(record_change(registry.manifest, "net", lambda: release))
    for ask in (three.registry().restore, three.registry().resolve):
        with pytest.raises(NotFound, match="released") as raised:
            ask("net@v3")
        assert "again" in (raised.value.hint or "")
    assert three.registry().list("net") == ["v1", "v2"]


def test_a_log_tells_released_from_withdrawn(three: Project) -> None:
    """What gc gave up is ``released``, as well as withdrawn; what may be restored is not."""
    registry = three.registry()
    registry.rm("net@v2")
    registry.rm("net@v3")
    release = Standing("released", 3, registry.manifest.record("net", 3)[1])
    fileio.run(record_change(registry.manifest, "net", lambda: release))
    told = {v.id: (v.withdrawn, v.released) for v in three.registry().log("net", withdrawn=True)}
    assert told == {"net/v3": (True, True), "net/v2": (True, False)}


def test_a_number_is_never_given_again(three: Project) -> None:
    """After the highest version is withdrawn the next one takes the number above it."""
    three.registry().rm("net@v3")
    assert three.add(b"new") == "net/v4"
    assert three.registry().resolve("net~1").id == "net/v2"


def test_a_parent_may_be_out_of_use(project: Project) -> None:
    """A withdrawn or released parent is noted with a warning, and gc takes it all the same."""
    project.add(b"weights", "base")
    project.registry().rm("base@v1")
    for family, word in (("first", "withdrawn"), ("second", "released")):
        with pytest.warns(MvcWarning, match=f"the parent base/v1 was {word} on 20..-..-.. by anna"):
            added = project.registry().add(
                family, project.file(family.encode()), parents=["base@v1"]
            )
        ((parent, of_record),) = [one.values() for one in added.lineage["parents"]]
        record = project.registry().manifest.record("base", 1)[1]
        assert (parent, of_record) == ("base/v1", str(record))
        project.registry().gc(timedelta(0))
        assert project.bytes_of(family) == family.encode()
    with pytest.raises(NotFound, match="no version v2 of 'base'"):
        project.registry().add("net", project.file(b"other"), parents=["base@v2"])
    with pytest.raises(NotFound, match="released"):
        project.registry().add("net", from_version="base@v1")
