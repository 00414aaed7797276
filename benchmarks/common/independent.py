"""Decoders of pictures that share no code with ours, for comparisons of pixels.

`DECODERS` lists them for each format of `waifu2x.codec.formats`, the best first. Each decodes in
the depth of the file, upright, without a conversion of colors: CMYK and LAB stay as they are, and
`waifu2x` converts them (`benchmarks.common.agreement`).

| decoder | what reads the file |
|---|---|
| vips | libvips with libspng, libjpeg-turbo, libwebp, libheif, nsgif, libtiff (pyvips-binary) |
| magick | ImageMagick, the command `magick` or `convert`, with its own readers or C libraries |
| imagecodecs | the C library of each format, called directly |
| tifffile | a reader of TIFF in Python |
| psd-tools | a reader of PSD in Python |

Ours are Pillow for most formats, imagecodecs for more than 8 bits and tifffile for TIFF of more
than 8 bits, so an entry is left out if both would run the same code.
"""

from __future__ import annotations

import io
import logging
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Samples = npt.NDArray[Any]

#: The most frames of an animation that are decoded.
MOST_FRAMES = 24


class RefusedError(Exception):
    """The decoder does not read this file."""


class MissingError(Exception):
    """The decoder is not installed."""


@dataclass(frozen=True)
class Reference:
    """What an independent decoder read.

    color: (H, W, C) unsigned integers or floats. white: the sample that means 1.0.
    space: "gray" (C = 1), "rgb" (C = 3), "cmyk" (C = 4; ``white`` is full ink) or "lab" (C = 3;
        L of 0 to 100, a and b around 0; white D50).
    alpha: (H, W), as samples of the same range, or None.
    premultiplied: whether color is multiplied by alpha.
    icc: the profile of a CMYK file.
    """

    color: Samples
    white: float
    space: str
    alpha: Samples | None = None
    premultiplied: bool = False
    icc: bytes | None = None


Decoder = Callable[[bytes, str], list[Reference]]


# --- libvips


def by_vips(data: bytes, kind: str) -> list[Reference]:
    """Decode by libvips; all frames of an animation, composited."""
    try:
        import pyvips
    except (ImportError, OSError) as error:
        raise MissingError("vips") from error
    loader = {
        "png": "pngload", "jpeg": "jpegload", "webp": "webpload", "avif": "heifload",
        "gif": "gifload", "tiff": "tiffload",
    }[kind]  # fmt: skip
    options: dict[str, Any] = {"fail_on": "truncated"}
    if kind in ("gif", "webp"):
        options["n"] = -1
    try:
        image = pyvips.Operation.call(f"{loader}_buffer", data, **options)
        frames = 1
        if kind in ("gif", "webp") and image.get_typeof("n-pages") and image.get("n-pages") > 1:
            frames = image.get("n-pages")
        height = image.height // frames
        if frames > MOST_FRAMES:
            frames = MOST_FRAMES
            image = image.crop(0, 0, image.width, frames * height)
        if frames == 1:
            image = image.autorot()
            height = image.height
        icc = image.get("icc-profile-data") if image.get_typeof("icc-profile-data") else None
        if image.coding != "none":
            raise RefusedError(f"coding {image.coding}")
        pixels = image.numpy()
    except pyvips.Error as error:
        raise RefusedError(" ".join(str(error).split())) from error
    pixels = pixels.reshape(image.height, image.width, -1)
    whole = _of_vips(pixels, image.interpretation, icc)
    return [
        replace(
            whole,
            color=whole.color[top : top + height],
            alpha=None if whole.alpha is None else whole.alpha[top : top + height],
        )
        for top in range(0, frames * height, height)
    ]


def _of_vips(pixels: Samples, interpretation: str, icc: bytes | None) -> Reference:
    bands = pixels.shape[2]
    if pixels.dtype.kind == "i" and interpretation not in ("lab", "labs"):
        raise RefusedError("signed samples")
    white = float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind == "u" else 1.0
    if interpretation == "cmyk" and bands >= 4:
        alpha = pixels[:, :, 4] if bands > 4 else None
        return Reference(pixels[:, :, :4], white, "cmyk", alpha, icc=icc)
    if interpretation in ("lab", "labs") and bands >= 3:
        color = pixels[:, :, :3].astype(np.float64)
        if interpretation == "labs":
            color = color / (327.67, 256.0, 256.0)
        alpha = pixels[:, :, 3] if bands > 3 else None
        return Reference(color, white, "lab", alpha)
    colors = 3 if bands >= 3 else 1
    alpha = pixels[:, :, colors] if bands > colors else None
    return Reference(pixels[:, :, :colors], white, "rgb" if colors == 3 else "gray", alpha)


