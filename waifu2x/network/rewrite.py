"""Rewrites graphs: transposed convolutions as sub-pixel convolutions, nodes fused into steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._record import record
from . import graph as g


def fold_scales(graph: g.Graph) -> g.Graph:
    """Fold each `Affine` that follows a convolution into its weights and bias.

    Only if the convolution has no activation and nothing else reads its result: the weighted sums
    of ESRGAN then cost nothing. An `Affine` before a convolution stays: padding is zero after it.
    """
    made = {node.name: node for node in graph.nodes}
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers[graph.output] += 1
    folded: dict[str, g.Node] = {}
    dropped: set[str] = set()
    for node in graph.nodes:
        source = made.get(node.inputs[0])
        if not isinstance(node.op, g.Affine) or source is None or readers[source.name] > 1:
            continue
        source = folded.get(source.name, source)
        if isinstance(source.op, g.Conv | g.ConvTranspose) and source.op.activation is None:
            folded[node.name] = g.Node(node.name, _scaled(source.op, node.op), source.inputs)
            dropped.add(node.inputs[0])
    nodes = [folded.get(node.name, node) for node in graph.nodes if node.name not in dropped]
    return g.Graph(nodes, output=graph.output, inputs=graph.inputs)


def _scaled(op: g.Conv | g.ConvTranspose, affine: g.Affine) -> g.Conv | g.ConvTranspose:
    outputs = op.bias.size
    scale = np.broadcast_to(np.asarray(affine.scale, np.float64), outputs)
    shape = (1, outputs, 1, 1) if isinstance(op, g.ConvTranspose) else (outputs, 1, 1, 1)
    weight = (op.weight * scale.reshape(shape)).astype(np.float32)
    bias = (op.bias * scale + np.asarray(affine.offset, np.float64)).astype(np.float32)
    return replace(op, weight=weight, bias=bias)


def fuse_activations(graph: g.Graph, kinds: Collection[g.ActivationKind]) -> g.Graph:
    """Return the graph with activations of these kinds as part of the convolution before them.

    Only if the convolution has no activation and nothing else reads its result.
    """
    made = {node.name: node for node in graph.nodes}
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    fused: dict[str, g.Node] = {}
    dropped: set[str] = set()
    for node in graph.nodes:
        source = made.get(node.inputs[0])
        if not isinstance(node.op, g.Activate) or source is None or readers[source.name] > 1:
            continue
        activation = node.op.activation
        if (
            activation.kind in kinds
            and isinstance(source.op, g.Conv | g.ConvTranspose)
            and source.op.activation is None
        ):
            op = replace(source.op, activation=activation)
            fused[node.name] = g.Node(node.name, op, source.inputs)
            dropped.add(source.name)
    nodes = [fused.get(node.name, node) for node in graph.nodes if node.name not in dropped]
    return g.Graph(nodes, output=graph.output, inputs=graph.inputs)


def joined(nodes: Sequence[g.Node], output: str) -> list[g.Node]:
    """Return the nodes with operations joined that files of other programs split.

    These are a factor and the offset after it, and a value times its sigmoid (SiLU). The nodes must
    be in topological order, and inputs of nodes may be missing.
    """
    readers = Counter(name for node in nodes for name in node.inputs)
    readers[output] += 1
    made: dict[str, g.Node] = {}
    for node in nodes:
        before = made.get(node.inputs[-1]) if node.inputs else None
        match before, node.op:
            case (
                g.Node(op=g.Affine(scale=scale, offset=float(first))),
                g.Affine(scale=float(factor), offset=offset),
            ) if first == 0 and factor == 1 and readers[before.name] == 1:
                del made[before.name]
                node = g.Node(node.name, g.Affine(scale, offset), before.inputs)
            case (
                g.Node(op=g.Activate(activation=g.Activation(kind="sigmoid"))),
                g.Multiply(),
            ) if before.inputs == node.inputs[:1] and readers[before.name] == 1:
                del made[before.name]
                node = g.Node(node.name, g.Activate(g.Activation("silu")), before.inputs)
        made[node.name] = node
    return list(made.values())


def shuffle_transposed(graph: g.Graph, *, least_taps: int = 1) -> g.Graph:
    """Replace transposed convolutions by a convolution and a pixel shuffle.

    A transposed convolution of stride s and kernel k = s * t computes, for each of the s * s
    positions within an output cell, a plain t x t convolution of its input; the shuffle interleaves
    the results (sub-pixel convolution, https://arxiv.org/abs/1609.07009). A plain convolution sums
    every output in one fixed order; runtimes block the transposed one by the size of the tile.

    Nodes with t < ``least_taps`` stay, and so do nodes whose outputs miss taps: those whose kernel
    the stride does not divide, or whose padding is below k - s.
    """
    nodes: list[g.Node] = []
    for node in graph.nodes:
        op = node.op
        if not isinstance(op, g.ConvTranspose):
            nodes.append(node)
            continue
        plain = sub_pixel(op)
        if plain.trim or plain.padding or plain.weight.shape[2] < least_taps:
            nodes.append(node)
            continue
        made: list[g.Op] = [
            g.Conv(plain.weight, plain.bias),
            g.PixelShuffle(op.stride),
            *([g.Crop(plain.crop)] if plain.crop else []),
            *([g.Activate(op.activation)] if op.activation else []),
        ]
        names = [f"{node.name}.{type(new).__name__}" for new in made[:-1]] + [node.name]
        reads = [node.inputs, *((name,) for name in names)]
        nodes += [
            g.Node(name, new, read) for name, new, read in zip(names, made, reads, strict=False)
        ]
    return g.Graph(nodes, output=graph.output, inputs=graph.inputs)


@record
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


def sub_pixel(op: g.ConvTranspose) -> SubPixelConv:
    """Rewrite any transposed convolution, except for its activation.

    If the stride s does not divide the kernel k, the missing taps are zeros.
    """
    inputs, outputs, kernel, _ = op.weight.shape
    stride = op.stride
    taps = -(-kernel // stride)
    trim = stride * taps - kernel
    padding = max(0, taps - 1 - op.padding // stride)
    # Output s * q + r reads input q - m through tap s * m + r; a cross-correlation reverses m.
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


class Ref(NamedTuple):
    """A value, read without ``crop`` samples on every side."""

    name: str
    crop: int = 0


@dataclass(slots=True)
class Step:
    """A node; a convolution carries the nodes fused with it.

    name: the result, which is that of the last fused node.
    inputs: the values that ``node`` reads.
    activation, shuffle, crop, gate, factor, addend: a convolution's own activation or a fused one,
        and what else is fused, applied in the order pixel shuffle, crop, activation, product, sum.
        A gate is pooled, a factor is not.
    """

    name: str
    node: g.Node
    inputs: tuple[Ref, ...]
    activation: g.Activation | None = None
    shuffle: int = 1
    crop: int = 0
    gate: Ref | None = None
    factor: Ref | None = None
    addend: Ref | None = None

    @property
    def reads(self) -> list[str]:
        """The names of all values that the step reads."""
        refs = (*self.inputs, self.gate, self.factor, self.addend)
        return [ref.name for ref in refs if ref is not None]


def fuse(
    graph: g.Graph, *, shuffles: bool = False, crops: bool = False, gates: bool = False
) -> tuple[list[Step], Ref]:
    """Return the steps that compute a graph, in order, and the output.

    shuffles: whether a convolution may shuffle and crop the pixels of its result.
    crops: whether all operations read cropped values; otherwise only the addend may be cropped.

    gates: whether a plain convolution may have a smooth activation, the product of its result with
        another value, and a sum after either. Without a smooth activation, the product may also be
        that with a pooled gate.

    A node is fused with the convolution before it if nothing else reads the values between them.
    Operations whose result is pooled are never fused. Crops are read as offsets
    into their sources; only for operations that cannot is a crop a step of its own.
    """
    return _Fusion(graph, shuffles, crops, gates).run()


class _Fusion:
    def __init__(self, graph: g.Graph, shuffles: bool, crops: bool, gates: bool) -> None:
        self._graph, self._shuffles, self._reads_crops = graph, shuffles, crops
        self._gates = gates
        self._readers: dict[str, list[g.Node]] = {}
        for node in graph.nodes:
            for name in node.inputs:
                self._readers.setdefault(name, []).append(node)
        self._crops = {
            node.name: (node.inputs[0], node.op.margin)
            for node in graph.nodes
            if isinstance(node.op, g.Crop)
        }
        self._computed = {value.name for value in graph.inputs}
        self._fused: set[str] = set()
        self._steps: list[Step] = []

    def run(self) -> tuple[list[Step], Ref]:
        for node in self._graph.nodes:
            if node.name in self._fused or node.name in self._crops:
                continue
            step = Step(node.name, node, tuple(self._read(name) for name in node.inputs))
            pooled = self._graph.values[node.name].pooled
            if isinstance(node.op, g.Conv | g.ConvTranspose) and not pooled:
                self._extend(step, node.op.activation)
            self._append(step)
        return self._steps, self._read(self._graph.output)

    def _extend(self, step: Step, activation: g.Activation | None) -> None:
        """Fuse a convolution, with its own activation, with the nodes after it."""
        step.activation = activation
        gates = self._gates and isinstance(step.node.op, g.Conv)
        if activation is not None and activation.smooth and not gates:
            return
        while step.addend is None and (node := self._only_reader(step.name)) is not None:
            linear = step.activation is None and step.factor is None and step.gate is None
            match node.op:
                case g.PixelShuffle(factor=factor) if (
                    linear and step.shuffle == 1 and self._shuffles
                ):
                    step.shuffle = factor
                case g.Crop(margin=margin) if linear and step.shuffle > 1 and step.crop == 0:
                    step.crop = margin
                case g.Activate(activation=activation) if linear and (
                    not activation.smooth or (gates and step.shuffle == 1)
                ):
                    step.activation = activation
                case g.Multiply() if (
                    gates and step.shuffle == 1 and step.factor is None and step.gate is None
                ):
                    pooled, other = self._pooled(node), self._other(step, node)
                    smooth = step.activation is not None and step.activation.smooth
                    if other is None or (pooled and smooth):  # computed later, or the value itself
                        return
                    if pooled:
                        step.gate = other
                    else:
                        step.factor = other
                case g.Add():
                    step.addend = self._other(step, node)
                    if step.addend is None:
                        return
                case _:
                    return
            step.name = node.name
            self._fused.add(node.name)

    def _other(self, step: Step, node: g.Node) -> Ref | None:
        """Return the other operand of a sum or product; None if it is computed later."""
        other = [name for name in node.inputs if name != step.name]
        return self._locate(other[0]) if other else None

    def _pooled(self, node: g.Node) -> bool:
        return any(self._graph.values[name].pooled for name in node.inputs)

    def _append(self, step: Step) -> None:
        self._steps.append(step)
        self._computed.add(step.name)

    def _only_reader(self, name: str) -> g.Node | None:
        """Return the only node that reads a value; None for the output."""
        readers = self._readers.get(name, [])
        return readers[0] if len(readers) == 1 and name != self._graph.output else None

    def _locate(self, name: str) -> Ref | None:
        """Return a value as a crop of a computed one, or None before that is computed."""
        crop = 0
        while name not in self._computed:
            if name not in self._crops:
                return None
            name, margin = self._crops[name]
            crop += margin
        return Ref(name, crop)

    def _read(self, name: str) -> Ref:
        """Return an input of the next step; adds a step for a crop that it cannot read."""
        ref = self._locate(name)
        assert ref is not None  # nodes are in topological order
        if not ref.crop or self._reads_crops:
            return ref
        self._append(Step(name, g.Node(name, g.Crop(ref.crop), (ref.name,)), (Ref(ref.name),)))
        return Ref(name)
