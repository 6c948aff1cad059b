"""What every test stands on: nothing of the user's, and the same numbers each day.

Tests never see the home directory, the git configuration or the mvc settings
of whoever runs them, so that a test passes for everyone or for nobody. What they
add is by one author, and they work outside of any git work tree, so that git need
not be asked for either each time. And they do not wait for the disk: what is synced,
and when, is looked at where it counts, and a power is cut where ``synced`` stands.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import tally

# How long an example takes says more about the machine than about mvc.
settings.register_profile("mvc", settings(), deadline=None)
settings.load_profile("mvc")

# Settings of the test run itself, which it must keep.
OURS = {"MVC_BLESS", "MVC_FUZZ_SECONDS"}
FOREIGN = ("MVC_", "GIT_", "XDG_")
AUTHOR = "anna"

numbers = itertools.count()
real_fsync = os.fsync

# A shell starts what runs in the background deaf to Ctrl-C, and so are its children.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def foreign_settings_hidden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the whole run an empty home, an author and none of the user's settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - OURS:
            if name.startswith(FOREIGN):
                patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("MVC_AUTHOR", AUTHOR)
        working = tmp_path_factory.mktemp("working")
        patch.chdir(working)
        patch.setattr(os, "fsync", unwaited_fsync)
        yield
        assert not os.listdir(working), "a test left something where it was not to work"


def unwaited_fsync(descriptor: int) -> None:
    """Do what ``fsync`` does to a test that does not cut the power: fail if nothing is open."""
    os.fstat(descriptor)


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new folder. To number one, pytest's own lists those of all the tests before."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    folder = tmp_path_factory.getbasetemp() / f"{name}-{next(numbers)}"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the disk after all, where it is looked at what reached it."""
    monkeypatch.setattr(os, "fsync", real_fsync)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the run with what the fault suites did, and with what was not run and so not passed."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    for line in tally.table():
        reporter.write_line(line)
    reasons = Counter(report.longrepr[2] for report in reporter.stats.get("skipped", ()))
    for reason, number in sorted(reasons.items()):
        reporter.write_line(f"not run: {number} tests, {reason.removeprefix('Skipped: ')}")
