"""Writes still pictures: one row writer for every format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any, BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._text import reason
from ..errors import EncodeError, MissingExtraError, Waifu2xError
from ..picture import Metadata, Picture, Samples, sample_max
from ._pillow import quiet
from .color import implied_profile, is_srgb, samples_to_srgb
from .exif import set_size
from .formats import (
    OutputFormat,
    check_quality,
    check_size,
    load,
    reduction_notes,
    written_dtype,
)
from .image import image_over, matching_icc
from .png_writer import holds_text
from .row_writer import RowBlock, RowCounter, RowWriter
from .samples import convert_samples

# Pixels that are converted or composited at once, so that wide copies stay small.
_STRIP_PIXELS: Final = 1 << 18


class PictureWriter(ABC):
    """Takes the rows of one picture; from `open_row_writer`.

    dtype: what samples are written as; rows of this dtype are not converted.
    rows_dtype: the sample type in which to compute rows. ``dtype``, or the wider type of the source
        if colors are converted to sRGB, which reads all bits.
    notes: what the file does not hold of the picture, one short sentence each: transparency
        composited on white (JPEG, BMP), colors converted, samples reduced without a ``depth`` that
        requests it, metadata left out. Complete when the file is.
    """

    def __init__(
        self,
        sink: _Sink,
        output: OutputFormat,
        like: Picture,
        size: tuple[int, int],
        quality: int | None,
        dtype: np.dtype[Any],
    ) -> None:
        self.dtype = self.rows_dtype = dtype
        self.notes: tuple[str, ...] = ()
        self._sink, self._output, self._quality = sink, output, quality
        self._metadata = like.metadata
        self._layout = {
            "width": size[0],
            "height": size[1],
            "channels": like.color.shape[2] + (like.alpha is not None),
        }
        self._colors = like.color.shape[2]
        self._source_dtype = like.color.dtype
        with self._errors():
            self._open()

    @abstractmethod
    def write_rows(self, color: Samples, alpha: Samples | None = None) -> None:
        """Take the next rows, from top to bottom, any number at a time.

        color: (n, width, C), of any sample type; alpha: (n, width) of the same type, or None.

        The arrays must not change until the ``with`` block is left: strips are encoded on other
        threads, or on leaving the block.

        Raises ArgumentError for rows that do not fit, EncodeError for samples that are not finite,
        and what the file raises.
        """

    @abstractmethod
    def _open(self) -> None:
        """Begin the file."""

    @abstractmethod
    def close(self) -> None:
        """Finish the file; called on leaving the block."""

    @abstractmethod
    def abort(self) -> None:
        """Drop the rows; called last in any case."""

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Pass on errors of the file and of this package; all others become EncodeError."""
        try:
            yield
        except Waifu2xError:
            raise
        except Exception as error:
            if self._sink.error is not None:
                raise self._sink.error from None
            raise EncodeError(
                f"the picture cannot be encoded as {self._output.label}: {reason(error)}; "
                "choose another format"
            ) from error


