"""State dicts come from the store as they were saved, and modules are saved as they are."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from mvc import NotFound, UsageError
from tests.formats.torch_files import of_every_type, saved, small_model
from tests.support.registry_builders import Project, noise

torch = pytest.importorskip("torch")


def same(ours: Any, theirs: Any) -> bool:
    """Say whether two tensors have one type, shape and the same bits."""
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return False
    bits = [t.contiguous().reshape(-1).view(torch.uint8) for t in (ours, theirs)]
    return bool(torch.equal(*bits))


def test_every_type_comes_back(project: Project) -> None:
    """Each type of torch that stands for numbers loads with its bits and its shape."""
    state = of_every_type()
    project.add(saved(state), name="m.pt")
    names = project.registry().open("net").keys()
    plain = {n: t for n, t in state.items() if not (t.is_quantized or t.dtype == torch.complex32)}
    project.add(saved(plain), name="plain.pt")
    loaded = project.registry().load("net@v2")
    assert set(loaded) <= set(names)
    assert set(loaded) == set(plain)
    for name, tensor in plain.items():
        assert same(loaded[name], tensor.resolve_conj().resolve_neg()), name


def test_views_and_ties_are_kept(project: Project) -> None:
    """Transposed and expanded views have their values; tied weights are one memory."""
    matrix = torch.randn(300, 400)
    state = {
        "w": matrix, "tied": matrix, "t": matrix.t(), "row": matrix[7],
        "wide": matrix[:1].expand(9, 400),
        "scalar": torch.tensor(3.5), "none": torch.zeros(0, 4),
    }  # fmt: skip
    project.add(saved(state), name="m.pt")
    loaded = project.registry().load("net")
    for name, tensor in state.items():
        assert same(loaded[name], tensor), name
    loaded["w"][0, 0] = 77
    assert loaded["tied"][0, 0] == loaded["t"][0, 0] == 77


def test_a_module_goes_in_and_comes_back(project: Project) -> None:
    """``save`` and ``load`` of a module with tied weights, into one of the same class."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(30, 30), torch.nn.Linear(30, 30))
    model[1].weight = model[0].weight
    project.add(b"first", "other")
    added = project.registry().save("mlp", model, {"acc": 0.9}, tags=["prod"], message="m")
    assert (added.id, added.tags, added.metrics["acc"]) == ("mlp/v1", ("prod",), 0.9)
    assert added.model == {"framework": "pytorch", "architecture": "Sequential"}
    assert added.artifact.name == "mlp.safetensors"
    other = torch.nn.Sequential(torch.nn.Linear(30, 30), torch.nn.Linear(30, 30))
    other.load_state_dict(project.registry().load("mlp@prod"))
    state = other.state_dict()
    assert all(same(tensor, state[name]) for name, tensor in model.state_dict().items())
    again = project.registry().save("mlp", model.state_dict(), architecture="mine")
    assert (again.same_bytes, again.model["architecture"]) == ("mlp/v1", "mine")


def test_what_is_saved_has_its_values(project: Project) -> None:
    """Views, ties, and what torch only marked as conjugate or negative come back as they are."""
    matrix, waves = torch.randn(30, 40), torch.randn(7, dtype=torch.complex64)
    state = {
        "w": matrix, "tied": matrix, "t": matrix.t(), "row": matrix[7],
        "wide": matrix[:1].expand(9, 40),
        "conj": waves.conj(), "imag": waves.conj().imag, "waves": waves,
        "neg": torch._neg_view(matrix), "scalar": torch.tensor(3.5), "none": torch.zeros(0, 4),
    }  # fmt: skip
    project.registry().save("net", state)
    loaded = project.registry().load("net")
    for name, tensor in state.items():
        assert same(loaded[name], tensor.resolve_conj().resolve_neg()), name


