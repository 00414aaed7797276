"""YUV4MPEG2 streams: raw frames behind a line of text, as FFmpeg, x264 and x265 exchange them.

The format has no tag for the matrix. Samples of more than 8 bits are little-endian.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO, Final, cast

import numpy as np

from .._record import record
from .._text import reason
from ..errors import DecodeError, EncodeError, LimitError
from .layout import ChromaSite, Subsampling, VideoLayout, untagged
from .planes import Plane, VideoFrame

#: The first bytes of a stream.
MAGIC: Final = b"YUV4MPEG2"

#: Limits of the lines of text, in bytes. FFmpeg accepts 128 and 80.
_MOST_HEADER: Final = 4096
_MOST_FRAME_LINE: Final = 1024

#: Bytes of the usual line before a frame.
_FRAME_LINE: Final = 6

#: Chroma sites in the name of a color space.
_SITES: Final[dict[str, ChromaSite]] = {
    "420jpeg": "center",
    "420": "center",
    "420mpeg2": "left",
    "420paldv": "topleft",
}
_DEEP: Final = re.compile(r"(420|422|444)p(9|1[0-6])$")
_MONO: Final = re.compile(r"mono(9|1[0-6])$")
_SPACES: Final = "420jpeg, 420mpeg2, 420paldv, 411, 422, 444, 444alpha, mono, and 420p10 to mono16"


@record
class Y4mHeader:
    """The first line of a stream.

    layout: of the frames. rate: frames per second, or None. interlaced: whether a frame holds two
        fields. tokens: all parameters in their order. aspect: of a sample, or None.
    """

    layout: VideoLayout
    rate: Fraction | None
    interlaced: bool
    tokens: tuple[str, ...]
    aspect: Fraction | None = None

    def refuse_interlaced(self, name: str, deinterlace: str | None) -> None:
        """Raise `EncodeError` for interlaced frames that are not to be taken as they are."""
        if self.interlaced and deinterlace != "off":
            raise EncodeError(
                f"{name} is interlaced; deinterlace it first, for example with "
                "ffmpeg -vf bwdif, or take its frames as they are with `deinterlace='off'`"
            )

    def line(self, layout: VideoLayout | None = None) -> bytes:
        """Return the line for frames of another size, with all other parameters as they are."""
        tokens = self.tokens
        if layout is not None:
            size = {"W": str(layout.width), "H": str(layout.height)}
            tokens = tuple(
                token[0] + size[token[0]] if token[:1] in size else token for token in tokens
            )
        return " ".join([MAGIC.decode(), *tokens]).encode("latin-1") + b"\n"


def parse_header(line: bytes, name: str) -> Y4mHeader:
    """Parse the first line, without its end.

    name: of the stream, for messages. Raises `DecodeError`.
    """
    words = line.decode("latin-1").split(" ")
    if words[0] != MAGIC.decode():
        raise DecodeError(f"{name} does not begin with {MAGIC.decode()}, as a y4m stream does")
    tokens = tuple(word for word in words[1:] if word)
    found: dict[str, str] = {}
    full_range: bool | None = None
    for token in tokens:
        if token.startswith("X"):
            if token in ("XCOLORRANGE=FULL", "XCOLORRANGE=LIMITED"):
                full_range = token.endswith("FULL")
        else:
            found[token[0]] = token[1:]
    width, height = (_side(found.get(key), key, name) for key in "WH")
    space = found.get("C", "420jpeg")
    subsampling, depth, alpha, chroma = _space(space, name)
    layout = untagged(
        width,
        height,
        depth=depth,
        subsampling=subsampling,
        alpha=alpha,
        chroma=chroma,
        full_range=full_range,
    )
    interlaced = found.get("I", "?")[:1] in "tbm"
    return Y4mHeader(layout, _rate(found.get("F")), interlaced, tokens, _rate(found.get("A")))


def _side(text: str | None, key: str, name: str) -> int:
    if text is None or not re.fullmatch(r"[0-9]{1,9}", text) or not int(text):
        what = "width" if key == "W" else "height"
        given = "none" if text is None else repr(f"{key}{text}")
        raise DecodeError(
            f"{name}: its y4m header must have a {what}, such as {key}640, not {given}"
        )
    return int(text)


def _rate(text: str | None) -> Fraction | None:
    match = re.fullmatch(r"([0-9]{1,12}):([0-9]{1,12})", text or "")
    if match is None or not int(match[1]) or not int(match[2]):
        return None
    return Fraction(int(match[1]), int(match[2]))


def _space(name: str, stream: str) -> tuple[Subsampling, int, bool, ChromaSite | None]:
    """Return subsampling, depth, alpha and chroma position of a color space."""
    if name in _SITES:
        return "420", 8, False, _SITES[name]
    if name in ("411", "422", "444"):
        return cast("Subsampling", name), 8, False, None
    if name == "444alpha":
        return "444", 8, True, None
    if name == "mono":
        return "mono", 8, False, None
    deep, mono = _DEEP.match(name), _MONO.match(name)
    if deep is not None:
        return cast("Subsampling", deep[1]), int(deep[2]), False, None
    if mono is not None:
        return "mono", int(mono[1]), False, None
    raise DecodeError(f"{stream} has the color space {name!r}; the known ones are {_SPACES}")


def header_for(
    layout: VideoLayout, *, rate: Fraction, aspect: tuple[int, int] | None = None
) -> Y4mHeader:
    """Return the header for frames of a layout, as FFmpeg writes it.

    aspect: of a sample, or None if it is unknown. Raises `EncodeError` for a layout that y4m cannot
    hold.
    """
    across = layout.subsampling
    deep = f"p{layout.depth}" if layout.depth > 8 else ""
    extra = f"XYSCSS={across}{deep.upper()}"
    if layout.mono:
        space, extra = f"mono{layout.depth if deep else ''}", ""
    elif layout.alpha and not deep and across == "444":
        space = "444alpha"
    elif across == "420" and not deep:
        space = {"left": "420mpeg2", "topleft": "420paldv"}.get(layout.chroma, "420jpeg")
        extra = f"XYSCSS={space.upper()}"
    elif across in ("420", "422", "444") or (across == "411" and not deep):
        space = f"{across}{deep}"
    else:
        space = ""
    if not space or layout.matrix == "rgb" or (layout.alpha and space != "444alpha"):
        kind = "RGB" if layout.matrix == "rgb" else across
        raise EncodeError(
            f"y4m cannot hold {kind} in {layout.depth} bits{' with alpha' * layout.alpha}"
        )
    given = aspect or (0, 0)
    tokens = (
        f"W{layout.width}",
        f"H{layout.height}",
        f"F{rate.numerator}:{rate.denominator}",
        "Ip",
        f"A{given[0]}:{given[1]}",
        f"C{space}",
        *([extra] if extra else []),
        f"XCOLORRANGE={'FULL' if layout.full_range else 'LIMITED'}",
    )
    return Y4mHeader(layout, rate, False, tokens)


class Y4mReader:
    """The frames of a stream, read one by one; iterate once.

    header: the parsed first line. frames: number of frames read so far.
    """

    def __init__(
        self, stream: BinaryIO, name: str, *, max_pixels: int | None = None, read: bytes = b""
    ) -> None:
        """Read the header.

        stream: a binary file, which need not seek; reads may be short.
        name: of the stream, for messages.
        max_pixels: limit for the pixels of a frame, or None.
        read: bytes that were read from the stream already.

        Raises `DecodeError` and `LimitError`, before memory for a frame is allocated.
        """
        self._stream, self._name, self._ahead = stream, name, read
        line = self._line(_MOST_HEADER)
        if line is None:
            raise DecodeError(f"{name} is empty")
        self.header = parse_header(line, name)
        layout = self.header.layout
        if max_pixels is not None and layout.width * layout.height > max_pixels:
            raise LimitError(
                f"{name} has frames of {layout.width}x{layout.height} px, and the limit is "
                f"{max_pixels} px; raise it with `max_pixels=`"
            )
        self.frames = 0

    def frames_in(self, size: int) -> int:
        """The number of frames in a stream of ``size`` bytes; 0 if the size is unknown."""
        header = self.header
        frames = (size - len(header.line())) // (header.layout.frame_bytes + _FRAME_LINE)
        return max(0, frames)

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield frames; ``pts`` counts them, and ``carried`` is the line before the frame.

        Raises `DecodeError` for a stream that ends within a frame.
        """
        while True:
            line = self._line(_MOST_FRAME_LINE)
            if line is None:
                return
            if line.split(b" ")[0] != b"FRAME":
                raise DecodeError(
                    f"{self._name} is damaged: frame {self.frames + 1} has no header; make it again"
                )
            planes = self._planes()
            self.frames += 1
            yield VideoFrame(planes, self.frames - 1, line)

    def _planes(self) -> tuple[Plane, ...]:
        layout = self.header.layout
        data = self._exactly(layout.frame_bytes)
        if len(data) < layout.frame_bytes:
            raise self._cut_off()
        stored = np.dtype(np.uint8 if layout.depth == 8 else "<u2")
        planes = []
        offset = 0
        for height, width in layout.shapes:
            plane = np.frombuffer(data, stored, height * width, offset)
            planes.append(
                cast("Plane", plane.reshape(height, width).astype(layout.dtype, copy=False))
            )
            offset += height * width * stored.itemsize
        return tuple(planes)

    def _cut_off(self) -> DecodeError:
        return DecodeError(
            f"{self._name} is cut off within frame {self.frames + 1}; check its source"
        )

    def _line(self, most: int) -> bytes | None:
        """Read to the end of a line; None at the end of the stream."""
        line = bytearray()
        while True:
            # Lines are short: FRAME takes six reads of a byte, from the buffer of the file.
            byte = self._read(1)
            if byte == b"\n":
                return bytes(line)
            if not byte:
                if not line:
                    return None
                if hasattr(self, "header"):
                    raise self._cut_off()
                raise DecodeError(
                    f"{self._name} is cut off within its y4m header; check its source"
                )
            line += byte
            if len(line) > most:
                what = f"frame {self.frames + 1}" if hasattr(self, "header") else "the stream"
                raise DecodeError(
                    f"{self._name} is damaged: the header of {what} has more than {most} bytes; "
                    "make it again"
                )

    def _exactly(self, size: int) -> bytes:
        """Read ``size`` bytes, fewer at the end of the stream."""
        data = self._read(size)
        if len(data) == size or not data:
            return data
        blocks = [data]
        missing = size - len(data)
        while missing:
            data = self._read(missing)
            if not data:
                break
            blocks.append(data)
            missing -= len(data)
        return b"".join(blocks)

    def _read(self, size: int) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        try:
            return self._stream.read(size) or b""
        except (OSError, ValueError) as error:
            raise DecodeError(f"{self._name} cannot be read: {reason(error)}") from error


