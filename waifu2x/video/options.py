"""The options of a video."""

from __future__ import annotations

from numbers import Real
from typing import Any, Final, Literal, TypeAlias, TypedDict

import numpy as np

from .._record import record
from ..errors import ArgumentError
from ..pipeline.arguments import Allowed, check, choice, flag, optional
from ..pipeline.options import PictureOptions

CodecName: TypeAlias = Literal["h264", "hevc", "av1", "vp9", "ffv1", "prores"]
Deinterlacer: TypeAlias = Literal["bwdif", "off"]

CODECS: Final = ("h264", "hevc", "av1", "vp9", "ffv1", "prores")
DEINTERLACERS: Final = ("bwdif", "off")


def _number(value: Any) -> float:
    """A finite number, 0 or more."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError
    number = float(value)
    if not 0 <= number < float("inf"):
        raise ValueError
    return int(number) if number.is_integer() else number


def _preset(value: Any) -> str:
    if isinstance(value, bool | np.bool_) or not isinstance(value, str | int):
        raise TypeError
    return str(value)


_SECONDS: Final = optional(Allowed("it must be seconds from the beginning, 0 or more", _number))

_VIDEO: Final = {
    "codec": optional(choice(CODECS)),
    "crf": optional(Allowed("it must be a number, 0 or more, such as 18", _number)),
    "preset": optional(Allowed("it must be the name of a preset, such as 'slow'", _preset)),
    "deinterlace": optional(choice(DEINTERLACERS)),
    "exact": flag(),
    "start": _SECONDS,
    "end": _SECONDS,
    "drop_streams": flag(),
}


class VideoKeywords(TypedDict, total=False):
    """The fields of `VideoOptions` after those of `PictureOptions`, as keyword arguments."""

    codec: CodecName | None
    crf: float | None
    preset: str | int | None
    deinterlace: Deinterlacer | None
    exact: bool
    start: float | None
    end: float | None
    drop_streams: bool


@record
class VideoOptions(PictureOptions):
    """The options of a picture, and what else a video needs; pictures ignore the rest.

    codec: "h264" (x264), "hevc" (x265), "av1" (SVT-AV1), "vp9", "ffv1" or "prores"; None chooses by
        the container and the depth: H.264 for 8 bits, HEVC for more, VP9 and AV1 in WebM.
    crf: constant rate factor of the encoder, lower is better; None takes it from ``quality``, or a
        high quality: 16 for h264, 18 for hevc, 22 for av1 and vp9.
    preset: speed of the encoder: "ultrafast" to "placebo" for h264 and hevc, 0 to 13 for av1, 0 to
        8 for vp9; None means "medium", 6 and 3.
    deinterlace: "bwdif" to deinterlace, "off" to take interlaced frames as they are; None refuses
        interlaced videos.
    exact: compute every frame that differs at all. Otherwise frames and tiles within the noise of
        the codec reuse earlier results.
    start, end: part of the video to take, in seconds from its beginning.
    drop_streams: leave out what the container of the result cannot hold; otherwise it is an error,
        found before the work begins.

    Raises `ArgumentError` for a value that is not allowed.
    """

    codec: CodecName | None = None
    crf: float | None = None
    preset: str | int | None = None
    deinterlace: Deinterlacer | None = None
    exact: bool = False
    start: float | None = None
    end: float | None = None
    drop_streams: bool = False

    def __post_init__(self) -> None:
        PictureOptions.__post_init__(self)  # super() fails in a dataclass with slots
        check(self, _VIDEO)
        if self.end is not None and self.end <= (self.start or 0):
            raise ArgumentError(
                f"end is {self.end:g} s, not after the start at {self.start or 0:g} s; choose a "
                "later `end=`"
            )
