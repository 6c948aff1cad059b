"""Tags: their history, going back in it, and moving one against others."""

from __future__ import annotations

import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvc import Conflict, MvcError, NotFound, StoreWarning, UsageError
from mvc.digest import digest_of
from mvc.registry import changes, sealed, tags
from mvc.registry.event import Event, Tagged
from tests.support.registry_builders import MIB, Project, finished, noise, python


@pytest.fixture
def versions(project: Project) -> Project:
    """Five versions and no tag."""
    for number in range(5):
        project.add(bytes([number]))
    return project


def move(project: Project, *numbers: int) -> None:
    for number in numbers:
        project.registry().tag(f"net@v{number}", "prod")


def prod(project: Project) -> str:
    return project.registry().resolve("net@prod").version


def test_every_move_is_in_the_history_newest_first(versions: Project) -> None:
    """Who moved a tag where, why, and by going back, stays known after it is deleted."""
    registry = versions.registry()
    registry.tag("net@v1", "Prod", message="first")
    registry.tag("net@v2", "prod")
    registry.rollback("net@prod")
    registry.delete_tag("net@PROD")
    shown = [(m.version, m.message, m.rollback, m.author) for m in registry.history("net@prod")]
    assert shown == [
        (None, None, False, "anna"),
        ("v1", None, True, "anna"),
        ("v2", None, False, "anna"),
        ("v1", "first", False, "anna"),
    ]
    assert registry.family("net").tags == {}
    assert registry.resolve("net@prod@{1}").version == "v1"
    with pytest.raises(NotFound):
        registry.resolve("net@prod")


def test_a_move_to_where_the_tag_stands_is_no_move(versions: Project) -> None:
    """Tagging twice leaves one entry in the history."""
    move(versions, 2, 2)
    assert len(versions.registry().history("net@prod")) == 1


def test_each_rollback_goes_further_back(versions: Project) -> None:
    """A second rollback undoes the move before, never the rollback."""
    move(versions, 1, 2, 3)
    registry = versions.registry()
    back = registry.rollback("net@prod", message="too slow")
    assert (back.id, back.before, back.version) == ("net/v2", "v3", "v2")
    assert registry.history("net@prod")[0].message == "too slow"
    assert back.since == registry.history("net@prod")[2].created
    assert registry.rollback("net@prod").version == "v1"
    with pytest.raises(NotFound, match="no earlier version"):
        registry.rollback("net@prod")
    assert prod(versions) == "v1"


def test_a_move_after_a_rollback_is_undone_first(versions: Project) -> None:
    """After going back and forward again, going back leads to where the tag stood."""
    move(versions, 1, 2, 3)
    registry = versions.registry()
    registry.rollback("net@prod")
    move(versions, 4)
    assert [registry.rollback("net@prod").version for _ in range(2)] == ["v2", "v1"]


def test_rollback_to_a_version_the_tag_stood_on(versions: Project) -> None:
    """``--to`` undoes moves until the tag stands there, and refuses where it never stood."""
    move(versions, 1, 2, 3, 4)
    registry = versions.registry()
    with pytest.raises(NotFound, match="did not stand on v5"):
        registry.rollback("net@prod", to="v5")
    with pytest.raises(UsageError):
        registry.rollback("net@prod", to="prod")
    assert registry.rollback("net@prod", to="v2").version == "v2"
    assert registry.rollback("net@prod").version == "v1"


def test_why_there_is_no_going_back_is_said(versions: Project) -> None:
    """Of a move that was undone, of where the tag stands, of what was withdrawn."""
    move(versions, 4, 1, 2, 3)
    registry = versions.registry()
    registry.rollback("net@prod")
    registry.rollback("net@prod")
    with pytest.raises(NotFound, match="stood on v3, but that move was undone") as raised:
        registry.rollback("net@prod", to="v3")
    assert raised.value.hint == "mvc tag net@v3 prod moves it there"
    with pytest.raises(NotFound, match="stands on v1 already"):
        registry.rollback("net@prod", to="v1")
    registry.rm("net@v4")
    with pytest.raises(NotFound, match="net/v4 is withdrawn") as raised:
        registry.rollback("net@prod", to="v4")
    assert "mvc restore net@v4" in str(raised.value.hint)


def test_rollback_passes_over_withdrawn_versions_and_deletions(versions: Project) -> None:
    """Going back leads to a version that can be had, and is another than now."""
    move(versions, 1, 2, 3)
    registry = versions.registry()
    registry.rm("net@v2")
    registry.delete_tag("net@prod")
    move(versions, 4)
    assert registry.rollback("net@prod").version == "v3"
    assert registry.rollback("net@prod").version == "v1"


