"""ICC profiles for color chunks of PNG and labels of AVIF, and conversion to sRGB.

A matrix and a curve express gAMA, cHRM and the plain kinds of cICP (nclx in AVIF) exactly, so a
picture keeps its colors in every format that holds a profile.

Profiles: ICC.1:2001-04 (version 2.4), display class. Adaptation to D50: Bradford, ICC.1 Annex E
(Lam, 1985). Code points of cICP: ITU-T H.273.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..picture import Metadata, Samples
from .image import to_srgb
from .samples import convert_samples

#: x and y of white, red, green and blue.
Chromaticities: TypeAlias = tuple[float, float, float, float, float, float, float, float]

_D65 = (0.3127, 0.3290)
SRGB: Chromaticities = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
DISPLAY_P3: Chromaticities = (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)

_ILLUMINANT_C = (0.310, 0.316)
_SMPTE_170M: Chromaticities = (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)

#: The curve from samples to light: an exponent, None for that of sRGB, or that of BT.709, which
#: BT.601 and BT.2020 share.
Curve: TypeAlias = "float | Literal['BT.709'] | None"

# The primaries and transfers of H.273 that a matrix and a curve describe.
_PRIMARIES: dict[int, Chromaticities] = {
    1: SRGB,
    4: (*_ILLUMINANT_C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: _SMPTE_170M,
    7: _SMPTE_170M,
    8: (*_ILLUMINANT_C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: DISPLAY_P3,
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_TRANSFERS: dict[int, Curve] = {
    1: "BT.709",
    6: "BT.709",
    14: "BT.709",
    15: "BT.709",
    4: 2.2,
    5: 2.8,
    8: 1.0,
    13: None,
}

_SRGB_GAMMA = 0.45455
_SAME_GAMMA = 0.01  # relative
_SAME_CHROMATICITY = 0.002

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_CURVE_POINTS = 4096

# Pixels that are converted at once, so that wide copies stay small.
_STRIP_PIXELS: Final = 1 << 18


class ImpliedProfile(NamedTuple):
    """The profile of a picture, None for sRGB or unknown, and notes of labels left out."""

    icc: bytes | None
    notes: tuple[str, ...] = ()


def implied_profile(metadata: Metadata, channels: int) -> ImpliedProfile:
    """Return cICP, sRGB, gAMA and cHRM of a picture without a profile as an ICC profile.

    channels: 1 gray, 3 RGB. Precedence: cICP, sRGB, gAMA with cHRM. cHRM alone is ignored, as by
    every reader of PNG, with a note. sRGB colors (gamma within 1%) need no profile.
    """
    notes: list[str] = []
    if metadata.mastering_display is not None or metadata.content_light is not None:
        notes.append("levels of a mastering display (mDCV, cLLI), which only PNG holds: left out")
    if metadata.cicp is not None:
        primaries, transfer, matrix, full = metadata.cicp
        if primaries in _PRIMARIES and transfer in _TRANSFERS and (matrix, full) == (0, 1):
            if (primaries, transfer) == (1, 13):
                return ImpliedProfile(None)
            gamma = _TRANSFERS[transfer]
            return ImpliedProfile(_profile(_PRIMARIES[primaries], gamma, channels))
        code = "/".join(map(str, metadata.cicp))
        holders = "PNG and AVIF hold" if (matrix, full) == (0, 1) else "PNG holds"
        notes.append(f"the colors are labeled cICP {code}, which only {holders}: left out")
    chromaticities = metadata.chromaticities or SRGB
    known = all(abs(a - b) <= _SAME_CHROMATICITY for a, b in zip(chromaticities, SRGB, strict=True))
    if metadata.rendering_intent is not None or metadata.gamma is None:
        if metadata.rendering_intent is None and not (known or channels == 1):
            notes.append("chromaticities without a gamma (cHRM), which only PNG holds: left out")
        return ImpliedProfile(None, tuple(notes))
    if abs(metadata.gamma / _SRGB_GAMMA - 1) <= _SAME_GAMMA and (known or channels == 1):
        return ImpliedProfile(None, tuple(notes))
    exponent = 1 / metadata.gamma if metadata.gamma > 0 else math.inf
    if not 1 / 256 <= exponent < 256:  # what the curve of a profile holds
        return ImpliedProfile(
            None, (*notes, f"the gamma {metadata.gamma:g} makes no sense: left out")
        )
    try:
        return ImpliedProfile(_profile(chromaticities, exponent, channels), tuple(notes))
    except ValueError:
        return ImpliedProfile(None, (*notes, "the chromaticities make no sense: left out"))


def _profile(chromaticities: Chromaticities, gamma: Curve, channels: int) -> bytes:
    if channels == 1:
        return gray_profile(chromaticities[:2], gamma)
    return matrix_profile(chromaticities, gamma)


def matrix_profile(
    chromaticities: Chromaticities, gamma: Curve = None, *, name: str = "RGB"
) -> bytes:
    """Return an ICC profile of RGB with these primaries.

    gamma: an exponent of 1/256 to below 256, kept to 1/256; None is the curve of sRGB
    (IEC 61966-2-1), "BT.709" that of ITU-R BT.709. name: description, ASCII.

    Raises ValueError for collinear primaries, or primaries that a profile cannot hold.
    """
    columns = _colorants(chromaticities)
    tags = {
        tag: _xyz(column)
        for tag, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns.T, strict=True)
    }
    curve = _curve(gamma)
    tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    return _assembled(b"RGB ", _white(chromaticities[:2]), name, tags)


def gray_profile(white: tuple[float, float], gamma: Curve = None, *, name: str = "Gray") -> bytes:
    """Return an ICC profile of gray; white: x and y; the rest as for `matrix_profile`."""
    return _assembled(b"GRAY", _white(white), name, {b"kTRC": _curve(gamma)})


def is_srgb(icc: bytes, channels: int) -> bool:
    """Return whether ``icc`` is sRGB: it changes no 8-bit color by more than one level."""
    ramp = np.arange(256, dtype=np.uint8)
    steps = ramp[::17]
    probe = (
        ramp[None, :, None]
        if channels == 1
        else np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    )
    converted = samples_to_srgb(probe, icc)
    return converted is not None and bool((np.abs(converted.astype(int) - probe) <= 1).all())


def samples_to_srgb(color: Samples, icc: bytes) -> npt.NDArray[np.uint8] | None:
    """Return samples converted by their profile to sRGB, of 8 bits; None if the profile is broken.

    color: (H, W, 1 or 3) of any sample type; all their bits count. Returns (H, W, 3). Relative
    colorimetric with black point compensation, as `to_srgb`.
    """
    if color.dtype == np.float32:
        color = convert_samples(color, np.uint16)
    if color.shape[2] == 1:
        table = _gray_table(icc, color.dtype)
        return None if table is None else table[color[:, :, 0]]
    if color.dtype == np.uint8:
        converted = to_srgb(Image.fromarray(color), icc)
        return None if converted is None else np.array(converted, np.uint8)
    result = np.empty(color.shape, np.uint8)
    rows = max(1, _STRIP_PIXELS // color.shape[1])
    for top in range(0, len(color), rows):
        part = slice(top, top + rows)
        wide = _transformed(color[part], icc, "rgb")
        if wide is None:
            return None
        result[part] = convert_samples(wide, np.uint8)
    return result


def _gray_table(icc: bytes, dtype: np.dtype[Any]) -> npt.NDArray[np.uint8] | None:
    """Return sRGB (N, 3) of each gray value of an integer type."""
    ramp = np.arange(int(np.iinfo(dtype).max) + 1, dtype=dtype)[None, :, None]
    wide = _transformed(convert_samples(ramp, np.uint16), icc, "gray")
    if wide is None:
        return None
    table = convert_samples(wide, np.uint8)[0]
    table[:] = table[:, 1:2]  # neutral to the last level
    return cast("npt.NDArray[np.uint8]", table)


def _transformed(color: Samples, icc: bytes, space: str) -> Samples | None:
    """Return 16-bit RGB of 16-bit samples (H, W, C) by lcms2; None for a broken profile.

    Without its optimization: a table of 33 points a side would be off by up to 15 of 255.
    """
    import imagecodecs
    from PIL import ImageCms  # loaded when needed

    try:
        found: npt.NDArray[np.uint16] = imagecodecs.cms_transform(
            np.ascontiguousarray(color[:, :, 0] if space == "gray" else color),
            icc,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
            colorspace=space,
            outcolorspace="rgb",
            outdtype="uint16",
            intent=int(ImageCms.Intent.RELATIVE_COLORIMETRIC),
            flags=int(ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOOPTIMIZE),
        )
    except (imagecodecs.CmsError, OSError, ValueError, TypeError):
        return None
    return found.reshape(*color.shape[:2], 3)


def _white(xy: tuple[float, ...]) -> npt.NDArray[np.float64]:
    x, y = xy
    if not (math.isfinite(x) and math.isfinite(y)) or y <= 0 or x < 0 or x + y > 1:
        raise ValueError("no white")
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _colorants(chromaticities: Chromaticities) -> npt.NDArray[np.float64]:
    """Return XYZ of red, green and blue in columns, for white Y = 1, adapted to D50."""
    white = _white(chromaticities[:2])
    points = np.array(chromaticities[2:]).reshape(3, 2)
    primaries = np.column_stack([points, 1 - points.sum(axis=1)]).T
    if not np.isfinite(primaries).all() or abs(np.linalg.det(primaries)) < 1e-4:
        raise ValueError("no triangle of primaries")
    matrix = primaries * np.linalg.solve(primaries, white)
    cones = _BRADFORD @ white
    if not (cones > 0).all():
        raise ValueError("no white")
    scale = np.diag(_BRADFORD @ _D50 / cones)
    adapted: npt.NDArray[np.float64] = np.linalg.solve(_BRADFORD, scale @ _BRADFORD) @ matrix
    if np.abs(adapted).max() >= 2:
        raise ValueError("no primaries")
    return adapted


def _xyz(values: npt.NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in values))


def _curve(gamma: Curve) -> bytes:
    if isinstance(gamma, float):
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma))
    sample = np.linspace(0, 1, _CURVE_POINTS)
    if gamma is None:
        light = np.where(sample <= 0.04045, sample / 12.92, ((sample + 0.055) / 1.055) ** 2.4)
    else:
        light = np.where(sample < 0.081, sample / 4.5, ((sample + 0.099) / 1.099) ** (1 / 0.45))
    points = np.rint(65535 * light).astype(">u2")
    return b"".join((b"curv\0\0\0\0", struct.pack(">I", _CURVE_POINTS), points.tobytes()))


def _assembled(
    space: bytes, white: npt.NDArray[np.float64], name: str, tags: dict[bytes, bytes]
) -> bytes:
    text = name.encode("ascii") + b"\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(4 + 4 + 2 + 1 + 67),
        b"cprt": b"text\0\0\0\0CC0\0",
        b"wtpt": _xyz(white),
        **tags,
    }
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    offsets: dict[bytes, int] = {}  # equal curves are stored once
    for tag, data in tags.items():
        if data not in offsets:
            offsets[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", tag, offsets[data], len(data))
    header = struct.pack(
        ">I4sI4s4s4s6H4s",
        *(start + len(body), bytes(4), 0x02400000, b"mntr", space, b"XYZ "),
        *(2000, 1, 1, 0, 0, 0, b"acsp"),
    )
    # Platform, flags, device and intent (perceptual) are 0; then the illuminant, D50.
    header = header.ljust(68, b"\0") + _xyz(_D50)[8:]
    return header.ljust(128, b"\0") + table + body
