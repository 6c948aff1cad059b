"""What loading a file would run is told from its bytes, and errs on one side only."""

from __future__ import annotations

import _compat_pickle
import builtins
import io
import os
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvc.formats import describe, inert_pickle
from mvc.formats.inert_pickle import names_in
from mvc.formats.safety import NUMPY, TENSORS, judged, safety_of
from mvc.verdict import Safety, Verdict
from tests.formats.sources import TENSOR, Bytes, Record, zip_of

LEGACY_PREAMBLE = b"".join(
    pickle.dumps(value, 2)
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "type_sizes": {}})
)


class Calls:
    """Pickles as a call of something with some arguments."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.parts = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.parts


def label(data: bytes) -> Safety | None:
    source = Bytes(data)
    return safety_of(source, describe(source))


def labelled(data: bytes) -> tuple[str, tuple[str, ...]]:
    found = label(data)
    assert found is not None
    return found.verdict.value, found.globals


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def in_zip(data: bytes, name: str = "a/data.pkl") -> bytes:
    return zip_of([Record(name, data)])


OS_SYSTEM = ("os.system",)
NAMED = {
    "GLOBAL": (b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R.", OS_SYSTEM),
    "GLOBAL without a protocol": (b"cos\nsystem\n(S'id'\ntR.", OS_SYSTEM),
    "a name that is only imported": (b"\x80\x02cos\nsystem\n.", OS_SYSTEM),
    "a name that is thrown away": (b"\x80\x02cos\nsystem\n0N.", OS_SYSTEM),
    "STACK_GLOBAL": (b"\x80\x04" + text("os") + text("system") + b"\x93)R.", OS_SYSTEM),
    "STACK_GLOBAL from the memo": (
        b"\x80\x04" + text("system") + b"\x940" + text("os") + b"h\0\x93)R.",
        OS_SYSTEM,
    ),
    "STACK_GLOBAL from a memo written over": (
        b"\x80\x04"
        + text("x")
        + b"q\x070"
        + text("system")
        + b"q\x070"
        + text("os")
        + b"h\x07\x93.",
        OS_SYSTEM,
    ),
    "STACK_GLOBAL of what was doubled": (
        b"\x80\x04" + text("os") + b"2" + b"\x93.",
        ("os.os",),
    ),
    "INST": (b"(S'id'\nios\nsystem\n.", OS_SYSTEM),
    "OBJ": (b"(cos\nsystem\nS'id'\no.", OS_SYSTEM),
    "NEWOBJ": (b"\x80\x02cos\nsystem\n)\x81.", OS_SYSTEM),
    "NEWOBJ_EX": (b"\x80\x04cos\nsystem\n)}\x92.", OS_SYSTEM),
    "EXT1": (b"\x80\x02\x82\x05)R.", ("copyreg.extension.5",)),
    "EXT2": (b"\x80\x02\x83\x05\x01)R.", ("copyreg.extension.261",)),
    "EXT4": (b"\x80\x02\x84\x05\0\0\x01)R.", ("copyreg.extension.16777221",)),
    "BUILD": (b"\x80\x02cm\nC\n)\x81}X\x01\0\0\0acos\nsystem\nsb.", ("m.C", "os.system")),
    "a function in a harmless call": (
        b"\x80\x02ccollections\nOrderedDict\n(cos\nsystem\ntR.",
        OS_SYSTEM,
    ),
    "in a persistent id": (b"\x80\x02(X\x07\0\0\0storagecos\nsystem\ntQ.", OS_SYSTEM),
    "a second pickle after the first": (b"\x80\x02N.\x80\x02cos\nsystem\n)R.", OS_SYSTEM),
    "attributes of a module that is allowed": (
        b"\x80\x04" + text("torch") + text("serialization.os.system") + b"\x93.",
        ("torch:serialization.os.system",),
    ),
    "an allowed name, taken apart in another place": (
        b"\x80\x04" + text("torch") + text("_utils._rebuild_tensor_v2") + b"\x93.",
        ("torch:_utils._rebuild_tensor_v2",),
    ),
    "another case": (b"\x80\x02ctorch\nfloatstorage\n.", ("torch.floatstorage",)),
    "a pickle in a pickle": (
        b"\x80\x02ctorch.storage\n_load_from_bytes\nB\x01\0\0\0.\x85R.",
        ("torch.storage._load_from_bytes",),
    ),
}


@pytest.mark.parametrize("what", NAMED)
def test_every_way_to_name_a_function_is_seen(what: str) -> None:
    """Whatever opcode names it, a function that is not on the list is told, in a file and a zip."""
    data, names = NAMED[what]
    assert labelled(data) == ("other", names)
    if "second pickle" not in what:
        assert labelled(in_zip(data)) == ("other", names)


@pytest.mark.parametrize("name", ["pip.main", "pkgutil.resolve_name", "builtins.eval",
                                  "builtins.getattr", "posix.system", "runpy._run_code",
                                  "torch.hub.load", "torch.load", "numpy.load",
                                  "numpy.core.multiarray.system", "functools.partial",
                                  "builtins.exec", "importlib.import_module"])  # fmt: skip
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_what_scanners_have_missed_is_not_on_the_list(name: str, protocol: int) -> None:
    """A list of what is allowed needs not know what is harmful."""
    module, _, function = name.rpartition(".")
    call = f"c{module}\n{function}\n(tR.".encode()
    data = call if protocol == 0 else bytes([0x80, protocol]) + call
    assert labelled(data) == ("other", (name,))


UNREADABLE = {
    # Read from a file, what is left of the frame is dropped, and other bytes become opcodes.
    "a frame that ends within an opcode": b"\x80\x04\x95\x03\0\0\0\0\0\0\0N\x8c\x0e"
    + b"cos\nsystem\n)R.N.",
    "a frame that ends within a line": b"\x80\x04\x95\x02\0\0\0\0\0\0\0"
    + b"ccollections\nOrderedDict\n.",
    "a frame in a frame": b"\x80\x04\x95\x0b\0\0\0\0\0\0\0N\x95\x01\0\0\0\0\0\0\0..",
    "an end before the end of the frame": b"\x80\x04\x95\x03\0\0\0\0\0\0\0N.N.",
    "a name from a call": b"\x80\x04cbuiltins\nset\n)R" + text("system") + b"\x93.",
    "a name from a persistent id": b"\x80\x04Pos\n" + text("system") + b"\x93.",
    "a name that is too long to be kept": b"\x80\x04"
    + text("os")
    + b"X\x88\x13\0\0"
    + b"a." * 2500
    + b"\x93.",
    "a call of a persistent id": b"\x80\x02Pos\n)R.",
    "state for a function": b"\x80\x02ccollections\nOrderedDict\n}b.",
    "no end": b"\x80\x02}",
    "an unknown opcode": b"\x80\x02}\xff.",
    "something behind it": b"\x80\x02}.\xff\xff",
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_followed_is_unparseable(what: str) -> None:
    """A pickle that the walker does not understand to its end is never called harmless."""
    assert labelled(UNREADABLE[what])[0] == "unparseable"
    assert labelled(in_zip(UNREADABLE[what]))[0] == "unparseable"


def test_what_was_seen_before_the_end_is_told() -> None:
    """A pickle that breaks behind its payload is unparseable, and names the payload."""
    payload = b"cos\nsystem\n(S'id'\ntR"
    for data in (b"\x80\x02" + payload + b"\xff", payload + b"\xff", payload):
        assert labelled(data) == ("unparseable", OS_SYSTEM)


def test_numbers_that_only_an_unpickler_reads_hide_nothing() -> None:
    """What a lenient reader of numbers goes past, the walker goes past as well."""
    for number in (b"I0x10\n", b"L0x10L\n", b"F1_0.0\n", b"I 7\n"):
        assert labelled(number + b"0cos\nsystem\n(S'id'\ntR.") == ("other", OS_SYSTEM)


def test_limits_are_not_a_hiding_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle that runs into a limit before it does anything is unparseable, not unknown."""
    monkeypatch.setattr(inert_pickle, "MAX_OPCODES", 10)
    assert labelled(b"N0" * 10 + b"cos\nsystem\n)R.") == ("unparseable", ())
    monkeypatch.setattr("mvc.formats.safety.MAX_PICKLE", 100)
    assert labelled(b"V" + b"x" * 200 + b"\n0cos\nsystem\n)R.") == ("unparseable", ())
    monkeypatch.setattr(inert_pickle, "MAX_PICKLES", 2)
    assert labelled(b"N." * 2 + b"cos\nsystem\n)R.")[0] == "unparseable"


