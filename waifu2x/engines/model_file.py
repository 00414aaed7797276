"""Reads a model file for the engine that can run it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np

from .._text import shown
from ..errors import EngineError, GraphError, MissingExtraError
from ..network.graph import Graph

_log = logging.getLogger(__name__)


def read_model(path: str | os.PathLike[str]) -> Graph:
    """Read a network; if its operations are not known, for the one engine that runs it.

    An ONNX model with other operations runs on engine onnx, a state dict of another architecture
    on engine torch with spandrel.

    Raises `WeightsError` if the file cannot be read, `GraphError` for what is in it, and
    `EngineError` for an ONNX model that onnxruntime does not run or whose geometry is unknown.
    """
    from ..network.readers.file import about, read_file, read_tensors  # loaded when needed
    from ..network.readers.tensors import quoted

    path = Path(path)
    try:
        return read_file(path)
    except GraphError as error:
        refused = error
    if path.suffix.lower() == ".onnx":
        _log.debug("%s: engine onnx runs the file as it is", refused)
        return _onnx(path)
    try:
        tensors = read_tensors(path)
    except GraphError:
        raise refused from None
    if tensors is None:
        raise refused
    for name, value in tensors.items():
        if not np.isfinite(value).all():
            what = f"the tensor {quoted(name)} has values that are not finite"
            raise GraphError(about(path, GraphError(what))) from None
    from .spandrel_model import spandrel_graph  # loaded when needed

    try:
        return spandrel_graph(tensors)
    except (GraphError, MissingExtraError) as error:
        raise GraphError(f"{refused}; {error}") from error


def _onnx(path: Path) -> Graph:
    from ..network.readers.file import about  # loaded when needed
    from .onnx_model import measure_onnx

    try:
        graph = measure_onnx(path.read_bytes())
    except (EngineError, GraphError) as error:
        raise type(error)(about(path, error)) from error
    if graph.channels != (3, 3):
        raise GraphError(
            f"{shown(path.name)}: the model takes {graph.channels[0]} channel; it must take RGB"
        )
    return graph
