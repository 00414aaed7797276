"""EXIF blocks: the orientation and the size change in place, every other byte stays."""

import io
import struct
import zlib

import numpy as np
import pytest
from helpers.art import anime_face
from helpers.exif_blocks import INTEGERS, camera
from PIL import Image

from waifu2x import codec
from waifu2x.codec.exif import EXIF_PREFIX, orientation, reset_orientation, set_size


def saved(format, exif, **options):
    buffer = io.BytesIO()
    image = Image.fromarray(np.asarray(anime_face(24, 16))[:, :, :3])
    image.save(buffer, format, exif=exif, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", INTEGERS)
def test_every_integer_type_turns_the_picture_and_is_reset(order, kind):
    exif = camera(order, kind)
    picture = codec.decode(io.BytesIO(saved("JPEG", exif)))
    assert (picture.width, picture.height) == (16, 24)
    kept = picture.metadata.exif
    assert orientation(exif) == 6
    assert orientation(kept) == 1
    # The tag, and the link to the thumbnail, which would be sideways.
    expected = camera(order, kind, turned=1)
    link = len(EXIF_PREFIX) + 8 + 2 + 12 * 6
    assert kept == expected[:link] + bytes(4) + expected[link + 4 :]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", INTEGERS)
def test_the_size_of_every_integer_type_is_set(order, kind):
    exif = camera(order, kind, size=(24, 16))
    assert set_size(exif, 96, 64) == camera(order, kind, size=(96, 64))
    large = set_size(exif, 3000, 2000)
    if kind not in (1, 6):
        assert large == camera(order, kind, size=(3000, 2000))
        return
    parsed = Image.Exif()  # one byte holds neither: the entries become LONG
    parsed.load(large)
    assert (parsed[0x0100], parsed[0x0101]) == (3000, 2000)
    assert parsed.get_ifd(0x8769)[0xA002] == 3000
    assert len(large) == len(exif)


@pytest.mark.parametrize("turned", [0, 1, 9])
def test_an_unknown_orientation_turns_nothing_and_keeps_the_thumbnail(turned):
    exif = camera(turned=turned)
    assert orientation(exif) == 1
    assert reset_orientation(exif) == camera(turned=1)


def test_a_repeated_tag_is_reset_everywhere():
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 8, 0)
    exif = EXIF_PREFIX + b"II*\0\x08\0\0\0\2\0" + entry + entry + bytes(4)
    assert orientation(exif) == 8
    assert reset_orientation(exif) == exif.replace(b"\1\0\0\0\x08\0", b"\1\0\0\0\1\0")


def test_an_orientation_that_is_no_integer_counts_for_nothing():
    for kind, count in ((2, 2), (5, 1), (3, 2), (11, 1), (7, 1)):
        entry = struct.pack("<HHIHH", 0x0112, kind, count, 6, 0)
        exif = EXIF_PREFIX + b"II*\0\x08\0\0\0\1\0" + entry + bytes(4)
        assert orientation(exif) == 1
        assert reset_orientation(exif) == exif
    assert orientation(b"no block") == 1
    assert reset_orientation(b"no block") is None


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "PNG", "AVIF"])
def test_a_block_that_cannot_be_read_ruins_no_picture(format):
    data = saved(format, camera(turned=1))
    block = camera(turned=1)[6:]
    if format == "AVIF":  # Pillow writes the block again, without the orientation
        at = data.index(b"II*\0") if b"II*\0" in data else data.index(b"MM\0*")
        broken = data[:at] + b"rub!" + data[at + 4 :]
    else:
        broken = data.replace(block, b"rub!" + block[4:])
    assert broken != data
    if format == "PNG":  # with the checksum of the rubbish
        at = broken.index(b"eXIf")
        size = int.from_bytes(broken[at - 4 : at], "big")
        checksum = zlib.crc32(broken[at : at + 4 + size]).to_bytes(4, "big")
        broken = broken[: at + 4 + size] + checksum + broken[at + 8 + size :]
    picture = codec.decode(io.BytesIO(broken))
    assert picture.metadata.exif is None
    assert picture.source.notes == ("the EXIF block cannot be read: left out",)
    np.testing.assert_array_equal(picture.color, codec.decode(io.BytesIO(data)).color)
