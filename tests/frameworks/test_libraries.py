"""Heavy libraries are imported on request only, and torchvision beside any build of torch."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from mvc.errors import Unsupported
from mvc.frameworks import libraries

needs_torchvision = pytest.mark.skipif(
    not libraries.available(), reason="the extra 'torch' is not installed"
)


def python(code: str, *, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a new interpreter in which every warning is an error."""
    prelude = f"import sys; sys.path[:0] = {[str(path)] if path else []!r}\n"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", prelude + code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_nothing_heavy_is_imported_before_it_is_asked_for() -> None:
    """Importing the bridges and asking what is there loads neither torch nor torchvision."""
    run = python(
        "from mvc.frameworks import libraries, torchvision_weights, without_torch\n"
        "libraries.available()\n"
        "assert not {'torch', 'torchvision', 'safetensors'} & set(sys.modules)\n"
    )
    assert run.returncode == 0, run.stderr


@needs_torchvision
def test_torchvision_is_imported_without_a_word_and_builds_networks() -> None:
    """Whatever the build of torch, the import prints and warns nothing and models work."""
    run = python(
        "from mvc.frameworks.libraries import import_torchvision\n"
        "torchvision = import_torchvision()\n"
        "assert torchvision is import_torchvision()\n"
        "torchvision.models.get_model('resnet18', weights=None)\n"
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@needs_torchvision
def test_operators_are_defined_only_where_they_are_missing(tmp_path: Path) -> None:
    """A torchvision that imports well, or fails for another reason, is left as it is."""
    package = tmp_path / "torchvision"
    package.mkdir()
    code = (
        "from mvc.frameworks import libraries\n"
        "try:\n"
        "    libraries.import_torchvision()\n"
        "finally:\n"
        "    assert not libraries._definitions\n"
    )
    (package / "__init__.py").write_text("")
    assert python(code, path=tmp_path).returncode == 0
    (package / "__init__.py").write_text("raise RuntimeError('another reason')")
    assert python(code, path=tmp_path).stderr.endswith("RuntimeError: another reason\n")


@pytest.mark.parametrize("name", libraries.NEEDED)
def test_a_missing_library_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Without one of the libraries the error names it and the extra to install."""
    for other in libraries.NEEDED:
        if importlib.util.find_spec(other) is None and other != name:
            pytest.skip(f"{other} is not installed either")
    monkeypatch.setitem(sys.modules, name, None)
    if name == "safetensors":
        monkeypatch.delitem(sys.modules, "safetensors.torch", raising=False)
    wanted = getattr(libraries, f"import_{name}")
    with pytest.raises(Unsupported, match=f"^{name}.* is not installed") as raised:
        wanted()
    assert raised.value.hint == "pip install 'mvc-registry[torch]'"
