"""Upscales and denoises the clips of VapourSynth scripts with waifu2x.

>>> import waifu2x_vs
>>> clip = waifu2x_vs.upscale(clip, 2, noise=1)

docs/integrations.md describes the formats and the options.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import vapoursynth as vs

import waifu2x
from waifu2x.picture import Picture
from waifu2x.pipeline.options import PictureOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from waifu2x.pipeline.auto_noise import Noise
    from waifu2x.pipeline.options import UpscalerKeywords

_Array: TypeAlias = npt.NDArray[Any]

#: Most upscalers that stay loaded for later calls.
_MOST_UPSCALERS: Final = 4
#: The dtype of the samples for each sample type and number of bits.
_DTYPES: Final = {
    (vs.INTEGER, 8): np.dtype(np.uint8),
    (vs.INTEGER, 16): np.dtype(np.uint16),
    (vs.FLOAT, 32): np.dtype(np.float32),
}
#: The size of the template of a clip whose frames differ in size; no result has this size.
_PLACEHOLDER: Final = 16


def upscale(
    clip: vs.VideoNode,
    scale: float | None = None,
    *,
    width: int | None = None,
    height: int | None = None,
    noise: Noise = None,
    strength: float = 1,
    color_fix: bool = False,
    model: str | os.PathLike[str] = "cunet",
    upscaler: waifu2x.Upscaler | None = None,
    parallel: int = 1,
    **options: Unpack[UpscalerKeywords],
) -> vs.VideoNode:
    """Upscale and denoise the frames of a clip.

    clip: RGB24, RGB48, RGBS, GRAY8, GRAY16 or GRAYS, of constant or variable size. RGBS and GRAYS
        have samples in [0, 1]. A frame with the property ``_Alpha`` of the same size, sample type
        and depth is upscaled as RGBA, and the property becomes the alpha of the result.
    scale: enlargement, any number above 0; 2 if no size is given, and with a model file the scale
        of its network. 1 only denoises.
    width, height: size of the result in pixels instead of a scale; one alone keeps the aspect.
    noise: level of JPEG noise to remove: None, 0 to 3, or a number between.
    strength: share of the network, 0 to 1; the rest is Lanczos.
    color_fix: match the low frequencies of the result to the source.
    model: a name of `waifu2x.models`, or the path of a model file.
    upscaler: the `waifu2x.Upscaler` to use instead of ``model`` and ``options``. Without one, calls
        with equal options share an upscaler, so its networks are loaded once.
    parallel: number of frames that run at once, for several GPUs; one frame uses all CPU cores.
    options: ``engine``, ``device`` and the other options of `waifu2x.Upscaler`.

    Returns a clip of the same format, length and frame properties, whose frames have exactly the
    samples that `waifu2x.upscale` returns for the arrays of their source. A frame that equals the
    previous one is not computed again.

    Raises `waifu2x.ArgumentError` for a wrong option or format, and the errors of
    `waifu2x.Upscaler`. While frames are requested, `vapoursynth.Error` has the message of an error
    of `waifu2x.Upscaler.upscale`, or of an interlaced frame.
    """
    _check_format(clip)
    if isinstance(parallel, bool) or not isinstance(parallel, int) or parallel < 1:
        raise waifu2x.ArgumentError(f"parallel is {parallel!r}; it must be a whole number above 0")
    if noise == "auto":
        raise waifu2x.ArgumentError("noise is 'auto'; a clip has no JPEG quality, give None or 0-3")
    chosen = PictureOptions(
        scale=scale, width=width, height=height, noise=noise, strength=strength, color_fix=color_fix
    )
    if upscaler is None:
        upscaler = _upscaler(waifu2x.UpscalerOptions(model, **options))
    elif options or model != "cunet":
        raise waifu2x.ArgumentError("model or options and upscaler are given; give them alone")
    size = _size(clip.width or _PLACEHOLDER, clip.height or _PLACEHOLDER, upscaler, chosen)
    varies = clip.width == 0 or clip.height == 0
    if varies and (width is None or height is None):
        template = clip.std.BlankClip(_PLACEHOLDER, _PLACEHOLDER, varsize=True, keep=True)
    else:
        template = clip.std.BlankClip(*size, keep=True)
    frames = _Frames(upscaler, chosen)
    if parallel == 1:
        return template.std.ModifyFrame(clip, frames)
    # VapourSynth calls the function of one ModifyFrame from one thread at a time.
    nodes = [template.std.ModifyFrame(clip, frames) for _ in range(parallel)]
    return template.std.FrameEval(lambda n: nodes[n % parallel], clip_src=nodes)


class _Frames:
    """The function of a ModifyFrame: upscales frame ``f``; safe to call from several threads."""

    def __init__(self, upscaler: waifu2x.Upscaler, options: PictureOptions) -> None:
        self._upscaler = upscaler
        self._options = options
        #: The last source and its result, replaced as a whole.
        self._last: tuple[_Array, _Array] | None = None

    def __call__(self, n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        if f.props.get("_FieldBased", 0):
            raise waifu2x.ArgumentError(
                f"frame {n} is interlaced (_FieldBased is {f.props['_FieldBased']}); deinterlace "
                "the clip, or set the property to 0 if the frame is progressive"
            )
        alpha = f.props.get("_Alpha")
        source = _joined([*_planes(f), *_alpha_planes(n, f, alpha)])
        result = self._upscaled(source)
        channels = [result] if result.ndim == 2 else list(np.moveaxis(result, -1, 0))
        frame = _frame(f.format, channels[: f.format.num_planes])
        frame.props.update(f.props)
        if isinstance(alpha, vs.VideoFrame):
            frame.props["_Alpha"] = _frame(alpha.format, channels[-1:])
        return frame

    def _upscaled(self, source: _Array) -> _Array:
        last = self._last
        if last is not None and np.array_equal(last[0], source):
            return last[1]
        options = self._options
        result: _Array = self._upscaler.upscale(
            source,
            options.scale,
            width=options.width,
            height=options.height,
            noise=options.noise,
            strength=options.strength,
            color_fix=options.color_fix,
        )
        self._last = source, result
        return result


def _check_format(clip: vs.VideoNode) -> None:
    if not isinstance(clip, vs.VideoNode):
        raise waifu2x.ArgumentError(f"clip is {type(clip).__name__}; it must be a video clip")
    family = clip.format.color_family
    if family == vs.YUV:
        raise waifu2x.ArgumentError(
            f"clip is {clip.format.name}; convert it first, for example with "
            'clip.resize.Bicubic(format=vs.RGB48, matrix_in_s="709"), and the result back with '
            f'clip.resize.Bicubic(format=vs.{clip.format.name}, matrix_s="709")'
        )
    if family not in (vs.RGB, vs.GRAY):
        raise waifu2x.ArgumentError(
            "the format of clip varies; convert it first, for example with "
            "clip.resize.Bicubic(format=vs.RGB24)"
        )
    if (clip.format.sample_type, clip.format.bits_per_sample) not in _DTYPES:
        name = "RGB" if family == vs.RGB else "GRAY"
        deep = "S" if clip.format.sample_type == vs.FLOAT else "48" if name == "RGB" else "16"
        raise waifu2x.ArgumentError(
            f"clip is {clip.format.name}; allowed are 8 and 16 bits and 32-bit float, convert it "
            f"with clip.resize.Point(format=vs.{name}{deep})"
        )


@functools.lru_cache(maxsize=_MOST_UPSCALERS)
def _kept(options: waifu2x.UpscalerOptions, version: tuple[int, int] | None) -> waifu2x.Upscaler:
    return waifu2x.Upscaler.from_options(options)


def _upscaler(options: waifu2x.UpscalerOptions) -> waifu2x.Upscaler:
    """Return the shared upscaler with these options; a model file that changed is read again."""
    path = Path(options.model)
    if not path.is_file():
        return _kept(options, None)
    state = path.stat()
    return _kept(options, (state.st_mtime_ns, state.st_size))


def _size(
    width: int, height: int, upscaler: waifu2x.Upscaler, options: PictureOptions
) -> tuple[int, int]:
    """Return the size of a result; raises `waifu2x.ArgumentError` for a level without a network."""
    picture = Picture(np.broadcast_to(np.zeros(1, np.uint8), (height, width, 1)))
    request, _ = upscaler.pipeline.resolve(picture, options)
    return request.width, request.height


def _planes(frame: vs.VideoFrame) -> list[_Array]:
    """Return the planes of a frame, without a copy: rows lie ``get_stride`` bytes apart."""
    return [np.asarray(frame[plane]) for plane in range(frame.format.num_planes)]


def _alpha_planes(n: int, frame: vs.VideoFrame, alpha: object) -> list[_Array]:
    """Return the alpha plane of frame ``n``, if there is one; raises if it does not fit."""
    if not isinstance(alpha, vs.VideoFrame):
        return []
    depth = frame.format.sample_type, frame.format.bits_per_sample
    if (alpha.width, alpha.height) != (frame.width, frame.height) or (
        alpha.format.sample_type,
        alpha.format.bits_per_sample,
    ) != depth:
        raise waifu2x.ArgumentError(
            f"_Alpha of frame {n} is {alpha.format.name} {alpha.width}x{alpha.height}, and the "
            f"frame is {frame.format.name} {frame.width}x{frame.height}; size and depth must agree"
        )
    return _planes(alpha)[:1]


def _joined(planes: Sequence[_Array]) -> _Array:
    """Return a copy of the planes as (H, W) or (H, W, C), contiguous."""
    return planes[0].copy() if len(planes) == 1 else np.stack(planes, axis=-1)


def _frame(form: vs.VideoFormat, planes: Sequence[_Array]) -> vs.VideoFrame:
    """Return a new frame of (H, W) planes, without properties."""
    height, width = planes[0].shape
    frame = vs.core.create_video_frame(form, width, height)
    for plane, samples in enumerate(planes):
        np.asarray(frame[plane])[:] = samples
    return frame
