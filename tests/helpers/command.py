"""Runs the installed command as a process."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

WAIFU2X = Path(sys.executable).with_name("waifu2x")


def waifu2x(
    *args: str | Path, cwd: Path, env: dict[str, str] | None = None, data: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command with ``data`` on standard input; fails on a traceback."""
    result = subprocess.run(
        [WAIFU2X, *map(str, args)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80", **(env or {})},
        input=data,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in result.stderr
    return result


def on_terminal(*args: str | Path, cwd: Path) -> tuple[int, str, str]:
    """Run the command on a terminal: exit code, standard output, and text on the terminal."""
    leader, follower = pty.openpty()
    result = subprocess.run(
        [WAIFU2X, *map(str, args)],
        cwd=cwd,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=follower,
        text=True,
        timeout=120,
    )
    os.close(follower)
    with contextlib.suppress(OSError):  # nothing was shown
        return result.returncode, result.stdout, os.read(leader, 1 << 16).decode(errors="replace")
    return result.returncode, result.stdout, ""
