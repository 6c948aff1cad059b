"""What a family's records and events add up to, and the file that remembers it."""

from __future__ import annotations

import itertools
import os
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvc import Damaged, MvcError, MvcWarning, NotFound, StoreWarning, fileio, lines
from mvc.digest import digest_of
from mvc.registry import event as events
from mvc.registry import family as families
from mvc.registry import record as records
from mvc.registry.event import BestRule, Change, Event, Policy, Standing, Tagged
from mvc.registry.family import Family, Rule
from mvc.registry.manifest import Manifest
from mvc.registry.record import Artifact, Record
from tests.support.registry_builders import Project, new_project, rewrite

TIME = "2026-11-23T05:12:09.123456Z"
_unique = itertools.count()


class Line:
    """A family's manifest, changed as other processes and other git branches would."""

    def __init__(self, project: Project) -> None:
        self.folder = project.mvc / "manifest"
        self.versions = self.folder / "net" / "versions"
        self.events = self.folder / "net" / "events"
        self.file = self.folder / "net" / "family.yaml"
        self.old = [b"", b"garbage", b'mvc: 1\nfamily: "net"\n']
        for folder in (self.versions, self.events):
            folder.mkdir(parents=True)

    @property
    def manifest(self) -> Manifest:
        return Manifest(self.folder)

    def load(self) -> Family:
        return families.load(self.manifest, "net")

    def compute(self) -> Family:
        manifest = self.manifest
        numbers, changes = manifest.numbers("net"), manifest.event_numbers("net")
        return families.compute(manifest, "net", numbers, changes)

    def add(self, metrics: dict[str, float | int | str]) -> int:
        number = next(_unique)
        artifact = Artifact("file", "m", digest_of(b"%d" % number), number)
        record = Record("net", f"{number:032x}", TIME, artifact, metrics=metrics)
        return fileio.run(self.manifest.create_version("net", records.encode(record)))

    def change(self, change: Change) -> None:
        taken = self.manifest.event_numbers("net")
        number = max(taken, default=0) + 1
        if not isinstance(change, (BestRule, Policy)) and change.version is not None:
            with suppress(MvcError):
                record = self.manifest.record("net", change.version)[1]
                change = replace(change, record=record)
        event = Event("net", f"{next(_unique):032x}", TIME, change, "", None, number)
        fileio.run(self.manifest.create_event("net", event))

    def settle(self) -> None:
        """Let the last change lie in the past, so that what is noted now is believed."""
        moment = time.time_ns() - 60_000_000_000 + next(_unique) * 1000
        for folder in (self.versions, self.events):
            os.utime(folder, ns=(moment, moment))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.load()


metrics = st.dictionaries(
    st.sampled_from(["x", "y", "acc", "val_loss"]),
    st.sampled_from([0.5, -1, 0, 0.0, 2.0, 10**309, "nan", "inf", "-inf"]),
    max_size=2,
)
some = st.integers(1, 6)
DIGEST = digest_of(b"")
steps = st.one_of(
    st.tuples(st.just("add"), metrics),
    st.tuples(
        st.just("change"),
        st.one_of(
            st.builds(Tagged, st.sampled_from(["prod", "PROD", "b"]), some, st.just(DIGEST)),
            st.builds(Tagged, st.sampled_from(["prod", "b"]), st.none(), st.none()),
            st.builds(
                BestRule, st.sampled_from(["x", "acc", "zz"]), st.sampled_from(["max", "min"])
            ),
            st.builds(Standing, st.sampled_from(events.STANDINGS), some, st.just(DIGEST)),
            st.sampled_from([Policy(), Policy(last=3, grace=0), Policy(tagged=True)]),
        ),
    ),
    st.tuples(st.just("lose version"), some),
    st.tuples(st.just("lose event"), some),
    st.tuples(st.just("other branch"), metrics),
    st.tuples(st.sampled_from(["damage", "mend"]), some),
    st.tuples(st.sampled_from(["load", "settle", "forget", "stale"]), st.integers(0, 9)),
)


