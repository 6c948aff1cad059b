"""What mvc reads of files in torch's format from before 1.6."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvc.errors import FormatError
from mvc.formats import describe, torch_legacy
from tests.formats.sources import Bytes, bytes_of, is_sound, layout_of, named
from tests.formats.torch_files import assert_told, of_every_type, saved_the_old_way, small_model

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_files_of_torch_are_told(protocol: int) -> None:
    """Names, types, shapes and bytes of every type are those that torch was given."""
    tensors = of_every_type()
    data = saved_the_old_way(tensors, pickle_protocol=protocol)
    assert_told(data, tensors)
    assert (layout_of(data).format, layout_of(data).framework) == ("torch-legacy", "pytorch")


def test_a_pickled_module_is_named_as_its_state_dict() -> None:
    """A whole module, whose classes carry their source, gives the names of its state_dict."""
    model = small_model()
    data = saved_the_old_way(model)
    assert b"X\x06\0\0\0module" in data
    assert_told(data, model.state_dict())


def test_empty_files_and_tensors() -> None:
    """What has no elements has no storage, and a file may have no tensors at all."""
    assert_told(saved_the_old_way({}), {})
    state = {"none": torch.zeros(0, 3), "one": torch.tensor(2.5)}
    assert_told(saved_the_old_way(state), state)


class Pickler(pickle.Pickler):
    """Writes text that begins with ``storage`` as a storage of six float32, or a part of it."""

    def persistent_id(self, obj: object) -> object:
        if isinstance(obj, tuple) and obj[:1] == ("part",):
            return ("storage", torch.FloatStorage, "7", "cpu", 6, obj[1])
        return None


def written(
    root: object,
    *,
    keys: object = ("7",),
    storages: Iterable[tuple[int, bytes]] = ((6, torch.arange(6.0).numpy().tobytes()),),
    magic: object = torch_legacy.MAGIC,
    protocol: object = 1001,
    after: bytes = b"",
) -> bytes:
    """Write a file by hand, with whatever lies it is given."""
    file = io.BytesIO()
    for value in (magic, protocol, {"little_endian": True}):
        pickle.dump(value, file, 2)
    Pickler(file, 2).dump(root)
    pickle.dump(list(keys) if isinstance(keys, tuple) else keys, file, 2)
    for count, data in storages:
        file.write(count.to_bytes(8, "little") + data)
    return file.getvalue() + after


class Rebuilt:
    """Is pickled as the tensor of ``shape`` at ``offset`` of a part of the storage."""

    def __init__(self, part: object, offset: int, shape: tuple[int, ...]) -> None:
        self.args = (("part", part), offset, shape, (1,) * len(shape))

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return torch._utils._rebuild_tensor, self.args


def test_parts_of_a_storage_are_told_as_torch_reads_them() -> None:
    """Views, as torch before 0.4 wrote them, lie where torch itself finds them."""
    data = written(
        {
            "whole": Rebuilt(None, 1, (2,)),
            "part": Rebuilt(("8", 2, 4), 1, (3,)),
            "bare": ("part", ("9", 1, 2)),
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.load(io.BytesIO(data), weights_only=False)
        told_by_torch = {name: torch.tensor(list(part)) for name, part in loaded.items()}
    layout = layout_of(data)
    assert named(layout).keys() == told_by_torch.keys()
    for name, tensor in named(layout).items():
        expected = told_by_torch[name]
        assert tensor.shape == tuple(expected.shape)
        assert bytes_of(data, layout, tensor) == expected.numpy().tobytes(), name


GOOD = {"w": Rebuilt(None, 0, (6,))}
BYTES = torch.arange(6.0).numpy().tobytes()
BAD = {
    "another magic number": written(GOOD, magic=torch_legacy.MAGIC + 1),
    "another protocol": written(GOOD, protocol=1002),
    "bytes after the last storage": written(GOOD, after=b"\0"),
    "a storage cut short": written(GOOD)[:-1],
    "no storage": written(GOOD, storages=()),
    "a count of exabytes": written(GOOD, storages=[(2**62, BYTES)]),
    "a negative count": written(GOOD, storages=[(2**64 - 1, BYTES)]),
    "a key that the pickle does not name": written(GOOD, keys=("8",)),
    "a key twice": written(GOOD, keys=("7", "7"), storages=[(3, BYTES[:12]), (3, BYTES[12:])]),
    "keys that are no list": written(GOOD, keys={"7": 1}),
    "a key that is no text": written(GOOD, keys=([],)),
    "a storage described in two ways": written([GOOD, ("part", None)]).replace(
        b"torch\nFloatStorage", b"torch\nHalfStorage\n"[:18], 1
    ),
    "three pickles": written(GOOD)[: written(GOOD).index(b"X\x01\0\0\0w") - 5],
    "a preamble of a megabyte": written(GOOD, protocol="x" * (1 << 20)),
    "magic and noise": written(GOOD)[:15] + bytes(range(256)),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_refused(what: str) -> None:
    """A file that breaks one rule of the format is opaque; without the break it is not."""
    assert list(named(layout_of(written(GOOD)))) == ["w"]
    assert describe(Bytes(BAD[what])) is None
    with suppress(FormatError):  # and nothing else
        torch_legacy.describe(Bytes(BAD[what]))


HALF = {
    "a storage smaller than is said": (written(GOOD, storages=[(5, BYTES[:20])]), 0),
    "a tensor that leaves its storage": (written({"w": Rebuilt(None, 1, (6,))}), 4),
    "a part that leaves its storage": (written({"w": Rebuilt(("8", 4, 3), 0, (1,))}), 4),
    "a part before its storage": (written({"w": Rebuilt(("8", -1, 3), 2, (1,))}), 4),
    "a part that is none": (written({"w": Rebuilt("8", 0, (1,))}), 4),
    "a tensor that is none": (written({"w": Rebuilt(None, 0, ("six",))}), 4),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", HALF)
def test_a_lie_about_a_tensor_costs_the_table_only(what: str) -> None:
    """Where a tensor does not fit, storages are told and no tensor is."""
    data, width = HALF[what]
    layout = layout_of(data)
    assert layout.tensors == ()
    assert [storage.width for storage in layout.storages] == [width]


def test_a_payload_is_not_run() -> None:
    """A file that would exit the process on loading is described."""

    class Exit:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return eval, ("exit(9)",)

    data = written({"run": Exit(), "w": Rebuilt(None, 0, (6,))})
    assert list(named(layout_of(data))) == ["w"]


shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@given(st.dictionaries(st.text(max_size=8), shapes, max_size=5), st.integers(2, 5))
def test_any_state_dict_is_told(shapes_by_name: dict[str, Any], protocol: int) -> None:
    """Whatever the names and shapes, the table has them all, with their bytes."""
    state = {f"n{name}": torch.rand(shape) for name, shape in shapes_by_name.items()}
    data = saved_the_old_way(state, pickle_protocol=protocol)
    assert_told(data, state)
    assert is_sound(layout_of(data), len(data))
