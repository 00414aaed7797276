"""One file from or to a pipe, with the interface of a batch."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

import click

from .._record import record
from ..batch import BatchProgress, BatchResult, Summary, check_report
from ..errors import CancelledError, SkippedError, Waifu2xError
from ..files import upscale_file
from ..files.task import FrameShare, check_target
from ..pipeline.upscaler import Upscaler
from .options import CommandOptions
from .run import Job

_STDIN: Final = Path("standard input")
_STDOUT: Final = Path("standard output")


@record
class PipeResult(BatchResult):
    """The result of a file with a standard stream as its ``source`` or ``target``."""

    def as_dict(self) -> dict[str, Any]:
        """The fields for JSON; a stream has no name."""
        facts = BatchResult.as_dict(self)  # super() fails in a dataclass with slots
        if self.source is _STDIN:
            facts["input"] = None
        if self.target is _STDOUT:
            facts["output"] = None
        return facts


def pipe_job(command: CommandOptions, upscaler: Upscaler) -> Job:
    """Prepare the job of a command whose input or output is ``-``."""
    run = PipeRun(command, upscaler)
    return Job(run, one=run.source, to_pipe=command.output in (None, "-"))


class PipeRun:
    """One file from or to a standard stream; iterate once to process it and yield the result.

    source: the input, or a description of standard input.
    """

    def __init__(self, command: CommandOptions, upscaler: Upscaler) -> None:
        """Check the streams and the name of the result.

        Raises `click.UsageError` and `ArgumentError`.
        """
        source, target = command.inputs[0], command.output
        self.summary = Summary()
        self._cancel = threading.Event()
        self._share = 0.0
        self.source, self._target = _STDIN, _STDOUT
        given: Any = source
        sink: Any = target
        if source == "-":
            given = _pipe(sys.stdin, "INPUT", "standard input", "pipe a picture in")
        else:
            self.source = Path(source)
        if target is None or target == "-":
            sink = _pipe(
                sys.stdout, "OUTPUT", "standard output", "redirect it to a file or a program"
            )
        else:
            self._target = Path(target)
            if self._target.is_dir():
                raise click.UsageError(
                    f"{target} is a folder, and INPUT is -, which has no name; name a file"
                )
            check_target(self._target, command.options)
            if command.report is not None:
                check_report(command.report, [self._target])
        self._arguments = (given, sink)
        self._options: dict[str, Any] = {
            **{name: getattr(command.options, name) for name in asdict(command.options)},
            "overwrite": command.batch.overwrite,
            "keep_times": command.batch.keep_times,
            "upscaler": upscaler,
        }

    def __iter__(self) -> Generator[BatchResult, None, None]:
        outcome: list[BatchResult | BaseException] = []
        # The main thread stays free for signals, which wait until a call of a library returns.
        thread = threading.Thread(target=self._process, args=(outcome,), daemon=True)
        thread.start()
        while thread.is_alive():  # a signal that arrives as a wait begins does not end the wait
            thread.join(0.1)
        (ended,) = outcome
        if isinstance(ended, CancelledError):
            return
        if isinstance(ended, BaseException):
            raise ended
        self.summary.count(ended)
        yield ended

    def _process(self, outcome: list[BatchResult | BaseException]) -> None:
        began = time.perf_counter()
        result = PipeResult(self.source, self._target, "skipped")
        try:
            made = asdict(
                upscale_file(
                    *self._arguments, **self._options, progress=self._follow, cancel=self._cancel
                )
            )
            made.update(source=self.source, target=self._target)
            result = PipeResult(**made, status="done")
        except SkippedError as skipped:
            result = replace(result, notes=(str(skipped),))
        except CancelledError as cancelled:
            outcome.append(cancelled)
            return
        except Waifu2xError as error:
            result = replace(result, status="failed", error=error)
        except BaseException as error:  # a defect: raised again in the main thread
            outcome.append(error)
            return
        outcome.append(replace(result, seconds=time.perf_counter() - began))

    def _follow(self, share: float) -> None:
        self._share = share

    def stop(self) -> None:
        """Do nothing: the only file has begun."""

    def cancel(self) -> None:
        """Abandon the file as soon as possible."""
        self._cancel.set()

    @property
    def progress(self) -> BatchProgress:
        """The current progress; safe to read from any thread."""
        ended = self.summary.ended
        current = () if ended else (self.source,)
        video = self._share if isinstance(self._share, FrameShare) else None
        return BatchProgress(total=1, ended=ended, share=self._share, current=current, video=video)


def _pipe(stream: TextIO | None, what: str, name: str, advice: str) -> BinaryIO:
    """The bytes of a standard stream, which must not be a terminal."""
    if stream is None:
        raise click.UsageError(f"{what} is -, and there is no {name}")
    if stream.isatty():
        raise click.UsageError(f"{what} is -, and {name} is a terminal; {advice}")
    return stream.buffer
