"""The example of a loop of one's own, run as its reader would run it."""

from __future__ import annotations

import pytest

from tests.support.registry_builders import Project
from tests.training.conftest import ROOT, run_script, versions

pytest.importorskip("torch")
pytest.importorskip("safetensors")


def test_the_example_goes_on_where_it_stopped(project: Project) -> None:
    """Run twice, it makes a version of each epoch, each the child of the one before."""
    text = (ROOT / "docs/examples/train.py").read_text()
    first = run_script(text, 2, folder=project.folder)
    assert (first.returncode, first.stderr) == (0, "")
    again = run_script(text, 1, folder=project.folder)
    assert (again.returncode, again.stderr) == (0, "")
    assert "going on from spirals/v2" in again.stdout
    found = versions(project, "spirals")
    assert [version.lineage["epoch"] for version in found] == [0, 1, 2]
    parents = [[one["id"] for one in version.lineage["parents"]] for version in found]
    assert parents == [[], ["spirals/v1"], ["spirals/v2"]]
    assert [version.id for version in found if "candidate" in version.tags] == [
        version.id for version in found if version.best
    ]
    assert float(found[-1].metrics["acc"]) > 0.6
