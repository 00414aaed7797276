"""``waifu2x INPUT OUTPUT``."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from ..engines import ENGINES
from .params import NoiseLevel, model_option, overwrite_option

HELP = """\b
Upscale and denoise an anime picture. OUTPUT is a file or a directory; the
default is INPUT_waifu2x.png. Example: waifu2x in.jpg out.png -s 4 -n 1
"""


@click.command(
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
    help="Side of a tile in input pixels  [default: 0, automatic]",
)
@click.option("-x", "--tta", is_flag=True, help="Average 8 turned pictures: better, 8x slower")
@click.option("-f", "--format", metavar="NAME", help="png, jpeg, webp, avif, tiff or bmp")
@click.option("-q", "--quality", type=int, metavar="INT", help="1 to 100, for lossy formats")
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
    threads: int | None,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    from ..api import Upscaler
    from ..files import upscale_file

    if scale is not None and (width is not None or height is not None):
        raise click.UsageError("--scale and --width or --height exclude each other; give one")
    if verbose:
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        logging.getLogger("waifu2x").setLevel(logging.DEBUG)
    upscaler = Upscaler(model, engine=engine, threads=threads, tile=tile, tta=tta)
    with _progress(
        source.name, show=not quiet and sys.stderr is not None and sys.stderr.isatty()
    ) as advance:
        result = upscale_file(
            upscaler,
            source,
            target,
            scale=scale,
            width=width,
            height=height,
            noise=noise,
            format=format,
            quality=quality,
            overwrite=overwrite,
            progress=advance,
        )
    if quiet:
        return
    level = "none" if result.noise is None else str(result.noise)
    why = f" ({result.reason})" if result.reason else ""
    done = (
        f"{result.target}: {_size(result.size_in)} -> {_size(result.size_out)} px, "
        f"{model}, noise {level}{why}"
    )
    click.echo("; ".join([done, *result.notes]))


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
