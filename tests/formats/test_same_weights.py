"""The same weights in two formats are the same to mvc."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.formats.sources import bytes_of, layout_of, named
from tests.formats.torch_files import of_every_type, saved, saved_the_old_way, small_model

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")


def told(data: bytes) -> dict[str, tuple[object, ...]]:
    """Return of each tensor all that its digest depends on."""
    layout = layout_of(data)
    return {
        name: (
            tensor.dtype,
            tensor.shape,
            tensor.stride,
            tensor.offset,
            None if tensor.storage is None else layout.storages[tensor.storage].width,
            bytes_of(data, layout, tensor),
        )
        for name, tensor in named(layout).items()
    }


def of_every_type_of_both() -> dict[str, Any]:
    return {n: t for n, t in of_every_type().items() if t.dtype in safetensors_torch._SIZE}


def flattened() -> dict[str, Any]:
    flat = torch.arange(64.0)
    return {"a": flat[:16].view(4, 4), "b": flat[16:60], "none": flat[3:3]}


@pytest.mark.parametrize(
    "state", [of_every_type_of_both(), small_model().state_dict(), flattened()]
)
def test_all_formats_say_the_same(state: dict[str, Any]) -> None:
    """Names, types, shapes, widths and bytes are equal for one state_dict in every format."""
    # save() refuses shared storage, the torch file has it.
    apart = {name: tensor.clone() for name, tensor in state.items()}
    assert told(saved(state)) == told(safetensors_torch.save(apart))
    assert told(saved_the_old_way(state)) == told(saved(state))


def test_npz_says_the_same() -> None:
    """Arrays in an npz file have the table that they have as tensors in torch's files."""
    numpy = pytest.importorskip("numpy")
    state = dict(small_model().state_dict())
    state |= {"u": torch.ones(2, dtype=torch.uint16), "c": torch.ones(2, dtype=torch.complex64)}
    file = io.BytesIO()
    numpy.savez(file, **{name: tensor.numpy() for name, tensor in state.items()})
    assert told(file.getvalue()) == told(saved(state))
    numpy.save(file := io.BytesIO(), state["0.weight"].numpy())
    assert told(file.getvalue()) == told(saved(state["0.weight"]))


def test_gguf_says_the_same() -> None:
    """Tensors in GGUF that are not quantized have the table that they have in torch's files."""
    gguf_files = pytest.importorskip("tests.formats.gguf_files")
    words = "float32 float64 float16 int8 int16 int32 int64"
    state = {f"of.{w}": torch.arange(6).reshape(2, 3).to(getattr(torch, w)) for w in words.split()}
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    state["half"] = torch.arange(6.0).reshape(2, 3).bfloat16()
    arrays["half"] = (
        gguf_files.gguf.GGMLQuantizationType.BF16,
        state["half"].view(torch.uint8).numpy(),
    )
    assert told(gguf_files.saved(arrays)) == told(saved(state))


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_old_and_new_torch_files_say_the_same(protocol: int) -> None:
    """A checkpoint has the same table in the legacy format, whatever the pickle's protocol."""
    model = small_model()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3, 3, 6))[0].sum().backward()
    optimizer.step()
    flat = torch.arange(12.0)
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "tied": [flat, flat, flat[2:5], flat.view(3, 4).t()],
        "types": of_every_type(),
        "rng": torch.get_rng_state(),
        "bare": torch.ones(3).untyped_storage(),
    }
    old = saved_the_old_way(state, pickle_protocol=protocol)
    assert list(told(old)) == list(told(saved(state)))
    assert told(old) == told(saved(state))


def test_every_type_of_the_library_is_known() -> None:
    """All types that safetensors writes for torch have the word that torch has for them."""
    for code, dtype in safetensors_torch._TYPES.items():
        tensor = torch.zeros(2, dtype=torch.uint8 if dtype is None else dtype)
        (found,) = layout_of(safetensors_torch.save({"w": tensor})).tensors
        assert found.dtype == str(dtype).removeprefix("torch."), code


def test_a_module_its_state_dict_and_a_script_say_the_same() -> None:
    """A module pickled whole has the weights of its state_dict."""
    model = small_model()
    file = io.BytesIO()
    torch.save(model, file)
    assert told(file.getvalue()) == told(saved(model.state_dict()))
