"""Every header, bit layout and label of BMP, and the pictures inside icons and cursors."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers.decoding import decode, refused
from PIL import Image

from waifu2x import codec
from waifu2x.codec.header import read_header
from waifu2x.errors import LimitError
from waifu2x.picture import Picture

Array = npt.NDArray[Any]

WIDTH, HEIGHT = 7, 5
PALETTE = np.random.default_rng(2).integers(0, 256, (256, 3)).astype(np.uint8)


def padded(rows: list[bytes]) -> bytes:
    return b"".join(row + bytes(-len(row) % 4) for row in rows)


def packed(values: Array, bits: int) -> bytes:
    """Rows of pixels (H, W), the lowest row first."""
    rows = []
    for row in values[::-1]:
        if bits < 8:
            text = "".join(f"{int(value):0{bits}b}" for value in row)
            text += "0" * (-len(text) % 8)
            rows.append(bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8)))
        else:
            rows.append(b"".join(int(value).to_bytes(bits // 8, "little") for value in row))
    return padded(rows)


def bmp(
    pixels: bytes,
    bits: int,
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    header: int = 40,
    compression: int = 0,
    masks: tuple[int, ...] = (),
    palette: Array | None = None,
    colors: int = 0,
    labels: bytes = b"",
    behind: bytes = b"",
    file: bool = True,
    dpi: int = 0,
) -> bytes:
    """A BMP with a header of that size; labels: from the color space of BITMAPV4HEADER on."""
    if header == 12:
        body = struct.pack("<4H", *size, 1, bits)
    else:
        fields = struct.pack("<iiHHI4I", *size, 1, bits, compression, len(pixels), dpi, dpi, colors)
        body = fields.ljust(36, b"\0")
        if header >= 52:
            body += struct.pack("<4I", *(*masks, 0, 0, 0, 0)[:4]) + labels
            masks = ()
        body = body.ljust(120, b"\0")[: header - 4]
    table = b""
    if palette is not None:
        last = b"" if header == 12 else b"\0"
        table = b"".join(bytes(color[::-1]) + last for color in palette.astype(np.uint8))
    after = struct.pack(f"<{len(masks)}I", *masks) + table
    head = struct.pack("<I", header) + body + after
    start = b"BM" + struct.pack("<IHHI", 14 + len(head) + len(pixels), 0, 0, 14 + len(head))
    return (start if file else b"") + head + pixels + behind


def indices(bits: int) -> Array:
    return np.random.default_rng(bits).integers(0, 1 << bits, (HEIGHT, WIDTH))


def level(value: Array, bits: int) -> Array:
    """Samples of so many bits in the range of 8 bits, rounded."""
    return np.floor(value * 255 / ((1 << bits) - 1) + 0.5).astype(np.uint8)


# --- palettes


@pytest.mark.parametrize("header", [12, 16, 40, 52, 56, 64, 108, 124])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("file", [True, False])
def test_palettes_of_every_header(bits: int, header: int, file: bool) -> None:
    stored = indices(bits)
    data = bmp(packed(stored, bits), bits, header=header, palette=PALETTE[: 1 << bits], file=file)
    if not file and header in (16, 64):
        return  # not recognized
    picture = decode(data)
    np.testing.assert_array_equal(picture.color, PALETTE[stored])
    assert (picture.alpha, picture.source.notes) == (None, ())
    found = read_header(io.BytesIO(data), 10**6)
    assert found is not None
    assert (found.width, found.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_with_few_colors(bits: int) -> None:
    stored = indices(bits)
    few = PALETTE[: (1 << bits) - 1]
    data = bmp(packed(stored, bits), bits, palette=few, colors=len(few))
    table = np.zeros((256, 3), np.uint8)
    table[: len(few)] = few
    np.testing.assert_array_equal(decode(data).color, table[stored])


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_palettes_of_gray(bits: int) -> None:
    shades = np.array([0, 255]) if bits == 1 else np.arange(1 << bits)
    stored = indices(bits)
    picture = decode(bmp(packed(stored, bits), bits, palette=shades[:, None].repeat(3, axis=1)))
    np.testing.assert_array_equal(picture.color[:, :, 0], shades[stored])
    assert picture.gray


def test_top_down() -> None:
    stored = indices(8)
    data = bmp(packed(stored[::-1], 8), 8, size=(WIDTH, -HEIGHT), palette=PALETTE)
    np.testing.assert_array_equal(decode(data).color, PALETTE[stored])


def test_many_strips() -> None:
    stored = np.arange(600 * 900).reshape(900, 600) % 251
    for size, rows in (((600, 900), stored), ((600, -900), stored[::-1])):
        data = bmp(packed(rows, 8), 8, size=size, palette=PALETTE)
        np.testing.assert_array_equal(decode(data).color, PALETTE[stored])


# --- true color

MASKS: list[tuple[int, int, tuple[int, ...]]] = [
    (16, 0, (0x7C00, 0x3E0, 0x1F, 0)),
    (16, 3, (0xF800, 0x7E0, 0x1F, 0)),
    (16, 3, (0x7C00, 0x3E0, 0x1F, 0)),
    (16, 3, (0x7C00, 0x3E0, 0x1F, 0x8000)),
    (16, 3, (0xF00, 0xF0, 0xF, 0xF000)),
    (16, 3, (0xF00, 0xF0, 0xF, 0)),
    (16, 3, (0xF, 0xF0, 0xF00, 0xF000)),
    (16, 3, (0xE0, 0x1C, 0x3, 0xFF00)),
    (16, 3, (0x1F, 0x7E0, 0xF800, 0)),
    (24, 0, (0xFF0000, 0xFF00, 0xFF, 0)),
    (24, 3, (0xFF0000, 0xFF00, 0xFF, 0)),
    (24, 3, (0xFF, 0xFF00, 0xFF0000, 0)),
    (32, 0, (0xFF0000, 0xFF00, 0xFF, 0)),
    (32, 3, (0xFF0000, 0xFF00, 0xFF, 0)),
    (32, 3, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    (32, 3, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    (32, 3, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
    (32, 3, (0xFF000000, 0xFF0000, 0xFF00, 0)),
    (32, 3, (0xFF00, 0xFF0000, 0xFF000000, 0xFF)),
    (32, 3, (0x3F00, 0xFC000, 0x3F00000, 0xFC000000)),
    (32, 3, (0x7C00, 0x3E0, 0x1F, 0x10000)),
    (32, 3, (0xFF, 0, 0, 0)),
]


@pytest.mark.parametrize("header", [40, 52, 56, 108, 124])
@pytest.mark.parametrize(("bits", "compression", "masks"), MASKS)
def test_masks(bits: int, compression: int, masks: tuple[int, ...], header: int) -> None:
    values = np.random.default_rng(bits).integers(0, 1 << bits, (HEIGHT, WIDTH))
    if compression == 0:
        values &= 0xFFFFFF
    alpha = header >= 56 or (header == 40 and masks[3] > 0)
    given: tuple[int, ...] = masks if alpha else masks[:3]
    if compression and header == 40:
        compression = 3 if not masks[3] else 6  # ALPHABITFIELDS of Windows CE
    if compression == 0:
        given = ()
    data = bmp(packed(values, bits), bits, header=header, compression=compression, masks=given)
    picture = decode(data)
    found = [picture.color[:, :, channel] for channel in range(3)]
    for channel, mask in zip(found, masks, strict=False):
        shift = max(0, (mask & -mask).bit_length() - 1)
        depth = max(1, mask.bit_count())
        np.testing.assert_array_equal(channel, level((values & mask) >> shift, depth))
    if masks[3] and alpha and compression:
        shift = (masks[3] & -masks[3]).bit_length() - 1
        expected = level((values & masks[3]) >> shift, masks[3].bit_count())
        np.testing.assert_array_equal(picture.alpha, expected)
    else:
        assert picture.alpha is None
    assert picture.source.notes == ()


def test_masks_of_ten_bits_give_sixteen() -> None:
    values = np.random.default_rng(1).integers(0, 1 << 32, (HEIGHT, WIDTH))
    masks = (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)
    picture = decode(bmp(packed(values, 32), 32, header=56, compression=3, masks=masks))
    assert picture.color.dtype == np.uint16
    for channel, shift in enumerate((20, 10, 0)):
        samples = (values >> shift) & 1023
        expected = np.floor(samples * 65535 / 1023 + 0.5)
        np.testing.assert_array_equal(picture.color[:, :, channel], expected)
    np.testing.assert_array_equal(picture.alpha, (values >> 30) * 21845)


def test_missing_masks_are_those_without() -> None:
    values = np.random.default_rng(1).integers(0, 1 << 32, (HEIGHT, WIDTH))
    with_none = bmp(packed(values, 32), 32, header=56, compression=3)
    picture = decode(with_none)
    np.testing.assert_array_equal(picture.color[:, :, 0], values >> 16 & 255)
    np.testing.assert_array_equal(picture.alpha, values >> 24)


def test_the_unused_byte_is_no_transparency() -> None:
    values = np.random.default_rng(1).integers(0, 1 << 24, (HEIGHT, WIDTH))
    for unused in (0, 255):
        picture = decode(bmp(packed(values | unused << 24, 32), 32))
        assert (picture.alpha, picture.source.notes) == (None, ())
    values[0, 0] |= 1 << 24
    assert decode(bmp(packed(values, 32), 32)).source.notes == (
        "a fourth byte of each pixel, which BMP does not use: left out",
    )
    clear = bmp(
        packed(values & 0xFFFFFF, 32), 32, header=56, compression=3,
        masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000),
    )  # fmt: skip
    assert decode(clear).source.notes == ("every pixel is transparent",)


# --- run lengths


def test_run_lengths_of_eight_bits() -> None:
    runs = b"".join(
        (
            b"\3\1\4\2\0\0",  # a row of two runs
            b"\0\5\1\2\3\4\5\0\2\6\0\0",  # five samples, filled to an even count, and a run
            b"\x09\7\0\0",  # a run beyond the row
            b"\2\3\0\2\2\1\3\4\0\1",  # a run, then two right and one up, a run, the end
        )
    )
    expected = np.zeros((5, 7), int)
    expected[4] = 1, 1, 1, 2, 2, 2, 2
    expected[3] = 1, 2, 3, 4, 5, 6, 6
    expected[2] = 7
    expected[1, :2] = 3
    expected[0, 4:] = 4
    picture = decode(bmp(runs, 8, compression=1, palette=PALETTE))
    np.testing.assert_array_equal(picture.color, PALETTE[expected])
    assert picture.source.notes == ("pixels that the file skips have the first color",)


def test_run_lengths_of_four_bits() -> None:
    runs = b"".join(
        (
            b"\5\x12\2\x30\0\0",  # 1 2 1 2 1 and 3 0
            b"\0\7\x12\x34\x56\x70\0\0",  # seven samples in four bytes
            b"\0\5\x12\x34\x50\0\2\x66\0\0",  # five samples in three bytes, filled
            b"\7\x89\0\0\7\x98\0\0\0\1",
        )
    )
    expected = [
        [9, 8, 9, 8, 9, 8, 9],
        [8, 9, 8, 9, 8, 9, 8],
        [1, 2, 3, 4, 5, 6, 6],
        [1, 2, 3, 4, 5, 6, 7],
        [1, 2, 1, 2, 1, 3, 0],
    ]
    picture = decode(bmp(runs, 4, compression=2, palette=PALETTE[:16]))
    np.testing.assert_array_equal(picture.color, PALETTE[np.array(expected)])
    assert picture.source.notes == ()


def test_run_lengths_of_24_bits() -> None:
    runs = (b"\7\1\2\3\0\0" * 4) + b"\0\3" + bytes(range(9)) + b"\0" + b"\4\7\x08\x09\0\1"
    picture = decode(bmp(runs, 24, header=64, compression=4))
    expected = np.tile(np.array([3, 2, 1], np.uint8), (5, 7, 1))
    expected[0] = [[2, 1, 0], [5, 4, 3], [8, 7, 6]] + [[9, 8, 7]] * 4
    np.testing.assert_array_equal(picture.color, expected)


def test_run_lengths_without_an_end() -> None:
    whole = b"\7\1\0\0" * 5 + b"\0\1"
    for cut in (0, 2, 4):
        picture = decode(bmp(whole[: len(whole) - cut], 8, compression=1, palette=PALETTE))
        np.testing.assert_array_equal(picture.color, np.tile(PALETTE[1], (5, 7, 1)))
    assert "is truncated" in refused(bmp(whole[:-8], 8, compression=1, palette=PALETTE))
    assert "is truncated" in refused(bmp(b"\0\7\1\2", 8, compression=1, palette=PALETTE))


# --- not supported, damaged, too large


@pytest.mark.parametrize(
    ("bits", "compression", "header", "what"),
    [
        (0, 4, 40, "with JPEG data"),
        (0, 5, 40, "with PNG data"),
        (32, 11, 40, "with CMYK"),
        (8, 12, 40, "with CMYK with RLE8"),
        (1, 3, 64, "with Huffman coding"),
        (64, 0, 40, "with 64 bits per pixel"),
        (3, 0, 40, "with 3 bits per pixel"),
        (8, 99, 40, "with compression 99"),
        (8, 0, 70, "whose header has 70 bytes"),
    ],
)
def test_what_is_not_supported_is_named(
    bits: int, compression: int, header: int, what: str
) -> None:
    message = refused(bmp(bytes(999), bits, compression=compression, header=header))
    assert message == f"the stream is a BMP {what}, which is not supported; save it as PNG"


def test_masks_apart() -> None:
    data = bmp(bytes(999), 32, compression=3, masks=(0xF0F, 0xF0, 0xF000))
    assert "the mask 0xf0f, whose bits are apart, which is not supported" in refused(data)


def test_sizes() -> None:
    assert "is 0x5; no side may be 0" in refused(bmp(b"", 24, size=(0, 5)))
    assert "is -7x5" in refused(bmp(b"", 24, size=(-7, 5)))
    with pytest.raises(LimitError, match="60000x60000, 3600000000 pixels, and the limit"):
        decode(bmp(b"", 24, size=(60000, 60000)))
    whole = bmp(packed(indices(8), 8), 8, palette=PALETTE)
    # The last byte is padding.
    assert decode(whole[:-1]).color.shape == (HEIGHT, WIDTH, 3)
    assert "is truncated" in refused(whole[:-2])
    assert "begins as BMP" in refused(b"BMW is a maker of cars, and this is a text")


# --- labels


def profile(space: bytes) -> bytes:
    data = bytearray(200)
    data[16:20], data[36:40] = space, b"acsp"
    return bytes(data)


def with_labels(labels: bytes, behind: bytes = b"", header: int = 124) -> Picture:
    values = np.zeros((HEIGHT, WIDTH), int)
    return decode(
        bmp(packed(values, 24), 24, header=header, labels=labels, behind=behind, dpi=3937)
    )


def test_an_embedded_profile() -> None:
    icc = profile(b"RGB ")
    place = 124 + 5 * 24  # behind the header and the pixels
    labels = b"DEBM".ljust(4 + 36 + 12 + 4, b"\0") + struct.pack("<3I", place, len(icc), 0)
    picture = with_labels(labels, icc)
    assert picture.metadata.icc == icc
    assert picture.metadata.dpi == pytest.approx((100, 100), 1e-3)
    gray = with_labels(labels, profile(b"GRAY"))
    assert gray.metadata.icc is None
    assert gray.source.notes == ("a color profile that does not fit the picture: left out",)
    assert with_labels(labels, b"").source.notes == gray.source.notes
    linked = with_labels(b"KNIL")
    assert linked.source.notes == ("a link to a color profile in another file: left out",)
    for plain in (b"BGRs", b" niW"):
        assert with_labels(plain).source.notes == ()


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("header", [108, 124])
def test_calibrated_colors(header: int, inverse: bool) -> None:
    points = (0.68, 0.32, 0.0, 0.265, 0.69, 0.045, 0.15, 0.06, 0.79)
    gamma = 1 / 1.8 if inverse else 1.8
    labels = struct.pack(
        "<I9i3I", 0, *(round(v * 2**30) for v in points), *[round(gamma * 65536)] * 3
    )
    found = with_labels(labels, header=header).metadata
    assert found.gamma == pytest.approx(1 / 1.8, rel=1e-3)
    expected = (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
    assert found.chromaticities == pytest.approx(expected, abs=1e-6)
    assert with_labels(bytes(60), header=header).metadata.gamma is None
    wrong = struct.pack("<I9i3I", 0, *(round(v * 2**30) for v in points), 65536, 2 * 65536, 65536)
    picture = with_labels(wrong, header=header)
    assert picture.source.notes == ("calibrated colors of BMP that make no sense: left out",)


# --- icons


def dib(
    color: tuple[int, int, int], bits: int, side: int, *, alpha: int = 255, mask: int = 0
) -> bytes:
    """A picture of an icon in one color; mask: rows of it that are transparent."""
    palette = np.array([color] * (1 << bits)) if bits <= 8 else None
    pixel = color[0] << 16 | color[1] << 8 | color[2] | alpha << 24
    value = 0 if bits <= 8 else pixel & ((1 << bits) - 1)
    values = np.full((side, side), value)
    rows = [
        b"\xff" * ((side + 7) // 8) if y < mask else bytes((side + 7) // 8) for y in range(side)
    ]
    data = bmp(packed(values, bits), bits, size=(side, 2 * side), palette=palette, file=False)
    return data + padded(rows[::-1])


def png_of(color: tuple[int, int, int], side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), color).save(buffer, "PNG")
    return buffer.getvalue()


def ico(*pictures: tuple[int, bytes], cursor: bool = False, bits: int = 0) -> bytes:
    offset, table = 6 + 16 * len(pictures), b""
    for side, data in pictures:
        table += struct.pack("<4B2HII", side & 255, side & 255, 0, 0, 1, bits, len(data), offset)
        offset += len(data)
    kind = struct.pack("<3H", 0, 2 if cursor else 1, len(pictures))
    return kind + table + b"".join(data for _, data in pictures)


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.mark.parametrize("cursor", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_deepest_of_the_largest_pictures(reverse: bool, cursor: bool) -> None:
    pictures = [
        (8, dib(RED, 4, 8)),
        (8, dib(GREEN, 32, 8)),
        (8, dib(BLUE, 8, 8)),
        (4, dib(BLUE, 32, 4)),
    ]
    data = ico(*(pictures[::-1] if reverse else pictures), cursor=cursor)
    picture = decode(data)
    assert picture.color.shape == (8, 8, 3)
    assert (picture.color == GREEN).all()
    found = read_header(io.BytesIO(data), 10**6)
    assert found is not None
    assert (found.width, found.height) == (8, 8)


@pytest.mark.parametrize("bits", [1, 4, 8, 24, 32])
def test_masks_of_icons(bits: int) -> None:
    picture = decode(ico((9, dib(RED, bits, 9, alpha=0, mask=3))))
    assert (picture.color == RED).all()
    assert picture.alpha is not None
    assert (picture.alpha[:3] == 0).all()
    assert (picture.alpha[3:] == 255).all()
    assert picture.source.notes == ("pixels that invert the screen are transparent",)
    assert "is truncated" in refused(ico((9, dib(RED, bits, 9, alpha=0)[:-5])))


def test_alpha_of_icons_counts_before_the_mask() -> None:
    picture = decode(ico((9, dib(RED, 32, 9, alpha=100, mask=3))))
    assert picture.alpha is not None
    assert (picture.alpha == 100).all()


def test_png_in_an_icon() -> None:
    picture = decode(ico((4, dib(RED, 32, 4)), (0, png_of(GREEN, 256))))
    assert picture.color.shape == (256, 256, 3)
    assert (picture.color == GREEN).all()
    assert picture.source.format == "ICO"
    with pytest.raises(LimitError):
        codec.decode(io.BytesIO(ico((0, png_of(GREEN, 256)))), max_pixels=1000)


def test_a_broken_entry_does_not_matter() -> None:
    data = bytearray(ico((8, dib(RED, 24, 8)), (4, dib(GREEN, 24, 4))))
    data[18:22] = struct.pack("<I", len(data) + 5)
    assert (decode(bytes(data)).color == GREEN).all()
    data[34:38] = struct.pack("<I", len(data) + 5)
    assert "no picture of this icon can be read" in refused(bytes(data))