def take(line: Line, step: str, value: Any) -> None:
    last = max(line.manifest.numbers("net"), default=0)
    if step == "add":
        line.add(value)
    elif step == "change":
        line.change(value)
    elif step == "lose version":
        fileio.remove(line.versions / f"v{value}.yaml")
    elif step == "lose event":
        fileio.remove(line.events / f"{value:08d}.yaml")
    elif step == "other branch" and last:
        fileio.remove(line.versions / f"v{last}.yaml")
        line.add(value)
    elif step == "damage" and value <= last and (line.versions / f"v{value}.yaml").exists():
        # What was worked out before the damage may be better than what can be now.
        line.old = [b""]
        fileio.remove(line.file)
        rewrite(line.versions / f"v{value}.yaml", lambda data: data.replace(b"mvc", b"MVC"))
    elif step == "mend" and (line.versions / f"v{value}.yaml").exists():
        rewrite(line.versions / f"v{value}.yaml", lambda data: data.replace(b"MVC", b"mvc"))
    elif step == "settle" and last:
        line.settle()
    elif step == "load" and last:
        line.load()
    elif step == "forget":
        fileio.remove(line.file)
    elif step == "stale":
        if line.file.exists():
            line.old.append(line.file.read_bytes())
        line.file.write_bytes(line.old[value % len(line.old)])


@settings(max_examples=150)
@given(st.lists(steps, max_size=12))
def test_what_is_remembered_is_what_would_be_worked_out(taken: list[tuple[str, Any]]) -> None:
    """After any changes, by anyone, ``load`` answers what all records and events add up to."""
    with new_project() as project, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        line = Line(project)
        line.add({})
        for step, value in taken:
            take(line, step, value)
            if not line.manifest.numbers("net"):
                line.add({"acc": 1})
            assert line.load() == line.compute(), step


def test_a_settled_answer_is_believed_without_a_listing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While both folders are as they were, nothing but ``family.yaml`` is read."""
    line = Line(project)
    line.add({"acc": 0.5})
    line.settle()
    expected = line.load()
    forbid(monkeypatch, "numbers", "event_numbers", "record", "event")
    assert line.load() == expected


def test_only_what_is_new_is_read(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more version costs the reading of two records, however many there are."""
    line = Line(project)
    for number in range(20):
        line.add({"acc": number})
    line.settle()
    line.add({"acc": 30})
    read: list[int] = []
    real = Manifest.record

    def counted(self: Manifest, family: str, number: int) -> Any:
        read.append(number)
        return real(self, family, number)

    monkeypatch.setattr(Manifest, "record", counted)
    assert line.load().best == (21, 30)
    assert set(read) == {20, 21}


def test_a_version_made_in_the_same_tick_as_the_look_is_seen(project: Project) -> None:
    """An answer noted while the folder may still change unseen is not believed."""
    line = Line(project)
    line.add({"acc": 0.5})
    assert line.load().latest == 1
    stamps = os.stat(line.versions)
    line.add({"acc": 0.9})
    os.utime(line.versions, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    assert line.load().latest == 2
    assert line.load().best == (2, 0.9)


def test_an_answer_noted_under_a_clock_ahead_is_not_believed(project: Project) -> None:
    """A folder whose time of change lies in the future may change again at that time."""
    line = Line(project)
    line.add({"acc": 0.5})
    future = time.time_ns() + 3_600_000_000_000
    os.utime(line.versions, ns=(future, future))
    line.load()
    line.add({"acc": 0.9})
    os.utime(line.versions, ns=(future, future))
    assert line.load().latest == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"\xff\xfe",
        lambda data: data.replace(b'"v2"', b'"v1"'),
        lambda data: data[:-20],
        lambda data: b"mvc: 1\n" + data,
        lambda data: data * 2,
    ],
)
def test_a_damaged_family_file_is_worked_out_anew(
    project: Project, damage: Callable[[bytes], bytes]
) -> None:
    """Whatever stands in ``family.yaml``, the answers are those of records and events."""
    line = Line(project)
    line.add({"acc": 0.5})
    line.add({"acc": 0.9})
    line.settle()
    expected, whole = line.load(), line.file.read_bytes()
    rewrite(line.file, damage)
    assert line.load() == expected
    assert line.load() == expected
    assert line.file.read_bytes() == whole


