"""Whether a result may be written, known before the work that fills it."""

from __future__ import annotations

import os

from ..atomic import check_place, check_writable
from ..errors import EncodeError
from .formats import OUTPUT_FORMATS, OutputFormat


def check_target(
    path: str | os.PathLike[str],
    output: OutputFormat,
    width: int,
    height: int,
    *,
    pixel_bytes: int = 3,
    overwrite: bool = False,
    source: str | os.PathLike[str] | None = None,
) -> None:
    """Everything that can be known about writing ``path`` before the work that fills it.

    output: from `resolve_format`; width, height: of the result; pixel_bytes: of its samples as they
    are written, channels times bytes per sample; source: the file that is read.

    An existing target, the source itself among them (by any name: links count), needs
    ``overwrite``. Whether the directory takes files is found out by creating one in it for a
    moment, under a hidden name: permission bits do not tell for root, full disks and network
    drives.

    Raises OutputExistsError for an existing target, and EncodeError for a picture the format
    cannot hold, a directory that is missing or takes no files, and a target that is no file.
    """
    check_size(output, width, height, pixel_bytes)
    check_writable(check_place(path, overwrite=overwrite, source=source))


def check_size(output: OutputFormat, width: int, height: int, pixel_bytes: int = 3) -> None:
    """Raise EncodeError where ``output`` cannot hold a picture of that size.

    pixel_bytes: channels times bytes per sample, as written.
    """
    allowed = _size_limit(output, width, height, pixel_bytes)
    if allowed is None:
        return
    roomy = (other for other in OUTPUT_FORMATS if other.name in ("png", "tiff"))
    others = [
        other.label for other in roomy if _size_limit(other, width, height, pixel_bytes) is None
    ]
    advice = f"use {' or '.join(others)}" if others else "choose a smaller size"
    raise EncodeError(f"{width}x{height} is too large for {output.label} ({allowed}); {advice}")


def _size_limit(output: OutputFormat, width: int, height: int, pixel_bytes: int) -> str | None:
    """What ``output`` allows, as text, where that size is beyond it; else None."""
    if max(width, height) > output.max_side:
        return f"at most {output.max_side} pixels a side"
    if output.max_pixels is not None and width * height > output.max_pixels:
        return f"at most {output.max_pixels} pixels in all"
    if output.max_bytes is not None and pixel_bytes * width * height > output.max_bytes:
        return "at most 4 GiB of pixels"
    return None
