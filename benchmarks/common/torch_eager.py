"""A network in plain torch: the layers as functions, in the order of the graph, unoptimized.

The module represents a straightforward port of the weights to torch. It shares no code with the
engines of the package, so it serves as a peer for speed and as a reference for results.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from waifu2x.network.graph import (
    Activate,
    Activation,
    Add,
    Affine,
    Concat,
    Conv,
    ConvTranspose,
    Crop,
    GlobalMean,
    Graph,
    Multiply,
    Op,
    PixelShuffle,
    PixelUnshuffle,
    Resize,
    Upsample,
)

from .pictures import Batch

Step = Callable[..., torch.Tensor]


def eager(
    graph: Graph, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Callable[[Batch], Batch]:
    """Return a function from (N, C, H, W) float32 to (N, C', H', W') float32.

    device, dtype: of the weights and values; channels last on a GPU, as is usual.
    """

    def tensor(array: npt.NDArray[np.float32]) -> torch.Tensor:
        copy = torch.from_numpy(np.array(array)).to(device, dtype)  # torch needs a writable array
        if array.ndim == 4 and device != "cpu":
            return copy.contiguous(memory_format=torch.channels_last)
        return copy

    steps = [(node.name, node.inputs, _step(node.op, tensor)) for node in graph.nodes]
    # Each value is freed after its last use.
    last_use = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs}

    @torch.inference_mode()
    def run(batch: Batch) -> Batch:
        given = tensor(batch) if device != "cpu" else torch.from_numpy(batch)
        values = {graph.inputs[0].name: given}
        for index, (name, inputs, step) in enumerate(steps):
            values[name] = step(*(values[read] for read in inputs))
            for read in set(inputs):
                if last_use[read] == index:
                    del values[read]
        result: Batch = values[graph.output].float().cpu().contiguous().numpy()
        return result

    return run


_Tensor = Callable[[npt.NDArray[np.float32]], torch.Tensor]


def _step(op: Op, tensor: _Tensor) -> Step:
    match op:
        case Conv() | ConvTranspose():
            convolve = F.conv2d if isinstance(op, Conv) else F.conv_transpose2d
            weight, bias = tensor(op.weight), tensor(op.bias)
            activate = _activation(op.activation, tensor)
            return lambda x: activate(
                convolve(x, weight, bias, stride=op.stride, padding=op.padding)
            )
        case Activate():
            return _activation(op.activation, tensor)
        case Add():
            return lambda first, *others: sum(others, start=first)
        case Multiply():
            return torch.mul
        case Affine():
            scale, offset = (
                tensor(each)[:, None, None] if isinstance(each, np.ndarray) else each
                for each in (op.scale, op.offset)
            )
            return lambda x: x * scale + offset
        case Concat():
            return lambda *parts: torch.cat(parts, 1)
        case Crop():
            return lambda x: F.pad(x, [-op.margin] * 4)
        case GlobalMean():
            return lambda x: F.adaptive_avg_pool2d(x, 1)
        case PixelShuffle():
            return lambda x: F.pixel_shuffle(x, op.factor)
        case PixelUnshuffle():
            return lambda x: F.pixel_unshuffle(x, op.factor)
        case Upsample():
            return lambda x: F.interpolate(x, scale_factor=op.factor)
        case Resize():
            ratio = op.numerator / op.denominator
            return lambda x: F.interpolate(x, scale_factor=ratio, mode=op.kind)
        case _:
            raise NotImplementedError(f"plain torch has no {type(op).__name__} here")


def _activation(activation: Activation | None, tensor: _Tensor) -> Step:
    if activation is None:
        return lambda x: x
    match activation.kind:
        case "relu":
            return F.relu
        case "leaky_relu":
            return lambda x: F.leaky_relu(x, activation.slope)
        case "sigmoid":
            return torch.sigmoid
        case "silu":
            return F.silu
        case "tanh":
            return torch.tanh
        case "prelu":
            assert activation.slopes is not None  # checked by Graph
            slopes = tensor(activation.slopes)
            return lambda x: F.prelu(x, slopes)