# --- ImageMagick


@cache
def magick_command() -> tuple[str, ...]:
    """The command of ImageMagick 7 or 6; empty if neither is installed."""
    for name in ("magick", "convert"):
        found = shutil.which(name)
        if found:
            told = subprocess.run([found, "-version"], capture_output=True, check=False).stdout
            if b"ImageMagick" in told:
                return (found,)
    return ()


_MAGICK_NAMES = {
    "png": "png", "jpeg": "jpeg", "webp": "webp", "gif": "gif", "tiff": "tiff", "bmp": "bmp",
    "dib": "dib", "ppm": "pnm", "psd": "psd", "ico": "ico", "pcx": "pcx", "dds": "dds",
    "tga": "tga", "qoi": "qoi", "jxl": "jxl",
}  # fmt: skip

_BROKEN = re.compile(
    r"unexpected end-of-file|premature end|corrupt image|insufficient", re.IGNORECASE
)


def by_magick(data: bytes, kind: str) -> list[Reference]:
    """Decode by ImageMagick, to 16 bits; all frames of a GIF, else the largest picture."""
    name = _MAGICK_NAMES.get(kind, "")
    if kind == "jpeg2000":
        name = "jp2" if data[4:8] == b"jP  " else "j2k"
    if kind == "ico" and data[2:3] == b"\x02":
        name = "cur"
    source = {
        "ico": [f"{name}:-"],
        "gif": [f"gif:-[0-{MOST_FRAMES - 1}]", "-coalesce"],
    }.get(kind, [f"{name}:-[0]"])
    options = [*source, "-auto-orient", "-depth", "16"]
    output, errors = _magick(data, *options, "pam:-")
    if "no decode delegate" in errors:
        raise MissingError(f"magick has no {name}")
    if not output.startswith(b"P7") or _BROKEN.search(errors):
        raise RefusedError(errors[:200] or "no output")
    found = list(_pam(output))
    if kind == "ico":
        return [max(found, key=lambda one: one.color.size)]
    if found[0].space == "cmyk":
        icc = _magick(data, source[0], "icc:-")[0] or None
        return [replace(found[0], icc=icc)]
    if kind in ("psd", "tiff") and found[0].space == "rgb":
        space = _magick(data, source[0], "-format", "%[colorspace]", "info:-")[0]
        if space == b"Lab":
            lab = (found[0].color / 65535.0 - (0, 0.5, 0.5)) * (100, 255, 255)
            return [replace(found[0], color=lab, white=1.0, space="lab")]
    return found


def _magick(data: bytes, *arguments: str) -> tuple[bytes, str]:
    command = magick_command()
    if not command:
        raise MissingError("magick")
    done = subprocess.run(
        [*command, *arguments], input=data, capture_output=True, check=False, timeout=60
    )
    errors = done.stderr.decode("utf-8", "replace").strip()
    return done.stdout, errors


_PAM = re.compile(
    rb"P7\n(?:#[^\n]*\n)*WIDTH (\d+)\nHEIGHT (\d+)\nDEPTH (\d+)\nMAXVAL (\d+)\n"
    rb"TUPLTYPE (\w+)\nENDHDR\n"
)


def _pam(data: bytes) -> list[Reference]:
    """Read pictures in the Portable Arbitrary Map format, one after the other: pam(5)."""
    found = []
    at = 0
    while match := _PAM.match(data, at):
        width, height, depth, white = (int(number) for number in match.groups()[:4])
        dtype = np.dtype(">u2" if white > 255 else "u1")
        size = width * height * depth * dtype.itemsize
        pixels = np.frombuffer(data[match.end() : match.end() + size], dtype)
        pixels = pixels.reshape(height, width, depth).astype(np.uint16)
        alpha = pixels[:, :, -1] if match[5].endswith(b"_ALPHA") else None
        color = pixels if alpha is None else pixels[:, :, :-1]
        space = {1: "gray", 3: "rgb", 4: "cmyk"}[color.shape[2]]
        found.append(Reference(color, float(white), space, alpha))
        at = match.end() + size
    return found


# --- imagecodecs


