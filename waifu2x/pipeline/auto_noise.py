"""Noise levels: the given one, or one chosen from the quality of a JPEG."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias, TypeGuard

from ..errors import ArgumentError
from ..network.registry import LEVELS as LEVELS
from ..network.registry import AnyLevel as AnyLevel
from ..network.registry import Level as Level
from ..picture import Picture, Source

#: A noise level or a number between two levels, None for none, or "auto".
Noise: TypeAlias = Literal["auto"] | AnyLevel | None

# The networks were trained on JPEG qualities 85-95 (level 0), 65-85 (level 1) and 27-70 (levels 2
# and 3). Level 3 smooths most and removes fine lines, so it gets only the part of that range where
# block edges are stronger than the lines.
_BY_QUALITY: tuple[tuple[int, Level | None], ...] = (
    (96, None),
    (85, 0),
    (65, 1),
    (40, 2),
    (1, 3),
)

_LABELS = {"WEBP": "WebP", "JPEG2000": "JPEG 2000", "JXL": "JPEG XL"}


def choose_noise(source: Source, levels: Collection[Level] = LEVELS) -> tuple[Level | None, str]:
    """Return the noise level that suits ``source``, and the reason as a phrase for a message.

    levels: those of the networks to choose from.

    ========================  =====
    JPEG quality 96 and more  None
    JPEG quality 85-95        0
    JPEG quality 65-84        1
    JPEG quality 40-64        2
    JPEG quality below 40     3
    everything else           None
    ========================  =====

    None means no denoising. A lossless file needs none. A lossy file that does not record its
    quality (WebP, AVIF) gets none either: too high a level destroys detail for good. If there is
    no network for the level, the nearest level is chosen, and the lower of two; "conservative"
    counts as level 0.
    """
    if source.format is None:
        return None, "not read from a file"
    label = _LABELS.get(source.format, source.format)
    if source.jpeg_quality is not None:
        level = next(level for lowest, level in _BY_QUALITY if source.jpeg_quality >= lowest)
        why = f"{label} quality {source.jpeg_quality}"
        if level is not None and not levels:
            return None, f"{why}; the model removes no noise"
        return None if level is None else _nearest(level, levels), why
    if source.lossy is False:
        return None, f"{label}, lossless"
    return None, f"{label} does not record its quality"


def _nearest(level: Level, levels: Collection[Level]) -> Level:
    strengths: dict[Level, int] = {"conservative": 0, 0: 0, 1: 1, 2: 2, 3: 3}
    wanted = strengths[level]

    def distance(other: Level) -> tuple[int, bool, int]:
        strength = strengths[other]
        return abs(strength - wanted), other == "conservative", strength

    return min(levels, key=distance)


def resolve_noise(
    noise: Noise, picture: Picture, levels: Collection[Level]
) -> tuple[AnyLevel | None, str]:
    """Return the noise level to remove and, for "auto", the reason.

    levels: those of the networks that may run.

    Raises `ArgumentError` for a level that does not exist.
    """
    if noise == "auto":
        return choose_noise(picture.source, levels)
    if noise is None or is_level(noise) or is_fraction(noise):
        return noise, ""
    raise ArgumentError(f"noise is {noise!r}; {ALLOWED_NOISE}")


#: Completes a message about a noise level that does not exist.
ALLOWED_NOISE = "allowed are None, 'auto', 'conservative' and numbers from 0 to 3, such as 1 or 1.5"


def is_level(value: object) -> TypeGuard[Level]:
    """Whether ``value`` is a noise level; neither booleans nor floats are."""
    return type(value) in (int, str) and value in LEVELS


def is_fraction(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a number between two whole noise levels."""
    return isinstance(value, float) and 0 < value < 3 and not value.is_integer()


def strength(level: AnyLevel | None) -> float:
    """Return a number by which noise levels are ordered, from none to the strongest."""
    if level is None:
        return -2.0
    return -1.0 if level == "conservative" else float(level)
