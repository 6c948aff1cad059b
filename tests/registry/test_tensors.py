"""What is told of tensors: of those of a version, and of those of a file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from mvc import Damaged, NotFound
from mvc.codecs import Encoding
from mvc.digest import Digest
from mvc.registry.tensors import TensorTable
from mvc.store.pack import Entry, PackReader
from tests.support.registry_builders import Project, repacked

Arrays = Mapping[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]


def arrays(seed: int = 1) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Return weights of 6.4 MB: two large tensors and two small ones."""
    random = np.random.default_rng(seed)
    sizes = {"a.weight": (1100, 1000), "b.weight": (500, 1000), "a.bias": (500,), "b.bias": ()}
    return {name: random.normal(0, 0.02, shape).astype("float32") for name, shape in sizes.items()}


def rows(table: TensorTable) -> dict[str, tuple[object, ...]]:
    return {t.name: (t.dtype, t.shape, t.plain) for t in table.tensors}


def known(tensors: Arrays) -> dict[str, tuple[object, ...]]:
    return {name: (str(a.dtype), a.shape, a.nbytes) for name, a in tensors.items()}


def chunks_of(project: Project, name: str) -> list[Digest]:
    registry = project.registry()
    recipe = registry.presence.store.recipe(registry.resolve("net").artifact.digest)
    assert recipe is not None
    (tensor,) = [tensor for tensor in recipe.tensors if tensor.name == name]
    return [span.object.digest for span in recipe.spans_of(tensor)]


def test_tensors_are_those_of_the_file(project: Project) -> None:
    """Names, types, shapes and sizes are what the library says that wrote the file."""
    project.add(save(arrays()), name="m.safetensors")
    table = project.registry().tensors("net")
    assert rows(table) == known(arrays())
    assert table.plain == sum(array.nbytes for array in arrays().values())
    assert {tensor.file for tensor in table.tensors} == {"m.safetensors"}


def test_a_tensor_takes_what_its_chunks_take(project: Project) -> None:
    """Stored is the sum of the chunks' frames; small tensors take their share of one."""
    project.add(save(arrays()))
    registry = project.registry()
    tensors = {tensor.name: tensor for tensor in registry.tensors("net").tensors}
    frames = {entry.digest: entry for pack in project.packs for entry in PackReader(pack).index}
    large = tensors["a.weight"]
    chunks = chunks_of(project, "a.weight")
    assert len(chunks) == 2
    assert large.stored == sum(frames[chunk].cost for chunk in chunks)
    assert (large.encodings, large.depth, large.gathered) == (("planes",), 0, False)
    small = [tensors["a.bias"], tensors["b.bias"]]
    assert chunks_of(project, "a.bias") == chunks_of(project, "b.bias")
    cost = frames[chunks_of(project, "a.bias")[0]].cost
    assert all(tensor.gathered for tensor in small)
    assert sum(tensor.stored or 0 for tensor in small) == cost


def test_what_tensors_share_counts_to_each_and_once_in_all(project: Project) -> None:
    """A tensor that is there twice takes its bytes in each row, and once in the total."""
    once = arrays()
    project.add(save(once), family="once")
    project.add(save({**once, "tied.weight": once["a.weight"]}))
    registry = project.registry()
    table = registry.tensors("net")
    tensors = {tensor.name: tensor for tensor in table.tensors}
    assert tensors["tied.weight"].stored == tensors["a.weight"].stored
    assert table.stored == registry.tensors("once").stored


def test_a_file_of_one_object_is_described_from_its_bytes(project: Project) -> None:
    """A file too small for a recipe shows its tensors, each with its share of the object."""
    small = {name: array[:10] for name, array in arrays().items() if array.ndim}
    project.add(save(small))
    table = project.registry().tensors("net")
    assert rows(table) == known(small)
    assert all(tensor.gathered and tensor.stored for tensor in table.tensors)
    assert abs((table.stored or 0) - sum(tensor.stored or 0 for tensor in table.tensors)) <= 2
    assert 0 < (table.stored or 0) < sum(pack.stat().st_size for pack in project.packs)


