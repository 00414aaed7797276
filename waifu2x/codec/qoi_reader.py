"""QOI, by imagecodecs.

Pillow forgets the color of a run, so that a later index shows another color. Layout: The Quite OK
Image Format, https://qoiformat.org/qoi-specification.pdf.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

import numpy as np

from ..picture import Metadata, Picture, Source
from .faults import damaged, truncated
from .limits import check_bytes, check_pixels
from .samples import split_planes

_SIGNATURE: Final = b"qoif"
_HEAD_BYTES: Final = 14
_END: Final = bytes(7) + b"\1"
_LINEAR: Final = 1

# By its first byte: bytes of a chunk, and pixels it stands for.
_STEPS: Final = tuple(
    {0xFE: 4, 0xFF: 5}.get(head, 2 if head >> 6 == 2 else 1) for head in range(256)
)
_COUNTS: Final = tuple(
    (head & 63) + 1 if head >> 6 == 3 and head < 0xFE else 1 for head in range(256)
)


def is_qoi(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` is a QOI."""
    return head.startswith(_SIGNATURE) and len(head) >= _HEAD_BYTES


def read_size(stream: BinaryIO, name: str) -> tuple[int, int]:
    """Return width and height of a file that `is_qoi` accepts."""
    stream.seek(4)
    width, height = struct.unpack(">II", stream.read(8))
    return width, height


def read_qoi(stream: BinaryIO, name: str, limit: int) -> Picture:
    """Read a QOI: RGB or RGBA of 8 bits; raises DecodeError and LimitError."""
    import imagecodecs

    width, height = read_size(stream, name)
    check_pixels(width, height, limit, name)
    check_bytes(stream, limit, name)
    stream.seek(0)
    data = stream.read()
    channels, space = data[12], data[13]
    if channels not in (3, 4) or space > _LINEAR or not (width and height):
        raise damaged(name, "QOI", f"it is {width}x{height} of {channels} channels")
    at, missing, end = _HEAD_BYTES, width * height, len(data)
    while missing > 0 and at < end:
        head = data[at]
        at += _STEPS[head]
        missing -= _COUNTS[head]
    if missing > 0 or at > end:
        raise truncated(name)
    color, alpha = split_planes(np.asarray(imagecodecs.qoi_decode(data[:at] + _END)))
    # The samples are linear, or of sRGB, which needs no label.
    metadata = Metadata(gamma=1.0 if space == _LINEAR else None)
    return Picture(color, alpha, metadata, Source("QOI", False))
