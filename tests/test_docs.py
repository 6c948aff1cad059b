"""The README and the pages say what is so: their code runs, their links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mvc.cli.app import ENTRIES
from mvc.frameworks.without_torch import safetensors_pieces
from tests.docs.test_pages import PAGES as PLAYED

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
# A block in another language must be excused here, with the reason.
EXCUSED = {
    "sh": "set-up and first steps: make is run by CI, the commands by the transcripts",
    "text": "no code",
    "make": "shown, not run",
    "yaml": "read by the test of its format page",
    "hex": "read by the test of its format page",
    "hexdump": "read by the test of its format page",
    "json": "shown, not run",
    "bash": "shown, not run",
}


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the blocks of one language with the page each stands on."""
    return [
        (page.relative_to(ROOT).as_posix(), text)
        for page in PAGES
        for kind, text in BLOCK.findall(page.read_text())
        if kind == language
    ]


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_python_in_the_docs_runs(page: str, text: str, tmp_path: Path) -> None:
    """Every block of Python runs as it stands, beside a ``model.pt``."""
    (tmp_path / "model.pt").write_bytes(b"".join(safetensors_pieces("resnet18")))
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), page


def test_the_readme_session_is_what_a_terminal_shows(tmp_path: Path) -> None:
    """The README's session is a real one, but for its folder and its seconds."""
    pytest.importorskip("torch")
    from mvc.frameworks import torchvision_weights as torchvision

    folder = tmp_path / "home" / "anna" / "thesis"
    folder.mkdir(parents=True)
    fetched = torchvision.seeded("resnet18", tmp_path / "weights")
    torchvision.save_as_pt("resnet18", fetched, folder / "resnet18.pt")
    torchvision.save_as_safetensors(folder / "resnet18.pt", folder / "resnet18.safetensors")
    ((_, session),) = [block for block in blocks("console") if block[0] == "README.md"]
    shown = []
    for line in session.splitlines():
        if line.startswith("$ "):
            shown.append(f"{line}\n")
            shown += [_run(command.split(), folder) for command in line[2:].split(" && ")]
    actual = "".join(shown).replace(str(tmp_path), "")
    assert _without_seconds(actual) == _without_seconds(session)


def test_every_command_is_in_the_docs() -> None:
    """A command that exists is named in the README or on a page."""
    text = "\n".join(page.read_text() for page in PAGES)
    missing = [name for name in ENTRIES if not re.search(rf"\b{name}\b", text)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """Every link within the project leads to a file that is there."""
    broken = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert broken == []


def test_the_index_leads_to_every_page() -> None:
    """Who looks for a subject finds its page in the index."""
    index = ROOT / "docs" / "index.md"
    linked = set(LINK.findall(index.read_text()))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {index.name}
    assert pages - linked == set()


def test_every_block_is_run_or_excused() -> None:
    """No block of code stands in the docs unless a test runs it or says why not."""
    run = {"python"}
    others = [page for page in PAGES if page not in PLAYED]
    kinds = {(page.name, kind) for page in others for kind, _ in BLOCK.findall(page.read_text())}
    kinds.discard(("README.md", "console"))
    assert [(page, kind) for page, kind in kinds if kind not in run | set(EXCUSED)] == []


def _run(command: list[str], folder: Path) -> str:
    assert command[0] == "mvc"
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout


def _without_seconds(text: str) -> str:
    return re.sub(r"\d+\.\d s\b", "… s", text)


def test_the_tests_that_the_pages_name_are_there() -> None:
    """A page that says which test shows a claim names a file, and a test, that exist."""
    wrong = []
    for page in PAGES:
        for name in re.findall(r"`(tests/[\w/.]+(?:::\w+)?)`", page.read_text()):
            path, _, test = name.partition("::")
            file = ROOT / path
            if not file.exists() or (test and f"def {test}(" not in file.read_text()):
                wrong.append(f"{page.relative_to(ROOT)}: {name}")
    assert wrong == []