@pytest.mark.parametrize(
    "changed",
    [
        {"last": []},
        {"best": 0},
        {"best": "v2", "value": "much"},
        {"best": "v2", "value": None},
        {"rule": []},
        {"rule": {"metric": 1, "mode": "max", "source": "event"}},
        {"family": "../other"},
        {"tags": {"prod": None}},
        {"stamps": 0},
    ],
    ids=str,
)
def test_a_sealed_family_file_that_makes_no_sense_is_worked_out_anew(
    project: Project, changed: dict[str, lines.Value]
) -> None:
    """A seal only says that nothing happened to the file since; what is in it is looked at."""
    line = Line(project)
    line.add({"acc": 0.5})
    line.add({"acc": 0.9})
    line.settle()
    expected = line.load()
    values = lines.loads(lines.unseal(line.file.read_bytes()))
    rewrite(line.file, lambda data: lines.seal(lines.dumps({**values, **changed})))
    assert line.load() == expected


def test_another_git_branch_with_the_same_numbers_is_noticed(project: Project) -> None:
    """Where git put another record or event under a known number, ``best`` is worked out anew."""
    line = Line(project)
    line.add({"acc": 0.5})
    line.add({"acc": 0.9})
    line.change(Tagged("prod", 2, DIGEST))
    line.settle()
    assert (line.load().best, line.load().tags) == ((2, 0.9), {"prod": 2})
    (line.versions / "v2.yaml").unlink()
    line.add({"acc": 0.1})
    assert line.load().best == (1, 0.5)
    line.settle()
    (line.events / "00000001.yaml").unlink()
    line.change(Tagged("test", 1, DIGEST))
    assert line.load().tags == {"test": 1}


def test_a_version_withdrawn_before_it_came_here_is_not_latest(project: Project) -> None:
    """Where git brought the withdrawal first, the version counts as withdrawn once it is there."""
    line = Line(project)
    line.add({"acc": 0.5})
    line.add({"acc": 0.9})
    line.change(Standing("withdrawn", 2, DIGEST))
    record, aside = line.versions / "v2.yaml", line.versions / "aside"
    record.rename(aside)
    line.settle()
    assert (line.load().latest, line.load().best) == (1, (1, 0.5))
    aside.rename(record)
    assert (line.load().latest, line.load().best) == (1, (1, 0.5))


def test_another_version_lost_than_before_is_noticed(project: Project) -> None:
    """As many versions as before need not be the same ones."""
    line = Line(project)
    for accuracy in (0.9, 0.8, 0.7):
        line.add({"acc": accuracy})
    second = line.versions / "v2.yaml"
    data = second.read_bytes()
    second.unlink()
    line.settle()
    assert line.load().best == (1, 0.9)
    second.write_bytes(data)
    (line.versions / "v1.yaml").unlink()
    assert line.load() == line.compute()
    assert line.load().best == (2, 0.8)


def test_an_unreadable_record_is_named_and_forgotten_once_mended(project: Project) -> None:
    """A damaged record is passed over with a warning, each time until it is put back in place."""
    for accuracy in (0.5, 0.9, 0.7):
        project.add(str(accuracy).encode(), metrics={"acc": accuracy})
    whole = project.record(2).read_bytes()
    rewrite(project.record(2), lambda data: data.replace(b"0.9", b"0.8"))
    project.family_file().unlink()
    for _ in range(2):
        with pytest.warns(StoreWarning, match="record of net/v2 cannot be trusted"):
            known = project.registry().family("net")
        assert (known.best, known.latest, known.count) == ((3, 0.7), 3, 3)
    rewrite(project.record(2), lambda _: whole)
    assert project.registry().family("net").best == (2, 0.9)


def test_a_damaged_event_is_an_error_that_names_the_file(project: Project) -> None:
    """No answer is given on events of which one cannot be trusted."""
    project.add(b"1", tags=["prod"])
    rewrite(project.event(1), lambda data: data.replace(b"prod", b"prob"))
    project.family_file().unlink()
    with pytest.raises(Damaged, match="event 1 of 'net'") as raised:
        project.registry().family("net")
    assert str(project.event(1)) in (raised.value.hint or "")


def found(*values: Any) -> list[tuple[int, Any]]:
    return list(enumerate(values, 1))


@pytest.mark.parametrize(
    ("values", "mode", "best"),
    [
        ((0.5, 0.9, 0.7), "max", (2, 0.9)),
        ((0.5, 0.9, 0.7), "min", (1, 0.5)),
        ((0.5, 0.9, 0.9), "max", (2, 0.9)),
        ((1, 1.0, True), "max", (1, 1)),
        (("nan", 0.1, "inf"), "max", (2, 0.1)),
        (("-inf", 0.1, "nan"), "min", (2, 0.1)),
        (("nan", None, "inf"), "max", None),
        ((), "max", None),
        ((0.5, 10**309), "max", (2, 10**309)),
        ((0.0, -0.0), "min", (1, 0.0)),
    ],
)
def test_the_best_value_wins_and_the_lowest_number_on_a_tie(
    values: tuple[Any, ...], mode: str, best: tuple[int, float] | None
) -> None:
    """Only finite values compete; of equals the first version is best."""
    assert families.best_of(found(*values), Rule("acc", mode, "event"), ()) == best


