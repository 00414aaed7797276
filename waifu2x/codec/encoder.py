"""Files out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._text import reason, shown
from ..atomic import check_place, write_file
from ..errors import ArgumentError, EncodeError, MissingExtraError, Waifu2xError
from ..picture import Metadata, Picture, Samples, sample_max
from ._pillow import quiet
from .color import implied_profile, is_srgb
from .exif import resized
from .formats import OutputFormat, reduction_notes, resolve_format, written_dtype
from .image import image_over, matching_icc, to_srgb
from .png_writer import PngWriter, holds_text, metadata_chunks
from .samples import convert_samples
from .target import check_size
from .tiff_writer import TiffWriter

# Lossless WebP, measured on 12 drawings upscaled to 1024x1024: method 0 takes about the time of a
# PNG by Pillow at level 4 and is 13% smaller than it; method 2 is 18% smaller again, for six times
# the time.
_WEBP_METHOD = 0
_WEBP_EFFORT = 50

# AVIF: half the time of speed 6 for 7% more bytes; 9 saves two thirds more for 19%.
_AVIF_SPEED = 8

# JPEG XL: libjxl's own choice. Lossless drawings come out 1.1 to 1.3 times as large at effort 5,
# and 1.4 to 3 times at 3.
_JXL_EFFORT = 7

# Pixels handed to a writer of rows at once.
_STRIP = 1 << 18

_JPEG_EXIF_LIMIT = 65533
_JPEG_XMP_LIMIT = 65502
_JPEG_ICC_LIMIT = 255 * 65519

_Integers: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

#: Takes the next rows of a picture: color (n, W, C), and alpha (n, W) or None.
WriteRows: TypeAlias = Callable[[Samples, Samples | None], None]


def encode(
    picture: Picture,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    quality: int | None = None,
    depth: int | None = None,
    overwrite: bool = False,
    times: tuple[int, int] | None = None,
) -> tuple[str, ...]:
    """Write ``picture`` to the file ``path``, which appears whole or not at all.

    format: one of `OUTPUT_FORMATS` by name; None goes by the extension.
    quality: 1..100, for JPEG, WebP, AVIF and JPEG XL only:

    =======  ======================  ==================================================
    format   quality=None            otherwise
    =======  ======================  ==================================================
    PNG      lossless                ArgumentError
    JPEG     95                      1..100, always without chroma subsampling
    WebP     lossless                1..99 lossy, 100 lossless
    AVIF     90                      1..100, always lossy, without chroma subsampling
    TIFF     lossless, deflate       ArgumentError
    BMP      lossless, uncompressed  ArgumentError
    JPEG XL  lossless                1..99 lossy, without chroma subsampling, 100 lossless
    =======  ======================  ==================================================

    WebP is lossless unless told otherwise because its lossy kind always halves the resolution of
    color, which shows on colored lines, and the lossless kind is smaller than PNG. JPEG XL is,
    because a lossless drawing is smaller than one at a quality of 95.

    depth: bits per sample, 8 or 16; None keeps what the format holds, see `written_dtype`. Fewer
        bits are reached by rounding, see `convert_samples`.
    times: when the file was last read and changed, see `write_file`.

    Metadata goes where the format holds it. Colors that the format has no label for are converted
    to sRGB (BMP, JPEG XL); gAMA and cHRM become an ICC profile everywhere but in PNG.

    Returns what the file does not hold of the picture, one short sentence each, for a message:
    transparency composited on white (JPEG, BMP), colors converted, samples reduced without
    ``depth`` saying so, metadata left out.

    Raises ArgumentError for a bad quality or depth, EncodeError for 16 bits where the format has 8
    only or samples that are not finite, and what `resolve_format` and `check_target` raise.
    """
    output = resolve_format(path, format)
    quality = check_quality(output, quality)
    dtype = _checked_dtype(picture, output, picture.width, picture.height, depth)
    notes: list[str] = []

    def write(file: BinaryIO) -> None:
        notes.extend(_write(picture, _Sink(file), output, quality, dtype, depth, shown(path)))

    write_file(check_place(path, overwrite=overwrite), write, overwrite=overwrite, times=times)
    return tuple(notes)


def encode_stream(
    picture: Picture,
    stream: BinaryIO,
    output: OutputFormat,
    *,
    quality: int | None = None,
    depth: int | None = None,
) -> tuple[str, ...]:
    """Write ``picture`` to an open binary ``stream``, which stays open and need not seek.

    output: from `resolve_format`. The file begins where the stream stands. TIFF, whose header is
    completed last, takes a temporary file on the way where the stream cannot seek.

    The rest is as for `encode`; what ``stream`` raises leaves as it is.
    """
    quality = check_quality(output, quality)
    dtype = _checked_dtype(picture, output, picture.width, picture.height, depth)
    return _write(picture, _Sink(stream), output, quality, dtype, depth, "the picture")


def encode_rows(
    like: Picture,
    path: str | os.PathLike[str],
    fill: Callable[[WriteRows], object],
    *,
    width: int,
    height: int,
    format: str | None = None,
    depth: int | None = None,
    overwrite: bool = False,
    times: tuple[int, int] | None = None,
) -> tuple[str, ...]:
    """Write a picture to the file ``path`` while it is being made; it appears whole or not at all.

    like: what the picture has besides its size: dtype, channels, alpha or none, and metadata.
    fill: is called once and calls the function it is given with the rows from top to bottom,
        any number at a time: color (n, width, C) and alpha (n, width) or None, of any dtype of
        samples; those of ``written_dtype(output, like.color.dtype, depth)`` are not converted.
        They are compressed on other threads meanwhile, so the arrays must stay as they are until
        `encode_rows` has returned. Everything must have been handed over when ``fill`` returns;
        what it raises leaves `encode_rows`, an OSError as an EncodeError.
    width, height: of the picture.
    format: as for `encode`; one of those with ``takes_rows``, which are PNG and TIFF.

    Returns and raises what `encode` does, and ArgumentError for another format and for rows that do
    not fit or are missing. The file is the same as that of `encode`.
    """
    output = _rows_format(resolve_format(path, format))
    dtype = _checked_dtype(like, output, width, height, depth)
    notes: list[str] = []

    def write(file: BinaryIO) -> None:
        sink = _Sink(file)
        notes.extend(
            _write_rows(like, sink, output, fill, (width, height), dtype, depth, shown(path))
        )

    write_file(check_place(path, overwrite=overwrite), write, overwrite=overwrite, times=times)
    return tuple(notes)


def encode_rows_stream(
    like: Picture,
    stream: BinaryIO,
    output: OutputFormat,
    fill: Callable[[WriteRows], object],
    *,
    width: int,
    height: int,
    depth: int | None = None,
) -> tuple[str, ...]:
    """Write a picture to an open binary ``stream`` while it is being made.

    ``like``, ``fill``, ``width``, ``height``: as for `encode_rows`; ``stream`` and ``output``: as
    for `encode_stream`.
    """
    output = _rows_format(output)
    dtype = _checked_dtype(like, output, width, height, depth)
    size = (width, height)
    return _write_rows(like, _Sink(stream), output, fill, size, dtype, depth, "the picture")


def _rows_format(output: OutputFormat) -> OutputFormat:
    if not output.takes_rows:
        raise ArgumentError(f"{output.label} cannot be written row by row; use encode")
    return output


def _checked_dtype(
    like: Picture, output: OutputFormat, width: int, height: int, depth: int | None
) -> np.dtype[Any]:
    """What samples are written as; raises EncodeError where the format cannot hold that many."""
    dtype = written_dtype(output, like.color.dtype, depth)
    channels = like.color.shape[2] + (like.alpha is not None and output.has_alpha)
    check_size(output, width, height, channels * dtype.itemsize)
    return dtype


def _write(
    picture: Picture,
    sink: _Sink,
    output: OutputFormat,
    quality: int | None,
    dtype: np.dtype[Any],
    depth: int | None,
    name: str,
) -> tuple[str, ...]:
    size = (picture.width, picture.height)
    if output.takes_rows:

        def fill(write_rows: WriteRows) -> None:
            _hand_over(picture, write_rows)

        return _write_rows(picture, sink, output, fill, size, dtype, depth, name)
    with _encoding(sink, name, output), quiet():
        image, options, notes = _prepared(picture, output, quality, depth)
        if output.extra is not None:
            _load(output.extra, output)
        # Raw bytes only: given a real file, Pillow writes past Python and loses the reason of a
        # failure.
        image.save(
            cast("Any", sink), _PILLOW_NAMES.get(output.name, output.label.upper()), **options
        )
    return tuple(notes)


_PILLOW_NAMES = {"jxl": "JXL"}


def _load(extra: tuple[str, str], output: OutputFormat) -> None:
    """Import the plugin, which makes itself known to Pillow."""
    try:
        import_module(extra[1])
    except ImportError as error:
        raise MissingExtraError(
            f"{output.label} needs {extra[1]}, which cannot be loaded ({reason(error)}); "
            f"pip install 'waifu2x-native[{extra[0]}]', or write PNG"
        ) from error


def _write_rows(
    like: Picture,
    sink: _Sink,
    output: OutputFormat,
    fill: Callable[[WriteRows], object],
    size: tuple[int, int],
    dtype: np.dtype[Any],
    depth: int | None,
    name: str,
) -> tuple[str, ...]:
    if output.name == "tiff" and not sink.seekable():
        with tempfile.TemporaryFile() as file:
            inner = _Sink(file)
            notes = _write_rows(like, inner, output, fill, size, dtype, depth, name)
            file.seek(0)
            with _encoding(sink, name, output):
                shutil.copyfileobj(file, cast("Any", sink), 1 << 20)
        return notes
    notes = reduction_notes(like.color.dtype, dtype, depth)
    options, lost = _labels(like.metadata, output, like.color.shape[2], size)
    channels = like.color.shape[2] + (like.alpha is not None)
    with _encoding(sink, name, output):
        writer = _rows_writer(sink, output, size, channels, dtype, options)

    def write_rows(color: Samples, alpha: Samples | None) -> None:
        with _encoding(sink, name, output):
            writer.write_rows(
                cast("_Integers", _converted(color, dtype)),
                None if alpha is None else cast("_Integers", _converted(alpha, dtype)),
            )

    try:
        fill(write_rows)
        with _encoding(sink, name, output):
            writer.close()
    finally:
        writer.abort()
    return (*notes, *lost)


def _rows_writer(
    sink: _Sink,
    output: OutputFormat,
    size: tuple[int, int],
    channels: int,
    dtype: np.dtype[Any],
    labels: dict[str, Any],
) -> PngWriter | TiffWriter:
    width, height = size
    if output.name == "tiff":
        labels["icc"] = labels.pop("icc_profile", None)
        return TiffWriter(
            sink, width=width, height=height, channels=channels, dtype=dtype, **labels
        )
    return PngWriter(
        sink,
        width=width,
        height=height,
        channels=channels,
        depth=8 * dtype.itemsize,
        chunks=metadata_chunks(**labels),
    )


def _hand_over(picture: Picture, write_rows: WriteRows) -> None:
    # Some rows at a time, for those that must be converted first.
    step = max(1, _STRIP // picture.width)
    for top in range(0, picture.height, step):
        rows = slice(top, top + step)
        write_rows(picture.color[rows], None if picture.alpha is None else picture.alpha[rows])


@contextmanager
def _encoding(sink: _Sink, name: str, output: OutputFormat) -> Iterator[None]:
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
        raise EncodeError(f"{name} cannot be encoded as {output.label}: {reason(error)}") from error


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
            "leave it out, or write JPEG, WebP, AVIF or JPEG XL"
        )
    return None if output.lossless_at_100 and quality == 100 else quality


class _Sink:
    """What is written to: a file that remembers its own errors and shows no descriptor."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        try:
            while True:
                written = self._file.write(rest)
                # Only unbuffered streams write less than all; some objects do not say.
                if written is None or written >= len(rest):
                    return len(data)
                rest = rest[written:]
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            self.error = error
            raise

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError as error:
            self.error = error
            raise

    def tell(self) -> int:
        return self._file.tell()


