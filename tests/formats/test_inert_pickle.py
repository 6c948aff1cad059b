"""Pickles are looked at, never run, and within bounds whatever they say."""

from __future__ import annotations

import os
import pickle
import pickletools
import struct
import time
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvc.errors import FormatError
from mvc.formats import inert_pickle, pickle_machine, torch_pickle
from mvc.formats.inert_pickle import walk
from mvc.formats.pickle_nodes import SKIPPED, Call, Pairs, Persistent
from mvc.formats.pickle_opcodes import OPCODES, STOP
from mvc.formats.torch_pickle import find_tensors, storage_types
from tests.formats.sources import TENSOR


class Payload:
    """What an attacker puts in a pickle."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def plain(node: object) -> Any:
    """Rebuild what has no calls from its picture."""
    if isinstance(node, Pairs):
        return {plain(key): plain(value) for key, value in zip(node[::2], node[1::2], strict=True)}
    if isinstance(node, (list, tuple)):
        return type(node)(plain(part) for part in node)
    return node


def test_every_opcode_is_known() -> None:
    """The table has every opcode of the standard library's, and no other."""
    codes = {ord(opcode.code) for opcode in pickletools.opcodes}
    assert codes == {*OPCODES, STOP}


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(values, st.integers(0, 5))
def test_plain_values_come_out_as_they_went_in(value: object, protocol: int) -> None:
    """In every protocol, what needs no call is read as the real unpickler reads it."""
    assert plain(walk(pickle.dumps(value, protocol)).root) == value


@pytest.mark.parametrize("protocol", range(6))
def test_a_payload_is_not_run(protocol: int, tmp_path: Path) -> None:
    """A pickle that would run a command is walked; its command has not run."""
    marker = tmp_path / "marker"
    data = pickle.dumps({"w": Payload(f"touch {marker}")}, protocol)
    walked = walk(data)
    find_tensors(walked.root)
    assert not marker.exists()
    assert {name.rpartition(".")[2] for name in walked.globals} == {"system"}
    pickle.loads(data)
    assert marker.exists(), "the payload is no payload"


def test_calls_state_items_and_elements_are_kept() -> None:
    """What a pickle does to the result of a call is kept on the call."""
    data = b"cm\nf\n(K\x01tR}X\x01\0\0\0aK\x02sbK\x03aX\x01\0\0\0kK\x04s."
    root = walk(data).root
    assert isinstance(root, Call)
    assert (root.function, root.args) == ("m.f", (1,))
    assert (root.state, root.elements, root.items) == (["a", 2], [3], ["k", 4])


def test_many_elements_of_one_call_take_no_longer_each() -> None:
    """Appending to what a call returns is as fast at the end as at the beginning."""
    count = 300_000  # the time would grow with the square if each append copied those before it
    start = time.process_time()
    root = walk(b"\x80\x02cm\nC\n)R" + b"Na" * count + b".").root
    assert time.process_time() - start < 20
    assert isinstance(root, Call)
    assert root.elements == [None] * count


def test_a_second_state_is_refused() -> None:
    """A pickle that sets the state of one object twice would hide the first; it is refused."""
    walk(b"cm\nf\n)R}b.")
    with pytest.raises(FormatError):
        walk(b"cm\nf\n)R}b}b.")


def test_old_opcodes() -> None:
    """Text numbers, quoted strings, INST, OBJ and text persistent ids are read."""
    data = b"(I01\nI12\nL34L\nF1.5\nS'a'\nVb\n(im\nC\n(cm\nD\noPid\ng0\nt."
    with pytest.raises(FormatError):
        walk(data)
    root = walk(data.replace(b"g0\n", b"")).root
    assert isinstance(root, tuple)
    assert root[:6] == (True, 12, 34, 1.5, "a", "b")
    assert [node.function for node in root[6:8]] == ["m.C", "m.D"]
    assert isinstance(root[8], Persistent)
    assert root[8].id == "id"


def test_what_is_long_is_skipped() -> None:
    """Bytes, long texts and long numbers are passed over, not kept."""
    data = pickle.dumps([b"x" * 9, "y" * 5000, 1 << 2000, bytearray(4)], 5)
    assert walk(data).root == [SKIPPED] * 4


