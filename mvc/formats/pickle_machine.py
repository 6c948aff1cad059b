"""What a pickle's opcodes work on: position, stack, marks, memo.

Public names: ``Machine``.
"""

from __future__ import annotations

import struct

from mvc.errors import FormatError
from mvc.formats.pickle_nodes import SKIPPED, Persistent, Ref

MAX_TEXT = 4096  # a longer string is no name
MAX_ALL_TEXT = 16 << 20
MAX_GLOBALS = 1 << 14

_NUMBERS = {
    size: struct.Struct(f"<{code}").unpack_from
    for size, code in zip((1, 2, 4, 8), "BHIQ", strict=True)
}


class Machine:
    """The state of a walk: position, stack, marks (as heights of the stack), memo."""

    __slots__ = ("at", "data", "globals", "marks", "memo", "persistent", "stack", "text_size")

    def __init__(self, data: bytes, start: int) -> None:
        self.data = data
        self.at = start
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.persistent: list[Persistent] = []
        self.globals: dict[str, Ref] = {}
        self.text_size = 0

    def skip(self, size: int) -> int:
        """Move past ``size`` bytes and return where they begin."""
        start = self.at
        self.at += size
        if self.at > len(self.data):
            raise FormatError("a pickle ends early")
        return start

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
        text = self.text(self.data.index(b"\n", self.at) - self.at, encoding)
        self.at += 1
        return text

    def since_mark(self) -> list[object]:
        height = self.marks.pop()
        items = self.stack[height:]
        del self.stack[height:]
        return items

    def ref(self, module: object, name: object) -> Ref:
        if not isinstance(module, str) or not isinstance(name, str):
            raise FormatError("a global whose name is no text")
        dotted = f"{module}.{name}"
        if dotted not in self.globals:
            if len(self.globals) >= MAX_GLOBALS:
                raise FormatError(f"a pickle that names more than {MAX_GLOBALS} globals")
            self.globals[dotted] = Ref(dotted)
        return self.globals[dotted]
