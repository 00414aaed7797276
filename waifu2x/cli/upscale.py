"""``waifu2x INPUT OUTPUT``."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import click
from PIL import Image

from ..engines import ENGINES
from .params import NoiseLevel, model_option, overwrite_option

HELP = """\b
Upscale and denoise a picture, animation or comic (CBZ). OUTPUT: a file, a
directory or - for a pipe. Example: waifu2x in.jpg out.png -s 4 -n 1
"""

#: Options that share a line of the help screen, which is to fit a terminal.
_TOGETHER = {
    "width": ("--width, --height", "Size of the result instead; one keeps the aspect"),
    "quiet": ("--quiet, --verbose", "Print only errors; say on stderr what is done"),
}
_TOLD_ELSEWHERE = ("height", "verbose")


def help_rows(ctx: click.Context) -> list[tuple[str, str]]:
    """The options of this command as rows of a help screen."""
    rows: list[tuple[str, str]] = []
    for option in upscale.params:
        if not isinstance(option, click.Option) or option.name in _TOLD_ELSEWHERE:
            continue
        row = _TOGETHER.get(str(option.name)) or option.get_help_record(ctx)
        if row is not None:
            rows.append(row)
    return rows


class _Command(click.Command):
    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Options"):
            formatter.write_dl([*help_rows(ctx), ("-h, --help", "Show this page and exit")])


@click.command(
    cls=_Command,
    name="upscale",
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.argument("target", metavar="[OUTPUT]", required=False, type=click.Path(path_type=Path))
@click.option(
    "-s",
    "--scale",
    type=float,
    metavar="FLOAT",
    help="Enlargement, any ratio; 1 only denoises  [default: 2]",
)
@click.option("--width", type=int, metavar="INT", help="Width of the result, instead of a scale")
@click.option(
    "--height", type=int, metavar="INT", help="Height of the result; one alone keeps the aspect"
)
@click.option(
    "-n",
    "--noise",
    metavar="LEVEL",
    type=NoiseLevel(auto=True),
    default="auto",
    help="JPEG noise to remove: auto, none, 0, 1, 2, 3  [auto]",
)
@model_option
@click.option(
    "-e",
    "--engine",
    metavar="NAME",
    type=click.Choice(["auto", *ENGINES]),
    default="auto",
    help=f"{', '.join(['auto', *ENGINES])}  [default: auto]",
)
@click.option(
    "-t",
    "--tile",
    type=int,
    metavar="INT",
    default=0,
    help="Side of a tile in input pixels  [default: automatic]",
)
@click.option("-x", "--tta", is_flag=True, help="Average 8 turned pictures: better, 8x slower")
@click.option("-f", "--format", metavar="NAME", help="png, jpeg, webp, avif, tiff, bmp, jxl or gif")
@click.option("-q", "--quality", type=int, metavar="INT", help="1 to 100, for lossy formats")
@click.option("--depth", metavar="BITS", type=int, help="8 or 16 bits per sample  [as INPUT]")
@click.option("--strip", is_flag=True, help="Leave out EXIF, XMP and texts")
@click.option("--keep-times", is_flag=True, help="Give OUTPUT the dates of INPUT")
@click.option("--threads", type=int, metavar="INT", help="Threads to use  [default: all cores]")
@overwrite_option
@click.option("--quiet", is_flag=True, help="Print nothing but errors")
@click.option("--verbose", is_flag=True, help="Say on stderr what is being done")
def upscale(
    source: Path,
    target: Path | None,
    scale: float | None,
    width: int | None,
    height: int | None,
    noise: int | str | None,
    model: str,
    engine: str,
    tile: int,
    tta: bool,
    format: str | None,
    quality: int | None,
    depth: int | None,
    strip: bool,
    keep_times: bool,
    threads: int | None,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    from ..api import Upscaler
    from ..conversion import Options
    from ..files import upscale_file

    if scale is not None and (width is not None or height is not None):
        raise click.UsageError("--scale and --width or --height exclude each other; give one")
    if verbose:
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        logging.getLogger("waifu2x").setLevel(logging.DEBUG)
    from_pipe = str(source) == "-"
    to_pipe = str(target) == "-" or (from_pipe and target is None)
    upscaler = Upscaler(model, engine=engine, threads=threads, tile=tile, tta=tta)
    # This process is ours: Pillow's limit, a second one behind that of codec, follows it.
    Image.MAX_IMAGE_PIXELS = upscaler.settings.max_pixels
    with _progress(
        "standard input" if from_pipe else source.name,
        show=not quiet and sys.stderr is not None and sys.stderr.isatty(),
    ) as advance:
        result = upscale_file(
            upscaler,
            _standard_input() if from_pipe else source,
            _standard_output() if to_pipe else target,
            Options(
                scale=scale,
                width=width,
                height=height,
                noise=noise,
                format=format,
                quality=quality,
                depth=depth,
                strip=strip,
            ),
            overwrite=overwrite,
            keep_times=keep_times,
            progress=advance,
        )
    if quiet:
        return
    level = "none" if result.noise is None else str(result.noise)
    why = f" ({result.reason})" if result.reason else ""
    done = (
        f"{result.target or 'standard output'}: {_size(result.size_in)} -> "
        f"{_size(result.size_out)} px, {model}, noise {level}{why}"
    )
    # Nothing but the result may stand on a pipe.
    click.echo("; ".join([done, *result.notes]), err=to_pipe)


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


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


@contextlib.contextmanager
def _progress(name: str, *, show: bool) -> Iterator[Callable[[float], object] | None]:
    """A progress bar on a terminal; nothing where nobody looks."""
    if not show:
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=1.0)
        yield lambda share: bar.update(task, completed=share)
