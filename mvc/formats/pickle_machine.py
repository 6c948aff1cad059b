"""What a pickle's opcodes work on: position, stack, marks, memo.

Public names: ``Machine``, ``NO_FRAME``.
"""

from __future__ import annotations

import struct

from mvc.errors import FormatError
from mvc.formats.pickle_nodes import SKIPPED, Call, Persistent, Ref

MAX_TEXT = 4096  # a longer string is no name
MAX_ALL_TEXT = 16 << 20
MAX_GLOBALS = 1 << 14
NO_FRAME = 1 << 63  # where a frame ends that there is not

_NUMBERS = {
    size: struct.Struct(f"<{code}").unpack_from
    for size, code in zip((1, 2, 4, 8), "BHIQ", strict=True)
}


class Machine:
    """The state of a walk: position, stack, marks (as heights of the stack), memo."""

    __slots__ = (
        "at", "data", "frame_end", "globals", "has_called", "marks", "memo", "persistent",
        "stack", "text_size",
    )  # fmt: skip

    def __init__(self, data: bytes, start: int) -> None:
        self.data = data
        self.at = start
        self.frame_end = NO_FRAME
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.persistent: list[Persistent] = []
        self.globals: dict[str, Ref] = {}
        self.has_called = False
        self.text_size = 0

    def skip(self, size: int) -> int:
        """Move past ``size`` bytes and return where they begin."""
        start = self.at
        self.at += size
        if self.at > len(self.data):
            raise IndexError("a pickle ends early")
        return start

    def begin_frame(self, size: int) -> None:
        if self.frame_end != NO_FRAME:
            raise FormatError("a frame in a frame")
        self.frame_end = self.at + size

    def leave_frame(self) -> None:
        """Leave the frame whose end is reached, or passed.

        Frames must end where an opcode does: a reader that takes a frame from
        the file at once drops what is left of it when it needs more, and so
        reads other opcodes than are here.
        """
        if self.at != self.frame_end:
            raise FormatError("a frame that ends within an opcode")
        self.frame_end = NO_FRAME

    def number(self, size: int) -> int:
        """Read an unsigned number of 1, 2, 4 or 8 bytes."""
        (number,) = _NUMBERS[size](self.data, self.at)  # no copy; checks the end
        self.at += size
        return int(number)

    def text(self, size: int, encoding: str = "utf-8") -> object:
        start = self.skip(size)
        if size > MAX_TEXT:
            return SKIPPED
        self.text_size += size
        if self.text_size > MAX_ALL_TEXT:
            raise FormatError(f"a pickle with more than {MAX_ALL_TEXT} bytes of text")
        raw = self.data[start : self.at]
        try:
            return raw.decode(encoding, "surrogatepass")
        except UnicodeDecodeError:  # a string of Python 2
            return raw.decode("latin-1")

    def line(self, encoding: str = "utf-8") -> object:
        """Return the text up to the next line feed, and move past that."""
        end = self.data.find(b"\n", self.at)
        text = self.text((len(self.data) if end < 0 else end) - self.at, encoding)
        self.skip(1)
        return text

    def since_mark(self) -> list[object]:
        height = self.marks.pop()
        items = self.stack[height:]
        del self.stack[height:]
        return items

    def ref(self, module: object, name: object) -> Ref:
        """Note a global that is named.

        A name with points in it goes through attributes, and so reaches what
        no module has; it is written ``module:a.b`` and is never another's.
        """
        if module is SKIPPED:  # no module's name is so long
            raise TypeError("a global of no module")
        if type(module) is not str or type(name) is not str:
            raise FormatError("a global whose name is no text")
        dotted = f"{module}.{name}" if "." not in name else f"{module}:{name}"
        if dotted not in self.globals:
            if len(self.globals) >= MAX_GLOBALS:
                raise FormatError(f"a pickle that names more than {MAX_GLOBALS} globals")
            self.globals[dotted] = Ref(dotted)
        return self.globals[dotted]

    def call(self, function: object, args: tuple[object, ...]) -> None:
        """Note a call, of a function or a class, and put what it would return on the stack."""
        if type(function) is Persistent and not _stands_for_a_class(function):
            raise FormatError("a call of what a persistent id stands for")
        self.has_called = True
        self.stack.append(Call(function, args))


def _stands_for_a_class(node: Persistent) -> bool:
    """Tell the persistent ids of classes, which name them, in torch's legacy files."""
    id = node.id
    return isinstance(id, tuple) and len(id) > 1 and id[0] == "module" and type(id[1]) is Ref
