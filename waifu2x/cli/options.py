"""The options of the main command, declared once, and the records made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from .._record import record
from .._version import __version__
from ..codec import ANIMATED_OUTPUT_FORMATS, OUTPUT_FORMATS
from ..engines import ENGINES
from ..files.task import Options
from ..pipeline.options import UpscalerOptions
from ..video.options import CODECS, DEINTERLACERS
from .page import Decorated, Option, help_option, version_option
from .params import (
    FileName,
    FormatName,
    MemorySize,
    Moment,
    Number,
    Size,
    Word,
    model_option,
    noise_option,
    overwrite_option,
)

if TYPE_CHECKING:
    from ..batch import BatchOptions

_Record = TypeVar("_Record")


@record
class CommandOptions:
    """The values of all options: inputs, output and the records, which have checked themselves.

    inputs: files, folders, patterns, ``@lists`` or ``-``, at least one. output: a file, a folder,
        ``-`` or None. Both are as typed; nothing has been opened.
    options: what to do with each picture. upscaler: the model and how it runs. batch: how to find
        files and to treat existing results; its ``memory`` limits the process.
    """

    inputs: tuple[str, ...]
    output: str | None
    options: Options
    upscaler: UpscalerOptions
    batch: BatchOptions
    quiet: bool
    verbose: bool
    progress: str
    report: str | None
    cluster: str | None
    watch: bool

    @property
    def model(self) -> str:
        """The name of the model; that of a file without its suffix."""
        return self.upscaler.name

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> CommandOptions:
        """Check the values that click has parsed, alone and together.

        Raises `click.UsageError` and `ArgumentError`; files are not looked at.
        """
        from ..batch import BatchOptions  # loaded when needed

        inputs, output = _resolve_paths(values["paths"], values["inputs"], values["outputs"])
        _refuse_contradictions(values, inputs, output)
        given = {name: value for name, value in values.items() if value is not None}
        run = {**given, "precision": "fp32" if given["fp32"] else "auto"}
        records = {
            "inputs": inputs,
            "output": output,
            "options": _record(Options, {**given, "noise": values["noise"]}),
            "upscaler": _record(UpscalerOptions, run),
            "batch": _record(BatchOptions, given),
        }
        return _record(cls, {**values, **records})


def _record(kind: Callable[..., _Record], values: Mapping[str, Any]) -> _Record:
    """Create a dataclass from those ``values`` that it has fields for."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: values[name] for name in names if name in values})


# --- inputs and output ------------------------------------------------------------------------


def _resolve_paths(
    paths: Sequence[str], inputs: Sequence[str], outputs: Sequence[str]
) -> tuple[tuple[str, ...], str | None]:
    """Inputs and output of arguments (``paths``), -i and -o.

    With -o, every argument is an input. Without it, the last argument is the output if there is
    another input.
    """
    if len(outputs) > 1:
        raise click.UsageError(
            f"there are two outputs, {outputs[0]} and {outputs[1]}; give -o once, "
            "a folder for several results"
        )
    found = [*inputs, *paths]
    if not found:
        raise click.UsageError(
            "there is no input; for example: waifu2x in.png out.png (see waifu2x --help)"
        )
    if outputs:
        return tuple(found), outputs[0]
    if paths and len(found) > 1:
        return tuple(found[:-1]), found[-1]
    return tuple(found), None


#: Options that need a name for the result, and thus no pipe.
_NOT_FOR_PIPES: Final = {
    "recursive": "-r",
    "include": "--include",
    "exclude": "--exclude",
    "name": "--name",
    "resume": "--resume",
    "shard": "--shard",
    "cluster": "--cluster",
    "watch": "--watch",
}


def _refuse_contradictions(
    values: Mapping[str, Any], inputs: Sequence[str], output: str | None
) -> None:
    size = next((name for name in ("width", "height") if values[name] is not None), None)
    if values["scale"] is not None and size is not None:
        raise click.UsageError(f"-s and --{size} exclude each other; give a scale or a size")
    if values["resume"] and values["overwrite"]:
        raise click.UsageError(
            "--resume and --overwrite exclude each other: --resume keeps results that are newer "
            "than their input, --overwrite replaces all"
        )
    for other in ("overwrite", "cluster"):
        if values["watch"] and values[other]:
            raise click.UsageError(
                f"--watch and --{other} exclude each other: --watch keeps results that are newer "
                "than their input, and runs on this machine"
            )
    if values["quiet"] and values["verbose"]:
        raise click.UsageError("--quiet and --verbose exclude each other; give one")
    if output == "-" or "-" in inputs:
        _check_pipe(values, inputs, output)


