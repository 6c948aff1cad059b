"""The demo takes real weights as ``mvc import`` does, and stand-ins where there are none."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pytest

from mvc.cli import demo_models
from mvc.frameworks import libraries, torchvision_weights
from tests.support.file_server import Manner, serving

if not libraries.available():
    pytest.skip("the extra 'torch' is not installed", allow_module_level=True)


def test_the_demo_downloads_once_and_else_makes_weights(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can be had is cached as an import's; for the rest a stand-in is made, and said."""
    torch = libraries.import_torch()
    buffer = io.BytesIO()
    torch.save({"weight": torch.arange(50_000.0)}, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TORCH_HOME", str(here / "torch"))
    real = torchvision_weights.published
    said: list[str] = []
    with serving(buffer.getvalue()) as server:

        def published(model: str, weights: str | None = None) -> torchvision_weights.Published:
            return replace(real(model), url=f"{server.url}/{model}.pth", sha256=digest[:8])

        monkeypatch.setattr(torchvision_weights, "published", published)
        server.manners = [Manner(), Manner(status=404)]
        for _ in range(2):
            found = demo_models._pretrained(here / "pretrained_models", said.append)
            assert found["resnet18"].read_bytes() == server.body
            assert found["densenet121"].name.startswith("densenet121-seed0-")
            server.manners = [Manner(status=404)]
    assert len(server.asked) == 3
    assert [line.partition(" (")[0] for line in said] == ["no download"] * 2
    assert said[0].endswith("(404)); weights from seed 0 instead")
