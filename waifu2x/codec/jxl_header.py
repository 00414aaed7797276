"""The header and the metadata boxes of JPEG XL, read before the plugin decodes the file.

pillow-jxl-plugin decodes a file when it opens it, so the size is checked before that.
Layout: ISO/IEC 18181-1 (codestream header) and 18181-2 (boxes).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

from .._record import record
from .boxes import boxes
from .xmp import MAX_XMP

_CODESTREAM = b"\xff\x0a"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_HEAD = 1 << 16  # the header of a codestream is shorter, unless channels have very long names


@record
class JxlHeader:
    """Size in pixels as shown (upright), bits per sample, whether animated.

    lossy: whether colors are stored as XYB, as lossy encoders do; None if the header ends before.
    channels: the kinds of the channels beyond color, such as ALPHA. premultiplied: whether the
    first alpha channel is associated with the colors.
    """

    width: int
    height: int
    bits: int
    animated: bool
    lossy: bool | None
    channels: tuple[int, ...] = ()
    premultiplied: bool = False


def read_header(stream: BinaryIO) -> JxlHeader:
    """Read the header of the JPEG XL in ``stream``; raises ValueError if it is broken."""
    head = b""
    for kind, start, size in _boxes(stream):
        if kind in (b"jxlc", b"jxlp"):
            skipped = 4 if kind == b"jxlp" else 0
            stream.seek(start + skipped)
            head += stream.read(max(0, min(_HEAD - len(head), size - skipped)))
            if kind == b"jxlc" or len(head) >= _HEAD:
                break
    if not head.startswith(_CODESTREAM):
        raise ValueError("it has no picture")
    bits = _BitReader(head[2:])
    width, height = bits.size()
    depth, animated, orientation, premultiplied = 8, False, 1, False
    lossy: bool | None = True
    channels: tuple[int, ...] = ()
    if not bits.take(1):  # not all default
        if bits.take(1):
            orientation = bits.take(3) + 1
            if bits.take(1):
                bits.size()  # the intrinsic size
            if bits.take(1):
                bits.preview()
            animated = bool(bits.take(1))
            if animated:
                bits.animation()
        depth = bits.depth(bool(bits.take(1)))
        try:
            channels, premultiplied = bits.channels()
            lossy = bool(bits.take(1))  # xyb_encoded
        except ValueError:  # after a channel with a very long name
            lossy = None
    if orientation >= 5:
        width, height = height, width
    return JxlHeader(width, height, depth, animated, lossy, channels, premultiplied)


def read_xmp(stream: BinaryIO) -> bytes | None:
    """Return the XMP packet of the JPEG XL in ``stream``, decompressed, or None."""
    return _metadata(stream, b"xml ")


def read_exif(stream: BinaryIO) -> bytes | None:
    """Return the EXIF block of the JPEG XL in ``stream``, from the TIFF header on, or None."""
    body = _metadata(stream, b"Exif")
    if body is None or len(body) < 4:
        return None
    return body[4 + int.from_bytes(body[:4], "big") :] or None


def notes(stream: BinaryIO, header: JxlHeader) -> tuple[str, ...]:
    """Return what is left out of the JPEG XL in ``stream``, one short sentence each."""
    found = {kind for kind, _, _ in _boxes(stream)}
    # Spot colors are rendered by the decoder.
    kinds = list(header.channels)
    surplus = len([kind for kind in kinds if kind not in (ALPHA, SPOT_COLOR)])
    surplus += max(0, kinds.count(ALPHA) - 1)
    return (
        *([f"channels beyond color and alpha: {surplus} left out"] if surplus else []),
        *(["the gain map: left out"] if b"jhgm" in found else []),
        *(["the JUMBF data: left out"] if b"jumb" in found else []),
    )


def _metadata(stream: BinaryIO, wanted: bytes) -> bytes | None:
    """Return the content of the first box of a kind, decompressed, or None."""
    for kind, start, size in _boxes(stream):
        if kind not in (wanted, b"brob") or size > MAX_XMP:
            continue
        stream.seek(start)
        body = stream.read(size)
        if kind == wanted:
            return body
        if body[:4] == wanted:
            return _decompressed(body[4:])
    return None


def is_default_profile(icc: bytes) -> bool:
    """Return whether ``icc`` is the sRGB profile that libjxl creates if a file holds none."""
    return icc[4:8] == b"jxl " and b"cicp\0\0\0\0\x01\x0d\0\x01" in icc


def _decompressed(data: bytes) -> bytes | None:
    import imagecodecs

    try:
        return bytes(imagecodecs.brotli_decode(data, out=MAX_XMP))
    except Exception:  # broken XMP is no reason to refuse the picture
        return None


def _boxes(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Return kind, start and size of each box's content; a bare codestream is one box."""
    stream.seek(0)
    if stream.read(2) == _CODESTREAM:
        return iter([(b"jxlc", 0, stream.seek(0, io.SEEK_END))])
    return boxes(stream)


