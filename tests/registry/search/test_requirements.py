"""Requirements: what is not as it must be is neither stored nor named, whoever comes in between."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mvc import fileio
from mvc.errors import MvcWarning, Refused, UsageError
from mvc.registry import changes
from mvc.registry.intake import intake
from mvc.registry.intake.origin import origin_of
from mvc.registry.manifest import Manifest
from mvc.registry.search.requirement import Requirement, of_version
from tests.support.registry_builders import Project, finished, python

NEARLY_BEST = "acc >= @best.acc - 0.005"


def _files(project: Project) -> set[Path]:
    """Return packs, roots and records."""
    kept = ("store/packs", "store/roots", "manifest/net/versions")
    return {path for folder in kept for path in (project.mvc / folder).rglob("*.*")}


@pytest.fixture
def two(project: Project) -> Project:
    """``net`` with ``acc`` 0.9 and 0.95, and 10 on the first only; v1 bears ``prod``."""
    project.add(b"one", metrics={"acc": 0.9, "ms": 10}, tags=["prod"])
    project.add(b"two", metrics={"acc": 0.95})
    return project


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (NEARLY_BEST, "acc >= @best.acc - 0.005, but acc is 0.94 and @best.acc - 0.005 is 0.945"),
        ("acc > 0.9 and acc > 0.97", "acc > 0.97, but acc is 0.94"),
        ("acc > 0.97 or not lr = 0.1", "acc > 0.97, but acc is 0.94; not lr = 0.1, but lr is 0.1"),
        ("val_acc > 0.5", "val_acc > 0.5, but no val_acc is known"),
        ("acc > @latest.ms", "but acc is 0.94 and no @latest.ms is known"),
        ("message ~ *longer*", "but no message is known"),
    ],
)
def test_what_is_not_so_is_not_stored_and_both_sides_are_told(
    two: Project, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    """A false requirement ends before a byte is read, with the values that were compared."""
    before = _files(two)
    monkeypatch.setattr(intake, "ingest", None)
    with pytest.raises(Refused) as refused:
        two.add(b"three", metrics={"acc": 0.94}, params={"lr": 0.1}, require=text)
    assert told in refused.value.message
    assert "nothing was stored" in str(refused.value.hint)
    assert _files(two) == before


@pytest.mark.parametrize(
    "text",
    [
        "acc >= @best.acc - 0.015",
        "ms < @prod.ms or acc > @v1.acc",
        "family = net and dataset = imagenet and parent = net/v1 and author = anna",
        "framework = jax and architecture = resnet18",
    ],
)
def test_what_is_so_is_stored(two: Project, text: str) -> None:
    """All that is given can be required, beside values of other versions."""
    facts: dict[str, Any] = {"framework": "jax", "architecture": "resnet18", "parents": ["net@v1"]}
    lineage = {"dataset": "imagenet"}
    made = two.add(b"three", metrics={"acc": 0.94}, lineage=lineage, require=text, **facts)
    assert made == "net/v3"


def test_what_is_not_there_yet_is_not_required(project: Project) -> None:
    """In a new family there is no best: a warning says so, and the rest is required."""
    with pytest.warns(MvcWarning, match="'net' has no @best yet"):
        made = project.add(b"one", metrics={"acc": 0.5}, require=f"{NEARLY_BEST} and acc > 0.1")
    assert made == "net/v1"
    with pytest.warns(MvcWarning, match="no @prod yet"):
        project.registry().tag("net@v1", "prod", require="not acc < @prod.acc")
    with pytest.warns(MvcWarning, match="no @beta yet"), pytest.raises(Refused):
        project.registry().tag("net@v1", "beta", require="acc >= @beta.acc and acc > 0.6")
    assert project.registry().family("net").tags == {"prod": 1}


@pytest.mark.parametrize(
    "text",
    ["size < 1GB", "digest ~ *", "dtype = float32", "artifact.files > 1", "weights = b3:0",
     "framework = pytorch", "number > 1", "tag = prod", "best = true", "created > 2026", "acc >"],
)  # fmt: skip
def test_what_nobody_knows_yet_cannot_be_required(two: Project, text: str) -> None:
    """What only the file says, or only the version, is wrong usage and not just false."""
    with pytest.raises(UsageError):
        two.add(b"three", metrics={"acc": 1}, require=text)


def test_of_a_version_made_from_another_the_file_is_known(two: Project) -> None:
    """``from_version`` reads no file, so what it holds may be required."""
    registry = two.registry()
    with pytest.raises(Refused, match=r"artifact.size > 3, but artifact.size is 3"):
        registry.add("net", from_version="net@v1", require="artifact.size > 3")
    assert registry.add("net", from_version="net@v1", require="size = 3").number == 3


def test_a_tag_moves_only_to_what_is_as_required(two: Project) -> None:
    """Of a version that is there everything is known; false leaves the tag where it is."""
    registry = two.registry()
    with pytest.raises(Refused, match=r"'net/v2' is not as required: ms <= @prod.ms, but no ms"):
        registry.tag("net@v2", "prod", require="ms <= @prod.ms")
    assert registry.family("net").tags == {"prod": 1}
    registry.tag("net@v2", "prod", require="acc > @prod.acc and best = true and size = 3")
    assert registry.family("net").tags == {"prod": 2}


def test_a_withdrawn_version_is_still_compared_with(two: Project) -> None:
    """What prod stands on can be withdrawn, and even released: it stays the bar, as its number."""
    registry = two.registry()
    registry.rm("net@v1", force=True)
    registry.gc(grace=timedelta(0))
    for text in ("acc >= @prod.acc", "acc >= @v1.acc"):
        with pytest.raises(Refused, match=r"acc is 0.1 and @.* is 0.9") as refused:
            two.add(b"three", metrics={"acc": 0.1}, require=text)
        assert "is net/v1 (withdrawn)" in str(refused.value.hint)
    assert two.add(b"three", metrics={"acc": 0.91}, require="acc >= @prod.acc") == "net/v3"
    assert [found.id for found in registry.search("acc > @prod.acc")] == ["net/v3", "net/v2"]
    registry.tag("net@v3", "prod", require="acc > @prod.acc")


@pytest.mark.parametrize("text", ["acc >= @Prod.acc", "acc > 0 or not acc < @prod.acc"])
def test_a_deleted_tag_opens_no_gate(two: Project, text: str) -> None:
    """What is compared with a tag that was deleted is refused, and the hint sets the tag again."""
    two.registry().delete_tag("net@prod")
    for call in (
        lambda: two.add(b"three", metrics={"acc": 1.0}, require=text),
        lambda: two.registry().tag("net@v2", "prod", require=text),
    ):
        with pytest.raises(Refused, match=r"@prod was deleted on .* by ") as refused:
            call()
        assert "mvc tag net@v2 prod sets it again" in str(refused.value.hint)
    assert two.registry().list("net") == ["v1", "v2"]


def test_no_best_left_opens_no_gate(two: Project) -> None:
    """If all that could be best, or newest, is withdrawn, nothing is better than it."""
    for ref in ("net@v1", "net@v2"):
        two.registry().rm(ref, force=True)
    for selector in ("best", "latest"):
        with pytest.raises(Refused, match=f"every version that could be @{selector} is withdrawn"):
            two.add(b"three", metrics={"acc": 1.0}, require=f"acc >= @{selector}.acc")
    assert two.add(b"three", metrics={"loss": 1.0}) == "net/v3"
    with pytest.raises(Refused, match="every version that could be @best is withdrawn"):
        two.add(b"four", metrics={"acc": 1.0}, require="acc >= @best.acc")


def _steps(two: Project, acc: float) -> fileio.Steps[Any]:
    registry = two.registry()
    source = origin_of(registry.manifest, "net@v1")
    facts = intake.Facts(metrics={"acc": acc}, require="acc > @best.acc")
    store = registry.presence.writable()
    return intake.add_steps(registry.place, registry.manifest, store, "net", source, facts)


@pytest.mark.parametrize("step", ["intent", "objects", "root durable", "record staged"])
def test_a_better_one_that_comes_in_between_is_noticed(two: Project, step: str) -> None:
    """Whenever another ``add`` comes, no version is made beside it, and no root is left."""
    adding = _steps(two, 0.96)
    while next(adding) != step:
        pass
    two.add(b"other", metrics={"acc": 0.97})
    after = _files(two)
    with pytest.raises(Refused, match=r"acc is 0.96 and @best.acc is 0.97"):
        fileio.run(adding)
    assert _files(two) - after <= set(two.packs)
    assert two.registry().list("net") == ["v1", "v2", "v3"]
    assert two.registry().fsck("full").notes == ()


def test_one_that_comes_after_the_last_look_takes_the_number(
    two: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last look and the name the other takes that name, and it is looked at again."""
    check, looks = Requirement.check, []

    def then_another(self: Requirement) -> None:
        check(self)
        looks.append(self)
        if len(looks) == 3:
            two.add(b"other", metrics={"acc": 0.97})

    monkeypatch.setattr(Requirement, "check", then_another)
    with pytest.raises(Refused):
        fileio.run(_steps(two, 0.96))
    assert two.registry().list("net") == ["v1", "v2", "v3"]
    assert two.registry().resolve("net@v3").metrics == {"acc": 0.97}


