"""AVIF: labels, orientation, crop and limits, read from its boxes, and written."""

from __future__ import annotations

import io
import re
import struct
from fractions import Fraction
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from helpers.art import anime_face
from helpers.avif_files import box, with_item, with_properties
from helpers.decoding import decode, written
from helpers.exif_blocks import camera
from PIL import Image

from waifu2x import codec
from waifu2x.codec import color
from waifu2x.codec.animation import animation_writer, open_animation
from waifu2x.codec.avif_header import read_header
from waifu2x.errors import DecodeError, LimitError
from waifu2x.picture import Metadata, Picture

WIDTH, HEIGHT = 40, 24
DRAWN = np.asarray(anime_face(WIDTH, HEIGHT))[:, :, :3].copy()


def saved(pixels: Any = DRAWN, **options: Any) -> bytes:
    buffer = io.BytesIO()
    options = {"quality": 100, "subsampling": "4:4:4", **options}
    Image.fromarray(pixels).save(buffer, "AVIF", **options)
    return buffer.getvalue()


def encoded(primaries: int, transfer: int, bits: int = 8, matrix: int = 1) -> bytes:
    """An AVIF of those code points, in its box and in its bitstream."""
    dtype = np.uint8 if bits == 8 else np.uint16
    pixels = DRAWN.astype(dtype) << (bits - 8)
    data: bytes = imagecodecs.avif_encode(
        pixels, 100, bitspersample=bits, primaries=primaries, transfer=transfer, matrix=matrix
    )
    return data


# --- colors


@pytest.mark.parametrize("where", ["box", "bitstream"])
@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("transfer", [1, 4, 8, 13, 16, 18])
@pytest.mark.parametrize("primaries", [1, 9, 12])
def test_the_color_label_is_read(primaries: int, transfer: int, bits: int, where: str) -> None:
    data = encoded(primaries, transfer, bits)
    if where == "bitstream":
        data = with_properties(data, drop=(b"colr",))
    expected = None if (primaries, transfer) == (1, 13) else (primaries, transfer, 0, 1)
    assert decode(data).metadata.cicp == expected


def test_unspecified_colors_are_those_of_srgb() -> None:
    assert decode(encoded(2, 2)).metadata.cicp is None
    assert decode(encoded(1, 2)).metadata.cicp is None
    assert decode(encoded(12, 2)).metadata.cicp == (12, 13, 0, 1)
    assert decode(encoded(2, 8)).metadata.cicp == (1, 8, 0, 1)


def test_the_box_counts_before_the_bitstream_and_a_profile_before_both() -> None:
    data = encoded(9, 16)
    at = data.index(b"colrnclx") + 8
    assert decode(data[:at] + b"\0\x0c\0\x0d" + data[at + 4 :]).metadata.cicp == (12, 13, 0, 1)
    icc = color.matrix_profile(color.DISPLAY_P3)
    labeled = with_properties(data, (b"colr", b"prof" + icc))
    metadata = decode(labeled).metadata
    assert metadata.icc == icc
    assert metadata.cicp is None


@pytest.mark.parametrize("label", [(12, 13), (9, 14), (1, 8), (9, 16), (9, 18), (12, 16)])
def test_the_label_survives_in_every_format_or_is_noted(label: tuple[int, int]) -> None:
    picture = decode(encoded(*label))
    data, notes = written(picture, "png")
    assert b"cICP" + bytes([*label, 0, 1]) in data
    assert notes == ()
    data, notes = written(picture, "avif")
    assert b"colrnclx" + struct.pack(">HH", *label) in data
    assert notes == ()
    assert decode(data).metadata.cicp == (*label, 0, 1)
    lost = (f"the colors are labeled cICP {label[0]}/{label[1]}/0/1",)
    for name in ("jpeg", "webp", "tiff"):
        data, notes = written(picture, name)
        if label[1] in (16, 18):
            assert tuple(note.split(",")[0] for note in notes) == lost
        else:
            assert notes == ()
            icc = decode(data).metadata.icc
            assert icc == color.implied_profile(picture.metadata, 3).icc
            assert icc is not None
    _, notes = written(picture, "bmp")
    assert len(notes) == 1


