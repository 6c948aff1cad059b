"""The query index: it changes how much is read, and never an answer."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mvc import environment, fileio
from mvc.errors import MvcWarning, NotFound, StoreWarning, UsageError
from mvc.registry import record as records
from mvc.registry.sealed import now
from mvc.registry.search import columns, index
from mvc.registry.search.records import Records
from tests.support.registry_builders import Project, finished, python, rewrite

EXPRESSIONS = ["acc > 0.5", "acc >= @best.acc - 0.2 or n = 3", "not lr = 0.1", "opt = adam",
               "created < 2030", "size = 3", "dtype = x or tag = prod", "n > 99999999999999999999",
               "word = 'ü\x00'", "list = b", "nothing = 1"]  # fmt: skip


@pytest.fixture
def many(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Eight versions of ``net`` and one of ``other``, which count as many, long ago."""
    monkeypatch.setattr(columns, "SMALL", 0)
    project.add(b"one", metrics={"acc": 0.1}, params={"n": 1 << 70, "word": "ü\x00"})
    also(project, "net", 2, metrics={"acc": 0.2, "loss": 3}, params={"lr": 0.1, "list": ["a", "b"]})
    also(project, "other", 3, metrics={"acc": 0.9}, params={"opt": "Adam", "acc": 1, "n": -0.0})
    for number in range(3, 9):
        also(project, "net", number, metrics={"acc": number / 10, "loss": 9 - number})
    settle(project)
    return project


def also(project: Project, family: str, number: int, **facts: Any) -> None:
    """Make a version that has the bytes of ``net/v1``."""
    manifest = project.registry().manifest
    first, _ = manifest.record("net", 1)
    made = replace(first, family=family, id=f"{number:032x}", created=now(), params={})
    fileio.run(manifest.create_version(family, records.encode(replace(made, **facts))))


def settle(project: Project) -> None:
    """Let the last change lie in the past, so that what is noted now is believed."""
    for folder in (project.mvc / "manifest").glob("*/*/"):
        moment = time.time_ns() - 60_000_000_000 + int(folder.stat().st_mtime_ns % 1_000_000_000)
        os.utime(folder, ns=(moment, moment))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MvcWarning)
        project.registry().families()  # notes in family.yaml that it is settled


def file_of(project: Project) -> Path:
    path = project.registry().place.query_index
    assert path is not None
    return path


def answers(project: Project) -> list[Any]:
    """Ask everything that may come from the index."""
    told: list[Any] = []
    registry = project.registry()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MvcWarning)
        for text in EXPRESSIONS:
            told += [text, [version.id for version in registry.search(text)]]
            told.append([family.name for family in registry.families(where=text)])
        told.append([version.id for version in registry.search(sort="-loss", limit=4)])
        for ref in ("net@best.loss", "net@best.lossy", f"net@{DIGEST}", "net@b3:00000000"):
            try:
                told.append(registry.resolve(ref).id)
            except (NotFound, UsageError) as error:
                told.append((error.message, error.hint))
    return told


DIGEST = "b3:" + "0" * 8


def asked(project: Project, monkeypatch: pytest.MonkeyPatch, text: str) -> tuple[int, list[str]]:
    """Search, and return how many records were opened and which SQL was asked."""
    opened: list[Any] = []
    queries: list[str] = []
    read, connect = project.registry().manifest.__class__.record_bytes, sqlite3.connect

    def counted(*arguments: Any) -> bytes:
        opened.append(arguments[1:])
        return read(*arguments)

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*arguments, **options)
        db.set_trace_callback(queries.append)
        return db

    with monkeypatch.context() as patch:
        patch.setattr("mvc.registry.manifest.Manifest.record_bytes", counted)
        patch.setattr(sqlite3, "connect", traced)
        project.registry().search(text)
    return len(opened), queries


