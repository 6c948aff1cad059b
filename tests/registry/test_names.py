"""What may be a name, in every place where one is given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvc import UsageError
from mvc.registry import names
from mvc.registry.names import check_family, check_key, check_metric, check_tag, near
from tests.support.registry_builders import Project

BAD = ["", "../x", "..", ".mvc", ".", "a b", "a/b", "a\\b", "a:b", "a@b", "a~1", "-a", "_a", "é"]
BAD += ["con", "CON", "con.pt", "nul", "Com1", "lpt9.x", "a.", "x" * 65, "x" * 300, "a\n", "a\0"]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_a_file_system_or_a_ref_cannot_hold_is_refused(
    name: str, project: Project
) -> None:
    """No such family is made, nothing is written, and the message stays short."""
    with pytest.raises(UsageError) as raised:
        project.add(b"weights", family=name)
    assert len(str(raised.value)) < 250
    assert "\n" not in raised.value.message.replace("'a\n'", "")
    assert not [path for path in project.mvc.glob("manifest/*") if path.is_dir()]
    with pytest.raises(UsageError):
        check_tag(name)


@pytest.mark.parametrize("name", ["a", "0", "A.b-c_d", "x" * 64, "resnet18", "v1.5", "console"])
def test_an_ordinary_name_is_allowed(name: str) -> None:
    """Letters, digits, dots, hyphens and underscores are what a family may be called."""
    assert check_family(name) == name


@pytest.mark.parametrize("tag", ["latest", "LATEST", "best", "Best", "best.acc", "v1", "V22", "v0"])
def test_a_tag_that_mvc_gives_itself_is_refused(tag: str) -> None:
    """What resolves by rule or by number is no tag, however it is written."""
    with pytest.raises(UsageError, match="gives itself"):
        check_tag(tag)


@pytest.mark.parametrize("tag", ["prod", "v1a", "bestest", "latest-2", "version"])
def test_a_tag_that_only_resembles_one_is_allowed(tag: str) -> None:
    """Only the reserved words themselves are reserved."""
    assert check_tag(tag) == tag


@pytest.mark.parametrize("metric", ["acc", "val/acc@5", "mAP@.5:.95", "a_b-c", "x" * 128])
def test_metrics_are_called_as_people_call_them(metric: str) -> None:
    """Slashes, colons and at-signs are part of a metric's name."""
    assert check_metric(metric) == metric


@pytest.mark.parametrize("metric", ["", "a b", "a~b", 'a"b', "é", "x" * 129, "a\n"])
def test_a_metric_that_a_ref_could_not_name_is_refused(metric: str) -> None:
    """What stands in no ref is the name of no metric."""
    with pytest.raises(UsageError):
        check_metric(metric)


@given(st.text(max_size=150))
def test_a_name_is_returned_as_given_or_refused(name: str) -> None:
    """No check changes a name, and none fails in another way."""
    for check in (check_family, check_tag, check_metric, check_key):
        try:
            assert check(name) == name
        except UsageError:
            continue


@given(st.from_regex(names.NAME, fullmatch=True).filter(lambda name: len(name) <= 64))
def test_a_family_is_a_folder_in_the_manifest(name: str) -> None:
    """The folder of an allowed family is one plain component in lower case."""
    try:
        check_family(name)
    except UsageError:
        return
    assert names.folder_of(name) == names.folder_of(name.upper())
    assert "/" not in names.folder_of(name)
    assert not names.folder_of(name).startswith(".")


def test_near_names_are_suggested_as_they_were_written() -> None:
    """A slip of the finger finds the name meant, in its own case; nonsense finds none."""
    assert near("resnet81", ["ResNet18", "bert"]) == "did you mean 'ResNet18'?"
    assert near("zzz", ["ResNet18", "bert"]) is None
