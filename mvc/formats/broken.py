"""What a file in which no tensors were found may be instead: words for who added it.

It is never refused for it: an opaque file is kept like any other. What is
looked for, and what not: ``docs/formats/opaque.md``.

Public names: ``instead_of_model``, ``is_web_page``, ``HEAD_SIZE``.
"""

from __future__ import annotations

from mvc.errors import FormatError
from mvc.formats import safetensors
from mvc.formats.layout import Source
from mvc.formats.zip_directory import END, MAX_COMMENT

HEAD_SIZE = 512
_WEB_PAGE = (b"<!doctype html", b"<html")
_POINTERS = (
    (b"version https://git-lfs.github.com/spec/", "git-lfs", "git lfs pull"),
    (b"outs:\n- md5:", "DVC", "dvc pull"),
)
_IN_PART = "that breaks off; it may have been copied or downloaded only in part"


def instead_of_model(source: Source) -> str | None:
    """Say what an opaque file is, if it is surely none that somebody meant to keep as a model."""
    if not source.size:
        return "is empty"
    head = source.read(0, min(HEAD_SIZE, source.size))
    if is_web_page(head):
        return "is a web page"
    for start, tool, command in _POINTERS:
        if head.startswith(start):
            return f"is a pointer of {tool}, no model: {command} brings what it stands for"
    if head.startswith(b"PK\3\4") and _has_no_end(source):
        return f"is a zip archive {_IN_PART}"
    if safetensors.matches(head) and _breaks_off(source):
        return f"is a safetensors file {_IN_PART}"
    return None


def is_web_page(head: bytes) -> bool:
    """Say whether a file that begins so, with its first ``HEAD_SIZE`` bytes, is a page in HTML."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_WEB_PAGE)


def _has_no_end(source: Source) -> bool:
    size = min(source.size, END.size + MAX_COMMENT)
    return b"PK\5\6" not in source.read(source.size - size, size)


def _breaks_off(source: Source) -> bool:
    try:
        return safetensors.whole_size(source) > source.size
    except FormatError:
        return False
