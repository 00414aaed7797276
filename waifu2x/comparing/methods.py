"""The methods that are compared: models, and bicubic interpolation."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from .. import kernels
from .._record import record
from .._text import shown
from ..codec.color import implied_profile, is_srgb, samples_to_srgb
from ..errors import ArgumentError
from ..picture import Picture, as_float
from ..pipeline.evaluation import on_white
from ..pipeline.options import PictureOptions, UpscalerOptions
from ..pipeline.request import plan_request
from ..pipeline.upscaler import Upscaler

Pixels: TypeAlias = npt.NDArray[np.uint8]

#: The method without a model.
BICUBIC: Final = "bicubic"


@record
class Method:
    """A way to enlarge a picture.

    name: unique among the methods that are compared. upscaler: None for bicubic interpolation.
    """

    name: str
    upscaler: Upscaler | None

    def enlarge(
        self,
        picture: Picture,
        options: PictureOptions,
        *,
        cancel: threading.Event | None = None,
    ) -> Pixels:
        """Return the result as (H, W, 3) uint8, on white and in sRGB.

        cancel: an event that stops the work before the next tile, with `CancelledError`.

        Raises the errors of `waifu2x.Upscaler.upscale`.
        """
        if self.upscaler is None:
            return _in_srgb(_bicubic(picture, options), picture)
        pipeline = self.upscaler.pipeline
        request, _ = pipeline.resolve(picture, options)
        made = pipeline.run(picture, request, dtype=np.uint8, cancel=cancel)
        return _in_srgb(on_white(made), picture)


def open_methods(models: Sequence[str], run: UpscalerOptions | None = None) -> tuple[Method, ...]:
    """Open models by name or file; "bicubic" is the interpolation.

    run: how all models run; its model does not count. None means the defaults.

    Networks are loaded when first needed. Raises `ArgumentError` for fewer than two methods and for
    equal names, and the errors of `waifu2x.Upscaler`.
    """
    if len(models) < 2:
        raise ArgumentError(
            f"model is given {len(models)} times; give at least two to compare, such as "
            "cunet and bicubic"
        )
    run = UpscalerOptions() if run is None else run
    options = [None if model == BICUBIC else replace(run, model=model) for model in models]
    names = [BICUBIC if each is None else each.name for each in options]
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(
                f"model {shown(name)} is given twice; give each once, and rename one of two files "
                "of the same name"
            )
    return tuple(
        Method(name, None if each is None else Upscaler.from_options(each))
        for name, each in zip(names, options, strict=True)
    )


def as_seen(picture: Picture) -> Pixels:
    """Return a picture as (H, W, 3) uint8, on white and in sRGB."""
    return _in_srgb(on_white(picture), picture)


def _in_srgb(pixels: Pixels, picture: Picture) -> Pixels:
    """Convert pixels to sRGB by the profile or the color labels of ``picture``.

    pixels: (H, W, 3), the picture or a result of it, on white. A broken profile is ignored.
    """
    metadata, channels = picture.metadata, picture.color.shape[2]
    if metadata.icc is not None:  # cICP counts before a profile, gAMA and cHRM only without one
        metadata = replace(metadata, gamma=None, chromaticities=None)
    icc = implied_profile(metadata, channels).icc or metadata.icc
    if icc is None or is_srgb(icc, channels):
        return pixels
    converted = samples_to_srgb(np.ascontiguousarray(pixels[:, :, :channels]), icc)
    return pixels if converted is None else converted


def _bicubic(picture: Picture, options: PictureOptions) -> Pixels:
    """Enlarge by bicubic interpolation (a = -0.5), on white and in float32, as Pillow does."""
    # The size does not depend on the networks, as long as there is one.
    request = plan_request(
        width=picture.width,
        height=picture.height,
        scale=options.scale,
        target_width=options.width,
        target_height=options.height,
        costs={(2, None): 1.0},
    )
    size = request.width, request.height
    source = as_float(on_white(picture))
    planes = [
        Image.fromarray(np.ascontiguousarray(source[:, :, channel])).resize(
            size, Image.Resampling.BICUBIC
        )
        for channel in range(3)
    ]
    color = np.stack([np.asarray(plane) for plane in planes], axis=2)
    return kernels.quantize(color, np.uint8).astype(np.uint8, copy=False)
