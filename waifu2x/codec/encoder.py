"""Files out."""

from __future__ import annotations

import os
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._text import reason, shown
from ..atomic import check_place, write_file
from ..errors import ArgumentError, EncodeError
from ..picture import Picture, Samples, sample_max
from ._pillow import quiet
from .exif import resized
from .formats import OutputFormat, resolve_format
from .image import DESCRIPTIVE_TAGS, image_over, matching_icc, to_srgb
from .samples import convert_samples
from .target import check_size

_PREDICTOR = 317  # the TIFF tag: 2 differences of integers, 3 of floats

# Measured on 12 drawings upscaled to 1024x1024: level 4 takes half the time of level 6, Pillow's
# default, for 2% more bytes; level 3 saves another fifth of the time for 6% more.
_PNG_LEVEL = 4

# Lossless WebP on the same pictures: method 0 takes about the time of the PNG above and is 13%
# smaller than it; method 2 is 18% smaller again, for six times the time.
_WEBP_METHOD = 0
_WEBP_EFFORT = 50

# AVIF: half the time of speed 6 for 7% more bytes; 9 saves two thirds more for 19%.
_AVIF_SPEED = 8

_JPEG_EXIF_LIMIT = 65533
_JPEG_ICC_LIMIT = 255 * 65519


def encode(
    picture: Picture,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    quality: int | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write ``picture`` to the file ``path``, which appears whole or not at all.

    format: one of `OUTPUT_FORMATS` by name; None goes by the extension.
    quality: 1..100, for JPEG, WebP and AVIF only:

    ======  ======================  ==================================================
    format  quality=None            otherwise
    ======  ======================  ==================================================
    PNG     lossless                ArgumentError
    JPEG    95                      1..100, always without chroma subsampling
    WebP    lossless                1..99 lossy, 100 lossless
    AVIF    90                      1..100, always lossy, without chroma subsampling
    TIFF    lossless, deflate       ArgumentError
    BMP     lossless, uncompressed  ArgumentError
    ======  ======================  ==================================================

    WebP is lossless unless told otherwise because its lossy kind always halves the resolution of
    colour, which shows on coloured lines, and the lossless kind is smaller than PNG.

    Returns what the file does not hold of the picture, one short sentence each, for a message:
    transparency composited on white (JPEG, BMP), samples reduced to 8 bits, metadata left out.
    16-bit gray stays 16-bit in PNG and TIFF, float gray stays float in TIFF; all else is rounded
    to 8 bits by `convert_samples`. TIFF keeps of the EXIF block only what describes the picture.

    Raises ArgumentError for a bad quality, and what `resolve_format` and `check_target` raise.
    """
    output = resolve_format(path, format)
    quality = check_quality(output, quality)
    check_size(output, picture.width, picture.height)
    target = check_place(path, overwrite=overwrite)
    image, options, notes = _prepare(picture, output, quality)

    def write(file: BinaryIO) -> None:
        # Raw bytes only: given a real file, Pillow writes past Python and loses the reason of a
        # failure. Its own errors mean that it cannot encode this picture.
        sink = _Sink(file)
        try:
            with quiet():
                image.save(cast("Any", sink), output.label.upper(), **options)
        except Exception as error:
            if sink.error is not None:
                raise sink.error from None
            raise EncodeError(
                f"{shown(path)} cannot be encoded as {output.label}: {reason(error)}"
            ) from error

    write_file(target, write, overwrite=overwrite)
    return tuple(notes)


def check_quality(output: OutputFormat, quality: int | None) -> int | None:
    """The quality that ``output`` is written with, None for lossless.

    Raises ArgumentError outside 1..100, or for any quality where the format is always lossless.
    """
    if quality is None:
        return output.default_quality
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ArgumentError(f"quality is {quality!r}; it must be a whole number from 1 to 100")
    if not output.lossy:
        raise ArgumentError(
            f"quality is {quality}, but {output.label} is lossless and has none; "
            "leave it out, or write JPEG, WebP or AVIF"
        )
    return None if output.lossless_at_100 and quality == 100 else quality


class _Sink:
    """What Pillow writes to: a file that remembers its own errors and shows no descriptor."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            self.error = error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _prepare(
    picture: Picture, output: OutputFormat, quality: int | None
) -> tuple[Image.Image, dict[str, Any], list[str]]:
    """The image and the options that Pillow saves, and what is lost on the way."""
    notes: list[str] = []
    label = output.label
    colour, alpha = picture.colour, picture.alpha
    if alpha is not None and not output.has_alpha:
        colour, alpha = _on_white(colour, alpha), None
        notes.append(f"{label} has no transparency: composited on white")

    if colour.dtype == np.float32 and not np.isfinite(colour).all():
        raise EncodeError("picture holds NaN or infinity; its samples must be finite")
    if colour.dtype != np.uint8:
        mode = "I;16" if colour.dtype == np.uint16 else "F"
        if mode not in output.modes or alpha is not None or not picture.gray:
            notes.append(f"{'16-bit' if mode == 'I;16' else 'float'} samples reduced to 8-bit")
            colour = convert_samples(colour, np.uint8)
            alpha = None if alpha is None else convert_samples(alpha, np.uint8)

    icc = matching_icc(picture.metadata.icc, colour.shape[2])
    image = image_over(colour, alpha)
    if image.mode not in output.modes:
        image, icc = _as_rgb(image, icc)
    options = _options(output, image.mode, quality)
    _add_metadata(options, notes, picture, output, icc)
    return image, options, notes


