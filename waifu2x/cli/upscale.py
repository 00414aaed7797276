"""The commands ``waifu2x INPUT OUTPUT`` and ``waifu2x batch``; runs a single file itself."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePath
from typing import Any, BinaryIO, TextIO, TypeAlias

import click
from PIL import Image

from ..errors import SkippedError
from ..files import FileResult, upscale_file
from ..pipeline.upscaler import Upscaler
from .options import CommandOptions, all_options, batch_rows, picture_rows
from .progress import file_progress, run_with_events
from .say import result_line

HELP = """\b
Upscale and denoise a picture, animation, comic (CBZ) or folder. OUTPUT: a
file, a folder or - for a pipe. Example: waifu2x in.jpg out.png -s 4 -n 1
"""

BATCH_HELP = """\b
Upscale files, folders, 'patterns*', comics and @lists into a folder, OUTPUT.
"waifu2x FOLDER OUTPUT" is the same; options of "waifu2x --help" count too.
Example: waifu2x batch in.png in.jpg out --name "{stem}_{scale}x{ext}"
"""

_HelpRows: TypeAlias = Callable[[click.Command, click.Context], list[tuple[str, str]]]

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_WILDCARDS = frozenset("*?[")


class _Command(click.Command):
    """A command with a help screen of ``rows``."""

    def __init__(self, *args: Any, rows: _HelpRows, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self._rows = rows

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Options"):
            formatter.write_dl([*self._rows(self, ctx), ("-h, --help", "Show this page")])


@click.command("upscale", _Command, rows=picture_rows, help=HELP, context_settings=_SETTINGS)
@click.argument("paths", metavar="INPUT... [OUTPUT]", nargs=-1, required=True)
@all_options
def upscale(**values: Any) -> None:
    command = _checked(values)
    paths = command.paths
    if len(paths) > 2 or command.is_batch or any(map(_names_many, paths[:-1] or paths)):
        _upscale_many(command)
    else:
        _upscale_one(command, Path(paths[0]), Path(paths[1]) if len(paths) == 2 else None)


@click.command("batch", _Command, rows=batch_rows, help=BATCH_HELP, context_settings=_SETTINGS)
@click.argument("paths", metavar="INPUT... OUTPUT", nargs=-1, required=True)
@all_options
def batch(**values: Any) -> None:
    _upscale_many(_checked(values))


def _checked(values: dict[str, Any]) -> CommandOptions:
    """The options of the command, with logging set up."""
    if values["scale"] is not None and (values["width"], values["height"]) != (None, None):
        raise click.UsageError("--scale and --width or --height exclude each other; give one")
    if values["verbose"]:
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        logging.getLogger("waifu2x").setLevel(logging.DEBUG)
    elif values["quiet"]:
        logging.getLogger("waifu2x").setLevel(logging.ERROR)
    return CommandOptions.from_values(values)


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
        overwrite=command.values["overwrite"],
        keep_times=command.values["keep_times"],
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
    if len(command.paths) < 2:
        raise click.UsageError(
            f"{command.paths[0]} may be many files; name the folder for the results behind it"
        )
    *inputs, out = command.paths
    if out == "-" or (inputs != ["@-"] and "-" in inputs):
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
