"""One file in, one file out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

import click
from PIL import Image

from ..errors import SkippedError
from ..files import upscale_file
from .options import Given
from .progress import file_progress
from .say import result_line
from .upscaler import upscaler_for


def upscale_one(given: Given, source: Path, target: Path | None) -> None:
    """Upscale ``source``, which may be ``-``, and say what was done."""
    from_pipe = str(source) == "-"
    to_pipe = str(target) == "-" or (from_pipe and target is None)
    upscaler = upscaler_for(given)
    # This process is ours: Pillow's limit, a second one behind that of codec, follows it.
    Image.MAX_IMAGE_PIXELS = upscaler.options.limit
    if given.progress == "json":
        if from_pipe or to_pipe:
            raise click.UsageError("--progress json takes standard output, and a pipe would too")
        from .events import upscale_with_events

        upscale_with_events(given, upscaler, source, target)
        return
    with file_progress(given, "standard input" if from_pipe else source.name) as advance:
        try:
            result = upscale_file(
                upscaler,
                _standard_input() if from_pipe else source,
                _standard_output() if to_pipe else target,
                given.options,
                overwrite=given.overwrite,
                keep_times=given.keep_times,
                progress=advance,
            )
            line = result_line(result, given.model)
        except SkippedError as skipped:
            line = str(skipped)
    if not given.quiet:
        # Nothing but the result may stand on a pipe.
        click.echo(line, err=to_pipe)


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise click.UsageError("INPUT is -, and there is no standard input")
    if sys.stdin.isatty():
        raise click.UsageError("INPUT is -, and standard input is a terminal; pipe a picture in")
    return sys.stdin.buffer


def _standard_output() -> BinaryIO:
    if sys.stdout is None:
        raise click.UsageError("OUTPUT is -, and there is no standard output")
    if sys.stdout.isatty():
        raise click.UsageError(
            "OUTPUT is -, and standard output is a terminal; redirect it to a file or a program"
        )
    return sys.stdout.buffer
