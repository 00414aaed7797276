"""Every variant of JPEG 2000: read right, or refused by name."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
from helpers.decoding import decode, refused
from helpers.jpeg2000 import box, codestream, definitions, enumerated, jp2, profile
from helpers.profiles import cmyk_profile
from PIL import Image

from waifu2x.codec import read_header
from waifu2x.errors import LimitError

HEIGHT, WIDTH = 9, 11


def planes(count, bits=8, size=(HEIGHT, WIDTH)):
    return list(np.random.default_rng(bits).integers(0, 1 << bits, (count, *size)))


def fake_icc(space):
    return b"\0" * 16 + space.ljust(4) + b"\0" * 16 + b"acsp" + b"\0" * 88


@pytest.mark.parametrize(
    ("bits", "signed"),
    # The encoder writes no signed bits.
    [(1, False), *((bits, sign) for bits in (2, 3, 4, 7, 8, 9, 12, 16, 20) for sign in (0, 1))],
)
@pytest.mark.parametrize("count", [1, 3])
def test_depths(bits, signed, count):
    stored = planes(count, bits)
    offset = 1 << (bits - 1) if signed else 0
    shifted = [plane - offset for plane in stored]
    for data in (
        codestream(shifted, bits=bits, signed=bool(signed)),
        jp2(
            codestream(shifted, bits=bits, signed=bool(signed)),
            enumerated(17 if count == 1 else 16),
        ),
    ):
        picture = decode(data)
        assert picture.color.dtype == (np.uint8 if bits <= 8 else np.uint16)
        full = np.iinfo(picture.color.dtype).max
        expected = np.stack(stored, axis=2) / ((1 << bits) - 1)
        assert np.abs(picture.color / full - expected).max() < (1 if bits > 8 else 0.51) / full
        assert picture.source.notes == (("20 bits per channel read as 16",) if bits == 20 else ())


def test_components_of_different_depths_and_signs():
    stored = [planes(1, bits)[0] for bits in (8, 4, 1)]
    picture = decode(jp2(codestream(stored, bits=[8, 4, 1]), enumerated(16)))
    expected = [stored[0], stored[1] * 17, stored[2] * 255]
    np.testing.assert_array_equal(picture.color, np.stack(expected, axis=2))
    color = planes(3)
    data = codestream([color[0], color[1] - 128, color[2] - 128], signed=[False, True, True])
    np.testing.assert_array_equal(decode(data).color, np.stack(color, axis=2))


@pytest.mark.parametrize(("count", "alpha"), [(1, False), (2, True), (3, False), (4, True)])
def test_channels_without_definitions(count, alpha):
    stored = planes(count)
    space = enumerated(17 if count < 3 else 16)
    for data in (codestream(stored), jp2(codestream(stored), space)):
        picture = decode(data)
        colors = count - alpha
        np.testing.assert_array_equal(picture.color, np.stack(stored[:colors], axis=2))
        assert (picture.alpha is not None) == alpha
        header = read_header(io.BytesIO(data), 1 << 20)
        assert (header.width, header.height, header.pixel_bytes) == (WIDTH, HEIGHT, count)


def test_channel_definitions():
    stored = planes(5)
    # Blue, green, red, then a depth map, then alpha.
    swapped = definitions((0, 0, 3), (1, 0, 2), (2, 0, 1), (3, 65535, 65535), (4, 1, 0))
    picture = decode(jp2(codestream(stored), enumerated(16), swapped))
    np.testing.assert_array_equal(picture.color, np.stack(stored[2::-1], axis=2))
    np.testing.assert_array_equal(picture.alpha, stored[4])
    assert picture.source.notes == ("channels beyond color and alpha: 1 left out",)
    # Alpha first.
    first = definitions((0, 1, 0), (1, 0, 1), (2, 0, 2), (3, 0, 3))
    picture = decode(jp2(codestream(stored[:4]), enumerated(16), first))
    np.testing.assert_array_equal(picture.color, np.stack(stored[1:4], axis=2))
    np.testing.assert_array_equal(picture.alpha, stored[0])
    # Gray with alpha, and gray without: the second channel means nothing.
    gray = jp2(codestream(stored[:2]), enumerated(17), definitions((0, 0, 1), (1, 1, 1)))
    np.testing.assert_array_equal(decode(gray).alpha, stored[1])
    other = jp2(codestream(stored[:2]), enumerated(17), definitions((0, 0, 1), (1, 65535, 0)))
    assert decode(other).alpha is None


def test_premultiplied_alpha():
    color = np.random.default_rng(5).integers(0, 256, (3, 8, 8))
    alpha = np.arange(64).reshape(8, 8) * 4
    stored = [*np.rint(color * alpha / 255).astype(int), alpha]
    channels = definitions((0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 2, 0))
    picture = decode(jp2(codestream(stored), enumerated(16), channels))
    np.testing.assert_array_equal(picture.alpha, alpha)
    visible = alpha > 60
    assert np.abs(picture.color[visible] - color.transpose(1, 2, 0)[visible]).max() <= 3


def palette(entries, bits=(8, 8, 8)):
    body = struct.pack(">HB", len(entries), len(bits)) + bytes(bit - 1 for bit in bits)
    for entry in entries:
        for value, bit in zip(entry, bits, strict=True):
            body += int(value).to_bytes(-(-bit // 8), "big")
    return box(b"pclr", body)


def mapping(*entries):
    return box(b"cmap", b"".join(struct.pack(">HBB", *entry) for entry in entries))


RGB_MAP = mapping((0, 1, 0), (0, 1, 1), (0, 1, 2))


def test_palettes():
    indices = np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) % 4
    table = np.array([[0, 0, 0], [0, 0, 0], [255, 0, 0], [0, 255, 0]])
    data = jp2(codestream([indices]), enumerated(16), palette(table), RGB_MAP)
    np.testing.assert_array_equal(decode(data).color, table[indices])
    bare = jp2(codestream([indices]), enumerated(16), palette(table))
    np.testing.assert_array_equal(decode(bare).color, table[indices])
    # 16-bit entries, and a column of alpha.
    deep = np.array([[0, 1, 65535, 0], [2, 3, 4, 9], [70, 800, 9000, 99], [5, 6, 7, 255]])
    data = jp2(
        codestream([indices]),
        enumerated(16),
        palette(deep, (16, 16, 16, 8)),
        mapping((0, 1, 0), (0, 1, 1), (0, 1, 2), (0, 1, 3)),
        definitions((0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 1, 0)),
    )
    picture = decode(data)
    np.testing.assert_array_equal(picture.color, deep[indices][:, :, :3])
    np.testing.assert_array_equal(picture.alpha, deep[indices][:, :, 3] * 257)
    # A second component goes past the palette as alpha; an index past the end is the last entry.
    alpha = planes(1)[0]
    data = jp2(
        codestream([indices + 1, alpha]),
        enumerated(16),
        palette(table),
        mapping((0, 1, 0), (0, 1, 1), (0, 1, 2), (1, 0, 0)),
    )
    picture = decode(data)
    np.testing.assert_array_equal(picture.color, table[np.minimum(indices + 1, 3)])
    np.testing.assert_array_equal(picture.alpha, alpha)
    # 4-bit colors of a gray palette.
    gray = jp2(codestream([indices]), enumerated(17), palette([[0], [5], [9], [15]], (4,)),
               mapping((0, 1, 0)))  # fmt: skip
    np.testing.assert_array_equal(decode(gray).color[:, :, 0], np.array([0, 85, 153, 255])[indices])


@pytest.mark.parametrize("size", [(35, 19), (36, 20), (7, 5), (8, 5), (1, 1)])
@pytest.mark.parametrize("steps", [(1, 1), (2, 1), (2, 2)])
def test_sycc_of_any_subsampling_and_size(size, steps):
    width, height = size
    across, down = steps
    rows, columns = -(-height // down), -(-width // across)
    random = np.random.default_rng(0)
    luma = random.integers(60, 200, (height, width))
    chroma = random.integers(100, 156, (2, rows, columns))
    full = [np.kron(plane - 128, np.ones((down, across)))[:height, :width] for plane in chroma]
    expected = np.stack(
        (luma + 1.402 * full[1], luma - 0.344136 * full[0] - 0.714136 * full[1],
         luma + 1.772 * full[0]), axis=2)  # fmt: skip
    data = codestream([luma, *chroma], steps=[(1, 1), steps, steps], size=size)
    picture = decode(jp2(data, enumerated(18)))
    assert np.abs(picture.color - expected).max() <= 1.01
    assert picture.source.notes == ()
    if steps != (1, 1):
        bare = decode(data)
        np.testing.assert_array_equal(bare.color, picture.color)
        assert bare.source.notes == ("the subsampled colors: read as YCbCr",)


@pytest.mark.parametrize("steps", [(1, 2), (4, 1), (4, 4)])
def test_other_subsampling_is_named(steps):
    rows, columns = -(-HEIGHT // steps[1]), -(-WIDTH // steps[0])
    stored = [planes(1)[0], *planes(2, 8, (rows, columns))]
    data = codestream(stored, steps=[(1, 1), steps, steps], size=(WIDTH, HEIGHT))
    assert "with components of different sizes, which is not supported" in refused(data)


@pytest.mark.parametrize("steps", [(2, 2), (2, 1), (1, 3)])
@pytest.mark.parametrize("count", [1, 3])
def test_components_that_are_all_subsampled_are_enlarged(steps, count):
    stored = planes(count)
    size = steps[0] * WIDTH - (steps[0] > 1), steps[1] * HEIGHT
    picture = decode(codestream(stored, steps=[steps] * count, size=size))
    expected = np.stack(stored, axis=2).repeat(steps[1], axis=0).repeat(steps[0], axis=1)
    np.testing.assert_array_equal(picture.color, expected[: size[1], : size[0]])


# --- color spaces


def test_profiles_are_kept():
    for count, space in ((1, b"GRAY"), (3, b"RGB")):
        icc = fake_icc(space)
        picture = decode(jp2(codestream(planes(count)), profile(icc)))
        np.testing.assert_array_equal(picture.color, np.stack(planes(count), axis=2))
        assert picture.metadata.icc == icc
    # The first specification that is supported counts.
    data = jp2(codestream(planes(3)), enumerated(20), profile(fake_icc(b"RGB")), enumerated(16))
    assert decode(data).metadata.icc == fake_icc(b"RGB")
    assert decode(jp2(codestream(planes(3)), enumerated(16), profile(icc))).metadata.icc is None


@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk(bits):
    stored = planes(4, bits)
    full = (1 << bits) - 1
    picture = decode(jp2(codestream(stored, bits=bits), enumerated(12)))
    inks = np.stack(stored, axis=2) / full
    expected = (1 - inks[:, :, :3]) * (1 - inks[:, :, 3:])
    assert np.abs(picture.color / full - expected).max() < 0.005
    assert picture.source.converted == "CMYK"
    managed = decode(jp2(codestream(stored, bits=bits), profile(cmyk_profile())))
    assert np.ptp(managed.color.astype(int), axis=2).max() <= 2 * (full // 255)  # always gray
    assert managed.metadata.icc is None
    assert managed.source.notes == ()


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("given", [False, True])
def test_cielab(bits, given):
    # sRGB (194, 25, 32) for D50, by Little CMS.
    most = (1 << bits) - 1
    ranges = (100, 0, 170, 1 << (bits - 1), 200, (1 << (bits - 2)) + (1 << (bits - 3)))
    if given:
        ranges = (100, 0, 256, 1 << (bits - 1), 256, 1 << (bits - 1))
    values = [
        value * most / span + offset
        for value, span, offset in zip((42.4, 62.9, 44.1), ranges[::2], ranges[1::2], strict=True)
    ]
    stored = [np.full((4, 4), round(value)) for value in values]
    parameters = struct.pack(">7I", *ranges, 0x00443530) if given else b""
    picture = decode(jp2(codestream(stored, bits=bits), enumerated(14, parameters)))
    scale = 1 if bits == 8 else 257
    assert np.abs(picture.color / scale - (194, 25, 32)).max() <= 2
    assert picture.source.converted == "LAB"


def test_other_enumerated_spaces():
    bits = planes(1, 1)
    for space, inverted in ((0, True), (15, False)):
        picture = decode(jp2(codestream(bits, bits=1), enumerated(space)))
        np.testing.assert_array_equal(picture.color[:, :, 0], 255 * (bits[0] ^ inverted))
    stored = planes(3)
    cmy = decode(jp2(codestream(stored), enumerated(11)))
    np.testing.assert_array_equal(cmy.color, 255 - np.stack(stored, axis=2))
    parametrized = box(b"colr", struct.pack(">3B3HB", 5, 0, 0, 9, 16, 0, 0x80))
    picture = decode(jp2(codestream(stored), parametrized))
    assert picture.metadata.cicp == (9, 16, 0, 1)


@pytest.mark.parametrize(
    ("color", "name"),
    [
        (enumerated(1), "YCbCr (BT.709) colors"),
        (enumerated(13), "YCCK colors"),
        (enumerated(20), "e-sRGB colors"),
        (enumerated(21), "ROMM-RGB colors"),
        (enumerated(24), "e-sYCC colors"),
        (enumerated(99), "the color space 99"),
        (enumerated(14, struct.pack(">7I", 100, 0, 170, 128, 200, 96, 0x00443635)), "illuminant"),
        (profile(fake_icc(b"Lab")), "a color profile of Lab space"),
        (profile(fake_icc(b"a\n\x08b")), r"a color profile of a\n\x08b space"),
        (box(b"colr", b"\4\0\0vendor"), "a color specification of method 4"),
        (box(b"colr", struct.pack(">3B3HB", 5, 0, 0, 9, 16, 9, 0)), "the matrix 9"),
        (enumerated(12), "3 channels for a color space of 4"),
    ],
)
def test_other_colors_are_named(color, name):
    text = refused(jp2(codestream(planes(3)), color))
    assert name in text
    assert "which is not supported; save it as PNG" in text


# --- labels


def uuid(name, body):
    return box(b"uuid", name + body)


def test_labels():
    xmp = b'<x:xmpmeta><a tiff:Orientation="6"/></x:xmpmeta>'
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "Artist"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    before = b"".join(
        (
            uuid(bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), xmp),
            uuid(b"JpgTiffExif->JP2", block),
            uuid(bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"), b"iptc"),
            uuid(bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03"), b"geo"),
            box(b"xml ", b"<a/>"),
        )
    )
    # 100 and 50 dots per centimeter.
    resolution = box(b"res ", box(b"resc", struct.pack(">4H2b", 50, 1, 100, 1, 2, 2)))
    data = jp2(codestream(planes(3)), enumerated(16), resolution, before=before)
    picture = decode(data)
    assert picture.color.shape == (HEIGHT, WIDTH, 3)  # JPEG 2000 has no orientation
    metadata = picture.metadata
    assert metadata.xmp == xmp.replace(b'"6"', b'"1"')
    parsed = Image.Exif()
    parsed.load(metadata.exif)
    assert parsed[0x013B] == "Artist"
    assert parsed[0x0112] == 1
    assert metadata.dpi == pytest.approx((254, 127))
    assert metadata.iptc == b"iptc"
    assert picture.source.notes == (
        "the GeoTIFF data: left out",
        "the XML data: left out",
    )


def test_further_codestreams_and_unfitting_profiles_are_noted():
    stream = codestream(planes(1))
    data = jp2(stream, enumerated(17)) + box(b"jp2c", stream)
    assert decode(data).source.notes == ("further codestreams: 1 left out",)
    picture = decode(jp2(codestream(planes(3)), profile(fake_icc(b"RGB"))))
    assert picture.source.notes == ()


# --- damage


def test_damage_is_one_line():
    data = jp2(codestream(planes(3)), enumerated(16), palette([[1, 2, 3]]))
    assert decode(data).width == WIDTH
    for length in range(12, len(data) - 4, 9):
        assert "damaged" in refused(data[:length]) or "truncated" in refused(data[:length])
    broken = jp2(codestream(planes(1)), enumerated(16), palette([[1, 2, 3]]), mapping((3, 1, 0)))
    assert "its palette does not fit its components" in refused(broken)
    cut = box(b"pclr", struct.pack(">HB", 900, 3) + b"\7\7\7")
    assert "its palette is broken" in refused(jp2(codestream(planes(1)), enumerated(16), cut))


def test_sizes_are_checked_first():
    data = bytearray(codestream(planes(1)))
    struct.pack_into(">II", data, 8, 50000, 50000)
    with pytest.raises(LimitError, match="50000x50000"):
        decode(bytes(data))
    with pytest.raises(LimitError, match=f"{WIDTH}x{HEIGHT} in 16 components"):
        decode(codestream(planes(16)), max_pixels=2 * WIDTH * HEIGHT)
    assert "17 components" in refused(codestream(planes(17)))


def test_imagecodecs_reads_the_same():
    array = np.stack(planes(3), axis=2).astype(np.uint8)
    for options in ({}, {"resolutions": 3}, {"tile": (8, 8)}):
        try:
            data = imagecodecs.jpeg2k_encode(array, level=0, reversible=True, **options)
        except NotImplementedError:
            continue
        np.testing.assert_array_equal(decode(data).color, imagecodecs.jpeg2k_decode(data))
