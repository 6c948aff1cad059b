"""A version shows itself well at a prompt and in a notebook."""

from __future__ import annotations

from pathlib import Path

from mvc import ModelRegistry
from tests.cli.running import write_model


def test_a_version_is_one_short_line_at_a_prompt(tmp_path: Path) -> None:
    """Its name, its metrics and what else it is called."""
    registry = ModelRegistry(tmp_path)
    registry.add("resnet18", write_model(tmp_path / "a.safetensors"), {"acc": 0.9})
    best = registry.add(
        "resnet18", tmp_path / "a.safetensors", {"acc": 0.95, "n": 3}, tags=["prod"]
    )
    assert repr(best) == "<resnet18/v2 acc=0.95 n=3 (latest, best, prod)>"
    registry.rm("resnet18@v1")
    assert repr(registry.log(withdrawn=True)) == f"[{best!r}, <resnet18/v1 acc=0.9 (withdrawn)>]"


def test_a_version_is_a_table_in_a_notebook_and_nothing_in_it_is_html(tmp_path: Path) -> None:
    """What people ask of it stands in rows; text of a record cannot change the page."""
    registry = ModelRegistry(tmp_path)
    registry.add("base", write_model(tmp_path / "a.safetensors"))
    added = registry.add(
        "net",
        tmp_path / "a.safetensors",
        {"acc": 0.9},
        params={"optimizer": {"name": "adam"}},
        lineage={"dataset": "<script>"},
        message="a < b & c",
        parents=["base@v1"],
    )
    shown = added._repr_html_()
    assert "<script>" not in shown
    told = ("net/v1", "acc 0.9", "optimizer {&quot;name&quot;: &quot;adam&quot;}", "base/v1")
    escaped = ("dataset &lt;script&gt;", "a &lt; b &amp; c")
    for text in (*told, *escaped, "25,100 parameters, float32"):
        assert text in shown, text
    assert "None" not in shown
    assert "labels" not in shown