NO_PICKLES = {
    "nothing": b"",
    "text": b"Some words\nand more words.\n",
    "a list of names, the first with c": b"cache\nbuild\n.venv\n",
    "a long line that begins with c": b"const a = 1;" * 1000,
    "text that begins like a text opcode": b"XGBoost is a library.\n" * 10,
    "JSON": b'{"a": [1, 2]}',
    "a table": b"2,3,4\n5,6,7\n",
}


@pytest.mark.parametrize("what", NO_PICKLES)
def test_of_other_files_nothing_is_said(what: str) -> None:
    """A file that is neither a pickle nor known to carry code has no label."""
    assert label(NO_PICKLES[what]) is None


def test_files_that_are_known_to_carry_code_are_unparseable() -> None:
    """HDF5, also behind other bytes, zip files that torch did not write, and tar."""
    hdf5 = b"\x89HDF\r\n\x1a\n"
    keras = io.BytesIO()
    with zipfile.ZipFile(keras, "w") as archive:
        archive.writestr("config.json", "{}")
    tar = bytes(257) + b"ustar  \0"
    for data in (hdf5, bytes(2048) + hdf5, keras.getvalue(), tar, in_zip(b"N.") + b"\0"):
        assert labelled(data) == ("unparseable", ())


GOOD = b"\x80\x02}X\x01\0\0\0w" + TENSOR + b"s."
PAYLOAD = b"\x80\x02cos\nsystem\n)R."
STORAGE = Record("a/data/0", b"12345678")


