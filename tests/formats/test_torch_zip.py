"""What mvc reads of files that torch itself writes."""

from __future__ import annotations

import io
import random
import warnings
import zipfile
from pathlib import Path

import pytest

from mvc.formats import describe
from tests.formats.sources import Bytes, bytes_of, layout_of, named
from tests.formats.torch_files import assert_told, of_every_type, raw, saved, small_model

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")


Marked = type("Marked", (torch.Tensor,), {"__module__": __name__})


def test_every_type_is_told_by_its_word() -> None:
    """Each of torch's types comes out under torch's own word, with its bytes."""
    tensors = of_every_type()
    assert_told(saved(tensors), tensors)


def test_a_state_dict_has_torchs_names() -> None:
    """A bare state_dict gives exactly its own keys, in its order."""
    state = small_model().state_dict()
    assert_told(saved(state), state)
    assert layout_of(saved(state)).format == "torch-zip"
    assert layout_of(saved(state)).framework == "pytorch"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickled_module_is_named_as_its_state_dict(protocol: int) -> None:
    """A whole nn.Module gives the names of its state_dict, without unsaved buffers."""
    model = small_model()
    assert_told(saved(model, pickle_protocol=protocol), model.state_dict())


def test_a_module_that_is_shared_has_both_names() -> None:
    """A submodule under two names is told under both, as torch's state_dict does."""
    part = torch.nn.Linear(2, 2)
    model = torch.nn.ModuleDict({"one": part, "two": part})
    data = saved(model)
    assert_told(data, model.state_dict())
    assert len(layout_of(data).storages) == 2


def test_a_checkpoint_is_named_by_its_keys() -> None:
    """Nested dicts, lists, optimizer state, RNG state and numpy arrays leave clear names."""
    model = small_model()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3, 3, 6))[0].sum().backward()
    optimizer.step()
    data = saved(
        {
            "epoch": 3,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "rng": {"torch": torch.get_rng_state(), "python": random.getstate()},
            "history": [np.arange(4.0), {"loss": np.float64(0.5)}, torch.ones(2)],
        }
    )
    names = named(layout_of(data))
    state = optimizer.state_dict()["state"]
    expected = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, moments in state.items():
        expected |= {f"optimizer.state.{number}.{key}": value for key, value in moments.items()}
    expected |= {"rng.torch": torch.get_rng_state(), "history.2": torch.ones(2)}
    assert "optimizer.state.0.exp_avg" in names
    assert_told(data, expected)


def test_a_pickled_optimizer_is_told() -> None:
    """An optimizer pickled whole, whose state has tensors for keys, is read and complete."""
    weight = torch.nn.Parameter(torch.arange(3.0))
    optimizer = torch.optim.SGD([weight], momentum=0.9)
    weight.sum().backward()
    optimizer.step()
    names = named(layout_of(saved(optimizer)))
    assert "param_groups.0.params.0" in names
    assert any(name.endswith("momentum_buffer") for name in names)


def test_saved_by_itself() -> None:
    """A tensor saved alone is called 'tensor', a list of them by position."""
    assert_told(saved(torch.arange(5)), {"tensor": torch.arange(5)})
    assert_told(saved([torch.ones(1), torch.zeros(2)]), {"0": torch.ones(1), "1": torch.zeros(2)})


def test_a_folder_is_named_after_the_file(tmp_path: Path) -> None:
    """Names of files and keys, also when not ASCII, change nothing of what is found."""
    state = {"größe.Ω": torch.arange(6.0), "層.0": torch.ones(2)}
    for name in ("a.pt", "模型.pt", "a" * 200 + ".pth"):
        torch.save(state, tmp_path / name)
        assert_told((tmp_path / name).read_bytes(), state)


def test_checksums_off_and_other_alignment() -> None:
    """Files without checksums, and with records aligned to 4096, are read alike."""
    from torch.utils.serialization import config

    state = small_model().state_dict()
    before = torch.serialization.get_crc32_options(), config.save.storage_alignment
    try:
        torch.serialization.set_crc32_options(False)
        config.save.storage_alignment = 4096
        data = saved(state)
    finally:
        torch.serialization.set_crc32_options(before[0])
        config.save.storage_alignment = before[1]
    assert all(storage.offset % 4096 == 0 for storage in layout_of(data).storages)
    assert_told(data, state)


