"""A graph as a PyTorch module, operation by operation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from torch.nn import functional as F

from ..network.graph import (
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
    Upsample,
)
from ..network.rewrite import shuffle_transposed

_CUDNN = threading.RLock()

#: Input channels that oneDNN sums in an order of its own, regardless of the size of the input:
#: seen with 128, not with 256 (AVX-512 of Zen 4).
_LONGEST_SUM: Final = 128


@contextmanager
def cudnn(*, benchmark: bool | None = None) -> Iterator[None]:
    """Within it, float32 in cuDNN is float32 and not TF32.

    The settings of cuDNN are those of the process, so one thread at a time may change them.
    benchmark: whether it tries all its ways for a new shape; None leaves that as it is.
    """
    with _CUDNN:
        keep = torch.backends.cudnn.benchmark if benchmark is None else benchmark
        with torch.backends.cudnn.flags(enabled=True, benchmark=keep, allow_tf32=False):
            yield


class GraphModule(torch.nn.Module):
    """A graph as a module; weights are buffers, so ``.to(device)`` moves them.

    ``forward(picture, *means)`` takes and returns (N, C, H, W) tensors.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = shuffle_transposed(graph)
        # A name per array: buffer names may not contain dots, and node names may.
        self._names: dict[int, str] = {}
        for node in self.graph.nodes:
            for array in _arrays(node.op):
                name = self._names.setdefault(id(array), f"weight_{len(self._names)}")
                # A copy: the tensor is writable and the graph's array stays as it is.
                self.register_buffer(name, torch.from_numpy(np.array(array)))

    def reduce(self, dtype: torch.dtype) -> GraphModule:
        """Have all but the last layer compute in a shorter type.

        The rounding of what the last one makes would be seen: half precision has eight steps for
        one of 8 bits. Returns itself.
        """
        convolutions = [node.op for node in self.graph.nodes if isinstance(node.op, _CONVOLUTIONS)]
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
        last_use = {
            name: index for index, node in enumerate(self.graph.nodes) for name in node.inputs
        }
        for index, node in enumerate(self.graph.nodes):
            values[node.name] = self._step(node.op, [values[name] for name in node.inputs])
            for name in node.inputs:
                if last_use[name] == index:
                    values.pop(name, None)
        return values[self.graph.output]

    def _step(self, op: Op, inputs: list[torch.Tensor]) -> torch.Tensor:
        x = inputs[0]
        match op:
            case Conv() | ConvTranspose():
                y = convolve(
                    x,
                    self._tensor(op.weight),
                    self._tensor(op.bias),
                    stride=op.stride,
                    padding=op.padding,
                    transposed=isinstance(op, ConvTranspose),
                )
                return y if op.activation is None else self._activate(op.activation, y)
            case Activate():
                return self._activate(op.activation, x)
            case Add():
                return sum(inputs[1:], start=x)
            case Multiply():
                return x * inputs[1]
            case Affine():
                return x * op.scale + op.offset
            case Concat():
                return torch.cat(inputs, dim=1)
            case Crop():
                height, width = x.shape[2] - 2 * op.margin, x.shape[3] - 2 * op.margin
                return x.narrow(2, op.margin, height).narrow(3, op.margin, width)
            case GlobalMean():
                return x.mean(dim=(2, 3), keepdim=True)
            case PixelShuffle():
                return F.pixel_shuffle(x, op.factor)
            case Upsample():
                return F.interpolate(x, scale_factor=float(op.factor), mode="nearest")

    def _activate(self, activation: Activation, x: torch.Tensor) -> torch.Tensor:
        match activation.kind:
            case "relu":
                return F.relu(x)
            case "leaky_relu":
                return F.leaky_relu(x, activation.slope)
            case "sigmoid":
                return torch.sigmoid(x)
            case "prelu":
                assert activation.slopes is not None  # Graph checked it
                return F.prelu(x, self._tensor(activation.slopes))


def convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    *,
    stride: int,
    padding: int,
    transposed: bool = False,
) -> torch.Tensor:
    """A convolution in the type of its weights.

    On a CPU that of oneDNN, always: conv2d takes another library for small inputs, with sums in
    another order, and then a tile differs from the whole picture in its last bits. There sums are
    in float32 whatever the type, since many processors have no half precision.
    """
    dtype = torch.float32 if x.device.type == "cpu" else weight.dtype
    terms = None if bias is None else bias.to(dtype)
    x, taps = x.to(dtype), weight.to(dtype)
    if transposed:
        y = F.conv_transpose2d(x, taps, terms, stride=stride, padding=padding)
    elif x.device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        how = [padding] * 2, [stride] * 2, [1, 1], 1
        # oneDNN splits long sums by the size of the input, so the parts are summed here.
        parts = zip(x.split(_LONGEST_SUM, 1), taps.split(_LONGEST_SUM, 1), strict=True)
        first, *rest = parts
        y = torch.mkldnn_convolution(*first, terms, *how)
        for part in rest:
            y += torch.mkldnn_convolution(*part, None, *how)
    else:
        y = F.conv2d(x, taps, terms, stride=stride, padding=padding)
    return y.to(weight.dtype)


_CONVOLUTIONS = (Conv, ConvTranspose)


def _arrays(op: Op) -> list[np.ndarray]:
    arrays: list[np.ndarray] = []
    if isinstance(op, Conv | ConvTranspose):
        arrays += [op.weight, op.bias]
    activation = getattr(op, "activation", None)
    if activation is not None and activation.slopes is not None:
        arrays.append(activation.slopes)
    return arrays
