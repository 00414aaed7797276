"""A graph as a PyTorch module whose weights are trained, and back."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..errors import GraphError
from ..network import graph as g
from ..network.architectures.adaptive import CODE, ESTIMATOR

#: How many times as many channels a folded convolution has inside while it is trained.
GAIN: Final = 2


class Convolution(nn.Module):
    """The weights of a convolution, with a bias for each noise level."""

    def __init__(self, op: g.Conv | g.ConvTranspose, levels: int) -> None:
        super().__init__()
        self.stride, self.padding = op.stride, op.padding
        self.weight = nn.Parameter(torch.tensor(op.weight))
        self.bias = nn.Parameter(torch.tensor(op.bias).repeat(levels, 1))

    def folded(self) -> torch.Tensor:
        """The weights that run, (out, in, k, k)."""
        return self.weight

    def forward(self, x: torch.Tensor, level: int) -> torch.Tensor:
        """Convolve (N, C, H, W) with the bias of a level, given by its index."""
        return F.conv2d(x, self.folded(), self.bias[level], self.stride, self.padding)


class TransposedConvolution(Convolution):
    """The weights of a transposed convolution, with a bias for each noise level."""

    def forward(self, x: torch.Tensor, level: int) -> torch.Tensor:
        """Enlarge (N, C, H, W) with the bias of a level, given by its index."""
        return F.conv_transpose2d(x, self.folded(), self.bias[level], self.stride, self.padding)


class FoldedConvolution(Convolution):
    """A convolution that is trained as 1x1, 3x3 and 1x1 in sequence with a skip connection.

    The three layers have no activations between them, so they are one convolution at every step:
    only their weights are multiplied, never pictures. The bias stays whole. Source: K. Bhardwaj
    et al., Collapsible Linear Blocks (https://arxiv.org/abs/2103.09404).
    """

    def __init__(self, op: g.Conv, levels: int, generator: torch.Generator) -> None:
        super().__init__(op, levels)
        outputs, inputs, kernel, _ = op.weight.shape
        wide = GAIN * max(outputs, inputs)

        def normal(deviation: float, *size: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(size).normal_(0, deviation, generator=generator))

        del self.weight
        self.before = normal(math.sqrt(1 / inputs), wide, inputs)
        self.middle = normal(math.sqrt(1 / (wide * kernel * kernel)), wide, wide, kernel, kernel)
        self.after = normal(math.sqrt(1 / wide), outputs, wide)
        self.skip = outputs == inputs
        # Starts at the given weights, so that folding changes no network when training begins.
        rest = torch.tensor(op.weight) - self._product().detach()
        self.register_buffer("start", rest)

    def _product(self) -> torch.Tensor:
        wide, _, kernel, _ = self.middle.shape
        left = self.after @ self.middle.reshape(wide, -1)
        left = left.reshape(len(left), wide, kernel * kernel)
        return torch.einsum("omk,mi->oik", left, self.before).reshape(len(left), -1, kernel, kernel)

    def folded(self) -> torch.Tensor:
        """The weights that run, (out, in, k, k)."""
        # In float32, or training would run other weights than the network that it makes.
        with torch.autocast(self.middle.device.type, enabled=False):
            return self.get_buffer("start") + self._product()


class TrainedGraph(nn.Module):
    """A graph whose weights are parameters.

    levels: number of noise levels. They share all weights and differ in the biases, so that one
        training makes a network for each level.
    fold: whether 3x3 convolutions between equal numbers of channels are trained folded.
    learn_slopes: whether the slopes of PReLU are trained; if not, a step takes two thirds of the
        time.
    seed: of the random start of folded convolutions.

    Raises `GraphError` for an operation that cannot be trained here.
    """

    def __init__(
        self,
        graph: g.Graph,
        *,
        levels: int,
        fold: bool = False,
        learn_slopes: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.levels = levels
        generator = torch.Generator().manual_seed(seed)
        self.layers = nn.ModuleDict()
        self.slopes = nn.ParameterDict()
        for node in graph.nodes:
            match node.op:
                case g.Conv() as op:
                    outputs, inputs, kernel, _ = op.weight.shape
                    if fold and outputs == inputs and kernel == 3:
                        layer: Convolution = FoldedConvolution(op, levels, generator)
                    else:
                        layer = Convolution(op, levels)
                    self.layers[_key(node.name)] = layer
                    if op.activation is not None:
                        raise GraphError(f"{node.name!r} has a fused activation")
                case g.ConvTranspose() as op:
                    self.layers[_key(node.name)] = TransposedConvolution(op, levels)
                case g.Activate(activation=g.Activation(slopes=slopes)) if slopes is not None:
                    if learn_slopes:
                        self.slopes[_key(node.name)] = nn.Parameter(torch.tensor(slopes))

    def train_estimator(self, alone: bool) -> None:
        """Choose what is trained of Adaptive: its estimator alone, or all but estimator and code.

        The code is never trained: it weighs the evidence, whose meaning stays.
        """
        for name, layer in [*self.layers.items(), *self.slopes.items()]:
            estimates = name.startswith(_key(f"{ESTIMATOR}."))
            layer.requires_grad_(estimates if alone else not estimates and name != CODE)

    def evidence(self, picture: torch.Tensor, level: int) -> torch.Tensor:
        """Return what the estimator of Adaptive finds at each pixel of (N, C, H, W) in [0, 1]."""
        return self._run(picture, level, until=g.GlobalMean)

    def forward(self, picture: torch.Tensor, level: int) -> torch.Tensor:
        """Run the network on (N, C, H, W) in [0, 1] for the index of a noise level."""
        return self._run(picture, level)

    def _run(
        self, picture: torch.Tensor, level: int, *, until: type[g.Op] | None = None
    ) -> torch.Tensor:
        """Return the output, or what the first operation of a type reads."""
        values = {self.graph.inputs[0].name: picture}
        last_use = self.graph.last_use
        for index, node in enumerate(self.graph.nodes):
            if until is not None and isinstance(node.op, until):
                return values[node.inputs[0]]
            values[node.name] = self._step(node, [values[name] for name in node.inputs], level)
            for name in node.inputs:
                if last_use[name] == index:
                    values.pop(name, None)
        return values[self.graph.output]

    def _step(self, node: g.Node, inputs: list[torch.Tensor], level: int) -> torch.Tensor:
        x = inputs[0]
        match node.op:
            case g.Conv() | g.ConvTranspose():
                y: torch.Tensor = self.layers[_key(node.name)](x, level)
                return y
            case g.Activate(activation=activation):
                return self._activate(node, activation, x)
            case g.Add():
                return x + inputs[1]
            case g.Multiply():
                return x * inputs[1]
            case g.GlobalMean():
                return x.mean((2, 3), keepdim=True)
            case g.Concat():
                return torch.cat(inputs, dim=1)
            case g.PixelShuffle():
                return F.pixel_shuffle(x, node.op.factor)
            case g.PixelUnshuffle():
                return F.pixel_unshuffle(x, node.op.factor)
            case g.Upsample():
                return F.interpolate(x, scale_factor=float(node.op.factor), mode="nearest")
            case op:
                raise GraphError(f"{node.name!r}: training has no {type(op).__name__}")

    def _activate(self, node: g.Node, activation: g.Activation, x: torch.Tensor) -> torch.Tensor:
        match activation.kind:
            case "relu":
                return F.relu(x)
            case "leaky_relu":
                return F.leaky_relu(x, activation.slope)
            case "tanh":
                return torch.tanh(x)
            case "sigmoid":
                return torch.sigmoid(x)
            case "prelu":
                return self._prelu(node, activation, x)
            case kind:
                raise GraphError(f"{node.name!r}: training has no {kind}")

    def _prelu(self, node: g.Node, activation: g.Activation, x: torch.Tensor) -> torch.Tensor:
        key = _key(node.name)
        if key in self.slopes:
            return F.prelu(x, self.slopes[key].to(x.dtype))
        slopes = activation.slopes
        assert slopes is not None  # checked by Graph
        if (slopes == slopes[0]).all():  # several times as fast
            return F.leaky_relu(x, float(slopes[0]))
        return F.prelu(x, torch.from_numpy(slopes.copy()).to(x))

    def weights(self) -> list[torch.Tensor]:
        """Return the weights that run, and the biases and slopes, in an order that folding keeps.

        Without folding, they are the parameters themselves.
        """
        found: list[torch.Tensor] = []
        for layer in self.convolutions():
            found += [layer.folded(), layer.bias]
        return [*found, *self.slopes.values()]

    def convolutions(self) -> list[Convolution]:
        """Return the convolutions in the order of the graph."""
        return [layer for layer in self.layers.values() if isinstance(layer, Convolution)]

    @torch.no_grad()
    def network(self, level: int) -> g.Graph:
        """Return the graph with the weights of now, for the index of a noise level."""
        nodes = []
        for node in self.graph.nodes:
            op = node.op
            key = _key(node.name)
            if isinstance(op, g.Conv | g.ConvTranspose):
                layer = self.layers[key]
                assert isinstance(layer, Convolution)
                weight, bias = _array(layer.folded()), _array(layer.bias[level])
                op = replace(op, weight=weight, bias=bias)
            elif key in self.slopes:
                assert isinstance(op, g.Activate)
                activation = replace(op.activation, slopes=_array(self.slopes[key]))
                op = g.Activate(activation)
            nodes.append(replace(node, op=op))
        return g.Graph(nodes, output=self.graph.output, inputs=self.graph.inputs)


def _key(name: str) -> str:
    """The name of a node as PyTorch allows it."""
    return name.replace(".", "_")


def _array(tensor: torch.Tensor) -> g.Weights:
    return np.ascontiguousarray(tensor.detach().cpu().to(torch.float32).numpy().copy())
