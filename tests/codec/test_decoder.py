"""Read files: samples, metadata, limits and error messages."""

import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.decoding import decode, refused
from helpers.profiles import cmyk_profile
from PIL import Image, ImageCms, ImageOps, JpegPresets, PngImagePlugin

from waifu2x import codec
from waifu2x.codec.exif import reset_orientation
from waifu2x.errors import ArgumentError, DecodeError, LimitError, Waifu2xError
from waifu2x.picture import Source
from waifu2x.pipeline.auto_noise import choose_noise

ORIENTATION = 0x0112


def ramp(height=5, width=7, channels=3, dtype=np.uint8):
    """Different samples everywhere, so that every flip or swap is noticed."""
    count = height * width * channels
    values = np.arange(count, dtype=np.int64) * (np.iinfo(dtype).max // count)
    shape = (height, width) if channels == 1 else (height, width, channels)
    return values.astype(dtype).reshape(shape)


def saved(image, format, **options):
    """``image`` as a file in memory."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(header, chunks, pixels):
    """A handmade PNG, for contents that Pillow cannot write."""

    def chunk(kind, body):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))]
    parts += [chunk(kind, body) for kind, body in chunks]
    return b"".join([*parts, chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")])


def profile(space):
    """Bytes that pass for the header of an ICC profile."""
    return b"\0" * 16 + space + b"\0" * 16 + b"acsp" + b"\0" * 88


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


# --- samples


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "TGA", "PPM", "QOI", "PCX", "GIF"])
def test_lossless_formats_give_the_samples_back(format):
    pixels = ramp()
    image = Image.fromarray(pixels)
    if format == "GIF":
        image = image.quantize(256)
        pixels = np.asarray(image.convert("RGB"))
    try:
        data = saved(image, format)
    except KeyError:
        pytest.skip(f"this Pillow does not write {format}")
    picture = decode(data)
    assert picture.color.dtype == np.uint8
    np.testing.assert_array_equal(picture.color, pixels)
    assert picture.alpha is None
    assert picture.color.flags.c_contiguous
    assert picture.source == Source(format, False, None)


def test_gray_stays_gray():
    pixels = ramp(channels=1)
    picture = decode(saved(Image.fromarray(pixels), "PNG"))
    assert picture.gray
    np.testing.assert_array_equal(picture.color[:, :, 0], pixels)


def test_one_bit_is_black_and_white():
    bits = np.eye(9, dtype=bool)
    picture = decode(saved(Image.fromarray(bits), "PNG"))
    assert picture.color.dtype == np.uint8
    np.testing.assert_array_equal(picture.color[:, :, 0], bits * 255)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bit_gray_spans_the_whole_range(depth):
    row = bytes([0, 0b00011011])  # the filter byte, then four pixels of two bits
    top = (1 << depth) - 1
    picture = decode(png((8 // depth, 1, depth, 0), [], row))
    assert set(picture.color.ravel()) <= {value * 255 // top for value in range(top + 1)}
    assert picture.color.max() in (85, 255, 11 * 17)


def test_gray_with_alpha():
    pixels = ramp(channels=2)
    picture = decode(saved(Image.fromarray(pixels), "PNG"))
    np.testing.assert_array_equal(picture.color[:, :, 0], pixels[:, :, 0])
    np.testing.assert_array_equal(picture.alpha, pixels[:, :, 1])
    assert picture.alpha.flags.c_contiguous
    assert picture.color.flags.c_contiguous


@pytest.mark.parametrize("format", ["PNG", "TIFF", "TGA"])
def test_rgb_with_alpha_keeps_the_color_under_transparent_pixels(format):
    pixels = ramp(channels=4)
    pixels[:, :3, 3] = 0
    picture = decode(saved(Image.fromarray(pixels), format))
    np.testing.assert_array_equal(picture.color, pixels[:, :, :3])
    np.testing.assert_array_equal(picture.alpha, pixels[:, :, 3])


def test_palette_becomes_rgb():
    image = Image.fromarray(ramp()).quantize(16)
    picture = decode(saved(image, "PNG"))
    assert picture.alpha is None
    np.testing.assert_array_equal(picture.color, np.asarray(image.convert("RGB")))


def test_gray_palette_becomes_rgb_too():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 90, 90, 90])
    assert decode(saved(image, "PNG")).color.tolist() == [[[90] * 3] * 4] * 4


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 128])])
def test_palette_with_transparency_has_alpha(transparency):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    picture = decode(saved(image, "PNG", transparency=transparency))
    assert picture.color.tolist() == [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]
    assert picture.alpha.tolist() == [[255, 0, 255 if transparency == 1 else 128]]


def test_transparent_gif():
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    picture = decode(saved(image, "GIF", transparency=1))
    assert picture.alpha.tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("mode", "pixels", "key"),
    [
        ("L", np.array([[7, 8, 9]], np.uint8), 8),
        ("RGB", np.array([[[7, 7, 7], [7, 8, 7], [8, 8, 8]]], np.uint8), (7, 8, 7)),
        ("I;16", np.array([[700, 800, 900]], np.uint16), 800),
    ],
)
def test_a_transparent_color_becomes_alpha(mode, pixels, key):
    image = Image.fromarray(pixels)
    assert image.mode == mode
    picture = decode(saved(image, "PNG", transparency=key))
    full = np.iinfo(pixels.dtype).max
    assert picture.alpha.tolist() == [[full, 0, full]]
    np.testing.assert_array_equal(picture.color, pixels.reshape(picture.color.shape))


def test_a_transparent_value_in_one_bit():
    image = Image.fromarray(np.array([[True, False]]))
    picture = decode(saved(image, "PNG", transparency=0))
    assert picture.alpha.tolist() == [[255, 0]]


def test_a_transparent_color_of_sixteen_bits():
    samples = struct.pack(">B6H", 0, 0x1234, 0x5678, 0x9ABC, 0x1235, 0x5678, 0x9ABC)
    key = (b"tRNS", struct.pack(">3H", 0x1234, 0x5678, 0x9ABC))
    picture = decode(png((2, 1, 16, 2), [key], samples))
    assert picture.alpha.tolist() == [[0, 65535]]
    assert picture.color.tolist() == [[[0x1234, 0x5678, 0x9ABC], [0x1235, 0x5678, 0x9ABC]]]


def test_sixteen_bit_gray_png():
    pixels = ramp(channels=1, dtype=np.uint16)
    picture = decode(saved(Image.fromarray(pixels), "PNG"))
    assert picture.color.dtype == np.uint16
    np.testing.assert_array_equal(picture.color[:, :, 0], pixels)


def test_sixteen_bit_gray_with_alpha_png():
    samples = struct.pack(">B4H", 0, 0x1234, 0xFFFF, 0xABCD, 0x8000)
    picture = decode(png((2, 1, 16, 4), [], samples))
    assert picture.color.tolist() == [[[0x1234], [0xABCD]]]
    assert picture.alpha.tolist() == [[0xFFFF, 0x8000]]


def tiff(tags, pixels, order="<"):
    """A handmade TIFF of one strip, for contents that Pillow cannot write."""
    entries = sorted([*tags, (273, 4, 1, 8 + 2 + 12 * (len(tags) + 2) + 4)])
    entries = sorted([*entries, (279, 4, 1, len(pixels))])
    body = struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        packed = struct.pack(order + ("HH" if kind == 3 else "I"), *([value, 0][: 3 - kind // 2]))
        body += struct.pack(order + "HHI", tag, kind, count) + packed
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(order + "I", 8) + body + struct.pack(order + "I", 0) + pixels


def gray_tiff(bits, pixels, width, *, photometric=1, sample_format=1, order="<"):
    tags = [(256, 4, 1, width), (257, 4, 1, 1), (258, 3, 1, bits), (259, 3, 1, 1)]
    tags += [(262, 3, 1, photometric), (277, 3, 1, 1), (339, 3, 1, sample_format)]
    return tiff(tags, pixels, order)


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_gray_tiff_of_either_byte_order(order):
    picture = decode(gray_tiff(16, struct.pack(order + "3H", 0, 258, 65535), 3, order=order))
    assert picture.color.dtype == np.uint16
    assert picture.color.dtype.isnative
    assert picture.color.ravel().tolist() == [0, 258, 65535]


def test_sixteen_bit_tiff_with_white_at_zero():
    data = gray_tiff(16, struct.pack("<3H", 0, 258, 65535), 3, photometric=0)
    assert decode(data).color.ravel().tolist() == [65535, 65535 - 258, 0]


def test_twelve_bit_tiff_spans_the_whole_range():
    pixels = bytes([0xFF, 0xF0, 0x00])  # 4095, 0
    assert decode(gray_tiff(12, pixels, 2)).color.ravel().tolist() == [65535, 0]


def test_sixteen_bit_pgm():
    data = b"P5 2 1 65535\n" + struct.pack(">2H", 40000, 7)
    picture = decode(data)
    assert picture.color.dtype == np.uint16
    assert picture.color.ravel().tolist() == [40000, 7]


def test_wide_integers_are_refused():
    data = gray_tiff(32, struct.pack("<2i", -5, 70000), 2, sample_format=2)
    assert "from -5 to 70000" in refused(data)


def test_float_tiff_is_kept_with_its_overshoot():
    pixels = np.array([[-0.25, 0.0, 0.5, 1.0, 1.25]], np.float32)
    picture = decode(saved(Image.fromarray(pixels), "TIFF"))
    assert picture.color.dtype == np.float32
    np.testing.assert_array_equal(picture.color[:, :, 0], pixels)


@pytest.mark.parametrize("value", [255.0, -3.0, np.nan, np.inf])
def test_float_tiff_in_other_units_is_refused(value):
    pixels = np.array([[0.5, value]], np.float32)
    text = refused(saved(Image.fromarray(pixels), "TIFF"))
    assert "finite" in text or "must be in [0, 1]" in text


def test_cmyk_jpeg_comes_out_in_its_colors():
    # An Adobe JPEG stores CMYK inverted; a naive reader shows a negative.
    colors = [(255, 255, 255), (200, 30, 30), (20, 20, 120), (0, 0, 0)]
    for color in colors:
        image = Image.new("RGB", (16, 16), color).convert("CMYK")
        picture = decode(saved(image, "JPEG", quality=100))
        assert picture.color.shape == (16, 16, 3)
        assert np.abs(picture.color.astype(int) - color).max() <= 4
        assert picture.metadata.icc is None


def test_ycck_jpeg_comes_out_in_its_colors():
    # Transform 2 in APP14: the first three inks are stored as YCbCr, and black is inverted.
    # (libjpeg treats the YCbCr as RGB and inverts the result, so the inks are inverted, too.)
    for color in [(255, 255, 255), (200, 30, 30), (20, 20, 120), (0, 0, 0)]:
        inks = 255 - np.full((16, 16, 3), color, np.uint8)
        stored = np.asarray(Image.fromarray(inks).convert("YCbCr"))
        black = np.full((16, 16, 1), 255, np.uint8)  # no black ink, inverted
        image = Image.fromarray(255 - np.dstack([stored, black]), "CMYK")
        data = bytearray(saved(image, "JPEG", quality=100, subsampling=0))
        at = data.index(b"Adobe")
        assert data[at + 11] == 0
        data[at + 11] = 2
        picture = decode(bytes(data))
        assert np.abs(picture.color.astype(int) - color).max() <= 4


def test_cmyk_tiff_is_not_inverted():
    image = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    assert decode(saved(image, "TIFF")).color[0, 0].tolist() == [255, 0, 0]


def test_cmyk_goes_through_its_profile():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    plain = decode(saved(image, "JPEG", quality=100)).color
    managed = decode(saved(image, "JPEG", quality=100, icc_profile=cmyk_profile()))
    assert plain[0, 0, 0] > 200 > plain[0, 0, 1]
    assert np.ptp(managed.color) <= 2  # gray, as the profile defines
    assert 90 < managed.color.mean() < 150
    assert managed.metadata.icc is None


def test_cmyk_with_a_broken_profile_is_converted_plainly():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    plain = decode(saved(image, "JPEG", quality=100)).color
    broken = decode(saved(image, "JPEG", quality=100, icc_profile=profile(b"CMYK")))
    np.testing.assert_array_equal(broken.color, plain)
    assert broken.metadata.icc is None


def test_lab_tiff():
    image = Image.new("LAB", (4, 4), (255, 128, 128))
    assert decode(saved(image, "TIFF")).color.min() >= 254
    # sRGB (200, 30, 30) is L 42.4, a 62.9, b 44.1 (D50); a and b are stored with 128 added.
    image = Image.new("LAB", (4, 4), (round(42.4 * 2.55), 128 + 63, 128 + 44))
    picture = decode(saved(image, "TIFF"))
    assert np.abs(picture.color.astype(int) - (200, 30, 30)).max() <= 6


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB", "La", "RGBa", "PA", "CMYK", "RGBX"])
def test_every_pillow_mode_has_a_meaning(mode):
    base = Image.new("RGBA", (3, 2), (200, 40, 40, 255))
    if mode == "LAB":
        image = Image.new("LAB", (3, 2), (128, 128, 128))
    elif mode == "La":
        image = base.convert("LA").convert("La")
    elif mode in ("RGBa", "PA"):
        image = base.convert(mode)
    else:
        image = base.convert("RGB").convert(mode)
    picture = codec.from_image(image)
    assert picture.color.shape == (2, 3, 1 if mode == "La" else 3)
    assert (picture.alpha is not None) == (mode in ("La", "RGBa", "PA"))


# --- orientation and metadata


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(format, orientation):
    image = Image.fromarray(np.kron(ramp(2, 3), np.ones((16, 16, 1), np.uint8)))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}.get(format, {"quality": 95})
    data = saved(image, format, exif=exif, **options)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    picture = decode(data)
    np.testing.assert_array_equal(picture.color, np.asarray(expected))
    assert (picture.width, picture.height) == ((48, 32) if orientation < 5 else (32, 48))
    assert picture.color.flags.c_contiguous
    if picture.metadata.exif is not None:
        again = Image.Exif()
        again.load(picture.metadata.exif)
        assert again.get(ORIENTATION, 1) == 1


def test_orientation_of_alpha_and_of_dpi():
    pixels = ramp(channels=4)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture = decode(saved(Image.fromarray(pixels), "PNG", exif=exif, dpi=(100, 200)))
    np.testing.assert_array_equal(picture.alpha, np.rot90(pixels[:, :, 3], -1))
    np.testing.assert_array_equal(picture.color, np.rot90(pixels[:, :, :3], -1))
    assert picture.metadata.dpi == pytest.approx((200, 100), rel=1e-3)


def test_orientation_only_in_xmp():
    xmp = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/>'
    pixels = ramp(16, 16)
    plain = decode(saved(Image.fromarray(pixels), "JPEG"))
    rotated = decode(saved(Image.fromarray(pixels), "JPEG", xmp=xmp))
    np.testing.assert_array_equal(rotated.color, plain.color[::-1, ::-1])


def camera_exif(orientation=6):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[ORIENTATION] = orientation
    exif[0x0132] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8769)[0x927C] = b"maker note\0\1\2"
    exif.get_ifd(0x8769)[0xA002] = 30
    return exif


def test_exif_changes_only_in_the_orientation():
    before = camera_exif().tobytes()
    picture = decode(saved(Image.new("RGB", (30, 20)), "JPEG", exif=before))
    after = picture.metadata.exif
    assert after.startswith(b"Exif\0\0")
    assert len(after) == len(before)
    changed = [i for i in range(len(before)) if before[i] != after[i]]
    assert len(changed) == 1
    parsed = Image.Exif()
    parsed.load(after)
    assert parsed[ORIENTATION] == 1
    assert parsed[0x010F] == "Maker"
    assert parsed.get_ifd(0x8769)[0x927C] == b"maker note\0\1\2"


def test_exif_without_rotation_stays_as_it_is():
    exif = camera_exif(orientation=1).tobytes()
    for format in ("JPEG", "PNG", "WEBP"):
        assert decode(saved(Image.new("RGB", (9, 9)), format, exif=exif)).metadata.exif == exif


def test_the_thumbnail_goes_where_the_picture_is_turned():
    for order in "<>":
        ifd1 = struct.pack(order + "HHHIII", 1, 0x0201, 4, 1, 999, 0)
        for orientation, link in ((1, 26), (6, 0)):
            block = b"II*\0" if order == "<" else b"MM\0*"
            block += struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 26) + ifd1
            after = reset_orientation(block)
            assert struct.unpack_from(order + "HHHIHHI", after, 6 + 8) == (
                1,
                0x0112,
                3,
                1,
                1,
                0,
                link,
            )


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"rubbish"])
def test_broken_exif_is_left_out(exif):
    image = Image.new("RGB", (20, 30))
    for format in ("JPEG", "PNG", "WEBP"):
        picture = decode(saved(image, format, exif=exif))
        assert picture.metadata.exif is None
        assert (picture.width, picture.height) == (20, 30)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_is_no_orientation(orientation):
    exif = camera_exif(orientation).tobytes()
    assert decode(saved(Image.new("RGB", (20, 30)), "JPEG", exif=exif)).width == 20


def test_tiff_keeps_what_describes_the_picture():
    exif = Image.Exif()
    exif[0x013B] = "Artist"
    picture = decode(saved(Image.new("RGB", (4, 4)), "TIFF", exif=exif))
    parsed = Image.Exif()
    parsed.load(picture.metadata.exif)
    assert dict(parsed) == {0x013B: "Artist"}
    assert decode(saved(Image.new("RGB", (4, 4)), "TIFF")).metadata.exif is None


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_icc_is_kept_where_it_fits_the_pixels(format):
    rgb, gray = Image.new("RGB", (8, 8)), Image.new("L", (8, 8))
    assert decode(saved(rgb, format, icc_profile=SRGB)).metadata.icc == SRGB
    assert decode(saved(rgb, format, icc_profile=profile(b"GRAY"))).metadata.icc is None
    if decode(saved(gray, format)).gray:  # not WebP, nor AVIF in older Pillows
        assert decode(saved(gray, format, icc_profile=SRGB)).metadata.icc is None
        kept = decode(saved(gray, format, icc_profile=profile(b"GRAY"))).metadata.icc
        assert kept == profile(b"GRAY")
    assert decode(saved(rgb, format, icc_profile=b"short")).metadata.icc is None


def test_dpi():
    image = Image.new("RGB", (4, 4))
    for format in ("PNG", "JPEG", "TIFF", "BMP"):
        assert decode(saved(image, format, dpi=(300, 150))).metadata.dpi == pytest.approx(
            (300, 150), rel=1e-3
        )
    for format in ("PNG", "WEBP", "GIF", "TIFF"):
        assert decode(saved(image, format)).metadata.dpi is None


# --- source


@pytest.mark.parametrize("quality", range(1, 101))
def test_jpeg_quality_is_exact(quality):
    for image in (Image.new("RGB", (8, 8), (9, 99, 199)), Image.new("L", (8, 8), 9)):
        source = decode(saved(image, "JPEG", quality=quality)).source
        assert source == Source("JPEG", True, quality)


# The quality with the standard tables at which drawings have the same PSNR.
PHOTOSHOP = {
    "web_low": 40,
    "web_medium": 70,
    "web_high": 88,
    "web_very_high": 94,
    "web_maximum": 98,
    "low": 80,
    "medium": 86,
    "high": 90,
    "maximum": 94,
}


@pytest.mark.parametrize("name", PHOTOSHOP)
def test_jpeg_quality_of_photoshop(name):
    tables = JpegPresets.presets[name]["quantization"]
    data = saved(Image.new("RGB", (8, 8)), "JPEG", qtables=tables)
    assert abs(decode(data).source.jpeg_quality - PHOTOSHOP[name]) <= 5


def test_jpeg_quality_of_scaled_and_odd_tables():
    rng = np.random.default_rng(3)
    for quality in range(5, 98, 4):
        image = Image.open(io.BytesIO(saved(Image.new("RGB", (8, 8)), "JPEG", quality=quality)))
        shaken = {
            number: np.clip(np.rint(np.array(table) * rng.uniform(0.9, 1.1, 64)), 1, 255)
            for number, table in image.quantization.items()
        }
        assert abs(codec.estimate_quality(shaken) - quality) <= 3
    assert codec.estimate_quality({}) is None
    assert codec.estimate_quality({0: [1, 2, 3]}) is None
    assert codec.estimate_quality({0: [0] * 64}) is None
    assert codec.estimate_quality({0: [1] * 64}) == 100
    assert codec.estimate_quality({0: [65535] * 64, 1: [65535] * 64}) == 1
    flat = [12] * 64
    assert codec.estimate_quality({0: flat}) == codec.estimate_quality({0: flat, 1: flat})


def test_lossy_or_not():
    image = Image.fromarray(ramp(16, 16))
    rgba = Image.fromarray(ramp(16, 16, 4))
    for options, lossy in (({"lossless": True}, False), ({"quality": 80}, True)):
        for picture in (image, rgba):
            for extra in ({}, {"icc_profile": SRGB}):  # the simple and the extended container
                source = decode(saved(picture, "WEBP", **options, **extra)).source
                assert source == Source("WEBP", lossy, None)
    for compression, lossy in (
        *(("raw", False), ("tiff_lzw", False), ("tiff_adobe_deflate", False)),
        *(("packbits", False), ("jpeg", True)),
    ):
        assert decode(saved(image, "TIFF", compression=compression)).source.lossy is lossy
    assert decode(saved(image, "AVIF")).source == Source("AVIF", None, None)
    assert decode(saved(image, "JPEG2000")).source.lossy is None


@pytest.mark.parametrize(
    ("quality", "level"),
    [
        *((100, None), (96, None), (95, 0), (85, 0), (84, 1), (80, 1), (65, 1)),
        *((64, 2), (40, 2), (39, 3), (1, 3)),
    ],
)
def test_noise_level_of_a_jpeg(quality, level):
    assert choose_noise(Source("JPEG", True, quality)) == (level, f"JPEG quality {quality}")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (Source(), "not read from a file"),
        (Source("PNG", False), "PNG, lossless"),
        (Source("WEBP", False), "WebP, lossless"),
        (Source("WEBP", True), "WebP does not record its quality"),
        (Source("AVIF", None), "AVIF does not record its quality"),
        (Source("JPEG", True, None), "JPEG does not record its quality"),
    ],
)
def test_no_noise_level_and_why(source, reason):
    assert choose_noise(source) == (None, reason)


def test_a_camera_mpo_is_its_first_picture():
    first, second = (Image.new("RGB", (16, 16), color) for color in ("red", "blue"))
    data = saved(first, "MPO", save_all=True, append_images=[second], quality=90)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    picture = decode(data)
    notes = ("other pictures in the file: left out (1)",)
    assert picture.source == Source("JPEG", True, 90, notes=notes)
    assert picture.color[0, 0, 0] > 240


# --- frames


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_animations_are_refused_with_their_count(format):
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "green", "blue")]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:])
    text = refused(data)
    if format == "TIFF":
        assert "is a TIFF of 3 pages" in text
    else:
        assert "is an animation of 3 frames" in text
        assert text.endswith("not one picture; upscale it with `waifu2x.upscale_file`")


def test_a_smaller_copy_beside_a_tiff_is_no_frame():
    buffer = io.BytesIO()
    thumbnail = Image.new("RGB", (4, 4))
    thumbnail.encoderinfo = {"tiffinfo": {0x00FE: 1}}
    Image.new("RGB", (16, 16), "red").save(buffer, "TIFF", save_all=True, append_images=[thumbnail])
    opened = Image.open(buffer)
    opened.seek(1)
    if opened.tag_v2.get(0x00FE) != 1:
        pytest.skip("this Pillow does not mark the page")
    assert decode(buffer.getvalue()).width == 16


# --- limits


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_the_limit_is_exact_and_names_itself(format):
    data = saved(Image.new("L", (30, 20)), format)
    assert decode(data, max_pixels=600).width == 30
    text = refused(data, LimitError, max_pixels=599)
    assert "30x20, 600 pixels, and the limit is 599" in text
    assert text.endswith("; raise the limit with `max_pixels=`")


def test_a_huge_header_is_refused_before_its_pixels():
    bombs = [
        png((20000, 20000, 8, 2), [], b""),
        png((2_000_000, 2_000_000, 8, 2), [], b""),
        b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xfe\x3f\0\xfe\x3f\0",
        b"RIFF\x16\0\0\0WEBPVP8L\x0a\0\0\0\x2f\xff\xff\xff\x0f\0\0\0\0\0",
        b"P6 30000 30000 255\n",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bomb in bombs:
            text = refused(bomb, LimitError)
            assert "and the limit is 178956970" in text


def test_pillow_may_refuse_first(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = saved(Image.new("L", (30, 20)), "PNG")
    assert "raise PIL.Image.MAX_IMAGE_PIXELS too" in refused(data, LimitError)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(saved(Image.new("L", (15, 10)), "PNG")).width == 15  # Pillow would warn
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "9"])
def test_a_bad_limit_is_an_argument_error(value):
    with pytest.raises(ArgumentError, match="max_pixels is"):
        decode(b"", max_pixels=value)


def test_the_limit_of_the_environment(monkeypatch):
    monkeypatch.delenv("WAIFU2X_MAX_PIXELS", raising=False)
    assert codec.pixel_limit() == codec.DEFAULT_MAX_PIXELS == 178_956_970
    monkeypatch.setenv("WAIFU2X_MAX_PIXELS", " 599 ")
    assert codec.pixel_limit() == 599
    data = saved(Image.new("L", (30, 20)), "PNG")
    assert "the limit is 599" in refused(data, LimitError)
    assert decode(data, max_pixels=600).width == 30
    for nonsense in ("0", "-5", "1e9", "many", "1.5", "\uff19", "9" * 30):
        monkeypatch.setenv("WAIFU2X_MAX_PIXELS", nonsense)
        with pytest.raises(ArgumentError, match="it must be a number of pixels"):
            codec.pixel_limit()


# --- files that are no pictures


def test_missing_directory_empty_and_device(tmp_path):
    missing = tmp_path / "no" / "such.png"
    assert refused(missing) == f"{missing} does not exist"
    assert refused(tmp_path) == f"{tmp_path} is a directory; name a file in it"
    empty = tmp_path / "empty.png"
    empty.touch()
    assert refused(empty) == f"{empty} is empty (0 bytes); copy or download it again"
    (tmp_path / "file").write_bytes(b"x")
    assert "cannot be read" in refused(tmp_path / "file" / "below.png")
    assert "cannot be read" in refused("a\0b.png")
    if Path("/dev/zero").exists():
        assert "not a file" in refused("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_unreadable(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(b"x")
    path.chmod(0)
    assert "cannot be read: Permission denied" in refused(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello, I am a text file\n", "is not a picture in a supported format"),
        (b"\0" * 1000, "is not a picture"),
        (b"%PDF-1.7\n" + b"x" * 100, "is a PDF file, which is not supported"),
        (b"\xff\x0a" + b"x" * 100, "begins as JPEG XL"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 100, "is a HEIC file"),
        (b"\0\0\0\x18ftypisom" + b"\0" * 100, "is a video file"),
        (b"\x89PNG\r\n\x1a\n", "is truncated"),
        (b"\xff\xd8\xff\xe0", "damaged or truncated: it begins as JPEG"),
        (b"BM" + b"\0" * 9, "damaged or truncated: it begins as BMP"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is a PostScript file"),
    ],
)
def test_not_a_picture(data, words):
    assert words in refused(data)


def test_names_print_on_one_line(tmp_path):
    path = tmp_path / "two\nlines\x1b[31m.png"
    assert "two\\nlines\\x1b[31m.png" in refused(path)
    strange = os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff.png")
    refused(strange).encode("utf-8")  # must not raise


def test_non_ascii_names(tmp_path):
    path = tmp_path / "絵 ñ.png"
    Image.new("RGB", (3, 4)).save(path)
    assert codec.decode(path).height == 4
    assert codec.decode(str(path)).height == 4
    assert "絵" in refused(tmp_path / "絵2.png")


def test_the_cause_is_chained():
    with pytest.raises(DecodeError) as caught:
        decode(saved(Image.new("RGB", (64, 64)), "JPEG")[:-40])
    assert isinstance(caught.value.__cause__, OSError)


def test_a_flipped_bit_in_png_pixels_is_found():
    data = bytearray(saved(Image.fromarray(ramp(64, 64)), "PNG", compress_level=0))
    data[len(data) // 2] ^= 1
    assert "the checksum of its IDAT chunk is wrong" in refused(bytes(data))


def test_large_text_in_png_does_not_matter():
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 3_000_000)
    assert decode(saved(Image.new("RGB", (3, 4)), "PNG", pnginfo=info)).height == 4


# --- streams, threads, processes


def test_streams():
    data = saved(Image.fromarray(ramp()), "PNG")
    with io.BytesIO(b"skipped" + data) as stream:
        stream.seek(7)
        assert codec.decode(stream).width == 7
        assert not stream.closed
    with pytest.raises(ArgumentError, match="binary file object"):
        codec.decode(io.StringIO("text"))
    with pytest.raises(ArgumentError, match="binary file object"):
        codec.decode(42)
    closed = io.BytesIO(data)
    closed.close()
    with pytest.raises(DecodeError, match="the stream cannot be read"):
        codec.decode(closed)
    assert "the stream is empty" in refused(b"")


def test_an_endless_stream_ends():
    class Endless(io.RawIOBase):
        def read(self, size=-1):
            return bytes(size)

    with pytest.raises(LimitError, match="goes on beyond"):
        codec.decode(Endless(), max_pixels=1000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe(tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    data = saved(Image.fromarray(ramp()), "PNG")
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert codec.decode(pipe).width == 7
    writer.join()


def test_threads_leave_the_warning_filters_alone():
    palette = Image.fromarray(ramp(32, 32)).quantize(16)
    data = saved(palette, "PNG", transparency=bytes(range(16)))
    before = list(warnings.filters)
    failures = []

    def work():
        try:
            for _ in range(30):
                decode(data)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert warnings.filters == before


def test_files_are_closed(tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    data = saved(Image.fromarray(ramp(64, 64)), "PNG")
    good.write_bytes(data)
    bad.write_bytes(data[:-30])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        codec.decode(good)
        with pytest.raises(Waifu2xError):
            codec.decode(bad)
    for path in (good, bad):
        path.unlink()


def test_the_import_is_light():
    code = (
        "import sys, waifu2x.codec; "
        "import io; from PIL import Image; data = io.BytesIO(); "
        "Image.new('RGB', (8, 8)).save(data, 'PNG'); data.seek(0); waifu2x.codec.decode(data); "
        "heavy = {'torch', 'onnxruntime', 'onnx', 'imagecodecs', 'tifffile', 'pillow_jxl'}; "
        "assert not heavy & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ}, timeout=300)
