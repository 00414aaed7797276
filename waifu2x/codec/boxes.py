"""Boxes of ISO/IEC 14496-12, the container of AVIF, JPEG 2000 and JPEG XL."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

_MAX_BOXES = 4096


def boxes(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and size of the content of each box; stop at a broken one."""
    end = stream.seek(0, io.SEEK_END)
    position = 0
    for _ in range(_MAX_BOXES):
        stream.seek(position)
        start = stream.read(16)
        if len(start) < 8:
            return
        size, kind = struct.unpack_from(">I4s", start)
        header = 8
        if size == 1:
            if len(start) < 16:
                return
            (size,) = struct.unpack_from(">Q", start, 8)
            header = 16
        elif size == 0:
            size = end - position
        if size < header or position + size > end:
            return
        yield kind, position + header, size - header
        position += size


def inner_boxes(data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield kind, start in ``data`` and content of each box in the content of another."""
    for kind, start, size in boxes(io.BytesIO(data)):
        yield kind, start, data[start : start + size]
