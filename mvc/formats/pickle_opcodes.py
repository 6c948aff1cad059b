"""The opcodes of pickle, protocols 0 to 5, each doing nothing but taking note.

One function per kind of opcode; ``OPCODES`` has one entry per byte. They raise
``FormatError`` where this walker goes no further, and what Python raises for a
missing index or key where no unpickler would. What they read they read at
least as leniently as one does, so that nothing is hidden behind it. Meaning of
the opcodes: the standard library's ``pickletools``; a test compares the tables.

Public names: ``OPCODES``, ``STOP``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

from mvc.errors import FormatError
from mvc.formats.pickle_machine import Machine
from mvc.formats.pickle_nodes import SKIPPED, Call, Pairs, Persistent

MAX_NUMBER = 16  # bytes; torch writes at most 9

Opcode = Callable[[Machine], None]
OPCODES: dict[int, Opcode] = {}
STOP = ord(".")


def _opcode(codes: bytes) -> Callable[[Opcode], Opcode]:
    def register(function: Opcode) -> Opcode:
        for code in codes:
            OPCODES[code] = function
        return function

    return register


def _constant(machine: Machine, value: object) -> None:
    machine.stack.append(value)


for _code, _value in ((b"N", None), (b"\x88", True), (b"\x89", False), (b")", ())):
    OPCODES[_code[0]] = partial(_constant, value=_value)
OPCODES[0x97] = partial(_constant, value=SKIPPED)  # NEXT_BUFFER


# Numbers.


@_opcode(b"K")
def _byte(machine: Machine) -> None:
    machine.stack.append(machine.data[machine.at])
    machine.at += 1


@_opcode(b"M")
def _short(machine: Machine) -> None:
    machine.stack.append(machine.number(2))


@_opcode(b"J")
def _signed(machine: Machine) -> None:
    start = machine.skip(4)
    machine.stack.append(int.from_bytes(machine.data[start : machine.at], "little", signed=True))


@_opcode(b"G")
def _float(machine: Machine) -> None:
    start = machine.skip(8)
    machine.stack.append(struct.unpack_from(">d", machine.data, start)[0])


def _long(machine: Machine, prefix: int) -> None:
    size = machine.number(prefix)
    start = machine.skip(size)
    if size > MAX_NUMBER:
        machine.stack.append(SKIPPED)
    else:
        raw = machine.data[start : machine.at]
        machine.stack.append(int.from_bytes(raw, "little", signed=True))


OPCODES[0x8A] = partial(_long, prefix=1)
OPCODES[0x8B] = partial(_long, prefix=4)


@_opcode(b"IL")
def _decimal(machine: Machine) -> None:
    line = machine.line()
    if line in ("00", "01"):
        machine.stack.append(line == "01")
    else:
        short = isinstance(line, str) and len(line) <= 40
        machine.stack.append(_number(int, str(line).removesuffix("L")) if short else SKIPPED)


@_opcode(b"F")
def _decimal_float(machine: Machine) -> None:
    machine.stack.append(_number(float, str(machine.line())))


def _number(kind: type[int] | type[float], text: str) -> object:
    """Return what a text says; what is no number here may be one to an unpickler."""
    try:
        return kind(text)
    except ValueError:
        return SKIPPED


# Text and bytes.


def _text(machine: Machine, prefix: int) -> None:
    machine.stack.append(machine.text(machine.number(prefix)))


def _bytes(machine: Machine, prefix: int) -> None:
    machine.skip(machine.number(prefix))
    machine.stack.append(SKIPPED)


for _code, _size in ((b"X", 4), (b"\x8c", 1), (b"\x8d", 8), (b"T", 4), (b"U", 1)):
    OPCODES[_code[0]] = partial(_text, prefix=_size)
for _code, _size in ((b"B", 4), (b"C", 1), (b"\x8e", 8), (b"\x96", 8)):
    OPCODES[_code[0]] = partial(_bytes, prefix=_size)


@_opcode(b"V")
def _line(machine: Machine) -> None:
    machine.stack.append(machine.line("raw-unicode-escape"))


@_opcode(b"S")
def _quoted(machine: Machine) -> None:
    line = machine.line()
    machine.stack.append(line[1:-1] if isinstance(line, str) else SKIPPED)


# The stack, the memo, and framing.


@_opcode(b"(")
def _mark(machine: Machine) -> None:
    machine.marks.append(len(machine.stack))


@_opcode(b"0")
def _pop(machine: Machine) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()


@_opcode(b"1")
def _pop_mark(machine: Machine) -> None:
    machine.since_mark()


@_opcode(b"2")
def _dup(machine: Machine) -> None:
    machine.stack.append(machine.stack[-1])


@_opcode(b"q")
def _put(machine: Machine) -> None:
    machine.memo[machine.data[machine.at]] = machine.stack[-1]
    machine.at += 1


@_opcode(b"r")
def _long_put(machine: Machine) -> None:
    machine.memo[machine.number(4)] = machine.stack[-1]


@_opcode(b"p")
def _text_put(machine: Machine) -> None:
    machine.memo[_index(machine)] = machine.stack[-1]


@_opcode(b"\x94")
def _memoize(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


@_opcode(b"h")
def _get(machine: Machine) -> None:
    machine.stack.append(machine.memo[machine.data[machine.at]])
    machine.at += 1


@_opcode(b"j")
def _long_get(machine: Machine) -> None:
    machine.stack.append(machine.memo[machine.number(4)])


@_opcode(b"g")
def _text_get(machine: Machine) -> None:
    machine.stack.append(machine.memo[_index(machine)])


def _index(machine: Machine) -> int:
    line = machine.line()
    if not isinstance(line, str):
        raise FormatError("a place in the memo that is too long a number")
    return int(line)


def _ignored(machine: Machine, size: int) -> None:
    machine.skip(size)


OPCODES[0x80] = partial(_ignored, size=1)  # PROTO
OPCODES[0x98] = partial(_ignored, size=0)  # READONLY_BUFFER


@_opcode(b"\x95")
def _frame(machine: Machine) -> None:
    machine.begin_frame(machine.number(8))


# Containers.


@_opcode(b"t\x91")
def _tuple(machine: Machine) -> None:
    machine.stack.append(tuple(machine.since_mark()))


def _short_tuple(machine: Machine, count: int) -> None:
    stack = machine.stack
    if count > len(stack):
        raise IndexError("a pickle takes from an empty stack")
    stack[-count:] = [tuple(stack[-count:])]


for _count in (1, 2, 3):
    OPCODES[0x84 + _count] = partial(_short_tuple, count=_count)


@_opcode(b"]\x8f")
def _empty_list(machine: Machine) -> None:
    machine.stack.append([])


@_opcode(b"l")
def _list(machine: Machine) -> None:
    machine.stack.append(machine.since_mark())


@_opcode(b"}")
def _empty_dict(machine: Machine) -> None:
    machine.stack.append(Pairs())


@_opcode(b"d")
def _dict(machine: Machine) -> None:
    machine.stack.append(_pairs(machine.since_mark()))


def _pairs(items: list[object]) -> Pairs:
    if len(items) % 2:
        raise IndexError("a pickle sets a key without a value")
    return Pairs(items)


# Putting things into containers, and into what a call would return.


def _extend(machine: Machine, values: list[object]) -> None:
    target = machine.stack[-1]
    if type(target) is list:
        target.extend(values)
    elif type(target) is Call:
        if target.elements is None:
            target.elements = []
        target.elements.extend(values)
    else:
        raise FormatError("a pickle appends to what is no list")


def _update(machine: Machine, values: list[object]) -> None:
    target = machine.stack[-1]
    if type(target) is Call:
        if target.items is None:
            target.items = Pairs()
        target = target.items
    if type(target) is not Pairs:
        raise FormatError("a pickle sets a key of what is no dict")
    target.extend(_pairs(values))


@_opcode(b"a")
def _append(machine: Machine) -> None:
    _extend(machine, [machine.stack.pop()])


@_opcode(b"e\x90")
def _appends(machine: Machine) -> None:
    _extend(machine, machine.since_mark())


@_opcode(b"s")
def _set_item(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _update(machine, [key, value])


@_opcode(b"u")
def _set_items(machine: Machine) -> None:
    _update(machine, machine.since_mark())


# Names, calls, state, persistent ids: what a real unpickler would act on.


@_opcode(b"c")
def _global(machine: Machine) -> None:
    module = machine.line()
    machine.stack.append(machine.ref(module, machine.line()))


@_opcode(b"\x93")
def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.ref(module, name))


def _extension(machine: Machine, size: int) -> None:
    machine.stack.append(machine.ref("copyreg.extension", str(machine.number(size))))


for _code, _size in ((b"\x82", 1), (b"\x83", 2), (b"\x84", 4)):
    OPCODES[_code[0]] = partial(_extension, size=_size)


@_opcode(b"R\x81")
def _call(machine: Machine) -> None:
    args, function = machine.stack.pop(), machine.stack.pop()
    machine.call(function, args if isinstance(args, tuple) else (args,))


@_opcode(b"\x92")
def _call_with_keywords(machine: Machine) -> None:
    keywords, args, function = machine.stack.pop(), machine.stack.pop(), machine.stack.pop()
    machine.call(function, (args, keywords))


@_opcode(b"i")
def _instance(machine: Machine) -> None:
    module = machine.line()
    function = machine.ref(module, machine.line())
    machine.call(function, tuple(machine.since_mark()))


@_opcode(b"o")
def _object(machine: Machine) -> None:
    function, *args = machine.since_mark()
    machine.call(function, tuple(args))


@_opcode(b"b")
def _build(machine: Machine) -> None:
    state, target = machine.stack.pop(), machine.stack[-1]
    if type(target) is not Call or target.state is not None:
        raise FormatError("a pickle gives a second state, or one to what was not called")
    target.state = state


def _persistent(machine: Machine, id: object) -> None:
    node = Persistent(id)
    machine.persistent.append(node)
    machine.stack.append(node)


@_opcode(b"P")
def _text_persistent(machine: Machine) -> None:
    _persistent(machine, machine.line())


@_opcode(b"Q")
def _stack_persistent(machine: Machine) -> None:
    _persistent(machine, machine.stack.pop())
