"""The round-trip tables of tests and docs: what each output format keeps of each input.

tests/files/test_round_trip.py checks the cells, and docs/make_table.py copies them unchanged into
docs/formats.md. The input files are drawn and written here, if possible by libraries other than the
tested ones.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageCms

from helpers import animations, art
from helpers.profiles import cmyk_profile
from waifu2x.codec import color as color

Array = npt.NDArray[Any]

BEGIN = "<!-- round trip table -->"
END = "<!-- end of the round trip table -->"

WIDTH, HEIGHT = 16, 12


@dataclass(frozen=True)
class Output:
    """A column: a format and its quality.

    near: the allowed mean error of samples, in levels of 255; 0 is lossless.
    """

    label: str
    format: str
    quality: int | None = None
    near: int = 0


OUTPUTS = {
    "png": Output("PNG", "png"),
    "jpeg": Output("JPEG", "jpeg", near=3),
    "webp": Output("WebP", "webp"),
    "webp-lossy": Output("WebP, lossy", "webp", 90, near=6),
    "avif": Output("AVIF", "avif", near=3),
    "tiff": Output("TIFF", "tiff"),
    "bmp": Output("BMP", "bmp"),
    "jxl": Output("JPEG XL", "jxl"),
}

Row = tuple[str, ...]

# --- pixels -----------------------------------------------------------------------------------

#: Pixels of an input, and their form in each of `OUTPUTS`: channels, bits, other changes.
#: "noted": `FileResult.notes` reports the change.
PIXELS: dict[str, Row] = {
    "gray 8": (
        *("gray 8", "gray 8", "RGB 8", "RGB 8"),
        *("gray 8", "gray 8", "gray 8", "gray 8"),
    ),
    "gray 16": (
        *("gray 16", "gray 8, noted", "RGB 8, noted", "RGB 8, noted"),
        *("gray 8, noted", "gray 16", "gray 8, noted", "gray 8, noted"),
    ),
    "gray float": (
        *("gray 16, noted", "gray 8, noted", "RGB 8, noted", "RGB 8, noted"),
        *("gray 8, noted", "gray float", "gray 8, noted", "gray 8, noted"),
    ),
    "gray+alpha 8": (
        *("gray+alpha 8", "gray 8, on white, noted", "RGBA 8", "RGBA 8"),
        *("RGBA 8", "gray+alpha 8", "gray 8, on white, noted", "gray+alpha 8"),
    ),
    "gray+alpha 16": (
        *("gray+alpha 16", "gray 8, on white, noted", "RGBA 8, noted", "RGBA 8, noted"),
        *("RGBA 8, noted", "gray+alpha 16", "gray 8, on white, noted", "gray+alpha 8, noted"),
    ),
    "RGB 8": ("RGB 8",) * 8,
    "RGB 16": (
        *("RGB 16", "RGB 8, noted", "RGB 8, noted", "RGB 8, noted"),
        *("RGB 8, noted", "RGB 16", "RGB 8, noted", "RGB 8, noted"),
    ),
    "RGB float": (
        *("RGB 16, noted", "RGB 8, noted", "RGB 8, noted", "RGB 8, noted"),
        *("RGB 8, noted", "RGB float", "RGB 8, noted", "RGB 8, noted"),
    ),
    "RGBA 8": (
        *("RGBA 8", "RGB 8, on white, noted", "RGBA 8", "RGBA 8"),
        *("RGBA 8", "RGBA 8", "RGB 8, on white, noted", "RGBA 8"),
    ),
    "RGBA 16": (
        *("RGBA 16", "RGB 8, on white, noted", "RGBA 8, noted", "RGBA 8, noted"),
        *("RGBA 8, noted", "RGBA 16", "RGB 8, on white, noted", "RGBA 8, noted"),
    ),
    "RGBA float": (
        *("RGBA 16, noted", "RGB 8, on white, noted", "RGBA 8, noted", "RGBA 8, noted"),
        *("RGBA 8, noted", "RGBA float", "RGB 8, on white, noted", "RGBA 8, noted"),
    ),
}

CHANNELS = {"gray": 1, "gray+alpha": 2, "RGB": 3, "RGBA": 4}
DTYPES = {"8": np.uint8, "16": np.uint16, "float": np.float32}


class Written(NamedTuple):
    """A file and the expected pixels (H, W, C)."""

    data: bytes
    pixels: Array


@dataclass(frozen=True)
class Kind:
    """A kind of input file. read_as: the row of `PIXELS`."""

    label: str
    read_as: str
    write: Callable[[], Written]


def samples(name: str) -> Array:
    """Ramps (H, W, C) for a row of `PIXELS`; alpha includes opaque, half and transparent areas."""
    layout, bits = name.rsplit(" ", 1)
    u = np.broadcast_to(np.linspace(0, 1, WIDTH), (HEIGHT, WIDTH))
    v = np.broadcast_to(np.linspace(0, 1, HEIGHT)[:, None], (HEIGHT, WIDTH))
    planes = [(u + v) / 2] if layout.startswith("gray") else [u, v, 1 - (u + v) / 2]
    if layout in ("gray+alpha", "RGBA"):
        planes.append(np.clip(1.25 - 1.5 * u, 0, 1))
    values = np.dstack(planes)
    if bits == "float":
        return values.astype(np.float32)
    return np.floor(values * np.iinfo(DTYPES[bits]).max + 0.5).astype(DTYPES[bits])


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    """A file written by Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def image_of(pixels: Array) -> Image.Image:
    """8-bit samples (H, W, C) as an image."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def opened(data: bytes) -> Array:
    """The pixels (H, W, C) as Pillow reads them."""
    with Image.open(io.BytesIO(data)) as image:
        return np.atleast_3d(np.asarray(image))


def _png(name: str) -> Written:
    pixels = samples(name)
    return Written(imagecodecs.png_encode(np.squeeze(pixels)), pixels)


def _tiff(name: str) -> Written:
    pixels = samples(name)
    options: dict[str, Any] = {"extrasamples": ["unassalpha"]} if pixels.shape[2] in (2, 4) else {}
    photometric = "minisblack" if pixels.shape[2] < 3 else "rgb"
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        np.squeeze(pixels),
        photometric=photometric,
        metadata=None,
        software=False,
        **options,
    )
    return Written(buffer.getvalue(), pixels)


def _by_pillow(name: str, format: str, **options: Any) -> Written:
    data = saved(image_of(samples(name)), format, **options)
    return Written(data, opened(data))


def _jxl(name: str) -> Written:
    pixels = samples(name)
    return Written(imagecodecs.jpegxl_encode(np.squeeze(pixels), lossless=True), pixels)


def linear_jxl() -> Written:
    """A JPEG XL file of 16-bit RGBA, which imagecodecs labels as linear light."""
    return _jxl("RGBA 16")


def _one_bit() -> Written:
    image = art.checker(WIDTH, HEIGHT, 3).convert("1")
    return Written(saved(image, "PNG"), np.asarray(image)[:, :, None] * np.uint8(255))


def _palette(transparency: bytes | None) -> Written:
    image = image_of(samples("RGB 8")).quantize(32)
    options = {} if transparency is None else {"transparency": transparency}
    colors = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
    indices = np.asarray(image)
    pixels = colors[indices]
    if transparency is not None:
        alphas = np.full(256, 255, np.uint8)
        alphas[: len(transparency)] = np.frombuffer(transparency, np.uint8)
        pixels = np.dstack([pixels, alphas[indices]])
    return Written(saved(image, "PNG", **options), pixels)


def _key() -> Written:
    pixels = samples("RGB 8")
    pixels[2:6, 3:9] = 200, 30, 40
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[2:6, 3:9] = 0
    data = saved(image_of(pixels), "PNG", transparency=(200, 30, 40))
    return Written(data, np.dstack([pixels, alpha]))


def _cmyk(format: str, icc: bytes | None = None) -> Written:
    inks = samples("RGBA 8")
    inks[:, :, 3] //= 3
    image = Image.fromarray(inks, "CMYK")
    data = saved(image, format, **({} if icc is None else {"icc_profile": icc}), quality=100)
    if icc is not None:
        # This profile maps any mix of inks to L* 50.2, which is 120 in sRGB.
        return Written(data, np.full((HEIGHT, WIDTH, 3), 120, np.uint8))
    c, m, y, k = np.moveaxis(opened(data) / 255, 2, 0)
    light = np.dstack([(1 - c) * (1 - k), (1 - m) * (1 - k), (1 - y) * (1 - k)])
    return Written(data, np.floor(light * 255 + 0.5).astype(np.uint8))


_AVIF = {"quality": 100, "subsampling": "4:4:4"}

KINDS: dict[str, Kind] = {
    "png-1": Kind("PNG, 1-bit gray", "gray 8", _one_bit),
    **{
        f"png-{name.replace(' ', '-')}": Kind(f"PNG, {name}", name, partial(_png, name))
        for name in PIXELS
        if not name.endswith("float")
    },
    "png-palette": Kind("PNG, palette", "RGB 8", partial(_palette, None)),
    "png-palette-alpha": Kind(
        "PNG, palette with transparency", "RGBA 8", partial(_palette, bytes([0, 128, 255, 60]))
    ),
    "png-key": Kind("PNG, transparent color (tRNS)", "RGBA 8", _key),
    **{
        f"tiff-{name.replace(' ', '-')}": Kind(f"TIFF, {name}", name, partial(_tiff, name))
        for name in PIXELS
    },
    "tiff-CMYK": Kind("TIFF, CMYK", "RGB 8", partial(_cmyk, "TIFF")),
    "jpeg-gray": Kind("JPEG, gray", "gray 8", partial(_by_pillow, "gray 8", "JPEG")),
    "jpeg-RGB": Kind("JPEG, RGB", "RGB 8", partial(_by_pillow, "RGB 8", "JPEG")),
    "jpeg-CMYK": Kind("JPEG, CMYK", "RGB 8", partial(_cmyk, "JPEG")),
    "jpeg-CMYK-icc": Kind(
        "JPEG, CMYK with a profile", "RGB 8", partial(_cmyk, "JPEG", cmyk_profile())
    ),
    "webp": Kind("WebP, lossy", "RGB 8", partial(_by_pillow, "RGB 8", "WEBP", quality=90)),
    "webp-alpha": Kind(
        "WebP, lossless with alpha",
        "RGBA 8",
        partial(_by_pillow, "RGBA 8", "WEBP", lossless=True, exact=True),
    ),
    "avif": Kind("AVIF", "RGB 8", partial(_by_pillow, "RGB 8", "AVIF", **_AVIF)),
    "avif-alpha": Kind("AVIF with alpha", "RGBA 8", partial(_by_pillow, "RGBA 8", "AVIF", **_AVIF)),
    "bmp": Kind("BMP", "RGB 8", partial(_by_pillow, "RGB 8", "BMP")),
    "jxl": Kind("JPEG XL", "RGB 8", partial(_jxl, "RGB 8")),
    "jxl-RGBA": Kind("JPEG XL, RGBA", "RGBA 8", partial(_jxl, "RGBA 8")),
}

# --- metadata ---------------------------------------------------------------------------------

#: Metadata of a picture, and their form in each of `OUTPUTS`.
METADATA: dict[str, Row] = {
    "ICC profile": (
        *("kept", "kept", "kept", "kept", "kept", "kept"),
        *("to sRGB, noted", "to sRGB, noted"),
    ),
    "ICC profile of gray": (
        *("kept", "kept", "to sRGB, noted", "to sRGB, noted", "kept", "kept"),
        *("to sRGB, noted", "to sRGB, noted"),
    ),
    "ICC profile of sRGB": (
        *("kept", "kept", "kept", "kept", "kept", "kept", "not needed", "not needed"),
    ),
    "gAMA": (
        *("kept", "as ICC", "as ICC", "as ICC", "as ICC", "as ICC"),
        *("to sRGB, noted", "to sRGB, noted"),
    ),
    "gAMA of gray": (
        *("kept", "as ICC", "to sRGB, noted", "to sRGB, noted", "as ICC", "as ICC"),
        *("to sRGB, noted", "to sRGB, noted"),
    ),
    "gAMA and cHRM": (
        *("kept", "as ICC", "as ICC", "as ICC", "as ICC", "as ICC"),
        *("to sRGB, noted", "to sRGB, noted"),
    ),
    "gAMA of sRGB": ("kept", *["not needed"] * 7),
    "cICP, BT.2020": (
        *("kept", "as ICC", "as ICC", "as ICC", "as nclx", "as ICC"),
        *("to sRGB, noted", "to sRGB, noted"),
    ),
    "cICP, PQ (HDR)": (*("kept", *["left out, noted"] * 3, "as nclx", *["left out, noted"] * 3),),
    "nclx of AVIF, BT.2020": (
        *("as cICP", "as ICC", "as ICC", "as ICC", "kept", "as ICC"),
        *("to sRGB, noted", "to sRGB, noted"),
    ),
    "nclx of AVIF, HLG (HDR)": (
        *("as cICP", *["left out, noted"] * 3, "kept", *["left out, noted"] * 3),
    ),
    "XMP": (*["kept"] * 6, "left out, noted", "kept"),
    "EXIF": (*["kept"] * 6, "left out, noted", "kept"),
    "resolution (DPI)": (
        *("kept", "kept", "left out", "left out", "left out", "kept", "kept", "left out"),
    ),
    "texts of PNG": ("kept", *["left out, noted"] * 7),
    "comments of JPEG": ("kept", "kept", *["left out, noted"] * 6),
    "IPTC of JPEG": (
        "left out, noted",
        "kept",
        *["left out, noted"] * 3,
        "kept",
        *["left out, noted"] * 2,
    ),
    "gain map of JPEG (HDR)": ("left out, noted",) * 8,
}

PROPHOTO = color.matrix_profile(
    (0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001), 1.8
)
SRGB = color.matrix_profile(color.SRGB)
LINEAR = color.matrix_profile(color.SRGB, 1.0)
GRAY_LINEAR = color.gray_profile(color.SRGB[:2], 1.0)
ADOBE_PLACES = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
BT2020_PLACES = (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    b'dc:source="drawn"/></rdf:RDF></x:xmpmeta>'
)
TEXTS = (("Title", "A drawing"), ("Comment", "caf\xe9 \u6f2b\u753b"))
DPI = (300.0, 150.0)
IPTC = b"\x1c\x02\x05\x00\x05title"
RESOURCE = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC))


@dataclass(frozen=True)
class Labeled:
    """A file with metadata. means: an RGB profile that describes its colors."""

    data: bytes
    pixels: Array
    means: bytes = SRGB


def png_with(pixels: Array, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with chunks after its header."""
    plain: bytes = imagecodecs.png_encode(np.squeeze(pixels))
    return plain[:33] + b"".join(animations.chunk(*each) for each in chunks) + plain[33:]


