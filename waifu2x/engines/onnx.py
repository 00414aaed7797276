"""Runs a graph in onnxruntime: on the CPU, or on a device of an execution provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnxruntime

from .._machine import processors
from ..errors import DeviceMemoryError, EngineError
from ..network.graph import ExternalModel, Graph
from ..network.rewrite import fold_scales, shuffle_transposed
from ..network.writers.onnx import to_onnx
from .base import check_runs, first_line
from .device import Batch
from .host import HostCompiled, HostEngine
from .names import split_device
from .onnx_providers import find

#: Parts of the messages with which onnxruntime reports a shortage of memory.
_OUT_OF_MEMORY: Final = ("bad_alloc", "bad allocation", "Failed to allocate memory")


class OnnxCompiled(HostCompiled):
    """A graph in an onnxruntime session; see `waifu2x.engines.base.Compiled`."""

    def __init__(self, graph: Graph, engine: OnnxEngine) -> None:
        self.graph = graph
        match [node.op for node in graph.nodes]:
            case [ExternalModel(model=model)]:
                pass
            case _:
                # With one tap, a sum over channels has one order anyway, and cunet would take 17%
                # longer.
                shuffled = shuffle_transposed(fold_scales(graph), least_taps=2)
                model = to_onnx(shuffled).SerializeToString()
        try:
            self._session = engine.load(model)
        except EngineError:
            raise
        except Exception as error:  # onnxruntime raises plain Exceptions of several kinds
            raise EngineError(
                f"onnxruntime cannot load this network: {first_line(error)}; "
                "choose `engine='native'`"
            ) from error

        picture, *means = self._session.get_inputs()
        self._picture = picture.name
        self._dtype = np.float16 if picture.type == "tensor(float16)" else np.float32
        #: Whether the file takes one picture at a time, as many models of other programs do.
        self._single = picture.shape[0] == 1
        self._means = [value.name for value in means]

    def run(self, batch: Batch, means: Sequence[Batch] = ()) -> Batch:
        """Run the network; see `waifu2x.engines.base.Compiled.run`."""
        if self._single and len(batch) > 1:
            many = [np.broadcast_to(mean, (len(batch), *mean.shape[1:])) for mean in means]
            runs = [self.run(batch[[i]], [mean[[i]] for mean in many]) for i in range(len(batch))]
            return np.concatenate(runs)
        feed = {self._picture: batch.astype(self._dtype, copy=False)}
        for name, given, mean in zip(self._means, self.graph.inputs[1:], means, strict=True):
            feed[name] = np.broadcast_to(mean, (batch.shape[0], given.channels, 1, 1))
        try:
            (result,) = self._session.run(None, feed)
        except Exception as error:
            reason = first_line(error)
            short = any(sign in reason for sign in _OUT_OF_MEMORY)
            size = f"{batch.shape[3]}x{batch.shape[2]} px"
            if short:
                raise DeviceMemoryError(
                    f"onnxruntime has not enough memory for an input of {size}; "
                    "a smaller `tile=` needs less"
                ) from error
            raise EngineError(
                f"onnxruntime failed on an input of {size}: {reason}; choose `engine='native'`"
            ) from error
        return np.asarray(result, np.float32)


class OnnxEngine(HostEngine):
    """onnxruntime; see `waifu2x.engines.base.Engine`."""

    name = "onnx"
    largest_batch = 8

    def __init__(self, *, threads: int | None = None, device: str = "cpu") -> None:
        """Make an engine for the CPU, or for a device of an execution provider.

        Raises `EngineError` for a provider that is not installed or does not start, or a device
        that is not there.
        """
        self.threads = threads or processors()
        self._limited = threads is not None
        ((kind, number),) = split_device(device)
        self._provider = None if kind == "cpu" else find(kind, number)
        if self._provider is not None:
            # A batch would report it for each of its files.
            self._provider.start()
            self.identities = {device: self._provider.identity}

    def load(self, model: Any) -> Any:
        """Return a session of onnxruntime; raises its errors."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only, because warnings are printed to stderr
        if self._limited:
            options.intra_op_num_threads = self.threads
            options.inter_op_num_threads = 1
        # Memory patterns are cached for every shape. Without them upconv_7 peaks at 616 MB instead
        # of 1042 MB on 15 tiles of several shapes, in the same time.
        options.enable_mem_pattern = False
        # Between tiles, idle workers release their cores to blending and encoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self._provider is not None:
            return self._provider.session(model, options)
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def compile(self, graph: Graph) -> OnnxCompiled:
        """Build the ONNX model and its session. Raises `EngineError`."""
        check_runs(graph, "onnx")
        return OnnxCompiled(graph, self)
