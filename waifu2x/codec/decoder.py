"""Files in."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image, UnidentifiedImageError

from .._text import reason, shown
from ..errors import ArgumentError, DecodeError, LimitError
from ..picture import Picture
from ._pillow import is_tiff, reading
from .image import picture_of, raw_mode, source_of

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import TiffImageFile

#: The limit unless told otherwise. Pillow refuses from here on too: twice its MAX_IMAGE_PIXELS.
DEFAULT_MAX_PIXELS = 178_956_970

#: The environment variable that changes the limit.
MAX_PIXELS_VARIABLE = "WAIFU2X_MAX_PIXELS"

# What people keep pictures in, the common ones first. A list of our own, because Pillow would
# also hand EPS to Ghostscript, take text for XBM, and guess at scientific formats.
_READ = (
    *("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "AVIF", "TIFF", "PSD"),
    *("JPEG2000", "QOI", "ICO", "PCX", "DDS", "DIB", "TGA"),
)

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_SIGNATURES = (
    (_PNG_SIGNATURE, "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"8BPS", "PSD"),
    (b"qoif", "QOI"),
)

_UNSUPPORTED = (
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"PK\x03\x04", "ZIP"),
    (b"<svg", "SVG"),
    (b"\x1a\x45\xdf\xa3", "Matroska video"),
)


def pixel_limit() -> int:
    """The limit in pixels: the environment variable WAIFU2X_MAX_PIXELS, or DEFAULT_MAX_PIXELS.

    Raises ArgumentError where the variable is not a positive whole number.
    """
    text = os.environ.get(MAX_PIXELS_VARIABLE, "").strip()
    if not text:
        return DEFAULT_MAX_PIXELS
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
    if limit < 1:
        raise ArgumentError(
            f"{MAX_PIXELS_VARIABLE} is {shown(text)!r}; it must be a number of pixels, "
            f"1 or more, such as {DEFAULT_MAX_PIXELS}"
        )
    return limit


def decode(path: str | os.PathLike[str] | BinaryIO, *, max_pixels: int | None = None) -> Picture:
    """Read one picture, upright, with what must survive of its metadata.

    path: a file name, or a binary file object, which is read to its end and left open.
    max_pixels: refuse more than this; None is `pixel_limit`. Checked in the header, before the
        pixels are allocated. Beyond DEFAULT_MAX_PIXELS, Pillow's own limit
        (``PIL.Image.MAX_IMAGE_PIXELS``, a setting of the whole process) must be raised as well.

    Reads PNG, JPEG (MPO: the first picture), WebP, AVIF, GIF, BMP, TIFF, PPM / PGM / PBM, TGA, PSD
    (the composite), JPEG 2000, QOI, ICO (the largest), PCX and DDS. What becomes of the samples:

    =============================  ===============================================================
    1, 2, 4 and 8-bit gray         gray uint8
    16-bit gray                    gray uint16
    float gray (TIFF)              gray float32, as it is: overshoot between -0.5 and 1.5 is kept
                                   until somebody clamps; beyond that, and NaN, is a DecodeError
    palette                        RGB uint8; RGB and alpha if an entry is transparent
    RGB, RGBA, gray and alpha      uint8, straight alpha
    16-bit RGB, RGBA, gray-alpha   uint8: Pillow keeps only the high byte of each
    one transparent colour (tRNS)  alpha that is 0 there and full elsewhere
    CMYK and YCCK                  RGB uint8 in sRGB, through the embedded profile if there is one
    LAB, YCbCr                     RGB uint8
    =============================  ===============================================================

    The EXIF orientation is applied and its tag reset. The ICC profile is kept where it describes
    these pixels: not that of a CMYK file, nor an RGB profile on gray.

    Raises DecodeError for what is missing, unreadable, not a picture, damaged, truncated or
    animated; LimitError for what is too large; ArgumentError for a bad ``max_pixels``.
    """
    limit = pixel_limit() if max_pixels is None else max_pixels
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ArgumentError(f"max_pixels is {limit!r}; it must be a whole number, 1 or more")
    with _opened(path, limit) as (stream, name), reading(name):
        head = stream.read(64)
        if not head:
            raise DecodeError(f"{name} is empty (0 bytes)")
        lossy = _check_container(stream, head, name, limit)
        stream.seek(0)
        try:
            image = Image.open(stream, formats=_READ)
        except UnidentifiedImageError as error:
            raise _unidentified(head, name) from error
        except Image.DecompressionBombError as error:
            raise _refused_by_pillow(error, limit, name) from error
        with image:
            _check_pixels(image.width, image.height, limit, name)
            _check_frames(image, name)
            stored = raw_mode(image)
            image.load()
            try:
                return picture_of(image, source_of(image, lossy=lossy), stored)
            except ArgumentError as error:
                raise DecodeError(f"{name}: {error}") from error


# --- opening


@contextmanager
def _opened(path: str | os.PathLike[str] | BinaryIO, limit: int) -> Iterator[tuple[BinaryIO, str]]:
    """A seekable stream of ``path`` at its start, and the name to call it by."""
    if isinstance(path, (str, os.PathLike)):
        name = shown(path)
        try:
            file, seekable = _open_file(Path(path), name)
        except FileNotFoundError as error:
            raise DecodeError(f"{name} does not exist") from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise DecodeError(f"{name} cannot be read: {reason(error)}") from error
        with file:
            yield (file if seekable else _buffered(file, limit, name)), name
    else:
        given = getattr(path, "name", None)
        name = shown(given) if isinstance(given, str) else "the stream"
        yield _buffered(path, limit, name), name


def _open_file(path: Path, name: str) -> tuple[BinaryIO, bool]:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise DecodeError(f"{name} is a directory; name a file in it")
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise DecodeError(f"{name} is a device or socket, not a file")  # /dev/zero never ends
    return path.open("rb"), stat.S_ISREG(mode)


def _buffered(stream: BinaryIO, limit: int, name: str) -> BinaryIO:
    """All of ``stream`` in memory, where Pillow can seek in it.

    Raises LimitError where it goes on beyond any picture within the limit.
    """
    if isinstance(stream, io.TextIOBase) or not hasattr(stream, "read"):
        raise ArgumentError(
            f"path is a {type(stream).__name__}; it must be a file name or a binary file object"
        )
    most = 16 * limit + (1 << 26)  # 4 float samples each, and 64 MiB of everything else
    blocks: list[bytes] = []
    size = 0
    while True:
        try:
            block = stream.read(1 << 20)
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            raise DecodeError(f"{name} cannot be read: {reason(error)}") from error
        if not block:
            return io.BytesIO(b"".join(blocks))
        blocks.append(block)
        size += len(block)
        if size > most:
            raise LimitError(
                f"{name} goes on beyond {most} bytes, more than a picture of {limit} pixels; "
                + _HOW_TO_RAISE
            )


# --- checks before the pixels

_HOW_TO_RAISE = f"raise the limit with {MAX_PIXELS_VARIABLE} or max_pixels"


def _check_pixels(width: int, height: int, limit: int, name: str) -> None:
    if width * height > limit:
        raise LimitError(
            f"{name} is {width}x{height}, {width * height} pixels, and the limit is {limit}; "
            + _HOW_TO_RAISE
        )


def _refused_by_pillow(error: Exception, limit: int, name: str) -> LimitError:
    """The error for what is beyond Pillow's own limit, which Pillow checks while it opens."""
    number = re.search(r"\d+", str(error))
    pixels = int(number[0]) if number else limit + 1
    if pixels > limit:
        return LimitError(f"{name} is {pixels} pixels, and the limit is {limit}; " + _HOW_TO_RAISE)
    return LimitError(
        f"{name} is {pixels} pixels, and Pillow's own limit is lower than max_pixels; "
        "raise PIL.Image.MAX_IMAGE_PIXELS too"
    )


