"""Contestants: the engines of the package, and the peers used directly.

The libraries of a contestant are imported when it loads a network. A process that runs one
contestant holds nothing of the others, and a missing library affects only its own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from waifu2x import engines
from waifu2x.errors import ArgumentError
from waifu2x.network import registry
from waifu2x.network.graph import Graph

from ..common.engines import CPU_ENGINES, require_engine
from ..common.measure import Result
from ..common.pictures import Batch

Run: TypeAlias = Callable[[Batch], Batch]


@dataclass(frozen=True)
class Job:
    """A network to load. onnx: its file with a fixed input size, see `write_onnx`."""

    model: str
    scale: int
    noise: registry.Level | None
    threads: int
    onnx: Path

    @cached_property
    def graph(self) -> Graph:
        return registry.load(network(self.model, self.scale, self.noise))

    @property
    def ncnn(self) -> tuple[str, str]:
        """Paths of the layers and the weights in ncnn's format."""
        param, weights = (
            str(resources.files(file.package).joinpath(file.path))
            for file in network(self.model, self.scale, self.noise).files
        )
        return param, weights


@dataclass(frozen=True)
class Contestant:
    """A way to run a network.

    engine: name of an engine of the package; None for a peer.
    capped: whether the environment variables of `CAPS` take effect.
    """

    name: str
    detail: str
    load: Callable[[Job], Run]
    capped: bool = False
    engine: str | None = None

    def result(self, cap: str | None = None) -> Result:
        """Return an empty result."""
        uncapped = cap is not None and not self.capped
        return Result(self.name, self.engine is not None, self.detail, uncapped=uncapped)


def network(model: str, scale: int, noise: registry.Level | None) -> registry.Network:
    """Look up a network. Raises `ArgumentError` if the model does not have it."""
    found = registry.model(model).network(scale, noise)
    if found is None:
        raise ArgumentError(f"model {model} has no {scale}x network for noise {noise}")
    return found


def least_noise(model: str, scale: int) -> registry.Level | None:
    """None if the model has a network without noise reduction, else its lowest noise level.

    Raises `ArgumentError` if the model has no network at this scale.
    """
    entry = registry.model(model)
    levels = entry.noise_levels(scale)
    if entry.network(scale, None) or not levels:
        return network(model, scale, None).noise
    return levels[0]


def write_onnx(graph: Graph, path: Path, *, side: int) -> Path:
    """Write the network as in the weights, with a fixed input size: the fastest form for peers."""
    from waifu2x.network.writers.onnx import to_onnx

    path.write_bytes(to_onnx(graph, batch=1, size=(side, side)).SerializeToString())
    return path


def contestants(without: Sequence[str] = ()) -> list[Contestant]:
    """All contestants but those with one of the words ``without`` in their name.

    Engine cuda is not among them: it computes in half precision, needs a GPU, and has a benchmark
    of its own.
    """
    everyone = [
        *(
            Contestant(
                f"waifu2x {name}",
                f"engine {name} of this package",
                _ours(name),
                capped=name != "onnx",  # which is onnxruntime
                engine=name,
            )
            for name in CPU_ENGINES
        ),
        Contestant(
            "ncnn fp32",
            "fp16 and bf16 storage, packing and arithmetic off",
            partial(Ncnn, float32=True),
        ),
        Contestant("ncnn default", "default options", Ncnn),
        Contestant(
            "openvino fp32",
            "ONNX of fixed size, latency hint, precision hint f32",
            _openvino(float32=True),
            capped=True,
        ),
        Contestant(
            "openvino default",
            "ONNX of fixed size, latency hint",
            _openvino(float32=False),
            capped=True,
        ),
        Contestant("onnxruntime", "ONNX of fixed size, default options", _onnxruntime),
        Contestant("torch eager", "conv2d and conv_transpose2d, NCHW", _torch_eager, capped=True),
    ]
    return [each for each in everyone if not any(word in each.name for word in without)]


def _ours(name: str) -> Callable[[Job], Run]:
    def load(job: Job) -> Run:
        engine = engines.create(name, threads=job.threads)
        require_engine(engine, name)
        return engine.compile(job.graph).run

    return load


class Ncnn:
    """A network in ncnn, on the CPU.

    float32: switch storage, packing and arithmetic of 16 bits off.
    """

    def __init__(self, job: Job, *, float32: bool = False) -> None:
        import ncnn  # type: ignore[import-untyped,import-not-found,unused-ignore]

        self._net, self._mat = ncnn.Net(), ncnn.Mat
        options = self._net.opt
        options.use_vulkan_compute = False
        options.num_threads = job.threads
        if float32:
            options.use_fp16_packed = options.use_fp16_storage = False
            options.use_bf16_packed = options.use_bf16_storage = False
            options.use_fp16_arithmetic = False
        param, weights = job.ncnn
        for status in (self._net.load_param(param), self._net.load_model(weights)):
            if status != 0:
                raise RuntimeError(f"ncnn cannot load the weights: {status}")
        (self._source,), (self._target,) = self._net.input_names(), self._net.output_names()
        # The file of a 4x Real-CUGAN leaves its last step to the program; the reader adds it.
        self._enlarged = 0 if self._target == job.graph.output else job.scale
        self._lost = job.graph.lost

    def __call__(self, batch: Batch) -> Batch:
        result: Batch = np.array(self.extract(batch[0]))[None]
        if self._enlarged:
            lost = self._lost
            inner = batch[:, :, lost : batch.shape[2] - lost, lost : batch.shape[3] - lost]
            result += inner.repeat(self._enlarged, 2).repeat(self._enlarged, 3)
        return result

    def extract(self, picture: Batch) -> Any:
        """Run the file as it is on (C, H, W), and return ncnn's own array."""
        extractor = self._net.create_extractor()
        # The Mat refers to the memory of ``picture``, which outlives the run.
        extractor.input(self._source, self._mat(picture))
        status, result = extractor.extract(self._target)
        if status != 0:
            raise RuntimeError(f"ncnn cannot run the network: {status}")
        return result


class _OpenVino:
    """A compiled OpenVINO model as a function that can list its kernels."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def __call__(self, batch: Batch) -> Batch:
        result: Batch = self._compiled(batch)[0]
        return result

    def kernels(self) -> list[str]:
        """Names of the convolution kernels; the last part of a name is the number type."""
        found = set()
        for operation in self._compiled.get_runtime_model().get_ordered_ops():
            facts = operation.get_rt_info()
            if facts["layerType"].astype(str) in ("Convolution", "Deconvolution"):
                found.add(facts["primitiveType"].astype(str))
        return sorted(found)


def _openvino(*, float32: bool) -> Callable[[Job], Run]:
    def load(job: Job) -> Run:
        import openvino  # type: ignore[import-untyped,import-not-found,unused-ignore]

        core = openvino.Core()
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": job.threads,
        }
        if float32:
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        return _OpenVino(core.compile_model(core.read_model(str(job.onnx)), "CPU", settings))

    return load


def kernels(run: Run) -> list[str]:
    """Convolution kernels as reported by the runtime; empty if it reports none."""
    return run.kernels() if isinstance(run, _OpenVino) else []


def _onnxruntime(job: Job) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    session = onnxruntime.InferenceSession(
        str(job.onnx), options, providers=["CPUExecutionProvider"]
    )
    (source,) = (value.name for value in session.get_inputs())

    def run(batch: Batch) -> Batch:
        result: Batch = session.run(None, {source: batch})[0]
        return result

    return run


def _torch_eager(job: Job) -> Run:
    import torch

    from ..common.torch_eager import eager

    torch.set_num_threads(job.threads)
    return eager(job.graph)
