"""Policies: which versions are kept, and what becomes of the others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from mvc import (
    Damaged,
    ModelRegistry,
    MvcWarning,
    NotFound,
    StoreWarning,
    UnreadWarning,
    Unsupported,
    UsageError,
)
from mvc.fileio import run
from mvc.registry import changes, retention
from mvc.registry.care.gc import Collected
from mvc.registry.event import Policy
from mvc.registry.intake import intake
from mvc.registry.sealed import parse_time, timestamp
from mvc.store.lock import maintenance
from tests.registry.test_git import clone, commit, git
from tests.registry.test_repack import small_series
from tests.support.gc_builders import DAY, all_made_old, dated, everything, on_store_of
from tests.support.registry_builders import Project, flip, noise, resealed, rewrite

HOUR = timedelta(hours=1)
ACCURACIES = (0.5, 0.9, 0.7, 0.9, 0.6, 0.1)


@pytest.fixture
def six(project: Project) -> Project:
    """Six versions of 3 kB; the second is best, and the fourth as good."""
    for number, accuracy in enumerate(ACCURACIES, 1):
        project.add(noise(3000, number), metrics={"acc": accuracy})
    return project


def keep(project: Project, name: str = "net", **rules: Any) -> list[str]:
    """Set a policy as a new process would, and return what it says it would withdraw."""
    (kept,) = project.registry().keep(name, **rules)
    return [going.id for going in kept.withdraws]


@contextmanager
def unwarned() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def live(project: Project, name: str = "net") -> list[str]:
    return project.registry().list(name)


def gc(project: Project, **options: Any) -> Collected:
    return project.registry().gc(**options)


RULES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "the newest": ({"last": 2}, ["v5", "v6"]),
    "more than there are": ({"last": 99}, ["v1", "v2", "v3", "v4", "v5", "v6"]),
    "the best, and always the newest": ({"best": 1}, ["v2", "v6"]),
    "of equal ones the earlier, then the other": ({"best": 2}, ["v2", "v4", "v6"]),
    "what any of several names": ({"best": 3, "last": 2}, ["v2", "v3", "v4", "v5", "v6"]),
    "only the newest, where no tag is": ({"tagged": True}, ["v6"]),
    "the young": ({"younger": "1h"}, ["v1", "v2", "v3", "v4", "v5", "v6"]),
}


@pytest.mark.parametrize("named", RULES)
def test_each_rule_names_what_is_kept(six: Project, named: str) -> None:
    """Whatever any rule names is kept, and gc withdraws exactly what was said to be."""
    rules, expected = RULES[named]
    foreseen = keep(six, **rules)
    assert live(six) == ["v1", "v2", "v3", "v4", "v5", "v6"], "setting it withdraws nothing"
    done = gc(six)
    assert live(six) == expected
    assert [item.name for item in done.withdrawn] == foreseen
    assert sorted(foreseen + [f"net/{v}" for v in expected]) == [f"net/v{n}" for n in range(1, 7)]
    assert gc(six).withdrawn == ()


def test_the_lowest_is_best_where_low_is_good(project: Project) -> None:
    """``best`` follows the metric and direction of ``mvc best``; what is not finite is none."""
    for number, loss in enumerate((0.3, float("nan"), 0.1, 0.2, 10**350, 0.5), 1):
        with unwarned():
            project.add(noise(100, number), metrics={"loss": loss})
    project.add(noise(100, 9))
    keep(project, best=2)
    gc(project)
    assert live(project) == ["v3", "v4", "v7"]


def test_the_age_is_that_of_the_record(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """``younger`` counts from when a version was made."""
    for number, age in enumerate((5 * DAY, 3 * DAY, timedelta(0)), 1):
        made = timestamp(datetime.now(timezone.utc) - age)
        monkeypatch.setattr(intake, "now", lambda made=made: made)
        project.add(noise(100, number), metrics={"acc": 0.5})
    assert keep(project, younger="2d") == ["net/v1", "net/v2"]
    assert keep(project, younger="4d") == ["net/v1"]
    assert keep(project, younger="6d") == []
    assert keep(project, younger=timedelta(hours=49), best=1) == ["net/v2"]


def test_what_bears_a_tag_is_kept(six: Project) -> None:
    """With any rule: ``rm`` would refuse it, too. When the tag moves on, it may go."""
    six.registry().tag("net@v1", "prod")
    assert "net/v1" not in keep(six, last=1)
    gc(six)
    assert live(six) == ["v1", "v6"]
    six.registry().tag("net@v6", "prod")
    assert [item.name for item in gc(six).withdrawn] == ["net/v1"]


def test_a_restored_version_is_not_withdrawn_again(six: Project) -> None:
    """Whether the policy had withdrawn it or somebody else, until ``rm``; it counts like any."""
    six.registry().rm("net@v1")
    six.registry().restore("net@v1")
    keep(six, last=1)
    gc(six)
    assert live(six) == ["v1", "v6"]
    six.registry().restore("net@v3")
    assert gc(six).withdrawn == ()
    keep(six, last=2)
    assert live(six) == ["v1", "v3", "v6"]
    six.registry().rm("net@v3")
    assert gc(six).withdrawn == ()
    assert live(six) == ["v1", "v6"]


def test_withdrawn_versions_do_not_count(six: Project) -> None:
    """Where the newest and the best were withdrawn, the next take their place."""
    six.registry().rm("net@v6")
    six.registry().rm("net@v2")
    keep(six, last=1, best=1)
    gc(six)
    assert live(six) == ["v4", "v5"]


def test_the_withdrawal_is_an_ordinary_one(six: Project) -> None:
    """It says by whom and why, is taken back by ``restore``, and the bytes are those of before."""
    keep(six, last=5)
    gc(six)
    with pytest.raises(NotFound, match=r"withdrawn on .* by anna \(mvc keep: last 5\)") as e:
        six.registry().resolve("net@v1")
    assert e.value.hint == "mvc restore net@v1 takes it back"
    assert six.registry().log("net", withdrawn=True)[-1].withdrawn
    six.registry().restore("net@v1")
    assert six.bytes_of("net@v1") == noise(3000, 1)


def test_why_it_went_is_known_when_its_bytes_have_gone(six: Project) -> None:
    """Of what is released, too: the policy, or what ``rm`` was told; and where it is told."""
    six.registry().rm("net@v2", message="wrong data")
    keep(six, last=4, grace="0")
    gc(six, grace="0")
    for number, why in ((1, "mvc keep: last 4"), (2, "wrong data")):
        said = rf"released on .* by anna \({why}\)"
        with pytest.raises(NotFound, match=said) as raised:
            six.registry().resolve(f"net@v{number}")
        assert "mvc log net --withdrawn" in str(raised.value.hint)


def test_the_plan_is_what_is_done(six: Project) -> None:
    """A dry run names the same versions and bytes, and changes nothing; so does a dry look."""
    before = everything(six)
    (looked,) = six.registry().keep("net", last=4, grace="0", dry_run=True)
    assert everything(six) == before
    keep(six, last=4, grace="0")
    before = everything(six)
    told = gc(six, dry_run=True)
    assert everything(six) == before
    done = gc(six)
    assert (told.withdrawn, told.items, told.freed) == (done.withdrawn, done.items, done.freed)
    assert [(going.id, going.bytes) for going in looked.withdraws] == [
        (item.name, item.bytes) for item in done.withdrawn
    ]
    assert sum(item.bytes for item in done.withdrawn) == done.freed > 6000


def test_with_grace_0_one_gc_withdraws_and_frees(six: Project) -> None:
    """What the policy keeps is whole; the others are released, their bytes gone."""
    keep(six, last=1, best=1, grace="0")
    done = gc(six)
    assert done.freed > 12_000
    assert done.remaining == 0
    assert six.registry().presence.store.size() < 8000
    assert [six.bytes_of(f"net@v{n}") for n in (2, 6)] == [noise(3000, n) for n in (2, 6)]
    with pytest.raises(NotFound, match="released"):
        six.registry().restore("net@v1")
    assert six.registry().fsck("full").ok


def test_bytes_stay_for_the_grace_time(six: Project) -> None:
    """Until it has passed all can be restored; then their bytes go, also out of young packs."""
    keep(six, last=1, grace="1h")
    assert gc(six).freed == 0
    for number in range(2, 7):
        dated(six, number, timedelta(minutes=59))
    held = gc(six)
    assert (held.freed, len(held.later)) == (0, 5)
    assert "UTC" in held.later[0].why, "a day is too coarse"
    six.registry().restore("net@v2")
    for number in (2, 4, 5, 6):
        dated(six, number, HOUR)
    all_made_old(six, HOUR)
    assert gc(six).freed > 12_000
    assert live(six) == ["v2", "v6"]
    assert six.bytes_of("net@v2") == noise(3000, 2)


def test_a_version_keeps_the_time_that_it_was_given(six: Project) -> None:
    """A policy set later neither shortens nor lengthens it; ``--grace`` of gc overrides all."""
    six.registry().rm("net@v1")
    keep(six, last=99, grace="1h")
    six.registry().rm("net@v2")
    six.registry().keep("net", none=True)
    six.registry().rm("net@v3")
    keep(six, last=99, grace="30d")
    six.registry().rm("net@v4")
    for number in (1, 3, 5, 7):
        dated(six, number, 20 * DAY)
    all_made_old(six, 100 * DAY)
    told = gc(six, dry_run=True)
    assert [item.name for item in told.items if item.kind == "version"] == [
        "net/v1", "net/v2", "net/v3",
    ]  # fmt: skip
    for number in (1, 3, 5, 7):
        dated(six, number, 2 * HOUR)
    six.family_file().unlink()
    told = gc(six, dry_run=True)
    assert [item.name for item in told.items] == ["net/v2"]
    ends = six.registry().du().freed_from
    event = six.registry().manifest.event("net", 3)
    assert ends == timestamp(parse_time(event.created) + HOUR)
    assert len(gc(six, grace="0", dry_run=True).items) == 4


def test_none_keeps_all_again(six: Project) -> None:
    """Without a policy nothing is withdrawn; what was stays so, to be restored."""
    keep(six, last=4)
    gc(six)
    assert keep(six, none=True) == []
    assert gc(six).withdrawn == ()
    assert live(six) == ["v3", "v4", "v5", "v6"]
    assert six.registry().keep() == []


def test_a_policy_replaces_the_one_before(six: Project) -> None:
    """All of it; what is the same again is no event."""
    keep(six, last=1, after_add=True)
    keep(six, best=2)
    keep(six, best=2)
    (kept,) = six.registry().keep("net")
    assert kept.policy == Policy(best=2)
    assert six.registry().manifest.event_numbers("net") == [1, 2]


@pytest.mark.parametrize("forgotten", [True, False])
def test_the_policy_is_known_with_and_without_family_yaml(six: Project, forgotten: bool) -> None:
    """It is worked out from the events, or believed from the file, and is the same."""
    keep(six, last=2, younger="1s", grace="2d", after_add=True)
    six.registry().family("net")
    if forgotten:
        six.family_file().unlink()
    expected = Policy(last=2, younger=1, grace=172_800, after_add=True)
    assert six.registry().family("net").keep == expected


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no rule": ({"grace": "1h"}, "no rule"),
    "after add alone": ({"after_add": True}, "no rule"),
    "none and a rule": ({"none": True, "last": 1}, "none beside"),
    "no family": ({"name": None, "last": 1}, "which family"),
    "zero": ({"last": 0}, "last=0"),
    "a truth": ({"best": True}, "is True, and not a whole number"),
    "a number for a time": ({"younger": 30}, "younger=30"),
    "no time": ({"younger": "0"}, "younger than 0"),
    "a word for a time": ({"last": 1, "grace": "soon"}, "soon"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_policy_is_refused(six: Project, wrong: str) -> None:
    """Before anything is written, with what to write instead."""
    given, said = WRONG[wrong]
    before = everything(six)
    with pytest.raises(UsageError, match=said) as raised:
        six.registry().keep(**{"name": "net", **given})
    assert raised.value.hint
    assert everything(six) == before


def test_best_must_be_known(project: Project) -> None:
    """Where a direction would be guessed, or there is no metric, ``best`` is refused."""
    project.add(b"1")
    with pytest.raises(UsageError, match="has a metric") as raised:
        keep(project, best=1)
    assert raised.value.hint == "mvc best net METRIC --max, or --min"
    with pytest.warns(MvcWarning, match="sharpness"):
        project.add(b"2", metrics={"sharpness": 2})
    with pytest.raises(UsageError, match="'sharpness'") as raised:
        keep(project, best=1)
    assert raised.value.hint == "mvc best net sharpness --max, or --min"
    project.registry().best("net", "sharpness", "max")
    assert keep(project, best=1) == ["net/v1"]


def test_where_nobody_can_tell_what_is_best_nothing_goes(project: Project) -> None:
    """No version with a finite value: then the rule cannot be meant so, and a warning says it."""
    for number in range(3):
        with pytest.warns(MvcWarning, match="never best"):
            project.add(noise(100, number), metrics={"acc": float("nan")})
    with pytest.warns(StoreWarning, match="withdraws nothing: no version has a finite 'acc'"):
        keep(project, best=1)
    with pytest.warns(StoreWarning, match="withdraws nothing"):
        assert gc(project).withdrawn == ()
    assert live(project) == ["v1", "v2", "v3"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda six: flip(six.record(3), 40),
        lambda six: flip(six.event(1), 40),
        lambda six: six.event(1).rename(six.event(3)),
        lambda six: flip(next((six.mvc / "store/roots").glob("*/*.yaml")), 40),
    ],
    ids=["record", "event", "a missing event", "root"],
)
def test_if_something_cannot_be_read_nothing_is_withdrawn(
    six: Project, spoil: Callable[[Project], object]
) -> None:
    """Nor in any other family."""
    six.add(noise(100), family="other")
    six.add(noise(200), family="other")
    keep(six, last=1, grace="0")
    keep(six, "other", last=1, grace="0")
    spoil(six)
    before = everything(six)
    with pytest.raises(Damaged), unwarned():
        gc(six)
    assert everything(six) == before


def test_a_tag_that_comes_first_keeps_its_version(
    six: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each withdrawal is decided on all that happened before it, also since the plan."""
    keep(six, last=1, grace="0")
    real = changes.record_change
    others: Iterator[Callable[[ModelRegistry], object]] = iter(
        [
            lambda registry: registry.tag("net@v2", "prod"),
            lambda registry: registry.rm("net@v3"),
            lambda registry: registry.restore("net@v3"),
        ]
    )

    def beside(*arguments: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(changes, "record_change", real)
            for other in others:
                other(six.registry())
        return (yield from real(*arguments))

    monkeypatch.setattr(changes, "record_change", beside)
    done = gc(six)
    assert live(six) == ["v2", "v3", "v6"]
    assert [item.name for item in done.withdrawn] == ["net/v1", "net/v4", "net/v5"]
    assert [item.name for item in done.items if item.kind == "version"] == [
        "net/v1", "net/v4", "net/v5",
    ]  # fmt: skip
    assert six.bytes_of("net@v3") == noise(3000, 3)
    assert six.registry().fsck("full").ok


def test_another_policy_that_comes_first_ends_it(
    six: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is withdrawn is what the policy says that stands then, with its reason."""
    keep(six, last=1)
    real = changes.record_change
    more = iter([1])

    def beside(*arguments: Any) -> Any:
        for _ in more:
            with monkeypatch.context() as patch:
                patch.setattr(changes, "record_change", real)
                keep(six, last=5)
        return (yield from real(*arguments))

    monkeypatch.setattr(changes, "record_change", beside)
    assert gc(six).withdrawn == ()
    assert [item.name for item in gc(six).withdrawn] == ["net/v1"]


def test_two_gcs_withdraw_once(six: Project) -> None:
    """Of two who carry out the same plan each version is withdrawn by one."""
    keep(six, last=3)
    policy = six.registry().family("net").keep
    steps = [
        retention.withdraw_steps(six.registry().manifest, "net", policy, [1, 2, 3])
        for _ in range(2)
    ]
    while steps:
        for one in list(steps):
            if next(one, None) is None:
                steps.remove(one)
    assert six.registry().manifest.event_numbers("net") == [1, 2, 3, 4]
    assert live(six) == ["v4", "v5", "v6"]


def test_a_version_added_meanwhile_is_no_matter(six: Project) -> None:
    """The plan holds: what was not named stays unnamed, and the new one is the newest."""
    keep(six, last=2)
    policy = six.registry().family("net").keep
    steps = retention.withdraw_steps(six.registry().manifest, "net", policy, [1, 2, 3, 4])
    next(steps)
    six.add(noise(3000, 7))
    run(steps)
    assert live(six) == ["v5", "v6", "v7"]
    gc(six)
    assert live(six) == ["v6", "v7"]


def test_a_second_registry_on_the_store_keeps_its_own(six: Project, tmp_path: Path) -> None:
    """A policy is of one registry's family; what another needs of the bytes stays."""
    other = on_store_of(six, tmp_path / "other")
    for number in range(1, 4):
        other.add(noise(3000, number), metrics={"acc": 0.5})
    keep(six, last=1, grace="0")
    done = gc(six)
    assert live(other) == ["v1", "v2", "v3"]
    assert [other.bytes_of(f"net@v{n}") for n in (1, 2, 3)] == [noise(3000, n) for n in (1, 2, 3)]
    assert {item.name: item.bytes for item in done.withdrawn}["net/v1"] == 0
    assert gc(other).withdrawn == ()


def test_a_delta_base_goes_as_far_as_nobody_needs_it(project: Project) -> None:
    """What is kept over a version that is withdrawn stays whole."""
    series = small_series(4)
    for data in series:
        project.add(data, name="model.safetensors")
    keep(project, last=2, grace="0")
    gc(project)
    assert live(project) == ["v3", "v4"]
    assert [project.bytes_of(f"net@v{n}") for n in (3, 4)] == series[2:]
    assert project.registry().fsck("full").ok


def test_a_policy_goes_through_git(six: Project, tmp_path: Path) -> None:
    """A clone has it, says what it would withdraw without a store, and its gc does it."""
    git(six, "init", "-q")
    keep(six, last=2)
    six.registry().tag("net@v1", "prod")
    commit(six)
    cloned = clone(six, tmp_path / "clone")
    with pytest.warns(StoreWarning, match="how many bytes"):
        (kept,) = cloned.registry().keep()
    assert [(going.id, going.bytes) for going in kept.withdraws] == [
        ("net/v2", None), ("net/v3", None), ("net/v4", None),
    ]  # fmt: skip
    cloned.registry().init()
    with unwarned():
        assert [item.bytes for item in gc(cloned).withdrawn] == [0, 0, 0]
    assert live(cloned) == ["v1", "v5", "v6"]


def test_an_older_mvc_refuses_the_family_and_no_other(six: Project) -> None:
    """As with any kind of event that it does not know: it says so, and changes nothing."""
    six.add(noise(100), family="other")
    keep(six, last=1)
    rewrite(six.event(1), lambda data: resealed(data, event={"kind": "later", "last": 1}))
    six.family_file().unlink()
    before = everything(six)
    for call in (lambda: six.registry().resolve("net"), lambda: gc(six)):
        with pytest.raises(Unsupported, match="unknown kind: 'later'") as raised:
            call()
        assert "upgrade" in (raised.value.hint or "")
    assert six.registry().resolve("other").id == "other/v1"
    assert everything(six) == before


def test_after_add_the_policy_is_applied(project: Project) -> None:
    """Each add withdraws and frees what gc would; the store stays as small as the rules say."""
    project.add(noise(3000, 1), metrics={"acc": 0.9})
    keep(project, last=2, best=1, grace="0", after_add=True)
    for number in range(2, 8):
        project.add(noise(3000, number))
    added = project.registry().add("net", project.file(noise(3000, 8)), {"acc": 0.1})
    assert live(project) == ["v1", "v7", "v8"]
    (note,) = added.notes
    assert note.startswith("withdrawn as mvc keep says: net/v6; ")
    assert project.registry().presence.store.size() < 12_000
    assert project.registry().fsck("full").ok


@pytest.mark.parametrize("other", ["base", "run1"])
def test_before_a_training_the_refusal_says_what_to_do(project: Project, other: str) -> None:
    """Without a version there is no policy; with the untrained model it holds from the start."""
    project.add(b"another", other)
    registry = project.registry()
    with pytest.raises(NotFound, match="no family 'run2'") as raised:
        registry.keep("run2", last=2)
    hint = "a policy is set once there is a version, and the untrained model is one: mvc add run2"
    assert hint in str(raised.value.hint)
    assert ("did you mean 'run1'?" in str(raised.value.hint)) == (other == "run1")
    project.add(b"untrained", "run2")
    registry.best("run2", "loss", "min")
    with pytest.warns(StoreWarning, match="withdraws nothing: no version has a finite 'loss'"):
        registry.keep("run2", last=1, best=1, grace="0", after_add=True)
    for number, loss in enumerate([0.5, 0.3, 0.4]):
        project.add(noise(3000, number), "run2", metrics={"loss": loss})
        events = registry.manifest.event_numbers("run2")
        registry.keep("run2", last=1, best=1, grace="0", after_add=True)  # in each round of a loop
        assert registry.manifest.event_numbers("run2") == events
    assert live(project, "run2") == ["v3", "v4"]


def test_what_cannot_be_done_after_add_is_a_warning(six: Project) -> None:
    """The version is there whatever happens; the next gc does the rest."""
    six.add(noise(100), family="other")
    keep(six, last=1, after_add=True)
    whole = six.record(1, "other").read_bytes()
    flip(six.record(1, "other"), -9)
    text = "net/v7 is registered, but .* was not done: .*other/v1"
    with pytest.warns(UnreadWarning), pytest.warns(MvcWarning, match=text):
        assert six.add(noise(3000, 7)) == "net/v7"
    assert len(live(six)) == 7
    rewrite(six.record(1, "other"), lambda _: whole)
    gc(six)
    assert live(six) == ["v7"]


@pytest.mark.filterwarnings("error")
def test_after_add_another_gc_is_left_to_its_work(six: Project) -> None:
    """Nothing is said of it, and the next add does what it left."""
    keep(six, last=1, after_add=True)
    with maintenance(six.mvc / "store"):
        assert six.add(noise(3000, 7)) == "net/v7"
    assert len(live(six)) == 7
    six.add(noise(3000, 8))
    assert live(six) == ["v8"]
