"""Tensors of a version are read from the store as they are asked for, as safetensors has it."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from mvc import Damaged, NotFound, UsageError
from tests.registry.test_diff import weights
from tests.support.registry_builders import Project, flip

INDICES: list[Any] = [
    0, -1, 5, slice(None), slice(2, 9), slice(-3, None), slice(9, 2), slice(1, 60, 7),
    slice(None, None, -1), ..., (..., 3), (4, slice(2, 5)), (slice(3, 8), -1), (slice(3, 8), ...),
    (slice(None), slice(None, None, 2)), (), np.int64(7),
    [3, -1, 3], np.array([4, 5]), (slice(2, 6), [0, 2]), (0, [1, 2]), None, (None, 3), True,
    np.arange(70) % 7 == 0, (slice(2, 4), None),
]  # fmt: skip


def test_it_answers_as_safe_open_does(project: Project, tmp_path: Path) -> None:
    """Names, metadata, tensors, slices, shapes and types are those of safetensors itself."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(save(weights(), {"format": "np", "größe": "7"}))
    project.registry().add("net", path)
    with project.registry().open("net") as ours, safe_open(path, "np") as theirs:
        assert ours.keys() == theirs.keys()
        assert ours.offset_keys() == theirs.offset_keys()
        everything = ours.get_tensors()
        assert list(everything) == list(theirs.get_tensors())
        assert ours.metadata() == theirs.metadata()
        for name in theirs.keys():  # noqa: SIM118 - it is no mapping
            ours_slice, theirs_slice = ours.get_slice(name), theirs.get_slice(name)
            assert ours_slice.get_shape() == theirs_slice.get_shape()
            assert ours_slice.get_dtype() == theirs_slice.get_dtype()
            assert np.array_equal(everything[name], theirs.get_tensor(name))
            assert np.array_equal(ours.get_tensor(name), theirs.get_tensor(name))
            assert ours.get_tensor(name).dtype == theirs.get_tensor(name).dtype
            assert np.array_equal(ours_slice[2:5], theirs_slice[2:5])


def test_an_index_means_what_it_means_for_an_array(project: Project) -> None:
    """Whatever is asked for, the answer is that of numpy, errors too."""
    arrays = {"w": np.arange(70 * 6, dtype="f4").reshape(70, 6), "scalar": np.array(3, "i8")}
    project.add(save({**arrays, "pad": np.zeros(5 << 20, "u1")}))
    opened = project.registry().open("net")
    for index in INDICES:
        assert np.array_equal(opened.get_slice("w")[index], arrays["w"][index]), index
    assert opened.get_slice("scalar")[()] == 3
    assert opened.get_tensor("scalar").shape == ()
    for index in (70, -71, (0, 6), (0, 0, 0)):
        with pytest.raises(IndexError):
            opened.get_slice("w")[index]


def test_only_what_is_asked_for_is_read(project: Project, reads: list[int]) -> None:
    """Rows of one chunk read that chunk; names, shapes and types read nothing."""
    rows = np.random.default_rng(0).normal(0, 1, (3000, 1000)).astype("f4")
    project.add(save({"large": rows, "other": rows + 1}))
    opened = project.registry().open("net")
    reads.clear()
    piece = opened.get_slice("large")
    assert (piece.get_shape(), piece.get_dtype(), len(opened.keys())) == (
        [3000, 1000],
        "F32",
        2,
    )
    assert reads == []
    assert np.array_equal(piece[2000:2003], rows[2000:2003])
    assert reads == [4 << 20]
    assert np.array_equal(piece[:, 7], rows[:, 7])
    assert sum(reads) <= rows.nbytes + (4 << 20)


