"""The shapes that scripts rely on: JSON, ids, and what goes to which stream."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import mvc, write_model
from tests.support.registry_builders import Project, noise

VERSION = [
    "id", "family", "version", "created", "withdrawn", "released", "latest", "best", "tags",
    "artifact", "weights", "model", "metrics", "params", "lineage", "labels", "message", "author",
    "present",
]  # fmt: skip


def test_one_version_looks_the_same_everywhere(resnet18: Path) -> None:
    """A command about one version answers with the one Version object; ``show`` adds to it."""
    assert list(mvc("tag", "resnet18", "prod", "--json").json) == VERSION
    related = ["children", "same_bytes", "same_weights", "complete"]
    assert list(mvc("show", "resnet18", "--json").json) == [*VERSION, *related]


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "resnet18", "--json"],
        ["log", "--json"],
        ["log", "resnet18", "--json"],
        ["search", "acc > 0.9", "--json"],
        ["list", "resnet18", "--where", "acc > 0.9", "--json"],
        ["rm", "resnet18@v1", "resnet18@v2", "--json"],
        ["restore", "resnet18@v1", "--json"],
    ],
    ids=" ".join,
)
def test_several_versions_are_an_array_of_them(resnet18: Path, arguments: list[str]) -> None:
    """A command about versions answers with an array of Version objects."""
    answer = mvc(*arguments).json
    assert answer
    assert all(list(version) == VERSION for version in answer)


def test_tensors_stand_beside_the_version(resnet18: Path) -> None:
    """``show --tensors --json`` is a Version with an array ``tensors``, sizes in bytes."""
    answer = mvc("show", "resnet18@v1", "--tensors", "fc.w*", "--json").json
    assert list(answer) == [*VERSION, "tensors"]
    (tensor,) = answer["tensors"]
    stored = tensor.pop("stored")
    assert 0 < stored < 100_000
    assert tensor == {
        "file": "model.safetensors",
        "name": "fc.weight",
        "dtype": "float32",
        "shape": [100, 250],
        "plain": 100_000,
        "encodings": ["planes"],
        "depth": 0,
        "gathered": True,
    }


def test_add_says_what_it_stored(registry: Path) -> None:
    """``add --json`` is a Version with ``stored``, ``reused`` and ``new``."""
    answer = mvc("add", "m", "model.safetensors", "--json").json
    assert list(answer)[: len(VERSION)] == VERSION
    assert answer["new"] is True
    assert 0 < answer["stored"] < 110_000
    assert mvc("add", "m", "model.safetensors", "--json").json["stored"] == 0


def test_checkout_says_where(resnet18: Path) -> None:
    """``checkout --json`` is a Version with ``path``."""
    answer = mvc("checkout", "resnet18@v1", "-o", "out", "--json").json
    assert list(answer)[: len(VERSION)] == VERSION
    assert answer["path"] == "out"


def test_families_have_their_own_shape(resnet18: Path) -> None:
    """``list --json`` is an array of families with what they add up to."""
    mvc("tag", "resnet18@v1", "prod")
    assert mvc("list", "--json").json == [
        {
            "family": "resnet18",
            "versions": 2,
            "latest": "v2",
            "best": "v2",
            "rule": {"metric": "acc", "mode": "max"},
            "tags": {"prod": "v1"},
        }
    ]


def test_an_empty_registry_answers_with_empty_values(registry: Path) -> None:
    """Where nothing is registered, JSON is still one value and text is only a note."""
    assert mvc("list", "--json").json == []
    assert mvc("log", "--json").json == []
    done = mvc("list")
    assert (done.status, done.out) == (0, "")
    assert mvc("du", "--json").json["ratio"] is None
    assert mvc("fsck", "--json").json["ok"] is True


def test_fsck_answers_with_findings_also_when_it_fails(resnet18: Path) -> None:
    """A damaged store is exit status 3, with the report on stdout."""
    packs = sorted((resnet18 / ".mvc/store/packs").iterdir())
    for pack in packs:
        pack.chmod(0o644)
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 0xFF
        pack.write_bytes(data)
    done = mvc("fsck", "--json")
    assert done.status == 3
    assert done.json["ok"] is False
    assert {"ok", "checked", "findings"} <= set(done.json)
    for finding in done.json["findings"]:
        assert list(finding) == ["kind", "object", "place", "versions", "remedy"]
    hurt = {version for finding in done.json["findings"] for version in finding["versions"]}
    assert hurt == {"resnet18/v1", "resnet18/v2"}


def test_fsck_puts_the_damage_of_one_version_together(here: Path) -> None:
    """Objects damaged in one pack are one block of text per set of versions, and all in JSON."""
    contents = [noise(500, number) for number in range(4)]
    Project(here).add_folder(dict(zip("abc", contents, strict=False)), family="bert")
    Project(here).add_folder({"d": contents[3]}, family="other")
    for pack in Project(here).packs:
        pack.chmod(0o644)
        data = pack.read_bytes()
        for content in contents:
            data = data.replace(content[:-1], content[1:])
        pack.write_bytes(data)
    found = mvc("fsck", "--json").json["findings"]
    assert [finding["kind"] for finding in found] == ["object"] * 4
    told = mvc("fsck")
    first, *_, other = sorted(found, key=lambda finding: finding["versions"])
    assert told.out.count("object    ") == 2
    assert f"object        {first['object']} and 2 others; --json names all\n" in told.out
    assert f"object        {other['object']}\n" in told.out
    assert "\n4 findings in " in told.out


@pytest.mark.parametrize("kind", ["object", "tree", "record"])
def test_fsck_says_in_words_what_it_mended(here: Path, kind: str) -> None:
    """Each thing that was mended is named once, with what it is."""
    bert = Project(here)
    bert.add_folder({"a": b"a" * 50}, family="bert")
    (here / "copy").write_bytes(b"a" * 50)
    said = "mended: 1 object, from "
    if kind == "record":
        bert.record(1, "bert").chmod(0o644)
        bert.record(1, "bert").write_bytes(b"damaged")
        said = "mended: record bert/v1, from "
    else:
        bert.packs[0].unlink()
    if kind == "tree":
        said = "mended: the tree of bert/v1, from its record\n"
    assert said in mvc("fsck", "--repair", "--from", "copy").out


def test_du_and_status_have_their_keys(resnet18: Path) -> None:
    """``du`` and ``status`` give bytes as numbers under fixed names."""
    assert {"plain", "stored", "ratio", "families"} <= set(mvc("du", "--json").json)
    status = mvc("status", "--json").json
    assert list(status) == [
        "registry", "store", "families", "versions", "plain", "stored", "free", "files",
        "folders", "leftovers",
    ]  # fmt: skip
    assert {file["state"] for file in status["files"]} == {"registered"}


def test_tags_history_and_rule_in_json(resnet18: Path) -> None:
    """A tag's moves, a family's tags, a rollback and the rule of best are JSON as well."""
    for version in ("v1", "v2"):
        mvc("tag", f"resnet18@{version}", "prod", "--message", f"to {version}")
    assert [move["version"] for move in mvc("tag", "--history", "resnet18@prod", "--json").json] \
        == ["v2", "v1"]  # fmt: skip
    assert mvc("tag", "resnet18", "--json").json == [{"tag": "prod", "version": "v2"}]
    back = mvc("rollback", "resnet18@prod", "--json").json
    assert (back["id"], back["tag"], back["before"], back["set_by"]) == (
        "resnet18/v1", "prod", "v2", "anna",
    )  # fmt: skip
    best = mvc("best", "resnet18", "--json").json
    assert (best["rule"]["metric"], best["best"]["id"]) == ("acc", "resnet18/v2")
    gone = mvc("tag", "--delete", "resnet18@prod", "--json").json
    assert gone == {"family": "resnet18", "tag": "prod", "before": "v1", "version": None}


def test_rollback_says_what_helps_where_bytes_are_missing(resnet18: Path) -> None:
    """Beside the warning: how the tag comes back, or goes on; in JSON, that it is not present."""
    for version in ("v1", "v2", "v1", "v2"):
        mvc("tag", f"resnet18@{version}", "prod")
    for pack in Path(".mvc/store/packs").iterdir():
        pack.unlink()
    done = mvc("rollback", "resnet18@prod")
    warning, moved, note, *_ = done.err.splitlines()
    assert warning.startswith("warning: resnet18/v1 cannot be checked out: ")
    assert moved.startswith("prod: v2 → v1 (")
    assert note == (
        "note: prod stands on v1 all the same; mvc tag resnet18@v2 prod takes it back, "
        "mvc rollback resnet18@prod again goes further back"
    )
    assert (done.status, done.out) == (0, "resnet18/v1\n")
    assert mvc("rollback", "resnet18@prod", "--json").json["present"] is False


def test_no_number_in_json_is_not_finite(registry: Path) -> None:
    """A metric that is not a number is text in JSON, which knows no NaN."""
    mvc("add", "m", "model.safetensors", "-m", "loss=nan", "-m", "ppl=inf")
    text = mvc("show", "m", "--json").out

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse)["metrics"] == {"loss": "nan", "ppl": "inf"}


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        (["add", "m", "model.safetensors"], "m/v1"),
        (["checkout", "resnet18@v1", "-o", "out"], "out"),
        (["tag", "resnet18@v1", "prod"], "resnet18/v1"),
        (["best", "resnet18"], "resnet18/v2"),
        (["init"], None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_the_result_is_the_last_line_of_stdout(
    resnet18: Path, arguments: list[str], last: str | None
) -> None:
    """``$(mvc add …)`` is an id and ``$(mvc checkout …)`` a path: all else goes to stderr."""
    done = mvc(*arguments)
    assert done.out == f"{last or resnet18 / '.mvc'}\n"
    assert done.err


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["list"], ["resnet18"]),
        (["list", "resnet18"], ["resnet18/v2", "resnet18/v1"]),
        (["log"], ["resnet18/v2", "resnet18/v1"]),
        (["show", "resnet18@best"], ["resnet18/v2"]),
        (["add", "resnet18", "model.safetensors"], ["resnet18/v3"]),
        (["rm", "resnet18@v1"], ["resnet18/v1"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_quiet_means_ids_and_nothing_else(
    resnet18: Path, arguments: list[str], ids: list[str]
) -> None:
    """With ``-q`` stdout holds ids, one a line, and stderr nothing."""
    done = mvc(*arguments, "-q")
    assert (done.out.split(), done.err) == (ids, "")


def test_a_quiet_path_is_a_path(resnet18: Path) -> None:
    """``mvc path -q`` prints the path and nothing else, and excludes ``--json`` as elsewhere."""
    loud, quiet = mvc("path", "resnet18@v1"), mvc("path", "resnet18@v1", "-q")
    assert (quiet.status, quiet.out, quiet.err) == (0, loud.out, "")
    assert mvc("path", "resnet18@v1", "-q", "--json").status == 2


def test_a_tag_that_could_not_be_set_is_a_conflict_but_the_version_is_there(
    resnet18: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the commit point ``add`` prints the id in any case; the status tells of the tag."""
    from mvc.errors import Conflict
    from mvc.registry import changes

    def refuse(*_: object) -> None:
        raise Conflict("somebody else moved it")

    monkeypatch.setattr(changes, "tag_steps", refuse)
    done = mvc("add", "resnet18", "model.safetensors", "-t", "prod")
    assert (done.status, done.out) == (5, "resnet18/v3\n")
    assert "warning: " in done.err
    assert mvc("show", "resnet18@v3", "-q").status == 0