@given(st.data())
def test_damage_is_a_format_error(data: st.DataObject) -> None:
    """Whatever bytes are changed or cut off, the walker returns or raises FormatError."""
    raw = bytearray(b"\x80\x02}(X\x01\0\0\0a" + TENSOR + b"u.")
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(FormatError):
        walked = walk(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
        storage_types(walked.persistent)
        find_tensors(walked.root)


@given(st.binary(max_size=200))
def test_noise_is_a_format_error(data: bytes) -> None:
    """Any bytes at all are a pickle or a FormatError."""
    with suppress(FormatError):
        find_tensors(walk(data).root)


def doubling(depth: int) -> bytes:
    """A list that holds the list before it twice, and so on: 2**depth ways to a tensor."""
    raw = b"]" + TENSOR + b"a"
    for number in range(depth):
        raw += b"r" + struct.pack("<I", number) + b"0](" + 2 * (b"j" + struct.pack("<I", number))
        raw += b"e"
    return raw + b"."


def text(value: bytes) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value


def nameless(depth: int) -> bytes:
    """The same by way of state and slots, which add nothing to a name."""
    raw = TENSOR + b"q\x00"
    for number in range(depth):
        raw += b"0cm\nf\n)R(" + 2 * (b"h" + bytes([number])) + b"tbq" + bytes([number + 1])
    return raw + b"."


def shared(depth: int, node: bytes) -> bytes:
    """A tensor whose metadata, or storage type, is a node with 2**depth ways through it."""
    raw = b"]q\x00"
    for number in range(depth):
        raw += b"0](" + 2 * (b"h" + bytes([number])) + b"eq" + bytes([number + 1])
    return raw + b"0" + node.replace(b"@", b"h" + bytes([depth])) + b"."


def many_modules(count: int) -> bytes:
    """One state, and one list of buffer names, that many modules share, seen many times."""
    names = b"](" + text(b"n") + b"K\x01" * count + b"e"
    empty = b"".join(text(name) + b"}" for name in (b"_parameters", b"_modules"))
    state = b"}(" + empty + text(b"_buffers") + b"}" + text(b"w") + TENSOR + b"s"
    state += text(b"_non_persistent_buffers_set") + names + b"u"
    return b"cm\nM\n)\x81" + state + b"bq\x000](" + b"h\x00" * count + b"e."


BOMBS = {
    "metadata of many ways": shared(60, TENSOR.replace(b")RtR", b")R}X\x04\0\0\0conj@stR")),
    "a storage type of many ways": shared(60, TENSOR.replace(b"ctorch\nFloatStorage\n", b"@")),
    "a mark of many ways": shared(60, TENSOR.replace(b")RtR", b")R}@\x88stR")),
    "a function of many ways": shared(60, b"@)R"),
    "lists in lists": b"]" * 200_000 + b"a" * 199_999 + b".",
    "tuples in tuples": b")" + b"\x85" * 240_000 + b".",
    "calls with calls": b"cm\nf\nq\x00" + b"h\x00" * 80_000 + b")" + b"R" * 80_000 + b".",
    "two to the fiftieth ways to a tensor": doubling(50),
    "two to the fiftieth ways without a name": nameless(50),
    "a list in itself": b"]q\x00h\x00ah\x00a" + TENSOR + b"a.",
    "a dict in itself": b"}q\x00X\x01\0\0\0ah\x00sX\x01\0\0\0b" + TENSOR + b"s.",
    "a call in its own state": b"cm\nf\n)Rq\x00}X\x01\0\0\0ah\x00sb.",
    "sets without end": b"\x8f" * 400_000,
    "marks without end": b"(" * 400_000,
    "memo entries without end": b"]" + b"\x94" * 400_000,
    "globals without end": b"".join(b"cm\n%x\n" % number for number in range(400_000)),
    "a number that claims 4 GB": b"\x8b\xff\xff\xff\x7f.",
    "a number of 60 MB": b"\x8b" + (60_000_000).to_bytes(4, "little") + b"\x7f" * 60_000_000 + b".",
    "a decimal of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "a text that claims 16 EB": b"\x8d" + b"\xff" * 8 + b".",
    "texts without end": text(b"n" * 4000) * 10_000 + b".",
    "wide texts without end": text(b"n" * 4000 + "😀".encode()) * 10_000 + b".",
    "long names upon long names": b"}("
    + b"".join(text(b"n" * 4000) + b"}(" for _ in range(300))
    + text(b"w")
    + TENSOR
    + b"u" * 301
    + b".",
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_does_not_go_off(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tenth of the limits, no pickle takes more than 30 MB: with all, 0.3 GB."""
    monkeypatch.setattr(inert_pickle, "MAX_OPCODES", inert_pickle.MAX_OPCODES // 10)
    monkeypatch.setattr(pickle_machine, "MAX_ALL_TEXT", pickle_machine.MAX_ALL_TEXT // 10)
    monkeypatch.setattr(torch_pickle, "MAX_STEPS", torch_pickle.MAX_STEPS // 10)
    monkeypatch.setattr(torch_pickle, "MAX_NAMES", torch_pickle.MAX_NAMES // 10)
    tracemalloc.start()
    try:
        with suppress(FormatError):
            find_tensors(walk(BOMBS[what]).root)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30 << 20


def test_looking_at_modules_is_counted() -> None:
    """What is looked at to tell a module counts as steps, each time it is looked at."""
    assert len(find_tensors(walk(many_modules(1000)).root)) == 1000
    with pytest.raises(FormatError):
        find_tensors(walk(many_modules(3000)).root)


def test_a_cycle_does_not_hide_a_tensor() -> None:
    """A tensor beside a reference to its own container is found, once."""
    assert [found.name for found in find_tensors(walk(BOMBS["a list in itself"]).root)] == ["2"]
    assert [found.name for found in find_tensors(walk(BOMBS["a dict in itself"]).root)] == ["b"]


def test_opcodes_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle of more opcodes than the limit is refused, one of as many is read."""
    monkeypatch.setattr(inert_pickle, "MAX_OPCODES", 3)
    walk(b"]2.")
    with pytest.raises(FormatError):
        walk(b"]22.")


def test_an_ordered_dict_of_python_2() -> None:
    """An OrderedDict written as a list of pairs has the same names as a new one."""
    pairs = b"ccollections\nOrderedDict\n((lp0\n(lp1\nS'w'\na" + TENSOR + b"aatR."
    assert [found.name for found in find_tensors(walk(pairs).root)] == ["w"]
    new = pickle.dumps(OrderedDict(w=1), 2).replace(b"K\x01", TENSOR)
    assert [found.name for found in find_tensors(walk(new).root)] == ["w"]


HALF_UNDERSTOOD = {
    "a shape of text": TENSOR.replace(b"QK\0K\x02\x85", b"QK\0X\x01\0\0\x002\x85"),
    "a negative offset": TENSOR.replace(b"QK\0", b"QJ\xff\xff\xff\xff"),
    "a storage of an unknown type": TENSOR.replace(b"FloatStorage", b"FlintStorage"),
    "a storage that is not torch's": TENSOR.replace(b"ctorch\nFl", b"ctorsh\nFl"),
    "an unknown mark": TENSOR.replace(b")RtR", b")R}X\x01\0\0\0x\x88stR"),
    "a type that is no word": TENSOR.replace(b"_v2", b"_v3").replace(b")RtR", b")Rctorch\na b\ntR"),
    "no storage": TENSOR.replace(b"cpuK\x02tQ", b"cpuK\x02t"),
}


@pytest.mark.parametrize("what", HALF_UNDERSTOOD)
def test_one_tensor_not_understood_is_none_understood(what: str) -> None:
    """There is no half a table: an odd tensor beside a good one is a FormatError."""
    data = b"(" + TENSOR + HALF_UNDERSTOOD[what] + b"t."
    assert len(find_tensors(walk(b"(" + TENSOR + TENSOR + b"t.").root)) == 2
    with pytest.raises(FormatError):
        find_tensors(walk(data).root)
