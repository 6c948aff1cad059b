"""Real networks for the demo: their weights, fetched once, and what is done with them.

``fetch`` puts the pretrained weights of a network into a folder and takes
them from there the next time. Where they cannot be downloaded it makes a file
for the same architecture from a fixed seed, so the demo works anywhere. The
name of every file it makes carries the first digits of the file's SHA-256, as
torchvision's own names do: that is how a damaged file is noticed.

The other functions are a user's side of the work: save a network's weights as
``.pt`` or ``.safetensors``, load them back, compare tensor by tensor.

Knows nothing of registries. Public names: ``NETWORKS``, ``Fetched``,
``Origin``, ``fetch``, ``load_back``, ``differing``, ``same_tensors``,
``save_as_pt``, ``save_as_safetensors``.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import socket
import tempfile
import urllib.error
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from mvc.errors import Damaged, UsageError
from mvc.frameworks.libraries import import_safetensors, import_torch, import_torchvision

NETWORKS = ("resnet18", "densenet121")

# Seconds without a sign of life after which a download is given up.
PATIENCE = 10.0

Origin: TypeAlias = Literal["downloaded", "cached", "seeded"]
# torch's types are not there where torch is not, and checks must say the same in both cases.
Tensor: TypeAlias = Any
Network: TypeAlias = Any

_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")
_HASH_DIGITS = 8

# The published DenseNet file is older than the rule that a module's name has no dot;
# torchvision renames its keys while loading, in a function it keeps to itself.
_OLD_DENSENET_KEY = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))$"
)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file of weights: where it lies, where it came from, and anything worth saying."""

    path: Path
    origin: Origin
    note: str | None = None


def fetch(name: str, folder: Path, *, seed: int = 0, online: bool = True) -> Fetched:
    """Have the weights of network ``name`` in ``folder``, by download if need be.

    Args:
        name: One of ``NETWORKS``.
        folder: Where downloads are kept, made if missing.
        seed: For the weights that stand in where the real ones cannot be had.
        online: False to try no download; a caller that has just seen one fail
            spares its user a second wait.

    Returns:
        The ``.pth`` file. ``origin`` is ``downloaded`` (just now), ``cached``
        (whole, in the folder already) or ``seeded`` (a stand-in, kept too).
        ``note`` says in one line why it is not plainly one of the first two.

    Raises:
        UsageError: ``name`` is not in ``NETWORKS``.
        Unsupported: torch or torchvision is not installed.
        OSError: The folder cannot be written.
    """
    url = _url(_known(name))
    path = folder / Path(urlsplit(url).path).name
    if _is_whole(path):
        return Fetched(path, "cached")
    damaged = path.exists()
    folder.mkdir(parents=True, exist_ok=True)
    problem = _download(url, path) if online else "not tried"
    if problem is None:
        note = f"{path.name} was damaged and has been fetched again" if damaged else None
        return Fetched(path, "downloaded", note)
    note = f"{path.name} is damaged and cannot be fetched again" if damaged else "no download"
    stand_in = _seeded(name, folder, seed)
    return Fetched(stand_in, "seeded", f"{note} ({problem}); weights from seed {seed} instead")


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


def same_tensors(a: Path, b: Path) -> int:
    """Compare two files of weights tensor by tensor and count the tensors.

    Raises:
        Damaged: They differ (the message names the first tensor that does), or one
            does not hold weights.
    """
    left = _read(a)
    unlike = differing(left, _read(b))
    if unlike:
        raise Damaged(
            f"{len(unlike)} tensors differ between '{a.name}' and '{b.name}', first '{unlike[0]}'"
        )
    return len(left)


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


def _url(name: str) -> str:
    """Ask torchvision where the weights of ``name`` are published."""
    return str(import_torchvision().models.get_model_weights(name).DEFAULT.url)


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


def _download(url: str, path: Path) -> str | None:
    """Fetch ``url`` to ``path``, wholly or not at all; give the reason where it fails.

    ``torch.hub`` writes to a temporary file beside ``path``, checks the hash
    and renames. It asks once: whoever runs the demo again has retried.
    """
    expected = _HASH_IN_NAME.search(path.name)
    hub = import_torch().hub
    try:
        with _patience(PATIENCE):
            hub.download_url_to_file(url, str(path), expected and expected[1], progress=False)
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    except RuntimeError:
        return f"what came is not whole: its hash is not that of {path.name}"
    return None


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Give up on any socket made meanwhile after ``seconds`` of silence.

    ``torch.hub`` takes no time limit, and the process-wide default is the only
    other way to set one.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _seeded(name: str, folder: Path, seed: int) -> Path:
    """Take the stand-in for ``name`` from ``folder``, or make it."""
    for path in sorted(folder.glob(f"{name}-seed{seed}-*.pth")):
        if _is_whole(path):
            return path
    torch = import_torch()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tensors = _network(name).state_dict()
    # Its name can only be known once it is written; nobody ever sees it half done.
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as private:
        draft = Path(private, "weights.pth")
        torch.save(tensors, draft)
        path = folder / f"{name}-seed{seed}-{_sha256(draft)[:_HASH_DIGITS]}.pth"
        draft.replace(path)
    return path


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
