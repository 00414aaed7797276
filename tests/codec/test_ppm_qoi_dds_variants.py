"""Every variant of the PPM family, QOI and DDS."""

from __future__ import annotations

import io
import itertools
import struct
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from helpers.decoding import refused
from PIL import Image

from waifu2x import codec
from waifu2x.codec.header import read_header
from waifu2x.errors import LimitError
from waifu2x.picture import Picture

Array = npt.NDArray[Any]

WIDTH, HEIGHT = 11, 7


def decode(data: bytes) -> Picture:
    picture = codec.decode(io.BytesIO(data))
    found = read_header(io.BytesIO(data), 10**6)
    assert found is not None
    assert (found.width, found.height) == (picture.width, picture.height)
    return picture


def random(high: int, *shape: int) -> Array:
    return np.random.default_rng(high % 1000).integers(0, high, shape)


def scaled(values: Array, most: int, full: int) -> Array:
    return np.floor(values * full / most + 0.5).astype(np.uint8 if full == 255 else np.uint16)


# --- PPM


@pytest.mark.parametrize("kind", ["2", "3", "5", "6"])
@pytest.mark.parametrize("most", [1, 2, 15, 100, 254, 255, 256, 1023, 4095, 65534, 65535])
def test_samples(most: int, kind: str) -> None:
    channels = 3 if kind in "36" else 1
    values = random(most + 1, HEIGHT, WIDTH, channels)
    head = f"P{kind}\n{WIDTH} {HEIGHT}\n{most}\n".encode()
    if kind in "23":
        body = " ".join(map(str, values.ravel())).replace(" ", "\n", 5).encode()
    else:
        body = values.astype("u1" if most < 256 else ">u2").tobytes()
    picture = decode(head + body)
    full = 255 if most < 256 else 65535
    np.testing.assert_array_equal(picture.color, scaled(values, most, full))
    assert picture.color.dtype == (np.uint8 if most < 256 else np.uint16)
    assert (picture.alpha, picture.source.notes, picture.source.reduced) == (None, (), False)


@pytest.mark.parametrize("spaced", [True, False])
def test_bits(spaced: bool) -> None:
    values = random(2, HEIGHT, WIDTH)
    head = f"P1 {WIDTH} {HEIGHT}\n".encode()
    text = head + (" " if spaced else "").join(map(str, values.ravel())).encode()
    packed = head.replace(b"P1", b"P4") + np.packbits(values.astype(np.uint8), axis=1).tobytes()
    for data in (text, packed):
        np.testing.assert_array_equal(decode(data).color[:, :, 0], (1 - values) * 255)


@pytest.mark.parametrize(
    "head",
    [
        b"P5 2 1 255 ",
        b"P5\n2\n1\n255\n",
        b"P5\r\n2\t1\r\n255\n",
        b"P5 # by hand\n# of 2 by 1\n2 1 # a comment\n255\n",
        b"P5\n2 1\n255# the end\n",
    ],
)
def test_headers(head: bytes) -> None:
    picture = decode(head + b"\x0a\x20")
    assert picture.color.ravel().tolist() == [10, 32]
    assert bool(picture.metadata.text) == (b"#" in head)


def test_comments() -> None:
    picture = decode(b"P2\n# CREATOR: hand\n3 1\n# of white\n9\n0 # black\n5 9# white\n")
    assert picture.color.ravel().tolist() == [0, 142, 255]
    assert picture.metadata.text == (("Comment", "CREATOR: hand\nof white"),)


def test_long_text() -> None:
    values = random(65536, 1100, 1000)
    body = b"\n".join(b" ".join(b"%d" % v for v in row) + b" # 77 of a row" for row in values)
    picture = decode(b"P2 1000 1100 65535\n" + body)
    np.testing.assert_array_equal(picture.color[:, :, 0], values)


def test_more_pictures() -> None:
    one = b"P5 2 1 255 ab"
    assert decode(one + one).source.notes == ("more pictures in the file: left out",)
    assert decode(one + b"\n").source.notes == ()


