"""Trees: what a directory's list of files may say, and what is refused."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvc import tree
from mvc.digest import digest_of
from mvc.errors import FormatError
from mvc.tree import Tree, TreeFile, decode, encode
from tests.support.registry_builders import trees

PAGE = Path(__file__).parents[1] / "docs" / "formats" / "tree.md"
NOTHING = digest_of(b"")


def of(*paths: str) -> Tree:
    return Tree(tuple(TreeFile(0o644, 0, NOTHING, path) for path in paths))


def line(path: str = "a", mode: str = "0644", size: str = "0", digest: str = str(NOTHING)) -> bytes:
    return f"{mode} {size} {digest} {path}\n".encode("utf-8", "surrogatepass")


@given(trees)
def test_every_tree_reads_back(made: Tree) -> None:
    """What is written is read back equal, whatever the names are."""
    assert decode(encode(made)) == made


@given(trees, st.data())
def test_equal_trees_are_equal_bytes(made: Tree, data: st.DataObject) -> None:
    """The order in which files were found does not show."""
    assert encode(Tree(tuple(data.draw(st.permutations(made.files))))) == encode(made)


@given(trees, st.data())
def test_a_damaged_tree_is_refused_or_another(made: Tree, data: st.DataObject) -> None:
    """No damage raises anything but ``FormatError``, and none reads back as the tree it was."""
    raw = bytearray(encode(made))
    at = data.draw(st.integers(0, len(raw) - 1), label="offset")
    raw[at] ^= data.draw(st.integers(1, 255), label="bits")
    try:
        found = decode(bytes(raw))
    except FormatError:
        return
    assert found != made
    assert encode(found) == raw


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda t: t.encode("utf-8", "replace")))
def test_any_bytes_are_a_tree_or_refused(data: bytes) -> None:
    """A reader raises ``FormatError`` and nothing else."""
    with contextlib.suppress(FormatError):
        assert encode(decode(data)) == data


def test_the_example_of_the_page() -> None:
    """The tree on the page is read and written as it stands there, and has the digest told."""
    text = PAGE.read_text(encoding="utf-8")
    (example,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    found = decode(example.encode())
    assert encode(found) == example.encode()
    assert [file.mode for file in found.files] == [0o644, 0o755, 0o644]
    assert found.files[1].path == "scripts/run me.sh"
    assert found.size == 36
    assert found.files[2].digest == NOTHING
    assert f"has `{digest_of(example.encode())}` as its digest" in text


@pytest.mark.parametrize(
    "path",
    [
        "a b",
        ".gitattributes",
        ".gitignore",
        ".mvcrc",
        "a/git",
        "back\\slash",
        "C:x",
        "con",
        "-rf",
        "~",
        "dot.",
        "…",
        "e\u0301.txt",
        "\U0001f600",
        "b3:x",
        "a" * 255,
        "/".join(["a" * 255] * 4),
    ],
)
def test_names_that_people_have_are_kept(path: str) -> None:
    """Any text without control characters names a file."""
    assert decode(encode(of(path))).files[0].path == path


BAD_PATHS = [
    "",
    ".",
    "..",
    "/etc/passwd",
    "a/../b",
    "a/..",
    "../a",
    "a//b",
    "a/",
    "./a",
    "a/./b",
    "nul\0",
    "tab\t",
    "cr\r",
    "del\x7f",
    "c1\x85",
    "half\ud800",
    "\udcff",
    ".git",
    ".GIT/config",
    "a/.git/hooks/pre-commit",
    ".git.",
    ".git ",
    ".g\u200cit/config",
    ".mvc",
    ".MVC/config.yaml",
    "a/.mvc-new-00",
    "a" * 256,
    "é" * 128,
    "/".join(["a" * 200] * 6),
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_names_that_cannot_be_written_back_safely_are_refused(path: str) -> None:
    """The same is refused when written and when read, since a tree may come from anyone."""
    with pytest.raises(FormatError):
        of(path)
    with pytest.raises(FormatError):
        decode(line(path))


@pytest.mark.parametrize(
    "paths",
    [
        ("a", "a"),
        ("Data", "data"),
        ("Data/a", "data/b"),
        ("x/Data/a", "x/data/b"),
        ("\u00e9", "e\u0301"),
        ("ß", "ss"),
        ("\u00c9/a", "e\u0301/b"),
        ("a", "a/b"),
        ("A", "a/b"),
        ("a/b", "a/b/c/d"),
    ],
)
def test_two_names_that_some_file_system_cannot_hold_apart_are_refused(
    paths: tuple[str, ...],
) -> None:
    """Case, accents, and files that are folders too: nobody can write both."""
    with pytest.raises(FormatError):
        of(*paths)
    with pytest.raises(FormatError):
        decode(b"".join(line(path) for path in sorted(paths, key=str.encode)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        line() + b"\n",
        line()[:-1],
        line() + line("b")[:-1],
        line("b") + line("a"),
        line(mode="0777"),
        line(mode="4755"),
        line(mode="120000"),
        line(mode="644"),
        line(size="-1"),
        line(size="01"),
        line(size="1.0"),
        line(size=str(1 << 70)),
        line("a", size=str(1 << 61)) + line("b", size=str(1 << 61)),
        line(size="\u0663"),
        line(digest="b3:" + "A" * 64),
        line(digest="b3:" + "0" * 63),
        line(digest="sha256:" + "0" * 64),
        line().replace(b" ", b"  ", 1),
        b"\xff\xfe" + line(),
        "\ufeff".encode() + line(),
    ],
)
def test_lines_in_any_other_form_are_refused(data: bytes) -> None:
    """There is one way to write a tree."""
    with pytest.raises(FormatError):
        decode(data)


def test_a_tree_without_end_is_refused_before_it_is_read() -> None:
    """The limit holds for reading and for writing."""
    with pytest.raises(FormatError, match="limit"):
        decode(bytes(tree.MAX_SIZE + 1))
    with pytest.raises(FormatError, match="at most"):
        encode(of(*long_paths()))


def long_paths() -> list[str]:
    above = "/".join(["a" * 250] * 4)
    return [f"{above}/{n:06d}" for n in range(62_000)]
