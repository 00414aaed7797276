"""The options of a picture, and of an `Upscaler`: how to run a model."""

from __future__ import annotations

import os
from dataclasses import field
from numbers import Real
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict

import numpy as np

from .. import engines
from .._record import record
from .._text import unknown
from ..codec import pixel_limit
from ..errors import ArgumentError
from ..network import model_files, registry
from .arguments import Allowed, check, choice, flag, optional, positive, share, text, whole
from .auto_noise import ALLOWED_NOISE, Noise
from .request import MOST_SIDE

EngineName: TypeAlias = Literal["auto", "native", "onnx", "torch", "cuda", "vulkan"]
Precision: TypeAlias = Literal["auto", "fp32", "fp16", "bf16"]

_SIDE = optional(
    whole(f"it must be a whole number of pixels, 1 to {MOST_SIDE}", least=1, most=MOST_SIDE)
)


def _noise(value: object) -> Noise:
    if value is None or (isinstance(value, str) and value in ("auto", "conservative")):
        return value  # type: ignore[return-value]
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError
    level = float(value)
    if not 0 <= level <= 3:
        raise ValueError
    return int(level) if level.is_integer() else level


def _model(value: object) -> str:
    """Return the name of a model, or the path of a file; raises `ArgumentError` for others."""
    name = os.fspath(value)  # type: ignore[call-overload]
    if not isinstance(name, str):
        raise TypeError
    if name in [model.name for model in registry.models()]:
        return name
    path = model_files.find(name)
    if path is None:
        raise ArgumentError(unknown("model", name, registry.known_names()))
    return path


_PICTURE = {
    "scale": optional(positive("it must be a number above 0, for example 2, 1.5 or 0.5")),
    "width": _SIDE,
    "height": _SIDE,
    "noise": Allowed(ALLOWED_NOISE, _noise),
    "strength": share("it must be a number from 0 to 1, for example 0.7"),
    "color_fix": flag(),
}

_UPSCALER = {
    "engine": choice(["auto", *engines.ENGINES]),
    "threads": optional(whole("it must be a whole number, at least 1, or left out", least=1)),
    "device": optional(text(engines.ALLOWED_DEVICES)),
    "precision": choice(engines.PRECISIONS),
    "tile": whole("it must be 0 for automatic, or a side in px", least=0),
    "run_memory": optional(whole("it must be a positive number of bytes", least=1)),
    "tta": flag(),
    "max_pixels": optional(whole("it must be a whole number, at least 1", least=1)),
}


class SizeKeywords(TypedDict, total=False):
    """The fields of `PictureOptions` after ``scale``, as keyword arguments."""

    width: int | None
    height: int | None
    noise: Noise
    strength: float
    color_fix: bool


@record
class PictureOptions:
    """The size of a result, the noise to remove, and how much of the networks to use.

    scale: enlargement, any number above 0; 1 only denoises. None without a size means 2, or the
        scale of the network in a model file. A ratio that the networks of the model reach in one
        pass or several is exact; others are shrunk to.
    width, height: size of the result in pixels instead of a scale; the aspect is kept if only one
        is given.
    noise: level of JPEG noise to remove, 0 (least) to 3, or "conservative", as far as the model has
        it; a number between two of its levels, such as 1.5, mixes them; None for none. "auto", the
        default for a file, chooses by the quality of a JPEG, and none for other files. An array, or
        an image without a file, has no such quality: the default is None, and "auto" is an error.
    strength: share of the networks, 0 to 1; the rest is the plain Lanczos enlargement of the
        source. Alpha is not mixed.
    color_fix: match the low frequencies of the result to the source, for models that shift colors:
        flat areas keep exactly their color.

    Raises `ArgumentError` for a value that is not allowed.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    noise: Noise = "auto"
    strength: float = 1
    color_fix: bool = False

    def __post_init__(self) -> None:
        check(self, _PICTURE)
        if self.scale is not None and (self.width, self.height) != (None, None):
            raise ArgumentError(
                "a scale and a size are given; give `scale=`, or `width=` and `height=`"
            )


class UpscalerKeywords(TypedDict, total=False):
    """The fields of `UpscalerOptions` after ``model``, as keyword arguments."""

    engine: EngineName
    threads: int | None
    device: str | None
    precision: Precision
    tile: int
    run_memory: int | None
    tta: bool
    max_pixels: int | None


@record(kw_only=True)
class UpscalerOptions:
    """A model and how to run it; only ``model`` and ``tta`` change results by more than rounding.

    model: a name from `waifu2x.models`, such as "cunet", "upconv_7" or "realcugan"; the path of a
        model file (ncnn .param, .pth, .pt, .safetensors, .onnx, waifu2x .json, Chainer .npz); or
        the name of a file in the folder of the environment variable WAIFU2X_MODELS.
    engine: "native", "onnx", "torch" or "cuda" (both need ``torch``), "vulkan" (needs ``ncnn``), or
        "auto": the fastest of native, cuda and vulkan whose devices compute the model right.
    threads: threads inside one network run, at least 1; None lets the engine choose.
    device: for engines "cuda" and "vulkan", "cuda:0" (the default) or several, "cuda:0,cuda:1", for
        different pictures; for "torch" a device such as "mps" (default: "cpu"); for "onnx" an
        execution provider such as "directml".
    precision: "fp32", "fp16" or "bf16"; "auto" is fp16 on a GPU and fp32 elsewhere.
    tile: side of a tile in input pixels; 0 chooses one from ``run_memory``.
    run_memory: bytes that one network run may take, approximately. None means 512 MiB, or 2.25 GiB
        for a cunet run over a whole small picture, and at most a quarter of the machine's memory.
        A GPU uses the device memory that is free.
    tta: average the results of the eight rotated and mirrored pictures, at eight times the cost.
    max_pixels: limit for input pictures in pixels; a result, and any stage on the way, may have
        four times as many. None means the environment variable WAIFU2X_MAX_PIXELS, or 178,956,970.

    Raises `ArgumentError` for a value that is not allowed.

    >>> options = waifu2x.UpscalerOptions("upconv_7", threads=1)
    >>> waifu2x.Upscaler.from_options(options)
    Upscaler('upconv_7', engine='native', threads=1)
    >>> options == waifu2x.UpscalerOptions("upconv_7", threads=2)
    False
    """

    model: str | os.PathLike[str] = field(default="cunet", kw_only=False)
    engine: EngineName = "auto"
    threads: int | None = None
    device: str | None = None
    precision: Precision = "auto"
    tile: int = 0
    run_memory: int | None = None
    tta: bool = False
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        check(self, {"model": Allowed("it must be a name such as 'cunet', or a path", _model)})
        check(self, _UPSCALER)
        engines.check(
            self.engine, threads=self.threads, device=self.device, precision=self.precision
        )
        if self.max_pixels is None:  # read once: a pickled copy keeps the limit
            object.__setattr__(self, "max_pixels", pixel_limit())

    @property
    def name(self) -> str:
        """The name of the model; that of a file without its suffix."""
        known = [model.name for model in registry.models()]
        return self.model if self.model in known else Path(self.model).stem

    @property
    def limit(self) -> int:
        """The limit for input pictures in pixels."""
        assert self.max_pixels is not None
        return self.max_pixels
