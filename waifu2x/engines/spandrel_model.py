"""Builds networks of other architectures with spandrel, for engine torch.

spandrel receives tensors that the readers of this package have read, so nothing of a file is
executed. https://github.com/chaiNNer-org/spandrel lists the architectures.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from .._text import reason
from ..errors import GraphError, MissingExtraError
from ..network.adapt import on_luma
from ..network.graph import ExternalModel, Graph, Input, Node
from ..network.readers.tensors import Tensors
from .base import first_line

#: Values of the widest layer at the scale of the input, and channels at the scale of the result,
#: that a run holds at once; OmniSR and DAT need two thirds of that.
_LIVE: Final = 6
_RESULT_CHANNELS: Final = 64
_WIDEST: Final = 512
#: A module has at most this many times the parameters of its file, and a few more: some have
#: layers for training.
_MORE: Final = 8
_SPARE_TENSORS: Final = 1000
_SPARE_NUMBERS: Final = 10_000_000


def spandrel_graph(tensors: Tensors) -> Graph:
    """Return a graph of one node that holds a module of spandrel.

    Raises `MissingExtraError` if torch or spandrel cannot be imported, and `GraphError` if spandrel
    has no such architecture, or the network does not map a picture to a picture.
    """
    try:
        import spandrel
        import torch
    except (ImportError, RuntimeError) as error:  # torchvision of another build of torch
        missing = isinstance(error, ModuleNotFoundError)
        why = "is not installed" if missing else f"cannot be imported ({first_line(error)})"
        raise MissingExtraError(
            f"spandrel, which reads more architectures, {why}; run `pip install spandrel`"
        ) from error
    state = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    try:
        with torch.no_grad(), _bounded(tensors):
            model = spandrel.ModelLoader().load_from_state_dict(state)
    except spandrel.UnsupportedModelError as error:
        raise GraphError("spandrel has no such architecture") from error
    except Exception as error:  # a state dict that an architecture misreads raises anything
        raise GraphError(f"spandrel cannot build a network: {reason(error)}") from error
    channels = (model.input_channels, model.output_channels)
    if not isinstance(model, spandrel.ImageModelDescriptor) or channels not in ((1, 1), (3, 3)):
        raise GraphError(
            f"the network ({model.architecture.name}) maps {channels[0]} channels to "
            f"{channels[1]}; it must map RGB to RGB, or gray to gray"
        )
    widest = min(_WIDEST, max(len(value) for value in state.values() if value.dim() > 1))
    op = ExternalModel(
        "torch",
        model.architecture.name,
        _module(model),
        channels[1],
        sum(parameter.numel() for parameter in model.model.parameters()),
        model.scale,
        lost=0,
        multiple=model.size_requirements.multiple_of,
        reach=None,
        bytes_per_pixel=4 * (_LIVE * widest + _RESULT_CHANNELS * model.scale**2),
    )
    graph = Graph(
        [Node("output", op, ("input",))], output="output", inputs=(Input("input", channels[0]),)
    )
    return on_luma(graph) if channels == (1, 1) else graph


@contextmanager
def _bounded(tensors: Tensors) -> Iterator[None]:
    """Refuse modules with far more parameters than the file, in this thread.

    An architecture takes depth and width from names and shapes, which a file can choose freely.
    """
    from torch.nn.modules.module import register_module_parameter_registration_hook

    thread = threading.get_ident()
    most = _MORE * len(tensors) + _SPARE_TENSORS
    most_numbers = _MORE * sum(value.size for value in tensors.values()) + _SPARE_NUMBERS
    made = numbers = 0

    def count(module: Any, name: str, parameter: Any) -> None:
        nonlocal made, numbers
        if threading.get_ident() != thread:
            return
        made += 1
        numbers += parameter.numel()
        if made > most or numbers > most_numbers:
            raise GraphError("it has far more parameters than the file")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _module(descriptor: Any) -> Any:
    """Return a module that pads, runs and clamps as the descriptor does."""
    import torch

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = descriptor.model
            self.descriptor = descriptor

        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.descriptor(picture.contiguous())
            return result

    return Module().eval()
