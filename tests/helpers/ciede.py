"""Perceptual color differences, and L*a*b* of samples with an ICC profile.

`delta_e` is CIEDE2000 as in Sharma, Wu, Dalal: "The CIEDE2000 Color-Difference Formula" (2005).
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

D50 = np.array([0.9642, 1.0, 0.8249])


def lab_of(samples: npt.NDArray[Any], icc: bytes) -> Floats:
    """CIE L*a*b* (D50) of 8-bit samples (..., 3) with a profile of a matrix and curves."""
    tags = {}
    for entry in range(132, 132 + 12 * struct.unpack_from(">I", icc, 128)[0], 12):
        tag, offset, size = struct.unpack_from(">4sII", icc, entry)
        tags[tag] = icc[offset : offset + size]
    light = np.empty(samples.shape, np.float64)
    matrix = np.empty((3, 3))
    for channel, letter in enumerate((b"r", b"g", b"b")):
        curve, colorant = tags[letter + b"TRC"], tags[letter + b"XYZ"]
        assert (curve[:4], colorant[:4]) == (b"curv", b"XYZ ")
        count = struct.unpack_from(">I", curve, 8)[0]
        points = np.frombuffer(curve, ">u2", count, 12)
        value = samples[..., channel] / 255
        light[..., channel] = (
            value ** (points[0] / 256)
            if count == 1
            else np.interp(value, np.linspace(0, 1, count), points / 65535)
        )
        matrix[:, channel] = np.array(struct.unpack_from(">3i", colorant, 8)) / 65536
    ratio = light @ matrix.T / D50
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def delta_e(first: npt.ArrayLike, second: npt.ArrayLike) -> Floats:
    """CIEDE2000 of colors (..., 3) in L*a*b*."""
    (l1, a1, b1), (l2, a2, b2) = (
        np.moveaxis(np.asarray(each, float), -1, 0) for each in (first, second)
    )
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(chroma**7 / (chroma**7 + 25.0**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    gray = c1 * c2 == 0
    turn = np.where(gray, 0, (h2 - h1 + 180) % 360 - 180)
    # For exactly opposite hues, the sign is that of the plain difference.
    turn = np.where(~gray & (np.abs(h2 - h1) == 180), h2 - h1, turn)
    dl, dc = l2 - l1, c2 - c1
    dh = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    lm, cm = (l1 + l2) / 2, (c1 + c2) / 2
    far = np.abs(h1 - h2) > 180
    hm = (h1 + h2) / 2 + np.where(far, np.where(h1 + h2 < 360, 180, -180), 0)
    hm = np.where(gray, h1 + h2, hm)
    t = (
        1
        - 0.17 * np.cos(np.radians(hm - 30))
        + 0.24 * np.cos(np.radians(2 * hm))
        + 0.32 * np.cos(np.radians(3 * hm + 6))
        - 0.20 * np.cos(np.radians(4 * hm - 63))
    )
    sl = 1 + 0.015 * (lm - 50) ** 2 / np.sqrt(20 + (lm - 50) ** 2)
    sc, sh = 1 + 0.045 * cm, 1 + 0.015 * cm * t
    rc = 2 * np.sqrt(cm**7 / (cm**7 + 25.0**7))
    rt = -np.sin(np.radians(60 * np.exp(-(((hm - 275) / 25) ** 2)))) * rc
    light, color, hue = dl / sl, dc / sc, dh / sh
    square = light**2 + color**2 + hue**2 + rt * color * hue
    return np.sqrt(np.maximum(square, 0))
