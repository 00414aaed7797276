"""``waifu2x export``."""

from __future__ import annotations

from pathlib import Path

import click

from ..network.registry import Level
from .page import Command, Option, help_option
from .params import FileName, NoiseLevel, Number, Size, model_option, overwrite_option

HELP = """Write a network as ONNX, for onnxruntime, vs-mlrt, onnxruntime-web and others.

Input: (1, 3, H, W) float32, RGB in [0, 1]. Output: the enlarged picture. The metadata holds scale,
margin and alignment. The network is run and compared with float64 before the file is written.
"""

EXAMPLES = (
    ("cunet.onnx", "cunet, 2x, keeps noise"),
    ("-m upconv_7 -n 1 small.onnx --fp16", "float16, removes noise"),
)


@click.command(
    "export",
    cls=Command,
    help=HELP,
    short_help="Write a network as ONNX",
    usage="[OPTIONS] OUT.onnx",
    examples=EXAMPLES,
)
@click.argument("target", metavar="OUT.onnx", type=FileName())
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
    default=2,
    help="Scale of the network, 1 to 4; 1 only denoises",
)
@click.option(
    "--fp16", cls=Option, is_flag=True, help="Weights and arithmetic in float16, half the size"
)
@click.option(
    "--opset",
    cls=Option,
    type=Number("a whole number from 13 to 21, for example 17"),
    metavar="N",
    default=17,
    help="ONNX operator set, 13 to 21",
)
@click.option(
    "--static",
    "size",
    cls=Option,
    type=Size("HxW"),
    metavar="HxW",
    shown_default="any size",
    help="Fixed input size, such as 720x1280",
)
@overwrite_option("Options", "Replace OUT.onnx if it exists")
@help_option()
def export(
    target: str,
    model: str,
    noise: Level | None,
    scale: int,
    fp16: bool,
    opset: int,
    size: tuple[int, int] | None,
    overwrite: bool,
) -> None:
    from ..network.export import export_onnx

    result = export_onnx(
        Path(target),
        model=model,
        scale=scale,
        noise=noise,
        fp16=fp16,
        opset=opset,
        size=size,
        overwrite=overwrite,
    )
    click.echo(
        f"{result.path}: {model} {result.scale}x, margin {result.margin}, "
        f"alignment {result.alignment}, {result.error:.1e} off float64 ({result.psnr:.0f} dB)"
    )