def moving(metadata: Metadata, **options: Any) -> bytes:
    """An animation of three frames that differ in color alone."""
    buffer = io.BytesIO()
    output = codec.resolve_format(None, "avif")
    writer = animation_writer(
        buffer, output, width=WIDTH, height=HEIGHT, metadata=metadata, **options
    )
    with writer:
        for turn in range(3):
            writer.add(Picture(np.roll(DRAWN, turn, axis=2)), Fraction(1, 10))
        assert writer.close() == ()
    return buffer.getvalue()


@pytest.mark.parametrize("label", [(12, 13), (9, 16), (9, 18)])
def test_the_label_of_an_animation(label: tuple[int, int]) -> None:
    data = moving(Metadata(cicp=(*label, 0, 1)))
    # In the meta box and in the track.
    assert data.count(b"colrnclx" + struct.pack(">HH", *label)) == 2
    animation = open_animation(io.BytesIO(data), "a.avif", max_pixels=10_000)
    assert animation is not None
    assert animation.metadata.cicp == (*label, 0, 1)
    bitstream = data.replace(b"colrnclx", b"freenclx")  # that of sRGB, as libavif was told
    found = open_animation(io.BytesIO(bitstream), "a.avif", max_pixels=10_000)
    assert found is not None
    assert found.metadata.cicp is None


def test_frames_that_differ_in_color_alone_stay_different() -> None:
    shades = np.array([[177, 141, 35], [106, 177, 35], [40, 202, 81], [36, 184, 184]], np.uint8)
    buffer = io.BytesIO()
    output = codec.resolve_format(None, "avif")
    frames = []
    with animation_writer(buffer, output, width=192, height=192) as writer:
        for shade in shades:
            frame = np.full((192, 192, 3), (245, 240, 230), np.uint8)
            frame[48:144, 48:144] = shade
            frames.append(frame)
            writer.add(Picture(frame), Fraction(1, 10))
        writer.close()
    with Image.open(buffer) as image:
        for number, frame in enumerate(frames):
            image.seek(number)
            error = np.abs(np.asarray(image.convert("RGB")).astype(int) - frame)
            assert error.mean() < 2, number
            assert error[60:130, 60:130].max() < 12, number


# --- orientation and crop

UPRIGHT = {
    # The boxes, in their order, and the same by numpy.
    "irot 0": ([(b"irot", b"\0")], lambda a: a),
    "irot 1": ([(b"irot", b"\1")], lambda a: np.rot90(a, 1)),
    "irot 2": ([(b"irot", b"\2")], lambda a: np.rot90(a, 2)),
    "irot 3": ([(b"irot", b"\3")], lambda a: np.rot90(a, 3)),
    "imir 0": ([(b"imir", b"\0")], lambda a: a[::-1]),
    "imir 1": ([(b"imir", b"\1")], lambda a: a[:, ::-1]),
    **{
        f"irot {angle}, imir {axis}": (
            [(b"irot", bytes([angle])), (b"imir", bytes([axis]))],
            lambda a, angle=angle, axis=axis: np.flip(np.rot90(a, angle), axis),
        )
        for angle in range(4)
        for axis in range(2)
    },
}


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("case", UPRIGHT)
def test_only_its_boxes_turn_an_avif(case: str, bits: int) -> None:
    properties, turned = UPRIGHT[case]
    plain = encoded(1, 13, bits)
    picture = decode(with_properties(plain, *properties))
    np.testing.assert_array_equal(picture.color, turned(decode(plain).color))
    with Image.open(io.BytesIO(with_properties(plain, *properties))) as image:
        exif = image.getexif()
    assert (
        exif.get(0x0112, 1)
        == read_header(io.BytesIO(with_properties(plain, *properties))).orientation
    )  # as libavif's own users have it


