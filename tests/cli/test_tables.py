"""Tables: what programs get is a promise, and what people get fits."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from safetensors.numpy import save_file

from mvc.cli import output, tables
from mvc.cli.tables import Column
from tests.cli.running import ROOT, mvc
from tests.support.terminal import ended

PAGE = (ROOT / "docs" / "looking.md").read_text(encoding="utf-8")
PROMISED = {
    command: re.findall(r"`([^`]+)`", columns)
    for commands, columns in re.findall(r"^\| (`.*?`) \| (.*) \|$", PAGE, re.MULTILINE)
    for command in re.findall(r"`([^`]+)`", commands)
}
HOSTILE = "two\tcells\nand\rlines\x1b[2J \x85\u2028"
TYPED = {
    "list": ["list"],
    "list FAMILY": ["list", "resnet18"],
    "search": ["search", ""],
    "show --tensors": ["show", "resnet18", "--tensors"],
    "tag FAMILY": ["tag", "resnet18"],
    "tag --history": ["tag", "--history", "resnet18@prod"],
    "keep": ["keep"],
}


def test_every_table_is_on_the_page() -> None:
    """The page promises columns for each command that prints a table."""
    assert set(PROMISED) == set(TYPED)


@pytest.mark.parametrize("command", TYPED)
def test_programs_get_the_columns_promised(resnet18: Path, command: str) -> None:
    """Piped, a table begins with its columns, and each line has as many, whatever is in them."""
    mvc("tag", "resnet18@v1", "prod", "--message", HOSTILE)
    mvc("add", "resnet18", "model.safetensors", "--message", HOSTILE)
    mvc("keep", "resnet18", "--last", "1")
    done = mvc(*TYPED[command])
    head, *lines = done.out.removesuffix("\n").split("\n")
    assert head.split("\t") == PROMISED[command]
    assert lines
    assert all(len(line.split("\t")) == len(PROMISED[command]) for line in lines)
    assert done.out.replace("\n", "").replace("\t", "").isprintable()


def test_programs_get_values_in_full(resnet18: Path) -> None:
    """Bytes are numbers, times are RFC 3339, and no text is cut."""
    message = "long " * 100
    mvc("add", "resnet18", "model.safetensors", "--message", message, "-t", "prod", "-t", "canary")
    (version,) = mvc("list", "resnet18", "-n", "1", "--json").json
    head, line = mvc("list", "resnet18", "-n", "1").out.splitlines()
    told = dict(zip(head.split("\t"), line.split("\t"), strict=True))
    assert told["created"] == version["created"]
    assert told["size"] == str(version["artifact"]["size"])
    assert told["message"] == version["message"]
    assert told["names"] == "latest,canary,prod"
    family = dict(zip(*(line.split("\t") for line in mvc("list").out.splitlines()), strict=True))
    assert (family["metric"], family["value"], family["best"]) == ("acc", "0.95", "v2")
    assert family["plain"] == str(3 * version["artifact"]["size"])
    assert family["created"] == version["created"]
    assert family["tags"] == "canary=v3,prod=v3"
    moves = mvc("tag", "--history", "resnet18@prod", "--json").json
    told_of = f"prod\tv3\t{moves[0]['created']}\t{moves[0]['author']}"
    assert mvc("tag", "resnet18").out.splitlines()[-1] == told_of


def test_what_is_freed_soon_is_told_with_the_minute(resnet18: Path) -> None:
    """A grace of hours ends at a time of day, and ``du`` says which; one of weeks on a day."""
    day = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    mvc("rm", "resnet18@v2")
    assert re.search(f"freed from {day}, now:", mvc("du").out)
    mvc("restore", "resnet18@v2")
    mvc("keep", "resnet18", "--last", "1", "--grace", "1h")
    mvc("gc")
    assert re.search(rf"freed from {day} [0-9]{{2}}:[0-9]{{2}} UTC, now:", mvc("du").out)


@pytest.mark.parametrize(
    ("ago", "written"),
    [
        (timedelta(days=-3), "0 s"),  # by a clock that went wrong
        (timedelta(seconds=30.5), "30 s"),
        (timedelta(seconds=90), "1 min"),
        (timedelta(minutes=61), "1 h"),
        (timedelta(hours=47.5), "47 h"),
        (timedelta(hours=49), "2 d"),
        (timedelta(days=729.5), "729 d"),
        (timedelta(days=3 * 366), "3 y"),
    ],
)
def test_ages_are_said_in_one_unit(ago: timedelta, written: str) -> None:
    """An age is the number of whole seconds, minutes, hours, days or years; never below none."""
    created = datetime.now(timezone.utc) - ago
    assert output.age(created.strftime("%Y-%m-%dT%H:%M:%S.%fZ")) == written


texts = st.text(st.characters(codec="utf-8") | st.sampled_from("日本語モデル\t\n\x1b"), max_size=60)


@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=5), st.integers(40, 200))
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, str, str]], width: int) -> None:
    """Whatever stands in it, a table fits into each width from 40 to 200; nothing steers."""
    columns: list[Column[tuple[str, str, str]]] = [
        Column("FIRST", lambda row: row[0], elastic=10),
        Column("SECOND", lambda row: row[1], right=True, rank=1),
        Column("THIRD", lambda row: row[2], elastic=10, rank=2),
    ]
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "width", lambda: width)
        patch.setattr(output, "result", lines.append)
        patch.setattr(output, "note", lambda text: None)
        patch.setenv("NO_COLOR", "1")
        tables.show(rows, columns, {})
    assert len(lines) == 1 + len(rows)
    assert all(cell_len(line) <= width and line.isprintable() for line in lines)


@pytest.mark.parametrize("width", [40, 57, 80, 120, 200])
def test_long_names_fit_and_ids_are_whole(
    registry: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """With the longest names there are each table fits, and from 80 columns on no id is cut."""
    family, tag = "f" * 64, "t" * 64
    for metric in ("a" * 60, "b" * 60):
        facts = ("-m", f"{metric}=0.123456789012", "-t", tag, "--message", "モデル " * 50)
        assert mvc("add", family, "model.safetensors", *facts).status == 0
    assert mvc("keep", family, "--last", "1", "--younger", "90d").status == 0
    monkeypatch.setattr(output, "width", lambda: width)
    monkeypatch.setenv("NO_COLOR", "1")
    for command in TYPED.values():
        words = [word.replace("resnet18", family).replace("prod", tag) for word in command]
        done = mvc(*words)
        assert done.status == 0, done.err
        assert max(map(cell_len, done.out.splitlines())) <= width, done.out
        if width >= 80 and command[0] == "search":
            assert f"{family}/v2 " in done.out


@pytest.mark.parametrize(
    ("width", "fitting"),
    [
        (33, "canary-europe-1=v12 +2"),
        (32, "canary-europe-1=v12 +2"),
        (16, "latest, best +1"),
        (10, "latest +2"),
        (7, "best +2"),
        (6, "…st +2"),
    ],
)
def test_of_names_those_that_fit_are_whole_and_the_others_counted(width: int, fitting: str) -> None:
    """No name is cut as long as one fits, and none is hidden without a word."""
    names = "latest, best, canary-europe-1=v12"
    if width > 16:
        names = "canary-europe-1=v12, latest-and-greatest, nightly-of-yesterday"
    assert tables.what_fits(", ")(names, width) == fitting


def test_what_tells_rows_apart_is_seen_on_80_columns(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a tensor's name, the number of a metric, and prod beside a long tag."""
    stem = "bert.encoder.layers.10.attention.self_attn"
    for value in (1, 2):
        arrays = {f"{stem}.{part}_proj.weight": np.full((8, 8), value, "f4") for part in "qkv"}
        save_file(arrays, registry / "a.safetensors")
        facts = ("-m", f"evaluation_of_the_loss=0.12345{value}", "-t", "a-canary-in-europe-1")
        assert mvc("add", "family-of-berts", "a.safetensors", *facts).status == 0
    assert mvc("tag", "family-of-berts@v1", "prod").status == 0
    monkeypatch.setattr(output, "width", lambda: 80)
    monkeypatch.setenv("NO_COLOR", "1")
    listed = mvc("list").out
    assert "prod=v1 +1" in listed
    assert "loss=0.123451" in listed
    assert "loss=0.123451" in mvc("list", "family-of-berts").out
    for words in (["diff", "family-of-berts@v1", "family-of-berts@v2", "--stat"],
                  ["show", "family-of-berts", "--tensors"]):  # fmt: skip
        shown = mvc(*words)
        assert all(f"10.attention.self_attn.{part}_proj.weight" in shown.out for part in "qkv")
    assert "100.0%" in mvc("diff", "family-of-berts@v1", "family-of-berts@v2", "--stat").out


