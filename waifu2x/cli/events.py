"""One file, told of in the lines of JSON that a batch of one file prints."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from ..batch import BatchResult, Progress, Summary
from ..errors import SkippedError, Waifu2xError
from ..files import upscale_file
from ..pipeline.upscaler import Upscaler
from .options import Given
from .progress import JsonReporter, facts_of


def upscale_with_events(
    given: Given, upscaler: Upscaler, source: Path, target: Path | None
) -> None:
    """Upscale ``source`` as `upscale_file` does; an error of it is told, and raised again."""
    began = time.perf_counter()
    one, summary = _One(source), Summary()
    result = BatchResult(source, target or source.parent, "skipped")
    failure: Waifu2xError | None = None
    with JsonReporter(given, one, model=given.model) as told:
        try:
            done = upscale_file(
                upscaler,
                source,
                target,
                given.options,
                overwrite=given.overwrite,
                keep_times=given.keep_times,
                progress=one.reach,
            )
            result = BatchResult(
                source=source,
                target=done.target or result.target,
                status="done",
                size_in=done.size_in,
                size_out=done.size_out,
                noise=done.noise,
                reason=done.reason,
                notes=done.notes,
            )
        except SkippedError as skipped:
            result = replace(result, notes=(str(skipped),))
        except Waifu2xError as error:
            failure = error
            result = replace(result, status="failed", error=error)
        seconds = time.perf_counter() - began
        summary.count(result)
        one.end()
        told.ended(replace(result, seconds=seconds))
        told.finished("", **facts_of(summary, seconds, exit_code=summary.failed))
    if failure is not None:
        raise failure


class _One:
    """One file as a batch that can be asked how far it is."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._share = 0.0
        self._ended = 0

    def reach(self, share: float) -> None:
        """So much is done."""
        self._share = share

    def end(self) -> None:
        """All is done, or nothing will be."""
        self._ended = 1

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return Progress(1, self._ended, self._share, () if self._ended else (self._source,))