def test_rollback_of_a_deletion_brings_the_tag_back(versions: Project) -> None:
    """A deletion is a move like any other."""
    move(versions, 1, 2)
    registry = versions.registry()
    registry.delete_tag("net@prod")
    back = registry.rollback("net@prod")
    assert (back.before, back.version) == (None, "v2")


def test_rollback_leads_to_another_version_than_now(versions: Project) -> None:
    """Where the version between is withdrawn, going back does not stop where it began."""
    move(versions, 3, 1, 2, 1)
    registry = versions.registry()
    registry.rm("net@v2")
    assert registry.rollback("net@prod").version == "v3"


moves = st.lists(st.none() | st.integers(1, 4), min_size=1, max_size=8)


@given(moves, st.frozensets(st.integers(1, 4)))
def test_rolling_back_ends_and_never_goes_forward(
    targets: list[int | None], withdrawn: frozenset[int]
) -> None:
    """Each rollback undoes an older move than the one before, until none is left."""
    made = [event(number, target) for number, target in enumerate(targets, start=1)]
    undone: list[int] = []
    while True:
        try:
            target, oldest = tags.rollback(made, withdrawn, None, "net@prod")
        except NotFound:
            break
        assert target not in withdrawn
        assert target != made[-1][1].version
        assert target in targets[: oldest - 1]
        undone.append(oldest)
        made.append(event(len(made) + 1, target, oldest))
    assert undone == sorted(undone, reverse=True)
    assert len(set(undone)) == len(undone)


def event(number: int, version: int | None, undoes: int | None = None) -> tuple[Event, Tagged]:
    digest = None if version is None else digest_of(b"")
    change = Tagged("prod", version, digest, undoes)
    created = f"2026-11-{number % 28 + 1:02d}T12:00:00.000000Z"
    return Event("net", "0" * 32, created, change, "", None, number), change


@pytest.mark.parametrize(
    ("when", "version"),
    [
        ("2026-11-02", 1),
        ("2026-11-03", 2),
        ("2026-11-03T11:59:59", 1),
        ("2026-11-03T12:00:00Z", 2),
        ("2026-11-03T12:00:00+01:00", 1),
        ("2026-11-03T13:00:00+01:00", 2),
        ("2026-11-04", None),
        ("9999-12-31", None),
        ("0", None),
        ("1", 2),
        ("2", 1),
    ],
)
def test_time_travel(when: str, version: int | None) -> None:
    """A number counts moves; a day is its end in UTC; a time is UTC unless it says otherwise."""
    assert tags.before([event(1, 1), event(2, 2), event(3, None)], when, "net@prod") == version


@pytest.mark.parametrize("when", ["3", "999999999", "2026-11-01", "0001-01-01T00:00:00+23:59"])
def test_before_the_first_move_there_was_no_tag(when: str) -> None:
    """A time before the tag's first move is not found."""
    with pytest.raises(NotFound, match=r"no tag .net@prod. yet"):
        tags.before([event(1, 1), event(2, 2), event(3, None)], when, "net@prod")


def test_a_tag_moves_only_from_where_it_is_expected(versions: Project) -> None:
    """``expect`` compares and moves in one; the conflict says where the tag stands."""
    registry = versions.registry()
    registry.tag("net@v1", "prod", expect="none")
    with pytest.raises(Conflict, match="stands on v1, not on none"):
        registry.tag("net@v2", "prod", expect="none")
    with pytest.raises(Conflict, match="stands on v1, not on v3"):
        registry.tag("net@v2", "prod", expect="v3")
    with pytest.raises(UsageError):
        registry.tag("net@v2", "prod", expect="1")
    assert registry.tag("net@v2", "prod", expect="v1").tags == ("prod",)


def test_a_version_that_was_printed_can_be_expected(versions: Project) -> None:
    """What ``show -q`` prints is understood, as is a ref by number; of another family it is not."""
    registry = versions.registry()
    registry.tag("net@v1", "prod")
    registry.tag("net@v2", "prod", expect="net/v1")
    registry.tag("net@v3", "prod", expect="NET@v2")
    registry.tag("net@v4", "prod", expect=registry.resolve("net@v3"))
    for wrong in ("other/v4", "net@prod", "net", "net@v4~1", "", "1"):
        with pytest.raises(UsageError, match=f"^'{wrong}' is no version of 'net'"):
            registry.tag("net@v5", "prod", expect=wrong)
    assert registry.rollback("net@prod", to="net/v2").version == "v2"