def test_a_good_zip_of_tensors_is_tensors_only() -> None:
    """The file that the next test makes worse has the best of labels."""
    notes = [Record("a/version", b"3\n"), Record("a/byteorder", b"little")]
    assert labelled(zip_of([Record("a/data.pkl", GOOD), STORAGE, *notes])) == ("tensors", ())


ODD_ZIPS = {
    "another pickle": [Record("a/extra.pkl", PAYLOAD)],
    "a pickle of another name": [Record("a/notes.txt", PAYLOAD)],
    "a pickle in another folder": [Record("b/data.pkl", PAYLOAD)],
    "a second data.pkl": [Record("a/data.pkl", PAYLOAD)],
    "a data.pkl in capitals": [Record("a/DATA.pkl", GOOD)],
    "a data.pkl with more behind a zero": [Record("a/data.pkl\0x", GOOD)],
    "a backslash": [Record("a\\data.pkl", GOOD)],
    "a deflated pickle": [Record("a/extra.pkl", PAYLOAD, method=8)],
    "a header of another name": [Record("a/extra.pkl", GOOD, local_name="b/extra.pkl")],
    "an encrypted pickle": [Record("a/extra.pkl", GOOD, flags=1)],
}


@pytest.mark.parametrize("what", ODD_ZIPS)
def test_an_odd_zip_is_not_called_harmless(what: str) -> None:
    """What else is in the archive, or speaks against itself, lowers the label."""
    for odd_first in (False, True):
        records = [Record("a/data.pkl", GOOD), STORAGE, *ODD_ZIPS[what]]
        found = label(zip_of(records[::-1] if odd_first else records))
        assert found is not None
        assert found.may_run_code


def test_a_data_pickle_that_is_not_plain_is_unparseable() -> None:
    """Deflated, encrypted, cut short, or with bytes behind its end: nobody read it to its end."""
    for record in (
        Record("a/data.pkl", GOOD, method=8),
        Record("a/data.pkl", GOOD, flags=1),
        Record("a/data.pkl", GOOD[:-1]),
        Record("a/data.pkl", GOOD + b"N."),
    ):
        assert labelled(zip_of([record, STORAGE])) == ("unparseable", ())


def test_a_second_directory_in_the_comment_is_not_overlooked() -> None:
    """A zip whose comment holds another end record is read in two ways, so it is unparseable."""
    good = zip_of([Record("a/data.pkl", GOOD), STORAGE])
    hidden = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 7)
    comment = hidden + b"comment that is longer"
    assert labelled(good)[0] == "tensors"
    commented = good[:-2] + struct.pack("<H", len(comment)) + comment
    assert labelled(commented)[0] == "unparseable"
    harmless = good[:-2] + struct.pack("<H", 7) + b"comment"
    assert labelled(harmless)[0] == "tensors"


def test_legacy_files_are_judged_by_all_their_pickles() -> None:
    """A payload in any of the five pickles of a legacy file is told."""
    rest = [pickle.dumps(OrderedDict(a=1), 2), pickle.dumps([], 2)]
    assert labelled(LEGACY_PREAMBLE + b"".join(rest)) == ("tensors", ())
    info = LEGACY_PREAMBLE.replace(b"\x88", b"cos\nsystem\n)R")
    assert labelled(info + b"".join(rest)) == ("other", OS_SYSTEM)
    assert labelled(LEGACY_PREAMBLE + PAYLOAD + rest[1]) == ("other", OS_SYSTEM)
    assert label(LEGACY_PREAMBLE + rest[0] + b"\x80\x02cos\nsystem\n)R0]" + b".") == Safety(
        Verdict.OTHER, OS_SYSTEM
    )


