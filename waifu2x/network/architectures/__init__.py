"""Network architectures: a graph from the names and shapes of the tensors in a state dict."""

from __future__ import annotations

from typing import Final, Protocol

from ...errors import GraphError
from ..graph import Graph
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