@contextmanager
def open_row_writer(
    sink: BinaryIO,
    output: OutputFormat,
    *,
    like: Picture,
    width: int,
    height: int,
    quality: int | None = None,
    depth: int | None = None,
) -> Iterator[PictureWriter]:
    """Open a writer for the rows of one picture; leaving the block finishes the file.

    PNG and TIFF are written as rows arrive. For other formats the rows are collected, without a
    copy if they arrive in one call, and encoded when the block is left. An exception in the block
    aborts the writer, and the sink then holds an incomplete file.

    sink: an open binary file, which stays open and need not seek. The file begins at its position.
        TIFF takes a temporary file on the way if the sink cannot seek.
    output: from `resolve_format`.
    like: has the sample type, channels, alpha and metadata of the picture, at any size.
    width, height: of the picture.
    quality: 1..100, for JPEG, WebP, AVIF and JPEG XL only:

    =======  ======================  ==================================================
    format   quality=None            otherwise
    =======  ======================  ==================================================
    PNG      lossless                ArgumentError
    JPEG     95                      1..100, without chroma subsampling
    WebP     lossless                1..99 lossy, 100 lossless
    AVIF     90                      1..100, always lossy, without chroma subsampling
    TIFF     lossless, deflate       ArgumentError
    BMP      lossless, uncompressed  ArgumentError
    JPEG XL  lossless                1..99 lossy, without chroma subsampling, 100 lossless
    =======  ======================  ==================================================

    WebP is lossless by default because lossy WebP always halves the resolution of color, which is
    visible on colored lines, and lossless WebP is smaller than PNG. JPEG XL is, because a lossless
    drawing is smaller than one at quality 95.

    depth: bits per sample, 8 or 16; None keeps what the format holds, see `written_dtype`.

    Metadata is kept if the format holds it. Colors for which the format has no label are converted
    to sRGB (BMP, JPEG XL); gAMA and cHRM become an ICC profile in every format but PNG.

    Raises ArgumentError for a bad quality or depth and for missing rows, EncodeError for 16 bits if
    the format holds 8 only, a size that it cannot hold or samples that are not finite. What
    ``sink`` raises is passed on.
    """
    quality = check_quality(output, quality)
    dtype = written_dtype(output, like.color.dtype, depth)
    channels = like.color.shape[2] + (like.alpha is not None and output.has_alpha)
    check_size(output, width, height, channels * dtype.itemsize)
    with ExitStack() as stack:
        file, spool = _Sink(sink), None
        if output.needs_seek and not sink.seekable():
            import tempfile  # loaded when needed

            spool = stack.enter_context(tempfile.TemporaryFile())
            file = _Sink(cast("BinaryIO", spool))
        kind = _CollectingWriter if output.row_writer is None else _StreamedWriter
        writer = kind(file, output, like, (width, height), quality, dtype)
        writer.notes = reduction_notes(like.color.dtype, dtype, depth) + writer.notes
        stack.callback(writer.abort)
        yield writer
        writer.close()
        if spool is not None:
            import shutil

            spool.seek(0)
            shutil.copyfileobj(spool, cast("Any", _Sink(sink)), 1 << 20)


def encode_stream(
    picture: Picture,
    stream: BinaryIO,
    output: OutputFormat,
    *,
    quality: int | None = None,
    depth: int | None = None,
) -> tuple[str, ...]:
    """Write a whole picture, see `open_row_writer`; return the notes of the writer."""
    with open_row_writer(
        stream,
        output,
        like=picture,
        width=picture.width,
        height=picture.height,
        quality=quality,
        depth=depth,
    ) as writer:
        writer.write_rows(picture.color, picture.alpha)
    return writer.notes


