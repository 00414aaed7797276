"""Variants of GIF that Pillow shows otherwise than browsers, and labels that it drops."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers.decoding import decode
from PIL import Image

from waifu2x import codec
from waifu2x.codec.animation import open_animation
from waifu2x.errors import DecodeError, LimitError
from waifu2x.picture import Picture

Bytes = npt.NDArray[np.uint8]


def profile(space: bytes) -> bytes:
    """Enough of an ICC profile to name its color space."""
    data = bytearray(200)
    data[16:20], data[36:40] = space, b"acsp"
    return bytes(data)


RED, GREEN, BLUE, GRAY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)
TABLE = bytes(value for color in (RED, GREEN, BLUE, GRAY) for value in color)
TRAILER = b"\1" + bytes(range(255, -1, -1)) + b"\0"


def lzw(indices: Bytes) -> bytes:
    """Indices of 2 bits, uncompressed: a clear code before each."""
    codes = [code for index in indices.ravel() for code in (4, int(index))] + [5]
    bits = "".join(f"{code:03b}"[::-1] for code in codes)
    bits += "0" * (-len(bits) % 8)
    data = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    blocks = [data[at : at + 255] for at in range(0, len(data), 255)]
    return b"\2" + b"".join(bytes([len(each)]) + each for each in blocks) + b"\0"


def image(
    indices: Bytes, left: int = 0, top: int = 0, size: tuple[int, int] | None = None
) -> bytes:
    height, width = indices.shape
    return struct.pack("<BHHHHB", 0x2C, left, top, *(size or (width, height)), 0) + lzw(indices)


def control(transparent: int | None = None, dispose: int = 0) -> bytes:
    flags = dispose << 2 | (transparent is not None)
    return b"\x21\xf9\x04" + struct.pack("<BHBB", flags, 10, transparent or 0, 0)


def application(name: bytes, data: bytes, *, blocks: bool = True) -> bytes:
    body = data
    if blocks:
        parts = [data[at : at + 255] for at in range(0, len(data), 255)]
        body = b"".join(bytes([len(each)]) + each for each in parts) + b"\0"
    return b"\x21\xff" + bytes([len(name)]) + name + body


def gif(
    *blocks: bytes,
    size: tuple[int, int] = (6, 5),
    table: bytes = TABLE,
    background: int = 0,
    version: bytes = b"89a",
    end: bytes = b";",
) -> bytes:
    exponent = (len(table) // 3 - 1).bit_length() - 1 if table else 0
    flags = 0x80 | exponent if table else 0
    header = b"GIF" + version + struct.pack("<HHBBB", *size, flags, background, 0)
    return header + table + b"".join(blocks) + end


def rgba(picture: Picture) -> list[Any]:
    assert picture.alpha is not None
    color = np.broadcast_to(picture.color, (*picture.color.shape[:2], 3))
    visible: Bytes = np.dstack([color, picture.alpha]).astype(np.uint8)
    visible[visible[..., 3] == 0] = 0
    return list(visible.tolist())


SQUARE = np.full((2, 3), 1, np.uint8)


@pytest.mark.parametrize("version", [b"87a", b"89a"])
@pytest.mark.parametrize("background", [0, 2])
@pytest.mark.parametrize("dispose", [None, 0, 2, 3])
def test_a_part_of_the_canvas_is_on_nothing(
    version: bytes, background: int, dispose: int | None
) -> None:
    before = () if dispose is None else (control(dispose=dispose),)
    data = gif(*before, image(SQUARE, 2, 1), background=background, version=version)
    found = rgba(decode(data))
    expected = np.zeros((5, 6, 4), int)
    expected[1:3, 2:5] = *GREEN, 255
    assert found == expected.tolist()


def test_a_part_with_a_transparent_color() -> None:
    indices = np.array([[1, 0, 2]], np.uint8)
    found = rgba(decode(gif(control(0), image(indices, 1, 1))))
    expected = np.zeros((5, 6, 4), int)
    expected[1, 1], expected[1, 3] = (*GREEN, 255), (*BLUE, 255)
    assert found == expected.tolist()


def test_the_whole_canvas_is_opaque() -> None:
    picture = decode(gif(control(), image(np.ones((5, 6), np.uint8))))
    assert picture.alpha is None
    assert (picture.color == GREEN).all()


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (6, 0)])
@pytest.mark.parametrize("left", [0, 2])
def test_a_canvas_of_size_0_is_that_of_the_first_frame(size: tuple[int, int], left: int) -> None:
    frame = image(np.ones((5, 6), np.uint8), left)
    picture = decode(gif(frame, size=size))
    assert (picture.width, picture.height) == (left + 6, 5)
    assert (picture.color[:, left:] == GREEN).all()
    animation = open_animation(
        io.BytesIO(gif(frame, image(SQUARE), size=size)), "in", max_pixels=1000
    )
    assert animation is not None
    width = size[0] or left + 6
    assert (animation.width, animation.height) == (width, 5)
    assert [frame.picture.color[-1, -1].tolist() for frame in animation] == [[0, 255, 0]] * 2


def test_a_frame_of_size_0_is_that_of_the_canvas() -> None:
    picture = decode(gif(image(np.ones((5, 6), np.uint8), size=(0, 0))))
    assert (picture.width, picture.height) == (6, 5)
    assert (picture.color == GREEN).all()
    with pytest.raises(DecodeError, match="frame 1 of the stream is 0x0; no side may be 0"):
        decode(gif(image(SQUARE, size=(0, 0)), size=(0, 0)))


def test_a_frame_larger_than_the_canvas_enlarges_it() -> None:
    picture = decode(gif(image(np.ones((5, 6), np.uint8)), size=(2, 2)))
    assert (picture.width, picture.height) == (6, 5)
    with pytest.raises(LimitError, match="the stream is 6x5, 30 pixels, and the limit is 29"):
        codec.decode(io.BytesIO(gif(image(np.ones((5, 6), np.uint8)), size=(2, 2))), max_pixels=29)


def test_palettes() -> None:
    shades = np.array([[0, 1, 2, 3]], np.uint8)
    gray = bytes(value for value in range(4) for _ in range(3))
    for table in (gray, b""):
        picture = decode(gif(image(shades), size=(4, 1), table=table))
        assert picture.color.tolist() == [[[0], [1], [2], [3]]]
    short = decode(gif(image(shades), size=(4, 1), table=TABLE[:6]))
    assert short.color.tolist() == [[[*RED], [*GREEN], [0, 0, 0], [0, 0, 0]]]


def test_a_missing_end_is_noted_and_missing_pixels_are_refused() -> None:
    data = gif(image(np.ones((5, 6), np.uint8)))
    assert decode(data[:-1]).source.notes == ()
    picture = decode(data[:-2])
    assert (picture.color == GREEN).all()
    assert picture.source.notes == ("the file ends within a block, after all pixels",)
    with pytest.raises(DecodeError, match="is truncated"):
        decode(data[:-12])
    for seed in range(30):
        random = np.random.default_rng(seed).integers(0, 2, (9, 13)).astype(np.uint8)
        noisy = gif(image(random))
        whole = decode(noisy).color
        for cut in range(2, 8):
            try:
                found = decode(noisy[:-cut]).color
            except DecodeError:
                continue
            np.testing.assert_array_equal(found, whole)  # no pixel is made up
    np.testing.assert_array_equal(decode(noisy[:-2]).color, whole)
    for cut in range(5, 12):  # more than the terminator and the code that ends the pixels
        with pytest.raises(DecodeError, match="is truncated"):
            decode(noisy[:-cut])
    assert open_animation(io.BytesIO(data[:-2]), "in", max_pixels=1000) is None
    with pytest.raises(DecodeError, match="is truncated"):
        decode(data[:-1] + image(SQUARE)[:-3])
    assert decode(data[:-1] + b"rubbish").source.notes == (
        "other bytes follow the picture: left out",
    )


# --- labels

ICC = profile(b"RGB ")


def labels() -> tuple[bytes, ...]:
    return (
        application(b"ICCRGBG1012", ICC),
        application(b"XMP DataXMP", b"<x:xmpmeta/>" + TRAILER + b"", blocks=False),
        b"\x21\xfe\x05first\x04 one\0",
        b"\x21\xfe\x03\xe7\xb5\xb5\0",
    )


@pytest.mark.parametrize("animated", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_labels_are_read(animated: bool, after: bool) -> None:
    picture = image(np.ones((5, 6), np.uint8))
    blocks = (picture, image(SQUARE)) if animated else (picture,)
    data = gif(*blocks, *labels()) if after else gif(*labels(), *blocks)
    if animated:
        animation = open_animation(io.BytesIO(data), "in", max_pixels=1000)
        assert animation is not None
        found, notes = animation.metadata, animation.source.notes
    else:
        still = decode(data)
        found, notes = still.metadata, still.source.notes
    assert notes == ()
    assert found.icc == ICC
    assert found.xmp == b"<x:xmpmeta/>"
    assert found.text == (("Comment", "first one"), ("Comment", "絵"))


def test_labels_are_written(tmp_path: Path) -> None:
    picture = decode(gif(*labels(), image(np.ones((5, 6), np.uint8))))
    buffer = io.BytesIO()
    assert codec.encode_stream(picture, buffer, codec.resolve_format(None, "png")) == ()
    again = codec.decode(io.BytesIO(buffer.getvalue())).metadata
    assert again == picture.metadata
    notes = codec.encode_stream(picture, io.BytesIO(), codec.resolve_format(None, "webp"))
    assert notes == ("WebP holds no comments: left out",)


def test_what_is_left_out_is_noted() -> None:
    picture = image(np.ones((5, 6), np.uint8))
    text = b"\x21\x01\x0c" + bytes(12) + b"\2hi\0"
    gray = application(b"ICCRGBG1012", profile(b"GRAY"))
    long = b"\x21\xfe" + (b"\xff" + b"x" * 255) * 5000 + b"\0"
    broken = application(b"ICCRGBG1012", b"rubbish")
    for block, note in (
        (text, "a text drawn over the picture (plain text): left out"),
        (gray, "a color profile that does not fit the picture: left out"),
        (broken, "a color profile that does not fit the picture: left out"),
        (long, "comments beyond the limits of size: left out"),
    ):
        assert decode(gif(block, picture)).source.notes == (note,)


def test_a_packet_without_its_trailer() -> None:
    blocks = application(b"XMP DataXMP", b"\x07<x:xmp/" + b"\0", blocks=False)
    found = decode(gif(blocks, image(np.ones((5, 6), np.uint8))))
    assert found.metadata.xmp is not None
    assert (found.color == GREEN).all()


def test_pillow_agrees() -> None:
    """A whole canvas is what Pillow shows."""
    indices = np.random.default_rng(0).integers(0, 4, (5, 6)).astype(np.uint8)
    data = gif(control(3), image(indices))
    with Image.open(io.BytesIO(data)) as opened:
        expected = np.asarray(opened.convert("RGBA"))
    picture = decode(data)
    np.testing.assert_array_equal(picture.color, expected[..., :3])
    np.testing.assert_array_equal(picture.alpha, expected[..., 3])