def with_exif(exif: bytes) -> bytes:
    """An AVIF of that block, unchanged, and no orientation of its own."""
    data, notes = written(Picture(DRAWN, metadata=Metadata(exif=exif)), "avif")
    assert notes == ()
    return data


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_turns_no_avif_and_stays_byte_for_byte(order: str) -> None:
    exif = camera(order, turned=1, size=(WIDTH, HEIGHT))
    data = with_exif(exif)
    assert exif in data
    assert decode(data).metadata.exif == exif
    turned = data.replace(exif, camera(order, turned=6, size=(WIDTH, HEIGHT)))
    picture = decode(turned)
    assert (picture.width, picture.height) == (WIDTH, HEIGHT)
    assert read_header(io.BytesIO(turned)).orientation == 1
    kept = bytearray(picture.metadata.exif or b"")
    link = 6 + 8 + 2 + 12 * 6  # to the thumbnail, which would be sideways
    kept[link : link + 4] = exif[link : link + 4]
    assert bytes(kept) == exif
    rotated = with_properties(data, (b"irot", b"\1"))
    assert decode(rotated).metadata.exif == exif
    assert decode(rotated).width == HEIGHT


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_the_exif_of_an_animation_stays_byte_for_byte(gray: bool, has_alpha: bool) -> None:
    exif = camera(turned=1, size=(WIDTH, HEIGHT))
    buffer = io.BytesIO()
    writer = animation_writer(
        buffer,
        codec.resolve_format(None, "avif"),
        width=WIDTH,
        height=HEIGHT,
        metadata=Metadata(exif=exif, xmp=b"<x/>"),
        gray=gray,
        has_alpha=has_alpha,
    )
    with writer:
        for shade in (30, 200):
            pixels = np.full((HEIGHT, WIDTH, 1 if gray else 3), shade, np.uint8)
            writer.add(Picture(pixels), Fraction(1, 10))
        writer.close()
    assert exif in buffer.getvalue()
    buffer.seek(0)
    animation = open_animation(buffer, "a.avif", max_pixels=10_000)
    assert animation is not None
    assert animation.metadata == Metadata(exif=exif, xmp=b"<x/>")


def test_a_short_exif_block_is_stored_as_well() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\1\0\0\0\0\0\0\0"
    assert decode(with_exif(exif)).metadata.exif == exif


def aperture(left: int, top: int, width: int, height: int) -> tuple[bytes, bytes]:
    """The property clap."""
    offsets = 2 * left + width - WIDTH, 2 * top + height - HEIGHT
    fields = struct.pack(">IIIIiIiI", width, 1, height, 1, offsets[0], 2, offsets[1], 2)
    return b"clap", fields


@pytest.mark.parametrize("bits", [8, 10])
def test_the_clean_aperture_is_cropped_before_the_rotation(bits: int) -> None:
    plain = encoded(1, 13, bits)
    whole = decode(plain).color
    picture = decode(with_properties(plain, aperture(3, 5, 30, 11), (b"irot", b"\1")))
    np.testing.assert_array_equal(picture.color, np.rot90(whole[5:16, 3:33]))
    assert picture.source.notes == ("cropped to the clean aperture",)
    for all_of_it in (aperture(0, 0, WIDTH, HEIGHT), aperture(20, 0, 30, 11), (b"clap", bytes(32))):
        picture = decode(with_properties(plain, all_of_it))
        np.testing.assert_array_equal(picture.color, whole)
        assert picture.source.notes == ()


# --- what is left out


