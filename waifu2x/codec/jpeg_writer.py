"""JPEG out, by Pillow, with the labels that Pillow cannot write."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

from PIL import Image

_APPLICATION_13, _COMMENT = b"\xff\xed", b"\xff\xfe"
_RESOURCE = b"Photoshop 3.0\x008BIM\x04\x04\0\0"
_MAX_SEGMENT = 65533


def save_jpeg(
    image: Image.Image,
    sink: BinaryIO,
    *,
    iptc: bytes | None = None,
    comments: tuple[bytes, ...] = (),
    **options: Any,
) -> None:
    """Write ``image`` to ``sink``.

    iptc: records of IPTC. comments: a comment each. options: those of Pillow's JPEG encoder.
    """
    segments = b""
    if iptc is not None:
        data = _RESOURCE + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) & 1)
        segments += _segment(_APPLICATION_13, data)
    for comment in comments:
        for start in range(0, len(comment), _MAX_SEGMENT):
            segments += _segment(_COMMENT, comment[start : start + _MAX_SEGMENT])
    image.save(sink, "JPEG", extra=segments, **options)


def _segment(marker: bytes, data: bytes) -> bytes:
    return marker + struct.pack(">H", 2 + len(data)) + data