def test_a_tag_that_is_moved_in_between_is_decided_anew(two: Project) -> None:
    """Who comes first with an event makes the other look at its requirement again."""
    two.add(b"three", metrics={"acc": 0.92})
    manifest: Manifest = two.registry().manifest
    check: Callable[[], None] = of_version(manifest, "net", 3, "acc > @prod.acc").check
    moving = changes.tag_steps(manifest, "net", 3, "prod", check=check)
    assert next(moving) == "staged"
    two.registry().tag("net@v2", "prod")
    with pytest.raises(Refused, match=r"acc is 0.92 and @prod.acc is 0.95"):
        fileio.run(moving)
    assert two.registry().family("net").tags == {"prod": 2}


ADD = """
import sys
from mvc import ModelRegistry
from mvc.errors import Refused
folder, number = sys.argv[1:]
try:
    ModelRegistry(folder).register(
        "net", f"{folder}/{number}.bin", {"acc": int(number)}, require="acc > @best.acc")
except Refused:
    print("refused")
"""


def test_processes_that_must_be_better_only_ever_get_better(project: Project) -> None:
    """Of many that add at once, each version is better than all before it."""
    project.add(b"0", metrics={"acc": 0})
    for number in range(1, 9):
        project.file(b"%d" % number, f"{number}.bin")
    started = [python(ADD, project.folder, number) for number in range(1, 9)]
    refused = [finished(process) for process in started].count("refused\n")
    registry = project.registry()
    accs = [registry.resolve(f"net@{number}").metrics["acc"] for number in registry.list("net")]
    assert accs == sorted(set(accs), key=float)
    assert len(accs) == 9 - refused
    assert accs[-1] == 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert project.registry().fsck("full").ok


