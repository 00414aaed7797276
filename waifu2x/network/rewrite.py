"""Graph to graph: the same function from other operations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .graph import Activate, Conv, ConvTranspose, Crop, Graph, Node, Op, PixelShuffle


def shuffle_transposed(graph: Graph, *, least_taps: int = 1) -> Graph:
    """Transposed convolutions that miss no tap, each as a convolution and a pixel shuffle.

    A transposed convolution of stride s and kernel k = s * t computes, for each of the s * s
    positions within an output cell, a plain t x t convolution of its input; the shuffle interleaves
    them (sub-pixel convolution, https://arxiv.org/abs/1609.07009). A plain convolution sums every
    output in one fixed order, where runtimes block the transposed one by the size of the tile.

    Those of t < ``least_taps`` are left as they are.
    """
    nodes: list[Node] = []
    for node in graph.nodes:
        op = node.op
        if not isinstance(op, ConvTranspose):
            nodes.append(node)
            continue
        plain = sub_pixel(op)
        if plain.trim or plain.padding or plain.weight.shape[2] < least_taps:
            nodes.append(node)
            continue
        made: list[Op] = [
            Conv(plain.weight, plain.bias),
            PixelShuffle(op.stride),
            *([Crop(plain.crop)] if plain.crop else []),
            *([Activate(op.activation)] if op.activation else []),
        ]
        names = [f"{node.name}.{type(new).__name__}" for new in made[:-1]] + [node.name]
        reads = [node.inputs, *((name,) for name in names)]
        nodes += [
            Node(name, new, read) for name, new, read in zip(names, made, reads, strict=False)
        ]
    return Graph(nodes, output=graph.output, inputs=graph.inputs)


@dataclass(frozen=True)
class SubPixelConv:
    """A transposed convolution as a plain convolution of stride 1 and a pixel shuffle.

    weight, bias: (out * s * s, in, t, t) and (out * s * s,), channels in the order of PixelShuffle.
    padding: of the plain convolution.
    crop: pixels to remove on each side after the shuffle.
    trim: rows and columns to remove at the end, in addition.
    """

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    padding: int
    crop: int
    trim: int


def sub_pixel(op: ConvTranspose) -> SubPixelConv:
    """Rewrite any transposed convolution, except for its activation.

    If the stride s does not divide the kernel k, the missing taps are zeros.
    """
    inputs, outputs, kernel, _ = op.weight.shape
    stride = op.stride
    taps = -(-kernel // stride)
    trim = stride * taps - kernel
    padding = max(0, taps - 1 - op.padding // stride)
    # Output s * q + r reads input q - m through tap s * m + r; as a cross-correlation, m runs back.
    weight = np.pad(op.weight, ((0, 0), (0, 0), (0, trim), (0, trim)))
    weight = weight.reshape(inputs, outputs, taps, stride, taps, stride)[:, :, ::-1, :, ::-1]
    weight = weight.transpose(1, 3, 5, 0, 2, 4)  # out, row phase, column phase, in, t, t
    return SubPixelConv(
        np.ascontiguousarray(weight.reshape(outputs * stride * stride, inputs, taps, taps)),
        np.repeat(op.bias, stride * stride),
        padding,
        op.padding - stride * (taps - 1 - padding),
        trim,
    )
