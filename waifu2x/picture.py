"""A decoded picture with its metadata."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import numpy as np
import numpy.typing as npt

from ._record import record
from .errors import ArgumentError

#: uint8 and uint16 span their whole range; float32 is nominally [0, 1].
Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32]

SAMPLE_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))


@record
class Metadata:
    """Metadata of the source that the result keeps.

    icc: ICC profile of ``color`` as raw bytes, or None for sRGB / unknown.
    exif: EXIF block as raw bytes with the orientation tag reset to 1, or None.
    dpi: (x, y) pixels per inch as stored, or None.
    xmp: XMP packet as raw bytes with its orientation reset to 1, or None.
    gamma: exponent from light to samples as PNG's gAMA stores it (0.45455 is 1 / 2.2), or None.
        ``gamma``, ``chromaticities`` and ``rendering_intent`` apply only without an ICC profile.
    chromaticities: x and y of white, red, green and blue as PNG's cHRM stores them, or None.
    rendering_intent: 0..3 of PNG's sRGB chunk, which declares the colors as sRGB, or None.
    cicp: PNG's cICP chunk: primaries, transfer, matrix and full-range flag (ITU-T H.273), or None.
        From an AVIF, its primaries and transfer, as those of RGB.
    mastering_display, content_light: data of PNG's mDCV (24 bytes) and cLLI (8 bytes), or None.
    text: PNG's text chunks in order, (keyword, text) each; comments of JPEG as "Comment".
    iptc: IPTC-IIM records as raw bytes, or None.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    gamma: float | None = None
    chromaticities: tuple[float, float, float, float, float, float, float, float] | None = None
    rendering_intent: int | None = None
    cicp: tuple[int, int, int, int] | None = None
    mastering_display: bytes | None = None
    content_light: bytes | None = None
    text: tuple[tuple[str, str], ...] = ()
    iptc: bytes | None = None


@record
class Source:
    """Properties of the source file, for choosing a noise level and for messages.

    format: Pillow's format name ("PNG", "JPEG", ...), or None for an array.
    lossy: True, False, or None if the file does not record it.
    jpeg_quality: 1..100 estimated from the quantization tables of a JPEG, or None.
    reduced: whether a file of 16 bits per channel was read with 8 bits.
    converted: the color space that was converted to sRGB ("CMYK", "LAB"), or "".
    notes: what was left out or repaired when the file was read, one short sentence each.
    """

    format: str | None = None
    lossy: bool | None = None
    jpeg_quality: int | None = None
    reduced: bool = False
    converted: str = ""
    notes: tuple[str, ...] = ()


@record
class Picture:
    """Color and alpha of one picture, in its own encoding (never linearized).

    color: (H, W, C) with C = 1 (gray) or 3 (RGB); uint8, uint16 or float32.
    alpha: (H, W) of the same dtype as ``color``, straight (not premultiplied), or None.
    """

    color: Samples
    alpha: Samples | None = None
    metadata: Metadata = field(default_factory=Metadata)
    source: Source = field(default_factory=Source)

    def __post_init__(self) -> None:
        color, alpha = self.color, self.alpha
        if color.ndim != 3 or color.shape[2] not in (1, 3) or 0 in color.shape:
            raise ArgumentError(
                f"color has shape {color.shape}; it must be (height, width, 1 or 3), none of them 0"
            )
        if color.dtype not in SAMPLE_DTYPES:
            raise ArgumentError(
                f"color has dtype {color.dtype}; it must be uint8, uint16 or float32"
            )
        if alpha is not None and (alpha.shape != color.shape[:2] or alpha.dtype != color.dtype):
            raise ArgumentError(
                f"alpha is {alpha.dtype} {alpha.shape}; it must match color, "
                f"{color.dtype} {color.shape[:2]}"
            )

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.color.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.color.shape[0])

    @property
    def gray(self) -> bool:
        """Whether there is one color channel."""
        return bool(self.color.shape[2] == 1)


def as_float(samples: Samples) -> npt.NDArray[np.float32]:
    """Convert samples to float32 in [0, 1]; returns a float32 array itself."""
    if samples.dtype == np.float32:
        return samples  # type: ignore[return-value]
    # Division: multiplying by the inverse would not give exactly 1.0 for white.
    return np.divide(samples, np.float32(sample_max(samples.dtype)), dtype=np.float32)


def sample_max(dtype: np.dtype[Any]) -> int:
    """The sample value that means 1.0: 255, 65535, or 1 for float32."""
    return int(np.iinfo(dtype).max) if dtype.kind == "u" else 1