@pytest.mark.parametrize(
    ("make", "said", "hint"),
    [
        (lambda: torch.eye(3).to_sparse(), "'w' is of layout sparse_coo", "its to_dense()"),
        (lambda: torch.eye(3).to_sparse_csr(), "'w' is of layout sparse_csr", "its to_dense()"),
        (lambda: torch.ones(3).to_mkldnn(), "'w' is of layout _mkldnn", "its to_dense()"),
        (
            lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
            "'w' is of type qint8", "its dequantize()",
        ),
        (lambda: torch.ones(3, dtype=torch.complex128), "'w' is of type complex128", "add that"),
        (
            lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
            "'w' is nested", "its to_padded_tensor(0)",
        ),
        (lambda: torch.empty(3, device="meta"), "'w' has no values yet", "after its weights"),
        (lambda: torch.nn.LazyLinear(3).weight, "'w' has no values yet", "after its first input"),
        (lambda: 3, "'w' is no tensor, but of type int", "its tensors only"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, that some of these may change
def test_a_tensor_that_cannot_be_written_is_named(
    project: Project, make: Any, said: str, hint: str
) -> None:
    """It is told by its name, with what to save instead, and nothing is stored."""
    project.add(b"first", "other")
    with pytest.raises(UsageError) as caught:
        project.registry().save("net", {"fits": torch.ones(2), "w": make()})
    assert caught.value.message.startswith(said)
    assert hint in str(caught.value.hint)
    assert project.registry().list() == ["other"]


def test_a_key_that_is_no_text_is_what_is_wrong(project: Project) -> None:
    """The tensor is one; it is the key that is told."""
    with pytest.raises(UsageError, match="the key 7 is no text, but of type int") as caught:
        project.registry().save("net", {7: torch.ones(2)})
    assert "str(key)" in str(caught.value.hint)


def test_type_and_device_are_as_asked(project: Project) -> None:
    """``dtype`` is for floating point tensors only, by name or as torch has it."""
    project.add(saved({"w": torch.randn(5), "n": torch.arange(3)}), name="m.pt")
    registry = project.registry()
    for dtype in (torch.float16, "float16", "torch.float16"):
        loaded = registry.load("net", dtype=dtype, device="cpu")
        assert (loaded["w"].dtype, loaded["n"].dtype) == (torch.float16, torch.int64)
    assert registry.load("net", device="meta")["w"].device.type == "meta"
    with pytest.raises(UsageError, match="no type 'nonsense'"):
        registry.load("net", dtype="nonsense")


def test_nothing_is_run(project: Project, tmp_path: Path) -> None:
    """A pickle that would run something gives its tensors, and runs nothing."""

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (os.fspath(tmp_path / "was run"),)

    torch.save({"w": torch.ones(3), "evil": Evil()}, out := io.BytesIO())
    project.add(out.getvalue(), name="m.pt")
    assert project.registry().load("net")["w"].tolist() == [1, 1, 1]
    assert not (tmp_path / "was run").exists()


def test_what_has_no_tensors_is_said(project: Project) -> None:
    """An opaque file has none, and the hint says where it can be read."""
    project.add(noise(300))
    with pytest.raises(UsageError, match="no tensors are known of net/v1") as caught:
        project.registry().load("net")
    assert "mvc path net/v1" in str(caught.value.hint)
    with pytest.raises(NotFound):
        project.registry().load("net@v2")


@pytest.mark.parametrize("state", [{}, {"step": 3}, "model.pt", {7: torch.ones(2)}], ids=str)
def test_what_is_no_state_dict_is_refused(project: Project, state: Any) -> None:
    """One line with a hint, and nothing is stored or left in the temporary folder."""
    project.add(b"first", "other")
    with pytest.raises(UsageError) as caught:
        project.registry().save("mlp", state)
    assert caught.value.hint
    assert project.registry().list() == ["other"]


def test_a_real_network_is_as_torch_loads_it(project: Project, tmp_path: Path) -> None:
    """Names and values are those that torch's own loader gives."""
    state = small_model().state_dict()
    torch.save(state, tmp_path / "m.pt")
    project.registry().add("net", tmp_path / "m.pt")
    theirs = torch.load(tmp_path / "m.pt", weights_only=True)
    loaded = project.registry().load("net")
    assert list(loaded) == list(theirs)
    assert all(same(loaded[name], theirs[name]) for name in theirs)
