"""What is easily given wrong in Python is refused by its name, with what to give instead."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mvc import ModelRegistry, NotFound, UsageError
from tests.cli.running import write_model

SLIPS: list[tuple[Callable[[Any], object], str, str]] = [
    (lambda r: r.register("a.safetensors", "net"), "'a.safetensors' is a file; the f", "add('net'"),
    (lambda r: r.get(""), "'' is not a ref", "resnet18@best"),
    (lambda r: r.add("net", "a.safetensors", 0.93), "metrics must have names, and 0.93", "acc"),
    (lambda r: r.add("net", "a.safetensors", 0.0), "metrics must have names, and 0.0", "acc"),
    (lambda r: r.register("net", "a.safetensors", [0.9]), "metrics must have names", "acc"),
    (lambda r: r.add("net", "a.safetensors", params=Namespace(lr=1)), "params must", "params={"),
    (lambda r: r.add("net", from_version="net", labels="x"), "labels must have names", "labels={"),
    (lambda r: r.import_("torchvision:x", "net", 0.93), "metrics must have names", "acc"),
    (lambda r: r.register("net", {"w": 1}), "'model_path' is of type dict, and", "save("),
    (lambda r: r.add("net", b"a.safetensors"), "'path' is b'a.safetensors', and", "add(name, path"),
]


@pytest.mark.parametrize(("call", "said", "hint"), SLIPS)
def test_a_slip_is_told_with_its_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[Any], object],
    said: str,
    hint: str,
) -> None:
    """Numbers without names and models without a file are usage errors, and store nothing."""
    monkeypatch.chdir(tmp_path)
    registry = ModelRegistry(tmp_path)
    registry.add("net", write_model(tmp_path / "a.safetensors"))
    with pytest.raises(UsageError) as caught:
        call(registry)
    assert said in caught.value.message
    assert hint in (caught.value.hint or "")
    assert registry.list("net") == ["v1"]


def test_slips_of_torch_users_are_told_before_anything_is_read(tmp_path: Path) -> None:
    """A metric alone beside a model, and a type by another library's name."""
    torch = pytest.importorskip("torch")
    registry = ModelRegistry(tmp_path)
    model = torch.nn.Linear(2, 2)
    with pytest.raises(UsageError, match=r"metrics must have names, and 0\.93"):
        registry.save("net", model, 0.93)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(UsageError, match="of type Linear, and not a path"):
        registry.register("net", model)
    registry.save("net", model)
    for word, hint in (("fp16", 'dtype="float16"'), ("half!", "bfloat16"), (16, "bfloat16")):
        with pytest.raises(UsageError, match="torch has no type") as caught:
            registry.load("net", dtype=word)
        assert hint in (caught.value.hint or "")
    assert registry.load("net", dtype="torch.float16")["weight"].dtype == torch.float16
    assert registry.load("net", dtype=torch.float64)["weight"].dtype == torch.float64


def test_a_registry_that_is_not_there_is_not_empty_unless_it_may_be_made(tmp_path: Path) -> None:
    """With ``create=False`` a mistyped path is an error for every question, and makes nothing."""
    new = ModelRegistry(tmp_path / "new")
    assert not any([new.list(), new.families(), new.search("acc > 1"), new.log()])
    for name in (lambda: new.list("net"), lambda: new.log("net"), lambda: new.get("net")):
        with pytest.raises(NotFound):
            name()
    registry = ModelRegistry(tmp_path / "typo", create=False)
    for ask in (registry.list, lambda: registry.list("net"), registry.families, registry.du):
        with pytest.raises(NotFound, match="no registry"):
            ask()
    assert list(tmp_path.iterdir()) == []
