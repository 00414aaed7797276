"""``waifu2x convert``."""

from __future__ import annotations

from pathlib import Path

import click

from .._text import shown
from .export import export_line, format_options
from .page import Command
from .params import FileName

HELP = """Write the network in a file in another format: ONNX, safetensors or ncnn.

IN is an ncnn .param with its .bin, .safetensors, .onnx, .pth, .pt, a waifu2x .json or a Chainer
.npz; nothing in it is executed. The suffix of OUT decides the format to write: .onnx, .safetensors
or .param, with a .bin next to it. The file is read back and compared before it gets its name.
"""

EXAMPLES = (
    ("model.param model.onnx", "ncnn to ONNX"),
    ("model.onnx model.safetensors", "ONNX to PyTorch names"),
    ("model.safetensors small.param --fp16", "half the size"),
)


@click.command(
    "convert",
    cls=Command,
    help=HELP,
    usage="[OPTIONS] IN OUT",
    examples=EXAMPLES,
)
@click.argument("source", metavar="IN", type=FileName())
@click.argument("target", metavar="OUT", type=FileName())
@format_options
def convert(
    source: str,
    target: str,
    fp16: bool,
    opset: int | None,
    size: tuple[int, int] | None,
    overwrite: bool,
) -> None:
    from ..network.export import convert_network

    result = convert_network(
        Path(source), Path(target), fp16=fp16, opset=opset, size=size, overwrite=overwrite
    )
    click.echo(export_line(result, shown(source)))
