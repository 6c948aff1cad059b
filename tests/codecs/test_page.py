"""The example on the format page is what the code reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mvc import codecs
from mvc.codecs import delta, plan, planes
from mvc.codecs.encoding import Encoding
from mvc.codecs.predict import Prediction
from mvc.codecs.zstd import Effort

PAGE = Path(__file__).parents[2] / "docs" / "formats" / "encodings.md"


@pytest.fixture(scope="module")
def example() -> dict[str, bytes]:
    """Return the page's hex blocks by name, without their comments."""
    blocks = re.findall(r"^```hex (\w+)\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    return {name: bytes.fromhex(re.sub(r"#.*", "", body)) for name, body in blocks}


def test_the_example_reads_as_the_page_says(example: dict[str, bytes]) -> None:
    """The payload printed on the page decodes to the plain bytes printed there."""
    plain, payload = example["plain"], example["payload"]
    assert (len(plain), len(payload)) == (97, 68)
    assert bytes(codecs.decode(Encoding.PLANES, memoryview(payload), len(plain))) == plain


def test_the_example_is_what_the_writer_lays_out(example: dict[str, bytes]) -> None:
    """The writer lays out the example byte for byte, but for the inside of the zstd frame."""
    plain, payload = example["plain"], example["payload"]
    efforts = (Effort.MATCHES, Effort.BYTES, None, Effort.BYTES)
    planned = plan.Plan(4, efforts, frozenset({1, 3}), 0)
    header, frame, *others = planes.encode(memoryview(plain), planned).pieces
    assert bytes(header[:5]) == payload[:5]
    assert bytes(header[9:]) == payload[9:24]
    assert int.from_bytes(header[5:9], "little") == len(frame)
    assert b"".join(others) == payload[24 + 17 :]


def test_the_delta_on_the_page_reads_and_is_written_so(example: dict[str, bytes]) -> None:
    """The delta printed on the page gives the file printed there, and is what the writer makes."""
    base, child, payload = example["base"], example["child"], example["delta"]
    assert bytes(codecs.decode_delta(memoryview(payload), len(child), base)) == child
    planned = delta.Plan(Prediction.FLOAT32_TO_BFLOAT16, b"\x80", 0)
    assert b"".join(delta.encode(memoryview(child), 2, base, planned).pieces) == payload


def test_the_table_of_numbers_is_the_codes() -> None:
    """Every encoding stands on the page under its number and name."""
    rows = re.findall(r"^\| (\d) \| `(\w+)` \|", PAGE.read_text("utf-8"), re.M)
    assert [(int(number), name) for number, name in rows] == [
        (encoding.value, encoding.name.lower()) for encoding in Encoding
    ]