def pam(values: Array, most: int, kind: str | None, *, extra: str = "") -> bytes:
    height, width, depth = values.shape
    head = f"P7\n{extra}WIDTH {width}\nHEIGHT {height}\nDEPTH {depth}\nMAXVAL {most}\n"
    head += f"TUPLTYPE {kind}\n" if kind else ""
    return (head + "ENDHDR\n").encode() + values.astype("u1" if most < 256 else ">u2").tobytes()


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("most", [1, 15, 255, 1023, 65535])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_pam(depth: int, most: int, named: bool) -> None:
    values = random(most + 1, HEIGHT, WIDTH, depth)
    kind = {1: "GRAYSCALE", 2: "GRAYSCALE_ALPHA", 3: "RGB", 4: "RGB_ALPHA"}[depth]
    picture = decode(pam(values, most, kind if named else None, extra="# by hand\n"))
    full = 255 if most < 256 else 65535
    expected = scaled(values, most, full)
    colors = 3 if depth > 2 else 1
    np.testing.assert_array_equal(picture.color, expected[:, :, :colors])
    if depth in (2, 4):
        np.testing.assert_array_equal(picture.alpha, expected[:, :, -1])
    else:
        assert picture.alpha is None
    assert picture.metadata.text == (("Comment", "by hand"),)


def test_pam_of_one_bit() -> None:
    values = np.array([[[1, 1], [0, 1], [1, 0]]])
    picture = decode(pam(values, 1, "BLACKANDWHITE_ALPHA"))
    assert picture.color.ravel().tolist() == [255, 0, 255]
    assert picture.alpha is not None
    assert picture.alpha.ravel().tolist() == [255, 255, 0]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
def test_floats(channels: int, order: str) -> None:
    values = np.random.default_rng(1).random((HEIGHT, WIDTH, channels)).astype(np.float32)
    scale = "-1.0" if order == "<" else "1.0"
    head = f"P{'f' if channels == 1 else 'F'}\n{WIDTH} {HEIGHT}\n{scale}\n".encode()
    picture = decode(head + values[::-1].astype(order + "f4").tobytes())
    assert picture.color.dtype == np.float32
    np.testing.assert_array_equal(picture.color, values)
    hot = head + np.full(HEIGHT * WIDTH * channels, 200, order + "f4").tobytes()
    assert "float samples from 200 to 200" in refused(hot)


def test_ppm_that_is_not_read() -> None:
    for data, words in (
        (b"P5 2 2 255\nabc", "is truncated"),
        (b"P4 9 2\nabc", "is truncated"),
        (b"P2 2 2 255\n1 2 3", "is truncated"),
        (b"P1 2 2\n1 0 1", "is truncated"),
        (b"Pf\n2 2\n1.0\n" + bytes(15), "is truncated"),
        (b"P2 2 2 255\n1 2 x 4", "not all of its samples are numbers"),
        (b"P1 2 2\n1 2 1 1", "not all of its digits are 0 and 1"),
        (b"P2 1 1 255\n12345678901", "one of its numbers is too long"),
        (b"P5 0 2 255\n", "it is 0x2"),
        (b"P5 2 2 0\nabcd", "its largest sample is 0"),
        (b"P5 2 2 65536\nabcd", "its largest sample is 65536"),
        (b"Pf\n2 2\n0\n" + bytes(16), "no size or scale"),
        (b"P7\nWIDTH 2\nENDHDR\n", "its header has no size"),
        (b"P7\nWIDTH 2\n", "its header has no end"),
        (pam(random(255, 2, 2, 4), 255, "CMYK"), "a PAM of 4 channels of CMYK, which is not supp"),
        (pam(random(255, 2, 2, 2), 255, "RGB"), "a PAM of 2 channels of RGB, which is not supp"),
        (pam(random(255, 2, 2, 5), 255, None), "a PAM of 5 channels of no type, which is not"),
    ):
        assert words in refused(data), data
    for head in (b"P5 30000 30000 255\n", b"P1 30000 30000\n", b"PF 30000 30000 1.0\n"):
        with pytest.raises(LimitError, match="30000x30000"):
            codec.decode(io.BytesIO(head))


# --- QOI


def qoi(chunks: bytes, size: tuple[int, int], channels: int = 4, space: int = 0) -> bytes:
    return b"qoif" + struct.pack(">IIBB", *size, channels, space) + chunks + bytes(7) + b"\1"


