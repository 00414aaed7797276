"""The public face: one call for one picture, and `Upscaler` to keep networks loaded."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from .. import codec
from ..errors import ArgumentError
from ..picture import Picture
from .pipeline import NOISE_LEVELS, PictureUpscaler, ProgressCallback, Settings

Array: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32]
AnyArray = TypeVar(
    "AnyArray", npt.NDArray[np.uint8], npt.NDArray[np.uint16], npt.NDArray[np.float32]
)
Noise: TypeAlias = int | str | None


@dataclass(frozen=True, slots=True)
class _How:
    """What an upscaler was made with, besides its settings."""

    model: str
    engine: str
    threads: int | None
    device: str | None
    precision: str


class Upscaler:
    """A model on an engine, kept loaded for many pictures.

    Safe to call from several threads at once. How it is run does not change the result by more
    than rounding, except for ``tta``.
    """

    def __init__(
        self,
        model: str = "cunet",
        *,
        engine: str = "auto",
        threads: int | None = None,
        device: str | None = None,
        precision: str = "auto",
        tile: int = 0,
        memory: int | None = None,
        tta: bool = False,
        max_pixels: int | None = None,
    ) -> None:
        """Choose a model and how to run it; networks are loaded when first needed.

        model: a name from `waifu2x.models`, "cunet", "upconv_7" or "upconv_7_photo".
        engine: "native", "onnx", "torch" or "cuda" (these two need ``waifu2x-native[torch]``), or
            "auto": "cuda" where there is a GPU that torch can use, else "native".
        threads: threads inside one network run; None lets the engine choose.
        device: for engine "cuda" "cuda:0", the default, or several over which pictures are spread,
            "cuda:0,cuda:1"; for "torch" any torch device, such as "mps", the default being the CPU.
        precision: "fp32", "fp16" or "bf16"; "auto" is fp16 on a GPU and fp32 elsewhere.
        tile: side of a tile in input pixels; 0 chooses one from ``memory``.
        memory: bytes that one network run may take, about; None means 512 MiB, for a cunet run
            over a whole small picture 2.25 GiB, or a quarter of the machine's memory if that is
            less. What a GPU has of its own is used as it is free.
        tta: average over the eight turned and mirrored pictures, at eight times the cost.
        max_pixels: limit for input pictures in pixels (a result may have four times as many);
            None means the environment variable WAIFU2X_MAX_PIXELS, or 178,956,970.

        Raises `ArgumentError` for a value that is not allowed and `MissingExtraError` if torch is
        asked for and not installed.
        """
        limit = codec.pixel_limit() if max_pixels is None else max_pixels
        self._settings = Settings(tile=tile, memory=memory, tta=tta, max_pixels=limit)
        self._core = PictureUpscaler(
            model, engine=engine, threads=threads, device=device, precision=precision
        )
        self._how = _How(model, engine, threads, device, precision)

    def __reduce__(self) -> tuple[Callable[[_How, Settings], Upscaler], tuple[_How, Settings]]:
        """Upscalers can be pickled; the copy loads its networks again."""
        return _remade, (self._how, self._settings)

    def with_threads(self, threads: int) -> Upscaler:
        """The same, made anew with that many threads."""
        return _remade(replace(self._how, threads=threads), self._settings)

    @property
    def core(self) -> PictureUpscaler:
        """What works on `waifu2x.picture.Picture`, under this face."""
        return self._core

    @property
    def settings(self) -> Settings:
        """Tile, memory, TTA and pixel limit, as given."""
        return self._settings

    @overload
    def upscale(
        self,
        image: AnyArray,
        scale: float | None = None,
        *,
        width: int | None = None,
        height: int | None = None,
        noise: Noise = None,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> AnyArray: ...

    @overload
    def upscale(
        self,
        image: str | os.PathLike[str] | Image.Image,
        scale: float | None = None,
        *,
        width: int | None = None,
        height: int | None = None,
        noise: Noise = None,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Image.Image: ...

    def upscale(
        self,
        image: str | os.PathLike[str] | Image.Image | Array,
        scale: float | None = None,
        *,
        width: int | None = None,
        height: int | None = None,
        noise: Noise = None,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Image.Image | Array:
        """Upscale and denoise one picture.

        image: a path or a PIL image, giving a PIL image (of 8 bits where Pillow has no more: a file
            with 16-bit color keeps them in `waifu2x.upscale_file`); or an array (H, W), (H, W, 1),
            (H, W, 2: gray and alpha), (H, W, 3: RGB) or (H, W, 4: RGBA) of uint8, uint16, or
            float32 in [0, 1], giving an array of the same dtype and channels.
        scale: enlargement, any number above 0: 1 only denoises, 2, 4 and 8 are repeated passes,
            anything else goes by the next power of two and one shrink. 2 if no size is given.
        width, height: size of the result instead of a scale; one alone keeps the aspect.
        noise: level of JPEG noise to remove, 0 (least) to 3, None for none, or "auto", which
            reads the quality a JPEG was saved with and means none for anything lossless.
        progress: called with the share done, 0 to 1, after every tile.
        cancel: an event that stops the work before the next tile.

        Returns a new picture; the input is not changed. Raises `ArgumentError` for a value that
        is not allowed, `DecodeError` for a file that is no still picture, `LimitError` past the
        limit in pixels, `WeightsError`, `EngineError`, and `CancelledError` if ``cancel`` was set.
        """
        picture = self._picture(image)
        fits = isinstance(image, np.ndarray) or (picture.gray and picture.alpha is None)
        result = self._core.run(
            picture,
            dtype=None if fits else np.uint8,
            scale=scale,
            width=width,
            height=height,
            noise=resolve_noise(noise, picture)[0],
            settings=self._settings,
            progress=progress,
            cancel=cancel,
        )
        if isinstance(image, np.ndarray):
            return codec.to_array(result, like=image)
        return codec.to_image(result)

    def _picture(self, image: str | os.PathLike[str] | Image.Image | Array) -> Picture:
        if isinstance(image, np.ndarray):
            return codec.from_array(image)
        if isinstance(image, Image.Image):
            return codec.from_image(image)
        if isinstance(image, str | os.PathLike):
            return codec.decode(Path(image), max_pixels=self._settings.max_pixels)
        raise ArgumentError(
            f"image is a {type(image).__name__}; allowed are a path, a PIL image or a NumPy array"
        )


def _remade(how: _How, settings: Settings) -> Upscaler:
    return Upscaler(
        how.model,
        engine=how.engine,
        threads=how.threads,
        device=how.device,
        precision=how.precision,
        tile=settings.tile,
        memory=settings.memory,
        tta=settings.tta,
        max_pixels=settings.max_pixels,
    )


@overload
def upscale(
    image: AnyArray,
    scale: float | None = None,
    noise: Noise = None,
    model: str = "cunet",
    *,
    width: int | None = None,
    height: int | None = None,
    engine: str = "auto",
    threads: int | None = None,
    device: str | None = None,
    precision: str = "auto",
    tile: int = 0,
    memory: int | None = None,
    tta: bool = False,
    max_pixels: int | None = None,
    progress: ProgressCallback | None = None,
    cancel: threading.Event | None = None,
) -> AnyArray: ...


@overload
def upscale(
    image: str | os.PathLike[str] | Image.Image,
    scale: float | None = None,
    noise: Noise = None,
    model: str = "cunet",
    *,
    width: int | None = None,
    height: int | None = None,
    engine: str = "auto",
    threads: int | None = None,
    device: str | None = None,
    precision: str = "auto",
    tile: int = 0,
    memory: int | None = None,
    tta: bool = False,
    max_pixels: int | None = None,
    progress: ProgressCallback | None = None,
    cancel: threading.Event | None = None,
) -> Image.Image: ...


def upscale(
    image: str | os.PathLike[str] | Image.Image | Array,
    scale: float | None = None,
    noise: Noise = None,
    model: str = "cunet",
    *,
    width: int | None = None,
    height: int | None = None,
    engine: str = "auto",
    threads: int | None = None,
    device: str | None = None,
    precision: str = "auto",
    tile: int = 0,
    memory: int | None = None,
    tta: bool = False,
    max_pixels: int | None = None,
    progress: ProgressCallback | None = None,
    cancel: threading.Event | None = None,
) -> Image.Image | Array:
    """Upscale and denoise one picture; `Upscaler` is faster for many.

    The arguments and errors are those of `Upscaler` and `Upscaler.upscale`.
    """
    upscaler = Upscaler(
        model,
        engine=engine,
        threads=threads,
        device=device,
        precision=precision,
        tile=tile,
        memory=memory,
        tta=tta,
        max_pixels=max_pixels,
    )
    return upscaler.upscale(
        image,
        scale,
        width=width,
        height=height,
        noise=noise,
        progress=progress,
        cancel=cancel,
    )


def resolve_noise(noise: Noise, picture: Picture) -> tuple[int | None, str]:
    """The noise level to use and, for "auto", why; raises `ArgumentError` for any other string."""
    if noise == "auto":
        return codec.choose_noise(picture.source)
    if noise is None or (noise in NOISE_LEVELS and not isinstance(noise, bool | str)):
        return noise, ""
    raise ArgumentError(f"noise is {noise!r}; allowed are None, 'auto', 0, 1, 2 and 3")
