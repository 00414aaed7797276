"""More than 8 bits per channel, in every layout of files."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from helpers.art import anime_face
from helpers.decoding import decode
from PIL import Image, TiffImagePlugin

from waifu2x import codec
from waifu2x.errors import DecodeError, LimitError
from waifu2x.picture import Source

HEIGHT, WIDTH = 21, 33


def pixels(channels, dtype):
    """A drawn picture whose low bits differ everywhere."""
    face = np.asarray(anime_face(WIDTH, HEIGHT))[:, :, :3].astype(np.float64) / 255
    planes = np.dstack([face, face[:, :, :1]])[:, :, [0, 3] if channels == 2 else range(channels)]
    noise = np.random.default_rng(channels).random(planes.shape) / 300
    values = np.clip(planes * 0.99 + noise, 0, 1)
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    return np.floor(values * np.iinfo(dtype).max + 0.5).astype(dtype)


def joined(picture):
    parts = [picture.color] if picture.alpha is None else [picture.color, picture.alpha]
    return np.dstack(parts)


def tiff(array, **options):
    channels = array.shape[2]
    options = {"metadata": None, "photometric": "rgb" if channels > 2 else "minisblack"} | options
    if options.get("planarconfig") == "separate":
        if channels == 1:
            del options["planarconfig"]
        else:
            array = np.moveaxis(array, 2, 0)
    if channels in (2, 4):
        options.setdefault("extrasamples", ["unassalpha"])
    if channels == 1:
        array = array.reshape(array.shape[:2])
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


# --- PNG


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_keeps_sixteen_bits(channels):
    array = pixels(channels, np.uint16)
    picture = decode(imagecodecs.png_encode(array.squeeze()))
    assert picture.color.dtype == np.uint16
    assert picture.color.flags.c_contiguous
    assert picture.source == Source("PNG", False, None, False)
    np.testing.assert_array_equal(joined(picture), array)


def test_png_of_sixteen_bits_interlaced_and_turned():
    array = pixels(3, np.uint16)
    raw = b""
    for y, x, dy, dx in (
        *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)),
        *((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
    ):
        for row in array[y::dy, x::dx]:
            raw += b"\0" + row.astype(">u2").tobytes()

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    exif = Image.Exif()
    exif[0x0112] = 6
    data = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 1)
    )
    data += chunk(b"IDAT", zlib.compress(raw))
    data += chunk(b"eXIf", exif.tobytes()[6:]) + chunk(b"IEND", b"")  # EXIF after the pixels
    picture = decode(data)
    np.testing.assert_array_equal(picture.color, np.rot90(array, -1))
    with pytest.raises(DecodeError):
        decode(data.replace(zlib.compress(raw)[:40], bytes(40)))


# --- TIFF


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd", "lzma"])
def test_tiff_in_every_layout(channels, dtype, compression):
    array = pixels(channels, dtype)
    expected = array if dtype == "uint16" else array.astype(np.float32)
    layouts = [
        {},
        {"rowsperstrip": 5, "byteorder": ">"},
        {"tile": (16, 32), "byteorder": ">"},
        {"planarconfig": "separate", "rowsperstrip": 5},
        {"planarconfig": "separate", "tile": (16, 16)},
        {"bigtiff": True},
    ]
    if compression not in (None, "packbits"):
        layouts += [{**one, "predictor": True} for one in layouts]
    for layout in layouts:
        picture = decode(tiff(array, compression=compression, **layout))
        assert picture.color.dtype == expected.dtype, layout
        np.testing.assert_array_equal(joined(picture), expected, err_msg=str(layout))
        assert picture.source == Source("TIFF", False, None, False)


def test_tiff_with_white_at_zero():
    for dtype, white in (("uint16", 65535), ("float32", np.float32(1))):
        array = pixels(1, dtype)
        for order in "<>":
            data = tiff(array, photometric="miniswhite", byteorder=order)
            np.testing.assert_array_equal(decode(data).color, white - array)


def test_tiff_with_premultiplied_alpha():
    straight = pixels(4, np.uint16)
    straight[:, :, 3] = np.linspace(0, 65535, WIDTH)[None, :]
    alpha = straight[:, :, 3:].astype(np.uint64)
    stored = straight.copy()
    stored[:, :, :3] = (straight[:, :, :3] * alpha + 32767) // 65535
    picture = decode(tiff(stored, extrasamples=["assocalpha"]))
    np.testing.assert_array_equal(picture.alpha, straight[:, :, 3])
    off = np.abs(picture.color.astype(int) - straight[:, :, :3])
    assert np.all(off <= 32768 / np.maximum(alpha, 0.5) + 1)
    assert picture.color[alpha[:, :, 0] == 0].max() == 0
    picture = decode(tiff((stored / 65535).astype(np.float32), extrasamples=["assocalpha"]))
    solid = alpha[:, :, 0] > 6000
    assert np.abs(picture.color[solid] * 65535 - straight[solid][:, :3]).max() < 12


@pytest.mark.parametrize("kind", [0, 2])
def test_tiff_with_a_sample_too_many(kind):
    array = pixels(4, np.uint16)
    picture = decode(tiff(array, extrasamples=[kind]))
    np.testing.assert_array_equal(picture.color, array[:, :, :3])
    assert (picture.alpha is None) == (kind == 0)


def test_tiff_of_twelve_bits_spans_the_whole_range():
    array = np.array([[[0, 4095, 1], [2048, 7, 4094]]], np.uint16)
    bits = "".join(f"{value:012b}" for value in array.ravel())
    packed = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    tags = [
        (256, 2),
        (257, 1),
        (258, 12),
        (259, 1),
        (262, 2),
        (273, 0),
        (277, 3),
        (279, len(packed)),
    ]
    body = b""
    for tag, value in tags:
        value = 8 + 2 + 12 * len(tags) + 4 if tag == 273 else value
        body += struct.pack("<HHII", tag, 4, 1, value)
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + body + bytes(4) + packed
    picture = decode(data)
    expected = (array << 4) | (array >> 8)
    np.testing.assert_array_equal(picture.color, expected)


@pytest.mark.parametrize("value", [255.0, -3.0, np.nan, np.inf, 1e300])
def test_float_rgb_in_other_units_is_refused(value):
    array = pixels(3, np.float64)
    array[3, 4, 1] = value
    with pytest.raises(DecodeError, match=r"finite|must be in \[0, 1\]"):
        decode(tiff(array))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_is_made_upright(orientation):
    array = pixels(4, np.uint16)
    extra = [(274, 3, 1, orientation, True)]
    picture = decode(tiff(array, extratags=extra, resolution=(100, 50), resolutionunit=3))
    eight = (array >> 8).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(eight).save(buffer, "TIFF", exif=exif)
    expected = joined(decode(buffer.getvalue()))
    np.testing.assert_array_equal(joined(picture) >> 8, expected)
    dpi = (254, 127) if orientation < 5 else (127, 254)
    assert picture.metadata.dpi == pytest.approx(dpi)


def test_tiff_metadata_where_pillow_cannot_open_it():
    xmp = b'<x:xmpmeta><a tiff:Orientation="3" dc:creator="me"/></x:xmpmeta>'
    icc = b"\0" * 16 + b"RGB " + b"\0" * 16 + b"acsp" + b"\0" * 88
    extra = [(700, 1, len(xmp), xmp, True), (34675, 7, len(icc), icc, True)]
    extra += [(315, 2, 0, "Artist", True), (271, 2, 0, "Maker", True)]
    array = pixels(3, np.float32)
    data = tiff(array, extratags=extra)
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(data))
    picture = decode(data)
    np.testing.assert_array_equal(picture.color, array)  # not rotated by XMP
    assert picture.metadata.icc == icc
    assert picture.metadata.xmp == xmp.replace(b'"3"', b'"1"')
    parsed = Image.Exif()
    parsed.load(picture.metadata.exif)
    assert parsed[0x013B] == "Artist"
    assert parsed[0x010F] == "Maker"
    assert 256 not in parsed


def test_tiff_keeps_its_exif_and_gps_directories():
    for dtype in (np.uint8, np.uint16):
        array = pixels(1, dtype)[:, :, 0]
        exif = Image.Exif()
        exif[0x0110] = "Model"
        exposure = TiffImagePlugin.IFDRational(1, 125)
        exif[0x8769] = {0x829A: exposure, 0x9003: "2020:01:02 03:04:05"}
        exif[0x8825] = {1: "N", 2: (48.0, 51.0, 30.0)}
        whole = Image.Exif()
        whole.load(exif.tobytes())
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "TIFF", exif=whole)
        parsed = Image.Exif()
        parsed.load(decode(buffer.getvalue()).metadata.exif)
        assert parsed[0x0110] == "Model"
        assert parsed.get_ifd(0x8769)[0x829A] == pytest.approx(1 / 125)
        assert parsed.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
        assert parsed.get_ifd(0x8825)[1] == "N"
        assert [float(v) for v in parsed.get_ifd(0x8825)[2]] == [48, 51, 30]


# --- hostile TIFF


def patched(data, tag, value, kind=4):
    """Replace the value of a tag of a little-endian TIFF by a LONG."""
    data = bytearray(data)
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, at)[0] == tag:
            struct.pack_into("<HII", data, at + 2, kind, 1, value)
            return bytes(data)
    raise AssertionError(f"no tag {tag}")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_absurd_tiffs_are_refused_before_anything_is_allocated(dtype):
    plain = tiff(pixels(3, dtype), compression="zlib")
    tiled = tiff(pixels(3, dtype), compression="zlib", tile=(16, 16))
    for data, error in (
        (patched(patched(plain, 256, 100_000), 257, 100_000), LimitError),
        (patched(plain, 277, 60_000), DecodeError),
        (patched(plain, 256, 0), DecodeError),
        (patched(tiled, 322, 1 << 30), LimitError),
        (patched(tiled, 323, 0), DecodeError),
        (patched(plain, 278, 1), DecodeError),
        (plain[:8] + b"\xff\xff" + plain[10:], DecodeError),
    ):
        with pytest.raises(error) as caught:
            decode(data)
        assert "\n" not in str(caught.value)


def test_a_strip_that_unpacks_to_more_is_refused_or_cut():
    array = pixels(3, np.uint16)
    small = tiff(array, compression="zlib")
    bomb = zlib.compress(bytes(50_000_000), 9)
    data = patched(patched(small, 273, len(small)), 279, len(bomb)) + bomb
    with pytest.raises(DecodeError):
        decode(data)


def test_strips_that_lie_in_one_another():
    data = tiff(pixels(1, np.uint16), rowsperstrip=1, compression="zlib")
    data += bytes(len(data) * 4)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages.first.tags[279]
    wide = {3: "H", 4: "I"}[int(tag.dtype)]
    most = min(len(data) // 2, 65535)
    data = bytearray(data)
    struct.pack_into(f"<{tag.count}{wide}", data, tag.valueoffset, *[most] * tag.count)
    with pytest.raises(DecodeError, match="overlap"):
        decode(bytes(data))


def test_directories_that_loop_or_lie_in_one_another():
    data = bytearray(tiff(pixels(3, np.uint16)))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    link = start + 2 + 12 * count
    struct.pack_into("<I", data, link, start)  # to itself
    assert decode(bytes(data)).width == WIDTH
    many = bytes(data[:link]) + struct.pack("<I", len(data)) + bytes(data[link + 4 :])
    many += b"".join(struct.pack("<HI", 0, len(data) + 6 * (i + 1)) for i in range(200_000))
    with pytest.raises(DecodeError, match="pages"):
        decode(many)


# --- other formats


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_jpeg2000_and_jxl(channels, bits):
    array = pixels(channels, np.uint16) >> (16 - bits)
    wide = (array << (16 - bits)) | (array >> (2 * bits - 16) if bits < 16 else 0)
    data = imagecodecs.jpeg2k_encode(array.squeeze(), level=0, bitspersample=bits)
    picture = decode(data)
    np.testing.assert_array_equal(joined(picture), wide)
    assert not picture.source.reduced
    pytest.importorskip("pillow_jxl")
    data = imagecodecs.jpegxl_encode(array.squeeze(), lossless=True, bitspersample=bits)
    np.testing.assert_array_equal(joined(decode(data)), wide)


@pytest.mark.parametrize("bits", [10, 12])
def test_avif(bits):
    array = pixels(3, np.uint16) >> (16 - bits)
    picture = decode(imagecodecs.avif_encode(array, bitspersample=bits, level=100))
    wide = (array << (16 - bits)) | (array >> (2 * bits - 16))
    np.testing.assert_array_equal(picture.color, wide)
    assert picture.source == Source("AVIF", None, None, False)


def test_ppm():
    array = pixels(3, np.uint16)
    data = b"P6 # a comment\n%d %d\n65535\n" % (WIDTH, HEIGHT) + array.astype(">u2").tobytes()
    np.testing.assert_array_equal(decode(data).color, array)
    with pytest.raises(DecodeError, match="truncated"):
        decode(data[:-1])
    less = array >> 6
    data = b"P6 %d %d 1023\n" % (WIDTH, HEIGHT) + less.astype(">u2").tobytes()
    expected = (less.astype(np.int64) * 65535 + 511) // 1023
    np.testing.assert_array_equal(decode(data).color, expected)
    text = decode(b"P3 1 1 65535 65535 0 300")
    assert text.color.tolist() == [[[65535, 0, 300]]]
    assert text.source == Source("PPM", False)


def test_a_lazily_opened_image_stays_what_pillow_gives():
    image = Image.open(io.BytesIO(imagecodecs.png_encode(pixels(3, np.uint16))))
    picture = codec.from_image(image)
    assert picture.color.dtype == np.uint8
    assert picture.source.reduced
