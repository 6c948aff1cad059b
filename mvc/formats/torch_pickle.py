"""Which tensors a torch pickle describes, and what they are called.

A tensor's name is the way to it: dict keys joined by ``.``, positions in
lists. A ``state_dict`` so gives exactly torch's names, a checkpoint
``model.conv1.weight`` and ``optimizer.state.0.exp_avg``. A whole pickled
``nn.Module`` is named as its own ``state_dict`` would be: through
``_parameters``, ``_buffers`` and ``_modules``, without what torch leaves out.

The search is all or nothing: a tensor it does not understand is a
``FormatError``, because half a table would make different weights look equal.

Public names: ``Found``, ``Search``, ``StorageType``, ``find_tensors``, ``storage_types``.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from mvc.errors import FormatError
from mvc.formats.dtypes import MAX_DIMENSIONS, with_mark
from mvc.formats.pickle_nodes import Call, Pairs, Persistent, Ref

MAX_STEPS = 4_000_000  # nodes looked at; shared nodes count each time
MAX_NAMES = 32 << 20  # characters in all names together
MAX_DTYPE = 32
MARKS = frozenset({"conj", "neg"})
ROOT = "tensor"  # the name of a tensor that was saved by itself

STORAGES = {
    "BFloat16Storage": "bfloat16",
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "QInt32Storage": "qint32",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "ShortStorage": "int16",
    "UntypedStorage": None,
}
ALIASES = {
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "short": "int16",
    "int": "int32",
    "long": "int64",
    "chalf": "complex32",
    "cfloat": "complex64",
    "cdouble": "complex128",
}
REBUILD = "torch._utils._rebuild_"
QUANTIZED = f"{REBUILD}qtensor"
TENSORS = {
    f"{REBUILD}tensor": None,
    f"{REBUILD}tensor_v2": 6,
    f"{REBUILD}tensor_v3": 7,
    QUANTIZED: None,
}
"""The functions whose calls are tensors, with the place of their metadata."""
PARAMETERS = frozenset({f"{REBUILD}parameter", f"{REBUILD}parameter_with_state"})
SUBCLASSES = frozenset(
    f"{module}._rebuild_from_type{version}"
    for module in ("torch._tensor", "torch.tensor", "torch._utils")
    for version in ("", "_v2")
)
NODES = (Pairs, list, tuple, Call, Persistent)


@dataclass(frozen=True, slots=True)
class StorageType:
    """What a persistent id says of a storage: ``count`` elements of ``dtype``.

    ``dtype`` is ``None`` for untyped storages, whose elements are bytes.
    """

    key: str
    dtype: str | None
    count: int


@dataclass(frozen=True, slots=True)
class Found:
    """A tensor: its name, and its place in a storage, counted in elements."""

    name: str
    storage: StorageType
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


def storage_types(nodes: Iterable[Persistent]) -> dict[str, StorageType]:
    """Return what is said of each storage; twice and differently is a ``FormatError``."""
    types: dict[str, StorageType] = {}
    for node in nodes:
        found = _storage_type(node)
        if found is not None and types.setdefault(found.key, found) != found:
            raise FormatError(f"storage {found.key[:80]!r} is described in two ways")
    return types


def find_tensors(root: object) -> list[Found]:
    """Return every tensor under ``root``, shared ones once under each name."""
    return Search().run(root)


class Search:
    """A walk through the graph by name, depth first, without recursion.

    A node may be reached by many ways and has as many names, so it is entered
    each time; except while it is open (a cycle), and when it was found to hold
    no tensors. What is left of exponential growth runs into ``MAX_STEPS``.
    """

    def __init__(self) -> None:
        self.found: list[Found] = []
        self.steps = 0
        self.names = 0
        self.open: dict[int, int] = {}
        self.barren: set[int] = set()

    def run(self, root: object) -> list[Found]:
        todo: list[tuple[str | None, object]] = [("", root)]
        while todo:
            name, node = todo.pop()
            if name is None:
                self._leave(node)
            elif id(node) not in self.open and id(node) not in self.barren:
                before = len(self.found)
                below = self._enter(name, node)
                if below:
                    self.open[id(node)] = before
                    todo.append((None, node))
                    todo.extend(reversed(below))
        return self.found

    def _leave(self, node: object) -> None:
        if self.open.pop(id(node)) == len(self.found):
            self.barren.add(id(node))

    def _enter(self, name: str, node: object) -> list[tuple[str | None, object]]:
        self._count(1, len(name))
        if self.take(name, node):
            if isinstance(node, Call) and node.function == QUANTIZED and len(node.args) > 4:
                return list(self._below(f"{name or ROOT}.quantizer", node.args[4]))
            return []
        return list(self._below(name, node))

    def take(self, name: str, node: object) -> bool:
        """Note the tensor that ``node`` is, if it is one."""
        if isinstance(node, Persistent):
            storage = _storage_type(node)
            if storage is None:
                return False
            self.found.append(_whole(name or ROOT, storage, *_view(node, storage)))
            return True
        if isinstance(node, Call) and _names(node.function, TENSORS):
            self.found.append(_tensor(name or ROOT, node.function, node.args))
            return True
        return False

    def _below(self, name: str, node: object) -> Iterator[tuple[str | None, object]]:
        children = self._children(node)
        if isinstance(node, Call) and _names(node.function, SUBCLASSES) and len(node.args) > 2:
            function, args = node.args[0], node.args[2]
            if isinstance(args, tuple) and _names(function, TENSORS):
                self.found.append(_tensor(name or ROOT, function, args))
                children = ((None, state) for state in node.args[3:])
        for key, child in children:
            self._count(1, 0)
            if isinstance(child, NODES):
                path = name if key is None else f"{name}.{key}" if name else key
                self._count(0, len(path))
                yield path, child

    def _children(self, node: object) -> Iterator[tuple[str | None, object]]:
        """Yield what a node holds, with the key it is under; ``None`` adds no key."""
        if isinstance(node, Pairs):
            yield from _entries(node)
        elif isinstance(node, (list, tuple)):
            yield from _positions(node)
        elif isinstance(node, Persistent):
            yield None, node.id
        elif isinstance(node, Call):
            holders, size = _module_holders(node.state)
            self._count(size, 0)
            if holders:
                for holder, left_out in holders:
                    yield from (pair for pair in _entries(holder) if pair[0] not in left_out)
            else:
                yield from _of_call(node)

    def _count(self, steps: int, characters: int) -> None:
        self.steps += steps
        self.names += characters
        if self.steps > MAX_STEPS or self.names > MAX_NAMES:
            raise FormatError("a pickle with more names than can be told")


def _names(function: object, table: Container[object]) -> bool:
    return type(function) is Ref and function in table


def _positions(nodes: Sequence[object]) -> Iterator[tuple[str, object]]:
    return ((str(position), node) for position, node in enumerate(nodes))


def _of_call(node: Call) -> Iterator[tuple[str | None, object]]:
    """Yield what a call is given, and what its result is then filled with."""
    yield from _entries(node)
    if _names(node.function, PARAMETERS):
        yield from ((None, child) for child in (*node.args[:1], *node.args[3:]))
    elif not _is_old_dict(node):
        yield from _positions(node.args)
    yield from _positions(node.elements or ())
    # Attributes; or, of a class with slots, a tuple of attributes and slots.
    states = node.state if isinstance(node.state, tuple) else (node.state,)
    yield from ((None, state) for state in states)


def _entries(node: object) -> Iterator[tuple[str, object]]:
    """Yield key and value of a dict, or of what a call makes of one."""
    pairs: list[object] = []
    if isinstance(node, Pairs):
        pairs = node
    elif isinstance(node, Call):
        if _is_old_dict(node):
            pairs = [part for pair in _listed(node.args[0]) for part in _pair(pair)]
        pairs = [*pairs, *(node.items or ())]
    for position, (key, value) in enumerate(zip(pairs[::2], pairs[1::2], strict=True)):
        if isinstance(key, (str, int, float, bool, type(None))):
            yield str(key), value
        else:  # a tensor, say: whole pickled optimizers have such keys
            yield f"{position}", value
            yield f"{position}.key", key


def _pair(node: object) -> Sequence[object]:
    pair = _listed(node)
    if len(pair) != 2:
        raise FormatError("a dict from pairs that are none")
    return pair


def _is_old_dict(node: Call) -> bool:
    """Tell an OrderedDict as Python 2 wrote it: called with a list of pairs."""
    return node.function == "collections.OrderedDict" and len(node.args) == 1


def _module_holders(state: object) -> tuple[list[tuple[object, frozenset[str]]], int]:
    """Return what a module's ``state_dict`` is made of, and how much was looked at for it.

    That is the dicts of its parameters, buffers and modules, each with the
    names that torch leaves out: buffers that are not persistent. They are none
    where ``state`` is not that of a module.
    """
    if not isinstance(state, Pairs):
        return [], 0
    members = dict(_entries(state))
    if not members.keys() >= {"_parameters", "_buffers", "_modules"}:
        return [], len(state)
    unsaved = members.get("_non_persistent_buffers_set")
    if isinstance(unsaved, Call) and unsaved.args:
        unsaved = unsaved.args[0]
    names = _listed(unsaved)
    left_out = frozenset(name for name in names if isinstance(name, str))
    holders = [
        (members["_parameters"], frozenset[str]()),
        (members["_buffers"], left_out),
        (members["_modules"], frozenset[str]()),
    ]
    return holders, len(state) + len(names)


def _listed(node: object) -> list[object] | tuple[object, ...]:
    return node if isinstance(node, (list, tuple)) else ()


def _storage_type(node: Persistent) -> StorageType | None:
    """Return what a persistent id says of a storage; ``None`` if it is of another kind."""
    id = node.id
    if not isinstance(id, tuple) or not id or id[0] != "storage":
        return None
    if len(id) < 5:
        raise FormatError("a storage that is described in an unknown way")
    kind, key, count = id[1], id[2], id[4]
    if not isinstance(key, (str, int)) or type(count) is not int or count < 0:
        raise FormatError("a storage without a key, or of an odd number of elements")
    return StorageType(str(key), _storage_dtype(kind), count)


def _storage_dtype(kind: object) -> str | None:
    if isinstance(kind, Ref):
        module, _, name = kind.rpartition(".")
        if name in STORAGES and module.partition(".")[0] == "torch":
            return STORAGES[name]
        raise FormatError(f"a storage of unknown type {kind[:80]!r}")
    raise FormatError("a storage without a type")


def _view(node: Persistent, storage: StorageType) -> tuple[int, int]:
    """Return offset and count of the part of ``storage`` that is meant.

    Files of torch before 0.4 may say so, with a key of its own for each part.
    """
    view = node.id[5] if isinstance(node.id, tuple) and len(node.id) > 5 else None
    if view is None:
        return 0, storage.count
    _, offset, count = view if isinstance(view, tuple) and len(view) == 3 else (None, None, None)
    if type(offset) is not int or type(count) is not int or min(offset, count) < 0:
        raise FormatError(f"an odd part of storage {storage.key[:80]!r}")
    if offset + count > storage.count:
        raise FormatError(f"a part of storage {storage.key[:80]!r} that leaves it")
    return offset, count


def _whole(name: str, storage: StorageType, offset: int, count: int) -> Found:
    """Return a storage that was saved by itself as a tensor of one dimension."""
    return Found(name, storage, storage.dtype or "uint8", (count,), (1,), offset)


def _tensor(name: str, function: object, args: tuple[object, ...]) -> Found:
    """Return the tensor that a call of ``function`` would build.

    Raises:
        FormatError: the arguments are not those of the function.
    """
    if len(args) < 4:
        raise FormatError(f"tensor {name[:80]!r} is built from {len(args)} arguments")
    node, offset, shape, stride, *rest = args
    storage = _storage_type(node) if isinstance(node, Persistent) else None
    if not isinstance(node, Persistent) or storage is None or type(offset) is not int or offset < 0:
        raise FormatError(f"tensor {name[:80]!r} is not in a storage")
    offset += _view(node, storage)[0]
    dtype = storage.dtype or "uint8"
    if function == f"{REBUILD}tensor_v3":
        dtype = _dtype(rest[2] if len(rest) > 2 else None)
    elif function == QUANTIZED:
        dtype = f"{dtype}({_quantizer(rest)})"
    metadata = TENSORS[str(function)]
    if metadata is not None and len(args) > metadata:
        for mark in sorted({mark for mark, is_set in _entries(args[metadata]) if is_set is True}):
            if mark not in MARKS:
                raise FormatError(f"tensor {name[:80]!r} is marked {mark[:80]!r}")
            dtype = with_mark(dtype, mark)
    return Found(name, storage, dtype, _lengths(shape), _lengths(stride), offset)


def _dtype(node: object) -> str:
    if not isinstance(node, Ref) or not node.startswith("torch."):
        raise FormatError("a tensor whose type is none of torch's")
    word = node.removeprefix("torch.")
    if len(word) > MAX_DTYPE or not word.isidentifier():
        raise FormatError(f"a tensor of type {word[:80]!r}")
    return ALIASES.get(word, word)


def _quantizer(rest: list[object]) -> str:
    """Return the plain numbers of a quantizer: equal bytes mean other values with others."""
    numbers = _listed(rest[0]) if rest else ()
    return ",".join(repr(number) for number in numbers if isinstance(number, (int, float)))


def _lengths(node: object) -> tuple[int, ...]:
    if isinstance(node, Call) and node.function == "torch.Size" and node.args:
        node = node.args[0]
    if not isinstance(node, (list, tuple)) or len(node) > MAX_DIMENSIONS:
        raise FormatError("a shape or stride that is no list, or too long")
    for length in node:
        if type(length) is not int:
            raise FormatError("a shape or stride that is not of whole numbers")
    return tuple(node)
