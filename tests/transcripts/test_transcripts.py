"""The sessions beside this file still go as they are written down.

``MVC_BLESS=1`` writes down how they go now; read the difference before
committing it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mvc import fileio
from tests.cli.running import write_model
from tests.support.file_server import serving
from tests.transcripts.replay import Session, replay

HERE = Path(__file__).parent
SESSIONS = sorted(HERE.glob("*.txt"))


@pytest.fixture
def session(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A folder with three model files: two networks of one shape, and one that is no model.

    The disk has room, however full this machine's is.
    """
    monkeypatch.setattr(fileio, "free_space", lambda path: 10**12)
    folder = tmp_path_factory.mktemp("session")
    monkeypatch.chdir(folder)
    for name, value in (("COLUMNS", "80"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    write_model(folder / "model.safetensors")
    write_model(folder / "better.safetensors", bias=0.5)
    (folder / "notes.bin").write_bytes(bytes(range(256)) * 40)
    return Session(folder, tmp_path_factory.mktemp("scripts"))


@pytest.fixture
def hosts(session: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a proxy that knows ``models.test``, and ``private.test``, which refuses."""
    with serving((session.folder / "model.safetensors").read_bytes()) as server:
        server.refusing = {"private.test": 401}
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.delenv("no_proxy", raising=False)
        yield


@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.stem)
def test_session(path: Path, session: Session, request: pytest.FixtureRequest) -> None:
    """Typing the lines of the transcript shows what it says."""
    expected = path.read_text(encoding="utf-8")
    if ".test/" in expected:
        request.getfixturevalue("hosts")
    if "$ git " in expected and shutil.which("git") is None:
        pytest.skip("there is no git")
    shown = replay(expected, session)
    if os.environ.get("MVC_BLESS") == "1":
        path.write_text(shown, encoding="utf-8")
    else:
        assert shown == expected


def test_every_command_has_a_session() -> None:
    """Each command is typed in some transcript, and its help is shown in one."""
    from mvc.cli.app import ENTRIES

    text = "".join(path.read_text(encoding="utf-8") for path in SESSIONS)
    for name in ENTRIES:
        assert f"$ mvc {name} --help" in text
        assert name == "demo" or f"$ mvc {name} " in text.replace(f"$ mvc {name} --help", "")
