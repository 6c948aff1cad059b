"""What loading a file would run, judged by what it names.

A pickle names the functions and classes that it has called. They are compared
with a list of those that make tensors and nothing else: a list of what is
harmful can never be complete, one of what is harmless can. Nothing is
imported and nothing is run.

What the verdicts promise and what not: ``docs/safety.md``.
Public names: ``safety_of``, ``globals_of``, ``judged``.
"""

from __future__ import annotations

from collections.abc import Iterator

from mvc.formats.inert_pickle import names_in
from mvc.formats.layout import Globals, Layout, Source
from mvc.formats.pickle_opcodes import OPCODES
from mvc.verdict import Safety, Verdict

MAX_PICKLE = 64 << 20
HEAD_SIZE = 512
FIRST_USER_BLOCK = 512  # where HDF5 may begin, or at any power of two after it


def _named(module: str, names: str) -> Iterator[str]:
    return (f"{module}.{name}" for name in names.split())


_STORAGES = (
    "BFloat16Storage BoolStorage ByteStorage CharStorage ComplexDoubleStorage ComplexFloatStorage "
    "DoubleStorage FloatStorage HalfStorage IntStorage LongStorage QInt32Storage QInt8Storage "
    "QUInt2x4Storage QUInt4x2Storage QUInt8Storage ShortStorage UntypedStorage"
)
_TYPES = (
    "bfloat16 bool complex128 complex32 complex64 float16 float32 float64 float4_e2m1fn_x2 "
    "float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu int16 int32 int64 "
    "int8 qint32 qint8 quint2x4 quint4x2 quint8 uint16 uint32 uint64 uint8"
)
_SCHEMES = (
    "per_channel_affine per_channel_affine_float_qparams per_channel_symmetric per_tensor_affine "
    "per_tensor_symmetric"
)
_REBUILT = (
    "_rebuild_meta_tensor_no_storage _rebuild_nested_tensor _rebuild_parameter "
    "_rebuild_parameter_with_state _rebuild_qtensor _rebuild_sparse_tensor _rebuild_tensor "
    "_rebuild_tensor_v2 _rebuild_tensor_v3"
)
_PLAIN = "bytearray bytes complex frozenset set"
_ARRAYS = "_reconstruct scalar"

TENSORS = frozenset(
    [
        # What hold a state_dict together, and plain values that pickle has no opcode for.
        *_named("collections", "Counter OrderedDict"),
        *_named("builtins", _PLAIN),
        *_named("__builtin__", _PLAIN),
        # Bytes, in protocol 2: text and the name of its encoding. It gives text or bytes.
        "_codecs.encode",
        # Storages: named in persistent ids, to tell the type of their elements.
        *_named("torch", _STORAGES),
        *_named("torch.cuda", _STORAGES),
        "torch.storage.UntypedStorage",
        # Types, quantisation schemes, layouts, sizes and devices: values without a doing.
        *_named("torch", _TYPES),
        *_named("torch", _SCHEMES),
        *_named("torch", "Size device"),
        "torch.serialization._get_layout",
        # Tensors from a storage, a shape and strides. The subclass's function calls another
        # and sets attributes, but only what is named here, too.
        *_named("torch._utils", _REBUILT),
        *_named("torch", "Tensor nn.parameter.Parameter"),
        "torch._tensor._rebuild_from_type_v2",
    ]
)
"""Those of what ``torch.load(weights_only=True)`` itself takes that real files name. Not
``torch.storage._load_from_bytes``, which reads another pickle."""

NUMPY = frozenset(
    [
        *_named("numpy", "dtype ndarray"),
        # Arrays and scalars from their bytes; the module was renamed in numpy 2.
        *_named("numpy.core.multiarray", _ARRAYS),
        *_named("numpy._core.multiarray", _ARRAYS),
        *_named("numpy.core.numeric", "_frombuffer"),
        *_named("numpy._core.numeric", "_frombuffer"),
    ]
)


def safety_of(source: Source, layout: Layout | None) -> Safety | None:
    """Return what loading ``source`` would run; ``None`` where mvc cannot say.

    Args:
        layout: What ``describe`` says of it.
    """
    if layout is not None:
        return judged(layout.globals)
    found = globals_of(source)
    return None if found is None else judged(found)


def globals_of(source: Source) -> Globals | None:
    """Return what a file names if it is a pickle, or not to be trusted; else ``None``."""
    head = source.read(0, min(HEAD_SIZE, source.size))
    if _may_carry_code(head) or _is_hdf5(source):
        return Globals(complete=False)
    if not head or head[0] not in OPCODES:
        return None
    data = source.read(0, min(source.size, MAX_PICKLE))
    return names_in(data, is_all=len(data) == source.size)


def judged(found: Globals | None) -> Safety:
    """Return the verdict on what a file names; ``None`` is a format without code."""
    if found is None:
        return Safety(Verdict.TENSORS)
    others = tuple(sorted(found.names - TENSORS - NUMPY))
    if not found.complete:
        return Safety(Verdict.UNPARSEABLE, others)
    if others:
        return Safety(Verdict.OTHER, others)
    return Safety(Verdict.NUMPY if found.names & NUMPY else Verdict.TENSORS)


def _may_carry_code(head: bytes) -> bool:
    """Tell what mvc did not understand: zip, as Keras writes it, tar, and arrays, as of objects."""
    return head.startswith((b"PK\3\4", b"PK\5\6", b"\x93NUMPY")) or head[257:262] == b"ustar"


def _is_hdf5(source: Source) -> bool:
    """Tell HDF5, whose Keras models may hold Python code; it may begin behind other bytes."""
    offset = 0
    while offset < source.size:
        if source.read(offset, 8) == b"\x89HDF\r\n\x1a\n":
            return True
        offset = offset * 2 or FIRST_USER_BLOCK
    return False
