"""torchvision says where weights are, and a stand-in is there without a network."""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mvc.errors import Damaged, NotFound, UsageError
from mvc.frameworks import libraries
from mvc.frameworks.torchvision_weights import (
    NETWORKS,
    differing,
    load_back,
    published,
    save_as_pt,
    save_as_safetensors,
    seeded,
)

if not libraries.available():
    pytest.skip("the extra 'torch' is not installed", allow_module_level=True)
torch = libraries.import_torch()

COUNTS = {"resnet18": 122, "densenet121": 727}


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both networks' weights from seed 0, made once; read only."""
    folder = tmp_path_factory.mktemp("stand-ins")
    for name in NETWORKS:
        assert seeded(name, folder).parent == folder
    return folder


def seeded_path(folder: Path, name: str) -> Path:
    (path,) = folder.glob(f"{name}-seed0-*.pth")
    return path


def test_torchvision_says_where_the_weights_are_and_what_they_reach() -> None:
    """The default weights, or those named, have an address, a digest, metrics and a count."""
    found = published("resnet18")
    assert found == published("resnet18", "IMAGENET1K_V1") == published("resnet18", "DEFAULT")
    assert (found.weights, found.sha256) == ("IMAGENET1K_V1", "f37072fd")
    assert found.url.startswith("https://")
    assert found.kept.name == f"resnet18-{found.sha256}.pth"
    assert found.metrics == {"acc@1": 69.758, "acc@5": 89.078}
    assert found.params == {"weights": "IMAGENET1K_V1", "num_params": 11689512}


def test_metrics_on_several_data_are_told_apart() -> None:
    """Where a model was measured on more than one set, its name stands before the metric's."""
    assert "Sintel-Train-Cleanpass/epe" in published("raft_small").metrics


def test_every_published_file_is_known_by_its_name_but_few() -> None:
    """All models of torchvision have weights whose digest can be told before a download."""
    models = libraries.import_torchvision().models
    found = [published(name, weights) for name in models.list_models()
             for weights in models.get_model_weights(name).__members__]  # fmt: skip
    assert len(found) > 200
    assert all(each.sha256 for each in found)


@pytest.mark.parametrize(
    ("model", "weights", "hint"),
    [
        ("resnet81", None, "did you mean resnet18"),
        ("nothing-like-it", None, "one of alexnet, "),
        ("resnet18", "IMAGENET22K", "it has IMAGENET1K_V1, DEFAULT"),
    ],
)
def test_what_torchvision_does_not_have_is_answered_with_what_it_has(
    model: str, weights: str | None, hint: str
) -> None:
    """A slip in a name is not found, with the names that are near."""
    with pytest.raises(NotFound, match="torchvision has no ") as raised:
        published(model, weights)
    assert (raised.value.hint or "").startswith(hint)


def test_a_stand_in_is_the_same_wherever_it_is_made(stand_ins: Path, tmp_path: Path) -> None:
    """The same seed makes the same bytes in another folder, and other seeds other ones."""
    random_state = torch.get_rng_state()
    again = seeded("resnet18", tmp_path)
    other = seeded("resnet18", tmp_path, seed=1)
    assert again.name == seeded_path(stand_ins, "resnet18").name
    assert again.read_bytes() == seeded_path(stand_ins, "resnet18").read_bytes()
    assert again.read_bytes() != other.read_bytes()
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_stand_in_is_kept_and_mended(stand_ins: Path, tmp_path: Path) -> None:
    """It is made once; a damaged one is made anew."""
    path = tmp_path / seeded_path(stand_ins, "densenet121").name
    path.write_bytes(b"half")
    assert seeded("densenet121", tmp_path) == path
    made = path.stat().st_ino
    assert path.read_bytes() == (stand_ins / path.name).read_bytes()
    assert seeded("densenet121", tmp_path) == path
    assert path.stat().st_ino == made
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_loaded_back_is_the_same_tensor_by_tensor(
    name: str, stand_ins: Path, tmp_path: Path
) -> None:
    """Through the network and through both formats, every tensor keeps its bits."""
    source = seeded_path(stand_ins, name)
    pt, st = tmp_path / "model.pt", tmp_path / "model.safetensors"
    save_as_pt(name, source, pt)
    save_as_safetensors(pt, st)
    loaded = [load_back(name, path) for path in (source, pt, st)]
    assert len(loaded[0]) == COUNTS[name]
    assert differing(loaded[0], loaded[1]) == differing(loaded[1], loaded[2]) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "model.safetensors"]


def test_equal_weights_make_equal_files(stand_ins: Path, tmp_path: Path) -> None:
    """Saved twice under one name, a network makes one and the same file."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save_as_pt("resnet18", seeded_path(stand_ins, "resnet18"), tmp_path / folder / "m.pt")
    assert (tmp_path / "a/m.pt").read_bytes() == (tmp_path / "b/m.pt").read_bytes()


def test_the_published_old_form_is_read_and_saved_in_todays(
    stand_ins: Path, tmp_path: Path
) -> None:
    """DenseNet as published (dotted names, no counters, one pickle) becomes a full zip."""
    today = torch.load(seeded_path(stand_ins, "densenet121"), weights_only=True)
    old = {
        key.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2."): tensor
        for key, tensor in today.items()
        if not key.endswith("num_batches_tracked")
    }
    source, target = tmp_path / "old.pth", tmp_path / "new.pt"
    torch.save(old, source, _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(source)
    save_as_pt("densenet121", source, target)
    assert zipfile.is_zipfile(target)
    assert differing(load_back("densenet121", target), dict(today)) == []


def test_any_difference_is_named() -> None:
    """Value, sign of zero, dtype, shape and absence count; a NaN equals itself."""
    base: dict[str, Any] = {"a": torch.tensor([0.0, float("nan")]), "n": torch.tensor(7)}
    assert differing(base, {key: tensor.clone() for key, tensor in base.items()}) == []
    for other in (
        torch.tensor([-0.0, float("nan")]),
        base["a"].double(),
        base["a"].reshape(1, 2),
        torch.tensor([1.0, float("nan")]),
    ):
        assert differing(base, {**base, "a": other}) == ["a"]
    assert differing(base, {"a": base["a"], "x": base["n"]}) == ["n", "x"]


class Hostile:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_that_is_no_file_of_weights_is_damaged(tmp_path: Path, suffix: str) -> None:
    """Noise, an emptied file, a pickle that would run code: one error, and nothing is run."""
    path, trap = tmp_path / f"model{suffix}", tmp_path / "trap"
    for content in (b"", random.Random(0).randbytes(1000), pickle.dumps(Hostile(trap))):
        path.write_bytes(content)
        with pytest.raises(Damaged, match=f"^'model{suffix}' does not hold weights"):
            load_back("resnet18", path)
    assert not trap.exists()


def test_weights_of_another_network_do_not_fit(stand_ins: Path) -> None:
    """Loading the wrong architecture says how many tensors met how many."""
    with pytest.raises(Damaged, match=r"the 122 tensors in .* do not fit the 727 of densenet121"):
        load_back("densenet121", seeded_path(stand_ins, "resnet18"))


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    """A path that is not there stays what it is: not damage."""
    for name in ("model.pt", "model.safetensors"):
        with pytest.raises(FileNotFoundError):
            load_back("resnet18", tmp_path / name)


def test_an_unknown_network_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    """The error lists what there is, and no folder is made."""
    with pytest.raises(UsageError, match="no network 'vgg'") as raised:
        seeded("vgg", tmp_path / "none")
    assert raised.value.hint == "one of resnet18, densenet121"
    assert not (tmp_path / "none").exists()