class Y4mWriter:
    """Writes frames to a binary file, which need not seek."""

    def __init__(self, stream: BinaryIO, line: bytes) -> None:
        """Write the header; raises `EncodeError` if the system refuses."""
        self._stream = stream
        self._write(line)

    def write(self, frame: VideoFrame) -> None:
        """Write a frame; raises `EncodeError` if the system refuses or the reader has gone."""
        line = frame.carried
        self._write(line if isinstance(line, bytes) else b"FRAME", b"\n")
        for plane in frame.planes:
            samples: Any = plane
            if plane.dtype.itemsize > 1 and sys.byteorder == "big":
                samples = plane.astype("<u2")
            self._write(np.ascontiguousarray(samples).data.cast("B"))

    def flush(self) -> None:
        """Flush the file; raises `EncodeError`."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            raise self._failed(error) from error

    def _write(self, *blocks: bytes | memoryview) -> None:
        try:
            for block in blocks:
                view = memoryview(block)
                while len(view):  # an unbuffered file may write a part
                    written = self._stream.write(view)
                    view = view[len(view) if written is None else written :]
        except (OSError, ValueError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> EncodeError:
        if isinstance(error, BrokenPipeError):
            return EncodeError("the result cannot be written: its reader has closed the pipe")
        return EncodeError(f"the result cannot be written: {reason(error)}")
