"""Small networks in the architectures of the field, with random weights."""

from __future__ import annotations

from typing import Literal

import numpy as np

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
    Input,
    Multiply,
    Node,
    Op,
    PixelShuffle,
    PixelUnshuffle,
    Resize,
    Upsample,
)

LEAKY = Activation("leaky_relu", slope=0.2)


class Builder:
    """Builds a graph node by node; ``last`` is the last one."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[Node] = []
        self.last = "input"

    def add(self, op: Op, *inputs: str) -> str:
        """Append a node that reads ``inputs``, by default the last one; returns its name."""
        name = f"n{len(self._nodes)}"
        self._nodes.append(Node(name, op, inputs or (self.last,)))
        self.last = name
        return name

    def conv(
        self,
        inputs: int,
        outputs: int,
        *source: str,
        kernel: int = 3,
        activation: Activation | None = None,
        padding: int | None = None,
        stride: int = 1,
    ) -> str:
        """Append a convolution, padded to the size of its input by default."""
        weight = self.numbers(outputs, inputs, kernel, kernel) / np.float32(kernel * inputs**0.5)
        bias = 0.1 * self.numbers(outputs)
        around = kernel // 2 if padding is None else padding
        return self.add(Conv(weight, bias, stride, around, activation), *source)

    def transposed(
        self, channels: int, outputs: int, *source: str, kernel: int, padding: int
    ) -> str:
        """Append a transposed convolution of stride 2."""
        weight = self.numbers(channels, outputs, kernel, kernel) / np.float32(
            (channels * kernel) ** 0.5
        )
        return self.add(ConvTranspose(weight, 0.1 * self.numbers(outputs), 2, padding), *source)

    def numbers(self, *shape: int) -> np.ndarray:
        return self._rng.standard_normal(shape).astype(np.float32)

    def graph(self) -> Graph:
        return Graph(self._nodes, output=self.last, inputs=(Input("input", 3),))


def compact(*, scale: int = 2, features: int = 24, layers: int = 3, seed: int = 0) -> Graph:
    """Return a Compact network (SRVGGNet): convolutions, PReLU, the enlarged input added."""
    net = Builder(seed)
    net.conv(3, features)
    for _ in range(layers):
        net.add(Activate(Activation("prelu", slopes=0.3 * net.numbers(features))))
        net.conv(features, features)
    net.add(Activate(Activation("prelu", slopes=0.3 * net.numbers(features))))
    net.conv(features, 3 * scale * scale)
    shuffled = net.add(PixelShuffle(scale))
    net.add(Add(), shuffled, net.add(Upsample(scale), "input"))
    return net.graph()


def esrgan(
    *, blocks: int = 3, features: int = 32, growth: int = 16, unshuffled: int = 1, seed: int = 0
) -> Graph:
    """Return an ESRGAN of scale 4 / ``unshuffled``: blocks of three dense blocks, weighted sums."""
    net = Builder(seed)
    if unshuffled > 1:
        net.add(PixelUnshuffle(unshuffled))
    first = net.conv(3 * unshuffled**2, features)
    block = first
    for _ in range(blocks):
        dense = block
        for _ in range(3):
            grown = [dense]
            for step in range(4):
                joined = net.add(Concat(), *grown) if step else dense
                grown.append(net.conv(features + step * growth, growth, joined, activation=LEAKY))
            made = net.conv(features + 4 * growth, features, net.add(Concat(), *grown))
            dense = net.add(Add(), net.add(Affine(scale=0.2), made), dense)
        block = net.add(Add(), net.add(Affine(scale=0.2), dense), block)
    net.add(Add(), first, net.conv(features, features, block))
    for _ in range(2):
        net.add(Upsample(2))
        net.conv(features, features, activation=LEAKY)
    net.conv(features, features, activation=LEAKY)
    net.conv(features, 3)
    return net.graph()


def span(*, scale: int = 2, features: int = 16, blocks: int = 3, seed: int = 0) -> Graph:
    """Return a SPAN: blocks gated by sigmoids of their features, means subtracted first."""
    net = Builder(seed)
    means = np.array([0.4488, 0.4371, 0.4040], np.float32)
    net.add(Affine(scale=1.0, offset=-means))
    first = net.conv(3, features)
    value = first
    joined = [first]
    for _ in range(blocks):
        net.conv(features, features, value)
        inner = net.add(Activate(Activation("silu")))
        net.conv(features, features)
        net.add(Activate(Activation("silu")))
        made = net.conv(features, features)
        gate = net.add(Affine(offset=-0.5), net.add(Activate(Activation("sigmoid")), made))
        value = net.add(Multiply(), net.add(Add(), made, value), gate)
        joined += [value] if len(joined) == 1 else []
    end = net.conv(features, features, value)
    net.add(Concat(), first, end, joined[1], inner)
    net.conv(4 * features, features, kernel=1)
    net.conv(features, 3 * scale * scale)
    net.add(PixelShuffle(scale))
    return net.graph()


def gated(
    *,
    features: int = 16,
    blocks: int = 3,
    convolutions: int = 3,
    gate: Literal["features", "input", "none"] = "features",
    joined: bool = True,
    residual: bool = False,
    scale: int = 2,
    unshuffled: int = 2,
    seed: int = 0,
) -> Graph:
    """Return a network at 1 / ``unshuffled`` of the resolution whose blocks are gated by a tanh.

    gate: what the 1x1 convolution of the gate reads, the features of the block or its input.
    joined: whether the head and the first, middle and last block are joined by a 1x1 convolution.
    residual: whether the input of a block is added to its result.
    """
    net = Builder(seed)
    relu, tanh = Activation("relu"), Activation("tanh")
    if unshuffled > 1:
        net.add(PixelUnshuffle(unshuffled))
    values = [net.conv(3 * unshuffled**2, features, activation=relu)]
    for _ in range(blocks):
        before = made = values[-1]
        for _ in range(convolutions):
            made = net.conv(features, features, made, activation=relu)
        if gate != "none":
            source = made if gate == "features" else before
            net.conv(features, features, source, kernel=1, activation=tanh)
            made = net.add(Multiply(), made, net.last)
        values.append(net.add(Add(), made, before) if residual else made)
    if joined:
        net.add(Concat(), values[0], values[1], values[(blocks + 1) // 2], values[-1])
        net.conv(4 * features, features, kernel=1)
    factor = scale * unshuffled
    net.conv(features, 3 * factor**2)
    shuffled = net.add(PixelShuffle(factor))
    net.add(Add(), shuffled, net.add(Upsample(scale), "input"))
    return net.graph()


def cugan(*, seed: int = 0) -> Graph:
    """Return a small 4x network in the manner of Real-CUGAN, with two global means.

    No layer pads. The enlarged input is added at the end.
    """
    net = Builder(seed)
    leaky = Activation("leaky_relu", slope=0.1)
    a = net.conv(3, 16, padding=0, activation=leaky)
    b = net.conv(16, 32, padding=0, activation=leaky)
    net.conv(32, 32, kernel=2, stride=2, padding=0, activation=leaky)
    for _ in range(2):
        made = net.conv(32, 32, padding=0, activation=leaky)
        net.add(GlobalMean())
        net.conv(32, 8, kernel=1, padding=0, activation=Activation("relu"))
        gate = net.conv(8, 32, kernel=1, padding=0, activation=Activation("sigmoid"))
        net.add(Multiply(), made, gate)
    up = net.transposed(32, 32, kernel=2, padding=0)
    net.add(Add(), net.add(Crop(4), b), up)
    net.conv(32, 16, padding=0, activation=leaky)
    net.add(Add(), net.last, net.add(Crop(6), a))
    net.transposed(16, 16, kernel=4, padding=3)
    net.conv(16, 12, padding=0)
    net.add(Crop(1))
    shuffled = net.add(PixelShuffle(2))
    lost = net.graph().lost
    net.add(Add(), shuffled, net.add(Crop(4 * lost), net.add(Upsample(4), "input")))
    return net.graph()


def shrunk(graph: Graph, numerator: int, denominator: int) -> Graph:
    """Return a network whose result is resized, as in Real-ESRGAN's animevideov3 2x and 3x."""
    node = Node("shrunk", Resize(numerator, denominator, "bicubic"), (graph.output,))
    return Graph([*graph.nodes, node], output="shrunk", inputs=graph.inputs)