def test_old_names_do_not_turn_into_others() -> None:
    """What an unpickler takes for a name of Python 2 on the list is on the list as well."""
    for name in TENSORS | NUMPY:
        module, _, function = name.rpartition(".")
        pair = _compat_pickle.NAME_MAPPING.get((module, function))
        new = ".".join(pair or (_compat_pickle.IMPORT_MAPPING.get(module, module), function))
        assert new in TENSORS | NUMPY


def test_the_list_holds_no_door() -> None:
    """Nothing on the list has points in its name, opens files, or runs what it is given."""
    assert "torch.storage._load_from_bytes" not in TENSORS | NUMPY
    allowed = {"set", "frozenset", "complex", "bytes", "bytearray"}
    assert {n.partition(".")[2] for n in TENSORS if n.startswith("builtins.")} == allowed
    assert all(hasattr(builtins, name) for name in allowed)


# An unpickler that imports nothing, against the walker.


class Stand(list[Any]):
    """What any name stands for here; it can be called, filled and given a state."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        CALLED.append(self)
        return Stand()

    def __setitem__(self, key: Any, value: Any) -> None: ...
    def __setstate__(self, state: Any) -> None: ...
    def add(self, value: Any) -> None: ...


class StandClass(type):
    """A class that can be called, for the opcodes that want one."""

    def __call__(cls, *args: Any, **options: Any) -> Any:
        CALLED.append(cls)
        return Stand()


CALLED: list[Any] = []


def asked_for(data: bytes, kind: Any, *, buffered: bool = False) -> tuple[set[str], bool]:
    """Return what a real unpickler asks for, pickle after pickle, and whether it calls."""
    names: set[str] = set()
    CALLED.clear()

    class Unpickler(kind):
        def find_class(self, module: str, name: str) -> Any:
            names.add(f"{module}:{name}" if "." in name else f"{module}.{name}")
            return StandClass("Some", (), {"__new__": Stand().__call__})

        def persistent_load(self, id: Any) -> Any:
            return Stand()

    file: Any = io.BytesIO(data)
    if buffered:
        file = io.BufferedReader(file)
    try:
        while file.tell() < len(data):
            Unpickler(file).load()
    except Exception:  # whatever stops it
        pass
    return names, bool(CALLED)


PIECES = [
    b"cos\nsystem\n)R", b"cos\nsystem\n)\x81", b"(cos\nsystem\no",
    b"\x8c\x02os\x8c\x06system\x93)R",
    b"\x8c\x06system\x940\x8c\x02os", b"\x8c\x02os\x8c\x06system\x93",
    b"ccollections\nOrderedDict\n)R",
    b"cos\nsystem\n", b"ctorch\nFloatStorage\n", b"ccollections\nOrderedDict\n", b"\x8c\x02os",
    b"\x8c\x06system", b"\x8c\x05torch", b"\x8c\x0cFloatStorage", b"X\x02\0\0\0os", b"S'os'\n",
    b"S'o\\x73'\n", b"S\"system\"\n", b"Vo\\u0073\n", b"Vsystem\n", b"U\x02os", b"T\x02\0\0\0os",
    b"\x8d\x02\0\0\0\0\0\0\0os", b"C\x02os", b"\x93", b"\x93", b"(", b"(", b"t", b"l", b"d", b")",
    b"]", b"}", b"\x85", b"\x86", b"\x87", b"R", b"\x81", b"\x92", b"ios\nsystem\n", b"o", b"b",
    b"a", b"e", b"s", b"u", b"\x8f", b"\x90", b"\x91", b"0", b"1", b"2", b"q\x01", b"h\x01",
    b"p1\n", b"g1\n", b"p 1\n", b"g0_1\n", b"r\x01\0\0\0", b"j\x01\0\0\0", b"\x94", b"h\x00",
    b"I0x10\n", b"I01\n", b"L7L\n", b"F1.5\n", b"K\x05", b"M\x05\x00", b"J\1\0\0\0",
    b"\x8a\x01\x07",
    b"G\0\0\0\0\0\0\0\0", b"N", b"\x88", b"\x80\x02", b"\x80\x04", b"Ppid\n", b"Q", b".", b".N",
    *(b"\x95" + struct.pack("<Q", size) for size in range(1, 12)),
    b"\x96\x01\0\0\0\0\0\0\0z", b"\x97", b"\x98", b"\x82\x01",
]  # fmt: skip


@pytest.mark.parametrize("kind", [pickle.Unpickler, pickle._Unpickler])
@settings(max_examples=400, deadline=None)
@given(
    buffered=st.booleans(),
    pieces=st.lists(st.sampled_from(PIECES), max_size=14),
    proto=st.sampled_from([b"", b"\x80\x04"]),
)
def test_no_unpickler_does_what_the_walker_does_not_see(
    kind: Any, buffered: bool, pieces: list[bytes], proto: bytes
) -> None:
    """What a real unpickler asks for is on the list, or the label says so; so with its calls."""
    data = proto + b"".join(pieces)
    found = names_in(data)
    if found is not None and not found.complete:
        return  # a label that promises nothing
    names, called = asked_for(data, kind, buffered=buffered)
    if found is None:
        assert not called
    elif not judged(found).may_run_code:
        assert names <= TENSORS | NUMPY
    else:
        assert names <= found.names


# Real files.

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

from tests.formats.torch_files import of_every_type, saved, small_model  # noqa: E402

LINEAR = "torch.nn.modules.linear.Linear"


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_torch_writes(zipped: bool, protocol: int) -> None:
    """State dicts, optimizer states and every type are tensors; arrays numpy; modules other."""
    options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
    model = small_model()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3, 3, 6))[0].sum().backward()
    optimizer.step()
    checkpoint = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    arrays = {**checkpoint, "history": [np.arange(3.0), np.float64(0.5)]}
    assert labelled(saved(checkpoint, **options)) == ("tensors", ())
    assert labelled(saved(of_every_type(), **options)) == ("tensors", ())
    assert labelled(saved(model.parameters().__next__(), **options)) == ("tensors", ())
    assert labelled(saved(arrays, **options)) == ("numpy", ())
    verdict, names = labelled(saved(model, **options))
    assert verdict == "other"
    assert LINEAR in names
    assert names == tuple(sorted(names))
    evil = saved({**checkpoint, "x": Calls(os.system, "id")}, **options)
    assert labelled(evil) == ("other", (f"{os.system.__module__}.system",))


def test_special_tensors_are_tensors() -> None:
    """Quantised, sparse, meta, strided and subclassed tensors need nothing but the list."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = {
            "quantised": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
            "sparse": torch.eye(3).to_sparse(),
            "csr": torch.eye(3).to_sparse_csr(),
            "meta": torch.ones(2, device="meta"),
            "size": torch.Size([1, 2]),
            "device": torch.device("cpu"),
            "storage": torch.ones(3).untyped_storage(),
            "some": {1, 2},
            "bytes": b"",
            "complex": 1j,
        }
        data = saved(values)
    assert labelled(data) == ("tensors", ())


