"""The position of chroma that a stream declares."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from .layout import ChromaSite
from .library import library

if TYPE_CHECKING:
    from av.video.stream import VideoStream

#: Codecs whose chroma lies between the samples of luma.
_CENTERED: Final = ("mjpeg", "mpeg1video")
#: Codecs whose decoders state a position for every stream.
_STATED: Final = ("h264", "hevc")

#: Elements of Matroska (RFC 9559) from the segment to the colors of the video track.
_COLORS: Final = (0x18538067, 0x1654AE6B, 0xAE, 0xE0, 0x55B0)
_ACROSS: Final = 0x55B7
_DOWN: Final = 0x55B8
#: By the values of the two elements.
_SITES: Final[dict[tuple[int, int], ChromaSite]] = {
    (1, 1): "topleft",
    (1, 2): "left",
    (2, 1): "top",
    (2, 2): "center",
}


def chroma_site(stream: VideoStream) -> ChromaSite | None:
    """Return the position of chroma that a 4:2:0 stream or its container states, or None.

    PyAV has no function for it. The filter "trace_headers" logs it, but a thread of FFmpeg that
    logs waits for the GIL, and PyAV holds the GIL while it frees a decoder and waits for its
    threads. So the stream is described in the header of a Matroska file in memory, which has two
    elements for the position. They cannot express "bottomleft" and "bottom": for a codec whose
    decoder always states a position, a header without one means "bottomleft".
    """
    codec = stream.codec_context.name
    if codec in _CENTERED:
        return "center"
    av = library()
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="matroska") as output:
            output.add_stream_from_template(stream, opaque=True)
            output.start_encoding()
            header = file.getvalue()
    except (av.error.FFmpegError, ValueError):
        return None
    for name in _COLORS:
        header = _content(header, name)
    found = _content(header, _ACROSS), _content(header, _DOWN)
    if not all(found):
        return "bottomleft" if codec in _STATED else None
    return _SITES.get((int.from_bytes(found[0], "big"), int.from_bytes(found[1], "big")))


def _content(data: bytes, name: int) -> bytes:
    """Return the content of the first element with an identifier in ``data``, or nothing."""
    at = 0
    while at < len(data):
        found, at = _variable(data, at, marked=True)
        size, at = _variable(data, at, marked=False)
        if found == name:
            return data[at : at + size]
        at += size
    return b""


def _variable(data: bytes, at: int, *, marked: bool) -> tuple[int, int]:
    """Return the number of variable length at ``at``, and the end of it.

    marked: whether the bit that marks the length belongs to the number. A size of ones only is
    unknown: that of an element which is still being written.
    """
    length = 9 - data[at].bit_length() if at < len(data) and data[at] else 1
    value = int.from_bytes(data[at : at + length], "big")
    return value if marked else value & ~(1 << 7 * length), at + length
