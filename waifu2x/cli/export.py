"""``waifu2x export``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..network.registry import Level
from .page import Command, Decorated, Option, help_option
from .params import FileName, NoiseLevel, Number, Size, model_option, overwrite_option

if TYPE_CHECKING:
    from ..network.export import Export

HELP = """Write a network as ONNX, safetensors or ncnn, for other programs.

The suffix of OUT decides: .onnx, .safetensors or .param, with a .bin next to it. An ONNX file
replicates the picture's edge inside and returns exactly the enlarged picture; it is run and
compared with float64. Every file is read back and compared before it gets its name.
"""

EXAMPLES = (
    ("cunet.onnx", "cunet, 2x, keeps noise"),
    ("-m upconv_7 -n 1 small.onnx --fp16", "float16, removes noise"),
    ("cunet.param", "for ncnn, with cunet.bin"),
)


def format_options(command: Decorated) -> Decorated:
    """Declare the options of files of networks."""
    for option in reversed(_FORMAT_OPTIONS):
        command = option(command)
    return command


_FORMAT_OPTIONS: tuple[Callable[[Decorated], Decorated], ...] = (
    click.option(
        "--fp16", cls=Option, is_flag=True, help="Weights in float16, half the size; in ONNX all"
    ),
    click.option(
        "--opset",
        cls=Option,
        type=Number("a whole number from 13 to 21, for example 17"),
        metavar="N",
        shown_default="17",
        help="ONNX operator set, 13 to 21",
    ),
    click.option(
        "--static",
        "size",
        cls=Option,
        type=Size("HxW"),
        metavar="HxW",
        shown_default="any size",
        help="Fixed input size of ONNX, such as 720x1280",
    ),
    overwrite_option("Options", "Replace OUT if it exists"),
    help_option(),
)


@click.command(
    "export",
    cls=Command,
    help=HELP,
    usage="[OPTIONS] OUT",
    examples=EXAMPLES,
)
@click.argument("target", metavar="OUT", type=FileName())
@model_option("Options")
@click.option(
    "-n",
    "--noise",
    cls=Option,
    metavar="LEVEL",
    type=NoiseLevel(auto=False),
    default="none",
    help="Noise that the network removes: none, conservative, 0 to 3",
)
@click.option(
    "-s",
    "--scale",
    cls=Option,
    metavar="NUMBER",
    type=Number("1, 2, 3 or 4, as far as the model has it"),
    shown_default="2, or that of a file",
    help="Scale of the network, 1 to 4; 1 only denoises",
)
@format_options
def export(
    target: str,
    model: str,
    noise: Level | None,
    scale: int | None,
    fp16: bool,
    opset: int | None,
    size: tuple[int, int] | None,
    overwrite: bool,
) -> None:
    from ..network.export import export_network

    result = export_network(
        Path(target),
        model=model,
        scale=scale,
        noise=noise,
        fp16=fp16,
        opset=opset,
        size=size,
        overwrite=overwrite,
    )
    click.echo(export_line(result, model))


def export_line(result: Export, what: str) -> str:
    """Describe a written network; ``what`` is the model or the file that it comes from."""
    accuracy = "the same weights"
    if result.error:
        accuracy = f"{result.error:.1e} off float64 ({result.psnr:.0f} dB)"
    return (
        f"{result.path}: {what} {result.scale}x, margin {result.margin}, "
        f"alignment {result.alignment}, {accuracy}"
    )