@pytest.mark.parametrize("channels", [3, 4])
def test_qoi(channels: int) -> None:
    values = random(256, HEIGHT, WIDTH, channels).astype(np.uint8)
    values[2:5] = values[0, 0]
    data = bytes(imagecodecs.qoi_encode(values))
    picture = decode(data)
    np.testing.assert_array_equal(picture.color, values[:, :, :3])
    if channels == 4:
        np.testing.assert_array_equal(picture.alpha, values[:, :, 3])
    else:
        assert picture.alpha is None
    assert decode(data[:-8]).color.shape == (HEIGHT, WIDTH, 3)
    assert "is truncated" in refused(data[:-9])


def test_the_color_of_a_run_is_remembered() -> None:
    # Opaque black in a run, whose place in the index is 53; another color; the index.
    picture = decode(qoi(b"\xc0\xff\1\2\3\4\x35", (3, 1)))
    assert picture.color.tolist() == [[[0, 0, 0], [1, 2, 3], [0, 0, 0]]]
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[255, 4, 255]]


def test_linear_qoi() -> None:
    assert decode(qoi(b"\xc0", (1, 1), space=0)).metadata.gamma is None
    assert decode(qoi(b"\xc0", (1, 1), space=1)).metadata.gamma == 1.0
    assert "0x1 of 4 channels" in refused(qoi(b"\xc0", (0, 1)))
    assert "1x1 of 5 channels" in refused(qoi(b"\xc0", (1, 1), channels=5))
    with pytest.raises(LimitError):
        codec.decode(io.BytesIO(qoi(b"\xc0", (30000, 30000))))


# --- DDS

RGB, LUMINANCE, ALPHA, FOURCC, PALETTED = 0x40, 0x20000, 1, 4, 0x20


