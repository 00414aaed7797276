"""Every variant of Photoshop files: the composite is read right, or refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
from helpers.decoding import decode, refused, written
from helpers.profiles import cmyk_profile
from PIL import Image

from waifu2x.codec import read_header
from waifu2x.errors import LimitError

BITMAP, GRAY, INDEXED, RGB, CMYK, MULTICHANNEL, DUOTONE, LAB = 0, 1, 2, 3, 4, 7, 8, 9
HEIGHT, WIDTH = 9, 21


def resource(number, data):
    return b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)


def packbits(row):
    """PackBits of one row: a run, then literals."""
    run = 1
    while run < min(len(row), 128) and row[run] == row[0]:
        run += 1
    parts = [bytes([257 - run, row[0]]) if run > 1 else bytes([0, row[0]])]
    rest = row[run:]
    parts += [
        bytes([len(p) - 1]) + p for p in (rest[i : i + 128] for i in range(0, len(rest), 128))
    ]
    return b"".join(parts)


def psd(
    planes,
    mode,
    *,
    compression=0,
    large=False,
    layers=0,
    resources=b"",
    palette=b"",
    blocks=b"",
    bits=None,
    width=None,
):
    """A Photoshop file of ``planes`` (C, H, W); layers: the number in the layer section."""
    channels, height = planes.shape[:2]
    width = width or planes.shape[2]
    bits = bits or 8 * planes.itemsize
    wide = ">Q" if large else ">I"
    head = struct.pack(
        ">4sH6xHIIHH", b"8BPS", 2 if large else 1, channels, height, width, bits, mode
    )
    info = struct.pack(">h", layers) + bytes(2) if layers else b""
    section = struct.pack(wide, len(info)) + info + bytes(4) + blocks if layers or blocks else b""
    stored = planes.astype(planes.dtype.newbyteorder(">"))
    if compression == 3:
        stored = np.diff(planes, axis=2, prepend=planes.dtype.type(0)).astype(stored.dtype)
    body = stored.tobytes()
    if compression == 1:
        rows = [packbits(row.tobytes()) for plane in stored for row in plane]
        counts = struct.pack(f">{len(rows)}{'I' if large else 'H'}", *map(len, rows))
        body = counts + b"".join(rows)
    elif compression in (2, 3):
        body = zlib.compress(body)
    return b"".join(
        (
            head,
            struct.pack(">I", len(palette)) + palette,
            struct.pack(">I", len(resources)) + resources,
            struct.pack(wide, len(section)) + section,
            struct.pack(">H", compression) + body,
        )
    )


def planes(channels, dtype=np.uint8, low=0):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    values = np.stack([(x * 11 + y * 7 + 50 * c) % (256 - low) + low for c in range(channels)])
    return (values * (np.iinfo(dtype).max // 255)).astype(dtype)


@pytest.mark.parametrize("compression", [0, 1, 2, 3])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("mode", "colors"), [(GRAY, 1), (RGB, 3)])
def test_depths_and_compressions(compression, large, dtype, mode, colors):
    stored = planes(colors, dtype)
    picture = decode(psd(stored, mode, compression=compression, large=large))
    np.testing.assert_array_equal(picture.color, stored.transpose(1, 2, 0))
    assert picture.alpha is None
    assert picture.source.format == "PSD"
    assert picture.source.lossy is False
    header = read_header(io.BytesIO(psd(stored, mode, large=large)), 1 << 20)
    assert (header.width, header.height) == (WIDTH, HEIGHT)


def test_bitmap_is_black_on_white():
    rows = np.array([[0b10110000, 0b10000000], [0, 0]], np.uint8)[None]
    for compression in (0, 1, 2):
        picture = decode(psd(rows, BITMAP, bits=1, width=9, compression=compression))
        first = [0, 255, 0, 0, 255, 255, 255, 255, 0]
        assert picture.color[:, :, 0].tolist() == [first, [255] * 9]


def test_indexed_with_and_without_a_transparent_index():
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
    stored = planes(1)
    options = {"palette": palette.T.tobytes()}
    picture = decode(psd(stored, INDEXED, **options))
    np.testing.assert_array_equal(picture.color, palette[stored[0]])
    assert picture.alpha is None
    index = int(stored[0, 2, 3])
    marked = resource(1047, struct.pack(">H", index))
    picture = decode(psd(stored, INDEXED, resources=marked, **options))
    np.testing.assert_array_equal(picture.alpha, np.where(stored[0] == index, 0, 255))
    marked = resource(1047, b"\xff\xff")
    assert decode(psd(stored, INDEXED, resources=marked, **options)).alpha is None


def test_duotone_is_gray_and_noted():
    stored = planes(1)
    picture = decode(psd(stored, DUOTONE, palette=b"ink" * 100))
    np.testing.assert_array_equal(picture.color[:, :, 0], stored[0])
    assert picture.source.notes == ("the inks of the duotone: left out, read as gray",)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_cmyk(dtype):
    stored = planes(4, dtype)
    full = np.iinfo(dtype).max
    picture = decode(psd(stored, CMYK))
    expected = (stored[:3] / full) * (stored[3:] / full)  # no ink is stored as white
    assert np.abs(picture.color / full - expected.transpose(1, 2, 0)).max() < 0.005
    assert picture.source.converted == "CMYK"
    icc = cmyk_profile()
    managed = decode(psd(stored, CMYK, resources=resource(1039, icc)))
    assert managed.metadata.icc is None
    assert managed.source.notes == ()
    # The profile makes every color gray.
    assert np.ptp(managed.color.reshape(-1, 3).astype(int), axis=1).max() <= 2 * (full // 255)


@pytest.mark.parametrize("bits", [8, 16])
def test_lab(bits):
    # sRGB (194, 25, 32) for D50, by Little CMS.
    scale = 1 if bits == 8 else 256
    values = [42.4 * ((1 << bits) - 1) / 100, (62.9 + 128) * scale, (44.1 + 128) * scale]
    dtype = np.uint8 if bits == 8 else np.uint16
    stored = np.broadcast_to(np.rint(values)[:, None, None], (3, 4, 4)).astype(dtype)
    picture = decode(psd(stored, LAB))
    assert np.abs(picture.color / (1 if bits == 8 else 257) - (194, 25, 32)).max() <= 2
    assert picture.source.converted == "LAB"


# --- transparency


def on_white(color, alpha, white=None):
    """``color`` (C, H, W) blended with white, as Photoshop stores it."""
    full = np.iinfo(color.dtype).max
    opacity = alpha / full
    matte = np.full((len(color), 1, 1), full) if white is None else white
    return np.rint(color * opacity + (1 - opacity) * matte).astype(color.dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("mode", "colors"), [(GRAY, 1), (RGB, 3)])
@pytest.mark.parametrize("selections", [0, 1, 2])
@pytest.mark.parametrize("layers", [-1, -3])
def test_transparency_is_unblended_from_white(mode, colors, dtype, selections, layers):
    color, alpha = planes(colors, dtype), planes(1, dtype)[0]
    extra = [planes(selections, dtype)] if selections else []
    stored = np.concatenate([on_white(color, alpha), alpha[None], *extra])
    picture = decode(psd(stored, mode, layers=layers))
    np.testing.assert_array_equal(picture.alpha, alpha)
    full = np.iinfo(dtype).max
    tolerance = np.maximum(alpha, 1)
    difference = np.abs(picture.color.astype(int) - color.transpose(1, 2, 0))
    allowed = np.ceil(0.5 * full / tolerance + 0.5)[:, :, None]  # the rounding, divided by alpha
    assert (difference <= allowed)[alpha > 0].all()
    noted = f"saved selections or spot colors: {selections} left out"
    assert (noted in picture.source.notes) == (selections > 0)


@pytest.mark.parametrize("mode", [CMYK, LAB])
def test_transparency_of_cmyk_and_lab(mode):
    channels = 4 if mode == CMYK else 3
    color = np.broadcast_to(
        np.array([90, 120, 140, 200][:channels], np.uint8)[:, None, None], (channels, 5, 5)
    )
    alpha = np.linspace(60, 255, 25).reshape(5, 5).astype(np.uint8)
    white = np.array([255, 128, 128])[:, None, None] if mode == LAB else None
    stored = np.concatenate([on_white(color, alpha, white), alpha[None]])
    picture = decode(psd(stored, mode, layers=-1))
    np.testing.assert_array_equal(picture.alpha, alpha)
    opaque = decode(psd(np.ascontiguousarray(color), mode))
    assert np.abs(picture.color.astype(int) - opaque.color).max() <= 8


def test_colors_that_were_not_blended_stay():
    color, alpha = np.full((3, 8, 8), 40, np.uint8), np.arange(64, dtype=np.uint8).reshape(8, 8)
    picture = decode(psd(np.concatenate([color, alpha[None]]), RGB, layers=-1))
    np.testing.assert_array_equal(picture.color, color.transpose(1, 2, 0))
    np.testing.assert_array_equal(picture.alpha, alpha)


def block(key, data, large=False):
    wide = large and key in (b"Layr", b"Lr16", b"Mtrn")
    return (
        b"8BIM"
        + key
        + struct.pack(">Q" if wide else ">I", len(data))
        + data
        + bytes(-len(data) % 4)
    )


@pytest.mark.parametrize("large", [False, True])
def test_what_marks_the_transparency(large):
    stored = planes(4)

    def alpha(**options):
        return decode(psd(stored, RGB, large=large, **options)).alpha is not None

    named = resource(1006, b"\x0cTransparency")
    selection = resource(1006, b"\x07Alpha 1")
    assert alpha(layers=-1)
    assert not alpha(layers=1)
    assert not alpha(layers=1, resources=named)
    assert not alpha()
    assert alpha(resources=named)
    assert not alpha(resources=selection)
    for key in (b"Lr16", b"Layr"):
        assert alpha(blocks=block(key, struct.pack(">hh", -2, 0), large), resources=selection)
        assert not alpha(blocks=block(key, struct.pack(">hh", 2, 0), large))
    assert alpha(blocks=block(b"Patt", b"123") + block(b"Mtrn", b"", large), resources=selection)


def version(has_composite):
    return resource(1057, struct.pack(">IB", 1, has_composite) + bytes(13))


def test_a_file_without_its_composite_is_refused():
    stored = planes(3)
    for layers in (1, -1):
        text = refused(psd(stored, RGB, layers=layers, resources=version(0)))
        assert "without its composite picture, which is not supported; save it with" in text
        assert decode(psd(stored, RGB, layers=layers, resources=version(1))).width == WIDTH
    assert decode(psd(stored, RGB, resources=version(0))).width == WIDTH  # nothing but pixels


# --- labels


def test_labels():
    icc = b"\0" * 16 + b"RGB " + b"\0" * 16 + b"acsp" + b"\0" * 88
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "Artist"
    xmp = b'<x:xmpmeta><a tiff:Orientation="6"/></x:xmpmeta>'
    resources = b"".join(
        (
            resource(1005, struct.pack(">IHHIHH", 144 << 16, 1, 1, 72 << 16, 1, 1)),
            resource(1028, b"\x1c\x02\x05\x00\x05title"),
            resource(1039, icc),
            resource(1058, exif.tobytes().removeprefix(b"Exif\0\0")),
            resource(1060, xmp),
            resource(9999, b"odd"),
        )
    )
    picture = decode(psd(planes(3), RGB, resources=resources))
    assert picture.color.shape == (HEIGHT, WIDTH, 3)  # Photoshop stores upright pixels
    metadata = picture.metadata
    assert metadata.icc == icc
    assert metadata.dpi == (144, 72)
    assert metadata.xmp == xmp.replace(b'"6"', b'"1"')
    parsed = Image.Exif()
    parsed.load(metadata.exif)
    assert parsed[0x013B] == "Artist"
    assert parsed[0x0112] == 1
    assert metadata.iptc == b"\x1c\x02\x05\x00\x05title"
    assert picture.source.notes == ()
    assert written(picture, "jpeg")[0].count(metadata.iptc) == 1
    assert written(picture, "png")[1] == ("PNG holds no IPTC: left out",)
    gray = decode(psd(planes(1), GRAY, resources=resource(1039, icc)))
    assert gray.metadata.icc is None
    assert gray.source.notes == ("the color profile is for RGB and does not fit: left out",)


# --- refused


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"mode": MULTICHANNEL}, "in multichannel mode"),
        ({"mode": 5}, "in an unknown color mode (5)"),
        ({"mode": RGB, "bits": 32}, "of 32 bits per channel (HDR)"),
        ({"mode": RGB, "bits": 1}, "of 1 bits per channel in color mode 3"),
        ({"mode": INDEXED, "bits": 16}, "of 16 bits per channel in color mode 2"),
        ({"mode": CMYK}, "of 3 channels in color mode 4"),
        ({"mode": RGB, "compression": 9}, "of compression 9"),
    ],
)
def test_other_variants_are_named(options, name):
    mode = options.pop("mode")
    compression = options.pop("compression", 0)
    data = bytearray(psd(planes(3), mode, **options))
    if compression:
        struct.pack_into(">H", data, len(data) - 3 * HEIGHT * WIDTH - 2, compression)
    text = refused(bytes(data))
    assert f"is a Photoshop file {name}, which is not supported" in text


@pytest.mark.parametrize("compression", [0, 1, 2, 3])
@pytest.mark.parametrize("large", [False, True])
def test_truncated_files(compression, large):
    data = psd(planes(3), RGB, compression=compression, large=large, resources=version(1))
    for length in (*range(20, 60, 7), len(data) - 20):
        assert "truncated" in refused(data[:length]) or "damaged" in refused(data[:length])


def test_hostile_sizes():
    data = bytearray(psd(planes(3), RGB, compression=1))
    struct.pack_into(">II", data, 14, 30000, 30000)
    with pytest.raises(LimitError, match="30000x30000"):
        decode(bytes(data))
    rows = bytearray(psd(planes(3), RGB, compression=1))
    struct.pack_into(">H", rows, 26 + 12 + 2, 65535)
    assert "longer than its pixels" in refused(bytes(rows))
    bomb = psd(planes(3), RGB)[: 26 + 12] + struct.pack(">H", 2) + zlib.compress(bytes(1 << 24))
    assert decode(bomb).color.max() == 0  # only the pixels are decompressed
