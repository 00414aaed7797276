"""``waifu2x export``."""

from __future__ import annotations

from pathlib import Path

import click

from .params import NoiseLevel, Size, model_option, overwrite_option

HELP = """Write a network as ONNX, for onnxruntime, vs-mlrt, onnxruntime-web and others.

Input: (1, 3, H, W) float32, RGB in [0, 1]. Output: the enlarged picture. The metadata holds scale,
margin and alignment. The model is run and compared with float64 before it is written.

\b
Example:
  waifu2x export -m cunet -n 1 cunet_noise1_2x.onnx
"""


@click.command(help=HELP)
@click.argument("target", metavar="OUT.onnx", type=click.Path(path_type=Path))
@model_option
@click.option(
    "-n",
    "--noise",
    metavar="LEVEL",
    type=NoiseLevel(auto=False),
    default="none",
    help="none, 0, 1, 2, 3: noise the network removes  [none]",
)
@click.option(
    "-s",
    "--scale",
    metavar="INT",
    type=int,
    default=2,
    help="Scale of the network; 1 only denoises  [default: 2]",
)
@click.option("--fp16", is_flag=True, help="Half the size; arithmetic in float16")
@click.option("--opset", type=int, metavar="N", default=17, help="13 to 21  [default: 17]")
@click.option(
    "--static", "size", type=Size("HxW"), metavar="HxW", help="Fixed input size, such as 720x1280"
)
@overwrite_option
def export(
    target: Path,
    model: str,
    noise: int | None,
    scale: int,
    fp16: bool,
    opset: int,
    size: tuple[int, int] | None,
    overwrite: bool,
) -> None:
    from ..network.export import export_onnx

    result = export_onnx(
        target,
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
