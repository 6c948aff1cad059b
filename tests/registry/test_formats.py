"""The same weights cost their bytes once, in whatever file they come."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable

import pytest

from tests.formats.test_onnx import model, tensor
from tests.formats.torch_files import saved_distributed, saved_the_old_way
from tests.support.registry_builders import MIB, Project, noise

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

STATE = {
    "w": torch.frombuffer(bytearray(noise(6 * MIB)), dtype=torch.float32).view(3, -1),
    "half": torch.frombuffer(bytearray(noise(3 * MIB, 1)), dtype=torch.float16),
    "step": torch.arange(10),
}
ONNX_TYPES = {"float32": 1, "float16": 10, "int64": 7}


def old() -> bytes:
    return saved_the_old_way(STATE)


def distributed() -> bytes:
    return saved_distributed(STATE)


def npz() -> bytes:
    numpy = pytest.importorskip("numpy")
    numpy.savez(file := io.BytesIO(), **{name: one.numpy() for name, one in STATE.items()})
    return file.getvalue()


def pickled() -> bytes:
    return pickle.dumps({name: one.numpy() for name, one in STATE.items()}, 5)


def joblib() -> bytes:
    library = pytest.importorskip("joblib")
    library.dump({name: one.numpy() for name, one in STATE.items()}, file := io.BytesIO())
    return bytes(file.getvalue())


def gguf() -> bytes:
    gguf_files = pytest.importorskip("tests.formats.gguf_files")
    return bytes(gguf_files.saved({name: one.numpy() for name, one in STATE.items()}))


def onnx() -> bytes:
    arrays = {name: one.numpy() for name, one in STATE.items()}
    return model(
        *(
            tensor(name, ONNX_TYPES[array.dtype.name], array.shape, array.tobytes())
            for name, array in arrays.items()
        )
    )


@pytest.mark.parametrize("write", [old, distributed, npz, pickled, joblib, gguf, onnx])
def test_a_second_file_of_the_same_weights_costs_almost_nothing(
    project: Project, write: Callable[[], bytes]
) -> None:
    """Behind a safetensors file, every other format stores its frame only, and comes back whole."""
    project.add(safetensors_torch.save(STATE))
    data = write()
    again = project.registry().add("net", project.file(data, "again"))
    assert again.reused > 8 * MIB
    assert again.stored < 64 << 10
    assert project.bytes_of("net@v2") == data
    # The names in a distributed checkpoint's files are numbers.
    assert again.same_weights == (None if write is distributed else "net/v1")
