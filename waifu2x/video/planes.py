"""A frame of a video as its decoder returns it."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .._record import record
from ..errors import ArgumentError
from .layout import VideoLayout

Plane: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@record(eq=False)
class VideoFrame:
    """The planes of a frame.

    planes: (height, width) arrays of uint8, or uint16 for more than 8 bits, each of its own size:
        luma, two of chroma, alpha, as far as the layout has them. They are not changed.
    pts: presentation time in units of the stream's time base, or None.
    carried: anything else that belongs to the frame. Both are passed through unchanged.
    """

    planes: tuple[Plane, ...]
    pts: int | None = None
    carried: object = None

    def require(self, layout: VideoLayout) -> None:
        """Raise `ArgumentError` unless the planes have the shapes and the dtype of ``layout``."""
        shapes = tuple(plane.shape for plane in self.planes)
        dtypes = {plane.dtype for plane in self.planes}
        if shapes != layout.shapes or dtypes != {layout.dtype}:
            found = ", ".join(f"{plane.dtype} {plane.shape}" for plane in self.planes)
            expected = ", ".join(f"{layout.dtype} {shape}" for shape in layout.shapes)
            raise ArgumentError(f"the planes of a frame are {found}; they must be {expected}")
