"""Reads the structure of an animation from a stream."""

from __future__ import annotations

import io
from typing import BinaryIO

from .._text import AGAIN
from ..errors import DecodeError


class ContainerReader:
    """Reads the structure of an animation and counts its frames for messages."""

    def __init__(self, stream: BinaryIO, name: str, limit: int = 0) -> None:
        self._stream = stream
        self._name = name
        self._limit = limit
        self._frame = 0

    def _read(self, count: int) -> bytes:
        """Read exactly ``count`` bytes; raises DecodeError if the file ends before."""
        blocks = []
        while count > 0:
            block = self._stream.read(min(count, 1 << 20))  # allocates no more than the file has
            if not block:
                where = f"in frame {self._frame}" if self._frame else "before the first frame"
                raise DecodeError(f"{self._name} is truncated: the file ends {where}{AGAIN}")
            blocks.append(block)
            count -= len(block)
        return b"".join(blocks)

    def _skip(self, count: int) -> bytes:
        """Skip ``count`` bytes and return none; reads the last to detect the end of the file."""
        self._stream.seek(count - 1, io.SEEK_CUR)
        self._read(1)
        return b""

    def _damaged(self, what: str) -> DecodeError:
        return DecodeError(f"frame {self._frame} of {self._name} is damaged: {what}{AGAIN}")
