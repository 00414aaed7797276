"""The table of formats: one row each, what it holds, and how it is recognized, read and written.

A new still format is one row of `FORMATS` and one encoder:
either ``save_options`` (Pillow writes the file) or ``row_writer`` (a module of this package does,
row by row). Suffix lists, signatures, limits, memory estimates and messages follow from the row.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import PurePath
from typing import Any

import numpy as np
from PIL import features

from .._record import record
from .._text import shown, unknown
from ..errors import ArgumentError, EncodeError, MissingExtraError


@record(kw_only=True)
class Format:
    """One format that is read.

    name: what ``format=`` takes, lower case ("png", "jpeg", ...).
    label: the name in messages ("PNG", "WebP", ...).
    extensions: file name extensions with their dots, the usual one first.
    folder_extensions: further extensions of pictures in folders only.
    in_archives: whether files of these extensions are pages of archives.
    signature: regular expression that the first bytes match; empty if no signature is reliable.
    pillow: Pillow's name of the format.
    """

    name: str
    label: str
    extensions: tuple[str, ...]
    folder_extensions: tuple[str, ...] = ()
    in_archives: bool = True
    signature: bytes = b""
    pillow: str

    @property
    def extension(self) -> str:
        """The usual extension, with its dot."""
        return self.extensions[0]


@record(kw_only=True)
class OutputFormat(Format):
    """One format that is read and written.

    modes: the channels it holds, of L (gray), LA, RGB and RGBA.
    dtypes: the sample types it holds, of "uint8", "uint16" and "float32".
    holds: the metadata it holds, of "icc", "exif", "xmp", "dpi", "color" (gAMA, cHRM, sRGB and
        cICP; other formats get an ICC profile instead), "nclx" (primaries and transfer of cICP),
        "text" (PNG's texts), "comment" (those called Comment alone) and "iptc".
    lossy: ``quality`` is accepted.
    default_quality: what ``quality=None`` means; None is lossless, and then quality 100 is too.
    max_side: the largest width or height.
    max_pixels: the largest width * height, or None.
    max_bytes: the most bytes of samples, or None: offsets in the file are 32-bit.
    max_icc, max_exif, max_xmp, max_iptc: the most bytes of each block, or None.
    feature: the Pillow feature it needs, or None.
    extra: the optional package it needs, as (name for pip, module), or None.
    encoder_memory: bytes that encoding takes for each byte of samples, in addition to the samples;
        measured on a painted scene of 16 megapixels, and rounded up.
    save_options: options of `PIL.Image.Image.save` for a mode and a quality; None if Pillow does
        not write this format.
    save: module and function, with a dot, that replace `PIL.Image.Image.save`, or None.
    row_writer: module and class, with a dot, of the `RowWriter` of the format, or None.
    needs_seek: the row writer seeks in its output.
    animation_writer: module and class in `codec.animation`, with a dot, or None if the format
        holds no animations.
    """

    modes: frozenset[str]
    dtypes: tuple[str, ...] = ("uint8",)
    holds: frozenset[str] = frozenset({"icc", "exif", "xmp"})
    lossy: bool = False
    default_quality: int | None = None
    max_side: int = 2**31 - 1
    max_pixels: int | None = None
    max_bytes: int | None = None
    max_icc: int | None = None
    max_exif: int | None = None
    max_xmp: int | None = None
    max_iptc: int | None = None
    feature: str | None = None
    extra: tuple[str, str] | None = None
    encoder_memory: float
    save_options: Callable[[str, int | None], dict[str, Any]] | None = None
    save: str | None = None
    row_writer: str | None = None
    needs_seek: bool = False
    animation_writer: str | None = None

    @property
    def has_alpha(self) -> bool:
        """Whether transparency is kept; otherwise the picture is composited on white."""
        return "RGBA" in self.modes

    @property
    def depths(self) -> tuple[int, ...]:
        """The bits per sample that can be requested: 8, or 8 and 16."""
        return tuple(bits for bits in (8, 16) if f"uint{bits}" in self.dtypes)


def _jpeg_options(_: str, quality: int | None) -> dict[str, Any]:
    # "optimize" saves 5% but takes three times as long, and Pillow's buffer for it is too small
    # for noisy pictures, which then fail to save.
    return {"quality": quality, "subsampling": 0}


def webp_options(_: str, quality: int | None) -> dict[str, Any]:
    """Options of Pillow's WebP encoder.

    Lossless, measured on 12 drawings upscaled to 1024x1024: method 0 takes about the time of a PNG
    by Pillow at level 4 and is 13% smaller; method 2 is another 18% smaller, in six times the time.
    """
    if quality is None:
        # exact: lossless includes the color under transparent pixels.
        return {"lossless": True, "quality": 50, "method": 0, "exact": True}
    return {"quality": quality, "method": 4}


def avif_options(mode: str, quality: int | None) -> dict[str, Any]:
    """Options of Pillow's AVIF encoder.

    Speed 8 takes half the time of speed 6 for 7% more bytes; 9 saves two thirds more for 19%.
    """
    return {"quality": quality, "speed": 8, "subsampling": "4:0:0" if mode == "L" else "4:4:4"}


def _jxl_options(_: str, quality: int | None) -> dict[str, Any]:
    # libjxl's default effort. Lossless drawings are 1.1 to 1.3 times as large at effort 5, and 1.4
    # to 3 times at 3.
    return {**({"lossless": True} if quality is None else {"quality": quality}), "effort": 7}


#: The plugin that reads and writes JPEG XL: its name for pip, and its module.
_JXL = ("pillow-jxl-plugin", "pillow_jxl")

JXL_INSTALL = f"pip install {_JXL[0]}"

_ALL_MODES = frozenset({"L", "LA", "RGB", "RGBA"})

# fmt: off
# Size limits are those of the libraries, found by experiment, not those of the specifications:
# libjpeg stops at 65500 (the format holds 65535); libavif writes 65536 but refuses to read more
# than 32768 a side or 16384 * 16384 pixels. Those of JPEG XL are level 5 of its standard, which
# every decoder supports. Pillow tries its readers in the order of the rows.
FORMATS: tuple[Format, ...] = (
    # Written for animations only: PNG is the better still.
    OutputFormat(
        name="gif", label="GIF", extensions=(".gif",), signature=rb"GIF8", pillow="GIF",
        modes=frozenset({"RGB", "RGBA"}), holds=frozenset(), max_side=65535, encoder_memory=3.0,
        animation_writer="gif_writer.GifWriter",
    ),
    OutputFormat(
        name="png", label="PNG", extensions=(".png",), folder_extensions=(".apng",),
        signature=rb"\x89PNG\r\n\x1a\n", pillow="PNG", modes=_ALL_MODES, dtypes=("uint8", "uint16"),
        holds=frozenset({"icc", "exif", "xmp", "dpi", "color", "text"}), encoder_memory=0.7,
        row_writer="png_writer.PngWriter", animation_writer="apng_writer.ApngWriter",
    ),
    OutputFormat(
        name="jpeg", label="JPEG", extensions=(".jpg", ".jpeg", ".jpe", ".jfif"),
        signature=rb"\xff\xd8\xff", pillow="JPEG", modes=frozenset({"L", "RGB"}),
        holds=frozenset({"icc", "exif", "xmp", "dpi", "iptc", "comment"}), lossy=True,
        default_quality=95, max_side=65500, max_icc=255 * 65519, max_exif=65533, max_xmp=65502,
        max_iptc=65500, encoder_memory=1.5, save_options=_jpeg_options,
        save="jpeg_writer.save_jpeg",
    ),
    OutputFormat(
        name="webp", label="WebP", extensions=(".webp",), signature=rb"RIFF.{4}WEBP", pillow="WEBP",
        modes=frozenset({"RGB", "RGBA"}), lossy=True, max_side=16383, feature="webp",
        encoder_memory=8.0, save_options=webp_options, animation_writer="webp_writer.WebpWriter",
    ),
    OutputFormat(
        name="avif", label="AVIF", extensions=(".avif",),
        signature=rb".{4}ftyp(?:avi[fs]|(?:mif1|msf1|miaf)(?:.{4}){1,16}?avi[fs])",
        pillow="AVIF", modes=frozenset({"L", "RGB", "RGBA"}),
        holds=frozenset({"icc", "nclx", "exif", "xmp"}), lossy=True, default_quality=90,
        max_side=32768, max_pixels=16384 * 16384, feature="avif", encoder_memory=15.0,
        save_options=avif_options, save="avif_writer.save_avif",
        animation_writer="avif_writer.AvifWriter",
    ),
    OutputFormat(
        name="tiff", label="TIFF", extensions=(".tif", ".tiff"), signature=rb"II[*+]\0|MM\0[*+]",
        pillow="TIFF", modes=_ALL_MODES, dtypes=("uint8", "uint16", "float32"),
        holds=frozenset({"icc", "exif", "xmp", "dpi", "iptc"}), max_bytes=2**32 - 2**26,
        encoder_memory=0.7, row_writer="tiff_writer.TiffWriter", needs_seek=True,
    ),
    OutputFormat(
        name="bmp", label="BMP", extensions=(".bmp",), signature=rb"BM", pillow="BMP",
        modes=frozenset({"L", "RGB"}), holds=frozenset({"dpi"}), max_bytes=2**32 - 2**20,
        encoder_memory=1.5, save_options=lambda mode, quality: {},
    ),
    # The format holds profiles, but the plugin that writes it does not.
    OutputFormat(
        name="jxl", label="JPEG XL", extensions=(".jxl",),
        signature=rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", pillow="JXL", modes=_ALL_MODES,
        holds=frozenset({"exif", "xmp"}), lossy=True, max_side=2**18, max_pixels=2**28,
        extra=_JXL, encoder_memory=22.0, save_options=_jxl_options,
    ),
    Format(
        name="ppm", label="PPM", extensions=(".ppm", ".pgm"),
        folder_extensions=(".pbm", ".pnm", ".pam", ".pfm"),
        signature=rb"P[1-6](?:\s|#[^\n\r]*[\n\r])+\d|P7\n|P[Ff]\n\d", pillow="PPM",
    ),
    Format(
        name="psd", label="PSD", extensions=(".psd",), folder_extensions=(".psb",),
        in_archives=False, signature=rb"8BPS", pillow="PSD",
    ),
    Format(
        name="jpeg2000", label="JPEG 2000", extensions=(".jp2", ".j2k"),
        folder_extensions=(".jpx",), signature=rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
        pillow="JPEG2000",
    ),
    Format(name="qoi", label="QOI", extensions=(".qoi",), signature=rb"qoif", pillow="QOI"),
    # The first bytes of these say too little; Pillow decides.
    Format(
        name="ico", label="ICO", extensions=(".ico",), folder_extensions=(".cur",),
        in_archives=False, pillow="ICO",
    ),
    Format(name="pcx", label="PCX", extensions=(".pcx",), in_archives=False, pillow="PCX"),
    Format(name="dds", label="DDS", extensions=(".dds",), in_archives=False, pillow="DDS"),
    Format(name="dib", label="DIB", extensions=(".dib",), in_archives=False, pillow="DIB"),
    Format(name="tga", label="TGA", extensions=(".tga",), pillow="TGA"),
)
# fmt: on

_WRITTEN = tuple(each for each in FORMATS if isinstance(each, OutputFormat))

#: The formats that a still picture is written in.
OUTPUT_FORMATS = tuple(each for each in _WRITTEN if each.save_options or each.row_writer)

#: The formats that an animation is written in.
ANIMATED_OUTPUT_FORMATS = tuple(each for each in _WRITTEN if each.animation_writer)

#: Extensions of picture files in folders, in lower case.
FOLDER_SUFFIXES = frozenset(
    extension for each in FORMATS for extension in each.extensions + each.folder_extensions
)

#: Extensions of pages in comic archives. HEIC pages are not supported, and a note says so.
PAGE_SUFFIXES = frozenset(
    (".heic", ".heif", *(name for each in FORMATS if each.in_archives for name in each.extensions))
)

#: Extension -> `OutputFormat.encoder_memory`.
ENCODER_MEMORY = {
    extension: each.encoder_memory for each in _WRITTEN for extension in each.extensions
}


def load(name: str, package: str | None) -> Any:
    """Import a writer that a row names by its module; loaded only when needed."""
    module, _, writer = name.partition(".")
    return getattr(import_module(f".{module}", package), writer)


_BY_NAME = {
    alias: output
    for output in _WRITTEN
    for alias in (output.name, *(extension[1:] for extension in output.extensions))
}


def resolve_format(
    path: str | os.PathLike[str] | None, format: str | None = None, *, name: str = "the source"
) -> OutputFormat:
    """Return the format to write a picture as ``path``: ``format`` if given, else by the extension.

    ``format`` is a name or an extension without its dot, in any case ("jpg" is "jpeg"); it wins
    over the extension of ``path``, which may then be None.
    name: of the source, for messages.

    Raises ArgumentError for an unknown name or extension, listing those that can be written;
    EncodeError for GIF, and for WebP or AVIF if the installed Pillow was built without it;
    MissingExtraError for JPEG XL if its plugin is not installed.
    """
    output = format_named(path, format)
    if output not in OUTPUT_FORMATS:
        raise EncodeError(
            f"{output.label} is written for animations only; {name} is one picture; write it as PNG"
        )
    if output.feature is not None and not features.check(output.feature):
        raise EncodeError(
            f"{output.label} is not supported by the installed Pillow; "
            "run `pip install --force-reinstall pillow`, or write PNG"
        )
    if output.extra is not None and not _is_installed(output):
        raise MissingExtraError(
            f"{output.label} needs a package that is not installed; "
            f"run `pip install {output.extra[0]}`, or write PNG"
        )
    return output


def format_named(path: str | os.PathLike[str] | None, format: str | None = None) -> OutputFormat:
    """Return the row of a format that is written, as for `resolve_format`, installed or not.

    Raises ArgumentError for an unknown name or extension.
    """
    if format is not None:
        output = _BY_NAME.get(format.lower().removeprefix("."))
        if output is None:
            names = [each.name for each in _WRITTEN if _is_installed(each)]
            raise ArgumentError(unknown("format", format, names) + _not_installed())
        return output
    extension = PurePath(path or "").suffix
    output = _BY_NAME.get(extension[1:].lower()) if extension else None
    if output is None:
        extensions = [each.extension for each in _WRITTEN if _is_installed(each)]
        what = (
            unknown("extension", extension, extensions)
            if extension
            else f"has no extension; allowed are {', '.join(extensions)}"
        )
        raise ArgumentError(f"{shown(path)}: {what}, or give `format=`{_not_installed()}")
    return output


def _is_installed(output: OutputFormat) -> bool:
    if output.feature is not None and not features.check(output.feature):
        return False
    return output.extra is None or find_spec(output.extra[1]) is not None


def _not_installed() -> str:
    """Say how to get the formats whose packages are not installed."""
    return "".join(
        f"; {each.name} needs `pip install {each.extra[0]}`"
        for each in _WRITTEN
        if each.extra is not None and not _is_installed(each)
    )


def check_quality(output: OutputFormat, quality: int | None) -> int | None:
    """Return the quality that ``output`` is written with, None for lossless.

    Raises ArgumentError outside 1..100, or for any quality if the format is always lossless.
    """
    if quality is None:
        return output.default_quality
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ArgumentError(f"quality is {quality!r}; it must be a whole number from 1 to 100")
    if not output.lossy:
        raise ArgumentError(
            f"quality is {quality}, and {output.label} is lossless and has none; "
            "leave out `quality=`, or write JPEG, WebP, AVIF or JPEG XL"
        )
    return None if output.default_quality is None and quality == 100 else quality


def check_size(
    output: OutputFormat, width: int, height: int, pixel_bytes: int = 3, *, animated: bool = False
) -> None:
    """Raise EncodeError if ``output`` cannot hold a picture, or animation, of that size.

    pixel_bytes: channels times bytes per sample, as written.
    """
    limit = _exceeded_limit(output, width, height, pixel_bytes)
    if limit is None:
        return
    large = (_BY_NAME[name] for name in (("png",) if animated else ("png", "tiff")))
    fitting = [
        other.label for other in large if not _exceeded_limit(other, width, height, pixel_bytes)
    ]
    advice = f"use {' or '.join(fitting)}" if fitting else "choose a smaller size"
    raise EncodeError(f"{width}x{height} is too large for {output.label} ({limit}); {advice}")


def _exceeded_limit(output: OutputFormat, width: int, height: int, pixel_bytes: int) -> str | None:
    if max(width, height) > output.max_side:
        return f"at most {output.max_side} pixels a side"
    if output.max_pixels is not None and width * height > output.max_pixels:
        return f"at most {output.max_pixels} pixels in all"
    if output.max_bytes is not None and pixel_bytes * width * height > output.max_bytes:
        return "at most 4 GiB of pixels"
    return None


def written_dtype(
    output: OutputFormat, dtype: np.dtype[Any], depth: int | None = None
) -> np.dtype[Any]:
    """Return the type that samples of ``dtype`` (uint8, uint16 or float32) are written as.

    depth: 8 or 16 bits; None keeps what ``output`` holds: otherwise uint16 becomes uint8, and
        float32 becomes uint16, or else uint8.

    Raises ArgumentError for another depth, and for 16 bits if ``output`` has 8 only.
    """
    if depth is None:
        wanted = {"uint8": ("uint8",), "uint16": ("uint16",)}.get(dtype.name, ("float32", "uint16"))
        return np.dtype(next((name for name in wanted if name in output.dtypes), "uint8"))
    if isinstance(depth, bool) or depth not in (8, 16):
        raise ArgumentError(f"depth is {depth!r}; it must be 8 or 16 bits per sample")
    if depth not in output.depths:
        able = " or ".join(each.label for each in OUTPUT_FORMATS if depth in each.depths)
        raise ArgumentError(
            f"depth is {depth}, and {output.label} holds 8 bits per sample; write {able}"
        )
    return np.dtype(f"uint{depth}")


def reduction_notes(
    dtype: np.dtype[Any], written: np.dtype[Any], depth: int | None
) -> tuple[str, ...]:
    """Return a note if samples of ``dtype`` become narrower and ``depth`` does not request it."""
    if depth is not None or written.itemsize >= dtype.itemsize:
        return ()
    kind = "float" if dtype.kind == "f" else "16-bit"
    return (f"{kind} samples reduced to {8 * written.itemsize}-bit",)
