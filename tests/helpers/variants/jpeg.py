"""JPEG: subsamplings, color spaces, scans, depths, orientations and ends (ITU-T T.81, T.872)."""

from __future__ import annotations

import io
import itertools
import struct
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from . import Samples, Variant, Variants, smooth, split
from .tiff import upright

_SAMPLINGS = {"444": 0, "422": 1, "420": 2}


def picture(channels: int = 3) -> Samples:
    """A smooth picture of 39x27, an odd width for every sampling."""
    return np.kron(smooth(channels), np.ones((3, 3, 1))).astype(np.uint8)


def saved(mode: str = "RGB", **options: Any) -> bytes:
    """A JPEG by Pillow."""
    file = io.BytesIO()
    image = Image.fromarray(picture()).convert(mode)
    image.save(file, "JPEG", **{"quality": 92, **options})
    return file.getvalue()


def exif(value: int, *, order: str, kind: int) -> bytes:
    """An EXIF block of one orientation in a TIFF type: 1 to 4, 6, 8 and 9 are whole numbers."""
    code = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}[kind]
    body = struct.pack(order + code, value).ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(order + "HI", 42, 8)
    entry = struct.pack(order + "HHHI", 1, 0x112, kind, 1) + body + bytes(4)
    return b"Exif\0\0" + head + entry


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    """A JPEG with a segment behind SOI."""
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + data[2:]


def variants() -> Variants:
    """Every variant of JPEG; the exact pixels are those of other decoders."""

    def variant(name: str, data: bytes, **more: Any) -> Variant:
        return Variant(f"jpeg-{name}", "jpeg", data, None, lossy=True, **more)

    for (name, sampling), progressive in itertools.product(_SAMPLINGS.items(), (False, True)):
        data = saved(subsampling=sampling, progressive=progressive)
        yield variant(f"{name}{'-progressive' if progressive else ''}", data)
    for progressive in (False, True):
        tail = "-progressive" if progressive else ""
        yield variant(f"gray{tail}", saved("L", progressive=progressive))
        yield variant(f"cmyk{tail}", saved("CMYK", progressive=progressive))
    yield variant("rgb", saved(keep_rgb=True))
    yield variant("restarts", saved(restart_marker_blocks=2))
    yield variant("restart-rows", saved(restart_marker_rows=1, subsampling=2))
    yield variant("optimized", saved(optimize=True))
    yield variant("comment", saved(comment=b"drawn"))
    yield variant("low", saved(quality=3))
    inks = picture(4)
    data = bytes(imagecodecs.jpeg8_encode(inks, level=92, colorspace="CMYK", outcolorspace="YCCK"))
    yield variant("ycck", data)
    data = saved(subsampling=0)
    yield variant("no-eoi", data[:-2], unlike=("vips", "magick"))
    yield variant("half-eoi", data[:-1], unlike=("vips", "magick"))
    yield variant("trailing", data + bytes(100))
    yield variant("two", data + data)
    whole = np.asarray(Image.open(io.BytesIO(saved(subsampling=0))))
    for value, (order, kind) in itertools.product(
        (1, 3, 6, 8), itertools.product("<>", (1, 3, 4, 6, 8, 9))
    ):
        turned = with_segment(data, 0xE1, exif(value, order=order, kind=kind))
        mark = "ii" if order == "<" else "mm"
        name = f"jpeg-orientation-{value}-{mark}-type-{kind}"
        yield Variant(name, "jpeg", turned, upright(whole, value), lossy=True)
    for value in (2, 4, 5, 7):
        turned = with_segment(data, 0xE1, exif(value, order=">", kind=3))
        yield Variant(
            f"jpeg-orientation-{value}", "jpeg", turned, upright(whole, value), lossy=True
        )
    yield from _unusual()


def _unusual() -> Variants:
    deep = np.kron(smooth(3, 4095), np.ones((3, 3, 1))).astype(np.uint16)
    for name, samples in (("rgb", deep), ("gray", np.ascontiguousarray(deep[:, :, 0]))):
        data = bytes(imagecodecs.jpeg8_encode(samples, level=95, bitspersample=12))
        yield Variant(
            f"jpeg-12-bits-{name}", "jpeg", data, None, may_refuse=True, unlike=("vips", "magick"),
            lossy=True,
        )  # fmt: skip
    for bits in (8, 12, 16):
        samples = picture()[:, :, 0] if bits == 8 else deep[:, :, 0] << (bits - 12)
        samples = np.ascontiguousarray(samples)
        data = bytes(imagecodecs.ljpeg_encode(samples, bitspersample=bits))
        color, alpha = split(samples[:, :, None], 1)
        if bits == 12:
            color = None  # type: ignore[assignment]
        yield Variant(
            f"jpeg-lossless-{bits}", "jpeg", data, color, alpha, may_refuse=True,
            unlike=("magick",),
        )  # fmt: skip