def test_an_opaque_file_has_no_tensors(project: Project) -> None:
    """Where nothing is known of a file's inside, the table is empty, and a name is not found."""
    project.add(b"no model")
    assert project.registry().tensors("net").tensors == ()
    with pytest.raises(NotFound, match="no tensor of net/v1 is called"):
        project.registry().tensors("net", "w")


def test_tensors_of_a_directory(project: Project, tmp_path: Path) -> None:
    """All its files are asked; one alone is named as elsewhere; a glob may name the file too."""
    first, second = arrays(1), {"c.weight": arrays(2)["b.weight"]}
    folder = tmp_path / "folder"
    (folder / "part").mkdir(parents=True)
    (folder / "a.safetensors").write_bytes(save(first))
    (folder / "part" / "b.safetensors").write_bytes(save(second))
    (folder / "config.json").write_text("{}")
    registry = project.registry()
    registry.add("net", folder)
    assert rows(registry.tensors("net")) == {**known(first), **known(second)}
    assert rows(registry.tensors("net:part/b.safetensors")) == known(second)
    (one,) = registry.tensors("net", "part/*:c.*").tensors
    assert (one.file, one.name) == ("part/b.safetensors", "c.weight")
    with pytest.raises(NotFound, match="no file 'b'"):
        registry.tensors("net:b")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.weight", {"a.weight", "b.weight"}),
        ("a.*", {"a.weight", "a.bias"}),
        ("b.bias", {"b.bias"}),
        ("?.bias", {"a.bias", "b.bias"}),
        ("model.bin:b*", {"b.weight", "b.bias"}),
    ],
)
def test_a_glob_chooses_tensors(project: Project, pattern: str, names: set[str]) -> None:
    """Only tensors whose names fit are in the table, and only they are added up."""
    project.add(save(arrays()))
    table = project.registry().tensors("net", pattern)
    assert {tensor.name for tensor in table.tensors} == names
    assert table.plain == sum(arrays()[name].nbytes for name in names)


def test_a_glob_that_fits_nothing_is_not_found(project: Project) -> None:
    """Case counts, and the hint has the names most like what was typed."""
    project.add(save(arrays()))
    for pattern, hint in (
        ("A.*", "mvc show REF --tensors"),
        ("a.wieght", "did you mean 'a.weight'"),
    ):
        with pytest.raises(NotFound) as caught:
            project.registry().tensors("net", pattern)
        assert (caught.value.hint or "").startswith(hint)


def test_a_name_with_brackets_can_be_typed_as_it_is(project: Project) -> None:
    """A tensor's whole name means it, whatever it would mean as a glob."""
    project.add(save({"w[0]": np.zeros(3, "float32"), "w[1]": np.zeros(3, "float32")}))
    (tensor,) = project.registry().tensors("net", "w[0]").tensors
    assert tensor.name == "w[0]"


def test_a_delta_tells_its_depth(project: Project) -> None:
    """A tensor is as deep as the deepest of its chunks, and names every encoding they have."""
    project.add(save(arrays()))
    first, last = chunks_of(project, "a.weight")

    def as_delta(entry: Entry) -> Entry:
        if entry.digest != last:
            return entry
        return replace(entry, encoding=Encoding.DELTA, depth=3, base=first)

    repacked(project.packs[0], as_delta)
    (tensor,) = project.registry().tensors("net", "a.weight").tensors
    assert (tensor.depth, tensor.encodings) == (3, ("planes", "delta"))


def test_a_tensor_whose_chunk_is_missing_is_shown(project: Project) -> None:
    """Its row is there without what it takes; a file without its recipe is damage."""
    project.add(save(arrays()))
    lost = chunks_of(project, "b.weight")
    repacked(project.packs[0], lambda entry: None if entry.digest in lost else entry)
    stored = {t.name: t.stored is not None for t in project.registry().tensors("net").tensors}
    assert stored == {"a.weight": True, "b.weight": False, "a.bias": True, "b.bias": True}
    for pack_file in project.packs:
        pack_file.unlink()
    with pytest.raises(Damaged):
        project.registry().tensors("net")
