"""Channels and labels of JPEG XL: read right, noted, or refused by name."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
from helpers.decoding import decode
from helpers.jpeg2000 import box
from PIL import Image

from waifu2x.codec import jxl_header
from waifu2x.errors import DecodeError

pytest.importorskip("pillow_jxl")

DEPTH, SELECTION, BLACK, THERMAL, OPTIONAL = 1, 3, 4, 6, 16


def bits_of(data):
    return "".join(f"{byte:08b}"[::-1] for byte in data)


def bytes_of(bits):
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))


def number(value):
    """A kind of channel as U32: 0, 1, 2 + 4 bits, 18 + 6 bits."""
    if value < 2:
        return ("00", "10")[value]
    return "01" + f"{value - 2:04b}"[::-1]


def described(data, kind, *, premultiplied=False, bits="00"):
    """Describe the alpha of ``data`` (from imagecodecs, 8 bits) as a channel of another kind.

    bits: the BitDepth of the channel after its first bit.
    """
    stream = bits_of(data[2:])
    reader = jxl_header._BitReader(data[2:])
    reader.size()
    assert reader.take(1) == 0  # not all default
    extra_fields = reader.take(1)
    assert not extra_fields
    reader.depth(bool(reader.take(1)))
    reader.take(1)
    assert reader.choice((0, 0), (1, 0), (2, 4), (1, 12)) == 1
    at = 8 * (len(data) - 2) - reader._left
    assert stream[at] == "1"  # the default: straight alpha of 8 bits
    # No extra fields follow: XYB, sRGB, extensions, and the default transform.
    end = at + 1 + 1 + 1 + 2 + 1
    description = "0" + number(kind) + "0" + bits + "00" + "00"
    if kind == jxl_header.ALPHA:
        description += "1" if premultiplied else "0"
    head = bytes_of(stream[:at] + description + stream[at + 1 : end])
    frame = bytes_of(stream[-(-end // 8) * 8 :])
    return data[:2] + head + frame


def rgba(low=0):
    y, x = np.mgrid[:12, :20]
    color = np.stack([x * 12, y * 20, 255 - x * 7 - y * 3], axis=2).clip(0, 255)
    alpha = np.broadcast_to((x * 12 + low).clip(0, 255), (12, 20))
    return np.dstack([color, alpha]).astype(np.uint8)


def test_premultiplied_alpha_becomes_straight():
    straight = rgba(20)
    stored = straight.copy()
    stored[:, :, :3] = np.rint(straight[:, :, :3] * (straight[:, :, 3:] / 255))
    data = described(imagecodecs.jpegxl_encode(stored, lossless=True), 0, premultiplied=True)
    assert jxl_header.read_header(io.BytesIO(data)).premultiplied
    picture = decode(data)
    np.testing.assert_array_equal(picture.alpha, straight[:, :, 3])
    allowed = np.ceil(0.5 * 255 / straight[:, :, 3:] + 0.5)
    assert (np.abs(picture.color.astype(int) - straight[:, :, :3]) <= allowed).all()
    plain = described(imagecodecs.jpegxl_encode(stored, lossless=True), 0)
    np.testing.assert_array_equal(decode(plain).color, stored[:, :, :3])


def test_cmyk_is_named():
    data = described(imagecodecs.jpegxl_encode(rgba(), lossless=True), BLACK)
    with pytest.raises(DecodeError, match="is a JPEG XL with CMYK colors, which is not supported"):
        decode(data)


@pytest.mark.parametrize("kind", [DEPTH, SELECTION, THERMAL, OPTIONAL])
def test_other_channels_are_no_alpha_and_noted(kind):
    stored = rgba()
    picture = decode(described(imagecodecs.jpegxl_encode(stored, lossless=True), kind))
    assert picture.alpha is None
    np.testing.assert_array_equal(picture.color, stored[:, :, :3])
    assert picture.source.notes == ("channels beyond color and alpha: 1 left out",)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4])
def test_several_channels_after_gray(channels, dtype):
    stored = np.moveaxis(rgba(), 2, 0)[:channels].astype(dtype)
    data = imagecodecs.jpegxl_encode(stored, lossless=True, planar=True, photometric="gray")
    header = jxl_header.read_header(io.BytesIO(data))
    assert len(header.channels) == channels - 1
    picture = decode(data)
    assert picture.alpha is None
    np.testing.assert_array_equal(picture.color[:, :, 0], stored[0])
    assert picture.source.notes == (f"channels beyond color and alpha: {channels - 1} left out",)


@pytest.mark.parametrize("bits", [1, 2, 4, 7, 8, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_depths(bits, channels):
    dtype = np.uint8 if bits <= 8 else np.uint16
    most = (1 << bits) - 1
    values = np.random.default_rng(bits).integers(0, most + 1, (9, 11, channels)).astype(dtype)
    array = values[:, :, 0] if channels == 1 else values
    data = imagecodecs.jpegxl_encode(array, lossless=True, bitspersample=bits)
    picture = decode(data)
    full = np.iinfo(picture.color.dtype).max
    assert picture.color.dtype == dtype
    assert np.abs(picture.color / full - values / most).max() <= (0.51 if bits <= 8 else 1) / full


def container(codestream, *boxes):
    return b"".join(
        (
            box(b"JXL ", b"\r\n\x87\n"),
            box(b"ftyp", b"jxl \0\0\0\0jxl "),
            *boxes,
            box(b"jxlc", codestream),
        )
    )


@pytest.mark.parametrize("compressed", [False, True])
def test_exif_and_xmp(compressed):
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "Artist"
    block = bytes(4) + exif.tobytes().removeprefix(b"Exif\0\0")
    xmp = b'<x:xmpmeta><a tiff:Orientation="6"/></x:xmpmeta>'
    boxes = [(b"Exif", block), (b"xml ", xmp)]
    if compressed:
        boxes = [(b"brob", kind + imagecodecs.brotli_encode(body)) for kind, body in boxes]
    data = imagecodecs.jpegxl_encode(rgba(), lossless=True)
    picture = decode(container(data, *(box(*each) for each in boxes)))
    assert picture.color.shape == (12, 20, 3)  # the codestream holds the orientation
    parsed = Image.Exif()
    parsed.load(picture.metadata.exif)
    assert parsed[0x013B] == "Artist"
    assert parsed[0x0112] == 1
    assert picture.metadata.xmp == xmp.replace(b'"6"', b'"1"')
    assert picture.source.notes == ()


def test_exif_with_an_offset():
    exif = Image.Exif()
    exif[0x013B] = "Artist"
    block = struct.pack(">I", 6) + exif.tobytes()
    data = container(imagecodecs.jpegxl_encode(rgba(), lossless=True), box(b"Exif", block))
    parsed = Image.Exif()
    parsed.load(decode(data).metadata.exif)
    assert parsed[0x013B] == "Artist"


def test_gain_maps_and_jumbf_are_noted():
    data = imagecodecs.jpegxl_encode(rgba(), lossless=True)
    data = container(data, box(b"jhgm", b"gain"), box(b"jumb", b"manifest"))
    assert decode(data).source.notes == ("the gain map: left out", "the JUMBF data: left out")