@pytest.mark.parametrize("false", [0, 1])
def test_of_several_all_must_be_true(two: Project, false: int) -> None:
    """A requirement that fails is not forgotten because another one, before or after it, holds."""
    several = ["acc > 0.1", "acc > 0.1"]
    several[false] = "acc > 0.94"
    with pytest.raises(Refused, match=r"acc > 0.94, but acc is 0.93"):
        two.add(b"three", metrics={"acc": 0.93}, require=several)
    with pytest.raises(Refused, match=r"acc > 0.94, but acc is 0.9"):
        two.registry().tag("net@v1", "best-so-far", require=several)
    assert two.registry().list("net") == ["v1", "v2"]


def test_of_several_none_can_open_another(two: Project) -> None:
    """Each requirement is an expression by itself: no bracket of one closes in the next."""
    with pytest.raises(UsageError, match="'\\)' was not expected"):
        two.add(b"three", metrics={"acc": 0.93}, require=["acc > 0.1) or (acc > 0", "acc > 0.94"])
    assert two.add(b"three", require=[]) == "net/v3"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("acc >= @prd.acc", "did you mean '@prod'?"),
        ("acc >= @bst.acc - 0.1", "did you mean '@best'?"),
        ("acc >= prod.acc", "@prod.acc"),
        ("acc >= best.acc - 0.005", "@best.acc"),
        ("acc > 0.1 and not acc = v2.acc", "@v2.acc"),
        ("acc >= @prod.acc-0.01", "signs stand between spaces: @prod.acc - 0.01"),
        ("acc >= @soon.acc/2", "signs stand between spaces: @soon.acc / 2"),
    ],
)
def test_a_slip_neither_opens_a_gate_nor_blames_the_model(
    two: Project, text: str, hint: str
) -> None:
    """A version or a sum as if mistyped is wrong usage, and the hint says what was meant."""
    for call in (
        lambda: two.add(b"three", metrics={"acc": 0.96}, require=text),
        lambda: two.registry().tag("net@v2", "next", require=text),
    ):
        with pytest.raises(UsageError) as slip:
            call()
        assert hint in str(slip.value.hint)
    assert two.registry().list("net") == ["v1", "v2"]


@pytest.mark.parametrize("text", ["acc >= @beta2.acc", "acc >= @v9.acc", "acc >= @prod-eu.acc"])
def test_what_is_no_slip_is_not_there_yet(two: Project, text: str) -> None:
    """A tag that differs in a number, or by a whole word, may be the next one; so may a version."""
    two.registry().tag("net@v1", "beta1")
    with pytest.warns(MvcWarning, match="yet"):
        assert two.add(b"three", metrics={"acc": 0.96}, require=text) == "net/v3"


def test_the_tag_that_is_set_is_no_slip(two: Project) -> None:
    """What is set for the first time may be required to be better than where it stood."""
    with pytest.warns(MvcWarning, match="no @prods yet"):
        two.registry().tag("net@v2", "Prods", require="acc >= @prods.acc")
    with pytest.warns(MvcWarning, match="no @pro yet"):
        two.add(b"three", metrics={"acc": 0.96}, tags=["pro"], require="acc >= @pro.acc")


def test_text_with_a_dot_is_text(two: Project) -> None:
    """What a value is compared with may be called like a version, if it is no number's limit."""
    given: dict[str, Any] = {
        "lineage": {"dataset": "best.zip"},
        "metrics": {"acc": 1},
        "params": {"v1.lr": 3},
    }
    made = two.add(b"three", require="dataset = best.zip and v1.lr > 2", **given)
    assert made == "net/v3"
