"""Names: what a family, a tag or a metric may be called, and what was meant instead.

Rules come from file systems (folders are lower case, some names are devices
elsewhere) and from refs, in which ``@ ~ :`` have a meaning.

Public names: ``check_family``, ``check_tag``, ``check_metric``, ``check_key``,
``by_name``, ``folder_of``, ``is_folder``, ``model_suffix``, ``near``, ``several``,
``MODEL_SUFFIXES``, ``LEFT_OUT``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mvc.errors import UsageError

MAX_NAME = 64
MAX_METRIC = 128
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"

# What a file that holds a model, or part of one, is usually called; docs/looking.md tells them.
MODEL_SUFFIXES = frozenset(
    """
    .bin .caffemodel .cbm .ckpt .dill .ggml .gguf .h5 .hdf5 .joblib .joblib.gz .keras .mlmodel
    .msgpack .nemo .npy .npz .onnx .onnx.data .onnx_data .params .pb .pdparams .pickle .pkl .pkl.gz
    .pt .pt2 .pth .pth.tar .ptl .safetensors .t7 .tflite .torchscript .ubj .xgb
    """.split()
)

# Folders that tools keep beside models for themselves.
LEFT_OUT = frozenset([".git", ".mvc", ".cache", "__pycache__"])

_NAME = re.compile(NAME + r"\Z")
_METRIC = re.compile(r"[A-Za-z0-9_./@:-]+\Z")
_VERSION = re.compile(r"v[0-9]+\Z", re.IGNORECASE)
_SHARD = r"\.data-\d{5}-of-\d{5}"  # of a checkpoint of TensorFlow
_MODEL = re.compile(
    f".+?({'|'.join(map(re.escape, MODEL_SUFFIXES))}|{_SHARD})\\Z", re.IGNORECASE | re.DOTALL
)
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{port}{n}" for port in ("com", "lpt") for n in range(10)]
)
_SHAPE = "letters, digits and . _ - only, the first a letter or digit"


def check_family(name: str) -> str:
    """Return ``name`` if a family may be called so, else raise ``UsageError``."""
    return _check(name, "family")


def check_tag(name: str) -> str:
    """Return ``name`` if a tag may be called so, else raise ``UsageError``."""
    low = _check(name, "tag").lower()
    if low in ("latest", "best") or low.startswith("best.") or _VERSION.match(low):
        raise UsageError(
            f"'{name}' is a name that mvc gives itself",
            hint="choose another tag, such as prod; mvc best FAMILY METRIC sets what 'best' means",
        )
    return name


def check_metric(name: str) -> str:
    """Return ``name`` if a metric may be called so, else raise ``UsageError``."""
    if not _METRIC.match(name) or len(name) > MAX_METRIC:
        raise UsageError(
            f"'{name[:80]}' is no name for a metric",
            hint="letters, digits and _ . / @ : - only, as in acc or val/acc@5",
        )
    return name


def check_key(name: str) -> str:
    """Return ``name`` if a parameter, label or lineage entry may be called so."""
    if not name or len(name) > MAX_METRIC or not name.isprintable():
        raise UsageError(f"'{name[:80]}' is no name for a value", hint="write it as NAME=VALUE")
    return name


def by_name(group: str, values: Any) -> Mapping[str, Any]:
    """Return values by name, as metrics are given; none where ``None`` is.

    Raises:
        UsageError: It is something else, such as a number alone; or a name is no text.
    """
    if values is not None and not isinstance(values, Mapping):
        hint = f'{group}={{"name": value}}, as in metrics={{"acc": 0.95}}'
        raise UsageError(f"{group} must have names, and {values!r:.80} has none", hint=hint)
    for name in values or ():
        if not isinstance(name, str):
            shown = f"{name!r:.40}"
            raise UsageError(f"{group}: the name {shown} is no text", hint=f"str({shown})")
    return {} if values is None else values


def folder_of(name: str) -> str:
    """Return the folder of a family, the same for every way to write its case."""
    return name.lower()


def is_folder(name: str) -> bool:
    """Say whether a family's folder may be called so."""
    try:
        return folder_of(check_family(name)) == name
    except UsageError:
        return False


def model_suffix(name: str) -> str:
    """Return how the name of a file ends if it is a model's, as ``.pth.tar``; else nothing."""
    found = _MODEL.match(name)
    return found[1] if found else ""


def near(name: str, known: Iterable[str], head: str = "", alike: float = 0.6) -> str | None:
    """Return a hint with the known names most like ``name``, after ``head``, or ``None``.

    Args:
        alike: How alike they must be, from 0 to 1.
    """
    import difflib

    by_low = {item.lower(): item for item in known}
    close = difflib.get_close_matches(name.lower(), by_low, n=3, cutoff=alike)
    if not close:
        return None
    return "did you mean " + " or ".join(f"'{head}{by_low[low]}'" for low in close) + "?"


def _check(name: str, what: str) -> str:
    if not isinstance(name, str):
        raise UsageError(f"{name!r:.80} is no name for a {what}", hint=_SHAPE)
    shown = name if len(name) <= MAX_NAME else name[:40] + "…"
    if len(name) > MAX_NAME:
        raise UsageError(
            f"{what} name '{shown}' has {len(name)} characters, at most {MAX_NAME}",
            hint="choose a shorter one; --message and --label take more",
        )
    if not _NAME.match(name):
        raise UsageError(f"'{shown}' is no name for a {what}", hint=_SHAPE)
    if name.split(".")[0].lower() in _DEVICES:
        raise UsageError(f"'{shown}' names a device on Windows", hint="choose another name")
    if name.endswith("."):
        raise UsageError(
            f"'{shown}' ends with a dot",
            hint=f"Windows cannot hold such a name; as in {name.rstrip('.') or 'prod'}",
        )
    return name


def several(given: Any) -> tuple[Any, ...]:
    """Take one thing for a list of one; text is one too, though a sequence of letters."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        return (given,)
    return tuple(given)
