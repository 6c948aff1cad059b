"""Reading a described file: exactly so many bytes, or a ``FormatError``.

Public names: ``read_exactly``.
"""

from __future__ import annotations

from mvc.errors import FormatError
from mvc.formats.layout import Source


def read_exactly(source: Source, offset: int, size: int, *, limit: int) -> bytes:
    """Return ``size`` bytes at ``offset``.

    Raises:
        FormatError: the range is not inside the file, or is over ``limit``
            bytes (checked before anything is read), or the file has shrunk.
    """
    if size > limit:
        raise FormatError(f"{size} bytes at {offset} where at most {limit} are read")
    if offset < 0 or size < 0 or offset + size > source.size:
        raise FormatError(f"{size} bytes at {offset} of a file of {source.size}")
    data = source.read(offset, size)
    if len(data) != size:
        raise FormatError(f"{len(data)} bytes at {offset} where {size} were asked for")
    return data