def gama(gamma: float) -> tuple[bytes, bytes]:
    """The chunk gAMA."""
    return b"gAMA", struct.pack(">I", round(gamma * 100_000))


def chrm(places: tuple[float, ...]) -> tuple[bytes, bytes]:
    """The chunk cHRM."""
    return b"cHRM", struct.pack(">8I", *(round(each * 100_000) for each in places))


def itxt(keyword: str, text: bytes) -> tuple[bytes, bytes]:
    """The chunk iTXt."""
    return b"iTXt", keyword.encode() + b"\0\0\0\0\0" + text


def camera_exif(width: int, height: int, orientation: int) -> bytes:
    """A camera's EXIF block for a picture stored at the given size."""
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = orientation
    details = exif.get_ifd(0x8769)
    details[0x9003] = "2020:01:02 03:04:05"
    details[0xA002], details[0xA003] = width, height
    return exif.tobytes()


def _within_srgb(icc: bytes) -> Array:
    """The sRGB ramp converted to a wider space, for formats that convert back to sRGB."""
    wide = ImageCms.profileToProfile(
        image_of(samples("RGB 8")),
        ImageCms.ImageCmsProfile(io.BytesIO(SRGB)),
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert wide is not None
    return np.asarray(wide)


def labeled(kind: str) -> Labeled:
    """The file of a row of `METADATA`."""
    rgb, gray = samples("RGB 8"), samples("gray 8")
    if kind == "ICC profile":
        wide = _within_srgb(PROPHOTO)
        return Labeled(saved(image_of(wide), "PNG", icc_profile=PROPHOTO), wide, PROPHOTO)
    if kind == "ICC profile of gray":
        return Labeled(saved(image_of(gray), "PNG", icc_profile=GRAY_LINEAR), gray, LINEAR)
    if kind == "ICC profile of sRGB":
        return Labeled(saved(image_of(rgb), "PNG", icc_profile=SRGB), rgb)
    if kind == "gAMA":
        return Labeled(png_with(rgb, gama(1.0)), rgb, LINEAR)
    if kind == "gAMA of gray":
        return Labeled(png_with(gray, gama(1.0)), gray, LINEAR)
    if kind == "gAMA and cHRM":
        means = color.matrix_profile(ADOBE_PLACES, 2.0)
        wide = _within_srgb(means)
        return Labeled(png_with(wide, gama(0.5), chrm(ADOBE_PLACES)), wide, means)
    if kind == "gAMA of sRGB":
        return Labeled(png_with(rgb, gama(0.45455), chrm(color.SRGB)), rgb)
    if kind == "cICP, BT.2020":
        means = color.matrix_profile(BT2020_PLACES)
        wide = _within_srgb(means)
        return Labeled(png_with(wide, (b"cICP", bytes([9, 13, 0, 1]))), wide, means)
    if kind == "cICP, PQ (HDR)":
        return Labeled(png_with(rgb, (b"cICP", bytes([9, 16, 0, 1]))), rgb)
    if kind.startswith("nclx"):
        plain = "HLG" not in kind
        means = color.matrix_profile(BT2020_PLACES) if plain else SRGB
        wide = _within_srgb(means) if plain else rgb
        transfer = 13 if plain else 18
        data = imagecodecs.avif_encode(wide, 100, primaries=9, transfer=transfer, matrix=0)
        return Labeled(data, opened(data), means)
    if kind in ("comments of JPEG", "IPTC of JPEG", "gain map of JPEG (HDR)"):
        segments = {
            "comments of JPEG": b"\xff\xfe\0\x0ba comment",
            "IPTC of JPEG": b"\xff\xed" + struct.pack(">H", 30 + len(IPTC)) + RESOURCE + IPTC,
            "gain map of JPEG (HDR)": b"\xff\xe2\0\x22urn:iso:std:iso:ts:21496:-1\0\0\0\0\0",
        }
        data = saved(image_of(rgb), "JPEG", quality=100, subsampling=0)
        return Labeled(data[:2] + segments[kind] + data[2:], opened(data))
    if kind == "XMP":
        return Labeled(png_with(rgb, itxt("XML:com.adobe.xmp", XMP)), rgb)
    if kind == "EXIF":
        exif = camera_exif(WIDTH, HEIGHT, 6)
        data = saved(image_of(rgb), "JPEG", quality=100, subsampling=0, exif=exif)
        return Labeled(data, np.rot90(opened(data), -1))
    if kind == "resolution (DPI)":
        return Labeled(saved(image_of(rgb), "PNG", dpi=DPI), rgb)
    assert kind == "texts of PNG"
    return Labeled(png_with(rgb, *(itxt(key, text.encode()) for key, text in TEXTS)), rgb)


# --- animations -------------------------------------------------------------------------------

ANIMATED = {
    "gif": Output("GIF", "gif"),
    **{name: OUTPUTS[name] for name in ("png", "webp", "avif")},
}

#: Animations, and their form in each of `ANIMATED`; "time": durations.
ANIMATIONS: dict[str, Row] = {
    "GIF": ("exact", "exact", "exact", "near"),
    "APNG, RGB": ("time rounded, noted", "exact", "exact", "near"),
    "APNG, RGB of more than 256 colors": ("256 colors, noted", "exact", "exact", "near"),
    "APNG, RGBA": ("alpha on or off, noted", "exact", "exact", "near"),
    "APNG, gray": ("exact", "exact", "exact", "near"),
    "WebP": ("alpha on or off, time rounded, noted", "exact", "exact", "near"),
    "AVIF": ("256 colors, noted", "exact", "exact", "near"),
}

#: Metadata of an animation (an APNG), and their form in the results.
ANIMATION_METADATA: dict[str, Row] = {
    "ICC profile": ("to sRGB, noted", "kept", "kept", "kept"),
    "ICC profile of gray": ("to sRGB, noted", "kept", "to sRGB, noted", "kept"),
    "gAMA and cHRM": ("to sRGB, noted", "kept", "as ICC", "as ICC"),
    "gAMA of gray": ("to sRGB, noted", "kept", "to sRGB, noted", "as ICC"),
    "cICP, PQ (HDR)": ("left out, noted", "kept", "left out, noted", "as nclx"),
    "XMP": ("left out, noted", "kept", "kept", "kept"),
    "EXIF": ("left out, noted", "kept", "kept", "kept"),
    "texts of PNG": ("left out, noted", "kept", "left out, noted", "left out, noted"),
}

#: Durations in milliseconds that a GIF can store exactly, and that a GIF must round.
ROUND_MS, FINE_MS = (50, 120, 70), (33, 125, 66)
PLAYS = 3


@dataclass(frozen=True)
class Moving:
    """An animation. frames: (H, W, 4) each; durations in seconds; plays: 0 is forever."""

    data: bytes
    frames: list[Array]
    durations: list[Fraction]
    plays: int = PLAYS
    means: bytes = SRGB


def _parts(pixels: Array, delays: tuple[int, ...]) -> list[animations.Part]:
    """``pixels`` (H, W, 4), and two later frames that replace a part."""
    return [
        animations.Part(pixels, ms=delays[0], over=False),
        animations.Part(pixels[:6, ::-1][:, :8].copy(), 4, 2, ms=delays[1], over=False),
        animations.Part(pixels[:4, :4].copy(), 2, 6, ms=delays[2], over=False),
    ]


def _opaque(pixels: Array) -> Array:
    colors = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    return np.dstack([colors, np.full(pixels.shape[:2], 255, np.uint8)])


def animated(kind: str) -> Moving:
    """The file of a row of `ANIMATIONS`."""
    delays = FINE_MS if kind in ("APNG, RGB", "WebP") else ROUND_MS
    rgb, rgba = samples("RGB 8"), samples("RGBA 8")
    if kind == "GIF":
        rgba[:, :, 3] = np.where(rgba[:, :, 3] < 128, 0, 255)
        parts = _parts(rgba, delays)
        for part in parts:  # a GIF draws opaque pixels only; others stay
            part.over = True
        data = animations.gif(WIDTH, HEIGHT, parts, repeats=PLAYS - 1)
    elif kind == "APNG, RGBA":
        parts = _parts(rgba, delays)
        data = animations.apng(WIDTH, HEIGHT, parts, plays=PLAYS)
    elif kind == "APNG, gray":
        parts = _parts(_opaque(samples("gray 8")), delays)
        data = animations.apng(WIDTH, HEIGHT, parts, plays=PLAYS, channels="L")
    elif kind == "APNG, RGB":
        parts = _parts(_opaque(rgb), delays)
        data = animations.apng(WIDTH, HEIGHT, parts, plays=PLAYS, channels="RGB")
    elif kind == "APNG, RGB of more than 256 colors":
        many = np.asarray(art.gradient(24, HEIGHT))
        parts = _parts(_opaque(many), delays)
        data = animations.apng(24, HEIGHT, parts, plays=PLAYS, channels="RGB")
    elif kind == "WebP":
        parts = _parts(rgba, delays)
        data = animations.webp(WIDTH, HEIGHT, parts, plays=PLAYS)
    else:
        assert kind == "AVIF"
        return _animated_avif(delays)
    height, width = parts[0].pixels.shape[:2]
    frames = animations.shown(width, height, parts)
    return Moving(data, frames, [Fraction(ms, 1000) for ms in delays])


def _animated_avif(delays: tuple[int, ...]) -> Moving:
    wide = art.gradient(24, HEIGHT)
    turned = [wide, wide.transpose(Image.Transpose.FLIP_LEFT_RIGHT), wide]
    buffer = io.BytesIO()
    turned[0].save(
        buffer, "AVIF", save_all=True, append_images=turned[1:], duration=list(delays), **_AVIF
    )
    frames = []
    with Image.open(buffer) as image:
        for number in range(3):
            image.seek(number)
            frames.append(np.array(image.convert("RGBA")))
    durations = [Fraction(ms, 1000) for ms in delays]
    return Moving(buffer.getvalue(), frames, durations, plays=0)


def animated_with(kind: str) -> Moving:
    """The file of a row of `ANIMATION_METADATA`."""
    icc = {"ICC profile": PROPHOTO, "ICC profile of gray": GRAY_LINEAR}.get(kind)
    means, chunks = SRGB, []
    pixels = samples("gray 8" if "gray" in kind else "RGB 8")
    if icc is not None:
        buffer = saved(Image.new("L" if "gray" in kind else "RGB", (1, 1)), "PNG", icc_profile=icc)
        start = buffer.index(b"iCCP")
        size = int.from_bytes(buffer[start - 4 : start], "big")
        chunks.append((b"iCCP", buffer[start + 4 : start + 4 + size]))
        means = PROPHOTO if icc == PROPHOTO else LINEAR
    elif kind == "gAMA and cHRM":
        means = color.matrix_profile(ADOBE_PLACES, 2.0)
        chunks += [gama(0.5), chrm(ADOBE_PLACES)]
    elif kind == "gAMA of gray":
        means = LINEAR
        chunks.append(gama(1.0))
    elif kind == "cICP, PQ (HDR)":
        chunks.append((b"cICP", bytes([9, 16, 0, 1])))
    elif kind == "XMP":
        chunks.append(itxt("XML:com.adobe.xmp", XMP))
    elif kind == "EXIF":
        chunks.append((b"eXIf", camera_exif(WIDTH, HEIGHT, 1)[6:]))
    else:
        assert kind == "texts of PNG"
        chunks += [itxt(key, text.encode()) for key, text in TEXTS]
    if means not in (SRGB, LINEAR):
        pixels = _within_srgb(means)
    parts = _parts(_opaque(pixels), ROUND_MS)
    data = animations.apng(
        *(WIDTH, HEIGHT, parts),
        plays=PLAYS,
        channels="L" if "gray" in kind else "RGB",
        extra=b"".join(animations.chunk(*each) for each in chunks),
    )
    frames = animations.shown(WIDTH, HEIGHT, parts)
    return Moving(data, frames, [Fraction(ms, 1000) for ms in ROUND_MS], means=means)


# --- the page ---------------------------------------------------------------------------------

_INTRODUCTION = """\
Every cell below is tested from file to file (`tests/files/test_round_trip.py`), and
`docs/make_table.py` writes the tables from the data of the tests. Results have exactly twice the
size. "Noted" means that the command and `FileResult.notes` report it."""

_PIXELS_TEXT = """\
### Pixels

The left column is the input, a cell the channels and bits of the output. PNG, TIFF, BMP, JPEG XL
and lossless WebP store every sample exactly; lossy formats are close."""

_METADATA_TEXT = """\
### Metadata

"As ICC", "as cICP", "as nclx": an equivalent label. "To sRGB": the pixels are converted. "Not
needed": the default has the same meaning. EXIF changes in three values, and every other byte stays:
the orientation is applied and becomes 1, the size becomes the new one, and a thumbnail that would
be sideways is dropped. JPEG stores up to 64 KiB of EXIF and of XMP. A dropped resolution has no
note, and stays in EXIF if EXIF has it too."""

_ANIMATIONS_TEXT = """\
### Animations

Every cell keeps all frames and the number of plays, and the durations unless the cell says "time
rounded"; rounding errors are carried over to the next frame. "Exact" and "near" describe the
pixels, which are exact if a cell does not mention them. "256 colors" is per frame."""


def _table(head: list[str], rows: dict[str, Row]) -> str:
    lines = [
        "| ".join(("", *(f"{cell} " for cell in line))) + "|" for line in [head, *_lines(rows)]
    ]
    lines.insert(1, "|" + "---|" * len(head))
    return "\n".join(line.replace("|  |", "| |") for line in lines)


def _lines(rows: dict[str, Row]) -> list[list[str]]:
    return [[name, *row] for name, row in rows.items()]


def markdown() -> str:
    """The tables that docs/formats.md contains between `BEGIN` and `END`."""
    outputs = [output.label for output in OUTPUTS.values()]
    animated_outputs = [output.label for output in ANIMATED.values()]
    kinds = {
        row: (
            ", ".join(
                kind.label.replace(", ", " ") for kind in KINDS.values() if kind.read_as == row
            ),
        )
        for row in PIXELS
    }
    parts = (
        _INTRODUCTION,
        _PIXELS_TEXT,
        _table(["read as", "files that are"], kinds),
        _table(["read as", *outputs], PIXELS),
        _METADATA_TEXT,
        _table(["", *outputs], METADATA),
        _ANIMATIONS_TEXT,
        _table(["", *animated_outputs], ANIMATIONS),
        "Metadata of animations:",
        _table(["", *animated_outputs], ANIMATION_METADATA),
    )
    return "\n\n".join(parts)