def test_scripts_and_packages_hold_code() -> None:
    """TorchScript and torch.package carry code of their own, and are named for it."""
    script, package = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), script)
        with torch.package.PackageExporter(package) as exporter:
            exporter.extern("**")
            exporter.save_pickle("weights", "w.pkl", torch.ones(2))
    verdict, names = labelled(script.getvalue())
    assert (verdict, names[0]) == ("other", "TorchScript code")
    verdict, names = labelled(package.getvalue())
    assert (verdict, names[0]) == ("other", "torch.package code")


def test_arrays_of_numpy() -> None:
    """Arrays of numbers hold no code; those of objects are pickles, and so is what hides as one."""
    plain, objects, old, both = (io.BytesIO() for _ in range(4))
    np.save(plain, np.ones(3))
    np.save(objects, np.array([{}], dtype=object))
    np.savez(both, a=np.ones(3), b=np.array([None]))
    old.write(plain.getvalue().replace(b"<f8", b"|O8"))
    assert labelled(plain.getvalue()) == ("tensors", ())
    for file in (objects, old, both):
        assert labelled(file.getvalue()) == ("unparseable", ())


def test_archives_one_behind_the_other_are_all_judged() -> None:
    """A payload in any part of a distributed checkpoint's file is told."""
    one, evil = saved(torch.ones(2)), saved({"x": Calls(os.system, "id")})
    name = f"{os.system.__module__}.system"
    assert labelled(one + one) == ("tensors", ())
    assert labelled(one + evil) == labelled(evil + one) == ("other", (name,))


def test_plain_pickles_and_safetensors() -> None:
    """Arrays pickled plainly are numpy in every protocol; safetensors has no code at all."""
    safetensors = pytest.importorskip("safetensors.torch")
    arrays = {"w": np.ones(3), "b": np.float32(1), "n": 3}
    for protocol in range(6):
        assert labelled(pickle.dumps(arrays, protocol)) == ("numpy", ())
        assert labelled(pickle.dumps({"n": [1, "a"]}, protocol)) == ("tensors", ())
    assert labelled(safetensors.save({"w": torch.ones(2)})) == ("tensors", ())
