"""What other families' versions were made from: no policy gives it up."""

from __future__ import annotations

import pytest

from mvc import Damaged
from mvc.registry import descent
from mvc.registry.retention import Parent
from mvc.registry.search import columns
from tests.registry.test_keep import gc, keep, live, unwarned
from tests.support.registry_builders import Project, flip, noise


@pytest.fixture
def adapter(project: Project) -> Project:
    """Three versions of a base, and an adapter that was made for the first."""
    for number in range(1, 4):
        project.add(noise(3000, number), family="base")
    project.add(noise(100), family="lora", parents=["base@v1"])
    return project


def test_a_policy_keeps_the_base_of_an_adapter(adapter: Project) -> None:
    """What a version of another family was made from stays, whole, and keep says for whom."""
    assert keep(adapter, "base", last=1, grace="0") == ["base/v2"]
    (kept,) = adapter.registry().keep("base")
    assert kept.parents == (Parent("base/v1", ("lora/v1",)),)
    assert [item.name for item in gc(adapter).withdrawn] == ["base/v2"]
    assert live(adapter, "base") == ["v1", "v3"]
    assert adapter.bytes_of("base@v1") == noise(3000, 1)


def test_what_is_withdrawn_needs_no_base(adapter: Project) -> None:
    """When the last adapter has been withdrawn its base may go, and not before."""
    adapter.add(noise(101), family="lora", parents=["base@v1"])
    keep(adapter, "base", last=1)
    adapter.registry().rm("lora@v1")
    assert "base/v1" not in [item.name for item in gc(adapter).withdrawn]
    adapter.registry().rm("lora@v2")
    assert [item.name for item in gc(adapter).withdrawn] == ["base/v1"]


def test_within_a_family_descent_keeps_nothing(project: Project) -> None:
    """A run whose checkpoints follow one from another is thinned out as the rules say."""
    project.add(noise(100, 1))
    for number in (2, 3):
        project.add(noise(100, number), parents=[f"net@v{number - 1}"])
    keep(project, last=1)
    gc(project)
    assert live(project) == ["v3"]


def test_where_descent_cannot_be_read_nothing_goes(adapter: Project) -> None:
    """A record of the adapter's family that is damaged may name any version as its base."""
    keep(adapter, "base", last=1, grace="0")
    flip(adapter.record(1, "lora"), 40)
    with pytest.raises(Damaged), unwarned():
        gc(adapter)
    assert live(adapter, "base") == ["v1", "v2", "v3"]


@pytest.mark.parametrize("small", [500, 0], ids=["records", "index"])
def test_children_are_found_by_the_record(
    adapter: Project, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    """From the records or from the query index, for any of the versions asked for."""
    monkeypatch.setattr(columns, "SMALL", small)
    adapter.add(noise(102), family="merged", parents=["base@v3", "lora@v1"])
    manifest = adapter.registry().manifest
    assert descent.children(manifest, "base", [1, 2, 3]) == {1: ("lora/v1",), 3: ("merged/v1",)}
    assert descent.children(manifest, "base", [2]) == {}
    assert descent.children(manifest, "lora", [1]) == {1: ("merged/v1",)}
