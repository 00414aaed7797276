"""A YUV4MPEG2 stream as the source of a video in a container; it is read once, from its start."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO, Final

from .._record import record
from ..errors import EncodeError, check_cancelled
from .demux import UNTAGGED, Counts, Hdr, SourceFrame, Tags, VideoFacts, VideoSource
from .library import library
from .y4m import Y4mReader

_DEFAULT: Final = 1


class Y4mSource(VideoSource):
    """The only stream of a y4m file or pipe.

    Raises the errors of `Y4mReader`, and `EncodeError` for a stream without a frame rate, or of
    interlaced frames.
    """

    def __init__(
        self,
        stream: BinaryIO,
        name: str,
        *,
        start: float | None = None,
        end: float | None = None,
        deinterlace: str | None = None,
        max_pixels: int | None = None,
        total: int = 0,
    ) -> None:
        """Read the header of ``stream``.

        total: bytes of the stream; 0 if unknown. The other arguments are those of `VideoSource`.
        """
        self.av = library()
        self.name = name
        self.start = None if start is None else Fraction(start).limit_denominator(10**6)
        self.end = None if end is None else Fraction(end).limit_denominator(10**6)
        self.main_index = self.extra_videos = 0
        self.cut_off = False
        self._origin = self._duration = Fraction(0)
        self._deinterlace = deinterlace
        self._counts = Counts()
        self._reader = reader = Y4mReader(stream, name, max_pixels=max_pixels)
        header = reader.header
        if header.rate is None:
            raise EncodeError(
                f"{name} has no frame rate, so its frames have no times in a container; make it "
                "with a rate, such as F24:1"
            )
        header.refuse_interlaced(name, deinterlace)
        self.facts = VideoFacts(
            layout=header.layout,
            original=header.layout,
            tags=Tags(UNTAGGED, UNTAGGED, UNTAGGED, 2 if header.layout.full_range else 0),
            hdr=Hdr(),
            aspect=header.aspect,
            rate=header.rate,
            time_base=1 / header.rate,
            frames=reader.frames_in(total),
            index=0,
            format="",
        )

    @contextlib.contextmanager
    def open(self) -> Iterator[Any]:
        """Yield a container with nothing to copy."""
        yield _OnlyVideo(_Streams([_Main(self.facts.time_base)]))

    def frames(self, cancel: threading.Event | None = None) -> Iterator[SourceFrame]:
        """Read the frames between start and end; iterate once."""
        for frame in self._reader:
            check_cancelled(cancel)
            assert frame.pts is not None
            moment = frame.pts * self.facts.time_base
            if self.after(moment):
                return
            if self.inside(moment):
                yield SourceFrame(frame, frame.pts, 1, key=True)


@record
class _Main:
    """The stream that is upscaled, with the attributes of a stream of the library."""

    time_base: Fraction
    index: int = 0
    disposition: int = _DEFAULT
    start_time: int = 0
    codec_context: None = None

    @property
    def metadata(self) -> dict[str, str]:
        return {}


class _Streams(list[_Main]):
    """The streams of a container; ``video`` holds those that may be covers."""

    video: tuple[_Main, ...] = ()


@record
class _OnlyVideo:
    streams: _Streams

    @property
    def metadata(self) -> dict[str, str]:
        return {}

    def chapters(self) -> list[Any]:
        return []
