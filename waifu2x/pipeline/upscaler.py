"""The public face: one call for one picture, and `Upscaler` to keep networks loaded."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypedDict, TypeVar, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from .. import codec
from ..errors import ArgumentError
from ..picture import Picture
from .auto_noise import Noise, resolve_noise
from .options import UpscalerKeywords, UpscalerOptions
from .pipeline import Pipeline
from .progress import ProgressCallback

if TYPE_CHECKING:
    from typing_extensions import Unpack

Array: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32]
AnyArray = TypeVar(
    "AnyArray", npt.NDArray[np.uint8], npt.NDArray[np.uint16], npt.NDArray[np.float32]
)
_File: TypeAlias = str | os.PathLike[str] | Image.Image


class RunKeywords(TypedDict, total=False):
    """The keyword arguments of `Upscaler.upscale` other than scale and noise."""

    width: int | None
    height: int | None
    progress: ProgressCallback | None
    cancel: threading.Event | None


class UpscaleKeywords(UpscalerKeywords, RunKeywords, total=False):
    """The keyword arguments of `upscale`."""


class Upscaler:
    """A model on an engine, kept loaded for many pictures.

    Safe to call from several threads at once. Copies made by pickle load their networks again.
    """

    def __init__(self, model: str = "cunet", **options: Unpack[UpscalerKeywords]) -> None:
        """Choose a model and how to run it; networks are loaded when first needed.

        The arguments are the fields of `waifu2x.pipeline.options.UpscalerOptions`. Raises
        `ArgumentError` for a value that is not allowed, and `MissingExtraError` if the engine
        needs torch and torch is not installed.
        """
        self.options = UpscalerOptions(model, **options)
        self.pipeline = Pipeline(self.options)

    @classmethod
    def from_options(cls, options: UpscalerOptions) -> Upscaler:
        """Create an upscaler from its options."""
        upscaler = cls.__new__(cls)
        upscaler.options, upscaler.pipeline = options, Pipeline(options)
        return upscaler

    def __reduce__(self) -> tuple[Callable[[UpscalerOptions], Upscaler], tuple[UpscalerOptions]]:
        return Upscaler.from_options, (self.options,)

    def with_threads(self, threads: int) -> Upscaler:
        """Create the same upscaler with another number of threads."""
        return Upscaler.from_options(replace(self.options, threads=threads))

    @overload
    def upscale(
        self,
        image: AnyArray,
        scale: float | None = None,
        *,
        noise: Noise = None,
        **keywords: Unpack[RunKeywords],
    ) -> AnyArray: ...

    @overload
    def upscale(
        self,
        image: _File,
        scale: float | None = None,
        *,
        noise: Noise = None,
        **keywords: Unpack[RunKeywords],
    ) -> Image.Image: ...

    def upscale(
        self,
        image: _File | Array,
        scale: float | None = None,
        *,
        noise: Noise = None,
        width: int | None = None,
        height: int | None = None,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Image.Image | Array:
        """Upscale and denoise one picture.

        image: a path or a PIL image, for a PIL image (8 bits per sample if Pillow has no mode with
            more; `waifu2x.upscale_file` keeps 16); or an array (H, W), (H, W, 1), (H, W, 2: gray
            and alpha), (H, W, 3: RGB) or (H, W, 4: RGBA) of uint8, uint16, or float32 in [0, 1],
            for an array of the same dtype and channels.
        scale: enlargement, any number above 0; 2 if no size is given. 1 only denoises; 2, 4 and 8
            are repeated passes; other ratios are upscaled to the next power of two and downscaled.
        noise: level of JPEG noise to remove, 0 (least) to 3; None for none; "auto" chooses by the
            quality of a JPEG, and none for lossless pictures.
        width, height: size of the result instead of a scale; the aspect is kept if only one is
            given.
        progress: receives the share of the work that is done, 0 to 1, after every tile.
        cancel: an event that stops the work before the next tile.

        Returns a new picture; the input is not changed. Raises `ArgumentError` for a value that
        is not allowed, `DecodeError` for a file that is no still picture, `LimitError` beyond the
        limit in pixels, `WeightsError`, `EngineError`, and `CancelledError` if ``cancel`` was set.
        """
        picture = self._picture(image)
        level, _ = resolve_noise(noise, picture)
        request = self.pipeline.request(
            picture, scale=scale, width=width, height=height, noise=level
        )
        fits = isinstance(image, np.ndarray) or (picture.gray and picture.alpha is None)
        result = self.pipeline.run(
            picture, request, dtype=None if fits else np.uint8, progress=progress, cancel=cancel
        )
        if isinstance(image, np.ndarray):
            return codec.to_array(result, like=image)
        return codec.to_image(result)

    def _picture(self, image: _File | Array) -> Picture:
        if isinstance(image, np.ndarray):
            return codec.from_array(image)
        if isinstance(image, Image.Image):
            return codec.from_image(image)
        if isinstance(image, str | os.PathLike):
            return codec.decode(Path(image), max_pixels=self.options.limit)
        raise ArgumentError(
            f"image is a {type(image).__name__}; allowed are a path, a PIL image or a NumPy array"
        )


# Tools show the options by their names, types and defaults.
Upscaler.__signature__ = inspect.signature(UpscalerOptions)  # type: ignore[attr-defined]


@overload
def upscale(
    image: AnyArray,
    scale: float | None = None,
    noise: Noise = None,
    model: str = "cunet",
    **keywords: Unpack[UpscaleKeywords],
) -> AnyArray: ...


@overload
def upscale(
    image: _File,
    scale: float | None = None,
    noise: Noise = None,
    model: str = "cunet",
    **keywords: Unpack[UpscaleKeywords],
) -> Image.Image: ...


def upscale(
    image: _File | Array,
    scale: float | None = None,
    noise: Noise = None,
    model: str = "cunet",
    *,
    width: int | None = None,
    height: int | None = None,
    progress: ProgressCallback | None = None,
    cancel: threading.Event | None = None,
    **options: Unpack[UpscalerKeywords],
) -> Image.Image | Array:
    """Upscale and denoise one picture; `Upscaler` is faster for many.

    The arguments and errors are those of `Upscaler` and `Upscaler.upscale`.
    """
    return Upscaler(model, **options).upscale(
        image, scale, noise=noise, width=width, height=height, progress=progress, cancel=cancel
    )