def _check_pipe(values: Mapping[str, Any], inputs: Sequence[str], output: str | None) -> None:
    if len(inputs) > 1:
        raise click.UsageError(
            f"a pipe (-) takes one picture, and there are {len(inputs)} inputs; "
            "name files and a folder"
        )
    for name, option in _NOT_FOR_PIPES.items():
        if values[name]:
            raise click.UsageError(f"{option} needs files, and a pipe (-) is none; leave one out")
    if values["progress"] == "json" and (output or "-") == "-":
        raise click.UsageError(
            "--progress json writes to standard output, and so does OUTPUT -; name a file"
        )


# --- the options ------------------------------------------------------------------------------

_FORMATS: Final = tuple(
    dict.fromkeys([*(each.name for each in (*OUTPUT_FORMATS, *ANIMATED_OUTPUT_FORMATS)), "y4m"])
)


def _in_group(group: str) -> Callable[..., Callable[[Decorated], Decorated]]:
    def option(*names: str, **extra: Any) -> Callable[[Decorated], Decorated]:
        return click.option(*names, cls=Option, group=group, **extra)

    return option


_files = _in_group("Input and output")
_picture = _in_group("Size and noise")
_engine = _in_group("Model and engine")
_result = _in_group("Output file")
_video = _in_group("Videos")
_many = _in_group("Many files")
_running = _in_group("Running")


