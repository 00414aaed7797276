"""Reports progress: a bar on a terminal, JSON lines for programs, plain lines otherwise."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from .._text import shown
from ..files.task import FrameShare
from .options import CommandOptions
from .say import duration, error_line, result_line

if TYPE_CHECKING:
    from ..batch import BatchProgress, BatchResult
    from .bar import Bar

#: Seconds between two updates.
_BAR_SECONDS: Final = 0.1
_JSON_SECONDS: Final = 0.5

#: Seconds until a run has a bar, unless it is asked for.
_BAR_AFTER: Final = 0.4

#: Terminals that cannot move the cursor.
_DUMB: Final = ("dumb", "unknown")


class Watched(Protocol):
    """A run with a current progress."""

    @property
    def progress(self) -> BatchProgress:
        """The current progress."""


class Reporter(contextlib.AbstractContextManager["Reporter"]):
    """Prints a line for each file; errors go to standard error."""

    def __init__(
        self, command: CommandOptions, *, one: Path | None = None, to_pipe: bool = False
    ) -> None:
        """Prepare to report.

        one: the only file that the command names; it has a line even if it is skipped, and there is
            no summary.
        to_pipe: standard output receives the result of the file and nothing else.
        """
        self._command, self._one, self._to_pipe = command, one, to_pipe

    def __exit__(self, *error: object) -> None:
        """Stop updating."""

    def ended(self, result: BatchResult) -> None:
        """Report a file that has ended."""
        if result.status == "failed":
            self.say(f"Error: {error_line(result)}", err=True)
        elif result.status == "done":
            if not self._command.quiet:
                self.say(result_line(result, self._command.model), err=self._to_pipe)
            for failure in result.failures:
                self.say(f"Error: {failure}", err=True)
        elif self._command.verbose or (self._one is not None and not self._command.quiet):
            err = self._to_pipe or self._one is None
            self.say(_skipped_line(result), err=err)

    def say(self, line: str, *, err: bool = False) -> None:
        """Print a line."""
        click.echo(line, err=err)

    def finished(self, line: str, **facts: Any) -> None:
        """Report the end: ``line`` for people, ``facts`` for programs."""
        if not self._command.quiet and self._one is None:
            self.say(line)


def _skipped_line(result: BatchResult) -> str:
    notes, source = "; ".join(result.notes), shown(result.source)
    return notes if source in notes else f"{source}: {notes}"


class _Ticker:
    """Calls a function at intervals on its own thread."""

    def __init__(self, every: float, tick: Callable[[], None]) -> None:
        self._every, self._tick = every, tick
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waifu2x-progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._every):
            self._tick()


class BarReporter(Reporter):
    """Shows a bar once the run has taken some time; prints lines above it.

    The library of the bar takes longer to import than a small picture takes, so the import waits,
    and runs beside the network.
    """

    def __init__(self, command: CommandOptions, run: Watched, **how: Any) -> None:
        super().__init__(command, **how)
        self._run = run
        self._began = time.perf_counter()
        self._after = 0.0 if command.progress == "bar" else _BAR_AFTER
        self._lock = threading.RLock()
        self._bar: Bar | None = None
        self._tick()
        self._ticker = _Ticker(_BAR_SECONDS, self._tick)

    def __enter__(self) -> BarReporter:
        self._ticker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ticker.stop()
        if self._bar is not None:
            self._bar.stop()

    def ended(self, result: BatchResult) -> None:
        """Report a file that has ended."""
        super().ended(result)
        if self._bar is not None:
            self._tick()

    def say(self, line: str, *, err: bool = False) -> None:
        """Print a line above the bar."""
        with self._lock:
            if self._bar is None or (not err and not sys.stdout.isatty()):
                click.echo(line, err=err)
            else:
                self._bar.say(line)

    def _tick(self) -> None:
        now = self._run.progress
        seconds = time.perf_counter() - self._began
        if self._bar is None:
            if seconds < self._after:
                return
            from .bar import Bar  # loaded when needed

            with self._lock:
                self._bar = self._bar or Bar()
        parts = [f"{int(100 * now.share):3d}%"]
        if self._one is None:
            counts = f"{now.ended}/{now.total}"
            rate = now.ended / max(1e-9, seconds)
            parts.append(f"{counts} files, {_rate(rate)}" if self._bar.wide else counts)
        left = seconds_left(now.share, seconds)
        if now.video is not None:
            parts.append(frames_line(now.video, wide=self._bar.wide))
            if self._one is not None:
                left = now.video.seconds_left
        parts.append("--:--" if left is None else _clock(left))
        current = now.current[0] if now.current else self._one
        name = "" if current is None else shown(current.name)
        self._bar.update(now.share, " ".join(parts), name)


class JsonReporter(Reporter):
    """Prints JSON lines on standard output; docs/batch.md lists them."""

    def __init__(
        self, command: CommandOptions, run: Watched, facts: dict[str, Any], **how: Any
    ) -> None:
        super().__init__(command, **how)
        self._run = run
        self._began = time.perf_counter()
        self._lock = threading.Lock()
        self._facts = facts
        self._ticker = _Ticker(_JSON_SECONDS, self._tick)

    def __enter__(self) -> JsonReporter:
        total = self._run.progress.total
        self._event("start", total=total, model=self._command.model, **self._facts)
        self._ticker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ticker.stop()

    def ended(self, result: BatchResult) -> None:
        """Print the event of a file."""
        self._event("file", **result.as_dict())

    def say(self, line: str, *, err: bool = False) -> None:
        """Print a line for people on standard error, apart from the events."""
        click.echo(line, err=True)

    def finished(self, line: str, **facts: Any) -> None:
        """Print the last event."""
        self._ticker.stop()
        self._event("end", **facts)

    def _tick(self) -> None:
        now = self._run.progress
        seconds = time.perf_counter() - self._began
        left = seconds_left(now.share, seconds)
        self._event(
            "progress",
            ended=now.ended,
            total=now.total,
            share=round(now.share, 4),
            files_per_second=round(now.ended / seconds, 4) if seconds > 0 else 0.0,
            eta_seconds=None if left is None else round(left, 1),
            current=[str(path) for path in now.current],
            **({} if now.video is None else {"video": _video_facts(now.video)}),
        )

    def _event(self, kind: str, **facts: Any) -> None:
        with self._lock:
            click.echo(json.dumps({"event": kind, **facts}))


def reporter_for(
    command: CommandOptions, run: Watched, *, facts: dict[str, Any], **how: Any
) -> Reporter:
    """Choose by the options and the terminal; ``facts`` go into the first event.

    how: the keyword arguments of `Reporter`.
    """
    if command.progress == "json":
        return JsonReporter(command, run, facts, **how)
    return BarReporter(command, run, **how) if _wants_bar(command) else Reporter(command, **how)


def seconds_left(share: float, seconds: float) -> float | None:
    """Estimate the time left after ``seconds`` for a ``share`` of the work; None without any."""
    return seconds / share - seconds if share > 0 else None


def frames_line(video: FrameShare, *, wide: bool) -> str:
    """Describe the progress of a video: frames, frames per second and the size so far."""
    count = f"{video.frames}/{video.total}" if video.total else str(video.frames)
    if not wide:
        return count
    return f"{count} frames, {video.rate:.3g} fps, {video.size / 1e6:.3g} MB"


def _video_facts(video: FrameShare) -> dict[str, Any]:
    left = video.seconds_left
    return {
        "frames": video.frames,
        "total": video.total or None,
        "frames_per_second": round(video.rate, 3),
        "bytes": video.size,
        "eta_seconds": None if left is None else round(left, 1),
    }


def _wants_bar(command: CommandOptions) -> bool:
    # The log of --verbose would land on the line of the bar.
    auto = command.progress == "auto" and not command.quiet and not command.verbose
    wanted = command.progress == "bar" or auto
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    return wanted and on_terminal and os.environ.get("TERM") not in _DUMB


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def _rate(files_per_second: float) -> str:
    if files_per_second >= 1:
        return f"{files_per_second:.3g}/s"
    if files_per_second <= 0:
        return "-/s"
    return f"{duration(1 / files_per_second)} each"
