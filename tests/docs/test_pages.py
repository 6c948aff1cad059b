"""The pages that teach still go as they are written down: every line is typed.

``MVC_BLESS=1`` writes down how they go now; read the difference before
committing it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import AtTerminal, Reader, Screen, plain, play

DOCS = Path(__file__).parents[2] / "docs"
HOWTO = DOCS / "howto"
INDEX = HOWTO / "index.md"
PAGES = [DOCS / "tutorial.md", *sorted(HOWTO.glob("*.md"))]
PLACE = Path("home/anna/thesis")
SETTINGS = {
    "MVC_AUTHOR": "anna",
    "MVC_PROGRESS": "0",  # bars are drawn on slow machines only
    "COLUMNS": "80",
    "LINES": "100",
    "NO_COLOR": "1",
    "PAGER": "cat",
}


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Anna, in an empty folder."""
    (tmp_path / PLACE).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / PLACE)
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    before = dict(os.environ)
    os.environ.update(SETTINGS, HOME=str(tmp_path / "home/anna"))
    yield Reader(AtTerminal(tmp_path / PLACE, scripts, Screen), tmp_path)
    os.environ.clear()  # a page may export more
    os.environ.update(before)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_what_a_reader_sees(page: Path, reader: Reader) -> None:
    """Whoever types what a page says, in an empty folder, sees what it says."""
    text = page.read_text(encoding="utf-8")
    if "import torch" in text:
        pytest.importorskip("torch")
    if "$ git " in text and shutil.which("git") is None:
        pytest.skip("there is no git")
    if page.parent == HOWTO and page != INDEX:  # each says: begin with what is made there
        play(INDEX.read_text(encoding="utf-8"), reader)
    shown = play(text, reader)
    if os.environ.get("MVC_BLESS") == "1":
        page.write_text(shown, encoding="utf-8")
    else:
        assert plain(shown) == plain(text)
