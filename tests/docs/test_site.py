"""The site is built from the pages and the code, and shows itself well in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import mvc
from mvc.cli.app import ENTRIES

ROOT = Path(__file__).parents[2]
SECONDS = 300
NARROW = 360
# What a page fetches by itself; a link that a reader follows is none.
FETCHED = re.compile(r'<(?:script|link|img|iframe)[^>]*\b(?:src|href)="(https?:|//)([^"]*)')

RECORDER = b"""<script>
window.wrong = [];
addEventListener("error", event => {
  const what = event.target;
  wrong.push(event.message || "cannot load " + (what.src || what.href));
}, true);
for (const kind of ["error", "warn"]) console[kind] = (...words) => wrong.push(words.join(" "));
</script>"""
"""Put into every page: what a browser would say in its console, and what does not load."""

LOOKER = """<!doctype html><title>looker</title>
<iframe style="width:%dpx;height:800px;border:0"></iframe><script>
const SESSIONS = "pre > code:has(.gp)";  // of prompts and what follows them
const frame = document.querySelector("iframe"), found = {};
function prompted(code) {  // what the copy button takes
  code.setAttribute("data-md-copying", "");
  const copied = code.innerText;
  code.removeAttribute("data-md-copying");
  return /^([$]|>>>) /m.test(copied);
}
async function look() {
  for (const page of %s) {
    await new Promise(done => { frame.onload = done; frame.src = "/" + page; });
    await new Promise(done => setTimeout(done, 50));
    const page_ = frame.contentDocument, main = page_.querySelector("article.md-content__inner");
    found[page] = {
      wrong: frame.contentWindow.wrong,
      title: page_.title,
      heading: main?.querySelector("h1")?.innerText,
      links: page_.querySelectorAll("nav.md-nav a").length,
      prompts: [...page_.querySelectorAll(SESSIONS)].filter(prompted).length,
      width: Math.max(page_.documentElement.scrollWidth, main ? main.scrollWidth : 0),
    };
  }
  await fetch("/found", {method: "POST", body: JSON.stringify(found)});
}
look();
</script>"""
"""Opens one page after the other in a narrow frame, and tells what is there."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as ``make docs`` builds it: a warning is an error."""
    pytest.importorskip("mkdocstrings", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    config = ROOT / "docs" / "site" / "mkdocs.yml"
    command = ["mkdocs", "build", "-q", "--strict", "-f", str(config), "-d", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return folder


def test_every_command_and_public_name_has_its_reference(site: Path) -> None:
    """The reference tells of each command and of each name that ``mvc`` exports."""
    commands = (site / "reference/cli.html").read_text(encoding="utf-8")
    assert [name for name in ENTRIES if f"Usage: mvc {name}" not in commands] == []
    python = (site / "reference/python.html").read_text(encoding="utf-8")
    names = [name for name in mvc.__all__ if not name.startswith("_")]
    assert [name for name in names if f'id="mvc.{name}"' not in python] == []
    assert 'id="mvc.ModelRegistry.register"' in python


def test_no_page_asks_anything_of_another_host(site: Path) -> None:
    """Who reads the site needs no network, and nobody learns that they read it."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > 50
    fetched = {str(page): FETCHED.findall(page.read_text(encoding="utf-8")) for page in pages}
    assert {page: found for page, found in fetched.items() if found} == {}


@pytest.mark.long
def test_every_page_shows_itself_well_in_a_browser(site: Path, tmp_path: Path) -> None:
    """No page has an error, lacks a file, or is wider than a telephone; prompts are not copied."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no chromium")
    pages = sorted(page.relative_to(site).as_posix() for page in site.rglob("*.html"))
    pages.remove("404.html")
    with _served(site, pages) as served, _browser(chromium, served.address, tmp_path):
        assert served.told.wait(SECONDS), "the browser did not come to an end"
    assert served.missing == []
    assert sorted(served.found) == pages
    wrong = {
        page: seen
        for page, seen in served.found.items()
        if seen["wrong"]
        or seen["prompts"]
        or seen["width"] > NARROW
        or not seen["heading"]
        or seen["links"] < 10
    }
    assert wrong == {}


class _Served:
    """What the browser was given and what it told."""

    def __init__(self) -> None:
        self.address = ""
        self.missing: list[str] = []
        self.found: dict[str, dict[str, Any]] = {}
        self.told = threading.Event()


@contextmanager
def _served(site: Path, pages: list[str]) -> Iterator[_Served]:
    served = _Served()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/looker":
                self._answer((LOOKER % (NARROW, json.dumps(pages))).encode())
            elif self.path.endswith(".html"):
                html = (site / self.path[1:]).read_bytes()
                self._answer(html.replace(b"<head>", b"<head>" + RECORDER, 1))
            else:
                super().do_GET()

        def do_POST(self) -> None:
            served.found = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(b"")
            served.told.set()

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def send_error(self, code: int, *_: Any, **__: Any) -> None:
            if self.path != "/favicon.ico":
                served.missing.append(f"{code} {self.path}")
            super().send_error(code)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site)))
    served.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _browser(chromium: str, address: str, folder: Path) -> Iterator[None]:
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/chromium"]
    options += [
        "--remote-debugging-port=0",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    browser = subprocess.Popen(
        [chromium, *options, f"{address}/looker"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(browser.pid, signal.SIGKILL)  # its own session: nobody else's processes
        browser.wait()
