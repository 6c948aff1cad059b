"""Where the tensors of a model file lie, without running anything in it.

One module per format, one line each in ``FORMATS``. A format is told by the
bytes of a file, never by its name, and a description is only a hint: on any
surprise the file is opaque, and is kept all the same. See ``docs/formats/``:
one page per format, and ``opaque.md`` for everything else.

Public names: ``describe``, ``Layout``, ``Source``, ``Storage``, ``Tensor``.
"""

from __future__ import annotations

from collections.abc import Callable

from mvc.formats import (
    gguf,
    npy,
    numpy_pickle,
    onnx,
    safetensors,
    torch_dcp,
    torch_legacy,
    torch_zip,
)
from mvc.formats.layout import Layout, Source, Storage, Tensor
from mvc.formats.validate import validated

__all__ = ["Layout", "Source", "Storage", "Tensor", "describe"]

HEAD_SIZE = 32

FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[Source], Layout]], ...] = (
    (torch_zip.matches, torch_zip.describe),
    (torch_dcp.matches, torch_dcp.describe),
    (torch_legacy.matches, torch_legacy.describe),
    (numpy_pickle.matches, numpy_pickle.describe),
    (gguf.matches, gguf.describe),
    (npy.matches, npy.describe),
    (npy.matches_npz, npy.describe_npz),
    (safetensors.matches, safetensors.describe),
    (onnx.matches, onnx.describe),
)
"""Per format: whether a file's first bytes may be of it, and what reads it."""


def describe(source: Source) -> Layout | None:
    """Say where the tensors of ``source`` lie; ``None`` where it is opaque.

    Never raises because of what the file holds. What ``source.read`` itself
    raises as ``OSError`` is passed on: a disk that fails says nothing about
    the format.
    """
    head = source.read(0, min(HEAD_SIZE, source.size))
    for matches, parse in FORMATS:
        if matches(head):
            try:
                return validated(parse(source), source.size)
            except OSError:
                raise
            except Exception:  # hostile bytes find errors we did not think of
                continue
    return None