def _check_frames(image: Image.Image, name: str) -> None:
    """Refuse animations and multi-page files, whose other frames would be lost without a word."""
    if image.format in ("MPO", "PSD"):
        return  # A camera's extra views; layers, of which Pillow opens the composite.
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1 and is_tiff(image):
        frames = _count_pages(image, frames)
    if frames > 1:
        raise DecodeError(
            f"{name} has {frames} frames, which is not supported yet; "
            "save one frame as a picture first"
        )


def _count_pages(image: TiffImageFile, frames: int) -> int:
    """How many of the pages are pictures of their own and not smaller copies (NewSubfileType)."""
    pages = []
    for frame in range(frames):
        image.seek(frame)
        kind = image.tag_v2.get(0x00FE, 0)
        if not (isinstance(kind, int) and kind & 1):
            pages.append(frame)
    image.seek(0)
    return len(pages) if pages[:1] == [0] else frames


def _unidentified(head: bytes, name: str) -> DecodeError:
    label = next((label for sign, label in _SIGNATURES if head.startswith(sign)), "")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        label = "WebP"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        label = "AVIF"
    if label:
        return DecodeError(
            f"{name} is damaged or truncated: it begins as {label}, but cannot be opened as such"
        )
    label = next((label for sign, label in _UNSUPPORTED if head.startswith(sign)), "")
    if head[4:8] == b"ftyp":
        label = "HEIC" if head[8:11] in (b"hei", b"hev", b"mif", b"msf") else "video"
    if label:
        return DecodeError(f"{name} is a {label} file, which is not supported; save it as PNG")
    return DecodeError(
        f"{name} is not a picture in a format we read "
        "(PNG, JPEG, WebP, AVIF, GIF, BMP, TIFF and some more)"
    )