def test_of_many_threads_with_the_same_expectation_one_wins(versions: Project) -> None:
    """Sixteen threads that all expect no tag make one move."""

    def attempt(number: int) -> bool:
        try:
            versions.registry().tag(f"net@v{number % 5 + 1}", "prod", expect="none")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        won = list(threads.map(attempt, range(16)))
    assert sum(won) == 1
    (made,) = versions.registry().history("net@prod")
    assert made.version == f"v{won.index(True) % 5 + 1}"


def test_of_many_processes_with_the_same_expectation_one_wins(versions: Project) -> None:
    """Eight processes that all expect v1 make one move."""
    move(versions, 1)
    code = """
import sys
from mvc import Conflict, ModelRegistry
try:
    ModelRegistry(sys.argv[1]).tag("net@v" + sys.argv[2], "prod", expect="v1")
except Conflict:
    print("lost")
else:
    print("won")
"""
    started = [python(code, versions.folder, 2 + number % 4) for number in range(8)]
    results = [finished(process).strip() for process in started]
    assert sorted(results) == ["lost"] * 7 + ["won"]
    assert prod(versions) == f"v{2 + results.index('won') % 4}"


def test_moves_without_expectation_all_happen(versions: Project) -> None:
    """Threads that race for the next number each get one, and none is lost."""
    with ThreadPoolExecutor(8) as threads:
        list(
            threads.map(
                lambda number: versions.registry().tag(f"net@v{number % 5 + 1}", f"t{number}"),
                range(24),
            )
        )
    assert len(versions.registry().family("net").tags) == 24
    assert versions.registry().manifest.event_numbers("net") == list(range(1, 25))


def test_event_times_never_go_backwards(versions: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set back does not reorder what happened."""
    move(versions, 1)
    first = versions.registry().history("net@prod")[0].created
    past = sealed.timestamp(datetime(2001, 1, 1, tzinfo=timezone.utc))
    monkeypatch.setattr(changes, "now", lambda: past)
    move(versions, 2)
    assert versions.registry().history("net@prod")[0].created == first
    assert prod(versions) == "v2"


@pytest.mark.parametrize("ref", ["net", "net@v1", "net@latest", "net@prod~1", "net@prod@{1}"])
def test_what_is_no_tag_cannot_be_rolled_back_or_deleted(versions: Project, ref: str) -> None:
    """History, rollback and deletion take ``family@tag`` and nothing else."""
    move(versions, 1)
    registry = versions.registry()
    calls: list[Any] = [registry.rollback, registry.delete_tag, registry.history]
    for call in calls:
        with pytest.raises(UsageError, match="does not name a tag"):
            call(ref)


def test_a_tag_alone_is_told_with_its_family(versions: Project) -> None:
    """Whoever leaves the family out is told the whole ref, of each family with such a tag."""
    move(versions, 1)
    versions.add(b"other", "other", tags=["Prod"])
    registry = versions.registry()
    asked: list[Any] = [
        registry.show, registry.path, registry.rollback, registry.delete_tag, registry.history,
    ]  # fmt: skip
    for ask in asked:
        with pytest.raises(MvcError) as told:
            ask("prod")
        assert told.value.hint == "did you mean 'net@prod' or 'other@prod'?"
    with pytest.raises(UsageError) as unknown:
        registry.rollback("stage")
    assert "mvc list shows all families" in str(unknown.value.hint)
    with pytest.raises(UsageError) as headless:
        registry.show("@prod")
    assert headless.value.hint == "write FAMILY@prod"


def test_an_unknown_tag_suggests_what_there_is(versions: Project) -> None:
    """History, rollback and deletion of no tag name the tag that is like it."""
    move(versions, 1)
    registry = versions.registry()
    calls: list[Any] = [registry.rollback, registry.delete_tag, registry.history]
    for call in calls:
        with pytest.raises(NotFound, match="did you mean 'net@prod'"):
            call("net@pord")


def test_rollback_warns_where_bytes_are_missing(project: Project) -> None:
    """The tag goes back all the same; whether the store lacks a pack, or is away."""
    project.add(noise(MIB, 1))
    others = project.packs
    project.add(noise(MIB, 2))
    (pack,) = (path for path in project.packs if path not in others)
    project.add(noise(MIB, 3))
    move(project, 1, 2, 3)
    pack.unlink()
    with pytest.warns(StoreWarning, match="net/v2 cannot be checked out"):
        assert not project.registry().rollback("net@prod").present
    assert project.registry().family("net").tags == {"prod": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert project.registry().rollback("net@prod").present
    move(project, 3)
    shutil.rmtree(project.mvc / "store")
    with pytest.warns(StoreWarning, match="store"):
        assert not project.registry().rollback("net@prod").present
    assert project.registry().family("net").tags == {"prod": 1}
