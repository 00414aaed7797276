"""JPEG in: labels by `jpeg_header`, 8-bit pixels by Pillow, others by imagecodecs."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from PIL import Image

from .._text import AGAIN
from ..errors import DecodeError
from ..picture import Metadata, Picture, Source
from . import high_depth
from .faults import damaged
from .image import picture_of, source_of
from .jpeg_header import JpegHeader, Scan, read_header
from .limits import check_bytes, check_pixels
from .pillow_open import open_as

_END = b"\xff\xd9"
_UNFINISHED = "the file ends without its end marker, and all pixels are there"
# What may follow a file that ends too early; scans without an end read on in it.
_CONTINUATIONS = (
    *(b"", bytes(4096), b"\xff\0" * 2048, b"\x55" * 4096, b"\xaa" * 4096),
    bytes(value for step in range(16) for value in range(step, 255)),
)

_UNSUPPORTED = {
    **dict.fromkeys((197, 198, 199, 205, 206, 207), "hierarchical"),
    0xCB: "lossless and arithmetic",
    0xF7: "JPEG-LS",
}


def read_jpeg(stream: BinaryIO, name: str, limit: int) -> Picture:
    """Read the first picture of a JPEG, upright, with its labels.

    Raises DecodeError and LimitError as `decode` does.
    """
    header = read_header(stream, name)
    _check(header, name, limit)
    data = stream
    if _without_height(
        stream, header
    ):  # its height follows the pixels, which libjpeg does not read
        check_bytes(stream, limit, name)
        stream.seek(0)
        patched = bytearray(stream.read())
        patched[header.height_at : header.height_at + 2] = header.height.to_bytes(2, "big")
        data = io.BytesIO(patched)
    if header.bits != 8:
        check_bytes(stream, limit, name)
        return _high_depth(data, header, name)
    return _eight_bits(data, header, name, limit)


def _check(header: JpegHeader, name: str, limit: int) -> None:
    """Refuse what cannot be read, and what is too large."""
    if not header.process:
        raise damaged(name, "JPEG", "cannot be opened as such")
    check_pixels(header.width, header.height, limit, name)
    count = len(header.components)
    kind = _UNSUPPORTED.get(header.process)
    if kind is None and count not in (1, 3, 4):
        kind = f"{count}-component"
    if kind is None and header.bits != 8 and count == 4:
        kind = f"{header.bits}-bit CMYK"
    if kind is None and header.lossless and count == 3 and (header.jfif or header.adobe == 1):
        kind = "lossless YCbCr"  # libjpeg converts no colors of lossless samples
    if kind is not None:
        raise DecodeError(f"{name} is a {kind} JPEG, which is not supported; save it as PNG")


def _without_height(stream: BinaryIO, header: JpegHeader) -> bool:
    if not header.height_at:
        return False
    stream.seek(header.height_at)
    return stream.read(2) == b"\0\0" and header.height > 0


# --- 8 bits


def _eight_bits(stream: BinaryIO, header: JpegHeader, name: str, limit: int) -> Picture:
    if header.ended:
        with _opened(stream, name) as image:
            return _picture(image, header, name, limit)
    check_bytes(stream, limit, name)
    stream.seek(0)
    data = _without_padding(stream.read())
    cause = None
    with _opened(io.BytesIO(data), name) as image:
        check_pixels(image.width, image.height, limit, name)
        try:
            image.load()
        except OSError as error:
            cause = error

    def pixels(continued: BinaryIO) -> bytes:
        with _opened(continued, name) as image:
            image.load()
            return image.tobytes()

    if not _all_scans(header) or not _is_complete(data, pixels):
        raise _truncated(name) from cause
    header.notes.append(_UNFINISHED)
    with _opened(io.BytesIO(data + _END), name) as image:
        return _picture(image, header, name, limit)


def _opened(stream: BinaryIO, name: str) -> Image.Image:
    stream.seek(0)
    try:
        return open_as(stream, ("JPEG",))
    except (Image.DecompressionBombError, MemoryError):
        raise
    except Exception as error:
        if "truncated" in str(error).lower():
            raise
        raise damaged(name, "JPEG", "cannot be opened as such") from error


def _picture(image: Image.Image, header: JpegHeader, name: str, limit: int) -> Picture:
    check_pixels(image.width, image.height, limit, name)
    image.load()
    notes = header.notes
    if image.mode == "CMYK" and header.adobe is None:
        notes = [*notes, "CMYK without an Adobe marker, read as inverted, as by browsers"]
    image.info["icc_profile"] = header.icc
    image.info["exif"] = header.exif or b""
    image.info["xmp"] = header.xmp
    source = replace(source_of(image), lossy=not header.lossless, notes=tuple(notes))
    if header.lossless:
        source = replace(source, jpeg_quality=None)
    picture = picture_of(image, source, "")
    return replace(picture, metadata=_with_texts(picture.metadata, header))


def _with_texts(metadata: Metadata, header: JpegHeader) -> Metadata:
    texts = tuple(("Comment", text) for text in map(_decoded, header.comments) if text)
    return replace(metadata, iptc=header.iptc, text=texts)


def _decoded(comment: bytes) -> str:
    comment = comment.rstrip(b"\0").replace(b"\0", b"")
    try:
        return comment.decode()
    except UnicodeDecodeError:
        return comment.decode("latin-1")


# --- a missing end marker


def _truncated(name: str) -> DecodeError:
    return DecodeError(f"{name} is truncated: the file ends before the picture does{AGAIN}")


def _without_padding(data: bytes) -> bytes:
    """Return ``data`` without zeros and half a marker at its end."""
    stripped = data.rstrip(b"\0")
    if len(stripped) < len(data) and stripped.endswith(b"\xff"):
        return stripped + b"\0"  # a stuffed zero
    return stripped.rstrip(b"\xff")


def _is_complete(data: bytes, decode: Callable[[BinaryIO], bytes]) -> bool:
    """Return whether ``decode`` returns the same pixels, whatever follows ``data``."""
    first: bytes | None = None
    for continuation in _CONTINUATIONS:
        pixels = decode(io.BytesIO(data + continuation + _END))
        if first is not None and pixels != first:
            return False
        first = pixels
    return True


def _all_scans(header: JpegHeader) -> bool:
    """Return whether the scans bring every bit of every coefficient, and all restarts."""
    if not header.scans or not all(scan.components for scan in header.scans):
        return False
    left = {number: [1] * 64 for number in header.components}
    for scan in header.scans:
        for number in scan.components:
            bits = left.get(number)
            if bits is None:
                return False
            # A sequential scan brings all of them.
            last = min(scan.last, 63) if header.progressive else 63
            low = scan.low_bit if header.progressive else 0
            for coefficient in range(scan.first if header.progressive else 0, last + 1):
                bits[coefficient] = low
    last_scan = header.scans[-1]
    if header.interval and last_scan.restarts < (_units(header, last_scan) - 1) // header.interval:
        return False
    return not any(map(any, left.values()))


def _units(header: JpegHeader, scan: Scan) -> int:
    """Return the number of minimum coded units in a scan. ITU-T T.81, annex A.2."""
    widest = max(factors[0] for factors in header.components.values()) or 1
    tallest = max(factors[1] for factors in header.components.values()) or 1
    if len(scan.components) > 1:
        columns, rows = 8 * widest, 8 * tallest
        return -(-header.width // columns) * -(-header.height // rows)
    across, down = header.components[scan.components[0]]
    width = -(-header.width * across // widest)
    height = -(-header.height * down // tallest)
    return -(-width // 8) * -(-height // 8)


# --- other depths


def _high_depth(stream: BinaryIO, header: JpegHeader, name: str) -> Picture:
    """Read 12 bits, or lossless samples of 2 to 16."""
    size = header.width, header.height

    def pixels(continued: BinaryIO) -> bytes:
        planes = high_depth.jpeg_planes(continued, size, header.bits)
        return b"".join(plane.tobytes() for plane in planes if plane is not None)

    try:
        if not header.ended:
            # libjpeg fills in missing pixels, with a warning alone.
            stream.seek(0)
            data = _without_padding(stream.read())
            if not _all_scans(header) or not _is_complete(data, pixels):
                raise _truncated(name)
            header.notes.append(_UNFINISHED)
            stream = io.BytesIO(data + _END)
        planes = high_depth.jpeg_planes(stream, size, header.bits)
    except MemoryError:
        raise
    except Exception as error:
        # A header that ends too early is one of a wrong scan with what follows it.
        known = "truncated" in str(error).lower() or "premature" in str(error).lower()
        if known or not header.ended:
            raise _truncated(name) from error
        raise
    # An image without pixels carries the labels.
    image = Image.new("L" if planes[0].shape[2] == 1 else "RGB", (1, 1))
    image.format = "JPEG"
    for key, value in (
        ("icc_profile", header.icc),
        ("exif", header.exif),
        ("xmp", header.xmp),
        ("dpi", header.density),
    ):
        if value is not None:
            image.info[key] = value
    source = Source("JPEG", not header.lossless, notes=tuple(header.notes))
    picture = picture_of(image, source, "", planes=planes)
    return replace(picture, metadata=_with_texts(picture.metadata, header))
