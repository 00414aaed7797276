"""Noise levels: the given one, or one chosen from the quality of a JPEG."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from ..errors import ArgumentError
from ..picture import Picture, Source

NOISE_LEVELS: Final = (0, 1, 2, 3)

#: A noise level, None for none, or "auto".
Noise: TypeAlias = Literal["auto", 0, 1, 2, 3] | None

# The networks were trained on JPEG qualities 85-95 (level 0), 65-85 (level 1) and 27-70 (levels 2
# and 3). Level 3 smooths most and removes fine lines, so it gets only the part of that range where
# block edges are stronger than the lines.
_LEVELS: tuple[tuple[int, int | None], ...] = ((96, None), (85, 0), (65, 1), (40, 2), (1, 3))

_LABELS = {"WEBP": "WebP", "JPEG2000": "JPEG 2000", "JXL": "JPEG XL"}


def choose_noise(source: Source) -> tuple[int | None, str]:
    """Return the noise level that suits ``source``, and the reason as a phrase for a message.

    ========================  =====
    JPEG quality 96 and more  None
    JPEG quality 85-95        0
    JPEG quality 65-84        1
    JPEG quality 40-64        2
    JPEG quality below 40     3
    everything else           None
    ========================  =====

    None means no denoising. A lossless file needs none. A lossy file that does not record its
    quality (WebP, AVIF) gets none either: too high a level destroys detail for good.
    """
    if source.format is None:
        return None, "not read from a file"
    label = _LABELS.get(source.format, source.format)
    if source.jpeg_quality is not None:
        level = next(level for lowest, level in _LEVELS if source.jpeg_quality >= lowest)
        return level, f"{label} quality {source.jpeg_quality}"
    if source.lossy is False:
        return None, f"{label}, lossless"
    return None, f"{label} does not record its quality"


def resolve_noise(noise: Noise, picture: Picture) -> tuple[int | None, str]:
    """Return the noise level to remove and, for "auto", the reason.

    Raises `ArgumentError` for a level that does not exist.
    """
    if noise == "auto":
        return choose_noise(picture.source)
    if noise is None or (noise in NOISE_LEVELS and not isinstance(noise, bool | str)):
        return noise, ""
    raise ArgumentError(f"noise is {noise!r}; allowed are None, 'auto', 0, 1, 2 and 3")
