"""Frames as arrays, for programs with a decoder of their own."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import numpy.typing as npt

from .. import codec
from .._record import record
from ..errors import ArgumentError, check_cancelled
from ..picture import Picture
from ..pipeline.arguments import (
    check,
    documented,
    flag,
    has_methods,
    having,
    kind_of,
    optional,
    picked,
    refuse_unknown,
)
from ..pipeline.options import PictureOptions, SizeKeywords, UpscalerOptions
from ..pipeline.pipeline import Pipeline
from ..pipeline.request import Request
from ..pipeline.upscaler import (
    AnyArray,
    ModelKeywords,
    UseKeywords,
    chosen_upscaler,
    noise_for,
)
from .layout import VideoLayout
from .planes import Plane, VideoFrame
from .upscaling import UpscaledFrames

if TYPE_CHECKING:
    from typing_extensions import Unpack

_FRAMES: Final = {
    "exact": flag(),
    "cancel": optional(having(["is_set", "wait"], "it must be a threading.Event")),
}


@record
class FrameOptions:
    """How to treat the frames of a stream.

    exact: compute every frame and tile that differs at all. Otherwise differences within the noise
        of a codec reuse an earlier result, with models whose results follow them steadily, such as
        cunet, swift and fine.
    cancel: a `threading.Event`; once it is set, the work stops before the next tile, with
        `CancelledError`.

    Raises `ArgumentError` for a value that is not allowed.
    """

    exact: bool = False
    cancel: threading.Event | None = None

    def __post_init__(self) -> None:
        check(self, _FRAMES)


class FrameKeywords(SizeKeywords, ModelKeywords, UseKeywords, total=False):
    """The keyword arguments of `iter_frames`."""

    exact: bool
    cancel: threading.Event | None


#: The records whose fields `iter_frames` takes.
_RECORDS: Final = (PictureOptions, UpscalerOptions, UseKeywords, FrameOptions)


@documented(*_RECORDS)
def iter_frames(
    frames: Iterable[AnyArray], scale: float | None = None, **options: Unpack[FrameKeywords]
) -> Generator[AnyArray, None, None]:
    """Upscale and denoise the frames of a video, in order, while they are iterated.

    frames: arrays of one shape and dtype, as `waifu2x.upscale` takes them: (H, W, 3) is RGB, of
        uint8, uint16, or float32 in [0, 1]. They are copied, so that a decoder may reuse its
        memory. Another thread iterates them, up to eight ahead of the results; a generator is
        closed there.

    Equal frames, and tiles of a frame that have not changed, are computed once; of float32, only
    frames that are equal as a whole. Close the generator to stop early.

    Yields a new array for each frame, of its dtype and channels. Options are checked by the call.
    While iterated, raises `ArgumentError` for a frame that does not match the first one,
    `LimitError`, `WeightsError`, `EngineError`, `CancelledError`, and what ``frames`` raises.

    >>> import numpy as np
    >>> frames = [np.full((12, 16, 3), level, np.uint8) for level in (0, 0, 9)]
    >>> [frame.shape for frame in waifu2x.iter_frames(frames, 2, model="swift")]
    [(24, 32, 3), (24, 32, 3), (24, 32, 3)]
    """
    refuse_unknown("iter_frames", options, *_RECORDS)
    chosen = PictureOptions(scale=scale, **picked(options, PictureOptions))
    run = FrameOptions(**picked(options, FrameOptions))
    if isinstance(frames, np.ndarray) or not has_methods(frames, "__iter__"):
        raise ArgumentError(f"frames is {kind_of(frames)}; it must be an iterable of arrays")
    pipeline = chosen_upscaler(options).pipeline
    given = "noise" in options
    noise_for(chosen.noise, Picture(np.zeros((1, 1, 3), np.uint8)), given=given)
    return _upscaled(frames, pipeline, chosen, run, given=given)


def _upscaled(
    frames: Iterable[AnyArray],
    pipeline: Pipeline,
    options: PictureOptions,
    run: FrameOptions,
    *,
    given: bool,
) -> Generator[AnyArray, None, None]:
    iterator = iter(frames)
    try:
        first = next(iterator)
    except StopIteration:
        return
    picture = codec.from_array(first)
    noise = noise_for(options.noise, picture, given=given)
    request, _ = pipeline.resolve(picture, replace(options, noise=noise))
    sources = _checked(chain([first], iterator), iterator, first)
    if picture.color.dtype == np.float32:
        yield from _floats(sources, pipeline, request, run)
        return
    layout = VideoLayout(
        picture.width,
        picture.height,
        8 * picture.color.dtype.itemsize,
        "mono" if picture.gray else "444",
        alpha=picture.alpha is not None,
        matrix="rgb",
        full_range=True,
    )
    with (
        closing(sources),
        UpscaledFrames(
            (_planes(codec.from_array(each)) for each in sources),
            layout,
            pipeline,
            request,
            exact=run.exact,
            cancel=run.cancel,
        ) as upscaled,
    ):
        for frame in upscaled:
            yield codec.to_array(_picture(frame, layout), like=first)


def _checked(
    frames: Iterable[AnyArray], source: Iterator[AnyArray], first: AnyArray
) -> Generator[AnyArray, None, None]:
    """Yield frames like the first one, and close their generator."""
    try:
        for number, frame in enumerate(frames, 1):
            if not isinstance(frame, np.ndarray):
                raise ArgumentError(f"frame {number} is {kind_of(frame)}; it must be a NumPy array")
            if (frame.shape, frame.dtype) != (first.shape, first.dtype):
                raise ArgumentError(
                    f"frame {number} is {frame.dtype} {frame.shape}; it must be like the first, "
                    f"{first.dtype} {first.shape}"
                )
            yield frame
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


def _planes(picture: Picture) -> VideoFrame:
    """Return copies of the channels, RGB in the order of the matrix "rgb": G, B, R."""
    order = (0,) if picture.gray else (1, 2, 0)
    planes = [picture.color[:, :, channel].copy() for channel in order]
    if picture.alpha is not None:
        planes.append(picture.alpha.copy())
    return VideoFrame(tuple(cast("list[Plane]", planes)))


def _picture(frame: VideoFrame, layout: VideoLayout) -> Picture:
    planes = frame.planes
    order = (0,) if layout.mono else (2, 0, 1)
    color: npt.NDArray[Any] = np.empty((*planes[0].shape, len(order)), planes[0].dtype)
    for channel, index in enumerate(order):
        color[:, :, channel] = planes[index]
    # A copy: repeated frames share their planes.
    return Picture(color, planes[-1].copy() if layout.alpha else None)


def _floats(
    frames: Generator[AnyArray, None, None],
    pipeline: Pipeline,
    request: Request,
    run: FrameOptions,
) -> Generator[AnyArray, None, None]:
    """Upscale float32 frames; a repeat of the last frame is not computed again."""
    last: Picture | None = None
    result: Picture | None = None
    with closing(frames):
        for frame in frames:
            check_cancelled(run.cancel)
            picture = codec.from_array(frame)
            if last is None or result is None or not _equal(picture, last):
                alpha = None if picture.alpha is None else picture.alpha.copy()
                last = Picture(picture.color.copy(), alpha)
                result = pipeline.run(last, request, cancel=run.cancel)
            yield codec.to_array(result, like=frame).copy()


def _equal(one: Picture, two: Picture) -> bool:
    if not np.array_equal(one.color, two.color):
        return False
    if one.alpha is None or two.alpha is None:
        return one.alpha is two.alpha
    return np.array_equal(one.alpha, two.alpha)
