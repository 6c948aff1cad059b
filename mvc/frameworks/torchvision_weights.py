"""Weights that torchvision publishes, and what the demo does with two networks of it.

``published`` says where the weights of a model are to be had, and what
torchvision knows of them; nothing is downloaded here. Where the demo cannot
have the real ones, ``seeded`` makes a file for the same architecture. The
name of each such file carries the first digits of its SHA-256, as
torchvision's own names do: that is how a damaged file is noticed.

The other functions are a user's side of the work: save a network's weights as
``.pt`` or ``.safetensors``, load them back, compare tensor by tensor.

Knows nothing of registries. Public names: ``NETWORKS``, ``Published``,
``published``, ``seeded``, ``load_back``, ``differing``,
``save_as_pt``, ``save_as_safetensors``.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from mvc.errors import Damaged, NotFound, UsageError
from mvc.frameworks.libraries import import_safetensors, import_torch, import_torchvision

NETWORKS = ("resnet18", "densenet121")

# torch's types are not there where torch is not, and checks must say the same in both cases.
Tensor: TypeAlias = Any
Network: TypeAlias = Any

_HASH_IN_NAME = re.compile(r"[-_]([0-9a-f]{8,64})\.pth$")
_HASH_DIGITS = 8

# The published DenseNet file is older than the rule that a module's name has no dot;
# torchvision renames its keys while loading, in a function it keeps to itself.
_OLD_DENSENET_KEY = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))$"
)


@dataclass(frozen=True, slots=True)
class Published:
    """Weights of a model, and what torchvision knows of them.

    ``weights`` is their name, as ``IMAGENET1K_V1``; ``sha256`` how the digest
    of their file begins, empty where its name does not say; ``kept`` where
    ``torch.hub`` puts the file, which may be there already.
    """

    model: str
    weights: str
    url: str
    sha256: str
    metrics: Mapping[str, float]
    params: Mapping[str, Any]
    kept: Path


def published(model: str, weights: str | None = None) -> Published:
    """Ask torchvision for the weights of a model, by name or its default ones.

    Raises:
        NotFound: It has no such model, or no such weights of it.
        Unsupported: torch or torchvision is not installed.
    """
    models = import_torchvision().models
    try:
        every = models.get_model_weights(model)
    except ValueError:
        hint = _near(model, models.list_models())
        raise NotFound(f"torchvision has no model '{model[:80]}'", hint=hint) from None
    names = list(every.__members__)
    if (weights or "DEFAULT") not in names:
        hint = f"it has {', '.join(names)}" if names else "choose another model"
        what = f"weights '{weights[:80]}'" if weights else "weights"
        raise NotFound(f"torchvision has no {what} of {model}", hint=hint)
    found = every[weights or "DEFAULT"]
    name = Path(urlsplit(found.url).path).name
    digest = _HASH_IN_NAME.search(name)
    return Published(
        model=model,
        weights=found.name,
        url=found.url,
        sha256=digest[1] if digest else "",
        metrics=_metrics(found.meta.get("_metrics", {})),
        params={"weights": found.name, "num_params": found.meta.get("num_params")},
        kept=Path(import_torch().hub.get_dir(), "checkpoints", name),
    )


def _metrics(by_data: Mapping[str, Any]) -> dict[str, float]:
    """Return what was measured; the name of the data goes before it where there are several."""
    return {
        name if len(by_data) == 1 else f"{data}/{name}": value
        for data, measured in by_data.items()
        for name, value in measured.items()
        if isinstance(value, (int, float))
    }


def _near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"one of {', '.join(known[:8])}, …"


def seeded(name: str, folder: Path, seed: int = 0) -> Path:
    """Take the stand-in for network ``name`` from ``folder``, or make it, from a fixed seed.

    Raises:
        UsageError: ``name`` is not in ``NETWORKS``.
        Unsupported: torch or torchvision is not installed.
        OSError: The folder cannot be written.
    """
    for path in sorted(folder.glob(f"{_known(name)}-seed{seed}-*.pth")):
        if _is_whole(path):
            return path
    torch = import_torch()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tensors = _network(name).state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    # Its name can only be known once it is written; nobody ever sees it half done.
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as private:
        draft = Path(private, "weights.pth")
        torch.save(tensors, draft)
        path = folder / f"{name}-seed{seed}-{_sha256(draft)[:_HASH_DIGITS]}.pth"
        draft.replace(path)
    return path


def load_back(name: str, path: Path) -> dict[str, Tensor]:
    """Load the weights in ``path`` into a new network ``name`` and give what it then holds.

    Args:
        name: One of ``NETWORKS``.
        path: A ``.pt``, ``.pth`` or ``.safetensors`` file.

    Raises:
        UsageError: ``name`` is not in ``NETWORKS``.
        Damaged: The file does not hold weights, or they do not fit this network.
    """
    return dict(_loaded(name, path).state_dict())


def differing(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> list[str]:
    """Name the tensors that are not the same bits, dtype and shape on both sides."""
    return [
        name
        for name in {**left, **right}
        if name not in left or name not in right or not _same_bits(left[name], right[name])
    ]


def save_as_pt(name: str, source: Path, target: Path) -> None:
    """Load ``source`` into network ``name`` and save it as a training script would.

    Published files may be in torch's format from before 2020, which is one
    opaque pickle; ``target`` is always the zip that ``torch.save`` writes today.
    """
    _save(_loaded(name, source).state_dict(), target)


def save_as_safetensors(source: Path, target: Path) -> None:
    """Write the tensors of the file ``source`` as the ``.safetensors`` file ``target``."""
    tensors = {key: tensor.contiguous() for key, tensor in _read(source).items()}
    import_safetensors().save_file(tensors, target, metadata={"format": "pt"})


def _known(name: str) -> str:
    if name not in NETWORKS:
        raise UsageError(f"no network '{name}'", hint=f"one of {', '.join(NETWORKS)}")
    return name


def _network(name: str) -> Network:
    return import_torchvision().models.get_model(_known(name), weights=None)


def _loaded(name: str, path: Path) -> Network:
    """Build the network ``name`` with the weights in ``path``; ``Damaged`` if they do not fit."""
    network = _network(name)
    tensors = {_OLD_DENSENET_KEY.sub(r"\1\2", key): value for key, value in _read(path).items()}
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        count = len(network.state_dict())
        raise Damaged(
            f"the {len(tensors)} tensors in '{path.name}' do not fit the {count} of {name}"
        ) from error
    return network


def _is_whole(path: Path) -> bool:
    """Say whether ``path`` is a file whose bytes have the hash in its name."""
    expected = _HASH_IN_NAME.search(path.name)
    if expected is None or not path.is_file():
        return False
    return _sha256(path).startswith(expected[1])


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _save(tensors: Mapping[str, Tensor], target: Path) -> None:
    """Save to ``target``, which is never seen half written.

    torch puts the name of the file into the file; the draft has the target's
    name, in a folder of its own, so that equal weights make equal files.
    """
    with tempfile.TemporaryDirectory(prefix=".mvc-", dir=target.parent) as private:
        draft = Path(private, target.name)
        import_torch().save(tensors, draft)
        draft.replace(target)


def _read(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file without running anything that stands in it.

    Raises:
        Damaged: The library that reads this format cannot; it raises what it likes.
        OSError: The file cannot be opened.
    """
    safetensors = path.suffix == ".safetensors" and import_safetensors()
    torch = import_torch()
    try:
        if safetensors:
            return dict(safetensors.load_file(path))
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except OSError:
        raise
    except Exception as error:
        raise Damaged(f"'{path.name}' does not hold weights: {type(error).__name__}") from error


def _same_bits(left: Tensor, right: Tensor) -> bool:
    """Compare as bytes: a NaN equals itself, and -0.0 is not 0.0."""
    torch = import_torch()
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    raw = (tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (left, right))
    return bool(torch.equal(*raw))
