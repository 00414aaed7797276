"""Pillow images to `Picture` and back."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import ArgumentError
from ..picture import Metadata, Picture, Samples, Source
from ._pillow import is_tiff, pillow_errors
from .exif import DESCRIPTIVE_TAGS, reset_orientation
from .exif import orientation as exif_orientation
from .jpeg_quality import estimate_quality
from .samples import Planes, check_floats, interleave, valid_dpi
from .xmp import MAX_XMP, without_promises
from .xmp import reset_orientation as reset_xmp_orientation

_ORIENTATION = 0x0112
_X_RESOLUTION = 0x011A
_PHOTOMETRIC = 0x0106
_BITS_PER_SAMPLE = 0x0102

_EXIF_IFD = 0x8769
_GPS_IFD = 0x8825
_INTEROP_IFD = 0xA005

_LOSSLESS = {"PNG", "GIF", "BMP", "DIB", "PPM", "TGA", "PSD", "QOI", "PCX", "ICO"}
# TIFF's compressions that may be lossy.
_TIFF_LOSSY = {"jpeg": True, "tiff_jpeg": True, "webp": None}

# Pixels copied out of Pillow at once: the strip stays in the CPU's cache, and the picture is not
# held a third time.
_STRIP_PIXELS = 1 << 18


def from_image(image: Image.Image) -> Picture:
    """Return a picture of ``image``, as `decode` does for a file: upright, in gray or RGB.

    The EXIF orientation is applied, so width and height are those a viewer shows. The current frame
    of several is taken. `decode` lists the modes. ``image`` is not changed, except that its pixels
    are loaded.

    Raises ArgumentError for another type, an empty image, or unsupported samples, and DecodeError
    if a lazily opened file turns out to be damaged.
    """
    if not isinstance(image, Image.Image):
        raise ArgumentError(f"image is a {type(image).__name__}; it must be a PIL.Image.Image")
    if 0 in image.size:
        raise ArgumentError(f"image is {image.width}x{image.height}; no side may be 0")
    with pillow_errors("image"):
        stored = raw_mode(image)
        try:
            image.load()
        except ValueError as error:
            if "closed" in str(error):
                raise ArgumentError("image is closed; it must be open") from error
            raise
        return picture_of(image, source_of(image), stored)


def source_of(image: Image.Image, *, lossy: bool | None = None) -> Source:
    """Return the source of ``image``; ``lossy`` is used if the format does not tell."""
    name = image.format
    if name in ("JPEG", "MPO"):  # MPO: a camera's JPEG with more pictures behind the first
        quality = estimate_quality(getattr(image, "quantization", {}))
        return Source("JPEG", True, quality)
    if name == "TIFF":
        compression = image.info.get("compression")
        lossy = _TIFF_LOSSY.get(compression, False) if isinstance(compression, str) else False
    elif name in _LOSSLESS:
        lossy = False
    return Source(name, lossy)


def raw_mode(image: Image.Image) -> str:
    """Return how the file stores the samples ("RGB;16B"); "" once loaded, or without a file."""
    tiles = getattr(image, "tile", None)
    args = tiles[0].args if tiles else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def picture_of(
    image: Image.Image,
    source: Source,
    stored: str,
    *,
    planes: Planes | None = None,
    found: Metadata | None = None,
    orientation: int | None = None,
) -> Picture:
    """Return the picture of a loaded ``image`` that was ``stored`` in that raw mode.

    planes: its pixels if another reader decoded them, before the orientation is applied; ``image``
        need not be loaded then.
    found: its fields of `Metadata` from another reader; None takes those of PNG that Pillow read.
    orientation: as in EXIF, if the container has its own; None takes that of EXIF.

    Raises ArgumentError for unsupported samples.
    """
    stored_orientation, exif = _orientation_and_exif(image, by_pillow=planes is None)
    orientation = stored_orientation if orientation is None else orientation
    color, alpha = planes_of(image, stored) if planes is None else planes
    color, alpha = apply_orientation(color, alpha, orientation)
    dpi = _dpi(image) if found is None else found.dpi
    if dpi is not None and orientation >= 5:
        dpi = dpi[1], dpi[0]
    icc = None if image.mode in ("CMYK", "LAB") else image.info.get("icc_profile")
    metadata = replace(
        _png_fields(image) if found is None else found,
        icc=matching_icc(icc, color.shape[2]),
        exif=exif,
        dpi=dpi,
        xmp=kept_xmp(image.info.get("xmp")),
    )
    # Pillow has 16 bits for gray only, and reads the high byte of other modes.
    reduced = planes is None and color.dtype == np.uint8 and ("16" in stored or source.reduced)
    space = image.mode if image.mode in ("CMYK", "LAB") else ""
    notes = source.notes + _left_out(image, icc, metadata)
    source = replace(source, reduced=reduced, converted=space, notes=notes)
    return Picture(cast("Samples", color), cast("Samples | None", alpha), metadata, source)


def _left_out(image: Image.Image, icc: object, metadata: Metadata) -> tuple[str, ...]:
    """Return notes of blocks that ``metadata`` lacks because they are broken or do not fit."""
    notes = []
    if isinstance(icc, bytes) and icc and metadata.icc is None:
        notes.append(profile_note(icc))
    if image.info.get("exif") and metadata.exif is None and not is_tiff(image):
        notes.append("the EXIF block cannot be read: left out")
    return tuple(notes)


def apply_orientation(
    color: npt.NDArray[Any], alpha: npt.NDArray[Any] | None, orientation: int
) -> Planes:
    """Return planes stored in that EXIF orientation, 1..8, upright and contiguous."""
    rotate = _UPRIGHT[orientation]
    return (
        np.ascontiguousarray(rotate(color)),
        None if alpha is None else np.ascontiguousarray(rotate(alpha)),
    )


def kept_xmp(xmp: object) -> bytes | None:
    """Return an XMP packet for a result; None if it is missing or too large.

    Its orientation is reset, and it promises no other parts of the file.
    """
    if isinstance(xmp, str):
        xmp = xmp.encode("utf-8", "replace")
    if not isinstance(xmp, bytes) or not 0 < len(xmp) <= MAX_XMP:
        return None
    return reset_xmp_orientation(without_promises(xmp))


def _png_fields(image: Image.Image) -> Metadata:
    """Return the fields of `Metadata` that only PNG has, as Pillow reads them."""
    if image.format != "PNG":
        return Metadata()
    info = image.info
    gamma, intent = info.get("gamma"), info.get("srgb")
    places = info.get("chromaticity")
    text = getattr(image, "text", None)
    return Metadata(
        gamma=gamma if isinstance(gamma, float) and gamma > 0 else None,
        chromaticities=places if isinstance(places, tuple) and len(places) == 8 else None,
        rendering_intent=intent if isinstance(intent, int) and 0 <= intent <= 3 else None,
        text=tuple(
            (key, str(value))
            for key, value in (text if isinstance(text, dict) else {}).items()
            if isinstance(value, str) and not key.startswith(("XML:", "Raw profile type "))
        ),
    )


def icc_space(icc: bytes) -> str:
    """Return the color space of an ICC profile ("RGB", "GRAY", "CMYK", ...), "" if it is none."""
    if len(icc) < 128 or icc[36:40] != b"acsp":
        return ""
    return icc[16:20].decode("latin-1").strip()


def profile_note(icc: bytes) -> str:
    """Return the note that a profile was left out."""
    space = icc_space(icc)
    what = f"the color profile is for {space} and does not fit" if space else "a broken profile"
    return f"{what}: left out"


def matching_icc(icc: object, channels: int) -> bytes | None:
    """Return ``icc`` if it describes pixels of ``channels`` channels, else None."""
    if not isinstance(icc, bytes):
        return None
    return icc if icc_space(icc) == ("GRAY" if channels == 1 else "RGB") else None


# --- orientation, EXIF, DPI

_UPRIGHT: dict[int, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def _orientation_and_exif(image: Image.Image, *, by_pillow: bool) -> tuple[int, bytes | None]:
    """Return the EXIF orientation 1..8, and the EXIF block for upright pixels.

    by_pillow: whether Pillow decoded the pixels; it applies the orientation of TIFF itself.
    Unreadable EXIF is left out.
    """
    exif: bytes | None
    try:
        if is_tiff(image):
            # The tags are those of the file.
            parsed = image.getexif()
            exif = tiff_exif(parsed)
            orientation = 1 if by_pillow else parsed.get(_ORIENTATION, 1)
            orientation = orientation if orientation in _UPRIGHT else 1
        else:
            exif = stored_exif(image)
            orientation = 1 if exif is None else exif_orientation(exif)
    except Exception:
        orientation, exif = 1, None
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        orientation = 1  # the decoder returns upright pixels, and EXIF does not count
    return orientation, None if exif is None else reset_orientation(exif)


def stored_exif(image: Image.Image) -> bytes | None:
    """Return the EXIF block as the file stores it, or the one that was set on ``image``."""
    exif = image.info.get("exif")
    if isinstance(exif, bytes):
        return exif or None
    profile = image.info.get("Raw profile type exif")  # a text of PNG
    if isinstance(profile, str):
        return bytes.fromhex("".join(profile.split("\n")[3:]))
    if image.info.get("xmp") is not None:
        return None  # Pillow would invent a block for the orientation in XMP
    parsed = image.getexif()
    return parsed.tobytes() if len(parsed) else None


def tiff_exif(tags: Image.Exif) -> bytes | None:
    """Return an EXIF block of the descriptive ``tags`` of a TIFF, or None.

    Includes its Exif and GPS directories.
    """
    kept = Image.Exif()
    for tag in DESCRIPTIVE_TAGS:
        value = tags.get(tag)
        if isinstance(value, str):
            # Pillow reads bytes as Latin-1, and would write "?" for those above ASCII.
            value = value.encode("latin-1", "replace")
        if isinstance(value, (bytes, int)):
            kept[tag] = value
    for directory in (_EXIF_IFD, _GPS_IFD):
        if directory in tags:
            entries = dict(tags.get_ifd(directory))
            entries.pop(_INTEROP_IFD, None)  # an offset in the file
            kept.get_ifd(directory).update(entries)
    empty = not len(kept) and not any(kept.get_ifd(one) for one in (_EXIF_IFD, _GPS_IFD))
    return None if empty else kept.tobytes()


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    if is_tiff(image) and _X_RESOLUTION not in image.tag_v2:
        return None  # Pillow returns (1, 1)
    return valid_dpi(image.info.get("dpi"))


# --- pixels


def planes_of(image: Image.Image, stored: str = "") -> Planes:
    """Return color (H, W, 1 or 3) and alpha (H, W) or None of a loaded image, as stored."""
    mode = image.mode
    if mode in ("1", "L"):
        color = _copied(image, np.uint8)
        # Pillow scales samples below 8 bits, and not the key.
        return color, _key_alpha(image, color, 1, {"L;2": 85, "L;4": 17}.get(stored, 1))
    if mode == "RGB":
        color = _copied(image, np.uint8)
        # Pillow keeps the high bytes of 16-bit color, so those of the key count.
        return color, _key_alpha(image, color, 256 if "16" in stored else 1)
    if mode.startswith("I;16"):
        color = _copied(image, np.uint16)
        alpha = _key_alpha(image, color, 1)
        if _tag(image, _BITS_PER_SAMPLE) == (12,):
            color = (color << 4) | (color >> 8)
        return _inverted_if_white_is_zero(image, color), alpha
    if mode == "I":
        return _from_int32(image), None
    if mode == "F":
        color = _copied(image, np.float32)
        check_floats(color, "image")
        return _inverted_if_white_is_zero(image, color), None
    if mode in ("LA", "RGBA"):
        # Pillow has no 16-bit gray with alpha, and reads it as RGBA.
        gray = mode == "LA" or stored.startswith("LA")
        return _copied_with_alpha(image, 1 if gray else 3)
    converted = _converted(image)
    if converted is None:
        raise ArgumentError(f"image has mode {mode}, which is not supported; convert it to RGB")
    return planes_of(converted)


def _converted(image: Image.Image) -> Image.Image | None:
    """Return ``image`` in a mode that `planes_of` reads directly, or None for an unknown mode."""
    mode = image.mode
    if mode in ("P", "PA"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if mode in ("La", "RGBa"):
        return image.convert(mode.upper())
    if mode == "CMYK":
        icc = image.info.get("icc_profile")
        if isinstance(icc, bytes) and icc_space(icc) == "CMYK":
            converted = to_srgb(image, icc)
            if converted is not None:
                return converted
        return image.convert("RGB")
    if mode == "LAB":
        return to_srgb(image, None)
    if mode in ("YCbCr", "HSV", "RGBX"):
        return image.convert("RGB")
    return None


def to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image | None:
    """Return ``image`` converted by its profile (None: LAB) to sRGB; None if that is broken.

    Relative colorimetric with black point compensation, as in editors.
    """
    from PIL import ImageCms  # loaded when needed

    try:
        if icc is None:
            profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        else:
            profile = ImageCms.getOpenProfile(io.BytesIO(icc))
        converted = ImageCms.profileToProfile(
            image,
            profile,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        # No profile means sRGB; the bytes of this one depend on the time of day.
        if converted is not None:
            converted.info.pop("icc_profile", None)
        return converted
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _strips(image: Image.Image) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    """Yield the rows and the samples (rows, W, C) of each strip of ``image``."""
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = np.asarray(image.crop((0, top, width, bottom)))
        yield slice(top, bottom), strip.reshape(bottom - top, width, -1)


def _copied(image: Image.Image, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return the samples as a new (H, W, C) array; those of mode "1" as 0 and 255."""
    array = np.empty((image.height, image.width, len(image.getbands())), dtype)
    for rows, strip in _strips(image):
        array[rows] = strip
    if image.mode == "1":
        array *= array.dtype.type(255)
    return array


