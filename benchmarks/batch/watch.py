"""The command on many files, run as a child, watched, and killed if that is wanted."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from _environment import busy_seconds
from _measure import FailureError, others_share
from _parts import Options
from _processes import ended as how_it_ended

#: Seconds between two looks at a process.
EVERY = 0.1
_EVERY_KILL = 0.003


@dataclass(frozen=True)
class BatchOptions(Options):
    """memory: for the command, in bytes. plot: a file to draw into. slowest: seconds per round."""

    memory: int = 2 << 30
    plot: Path | None = None
    slowest: float = 150


class Look(NamedTuple):
    """seconds: since the start. rss: bytes in memory. ended: files so far."""

    seconds: float
    rss: int
    ended: int


@dataclass
class Watched:
    """A run of the command.

    foreign: share of the machine that others used meanwhile. events: its lines of JSON. errors:
    what it wrote to stderr.
    """

    exit: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    foreign: float | None = None
    peak_rss: int = 0
    looks: list[Look] = field(default_factory=list)
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
        """The last line, empty if there was none."""
        last = self.events[-1] if self.events else {}
        return last if last.get("event") == "end" else {}

    def ending(self) -> str:
        return how_it_ended(self.exit, self.errors)


def batch_command(source: Path, out: Path, *more: str) -> list[str]:
    """`waifu2x` on a folder, all below it."""
    program = Path(sysconfig.get_path("scripts"), "waifu2x")
    if not program.exists():
        raise FailureError("the command waifu2x is not installed beside this Python")
    return [str(program), str(source), str(out), "-r", *more]


def watch(command: Sequence[str], *, kill: tuple[int, float] | None = None) -> Watched:
    """Run a command with ``--progress json`` and look at its memory; POSIX only.

    kill: kill it when so many files have ended and so many seconds more have passed.
    """
    found = Watched()
    counted = threading.Event()
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
                continue  # cut off when it was killed
            found.events.append(event)
            count += event["event"] == "file"
            if kill is not None and count >= kill[0]:
                counted.set()

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
            counted.set()
        while True:
            now = time.perf_counter() - start
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if kill is None:
                if memory := _memory(process.pid):
                    found.looks.append(Look(now, memory[0], count))
                    found.peak_rss = max(found.peak_rss, memory[1])
                time.sleep(EVERY)
                continue
            if deadline is None and counted.is_set():
                deadline = now + kill[1]
            if deadline is not None and now >= deadline:
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(_EVERY_KILL)
        found.wall_s = time.perf_counter() - start
        found.exit = process.returncode = os.waitstatus_to_exitcode(status)
        found.cpu_s = used.ru_utime + used.ru_stime
        found.foreign = others_share(busy, own=found.cpu_s, wall=found.wall_s)
        reader.join()
        assert process.stdout is not None
        process.stdout.close()
        errors.seek(0)
        found.errors = errors.read().decode("utf-8", "replace")
    return found


def _memory(pid: int) -> tuple[int, int] | None:
    """What a process has in memory, and had at most; None if it has just ended or cannot tell."""
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
    """The digest of every file below a folder, by its path; of a link, where it leads."""
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
    """Whether a path is that of a result in the making."""
    name = path.rpartition("/")[2]
    return name.startswith(".waifu2x-") and name.endswith(".tmp")


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Processes started meanwhile may use that many processors. Linux only."""
    if not hasattr(os, "sched_setaffinity"):
        raise FailureError("needs sched_setaffinity, which this system has not")
    before = os.sched_getaffinity(0)
    if len(before) < count:
        raise FailureError(f"this process may use {len(before)} processors, and {count} are asked")
    os.sched_setaffinity(0, set(sorted(before)[:count]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
