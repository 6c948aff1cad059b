"""The pages in docs/formats, and the bytes of their examples."""

from __future__ import annotations

import re
from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs" / "formats"


def page(name: str) -> str:
    return (PAGES / name).read_text(encoding="utf-8")


def example(name: str) -> bytes:
    """Return the bytes of a page's example; the offsets beside them must be right."""
    (block,) = re.findall(r"```hex\n(.*?)```", page(name), re.DOTALL)
    data = bytearray()
    for line in block.splitlines():
        assert int(line[:4], 16) == len(data), line
        data += bytes.fromhex(line[6:53])
    return bytes(data)
