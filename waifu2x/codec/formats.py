"""The formats we write, and what each of them can hold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import PurePath

from PIL import features

from .._text import shown
from ..errors import EncodeError


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """One format we write.

    name: what ``format=`` takes, lower case ("png", "jpeg", ...).
    label: the name in messages ("PNG", "WebP", ...).
    extensions: the file name extensions with their dots, the usual one first.
    modes: the Pillow modes it holds, of L, LA, RGB, RGBA, I;16 (16-bit gray) and F (float gray).
    holds: the metadata it holds, of "icc", "exif" and "dpi".
    lossy: ``quality`` is accepted.
    default_quality: what ``quality=None`` means; None is lossless.
    lossless_at_100: quality 100 keeps every sample.
    max_side: the longest width or height.
    max_pixels: the largest width * height, or None.
    max_bytes: the largest width * height * 3, or None: the offsets in the file are 32-bit.
    feature: the Pillow feature it needs, or None.
    takes_rows: it can be written while the rows are still being made, by `encode_rows`.
    """

    name: str
    label: str
    extensions: tuple[str, ...]
    modes: frozenset[str]
    holds: frozenset[str] = frozenset({"icc", "exif", "dpi"})
    lossy: bool = False
    default_quality: int | None = None
    lossless_at_100: bool = False
    max_side: int = 2**31 - 1
    max_pixels: int | None = None
    max_bytes: int | None = None
    feature: str | None = None
    takes_rows: bool = False

    @property
    def has_alpha(self) -> bool:
        """Whether transparency is kept; otherwise the picture is composited on white."""
        return "RGBA" in self.modes

    @property
    def has_16bit(self) -> bool:
        """Whether 16-bit gray stays 16-bit; 16-bit colour is reduced to 8 bits everywhere."""
        return "I;16" in self.modes

    @property
    def extension(self) -> str:
        """The usual extension, with its dot."""
        return self.extensions[0]


# The limits are those of the libraries, tried out, not those of the specifications: libjpeg stops
# at 65500 (the format could hold 65535), and libavif writes 65536 but refuses to read back more
# than 32768 a side or 16384 * 16384 in all.
OUTPUT_FORMATS: tuple[OutputFormat, ...] = (
    OutputFormat(
        "png",
        "PNG",
        (".png",),
        frozenset({"L", "LA", "RGB", "RGBA", "I;16"}),
        takes_rows=True,
    ),
    OutputFormat(
        "jpeg",
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        frozenset({"L", "RGB"}),
        lossy=True,
        default_quality=95,
        max_side=65500,
    ),
    OutputFormat(
        "webp",
        "WebP",
        (".webp",),
        frozenset({"RGB", "RGBA"}),
        holds=frozenset({"icc", "exif"}),
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
        holds=frozenset({"icc", "exif"}),
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
        frozenset({"L", "LA", "RGB", "RGBA", "I;16", "F"}),
        max_bytes=2**32 - 2**20,
    ),
    OutputFormat(
        "bmp",
        "BMP",
        (".bmp",),
        frozenset({"L", "RGB"}),
        holds=frozenset({"dpi"}),
        max_bytes=2**32 - 2**20,
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
    or AVIF where the installed Pillow was built without it.
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
    return output
