"""Network architectures: a graph from the names and shapes of the tensors in a state dict."""

from __future__ import annotations

from typing import Final, Protocol

from ...errors import GraphError
from ..graph import Activate, Activation, Conv, ConvTranspose, Graph, Weights
from ..readers.tensors import Tensors
from . import compact, cunet, esrgan, resnet10, sequential, span
from ._builder import listed


class Architecture(Protocol):
    """A module of this package."""

    @property
    def NAME(self) -> str:
        """The name in messages."""

    def detect(self, tensors: Tensors) -> bool:
        """Return whether a state dict is probably one of this architecture, by its names."""

    def build(self, tensors: Tensors) -> Graph:
        """Build the network. Raises `GraphError` that names a tensor."""


ARCHITECTURES: Final[tuple[Architecture, ...]] = (
    esrgan,
    compact,
    span,
    cunet,
    sequential,
    resnet10,
)


def architecture_of(tensors: Tensors) -> Architecture:
    """Return the architecture of a state dict. Raises `GraphError` if none has its names."""
    for architecture in ARCHITECTURES:
        if architecture.detect(tensors):
            return architecture
    known = ", ".join(architecture.NAME for architecture in ARCHITECTURES)
    raise GraphError(
        f"the architecture is unknown; not understood: {listed(list(tensors)) or 'no tensors'}; "
        f"known are {known}"
    )


def build(tensors: Tensors) -> Graph:
    """Detect the architecture of a state dict and build the network. Raises `GraphError`."""
    return architecture_of(tensors).build(tensors)


def state_dict(graph: Graph) -> dict[str, Weights]:
    """Return the tensors of a graph that `build` made, under names from which `build` makes it.

    The names are those of the family, of its latest generation; biases of zeros are included.

    Raises `GraphError` if the graph is none of these architectures.
    """
    tensors: dict[str, Weights] = {}
    for node in graph.nodes:
        match node.op:
            case Conv() | ConvTranspose():
                tensors[f"{node.name}.weight"] = node.op.weight
                tensors[f"{node.name}.bias"] = node.op.bias
            case Activate(activation=Activation(slopes=slopes)) if slopes is not None:
                tensors[f"{node.name}.weight"] = slopes
    tensors.update({**span.marks(graph), **cunet.marks(graph)})
    again = build(tensors)
    if _structure(again) != _structure(graph):
        raise GraphError("the network has the names of an architecture, but other operations")
    return tensors


def _structure(graph: Graph) -> list[tuple[object, ...]]:
    """Return what a graph is, except for its weights."""
    return [
        (node.name, node.inputs, type(node.op), graph.values[node.name]) for node in graph.nodes
    ]
