"""The demo's model files: from torch where it is installed, else from plain arrays.

Public names: ``Models``, ``prepare``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mvc import environment, fileio
from mvc.cli import output
from mvc.errors import Damaged, NotFound, RemoteFailed

SEED = 0


@dataclass(frozen=True, slots=True)
class Models:
    """Files to register, and how two files of ResNet-18 are compared tensor by tensor.

    ``other`` holds the weights of ``resnet`` as another file, described by
    ``other_words``.
    """

    resnet: Path
    densenet: Path
    other: Path
    other_words: str
    compared_words: str
    same_tensors: Callable[[Path, Path], int]


def prepare(weights: Path, folder: Path, say: Callable[[str], None]) -> Models:
    """Make the files in ``folder``, from weights downloaded to or found in ``weights``."""
    from mvc.frameworks import libraries

    if libraries.available():
        return _with_torch(weights, folder, say)
    say("torch is not installed: arrays of the networks' shapes stand in for their weights")
    return _without_torch(folder)


def _with_torch(weights: Path, folder: Path, say: Callable[[str], None]) -> Models:
    from mvc.frameworks import torchvision_weights as torchvision

    made = {}
    for name, path in _pretrained(weights, say).items():
        say(f"{name}: {output.path(path)}")
        made[name] = folder / f"{name}.pt"
        torchvision.save_as_pt(name, path, made[name])
    other = folder / "resnet18.safetensors"
    torchvision.save_as_safetensors(made["resnet18"], other)

    def same_tensors(left: Path, right: Path) -> int:
        loaded = [torchvision.load_back("resnet18", path) for path in (left, right)]
        unlike = torchvision.differing(*loaded)
        if unlike:
            raise Damaged(f"{len(unlike)} tensors differ, first '{unlike[0]}'")
        return len(loaded[0])

    return Models(
        resnet=made["resnet18"],
        densenet=made["densenet121"],
        other=other,
        other_words="a .safetensors file",
        compared_words="loaded into the network",
        same_tensors=same_tensors,
    )


def _pretrained(weights: Path, say: Callable[[str], None]) -> dict[str, Path]:
    """Import the networks' weights as ``mvc import`` does; without a network, make them."""
    from mvc.frameworks import torchvision_weights as torchvision
    from mvc.registry.imports.sources import Wish, bring

    found: dict[str, Path] = {}
    offline, told = environment.offline(), False
    for name in torchvision.NETWORKS:
        try:
            found[name] = bring(Wish(f"torchvision:{name}", weights, offline=offline)).path
        except (RemoteFailed, NotFound) as error:
            if not told:
                say(f"no download ({error.message}); weights from seed {SEED} instead")
            offline = told = True
            found[name] = torchvision.seeded(name, weights, SEED)
    return found


def _without_torch(folder: Path) -> Models:
    from mvc.frameworks.without_torch import safetensors_pieces

    resnet, densenet = folder / "resnet18.safetensors", folder / "densenet121.safetensors"
    other = folder / "resnet18-resaved.safetensors"
    fileio.replace(resnet, b"".join(safetensors_pieces("resnet18", seed=SEED)))
    fileio.replace(densenet, b"".join(safetensors_pieces("densenet121", seed=SEED)))
    saved_again = safetensors_pieces(
        "resnet18", seed=SEED, order="sorted", metadata={"saved": "again"}
    )
    fileio.replace(other, b"".join(saved_again))
    return Models(
        resnet=resnet,
        densenet=densenet,
        other=other,
        other_words="another file, its tensors in another order",
        compared_words="read from both files",
        same_tensors=_same_arrays,
    )


def _same_arrays(left: Path, right: Path) -> int:
    first, second = _arrays(left), _arrays(right)
    unlike = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    if unlike:
        raise Damaged(f"{len(unlike)} tensors differ, first '{unlike[0]}'")
    return len(first)


def _arrays(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    from mvc import formats
    from mvc.registry.intake.source import SourceFile

    with SourceFile(path) as source:
        layout = formats.describe(source)
        if layout is None:
            raise Damaged(f"'{path.name}' is no file of tensors")
        found = {}
        for tensor in layout.tensors:
            data = source.read(layout.start_of(tensor), tensor.size)
            found[tensor.name] = tensor.dtype, tensor.shape, data
        return found