def _copied_with_alpha(image: Image.Image, colors: int) -> Planes:
    """Return the first ``colors`` channels and the last one of ``image``, as new uint8 arrays."""
    color = np.empty((image.height, image.width, colors), np.uint8)
    alpha = np.empty((image.height, image.width), np.uint8)
    for rows, strip in _strips(image):
        color[rows] = strip[:, :, :colors]
        alpha[rows] = strip[:, :, -1]
    return color, alpha


def _key_alpha(
    image: Image.Image, color: npt.NDArray[Any], divisor: int, factor: int = 1
) -> npt.NDArray[Any] | None:
    """Return alpha from the color that PNG or GIF declares transparent, or None."""
    key = image.info.get("transparency")
    values = key if isinstance(key, tuple) else (key,)
    if len(values) != color.shape[2] or not all(isinstance(value, int) for value in values):
        return None
    opaque = np.iinfo(color.dtype).max
    values = tuple(value * factor // divisor for value in values)
    if not all(0 <= value <= opaque for value in values):
        return None
    visible = np.any(color != np.array(values, color.dtype), axis=2)
    alpha: npt.NDArray[Any] = visible.astype(color.dtype)
    alpha *= color.dtype.type(opaque)
    return alpha


def _from_int32(image: Image.Image) -> npt.NDArray[np.uint16]:
    """Return Pillow's 32-bit integers as uint16, if they fit (16-bit PGM, signed TIFF)."""
    wide = _copied(image, np.int32)
    low, high = int(wide.min()), int(wide.max())
    if low < 0 or high > 65535:
        raise ArgumentError(
            f"image has 32-bit integer samples from {low} to {high}; "
            "only 0 to 65535 is supported, so save it as 16-bit"
        )
    return wide.astype(np.uint16)


def _tag(image: Image.Image, tag: int) -> object:
    return image.tag_v2.get(tag) if is_tiff(image) else None


def _inverted_if_white_is_zero(image: Image.Image, color: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Undo TIFF's WhiteIsZero, which Pillow does for 8-bit gray only."""
    if _tag(image, _PHOTOMETRIC) != 0:
        return color
    white = 1 if color.dtype.kind == "f" else np.iinfo(color.dtype).max
    inverted: npt.NDArray[Any] = color.dtype.type(white) - color
    return inverted


# --- to Pillow


def to_image(picture: Picture) -> Image.Image:
    """Return a Pillow image of ``picture``, a copy: mode L, LA, RGB or RGBA, I;16 or F.

    ICC profile, EXIF, XMP and DPI are in ``.info`` ("icc_profile", "exif", "xmp", "dpi").
    `Image.save` uses only some of them by itself.

    Raises ArgumentError for samples without a Pillow mode: uint16 or float32 in RGB or with alpha.
    `to_array` returns those, and `convert_samples` makes them 8-bit.
    """
    if picture.color.dtype != np.uint8 and not (picture.gray and picture.alpha is None):
        kind = ("gray" if picture.gray else "RGB") + (
            " with alpha" if picture.alpha is not None else ""
        )
        raise ArgumentError(
            f"Pillow has no mode for {kind} in {picture.color.dtype}; "
            "convert it with convert_samples(..., 'uint8'), or use to_array"
        )
    image = image_over(picture.color, picture.alpha).copy()
    metadata = picture.metadata
    for key, value in (
        ("icc_profile", metadata.icc),
        ("exif", metadata.exif),
        ("xmp", metadata.xmp),
        ("dpi", metadata.dpi),
    ):
        if value is not None:
            image.info[key] = value
    return image


def image_over(color: Samples, alpha: Samples | None) -> Image.Image:
    """Return a Pillow image that may share the memory of the arrays."""
    array = interleave(cast("npt.NDArray[Any]", color), cast("npt.NDArray[Any] | None", alpha))
    if array.shape[2] == 1:
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(array))
