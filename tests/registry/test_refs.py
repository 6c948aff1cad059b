"""Refs: the grammar, and which version each one means."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvc import NotFound, UsageError
from mvc.registry.refs import Ref, parse
from tests.support.registry_builders import Project, new_project

DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("resnet18", {}),
        ("resnet18@latest", {"explicit": True}),
        ("resnet18@LATEST", {"explicit": True}),
        ("resnet18@v3", {"number": 3, "explicit": True}),
        ("resnet18@V3", {"number": 3, "explicit": True}),
        ("resnet18/v3", {"number": 3, "explicit": True}),
        ("resnet18/v999999999", {"number": 999_999_999, "explicit": True}),
        ("resnet18@best", {"best": True, "explicit": True}),
        ("resnet18@Best", {"best": True, "explicit": True}),
        ("resnet18@best.val/acc@5", {"best": True, "metric": "val/acc@5", "explicit": True}),
        ('resnet18@best."mAP@.5:.95"', {"best": True, "metric": "mAP@.5:.95", "explicit": True}),
        ("resnet18@prod", {"tag": "prod", "explicit": True}),
        ("resnet18@v3a", {"tag": "v3a", "explicit": True}),
        ("resnet18@prod@{2}", {"tag": "prod", "when": "2", "explicit": True}),
        (
            "resnet18@prod@{2026-11-02}~1",
            {"tag": "prod", "when": "2026-11-02", "back": 1, "explicit": True},
        ),
        ("resnet18@b3:01234567", {"digest": "01234567", "explicit": True}),
        ("resnet18@b3:ABCDEF01", {"digest": "abcdef01", "explicit": True}),
        (f"resnet18@b3:{DIGEST}", {"digest": DIGEST, "explicit": True}),
        ("resnet18~", {"back": 1}),
        ("resnet18~0", {"back": 0}),
        ("resnet18@best~12", {"best": True, "back": 12, "explicit": True}),
        ("resnet18/v3~2", {"number": 3, "back": 2, "explicit": True}),
        ("resnet18:model.pt", {"path": "model.pt"}),
        ("resnet18@v1:a/b:c~d@e", {"number": 1, "path": "a/b:c~d@e", "explicit": True}),
        ("a.b-c_d@prod:x", {"tag": "prod", "path": "x", "explicit": True}),
    ],
)
def test_every_form_is_taken_apart(text: str, fields: dict[str, object]) -> None:
    """Each form of the grammar gives its fields and no others."""
    family = text.split("@")[0].split("/")[0].split("~")[0].split(":")[0]
    assert parse(text) == Ref(text, family, **fields)  # type: ignore[arg-type]  # typed fields


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "FAMILY@VERSION"),
        ("@v1", "FAMILY@v1"),
        ("../x", "FAMILY@VERSION"),
        ("a b", "FAMILY@SELECTOR"),
        ("a@", "after @"),
        ("a@3", "a@v3"),
        ("a@v0", "as in a@v1"),
        ("a@v01", "as in a@v1"),
        ("a/3", "after /"),
        ("a/prod", "after /"),
        ("a@b3:0123456", "after @"),
        (f"a@b3:{DIGEST}0", "after @"),
        ("a@b3:zzzzzzzz", "after @"),
        ("a@best.", "Windows"),
        ('a@best."a b"', "letters, digits"),
        ("a@prod@{}", "after @"),
        ("a@prod@{1", "after @"),
        ("a@v1~x", "FAMILY@SELECTOR"),
        ("a:", "FAMILY@SELECTOR"),
        ("a@v1~1~2", "FAMILY@SELECTOR"),
        ("con@v1", "choose another name"),
        ("x" * 300, None),
    ],
)
def test_what_is_no_ref_is_answered_with_what_was_meant(text: str, hint: str | None) -> None:
    """A ref outside the grammar is a usage error whose hint shows the form."""
    with pytest.raises(UsageError) as raised:
        parse(text)
    assert hint is None or hint in (raised.value.hint or "")


marks = st.sampled_from([*"@~:/.{}\"'v123 é\n²", "best", "b3:", "latest", "net"])


@given(st.text(max_size=40) | st.lists(marks, max_size=12).map("".join))
def test_parsing_raises_nothing_but_usage_errors(text: str) -> None:
    """Whatever is typed is a ref, or a usage error."""
    try:
        ref = parse(text)
    except UsageError:
        return
    assert ref.text == text
    assert sum([ref.number is not None, ref.best, ref.tag is not None, ref.digest is not None]) < 2


@given(st.lists(marks, max_size=8).map("".join))
def test_resolving_raises_nothing_but_usage_errors_and_not_found(rest: str) -> None:
    """Whatever is typed after a family's name is a version, not found, or a usage error."""
    manifest = _resolved.registry().manifest
    from mvc.registry.resolve import resolve

    for text in (f"net{rest}", f"net@prod@{{{rest}}}"):
        try:
            assert resolve(manifest, text)[1] in (1, 2, 3)
        except (UsageError, NotFound):
            continue