def test_rm_withdraws_all_or_none(resnet18: Path) -> None:
    """If one of several versions cannot be withdrawn, none is."""
    for bad in ("resnet18@v9", "resnet18@best", "nope@v1", "resnet18"):
        assert mvc("rm", "resnet18@v1", bad).status != 0
    mvc("tag", "resnet18@v2", "prod")
    assert mvc("rm", "resnet18@v1", "resnet18@v2").status == 5
    assert mvc("list", "resnet18", "-q").out.split() == ["resnet18/v2", "resnet18/v1"]


def test_only_the_newest_are_shown_and_the_rest_is_mentioned(registry: Path) -> None:
    """``list FAMILY`` and ``log`` show 50, ``-n`` as many, ``--all`` all; a note tells of more."""
    for _ in range(52):
        mvc("add", "m", "model.safetensors", "-q")
    for command in (["list", "m"], ["log"], ["log", "m"]):
        done = mvc(*command, "-q")
        assert len(done.out.split()) == 50
        assert "--all" in done.err
        assert len(mvc(*command, "-q", "--all").out.split()) == 52
        few = mvc(*command, "-q", "-n", "3")
        assert few.out.split() == ["m/v52", "m/v51", "m/v50"]
    assert mvc("log", "-n", "52", "-q").err == ""


def test_file_names_that_are_no_text_are_answered(registry: Path) -> None:
    """A file name of arbitrary bytes never ends a command with a fault of mvc."""
    odd = Path("\udcff\udc80.safetensors")
    write_model(odd)
    done = mvc("add", "m", str(odd))
    assert "internal" not in done.err
    assert mvc("status").status == 0
