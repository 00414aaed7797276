"""Every way to run a network: the engines of ours, and the peers used directly.

What one of them needs is imported when it is loaded, so that a process that runs one of them holds
nothing of the others, and a missing one is missed by itself alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from _measure import Result

from waifu2x import engines, registry
from waifu2x.errors import ArgumentError
from waifu2x.graph import Graph

Batch: TypeAlias = npt.NDArray[np.float32]
Run: TypeAlias = Callable[[Batch], Batch]


@dataclass(frozen=True)
class Job:
    """A network to load. onnx: a file with it at a fixed size, as `write_onnx` writes it."""

    model: str
    scale: int
    noise: int | None
    threads: int
    onnx: Path

    @cached_property
    def graph(self) -> Graph:
        return registry.load(network(self.model, self.scale, self.noise))

    @property
    def ncnn(self) -> tuple[str, str]:
        """The files of the weights package: layers and weights."""
        param, weights = (
            str(resources.files(file.package).joinpath(file.path))
            for file in network(self.model, self.scale, self.noise).files
        )
        return param, weights


@dataclass(frozen=True)
class Contestant:
    """A way to run a network.

    engine: name of an engine of ours; None for a peer.
    capped: whether the environment variables of `_processes.CAPS` reach it.
    """

    name: str
    detail: str
    load: Callable[[Job], Run]
    capped: bool
    engine: str | None = None

    def result(self, cap: str | None = None) -> Result:
        """Room for what will be measured."""
        uncapped = cap is not None and not self.capped
        return Result(self.name, self.engine is not None, self.detail, uncapped=uncapped)


def network(model: str, scale: int, noise: int | None) -> registry.Network:
    """Raises `ArgumentError` if there is none."""
    found = registry.model(model).network(scale, noise)
    if found is None:
        raise ArgumentError(f"model {model} has no {scale}x network for noise {noise}")
    return found


def least_noise(model: str, scale: int) -> int | None:
    """None where a model has a network at this scale that leaves noise alone, else its least level.

    Raises `ArgumentError` if it has no network at this scale.
    """
    entry = registry.model(model)
    levels = entry.noise_levels(scale)
    if entry.network(scale, None) or not levels:
        return network(model, scale, None).noise
    return levels[0]


def write_onnx(graph: Graph, path: Path, *, side: int) -> Path:
    """The network as it is in the weights, at a fixed size: the most favourable form."""
    from waifu2x.formats.onnx import to_onnx

    path.write_bytes(to_onnx(graph, batch=1, size=(side, side)).SerializeToString())
    return path


def contestants(without: Sequence[str] = ()) -> list[Contestant]:
    """Who takes part; without: words of names of those who do not."""
    everyone = [
        *(
            Contestant(
                f"waifu2x {name}",
                f"engine {name} of this package",
                _ours(name),
                capped=name != "onnx",  # that one is onnxruntime
                engine=name,
            )
            for name in engines.ENGINES
        ),
        Contestant(
            "ncnn fp32",
            "fp16 and bf16 storage, packing and arithmetic off",
            _ncnn(float32=True),
            capped=False,
        ),
        Contestant("ncnn default", "default options", _ncnn(float32=False), capped=False),
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
        Contestant(
            "onnxruntime", "ONNX of fixed size, default options", _onnxruntime, capped=False
        ),
        Contestant(
            "torch eager", "conv2d and conv_transpose2d, NCHW", _torch_functions, capped=True
        ),
    ]
    return [one for one in everyone if not any(word in one.name for word in without)]


def _ours(engine: str) -> Callable[[Job], Run]:
    def load(job: Job) -> Run:
        return engines.create(engine, threads=job.threads).compile(job.graph).run

    return load


def _ncnn(*, float32: bool) -> Callable[[Job], Run]:
    def load(job: Job) -> Run:
        import ncnn  # type: ignore[import-untyped,import-not-found,unused-ignore]

        net = ncnn.Net()
        net.opt.use_vulkan_compute = False
        net.opt.num_threads = job.threads
        if float32:
            net.opt.use_fp16_packed = net.opt.use_fp16_storage = False
            net.opt.use_bf16_packed = net.opt.use_bf16_storage = False
            net.opt.use_fp16_arithmetic = False
        param, weights = job.ncnn
        for loaded in (net.load_param(param), net.load_model(weights)):
            if loaded != 0:
                raise RuntimeError(f"ncnn cannot load the weights: {loaded}")
        (source,), (target,) = net.input_names(), net.output_names()

        def run(batch: Batch) -> Batch:
            extractor = net.create_extractor()
            picture = batch[0]  # held here, since the Mat does not hold it
            mat = ncnn.Mat(picture)
            extractor.input(source, mat)
            status, result = extractor.extract(target)
            if status != 0:
                raise RuntimeError(f"ncnn cannot run the network: {status}")
            return np.array(result)[None]

        return run

    return load


class _OpenVino:
    """A compiled model as a function, which can tell what it computes with."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def __call__(self, batch: Batch) -> Batch:
        result: Batch = self._compiled(batch)[0]
        return result

    def kernels(self) -> list[str]:
        """Names of the kernels of its convolutions; the last part is the type of number."""
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
    """What a loaded network says that it computes convolutions with; empty if it says nothing."""
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


def _torch_functions(job: Job) -> Run:
    import torch
    from _torch_eager import eager

    torch.set_num_threads(job.threads)
    return eager(job.graph)
