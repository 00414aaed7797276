"""Graph to graph: the same function from other operations."""

from __future__ import annotations

import numpy as np

from . import graph as g


def shuffle_transposed(graph: g.Graph, *, least_taps: int = 1) -> g.Graph:
    """Transposed convolutions that miss no tap, each as a convolution and a pixel shuffle.

    A transposed convolution of stride s and kernel k = s * t computes, for each of the s * s
    positions within an output cell, a plain t x t convolution of its input; the shuffle interleaves
    them (sub-pixel convolution, https://arxiv.org/abs/1609.07009). A plain convolution sums every
    output in one fixed order, where runtimes block the transposed one by the size of the tile.

    Those of t < ``least_taps`` are left as they are.
    """
    nodes: list[g.Node] = []
    for node in graph.nodes:
        op = node.op
        if not isinstance(op, g.ConvTranspose):
            nodes.append(node)
            continue
        kernel, stride = op.weight.shape[2], op.stride
        taps, rest = divmod(kernel, stride)
        crop = op.padding - (kernel - stride)
        if rest or taps < least_taps or crop < 0:
            nodes.append(node)
            continue
        made: list[g.Op] = [
            g.Conv(*_phases(op, taps)),
            g.PixelShuffle(stride),
            *([g.Crop(crop)] if crop else []),
            *([g.Activate(op.activation)] if op.activation else []),
        ]
        names = [f"{node.name}.{type(new).__name__}" for new in made[:-1]] + [node.name]
        reads = [node.inputs, *((name,) for name in names)]
        nodes += [
            g.Node(name, new, read) for name, new, read in zip(names, made, reads, strict=False)
        ]
    return g.Graph(nodes, output=graph.output, inputs=graph.inputs)


def _phases(op: g.ConvTranspose, taps: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight (out * s * s, in, t, t) and bias (out * s * s,) of the plain convolution."""
    inputs, outputs = op.weight.shape[:2]
    stride = op.stride
    # Output s * q + r reads input q - m through tap s * m + r; as a cross-correlation, m runs back.
    weight = op.weight.reshape(inputs, outputs, taps, stride, taps, stride)[:, :, ::-1, :, ::-1]
    weight = weight.transpose(1, 3, 5, 0, 2, 4)  # out, row phase, column phase, in, t, t
    return (
        np.ascontiguousarray(weight.reshape(outputs * stride * stride, inputs, taps, taps)),
        np.repeat(op.bias, stride * stride),
    )
