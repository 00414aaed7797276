"""Runs the command on many files as a child process, samples its memory, and may kill it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..common.environment import busy_seconds
from ..common.measure import others_share
from ..common.processes import exit_message, waifu2x_command

#: Seconds between two memory samples, and between two checks of a process to be killed.
MEMORY_INTERVAL = 0.1
KILL_INTERVAL = 0.003


class MemorySample(NamedTuple):
    """seconds: since the start. rss: resident bytes. ended: files so far."""

    seconds: float
    rss: int
    ended: int


@dataclass
class Watched:
    """A run of the command.

    foreign: share of the machine that other processes used. events: the JSON lines.
    errors: standard error.
    """

    exit: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    foreign: float | None = None
    peak_rss: int = 0
    memory: list[MemorySample] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    errors: str = ""

    @property
    def files(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == "file"]

    @property
    def killed(self) -> bool:
        return self.exit == -signal.SIGKILL

    @property
    def end(self) -> dict[str, Any]:
        """The event "end"; empty if the run did not reach it."""
        last = self.events[-1] if self.events else {}
        return last if last.get("event") == "end" else {}

    @property
    def message(self) -> str:
        return exit_message(self.exit, self.errors)


def batch_command(source: Path, out: Path, *more: object) -> list[str]:
    """`waifu2x` on a folder, recursively."""
    return waifu2x_command(source, out, "-r", *more)


def watch(command: Sequence[str], *, kill: tuple[int, float] | None = None) -> Watched:
    """Run a command with ``--progress json`` and sample its memory. POSIX only.

    kill: a number of ended files and a delay in seconds after which to kill the command.
    """
    watched = Watched()
    reached = threading.Event()
    count = 0

    def read() -> None:
        nonlocal count
        assert process.stdout is not None
        for line in process.stdout:
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                if kill is None:
                    raise
                continue  # truncated by the kill
            watched.events.append(event)
            count += event["event"] == "file"
            if kill is not None and count >= kill[0]:
                reached.set()

    with tempfile.TemporaryFile() as errors:
        busy, start = busy_seconds(), time.perf_counter()
        process = subprocess.Popen(
            [*command, "--progress", "json"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
        )
        reader = threading.Thread(target=read)
        reader.start()
        deadline = None
        if kill is not None and kill[0] == 0:
            reached.set()
        while True:
            now = time.perf_counter() - start
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if kill is None:
                if memory := _memory(process.pid):
                    watched.memory.append(MemorySample(now, memory[0], count))
                    watched.peak_rss = max(watched.peak_rss, memory[1])
                time.sleep(MEMORY_INTERVAL)
                continue
            if deadline is None and reached.is_set():
                deadline = now + kill[1]
            if deadline is not None and now >= deadline:
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(KILL_INTERVAL)
        watched.wall_s = time.perf_counter() - start
        watched.exit = process.returncode = os.waitstatus_to_exitcode(status)
        watched.cpu_s = used.ru_utime + used.ru_stime
        watched.foreign = others_share(busy, own=watched.cpu_s, wall=watched.wall_s)
        reader.join()
        assert process.stdout is not None
        process.stdout.close()
        errors.seek(0)
        watched.errors = errors.read().decode("utf-8", "replace")
    return watched


def _memory(pid: int) -> tuple[int, int] | None:
    """Resident and peak bytes of a process; None if it has just ended or outside Linux."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = {
        name: int(kilobytes) * 1024
        for name, kilobytes in re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE)
    }
    return (found["VmRSS"], found["VmHWM"]) if len(found) == 2 else None


def tree(folder: Path) -> dict[str, str]:
    """Map every file below a folder to its digest, and every link to its target."""
    return {
        path.relative_to(folder).as_posix(): (
            f"-> {path.readlink()}"
            if path.is_symlink()
            else hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def is_temporary(path: str) -> bool:
    """Whether a path is that of an unfinished result."""
    name = path.rpartition("/")[2]
    return name.startswith(".waifu2x-") and name.endswith(".tmp")
