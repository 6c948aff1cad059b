"""The callback for Lightning, with the real ``Trainer`` on a network of eighteen numbers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mvc.frameworks.libraries import available, import_torchvision
from tests.support.registry_builders import Project
from tests.training.conftest import left_over, run_script, until, versions

torch = pytest.importorskip("torch")
if available():
    import_torchvision()  # which Lightning imports, and which cannot always be imported by itself
pytest.importorskip("lightning.pytorch")

from lightning.pytorch import Callback, LightningModule, Trainer  # noqa: E402  # if it is there
from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402  # if it is there

from mvc.training.lightning import MvcCallback  # noqa: E402  # if Lightning is there

# What the libraries say of each other's age is for their users.
pytestmark = pytest.mark.filterwarnings("ignore")


class Net(LightningModule):
    """Learns nothing worth knowing, and has hyper-parameters as people have them."""

    def __init__(
        self,
        lr: float = 0.1,
        act: type = torch.nn.ReLU,
        where: Path = Path("data/x"),
        loss: object = torch.nn.MSELoss(),  # an object, as people give them
        api_key: str = "secret",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(8, 2)

    def training_step(self, batch: Any, index: int) -> Any:
        loss = self.layer(batch).pow(2).mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", self.layer(batch).pow(2).mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


class Failing(Net):
    """Fails in its third epoch."""

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 2:
            raise RuntimeError("out of memory")


@pytest.fixture
def fit(project: Project) -> Callable[..., Any]:
    """Runs a training and returns its callback."""

    def run(
        saving: Any,
        callback: MvcCallback | None = None,
        model: Any = None,
        epochs: int = 3,
        ckpt_path: str | None = None,
        **options: Any,
    ) -> MvcCallback:
        torch.manual_seed(0)
        data = torch.utils.data.DataLoader(torch.randn(16, 8), batch_size=4)
        mine = callback or MvcCallback("net", project.folder, log_model="all")
        # Before the next checkpoint the one before is to be added, for the tests to count on.
        saving = saving if isinstance(saving, list) else [saving]
        Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[mine, Unhurried(project), *saving],
            default_root_dir=project.folder,
            **options,
        ).fit(model or Net(), data, data, ckpt_path=ckpt_path, weights_only=False)
        return mine

    return run


class Unhurried(Callback):
    """Lets each batch take until nothing waits."""

    def __init__(self, project: Project) -> None:
        self._folder = project.folder

    def on_train_batch_end(self, *of: Any) -> None:
        until(lambda: not left_over(self._folder))


def saving(project: Project, **options: Any) -> Any:
    return ModelCheckpoint(**{"dirpath": project.folder / "ck", "monitor": "val_loss", **options})


def test_every_checkpoint_is_registered_though_they_rotate(
    project: Project, fit: Callable[..., MvcCallback]
) -> None:
    """With one file kept, and the last beside it, each epoch is one version with its metrics."""
    mine = fit(saving(project, save_top_k=1, save_last=True))
    found = versions(project)
    assert mine.versions == ("net/v1", "net/v2", "net/v3")
    assert [(v.lineage["epoch"], v.lineage["step"]) for v in found] == [(0, 4), (1, 8), (2, 12)]
    assert [len(v.lineage["parents"]) for v in found] == [0, 1, 1]
    loss = [v.metrics["val_loss"] for v in found]
    assert loss == sorted(loss, reverse=True)
    assert set(found[0].metrics) == {"val_loss", "train_loss"}
    assert {v.artifact.name for v in found} == {
        "epoch=0-step=4.ckpt", "epoch=1-step=8.ckpt", "epoch=2-step=12.ckpt"
    }  # fmt: skip
    assert found[2].best
    assert left_over(project.folder) == []
    saved = torch.load(project.registry().path("net@v1"), weights_only=False)
    assert (saved["epoch"], saved["global_step"]) == (0, 4)


def test_hyper_parameters_are_plain(project: Project, fit: Callable[..., MvcCallback]) -> None:
    """Classes and paths become text; objects and what is secret are left out."""
    fit(saving(project), epochs=1)
    version = versions(project)[0]
    assert version.params == {
        "lr": 0.1, "act": "torch.nn.modules.activation.ReLU", "where": str(Path("data/x"))
    }  # fmt: skip
    assert version.model["architecture"] == "Net"


@pytest.mark.parametrize(
    ("log_model", "options", "steps"),
    [
        (True, {"save_top_k": 2, "mode": "max"}, [4]),  # the loss falls: the first is best
        (True, {"monitor": None}, [12]),
        (False, {}, []),
    ],
)
def test_at_the_end_it_is_one_or_none(
    project: Project,
    fit: Callable[..., MvcCallback],
    log_model: bool,
    options: dict[str, Any],
    steps: list[int],
) -> None:
    """``True`` registers the best if something is monitored, else the last; ``False`` nothing."""
    mine = fit(saving(project, **options), MvcCallback("net", project.folder, log_model=log_model))
    assert len(mine.versions) == len(steps)
    assert project.mvc.exists() == bool(steps)
    if steps:
        (version,) = versions(project)
        assert [version.lineage["step"]] == steps
        assert version.artifact.name.endswith(f"step={steps[0]}.ckpt")
        if "mode" in options:
            assert version.best
            assert project.registry().best("net")[0].mode == "max"  # type: ignore[union-attr]  # set


def test_steps_weights_only_and_links(project: Project, fit: Callable[..., MvcCallback]) -> None:
    """Checkpoints by steps, with weights alone, beside a last one that is a link: one a step."""
    some = saving(
        project, monitor=None, every_n_train_steps=2, save_weights_only=True, save_last="link"
    )
    mine = fit(some, epochs=1, limit_train_batches=4)
    steps = [v.lineage["step"] for v in versions(project)]
    assert steps[-1] == 4
    assert len(steps) + mine.summary.passed_over == 2


def test_a_checkpoint_that_is_a_folder(project: Project, fit: Callable[..., MvcCallback]) -> None:
    """What torch's distributed checkpoints write is one version, with its hidden file."""
    from lightning.fabric.plugins import TorchCheckpointIO
    from torch.distributed import checkpoint as dcp

    class Sharded(TorchCheckpointIO):
        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            dcp.save({"state": checkpoint["state_dict"]}, checkpoint_id=path)

    fit(saving(project), epochs=1, plugins=[Sharded()])
    (version,) = versions(project)
    names = {file.path for file in project.registry().files("net")}
    assert version.artifact.format == "torch-dcp"
    assert ".metadata" in names
    kept = {"state": {"layer.weight": torch.zeros(2, 8), "layer.bias": torch.zeros(2)}}
    dcp.load(kept, checkpoint_id=project.registry().path("net"))
    assert all(tensor.any() for tensor in kept["state"].values())


