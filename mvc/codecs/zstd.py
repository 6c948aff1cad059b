"""Zstandard frames: the one place that knows the library.

An object of this encoding is one frame. Planes hold frames too, so this
module also compresses and decompresses for them. Every frame is made in one
call, which is what writes the plain size into its header and keeps its
window no larger than that.

Layout and limits: ``docs/formats/encodings.md``; the frame itself: RFC 8878.
Public names: ``Effort``, ``compress``, ``ratio``, ``decompress``,
``encode``, ``decode``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from enum import Enum

from mvc.codecs.encoding import Encoded, Encoding
from mvc.digest import Buffer
from mvc.errors import FormatError

if sys.version_info >= (3, 14):
    from compression import zstd as library
else:
    from backports import zstd as library

LEAST_WINDOW_LOG = 10
"""The format has no smaller window than 1 KiB."""

MOST_WINDOW_LOG = 31
"""The library takes no larger one."""

_Parameter = library.CompressionParameter

_FORCE_LITERALS = 1002
"""``ZSTD_c_literalCompressionMode``, which the bindings have no name for."""

_PORTABLE_BYTES: Mapping[int, int] = {
    _Parameter.strategy: library.Strategy.fast,
    _Parameter.hash_log: 6,
    _Parameter.min_match: 7,
}


class Effort(Enum):
    """What the compressor looks for.

    ``BYTES`` looks at byte frequencies only: on an exponent plane it is both
    smaller and three times faster than level 1, which spends its time, and
    bits, on chance matches. The longest step the library takes keeps it from
    meeting any; literals must then be forced to be compressed, as it leaves
    them alone when asked to hurry so.

    ``MATCHES`` looks for repeated strings: text, tables, runs, tied rows.

    ``SKIM`` only notices that there are repeats, at about 7 GB/s; never worth
    keeping.
    """

    BYTES = "bytes"
    MATCHES = "matches"
    SKIM = "skim"


_OPTIONS: Mapping[Effort, Mapping[int, int]] = {
    Effort.BYTES: {**_PORTABLE_BYTES, _Parameter.target_length: 1 << 17, _FORCE_LITERALS: 1},
    Effort.MATCHES: {_Parameter.compression_level: 3},
    Effort.SKIM: {
        _Parameter.strategy: library.Strategy.fast,
        _Parameter.hash_log: 14,
        _Parameter.min_match: 7,
        _Parameter.target_length: 16,
    },
}

_contexts = threading.local()
"""A compressor per effort and thread: a new one costs as much as 10 KiB of input."""


def compress(data: Buffer, effort: Effort) -> bytes:
    """Return ``data`` as one frame."""
    compressor: library.ZstdCompressor | None = getattr(_contexts, effort.name, None)
    if compressor is None:
        compressor = _compressor(effort)
        setattr(_contexts, effort.name, compressor)
    return compressor.compress(data, library.ZstdCompressor.FLUSH_FRAME)


def ratio(sample: Buffer, effort: Effort) -> float:
    """Return the compressed size of ``sample`` as a part of its plain size."""
    size = memoryview(sample).nbytes
    return len(compress(sample, effort)) / size if size else 1.0


def decompress(frame: Buffer, size: int) -> bytes:
    """Return the ``size`` bytes of one frame that fills ``frame`` exactly.

    The output is cut off one byte past ``size`` and the window may not be
    larger than ``size``, so a few bytes cannot claim much memory.

    Raises:
        FormatError: It is no such frame, or gives more or fewer bytes.
    """
    window_log = min(max(LEAST_WINDOW_LOG, (size - 1).bit_length()), MOST_WINDOW_LOG)
    options: dict[int, int] = {library.DecompressionParameter.window_log_max: window_log}
    decompressor: library.ZstdDecompressor = library.ZstdDecompressor(options=options)
    try:
        plain: bytes = decompressor.decompress(frame, max_length=size + 1)
    except library.ZstdError as error:
        raise FormatError(f"a zstd frame cannot be read: {error}") from error
    if len(plain) > size:
        raise FormatError(f"a zstd frame gives more than {size} bytes")
    if not decompressor.eof or len(plain) < size:
        raise FormatError(f"a zstd frame ends after {len(plain)} bytes of {size}")
    if decompressor.unused_data:
        raise FormatError(f"{len(decompressor.unused_data)} bytes follow a zstd frame")
    return plain


def encode(data: memoryview, effort: Effort) -> Encoded:
    """Keep ``data`` as one frame."""
    return Encoded.of(Encoding.ZSTD, compress(data, effort))


def decode(payload: memoryview, size: int) -> Buffer:
    """Return the ``size`` plain bytes of the frame, or raise ``FormatError``."""
    return decompress(payload, size)


def _compressor(effort: Effort) -> library.ZstdCompressor:
    compressor: library.ZstdCompressor
    try:
        compressor = library.ZstdCompressor(options=_OPTIONS[effort])
    except (library.ZstdError, ValueError):
        # A library that refuses the unnamed parameter costs speed, not the data.
        compressor = library.ZstdCompressor(options=_PORTABLE_BYTES)
    return compressor