def by_imagecodecs(data: bytes, kind: str) -> list[Reference]:
    """Decode by the codec of imagecodecs for this format; all frames of an APNG, composited."""
    import imagecodecs

    codec = {"jpeg": "jpeg8", "jpeg2000": "jpeg2k", "jxl": "jpegxl"}.get(kind, kind)
    options: dict[str, Any] = {"index": 0, "numthreads": 1} if kind in ("avif", "jxl") else {}
    control, pixel_data = data.find(b"fcTL"), data.find(b"IDAT")
    animated = kind == "png" and b"acTL" in data[: max(pixel_data, 0)] and control > 0
    if animated:
        codec = "apng"
    try:
        pixels = np.asarray(getattr(imagecodecs, f"{codec}_decode")(data, **options))
    except Exception as error:
        raise RefusedError(f"{type(error).__name__}: {error}") from error
    if animated:
        gray = pixels.ndim == 3 and pixels.shape[2] > 4
        frames = pixels if pixels.ndim == 4 or gray else pixels[None]
        if control > pixel_data and len(frames) > 1:
            frames = frames[1:]  # the default image is not part of the animation
        return [_of_array(frame) for frame in frames[:MOST_FRAMES]]
    if kind in ("avif", "jxl", "jpeg2000") and pixels.dtype != np.uint8:
        raise MissingError("not independent: the same codec decodes ours beyond 8 bits")
    if kind == "jpeg" and pixels.ndim == 3 and pixels.shape[2] == 4:
        raise RefusedError("CMYK")
    if kind == "dds" and pixels.ndim == 3 and pixels.shape[2] == 2:
        # Two channels of a normal map: red and green.
        pixels = np.dstack([pixels, np.zeros_like(pixels[:, :, 0])])
    if kind in ("jpeg", "webp", "png"):
        pixels = upright(pixels, _exif_orientation(data))
    reference = _of_array(pixels)
    if kind == "jpeg" and pixels.dtype != np.uint8:
        reference = replace(reference, white=float(2 ** _jpeg_bits(data) - 1))
    if kind == "jpeg2000":
        at = data.find(b"\xff\x4f\xff\x51")
        reference = replace(reference, white=float(2 ** ((data[at + 42] & 127) + 1) - 1))
    return [reference]