def test_what_is_written_later_is_of_its_own_moment(
    project: Project, fit: Callable[..., MvcCallback]
) -> None:
    """A checkpoint that is written while the next epoch runs has the metrics of its own."""
    from lightning.pytorch.plugins import AsyncCheckpointIO, TorchCheckpointIO

    class Late(TorchCheckpointIO):
        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            time.sleep(0.3)
            super().save_checkpoint(checkpoint, path, storage_options)

    mine = fit(saving(project, save_top_k=-1), plugins=[AsyncCheckpointIO(Late())])
    found = versions(project)
    assert len(mine.versions) + mine.summary.passed_over == 3
    assert [v.artifact.name for v in found][-1] == "epoch=2-step=12.ckpt"
    for version in found:
        assert version.artifact.name == "epoch={epoch}-step={step}.ckpt".format(**version.lineage)
    loss = [v.metrics["val_loss"] for v in found]
    assert loss == sorted(set(loss), reverse=True)


def test_checkpoints_elsewhere_are_told_of(
    project: Project, fit: Callable[..., MvcCallback], said: Callable[[], list[str]]
) -> None:
    """What is saved to no disk of this machine is not registered, which is said at once."""
    fit(saving(project, dirpath="memory://ck"), epochs=1)
    assert len(said()) == 1
    assert "memory://ck" in said()[0]


