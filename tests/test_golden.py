"""Registries of every format, as they were written once, are read and worked on for ever."""

from __future__ import annotations

import hashlib
import runpy
from pathlib import Path
from typing import Any

import pytest

from mvc import ModelRegistry
from mvc.codecs import Encoding
from mvc.codecs.predict import Prediction
from mvc.compatibility import FORMAT
from tests.support.golden import GOLDEN, digest_of_tree, told_of, unpacked

# A golden registry is never made again: its bytes are those of the day of its format.
WRITTEN = {1: "3f31e93341a5d9ae22faddc6e65b39ec996a39a7a17e814567f6ffb9380a5fb2"}
NUMBERS = [int(path.name.split(".")[0]) for path in GOLDEN.glob("*.tar.xz")]
RESCUE = Path(__file__).parents[1] / "docs" / "formats" / "rescue.py"


@pytest.fixture(params=NUMBERS)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Any]:
    """The project of a format, and what was told of it."""
    return unpacked(request.param, tmp_path)


def lacking(told: Any, now: Any, where: str = "") -> list[str]:
    """Return where ``now`` does not say what was told; it may say more."""
    if isinstance(told, dict) and isinstance(now, dict):
        return [line for key in told for line in lacking(told[key], now.get(key), f"{where}/{key}")]
    return [] if told == now else [f"{where}: {told!r:.200}, now {now!r:.200}"]


def test_every_format_has_one_that_nobody_touched() -> None:
    """The present format has a golden registry, and all are as they were written."""
    assert FORMAT in NUMBERS
    for number in NUMBERS:
        data = (GOLDEN / f"{number}.tar.xz").read_bytes()
        assert hashlib.sha256(data).hexdigest() == WRITTEN[number]


def test_it_tells_what_it_told(golden: tuple[Path, Any]) -> None:
    """Every version comes back bit for bit, with all that was noted of it, and all is whole."""
    project, told = golden
    assert lacking(told, told_of(project)) == []
    assert ModelRegistry(project).fsck("full").findings == ()


def test_work_goes_on(golden: tuple[Path, Any], tmp_path: Path) -> None:
    """It is added to, tagged, collected and repacked, and what it had is as it was."""
    project, told = golden
    registry = ModelRegistry(project)
    registry.checkout("chain@v4", tmp_path / "next")
    data = bytearray((tmp_path / "next").read_bytes())
    data[-1] ^= 1
    (tmp_path / "next").write_bytes(data)
    assert registry.add("chain", tmp_path / "next", tags=["prod"]).id == "chain/v5"
    registry.restore("Net@v4")
    registry.rm("other@v3")
    registry.gc("0")
    registry.repack()
    assert registry.fsck("full").findings == ()
    registry.checkout("chain@prod", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    now = told_of(project)
    assert "Net/v4" in now["Net"]["versions"]
    for family in told:
        expected = {k: v for k, v in told[family]["bytes"].items() if k != "other/v3"}
        assert lacking(expected, now[family]["bytes"]) == []


def test_it_is_rescued(golden: tuple[Path, Any], tmp_path: Path) -> None:
    """The script beside the format pages restores every version from the store alone."""
    project, told = golden
    digests = {
        row["record"]: told[family]["bytes"][version]
        for family in told
        for version, row in told[family]["versions"].items()
    }
    script = runpy.run_path(str(RESCUE))
    store = project / ".mvc" / "store"
    for pack in store.glob("packs/*.pack"):
        script["scan"](pack)
    for number, (record, digest) in enumerate(digests.items()):
        (root,) = store.glob(f"roots/*/{record.removeprefix('b3:')}.yaml")
        script["restore"](root.read_text("utf-8").splitlines(), tmp_path / str(number))
        assert digest_of_tree(tmp_path / str(number)) == digest, record


def test_every_way_to_keep_bytes_is_in_it(golden: tuple[Path, Any]) -> None:
    """Each encoding, each prediction and chains of deltas are among its frames."""
    project, _ = golden
    packs = list(ModelRegistry(project).presence.store.index.packs())
    entries = [(pack, entry) for pack in packs for entry in pack.index]
    assert {entry.encoding for _, entry in entries} == set(Encoding)
    assert max(entry.depth for _, entry in entries) > 1
    deltas = [pack.payload(entry) for pack, entry in entries if entry.encoding is Encoding.DELTA]
    assert {Prediction(payload[1]) for payload in deltas} == set(Prediction)
