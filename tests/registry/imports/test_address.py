"""A URL is taken apart so that no secret of it is shown or kept."""

from __future__ import annotations

import pytest

from mvc.errors import UsageError
from mvc.registry.imports.address import family_in, parse


@pytest.mark.parametrize(
    ("text", "shown", "whole"),
    [
        ("https://example.org/m.pt", "https://example.org/m.pt", True),
        ("HTTPS://Example.ORG:8443/a b/m.pt#x", "https://example.org:8443/a%20b/m.pt", True),
        ("https://anna:hunter2@example.org/m.pt", "https://example.org/m.pt", True),
        ("https://hunter2@example.org/m.pt", "https://example.org/m.pt", True),
        ("https://e.org/get?id=7&download=true", "https://e.org/get?id=7&download=true", True),
        ("https://e.org/get?id=7&token=hunter2", "https://e.org/get?id=7", False),
        ("https://e.org/m.pt?X-Amz-Signature=hunter2", "https://e.org/m.pt", False),
        ("https://e.org/m.pt?hunter2", "https://e.org/m.pt", False),
        ("https://e.org/m.pt?id=" + "hunter2" * 20, "https://e.org/m.pt", False),
        ("https://[::1]:80/m.pt", "https://[::1]:80/m.pt", True),
        ("https://bücher.example/m.pt", "https://xn--bcher-kva.example/m.pt", True),
        ("https://e.org/\r\nX: 1", "https://e.org/X:%201", True),
    ],
)
def test_what_is_shown_of_a_url_holds_no_secret(text: str, shown: str, whole: bool) -> None:
    """Login and unknown parameters are left out, and it is known that something is."""
    address = parse(text)
    assert (address.shown, address.whole) == (shown, whole)
    assert "hunter2" not in repr(address) + address.folder


@pytest.mark.parametrize(
    "text", ["https://", "https:///m.pt", "https://e.org:port/m", "https://[x/m", "https:m.pt"]
)
def test_what_is_no_url_is_said_to_be_none(text: str) -> None:
    """A slip is one line, with an example."""
    with pytest.raises(UsageError, match=r"^'.*' is no") as raised:
        parse(text.replace("//", "//anna:hunter2@"))
    assert "hunter2" not in str(raised.value)
    assert raised.value.hint


def test_two_addresses_have_two_folders() -> None:
    """The same name at two addresses is two files; a login makes no other."""
    texts = [
        "https://a.org/m.pt",
        "https://a.org/x/m.pt",
        "http://a.org/m.pt",
        "https://b.org/m.pt",
    ]
    assert len({parse(text).folder.lower() for text in texts}) == 4
    assert parse("https://a.org/m.pt").folder == parse("https://x:y@a.org/m.pt").folder


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("resnet18-f37072fd.pth", "resnet18"),
        ("model.safetensors", "model"),
        ("bert base (1).bin", "bert-base-1"),
        ("v1.5-pruned.ckpt", "v1.5-pruned"),
        ("weights", "weights"),
        ("model_best.pth.tar", "model_best"),
        ("-.pt", ""),
        ("模型.pt", ""),
    ],
)
def test_a_file_name_suggests_a_family(name: str, family: str) -> None:
    """Suffix and digest are no part of it, nor what no family may be called."""
    assert family_in(name) == family