def test_a_failing_run_and_the_next(project: Project, fit: Callable[..., MvcCallback]) -> None:
    """What was saved before an error is registered, and the next run's first is its child."""
    mine = MvcCallback("net", project.folder, log_model="all")
    with pytest.raises(RuntimeError, match="out of memory"):
        fit(saving(project), mine, Failing())
    fit(saving(project), mine, epochs=1)
    assert mine.versions == ("net/v1", "net/v2", "net/v3")
    assert [one["id"] for one in versions(project)[2].lineage["parents"]] == ["net/v2"]


def test_a_resumed_run_goes_on(project: Project, fit: Callable[..., MvcCallback]) -> None:
    """Files that were there before make no version; the first new one is the last one's child."""
    fit(saving(project, save_last=True), epochs=2)
    last = str(project.folder / "ck" / "epoch=1-step=8.ckpt")
    mine = fit(saving(project, save_top_k=-1), epochs=3, ckpt_path=last)
    assert mine.versions == ("net/v3",)
    assert [one["id"] for one in versions(project)[2].lineage["parents"]] == ["net/v2"]


def test_a_registry_that_cannot_be_does_not_hurt(
    project: Project, fit: Callable[..., MvcCallback], said: Callable[[], list[str]]
) -> None:
    """The training ends as if there were no callback, with one warning."""
    project.file(b"", "file")
    mine = fit(saving(project), MvcCallback("net", project.folder / "file", log_model="all"))
    assert mine.summary.failed == 3
    assert len(said()) == 1


SCRIPT = """
import os, signal, sys
from mvc.frameworks.libraries import import_torchvision
import_torchvision()
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from mvc.training.lightning import MvcCallback

class Net(LightningModule):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.layer = torch.nn.Linear(8, 2)

    def training_step(self, batch, index):
        if self.kind == "interrupted" and self.current_epoch == 1 and index == 2:
            os.killpg(0, signal.SIGINT)  # as a terminal does
        return self.layer(batch).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

if __name__ == "__main__":
    data = torch.utils.data.DataLoader(torch.randn(16, 8), batch_size=4, num_workers=1)
    for kind in sys.argv[1:]:
        several = {} if kind == "interrupted" else {"strategy": kind, "devices": 2}
        saving = ModelCheckpoint(dirpath="ck-" + kind, save_top_k=-1, save_on_exception=True)
        trainer = Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[MvcCallback(kind, ".", log_model="all"), saving],
            **several,
        )
        trainer.fit(Net(kind), data)
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Any]:
    """A program that trains on two processes, and then once more until it is interrupted."""
    project = Project(tmp_path_factory.mktemp("script"))
    return project, run_script(SCRIPT, "ddp_fork", "interrupted", folder=project.folder)


def test_one_of_two_processes_registers(script: tuple[Project, Any]) -> None:
    """Two processes of a DDP training on gloo: each checkpoint is one version."""
    project, done = script
    steps = [version.lineage["step"] for version in versions(project, "ddp_fork")]
    summaries = [line for line in done.stderr.splitlines() if "ddp_fork/v1" in line]
    assert len(summaries) == 1, done.stderr
    assert len(steps) + summaries[0].count("1 passed over") == 2
    assert steps[-1] == 4


def test_an_interrupt_registers_what_there_is(script: tuple[Project, Any]) -> None:
    """After Ctrl-C the exit status is Lightning's, and what it saved, also then, is registered."""
    project, done = script
    assert done.returncode == 1, done.stderr
    steps = [version.lineage["step"] for version in versions(project, "interrupted")]
    assert steps[-1] == 6
    (summary,) = [line for line in done.stderr.splitlines() if "interrupted/v1" in line]
    assert len(steps) + summary.count("1 passed over") == 2


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_one_of_two_programs_registers(project: Project, strategy: str) -> None:
    """The same where the processes are programs of their own, started by Lightning."""
    done = run_script(SCRIPT, strategy, folder=project.folder)
    assert done.returncode == 0, done.stderr
    steps = [version.lineage["step"] for version in versions(project, strategy)]
    assert len(steps) + done.stderr.count("1 passed over") == 2
    assert done.stderr.count("mvc: ") == 1
