"""Execution providers of onnxruntime: GPUs and other devices, as far as the user installed them.

Providers are built into packages such as onnxruntime-directml, or come as plugins in packages
named onnxruntime-ep-*. Written from the documentation
(https://onnxruntime.ai/docs/execution-providers/); OpenVINO has run, on a CPU. Every device passes
the self-test of `waifu2x.engines.self_test` before its first picture.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import numpy as np
import onnxruntime

from .._record import record
from ..errors import EngineError
from ..network.graph import Conv, Graph, Input, Node
from ..network.writers.onnx import to_onnx
from .base import first_line

#: Names of the providers by the kinds of devices, and the packages that bring them.
_PROVIDERS: Final = {
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime (on macOS)"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-ep-openvino"),
    "webgpu": ("WebGpuExecutionProvider", "onnxruntime-ep-webgpu"),
}

_PLUGINS: Final = "onnxruntime_ep_"

#: What precedes the reason in many messages: the source line and the condition that failed.
_LOCATION: Final = re.compile(r"^\S+:\d+ .* was (?:true|false)\. (?=.)")

_lock = threading.Lock()


@record
class Provider:
    """A provider on one device.

    name: of onnxruntime. identity: device and runtime, for the self-test. options: for a built-in
    provider. plugin: the device of a plugin, else None.
    """

    name: str
    identity: str
    options: dict[str, str]
    plugin: Any = None

    def session(self, model: Any, options: onnxruntime.SessionOptions) -> Any:
        """Return a session; operations that the provider lacks run on the CPU.

        Raises `EngineError` if it has not the provider, and the errors of onnxruntime.
        """
        providers = None
        if self.plugin is not None:
            options.add_provider_for_devices([self.plugin], {})
        else:
            providers = [(self.name, self.options), "CPUExecutionProvider"]
        # Without its own fallback to the CPU, which prints to stdout.
        session = onnxruntime.InferenceSession(
            model, options, providers=providers, enable_fallback=0
        )
        if self.name not in session.get_providers():
            raise self._failure("onnxruntime leaves it out")
        return session

    def start(self) -> None:
        """Raise `EngineError` if a smallest network does not run on the device."""
        conv = Conv(np.ones((3, 3, 1, 1), np.float32), np.zeros(3, np.float32))
        graph = Graph([Node("conv", conv, ("input",))], output="conv", inputs=(Input("input", 3),))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # the error below says it
        try:
            session = self.session(to_onnx(graph).SerializeToString(), options)
            session.run(None, {"input": np.zeros((1, 3, 4, 4), np.float32)})
        except EngineError:
            raise
        except Exception as error:  # onnxruntime raises plain Exceptions of several kinds
            raise self._failure(_LOCATION.sub("", first_line(error))) from error

    def _failure(self, reason: str) -> EngineError:
        return EngineError(
            f"{self.name} of onnxruntime does not start on this machine: {reason}; "
            "choose `engine='native'`"
        )


def find(kind: str, number: int | None) -> Provider:
    """Return the provider for a device such as ("directml", 0).

    Raises `EngineError` for a provider that is not installed, or a device that is not there.
    """
    name, package = _PROVIDERS[kind]
    version = f"onnxruntime {onnxruntime.__version__}"
    if name in onnxruntime.get_available_providers():
        return Provider(name, f"{name} {number or 0}, {version}", _options(kind, number))
    # OpenVINO also offers the CPU and NPUs; built in, it is asked for the GPU, too.
    found = [
        device
        for device in _plugin_devices()
        if device.ep_name == name and device.device.type == onnxruntime.OrtHardwareDeviceType.GPU
    ]
    if len(found) > (number or 0):
        device = found[number or 0]
        hardware = device.device
        identity = f"{name} {hardware.vendor} {hardware.device_id} {device.ep_metadata}, {version}"
        return Provider(name, identity, {}, device)
    if any(_plugin_name(module) == name for module in _plugins()):
        there = f"{len(found)} devices" if found else "no device"
        raise EngineError(
            f"device is {kind}:{number or 0}, and {name} of onnxruntime finds {there}; "
            "choose `engine='native'`"
        )
    raise EngineError(
        f"device {kind} needs {name} of onnxruntime, which is not installed; "
        f"run `pip install {package}`, or choose `engine='native'`"
    )


def installed() -> list[str]:
    """Return the kinds of devices whose providers are installed."""
    names = {*onnxruntime.get_available_providers(), *map(_plugin_name, _plugins())}
    return [kind for kind, (name, _) in _PROVIDERS.items() if name in names]


def _options(kind: str, number: int | None) -> dict[str, str]:
    if kind in ("cuda", "directml"):
        return {"device_id": str(number or 0)}
    if kind == "openvino":
        return {"device_type": "GPU" if number is None else f"GPU.{number}"}
    if kind == "coreml":
        return {"ModelFormat": "MLProgram"}
    return {}


@cache
def _plugins() -> tuple[Any, ...]:
    """Return the packages of plugins; a broken one is left out."""
    return tuple(_imported())


def _imported() -> Iterator[Any]:
    for found in pkgutil.iter_modules():
        if found.name.startswith(_PLUGINS):
            try:
                module = importlib.import_module(found.name)
                module.get_ep_name()
            except Exception:  # of another package, of any kind
                continue
            yield module


def _plugin_name(module: Any) -> str:
    return str(module.get_ep_name())


@cache
def _register(module: Any) -> None:
    onnxruntime.register_execution_provider_library(module.__name__, module.get_library_path())


def _plugin_devices() -> list[Any]:
    with _lock:
        for module in _plugins():
            try:
                _register(module)
            except Exception as error:  # onnxruntime raises plain Exceptions of several kinds
                raise EngineError(
                    f"{module.__name__} does not fit onnxruntime {onnxruntime.__version__}: "
                    f"{str(error).splitlines()[0]}"
                ) from error
        return list(onnxruntime.get_ep_devices())
