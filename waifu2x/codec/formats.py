"""The formats we write, and what each of them can hold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import PurePath
from typing import Any

import numpy as np
from PIL import features

from .._text import shown
from ..errors import ArgumentError, EncodeError, MissingExtraError


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """One format we write.

    name: what ``format=`` takes, lower case ("png", "jpeg", ...).
    label: the name in messages ("PNG", "WebP", ...).
    extensions: the file name extensions with their dots, the usual one first.
    modes: the channels it holds, of L (gray), LA, RGB and RGBA.
    dtypes: the types of samples it holds, of "uint8", "uint16" and "float32".
    holds: the metadata it holds, of "icc", "exif", "xmp", "dpi", "color" (gAMA, cHRM, sRGB and
        cICP as they are; elsewhere they become an ICC profile) and "text" (PNG's texts).
    lossy: ``quality`` is accepted.
    default_quality: what ``quality=None`` means; None is lossless.
    lossless_at_100: quality 100 keeps every sample.
    max_side: the longest width or height.
    max_pixels: the largest width * height, or None.
    max_bytes: the most bytes of samples, or None: the offsets in the file are 32-bit.
    feature: the Pillow feature it needs, or None.
    extra: the extra of this package it needs, as (name, module), or None.
    takes_rows: it can be written while the rows are still being made, by `encode_rows`.
    """

    name: str
    label: str
    extensions: tuple[str, ...]
    modes: frozenset[str]
    dtypes: tuple[str, ...] = ("uint8",)
    holds: frozenset[str] = frozenset({"icc", "exif", "xmp"})
    lossy: bool = False
    default_quality: int | None = None
    lossless_at_100: bool = False
    max_side: int = 2**31 - 1
    max_pixels: int | None = None
    max_bytes: int | None = None
    feature: str | None = None
    extra: tuple[str, str] | None = None
    takes_rows: bool = False

    @property
    def has_alpha(self) -> bool:
        """Whether transparency is kept; otherwise the picture is composited on white."""
        return "RGBA" in self.modes

    @property
    def depths(self) -> tuple[int, ...]:
        """The bits per sample that can be asked for: 8, or 8 and 16."""
        return tuple(bits for bits in (8, 16) if f"uint{bits}" in self.dtypes)

    @property
    def extension(self) -> str:
        """The usual extension, with its dot."""
        return self.extensions[0]


_LAYOUTS = frozenset({"L", "LA", "RGB", "RGBA"})

# The limits are those of the libraries, tried out, not those of the specifications: libjpeg stops
# at 65500 (the format could hold 65535), and libavif writes 65536 but refuses to read back more
# than 32768 a side or 16384 * 16384 in all. Those of JPEG XL are level 5 of its standard, which
# every decoder takes.
OUTPUT_FORMATS: tuple[OutputFormat, ...] = (
    OutputFormat(
        "png",
        "PNG",
        (".png",),
        _LAYOUTS,
        dtypes=("uint8", "uint16"),
        holds=frozenset({"icc", "exif", "xmp", "dpi", "color", "text"}),
        takes_rows=True,
    ),
    OutputFormat(
        "jpeg",
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        frozenset({"L", "RGB"}),
        holds=frozenset({"icc", "exif", "xmp", "dpi"}),
        lossy=True,
        default_quality=95,
        max_side=65500,
    ),
    OutputFormat(
        "webp",
        "WebP",
        (".webp",),
        frozenset({"RGB", "RGBA"}),
        lossy=True,
        lossless_at_100=True,
        max_side=16383,
        feature="webp",
    ),
    OutputFormat(
        "avif",
        "AVIF",
        (".avif",),
        frozenset({"L", "RGB", "RGBA"}),
        lossy=True,
        default_quality=90,
        max_side=32768,
        max_pixels=16384 * 16384,
        feature="avif",
    ),
    OutputFormat(
        "tiff",
        "TIFF",
        (".tif", ".tiff"),
        _LAYOUTS,
        dtypes=("uint8", "uint16", "float32"),
        holds=frozenset({"icc", "exif", "xmp", "dpi"}),
        max_bytes=2**32 - 2**26,
        takes_rows=True,
    ),
    OutputFormat(
        "bmp",
        "BMP",
        (".bmp",),
        frozenset({"L", "RGB"}),
        holds=frozenset({"dpi"}),
        max_bytes=2**32 - 2**20,
    ),
    # The format holds profiles, but the plugin that writes it takes none.
    OutputFormat(
        "jxl",
        "JPEG XL",
        (".jxl",),
        _LAYOUTS,
        holds=frozenset({"exif", "xmp"}),
        lossy=True,
        lossless_at_100=True,
        max_side=2**18,
        max_pixels=2**28,
        extra=("jxl", "pillow_jxl"),
    ),
)

_BY_NAME = {
    alias: output
    for output in OUTPUT_FORMATS
    for alias in (output.name, *(extension[1:] for extension in output.extensions))
}


def resolve_format(path: str | os.PathLike[str] | None, format: str | None = None) -> OutputFormat:
    """The format to write ``path`` in: ``format`` where given, else by the extension.

    ``format`` is a name or an extension without its dot, in any case ("jpg" is "jpeg"); it wins
    over the extension of ``path``, which may then be None.

    Raises EncodeError for a name or extension we do not write, listing those we do, and for WebP
    or AVIF where the installed Pillow was built without it; MissingExtraError for JPEG XL where
    the extra ``jxl`` is not installed.
    """
    if format is not None:
        output = _BY_NAME.get(format.lower().removeprefix("."))
        if output is None:
            names = ", ".join(each.name for each in OUTPUT_FORMATS)
            raise EncodeError(f"format {shown(format)!r} is unknown; use one of: {names}")
    else:
        extension = PurePath(path or "").suffix
        output = _BY_NAME.get(extension[1:].lower()) if extension else None
        if output is None:
            allowed = ", ".join(each.extension for each in OUTPUT_FORMATS)
            what = f"extension {shown(extension)!r} is unknown" if extension else "has no extension"
            raise EncodeError(f"{shown(path)}: {what}; use one of {allowed}, or name a format")
    if output.feature is not None and not features.check(output.feature):
        raise EncodeError(
            f"{output.label} is not supported by the installed Pillow; "
            "reinstall it (pip install --force-reinstall pillow) or write PNG"
        )
    if output.extra is not None and find_spec(output.extra[1]) is None:
        raise MissingExtraError(
            f"{output.label} needs an extra that is not installed; "
            f"pip install 'waifu2x-native[{output.extra[0]}]', or write PNG"
        )
    return output


def written_dtype(
    output: OutputFormat, dtype: np.dtype[Any], depth: int | None = None
) -> np.dtype[Any]:
    """The type that samples of ``dtype`` (uint8, uint16 or float32) are written as.

    depth: 8 or 16 bits, as chosen; None keeps what ``output`` holds: uint16 becomes uint8 and
        float32 becomes uint16, or else uint8, where it does not hold them.

    Raises ArgumentError for another depth, and EncodeError for 16 bits where ``output`` has 8 only.
    """
    if depth is None:
        wanted = {"uint8": ("uint8",), "uint16": ("uint16",)}.get(dtype.name, ("float32", "uint16"))
        return np.dtype(next((name for name in wanted if name in output.dtypes), "uint8"))
    if isinstance(depth, bool) or depth not in (8, 16):
        raise ArgumentError(f"depth is {depth!r}; it must be 8 or 16 bits per sample")
    if depth not in output.depths:
        able = " or ".join(each.label for each in OUTPUT_FORMATS if depth in each.depths)
        raise EncodeError(f"{output.label} holds 8 bits per sample, not {depth}; write {able}")
    return np.dtype(f"uint{depth}")


def reduction_notes(
    dtype: np.dtype[Any], written: np.dtype[Any], depth: int | None
) -> tuple[str, ...]:
    """A note where samples of ``dtype`` become narrower and ``depth`` does not ask for it."""
    if depth is not None or written.itemsize >= dtype.itemsize:
        return ()
    kind = "float" if dtype.kind == "f" else "16-bit"
    return (f"{kind} samples reduced to {8 * written.itemsize}-bit",)
