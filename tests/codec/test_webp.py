"""WebP: labels that its header announces or not, and lengths that are wrong."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from helpers.art import anime_face
from helpers.exif_blocks import camera
from PIL import Image

from waifu2x import codec
from waifu2x.codec import color
from waifu2x.codec.animation import open_animation
from waifu2x.errors import DecodeError
from waifu2x.picture import Picture

WIDTH, HEIGHT = 41, 24
DRAWN = np.asarray(anime_face(WIDTH, HEIGHT))[:, :, :3].copy()
ICC = color.matrix_profile(color.DISPLAY_P3)
EXIF = camera(turned=1, size=(WIDTH, HEIGHT))[6:]
XMP = b"<x></x>"  # an odd length
LENGTHS = "the lengths in the file are wrong, and all pixels are there"
FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}


def saved(**options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(DRAWN).save(buffer, "WEBP", **{"lossless": True, **options})
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)


def riff(*chunks: bytes) -> bytes:
    return chunk(b"RIFF", b"WEBP" + b"".join(chunks))


def extended(flags: int) -> bytes:
    size = (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
    return chunk(b"VP8X", bytes([flags, 0, 0, 0]) + size)


PIXELS = saved()[12:]
LABELS = {b"ICCP": ICC, b"EXIF": EXIF, b"XMP ": XMP}
NAMES = {b"ICCP": "color profile", b"EXIF": "EXIF", b"XMP ": "XMP"}


def decode(data: bytes) -> Picture:
    picture = codec.decode(io.BytesIO(data))
    np.testing.assert_array_equal(picture.color, DRAWN)
    return picture


def found(picture: Picture) -> dict[bytes, bytes | None]:
    metadata = picture.metadata
    exif = None if metadata.exif is None else metadata.exif[6:]
    return {b"ICCP": metadata.icc, b"EXIF": exif, b"XMP ": metadata.xmp}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("before", [False, True])
def test_a_label_counts_if_the_header_announces_it(kind: bytes, before: bool) -> None:
    label = chunk(kind, LABELS[kind])
    parts = (label, PIXELS) if before else (PIXELS, label)
    picture = decode(riff(extended(FLAGS[kind]), *parts))
    assert found(picture)[kind] == LABELS[kind]
    assert picture.source.notes == ()
    # Without an extended header, the pixels come first.
    for data in (riff(extended(0), *parts), *([] if before else [riff(*parts)])):
        picture = decode(data)
        assert set(found(picture).values()) == {None}
        note = f"{NAMES[kind]} that the header does not announce: left out"
        assert picture.source.notes == (note,)


def test_exif_with_the_prefix_of_jpeg() -> None:
    data = riff(extended(0x08), PIXELS, chunk(b"EXIF", b"Exif\0\0" + EXIF))
    assert found(decode(data))[b"EXIF"] == EXIF


def test_unknown_chunks_and_data_behind_the_file_change_nothing() -> None:
    parts = chunk(b"ABCD", b"x" * 9), PIXELS, chunk(b"EFGH", b"1")
    assert decode(riff(extended(0), *parts) + b"EXIFjunk" * 9).source.notes == ()


WHOLE = riff(extended(0x2C), chunk(b"ICCP", ICC), PIXELS, chunk(b"EXIF", EXIF), chunk(b"XMP ", XMP))


@pytest.mark.parametrize(
    "length", [0, 12, len(WHOLE) - 9, len(WHOLE) - 7, len(WHOLE) + 90, 2**32 - 1]
)
def test_a_wrong_length_of_the_file(length: int) -> None:
    picture = decode(WHOLE[:4] + struct.pack("<I", length) + WHOLE[8:])
    assert picture.source.notes == (LENGTHS,)
    assert found(picture) == LABELS


def test_a_missing_padding_byte_at_the_end() -> None:
    assert WHOLE[-1] == 0
    for length in (len(WHOLE) - 8, len(WHOLE) - 9):
        picture = decode(WHOLE[:4] + struct.pack("<I", length) + WHOLE[8:-1])
        assert picture.source.notes == (LENGTHS,)
        assert found(picture) == LABELS


def test_a_file_without_an_announced_label_is_truncated() -> None:
    whole = riff(extended(0x08), PIXELS, chunk(b"EXIF", EXIF))
    for end in (len(whole) - 9 - len(EXIF), whole.index(b"EXIF") + 4, whole.index(b"EXIF") + 9):
        with pytest.raises(DecodeError, match="is truncated: the file ends before"):
            decode(whole[:end])
    # A flag alone is no fault.
    assert decode(riff(extended(0x08), PIXELS)).source.notes == ()


def test_a_truncated_file_is_refused() -> None:
    for length in (len(WHOLE) - 8, len(WHOLE) - 14):
        with pytest.raises(DecodeError, match="is truncated: the file ends before"):
            decode(WHOLE[:4] + struct.pack("<I", length) + WHOLE[8:-6])
    for data in (saved(), saved(lossless=False, quality=80), WHOLE):
        end = data.index(b"VP8", 20) if data is WHOLE else 12
        size = int.from_bytes(data[end + 4 : end + 8], "little")
        for at in (end + 7 + size, end + 8 + size // 2, end + 9, end + 3):
            for length in (len(data) - 8, at - 8):
                with pytest.raises(DecodeError, match="is truncated: the file ends before"):
                    decode(data[:4] + struct.pack("<I", length) + data[8:at])


def test_labels_of_an_animation() -> None:
    buffer = io.BytesIO()
    frames = [Image.fromarray(np.roll(DRAWN, turn, axis=2)) for turn in range(3)]
    xmp = b'<x tiff:Orientation="6"/>'
    options = {"icc_profile": ICC, "exif": EXIF, "xmp": xmp, "lossless": True}
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], **options)
    buffer.seek(0)
    animation = open_animation(buffer, "a.webp", max_pixels=10_000)
    assert animation is not None
    assert (animation.width, animation.height) == (WIDTH, HEIGHT)  # XMP turns nothing
    assert animation.metadata.icc == ICC
    assert animation.metadata.exif == b"Exif\0\0" + EXIF
    assert animation.metadata.xmp == xmp.replace(b"6", b"1")


def animated(**options: Any) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.fromarray(np.roll(DRAWN, turn, axis=2)) for turn in range(2)]
    options = {"lossless": True, **options}
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], **options)
    return buffer.getvalue()


@pytest.mark.parametrize("length", [0, 12, 20, 36])
def test_a_length_that_excludes_all_frames_means_nothing(length: int) -> None:
    """As ffmpeg leaves it in a pipe."""
    data = animated(exif=EXIF)
    data = data[:4] + struct.pack("<I", length) + data[8:]
    animation = open_animation(io.BytesIO(data), "a.webp", max_pixels=10_000)
    assert animation is not None
    assert animation.source.notes == (LENGTHS,)
    assert animation.metadata.exif == b"Exif\0\0" + EXIF
    pictures = [frame.picture for frame in animation.play()]
    for turn, picture in enumerate(pictures):
        np.testing.assert_array_equal(picture.color, np.roll(DRAWN, turn, axis=2))
    assert len(pictures) == 2


@pytest.mark.parametrize("length", [0, None])
def test_an_animation_that_ends_too_early_is_truncated(length: int | None) -> None:
    data = animated()
    if length is not None:
        data = data[:4] + struct.pack("<I", length) + data[8:]
    for cut in (1, 9, 40):
        with pytest.raises(DecodeError, match="is truncated: the file ends"):
            open_animation(io.BytesIO(data[:-cut]), "a.webp", max_pixels=10_000)


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_an_animation_count_if_the_header_announces_them(kind: bytes) -> None:
    turned = camera(turned=6, size=(WIDTH, HEIGHT))[6:]
    data = bytearray(animated(icc_profile=ICC, exif=turned, xmp=XMP))
    assert data[12:16] == b"VP8X"
    data[20] &= ~FLAGS[kind]
    animation = open_animation(io.BytesIO(bytes(data)), "a.webp", max_pixels=10_000)
    assert animation is not None
    assert animation.source.notes == (f"{NAMES[kind]} that the header does not announce: left out",)
    found = {
        b"ICCP": animation.metadata.icc,
        b"EXIF": animation.metadata.exif,
        b"XMP ": animation.metadata.xmp,
    }
    assert [label for label in LABELS if found[label] is None] == [kind]
    size = (WIDTH, HEIGHT) if kind == b"EXIF" else (HEIGHT, WIDTH)
    assert (animation.width, animation.height) == size
