"""The command line: the only place that prints and knows a terminal.

``app`` finds the command, a module a group of commands does the work by way
of ``ModelRegistry``, ``output`` prints, ``failures`` puts errors into words.
Nothing heavy is imported before a command needs it.

Public names: ``main``.
"""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line and leave with its exit status."""
    try:
        from mvc.cli import app, failures

        signal.signal(signal.SIGTERM, failures.terminate)
        status = app.run(sys.argv[1:])
    except KeyboardInterrupt:  # while Python itself still loads modules
        status = 130
    sys.exit(status)
