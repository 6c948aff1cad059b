"""The callback for Hugging Face's ``Trainer``, with the real one on a network of 1,250 numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mvc.frameworks.libraries import available, import_torchvision
from tests.support.registry_builders import Project
from tests.training.conftest import left_over, run_script, until, versions

torch = pytest.importorskip("torch")
if available():
    import_torchvision()  # which cannot always be imported by itself
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

import transformers  # noqa: E402  # if it is there

from mvc.training.transformers import MvcCallback  # noqa: E402  # if transformers is there

# What the libraries say of each other's age is for their users.
pytestmark = pytest.mark.filterwarnings("ignore")


class Unhurried(transformers.TrainerCallback):
    """Lets each epoch take until nothing waits, so that the tests can count on all."""

    def __init__(self, project: Project) -> None:
        self._folder = project.folder

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        until(lambda: not left_over(self._folder))


@pytest.fixture
def train(project: Project) -> Callable[..., MvcCallback]:
    """Runs a training and returns its callback."""

    def run(callback: MvcCallback | None = None, **options: Any) -> MvcCallback:
        mine = callback or MvcCallback("bert", project.folder, log_model="all")
        trainer(project, [mine, Unhurried(project)], **options).train()
        return mine

    return run


def trainer(project: Project, callbacks: list[Any], **options: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=16,
    )  # fmt: skip
    rows = [{"input_ids": torch.full((6,), i), "labels": torch.tensor(i % 2)} for i in range(8)]
    given = {
        "output_dir": str(project.folder / "out"), "num_train_epochs": 3,
        "per_device_train_batch_size": 4, "save_strategy": "epoch", "eval_strategy": "epoch",
        "logging_steps": 1, "report_to": [], "use_cpu": True, "disable_tqdm": True,
        "hub_token": "hf_secret", "learning_rate": 0.01, **options,
    }  # fmt: skip
    return transformers.Trainer(
        transformers.BertForSequenceClassification(config),
        transformers.TrainingArguments(**given),
        train_dataset=rows,
        eval_dataset=rows,
        callbacks=callbacks,
    )


def test_every_checkpoint_is_registered_though_one_is_kept(
    project: Project, train: Callable[..., MvcCallback]
) -> None:
    """With ``save_total_limit=1`` each epoch is a version with the evaluation of its step."""
    mine = train(save_total_limit=1)
    found = versions(project, "bert")
    assert mine.versions == ("bert/v1", "bert/v2", "bert/v3")
    assert [(v.lineage["step"], v.lineage["epoch"]) for v in found] == [(2, 1), (4, 2), (6, 3)]
    assert set(found[0].metrics) == {"eval_loss", "loss"}
    assert len({v.metrics["eval_loss"] for v in found}) == 3
    assert [one["id"] for one in found[2].lineage["parents"]] == ["bert/v2"]
    assert {file.path for file in project.registry().files("bert")} == {
        "config.json", "model.safetensors"
    }  # fmt: skip
    assert left_over(project.folder) == []


def test_a_version_is_what_from_pretrained_takes(
    project: Project, train: Callable[..., MvcCallback]
) -> None:
    """The path of a version loads as a model, with the weights of its step."""
    train(num_train_epochs=1)
    path = project.registry().path("bert")
    model = transformers.BertForSequenceClassification.from_pretrained(path)
    ours = project.registry().load("bert")
    assert all(torch.equal(tensor, ours[name]) for name, tensor in model.state_dict().items())
    assert versions(project, "bert")[0].model["architecture"] == "BertForSequenceClassification"


def test_training_goes_on_from_a_version_with_its_state(
    project: Project, train: Callable[..., MvcCallback]
) -> None:
    """With ``training_state`` a version is a whole checkpoint, from which training is resumed."""
    whole = MvcCallback("bert", project.folder, log_model="all", training_state=True)
    train(whole, num_train_epochs=2, save_total_limit=1)
    kept = project.registry().path("bert@v1")
    again = MvcCallback("bert", project.folder, log_model="all", training_state=True)
    resumed = trainer(project, [again], num_train_epochs=3)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 6
    assert again.versions == ("bert/v3",)
    assert [one["id"] for one in versions(project, "bert")[2].lineage["parents"]] == ["bert/v2"]
    resumed = trainer(project, [], num_train_epochs=2, output_dir=str(project.folder / "again"))
    resumed.train(resume_from_checkpoint=str(kept))
    assert resumed.state.global_step == 4
    assert {"optimizer.pt", "trainer_state.json"} <= {path.name for path in kept.iterdir()}


@pytest.mark.parametrize(("log_model", "best"), [(True, True), (True, False), (False, False)])
def test_at_the_end_it_is_one_or_none(
    project: Project, train: Callable[..., MvcCallback], log_model: bool, best: bool
) -> None:
    """``True`` registers the best if the trainer knows it, else the last; ``False`` nothing."""
    options = {
        "load_best_model_at_end": True, "metric_for_best_model": "loss", "greater_is_better": True
    }  # fmt: skip
    mine = train(
        MvcCallback("bert", project.folder, log_model=log_model), **(options if best else {})
    )
    assert len(mine.versions) == log_model
    assert project.mvc.exists() == log_model
    if log_model:
        (version,) = versions(project, "bert")
        assert version.lineage["step"] == (2 if best else 6)  # the loss falls
        assert "eval_loss" in version.metrics
        rule, _ = project.registry().best("bert")
        assert rule is not None
        assert rule.mode == ("max" if best else "min")


def test_parameters_are_those_that_were_chosen(
    project: Project, train: Callable[..., MvcCallback]
) -> None:
    """What was changed and what everybody asks for is there; no token, no path, no machine."""
    train(num_train_epochs=1, warmup_steps=3, max_grad_norm=0.5)
    params = versions(project, "bert")[0].params
    assert params["warmup_steps"] == 3
    assert params["max_grad_norm"] == 0.5
    assert params["learning_rate"] == 0.01
    assert params["seed"] == 42
    text = str(dict(params))
    assert "hf_secret" not in text
    assert "TOKEN" not in text
    assert str(project.folder) not in text
    assert len(params) < 15, params


def test_a_registry_that_cannot_be_does_not_hurt(
    project: Project, train: Callable[..., MvcCallback], said: Callable[[], list[str]]
) -> None:
    """The training ends as if there were no callback, with one warning."""
    project.file(b"", "file")
    mine = train(MvcCallback("bert", Path(project.folder, "file"), log_model="all"))
    assert mine.summary.failed == 3
    assert len(said()) == 1


SCRIPT = """
from mvc.frameworks.libraries import import_torchvision
import_torchvision()
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
from mvc.training.transformers import MvcCallback

config = BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                    intermediate_size=16, max_position_embeddings=16)
rows = [{"input_ids": torch.full((6,), i), "labels": torch.tensor(i % 2)} for i in range(16)]
arguments = TrainingArguments("out", num_train_epochs=2, per_device_train_batch_size=4,
                              save_strategy="epoch", report_to=[], use_cpu=True,
                              ddp_backend="gloo", disable_tqdm=True)
mine = MvcCallback("bert", ".", log_model="all", training_state=True)
Trainer(BertForSequenceClassification(config), arguments, train_dataset=rows,
        callbacks=[mine]).train()
"""


@pytest.mark.long
def test_one_of_two_processes_registers(project: Project) -> None:
    """Two processes of ``torchrun`` on gloo: each checkpoint is one version, with both states."""
    (project.folder / "train.py").write_text(SCRIPT)
    start = "from torch.distributed.run import main; main()"
    options = ["--nproc_per_node", 2, "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"]
    done = run_script(start, *options, "train.py", folder=project.folder)
    assert done.returncode == 0, done.stderr
    steps = [version.lineage["step"] for version in versions(project, "bert")]
    assert len(steps) + done.stderr.count("1 passed over") == 2
    assert steps[-1] == 4
    names = {file.path for file in project.registry().files("bert")}
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt"} <= names
