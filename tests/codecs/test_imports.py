"""What the codecs cost a process that needs none of them."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ["numpy", "backports.zstd", "compression.zstd", "mvc.codecs.planes", "mvc.codecs.zstd"]


def loaded_by(statements: str) -> list[str]:
    """Return which heavy modules a new process has loaded after ``statements``."""
    code = f"import sys\n{statements}\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return run.stdout.split()


def test_the_codecs_import_no_library() -> None:
    """Importing the codecs loads neither numpy nor zstd."""
    assert loaded_by("import mvc.codecs") == []


def test_raw_objects_need_no_library() -> None:
    """Reading a recipe or a tree, which are raw, loads neither numpy nor zstd."""
    read = "from mvc import codecs; codecs.decode(codecs.Encoding.RAW, memoryview(b'tree'), 4)"
    assert loaded_by(read) == []


def test_text_needs_no_numpy() -> None:
    """Keeping text loads zstd alone."""
    loaded = loaded_by("from mvc import codecs; codecs.encode(b'text ' * 100, 0)")
    assert "mvc.codecs.zstd" in loaded
    assert "numpy" not in loaded
