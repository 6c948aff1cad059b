"""Reading back: nothing is handed on that does not decode to what it was made of."""

from __future__ import annotations

import numpy as np
import pytest

from mvc import codecs
from mvc.codecs import Base, Encoded, Encoding
from mvc.digest import digest_of
from mvc.errors import MvcError

RANDOM = np.random.default_rng(0)
WEIGHTS = RANDOM.normal(0, 0.02, 1 << 16).astype("<f4")
DRIFTED = WEIGHTS * np.float32(1 + 1e-6)
OTHER = RANDOM.normal(0, 0.02, 1 << 16).astype("<f4")


def encodings() -> list[Encoded]:
    base = Base(digest_of(WEIGHTS.tobytes()), 4, 0, WEIGHTS.tobytes())
    return [
        codecs.encode(DRIFTED.tobytes(), 4),
        codecs.encode(DRIFTED.tobytes(), 4, [base]),
    ]


def test_what_was_encoded_is_recognised() -> None:
    """Planes and deltas decode to the bytes that they were made of."""
    planes, delta = encodings()
    assert (planes.encoding, delta.encoding) == (Encoding.PLANES, Encoding.DELTA)
    for encoded in (planes, delta):
        codecs.read_back(encoded, DRIFTED.tobytes())


def test_what_decodes_to_other_bytes_is_refused() -> None:
    """A fault of a codec, or of memory, is noticed before the object is published."""
    for encoded in encodings():
        with pytest.raises(MvcError, match="decode"):
            codecs.read_back(encoded, OTHER.tobytes())
