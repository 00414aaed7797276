"""Reads JPEG 2000: components by imagecodecs, and what the boxes say about them here.

Pillow and imagecodecs drop equal palette entries, channel definitions and profiles, do not scale
less than 8 bits, or garble subsampled chroma at odd widths. So the codestream alone is decoded.

Color spaces: ISO/IEC 15444-1, annex I.5.3.3, and 15444-2, annex M.11.7.3.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._record import record
from .._text import shown
from ..errors import DecodeError, LimitError
from ..picture import Metadata, Picture, Samples, Source, sample_max
from . import conversion, jpeg2000_header
from .exif import EXIF_PREFIX, reset_orientation
from .high_depth import to_8_bits, to_16_bits
from .image import icc_space, kept_xmp, matching_icc, profile_note
from .jpeg2000_header import Boxes, Codestream, ColorSpec
from .limits import HOW_TO_RAISE, check_jpeg2000, check_pixels
from .samples import unpremultiplied, valid_dpi

_MOST_COMPONENTS = 16
_COMPONENTS_OF_LIMIT = 5  # CMYK and alpha
_METERS_PER_INCH = 0.0254

# Enumerated color spaces.
_BILEVEL, _CMY, _CMYK, _CIELAB, _BILEVEL_2, _SRGB, _GRAY, _SYCC = 0, 11, 12, 14, 15, 16, 17, 18
_CHANNELS: Final = {
    **dict.fromkeys((_BILEVEL, _BILEVEL_2, _GRAY), 1),
    **dict.fromkeys((_CMY, _CIELAB, _SRGB, _SYCC), 3),
    _CMYK: 4,
}
_OTHER_SPACES: Final = {
    1: "YCbCr (BT.709)",
    3: "YCbCr (BT.601)",
    4: "YCbCr (BT.601, 525 lines)",
    9: "PhotoYCC",
    13: "YCCK",
    19: "CIEJab",
    20: "e-sRGB",
    21: "ROMM-RGB",
    22: "YPbPr (1125/60)",
    23: "YPbPr (1250/50)",
    24: "e-sYCC",
}
_D50 = 0x00443530
_PROFILES, _PARAMETERS = (2, 3), 5
_PROFILE_CHANNELS: Final = {"GRAY": 1, "RGB": 3, "CMYK": 4}


@record
class _Space:
    """How the color channels are meant.

    name: an enumerated space, or the space of a profile. channels: their number. body: parameters
    of CIELab. icc, cicp: labels.
    """

    name: int
    channels: int
    body: bytes = b""
    icc: bytes | None = None
    cicp: tuple[int, int, int, int] | None = None


class _Channel(NamedTuple):
    """The samples (H, W) of one channel, unsigned, and their bits."""

    samples: npt.NDArray[Any]
    bits: int


def jpeg2000_picture(stream: BinaryIO, name: str, limit: int) -> Picture:
    """Read the JPEG 2000 file or codestream in ``stream``, of at most ``limit`` pixels.

    Up to 8 bits become uint8, more uint16. CMYK and CIELab become sRGB through the profile, if
    there is one, and sYCC becomes RGB.

    Raises DecodeError for variants that are not supported, LimitError, ValueError for damage, and
    what imagecodecs raises for it.
    """
    header = jpeg2000_header.read_codestream(stream)
    if header is None or not header.pixels:
        raise ValueError("it has no codestream")
    check_pixels(header.width, header.height, limit, name)
    check_jpeg2000(stream, limit, name)
    found = jpeg2000_header.read_boxes(stream)
    if not found.streams:
        raise ValueError("it has no codestream")

    def refuse(what: str) -> DecodeError:
        return DecodeError(
            f"{name} is a JPEG 2000 file with {what}, which is not supported; save it as PNG"
        )

    if len(header.components) > _MOST_COMPONENTS:
        raise refuse(f"{len(header.components)} components")
    if len(header.components) * header.pixels > _COMPONENTS_OF_LIMIT * limit:
        raise LimitError(
            f"{name} is {header.width}x{header.height} in {len(header.components)} components, and "
            f"the limit is {limit} pixels; " + HOW_TO_RAISE
        )
    space, others = _space(found.colors)
    if space is None and others:
        raise refuse(others[0])
    notes = list(dict.fromkeys(found.notes))
    subsampled = any((each.across, each.down) != (1, 1) for each in header.components)
    if subsampled and not _is_subsampled_chroma(header, space):
        raise refuse("components of different sizes")
    stream.seek(found.position)
    data = stream.read(found.size)
    if data[:4] != b"\xff\x4f\xff\x51":
        raise ValueError("its codestream has no header")
    data = b"".join((data[:6], header.siz, data[6 + len(header.siz) :]))
    try:
        components = _components(data, header)
    except Exception as error:
        if header.extended:
            raise refuse("extensions of Part 2") from error
        raise
    if subsampled:
        if space is None or space.name != _SYCC:
            notes.append("the subsampled colors: read as YCbCr")
        icc = None if space is None else space.icc
        space = _Space(_SRGB, 3, icc=icc)  # already converted
    channels = _mapped(components, found)
    if space is None:
        space = _Space(_GRAY if len(channels) < 3 else _SRGB, 1 if len(channels) < 3 else 3)
    order, alpha_index, premultiplied = _roles(found, space, len(channels))
    if any(index >= len(channels) for index in order):
        raise refuse(f"{len(channels)} channels for a color space of {space.channels}")
    surplus = len(channels) - len(order) - (alpha_index is not None)
    if surplus > 0:
        notes.append(f"channels beyond color and alpha: {surplus} left out")
    if found.streams > 1:
        notes.append(f"further codestreams: {found.streams - 1} left out")
    return _picture(channels, space, order, alpha_index, premultiplied, found, notes, refuse)


def _picture(
    channels: list[_Channel],
    space: _Space,
    order: list[int],
    alpha_index: int | None,
    premultiplied: bool,
    found: Boxes,
    notes: list[str],
    refuse: Callable[[str], DecodeError],
) -> Picture:
    deepest = max(channels[index].bits for index in order)
    if deepest > 16:
        notes.append(f"{deepest} bits per channel read as 16")
    dtype = np.dtype(np.uint16 if deepest > 8 else np.uint8)
    stored = np.stack([_scaled(channels[index], dtype) for index in order], axis=2)
    alpha = None if alpha_index is None else _scaled(channels[alpha_index], dtype)
    if premultiplied and alpha is not None:
        stored = unpremultiplied(stored, alpha)
    if space.name == _CIELAB and space.icc is None:
        ranges = _lab_ranges(space.body, deepest)
        if ranges is None:
            raise refuse("CIELab colors of another illuminant than D50")
        color = conversion.in_strips(stored, lambda strip: _lab_to_rgb(strip, ranges))
    else:
        color = _converted(stored, space)
    converted = {_CMYK: "CMYK", _CIELAB: "LAB"}.get(space.name, "")
    icc = None if converted else matching_icc(space.icc, color.shape[2])
    if space.icc is not None and icc is None and not converted:
        notes.append(profile_note(space.icc))
    across, down = found.dots or (0.0, 0.0)
    exif = found.exif
    if exif is not None:
        exif = reset_orientation(exif if exif.startswith(EXIF_PREFIX) else EXIF_PREFIX + exif)
    metadata = Metadata(
        icc=icc,
        exif=exif,
        dpi=valid_dpi((across * _METERS_PER_INCH, down * _METERS_PER_INCH)),
        xmp=kept_xmp(found.xmp),
        cicp=space.cicp,
        iptc=found.iptc,
    )
    source = Source("JPEG2000", None, converted=converted, notes=tuple(notes))
    return Picture(cast("Samples", color), cast("Samples | None", alpha), metadata, source)


def _space(colors: list[ColorSpec]) -> tuple[_Space | None, list[str]]:
    """Return the first color space that is supported, and the names of those that are not."""
    others: list[str] = []
    for spec in colors:
        if spec.method == 1 and spec.space in _CHANNELS:
            return _Space(spec.space, _CHANNELS[spec.space], spec.body), others
        if spec.method in _PROFILES:
            kind = icc_space(spec.body)
            if kind in _PROFILE_CHANNELS:
                channels = _PROFILE_CHANNELS[kind]
                named = {1: _GRAY, 3: _SRGB, 4: _CMYK}[channels]
                return _Space(named, channels, icc=spec.body), others
            others.append(f"a color profile of {shown(kind) or 'no known'} space")
        elif spec.method == _PARAMETERS and len(spec.body) >= 7:
            primaries, transfer, matrix, flags = struct.unpack_from(">3HB", spec.body)
            if matrix == 0 and max(primaries, transfer) < 256:
                return _Space(_SRGB, 3, cicp=(primaries, transfer, 0, flags >> 7)), others
            others.append(f"colors of the matrix {matrix} of H.273")
        elif spec.method == 1:
            known = _OTHER_SPACES.get(spec.space, f"the color space {spec.space}")
            others.append(f"{known} colors" if spec.space in _OTHER_SPACES else known)
        else:
            others.append(f"a color specification of method {spec.method}")
    return None, others


def _is_subsampled_chroma(header: Codestream, space: _Space | None) -> bool:
    """Return whether imagecodecs converts the components to RGB: 4:2:0, 4:2:2 or 4:4:0 of YCbCr."""
    first, *rest = header.components
    return (
        len(header.components) == 3
        and (first.across, first.down) == (1, 1)
        and rest[0] == rest[1]
        and (rest[0].across, rest[0].down) in ((2, 1), (2, 2))
        and len({(each.bits, each.signed) for each in header.components}) == 1
        and not first.signed
        and (space is None or (space.name in (_SRGB, _SYCC) and space.channels == 3))
    )


def _components(data: bytes, header: Codestream) -> list[_Channel]:
    """Decode the codestream to unsigned components of the size of the picture."""
    kinds = {(each.bits, each.signed) for each in header.components}
    if len(kinds) > 1 and not header.columns:
        return _mixed_components(data, header)
    import imagecodecs

    pixels = imagecodecs.jpeg2k_decode(data, numthreads=1)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if header.columns and pixels.shape[:2] == (header.rows[-1] + 1, header.columns[-1] + 1):
        pixels = pixels[np.ix_(header.rows, header.columns)]
    if pixels.shape != (header.height, header.width, len(header.components)):
        raise ValueError("its pixels are not of the size in its header")
    first = header.components[0]
    if first.signed:
        pixels = pixels.view(f"u{pixels.itemsize}")
        pixels += pixels.dtype.type(1 << (first.bits - 1))  # wraps
    return [_Channel(pixels[:, :, index], first.bits) for index in range(pixels.shape[2])]


def _mixed_components(data: bytes, header: Codestream) -> list[_Channel]:
    """Decode components of different depths with Pillow, which shifts all to 8 bits."""
    with Image.open(io.BytesIO(data), formats=("JPEG2000",)) as image:
        if image.size != (header.width, header.height) or len(image.getbands()) != len(
            header.components
        ):
            raise ValueError("its components contradict each other")
        pixels = np.asarray(image)
    channels = []
    for index, each in enumerate(header.components):
        samples = pixels[:, :, index]
        channels.append(_Channel(samples >> max(0, 8 - each.bits), min(each.bits, 8)))
    return channels


def _mapped(components: list[_Channel], found: Boxes) -> list[_Channel]:
    """Return the channels: the components, looked up in the palette if there is one."""
    palette = found.palette
    if palette is None:
        return components
    mapping = found.mapping or [(0, 1, column) for column in range(len(palette.columns))]
    channels = []
    for component, kind, column in mapping:
        if component >= len(components) or (kind == 1 and column >= len(palette.columns)):
            raise ValueError("its palette does not fit its components")
        source = components[component]
        if kind != 1:
            channels.append(source)
            continue
        entries = np.array(palette.columns[column], np.int64)
        bits = palette.bits[column]
        if palette.signed[column]:
            entries = (entries + (1 << (bits - 1))) % (1 << bits)
        indices = np.minimum(source.samples, len(entries) - 1)
        dtype = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
        channels.append(_Channel(entries.astype(dtype)[indices], bits))
    return channels


def _roles(found: Boxes, space: _Space, count: int) -> tuple[list[int], int | None, bool]:
    """Return the channels of the colors in order, that of alpha, and whether it is premultiplied.

    Without definitions, the channel after gray or RGB is straight alpha.
    """
    colors = space.channels
    if not found.channels:
        alpha = colors if count == colors + 1 and colors in (1, 3) else None
        return list(range(colors)), alpha, False
    order = list(range(colors))
    defined = {
        association - 1: channel
        for channel, (role, association) in found.channels.items()
        if role == jpeg2000_header.COLOR and 1 <= association <= colors
    }
    order = [defined.get(index, index) for index in order]
    for channel, (role, association) in sorted(found.channels.items()):
        opacity = role in (jpeg2000_header.OPACITY, jpeg2000_header.PREMULTIPLIED_OPACITY)
        # 0 is the whole picture; opacity of one color of gray is as good.
        if opacity and channel < count and (association == 0 or (colors, association) == (1, 1)):
            return order, channel, role == jpeg2000_header.PREMULTIPLIED_OPACITY
    return order, None, False


def _scaled(channel: _Channel, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return the samples over the whole range of ``dtype``."""
    samples, bits = channel
    if bits > 16:
        samples, bits = samples >> (bits - 16), 16
    if dtype == np.uint8:
        if bits > 8:
            return (samples >> (bits - 8)).astype(np.uint8)
        return to_8_bits(samples, bits)
    if bits < 8:
        samples, bits = to_8_bits(samples, bits), 8
    return to_16_bits(samples, bits)