class _StreamedWriter(PictureWriter):
    """Writes rows as they arrive."""

    def _open(self) -> None:
        size = self._layout["width"], self._layout["height"]
        labels, lost = _labels(self._metadata, self._output, self._colors, size)
        self.notes += tuple(lost)
        assert self._output.row_writer is not None
        writer = load(self._output.row_writer, __package__)
        self._rows: RowWriter[Any] = writer(self._sink, **self._layout, dtype=self.dtype, **labels)

    def write_rows(self, color: Samples, alpha: Samples | None = None) -> None:
        step = max(1, _STRIP_PIXELS // color.shape[1])
        if color.dtype == self.dtype != np.float32:  # nothing to convert or to check
            step = max(1, len(color))
        with self._errors():
            for top in range(0, len(color), step):
                part = slice(top, top + step)
                self._rows.write_rows(
                    _converted(color[part], self.dtype),
                    None if alpha is None else _converted(alpha[part], self.dtype),
                )

    def close(self) -> None:
        with self._errors():
            self._rows.close()

    def abort(self) -> None:
        self._rows.abort()


class _CollectingWriter(PictureWriter):
    """Collects rows, and has Pillow write the picture when it is complete."""

    def _open(self) -> None:
        self._counter = RowCounter(self._output.label, **self._layout)
        self._blocks: list[RowBlock] = []
        if self._source_dtype != self.dtype and self._converts_colors():
            self.rows_dtype = self._source_dtype
        if self._output.extra is not None:
            _load_plugin(self._output.extra, self._output)

    def write_rows(self, color: Samples, alpha: Samples | None = None) -> None:
        self._blocks.append(self._counter.add(color, alpha))

    def close(self) -> None:
        self._counter.require_complete()
        with self._errors(), quiet():
            colors = [block.color for block in self._blocks]
            alphas = [block.alpha for block in self._blocks if block.alpha is not None]
            image, options = self._prepare(_joined(colors), _joined(alphas) if alphas else None)
            # Given a real file, Pillow writes past Python and loses the reason of a failure.
            sink = cast("Any", self._sink)
            if self._output.save is None:
                image.save(sink, self._output.pillow, **options)
            else:
                load(self._output.save, __package__)(image, sink, **options)

    def abort(self) -> None:
        self._blocks = []

    def _converts_colors(self) -> bool:
        """Return whether `_prepare` converts colors to sRGB."""
        has_alpha = self._layout["channels"] > self._colors and self._output.has_alpha
        gray = "LA" if has_alpha else "L"
        if "icc" in self._output.holds and (self._colors == 3 or gray in self._output.modes):
            return False
        size = self._layout["width"], self._layout["height"]
        icc = _labels(self._metadata, self._output, self._colors, size)[0].get("icc_profile")
        return icc is not None and not is_srgb(icc, self._colors)

    def _prepare(self, color: Samples, alpha: Samples | None) -> tuple[Image.Image, dict[str, Any]]:
        """Return the 8-bit image and the options for Pillow, and note what is lost."""
        output = self._output
        if alpha is not None and not output.has_alpha:
            color, alpha = _on_white(color, alpha), None
            self.notes += (f"{output.label} has no transparency: composited on white",)
        _check_finite(color)
        height, width, channels = color.shape
        options, lost = _labels(self._metadata, output, channels, (width, height))
        if "icc" not in output.holds:
            color, converted = _in_srgb(color, options.pop("icc_profile", None), output.label)
            lost += converted
        elif channels == 1 and ("L" if alpha is None else "LA") not in output.modes:
            color, converted = _as_rgb(color, options.pop("icc_profile", None), output.label)
            lost += converted
        color = _converted(color, self.dtype)
        alpha = None if alpha is None else _converted(alpha, self.dtype)
        image = image_over(color, alpha)
        self.notes += tuple(lost)
        assert output.save_options is not None
        return image, {**output.save_options(image.mode, self._quality), **options}


def _joined(arrays: list[Samples]) -> Samples:
    return arrays[0] if len(arrays) == 1 else cast("Samples", np.concatenate(arrays))


def _load_plugin(extra: tuple[str, str], output: OutputFormat) -> None:
    """Import the plugin, which registers itself with Pillow."""
    try:
        import_module(extra[1])
    except ImportError as error:
        raise MissingExtraError(
            f"{output.label} needs {extra[0]}, which cannot be loaded ({reason(error)}); "
            f"run `pip install {extra[0]}`, or write PNG"
        ) from error


class _Sink:
    """The file that is written: remembers its own errors and shows no descriptor."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None
        self.tell = file.tell
        self.seekable = file.seekable

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        with self._remembered():
            while True:
                written = self._file.write(rest)
                # Only unbuffered streams write less than all; some objects return None.
                if written is None or written >= len(rest):
                    return len(data)
                rest = rest[written:]

    def flush(self) -> None:
        with self._remembered():
            self._file.flush()

    def seek(self, offset: int, whence: int = 0) -> int:
        with self._remembered():
            return self._file.seek(offset, whence)

    @contextmanager
    def _remembered(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = error
            raise


def _check_finite(samples: Samples) -> None:
    if samples.dtype == np.float32 and not np.isfinite(samples).all():
        raise EncodeError("the picture holds NaN or infinity; its samples must be finite")


def _converted(samples: Samples, dtype: np.dtype[Any]) -> Samples:
    _check_finite(samples)
    return convert_samples(samples, dtype)


def _as_rgb(color: Samples, icc: bytes | None, label: str) -> tuple[Samples, list[str]]:
    """Return gray as RGB, and notes; its profile is applied, as it cannot describe RGB pixels."""
    converted = None if icc is None or is_srgb(icc, 1) else samples_to_srgb(color, icc)
    if converted is None:
        return cast("Samples", np.repeat(color, 3, axis=2)), []
    return converted, [f"{label} has no gray, nor profiles of it: colors converted to sRGB"]


def _in_srgb(color: Samples, icc: bytes | None, label: str) -> tuple[Samples, list[str]]:
    """Return samples (H, W, C) converted by their profile to sRGB, and notes."""
    channels = color.shape[2]
    if icc is None or is_srgb(icc, channels):
        return color, []
    converted = samples_to_srgb(color, icc)
    if converted is None:
        return color, [f"{label} holds no color profile, and this one is broken: left out"]
    note = f"{label} is written without a color profile: colors converted to sRGB"
    return np.ascontiguousarray(converted[:, :, :channels]), [note]


def _labels(
    metadata: Metadata, output: OutputFormat, channels: int, size: tuple[int, int]
) -> tuple[dict[str, Any], list[str]]:
    """Return metadata as options of Pillow and the row writers, and notes of what is lost.

    The profile is included even if the format holds none: the conversion to sRGB needs it.
    """
    notes: list[str] = []
    options: dict[str, Any] = {}
    icc = matching_icc(metadata.icc, channels)
    if "color" in output.holds:
        for key in (
            *("gamma", "chromaticities", "rendering_intent", "cicp"),
            *("mastering_display", "content_light"),
        ):
            if getattr(metadata, key) is not None:
                options[key] = getattr(metadata, key)
    elif icc is None and "nclx" in output.holds and (metadata.cicp or ())[2:] == (0, 1):
        options["nclx"] = (metadata.cicp or ())[:2]
    else:
        # cICP counts before a profile; gAMA and cHRM count only without one.
        like = metadata if icc is None else replace(metadata, gamma=None, chromaticities=None)
        implied, lost = implied_profile(like, channels)
        icc = implied or icc
        notes += lost

    def add(key: str, block: bytes, what: str, limit: int | None) -> None:
        if limit is not None and len(block) > limit:
            notes.append(f"{what} is too long for {output.label}: left out")
        else:
            options[key] = block

    if icc is not None:
        add("icc_profile", icc, "the color profile", output.max_icc)
    if metadata.dpi is not None and "dpi" in output.holds:
        options["dpi"] = metadata.dpi
    exif = set_size(metadata.exif, *size) if metadata.exif else None
    # TIFF may have to write a big-endian block again.
    rewritten = output.name == "tiff" and exif is not None and exif[6:8] == b"MM"
    if metadata.exif and (exif is None or (rewritten and not _is_readable(exif))):
        notes.append("the EXIF block cannot be read: left out")
    elif exif is not None and "exif" not in output.holds:
        notes.append(f"{output.label} holds no EXIF: left out")
    elif exif is not None:
        add("exif", exif, "the EXIF block", output.max_exif)
    if metadata.xmp and "xmp" not in output.holds:
        notes.append(f"{output.label} holds no XMP: left out")
    elif metadata.xmp:
        add("xmp", metadata.xmp, "the XMP packet", output.max_xmp)
    if metadata.iptc and "iptc" not in output.holds:
        notes.append(f"{output.label} holds no IPTC: left out")
    elif metadata.iptc:
        add("iptc", metadata.iptc, "the IPTC data", output.max_iptc)
    if metadata.text and "comment" in output.holds:
        comments = tuple(text.encode() for key, text in metadata.text if key == "Comment")
        options["comments"] = comments
        if len(comments) < len(metadata.text):
            notes.append(f"{output.label} holds no texts like those of PNG: left out")
    elif metadata.text and "text" not in output.holds:
        only = all(key == "Comment" for key, _ in metadata.text)
        what = "comments" if only else "texts like those of PNG"
        notes.append(f"{output.label} holds no {what}: left out")
    elif metadata.text:
        options["text"] = tuple(pair for pair in metadata.text if holds_text(*pair))
        if len(options["text"]) < len(metadata.text):
            notes.append(f"texts that {output.label} cannot hold: left out")
    return options, notes


def _is_readable(exif: bytes) -> bool:
    """Return whether Pillow can read and write ``exif``."""
    parsed = Image.Exif()
    try:
        with quiet():
            parsed.load(exif)
            parsed.tobytes()
    except Exception:
        return False
    return True


def _on_white(color: Samples, alpha: Samples) -> Samples:
    """Return ``color`` (H, W, C) composited on white by ``alpha`` (H, W), in the same type."""
    white = sample_max(color.dtype)
    result = np.empty_like(color)
    rows = max(1, _STRIP_PIXELS // color.shape[1])
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
