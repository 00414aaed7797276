"""The public face: one call for one picture, and `Upscaler` to keep networks loaded."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias, TypedDict, TypeVar, cast, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from .. import codec
from ..errors import ArgumentError
from ..picture import Picture
from .arguments import (
    checked,
    documented,
    has_methods,
    having,
    kind_of,
    optional,
    path_text,
    picked,
    refuse_closed,
    refuse_unknown,
)
from .auto_noise import Noise
from .options import PictureOptions, SizeKeywords, UpscalerKeywords, UpscalerOptions
from .pipeline import Pipeline
from .progress import ProgressCallback

if TYPE_CHECKING:
    from typing_extensions import Unpack

Array: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32]
AnyArray = TypeVar(
    "AnyArray", npt.NDArray[np.uint8], npt.NDArray[np.uint16], npt.NDArray[np.float32]
)
#: A file, by its name, its bytes or an open binary file; or a PIL image.
_File: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image


class RunKeywords(TypedDict, total=False):
    """How to follow and to stop the work.

    progress: a function that receives the share of the work done, 0 to 1, after every tile; for
        many files, after every file.
    cancel: a `threading.Event`; once it is set, the work stops before the next tile, with
        `CancelledError` for one picture or file. For many files, the iteration ends.
    """

    progress: ProgressCallback | None
    cancel: threading.Event | None


_RUN: Final = {
    "progress": optional(having(["__call__"], "it must be a function of one number")),
    "cancel": optional(having(["is_set", "wait"], "it must be a threading.Event")),
}


def checked_run(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``given`` in `RunKeywords`; raises `ArgumentError`."""
    return checked(given, _RUN)


class PictureKeywords(SizeKeywords, RunKeywords, total=False):
    """The keyword arguments of `Upscaler.upscale`."""


class ModelKeywords(UpscalerKeywords, total=False):
    """The fields of `UpscalerOptions`, as keyword arguments."""

    model: str | os.PathLike[str]


class UseKeywords(TypedDict, total=False):
    """An upscaler instead of the options that would create it.

    upscaler: the `Upscaler` to use, whose networks stay loaded, instead of ``model``, ``engine``
        and the other options of an upscaler. None creates a new upscaler from these options.
    """

    upscaler: Upscaler | None


class UpscaleKeywords(PictureKeywords, ModelKeywords, UseKeywords, total=False):
    """The keyword arguments of `upscale`."""


class Upscaler:
    """A model on an engine, kept loaded for many pictures.

    Safe to call from several threads at once. Copies made by pickle load their networks again.

    options: the options that the upscaler was created with.
    pipeline: the loaded networks, for other modules of the package; not part of the public API.

    >>> upscaler = waifu2x.Upscaler("upconv_7", threads=1)
    >>> upscaler
    Upscaler('upconv_7', engine='native', threads=1)
    >>> upscaler.options.precision
    'auto'
    >>> [upscaler.upscale("in.png", scale).size for scale in (1.5, 2, 4)]
    [(60, 54), (80, 72), (160, 144)]
    """

    options: UpscalerOptions
    pipeline: Pipeline

    @documented(UpscalerOptions)
    def __init__(
        self, model: str | os.PathLike[str] = "cunet", **options: Unpack[UpscalerKeywords]
    ) -> None:
        """Choose a model and how to run it; networks are loaded when first needed.

        Raises `ArgumentError` for a value that is not allowed, and `MissingExtraError` if the
        engine needs torch and torch is not installed.
        """
        self.options = UpscalerOptions(model, **options)
        self.pipeline = Pipeline(self.options)

    @classmethod
    def from_options(cls, options: UpscalerOptions) -> Upscaler:
        """Create an upscaler from its options; raises the errors of `Upscaler`.

        >>> options = waifu2x.UpscalerOptions("swift", threads=1)
        >>> waifu2x.Upscaler.from_options(options)
        Upscaler('swift', engine='native', threads=1)
        """
        if not isinstance(options, UpscalerOptions):
            raise ArgumentError(
                f"options is {kind_of(options)}; it must be waifu2x.UpscalerOptions"
            )
        upscaler = cls.__new__(cls)
        upscaler.options, upscaler.pipeline = options, Pipeline(options)
        return upscaler

    def __reduce__(self) -> tuple[Callable[[UpscalerOptions], Upscaler], tuple[UpscalerOptions]]:
        return Upscaler.from_options, (self.options,)

    def __repr__(self) -> str:
        """The model, the engine chosen, and the options that differ from the default."""
        chosen = {"engine": self.pipeline.engine.name, "threads": self.pipeline.engine.threads}
        default = UpscalerOptions()
        for field in fields(self.options):
            value = getattr(self.options, field.name)
            if field.name not in ("model", *chosen) and value != getattr(default, field.name):
                chosen[field.name] = value
        listed = ", ".join(f"{name}={value!r}" for name, value in chosen.items())
        return f"Upscaler({self.options.model!r}, {listed})"

    def with_threads(self, threads: int) -> Upscaler:
        """Create the same upscaler with another number of threads.

        threads: threads inside one network run, at least 1.

        Raises `ArgumentError` for any other value.

        >>> waifu2x.Upscaler("swift", threads=1).with_threads(2)
        Upscaler('swift', engine='native', threads=2)
        """
        return Upscaler.from_options(replace(self.options, threads=threads))

    @overload
    def upscale(
        self,
        image: AnyArray,
        scale: float | None = None,
        **options: Unpack[PictureKeywords],
    ) -> AnyArray: ...

    @overload
    def upscale(
        self,
        image: _File,
        scale: float | None = None,
        **options: Unpack[PictureKeywords],
    ) -> Image.Image: ...

    @documented(PictureOptions, RunKeywords)
    def upscale(
        self,
        image: str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | Array,
        scale: float | None = None,
        **options: Unpack[PictureKeywords],
    ) -> Image.Image | Array:
        """Upscale and denoise one picture.

        image: a path, the bytes of a file, a binary file object or a PIL image, for a PIL image
            (8 bits per sample if Pillow has no mode with more; `waifu2x.upscale_file` keeps 16); or
            an array (H, W), (H, W, 1), (H, W, 2: gray and alpha), (H, W, 3: RGB) or (H, W, 4: RGBA)
            of uint8, uint16, or float32 in [0, 1], for an array of the same dtype and channels.

        Returns a new picture; the input is not changed. Raises `ArgumentError` for a value that
        is not allowed, `DecodeError` for a file that is no still picture, `LimitError` beyond the
        limit in pixels, `WeightsError`, `EngineError`, and `CancelledError` if ``cancel`` was set.

        >>> import numpy as np
        >>> upscaler = waifu2x.Upscaler("swift")
        >>> share = np.zeros((8, 10, 3), np.float32)
        >>> result = upscaler.upscale(share, 1.5, noise=2)
        >>> result.shape, result.dtype
        ((12, 15, 3), dtype('float32'))
        """
        refuse_unknown("upscale", options, PictureOptions, RunKeywords)
        chosen = PictureOptions(scale=scale, **picked(options, PictureOptions))
        run = checked_run(options)
        picture = self._picture(image)
        noise = noise_for(chosen.noise, picture, given="noise" in options)
        request, _ = self.pipeline.resolve(picture, replace(chosen, noise=noise))
        fits = isinstance(image, np.ndarray) or (picture.gray and picture.alpha is None)
        result = self.pipeline.run(picture, request, dtype=None if fits else np.uint8, **run)
        if isinstance(image, np.ndarray):
            return codec.to_array(result, like=image)
        return codec.to_image(result)

    def _picture(self, image: object) -> Picture:
        if isinstance(image, np.ndarray):
            return codec.from_array(image)
        if isinstance(image, Image.Image):
            return codec.from_image(image)
        if isinstance(image, str | os.PathLike):
            return codec.decode(Path(path_text("image", image)), max_pixels=self.options.limit)
        if isinstance(image, bytes | bytearray | memoryview):
            return codec.decode(io.BytesIO(image), max_pixels=self.options.limit)
        if has_methods(image, "read"):
            refuse_closed("image", image)
            return codec.decode(cast("Any", image), max_pixels=self.options.limit)
        raise ArgumentError(
            f"image is {kind_of(image)}; allowed are a path, the bytes of a file, a binary "
            "file object, a PIL image or a NumPy array"
        )


