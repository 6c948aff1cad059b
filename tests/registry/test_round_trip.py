"""Every file comes back byte for byte, whatever is in it, and equal weights cost nothing."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from tests.support.registry_builders import MIB, Project, new_project, noise

EDGES = [0, 1, 2, 4095, 4096, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 8 * MIB, 9 * MIB + 7]


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("kind", ["noise", "zeros", "text"])
def test_files_around_the_sizes_where_cutting_changes(
    project: Project, size: int, kind: str
) -> None:
    """A file is the same after add and checkout, at and beside every limit of size."""
    data = {"noise": noise(size), "zeros": bytes(size), "text": b"epoch 17, loss 0.25\n" * size}
    whole = data[kind][:size]
    project.add(whole)
    assert project.bytes_of("net") == whole
    assert project.registry().fsck("full").ok


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
@example([b""])
@example([b"PK\x03\x04"])
@example([b"\x08\0\0\0\0\0\0\0{}      "])
def test_arbitrary_bytes_come_back(files: list[bytes]) -> None:
    """Any bytes at all are a version, and every version keeps its own."""
    with new_project() as project:
        for data in files:
            project.add(data)
        for number, data in enumerate(files, start=1):
            assert project.bytes_of(f"net@v{number}") == data


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(st.integers(0, 3 * MIB), st.integers(1, 3), st.booleans()),
        min_size=2,
        max_size=5,
    )
)
def test_arbitrary_large_files_come_back(pieces: list[tuple[int, int, bool]]) -> None:
    """Files made of stretches of noise and of repetition come back, also when they share some."""
    data = b"".join(noise(size, seed) if loud else bytes(size) for size, seed, loud in pieces)
    with new_project() as project:
        for version in (data, data[::2] + data, b"x" + data):
            assert project.bytes_of(project.add(version)) == version


# Files of the real torch and safetensors.


def torch_bytes(value: Any, **options: Any) -> bytes:
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def state(seed: int = 1) -> dict[str, Any]:
    """Return tensors of over 4 MiB together, of several types, some small."""
    torch = pytest.importorskip("torch")
    made = torch.Generator().manual_seed(seed)
    small = {f"small.{n}": torch.randn(900, generator=made) for n in reversed(range(20))}
    return {
        **small,
        "conv.weight": torch.randn(64, 3, 7, 7, generator=made),
        "fc.weight": torch.randn(1200, 1100, generator=made),
        "fc.bias": torch.randn(1200, generator=made),
        "half": torch.randn(300, 300, generator=made).to(torch.bfloat16),
        "steps": torch.tensor(7),
        "empty": torch.empty(0, 5),
    }


def _zip() -> bytes:
    return torch_bytes(state())


def _without_crc() -> bytes:
    serialization = pytest.importorskip("torch.serialization")
    before = serialization.get_crc32_options()
    serialization.set_crc32_options(False)
    try:
        return torch_bytes(state())
    finally:
        serialization.set_crc32_options(before)


def _aligned() -> bytes:
    config = pytest.importorskip("torch.utils.serialization").config
    with config.patch({"save.storage_alignment": 4096}):
        return torch_bytes(state())


def _views_and_ties() -> bytes:
    torch = pytest.importorskip("torch")
    base = torch.randn(1500, 1000)
    tensors = {"base": base, "tied": base, "view": base[3:700], "turned": base.t()}
    return torch_bytes({**tensors, "strided": base[::2, 1::3], "none": base[:0]})


def _optimizer() -> bytes:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(900, 900), torch.nn.Linear(900, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model(torch.randn(4, 900)).sum().backward()
    optimizer.step()
    return torch_bytes(
        {"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": [1]}
    )


def _script() -> bytes:
    torch = pytest.importorskip("torch")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO()
        torch.jit.save(torch.jit.script(torch.nn.Linear(1100, 1100)), file)
    return file.getvalue()


def _legacy() -> bytes:
    return torch_bytes(state(), _use_new_zipfile_serialization=False)


def _safetensors() -> bytes:
    saver = pytest.importorskip("safetensors.torch")
    return bytes(saver.save(state()))


MAKERS = [_zip, _without_crc, _aligned, _views_and_ties, _optimizer, _script, _legacy, _safetensors]


@pytest.mark.parametrize("make", MAKERS)
def test_files_of_real_libraries_come_back(project: Project, make: Callable[[], bytes]) -> None:
    """What torch and safetensors write is the same byte for byte after a checkout."""
    data = make()
    assert len(data) > 2 * MIB
    added = project.registry().add("net", project.file(data, "model.pt"))
    assert project.bytes_of("net") == data
    assert added.artifact.format != "opaque"
    assert added.weights is not None
    assert project.registry().fsck("full").ok


def test_equal_weights_are_told_in_any_file(project: Project) -> None:
    """The same tensors as ``.pt``, aligned otherwise, and as ``.safetensors`` have one digest."""
    project.add(_zip(), name="model.pt")
    others = [
        project.registry().add("net", project.file(make(), name))
        for make, name in (
            (_safetensors, "m.safetensors"),
            (_aligned, "b.pt"),
            (_without_crc, "c.pt"),
        )
    ]
    first = project.registry().resolve("net@v1")
    for other in others:
        assert other.weights == first.weights is not None
        assert other.same_weights is not None
        assert other.same_bytes is None
        assert other.stored < 32 << 10  # less than the small tensors are together
        assert other.artifact.parameters == first.artifact.parameters
        assert other.artifact.dtypes == first.artifact.dtypes
    changed = state()
    changed["fc.bias"][3] += 1
    different = project.registry().add("net", project.file(torch_bytes(changed), "model.pt"))
    assert different.weights != first.weights


def test_a_small_file_with_equal_weights_is_recognised(project: Project) -> None:
    """Also where the whole file is one object, equal tensors give equal ``weights``."""
    torch = pytest.importorskip("torch")
    saver = pytest.importorskip("safetensors.torch")
    tensors = {"w": torch.arange(40.0).reshape(5, 8), "b": torch.ones(8)}
    digests = {
        project.registry().add("net", project.file(data, name)).weights
        for data, name in ((torch_bytes(tensors), "a.pt"), (saver.save(tensors), "a.safetensors"))
    }
    assert len(digests) == 1
    assert None not in digests


@pytest.mark.parametrize("elements", [1000, 2_500_000], ids=["small file", "large file"])
def test_a_view_weighs_the_same_as_its_contiguous_copy(project: Project, elements: int) -> None:
    """Views that overlap, and so lie in one storage, are the same weights in any file."""
    torch = pytest.importorskip("torch")
    saver = pytest.importorskip("safetensors.torch")
    whole = torch.arange(elements, dtype=torch.float32)
    views = {"all": whole, "head": whole[: elements // 2], "tail": whole[elements // 3 :]}
    torch.save(views, project.folder / "views.pt")
    copies = {name: view.clone() for name, view in views.items()}
    saver.save_file(copies, project.folder / "copies.safetensors")
    registry = project.registry()
    for name in ("views.pt", "copies.safetensors"):
        registry.add("net", project.folder / name)
    first, second = registry.resolve("net@v1"), registry.resolve("net@v2")
    assert first.weights == second.weights is not None


def test_a_renamed_and_resaved_torch_file_costs_almost_nothing(
    project: Project, tmp_path: Path
) -> None:
    """torch writes a file's name into it; saved again under another, it shares all tensors."""
    torch = pytest.importorskip("torch")
    for name in ("first.pt", "quite_another_name.pt"):
        torch.save(state(), tmp_path / name)
    first, second = ((tmp_path / n).read_bytes() for n in ("first.pt", "quite_another_name.pt"))
    assert first != second
    project.registry().add("net", tmp_path / "first.pt")
    again = project.registry().add("net", tmp_path / "quite_another_name.pt")
    assert again.stored < 64 << 10
    assert again.same_weights == "net/v1"
    assert project.bytes_of("net@v2") == second


