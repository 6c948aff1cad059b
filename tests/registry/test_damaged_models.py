"""Model files that are damaged, but not so much that nothing is seen in them, come back whole."""

from __future__ import annotations

from functools import cache

import pytest

from mvc.formats import Layout, describe
from mvc.registry.intake import cutting, ingest
from tests.formats import corpus
from tests.formats.sources import Bytes
from tests.support.registry_builders import Project

WANTED = 12  # per format, of which something is seen
MUTANTS = 4000


@cache
def seen(format: str) -> list[tuple[int, bytes, Layout]]:
    """Return the first damaged files of a format in which something is seen, and what."""
    found = []
    for number in range(MUTANTS):
        data = corpus.mutant(format, number)
        layout = describe(Bytes(data))
        if layout is not None and layout.storages:
            found.append((number, data, layout))
            if len(found) == WANTED:
                return found
    raise AssertionError(f"of {MUTANTS} mutants, something is seen in {len(found)}")


@pytest.mark.parametrize("format", corpus.FORMATS)
@pytest.mark.parametrize("skeleton", [cutting.MAX_SKELETON, 300], ids=["apart", "by content"])
def test_what_is_seen_in_a_damaged_file_never_hurts_it(
    project: Project, format: str, skeleton: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a layout says, a file that is taken apart by it is put together again."""
    monkeypatch.setattr(ingest, "CHUNK_SIZE", 0)  # take even small files apart
    monkeypatch.setattr(cutting, "CHUNK_ELEMENTS", 4)
    monkeypatch.setattr(cutting, "SMALL_STORAGE", 16)
    monkeypatch.setattr(cutting, "MAX_LITERAL", 500)
    monkeypatch.setattr(cutting, "MAX_SKELETON", skeleton)
    registry = project.registry()
    for number, data, layout in seen(format):
        version = registry.add("net", project.file(data)).id
        assert project.bytes_of(version) == data, number
        assert len(registry.tensors(version).tensors) == len(layout.tensors), number
    assert registry.fsck("full").ok