@pytest.mark.parametrize(
    "words", [["list"], ["show", "resnet18"], ["log", "--graph"]], ids=" ".join
)
def test_a_terminal_gets_colours_unless_it_is_asked_not_to(
    resnet18: Path, words: list[str]
) -> None:
    """Colours are for terminals; ``NO_COLOR`` and a dumb terminal get plain text."""
    shown = {}
    for name, environment in (
        ("colours", {}), ("none", {"NO_COLOR": "1"}), ("dumb", {"TERM": "dumb"})
    ):  # fmt: skip
        terminal, status = ended(["mvc", *words], folder=resnet18, environment=environment)
        assert status == 0
        shown[name] = re.sub(r"\d+ s", "0 s", terminal.shown)
        assert (b"\x1b[" in terminal.written) == (name == "colours")
    assert shown["colours"] == shown["none"] == shown["dumb"]
    assert "\x1b" not in mvc(*words).out


def test_a_terminal_that_knows_no_unicode_is_spoken_to_in_ascii(resnet18: Path) -> None:
    """What is cut is marked with what the terminal can show."""
    mvc("add", "resnet18", "model.safetensors", "--message", "word " * 30)
    environment = {"PYTHONIOENCODING": "ascii"}
    terminal, status = ended(["mvc", "list", "resnet18"], folder=resnet18, environment=environment)
    assert status == 0
    assert "word~" in terminal.shown
    assert terminal.written.isascii()
    assert b"\\u" not in terminal.written


