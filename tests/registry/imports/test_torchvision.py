"""torchvision's weights come once, with what is known of them, or from where torch.hub has them."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mvc.errors import NotFound, RemoteFailed, Unsupported, UsageError
from mvc.frameworks import libraries, torchvision_weights
from tests.registry.imports.conftest import BODY
from tests.support.file_server import Server
from tests.support.registry_builders import Project

SHA256 = hashlib.sha256(BODY).hexdigest()
NAME = f"resnet18-{SHA256[:8]}.pth"
needs_torchvision = pytest.mark.skipif(
    not libraries.available(), reason="the extra 'torch' is not installed"
)


@pytest.fixture
def hub(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have torchvision's registry name the server's file, and torch.hub's folder; return that."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    real = torchvision_weights.published

    def published(model: str, weights: str | None = None) -> torchvision_weights.Published:
        found = real(model, weights)
        kept = found.kept.with_name(NAME)
        return replace(found, url=f"{server.url}/models/{NAME}", sha256=SHA256[:8], kept=kept)

    monkeypatch.setattr(torchvision_weights, "published", published)
    return tmp_path / "torch/hub/checkpoints"


@needs_torchvision
def test_weights_come_with_what_torchvision_knows_of_them(
    project: Project, server: Server, hub: Path
) -> None:
    """Metrics, parameters and architecture are those of its registry; what is typed wins."""
    done = project.registry().import_("torchvision:resnet18", metrics={"acc@5": 90})
    assert (done.id, done.received) == ("resnet18/v1", len(BODY))
    assert done.metrics == {"acc@1": 69.758, "acc@5": 90}
    assert done.params == {"weights": "IMAGENET1K_V1", "num_params": 11689512}
    assert done.model == {"framework": "pytorch", "architecture": "resnet18"}
    assert done.lineage["imported"]["source"] == "torchvision:resnet18@IMAGENET1K_V1"
    assert done.lineage["imported"]["url"] == f"{server.url}/models/{NAME}"
    assert done.best
    assert not hub.exists()


@needs_torchvision
def test_weights_that_are_here_ask_nobody(project: Project, server: Server, hub: Path) -> None:
    """The digest in the name tells that the cache has them."""
    project.registry().import_("torchvision:resnet18")
    again = project.registry().import_("torchvision:resnet18@DEFAULT", offline=True)
    assert (again.id, again.new, len(server.asked)) == ("resnet18/v1", False, 1)


@needs_torchvision
def test_what_torch_hub_has_is_taken_from_there(
    project: Project, server: Server, hub: Path
) -> None:
    """A file of torch.hub is read in place, if it has the digest of its name."""
    hub.mkdir(parents=True)
    (hub / NAME).write_bytes(BODY)
    done = project.registry().import_("torchvision:resnet18", "net")
    assert (done.id, done.received, done.path, server.asked) == ("net/v1", 0, hub / NAME, [])
    assert not (project.folder / "pretrained_models").exists()
    (hub / NAME).write_bytes(BODY[1:])
    other = project.registry().import_("torchvision:resnet18", "other")
    assert (other.same_bytes, other.path.name) == ("net/v1", NAME)
    assert other.path.is_relative_to(project.folder / "pretrained_models")


@needs_torchvision
def test_other_bytes_than_the_name_says_are_refused(
    project: Project, server: Server, hub: Path
) -> None:
    """What comes is compared with the digest in its name, and with the one that is demanded."""
    project.registry().init()
    server.body = BODY[1:]
    with pytest.raises(RemoteFailed, match=f"does not begin as its name says, with {SHA256[:8]}"):
        project.registry().import_("torchvision:resnet18")
    server.body = BODY
    with pytest.raises(RemoteFailed, match="not, as is asked for, 0000"):
        project.registry().import_("torchvision:resnet18", sha256="0" * 64)
    assert project.registry().list() == []


@needs_torchvision
def test_a_slip_is_told_before_anything_is_downloaded(
    project: Project, server: Server, hub: Path
) -> None:
    """Model, weights and options that do not exist are answered with what does."""
    for source in ("torchvision:resnet81", "torchvision:resnet18@V9"):
        with pytest.raises(NotFound):
            project.registry().import_(source)
    for source in ("torchvision:", "torchvision:resnet18@"):
        with pytest.raises(UsageError, match="which model"):
            project.registry().import_(source)
    with pytest.raises(UsageError, match="--revision chooses from a repository"):
        project.registry().import_("torchvision:resnet18", revision="main")
    assert server.asked == []


def test_without_torchvision_it_is_said_what_to_install(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, with what to type."""
    for name in ("torch", "torchvision"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Unsupported, match=r"^torch.* is not installed") as raised:
        project.registry().import_("torchvision:resnet18")
    assert raised.value.hint == "pip install 'mvc-registry[torch]'"
