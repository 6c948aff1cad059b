"""Restores versions from a store without mvc. Written from the pages beside it alone.

    python rescue.py STORE              lists them: record, family, when, name
    python rescue.py STORE RECORD OUT   restores one, by the first digits of its record

STORE is the folder with ``packs`` and ``roots``, often ``.mvc/store``. It needs
blake3, numpy, and zstd: Python has it from 3.14, before that backports.zstd.
Indexes and footers of packs are not used, so those may be lost.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np
from blake3 import blake3

try:
    from compression import zstd
except ImportError:
    from backports import zstd

frames = {}  # of each digest: depth, encoding, size, base, and where the payload is


def scan(pack):
    """Note the frames of a pack: pack.md."""
    with open(pack, "rb") as file:
        file.seek(16)
        while (head := file.read(88))[:4] == b"MVCF" and len(head) == 88:
            encoding, depth, size, stored = struct.unpack_from("<BBxxQQ", head, 4)
            place = pack, file.tell(), stored
            frames.setdefault(head[24:56], []).append((depth, encoding, size, head[56:], place))
            file.seek(stored + 8, 1)


def payload(place):
    pack, offset, stored = place
    with open(pack, "rb") as file:
        file.seek(offset)
        return file.read(stored)


def section(kind, body, count):
    """Return the bytes of a plane or a mask: encodings.md, Planes."""
    data = {0: bytes, 1: zstd.decompress, 2: lambda one: bytes(one) * count}[kind](body)
    return np.frombuffer(data, "u1", count)


def sections(data, at, number):
    """Yield a function for each entry, which is told how many bytes there are."""
    entries = list(struct.iter_unpack("<BI", data[at : at + 5 * number]))
    at += 5 * number
    for kind, length in entries:
        yield lambda count, kind=kind, body=data[at : at + length]: section(kind, body, count)
        at += length


def planes(data, size):
    width, values = struct.unpack_from("<BxH", data)
    count, tail = divmod(size, width)
    if values:
        table = np.frombuffer(data, f"<u{width}", values, 9)
        length = struct.unpack_from("<xI", data, 4)[0]
        start = 9 + values * width
        out = table[section(data[4], data[start : start + length], count)]
    else:
        out = np.zeros(count, f"<u{width}")
        for place, plane in enumerate(sections(data, 4, width)):
            out |= plane(count).astype(out.dtype) << np.array(8 * place, out.dtype)
        one = np.array(1, out.dtype)
        out = out >> one | (out & one) << np.array(8 * width - 1, out.dtype)
    return out.tobytes() + data[len(data) - tail :]


def predicted(kind, base, width, count):
    """Return what a base says of elements: the table of predictions."""
    source = {0: width, 1: 4, 2: 4, 3: 2, 4: 2}[kind]
    bits = np.frombuffer(base, f"<u{source}", len(base) // source)[:count]
    bits = np.concatenate([bits, np.zeros(count - len(bits), bits.dtype)])
    with np.errstate(all="ignore"):
        if kind == 1:
            wide = bits.astype("u8")
            return (wide + 0x7FFF + (wide >> 16 & 1) >> 16).astype("<u2")
        if kind == 2:
            half = bits.view("<f4").astype("<f2").view("<u2")
            return np.where(
                bits & 0x7FFFFFFF > 0x7F800000, bits >> 16 & 0x8000 | 0x7E00, half
            ).astype("<u2")
        if kind == 3:
            return bits.astype("<u4") << np.uint32(16)
        if kind == 4:
            full = bits.view("<f2").astype("<f4").view("<u4")
            sign = (bits.astype("<u4") & 0x8000) << np.uint32(16)
            return np.where(bits & 0x7FFF > 0x7C00, sign | 0x7FC00000, full).astype("<u4")
    return bits


def delta(data, size, base):
    width, kind, layers, thresholds = data[:4]
    count, tail = divmod(size, width)
    guess = predicted(kind, base, width, count)
    parts = sections(data, 4 + thresholds, layers * (thresholds + 2))
    residual = np.zeros(count, "u8")
    under_way, group = np.arange(count), np.zeros(count, "u1")
    for layer in range(layers):
        mask = next(parts)(-(-len(under_way) // 8))
        live = np.unpackbits(mask, bitorder="little", count=len(under_way)) > 0
        under_way, group = under_way[live], group[live]
        if layer == 0:
            wide = guess[under_way].astype("u8")
            key = (wide << np.uint64(1) if width == 1 else wide >> np.uint64(8 * width - 9)) & 0xFF
            group = np.searchsorted(np.frombuffer(data, "u1", thresholds, 4), key, "right")
            order = np.argsort(group, kind="stable")
            under_way, group = under_way[order], group[order]
        sizes = np.bincount(group, minlength=thresholds + 1)
        found = [next(parts)(int(number)) for number in sizes]
        residual[under_way] |= np.concatenate(found).astype("u8") << np.uint64(8 * layer)
    folded = residual.view("i8")
    difference = (residual >> np.uint64(1)).view("i8") ^ -(folded & 1)
    out = (guess.astype("u8") + difference.view("u8")).astype(f"<u{width}")
    return out.tobytes() + data[len(data) - tail :]


def get(digest, below=5):
    """Return an object, by whichever of its frames gives what its digest says."""
    for depth, encoding, size, base, place in sorted(frames.get(digest, [])):
        if depth < below and encoding in DECODERS:
            try:
                data = DECODERS[encoding](payload(place), size, base, depth)
            except Exception:  # damaged: another may be whole
                continue
            if blake3(data).digest() == digest:
                return data
    raise LookupError(f"object {digest.hex()} is lost")


DECODERS = {
    0: lambda data, size, base, depth: data,
    1: lambda data, size, base, depth: zstd.decompress(data),
    2: lambda data, size, base, depth: planes(data, size),
    3: lambda data, size, base, depth: delta(data, size, get(base, depth)),
}


def recipe(data):
    """Yield the bytes of a file: recipe.md."""
    objects, parts = struct.unpack_from("<II", data, 16)
    refs = [struct.unpack_from("<32sQ", data, 32 + 40 * at) for at in range(objects)]
    for at in range(parts):
        first, count, offset, size = struct.unpack_from("<IIQQ", data, 32 + 40 * objects + 24 * at)
        for digest, length in refs[first : first + count]:
            piece = get(digest)[offset : offset + size] if size and offset < length else b""
            yield piece
            offset, size = max(0, offset - length), size - len(piece)


def write(digest, out):
    kept = [place for _, encoding, _, _, place in frames.get(digest, []) if encoding == 4]
    out.parent.mkdir(parents=True, exist_ok=True)
    for pieces in [*(recipe(payload(place)) for place in kept), map(get, [digest])]:
        hashed = blake3()
        with open(out, "wb") as file:
            try:
                for piece in pieces:
                    hashed.update(piece)
                    file.write(piece)
            except (LookupError, struct.error) as error:
                print(f"{out}: {error}", file=sys.stderr)
        if hashed.digest() == digest:
            return
    sys.exit(f"{out} is not what it was")


def restore(record, out):
    artifact = json.loads(next(line for line in record if line.startswith("artifact: "))[10:])
    digest = bytes.fromhex(artifact["digest"][3:])
    if artifact["kind"] == "file":
        write(digest, out)
        return
    for line in get(digest).decode().split("\n")[:-1]:  # tree.md
        mode, _, file, path = line.split(" ", 3)
        if path.startswith("/") or {"..", "", "."} & set(path.split("/")):
            sys.exit(f"'{path}' would leave the folder")
        write(bytes.fromhex(file[3:]), out / path)
        (out / path).chmod(int(mode, 8))


def main(store, record="", out=None):
    roots = sorted(Path(store).glob(f"roots/*/{record.removeprefix('b3:')}*.yaml"))
    if out is None:
        for root in roots:
            fields = dict(line.split(": ", 1) for line in root.read_text("utf-8").splitlines())
            name = json.loads(fields["artifact"])["name"]
            print(root.stem[:12], fields["family"], fields["created"], name)
    elif len({root.name for root in roots}) != 1:
        sys.exit(f"{len(roots)} records begin with '{record}'")
    else:
        for pack in [*Path(store).glob("packs/*.pack"), *Path(store).glob("trash/*.pack")]:
            scan(pack)
        restore(roots[0].read_text("utf-8").splitlines(), Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
