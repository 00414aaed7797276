"""Upscale and denoise anime pictures with the official waifu2x networks.

>>> import numpy as np
>>> import waifu2x
>>> big = waifu2x.upscale("in.png", scale=2)  # a path or PIL image gives a PIL image
>>> upscaler = waifu2x.Upscaler(model="upconv_7")  # keeps its networks loaded
>>> array = np.asarray(big)
>>> upscaler.upscale(array, scale=1.5, noise=1).shape  # an array gives an array
(108, 120, 3)

Files are animations and comic archives too. Videos keep all their streams:

>>> waifu2x.upscale_file("in.gif", "out.webp", upscaler=upscaler).size_out
(48, 40)
>>> waifu2x.upscale_video("in.mkv", "out.mkv", upscaler=upscaler).size_out
(80, 72)
>>> for result in waifu2x.upscale_many("pictures/*.jpg", "out", upscaler=upscaler):
...     print(result.source.name, result.status)  # the work is done while it is iterated
1.jpg done

docs/python.md is the guide, docs/reference.md lists every function and option.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from . import errors
    from .batch import BatchOptions, BatchResult, BatchResults, upscale_many
    from .errors import (
        ArgumentError,
        CancelledError,
        DecodeError,
        DeviceLostError,
        DeviceMemoryError,
        EncodeError,
        EngineError,
        GraphError,
        LimitError,
        MissingExtraError,
        OutputExistsError,
        SkippedError,
        Waifu2xError,
        WeightsError,
    )
    from .files import FileResult, upscale_file, upscale_video
    from .files.task import Options
    from .network.registry import Model, Network, models
    from .pipeline.options import UpscalerOptions
    from .pipeline.upscaler import Upscaler, upscale
    from .video.frames import iter_frames
else:
    #: Module -> its public names, imported on first access (PEP 562).
    _MODULES = {
        "batch": ("BatchOptions", "BatchResult", "BatchResults", "upscale_many"),
        "errors": (
            *("ArgumentError", "CancelledError", "DecodeError", "DeviceLostError"),
            *("DeviceMemoryError", "EncodeError", "EngineError", "GraphError", "LimitError"),
            *("MissingExtraError", "OutputExistsError", "SkippedError", "Waifu2xError"),
            "WeightsError",
        ),
        "files": ("FileResult", "upscale_file", "upscale_video"),
        "files.task": ("Options",),
        "network.registry": ("Model", "Network", "models"),
        "pipeline.options": ("UpscalerOptions",),
        "pipeline.upscaler": ("Upscaler", "upscale"),
        "video.frames": ("iter_frames",),
    }
    _MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

    def __getattr__(name):
        """Import a public name on first access: the package itself imports nothing."""
        from importlib import import_module

        if name == "errors":
            return import_module(".errors", __name__)
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
        globals()[name] = value
        return value


__all__ = [
    "ArgumentError",
    "BatchOptions",
    "BatchResult",
    "BatchResults",
    "CancelledError",
    "DecodeError",
    "DeviceLostError",
    "DeviceMemoryError",
    "EncodeError",
    "EngineError",
    "FileResult",
    "GraphError",
    "LimitError",
    "MissingExtraError",
    "Model",
    "Network",
    "Options",
    "OutputExistsError",
    "SkippedError",
    "Upscaler",
    "UpscalerOptions",
    "Waifu2xError",
    "WeightsError",
    "__version__",
    "errors",
    "iter_frames",
    "models",
    "upscale",
    "upscale_file",
    "upscale_many",
    "upscale_video",
]


def __dir__() -> list[str]:
    """The public names: submodules are details."""
    return sorted(__all__)