def _as_rgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    """Gray as RGB: through its profile to sRGB, since a gray profile cannot stay on RGB pixels."""
    alpha = image.getchannel("A") if image.mode == "LA" else None
    gray = image.getchannel("L")
    rgb = (to_srgb(gray, icc) if icc is not None else None) or gray.convert("RGB")
    if alpha is not None:
        rgb.putalpha(alpha)
    return rgb, None


def _options(output: OutputFormat, mode: str, quality: int | None) -> dict[str, Any]:
    if output.name == "png":
        return {"compress_level": _PNG_LEVEL}
    if output.name == "jpeg":
        # Not "optimize": it saves 5% but takes three times as long, and Pillow guesses its buffer
        # too small for a noisy picture, which then fails to save.
        return {"quality": quality, "subsampling": 0}
    if output.name == "webp":
        if quality is None:
            # exact: the colour under transparent pixels is kept too, or it is not lossless.
            return {
                "lossless": True,
                "quality": _WEBP_EFFORT,
                "method": _WEBP_METHOD,
                "exact": True,
            }
        return {"quality": quality, "method": 4}
    if output.name == "avif":
        chroma = "4:0:0" if mode == "L" else "4:4:4"
        return {"quality": quality, "speed": _AVIF_SPEED, "subsampling": chroma}
    if output.name == "tiff":
        predictor = 3 if mode == "F" else 2
        return {"compression": "tiff_adobe_deflate", "tiffinfo": {_PREDICTOR: predictor}}
    return {}


def _add_metadata(
    options: dict[str, Any],
    notes: list[str],
    picture: Picture,
    output: OutputFormat,
    icc: bytes | None,
) -> None:
    """Put ICC, EXIF and DPI into ``options``, and into ``notes`` what does not fit."""
    label, metadata = output.label, picture.metadata
    if icc is not None:
        if "icc" not in output.holds:
            notes.append(f"{label} holds no colour profile: left out")
        elif output.name == "jpeg" and len(icc) > _JPEG_ICC_LIMIT:
            notes.append(f"the colour profile is too long for {label}: left out")
        else:
            options["icc_profile"] = icc
    if metadata.dpi is not None and "dpi" in output.holds:
        options["dpi"] = metadata.dpi
    if not metadata.exif:
        return
    exif = resized(metadata.exif, picture.width, picture.height)
    parsed = None if exif is None else _parsed(exif)
    if exif is None or parsed is None:
        notes.append("the EXIF block cannot be read: left out")
    elif output.name == "tiff":
        for tag in DESCRIPTIVE_TAGS:
            if isinstance(parsed.get(tag), str):
                options["tiffinfo"][tag] = parsed[tag]
    elif "exif" not in output.holds:
        notes.append(f"{label} holds no EXIF: left out")
    elif output.name == "jpeg" and len(exif) > _JPEG_EXIF_LIMIT:
        notes.append(f"the EXIF block is too long for {label}: left out")
    else:
        options["exif"] = exif


def _parsed(exif: bytes) -> Image.Exif | None:
    """``exif`` as Pillow reads and writes it (AVIF does both), or None where it cannot."""
    parsed = Image.Exif()
    try:
        with quiet():
            parsed.load(exif)
            parsed.tobytes()
    except Exception:
        return None
    return parsed


def _on_white(colour: Samples, alpha: Samples) -> Samples:
    """``colour`` (H, W, C) over white by ``alpha`` (H, W), in the same type."""
    white = sample_max(colour.dtype)
    result = np.empty_like(colour)
    rows = max(1, (1 << 18) // colour.shape[1])  # a strip at a time: the terms are wider
    for top in range(0, colour.shape[0], rows):
        part = slice(top, top + rows)
        result[part] = _strip_on_white(colour[part], alpha[part][:, :, None], white)
    return result


def _strip_on_white(
    colour: npt.NDArray[Any], alpha: npt.NDArray[Any], white: int
) -> npt.NDArray[Any]:
    wide: npt.NDArray[Any]
    if colour.dtype == np.float32:
        alpha = np.clip(alpha, 0, 1)
        wide = colour * alpha
        wide += 1 - alpha
        return wide
    wide = colour.astype(np.uint32)  # 65535 * 65535 and the half still fit
    wide *= alpha
    wide += (white - alpha.astype(np.uint32)) * np.uint32(white)
    wide += np.uint32(white // 2)
    wide //= np.uint32(white)
    return wide