class _BitReader:
    """Reads the fields of a codestream, lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("its header ends too early")
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        return taken

    def choice(self, *choices: tuple[int, int]) -> int:
        """Read a U32: two bits select an offset and the number of bits to add to it."""
        offset, count = choices[self.take(2)]
        return offset + self.take(count)

    def size(self) -> tuple[int, int]:
        """Read SizeHeader: width and height."""
        small = self.take(1)
        height = self._side(small)
        ratio = self.take(3)
        if ratio == 0:
            return self._side(small), height
        above, below = _RATIOS[ratio - 1]
        return height * above // below, height

    def _side(self, small: int) -> int:
        return (self.take(5) + 1) * 8 if small else self.choice((1, 9), (1, 13), (1, 18), (1, 30))

    def preview(self) -> None:
        eighths = self.take(1)
        choices = (
            ((16, 0), (32, 0), (1, 5), (33, 9))
            if eighths
            else ((1, 6), (65, 8), (321, 10), (1345, 12))
        )
        self.choice(*choices)
        if self.take(3) == 0:
            self.choice(*choices)

    def animation(self) -> None:
        self.choice((100, 0), (1000, 0), (1, 10), (1, 30))
        self.choice((1, 0), (1001, 0), (1, 8), (1, 10))
        self.choice((0, 0), (0, 3), (0, 16), (0, 32))
        self.take(1)

    def depth(self, is_float: bool) -> int:
        if not is_float:
            return self.choice((8, 0), (10, 0), (12, 0), (1, 6))
        bits = self.choice((32, 0), (16, 0), (24, 0), (1, 6))
        self.take(4)
        return bits

    def channels(self) -> tuple[tuple[int, ...], bool]:
        """Read the kinds of extra channels, and whether the first alpha is premultiplied."""
        self.take(1)  # 16-bit buffers suffice
        kinds: list[int] = []
        premultiplied = False
        for _ in range(self.choice((0, 0), (1, 0), (2, 4), (1, 12))):
            if self.take(1):  # alpha, straight, 8 bits
                kinds.append(ALPHA)
                continue
            kind = self.choice((0, 0), (1, 0), (2, 4), (18, 6))
            self.depth(bool(self.take(1)))
            self.choice((0, 0), (3, 0), (4, 0), (1, 3))
            self.take(8 * self.choice((0, 0), (0, 4), (16, 5), (48, 10)))
            if kind == ALPHA:
                associated = bool(self.take(1))
                premultiplied = premultiplied or (associated and ALPHA not in kinds)
            elif kind == SPOT_COLOR:
                self.take(4 * 16)
            elif kind == COLOR_FILTER_ARRAY:
                self.choice((1, 0), (0, 2), (3, 4), (19, 8))
            kinds.append(kind)
        return tuple(kinds), premultiplied


#: Kinds of extra channels.
ALPHA, SPOT_COLOR, BLACK, COLOR_FILTER_ARRAY = 0, 2, 4, 5
