"""Arrays that stand in for real networks have their names, shapes and dtypes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from mvc.errors import UsageError
from mvc.frameworks import libraries
from mvc.frameworks.without_torch import NETWORKS, safetensors_pieces, specs

PARAMETERS = {"resnet18": 11_689_512, "densenet121": 7_978_856}
COUNTS = {"resnet18": 122, "densenet121": 727}

networks = pytest.mark.parametrize("name", NETWORKS)


@networks
def test_layout_is_torchvisions(name: str) -> None:
    """Name for name, in order, shapes and dtypes are those of torchvision's ``state_dict``."""
    if not libraries.available():
        pytest.skip("the extra 'torch' is not installed")
    torch = libraries.import_torch()
    dtypes = {torch.float32: "F32", torch.int64: "I64"}
    network = libraries.import_torchvision().models.get_model(name, weights=None)
    theirs = [
        (key, dtypes[tensor.dtype], tuple(tensor.shape))
        for key, tensor in network.state_dict().items()
    ]
    assert [(spec.name, spec.dtype, spec.shape) for spec in specs(name)] == theirs


@networks
def test_counts_are_the_published_ones(name: str) -> None:
    """Also where torchvision is not there to compare with, the known totals come out."""
    counted = [
        spec
        for spec in specs(name)
        if not spec.name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]
    assert sum(spec.size for spec in counted) == 4 * PARAMETERS[name]
    assert len(specs(name)) == COUNTS[name]


@networks
def test_the_real_safetensors_reads_what_was_described(name: str, tmp_path: Path) -> None:
    """The library that owns the format finds every tensor with its shape and dtype."""
    arrays = safetensors.numpy.load(b"".join(safetensors_pieces(name)))
    dtypes = {"F32": np.float32, "I64": np.int64}
    assert {(key, array.shape, array.dtype.type) for key, array in arrays.items()} == {
        (spec.name, spec.shape, dtypes[spec.dtype]) for spec in specs(name)
    }
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_order_and_metadata_make_another_file_of_the_same_weights(tmp_path: Path) -> None:
    """Sorted or not, described or not: different bytes, equal tensors."""
    one = b"".join(safetensors_pieces("resnet18", seed=3))
    path = tmp_path / "two.safetensors"
    path.write_bytes(
        b"".join(safetensors_pieces("resnet18", seed=3, order="sorted", metadata={"format": "pt"}))
    )
    with safetensors.safe_open(path, framework="numpy") as opened:
        assert opened.metadata() == {"format": "pt"}
    left, right = safetensors.numpy.load(one), safetensors.numpy.load_file(path)
    assert one != path.read_bytes()
    assert left.keys() == right.keys()
    assert all(left[key].tobytes() == right[key].tobytes() for key in left)


def test_values_follow_the_seed_and_nothing_else() -> None:
    """One seed gives one file on any day; another seed gives other weights."""
    first = b"".join(safetensors_pieces("densenet121", seed=1))
    assert first == b"".join(safetensors_pieces("densenet121", seed=1))
    assert first != b"".join(safetensors_pieces("densenet121", seed=2))


def test_scales_are_those_of_a_trained_network() -> None:
    """Weights shrink with their inputs, variances are positive, scales lie about one."""
    arrays = safetensors.numpy.load(b"".join(safetensors_pieces("resnet18")))
    assert 0.015 < arrays["layer4.1.conv2.weight"].std() < 0.03
    assert arrays["bn1.running_var"].min() > 0
    assert 0.9 < arrays["layer4.1.bn2.weight"].mean() < 1.1


def test_an_unknown_network_is_answered_with_the_known_ones() -> None:
    """The error lists what there is, before a single piece is made."""
    with pytest.raises(UsageError, match="no network 'vgg'") as raised:
        next(safetensors_pieces("vgg"))
    assert raised.value.hint == "one of resnet18, densenet121"
