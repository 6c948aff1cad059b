"""The tensors of ResNet-18 and DenseNet-121 as plain arrays, without torch.

Where torch is not installed the demo still has to show real shapes, sizes and
numbers that behave like weights. A few loops lay out both networks as
torchvision does (same names, order, shapes and dtypes; a test compares), numpy
fills them from a seed, and they come out as pieces of a ``.safetensors`` file
for the caller to write: nothing here opens a file.

Layout of the file: 8 bytes header length, little-endian; a JSON object of name
to ``dtype``, ``shape``, ``data_offsets``, padded with spaces; then the data.
See docs/references.md [safetensors].

Public names: ``NETWORKS``, ``Order``, ``TensorSpec``, ``specs``, ``safetensors_pieces``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mvc.errors import UsageError

Order: TypeAlias = Literal["network", "sorted"]
Dtype: TypeAlias = Literal["F32", "I64"]

_NUMPY: dict[Dtype, str] = {"F32": "<f4", "I64": "<i8"}
_ALIGNMENT = 8
_CLASSES = 1000
# What a network that was trained for some epochs has counted.
_BATCHES_SEEN = 450_000


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor as safetensors describes it: name, dtype and shape."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its bytes."""
        return math.prod(self.shape) * np.dtype(_NUMPY[self.dtype]).itemsize


def specs(name: str) -> tuple[TensorSpec, ...]:
    """List the tensors of network ``name`` in the order of torchvision's ``state_dict``.

    Raises:
        UsageError: ``name`` is not in ``NETWORKS``.
    """
    if name not in _LAYOUTS:
        raise UsageError(f"no network '{name}'", hint=f"one of {', '.join(NETWORKS)}")
    return tuple(_LAYOUTS[name]())


def safetensors_pieces(
    name: str,
    *,
    seed: int = 0,
    order: Order = "network",
    metadata: Mapping[str, str] | None = None,
) -> Iterator[bytes]:
    """Give a ``.safetensors`` file of network ``name``, piece by piece.

    The values depend on ``name`` and ``seed`` alone, so two calls with another
    ``order`` or ``metadata`` make two files of the same weights.

    Args:
        name: One of ``NETWORKS``.
        seed: Of the values.
        order: How the data lies: as in the network, or as the safetensors
            library sorts it, wide types first and then by name.
        metadata: Free text for the header's ``__metadata__``.

    Yields:
        The header, then each tensor's bytes, row-major, little-endian.

    Raises:
        UsageError: ``name`` is not in ``NETWORKS``.
    """
    numbered = list(enumerate(specs(name)))
    if order == "sorted":
        numbered.sort(key=lambda entry: (entry[1].dtype != "I64", entry[1].name))
    yield _header([spec for _, spec in numbered], metadata)
    for number, spec in numbered:
        yield _values(spec, np.random.default_rng([seed, number])).tobytes()


def _header(ordered: list[TensorSpec], metadata: Mapping[str, str] | None) -> bytes:
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for spec in ordered:
        end = offset + spec.size
        header[spec.name] = {
            "dtype": spec.dtype,
            "shape": spec.shape,
            "data_offsets": (offset, end),
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _values(spec: TensorSpec, random: np.random.Generator) -> npt.NDArray[np.generic]:
    """Draw values on the scale that a trained network has in such a tensor."""
    if spec.dtype == "I64":
        return np.full(spec.shape, _BATCHES_SEEN, "<i8")
    drawn = random.standard_normal(spec.shape, dtype=np.float32)
    match spec.name.rpartition(".")[2], len(spec.shape):
        case "running_var", _:
            drawn = np.exp(drawn * np.float32(0.5))
        case "running_mean" | "bias", _:
            drawn *= np.float32(0.1)
        case _, 1:  # the scales of a normalisation
            drawn = np.float32(1) + drawn * np.float32(0.1)
        case _:
            fan_in = math.prod(spec.shape[1:])
            drawn *= np.float32(math.sqrt(2 / fan_in))
    return drawn.astype("<f4", copy=False)


def _resnet18() -> Iterator[TensorSpec]:
    yield from _convolution("conv1", 64, 3, 7)
    yield from _normalisation("bn1", 64)
    inputs = 64
    for layer, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            at = f"layer{layer}.{block}"
            yield from _convolution(f"{at}.conv1", width, inputs, 3)
            yield from _normalisation(f"{at}.bn1", width)
            yield from _convolution(f"{at}.conv2", width, width, 3)
            yield from _normalisation(f"{at}.bn2", width)
            if inputs != width:
                yield from _convolution(f"{at}.downsample.0", width, inputs, 1)
                yield from _normalisation(f"{at}.downsample.1", width)
            inputs = width
    yield from _linear("fc", _CLASSES, inputs)


def _densenet121() -> Iterator[TensorSpec]:
    growth, bottleneck = 32, 4 * 32
    width = 64
    yield from _convolution("features.conv0", width, 3, 7)
    yield from _normalisation("features.norm0", width)
    for block, count in enumerate((6, 12, 24, 16), start=1):
        if block > 1:
            at = f"features.transition{block - 1}"
            yield from _normalisation(f"{at}.norm", width)
            yield from _convolution(f"{at}.conv", width // 2, width, 1)
            width //= 2
        for layer in range(1, count + 1):
            at = f"features.denseblock{block}.denselayer{layer}"
            yield from _normalisation(f"{at}.norm1", width)
            yield from _convolution(f"{at}.conv1", bottleneck, width, 1)
            yield from _normalisation(f"{at}.norm2", bottleneck)
            yield from _convolution(f"{at}.conv2", growth, bottleneck, 3)
            width += growth
    yield from _normalisation("features.norm5", width)
    yield from _linear("classifier", _CLASSES, width)


def _convolution(at: str, outputs: int, inputs: int, side: int) -> Iterator[TensorSpec]:
    yield TensorSpec(f"{at}.weight", "F32", (outputs, inputs, side, side))


def _normalisation(at: str, width: int) -> Iterator[TensorSpec]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield TensorSpec(f"{at}.{part}", "F32", (width,))
    yield TensorSpec(f"{at}.num_batches_tracked", "I64", ())


def _linear(at: str, outputs: int, inputs: int) -> Iterator[TensorSpec]:
    yield TensorSpec(f"{at}.weight", "F32", (outputs, inputs))
    yield TensorSpec(f"{at}.bias", "F32", (outputs,))


_LAYOUTS = {"resnet18": _resnet18, "densenet121": _densenet121}
NETWORKS = tuple(_LAYOUTS)
