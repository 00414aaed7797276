"""Files out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._text import reason, shown
from ..atomic import check_place, write_file
from ..errors import ArgumentError, EncodeError, Waifu2xError
from ..picture import Metadata, Picture, Samples, sample_max
from ._pillow import quiet
from .exif import resized
from .formats import OutputFormat, resolve_format
from .image import DESCRIPTIVE_TAGS, image_over, matching_icc, to_srgb
from .png import PngWriter, metadata_chunks
from .samples import convert_samples
from .target import check_size

_PREDICTOR = 317  # the TIFF tag: 2 differences of integers, 3 of floats

# Lossless WebP, measured on 12 drawings upscaled to 1024x1024: method 0 takes about the time of a
# PNG by Pillow at level 4 and is 13% smaller than it; method 2 is 18% smaller again, for six times
# the time.
_WEBP_METHOD = 0
_WEBP_EFFORT = 50

# AVIF: half the time of speed 6 for 7% more bytes; 9 saves two thirds more for 19%.
_AVIF_SPEED = 8

# Pixels handed to a writer of rows at once.
_STRIP = 1 << 18

_JPEG_EXIF_LIMIT = 65533
_JPEG_ICC_LIMIT = 255 * 65519

_Integers: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


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
    if output.takes_rows:
        return encode_rows(
            picture,
            path,
            lambda write_rows: _hand_over(picture, write_rows),
            width=picture.width,
            height=picture.height,
            format=output.name,
            overwrite=overwrite,
        )
    check_size(output, picture.width, picture.height)
    target = check_place(path, overwrite=overwrite)
    image, options, notes = _prepare(picture, output, quality)

    def write(file: BinaryIO) -> None:
        # Raw bytes only: given a real file, Pillow writes past Python and loses the reason of a
        # failure.
        sink = _Sink(file)
        with _encoding(sink, path, output), quiet():
            image.save(cast("Any", sink), output.label.upper(), **options)

    write_file(target, write, overwrite=overwrite)
    return tuple(notes)


#: Takes the next rows of a picture: colour (n, W, C), and alpha (n, W) or None.
WriteRows: TypeAlias = Callable[[Samples, Samples | None], None]


def encode_rows(
    like: Picture,
    path: str | os.PathLike[str],
    fill: Callable[[WriteRows], object],
    *,
    width: int,
    height: int,
    format: str | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write a picture to the file ``path`` while it is being made; it appears whole or not at all.

    like: what the picture has besides its size: dtype, channels, alpha or none, and metadata.
    fill: is called once and calls the function it is given with the rows from top to bottom,
        any number at a time: colour (n, width, C) and alpha (n, width) or None, of the dtype of
        ``like``. They are compressed on other threads meanwhile, so the arrays must stay as they
        are until `encode_rows` has returned. Everything must have been handed over when ``fill``
        returns; what it raises leaves `encode_rows`, an OSError as an EncodeError.
    width, height: of the picture.
    format: as for `encode`; one of those with ``takes_rows``, which is PNG.

    Returns and raises what `encode` does, and ArgumentError for another format and for rows that do
    not fit or are missing. The file is the same as that of `encode`.
    """
    output = resolve_format(path, format)
    if not output.takes_rows:
        raise ArgumentError(f"{output.label} cannot be written row by row; use encode")
    check_size(output, width, height)
    target = check_place(path, overwrite=overwrite)
    notes: list[str] = []
    dtype = _written_dtype(like.colour.dtype, output, like.gray and like.alpha is None, notes)
    icc = matching_icc(like.metadata.icc, like.colour.shape[2])
    options: dict[str, Any] = {}
    _add_metadata(options, notes, like.metadata, output, icc, (width, height))

    def write(file: BinaryIO) -> None:
        sink = _Sink(file)
        with _encoding(sink, path, output):
            writer = PngWriter(
                sink,
                width=width,
                height=height,
                channels=like.colour.shape[2] + (like.alpha is not None),
                depth=8 * dtype.itemsize,
                chunks=metadata_chunks(**options),
            )

        def write_rows(colour: Samples, alpha: Samples | None) -> None:
            with _encoding(sink, path, output):
                writer.write_rows(
                    cast("_Integers", _converted(colour, dtype)),
                    None if alpha is None else cast("_Integers", _converted(alpha, dtype)),
                )

        try:
            fill(write_rows)
            with _encoding(sink, path, output):
                writer.close()
        finally:
            writer.abort()

    write_file(target, write, overwrite=overwrite)
    return tuple(notes)


def _hand_over(picture: Picture, write_rows: WriteRows) -> None:
    # Some rows at a time, for those that must be converted first.
    step = max(1, _STRIP // picture.width)
    for top in range(0, picture.height, step):
        rows = slice(top, top + step)
        write_rows(picture.colour[rows], None if picture.alpha is None else picture.alpha[rows])


@contextmanager
def _encoding(sink: _Sink, path: str | os.PathLike[str], output: OutputFormat) -> Iterator[None]:
    """The file's own errors leave as they are, all else means that this picture cannot be encoded.

    Errors of ours say what is wrong themselves.
    """
    try:
        yield
    except Waifu2xError:
        raise
    except Exception as error:
        if sink.error is not None:
            raise sink.error from None
        raise EncodeError(
            f"{shown(path)} cannot be encoded as {output.label}: {reason(error)}"
        ) from error


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

    dtype = _written_dtype(colour.dtype, output, picture.gray and alpha is None, notes)
    colour = _converted(colour, dtype)
    alpha = None if alpha is None else _converted(alpha, dtype)

    icc = matching_icc(picture.metadata.icc, colour.shape[2])
    image = image_over(colour, alpha)
    if image.mode not in output.modes:
        image, icc = _as_rgb(image, icc)
    options = _options(output, image.mode, quality)
    _add_metadata(options, notes, picture.metadata, output, icc, (picture.width, picture.height))
    return image, options, notes


def _written_dtype(
    dtype: np.dtype[Any], output: OutputFormat, plain_gray: bool, notes: list[str]
) -> np.dtype[Any]:
    """The type that samples of ``dtype`` are written in; ``notes`` says where that is less."""
    if dtype == np.uint8:
        return dtype
    mode = "I;16" if dtype == np.uint16 else "F"
    if plain_gray and mode in output.modes:
        return dtype
    notes.append(f"{'16-bit' if mode == 'I;16' else 'float'} samples reduced to 8-bit")
    return np.dtype(np.uint8)


def _converted(samples: Samples, dtype: np.dtype[Any]) -> Samples:
    if samples.dtype == np.float32 and not np.isfinite(samples).all():
        raise EncodeError("picture holds NaN or infinity; its samples must be finite")
    return convert_samples(samples, dtype)


def _as_rgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    """Gray as RGB: through its profile to sRGB, since a gray profile cannot stay on RGB pixels."""
    alpha = image.getchannel("A") if image.mode == "LA" else None
    gray = image.getchannel("L")
    rgb = (to_srgb(gray, icc) if icc is not None else None) or gray.convert("RGB")
    if alpha is not None:
        rgb.putalpha(alpha)
    return rgb, None


def _options(output: OutputFormat, mode: str, quality: int | None) -> dict[str, Any]:
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
    metadata: Metadata,
    output: OutputFormat,
    icc: bytes | None,
    size: tuple[int, int],
) -> None:
    """Put ICC, EXIF and DPI into ``options``, and into ``notes`` what does not fit."""
    label = output.label
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
    exif = resized(metadata.exif, *size)
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