def _converted(stored: npt.NDArray[Any], space: _Space) -> npt.NDArray[Any]:
    """Return gray or RGB of stored channels (H, W, C) over the whole range."""
    if space.name == _CMYK:
        return conversion.cmyk_to_rgb(stored, space.icc)
    if space.name in (_CMY, _BILEVEL):
        inverted: npt.NDArray[Any] = np.iinfo(stored.dtype).max - stored
        return inverted
    if space.name == _SYCC:
        return conversion.ycc_to_rgb(stored)
    return np.ascontiguousarray(stored)


class _LabRanges(NamedTuple):
    """The meaning of CIELab samples.

    most: the largest sample in the file. spans, offsets: of L*, a* and b*.
    """

    most: int
    spans: tuple[int, ...]
    offsets: tuple[int, ...]


def _lab_to_rgb(stored: npt.NDArray[Any], ranges: _LabRanges) -> npt.NDArray[Any]:
    """Return sRGB of CIELab samples over the whole range."""
    lab = stored.astype(np.float64) * (ranges.most / sample_max(stored.dtype))
    lab = (lab - ranges.offsets) * (np.array(ranges.spans) / ranges.most)
    return conversion.lab_to_rgb(lab, stored.dtype)


def _lab_ranges(parameters: bytes, bits: int) -> _LabRanges | None:
    """Return the ranges of CIELab; None for another illuminant than D50."""
    bits = min(bits, 16)
    ranges = [100, 0, 170, (1 << bits) // 2, 200, (1 << bits) // 4 + (1 << bits) // 8]
    illuminant = _D50
    if len(parameters) >= 28:
        *ranges, illuminant = struct.unpack_from(">7I", parameters)
    if illuminant != _D50:
        return None
    return _LabRanges((1 << bits) - 1, tuple(ranges[::2]), tuple(ranges[1::2]))
