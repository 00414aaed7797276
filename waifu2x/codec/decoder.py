"""Reads still pictures."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, cast

from PIL import Image

from .._text import reason, shown
from ..errors import ArgumentError, DecodeError, LimitError, MissingExtraError, Waifu2xError
from ..picture import Picture
from . import limits
from ._pillow import pillow_errors
from .faults import animated, damaged
from .formats import FORMATS, JXL_INSTALL
from .image import picture_of, raw_mode, source_of
from .limits import HOW_TO_RAISE, MAX_PIXELS_VARIABLE, check_pixels
from .pillow_open import UnknownFormatError, open_image, refused_by_pillow
from .sniff import HEAD_BYTES, FileType, sniff

#: The default limit, which is Pillow's too: twice its MAX_IMAGE_PIXELS.
DEFAULT_MAX_PIXELS = 178_956_970

#: Pillow's names of the formats that it identifies by itself; others are recognized before. Without
#: a list, Pillow would also pass EPS to Ghostscript, read text as XBM, and guess at scientific
#: formats.
PILLOW_FORMATS = tuple(
    row.pillow
    for row in FORMATS
    if row.name
    not in (
        *("png", "tiff", "psd", "jpeg2000", "jxl", "gif"),
        *("bmp", "dib", "ico", "pcx", "tga", "ppm", "qoi", "dds"),
    )
)

_WEBP_ANIMATION = 0x02


def pixel_limit() -> int:
    """Return the environment variable WAIFU2X_MAX_PIXELS, or DEFAULT_MAX_PIXELS.

    Raises ArgumentError if the variable is not a positive whole number.
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
    """Read one picture, upright, with its metadata.

    path: a file name, or a binary file object, which is read to its end and left open.
    max_pixels: the largest number of pixels; None is `pixel_limit`. Checked in the header, before
        memory is allocated. Beyond DEFAULT_MAX_PIXELS, Pillow's own limit
        (``PIL.Image.MAX_IMAGE_PIXELS``, a setting of the whole process) must be raised as well.

    Reads PNG, JPEG (MPO: the first picture), WebP, AVIF, GIF, BMP, TIFF, PBM / PGM / PPM / PAM /
    PFM, TGA, PSD and PSB (the composite), JPEG 2000, QOI, ICO and CUR (the largest), PCX and DDS,
    and JPEG XL with the extra ``jxl``. docs/variants.md lists the variants. Samples become:

    =============================  ===============================================================
    1, 2, 4 and 8-bit gray         gray uint8
    16-bit gray                    gray uint16
    palette                        RGB uint8; RGB and alpha if an entry is transparent
    RGB, RGBA, gray and alpha      uint8, straight alpha
    the same with more than 8 and  uint16 over the whole range, from PNG, TIFF, JPEG, AVIF,
    up to 16 bits                  JPEG 2000, JPEG XL, PSD, the PPM family, BMP and DDS; uint8 from
                                   others (`Source.reduced`)
    float, any of these channels   float32, from TIFF, JPEG XL and PFM, as it is: overshoot between
                                   -0.5 and 1.5 is kept; beyond that, and NaN, is a DecodeError
    premultiplied alpha            straight alpha
    one transparent color (tRNS)  alpha that is 0 there and full elsewhere
    CMYK and YCCK                  RGB uint8 in sRGB, through the embedded profile if there is one
    LAB, YCbCr                     RGB uint8
    =============================  ===============================================================

    The orientation in EXIF is applied and reset to 1; AVIF has its own. XMP turns no picture, and
    its orientation is reset to 1 too. The ICC profile is
    kept if it describes these pixels: not that of a CMYK file, nor an RGB profile on gray.
    `Metadata` lists the rest; texts of PNG above 1 MiB, or 8 MiB in all, and XMP above 16 MiB are
    left out. `Source.notes` says what was left out or repaired.

    Raises DecodeError for a file that is missing, unreadable, no picture, damaged, truncated,
    animated or of several pages; LimitError for one that is too large; MissingExtraError for JPEG
    XL without its extra; ArgumentError for a bad ``max_pixels``.
    """
    limit = pixel_limit() if max_pixels is None else max_pixels
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ArgumentError(f"max_pixels is {limit!r}; it must be a whole number, 1 or more")
    with opened(path, limit) as (stream, name):
        return decode_stream(stream, name, limit)


