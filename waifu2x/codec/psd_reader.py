"""Reads the composite picture of a Photoshop file, PSD or PSB.

Pillow mistakes saved selections for transparency, leaves the white behind transparent pixels, and
reads 8 bits only. Layers are not composed: a file saved without its composite is refused.

Layout: Adobe Photoshop File Formats Specification (November 2019).
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from .._record import record
from ..errors import DecodeError
from ..picture import Metadata, Picture, Samples, Source, sample_max
from . import conversion
from .exif import EXIF_PREFIX, reset_orientation
from .image import icc_space, kept_xmp, matching_icc, profile_note
from .limits import check_bytes, check_pixels
from .samples import valid_dpi

_BITMAP, _GRAY, _INDEXED, _RGB, _CMYK, _MULTICHANNEL, _DUOTONE, _LAB = 0, 1, 2, 3, 4, 7, 8, 9
_COLORS: Final = {_BITMAP: 1, _GRAY: 1, _INDEXED: 1, _RGB: 3, _CMYK: 4, _DUOTONE: 1, _LAB: 3}
_MOST_CHANNELS = 56

_RAW, _PACKBITS, _ZIP, _ZIP_PREDICTED = range(4)

# Image resources.
_RESOLUTION, _ALPHA_NAMES, _IPTC, _ICC = 1005, 1006, 1028, 1039
_TRANSPARENT_INDEX, _VERSION, _EXIF, _XMP = 1047, 1057, 1058, 1060
_KEPT_RESOURCES = frozenset(
    (_RESOLUTION, _ALPHA_NAMES, _IPTC, _ICC, _TRANSPARENT_INDEX, _VERSION, _EXIF, _XMP)
)
_MAX_RESOURCE = 64 << 20
_MOST_RESOURCES = 1 << 16

# Blocks after the layers: layers of deep pictures, and "the composite has transparency".
_DEEP_LAYERS = frozenset((b"Lr16", b"Lr32", b"Layr"))
_MERGED_TRANSPARENCY = frozenset((b"Mtrn", b"Mt16", b"Mt32"))
_WIDE_BLOCKS = frozenset(
    (b"LMsk", b"Lr16", b"Lr32", b"Layr", b"Mt16", b"Mt32", b"Mtrn", b"Alph", b"FMsk", b"lnk2")
) | {b"FEid", b"FXid", b"PxSD"}

# A composite on white has few colors darker than the white that shows through, if any.
_MATTE_SLACK = 2 / 255
_MATTE_EXCEPTIONS = 0.001

_STRIP_PIXELS = 1 << 20


@record
class PsdHeader:
    """The header of a Photoshop file; bits are per channel, mode is the color mode."""

    large: bool
    channels: int
    height: int
    width: int
    bits: int
    mode: int


class _Layers(NamedTuple):
    """number: of the layers. transparent: whether the composite has transparency."""

    number: int = 0
    transparent: bool = False


@dataclass(slots=True)
class _Sections:
    """What precedes the pixels; pixels: their position."""

    palette: bytes
    resources: dict[int, bytes] = field(default_factory=dict)
    layers: _Layers = field(default_factory=_Layers)
    pixels: int = 0


def read_header(stream: BinaryIO) -> PsdHeader:
    """Read the header; raises ValueError if it is broken."""
    stream.seek(0)
    head = stream.read(26)
    if len(head) < 26:
        raise ValueError("it ends within its header")
    _, version, _, channels, height, width, bits, mode = struct.unpack(">4sH6sHIIHH", head)
    if version not in (1, 2) or not 1 <= channels <= _MOST_CHANNELS or not (width and height):
        raise ValueError(f"its header is broken ({width}x{height}, {channels} channels)")
    return PsdHeader(version == 2, channels, height, width, bits, mode)


def psd_picture(stream: BinaryIO, name: str, limit: int) -> Picture:
    """Read the composite of the Photoshop file in ``stream``, of at most ``limit`` pixels.

    Transparency that is blended with white is unblended. 16 bits per channel become uint16; CMYK
    and Lab become sRGB.

    Raises DecodeError for variants that are not supported, LimitError, and ValueError or EOFError
    for damage.
    """
    header = read_header(stream)
    check_pixels(header.width, header.height, limit, name)
    kind = _unsupported(header)
    if kind:
        raise DecodeError(
            f"{name} is a Photoshop file {kind}, which is not supported; save it as PNG"
        )
    check_bytes(stream, 4 * limit, name)
    sections = _read_sections(stream, header)
    version = sections.resources.get(_VERSION, b"")
    if sections.layers.number and len(version) >= 5 and not version[4]:
        raise DecodeError(
            f"{name} is a Photoshop file without its composite picture, which is not supported; "
            "save it with maximized compatibility, or as PNG"
        )
    colors = _COLORS[header.mode]
    surplus = header.channels - colors
    transparent = surplus > 0 and header.mode != _BITMAP and _is_transparent(sections)
    planes = _read_planes(stream, header, sections.pixels, colors + transparent, name)
    notes: list[str] = []
    if surplus > transparent:
        notes.append(f"saved selections or spot colors: {surplus - transparent} left out")
    if header.mode == _DUOTONE:
        notes.append("the inks of the duotone: left out, read as gray")
    alpha = np.ascontiguousarray(planes[colors]) if transparent else None
    stored = planes[:colors].transpose(1, 2, 0)
    if alpha is not None:
        stored = _unblended(stored, alpha, header.mode)
    icc = sections.resources.get(_ICC)
    color = _color(stored, header, sections, icc)
    if header.mode == _INDEXED:
        alpha = _index_alpha(planes[0], sections, alpha)
    space = {_CMYK: "CMYK", _LAB: "LAB"}.get(header.mode, "")
    kept = None if space else matching_icc(icc, color.shape[2])
    if icc is not None and kept is None and not (space == "CMYK" and icc_space(icc) == "CMYK"):
        notes.append(profile_note(icc))
    metadata = Metadata(
        icc=kept,
        exif=_exif(sections.resources.get(_EXIF)),
        dpi=_dpi(sections.resources.get(_RESOLUTION, b"")),
        xmp=kept_xmp(sections.resources.get(_XMP)),
        iptc=sections.resources.get(_IPTC) or None,
    )
    source = Source("PSD", False, converted=space, notes=tuple(notes))
    return Picture(cast("Samples", color), cast("Samples | None", alpha), metadata, source)


def _unsupported(header: PsdHeader) -> str:
    """Return the kind of file that is not supported, for messages; "" if it is."""
    if header.mode == _MULTICHANNEL:
        return "in multichannel mode"
    if header.mode not in _COLORS:
        return f"in an unknown color mode ({header.mode})"
    if header.bits == 32:
        return "of 32 bits per channel (HDR)"
    allowed = {_BITMAP: (1,), _INDEXED: (8,)}.get(header.mode, (8, 16))
    if header.bits not in allowed:
        return f"of {header.bits} bits per channel in color mode {header.mode}"
    if header.channels < _COLORS[header.mode]:
        return f"of {header.channels} channels in color mode {header.mode}"
    return ""


# --- sections


def _read_sections(stream: BinaryIO, header: PsdHeader) -> _Sections:
    size = stream.seek(0, io.SEEK_END)
    stream.seek(26)
    palette_end = _section_end(stream, ">I", size)
    palette = stream.read(min(768, palette_end - stream.tell()))
    sections = _Sections(palette)
    stream.seek(palette_end)
    resources_end = _section_end(stream, ">I", size)
    _read_resources(stream, resources_end, sections.resources)
    stream.seek(resources_end)
    layers_end = _section_end(stream, ">Q" if header.large else ">I", size)
    sections.layers = _read_layers(stream, layers_end, header.large)
    sections.pixels = layers_end
    return sections


def _section_end(stream: BinaryIO, length: str, size: int) -> int:
    """Read the length of a section; return where the section ends."""
    data = stream.read(struct.calcsize(length))
    if len(data) < struct.calcsize(length):
        raise EOFError("image file is truncated")
    end = stream.tell() + int(struct.unpack(length, data)[0])
    if end > size:
        raise EOFError("image file is truncated")
    return end


def _read_resources(stream: BinaryIO, end: int, found: dict[int, bytes]) -> None:
    """Read the resources that are kept; stop at a broken one."""
    for _ in range(_MOST_RESOURCES):
        head = stream.read(7)
        if stream.tell() > end or len(head) < 7:
            return
        number, name = struct.unpack_from(">HB", head, 4)
        stream.seek(name + (name + 1) % 2, io.SEEK_CUR)
        data = stream.read(4)
        length = int.from_bytes(data, "big")
        if len(data) < 4 or stream.tell() + length > end:
            return
        after = stream.tell() + length + length % 2
        if number in _KEPT_RESOURCES and length <= _MAX_RESOURCE:
            found.setdefault(number, stream.read(length))
        stream.seek(after)


def _read_layers(stream: BinaryIO, end: int, large: bool) -> _Layers:
    """Read the number of layers and whether the composite is transparent."""
    length = ">Q" if large else ">I"
    width = struct.calcsize(length)
    start = stream.tell()
    if end - start < width + 2:
        return _Layers()
    (info,) = struct.unpack(length, stream.read(width))
    count = struct.unpack(">h", stream.read(2))[0] if info >= 2 else 0
    transparent = count < 0
    stream.seek(min(end, start + width + info))
    mask = stream.read(4)
    if len(mask) == 4 and stream.tell() + int.from_bytes(mask, "big") <= end:
        stream.seek(int.from_bytes(mask, "big"), io.SEEK_CUR)
        for key, position, _ in _blocks(stream, end, large):
            if key in _DEEP_LAYERS:
                stream.seek(position)
                data = stream.read(2)
                deep = struct.unpack(">h", data)[0] if len(data) == 2 else 0
                count, transparent = deep or count, transparent or deep < 0
            elif key in _MERGED_TRANSPARENCY:
                transparent = True
    return _Layers(abs(count), transparent)


def _blocks(stream: BinaryIO, end: int, large: bool) -> list[tuple[bytes, int, int]]:
    """Return key, position and length of each tagged block up to ``end``."""
    found = []
    for _ in range(_MOST_RESOURCES):
        head = stream.read(8)
        if len(head) < 8 or head[:4] not in (b"8BIM", b"8B64"):
            break
        wide = large and head[4:] in _WIDE_BLOCKS
        length = int.from_bytes(stream.read(8 if wide else 4), "big")
        position = stream.tell()
        if position + length > end:
            break
        found.append((head[4:], position, length))
        stream.seek(position + (length + 3) // 4 * 4)
    return found


def _is_transparent(sections: _Sections) -> bool:
    """Return whether the first channel beyond color is the transparency of the composite.

    Photoshop marks that by a negative number of layers. Without any layers, only the name of the
    channel can tell; otherwise the channel is a saved selection.
    """
    if sections.layers.number or sections.layers.transparent:
        return sections.layers.transparent
    return sections.resources.get(_ALPHA_NAMES, b"")[1:13] == b"Transparency"


# --- pixels


def _read_planes(
    stream: BinaryIO, header: PsdHeader, position: int, count: int, name: str
) -> npt.NDArray[Any]:
    """Return the first ``count`` channels as (count, H, W), uint8 or uint16."""
    stream.seek(position)
    compression = stream.read(2)
    if len(compression) < 2:
        raise EOFError("image file is truncated")
    kind = int.from_bytes(compression, "big")
    row_bytes = -(-header.width * header.bits // 8)
    if kind == _RAW:
        data: bytes | npt.NDArray[Any] = stream.read(count * header.height * row_bytes)
    elif kind == _PACKBITS:
        data = _unpacked(stream, header, count, row_bytes)
    elif kind in (_ZIP, _ZIP_PREDICTED):
        data = _inflated(stream, count * header.height * row_bytes)
    else:
        raise DecodeError(
            f"{name} is a Photoshop file of compression {kind}, which is not supported; "
            "save it as PNG"
        )
    if len(data) < count * header.height * row_bytes:
        raise EOFError("image file is truncated")
    rows = np.frombuffer(data, np.uint8).reshape(count, header.height, row_bytes)
    if header.bits == 1:
        bits = np.unpackbits(rows, axis=2)[:, :, : header.width]
        return np.where(bits, np.uint8(0), np.uint8(255))
    samples = rows if header.bits == 8 else rows.view(">u2").astype(np.uint16)
    if kind == _ZIP_PREDICTED:
        return np.cumsum(samples, axis=2, dtype=samples.dtype)
    return samples


def _unpacked(
    stream: BinaryIO, header: PsdHeader, count: int, row_bytes: int
) -> npt.NDArray[np.uint8]:
    """Decompress PackBits, row by row."""
    import imagecodecs

    width = 4 if header.large else 2
    table = stream.tell()
    sizes = np.frombuffer(stream.read(count * header.height * width), f">u{width}")
    if len(sizes) < count * header.height:
        raise EOFError("image file is truncated")
    stream.seek(table + header.channels * header.height * width)
    rows = np.empty((count * header.height, row_bytes), np.uint8)
    for row, size in zip(rows, sizes.tolist(), strict=True):
        if size > 2 * row_bytes + 128:  # the worst encoder doubles a row
            raise ValueError("a row is longer than its pixels")
        packed = stream.read(size)
        if len(packed) < size:
            raise EOFError("image file is truncated")
        unpacked = imagecodecs.packbits_decode(packed)
        if len(unpacked) < row_bytes:
            raise ValueError("a row is shorter than its pixels")
        row[:] = np.frombuffer(unpacked, np.uint8, row_bytes)
    return rows.reshape(-1)


def _inflated(stream: BinaryIO, size: int) -> bytes:
    decompressor = zlib.decompressobj()
    parts: list[bytes] = []
    left = size
    while left > 0:
        block = stream.read(1 << 16)
        if not block:
            break
        part = decompressor.decompress(block, left)
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _unblended(color: npt.NDArray[Any], alpha: npt.NDArray[Any], mode: int) -> npt.NDArray[Any]:
    """Return ``color`` (H, W, C) without the white that Photoshop blends with transparent pixels.

    Color that could not come from that blend is straight, as other programs write it. No ink is
    stored as white in CMYK too; in Lab, only L differs from zero.
    """
    full = sample_max(color.dtype)
    lightness = color[:, :, :1] if mode == _LAB else color
    darker = lightness.min(axis=2).astype(np.int32) + alpha
    if np.count_nonzero(darker < full * (1 - _MATTE_SLACK)) > _MATTE_EXCEPTIONS * alpha.size:
        return color
    white = np.full(color.shape[2], full, np.float32)
    if mode == _LAB:
        white[1:] = (full + 1) // 2
    result = np.empty_like(color)
    rows = max(1, _STRIP_PIXELS // color.shape[1])
    for top in range(0, len(color), rows):
        part = slice(top, top + rows)
        opacity = alpha[part, :, None].astype(np.float32) / full
        blended = color[part].astype(np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            straight = (blended - (1 - opacity) * white) / opacity
        straight = np.where(opacity > 0, straight, blended)
        result[part] = np.floor(np.clip(straight, 0, full) + 0.5)
    return result


def _color(
    stored: npt.NDArray[Any], header: PsdHeader, sections: _Sections, icc: bytes | None
) -> npt.NDArray[Any]:
    """Return the stored samples (H, W, C) as gray or RGB."""
    full = sample_max(stored.dtype)
    if header.mode == _INDEXED:
        if len(sections.palette) < 768:
            raise ValueError("it has no complete palette")
        palette = np.frombuffer(sections.palette, np.uint8).reshape(3, 256).T
        colors: npt.NDArray[Any] = palette[stored[:, :, 0]]
        return colors
    if header.mode == _CMYK:
        inks = stored.dtype.type(full) - stored  # full ink is stored as 0
        return conversion.cmyk_to_rgb(inks, icc)
    if header.mode == _LAB:
        return conversion.in_strips(stored, _lab_to_rgb)
    return np.ascontiguousarray(stored)


def _lab_to_rgb(stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    lab = stored.astype(np.float64)
    lab[:, :, 0] *= 100 / sample_max(stored.dtype)
    lab[:, :, 1:] = lab[:, :, 1:] / (1 if stored.dtype == np.uint8 else 256) - 128
    return conversion.lab_to_rgb(lab, stored.dtype)


def _index_alpha(
    indices: npt.NDArray[Any], sections: _Sections, alpha: npt.NDArray[Any] | None
) -> npt.NDArray[Any] | None:
    """Return alpha that is 0 at the transparent index, if there is one."""
    index = sections.resources.get(_TRANSPARENT_INDEX, b"")
    if len(index) < 2 or int.from_bytes(index[:2], "big") > 255:
        return alpha
    opaque = np.where(indices == int.from_bytes(index[:2], "big"), np.uint8(0), np.uint8(255))
    return opaque if alpha is None else np.minimum(opaque, alpha)


# --- metadata


def _exif(block: bytes | None) -> bytes | None:
    if not block:
        return None
    return reset_orientation(block if block.startswith(EXIF_PREFIX) else EXIF_PREFIX + block)


def _dpi(resource: bytes) -> tuple[float, float] | None:
    """Return the pixels per inch of a ResolutionInfo, in 16.16 fixed point."""
    if len(resource) < 16:
        return None
    across, down = (
        struct.unpack_from(">I", resource, 0)[0],
        struct.unpack_from(">I", resource, 8)[0],
    )
    return valid_dpi((across / 65536, down / 65536))
