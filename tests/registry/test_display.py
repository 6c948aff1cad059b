"""What methods return shows itself well at a prompt and in a notebook."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

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
    assert repr(registry.log()) == f"[{best!r}]"
    assert repr(registry.log(withdrawn=True)) == "[<resnet18/v1 acc=0.9 (withdrawn)>]"


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


def test_what_is_told_of_many_things_shows_itself_too(tmp_path: Path) -> None:
    """A difference, a status and a usage: one line of counts at a prompt, a table in a notebook."""
    registry = ModelRegistry(tmp_path)
    for value in (1, 2):
        arrays = {"same": np.ones(3, "f4"), "<w>": np.full((2, 3), value, "f4")}
        save_file(arrays, tmp_path / "a.safetensors")
        registry.add("net", tmp_path / "a.safetensors", {"acc": value})
    write_model(tmp_path / "new.safetensors")
    difference = registry.diff("net@v1", "net@v2")
    assert repr(difference) == (
        "<net/v1 → net/v2: 1 file, 1 fact, 1 tensor different; 1 tensor equal>"
    )
    assert repr(registry.diff("net", "net")) == "<net/v2 → net/v2: the same; 2 tensors equal>"
    for told in ("changed a.safetensors", "acc 1 → 2", "&lt;w&gt; changed float32 (2, 3)"):
        assert told in difference._repr_html_()
    status, usage = registry.status(tmp_path), registry.du()
    head = f"<{registry.folder}: 1 family, 2 versions, "
    assert repr(status) == f"{head}1 file registered, 1 file new>"
    assert f"{tmp_path / 'a.safetensors'} (net/v2)" in status._repr_html_()
    assert repr(usage) == (
        f"<usage: 2 versions, {usage.stored:,} bytes stored, {usage.plain:,} as plain copies>"
    )
    assert f"2 versions, {usage.stored:,} bytes" in usage._repr_html_()


def test_a_long_table_is_cut(tmp_path: Path) -> None:
    """Of many tensors the first are shown, and how many more there are is said."""
    registry = ModelRegistry(tmp_path)
    for value in (1, 2):
        save_file({f"w{n:02}": np.full(2, value) for n in range(60)}, tmp_path / "a.safetensors")
        registry.add("net", tmp_path / "a.safetensors")
    shown = registry.diff("net@v1", "net@v2")._repr_html_()
    assert "w49 changed" in shown
    assert "w50" not in shown
    assert "and 10 more" in shown