def test_empty_and_zero_dimensional_tensors() -> None:
    """Tensors without elements have no storage; those without dimensions have one element."""
    state = {
        "none": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
        "part": torch.arange(4)[2:2],
        "step": torch.tensor(7),
        "one": torch.ones(2, 1, 3).transpose(0, 1),
    }
    assert_told(saved(state), state)
    empty = named(layout_of(saved(state)))["none"]
    assert (empty.storage, empty.offset, empty.size) == (None, 0, 0)
    assert_told(saved({"none": torch.zeros(0)}), {"none": torch.zeros(0)})


def test_tied_tensors_share_a_storage() -> None:
    """Two names for one range are two tensors in one storage."""
    weight = torch.arange(12.0).reshape(3, 4)
    data = saved({"embed": weight, "head": weight.clone(), "tied": weight.view(3, 4)})
    assert_told(data, {"embed": weight, "head": weight, "tied": weight})
    tensors = named(layout_of(data))
    assert tensors["embed"].storage == tensors["tied"].storage != tensors["head"].storage


def test_flattened_parameters_are_divided() -> None:
    """Tensors side by side in one storage become storages of their own, gaps too."""
    flat = torch.arange(100.0)
    views = {"a": flat[:10].view(2, 5), "b": flat[10:40], "c": flat[60:99], "a2": flat[:10]}
    data = saved(views)
    assert_told(data, views)
    layout = layout_of(data)
    assert [storage.size // 4 for storage in layout.storages] == [10, 30, 20, 39, 1]
    assert {storage.width for storage in layout.storages} == {4}
    assert all(tensor.offset == 0 for tensor in layout.tensors)


def test_overlapping_tensors_leave_the_storage_whole() -> None:
    """Where views overlap in part, the storage stays one and tensors keep their offset."""
    flat = torch.arange(10.0)
    views = {"a": flat[:6], "b": flat[4:]}
    data = saved(views)
    assert_told(data, views)
    layout = layout_of(data)
    assert [storage.size for storage in layout.storages] == [40]
    assert [tensor.offset for tensor in layout.tensors] == [0, 16]


def test_strided_tensors_keep_offset_and_stride() -> None:
    """Transposed, stepped and expanded tensors are told with strides, over a whole storage."""
    matrix = torch.arange(12.0).reshape(3, 4)
    layout = layout_of(saved({"t": matrix.t(), "step": matrix[1:, ::2]}))
    tensors = named(layout)
    assert [storage.size for storage in layout.storages] == [48]
    assert (tensors["t"].shape, tensors["t"].stride, tensors["t"].offset) == ((4, 3), (1, 4), 0)
    assert (tensors["step"].stride, tensors["step"].offset) == ((4, 2), 16)
    assert tensors["step"].size == 4 * (4 + 2 + 1)
    flat = torch.arange(12.0)
    apart = layout_of(saved({"a": flat[:6], "t": flat[6:].view(2, 3).t()}))
    assert [storage.size for storage in apart.storages] == [48]
    assert [tensor.offset for tensor in apart.tensors] == [0, 24]
    wide = named(layout_of(saved({"wide": torch.ones(1).expand(5, 2)})))["wide"]
    assert (wide.stride, wide.size) == ((0, 0), 4)


def test_a_lazy_conjugate_is_not_taken_for_its_bytes() -> None:
    """A tensor whose bytes mean other values carries a mark in its type."""
    tensor = torch.ones(2, dtype=torch.complex64)
    dtypes = {t.name: t.dtype for t in layout_of(saved({"c": tensor.conj(), "p": tensor})).tensors}
    assert dtypes == {"c": "complex64.conj", "p": "complex64"}


def test_sparse_and_quantized_tensors_are_complete() -> None:
    """The parts of sparse tensors are tensors; a quantizer is part of the type."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        coarse = torch.quantize_per_tensor(torch.ones(3), 0.5, 1, torch.qint8)
        fine = torch.quantize_per_channel(
            torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.quint8
        )
        data = saved({"coarse": coarse, "fine": fine, "sparse": torch.eye(3).to_sparse()})
    tensors = named(layout_of(data))
    assert tensors["coarse"].dtype == "qint8(0.5,1)"
    assert tensors["fine"].dtype == "quint8(0)"
    assert {"fine.quantizer.1", "fine.quantizer.2", "sparse.1.0", "sparse.1.1"} <= tensors.keys()


def test_wrapped_tensors() -> None:
    """Parameters, buffers and subclasses are seen through, their attributes told."""
    weight = torch.nn.Parameter(torch.arange(3.0))
    weight.note = torch.ones(1)
    buffer = torch.nn.Buffer(torch.arange(2.0))
    marked = torch.arange(4.0).as_subclass(Marked)
    marked.scale = torch.ones(1)
    data = saved({"w": weight, "b": buffer, "m": marked})
    ones = torch.ones(1)
    assert_told(data, {"w": weight, "w.note": ones, "b": buffer, "m": marked, "m.scale": ones})


def test_what_is_shared_has_all_its_names() -> None:
    """A tensor object in two places is told in both, also a subclass or a quantized one."""
    marked = torch.arange(4.0).as_subclass(Marked)
    marked.history = ["loaded"]
    assert_told(saved([marked, marked]), {"0": marked, "1": marked})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = torch.quantize_per_tensor(torch.ones(3), 0.5, 1, torch.qint8)
        data = saved([quantized, quantized])
    assert list(named(layout_of(data))) == ["0", "1"]


def test_torch_script_and_packages() -> None:
    """TorchScript archives and packages are recognised, with tensors and storages."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    file, package = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(model), file)
        with torch.package.PackageExporter(package) as exporter:
            exporter.save_pickle("models", "model.pkl", model.state_dict())
    assert layout_of(file.getvalue()).format == "torch-script"
    found, expected = named(layout_of(file.getvalue())), model.state_dict()
    assert found.keys() == expected.keys()
    assert {
        name: bytes_of(file.getvalue(), layout_of(file.getvalue()), tensor)
        for name, tensor in found.items()
    } == {name: raw(tensor) for name, tensor in expected.items()}
    assert layout_of(package.getvalue()).format == "torch-package"
    assert_told(package.getvalue(), expected)


def test_constants_of_a_script_are_storages() -> None:
    """Tensors that a script has in its code are kept as storages and are none of its weights."""

    table = torch.arange(500.0)
    add = type("Add", (torch.nn.Module,), {"forward": lambda _, x: x + table[:2]})
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), add())
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model, torch.ones(1, 2)), file)
    layout = layout_of(file.getvalue())
    assert list(named(layout)) == ["0.weight", "0.bias"]
    assert [(storage.size, storage.width) for storage in layout.storages] == [
        (16, 4),
        (8, 4),
        (2000, 0),
    ]


