"""Upscales what the command line names; runs a single file itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePath
from typing import BinaryIO, TextIO

import click
from PIL import Image

from ..batch import BatchOptions
from ..errors import SkippedError
from ..files import FileResult, upscale_file
from ..pipeline.upscaler import Upscaler
from .options import CommandOptions
from .progress import file_progress, run_with_events
from .say import result_line

_WILDCARDS = frozenset("*?[")


def upscale(command: CommandOptions) -> None:
    """Upscale the inputs of the command."""
    inputs, output = command.inputs, command.output
    if len(inputs) > 1 or _needs_batch(command) or _names_many(inputs[0]):
        _upscale_many(command)
    else:
        _upscale_one(command, Path(inputs[0]), None if output is None else Path(output))


def _needs_batch(command: CommandOptions) -> bool:
    defaults = BatchOptions(overwrite=command.batch.overwrite, keep_times=command.batch.keep_times)
    return command.batch != defaults or bool(command.report or command.cluster)


# --- one file ---------------------------------------------------------------------------------


def _upscale_one(command: CommandOptions, source: Path, target: Path | None) -> None:
    """Upscale ``source``, which may be ``-``, and report the result."""
    from_pipe = str(source) == "-"
    to_pipe = str(target) == "-" or (from_pipe and target is None)
    upscaler = Upscaler.from_options(command.upscaler)
    # Pillow's own limit, a second one behind that of codec, applies to the whole process.
    Image.MAX_IMAGE_PIXELS = upscaler.options.limit
    if command.progress == "json" and (from_pipe or to_pipe):
        raise click.UsageError("--progress json takes standard output, and a pipe would too")
    run: Callable[..., FileResult] = partial(
        upscale_file,
        _pipe(sys.stdin, "INPUT", "standard input", "pipe a picture in") if from_pipe else source,
        _pipe(sys.stdout, "OUTPUT", "standard output", "redirect it to a file or a program")
        if to_pipe
        else target,
        upscaler=upscaler,
        **asdict(command.options),
        overwrite=command.batch.overwrite,
        keep_times=command.batch.keep_times,
    )
    if command.progress == "json":
        run_with_events(command, run, source, target)
        return
    with file_progress(command, "standard input" if from_pipe else source.name) as progress:
        try:
            line = result_line(run(progress=progress), command.model)
        except SkippedError as skipped:
            line = str(skipped)
    if not command.quiet:
        click.echo(line, err=to_pipe)  # a pipe receives nothing but the result


def _pipe(stream: TextIO | None, what: str, name: str, advice: str) -> BinaryIO:
    """The bytes of a standard stream, which must not be a terminal."""
    if stream is None:
        raise click.UsageError(f"{what} is -, and there is no {name}")
    if stream.isatty():
        raise click.UsageError(f"{what} is -, and {name} is a terminal; {advice}")
    return stream.buffer


# --- many files -------------------------------------------------------------------------------


def _upscale_many(command: CommandOptions) -> None:
    inputs, out = command.inputs, command.output
    if out is None:
        raise click.UsageError(
            f"{inputs[0]} may be many files; name the folder for the results behind it"
        )
    if out == "-" or (inputs != ("@-",) and "-" in inputs):
        raise click.UsageError("a pipe takes one picture; for many files name a folder")
    if Path(out).is_file():
        raise click.UsageError(f"the results of many files go into a folder, and {out} is a file")
    if not Path(out).is_dir() and _is_picture_name(out):
        raise click.UsageError(
            f"the results of many files go into a folder, and {out} looks like a file; "
            f"choose another name, or create it first (mkdir {out})"
        )
    from .batch import upscale_batch

    upscale_batch(command, inputs, Path(out))


def _names_many(path: str) -> bool:
    """Whether an input is a folder, a pattern or a list, which stand for any number of files."""
    if os.path.isdir(path):  # noqa: PTH112  (Path rejects some names)
        return True
    if os.path.lexists(path):
        return False
    return path.startswith("@") or not _WILDCARDS.isdisjoint(path)


def _is_picture_name(name: str) -> bool:
    from ..codec import PAGE_SUFFIXES
    from ..files.archive import ARCHIVE_SUFFIXES

    return PurePath(name).suffix.lower() in (*PAGE_SUFFIXES, *ARCHIVE_SUFFIXES)