def _complete_path(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete files and, in the first word, subcommands.

    Bash offers no files next to other words, so a file that begins like a subcommand goes first.
    """
    found = param.type.shell_complete(ctx, param, incomplete)
    summaries: Mapping[str, str] = getattr(ctx.command, "summaries", {})
    if incomplete and not _is_given(ctx) and not _is_begun(incomplete):
        found += [
            CompletionItem(name, help=summary)
            for name, summary in summaries.items()
            if name.startswith(incomplete)
        ]
    return found


def _is_given(ctx: click.Context) -> bool:
    """Whether the command line has an argument or option before the word to complete."""
    options = [each for each in ctx.command.params if isinstance(each, click.Option)]
    sources = [ctx.get_parameter_source(str(each.name)) for each in options]
    return bool(ctx.params.get("paths")) or ParameterSource.COMMANDLINE in sources


def _is_begun(name: str) -> bool:
    """Whether a file in the current folder begins with ``name``."""
    try:
        return any(each.startswith(name) for each in os.listdir())  # noqa: PTH208
    except OSError:
        return False


#: How a model runs.
_RUN = (
    _engine(
        "-e",
        "--engine",
        metavar="NAME",
        type=Word(["auto", *ENGINES], habits={"cpu": "native", "gpu": "cuda", "ncnn": "vulkan"}),
        default="auto",
        help=", ".join(ENGINES),
    ),
    _engine(
        "-d", "--device", metavar="NAME", help="vulkan:0, cuda:0, or several: cuda:0,cuda:1; mps"
    ),
    _engine("--fp32", is_flag=True, help="Single precision on a GPU, not half"),
    _engine(
        "-t",
        "--tile",
        metavar="PX",
        type=Number("a whole number, 0 for automatic, for example 256"),
        default=0,
        shown_default="automatic",
        help="Side of a tile in input pixels",
    ),
)

_THREADS = _engine(
    "--threads",
    metavar="N",
    type=Number("a whole number of at least 1, for example 4"),
    shown_default="all cores",
    help="Threads of a network run",
)

_OPTIONS = (
    click.argument(
        "paths", metavar="INPUT", nargs=-1, type=FileName(), shell_complete=_complete_path
    ),
    _files(
        "-i",
        "--input",
        "inputs",
        multiple=True,
        metavar="PATH",
        type=FileName(),
        help="The same as INPUT; may be repeated",
    ),
    _files(
        "-o",
        "--output",
        "outputs",
        multiple=True,
        metavar="PATH",
        type=FileName(),
        help="The same as OUTPUT; every argument is then an INPUT",
    ),
    _picture(
        "-s",
        "--scale",
        metavar="NUMBER",
        type=Number("a number above 0, for example 2, 1.5 or 0.5", whole=False),
        shown_default="2",
        help="Enlargement, any ratio; 1 only denoises",
    ),
    _picture(
        "--width",
        metavar="PX",
        type=Number("a whole number above 0, for example 1920"),
        help="Width of the result, instead of a scale",
    ),
    _picture(
        "--height",
        metavar="PX",
        type=Number("a whole number above 0, for example 1080"),
        help="Height of the result; one side keeps the aspect",
    ),
    noise_option("Size and noise"),
    _picture(
        "--strength",
        metavar="NUMBER",
        type=Number("a number from 0 to 1, for example 0.7", whole=False),
        default=1,
        help="Share of the network; the rest is Lanczos",
    ),
    _picture("--color-fix", is_flag=True, help="Flat areas keep exactly their color"),
    model_option("Model and engine"),
    *_RUN,
    _engine("-x", "--tta", is_flag=True, help="Average 8 rotations and flips; 8 times slower"),
    _THREADS,
    _result(
        "-f",
        "--format",
        metavar="NAME",
        type=FormatName(_FORMATS),
        help=", ".join(_FORMATS),
    ),
    _result(
        "-q",
        "--quality",
        metavar="N",
        type=Number("a whole number from 1 to 100, for example 90"),
        help="1 to 100, for jpeg, webp, avif, jxl and videos",
    ),
    _result(
        "--depth",
        metavar="BITS",
        type=Number("8 or 16 bits per sample"),
        shown_default="as INPUT",
        help="Bits per sample, 8 or 16",
    ),
    _result("--strip", is_flag=True, help="Leave out EXIF, XMP and texts"),
    _result("--strict", is_flag=True, help="Refuse a comic if a page fails, and a damaged video"),
    _result("--keep-times", is_flag=True, help="Give results the dates of their inputs"),
    overwrite_option("Output file", "Replace results that exist, never an input"),
    _video(
        "--codec",
        metavar="NAME",
        type=Word(CODECS, habits={"x264": "h264", "avc": "h264", "x265": "hevc", "h265": "hevc"}),
        help=", ".join(CODECS),
    ),
    _video(
        "--crf",
        metavar="N",
        type=Number("a number of 0 or more, for example 18", whole=False),
        help="Rate factor of the encoder, lower is better",
    ),
    _video(
        "--preset",
        metavar="NAME",
        help="Speed of the encoder, such as slow; av1: 0 to 13",
    ),
    _video(
        "--deinterlace",
        metavar="HOW",
        type=Word(DEINTERLACERS),
        help="bwdif; off takes interlaced frames as they are",
    ),
    _video("--exact", is_flag=True, help="Compute each frame that differs at all"),
    _video("--start", metavar="TIME", type=Moment(), help="Begin at seconds or a time: 1:30.5"),
    _video("--end", metavar="TIME", type=Moment(), help="End at seconds or a time"),
    _video("--drop-streams", is_flag=True, help="Leave out streams that OUTPUT cannot hold"),
    _many("-r", "--recursive", is_flag=True, help="Search subfolders; their tree is kept"),
    _many("--include", multiple=True, metavar="PATTERN", help="Take only files such as '*.png'"),
    _many(
        "--exclude", multiple=True, metavar="PATTERN", help="Leave out files such as 'drafts/**'"
    ),
    _many("--name", metavar="TEXT", help="Names of results, such as '{stem}_{scale}x{ext}'"),
    _many("--skip-larger", metavar="WxH", type=Size("WxH"), help="Skip pictures wider or taller"),
    _many("--resume", is_flag=True, help="Skip results that are newer than their input"),
    _many("--watch", is_flag=True, help="Go on with pictures that arrive, until Ctrl-C"),
    _many("--shard", metavar="K/N", help="Process the K-th of N parts of the files"),
    _many("--cluster", metavar="WHERE", help="Dask: tcp://host:8786, or local"),
    _running(
        "--memory",
        metavar="SIZE",
        type=MemorySize(),
        shown_default="half of the free",
        help="Memory to use, such as 4G",
    ),
    _running(
        "--report",
        metavar="FILE",
        type=FileName(),
        help="Append a JSON line for each file as it ends",
    ),
    _running(
        "--progress",
        metavar="KIND",
        type=Word(["auto", "bar", "json", "none"]),
        default="auto",
        help="auto, bar, json, none",
    ),
    _running("--quiet", is_flag=True, help="Print nothing but errors"),
    _running("-v", "--verbose", is_flag=True, help="Log to standard error"),
    version_option(__version__, "Information"),
    help_option("Information"),
)


def all_options(command: Decorated) -> Decorated:
    """Declare the arguments and all options on ``command``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def engine_options(command: Decorated) -> Decorated:
    """Declare the options of the engine on ``command``."""
    for option in reversed((*_RUN, _THREADS)):
        command = option(command)
    return command
