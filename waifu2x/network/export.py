"""Exports a network as an ONNX file for other programs, and verifies the file.

The file follows the conventions of VapourSynth's vs-mlrt and onnxruntime-web: one float32 input
(1, 3, H, W), RGB in [0, 1], and one output exactly ``scale`` times as large. The border that the
network needs is replicated from the picture's edge inside the model. Scale, margin and alignment
are in the metadata.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ..atomic import check_place, check_writable, write_file
from ..errors import ArgumentError, EncodeError, EngineError
from . import onnx as writer
from . import registry
from .graph import Graph
from .reference import evaluate

#: Largest allowed difference of a float32 file from float64, on [0, 1].
FLOAT32_TOLERANCE: Final = 1e-4
#: Least allowed PSNR of a float16 file against float64, in dB, on [0, 1].
FLOAT16_PSNR: Final = 60.0


@dataclass(frozen=True, slots=True)
class Export:
    """A written file, and its accuracy compared with the network in float64.

    margin, alignment: in input pixels; see `waifu2x.network.graph.Graph`.
    error: largest absolute difference on [0, 1]. psnr: in dB.
    """

    path: Path
    scale: int
    margin: int
    alignment: int
    error: float
    psnr: float


def export_onnx(
    path: str | os.PathLike[str],
    *,
    model: str = "cunet",
    scale: int = 2,
    noise: int | None = None,
    fp16: bool = False,
    opset: int = writer.DEFAULT_OPSET,
    size: tuple[int, int] | None = None,
    overwrite: bool = False,
) -> Export:
    """Write one network of ``model`` as ONNX; ``path`` is written only if the file is verified.

    scale, noise: select the network; see `waifu2x.models`.
    fp16: weights and arithmetic in float16; input and output stay float32.
    opset: ONNX operator set, 13 to 21.
    size: fixed (height, width) of the input in pixels, multiples of the network's alignment;
        None leaves both dynamic.

    Before it is renamed into place, the file is checked by onnx, run in onnxruntime and compared
    with the network evaluated in float64. Raises `ArgumentError` for an unknown network or an
    invalid value, `OutputExistsError` or `EncodeError` if the file cannot be written, and
    `EngineError` if its results are too inaccurate.
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise EncodeError(f"{path}: the name of an exported network must end in .onnx")
    target = check_place(path, overwrite=overwrite)
    check_writable(target)
    if not writer.MIN_OPSET <= opset <= writer.MAX_OPSET:
        raise ArgumentError(
            f"opset is {opset}; allowed are {writer.MIN_OPSET} to {writer.MAX_OPSET}"
        )
    entry = registry.model(model)
    network = entry.network(scale, noise)
    if network is None:
        there = ", ".join(
            f"{n.scale}x {'none' if n.noise is None else n.noise}" for n in entry.networks
        )
        raise ArgumentError(
            f"model {model} has no network for {scale}x, noise "
            f"{'none' if noise is None else noise}; there are {there}"
        )
    graph = registry.load(network)
    if size is not None and (min(size) < 1 or any(side % graph.alignment for side in size)):
        raise ArgumentError(
            f"a static size of {size[0]}x{size[1]} does not fit; both sides must be multiples of "
            f"{graph.alignment} px"
        )
    proto = writer.to_onnx(
        graph,
        opset=opset,
        pad_edges=True,
        fp16=fp16,
        batch=1,
        size=size,
        metadata={
            "model": model,
            "scale": str(graph.scale),
            "noise": "none" if noise is None else str(noise),
            "margin": str(graph.margin),
            "alignment": str(graph.alignment),
            "padding": "edge, inside the model",
            "format": "NCHW float32 RGB [0, 1]",
            "license": entry.license,
            "source": entry.source,
        },
    )
    data = proto.SerializeToString()
    error, psnr = _compare(data, graph, size)
    if (psnr < FLOAT16_PSNR) if fp16 else (error > FLOAT32_TOLERANCE):
        allowed = f"{FLOAT16_PSNR:g} dB" if fp16 else f"{FLOAT32_TOLERANCE:g}"
        raise EngineError(
            f"the exported network is {error:.2e} off ({psnr:.1f} dB), more than allowed "
            f"({allowed}); not written"
        )
    write_file(target, lambda file: file.write(data), overwrite=overwrite)
    return Export(path, graph.scale, graph.margin, graph.alignment, error, psnr)


def _compare(data: bytes, graph: Graph, size: tuple[int, int] | None) -> tuple[float, float]:
    """Return largest difference and PSNR of the model in onnxruntime from the graph in float64."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        height, width = size or (4 * graph.alignment + 20, 4 * graph.alignment + 24)
        picture = _test_picture(height, width)
        (result,) = session.run(None, {writer.INPUT: picture})
    except Exception as error:  # onnxruntime raises plain Exceptions of several kinds
        raise EngineError(f"onnxruntime cannot run the exported network: {error}") from error
    border = graph.border
    padded = np.pad(picture, ((0, 0), (0, 0), (border, border), (border, border)), mode="edge")
    surplus = (border - graph.lost) * graph.scale
    inside = slice(surplus, -surplus or None)
    difference = result.astype(np.float64) - evaluate(graph, padded)[:, :, inside, inside]
    mean_square = float(np.mean(np.square(difference)))
    psnr = -10 * math.log10(mean_square) if mean_square > 0 else math.inf
    return float(np.abs(difference).max()), psnr


def _test_picture(height: int, width: int) -> npt.NDArray[np.float32]:
    """Return flat areas, edges, a gradient and noise: (1, 3, height, width) in [0, 1]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    ramp = x / max(width - 1, 1)
    disc = ((x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(height, width) / 3) ** 2) * 1.0
    noise = np.random.default_rng(0).random((height, width))
    picture: npt.NDArray[np.float32] = np.stack([ramp, disc, noise])[None].astype(np.float32)
    return picture