def test_what_is_left_out_is_noted() -> None:
    plain = saved()
    assert decode(plain).source.notes == ()
    for data, note in (
        (with_item(plain, b"tmap"), "the gain map (HDR): left out"),
        (with_item(plain, b"av01"), "other pictures in the file: left out (1)"),
        (with_properties(plain, (b"clli", bytes(4))), "light levels of HDR (clli): left out"),
        (
            with_properties(plain, (b"pasp", struct.pack(">II", 2, 1))),
            "pixels of 2:1 are written as square",
        ),
    ):
        picture = decode(data)
        assert picture.source.notes == (note,)
        np.testing.assert_array_equal(picture.color, decode(plain).color)
    assert decode(with_item(plain, b"av01", hidden=True)).source.notes == ()


# --- layouts


@pytest.mark.parametrize("premultiplied", [False, True])
@pytest.mark.parametrize("subsampling", ["4:0:0", "4:2:0", "4:2:2", "4:4:4"])
def test_layouts(subsampling: str, premultiplied: bool) -> None:
    ramp = np.tile(np.linspace(40, 250, WIDTH).astype(np.uint8), (HEIGHT, 1))
    alpha = np.full_like(ramp, 128)
    pixels = np.dstack([ramp, ramp, ramp, alpha])
    data = saved(pixels, subsampling=subsampling, alpha_premultiplied=premultiplied)
    picture = decode(data)
    assert picture.alpha is not None
    assert np.abs(picture.color.astype(int) - ramp[:, :, None]).max() <= 4
    assert np.abs(picture.alpha.astype(int) - 128).max() <= 1


@pytest.mark.parametrize("limited", [False, True])
def test_both_ranges(limited: bool) -> None:
    picture = decode(saved(range="limited" if limited else "full"))
    assert np.abs(picture.color.astype(int) - DRAWN).mean() < 2


#: Shares of red and blue in luma.
BT601, BT709, BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)
SATURATED = np.array(
    [[0, 0, 255], [14, 156, 249], [40, 60, 250], [20, 20, 120], [128, 128, 200], [100, 90, 10],
     [255, 0, 0], [0, 255, 0], [250, 200, 20], [0, 0, 0], [255, 255, 255], [128, 128, 128]],
    np.uint8,
)  # fmt: skip


