"""Upscale and denoise anime pictures with the official waifu2x networks.

>>> import waifu2x
>>> big = waifu2x.upscale("in.png", scale=2)          # a path or PIL image gives a PIL image
>>> upscaler = waifu2x.Upscaler(model="upconv_7")      # keeps its networks loaded
>>> big = upscaler.upscale(array, scale=4, noise=1)    # an array gives an array
>>> waifu2x.upscale_file(upscaler, "in.gif", "out.webp")  # animations and comic archives too
>>> for result in waifu2x.upscale_many("folder", "out"):  # whole libraries
...     print(result.source, result.status)
"""

from typing import TYPE_CHECKING, Any

from . import errors
from ._version import __version__
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
from .files import FileResult, upscale_file
from .files.task import Options
from .network.registry import Model, Network, models
from .pipeline.upscaler import Upscaler, upscale

if TYPE_CHECKING:
    from .batch import BatchResult, upscale_many

__all__ = [
    "ArgumentError",
    "BatchResult",
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
    "Waifu2xError",
    "WeightsError",
    "__version__",
    "errors",
    "models",
    "upscale",
    "upscale_file",
    "upscale_many",
]


def __getattr__(name: str) -> Any:
    """Load the package for batches on first access."""
    if name in ("BatchResult", "upscale_many"):
        from . import batch

        return getattr(batch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
