"""Pictures stored compressed in a temporary file instead of in memory."""

from __future__ import annotations

import tempfile
import zlib
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from ..._record import record
from ...picture import Metadata, Picture, Samples, Source

# Drawings compress well at the fastest level.
_LEVEL = 1
_BLOCK = 1 << 20


@record
class _Plane:
    start: int
    size: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@record
class Kept:
    """The place of a picture in its `PictureStore`."""

    color: _Plane
    alpha: _Plane | None
    metadata: Metadata
    source: Source


class PictureStore:
    """A temporary file of pictures, deleted when closed or when the program ends.

    The system deletes the file, even after a crash. `put` raises OSError if the disk is full.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="waifu2x-")  # noqa: SIM115
        self._end = 0

    def close(self) -> None:
        """Delete the file; may be called twice."""
        self._file.close()

    def put(self, picture: Picture) -> Kept:
        """Store ``picture``, samples of any type."""
        alpha = None if picture.alpha is None else self._put(picture.alpha)
        return Kept(self._put(picture.color), alpha, picture.metadata, picture.source)

    def get(self, kept: Kept) -> Picture:
        """Return the stored picture."""
        alpha = None if kept.alpha is None else self._get(kept.alpha)
        return Picture(self._get(kept.color), alpha, kept.metadata, kept.source)

    def _put(self, samples: Samples) -> _Plane:
        start = self._end
        self._file.seek(start)
        compressor = zlib.compressobj(_LEVEL)
        data = np.ascontiguousarray(samples).data.cast("B")
        for at in range(0, len(data), _BLOCK):
            self._end += self._file.write(compressor.compress(data[at : at + _BLOCK]))
        self._end += self._file.write(compressor.flush())
        return _Plane(start, self._end - start, samples.shape, samples.dtype)

    def _get(self, plane: _Plane) -> Samples:
        samples: npt.NDArray[Any] = np.empty(plane.shape, plane.dtype)
        data = samples.data.cast("B")
        self._file.seek(plane.start)
        decompressor = zlib.decompressobj()
        at, left = 0, plane.size
        while left > 0:
            block = decompressor.decompress(self._file.read(min(left, _BLOCK)))
            data[at : at + len(block)] = block
            at += len(block)
            left -= _BLOCK
        return cast("Samples", samples)
