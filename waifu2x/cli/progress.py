"""Reports progress: a bar on a terminal, JSON lines for programs, plain lines otherwise."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from .._text import shown
from ..errors import SkippedError, Waifu2xError
from .options import CommandOptions
from .say import duration, error_line, result_line

if TYPE_CHECKING:
    from ..batch import BatchProgress, BatchResult, Summary
    from ..files import FileResult

#: Seconds between two updates.
_BAR_SECONDS: Final = 0.1
_JSON_SECONDS: Final = 0.5


class Watched(Protocol):
    """A batch, or a single file, with a current progress."""

    @property
    def progress(self) -> BatchProgress:
        """The current progress."""


class Reporter(contextlib.AbstractContextManager["Reporter"]):
    """Prints a line for each file; errors go to standard error."""

    def __init__(self, command: CommandOptions) -> None:
        self._command = command

    def __exit__(self, *error: object) -> None:
        """Stop updating."""

    def ended(self, result: BatchResult) -> None:
        """Report a file that has ended."""
        if result.status == "failed":
            self.say(f"Error: {error_line(result)}", err=True)
        elif result.status == "done" and not self._command.quiet:
            self.say(result_line(result, self._command.model))
        elif self._command.verbose:
            self.say(f"{shown(result.source)}: {'; '.join(result.notes)}", err=True)

    def say(self, line: str, *, err: bool = False) -> None:
        """Print a line."""
        click.echo(line, err=err)

    def finished(self, line: str, **facts: Any) -> None:
        """Report the end: ``line`` for people, ``facts`` for programs."""
        if not self._command.quiet:
            self.say(line)


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
    """Shows a bar with files, rate, time left and the current file; prints lines above the bar."""

    def __init__(self, command: CommandOptions, batch: Watched) -> None:
        super().__init__(command)
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._batch = batch
        self._bar = _rich_bar(
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[current]}", markup=False),
        )
        self._began = time.perf_counter()
        self._task = self._bar.add_task("", total=1.0, counts="", current="")
        self._tick()
        self._ticker = _Ticker(_BAR_SECONDS, self._tick)

    def __enter__(self) -> BarReporter:
        self._bar.start()
        self._ticker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ticker.stop()
        self._bar.stop()

    def ended(self, result: BatchResult) -> None:
        """Report a file that has ended."""
        super().ended(result)
        self._tick()

    def say(self, line: str, *, err: bool = False) -> None:
        """Print a line above the bar."""
        if not err and not sys.stdout.isatty():
            click.echo(line)
            return
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _tick(self) -> None:
        now = self._batch.progress
        rate = now.ended / max(1e-9, time.perf_counter() - self._began)
        name = shown(now.current[0].name) if now.current else ""
        self._bar.update(
            self._task,
            completed=now.share,
            counts=f"{now.ended}/{now.total} files, {_rate(rate)}",
            current=name,
        )


class JsonReporter(Reporter):
    """Prints JSON lines on standard output; docs/batch.md lists them."""

    def __init__(self, command: CommandOptions, batch: Watched, **facts: Any) -> None:
        super().__init__(command)
        self._batch = batch
        self._began = time.perf_counter()
        self._lock = threading.Lock()
        self._facts = facts
        self._ticker = _Ticker(_JSON_SECONDS, self._tick)

    def __enter__(self) -> JsonReporter:
        self._event("start", total=self._batch.progress.total, **self._facts)
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
        now = self._batch.progress
        seconds = time.perf_counter() - self._began
        left = seconds / now.share - seconds if now.share > 0 else None
        self._event(
            "progress",
            ended=now.ended,
            total=now.total,
            share=round(now.share, 4),
            files_per_second=round(now.ended / seconds, 4) if seconds > 0 else 0.0,
            eta_seconds=None if left is None else round(left, 1),
            current=[str(path) for path in now.current],
        )

    def _event(self, kind: str, **facts: Any) -> None:
        with self._lock:
            click.echo(json.dumps({"event": kind, **facts}))


def reporter_for(command: CommandOptions, batch: Watched, **facts: Any) -> Reporter:
    """Choose by the options and the terminal; ``facts`` go into the first event."""
    if command.progress == "json":
        return JsonReporter(command, batch, **facts)
    return BarReporter(command, batch) if _wants_bar(command) else Reporter(command)


@contextlib.contextmanager
def file_progress(command: CommandOptions, name: str) -> Iterator[Callable[[float], object] | None]:
    """Show a bar for one file called ``name`` on a terminal; yields its progress callback."""
    if not _wants_bar(command):
        yield None
        return
    with _rich_bar() as bar:
        task = bar.add_task(name, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def run_with_events(
    command: CommandOptions, run: Callable[..., FileResult], source: Path, target: Path | None
) -> None:
    """Run a single file with the events of a batch; an error is reported and raised again.

    run: upscales ``source``; receives the argument ``progress``.
    """
    from ..batch import BatchProgress, BatchResult, Summary

    began = time.perf_counter()
    single, summary = _SingleFile(BatchProgress(1, 0, 0.0, (source,))), Summary()
    result = BatchResult(source, target or source.parent, "skipped")
    failure: Waifu2xError | None = None
    with JsonReporter(command, single, model=command.model) as reporter:
        try:
            done = asdict(run(progress=single.set_share))
            done["target"] = done["target"] or result.target
            result = BatchResult(**done, status="done")
        except SkippedError as skipped:
            result = replace(result, notes=(str(skipped),))
        except Waifu2xError as error:
            failure = error
            result = replace(result, status="failed", error=error)
        seconds = time.perf_counter() - began
        summary.count(result)
        single.progress = replace(single.progress, ended=1, current=())
        reporter.ended(replace(result, seconds=seconds))
        reporter.finished("", **facts_of(summary, seconds, exit_code=summary.failed))
    if failure is not None:
        raise failure


@dataclass(slots=True)
class _SingleFile:
    progress: BatchProgress

    def set_share(self, share: float) -> None:
        self.progress = replace(self.progress, share=share)


def facts_of(summary: Summary, seconds: float, **more: Any) -> Mapping[str, Any]:
    """The summary for programs."""
    return {**asdict(summary), "seconds": round(seconds, 3), **more}


def _wants_bar(command: CommandOptions) -> bool:
    if command.progress == "bar":
        return sys.stderr is not None
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    return command.progress == "auto" and not command.quiet and on_terminal


def _rich_bar(*columns: Any) -> Any:
    """A bar on standard error; by default with the name, the share and the time left."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    return Bar(*columns, console=Console(stderr=True), transient=True)


def _rate(files_per_second: float) -> str:
    if files_per_second >= 1:
        return f"{files_per_second:.3g}/s"
    if files_per_second <= 0:
        return "-/s"
    return f"{duration(1 / files_per_second)} each"