@pytest.fixture(scope="module", autouse=True)
def resolved(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make one family with three versions and a tag, which is only read."""
    global _resolved
    _resolved = Project(tmp_path_factory.mktemp("resolved"))
    for number, accuracy in ((1, 0.5), (2, 0.9), (3, 0.7)):
        facts = {"acc": accuracy, "mAP@.5:.95": -accuracy}
        _resolved.add(bytes([number]), metrics=facts, tags=["prod"])


_resolved: Project


@pytest.mark.parametrize(
    ("ref", "number"),
    [
        ("net", 3),
        ("NET@Latest", 3),
        ("net@best", 2),
        ("net@best.acc", 2),
        ('net@best."mAP@.5:.95"', 1),
        ("net@Prod", 3),
        ("net@prod@{0}", 3),
        ("net@prod@{1}", 2),
        ("net@prod@{2}", 1),
        ("net@prod@{9999-12-31}", 3),
        ("net@prod@{9999-12-31T23:59:59.999999-23:59}", 3),
        ("net~", 2),
        ("net~2", 1),
        ("net@best~1", 1),
        ("net/v2", 2),
        ("net/v2:model.bin", 2),
    ],
)
def test_a_ref_means_its_version(ref: str, number: int) -> None:
    """Every selector finds the version that its words say."""
    assert _resolved.registry().resolve(ref).id == f"net/v{number}"


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("nte", "did you mean 'net'?"),
        ("net@pord", "did you mean 'net@prod'?"),
        ("net@lastest", "did you mean 'net@latest'?"),
        ("net@best.accc", "did you mean 'acc'?"),
        ("net@v4", "mvc log net"),
        ("net~3", "there are no 3 versions before net/v3, only 2"),
        ("net:prod", "net@prod"),
        ("net@v1:other", "'model.bin'"),
        ("net@b3:00000000", "mvc log net"),
        ("net@prod@{3}", "it was set 3 times"),
        ("net@prod@{2001-01-01}", "its first move was"),
        ("zzz@prod@{1}", "mvc list"),
    ],
)
def test_what_is_not_found_is_answered_with_what_there_is(ref: str, said: str) -> None:
    """A ref to nothing names what is like it, or how to see what there is."""
    with pytest.raises(NotFound) as raised:
        _resolved.registry().resolve(ref)
    assert said in str(raised.value)


@pytest.mark.parametrize("when", ["²", "x", "2026-13-01", "9" * 5000, "1.5", "2026-W99-1"])
def test_a_time_that_is_none_is_a_usage_error(when: str) -> None:
    """Between the braces stands a count or a date, and nothing else is guessed."""
    with pytest.raises(UsageError, match="is no time"):
        _resolved.registry().resolve(f"net@prod@{{{when}}}")


def test_a_digest_means_the_lowest_version_with_these_bytes(project: Project) -> None:
    """Equal bytes in several versions are the first of them, by prefix or in full."""
    for data in (b"one", b"two", b"one"):
        project.add(data)
    digest = project.registry().resolve("net@v3").artifact.digest
    for shown in (digest.hex(), digest.hex()[:8], digest.hex()[:20].upper()):
        assert project.registry().resolve(f"net@b3:{shown}").id == "net/v1"


def test_an_ambiguous_prefix_lists_the_candidates(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prefix that fits two artifacts is a usage error that names both versions."""
    from mvc.digest import Digest
    from mvc.registry.intake import ingest

    for number in (1, 2):
        made = Digest(b"\xab" * 8 + bytes([number]) * 24)
        monkeypatch.setattr(ingest, "digest_of", lambda data, made=made: made)
        project.add(bytes([number]))
    with pytest.raises(UsageError, match="fits several") as raised:
        project.registry().resolve("net@b3:abababab")
    assert "v1 b3:abababababababab, v2 b3:abababababababab" in (raised.value.hint or "")
    assert project.registry().resolve("net@b3:" + "ab" * 8 + "02").id == "net/v2"


def test_counting_back_skips_withdrawn_versions() -> None:
    """``~N`` counts the versions that can be had, by number."""
    with new_project() as project:
        for number in range(5):
            project.add(bytes([number]))
        project.registry().rm("net@v4")
        project.registry().rm("net@v2")
        registry = project.registry()
        assert [registry.resolve(f"net~{back}").version for back in range(3)] == ["v5", "v3", "v1"]
        with pytest.raises(NotFound, match=r"no 3 versions before .*v5, only 2"):
            registry.resolve("net~3")


def test_families_and_tags_are_matched_ignoring_case_and_shown_as_first_written(
    tmp_path: Path,
) -> None:
    """``ResNet`` and ``RESNET`` are one family, and so with tags."""
    project = Project(tmp_path)
    assert project.add(b"1", family="ResNet", tags=["Prod"]) == "ResNet/v1"
    assert project.add(b"2", family="RESNET", tags=["PROD"]) == "ResNet/v2"
    registry = project.registry()
    assert registry.list() == ["ResNet"]
    assert registry.resolve("resnet@prod").tags == ("Prod",)
    assert registry.resolve("rEsNeT@pRoD@{1}").id == "ResNet/v1"
    assert [path.name for path in (project.mvc / "manifest").iterdir() if path.is_dir()] == [
        "resnet"
    ]


def test_get_understands_every_way_to_name_a_version() -> None:
    """A family and a version, a ref and an id all lead to the same dictionary."""
    registry = _resolved.registry()
    assert registry.get("net", "best") == registry.get("net@best") == registry.get("net/v2")
    assert registry.get("net")["version"] == "v3"