def noise_for(noise: Noise, picture: Picture, *, given: bool) -> Noise:
    """``noise``, or None for a picture without a file; raises `ArgumentError` for "auto" there.

    given: whether the caller has given ``noise``.
    """
    if noise == "auto" and picture.source.format is None:
        if not given:
            return None
        raise ArgumentError(
            "noise is 'auto', which needs a file: an array, or an image that was not read from a "
            "file, has no JPEG quality; give None or 0 to 3, or pass the file"
        )
    return noise


def chosen_upscaler(given: Mapping[str, Any], **defaults: Any) -> Upscaler:
    """The ``upscaler`` of ``given``, or a new one from its fields of `UpscalerOptions`.

    defaults: fields of `UpscalerOptions` that are not given.

    Raises `ArgumentError` if both are given, and the errors of `Upscaler`.
    """
    own = picked(given, UpscalerOptions)
    upscaler = given.get("upscaler")
    if upscaler is None:
        return Upscaler(**{**defaults, **own})
    if not isinstance(upscaler, Upscaler):
        raise ArgumentError(f"upscaler is {kind_of(upscaler)}; it must be a waifu2x.Upscaler")
    if own:
        raise ArgumentError(
            f"{next(iter(own))} and upscaler are both given; give {', '.join(own)} to "
            "waifu2x.Upscaler, or leave the upscaler out"
        )
    return upscaler


@overload
def upscale(
    image: AnyArray, scale: float | None = None, **options: Unpack[UpscaleKeywords]
) -> AnyArray: ...


@overload
def upscale(
    image: _File, scale: float | None = None, **options: Unpack[UpscaleKeywords]
) -> Image.Image: ...


@documented(PictureOptions, UpscalerOptions, UseKeywords, RunKeywords)
def upscale(
    image: str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | Array,
    scale: float | None = None,
    **options: Unpack[UpscaleKeywords],
) -> Image.Image | Array:
    """Upscale and denoise one picture; for many, create an `Upscaler` once.

    image: a path, the bytes of a file, a binary file object or a PIL image, for a PIL image; or an
        array (H, W), (H, W, 1), (H, W, 2: gray and alpha), (H, W, 3: RGB) or (H, W, 4: RGBA) of
        uint8, uint16, or float32 in [0, 1], for an array of the same dtype and channels.

    Returns a new picture; the input is not changed. Raises the errors of `Upscaler` and of
    `Upscaler.upscale`.

    >>> big = waifu2x.upscale("in.png", 2)
    >>> big.size
    (80, 72)
    >>> big.save("big.png")

    An array gives an array:

    >>> import numpy as np
    >>> gray = np.zeros((9, 16), np.uint8)
    >>> waifu2x.upscale(gray, width=40, noise=1, model="swift").shape
    (23, 40)
    """
    records = (PictureOptions, UpscalerOptions, UseKeywords, RunKeywords)
    refuse_unknown("upscale", options, *records)
    given = {**picked(options, PictureOptions), **picked(options, RunKeywords)}
    return chosen_upscaler(options).upscale(image, scale, **given)