# --- containers we look into ourselves


def _check_container(stream: BinaryIO, head: bytes, name: str, limit: int) -> bool | None:
    """What Pillow does not check or tell. Returns whether the file is lossy, where it is known."""
    if head.startswith(_PNG_SIGNATURE):
        _check_png(stream, name)
        return False
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        size = _webp_size(head)
        if size is not None:  # Pillow may allocate the canvas as soon as it opens the file.
            _check_pixels(*size, limit, name)
        return _webp_lossy(stream, name)
    return None


def _check_png(stream: BinaryIO, name: str) -> None:
    """Check the checksums of the chunks that matter, and that the file goes on to its end.

    Pillow skips those of the pixels, so that one flipped bit gives a picture with a torn half.
    """
    stream.seek(len(_PNG_SIGNATURE))
    while True:
        start = stream.read(8)
        if len(start) < 8:
            break
        length, kind = struct.unpack(">I4s", start)
        critical = not kind[0] & 0x20
        if not critical:
            stream.seek(length + 4, io.SEEK_CUR)
            continue
        checksum = zlib.crc32(kind)
        while length > 0:
            block = stream.read(min(length, 1 << 20))
            if not block:
                break
            checksum = zlib.crc32(block, checksum)
            length -= len(block)
        stored = stream.read(4)
        if length or len(stored) < 4:
            break
        if int.from_bytes(stored, "big") != checksum:
            chunk = shown(kind.decode("latin-1"))
            raise DecodeError(f"{name} is damaged: the checksum of its {chunk} chunk is wrong")
        if kind == b"IEND":
            return
    raise DecodeError(f"{name} is truncated: the file ends before the picture does")


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """The size in a WebP header, or None where there is none to be found."""
    chunk, data = head[12:16], head[20:]
    if len(data) < 10:
        return None
    if chunk == b"VP8X":
        return int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 6)
    return width & 0x3FFF, height & 0x3FFF


def _webp_lossy(stream: BinaryIO, name: str) -> bool | None:
    """Whether a WebP holds lossy pixels: VP8 is lossy, VP8L lossless, the first one decides."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(4)
    end = 8 + int.from_bytes(stream.read(4), "little")
    if end > size:
        raise DecodeError(f"{name} is truncated: the file ends before the picture does")
    position = 12
    while position + 8 <= end:
        stream.seek(position)
        kind, length = struct.unpack("<4sI", stream.read(8))
        if kind in (b"VP8 ", b"VP8L"):
            return bool(kind == b"VP8 ")
        position += 8 + length + (length & 1)
    return None