def _prepared(
    picture: Picture, output: OutputFormat, quality: int | None, depth: int | None
) -> tuple[Image.Image, dict[str, Any], list[str]]:
    """The 8-bit image and the options that Pillow saves, and what is lost on the way."""
    notes: list[str] = []
    label = output.label
    color, alpha = picture.color, picture.alpha
    if alpha is not None and not output.has_alpha:
        color, alpha = _on_white(color, alpha), None
        notes.append(f"{label} has no transparency: composited on white")

    dtype = np.dtype(np.uint8)
    notes += reduction_notes(picture.color.dtype, dtype, depth)
    color = _converted(color, dtype)
    alpha = None if alpha is None else _converted(alpha, dtype)

    size = (picture.width, picture.height)
    options, lost = _labels(picture.metadata, output, color.shape[2], size)
    notes += lost
    image = image_over(color, alpha)
    if "icc" not in output.holds:
        image, said = _in_srgb(image, options.pop("icc_profile", None), label)
        notes += said
    elif image.mode not in output.modes:
        image, said = _as_rgb(image, options.pop("icc_profile", None), label)
        notes += said
    return image, {**_options(output, image.mode, quality), **options}, notes


def _converted(samples: Samples, dtype: np.dtype[Any]) -> Samples:
    if samples.dtype == np.float32 and not np.isfinite(samples).all():
        raise EncodeError("picture holds NaN or infinity; its samples must be finite")
    return convert_samples(samples, dtype)