def test_what_is_in_a_file_is_noted_without_being_asked(project: Project) -> None:
    """Format, framework, tensors, parameters and types are found in the file."""
    pytest.importorskip("torch")
    project.add(_zip(), name="model.pt")
    shown = project.registry().get("net")
    artifact = shown["artifact"]
    assert (artifact["format"], shown["model"]["framework"]) == ("torch-zip", "pytorch")
    assert artifact["tensors"] == 26
    assert artifact["parameters"] == sum(tensor.numel() for tensor in state().values())
    assert artifact["dtypes"] == {"bfloat16": 1, "float32": 24, "int64": 1}


def test_tensors_far_apart_are_kept_and_told(project: Project) -> None:
    """A file of more gaps than a skeleton may hold is cut by content, and its tensors are known."""
    gguf = pytest.importorskip("gguf")
    path, gap = project.folder / "apart.gguf", 64 << 10
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(gap)
    tensors = {f"t{n}": np.full(3, n, "float32") for n in range((64 << 20) // gap + 8)}
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    added = project.registry().add("net", path)
    assert added.artifact.tensors == len(tensors)
    assert project.bytes_of("net") == path.read_bytes()
    path.write_bytes(save(tensors))
    assert project.registry().add("net", path).same_weights == "net/v1"
    (last,) = project.registry().tensors("net@v1", "t1024").tensors
    assert (last.shape, last.plain, last.gathered) == ((3,), 12, True)
