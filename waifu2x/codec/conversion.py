"""CMYK and CIELab samples to sRGB, in 8 and 16 bits.

8-bit CMYK is converted as Pillow images are, so that every reader gives the same colors; for 16
bits Little CMS is reached through imagecodecs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..picture import sample_max
from .image import icc_space, to_srgb

# XYZ (D50) to linear sRGB, by Bradford adaptation: the inverse of the colorants of an sRGB profile.
_D50 = np.array([0.9642, 1.0, 0.8249])
_SRGB_COLORANTS = np.array(
    [
        [0.4360657, 0.3851471, 0.1430664],
        [0.2224884, 0.7168732, 0.0606079],
        [0.0139160, 0.0970764, 0.7140961],
    ]
)
_STRIP_PIXELS = 1 << 18


def in_strips(
    samples: npt.NDArray[Any], convert: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> npt.NDArray[Any]:
    """Return RGB of ``samples`` (H, W, C), converted a few rows at a time to save memory."""
    result = np.empty((*samples.shape[:2], 3), samples.dtype)
    rows = max(1, _STRIP_PIXELS // samples.shape[1])
    for top in range(0, len(samples), rows):
        result[top : top + rows] = convert(samples[top : top + rows])
    return result


def cmyk_to_rgb(samples: npt.NDArray[Any], icc: bytes | None) -> npt.NDArray[Any]:
    """Return CMYK (H, W, 4) as RGB (H, W, 3) in sRGB, of the same type.

    samples: uint8 or uint16, full scale is full ink. icc: converts the colors (relative
    colorimetric, with black point compensation) if it is a sound profile of CMYK; otherwise each
    color is what the inks leave of white.
    """
    profile = icc if icc is not None and icc_space(icc) == "CMYK" else None
    if samples.dtype == np.uint8:
        image = Image.fromarray(np.ascontiguousarray(samples), "CMYK")
        converted = None if profile is None else to_srgb(image, profile)
        return np.asarray(image.convert("RGB") if converted is None else converted)
    if profile is not None:
        deep = _by_profile(samples, profile)
        if deep is not None:
            return deep
    return in_strips(samples, _plain)


def _plain(inks: npt.NDArray[Any]) -> npt.NDArray[Any]:
    full = np.uint32(sample_max(inks.dtype))
    wide: npt.NDArray[Any] = full - inks.astype(np.uint32)
    left: npt.NDArray[Any] = (wide[..., :3] * wide[..., 3:] + full // 2) // full
    return left


def _by_profile(samples: npt.NDArray[Any], icc: bytes) -> npt.NDArray[Any] | None:
    """Convert 16-bit CMYK by its profile; None if that is broken."""
    import imagecodecs

    try:
        converted: npt.NDArray[Any] = imagecodecs.cms_transform(
            np.ascontiguousarray(samples),
            icc,
            imagecodecs.cms_profile("srgb"),
            colorspace="cmyk",
            outcolorspace="rgb",
            intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
            flags=imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION,
        )
    except Exception:  # a broken profile is no reason to refuse the picture
        return None
    return converted if converted.shape == (*samples.shape[:2], 3) else None


def lab_to_rgb(lab: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return L* a* b* (H, W, 3) for D50 as RGB in sRGB, of ``dtype`` (uint8 or uint16).

    Colors outside sRGB are clipped. Formulas: CIE 15:2004; IEC 61966-2-1.
    """
    y = (lab[..., 0] + 16) / 116
    roots = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    relative = np.where(roots > 6 / 29, roots**3, (roots - 4 / 29) * (108 / 841))
    linear = np.clip((relative * _D50) @ np.linalg.inv(_SRGB_COLORANTS).T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    rounded: npt.NDArray[Any] = np.floor(encoded * sample_max(dtype) + 0.5).astype(dtype)
    return rounded


def ycc_to_rgb(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return sYCC (H, W, 3) as RGB of the same type: full range (IEC 61966-2-1, amendment 1).

    samples: uint8 or uint16; gray has chroma 128 or 32768.
    """
    return in_strips(samples, _rgb_of_ycc)


def _rgb_of_ycc(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    full = sample_max(samples.dtype)
    luma, blue, red = np.moveaxis(samples.astype(np.float64), 2, 0)
    blue, red = blue - (full + 1) // 2, red - (full + 1) // 2
    rgb = luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue
    rounded: npt.NDArray[Any] = np.floor(np.clip(np.stack(rgb, axis=-1), 0, full) + 0.5)
    return rounded
