"""Runs the installed command as a process."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import IO

WAIFU2X = Path(sys.executable).with_name("waifu2x")

#: Seconds until a run counts as hung.
PATIENCE = 300


def importable(folder: Path) -> dict[str, str]:
    """The environment variable that lets a Python process import modules of ``folder`` first."""
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


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
        timeout=PATIENCE,
    )
    assert "Traceback" not in result.stderr
    return result


def on_terminal(
    *args: str | Path, cwd: Path, columns: int = 100, term: str = "xterm"
) -> tuple[int, str, str]:
    """Run the command on a terminal: exit code, standard output, and text on the terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [WAIFU2X, *map(str, args)],
        cwd=cwd,
        env={**os.environ, "TERM": term, "COLUMNS": str(columns)},
        stdout=subprocess.PIPE,
        stderr=follower,
        text=True,
    )
    os.close(follower)
    shown = b""
    # Read while the command runs: a terminal buffers only a few kilobytes.
    while part := _read(leader):
        shown += part
    os.close(leader)
    out, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, out, shown.decode(errors="replace")


def started(*args: str | Path, cwd: Path) -> subprocess.Popen[bytes]:
    """Start the command with unbuffered pipes."""
    return subprocess.Popen(
        [WAIFU2X, *map(str, args)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )


def wait_for(stream: IO[bytes] | None, text: str) -> str:
    """Read lines up to the first that contains ``text``; returns all of them.

    The stream is unbuffered, so `Popen.communicate` returns the rest.
    """
    assert stream is not None
    seen = ""
    while True:
        line = stream.readline().decode()
        seen += line
        assert line, f"the stream ended without {text!r}: {seen}"
        if text in line:
            return seen


def ended(process: subprocess.Popen[bytes]) -> tuple[str, str]:
    """Wait for the end of the process; returns the rest of both streams."""
    out, err = process.communicate(timeout=PATIENCE)
    return out.decode(), err.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # Linux reports the end of a terminal as an error
        return b""
