"""Every variant of TIFF: read right, or refused by name."""

import io
import struct
import warnings
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
import tifffile
from helpers.decoding import decode, refused
from helpers.profiles import cmyk_profile
from PIL import Image

from waifu2x import codec
from waifu2x.picture import Metadata

HEIGHT, WIDTH = 19, 35


def samples(channels, dtype=np.uint8):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = np.stack([(x * 5 + y * 3 + 40 * index) % 256 for index in range(channels)], axis=-1)
    if np.dtype(dtype).kind == "f":
        return (planes / 255).astype(dtype)
    return (planes * (np.iinfo(dtype).max // 255)).astype(dtype)


def smooth():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 7, y * 13, 255 - x * 3 - y * 7], -1).clip(0, 255).astype(np.uint8)


def written(array, photometric="rgb", extra=(), planar="contig", **options):
    """A TIFF of (H, W, C) samples."""
    buffer = io.BytesIO()
    if array.shape[2] == 1:
        array, planar = array[:, :, 0], None
    elif planar == "separate":
        array = np.moveaxis(array, 2, 0)
    options = {"metadata": None, "photometric": photometric, "planarconfig": planar} | options
    tifffile.imwrite(buffer, array, extrasamples=extra or None, **options)
    return buffer.getvalue()


def handmade(tags, pixels, order="<"):
    """A TIFF of one strip; tags: (tag, type, values)."""
    letters = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 9: "i"}
    tags = sorted([*tags, (273, 4, (0,)), (279, 4, (len(pixels),))])
    start = 8 + 2 + 12 * len(tags) + 4
    body, late = struct.pack(order + "H", len(tags)), b""
    sizes = [struct.calcsize("=" + letters[kind]) * len(values) for _, kind, values in tags]
    pixels_at = start + sum(size + size % 2 for size in sizes if size > 4)
    for (tag, kind, values), size in zip(tags, sizes, strict=True):
        values = (pixels_at,) if tag == 273 else values
        data = struct.pack(f"{order}{len(values)}{letters[kind]}", *values)
        count = len(values) // 2 if kind == 5 else len(values)
        body += struct.pack(order + "HHI", tag, kind, count)
        if size > 4:
            body += struct.pack(order + "I", start + len(late))
            late += data + bytes(size % 2)
        else:
            body += data.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + body + bytes(4) + late + pixels


def basic(photometric=1, bits=(8,), compression=1, width=4, height=2):
    return [
        (256, 4, (width,)),
        (257, 4, (height,)),
        (258, 3, bits),
        (259, 3, (compression,)),
        (262, 3, (photometric,)),
        (277, 3, (len(bits),)),
    ]


# --- layouts

