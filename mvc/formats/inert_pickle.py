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
Public names: ``walk``, ``Walked``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mvc.errors import FormatError
from mvc.formats.pickle_machine import Machine
from mvc.formats.pickle_nodes import Persistent
from mvc.formats.pickle_opcodes import OPCODES, STOP

MAX_OPCODES = 2_500_000  # about 55,000 tensors; under 0.3 GB at the very worst


@dataclass(frozen=True, slots=True)
class Walked:
    """The object the pickle describes, every persistent id, every global named.

    ``end`` is where it ends: behind its last opcode, counted from the start of the data.
    """

    root: object
    persistent: tuple[Persistent, ...]
    globals: frozenset[str]
    end: int


def walk(data: bytes, start: int = 0) -> Walked:
    """Read the pickle at ``start`` of ``data``; what follows it is not looked at.

    Raises:
        FormatError: it is no pickle, ends early, needs more than the limits
            above, or does what no pickler writes.
    """
    machine = Machine(data, start)
    try:
        for _ in range(MAX_OPCODES):
            code = data[machine.at]
            machine.at += 1
            if code == STOP:
                return Walked(
                    machine.stack.pop(),
                    tuple(machine.persistent),
                    frozenset(machine.globals),
                    machine.at,
                )
            OPCODES[code](machine)
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise FormatError(f"no pickle at byte {machine.at}: {error!r}") from None
    raise FormatError(f"a pickle of more than {MAX_OPCODES} opcodes")
