"""WebP, AVIF and JPEG XL."""

from __future__ import annotations

import io
import itertools
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from . import Samples, Variant, Variants, random_samples, scaled, smooth, split
from .jpeg import exif, picture
from .tiff import upright

_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"'
    b"/></rdf:RDF></x:xmpmeta>"
)


def variants() -> Variants:
    """Every variant of the modern formats."""
    yield from _webp()
    yield from _avif()
    yield from _jxl()


def _saved(samples: Samples, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(samples if samples.shape[2] > 1 else samples[:, :, 0])
    image.save(file, kind, **options)
    return file.getvalue()


def _webp() -> Variants:
    for channels in (3, 4):
        samples = random_samples(channels, 8)
        color, alpha = split(samples, 3)
        data = _saved(samples, "WEBP", lossless=True, exact=True)
        yield Variant(f"webp-lossless-{channels}", "webp", data, color, alpha)
        few = samples // 128 * 128
        data = _saved(few, "WEBP", lossless=True, exact=True)
        yield Variant(f"webp-palette-{channels}", "webp", data, *split(few, 3))
        data = _saved(picture(channels), "WEBP", quality=90)
        yield Variant(f"webp-lossy-{channels}", "webp", data, None, lossy=True)
    samples = random_samples(3, 8)
    for value in range(1, 9):
        data = _saved(samples, "WEBP", lossless=True, exif=exif(value, order="<", kind=3)[6:])
        yield Variant(f"webp-orientation-{value}", "webp", data, upright(samples, value))
    data = _saved(samples, "WEBP", lossless=True, xmp=_XMP)
    yield Variant("webp-xmp-orientation", "webp", data, samples)


def _avif() -> Variants:
    for sampling, full in itertools.product(("4:4:4", "4:2:2", "4:2:0", "4:0:0"), (True, False)):
        options = {"quality": 95, "speed": 9, "subsampling": sampling}
        options["range"] = "full" if full else "limited"
        data = _saved(picture(), "AVIF", **options)
        name = sampling.replace(":", "")
        yield Variant(
            f"avif-8-{name}-{'full' if full else 'limited'}", "avif", data, None, lossy=True
        )
    for channels in (1, 3, 4):
        data = _saved(picture(channels), "AVIF", quality=95, speed=9, subsampling="4:4:4")
        yield Variant(f"avif-8-{channels}-channels", "avif", data, None, lossy=True)
    for bits, channels in itertools.product((10, 12), (1, 3, 4)):
        samples = np.kron(smooth(channels, 2**bits - 1), np.ones((3, 3, 1))).astype(np.uint16)
        stored = samples if channels > 1 else samples[:, :, 0]
        data = bytes(imagecodecs.avif_encode(stored, level=98, bitspersample=bits, speed=9))
        yield Variant(f"avif-{bits}-{channels}-channels", "avif", data, None, lossy=True)
    whole = picture()
    for value in range(1, 9):
        # Pillow writes the orientation as rotation and mirroring.
        options = {"quality": 100, "speed": 9, "subsampling": "4:4:4"}
        data = _saved(whole, "AVIF", exif=exif(value, order="<", kind=3)[6:], **options)
        yield Variant(
            f"avif-orientation-{value}", "avif", data, upright(whole, value), None, 4.0, lossy=True
        )
    data = _saved(whole, "AVIF", quality=100, speed=9, subsampling="4:4:4", xmp=_XMP)
    yield Variant("avif-xmp-orientation", "avif", data, whole, None, 4.0, lossy=True)


def _jxl() -> Variants:
    for (name, channels), bits in itertools.product(
        (("gray", 1), ("gray-alpha", 2), ("rgb", 3), ("rgba", 4)), (8, 10, 12, 16)
    ):
        samples = random_samples(channels, bits)
        stored = samples if channels > 1 else samples[:, :, 0]
        data = bytes(imagecodecs.jpegxl_encode(stored, lossless=True, bitspersample=bits))
        color, alpha = split(scaled(samples, bits), 3 if channels > 2 else 1)
        tolerance = 1 / 257 if bits in (10, 12) else 0.0
        yield Variant(f"jxl-{name}-{bits}", "jxl", data, color, alpha, tolerance)
    for name, channels in (("gray", 1), ("rgb", 3), ("rgba", 4)):
        floats = (random_samples(channels, 8) / 255).astype(np.float32)
        stored = floats if channels > 1 else floats[:, :, 0]
        data = bytes(imagecodecs.jpegxl_encode(stored, lossless=True))
        yield Variant(f"jxl-{name}-float", "jxl", data, *split(floats, 3 if channels > 2 else 1))
    data = bytes(imagecodecs.jpegxl_encode(picture(), level=95))
    yield Variant("jxl-lossy", "jxl", data, None, lossy=True)