LAYOUTS = [
    ("minisblack", 1, ()),
    ("minisblack", 1, (2,)),
    ("minisblack", 1, (0,)),
    ("minisblack", 1, (0, 2)),
    ("miniswhite", 1, (2,)),
    ("rgb", 3, ()),
    ("rgb", 3, (2,)),
    ("rgb", 3, (0,)),
    ("rgb", 3, (0, 2)),
    ("rgb", 3, (2, 0)),
]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(("photometric", "colors", "extra"), LAYOUTS)
def test_layouts(photometric, colors, extra, planar, dtype):
    array = samples(colors + len(extra), dtype)
    expected = array[:, :, :colors]
    if photometric == "miniswhite":
        expected = (1 if array.dtype.kind == "f" else np.iinfo(dtype).max) - expected
    for compression in (None, "lzw", "zstd"):
        for options in ({}, {"tile": (16, 16)}, {"byteorder": ">", "rowsperstrip": 4}):
            for big in (False, True):
                data = written(
                    *(array, photometric, extra, planar),
                    **{"compression": compression, "bigtiff": big, **options},
                )
                picture = decode(data)
                np.testing.assert_array_equal(picture.color, expected)
                assert (picture.alpha is not None) == (2 in extra)
                if picture.alpha is not None:
                    np.testing.assert_array_equal(
                        picture.alpha, array[:, :, colors + extra.index(2)]
                    )
                noted = "channels beyond color and alpha: 1 left out" in picture.source.notes
                assert noted == (0 in extra)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("extra", [(), (2,), (0,), (1,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_cmyk(planar, extra, dtype):
    array = samples(4 + len(extra), dtype)
    full = np.iinfo(dtype).max
    inks = array[:, :, :4] / full
    if 1 in extra:
        inks = np.minimum(inks / np.maximum(array[:, :, 4:] / full, 1e-9), 1)
    picture = decode(written(array, "separated", extra, planar, byteorder=">"))
    assert picture.color.dtype == dtype
    assert picture.source.converted == "CMYK"
    expected = (1 - inks[:, :, :3]) * (1 - inks[:, :, 3:])
    visible = array[:, :, 4] > full // 8 if 1 in extra else np.ones(array.shape[:2], bool)
    assert np.abs(picture.color / full - expected)[visible].max() < 0.009
    assert (picture.alpha is None) == (extra in ((), (0,)))
    if picture.alpha is not None:
        np.testing.assert_array_equal(picture.alpha, array[:, :, 4])


def test_sixteen_bit_cmyk_goes_through_its_profile():
    icc = cmyk_profile()
    extra = [(34675, 7, len(icc), icc, True)]
    eight = samples(4)
    deep = eight.astype(np.uint16) * 257
    pictures = [
        decode(written(array, "separated", (), planar, extratags=extra))
        for array, planar in ((eight, "contig"), (eight, "separate"), (deep, "separate"))
    ]
    np.testing.assert_array_equal(pictures[0].color, pictures[1].color)
    assert pictures[2].color.dtype == np.uint16
    assert np.abs(pictures[2].color / 257 - pictures[0].color).max() < 2
    assert all(picture.metadata.icc is None for picture in pictures)


@pytest.mark.parametrize("bits", [1, 2, 4, 5, 7])
@pytest.mark.parametrize("colors", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_packed_samples(bits, colors, alpha):
    most = (1 << bits) - 1
    channels = colors + alpha
    values = (np.arange(4 * 2 * channels) * 3 % (most + 1)).reshape(2, 4, channels)
    rows = ["".join(f"{value:0{bits}b}" for value in row.ravel()) for row in values]
    packed = b"".join(
        int(row.ljust(-len(row) % 8 + len(row), "0"), 2).to_bytes(-(-len(row) // 8), "big")
        for row in rows
    )
    tags = basic(1 if colors == 1 else 2, (bits,) * channels)
    if alpha:
        tags.append((338, 3, (2,)))
    picture = decode(handmade(tags, packed))
    expected = np.floor(values * 255 / most + 0.5)
    np.testing.assert_array_equal(picture.color, expected[:, :, :colors])
    if alpha:
        np.testing.assert_array_equal(picture.alpha, expected[:, :, colors])


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_palettes(bits):
    count = 1 << bits
    colors = (np.arange(3 * count) * 7919 % 65536).astype(np.uint16).reshape(3, count)
    indices = np.arange(8) % count
    rows = ["".join(f"{value:0{bits}b}" for value in row) for row in indices.reshape(2, 4)]
    packed = b"".join(int(row.ljust(8, "0"), 2).to_bytes(max(1, bits // 2), "big") for row in rows)
    tags = [*basic(3, (bits,)), (320, 3, tuple(colors.ravel().tolist()))]
    picture = decode(handmade(tags, packed, ">"))
    expected = colors.T[indices].reshape(2, 4, 3)
    if bits < 16:
        expected = expected >> 8
    np.testing.assert_array_equal(picture.color, expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("photometric", "bits"), [(8, 8), (8, 16), (9, 8), (9, 16)])
def test_cielab(photometric, bits, order):
    # sRGB (194, 25, 32) for D50, by Little CMS.
    lab = 42.4, 62.9, 44.1
    if photometric == 8:
        scale = 1 if bits == 8 else 256
        values = [lab[0] / 100 * ((1 << bits) - 1), lab[1] * scale, lab[2] * scale]
    else:
        values = [lab[0] * 2.55, lab[1] + 128, lab[2] + 128]
        if bits == 16:
            values = [lab[0] * 652.8, values[1] * 256, values[2] * 256]
    pixel = struct.pack(order + ("3B" if bits == 8 else "3H"), *map(round, values))
    picture = decode(handmade(basic(photometric, (bits,) * 3), pixel * 8, order))
    scale = 1 if bits == 8 else 257
    assert np.abs(picture.color / scale - (194, 25, 32)).max() <= 2
    assert picture.source.converted == "LAB"


def test_planar_cielab_is_read_as_interleaved():
    array = np.random.default_rng(3).integers(0, 256, (5, 7, 3), np.uint8)
    tags = basic(8, (8, 8, 8), width=7, height=5)
    plain = decode(handmade(tags, array.tobytes())).color
    planes = [np.ascontiguousarray(array[:, :, channel]).tobytes() for channel in range(3)]
    head = [tag for tag in tags if tag[0] not in (273, 279)]
    data = handmade([*head, (278, 4, (5,)), (284, 3, (2,))], b"".join(planes))
    # One strip per plane.
    at = data.index(struct.pack("<HH", 273, 4))
    first = struct.unpack_from("<I", data, at + 8)[0]
    data = data[:at] + struct.pack("<HHII", 273, 4, 3, len(data)) + data[at + 12 :]
    at = data.index(struct.pack("<HH", 279, 4))
    data = data[:at] + struct.pack("<HHII", 279, 4, 3, len(data) + 12) + data[at + 12 :]
    data += struct.pack("<6I", first, first + 35, first + 70, 35, 35, 35)
    assert np.abs(decode(data).color.astype(int) - plain).max() <= 4


def ycbcr(sub, width, height, order="<"):
    """A TIFF of raw YCbCr, and its colors; chroma is repeated."""
    across, down = sub
    columns, rows = -(-width // across), -(-height // down)
    random = np.random.default_rng(0)
    luma = random.integers(60, 200, (rows * down, columns * across))
    blue, red = (random.integers(100, 156, (rows, columns)) for _ in range(2))
    body = bytearray()
    for y in range(rows):
        for x in range(columns):
            block = luma[y * down : (y + 1) * down, x * across : (x + 1) * across]
            body += block.astype(np.uint8).tobytes() + bytes([blue[y, x], red[y, x]])
    cb, cr = (np.kron(plane - 128, np.ones((down, across))) for plane in (blue, red))
    rgb = np.stack([luma + 1.402 * cr, luma - 0.344136 * cb - 0.714136 * cr, luma + 1.772 * cb], -1)
    tags = [
        *basic(6, (8, 8, 8), width=width, height=height),
        (530, 3, sub),
        (532, 5, (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1)),
    ]
    return handmade(tags, bytes(body), order), rgb[:height, :width].clip(0, 255)


@pytest.mark.parametrize("sub", [(1, 1), (2, 1), (2, 2), (1, 2), (4, 1), (4, 2)])
@pytest.mark.parametrize("size", [(35, 19), (36, 20), (34, 17), (1, 1), (3, 2)])
def test_ycbcr_of_any_subsampling_and_size(sub, size):
    for order in "<>":
        data, expected = ycbcr(sub, *size, order)
        assert np.abs(decode(data).color - expected).max() <= 2


@pytest.mark.parametrize("big", [False, True])
def test_planar_ycbcr(big):
    stored = np.random.default_rng(0).integers(80, 170, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    luma, blue, red = np.moveaxis(stored.astype(float), 2, 0)
    blue, red = blue - 128, red - 128
    expected = np.stack(
        [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=2
    )
    levels = [(532, 5, 6, (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1), True)]
    options = {"subsampling": (1, 1), "bigtiff": big, "byteorder": ">", "extratags": levels}
    for planar in ("contig", "separate"):
        picture = decode(written(stored, "ycbcr", (), planar, **options))
        assert np.abs(picture.color - expected.clip(0, 255)).max() <= 1


@pytest.mark.parametrize("sub", [(4, 4), (2, 4), (3, 1)])
def test_other_subsampling_is_named(sub):
    text = refused(ycbcr(sub, 8, 8)[0])
    assert f"chroma subsampled by {sub[0]}x{sub[1]}, which is not supported" in text


# --- compressions


@pytest.mark.parametrize("extra", [(), (2,), (0,)])
def test_webp_in_tiff(extra):
    array = samples(3 + len(extra))
    for tile in (None, (16, 16)):
        data = written(array, "rgb", extra, compression="webp", tile=tile)
        picture = decode(data)
        shown = slice(None) if 2 not in extra else array[:, :, 3] > 0
        np.testing.assert_array_equal(picture.color[shown], array[:, :, :3][shown])
        assert (picture.alpha is None) == (2 not in extra)


@pytest.mark.parametrize("compression", ["jpeg2000", "jpegxl", "lzma", "zlib", "packbits"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_lossless_compressions(compression, dtype, channels):
    array = samples(channels, dtype)
    photometric = "minisblack" if channels == 1 else "rgb"
    extra = (2,) if channels == 4 else ()
    picture = decode(written(array, photometric, extra, compression=compression))
    np.testing.assert_array_equal(picture.color, array[:, :, :3])
    assert picture.source.lossy is (None if compression in ("jpeg2000", "jpegxl") else False)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("big", [False, True])
def test_jpeg_in_tiff(planar, channels, big):
    base = smooth()
    array = np.dstack([base, base[:, :, :1] // 2])[:, :, :channels]
    photometric = {1: "minisblack", 3: "rgb", 4: "separated"}[channels]
    options = {"compression": "jpeg", "compressionargs": {"level": 98}, "tile": (16, 16)}
    data = written(array, photometric, (), planar, byteorder=">", bigtiff=big, **options)
    expected = array
    if channels == 4:
        expected = np.asarray(Image.fromarray(array, "CMYK").convert("RGB"))
    picture = decode(data)
    difference = np.abs(picture.color.astype(int) - expected)
    assert difference.mean() < (5 if channels == 3 else 1.5)
    assert picture.source.lossy is True


@pytest.mark.parametrize("channels", [1, 3])
def test_twelve_bit_jpeg_in_tiff(channels):
    array = smooth()[:, :, :channels].astype(np.uint16) * 16 + 8
    arguments = {"bitspersample": 12, "level": 98}
    photometric = "minisblack" if channels == 1 else "rgb"
    data = written(array, photometric, compression="jpeg", compressionargs=arguments)
    picture = decode(data)
    assert picture.color.dtype == np.uint16
    assert np.abs(picture.color / 65535 - array / 4095).mean() < 0.01


def old_jpeg(gray=False, samples_tag=True):
    image = Image.fromarray(smooth())
    buffer = io.BytesIO()
    (image.convert("L") if gray else image).save(buffer, "JPEG", quality=95, subsampling=0)
    stream = buffer.getvalue()
    bits = (8,) if gray else (8, 8, 8)
    tags = basic(1 if gray else 6, bits, 6, WIDTH, HEIGHT)
    if not samples_tag:
        tags = [tag for tag in tags if tag[0] != 277]
    tags += [(513, 4, (0,)), (514, 4, (len(stream),)), (278, 4, (HEIGHT,))]
    if not gray:
        tags.append((530, 3, (1, 1)))
    data = handmade(tags, stream)
    at = data.index(struct.pack("<HHI", 513, 4, 1)) + 8
    return data[:at] + struct.pack("<I", len(data) - len(stream)) + data[at + 4 :]


@pytest.mark.parametrize("samples_tag", [True, False])
def test_old_style_jpeg(samples_tag):
    picture = decode(old_jpeg(samples_tag=samples_tag))
    assert np.abs(picture.color.astype(int) - smooth()).mean() < 1.5
    assert picture.source.lossy is True


def test_old_style_jpeg_that_cannot_be_read_is_not_called_damaged():
    assert "old-style JPEG compression" in refused(old_jpeg(gray=True))
    broken = old_jpeg().replace(b"\xff\xdb", b"\xff\xfe")
    assert "old-style JPEG compression that cannot be read" in refused(broken)


@pytest.mark.parametrize(
    ("compression", "name"),
    [
        (9, "JBIG (T.85)"),
        (22610, "JPEG XR"),
        (32766, "NeXT"),
        (32809, "ThunderScan"),
        (32895, "IT8 CT"),
        (32908, "PixarFilm"),
        (32909, "PixarLog"),
        (33003, "JPEG 2000 (YCbCr)"),
        (34661, "JBIG"),
        (34676, "SGI LogLuv"),
        (34887, "LERC"),
        (34892, "lossy JPEG (DNG)"),
        (34933, "PNG"),
        (34934, "JPEG XR"),
        (12345, "compression 12345"),
    ],
)
def test_other_compressions_are_named(compression, name):
    text = refused(handmade(basic(2, (8, 8, 8), compression), bytes(24)))
    assert name in text
    assert "which is not supported; save it as 8 or 16-bit RGB" in text


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        (basic(4, (1,)), "a transparency mask instead of a picture"),
        (basic(10, (8, 8, 8)), "ITU L*a*b* colors"),
        (basic(32803, (16,)), "raw camera data (a color filter array)"),
        (basic(32845, (16, 16, 16)), "LogLuv samples"),
        (basic(34892, (16, 16, 16)), "raw camera data (linear)"),
        (basic(777, (8,)), "an unknown color space (photometric 777)"),
        ([*basic(5, (8,) * 4), (332, 3, (2,))], "inks other than CMYK"),
        (basic(2, (5, 6, 5)), "samples of different sizes or types"),
        (basic(1, (64,)), "samples of 64 bits"),
        ([*basic(1, (8,)), (339, 3, (5,))], "samples of 8 bits (sample format 5)"),
        (basic(2, (8, 8)), "2 samples per pixel"),
        (basic(6, (16, 16, 16)), "YCbCr samples of 16 bits"),
        (basic(8, (4, 4, 4)), "CIELab colors of 4 bits as unsigned integers"),
        (
            [*basic(8, (16,) * 3), (339, 3, (2,) * 3)],
            "CIELab colors of 16 bits as signed integers",
        ),
        (basic(6, (8,) * 4), "YCbCr samples"),
        (
            [*basic(6, (8, 8, 8), 7), (284, 3, (2,))],
            "YCbCr samples with alpha, or as JPEG in planes",
        ),
        ([*basic(5, (32,) * 4), (339, 3, (3,) * 4)], "CMYK of 32 bits as floats"),
        ([*basic(3, (32,)), (339, 3, (3,))], "a palette of 32 bits as floats"),
        ([*basic(1, (8,)), (254, 4, (1,)), (330, 4, (8,))], "a preview of raw camera data"),
    ],
)
def test_other_layouts_are_named(tags, name):
    text = refused(handmade(tags, bytes(256)))
    assert f"is a TIFF with {name}" in text
    assert "not supported" in text


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_signed_samples_are_read_if_none_is_negative(bits):
    letter = {8: "b", 16: "h", 32: "i"}[bits]
    tags = [*basic(1, (bits,)), (339, 3, (2,))]
    picture = decode(handmade(tags, struct.pack("<8" + letter, *range(8))))
    assert picture.color.ravel().tolist() == list(range(8))
    assert "from -1 to 6" in refused(handmade(tags, struct.pack("<8" + letter, *range(-1, 7))))


def test_a_strip_that_declares_another_size_is_refused_before_it_is_decoded():
    large = Image.new("RGB", (4000, 4000))
    for compression, format in ((50001, "WEBP"), (34712, "JPEG2000"), (7, "JPEG")):
        buffer = io.BytesIO()
        large.save(buffer, format)
        stream = buffer.getvalue()
        if format == "JPEG2000":
            stream = stream[stream.index(b"\xff\x4f\xff\x51") :]
        planar = [] if compression != 7 else [(284, 3, (1,)), (258, 3, (8, 8, 8))]
        tags = [tag for tag in basic(2, (8, 8, 8), compression) if tag[0] != 258 or not planar]
        assert "damaged" in refused(handmade([*tags, *planar], stream))


# --- pages and labels


def test_a_mask_is_no_page_and_noted():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(samples(3), photometric="rgb", metadata=None)
        mask = np.ones((HEIGHT, WIDTH), bool)
        writer.write(mask, photometric=4, subfiletype=4, metadata=None)
    picture = decode(buffer.getvalue())
    np.testing.assert_array_equal(picture.color, samples(3))
    assert picture.source.notes == ("the transparency mask: left out",)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_texts_keep_their_bytes(dtype, order, big):
    artist = "作者 é".encode() + b"\0"
    data = written(
        samples(3, dtype),
        byteorder=order,
        bigtiff=big,
        software="",
        extratags=[(315, 2, len(artist), artist, True), (33432, 2, 0, "plain", True)],
    )
    exif = decode(data).metadata.exif
    assert artist in exif
    assert b"plain\0" in exif
    parsed = Image.Exif()
    parsed.load(exif)
    assert parsed[33432] == "plain"
    if not big:
        image = Image.open(io.BytesIO(data))
        if image.mode == "RGB" and dtype == np.uint8:
            assert artist in codec.from_image(image).metadata.exif


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff"])
def test_texts_keep_their_bytes_in_every_output(format):
    artist = "作者".encode() + b"\0"
    data = written(samples(3), extratags=[(315, 2, len(artist), artist, True)])
    buffer = io.BytesIO()
    codec.encode_stream(decode(data), buffer, codec.resolve_format(None, format))
    assert artist in buffer.getvalue()
    assert artist in decode(buffer.getvalue()).metadata.exif


def test_texts_and_makers_notes_keep_their_bytes_beside_floats():
    """Float samples are written in little-endian order, and a big-endian block is converted."""
    artist, note = "作者".encode() + b"\0", b"Maker\0" + bytes(range(1, 60))
    exif = Image.Exif()
    exif.endian = ">"
    exif[0x8298] = "me"
    exif[0x8769] = {0x927C: note, 0x829A: 0.25, 0xA002: 9, 0x9214: (1, 2, 3, 4)}
    block = exif.tobytes().replace(b"me\0", "é".encode() + b"\0")
    assert block[6:8] == b"MM"
    picture = codec.from_array(samples(3, np.float32))
    picture = replace(picture, metadata=Metadata(exif=block))
    buffer = io.BytesIO()
    codec.encode_stream(picture, buffer, codec.resolve_format(None, "tiff"))
    written_exif = decode(buffer.getvalue()).metadata.exif
    assert written_exif[6:8] == b"II"
    assert written_exif.index(note) == block.index(note)
    assert "é".encode() + b"\0" in written_exif
    parsed = Image.Exif()
    parsed.load(written_exif)
    inner = parsed.get_ifd(0x8769)
    assert inner[0x829A] == 0.25
    assert inner[0x9214] == (1, 2, 3, 4)
    data = written(samples(3, np.float32), byteorder=">", extratags=[(315, 2, 0, artist, True)])
    assert artist in decode(data).metadata.exif


@pytest.mark.parametrize("kind", [1, 3, 4, 6, 8, 9])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_orientation_of_every_integer_type(kind, order, bits):
    tags = [*basic(1, (bits,)), (274, 3, (6,))]
    pixels = np.arange(8, dtype=np.uint8).repeat(bits // 8).tobytes()
    data = handmade(tags, pixels, order)
    value = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}[kind]
    entry = struct.pack(order + "HHI", 274, kind, 1) + struct.pack(order + value, 6).ljust(4, b"\0")
    plain = struct.pack(order + "HHIHH", 274, 3, 1, 6, 0)
    picture = decode(data.replace(plain, entry))
    assert picture.color.shape == (4, 2, 1)
    assert (picture.color[0, :, 0] & 255).tolist() == [4, 0]


def camera_tiff(padding):
    """A TIFF with a maker's note, ``padding`` bytes into the file."""
    note = b"Maker\0" + bytes(range(60))
    pixels = bytes(8)
    tags = basic()
    start = 8 + 2 + 12 * (len(tags) + 3) + 4
    exif_at = start + padding + len(note)
    data = handmade([*tags, (0x8769, 4, (exif_at,))], bytes(padding) + note)
    assert data.index(note) == start + padding
    exif = struct.pack("<HHHIIHHI4sI", 2, 0x927C, 7, len(note), start + padding, 0x9000, 7, 4,
                       b"0230", 0)  # fmt: skip
    data += exif
    at = data.index(struct.pack("<HHI", 273, 4, 1)) + 8
    data = data[:at] + struct.pack("<I", len(data)) + data[at + 4 :] + pixels
    at = data.index(struct.pack("<HHI", 279, 4, 1)) + 8
    return data[:at] + struct.pack("<I", len(pixels)) + data[at + 4 :], note


def test_makers_notes_keep_their_place():
    data, note = camera_tiff(1000)
    picture = decode(data)
    assert picture.metadata.exif.index(note) - 6 == data.index(note)
    assert picture.source.notes == ()
    parsed = Image.Exif()
    parsed.load(picture.metadata.exif)
    assert parsed.get_ifd(0x8769)[0x927C] == note
    assert parsed.get_ifd(0x8769)[0x9000] == b"0230"
    data, note = camera_tiff(100_000)
    picture = decode(data)
    assert note in picture.metadata.exif
    assert len(picture.metadata.exif) < 1000
    assert picture.source.notes == ("the maker's notes moved: offsets in them no longer fit",)


def test_labels_that_no_format_holds_are_noted():
    rationals = (3127, 10000, 3290, 10000), (64, 100, 33, 100, 30, 100, 60, 100, 15, 100, 6, 100)
    white, primaries = rationals
    tags = [*basic(2, (8, 8, 8)), (318, 5, white), (319, 5, primaries)]
    assert decode(handmade(tags, bytes(24))).source.notes == ()  # sRGB
    tags[-1] = (319, 5, (68, 100, 32, 100, *primaries[4:]))
    tags += [(301, 3, tuple(range(256))), (34377, 7, tuple(b"8BIM0000")), (37724, 7, (0,) * 8)]
    assert decode(handmade(tags, bytes(24))).source.notes == (
        "the transfer function in TIFF tags: left out",
        "Photoshop's image resources: left out",
        "Photoshop's layers: left out",
        "the white point and primaries in TIFF tags: left out",
    )
    icc = b"\0" * 16 + b"RGB " + b"\0" * 16 + b"acsp" + b"\0" * 88
    gray = decode(handmade([*basic(), (34675, 7, tuple(icc))], bytes(8)))
    assert gray.metadata.icc is None
    assert gray.source.notes == ("the color profile is for RGB and does not fit: left out",)


def test_imagecodecs_reads_the_same():
    """An independent decoder agrees on what is stored interleaved."""
    for photometric, channels in (("minisblack", 1), ("rgb", 3)):
        data = written(samples(channels, np.uint16), photometric, predictor=True, compression="lzw")
        expected = imagecodecs.tiff_decode(data).reshape(HEIGHT, WIDTH, channels)
        np.testing.assert_array_equal(decode(data).color, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_whose_places_are_in_the_tags_of_strips(channels):
    array = samples(channels, "uint8")
    data = written(array, "rgb" if channels == 3 else "minisblack", tile=(16, 16))
    start = struct.unpack_from("<I", data, 4)[0]
    for at in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        tag = struct.unpack_from("<H", data, at)[0]
        moved = {324: 273, 325: 279}.get(tag, tag)
        data = data[:at] + struct.pack("<H", moved) + data[at + 2 :]
    np.testing.assert_array_equal(decode(data).color, array)


def test_more_bits_than_samples_are_ignored():
    pixels = bytes(range(2 * 3 * 3))
    tags = [
        (256, 3, (3,)), (257, 3, (2,)), (258, 3, (8, 8, 8, 1)), (259, 3, (1,)), (262, 3, (2,)),
        (277, 3, (3,)), (278, 3, (2,)), (339, 3, (1, 1, 1, 3)),
    ]  # fmt: skip
    assert decode(handmade(tags, pixels)).color.tobytes() == pixels


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("bits", "patterns"),
    [
        (16, (0x7D01, 0xFD01, 0x7E00, 0x7C00)),
        (32, (0x7FA00001, 0xFFA00001, 0x7FC00000, 0x7F800000)),
        (64, (0x7FF4000000000001, 0xFFF4000000000001, 0x7FF8000000000000, 0x7FE0000000000000)),
    ],
)
def test_floats_that_are_no_numbers_are_refused_without_a_warning(bits, patterns, order):
    """Signaling and quiet NaN, infinity, and what float32 cannot hold."""
    for pattern in patterns:
        pixels = np.full((2, 3), pattern, f"{order}u{bits // 8}").tobytes()
        tags = [
            (256, 3, (3,)), (257, 3, (2,)), (258, 3, (bits,)), (259, 3, (1,)), (262, 3, (1,)),
            (277, 3, (1,)), (278, 3, (2,)), (339, 3, (3,)),
        ]  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            message = refused(handmade(tags, pixels, order))
        assert "NaN or infinity" in message


@pytest.mark.parametrize("compression", [1, 32773], ids=["none", "packbits"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_predictor_of_samples_that_have_none_is_ignored(bits, compression):
    """As in libtiff, which decodes a predictor with LZW, Deflate, LZMA and Zstandard only."""
    array = samples(3, f"uint{bits}")
    rows = [row.tobytes() for row in array]
    if compression != 1:
        rows = [imagecodecs.packbits_encode(row) for row in rows]
    tags = [
        (256, 3, (WIDTH,)), (257, 3, (HEIGHT,)), (258, 3, (bits,) * 3), (259, 3, (compression,)),
        (262, 3, (2,)), (277, 3, (3,)), (278, 3, (HEIGHT,)), (317, 3, (2,)),
    ]  # fmt: skip
    np.testing.assert_array_equal(decode(handmade(tags, b"".join(rows))).color, array)


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_a_damaged_lzw_code_is_refused(bits):
    """A decoder that looks up a code before it is defined reads memory of others."""
    array = samples(1, np.uint16 if bits < 32 else np.float32)
    data = bytearray(written(array, "minisblack", compression="lzw", predictor=bits != 12))
    if bits == 12:
        rows = np.random.default_rng(1).integers(0, 256, HEIGHT * ((WIDTH * 12 + 7) // 8), np.uint8)
        stored = rows.tobytes()
        tags = [
            (256, 3, (WIDTH,)), (257, 3, (HEIGHT,)), (258, 3, (12,)), (259, 3, (5,)),
            (262, 3, (1,)), (277, 3, (1,)), (278, 3, (HEIGHT,)),
        ]  # fmt: skip
        data = bytearray(handmade(tags, imagecodecs.lzw_encode(stored)))
        decode(bytes(data))
    reader = tifffile.TiffFile(io.BytesIO(data)).pages.first
    start = reader.dataoffsets[0]
    # Behind the 9 bits of "clear" follows the code 511, far beyond the first free one.
    data[start + 1] |= 0x7F
    data[start + 2] |= 0xC0
    assert "damaged" in refused(bytes(data))
