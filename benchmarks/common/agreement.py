"""How far two decoders agree about a picture, in levels of 255."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from waifu2x.codec import from_image
from waifu2x.picture import Picture, sample_max

from .independent import Reference, RefusedError

#: Lossy decoders may differ by this much, of 255: rounding of the inverse transform and of YCbCr.
CLOSE = 2.0

Floats = npt.NDArray[np.float32]

_STRIP_ROWS = 256
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Agreement:
    """The result of a comparison.

    verdict: "equal", "close" (at most `CLOSE` of 255) or "differs".
    worst: the largest difference of a sample, of 255. share: of pixels that differ by more than
        `CLOSE`. detail: what differs.
    """

    verdict: str
    worst: float = 0.0
    share: float = 0.0
    detail: str = ""


def compare(picture: Picture, reference: Reference, *, subsampled: bool = False) -> Agreement:
    """Compare samples in the lower depth of the two; invisible color does not count.

    subsampled: whether the format may store chroma at half the size. Decoders interpolate it
        differently, so colors are also close if luma (BT.601) is in 99% of the pixels, and the mean
        difference is at most 1 of 255.
    """
    size = reference.color.shape[1], reference.color.shape[0]
    if (picture.width, picture.height) != size:
        detail = f"{picture.width}x{picture.height} instead of {size[0]}x{size[1]}"
        return Agreement("differs", 255.0, 1.0, detail)
    ours_color, ours_alpha = picture.color, picture.alpha
    white = float(sample_max(ours_color.dtype))
    floats = ours_color.dtype.kind == "f" and reference.color.dtype.kind == "f"
    depth = min(_levels(white), max(_levels(reference.white), 255.0))
    if reference.space in ("cmyk", "lab"):
        depth = 255.0
    worst, worst_alpha, beyond, exact = 0.0, 0.0, 0, True
    beyond_luma, total = 0, 0.0
    for top in range(0, picture.height, _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        ours = _rgba(ours_color[rows], None if ours_alpha is None else ours_alpha[rows], white)
        theirs = _reference_rgba(reference, rows)
        if not floats:
            ours, theirs = (np.rint(one * depth) / depth for one in (ours, theirs))
        difference = np.abs(ours - theirs)
        seen = (ours[:, :, 3] > 0) | (theirs[:, :, 3] > 0)
        color = difference[:, :, :3].max(axis=2)
        if reference.premultiplied:
            # Division by a small alpha multiplies the rounding.
            color = color * np.minimum(ours[:, :, 3], theirs[:, :, 3])
        if reference.space == "lab":
            # Tables of converters are coarse near the edge of sRGB, and clip in different ways.
            light = _lab_to_srgb(reference.color[rows], clipped=False)
            seen &= ((light > 0.02) & (light < 0.98)).all(axis=2)
        color = np.where(seen, color, 0)
        worst = max(worst, float(color.max()) * 255)
        worst_alpha = max(worst_alpha, float(difference[:, :, 3].max()) * 255)
        either = np.maximum(color, difference[:, :, 3]) * 255
        beyond += int((either > CLOSE + 1e-3).sum())
        luma = np.abs((ours[:, :, :3] - theirs[:, :, :3]) @ _LUMA) * seen
        beyond_luma += int((luma * 255 > CLOSE + 1).sum())
        total += float(color.sum()) * 255
        exact = exact and bool((either < (1e-3 if floats else 255 * 0.4 / depth)).all())
    if exact:
        return Agreement("equal")
    largest = max(worst, worst_alpha)
    share = beyond / (picture.width * picture.height)
    detail = f"color by {worst:.1f}, alpha by {worst_alpha:.1f} of 255, in {share:.2%} of pixels"
    pixels = picture.width * picture.height
    same_luma = beyond_luma <= pixels / 100 and total <= pixels and worst_alpha <= CLOSE
    close = not beyond or (subsampled and same_luma)
    return Agreement("close" if close else "differs", largest, share, detail)


def _levels(white: float) -> float:
    """Return the highest level that samples of this white distinguish; floats count as 16 bits."""
    return white if white > 1 else 65535.0


def _rgba(color: npt.NDArray[Any], alpha: npt.NDArray[Any] | None, white: float) -> Floats:
    """Return (H, W, 4) floats in [0, 1]."""
    height, width = color.shape[:2]
    result = np.ones((height, width, 4), np.float32)
    result[:, :, :3] = color.astype(np.float64) / white
    if alpha is not None:
        result[:, :, 3] = alpha.astype(np.float64) / white
    return result


def _reference_rgba(reference: Reference, rows: slice) -> Floats:
    color, white = reference.color[rows], reference.white
    alpha = None if reference.alpha is None else reference.alpha[rows]
    if reference.space == "cmyk":
        inks = np.rint(color.astype(np.float64) * (255 / white)).astype(np.uint8)
        image = Image.fromarray(np.ascontiguousarray(inks), "CMYK")
        if reference.icc:
            image.info["icc_profile"] = reference.icc
        result = _rgba(from_image(image).color, None, 255.0)
        if alpha is not None:
            result[:, :, 3] = alpha.astype(np.float64) / white
        return result
    if reference.space == "lab":
        result = np.ones((*color.shape[:2], 4), np.float32)
        result[:, :, :3] = _lab_to_srgb(color)
        if alpha is not None:
            result[:, :, 3] = alpha.astype(np.float64) / white
        return result
    if color.shape[2] not in (1, 3):
        raise RefusedError(f"{color.shape[2]} channels")
    result = _rgba(color, alpha, white)
    if reference.premultiplied and alpha is not None:
        divisor = np.maximum(result[:, :, 3:], 1e-9)
        result[:, :, :3] = np.minimum(result[:, :, :3] / divisor, 1)
    return result


def _lab_to_srgb(lab: npt.NDArray[Any], *, clipped: bool = True) -> npt.NDArray[np.float64]:
    """Return CIE 1976 L*a*b* of white D50 as sRGB in [0, 1], adapted by Bradford.

    clipped: False returns linear light, beyond [0, 1] for colors that sRGB does not hold.
    """
    y = (lab[:, :, 0] + 16) / 116
    f = np.stack([y + lab[:, :, 1] / 500, y, y - lab[:, :, 2] / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * (0.9642, 1.0, 0.8249)
    matrix = np.array(
        [
            [3.1338561, -1.6168667, -0.4906146],
            [-0.9787684, 1.9161415, 0.0334540],
            [0.0719453, -0.2289914, 1.4052427],
        ]
    )
    light = np.clip(xyz @ matrix.T, 0, 1) if clipped else xyz @ matrix.T
    if not clipped:
        return light
    encoded: npt.NDArray[np.float64] = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    )
    return encoded
