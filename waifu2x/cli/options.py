"""The options of the main command, declared once, and their two help screens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ..engines import ENGINES
from ..files.task import Options
from ..pipeline.options import UpscalerOptions
from .params import MemorySize, NoiseLevel, Size, model_option, overwrite_option

if TYPE_CHECKING:
    from ..batch import BatchOptions

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Record = TypeVar("_Record")

#: Options that share a line of a help screen, which must fit a terminal.
_SHARED_ROWS: Final = {
    "width": ("--width, --height", "Size of the result instead; one keeps the aspect"),
    "strip": ("--strip, --keep-times", "Leave out EXIF, XMP, texts; give OUTPUT INPUT's dates"),
    "device": ("-d, --device, --fp32", "cuda:0 or cuda:0,cuda:1, mps; not in half precision"),
    "quiet": ("--quiet, --verbose", "Print only errors; log to stderr"),
    "include": ("--include, --exclude", "Patterns such as '*.png' or 'drafts/**'"),
}
_IN_SHARED_ROWS: Final = ("height", "verbose", "exclude", "keep_times", "fp32")

#: Options that make sense for a batch only.
_BATCH_ONLY: Final = (
    *("recursive", "include", "exclude", "name", "resume"),
    *("memory", "report", "shard", "cluster"),
)


@dataclass(frozen=True, slots=True)
class CommandOptions:
    """The values of all options, by name, and the records made of them.

    paths: the arguments. The fields after ``values`` are options of the command itself.
    """

    paths: tuple[str, ...]
    values: Mapping[str, Any]
    model: str
    quiet: bool
    verbose: bool
    progress: str
    report: str | None
    cluster: str | None

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> CommandOptions:
        """Take the values that click has parsed."""
        return _record(cls, {**values, "values": values})

    @property
    def options(self) -> Options:
        """What to do with each picture."""
        return _record(Options, self.values)

    @property
    def upscaler(self) -> UpscalerOptions:
        """The model and how it runs; ``memory`` limits the batch, not a network run."""
        precision = "fp32" if self.values["fp32"] else "auto"
        return _record(UpscalerOptions, {**self.values, "precision": precision})

    @property
    def batch(self) -> BatchOptions:
        """How to find files and to treat existing results."""
        from ..batch import BatchOptions  # loaded when needed

        given = {name: value for name, value in self.values.items() if value is not None}
        return _record(BatchOptions, given)

    @property
    def is_batch(self) -> bool:
        """Whether an option was given that makes sense for a batch only."""
        return any(self.values[name] for name in _BATCH_ONLY)


def _record(kind: Callable[..., _Record], values: Mapping[str, Any]) -> _Record:
    """Create a dataclass from those ``values`` that it has fields for."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: values[name] for name in names if name in values})


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
    click.option("-x", "--tta", is_flag=True, help="Average 8 rotations and flips; 8x slower"),
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
    click.option("--verbose", is_flag=True, help="Log to stderr"),
)

_BATCH = (
    click.option("-r", "--recursive", is_flag=True, help="Search subfolders; their tree is kept"),
    click.option("--include", multiple=True, metavar="PATTERN", help="Take only these names"),
    click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out these names"),
    click.option("--name", metavar="TEXT", help="Name of a result, such as '{stem}_{scale}x{ext}'"),
    click.option(
        "--skip-larger", metavar="WxH", type=Size("WxH"), help="Skip wider or taller pictures"
    ),
    click.option("--resume", is_flag=True, help="Skip results that are newer than their input"),
    click.option(
        "--memory", metavar="SIZE", type=MemorySize(), help="Such as 4G  [half of the free memory]"
    ),
    click.option("--report", metavar="FILE", help="Append a JSON line for each file as it ends"),
    click.option(
        "--progress",
        metavar="KIND",
        type=click.Choice(["auto", "bar", "json", "none"]),
        default="auto",
        help="auto, bar, json (lines on stdout), none  [auto]",
    ),
    click.option("--shard", metavar="K/N", help="Process the K-th of N parts of the files"),
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
    """The options for a batch as rows of a help screen."""
    return _rows(command.params[1 + len(_PICTURE) :], ctx)


def _rows(params: Iterable[click.Parameter], ctx: click.Context) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for option in params:
        if not isinstance(option, click.Option) or option.name in _IN_SHARED_ROWS:
            continue
        row = _SHARED_ROWS.get(str(option.name)) or option.get_help_record(ctx)
        if row is not None:
            rows.append(row)
    return rows
