"""Runs a graph as a PyTorch module, operation by operation."""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from torch.nn import functional as F

from ..network import graph as g
from ..network.rewrite import fold_scales, shuffle_transposed

_CUDNN = threading.RLock()

#: Name of the submodule of an `ExternalModel`.
_MODULE: Final = "external"
#: Most input channels that oneDNN sums in an order independent of the size of the input: measured
#: for 128, not so for 256 (AVX-512 of Zen 4).
_LONGEST_SUM: Final = 128


@contextmanager
def cudnn(*, benchmark: bool | None = None) -> Iterator[None]:
    """Disable TF32 in cuDNN; held by one thread at a time, as its settings are the process's.

    benchmark: whether cuDNN times its algorithms for each new shape; None keeps the setting.
    """
    with _CUDNN:
        keep = torch.backends.cudnn.benchmark if benchmark is None else benchmark
        with torch.backends.cudnn.flags(enabled=True, benchmark=keep, allow_tf32=False):
            yield


class GraphModule(torch.nn.Module):
    """A graph as a module. Weights are buffers, so ``.to(device)`` moves them."""

    def __init__(self, graph: g.Graph) -> None:
        super().__init__()
        self.graph = shuffle_transposed(fold_scales(graph))
        for node in self.graph.nodes:
            if isinstance(node.op, g.ExternalModel):  # copied, because it moves to another device
                self.add_module(_MODULE, copy.deepcopy(node.op.model))
        # Buffers are numbered: their names must not contain dots, unlike those of nodes.
        self._names: dict[int, str] = {}
        for node in self.graph.nodes:
            for array in _arrays(node.op):
                name = self._names.setdefault(id(array), f"weight_{len(self._names)}")
                # Copied, because the tensor is writable.
                self.register_buffer(name, torch.from_numpy(np.array(array)))

    def reduce(self, dtype: torch.dtype) -> GraphModule:
        """Convert all weights but those of the last convolution to ``dtype``; returns itself.

        A module of another package stays in float32, since not every architecture can be reduced.
        The last layer stays in float32, because float16 resolves the output to only eight steps per
        8-bit level.
        """
        convolutions = [
            node.op for node in self.graph.nodes if isinstance(node.op, g.Conv | g.ConvTranspose)
        ]
        kept = {id(array) for op in convolutions[-1:] for array in _arrays(op)}
        for array, name in self._names.items():
            if array not in kept:
                setattr(self, name, self.get_buffer(name).to(dtype))
        return self

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return self.get_buffer(self._names[id(array)])

    def forward(self, picture: torch.Tensor, *means: torch.Tensor) -> torch.Tensor:
        """Run the network on (N, C, H, W) and, for given means, (N or 1, C, 1, 1) tensors."""
        given = zip(self.graph.inputs, (picture, *means), strict=True)
        values = {value.name: tensor for value, tensor in given}
        last_use = self.graph.last_use
        for index, node in enumerate(self.graph.nodes):
            values[node.name] = self._step(node.op, [values[name] for name in node.inputs])
            for name in node.inputs:
                if last_use[name] == index:
                    values.pop(name, None)
        return values[self.graph.output]

    def _step(self, op: g.Op, inputs: list[torch.Tensor]) -> torch.Tensor:
        x = inputs[0]
        match op:
            case g.Conv() | g.ConvTranspose():
                y = convolve(
                    x,
                    self._tensor(op.weight),
                    self._tensor(op.bias),
                    stride=op.stride,
                    padding=op.padding,
                    transposed=isinstance(op, g.ConvTranspose),
                )
                return y if op.activation is None else self._activate(op.activation, y)
            case g.Activate():
                return self._activate(op.activation, x)
            case g.Add():
                return sum(inputs[1:], start=x)
            case g.Multiply():
                return x * inputs[1]
            case g.Affine():
                return x * self._constant(op.scale) + self._constant(op.offset)
            case g.Concat():
                return torch.cat(inputs, dim=1)
            case g.Crop():
                height, width = x.shape[2] - 2 * op.margin, x.shape[3] - 2 * op.margin
                return x.narrow(2, op.margin, height).narrow(3, op.margin, width)
            case g.GlobalMean():
                return x.mean(dim=(2, 3), keepdim=True)
            case g.PixelShuffle():
                return F.pixel_shuffle(x, op.factor)
            case g.PixelUnshuffle():
                return F.pixel_unshuffle(x, op.factor)
            case g.Upsample():
                return F.interpolate(x, scale_factor=float(op.factor), mode="nearest")
            case g.Resize():
                return resize(x, op)
            case g.ExternalModel():
                module = self.get_submodule(_MODULE)
                result: torch.Tensor = module(x.to(next(module.parameters()).dtype))
                return result.to(x.dtype)

    def _constant(self, value: float | np.ndarray) -> float | torch.Tensor:
        return self._tensor(value).reshape(-1, 1, 1) if isinstance(value, np.ndarray) else value

    def _activate(self, activation: g.Activation, x: torch.Tensor) -> torch.Tensor:
        match activation.kind:
            case "relu":
                return F.relu(x)
            case "leaky_relu":
                return F.leaky_relu(x, activation.slope)
            case "sigmoid":
                return torch.sigmoid(x)
            case "silu":
                return F.silu(x)
            case "tanh":
                return torch.tanh(x)
            case "prelu":
                assert activation.slopes is not None  # checked by Graph
                return F.prelu(x, self._tensor(activation.slopes))


def resize(x: torch.Tensor, op: g.Resize) -> torch.Tensor:
    """Resample (N, C, H, W)."""
    size = [side * op.numerator // op.denominator for side in x.shape[2:]]
    return F.interpolate(x, size=size, mode=op.kind, align_corners=False)


def convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    *,
    stride: int,
    padding: int,
    transposed: bool = False,
) -> torch.Tensor:
    """Convolve in the type of the weights.

    On the CPU always by oneDNN: for small inputs conv2d uses another library with another order of
    sums, and a tile would differ from the whole picture in its last bits. Sums there are float32
    for every type, because many CPUs lack half precision.
    """
    dtype = torch.float32 if x.device.type == "cpu" else weight.dtype
    terms = None if bias is None else bias.to(dtype)
    x, taps = x.to(dtype), weight.to(dtype)
    if transposed:
        y = F.conv_transpose2d(x, taps, terms, stride=stride, padding=padding)
    elif x.device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        # oneDNN splits longer sums by the size of the input, so groups of channels are summed here.
        groups = zip(x.split(_LONGEST_SUM, 1), taps.split(_LONGEST_SUM, 1), strict=True)  # type: ignore[no-untyped-call]
        y = functools.reduce(
            torch.add,
            (
                torch.mkldnn_convolution(
                    values, kernels, None if index else terms,
                    [padding] * 2, [stride] * 2, [1, 1], 1,
                )
                for index, (values, kernels) in enumerate(groups)
            ),
        )  # fmt: skip
    else:
        y = F.conv2d(x, taps, terms, stride=stride, padding=padding)
    return y.to(weight.dtype)


def _arrays(op: g.Op) -> list[np.ndarray]:
    arrays: list[np.ndarray] = []
    if isinstance(op, g.Conv | g.ConvTranspose):
        arrays += [op.weight, op.bias]
    activation = getattr(op, "activation", None)
    if activation is not None and activation.slopes is not None:
        arrays.append(activation.slopes)
    if isinstance(op, g.Affine):
        arrays += [array for array in (op.scale, op.offset) if isinstance(array, np.ndarray)]
    return arrays
