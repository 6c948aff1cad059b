"""Records and events: written and read back, and nothing else is read."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mvc import FormatError, Unsupported, UsageError, lines
from mvc.digest import digest_of
from mvc.registry import event as events_of
from mvc.registry import record as records_of
from mvc.registry.event import Event, Policy, Standing, Tagged
from mvc.registry.record import Artifact, Record
from tests.support.registry_builders import events, records, resealed

DIGEST = digest_of(b"weights")
RECORD = Record(
    family="net",
    id="0" * 32,
    created="2026-11-23T05:12:09.123456Z",
    artifact=Artifact("file", "m.pt", DIGEST, 7, "torch-zip", 1, 2, {"float32": 1}),
    weights=DIGEST,
    metrics={"acc": 0.5},
)
EVENT = Event("net", "1" * 32, "2026-11-23T05:12:09.123456Z", Tagged("prod", 1, DIGEST), "anna")


@given(records)
def test_a_record_reads_back_as_it_was_written(record: Record) -> None:
    """Encoding and decoding give the same record, and the same bytes again."""
    data = records_of.encode(record)
    assert records_of.decode(data) == record
    assert records_of.encode(records_of.decode(data)) == data


@given(events)
def test_an_event_reads_back_as_it_was_written(event: Event) -> None:
    """Encoding and decoding give the same event, and the same bytes again."""
    data = events_of.encode(event)
    assert events_of.decode(data, event.number) == event
    assert events_of.encode(events_of.decode(data, event.number)) == data


@given(records)
@example(Record("net", "0" * 32, RECORD.created, RECORD.artifact, metrics={"a": 1e-05, "b": 5e300}))
def test_any_yaml_reader_reads_a_record_alike(record: Record) -> None:
    """PyYAML finds the same values of the same types, floats with exponents included."""
    data = records_of.encode(record)
    assert same(yaml.safe_load(data), lines.loads(data))


@given(events)
def test_any_yaml_reader_reads_an_event_alike(event: Event) -> None:
    """PyYAML finds the same values of the same types."""
    data = events_of.encode(event)
    assert same(yaml.safe_load(data), lines.loads(data))


@given(records, st.data())
def test_every_flipped_byte_of_a_record_is_noticed(record: Record, data: st.DataObject) -> None:
    """No single damaged byte, wherever it lies, gets through the reader."""
    raw = bytearray(records_of.encode(record))
    raw[data.draw(st.integers(0, len(raw) - 1), label="offset")] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FormatError):
        records_of.decode(bytes(raw))


def test_every_byte_of_an_event_matters() -> None:
    """Whichever byte is flipped, cut off or added, the event is refused."""
    whole = events_of.encode(EVENT)
    for offset in range(len(whole)):
        raw = bytearray(whole)
        raw[offset] ^= 0x01
        for damaged in (bytes(raw), whole[:offset], whole[:offset] + b" " + whole[offset:]):
            with pytest.raises(FormatError):
                events_of.decode(damaged, 1)


@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_bytes_are_a_format_error(data: bytes, sealed: bool) -> None:
    """A reader of stored bytes raises ``FormatError``, whatever they are, sealed or not."""
    data = lines.seal(data) if sealed else data
    with pytest.raises(FormatError):
        records_of.decode(data)
    with pytest.raises(FormatError):
        events_of.decode(data, 1)


RECORD_FIELDS = (
    "family id created artifact weights model metrics params lineage labels message author"
).split()
EVENT_FIELDS = "family id created event message author".split()


@pytest.mark.parametrize("name", RECORD_FIELDS)
def test_a_missing_or_wrong_field_of_a_record_is_named(name: str) -> None:
    """Each field must be there, ``weights`` excepted, and be of its type."""
    whole = records_of.encode(RECORD)
    if name != "weights":
        with pytest.raises(FormatError, match=f"lacks the field '{name}'"):
            records_of.decode(resealed(whole, **{name: ...}))  # type: ignore[arg-type]  # left out
    for wrong in (True, 5, 1.5, ["x"]):
        with pytest.raises(FormatError, match=name):
            records_of.decode(resealed(whole, **{name: wrong}))


@pytest.mark.parametrize("name", EVENT_FIELDS)
def test_a_missing_or_wrong_field_of_an_event_is_named(name: str) -> None:
    """Each field must be there and be of its type."""
    whole = events_of.encode(EVENT)
    with pytest.raises(FormatError, match=f"lacks the field '{name}'"):
        events_of.decode(resealed(whole, **{name: ...}), 1)  # type: ignore[arg-type]  # left out
    for wrong in (True, 5, 1.5, ["x"]):
        with pytest.raises(FormatError, match=name):
            events_of.decode(resealed(whole, **{name: wrong}), 1)


def test_an_unknown_field_is_named() -> None:
    """A field that the format does not have is refused, not passed over."""
    with pytest.raises(FormatError, match="unknown field 'number'"):
        records_of.decode(resealed(records_of.encode(RECORD), number=1))
    with pytest.raises(FormatError, match="unknown field 'number'"):
        events_of.decode(resealed(events_of.encode(EVENT), number=1), 1)


@pytest.mark.parametrize(
    "created",
    [
        "",
        "now",
        "2026-11-23",
        "2026-11-23T05:12:09.12345Z",
        "2026-13-01T00:00:00.000000Z",
        "2026-11-23T25:00:00.000000Z",
        "\uff12\uff1026-11-23T05:12:09.123456Z",
    ],
)
def test_a_time_that_is_none_is_named(created: str) -> None:
    """A time is RFC 3339 in UTC with microseconds, and a moment that exists."""
    for decode in (records_of.decode, lambda data: events_of.decode(data, 1)):
        whole = (
            records_of.encode(RECORD) if decode is records_of.decode else events_of.encode(EVENT)
        )
        with pytest.raises(FormatError, match="'created' is no time"):
            decode(resealed(whole, created=created))


WRONG_ARTIFACTS: dict[str, Any] = {
    "kind": "folder",
    "name": 5,
    "digest": "b3:00",
    "size": -1,
    "format": None,
    "tensors": -1,
    "parameters": 1.5,
    "dtypes": {"float32": "1"},
    "other": None,
}


@pytest.mark.parametrize("name", WRONG_ARTIFACTS)
def test_an_artifact_is_read_strictly(name: str) -> None:
    """Every field of an artifact must be what the page says, and no other may be there."""
    artifact = RECORD.artifact.as_values()
    wrong = resealed(records_of.encode(RECORD), artifact={**artifact, name: WRONG_ARTIFACTS[name]})
    with pytest.raises(FormatError):
        records_of.decode(wrong)
    less = {key: value for key, value in artifact.items() if key != name}
    if name != "other":
        with pytest.raises(FormatError):
            records_of.decode(resealed(records_of.encode(RECORD), artifact=less))


@pytest.mark.parametrize("value", ["0.5", "NaN", "infinity", True, None, [1]])
def test_a_metric_is_a_number_or_says_that_it_is_not_finite(value: Any) -> None:
    """Text other than ``nan``, ``inf`` and ``-inf`` is no metric."""
    with pytest.raises(FormatError, match="metric 'acc'"):
        records_of.decode(resealed(records_of.encode(RECORD), metrics={"acc": value}))


WRONG_EVENTS: list[dict[str, Any]] = [
    {},
    {"kind": ["best"]},
    {"kind": "best", "metric": "acc", "mode": "high"},
    {"kind": "best", "metric": "acc"},
    {"kind": "best", "metric": 5, "mode": "max"},
    {"kind": "keep", **asdict(Policy(last=1)), "monthly": 1},
    {"kind": "keep", "last": 1},
    {"kind": "keep", **asdict(Policy(last=0))},
    {"kind": "keep", **asdict(Policy(best=True))},
    {"kind": "keep", **asdict(Policy(younger=10**12))},
    {"kind": "keep", **asdict(Policy(last=1)), "tagged": 1},
    {"kind": "keep", **asdict(Policy(grace=5))},
    {"kind": "withdrawn", "version": "v1"},
    {"kind": "withdrawn", "version": "1", "record": str(DIGEST)},
    {"kind": "withdrawn", "version": "v0", "record": str(DIGEST)},
    {"kind": "withdrawn", "version": "v1", "record": str(DIGEST).upper()},
    {"kind": "withdrawn", "version": "v1", "record": str(DIGEST), "more": 1},
    {"kind": "tagged", "tag": "prod", "version": "v1", "record": str(DIGEST)},
    {"kind": "tagged", "tag": "prod", "version": "v1", "record": None, "undoes": None},
    {"kind": "tagged", "tag": "prod", "version": None, "record": str(DIGEST), "undoes": None},
    {"kind": "tagged", "tag": "a", "version": None, "record": None, "undoes": None, "more": 1},
    {"kind": "tagged", "tag": 5, "version": None, "record": None, "undoes": None},
    {"kind": "tagged", "tag": "prod", "version": None, "record": None, "undoes": True},
]


@pytest.mark.parametrize("change", WRONG_EVENTS)
def test_a_change_is_read_strictly(change: dict[str, Any]) -> None:
    """A change with other fields than its kind has is refused."""
    with pytest.raises(FormatError):
        events_of.decode(resealed(events_of.encode(EVENT), event=change), 1)


def test_a_change_of_unknown_kind_is_of_a_newer_mvc() -> None:
    """It is no damage, and the hint is not to put the file back but to upgrade."""
    with pytest.raises(Unsupported, match="'moved'") as raised:
        events_of.decode(resealed(events_of.encode(EVENT), event={"kind": "moved"}), 1)
    assert "upgrade" in (raised.value.hint or "")


def test_a_newer_format_is_told_from_damage() -> None:
    """A file that says a higher format is unsupported; one that says none is damaged."""
    for encoded in (records_of.encode(RECORD), events_of.encode(EVENT)):
        read = (
            records_of.decode if b"artifact" in encoded else lambda data: events_of.decode(data, 1)
        )
        with pytest.raises(Unsupported, match="has format 2, this mvc reads 1"):
            read(resealed(encoded, mvc=2))
        for wrong in (-1, "0", True, None):
            with pytest.raises(FormatError, match="does not say its format"):
                read(resealed(encoded, mvc=wrong))


def test_what_could_not_be_read_again_is_not_written() -> None:
    """A record over the size that readers accept, or with text that is none, is refused."""
    for labels in ({"note": "x" * lines.MAX_SIZE}, {"note": "\ud800"}):
        with pytest.raises(UsageError):
            records_of.encode(
                Record("net", "0" * 32, RECORD.created, RECORD.artifact, labels=labels)
            )


def test_standing_events_are_written_as_their_page_says() -> None:
    """A withdrawal names the version and its record."""
    data = events_of.encode(
        Event("net", "1" * 32, EVENT.created, Standing("withdrawn", 3, DIGEST), "")
    )
    assert (
        f'event: {{"kind": "withdrawn", "version": "v3", "record": "{DIGEST}"}}\n'.encode() in data
    )


def same(one: Any, other: Any) -> bool:
    """Compare values and their types, all the way down; NaN is no value here."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return bool(one == other)
