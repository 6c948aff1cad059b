"""The example of a loop of one's own, run as its reader would run it."""

from __future__ import annotations

import runpy
import sys

import pytest

from tests.support.registry_builders import Project
from tests.training.conftest import ROOT, versions

pytest.importorskip("torch")
pytest.importorskip("safetensors")


def test_the_example_goes_on_where_it_stopped(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run twice, it makes a version of each epoch, each the child of the one before."""
    monkeypatch.chdir(project.folder)
    for epochs in ("2", "1"):
        monkeypatch.setattr(sys, "argv", ["train.py", epochs])
        runpy.run_path(str(ROOT / "docs/examples/train.py"), run_name="__main__")
    assert "going on from spirals/v2" in capsys.readouterr().out
    found = versions(project, "spirals")
    assert [version.lineage["epoch"] for version in found] == [0, 1, 2]
    parents = [[one["id"] for one in version.lineage["parents"]] for version in found]
    assert parents == [[], ["spirals/v1"], ["spirals/v2"]]
    assert [version.id for version in found if "candidate" in version.tags] == [
        version.id for version in found if version.best
    ]
    assert set(found[-1].metrics) == {"acc", "loss"}