def test_answers_are_those_of_the_records(many: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an index made, with it used again, and without any, every answer is the same."""
    first, again = answers(many), answers(many)
    assert file_of(many).exists()
    monkeypatch.setattr(columns, "SMALL", 100)
    file_of(many).unlink()
    assert first == again == answers(many)
    assert "net/v8" in first[1]
    assert not file_of(many).exists()


def test_every_fact_is_as_in_its_record(many: Project) -> None:
    """Each value of each version comes back with its type, whatever it is."""
    registry = many.registry()
    known = registry.families()
    with columns.opened(registry.manifest, known) as found:
        assert isinstance(found, index.Index)
        expected = Records(registry.manifest, known)
        assert set(found.names()) == set(expected.names())
        for name in expected.names():
            for family in known:
                values = found.column(family, name)
                assert repr(values) == repr(expected.column(family, name)), name


def test_nothing_is_read_where_nothing_is_new(
    many: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of families that did not change no record is opened; of others only what is new."""
    assert asked(many, monkeypatch, "acc > 2")[0] == 9
    assert asked(many, monkeypatch, "acc > 2")[0] == 0
    assert asked(many, monkeypatch, "acc > 0.75")[0] == 2  # what is found is shown as recorded
    many.add(b"ten", metrics={"acc": 0.3})
    assert asked(many, monkeypatch, "acc > 2")[0] <= 3  # the last one known, and the new one
    settle(many)
    asked(many, monkeypatch, "acc > 2")
    assert asked(many, monkeypatch, "acc > 2")[0] == 0


def test_queries_do_not_grow_with_versions_or_families(
    many: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up asks once for each name that may be meant, whatever there is."""
    asked(many, monkeypatch, "acc > 2")
    before = asked(many, monkeypatch, "metrics.acc > 2")[1]
    selects = Counter(query.split()[0] for query in before)
    assert selects["SELECT"] <= 6
    assert selects.keys() <= {"SELECT", "PRAGMA", "BEGIN"}
    for number in range(5):
        also(many, f"family{number}", number, metrics={"acc": 0.3})
    settle(many)
    asked(many, monkeypatch, "acc > 2")
    assert len(asked(many, monkeypatch, "metrics.acc > 2")[1]) == len(before)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _zeros(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4096] + bytes(len(data) - 4096))


def _bad_words(path: Path) -> None:
    data = path.read_bytes().replace(b"familiesfamilies", b"famili\xf5sfamilies")
    path.write_bytes(data.replace(b"CREATE TABLE families", b"CREATE NOTHING famili"))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


HURT: list[Callable[[Path], Any]] = [
    lambda path: path.write_bytes(b"no database, but long enough to be read as one" * 100),
    lambda path: path.write_bytes(b""),
    _bad_words,
    _cut,
    _zeros,
    _folder,
    lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 99"),
    lambda path: path.with_name(f"{path.name}-journal").write_bytes(b"left by a crash" * 100),
]


@pytest.mark.parametrize("hurt", HURT)
def test_a_damaged_index_changes_no_answer(many: Project, hurt: Callable[[Path], Any]) -> None:
    """Whatever became of the file, answers are right; it is made anew."""
    right, path = answers(many), file_of(many)
    hurt(path)
    assert answers(many) == right
    assert answers(many) == right
    if path.is_file():
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_locked_index_changes_no_answer(many: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another process does not let go of it, the records are read."""
    right = answers(many)
    monkeypatch.setattr(index, "BUSY_SECONDS", 0.01)
    holding = sqlite3.connect(file_of(many), isolation_level=None)
    holding.execute("BEGIN EXCLUSIVE")
    assert answers(many) == right
    assert asked(many, monkeypatch, "acc > 2")[0] == 9
    holding.close()
    assert asked(many, monkeypatch, "acc > 2")[0] == 0


def test_an_index_that_cannot_be_written_changes_no_answer(many: Project) -> None:
    """In a cache that is only read an index that is current serves, and none is no loss."""
    right, path = answers(many), file_of(many)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        assert answers(many) == right
    finally:
        path.parent.chmod(0o755)
    path.unlink()
    path.symlink_to("/nowhere/at-all")
    assert answers(many) == right


def test_an_index_that_vanishes_changes_no_answer(
    many: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may remove it at any moment."""
    right, connect = answers(many), sqlite3.connect

    def removed_at_once(path: Path, **options: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(path, **options)
        path.unlink()
        return db

    monkeypatch.setattr(sqlite3, "connect", removed_at_once)
    assert answers(many) == right


def test_a_copy_does_not_believe_the_index_it_came_with(many: Project, tmp_path: Path) -> None:
    """Copies that go their own ways answer for themselves, also where one takes over the other."""
    answers(many)
    copy = Project(tmp_path / "copy")
    shutil.copytree(many.folder, copy.folder)
    many.add(b"here", metrics={"acc": 0.33})
    copy.add(b"there", metrics={"acc": 0.44})
    for project, acc in ((many, 0.33), (copy, 0.44)):
        settle(project)
        found = project.registry().search("acc = 0.33 or acc = 0.44")
        assert [(version.id, version.metrics["acc"]) for version in found] == [("net/v9", acc)]
    for path in many.mvc.glob("manifest/net/versions/*"):
        (copy.mvc / path.relative_to(many.mvc)).unlink()
        shutil.copy2(path, copy.mvc / path.relative_to(many.mvc))
    copy.family_file().unlink()
    assert [version.id for version in copy.registry().search("acc = 0.33")] == ["net/v9"]
    assert copy.registry().search("acc = 0.44") == []


def test_a_stamp_is_not_believed_within_the_tick(many: Project) -> None:
    """A version that came in the very tick of the last look is found all the same."""
    many.add(b"nine", metrics={"acc": 0.55})
    versions = many.record(9).parent
    stamp = versions.stat().st_mtime_ns
    assert len(many.registry().search("acc > 0.5 and acc < 0.6")) == 1
    many.add(b"ten", metrics={"acc": 0.56})
    os.utime(versions, ns=(stamp, stamp))
    assert len(many.registry().search("acc > 0.5 and acc < 0.6")) == 2


def test_a_record_that_cannot_be_read_is_told_each_time(many: Project) -> None:
    """It is found once it is mended, though no stamp shows that."""
    data = many.record(4).read_bytes()
    rewrite(many.record(4), lambda _: b"rot")
    settle(many)
    for _ in range(2):
        with pytest.warns(StoreWarning, match="net/v4 cannot be trusted"):
            found = many.registry().search("acc > 0.3 and acc < 0.55")
        assert [version.id for version in found] == ["net/v5"]
    moment = many.record(4).parent.stat().st_mtime_ns
    rewrite(many.record(4), lambda _: data)
    os.utime(many.record(4).parent, ns=(moment, moment))
    assert len(many.registry().search("acc > 0.3 and acc < 0.55")) == 2


def test_each_host_has_its_own(many: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of databases do not reach other hosts of a network folder, so no file is shared."""
    right = answers(many)
    monkeypatch.setattr(environment, "host", lambda: "other-host")
    assert answers(many) == right
    assert len(list((many.mvc / "cache").glob("query-*.sqlite"))) == 2


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_git_may_put_other_records_under_old_names(
    many: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a checkout answers are those of that branch, and only what differs is read."""

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", many.folder, *identity, *arguments], check=True)

    git("init", "-q", "-b", "main")
    git("add", ".mvc")
    git("commit", "-q", "-m", "eight")
    git("checkout", "-q", "-b", "other")
    many.add(b"there", metrics={"acc": 0.44})
    git("add", ".mvc")
    git("commit", "-q", "-m", "there")
    git("checkout", "-q", "main")
    many.add(b"here", metrics={"acc": 0.33})
    git("add", ".mvc")
    git("commit", "-q", "-m", "here")
    for branch, acc in [("main", 0.33), ("other", 0.44)] * 2:
        git("checkout", "-q", branch)
        found = many.registry().search("acc = 0.33 or acc = 0.44")
        assert [version.metrics for version in found] == [{"acc": acc}]
    git("checkout", "-q", "main")
    many.registry().families()
    assert asked(many, monkeypatch, "acc > 2")[0] <= 2
    removed = many.record(9)
    removed.unlink()
    assert many.registry().search("acc = 0.33 or acc = 0.44") == []


SEARCH = """
import sys
from mvc import ModelRegistry
from mvc.registry import record as records
from mvc.registry.sealed import now
from mvc.registry.search import columns, index
columns.SMALL = 0
if sys.argv[2] == "killed":
    import os
    index._delete = lambda *_: None
    stored, count = index._stored, [0]
    index.AT_ONCE = 1
    def dying(value):
        count[0] += 1
        if count[0] == 60:
            os._exit(0)
        return stored(value)
    index._stored = dying
print(*[version.id for version in ModelRegistry(sys.argv[1]).search("acc > 0.5")])
"""


def test_processes_at_once_and_killed_ones_change_no_answer(many: Project) -> None:
    """Of many that make the index at once, some killed on the way, each other answers rightly."""
    right = "net/v8 net/v7 net/v6 other/v1"
    assert finished(python(SEARCH, many.folder, "killed")) == ""
    modes = ["whole", "killed"] * 3
    told = [finished(p).strip() for p in [python(SEARCH, many.folder, mode) for mode in modes]]
    assert told[::2] == [right] * 3
    assert set(told) <= {right, ""}
    assert [version.id for version in many.registry().search("acc > 0.5")] == right.split()
