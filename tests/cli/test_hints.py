"""What a hint says to type does what it says, also where a folder's name has a space."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.running import mvc, write_model


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an apostrophe and a space, a registry in it, and one beside it."""
    folder = tmp_path / "anna's models"
    for place in (folder, tmp_path / "other one"):
        place.mkdir()
        write_model(place / "m.safetensors", 1)
        monkeypatch.chdir(place)
        assert mvc("init").status == 0
        assert mvc("add", "net", "m.safetensors", "-m", "acc=0.5").status == 0
    monkeypatch.chdir(folder)
    return folder


def hinted(typed: str, pattern: str, status: int) -> list[str]:
    """Run what is typed, and return what its hint says to type."""
    done = mvc(*shlex.split(typed))
    assert done.status == status, done.err
    found = re.search(pattern, done.err.splitlines()[-1])
    assert found, done.err
    return shlex.split(found[0])


def test_a_folder_that_is_passed_over_is_used_as_the_hint_says(here: Path) -> None:
    """``MVC_DIR=`` is followed by the folder as a shell takes it."""
    here.chmod(0o777)
    (word,) = hinted("list -q", r"MVC_DIR=.*(?= uses)", 4)
    name, _, value = word.partition("=")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(name, value)
        assert mvc("list", "-q").out == "net\n"
    here.chmod(0o755)


def lose_store_yaml(here: Path) -> str:
    (here / ".mvc/store/store.yaml").unlink()
    return "checkout net -o out"


def let_the_store_be_copied(here: Path) -> str:
    shutil.copytree(here / ".mvc/store", here / "old copy")
    write_model(here / "m2.safetensors", 2)
    assert mvc("add", "net", "m2.safetensors").status == 0
    shutil.rmtree(here / ".mvc/store")
    return "store relink 'old copy'"


def name_another(here: Path) -> str:
    return "store relink '../other one/.mvc/store'"


def go_back_to_where_it_was(here: Path) -> str:
    assert mvc("store", "move", "new place").status == 0
    return "store relink .mvc/store"


def tag_of_a_family_whose_newest_is_gone(here: Path) -> str:
    write_model(here / "m2.safetensors", 2)
    assert mvc("add", "net", "m2.safetensors").status == 0
    assert mvc("rm", "net@v2").status == 0
    return "show net@nightly"


def test_there_is_no_going_back_to_a_version_that_never_was(here: Path) -> None:
    """``rollback --to`` such a version says which there are, and not how to tag it."""
    assert mvc("tag", "net@v1", "prod").status == 0
    done = mvc("rollback", "net@prod", "--to", "v9")
    assert done.status == 4
    assert done.err.splitlines()[0] == "error: no version v9 of 'net'"


def test_a_store_is_not_to_be_moved_to_where_it_cannot_be(here: Path) -> None:
    """``init --store`` of a folder that is in use leads to a move, but not to that folder."""
    done = mvc("init", "--store", "m.safetensors")
    assert done.status == 5
    assert "mvc store move PATH takes it to an empty folder" in done.err
    hint = hinted("init --store 'new place'", r"mvc store move .*(?= takes it there)", 5)
    assert mvc(*hint[1:]).status == 0


@pytest.mark.parametrize(
    ("prepare", "pattern", "status"),
    [
        (lose_store_yaml, r"mvc store relink --force .*", 4),
        (let_the_store_be_copied, r"mvc store relink --force .*", 5),
        (name_another, r"mvc store alternates --add .*(?= reads)", 5),
        (go_back_to_where_it_was, r"mvc store relink .*(?= uses)", 5),
        (tag_of_a_family_whose_newest_is_gone, r"mvc tag .*(?= sets)", 4),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_the_hint_says_is_done(
    here: Path, prepare: Callable[[Path], str], pattern: str, status: int
) -> None:
    """The command of the hint, typed as it stands, ends with 0."""
    command, *rest = hinted(prepare(here), pattern, status)
    assert command == "mvc"
    done = mvc(*rest)
    assert done.status == 0, (rest, done.err)
