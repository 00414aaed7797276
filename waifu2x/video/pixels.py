"""Frames of the library as planes of samples, and back."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from .layout import FACTORS, Subsampling, VideoLayout
from .planes import Plane, VideoFrame

if TYPE_CHECKING:
    import av

_ENDIAN: Final = "le" if sys.byteorder == "little" else "be"

#: Names of the planar formats whose planes are taken as they are.
_PLANAR: Final = re.compile(
    rf"(?P<kind>yuva?|gbra?p|gray)(?P<full>j)?(?P<grid>4\d\d)?p?(?P<depth>\d+)?({_ENDIAN})?"
)

#: Depths that planar formats have.
_DEPTHS: Final = (8, 9, 10, 12, 14, 16)


def format_name(
    subsampling: Subsampling, depth: int, *, alpha: bool = False, rgb: bool = False
) -> str:
    """The library's name of the planar format with these samples, which need not exist."""
    bits = "" if depth == 8 else f"{depth}{_ENDIAN}"
    if rgb:
        return f"gbr{'a' * alpha}p{bits}"
    if subsampling == "mono":
        return f"gray{bits}"
    return f"yuv{'a' * alpha}{subsampling}p{bits}"


def planar_name(layout: VideoLayout) -> str:
    """The library's name of the planar format of ``layout``."""
    return format_name(
        layout.subsampling, layout.depth, alpha=layout.alpha, rgb=layout.matrix == "rgb"
    )


def planar_format(av: Any, name: str) -> str:
    """The planar format that holds the samples of the format ``name`` without a loss.

    A format with planes is its own. Formats with interleaved samples, another byte order or a
    palette are converted by the library, which moves samples and does not change them.
    """
    found = _PLANAR.fullmatch(name)
    if found and not name.startswith("yuvj") and int(found["depth"] or 8) in _DEPTHS:
        return name
    if name.startswith("yuvj"):
        return name.replace("yuvj", "yuv")
    whole = av.VideoFormat(name, 64, 64)
    parts = whole.components
    depth = next(each for each in _DEPTHS if each >= max(part.bits for part in parts))
    alpha = any(part.is_alpha for part in parts)
    if whole.is_rgb or whole.has_palette or (alpha and len(parts) == 2):
        # Gray with alpha has no planar format; three equal channels have the same values.
        return format_name("444", 8 if whole.has_palette else depth, alpha=alpha, rgb=True)
    chroma = [part for part in parts if part.is_chroma]
    if not chroma:
        return format_name("mono", depth)
    factors = (64 // chroma[0].width, 64 // chroma[0].height)
    grids = {value: key for key, value in FACTORS.items()}
    return format_name(cast("Subsampling", grids[factors]), depth, alpha=alpha)


def sampling_of(name: str) -> tuple[Subsampling, int, bool, bool]:
    """Subsampling, depth, alpha and RGB of a planar format."""
    found = _PLANAR.fullmatch(name)
    assert found is not None, name
    kind = found["kind"]
    grid = "mono" if kind == "gray" else found["grid"] or "444"
    return (
        cast("Subsampling", grid),
        int(found["depth"] or 8),
        "a" in kind[3:],
        kind[0] == "g" and (kind != "gray"),
    )


def planes_of(frame: av.VideoFrame, name: str) -> tuple[Plane, ...]:
    """Copy the planes of ``frame``, whose planar format is ``name``, without padding."""
    if frame.format.name not in (name, name.replace("yuv", "yuvj")):
        frame = frame.reformat(format=name)
    _, depth, _, _ = sampling_of(name)
    dtype = np.dtype(np.uint8 if depth == 8 else np.uint16)
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), dtype).reshape(
            plane.height, plane.line_size // dtype.itemsize
        )
        planes.append(rows[:, : plane.width].copy())
    return tuple(planes)


def frame_of(av: Any, planes: tuple[Plane, ...], layout: VideoLayout, name: str) -> Any:
    """A frame of the library with the samples of ``planes``, in the planar format ``name``."""
    frame = av.VideoFrame(layout.width, layout.height, name)
    for source, plane in zip(planes, frame.planes, strict=True):
        rows = np.frombuffer(plane, source.dtype).reshape(
            plane.height, plane.line_size // source.dtype.itemsize
        )
        rows[:, : plane.width] = source
    return frame


def rotated(frame: VideoFrame, turns: int, flip: bool) -> VideoFrame:
    """Mirror planes of one size left to right, then rotate by quarter turns counterclockwise."""
    planes = []
    for plane in frame.planes:
        mirrored = plane[:, ::-1] if flip else plane
        planes.append(np.ascontiguousarray(np.rot90(mirrored, turns)))
    return VideoFrame(tuple(cast("list[Plane]", planes)), frame.pts)
