"""Network architectures: a graph from the names and shapes of the tensors in a state dict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from ...errors import GraphError
from ..compare import same
from ..graph import Activate, Activation, Conv, ConvTranspose, Graph, Node, Weights
from ..readers.tensors import Tensors
from . import adaptive, compact, cunet, esrgan, gated, resnet10, sequential, span, unet
from ._builder import listed


class Architecture(Protocol):
    """A module of this package."""

    @property
    def NAME(self) -> str:
        """The name in messages."""

    @property
    def MARKS(self) -> tuple[str, ...]:
        """The tensors that mark a variant, and are no weights."""

    def layers(self, count: int) -> Sequence[list[str]]:
        """Return the names of ``count`` layers with weights, in order, for each such network."""

    def detect(self, tensors: Tensors) -> bool:
        """Return whether a state dict is probably one of this architecture, by its names."""

    def build(self, tensors: Tensors) -> Graph:
        """Build the network. Raises `GraphError` that names a tensor."""


ARCHITECTURES: Final[tuple[Architecture, ...]] = (
    esrgan,
    adaptive,
    compact,
    span,
    gated,
    unet,
    cunet,
    sequential,
    resnet10,
)

_OTHER_FORMATS: Final = "only ONNX (.onnx) and ncnn (.param) hold networks of any architecture"


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
    """Return the tensors of a network under names from which `build` makes it.

    The names are those of the family, of its latest generation; biases of zeros are included. They
    follow from the structure, not from the names in the graph: all layers with weights are in
    sequence, so that their order is the same in every format.

    Raises `GraphError` if the network is none of these architectures.
    """
    layers = [tensors for node in graph.nodes if (tensors := _tensors(node))]
    alike: list[str] = []
    for architecture in ARCHITECTURES:
        for names in architecture.layers(len(layers)):
            tensors = {
                f"{name}.{kind}": array
                for name, layer in zip(names, layers, strict=True)
                for kind, array in layer.items()
            }
            for marks in ({}, dict.fromkeys(architecture.MARKS, np.zeros(1, np.float32))):
                marked = {**tensors, **marks}
                try:
                    made = architecture.build(marked)
                except GraphError:
                    continue
                if same(made, graph, exact=False):
                    return marked
                alike.append(architecture.NAME)
    if alike:
        raise GraphError(
            f"the network has the layers of {alike[0]}, but other operations; {_OTHER_FORMATS}"
        )
    raise GraphError(f"the architecture is unknown; {_OTHER_FORMATS}")


def _tensors(node: Node) -> dict[str, Weights]:
    """Return the weights of a layer by their kind; none if the node has no weights."""
    match node.op:
        case Conv() | ConvTranspose():
            return {"weight": node.op.weight, "bias": node.op.bias}
        case Activate(activation=Activation(slopes=slopes)) if slopes is not None:
            return {"weight": slopes}
        case _:
            return {}