def dds(
    pixels: bytes,
    kind: int,
    bits: int = 0,
    masks: tuple[int, ...] = (0, 0, 0, 0),
    *,
    code: bytes = b"\0\0\0\0",
    more: bytes = b"",
    caps: int = 0,
    depth: int = 0,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> bytes:
    head = b"DDS " + struct.pack("<6I", 124, 0x1007, size[1], size[0], 0, depth).ljust(72, b"\0")
    head += struct.pack("<II4s5I", 32, kind, code, bits, *masks)
    head += struct.pack("<II", 0x1000, caps).ljust(20, b"\0")
    assert len(head) == 128
    return head + more + pixels


def dx10(number: int, pixels: bytes, *, mode: int = 0, count: int = 1) -> bytes:
    more = struct.pack("<5I", number, 3, 0, count, mode)
    return dds(pixels, FOURCC, code=b"DX10", more=more)


def level(values: Array, mask: int) -> Array:
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    full = 65535 if most > 255 else 255
    return np.floor(((values & mask) >> shift) * full / most + 0.5)


@pytest.mark.parametrize(
    ("bits", "masks"),
    [
        (8, (0xE0, 0x1C, 0x3, 0)),
        (16, (0xF800, 0x7E0, 0x1F, 0)),
        (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
        (16, (0xF00, 0xF0, 0xF, 0xF000)),
        (16, (0xE0, 0x1C, 0x3, 0xFF00)),
        (24, (0xFF0000, 0xFF00, 0xFF, 0)),
        (32, (0xFF0000, 0xFF00, 0xFF, 0)),
        (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    ],
)
def test_masks(bits: int, masks: tuple[int, ...]) -> None:
    values = random(1 << bits, HEIGHT, WIDTH)
    data = b"".join(int(v).to_bytes(bits // 8, "little") for v in values.ravel())
    picture = decode(dds(data, RGB | (ALPHA if masks[3] else 0), bits, masks))
    for channel in range(3):
        np.testing.assert_array_equal(picture.color[:, :, channel], level(values, masks[channel]))
    if masks[3]:
        np.testing.assert_array_equal(picture.alpha, level(values, masks[3]))
    else:
        assert picture.alpha is None
    # An alpha mask counts only with its flag.
    assert decode(dds(data, RGB, bits, (*masks[:3], 0xFF << bits - 8))).alpha is None


@pytest.mark.parametrize(
    ("bits", "gray", "alpha"),
    [(8, 0xFF, 0), (16, 0xFF, 0xFF00), (8, 0xF, 0xF0), (16, 0xFFFF, 0)],
)
def test_luminance(bits: int, gray: int, alpha: int) -> None:
    values = random(1 << bits, HEIGHT, WIDTH)
    data = values.astype(f"<u{bits // 8}").tobytes()
    kind = LUMINANCE | (ALPHA if alpha else 0)
    picture = decode(dds(data, kind, bits, (gray, 0, 0, alpha)))
    np.testing.assert_array_equal(picture.color[:, :, 0], level(values, gray))
    if alpha:
        np.testing.assert_array_equal(picture.alpha, level(values, alpha))


DXGI: dict[int, tuple[int, tuple[int, ...]]] = {
    **dict.fromkeys((27, 28, 29), (32, (255, 65280, 16711680, 4278190080))),
    **dict.fromkeys((87, 90, 91), (32, (16711680, 65280, 255, 4278190080))),
    **dict.fromkeys((88, 92, 93), (32, (16711680, 65280, 255, 0))),
    85: (16, (0xF800, 0x7E0, 0x1F, 0)),
    86: (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
    115: (16, (0xF00, 0xF0, 0xF, 0xF000)),
    61: (8, (0xFF, 0, 0, 0)),
    56: (16, (0xFFFF, 0, 0, 0)),
}


@pytest.mark.parametrize("number", DXGI)
def test_numbered_formats(number: int) -> None:
    bits, masks = DXGI[number]
    values = random(1 << bits, HEIGHT, WIDTH)
    data = values.astype(f"<u{bits // 8}").tobytes()
    picture = decode(dx10(number, data))
    colors = 1 if not masks[1] else 3
    assert picture.color.shape[2] == colors
    for channel in range(colors):
        np.testing.assert_array_equal(picture.color[:, :, channel], level(values, masks[channel]))
    if masks[3]:
        np.testing.assert_array_equal(picture.alpha, level(values, masks[3]))
        assert decode(dx10(number, data, mode=3)).alpha is None
    else:
        assert picture.alpha is None


def test_wide_channels() -> None:
    values = random(65536, HEIGHT, WIDTH, 4).astype("<u2")
    code = struct.pack("<I", 36)
    for data in (dx10(11, values.tobytes()), dds(values.tobytes(), FOURCC, code=code)):
        picture = decode(data)
        np.testing.assert_array_equal(picture.color, values[:, :, :3])
        np.testing.assert_array_equal(picture.alpha, values[:, :, 3])


def test_premultiplied() -> None:
    values = random(1 << 32, HEIGHT, WIDTH)
    data = values.astype("<u4").tobytes()
    straight, divided = decode(dx10(28, data)), decode(dx10(28, data, mode=2))
    alpha = straight.alpha
    assert alpha is not None
    exact = np.floor(straight.color.astype(int) * 255 / np.maximum(alpha, 1)[:, :, None] + 0.5)
    exact[alpha == 0] = 0
    np.testing.assert_array_equal(divided.color, np.minimum(exact, 255))


def test_a_palette() -> None:
    table = random(256, 256, 4).astype(np.uint8)
    indices = random(256, HEIGHT, WIDTH).astype(np.uint8)
    picture = decode(dds(indices.tobytes(), PALETTED, 8, more=table.tobytes()))
    np.testing.assert_array_equal(picture.color, table[indices][:, :, :3])
    np.testing.assert_array_equal(picture.alpha, table[indices][:, :, 3])


BLOCKS = -(-WIDTH // 4) * -(-HEIGHT // 4)


@pytest.mark.parametrize(
    ("codes", "numbers", "bcn"),
    [
        ((b"DXT1",), (70, 71, 72), 1),
        ((b"DXT3",), (73, 74, 75), 2),
        ((b"DXT5",), (76, 77, 78), 3),
        ((b"ATI1", b"BC4U"), (79, 80), 4),
        ((b"ATI2", b"BC5U"), (82, 83), 5),
        ((), (97, 98, 99), 7),
    ],
)
def test_blocks(codes: tuple[bytes, ...], numbers: tuple[int, ...], bcn: int) -> None:
    size = 8 if bcn in (1, 4) else 16
    pixels = random(256, BLOCKS, size).astype(np.uint8).tobytes()
    found = []
    for data in itertools.chain(
        (dds(pixels, FOURCC, code=code) for code in codes),
        (dx10(number, pixels) for number in numbers),
    ):
        picture = decode(data)
        assert (picture.width, picture.height) == (WIDTH, HEIGHT)
        found.append(picture)
        np.testing.assert_array_equal(picture.color, found[0].color)
    channels = {4: (), 5: (2,)}.get(bcn, (4,))
    shape = (-(-HEIGHT // 4) * 4, -(-WIDTH // 4) * 4, *channels)
    expected = np.atleast_3d(imagecodecs.bcn_decode(pixels, bcn, shape=shape))[:HEIGHT, :WIDTH]
    colors = expected[:, :, : {4: 1, 5: 2}.get(bcn, 3)]
    error = np.abs(found[0].color[:, :, : colors.shape[2]].astype(int) - colors)
    assert error.max() <= 1  # roundings of interpolated colors differ


def test_premultiplied_blocks() -> None:
    pixels = random(256, BLOCKS, 16).astype(np.uint8).tobytes()
    for plain, multiplied in ((b"DXT3", b"DXT2"), (b"DXT5", b"DXT4")):
        straight = decode(dds(pixels, FOURCC, code=plain))
        divided = decode(dds(pixels, FOURCC, code=multiplied))
        alpha = straight.alpha
        assert alpha is not None
        np.testing.assert_array_equal(divided.alpha, alpha)
        exact = np.floor(straight.color.astype(int) * 255 / np.maximum(alpha, 1)[:, :, None] + 0.5)
        exact[alpha == 0] = 0
        np.testing.assert_array_equal(divided.color, np.minimum(exact, 255))


def test_high_dynamic_range_is_noted() -> None:
    pixels = bytes(16 * BLOCKS)
    for number in (95, 96):
        assert decode(dx10(number, pixels)).source.reduced


def test_more_surfaces_are_noted() -> None:
    data = bytes(4 * WIDTH * HEIGHT)
    note = ("more surfaces (of a cube, volume or array): left out",)
    masks = (0xFF0000, 0xFF00, 0xFF, 0)
    assert decode(dds(data, RGB, 32, masks)).source.notes == ()
    assert decode(dds(data, RGB, 32, masks, caps=0xFE00)).source.notes == note
    assert decode(dds(data, RGB, 32, masks, caps=0x200000, depth=4)).source.notes == note
    assert decode(dx10(28, data, count=2)).source.notes == note


def test_dds_that_is_not_read() -> None:
    pixels = bytes(9999)
    for data, words in (
        (dds(pixels, FOURCC, code=b"YUY2"), "a DDS in the format YUY2, which is not supported"),
        (dds(pixels, FOURCC, code=struct.pack("<I", 113)), "a DDS in the format 113, which is not"),
        (dx10(2, pixels), "a DDS in the format 2, which is not supported"),
        (dds(pixels, 2, 8, (0, 0, 0, 255)), "a DDS in the format of 8 bits with flags 0x2, which"),
        (dds(pixels, RGB, 32, (0xF0F, 0, 0, 0)), "the mask 0xf0f, whose bits are apart"),
        (dds(pixels, RGB, 32, (1, 2, 4, 0), size=(0, 4)), "it is 0x4"),
        (dds(bytes(9), RGB, 32, (1, 2, 4, 0)), "is truncated"),
        (dds(bytes(9), FOURCC, code=b"DXT1"), "is truncated"),
    ):
        assert words in refused(data)
    with pytest.raises(LimitError):
        codec.decode(io.BytesIO(dds(b"", RGB, 32, size=(30000, 30000))))


def test_pillow_agrees() -> None:
    image = Image.fromarray(random(256, HEIGHT, WIDTH, 4).astype(np.uint8))
    for mode in ("L", "LA", "RGB", "RGBA"):
        buffer = io.BytesIO()
        image.convert(mode).save(buffer, "DDS")
        picture = decode(buffer.getvalue())
        expected = np.atleast_3d(np.asarray(image.convert(mode)))
        np.testing.assert_array_equal(picture.color, expected[:, :, : picture.color.shape[2]])