def decode_stream(stream: BinaryIO, name: str, limit: int) -> Picture:
    """Read one picture of at most ``limit`` pixels from the start of a seekable file.

    name: for messages. The rest is as for `decode`.
    """
    with pillow_errors(name):
        stream.seek(0)
        head = stream.read(1 << 16)
        if not head:
            raise DecodeError(f"{name} is empty (0 bytes); copy or download it again")
        kind = sniff(head).name
        try:
            reader = _READERS.get(kind)
            if reader is not None:
                return reader(stream, name, limit)
            from .format_readers import reader_of

            small = reader_of(head)
            if small is not None:
                return small.read(stream, name, limit)
            return _decode_other(stream, head, name, limit)
        except ArgumentError as error:
            raise DecodeError(f"{name}: {error}") from error


def may_be_animation(stream: BinaryIO) -> bool:
    """Return whether a seekable file may be one for `waifu2x.codec.animation`, by its header."""
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    found = sniff(head)
    if found.name == "png":
        from . import png_reader

        return png_reader.announces_animation(stream)
    if found.name == "webp":
        return head[12:16] == b"VP8X" and bool(head[20:21] and head[20] & _WEBP_ANIMATION)
    return found.animated


# --- one function per format, which imports the modules of that format alone


def _decode_png(stream: BinaryIO, name: str, limit: int) -> Picture:
    from .png_decoder import decode_png

    return decode_png(stream, name, limit)


def _decode_gif(stream: BinaryIO, name: str, limit: int) -> Picture:
    from .gif_reader import read_gif

    return read_gif(stream, name, limit)


def _decode_jpeg(stream: BinaryIO, name: str, limit: int) -> Picture:
    from .jpeg_reader import read_jpeg

    return read_jpeg(stream, name, limit)


def _decode_tiff(stream: BinaryIO, name: str, limit: int) -> Picture:
    from .tiff_header import OLD_JPEG, read_layout
    from .tiff_reader import tiff_picture, with_tags

    try:
        layout = read_layout(stream)
    except ValueError as error:
        raise damaged(name, "TIFF", reason(error)) from error
    check_pixels(layout.width, layout.height, limit, name)
    if layout.tile is not None and layout.tile[0] * layout.tile[1] > limit:
        width, height = layout.tile
        raise LimitError(
            f"{name} is stored in tiles of {width}x{height}, {width * height} pixels, and the "
            f"limit is {limit}; " + HOW_TO_RAISE
        )
    if layout.pages > 1:
        raise DecodeError(
            f"{name} is a TIFF of {layout.pages} pages; save the page you want as a picture"
        )
    if layout.unsupported:
        raise DecodeError(
            f"{name} is a TIFF with {layout.unsupported}, which is not supported; "
            "save it as 8 or 16-bit RGB"
        )
    if layout.by_pillow:
        try:
            picture = _decode_with_pillow(stream, ("TIFF",), name, limit)
            return with_tags(picture, stream, layout)
        except Waifu2xError:
            raise
        except Exception as error:
            if layout.compression == OLD_JPEG:
                raise DecodeError(
                    f"{name} is a TIFF with old-style JPEG compression that cannot be read; "
                    "save it as 8 or 16-bit RGB"
                ) from error
            if not isinstance(error, UnknownFormatError):
                raise
    limits.check_bytes(stream, limit, name)
    return tiff_picture(stream, layout)


def _decode_psd(stream: BinaryIO, name: str, limit: int) -> Picture:
    from .psd_reader import psd_picture

    try:
        return psd_picture(stream, name, limit)
    except ValueError as error:
        raise damaged(name, "PSD", reason(error)) from error


def _decode_jpeg2000(stream: BinaryIO, name: str, limit: int) -> Picture:
    from .jpeg2000_reader import jpeg2000_picture

    try:
        return jpeg2000_picture(stream, name, limit)
    except ValueError as error:
        raise damaged(name, "JPEG 2000", reason(error)) from error