def _of_array(pixels: Samples) -> Reference:
    """Return (H, W) or (H, W, 1..4) samples over their whole range as a reference."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4:
        raise RefusedError(f"shape {pixels.shape}")
    white = float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind == "u" else 1.0
    colors = 3 if pixels.shape[2] >= 3 else 1
    alpha = pixels[:, :, -1] if pixels.shape[2] > colors else None
    space = "rgb" if colors == 3 else "gray"
    return Reference(pixels[:, :, :colors], white, space, alpha)


def _jpeg_bits(data: bytes) -> int:
    """Return the bits of a sample in the first frame header; 16 without any."""
    at = 2
    while at + 5 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return data[at + 4]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 16


def _exif_orientation(data: bytes) -> int:
    try:
        with Image.open(io.BytesIO(data)) as image:
            tags = Image.Exif()
            tags.load(image.info.get("exif", b""))  # without XMP
            return int(tags.get(0x0112, 1))
    except Exception:
        return 1


# --- tifffile


def by_tifffile(data: bytes, kind: str) -> list[Reference]:
    """Decode the first page of a TIFF by tifffile."""
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    try:
        with tifffile.TiffFile(io.BytesIO(data), is_ome=False) as file:
            page = file.pages.first
            stored = page.asarray(squeeze=False, maxworkers=1)
            return [_of_tifffile(page, stored)]
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(f"{type(error).__name__}: {error}") from error


def _of_tifffile(page: Any, stored: Samples) -> Reference:
    separate, depth, height, width, contiguous = stored.shape
    if depth != 1:
        raise RefusedError("volume")
    pixels = stored.reshape(separate, height, width, contiguous)
    pixels = pixels[0] if separate == 1 else pixels[..., 0].transpose(1, 2, 0)
    photometric = int(page.photometric)
    bits = page.bitspersample
    extra = tuple(int(value) for value in page.extrasamples)
    if stored.dtype.kind == "i":
        raise RefusedError("signed samples")
    if stored.dtype.kind == "f":
        white = 1.0
    elif stored.dtype.kind == "b":
        pixels, white = pixels.astype(np.uint8), 1.0
    else:
        white = float(2 ** int(bits) - 1)
    orientation = int(page.tags.valueof("Orientation", 1)) if "Orientation" in page.tags else 1
    pixels = upright(pixels, orientation)
    if photometric == 3:
        colormap = np.asarray(page.colormap).T
        if colormap.max(initial=0) < 256:
            colormap = colormap * 257
        return Reference(colormap[pixels[:, :, 0]], 65535.0, "rgb")
    colors = {0: 1, 1: 1, 2: 3, 5: 4, 8: 3}.get(photometric)
    if photometric == 6 and int(page.compression) in (7, 34892):
        colors = 3  # decoded to RGB with the strips
    if colors is None or pixels.shape[2] < colors:
        raise RefusedError(f"photometric {photometric}")
    color = pixels[:, :, :colors]
    alpha, premultiplied = None, False
    labeled = [n for n, label in enumerate(extra) if label in (1, 2)]
    if pixels.shape[2] > colors and (labeled or not extra):
        at = labeled[0] if labeled else 0
        alpha = pixels[:, :, colors + at]
        premultiplied = bool(labeled and extra[at] == 1)
    if photometric == 0:
        color = (white - color.astype(np.float64)).astype(color.dtype)
    if photometric == 8:
        lab = color.astype(np.float64)
        signed = np.where(lab[:, :, 1:] > white / 2, lab[:, :, 1:] - white - 1, lab[:, :, 1:])
        if white > 255:
            signed = signed / 256
        lab = np.dstack([lab[:, :, :1] * (100 / white), signed])
        return Reference(lab, white, "lab", alpha, premultiplied)
    space = {1: "gray", 3: "rgb", 4: "cmyk"}[colors]
    if white == 1.0 and stored.dtype.kind == "b" and colors == 1:
        color, white = color * np.uint8(255), 255.0
    icc = page.tags.valueof("InterColorProfile") if space == "cmyk" else None
    return Reference(color, white, space, alpha, premultiplied, icc)


def upright(pixels: Samples, orientation: int) -> Samples:
    """Return pixels stored in an EXIF orientation as a viewer shows them."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    flip_x, flip_y = {
        2: (True, False), 3: (True, True), 4: (False, True),
        6: (True, False), 7: (True, True), 8: (False, True),
    }.get(orientation, (False, False))  # fmt: skip
    return pixels[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


# --- psd-tools


def by_psd_tools(data: bytes, kind: str) -> list[Reference]:
    """Decode the merged picture of a PSD by psd-tools, which removes the white behind it."""
    try:
        from psd_tools import PSDImage
    except ImportError as error:
        raise MissingError("psd-tools") from error
    try:
        document = PSDImage.open(io.BytesIO(data))
        if not document.has_preview():
            raise RefusedError("no merged picture")
        image = document.topil(apply_icc=False)
        if image.mode in ("1", "P"):
            image = image.convert("L" if image.mode == "1" else "RGB")
        elif document.depth != 8 or image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK", "LAB"):
            raise RefusedError(f"mode {image.mode} of {document.depth} bits")
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(f"{type(error).__name__}: {error}") from error
    pixels = np.asarray(image)
    if image.mode == "LAB":
        # Pillow returns a and b as signed bytes.
        lab = np.dstack([pixels[:, :, :1] * (100 / 255), pixels[:, :, 1:].view(np.int8)])
        return [Reference(lab, 1.0, "lab")]
    if image.mode == "CMYK":
        return [Reference(pixels, 255.0, "cmyk", icc=image.info.get("icc_profile"))]
    return [_of_array(pixels)]


#: Decoders for each format, by the names in reports.
DECODERS: Mapping[str, Mapping[str, Decoder]] = {
    "png": {"vips": by_vips, "imagecodecs": by_imagecodecs, "magick": by_magick},
    "jpeg": {"vips": by_vips, "imagecodecs": by_imagecodecs, "magick": by_magick},
    "webp": {"vips": by_vips, "imagecodecs": by_imagecodecs, "magick": by_magick},
    "avif": {"vips": by_vips, "imagecodecs": by_imagecodecs},
    "gif": {"vips": by_vips, "magick": by_magick},
    "tiff": {"vips": by_vips, "tifffile": by_tifffile, "magick": by_magick},
    "jxl": {"imagecodecs": by_imagecodecs, "magick": by_magick},
    "jpeg2000": {"magick": by_magick, "imagecodecs": by_imagecodecs},
    "qoi": {"imagecodecs": by_imagecodecs, "magick": by_magick},
    "bmp": {"magick": by_magick, "imagecodecs": by_imagecodecs},
    "dds": {"imagecodecs": by_imagecodecs, "magick": by_magick},
    "psd": {"psd-tools": by_psd_tools, "magick": by_magick},
    **{key: {"magick": by_magick} for key in ("ppm", "ico", "pcx", "dib", "tga")},
}
