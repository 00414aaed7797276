"""Every type, depth and origin of TGA, and every number of planes of PCX."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers.decoding import decode, refused

from waifu2x import codec
from waifu2x.codec.header import read_header
from waifu2x.errors import LimitError

Array = npt.NDArray[Any]

WIDTH, HEIGHT = 11, 7


def random(low: int, high: int, *shape: int) -> Array:
    return np.random.default_rng(high + len(shape)).integers(low, high, shape)


def level(value: Array, bits: int) -> Array:
    return np.floor(value * 255 / ((1 << bits) - 1) + 0.5).astype(np.uint8)


# --- TGA


def little(values: Array, size: int) -> bytes:
    return b"".join(int(value).to_bytes(size, "little") for value in values.ravel())


def runs(values: Array, size: int) -> bytes:
    """Packets of runs and literals by turns, across rows."""
    flat, parts, at, literal = values.ravel(), [], 0, False
    while at < len(flat):
        length = 1
        if literal:
            length = min(13, len(flat) - at)
            parts.append(bytes([length - 1]) + little(flat[at : at + length], size))
        else:
            while at + length < len(flat) and flat[at + length] == flat[at] and length < 128:
                length += 1
            parts.append(bytes([127 + length]) + little(flat[at], size))
        at += length
        literal = not literal
    return b"".join(parts)


def tga(
    kind: int,
    depth: int,
    values: Array,
    *,
    descriptor: int = 0x20,
    entries: Array | None = None,
    map_depth: int = 0,
    start: int = 0,
    title: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    """A TGA of stored integers (H, W)."""
    height, width = values.shape
    size = (depth + 7) // 8
    table = b"" if entries is None else little(entries, (map_depth + 7) // 8)
    head = struct.pack(
        "<3BHHB4H2B",
        *(len(title), entries is not None, kind, start, 0 if entries is None else len(entries)),
        *(map_depth, 0, 0, width, height, depth, descriptor),
    )
    pixels = runs(values, size) if kind & 8 else little(values, size)
    return head + title + table + pixels + behind


def color_of(values: Array, depth: int) -> tuple[Array, Array]:
    """RGB and the other channel of stored integers, by the specification."""
    if depth in (15, 16):
        color = np.stack([level(values >> shift & 31, 5) for shift in (10, 5, 0)], axis=-1)
        return color, np.where(values >> 15 & 1, 255, 0)
    return np.stack([values >> shift & 255 for shift in (16, 8, 0)], axis=-1), values >> 24


def stored(depth: int) -> Array:
    values = random(0, 1 << depth, HEIGHT, WIDTH)
    values[2:5] = values[0, 0]  # a run over several rows
    return values


@pytest.mark.parametrize("kind", [2, 10])
@pytest.mark.parametrize("attributes", [0, 1, 8])
@pytest.mark.parametrize("depth", [15, 16, 24, 32])
def test_true_color(depth: int, attributes: int, kind: int) -> None:
    values = stored(depth)
    data = tga(kind, depth, values, descriptor=0x20 | attributes)
    picture = decode(data)
    color, other = color_of(values, depth)
    np.testing.assert_array_equal(picture.color, color)
    if depth in (16, 32) and attributes:
        np.testing.assert_array_equal(picture.alpha, other)
        assert picture.source.notes == ()
    else:
        assert picture.alpha is None
        lost = ("a channel of TGA that is not declared as transparency: left out",)
        assert picture.source.notes == (lost if depth in (16, 32) else ())
    found = read_header(io.BytesIO(data), 10**6)
    assert found is not None
    assert (found.width, found.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("value", [0, 0x8000])
def test_sixteen_bits_without_attributes_are_opaque(value: int) -> None:
    picture = decode(tga(2, 16, np.full((4, 4), 0x7C00 | value)))
    assert (picture.color == (255, 0, 0)).all()
    assert (picture.alpha, picture.source.notes) == (None, ())


@pytest.mark.parametrize("bit", [0, 0x8000])
def test_sixteen_bits_of_one_transparency_are_opaque(bit: int) -> None:
    picture = decode(tga(2, 16, np.full((4, 4), 0x7C00 | bit), descriptor=0x21))
    assert (picture.color == (255, 0, 0)).all()
    if bit:
        assert picture.alpha is not None
        assert (picture.alpha == 255).all()
    else:
        assert picture.alpha is None
        assert picture.source.notes == ("the bit of transparency is 0 everywhere: read as opaque",)


@pytest.mark.parametrize("kind", [2, 10])
@pytest.mark.parametrize("origin", [0, 0x10, 0x20, 0x30])
def test_origins(origin: int, kind: int) -> None:
    values = stored(24)
    color, _ = color_of(values, 24)
    color = color if origin & 0x20 else color[::-1]
    color = color[:, ::-1] if origin & 0x10 else color
    picture = decode(tga(kind, 24, values, descriptor=origin))
    np.testing.assert_array_equal(picture.color, color)


@pytest.mark.parametrize("kind", [1, 9])
@pytest.mark.parametrize("start", [0, 5])
@pytest.mark.parametrize("attributes", [0, 8])
@pytest.mark.parametrize("map_depth", [15, 16, 24, 32])
@pytest.mark.parametrize("depth", [8, 16])
def test_color_maps(depth: int, map_depth: int, attributes: int, start: int, kind: int) -> None:
    count = 200 if depth == 8 else 700
    entries = random(0, 1 << map_depth, count)
    indices = random(0, count, HEIGHT, WIDTH)
    data = tga(
        kind,
        depth,
        indices + start,
        entries=entries,
        map_depth=map_depth,
        start=start,
        descriptor=0x20 | attributes,
    )
    picture = decode(data)
    color, other = color_of(entries, map_depth)
    np.testing.assert_array_equal(picture.color, color[indices])
    if attributes and map_depth in (16, 32):
        np.testing.assert_array_equal(picture.alpha, other[indices])
    else:
        assert picture.alpha is None


def test_indices_outside_of_the_map_are_black() -> None:
    entries = np.array([0xFFFFFF, 0xFF0000])
    picture = decode(tga(1, 8, np.array([[0, 3, 4, 5]]), entries=entries, map_depth=24, start=3))
    assert picture.color.tolist() == [[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 0, 0]]]


@pytest.mark.parametrize("kind", [3, 11])
@pytest.mark.parametrize("attributes", [0, 8])
@pytest.mark.parametrize("depth", [8, 16])
def test_gray(depth: int, attributes: int, kind: int) -> None:
    values = stored(depth)
    picture = decode(tga(kind, depth, values, descriptor=0x20 | attributes))
    np.testing.assert_array_equal(picture.color[:, :, 0], values & 255)
    if depth == 16 and attributes:
        np.testing.assert_array_equal(picture.alpha, values >> 8)
    else:
        assert picture.alpha is None


def test_a_map_that_is_not_used() -> None:
    values = stored(24)
    data = tga(2, 24, values, entries=random(0, 255, 9), map_depth=24, title=b"A title\0")
    picture = decode(data)
    np.testing.assert_array_equal(picture.color, color_of(values, 24)[0])
    assert picture.metadata.text == (("Comment", "A title"),)


def extension(channel: int, *, gamma: tuple[int, int] = (0, 0), at: int = 0) -> bytes:
    area = struct.pack("<H", 495) + b"Author".ljust(41, b"\0")
    area += b"one".ljust(81, b"\0") + b"two".ljust(81, b"\0") + bytes(162)
    area = area.ljust(426, b"\0") + b"Program".ljust(41, b"\0")
    area = area.ljust(478, b"\0") + struct.pack("<HH", *gamma)
    area = area.ljust(494, b"\0") + bytes([channel])
    return area + struct.pack("<II", at, 0) + b"TRUEVISION-XFILE.\0"


@pytest.mark.parametrize("kind", [2, 10])
@pytest.mark.parametrize("attributes", [0, 8])
@pytest.mark.parametrize("channel", [0, 1, 2, 3, 4])
def test_the_extension_area(channel: int, attributes: int, kind: int) -> None:
    values = stored(32)
    plain = tga(kind, 32, values, descriptor=0x20 | attributes)
    picture = decode(plain + extension(channel, at=len(plain)))
    color, alpha = color_of(values, 32)
    if channel >= 3:
        np.testing.assert_array_equal(picture.alpha, alpha)
    else:
        assert picture.alpha is None
    if channel == 4:
        exact = np.floor(color * 255 / np.maximum(alpha, 1)[:, :, None] + 0.5)
        color = np.where(alpha[:, :, None] == 0, 0, np.minimum(exact, 255))
    np.testing.assert_array_equal(picture.color, color)
    texts = (("Author", "Author"), ("Comment", "one\ntwo"), ("Software", "Program"))
    assert picture.metadata.text == texts


def test_a_gamma_is_noted() -> None:
    plain = tga(2, 24, stored(24))
    for gamma, notes in (
        ((0, 0), ()),
        ((1, 1), ()),
        ((22, 10), ()),
        ((18, 10), ("the gamma 1.8 of TGA: left out",)),
    ):
        picture = decode(plain + extension(0, gamma=gamma, at=len(plain)))
        assert picture.source.notes == notes


def test_many_packets() -> None:
    values = random(0, 3, 520, 520) * 0x555555
    picture = decode(tga(10, 24, values))
    np.testing.assert_array_equal(picture.color, color_of(values, 24)[0])


def test_tga_that_is_not_read() -> None:
    for kind in (32, 33):
        data = tga(kind, 8, stored(8), entries=random(0, 255, 9), map_depth=24)
        assert "is a TGA with Huffman coding, which is not supported; save it" in refused(data)
    for descriptor in (0x40, 0x80):
        data = tga(2, 24, stored(24), descriptor=descriptor)
        assert "is a TGA with interleaved rows, which is not supported; save it" in refused(data)
    for kind in (2, 10):
        data = tga(kind, 24, stored(24))
        assert "is truncated" in refused(data[:-1])
        with pytest.raises(LimitError, match="the stream is 11x7, 77 pixels, and the limit is 76"):
            codec.decode(io.BytesIO(data), max_pixels=76)
    huge = struct.pack("<3BHHB4H2B", 0, 0, 10, 0, 0, 0, 0, 0, 13000, 13000, 32, 0)
    assert "is truncated" in refused(huge + bytes(100))


# --- PCX


def packets(data: bytes) -> bytes:
    """Runs of PCX that cross rows and planes; large values and pairs are runs."""
    packed, at = b"", 0
    while at < len(data):
        length = 1
        while at + length < len(data) and data[at + length] == data[at] and length < 63:
            length += 1
        single = length == 1 and data[at] < 0xC0
        packed += (b"" if single else bytes([0xC0 | length])) + data[at : at + 1]
        at += length
    return packed


def pcx(
    planes: Array,
    bits: int,
    *,
    version: int = 5,
    encoded: bool = True,
    stride: int | None = None,
    palette: Array | None = None,
    behind: bytes = b"",
    left: int = 0,
) -> bytes:
    """A PCX of values (planes, H, W)."""
    count, height, width = planes.shape
    rows = b""
    stride = stride or (width * bits + 15) // 16 * 2
    for y in range(height):
        for plane in range(count):
            text = "".join(f"{int(value):0{bits}b}" for value in planes[plane, y])
            text += "0" * (-len(text) % 8)
            row = bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))
            rows += row.ljust(stride, b"\x11")
    table = bytes(48) if palette is None else palette.astype(np.uint8).tobytes().ljust(48, b"\0")
    head = struct.pack(
        "<4B6H", 10, version, encoded, bits, left, 3, left + width - 1, height + 2, 96, 72
    )
    head += table + struct.pack("<BBHH", 0, count, stride, 1)
    return head.ljust(128, b"\0") + (packets(rows) if encoded else rows) + behind


PALETTE = random(0, 256, 16, 3)


@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize("stride", [None, 24])
@pytest.mark.parametrize(("bits", "count"), [(1, 2), (1, 3), (1, 4), (2, 1), (4, 1)])
def test_pcx_with_a_palette_in_its_header(
    bits: int, count: int, stride: int | None, encoded: bool
) -> None:
    planes = random(0, 1 << bits, count, HEIGHT, WIDTH)
    data = pcx(planes, bits, encoded=encoded, stride=stride, palette=PALETTE, left=2)
    indices = sum(planes[plane] << plane for plane in range(count))
    picture = decode(data)
    np.testing.assert_array_equal(picture.color, PALETTE[indices])
    assert picture.metadata.dpi == (96, 72)
    found = read_header(io.BytesIO(data), 10**6)
    assert found is not None
    assert (found.width, found.height) == (WIDTH, HEIGHT)


def test_pcx_of_black_and_white() -> None:
    planes = random(0, 2, 1, HEIGHT, WIDTH)
    picture = decode(pcx(planes, 1, version=0))
    np.testing.assert_array_equal(picture.color[:, :, 0], planes[0] * 255)


def test_pcx_without_a_palette_has_that_of_ega() -> None:
    picture = decode(pcx(np.array([[[1, 14]]]), 4, version=3, palette=PALETTE))
    assert picture.color.tolist() == [[[0, 0, 170], [255, 255, 85]]]


@pytest.mark.parametrize("encoded", [True, False])
def test_pcx_of_eight_bits(encoded: bool) -> None:
    planes = random(0, 256, 1, HEIGHT, WIDTH)
    table = random(0, 256, 256, 3).astype(np.uint8)
    behind = b"\x0c" + table.tobytes()
    picture = decode(pcx(planes, 8, encoded=encoded, behind=behind))
    np.testing.assert_array_equal(picture.color, table[planes[0]])
    ramp = np.arange(256, dtype=np.uint8).repeat(3).tobytes()
    for end in (b"\x0c" + ramp, b""):
        picture = decode(pcx(planes, 8, encoded=encoded, behind=end))
        np.testing.assert_array_equal(picture.color, planes[0][:, :, None])
        missing = () if end else ("the palette is missing: read as gray",)
        assert picture.source.notes == missing
    cut = decode(pcx(planes, 8, encoded=encoded, behind=behind)[:-3])
    assert cut.source.notes == ("the palette is missing: read as gray",)


@pytest.mark.parametrize("stride", [None, 11, 12, 30])
@pytest.mark.parametrize("count", [3, 4])
def test_pcx_of_true_color(count: int, stride: int | None) -> None:
    planes = random(0, 256, count, HEIGHT, WIDTH)
    picture = decode(pcx(planes, 8, stride=stride))
    np.testing.assert_array_equal(picture.color, planes[:3].transpose(1, 2, 0))
    if count == 4:
        np.testing.assert_array_equal(picture.alpha, planes[3])
    else:
        assert picture.alpha is None


def test_pcx_that_is_not_read() -> None:
    data = pcx(random(0, 4, 2, HEIGHT, WIDTH), 2)
    assert "is a PCX of 2 planes of 2 bits, which is not supported; save it as PNG" in refused(data)
    whole = pcx(random(0, 256, 3, HEIGHT, WIDTH), 8)
    assert "is truncated" in refused(whole[:-30])
    for stride in (b"\x09\0", b"\xff\xff"):  # makes no sense: rounded up from the width
        again = decode(whole[:66] + stride + whole[68:])
        np.testing.assert_array_equal(again.color, decode(whole).color)
    moved = whole[:4] + b"\x20\0" + whole[6:]
    assert "is -21x7; no side may be 0 or less" in refused(moved)
    with pytest.raises(LimitError):
        codec.decode(io.BytesIO(whole), max_pixels=76)
