"""Checks that the tests run the tree they are in, and restores the default action of Ctrl-C.

Without a tree around them, as in the check of a wheel, the tests run the installed package.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "waifu2x"
FIND = "import importlib.util as u; s = u.find_spec('waifu2x'); print(s.origin if s else '')"
CURE = "run `pip install -e '.[test]'` in this tree"

# Commands started by the tests inherit an ignored signal, but not a handler. Shells ignore Ctrl-C
# for background jobs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Verdicts on devices are kept for this run of the tests alone, in the commands that it starts too.
_CACHE = tempfile.TemporaryDirectory()
for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
    os.environ[name] = _CACHE.name


def pytest_configure() -> None:
    """Refuse to test an installed copy, in this process or in the commands that tests start."""
    spec = importlib.util.find_spec("waifu2x")
    command = subprocess.run(
        [sys.executable, "-c", FIND], cwd=tempfile.gettempdir(), capture_output=True, text=True
    )
    for origin in (spec.origin if spec else None, command.stdout.strip()):
        if not origin:
            raise pytest.UsageError(f"waifu2x is not installed; {CURE}")
        if PACKAGE.exists() and Path(origin).resolve().parent != PACKAGE.resolve():
            raise pytest.UsageError(f"the tests would run {origin}, not {PACKAGE}; {CURE}")
    if PACKAGE.exists() and not any(
        (PACKAGE / "kernels" / f"_native{end}").exists() for end in EXTENSION_SUFFIXES
    ):
        raise pytest.UsageError(f"the kernels are not built for this Python; {CURE}")