def test_files_of_the_first_zip_era_are_read() -> None:
    """Without the records of later years, and with storages in the order of text."""
    state = {f"w{number}": torch.rand(number, 2) for number in range(1, 13)}
    records = {}
    with zipfile.ZipFile(io.BytesIO(saved(state))) as archive:
        for name in archive.namelist():
            records[name] = archive.read(name)
    old = sorted(name for name in records if "/data/" in name)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ["archive/version", "archive/data.pkl", *old]:
            archive.writestr(name, records[name])
    assert torch.load(io.BytesIO(file.getvalue())).keys() == state.keys()
    assert_told(file.getvalue(), state)


def test_big_endian_files_say_so() -> None:
    """A big-endian file has the same widths, and types that do not pass for plain ones."""
    data = saved({"w": torch.ones(3), "b": torch.ones(3, dtype=torch.uint8)})
    big = data.replace(b"little", b"big\0\0\0", 1)
    assert big != data
    # The record is shorter on a real one; here its size is put right by hand.
    at = big.rindex(b"archive/byteorder") - 46
    big = big[: at + 20] + (3).to_bytes(4, "little") * 2 + big[at + 28 :]
    layout = layout_of(big)
    assert {tensor.name: tensor.dtype for tensor in layout.tensors} == {
        "w": "float32.big",
        "b": "uint8",
    }
    assert [storage.width for storage in layout.storages] == [4, 1]


def test_a_pickle_that_is_not_understood_leaves_the_storages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the tensors cannot be told, the storages are, and no tensor is claimed."""
    data = saved({"w": torch.ones(8), "v": torch.ones(2)})
    lost = data.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v9")
    layout = layout_of(lost)
    assert len(layout.storages) == 2
    assert {tensor.name for tensor in layout.tensors} == {"w.0", "v.0"}
    monkeypatch.setattr("mvc.formats.torch_zip.MAX_PICKLE", 10)
    layout = layout_of(data)
    assert [storage.width for storage in layout.storages] == [0, 0]
    assert layout.tensors == ()


def test_a_storage_said_larger_than_it_is(tmp_path: Path) -> None:
    """If the pickle and the directory differ on a storage, the pickle is not believed."""
    data = saved({"w": torch.ones(8)})
    at = data.index(b"K\x08tq")
    layout = layout_of(data[: at + 1] + b"\x09" + data[at + 2 :])
    assert layout.tensors == ()
    assert [(storage.size, storage.width) for storage in layout.storages] == [(32, 0)]


def test_other_archives_are_opaque() -> None:
    """A zip file that no framework wrote is opaque."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data/weights.bin", bytes(100))
    assert describe(Bytes(file.getvalue())) is None