def test_every_kind_of_file_gives_its_tensors(project: Project) -> None:
    """A ``.pt`` with views and bfloat16, and an ``.npz``, without a framework and unpickled."""
    torch = pytest.importorskip("torch")
    matrix = torch.randn(40, 30)
    state = {
        "t": matrix.t(), "half": matrix.half(), "bf16": matrix.bfloat16(), "n": torch.arange(9),
        "f8": matrix.to(torch.float8_e4m3fn), "bool": matrix > 0, "none": torch.zeros(0, 3),
        "c": torch.complex(matrix, matrix), "expanded": matrix[:1].expand(5, 30),
    }  # fmt: skip
    torch.save(state, out := io.BytesIO())
    project.add(out.getvalue(), name="m.pt")
    opened = project.registry().open("net")
    assert set(opened.keys()) == set(state)
    for name, tensor in state.items():
        known = tensor.float() if name in ("bf16", "f8") else tensor
        assert np.array_equal(opened.get_tensor(name), known.numpy()), name
        assert np.array_equal(opened.get_slice(name)[:2], known[:2].numpy()), name
    assert opened.metadata() is None
    np.savez(out := io.BytesIO(), a=matrix.numpy(), b=np.arange(3, dtype=">i4"))
    project.add(out.getvalue(), name="m.npz")
    opened = project.registry().open("net@v2")
    assert np.array_equal(opened.get_tensor("a"), matrix.numpy())
    assert opened.get_tensor("b").tolist() == [0, 1, 2]


def test_an_array_may_be_written_to(project: Project) -> None:
    """It is the caller's own, and the next one is as it was stored."""
    project.add(save(weights()))
    opened = project.registry().open("net")
    opened.get_tensor("b.bias")[:] = 0
    assert np.array_equal(opened.get_tensor("b.bias"), weights()["b.bias"])


def test_shards_are_one_set_of_tensors(project: Project, tmp_path: Path) -> None:
    """Of a folder the tensors of all files are there; a name that two have, with its file."""
    folder = tmp_path / "sharded"
    folder.mkdir()
    for number in (0, 1):
        arrays = {f"w{number}": np.full(3, number, "f4"), "both": np.full(3, number, "f4")}
        (folder / f"{number}.safetensors").write_bytes(save(arrays))
    (folder / "config.json").write_text("{}")
    project.add(b"first")
    registry = project.registry()
    registry.add("net", folder)
    opened = registry.open("net@v2")
    assert set(opened.keys()) == {"w0", "w1", "0.safetensors:both", "1.safetensors:both"}
    assert opened.get_tensor("1.safetensors:both").tolist() == [1, 1, 1]
    assert registry.open("net@v2:0.safetensors").keys() == ["both", "w0"]


def test_a_name_that_is_none_is_answered_with_those_like_it(project: Project) -> None:
    """Not found, with a hint; so is a version that is none."""
    project.add(save(weights()))
    opened = project.registry().open("net")
    with pytest.raises(NotFound, match=r"no tensor 'a.wieght' in net/v1") as caught:
        opened.get_tensor("a.wieght")
    assert str(caught.value.hint).startswith("did you mean 'a.weight'")
    with pytest.raises(NotFound):
        project.registry().open("net@v7")
    assert repr(opened) == "<net/v1: 4 tensors>"


def test_what_numpy_has_not_is_refused(project: Project) -> None:
    """Quantised blocks are no numbers; the hint says how to get the file."""
    gguf = pytest.importorskip("gguf")
    from tests.formats import gguf_files

    kind = gguf.GGMLQuantizationType.Q4_0
    project.add(gguf_files.saved({"q": (kind, np.zeros((2, 36), np.uint8))}), name="m.gguf")
    opened = project.registry().open("net")
    with pytest.raises(UsageError, match="which numpy does not have") as caught:
        opened.get_tensor(opened.keys()[0])
    assert "mvc checkout" in str(caught.value.hint)


@pytest.mark.parametrize("small", [False, True])
def test_damage_is_never_another_number(project: Project, small: bool) -> None:
    """Wherever a pack is damaged, a tensor is right or an error."""
    arrays = weights()
    if small:
        arrays = {name: array.ravel()[:50].copy() for name, array in arrays.items()}
    project.add(save(arrays))
    (pack,) = project.packs
    whole = pack.read_bytes()
    refused = 0
    for offset in itertools.islice(range(20, len(whole), max(1, len(whole) // 40)), 40):
        flip(pack, offset)
        try:
            opened = project.registry().open("net")
            for name, array in arrays.items():
                assert np.array_equal(opened.get_tensor(name), array)
        except Damaged:
            refused += 1
        flip(pack, offset)
    assert refused > 20