def _decode_jxl(stream: BinaryIO, name: str, limit: int) -> Picture:
    from . import high_depth, jxl_header
    from .samples import unpremultiplied

    try:
        header = jxl_header.read_header(stream)
    except ValueError as error:
        raise damaged(name, "JPEG XL", reason(error)) from error
    check_pixels(header.width, header.height, limit, name)
    limits.check_bytes(stream, limit, name)
    if header.animated:
        raise DecodeError(
            f"{name} is an animated JPEG XL, which is not supported; save it as PNG or WebP"
        )
    if jxl_header.BLACK in header.channels:
        raise DecodeError(
            f"{name} is a JPEG XL with CMYK colors, which is not supported; save it as PNG"
        )
    try:
        import pillow_jxl  # noqa: F401  (registers itself with Pillow)
    except ImportError as error:
        raise MissingExtraError(
            f"{name} is a JPEG XL file, and its reader is not installed; run `{JXL_INSTALL}`"
        ) from error
    packet = jxl_header.read_xmp(stream)
    exif = jxl_header.read_exif(stream)
    notes = jxl_header.notes(stream, header)
    stream.seek(0)
    try:
        opened = Image.open(stream, formats=("JXL",))
    except Image.DecompressionBombError as error:
        raise refused_by_pillow(error, limit, name) from error
    except Exception as error:  # the plugin's messages do not help users
        raise damaged(name, "JPEG XL", "cannot be opened as such") from error
    with opened as image:
        check_pixels(image.width, image.height, limit, name)
        planes = None
        if header.bits != 8:
            alpha = jxl_header.ALPHA in header.channels
            planes = high_depth.jxl_planes(stream, image.size, header.bits, alpha=alpha)
        else:
            image.load()
        if packet is not None:
            image.info["xmp"] = packet
        if exif is not None:
            image.info["exif"] = exif  # the plugin does not decompress it
        icc = image.info.get("icc_profile")
        if isinstance(icc, bytes) and jxl_header.is_default_profile(icc):
            del image.info["icc_profile"]
        lossy = True if getattr(image, "jpeg", False) else header.lossy  # a recompressed JPEG
        source = replace(source_of(image, lossy=lossy), notes=notes)
        picture = picture_of(image, source, "", planes=planes)
        if header.premultiplied and picture.alpha is not None:
            return replace(picture, color=unpremultiplied(picture.color, picture.alpha))
        return picture


def _decode_avif(stream: BinaryIO, name: str, limit: int) -> Picture:
    from . import avif_reader

    header = avif_reader.checked_header(stream, name, limit)
    stream = avif_reader.decodable(stream, header)
    try:
        opened = open_image(stream, ("AVIF",), name, limit)
    except UnknownFormatError as error:
        raise damaged(name, "AVIF", "cannot be opened as such") from error
    with opened as image:
        _check_frames(image, name)
        return avif_reader.still_of(image, stream, header)


def _decode_webp(stream: BinaryIO, name: str, limit: int) -> Picture:
    from .webp_container import mended

    lossy = limits.check_webp(stream, limit, name)
    plain, notes = mended(stream, name)
    try:
        picture = _decode_with_pillow(plain, ("WEBP",), name, limit, lossy=lossy)
    except UnknownFormatError as error:
        raise damaged(name, "WebP", "cannot be opened as such") from error
    notes = (*picture.source.notes, *notes)
    return replace(picture, source=replace(picture.source, notes=notes))


def _decode_other(stream: BinaryIO, head: bytes, name: str, limit: int) -> Picture:
    lossy = limits.check_header(stream, head, limit, name)
    try:
        return _decode_with_pillow(stream, PILLOW_FORMATS, name, limit, lossy=lossy)
    except UnknownFormatError as error:
        raise _unidentified(sniff(head), name) from error


def _decode_with_pillow(
    stream: BinaryIO,
    formats: tuple[str, ...],
    name: str,
    limit: int,
    *,
    lossy: bool | None = None,
) -> Picture:
    with open_image(stream, formats, name, limit) as image:
        _check_frames(image, name)
        stored = raw_mode(image)
        source = source_of(image, lossy=lossy)
        packet = image.info.pop("xmp", None)  # Pillow turns a TIFF by the orientation in XMP
        image.load()
        if packet is not None:
            image.info["xmp"] = packet
        check_pixels(image.width, image.height, limit, name)
        return picture_of(image, source, stored)


#: The readers of formats that `sniff` names.
_READERS: Final[dict[str, Callable[[BinaryIO, str, int], Picture]]] = {
    "png": _decode_png,
    "tiff": _decode_tiff,
    "psd": _decode_psd,
    "jpeg2000": _decode_jpeg2000,
    "jxl": _decode_jxl,
    "gif": _decode_gif,
    "webp": _decode_webp,
    "avif": _decode_avif,
    "jpeg": _decode_jpeg,
}


# --- opening


#: What messages call Python's standard streams.
_STREAMS: Final = {"<stdin>": "standard input"}


