"""State dicts: named tensors of torch, made from stored bytes and written to a file.

Nothing is unpickled on the way in, whatever file the bytes came from.

Public names: ``Stored``, ``state_dict``, ``write``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvc.errors import UsageError
from mvc.frameworks.libraries import import_safetensors, import_torch

# What others call a type of torch.
_MEANT = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32", "fp64": "float64"}


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as it is stored: its type in words, its view, and what reads its bytes.

    Tensors with one ``place`` share their elements, as tied weights do.
    ``stride`` is in elements; ``None``: one element after the other.
    """

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...] | None
    size: int
    place: Hashable
    pieces: Callable[[], Iterable[bytes | memoryview | bytearray]]


def state_dict(tensors: Mapping[str, Stored], device: Any, dtype: Any) -> dict[str, Any]:
    """Read tensors into torch.

    Args:
        device: Where they are to be, as torch names it; ``None``: in memory.
        dtype: What floating point tensors are to become, as torch or its name for it.

    Raises:
        Unsupported: torch is not installed.
        UsageError: torch has no such type, or it has no such values by themselves.
    """
    torch = import_torch()
    dtype = _wanted(torch, dtype)
    flat: dict[Hashable, Any] = {}
    found = {}
    for name, stored in tensors.items():
        word, *marks = stored.dtype.split(".")
        kind = _named(torch, word)
        if set(marks) - {"big", "conj", "neg"}:
            raise _no_such(stored.dtype)
        if (stored.place, stored.dtype) not in flat:
            flat[stored.place, stored.dtype] = _elements(torch, stored, kind, "big" in marks)
        tensor = flat[stored.place, stored.dtype]
        if stored.stride is not None and tensor.numel():
            tensor = tensor.as_strided(stored.shape, stored.stride)
        else:
            tensor = tensor.reshape(stored.shape)
        tensor = tensor.conj().resolve_conj() if "conj" in marks else tensor
        tensor = tensor.neg() if "neg" in marks else tensor
        found[name] = _moved(tensor, device, dtype)
    return found


def _moved(tensor: Any, device: Any, dtype: Any) -> Any:
    if device is not None:
        tensor = tensor.to(device)
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def _elements(torch: Any, stored: Stored, kind: Any, big: bool) -> Any:
    """Return the elements of a tensor one after the other, as they lie in the file."""
    data = bytearray(stored.size)
    at = 0
    for piece in stored.pieces():
        data[at : at + len(piece)] = piece
        at += len(piece)
    if not data:
        return torch.empty(0, dtype=kind)
    elements = torch.frombuffer(data, dtype=torch.uint8)
    if big:
        elements = elements.reshape(-1, kind.itemsize).flip(1).reshape(-1)
    return elements.view(kind)


def _wanted(torch: Any, dtype: Any) -> Any:
    """Return what floating point tensors are to become, checked before anything is read."""
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if dtype is None or isinstance(found, torch.dtype):
        return found
    meant = _MEANT.get(str(dtype).lower())
    hint = f'dtype="{meant}"' if meant else 'as in dtype="float16", "bfloat16" or "float32"'
    raise UsageError(f"torch has no type {dtype!r:.80}", hint=hint)


def _named(torch: Any, word: str) -> Any:
    kind = getattr(torch, word, None)
    if not isinstance(kind, torch.dtype) or word == "complex32":
        raise _no_such(word)
    return kind


def _no_such(word: str) -> UsageError:
    return UsageError(
        f"tensors of type {word} are not loaded",
        hint="mvc checkout writes the file, for a library that knows the type",
    )


def write(state: Any, path: Path) -> str | None:
    """Write a module or a state dict as a safetensors file.

    Returns:
        What the module is called, ``None`` for a state dict.

    Raises:
        Unsupported: torch or safetensors is not installed.
        UsageError: It is neither, or holds something that a safetensors file cannot.
    """
    torch, safetensors = import_torch(), import_safetensors()
    called = type(state).__name__ if isinstance(state, torch.nn.Module) else None
    tensors = state.state_dict() if called else state
    if not isinstance(tensors, Mapping) or not tensors:
        raise UsageError("there is no tensor to save", hint="save a state dict, or a torch module")
    for name, tensor in tensors.items():
        _check(torch, safetensors, name, tensor)
    seen: set[int] = set()
    laid_out = {}
    for name, tensor in tensors.items():
        # The file has no marks for what torch has put off: conjugates and negatives.
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        pointer = plain.untyped_storage().data_ptr()
        # safetensors takes no two tensors of one storage; mvc stores what is equal once.
        laid_out[name] = plain.clone() if pointer in seen else plain
        seen.add(pointer)
    safetensors.save_file(laid_out, path, metadata={"format": "pt"})
    return called


def _check(torch: Any, safetensors: Any, name: Any, tensor: Any) -> None:
    """Raise ``UsageError`` for what is no tensor that a safetensors file can hold."""
    if not isinstance(name, str):
        raise UsageError(
            f"the key {name!r:.60} is no text, but of type {type(name).__name__}",
            hint="{str(key): tensor for key, tensor in state.items()} has texts for keys",
        )
    if not isinstance(tensor, torch.Tensor):
        raise UsageError(
            f"'{name}' is no tensor, but of type {type(tensor).__name__}",
            hint="save its tensors only, as in model.state_dict(), or add a file",
        )
    if torch.nn.parameter.is_lazy(tensor) or tensor.is_meta:
        raise UsageError(
            f"'{name}' has no values yet",
            hint="save it once it has: a lazy layer after its first input, "
            "a model on the device 'meta' after its weights are loaded",
        )
    unfit = _unfit(torch, safetensors, tensor)
    if unfit is not None:
        what, instead = unfit
        by_file = "torch.save(state, 'model.pt') and add that file"
        raise UsageError(
            f"'{name}' is {what}, which a safetensors file cannot hold",
            hint=f"save its {instead}, or {by_file}" if instead else by_file,
        )


def _unfit(torch: Any, safetensors: Any, tensor: Any) -> tuple[str, str] | None:
    """Say what keeps a tensor out of a safetensors file, and what of it would fit."""
    word = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_nested:
        return "nested", "to_padded_tensor(0)"
    if tensor.layout is not torch.strided:
        return f"of layout {str(tensor.layout).removeprefix('torch.')}", "to_dense()"
    if hasattr(tensor, "full_tensor"):
        return "in parts on several processes", "full_tensor()"
    if tensor.is_quantized:
        return f"of type {word}", "dequantize()"
    try:
        safetensors.save({"none": torch.empty(0, dtype=tensor.dtype)})
    except KeyError:
        return f"of type {word}", ""
    return None
