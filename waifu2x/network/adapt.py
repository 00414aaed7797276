"""Adapts networks of other programs to this package: RGB in and out, and the scale inside."""

from __future__ import annotations

from typing import Final

import numpy as np

from ..errors import GraphError
from . import graph as g
from .compare import same

#: ITU-R BT.601, as in the YCbCr of JPEG and Pillow.
_LUMA: Final = (0.299, 0.587, 0.114)


def enlarged(graph: g.Graph, factor: int = 2) -> g.Graph:
    """Return a 1x network with a nearest enlargement of the picture in front of it.

    The older waifu2x networks are trained to sharpen a picture that was enlarged before. Samples
    are cropped from the result, so that it begins at a whole pixel of the picture.

    Raises `GraphError` if the network has another scale than 1.
    """
    if graph.scale != 1:
        raise GraphError(f"a network of scale {graph.scale} needs no enlargement of the picture")
    picture, *others = graph.inputs
    source = _unused(graph, "picture")
    nodes = [g.Node(picture.name, g.Upsample(factor), (source,)), *graph.nodes]
    output = graph.output
    if crop := -graph.lost % factor:
        output = _unused(graph, "cropped")
        nodes.append(g.Node(output, g.Crop(crop), (graph.output,)))
    return g.Graph(nodes, output=output, inputs=(g.Input(source, picture.channels), *others))


def on_luma(graph: g.Graph) -> g.Graph:
    """Return a network of one channel as one that changes only the luma of an RGB picture.

    The color differences are enlarged to the nearest pixel. In RGB, the luma is exchanged by
    adding its change to all channels, which is linear and so part of the graph.

    Raises `GraphError` if the network has other channels.
    """
    if graph.channels != (1, 1):
        raise GraphError(f"a network of {graph.channels} channels is not one of the luma alone")
    picture, *others = graph.inputs
    luma = np.array(_LUMA, np.float32).reshape(1, 3, 1, 1)
    none = np.zeros(1, np.float32)
    names = ("picture", "enlarged", "base", "before", "change", "spread", "result")
    source, enlarged_, base, before, change, spread, result = (
        _unused(graph, name) for name in names
    )
    nodes = [
        g.Node(picture.name, g.Conv(luma, none), (source,)),
        *graph.nodes,
        g.Node(enlarged_, g.Upsample(graph.scale), (source,)),
        g.Node(base, g.Crop(graph.lost * graph.scale), (enlarged_,)),
        g.Node(before, g.Conv(-luma, none), (base,)),
        g.Node(change, g.Add(), (graph.output, before)),
        g.Node(
            spread, g.Conv(np.ones((3, 1, 1, 1), np.float32), np.zeros(3, np.float32)), (change,)
        ),
        g.Node(result, g.Add(), (spread, base)),
    ]
    return g.Graph(nodes, output=result, inputs=(g.Input(source, 3), *others))


def adapted(graph: g.Graph, factor: int = 1) -> g.Graph:
    """Return a network for RGB, with an enlargement by ``factor`` in front of it if above 1."""
    if graph.channels == (1, 1):
        graph = on_luma(graph)
    return enlarged(graph, factor) if factor > 1 else graph


def unadapted(graph: g.Graph) -> tuple[g.Graph, int]:
    """Return the network and the factor from which `adapted` makes ``graph``.

    These are the graph itself and 1 unless it is on the luma or has an enlargement.
    """
    graph, factor = _without_enlargement(graph)
    return _without_luma(graph), factor


def _without_enlargement(graph: g.Graph) -> tuple[g.Graph, int]:
    picture = graph.inputs[0]
    first, *others = [node for node in graph.nodes if picture.name in node.inputs]
    if others or not isinstance(first.op, g.Upsample):
        return graph, 1
    nodes = [node for node in graph.nodes if node is not first]
    last = graph.nodes[-1]
    # Without the crop of `enlarged`, if there may be one.
    outputs = [*(last.inputs if isinstance(last.op, g.Crop) else ()), graph.output]
    for output in outputs:
        inner = _attempt(nodes, output, g.Input(first.name, picture.channels))
        if inner is not None and inner.out.scale == 1:
            again = enlarged(inner, first.op.factor)
            if same(again, graph):
                return inner, first.op.factor
    return graph, 1


def _without_luma(graph: g.Graph) -> g.Graph:
    made = {node.name: node for node in graph.nodes}
    for first in graph.nodes:
        if first.inputs != (graph.inputs[0].name,) or not _has_weight(first, (1, 3, 1, 1)):
            continue
        nodes = [node for node in graph.nodes if node is not first]
        spreads = [made.get(name) for name in made[graph.output].inputs]
        changes = [
            made.get(node.inputs[0])
            for node in spreads
            if node is not None and _has_weight(node, (3, 1, 1, 1))
        ]
        for output in (name for node in changes if node is not None for name in node.inputs):
            inner = _attempt(nodes, output, g.Input(first.name, 1))
            if inner is not None and inner.channels == (1, 1) and same(on_luma(inner), graph):
                return inner
    return graph


def _has_weight(node: g.Node, shape: tuple[int, ...]) -> bool:
    return isinstance(node.op, g.Conv) and node.op.weight.shape == shape


def _attempt(nodes: list[g.Node], output: str, picture: g.Input) -> g.Graph | None:
    """Return the part of a graph from a value to another; None if they do not bound a part."""
    try:
        return g.Graph(nodes, output=output, inputs=(picture,))
    except GraphError:
        return None


def _unused(graph: g.Graph, name: str) -> str:
    """Return a name that no value of the graph has."""
    while name in graph.values:
        name += "'"
    return name