def _as_rgb(image: Image.Image, icc: bytes | None, label: str) -> tuple[Image.Image, list[str]]:
    """Gray as RGB, and what to say of it.

    It goes through its profile to sRGB, since a gray profile cannot stay on RGB pixels.
    """
    alpha = image.getchannel("A") if image.mode == "LA" else None
    gray = image.getchannel("L")
    foreign = None if icc is None or is_srgb(icc, 1) else to_srgb(gray, icc)
    rgb = gray.convert("RGB") if foreign is None else foreign
    if alpha is not None:
        rgb.putalpha(alpha)
    said = f"{label} has no gray, nor profiles of it: colors converted to sRGB"
    return rgb, [] if foreign is None else [said]


def _in_srgb(image: Image.Image, icc: bytes | None, label: str) -> tuple[Image.Image, list[str]]:
    """``image`` (L, LA, RGB or RGBA) through its profile to sRGB, and what to say of it."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    gray = image.mode in ("L", "LA")
    if icc is None or is_srgb(icc, 1 if gray else 3):
        return image, []
    plain = image.convert("L" if gray else "RGB") if alpha is not None else image
    converted = to_srgb(plain, icc)
    if converted is None:
        return image, [f"{label} holds no color profile, and this one is broken: left out"]
    if gray:
        converted = converted.getchannel("G")
    if alpha is not None:
        converted.putalpha(alpha)
    return converted, [f"{label} is written without a color profile: colors converted to sRGB"]


def _options(output: OutputFormat, mode: str, quality: int | None) -> dict[str, Any]:
    if output.name == "jpeg":
        # Not "optimize": it saves 5% but takes three times as long, and Pillow guesses its buffer
        # too small for a noisy picture, which then fails to save.
        return {"quality": quality, "subsampling": 0}
    if output.name == "webp":
        if quality is None:
            # exact: the color under transparent pixels is kept too, or it is not lossless.
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
    if output.name == "jxl":
        kind = {"lossless": True} if quality is None else {"quality": quality}
        return {**kind, "effort": _JXL_EFFORT}
    return {}


def _labels(
    metadata: Metadata, output: OutputFormat, channels: int, size: tuple[int, int]
) -> tuple[dict[str, Any], list[str]]:
    """Metadata as options of `metadata_chunks`, `TiffWriter` and Pillow, and notes of what is lost.

    The profile is among the options even where the format holds none: the colors need it.
    """
    notes: list[str] = []
    options: dict[str, Any] = {}
    icc = matching_icc(metadata.icc, channels)
    if "color" in output.holds:
        for key in ("gamma", "chromaticities", "rendering_intent", "cicp"):
            if getattr(metadata, key) is not None:
                options[key] = getattr(metadata, key)
    elif icc is None:
        icc, lost = implied_profile(metadata, channels)
        notes += lost
    if icc is not None and output.name == "jpeg" and len(icc) > _JPEG_ICC_LIMIT:
        notes.append(f"the color profile is too long for {output.label}: left out")
    elif icc is not None:
        options["icc_profile"] = icc
    if metadata.dpi is not None and "dpi" in output.holds:
        options["dpi"] = metadata.dpi
    _add_exif(options, notes, metadata.exif, output, size)
    _add_xmp(options, notes, metadata.xmp, output)
    _add_text(options, notes, metadata.text, output)
    return options, notes


def _add_exif(
    options: dict[str, Any],
    notes: list[str],
    exif: bytes | None,
    output: OutputFormat,
    size: tuple[int, int],
) -> None:
    if not exif:
        return
    exif = resized(exif, *size)
    if exif is None or not _is_readable(exif):
        notes.append("the EXIF block cannot be read: left out")
    elif "exif" not in output.holds:
        notes.append(f"{output.label} holds no EXIF: left out")
    elif output.name == "jpeg" and len(exif) > _JPEG_EXIF_LIMIT:
        notes.append(f"the EXIF block is too long for {output.label}: left out")
    else:
        options["exif"] = exif


def _add_xmp(
    options: dict[str, Any], notes: list[str], xmp: bytes | None, output: OutputFormat
) -> None:
    if not xmp:
        return
    if "xmp" not in output.holds:
        notes.append(f"{output.label} holds no XMP: left out")
    elif output.name == "jpeg" and len(xmp) > _JPEG_XMP_LIMIT:
        notes.append(f"the XMP packet is too long for {output.label}: left out")
    else:
        options["xmp"] = xmp


def _add_text(
    options: dict[str, Any],
    notes: list[str],
    text: tuple[tuple[str, str], ...],
    output: OutputFormat,
) -> None:
    if not text:
        return
    if "text" not in output.holds:
        notes.append(f"{output.label} holds no texts like those of PNG: left out")
        return
    options["text"] = tuple(pair for pair in text if holds_text(*pair))
    if len(options["text"]) < len(text):
        notes.append(f"texts that {output.label} cannot hold: left out")


def _is_readable(exif: bytes) -> bool:
    """Whether Pillow can read and write ``exif`` (for AVIF it does both)."""
    parsed = Image.Exif()
    try:
        with quiet():
            parsed.load(exif)
            parsed.tobytes()
    except Exception:
        return False
    return True


def _on_white(color: Samples, alpha: Samples) -> Samples:
    """``color`` (H, W, C) over white by ``alpha`` (H, W), in the same type."""
    white = sample_max(color.dtype)
    result = np.empty_like(color)
    rows = max(1, (1 << 18) // color.shape[1])  # a strip at a time: the terms are wider
    for top in range(0, color.shape[0], rows):
        part = slice(top, top + rows)
        result[part] = _strip_on_white(color[part], alpha[part][:, :, None], white)
    return result


def _strip_on_white(
    color: npt.NDArray[Any], alpha: npt.NDArray[Any], white: int
) -> npt.NDArray[Any]:
    wide: npt.NDArray[Any]
    if color.dtype == np.float32:
        alpha = np.clip(alpha, 0, 1)
        wide = color * alpha
        wide += 1 - alpha
        return wide
    wide = color.astype(np.uint32)  # 65535 * 65535 and the half still fit
    wide *= alpha
    wide += (white - alpha.astype(np.uint32)) * np.uint32(white)
    wide += np.uint32(white // 2)
    wide //= np.uint32(white)
    return wide