def test_people_see_names_of_files_where_they_tell_versions_apart(
    resnet18: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal there is a column of names if they differ; programs have it always."""
    assert mvc("add", "same", "model.safetensors").status == 0
    assert mvc("add", "same", "model.safetensors").status == 0
    assert [line.rpartition("\t")[2] for line in mvc("list", "resnet18").out.splitlines()] == [
        "file", "better.safetensors", "model.safetensors"
    ]  # fmt: skip
    monkeypatch.setattr(output, "width", lambda: 80)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "FILE" not in mvc("list", "same").out
    head, better, model = mvc("list", "resnet18").out.splitlines()
    assert "FILE" in head
    assert "better.safetensors" in better
    assert "model.safetensors" in model
    monkeypatch.setattr(output, "width", lambda: 50)
    narrow = mvc("list", "resnet18")
    assert "FILE" not in narrow.out
    assert "FILE" not in narrow.err
    assert mvc("add", "resnet18", "model.safetensors", "--message", "word " * 30).status == 0
    monkeypatch.setattr(output, "width", lambda: 80)
    assert "FILE" not in mvc("list", "resnet18").out


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.9312345678901234, "0.931235"),
        (-1.2345678901234567e-05, "-1.23457e-05"),
        (12345678.123456789, "1.23457e+07"),
        (1234567.0, "1234567"),
        (0.95, "0.95"),
        (float("1e300"), "1e+300"),
        (10**20, "1" + "0" * 20),
        ("nan", "nan"),
    ],
)
def test_people_see_six_digits_of_a_number(
    monkeypatch: pytest.MonkeyPatch, value: object, written: str
) -> None:
    """On a terminal a number is as long as it helps; elsewhere it is whole."""
    assert output.brief(value) == output.number(value)
    monkeypatch.setattr(output, "width", lambda: 80)
    assert output.brief(value) == written


def test_tables_and_the_log_are_brief_on_a_terminal_only(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tables and the log say of a metric is brief for people; ``show`` is not."""
    assert mvc("add", "net", "model.safetensors", "-m", "acc=0.9312345678901234").status == 0
    looks = [["list", "net"], ["search", ""], ["log"]]
    assert all("=0.9312345678901234" in mvc(*words).out for words in looks)
    monkeypatch.setattr(output, "width", lambda: 100)
    monkeypatch.setenv("NO_COLOR", "1")
    for words in (*looks, ["list"]):
        shown = mvc(*words).out
        assert "=0.931235" in shown
        assert "0.93123456" not in shown
    assert "0.9312345678901234" in mvc("show", "net").out
