"""The options of the main job, declared once, and their two help screens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from ..engines import ENGINES
from ..files.task import Options
from .params import MemorySize, NoiseLevel, Size, model_option, overwrite_option

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: Options that share a line of a help screen, which is to fit a terminal.
_TOGETHER = {
    "width": ("--width, --height", "Size of the result instead; one keeps the aspect"),
    "strip": ("--strip, --keep-times", "Leave out EXIF, XMP, texts; give OUTPUT INPUT's dates"),
    "device": ("-d, --device, --fp32", "cuda:0 or cuda:0,cuda:1, mps; not in half precision"),
    "quiet": ("--quiet, --verbose", "Print only errors; say on stderr what is done"),
    "include": ("--include, --exclude", "Patterns such as '*.png' or 'drafts/**'"),
}
_TOLD_ELSEWHERE = ("height", "verbose", "exclude", "keep_times", "fp32")


@dataclass(frozen=True, slots=True)
class Given:
    """What was given on the command line, by the names of the options."""

    paths: tuple[str, ...]
    scale: float | None
    width: int | None
    height: int | None
    noise: int | str | None
    model: str
    engine: str
    device: str | None
    fp32: bool
    tile: int
    tta: bool
    format: str | None
    quality: int | None
    depth: int | None
    strip: bool
    keep_times: bool
    threads: int | None
    overwrite: bool
    quiet: bool
    verbose: bool
    recursive: bool
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    name: str | None
    skip_larger: tuple[int, int] | None
    resume: bool
    memory: int | None
    report: str | None
    progress: str
    shard: str | None
    cluster: str | None

    @property
    def options(self) -> Options:
        """What to do with each picture."""
        return Options(
            scale=self.scale,
            width=self.width,
            height=self.height,
            noise=self.noise,
            format=self.format,
            quality=self.quality,
            depth=self.depth,
            strip=self.strip,
            skip_larger=self.skip_larger,
        )

    @property
    def wants_batch(self) -> bool:
        """Whether an option was given that makes sense for many files only."""
        return bool(
            self.recursive
            or self.include
            or self.exclude
            or self.name
            or self.resume
            or self.memory
            or self.report
            or self.shard
            or self.cluster
        )


_PICTURE = (
    click.option(
        "-s",
        "--scale",
        type=float,
        metavar="FLOAT",
        help="Enlargement, any ratio; 1 only denoises  [default: 2]",
    ),
    click.option("--width", type=int, metavar="INT", help="Width of the result, not a scale"),
    click.option(
        "--height", type=int, metavar="INT", help="Height of the result; one alone keeps the aspect"
    ),
    click.option(
        "-n",
        "--noise",
        metavar="LEVEL",
        type=NoiseLevel(auto=True),
        default="auto",
        help="JPEG noise to remove: auto, none, 0, 1, 2, 3  [auto]",
    ),
    model_option,
    click.option(
        "-e",
        "--engine",
        metavar="NAME",
        type=click.Choice(["auto", *ENGINES]),
        default="auto",
        help=f"{', '.join(['auto', *ENGINES])}  [default: auto]",
    ),
    click.option("-d", "--device", metavar="NAME", help="Where engines cuda and torch run"),
    click.option("--fp32", is_flag=True, help="No half precision on a GPU"),
    click.option(
        "-t",
        "--tile",
        type=int,
        metavar="INT",
        default=0,
        help="Side of a tile in input pixels  [default: automatic]",
    ),
    click.option("-x", "--tta", is_flag=True, help="Average 8 turned pictures: better, 8x slower"),
    click.option(
        "-f", "--format", metavar="NAME", help="png, jpeg, webp, avif, tiff, bmp, jxl or gif"
    ),
    click.option("-q", "--quality", type=int, metavar="INT", help="1 to 100, for lossy formats"),
    click.option("--depth", metavar="BITS", type=int, help="8 or 16 bits per sample  [as INPUT]"),
    click.option("--strip", is_flag=True, help="Leave out EXIF, XMP and texts"),
    click.option("--keep-times", is_flag=True, help="Give OUTPUT the dates of INPUT"),
    click.option("--threads", type=int, metavar="INT", help="Threads to use  [default: all cores]"),
    overwrite_option,
    click.option("--quiet", is_flag=True, help="Print nothing but errors"),
    click.option("--verbose", is_flag=True, help="Say on stderr what is being done"),
)

_BATCH = (
    click.option("-r", "--recursive", is_flag=True, help="Go into folders; their tree is kept"),
    click.option("--include", multiple=True, metavar="PATTERN", help="Take only these names"),
    click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out these names"),
    click.option("--name", metavar="TEXT", help="Name of a result, such as '{stem}_{scale}x{ext}'"),
    click.option(
        "--skip-larger",
        metavar="WxH",
        type=Size("WxH"),
        help="Leave alone what is wider or taller",
    ),
    click.option("--resume", is_flag=True, help="Skip what is done and newer than its input"),
    click.option(
        "--memory",
        metavar="SIZE",
        type=MemorySize(),
        help="Such as 4G  [half of what is free]",
    ),
    click.option("--report", metavar="FILE", help="Add a line of JSON for each file as it ends"),
    click.option(
        "--progress",
        metavar="KIND",
        type=click.Choice(["auto", "bar", "json", "none"]),
        default="auto",
        help="auto, bar, json (lines on stdout), none  [auto]",
    ),
    click.option("--shard", metavar="K/N", help="Work on the K-th of N parts of the files"),
    click.option(
        "--cluster", metavar="WHERE", help="Dask: tcp://host:8786, or local; see docs/batch.md"
    ),
)


def all_options(command: _Command) -> _Command:
    """Declare all options on ``command``."""
    for option in reversed((*_PICTURE, *_BATCH)):
        command = option(command)
    return command


def picture_rows(command: click.Command, ctx: click.Context) -> list[tuple[str, str]]:
    """The options for every picture as rows of a help screen."""
    return _rows(command.params[: 1 + len(_PICTURE)], ctx)


def batch_rows(command: click.Command, ctx: click.Context) -> list[tuple[str, str]]:
    """The options for many files as rows of a help screen."""
    return _rows(command.params[1 + len(_PICTURE) :], ctx)


def _rows(params: Iterable[click.Parameter], ctx: click.Context) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for option in params:
        if not isinstance(option, click.Option) or option.name in _TOLD_ELSEWHERE:
            continue
        row = _TOGETHER.get(str(option.name)) or option.get_help_record(ctx)
        if row is not None:
            rows.append(row)
    return rows