@contextmanager
def opened(path: str | os.PathLike[str] | BinaryIO, limit: int) -> Iterator[tuple[BinaryIO, str]]:
    """Open ``path`` as a seekable stream, at its start; yield it and its name for messages.

    A stream that is open already, or cannot seek, is read into memory: at most the size that a
    picture of ``limit`` pixels can have. Raw frames in y4m are read one by one instead; their
    stream seeks to its start only, before more than `HEAD_BYTES` were read. Raises DecodeError for
    a missing or special file, and LimitError.
    """
    if isinstance(path, (str, os.PathLike)):
        name = shown(path)
        try:
            file, seekable = _open_file(Path(path), name)
        except FileNotFoundError as error:
            raise DecodeError(f"{name} does not exist") from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise DecodeError(f"{name} cannot be read: {reason(error)}") from error
        with file:
            yield (file if seekable else _held(file, limit, name)), name
    else:
        given = getattr(path, "name", None)
        name = _STREAMS.get(given, shown(given)) if isinstance(given, str) else "the stream"
        yield _held(path, limit, name), name


def _held(stream: BinaryIO, limit: int, name: str) -> BinaryIO:
    """Read ``stream`` into memory, unless it holds raw frames, which are read one by one."""
    if isinstance(stream, io.TextIOBase) or not hasattr(stream, "read"):
        raise ArgumentError(
            f"the input is a {type(stream).__name__}; it must be a path or a binary file object"
        )
    begun = ForwardStream(stream, name)
    head = begun.read(HEAD_BYTES)
    begun.seek(0)
    if sniff(head).name == "y4m":
        return cast("BinaryIO", begun)
    return _buffered(cast("BinaryIO", begun), limit, name)


class ForwardStream:
    """A stream that is read once from its start, apart from its first bytes."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._head, self._position = b"", 0

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes, all if negative; raises `DecodeError` and `ArgumentError`.

        The first `HEAD_BYTES` are complete, unless the stream is shorter.
        """
        if self._position < len(self._head):
            data = self._head[self._position :][: None if size < 0 else size]
        elif len(self._head) < HEAD_BYTES and 0 <= size <= HEAD_BYTES - self._position:
            data = b""
            while len(data) < size and (block := self._next(size - len(data))):
                data += block
            self._head += data
        else:
            data = self._next(size)
        self._position += len(data)
        return data

    def _next(self, size: int) -> bytes:
        try:
            block = self._stream.read(size)
        except Exception as error:  # any object with a method `read` is accepted
            raise DecodeError(f"{self._name} cannot be read: {reason(error)}") from error
        if block and not isinstance(block, bytes | bytearray | memoryview):
            raise ArgumentError(
                f"the input reads as {type(block).__name__}; it must be a binary file object"
            )
        return bytes(block or b"")

    def seek(self, offset: int, whence: int = 0) -> int:
        """Return to the start, while the first bytes are known."""
        if offset or whence or self._position > len(self._head):
            raise io.UnsupportedOperation("a stream of raw frames is read once")
        self._position = 0
        return 0

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        return self._stream.fileno()


def _open_file(path: Path, name: str) -> tuple[BinaryIO, bool]:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise DecodeError(f"{name} is a directory; name a file in it")
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        # /dev/zero never ends.
        raise DecodeError(f"{name} is a device or socket, not a file; name a file")
    return path.open("rb"), stat.S_ISREG(mode)


def _buffered(stream: BinaryIO, limit: int, name: str) -> BinaryIO:
    """Read all of ``stream`` into memory; raises LimitError if it exceeds any picture allowed."""
    max_bytes = limits.max_bytes(limit)
    blocks: list[bytes] = []
    size = 0
    while True:
        try:
            block = stream.read(1 << 20)
        except Exception as error:  # any object with a method `read` is accepted
            raise DecodeError(f"{name} cannot be read: {reason(error)}") from error
        if not block:
            return io.BytesIO(b"".join(blocks))
        if not isinstance(block, bytes | bytearray | memoryview):
            raise ArgumentError(
                f"the input reads as {type(block).__name__}; it must be a binary file object"
            )
        blocks.append(block)
        size += len(block)
        if size > max_bytes:
            raise LimitError(
                f"{name} goes on beyond {max_bytes} bytes, more than a picture of {limit} pixels; "
                + HOW_TO_RAISE
            )


# --- errors


def _check_frames(image: Image.Image, name: str) -> None:
    """Refuse animations, whose other frames would be lost silently."""
    if image.format in ("MPO", "TIFF"):
        return  # extra views of a camera; counted before
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1:
        raise animated(frames, name)


def _unidentified(found: FileType, name: str) -> DecodeError:
    if found.format is not None:
        return damaged(name, found.format.label, "cannot be opened as such")
    if found.name:
        return DecodeError(found.unsupported(name))
    return DecodeError(
        f"{name} is not a picture in a supported format; save it as PNG "
        "(JPEG, WebP, AVIF, GIF, BMP, TIFF and some more are read too)"
    )
