"""Progress: a bar for people, lines of JSON for programs, nothing where nobody looks."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from .._text import shown
from .options import Given
from .say import duration, error_line, result_line

if TYPE_CHECKING:
    from ..batch import BatchResult, Progress, Summary

#: Seconds between two looks at how far the work is.
_BAR_EVERY: Final = 0.1
_JSON_EVERY: Final = 0.5


class Watched(Protocol):
    """Work on many files whose progress can be asked for."""

    @property
    def progress(self) -> Progress:
        """How far it is."""
        ...


class Reporter(contextlib.AbstractContextManager["Reporter"]):
    """Tells of a batch as it goes on: a line for each file, errors on standard error."""

    def __init__(self, given: Given) -> None:
        self._given = given

    def __exit__(self, *error: object) -> None:
        """Stop telling."""

    def ended(self, result: BatchResult) -> None:
        """A file has come to its end."""
        if result.status == "failed":
            self.say(f"Error: {error_line(result)}", err=True)
        elif result.status == "done" and not self._given.quiet:
            self.say(result_line(result, self._given.model))
        elif self._given.verbose:
            self.say(f"{shown(result.source)}: {'; '.join(result.notes)}", err=True)

    def say(self, line: str, *, err: bool = False) -> None:
        """Print a line."""
        click.echo(line, err=err)

    def finished(self, line: str, **facts: Any) -> None:
        """All is over: ``line`` for people, ``facts`` for programs."""
        if not self._given.quiet:
            self.say(line)


class _Ticker:
    """Calls a function again and again on a thread of its own."""

    def __init__(self, every: float, tick: Callable[[], None]) -> None:
        self._every, self._tick = every, tick
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waifu2x-progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self._tick()


class BarReporter(Reporter):
    """A bar with files, rate, time left and the current file; lines appear above it."""

    def __init__(self, given: Given, batch: Watched) -> None:
        super().__init__(given)
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
        self._ticker = _Ticker(_BAR_EVERY, self._tick)

    def __enter__(self) -> BarReporter:
        self._bar.start()
        self._ticker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ticker.stop()
        self._bar.stop()

    def ended(self, result: BatchResult) -> None:
        """A file has come to its end."""
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
    """Lines of JSON on standard output; docs/batch.md lists them."""

    def __init__(self, given: Given, batch: Watched, **facts: Any) -> None:
        super().__init__(given)
        self._batch = batch
        self._began = time.perf_counter()
        self._lock = threading.Lock()
        self._facts = facts
        self._ticker = _Ticker(_JSON_EVERY, self._tick)

    def __enter__(self) -> JsonReporter:
        self._event("start", total=self._batch.progress.total, **self._facts)
        self._ticker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ticker.stop()

    def ended(self, result: BatchResult) -> None:
        """A line for the file."""
        self._event("file", **result.as_dict())

    def say(self, line: str, *, err: bool = False) -> None:
        """Lines for people go to standard error, where they are not in the way."""
        click.echo(line, err=True)

    def finished(self, line: str, **facts: Any) -> None:
        """The last line."""
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


def reporter(given: Given, batch: Watched, **facts: Any) -> Reporter:
    """What suits the options and the terminal; ``facts`` are for programs, at the start."""
    if given.progress == "json":
        return JsonReporter(given, batch, **facts)
    return BarReporter(given, batch) if _wants_bar(given) else Reporter(given)


@contextlib.contextmanager
def file_progress(given: Given, name: str) -> Iterator[Callable[[float], object] | None]:
    """A progress bar for one file called ``name``, on a terminal."""
    if not _wants_bar(given):
        yield None
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
               TimeRemainingColumn())  # fmt: skip
    with _rich_bar(*columns) as bar:
        task = bar.add_task(name, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def facts_of(summary: Summary, seconds: float, **more: Any) -> Mapping[str, Any]:
    """A summary for programs."""
    return {
        "done": summary.done,
        "skipped": summary.skipped,
        "failed": summary.failed,
        "seconds": round(seconds, 3),
        **more,
    }


def _wants_bar(given: Given) -> bool:
    if given.progress == "bar":
        return sys.stderr is not None
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    return given.progress == "auto" and not given.quiet and on_terminal


def _rich_bar(*columns: Any) -> Any:
    from rich.console import Console
    from rich.progress import Progress as Bar

    return Bar(*columns, console=Console(stderr=True), transient=True)


def _rate(files_per_second: float) -> str:
    if files_per_second >= 1:
        return f"{files_per_second:.3g}/s"
    if files_per_second <= 0:
        return "-/s"
    return f"{duration(1 / files_per_second)} each"