def test_withdrawn_versions_are_never_best() -> None:
    """A version that is withdrawn does not compete."""
    rule = Rule("acc", "max", "event")
    assert families.best_of(found(0.9, 0.5), rule, {1}) == (2, 0.5)


def test_the_first_metric_with_a_known_direction_makes_the_rule(project: Project) -> None:
    """A known metric replaces a guess; after it no other does; ``mvc best`` overrides both."""
    with pytest.warns(MvcWarning, match="'best' now means the highest 'sharpness'"):
        project.add(b"1", metrics={"sharpness": 5})
    assert project.registry().family("net").rule == Rule("sharpness", "max", "guessed")
    project.add(b"2", metrics={"sharpness": 9, "val_loss": 0.5})
    assert project.registry().family("net").rule == Rule("val_loss", "min", "known")
    project.add(b"3", metrics={"acc": 0.9, "val_loss": 0.4})
    registry = project.registry()
    assert registry.family("net").rule == Rule("val_loss", "min", "known")
    rule, best = registry.best("net")
    assert (rule, best and best.id) == (Rule("val_loss", "min", "known"), "net/v3")
    rule, best = registry.best("net", "sharpness", "max")
    assert (rule, best and best.id) == (Rule("sharpness", "max", "event"), "net/v2")
    assert project.registry().resolve("net@best").id == "net/v2"
    assert project.registry().resolve("net@best.val_loss").id == "net/v3"


def test_a_metric_that_no_version_has_does_not_become_the_rule(project: Project) -> None:
    """A slip would leave the family without a best version; the hint says what was meant."""
    project.add(b"1")
    registry = project.registry()
    assert registry.best("net", "loss", "min") == (Rule("loss", "min", "event"), None)  # to come
    project.add(b"2", metrics={"accuracy": 0.5})
    for metric, hint in [("acuracy", "did you mean 'accuracy'?"), ("f2", "PATH -m f2=NUMBER")]:
        with pytest.raises(NotFound, match=f"no version of 'net' has a metric '{metric}'") as error:
            registry.best("net", metric, "max")
        assert hint in str(error.value.hint)
    assert registry.family("net").rule == Rule("loss", "min", "event")
    project.add(b"3", metrics={"f2": 0.5})
    assert registry.best("net", "f2", "max")[0] == Rule("f2", "max", "event")


def test_a_family_without_metrics_has_no_best(project: Project) -> None:
    """No rule and no best version is an answer, not an error."""
    project.add(b"1")
    assert project.registry().best("net") == (None, None)


def test_where_nothing_can_be_noted_the_answers_are_the_same(project: Project) -> None:
    """A ``family.yaml`` that cannot be written costs time and nothing else."""
    project.add(b"1", metrics={"acc": 1})
    project.family_file().unlink()
    project.family_file().mkdir()
    (project.family_file() / "x").touch()
    assert project.registry().family("net").best == (1, 1)
    assert project.registry().list("net") == ["v1"]


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def forbidden(*_: object) -> None:
        pytest.fail("this was to be answered from family.yaml")

    for name in names:
        monkeypatch.setattr(Manifest, name, forbidden)


def test_foreign_names_in_the_manifest_are_passed_over(project: Project, tmp_path: Path) -> None:
    """Leftovers and other files beside versions and events mean nothing."""
    project.add(b"1", tags=["prod"])
    for name in ("v2.yaml.bak", "v0.yaml", "v02.yaml", "README", ".mvc-new-1", "V2.yaml"):
        (project.record(1).parent / name).write_text("x")
    (project.event(1).parent / "2.yaml").write_text("x")
    (project.mvc / "manifest" / ".gitattributes").write_text("")
    (project.mvc / "manifest" / "empty" / "versions").mkdir(parents=True)
    registry = project.registry()
    assert (registry.list(), registry.list("net")) == (["net"], ["v1"])
    assert registry.fsck("full").ok
