"""AVIF out, by libavif through Pillow, with the labels that Pillow cannot write.

Pillow parses and rewrites an EXIF block that has an orientation, which breaks makers' notes and
texts that are not ASCII, and always labels the colors as sRGB. So libavif stores a placeholder of
the same length, and the code points of sRGB; both are overwritten in the finished file.
"""

from __future__ import annotations

import io
import struct
from typing import Any, BinaryIO

from PIL import Image

from .boxes import boxes
from .exif import EXIF_PREFIX

# The shortest block that libavif accepts: a directory without entries.
_EMPTY = b"II*\0\x08\0\0\0\0\0\0\0\0\0"
_LABEL = b"colrnclx"


def save_avif(
    image: Image.Image,
    sink: BinaryIO,
    *,
    exif: bytes | None = None,
    nclx: tuple[int, int] | None = None,
    **options: Any,
) -> None:
    """Write ``image`` to ``sink``.

    exif: a block that is stored unchanged, with its prefix.
    nclx: primaries and transfer (ITU-T H.273) of the colors; None for sRGB.
    options: those of Pillow's AVIF encoder.
    """
    buffer = io.BytesIO()
    block = b"" if exif is None else exif.removeprefix(EXIF_PREFIX)
    placeholder = b""
    if len(block) >= len(_EMPTY):
        placeholder = EXIF_PREFIX + _EMPTY + _filler(len(block) - len(_EMPTY))
        options["exif"] = placeholder
    image.save(buffer, "AVIF", **options)
    data = buffer.getbuffer()
    if placeholder:
        start = buffer.getvalue().index(placeholder)
        data[start : start + len(placeholder)] = EXIF_PREFIX + block
    if nclx is not None:
        _relabel(buffer, data, nclx)
    sink.write(data)


def _filler(length: int) -> bytes:
    """Return bytes that occur nowhere else in the file."""
    pattern = bytes(range(256))
    return (pattern * (length // 256 + 1))[:length]


def _relabel(buffer: io.BytesIO, data: memoryview, nclx: tuple[int, int]) -> None:
    """Overwrite the primaries and the transfer in all color boxes of nclx; the matrix stays."""
    for kind, start, size in boxes(buffer):
        if kind not in (b"meta", b"moov"):
            continue
        content = bytes(data[start : start + size])
        at = content.find(_LABEL)
        while at >= 0:
            struct.pack_into(">HH", data, start + at + len(_LABEL), *nclx)
            at = content.find(_LABEL, at + 1)
