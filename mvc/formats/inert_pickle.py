"""Pickles, read as a picture of what they would do; nothing of it is done.

A pickle is a program: it names functions and has them called. This walker
follows the program and puts down what it says: a named function is a ``Ref``,
a call of it a ``Call``, a persistent id a ``Persistent``. It imports nothing,
calls nothing, and keeps no bytes. What a node means is for others to say.

Everything is bounded: opcodes, kept text, the size of numbers. There is no
recursion; graphs may be deep, shared and cyclic, and so may the result.

The opcodes are those of protocols 0 to 5, as in the standard library's
``pickletools``; a test compares the tables.

Nodes: ``mvc.formats.pickle_nodes``; opcodes: ``mvc.formats.pickle_opcodes``.
Public names: ``walk``, ``names_in``, ``Walked``, ``BrokenPickle``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mvc.errors import FormatError
from mvc.formats.layout import Globals
from mvc.formats.pickle_machine import NO_FRAME, Machine
from mvc.formats.pickle_nodes import Persistent
from mvc.formats.pickle_opcodes import OPCODES, STOP

MAX_OPCODES = 2_500_000  # about 55,000 tensors; under 0.3 GB at the very worst
MAX_PICKLES = 16  # one behind the other
MAX_PROTOCOL = 31  # the highest that is taken for one; today's is 5
LONGEST_ARGUMENT = 8  # of fixed size


@dataclass(frozen=True, slots=True)
class Walked:
    """The object the pickle describes, every persistent id, every global named.

    ``end`` is where it ends: behind its last opcode, counted from the start of the data.
    ``has_called`` tells whether it would call anything.
    """

    root: object
    persistent: tuple[Persistent, ...]
    globals: frozenset[str]
    end: int
    has_called: bool


class BrokenPickle(FormatError):
    """A walk that came to no end, with what was seen until then.

    ``gave_up`` is true where the walker stopped by its own rules and limits;
    an unpickler might go on. Else the bytes are no pickle, from ``at`` on.
    """

    def __init__(self, message: str, machine: Machine, *, gave_up: bool) -> None:
        super().__init__(message)
        self.globals = frozenset(machine.globals)
        self.has_called = machine.has_called
        self.at = machine.at
        self.gave_up = gave_up


def walk(data: bytes, start: int = 0) -> Walked:
    """Read the pickle at ``start`` of ``data``; what follows it is not looked at.

    Raises:
        BrokenPickle: it is no pickle, ends early, needs more than the limits
            above, or does what no pickler writes.
    """
    machine = Machine(data, start)
    try:
        for _ in range(MAX_OPCODES):
            code = data[machine.at]
            machine.at += 1
            if code == STOP:
                if machine.frame_end != NO_FRAME:
                    machine.leave_frame()
                return Walked(
                    machine.stack.pop(),
                    tuple(machine.persistent),
                    frozenset(machine.globals),
                    machine.at,
                    machine.has_called,
                )
            OPCODES[code](machine)
            if machine.at >= machine.frame_end:
                machine.leave_frame()
    except FormatError as error:
        raise BrokenPickle(error.message, machine, gave_up=True) from None
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        said = f"no pickle at byte {machine.at}: {error!r}"
        raise BrokenPickle(said, machine, gave_up=False) from None
    raise BrokenPickle(f"a pickle of more than {MAX_OPCODES} opcodes", machine, gave_up=True)


def names_in(data: bytes, *, is_all: bool = True) -> Globals | None:
    """Return what pickles, one behind the other, name; ``None`` where there are none.

    Bytes are a pickle if they begin with the mark of protocol 2 and later; or
    if they are one to their very end; or if an unpickler would call something,
    or may, before it finds that they are none.

    Args:
        is_all: Whether ``data`` is all there is, not only its beginning.
    """
    is_pickle = data[:1] == b"\x80" and data[1:2] <= bytes([MAX_PROTOCOL])
    names: frozenset[str] = frozenset()
    at = 0
    for _ in range(MAX_PICKLES):
        try:
            walked = walk(data, at)
        except BrokenPickle as broken:
            ran_out = not is_all and broken.at + LONGEST_ARGUMENT >= len(data)
            is_pickle |= broken.has_called or broken.gave_up or ran_out
            names |= broken.globals
            break
        is_pickle |= walked.has_called
        names |= walked.globals
        at = walked.end
        if at == len(data):
            return Globals(names, complete=is_all)
    else:
        is_pickle = True
    return Globals(names, complete=False) if is_pickle else None