def reinterpreted(colors: npt.NDArray[np.uint8], luma: tuple[float, float]) -> Any:
    """What colors stored by BT.601 are by another matrix, in levels of 255."""
    red, green, blue = np.moveaxis(colors.astype(float), -1, 0)
    kr, kb = BT601
    y = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - y) / (2 - 2 * kb), (red - y) / (2 - 2 * kr)
    kr, kb = luma
    red, blue = y + (2 - 2 * kr) * cr, y + (2 - 2 * kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return np.clip(np.stack([red, green, blue], -1), 0, 255)


@pytest.mark.parametrize("where", ["still", "animation"])
@pytest.mark.parametrize("alpha", [None, "straight", "premultiplied"])
@pytest.mark.parametrize("range", ["limited", "full"])
@pytest.mark.parametrize(
    ("primaries", "matrix", "luma"),
    [
        (1, 1, BT709),
        (9, 9, BT2020),
        (1, 5, BT601),
        (1, 6, BT601),
        (2, 2, BT601),
        (1, 12, BT709),
        (6, 12, BT601),
        (9, 12, BT2020),
    ],
)
def test_saturated_colors(
    primaries: int,
    matrix: int,
    luma: tuple[float, float],
    range: str,
    alpha: str | None,
    where: str,
) -> None:
    colors = SATURATED.repeat(8, 0)[:, None].repeat(16, 1)
    if alpha is not None:
        colors = np.dstack([colors, np.full(colors.shape[:2], 200, np.uint8)])
    options: dict[str, Any] = {"range": range, "alpha_premultiplied": alpha == "premultiplied"}
    if where == "animation":
        options |= {"save_all": True, "append_images": [Image.fromarray(colors[::-1])]}
    data = saved(colors, **options)
    label = struct.pack(">HHH", primaries, 13, matrix)
    at = [match.end() for match in re.finditer(b"colrnclx", data)]
    for place in at:
        data = data[:place] + label + data[place + 6 :]
    if where == "still":
        picture = decode(data)
    else:
        animation = open_animation(io.BytesIO(data), "a.avif", max_pixels=10_000)
        assert animation is not None
        picture = next(iter(animation)).picture
    error = np.abs(picture.color.astype(float) - reinterpreted(colors[:, :, :3], luma))
    assert error[4::8].max() <= (5 if alpha == "premultiplied" else 3)


@pytest.mark.parametrize("matrix", [0, 1, 4, 5, 6, 7, 8, 9, 12])
def test_matrix_coefficients(matrix: int) -> None:
    picture = decode(encoded(9, 13, matrix=matrix))
    assert np.abs(picture.color.astype(int) - DRAWN).mean() < 1


def test_matrix_coefficients_that_are_not_read_are_named() -> None:
    data = encoded(9, 13)
    at = data.index(b"colrnclx") + 12
    for matrix in (3, 10, 11, 13, 14, 15, 16, 17, 200):
        with pytest.raises(DecodeError, match=rf"matrix coefficients {matrix} \(.* not supported"):
            decode(data[:at] + struct.pack(">H", matrix) + data[at + 2 :])


def test_frames_of_more_than_8_bits_are_noted() -> None:
    deep = np.stack([DRAWN.astype(np.uint16) << 2, DRAWN[::-1].astype(np.uint16) << 2])
    data = imagecodecs.avif_encode(deep, 100, bitspersample=10)
    animation = open_animation(io.BytesIO(data), "a.avif", max_pixels=10_000)
    assert animation is not None
    assert animation.source.reduced


def test_a_file_of_another_major_brand() -> None:
    data = saved()
    for brand in (b"mif1", b"miaf"):
        other = data[:8] + brand + data[12:]
        assert codec.sniff(other[:512]).name == "avif"
    np.testing.assert_array_equal(decode(data[:8] + b"mif1" + data[12:]).color, decode(data).color)
    heic = box(b"ftyp", b"mif1\0\0\0\0mif1heic")
    assert codec.sniff(heic).name == "heic"


# --- limits and damage


def test_a_picture_beyond_a_limit_names_the_limit() -> None:
    data = saved()
    at = data.index(b"ispe") + 8

    def declared(width: int, height: int) -> bytes:
        return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]

    with pytest.raises(LimitError, match=r"40x24, 960 pixels, and the limit is 959"):
        decode(data, max_pixels=959)
    with pytest.raises(LimitError, match="40000x2, and libavif reads AVIF of at most 32768 pixels"):
        decode(declared(40000, 2))
    with pytest.raises(LimitError, match="268435456 in all"):
        decode(declared(30000, 30000), max_pixels=10**9)
    with pytest.raises(DecodeError, match="no side may be 0"):
        decode(declared(0, 2))


def test_items_of_too_many_extents_are_refused() -> None:
    entries = struct.pack(">HHHH", 1, 0, 0, 65535) * 9  # version 1, sizes of 0: no bytes each
    table = b"\1\0\0\0\0\0" + struct.pack(">H", 9) + entries
    meta = b"\0\0\0\0" + box(b"iloc", table)
    data = box(b"ftyp", b"avif\0\0\0\0avifmif1") + box(b"meta", meta)
    with pytest.raises(DecodeError, match="too many extents"):
        decode(data)


def test_damaged_boxes_give_one_line() -> None:
    data = with_properties(saved(), aperture(3, 5, 30, 11), (b"irot", b"\1"))
    messages = set()
    for at in range(4, data.index(b"mdat")):
        for value in (0, 0xFF):
            try:
                decode(data[:at] + bytes([value]) + data[at + 1 :], max_pixels=100_000)
            except (DecodeError, LimitError) as error:
                messages.add(str(error))
    assert len(messages) > 1
    assert not any("\n" in message for message in messages)
