"""A forger: records, events and packs that bear valid seals and checksums, and lie.

A seal proves that a file was not changed by accident; whoever hands over a
registry can compute it. So readers must not trust what is sealed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvc import lines
from mvc.codecs import Encoding
from mvc.compatibility import FORMAT
from mvc.digest import Digest, checksum_of, digest_of
from mvc.registry import record as records
from mvc.registry.record import Artifact, Record
from mvc.store import pack
from mvc.store.settings import root_name
from tests.support.faults import Project

TIME = "2026-11-23T05:12:09.123456Z"
IDENTITY = "0" * 32
NOWHERE = digest_of(b"nowhere")


@dataclass(frozen=True, slots=True)
class Forged:
    """A frame: what its header and its entry claim, and the payload there really is."""

    payload: bytes
    size: int
    encoding: int = Encoding.RAW
    digest: Digest = NOWHERE
    offset: int | None = None
    stored: int | None = None
    depth: int = 0
    base: Digest | None = None


def sealed(text: str | bytes) -> bytes:
    """Seal lines as they are, whatever is in them."""
    return lines.seal(text.encode() if isinstance(text, str) else text)


def record(**changed: Any) -> Record:
    """Return a sound record of a file that the store does not hold, but for what is changed."""
    artifact = Artifact("file", "model.bin", NOWHERE, 3000)
    whole: dict[str, Any] = {
        "family": "net", "id": IDENTITY, "created": TIME, "artifact": artifact, "author": "eve",
    }  # fmt: skip
    return Record(**{**whole, **changed})


def put_record(project: Project, data: bytes, number: int = 2) -> Path:
    """Give a record its name, and a root in the store."""
    registry = project.open()
    path = registry.manifest.record_path("net", number)
    path.write_bytes(data)
    root = registry.place.folder / "store" / "roots" / registry.place.id / root_name(data)
    root.write_bytes(data)
    return path


def put_version(project: Project, frames: Sequence[Forged]) -> None:
    """Make ``net/v2`` of the first frame, in a pack whose name and checksums are right."""
    put_pack(project.folder / ".mvc" / "store" / "packs", frames)
    artifact = Artifact("file", "model.bin", frames[0].digest, frames[0].size)
    put_record(project, records.encode(record(artifact=artifact)))


def put_pack(folder: Path, frames: Sequence[Forged]) -> Path:
    """Write a pack whose name, index, footer and checksums all fit what it says."""
    body = bytearray(pack.PACK_HEADER.pack(b"MVCPACK\n", FORMAT, 0, 0))
    rows = []
    for frame in frames:
        kind = frame.encoding, frame.depth, 0
        stored = len(frame.payload) if frame.stored is None else frame.stored
        base = frame.base or bytes(32)
        header = pack.FRAME_HEADER.pack(b"MVCF", *kind, frame.size, stored, frame.digest, base)
        checksum = checksum_of(header + frame.payload)
        offset = len(body) if frame.offset is None else frame.offset
        numbers = offset, stored, frame.size, checksum
        rows.append(pack.INDEX_ENTRY.pack(frame.digest, base, *numbers, *kind, 0))
        body += header + frame.payload + pack.FRAME_CHECKSUM.pack(checksum)
    index = pack.INDEX_HEADER.pack(b"MVCI", FORMAT, 0, len(rows)) + b"".join(sorted(rows))
    name = digest_of(index)
    footer = pack.FOOTER.pack(b"MVCEND\r\n", FORMAT, 0, 0, len(body), len(index), name)
    path = folder / (name.hex() + pack.SUFFIX)
    path.write_bytes(body + index + footer + pack.FRAME_CHECKSUM.pack(checksum_of(footer)))
    return path
