"""Read animations: frames composed as specified, durations as stored, damage reported."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from helpers import animations
from helpers.animations import (
    CLEAR,
    KEEP,
    LIMIT,
    RESTORE,
    Part,
    art,
    assert_same,
    faces,
    opened,
    rgba,
    through_pillow,
)
from PIL import Image

from waifu2x.codec.animation import open_animation
from waifu2x.errors import DecodeError, LimitError, Waifu2xError

SIZE = 14, 11


def gif_parts(seed: int) -> list[Part]:
    return animations.random_parts(
        seed, *SIZE, 9, alphas=(0, 255, 255), disposals=(0, 1, 2), replace=False
    )


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_gif_is_composed(seed: int, shared: bool, interlaced: bool) -> None:
    parts = gif_parts(seed)
    if shared:  # One table holds 255 colors.
        for part in parts:
            part.pixels[..., :3] &= 0xE0
            part.pixels[..., 2] &= 0x80
    animation = opened(animations.gif(*SIZE, parts, shared=shared, interlaced=interlaced))
    assert (animation.width, animation.height, animation.frames) == (*SIZE, 9)
    assert animation.has_alpha
    assert_same(rgba(animation), animations.shown(*SIZE, parts))
    assert [frame.duration for frame in animation] == [Fraction(p.ms, 1000) for p in parts]


@pytest.mark.parametrize("seed", range(6))
def test_apng_is_composed(seed: int) -> None:
    parts = animations.random_parts(
        seed, *SIZE, 8, alphas=(0, 100, 200, 255), disposals=(0, 1, 2), whole_first=seed % 2 == 0
    )
    # The first frame has nothing to restore; the specification clears the frame.
    parts[0].dispose = min(parts[0].dispose, CLEAR)
    default = None if seed % 2 == 0 else np.full((SIZE[1], SIZE[0], 4), 77, np.uint8)
    animation = opened(animations.apng(*SIZE, parts, plays=seed, default=default))
    assert animation.frames == 8
    assert animation.loop == seed
    assert_same(rgba(animation), animations.shown(*SIZE, parts))
    assert [frame.duration for frame in animation] == [Fraction(p.ms, 1000) for p in parts]


@pytest.mark.parametrize("seed", range(6))
def test_webp_is_composed(seed: int) -> None:
    parts = animations.random_parts(
        seed, *SIZE, 8, alphas=(0, 100, 200, 255), disposals=(0, 1), even=True
    )
    data = animations.webp(*SIZE, parts, plays=seed)
    animation = opened(data)
    assert animation.loop == seed
    expected = animations.shown(*SIZE, parts)
    assert_same(rgba(animation), expected)
    # libwebp divides approximately.
    assert_same(through_pillow(data), expected, tolerance=3)
    assert [frame.duration for frame in animation] == [Fraction(p.ms, 1000) for p in parts]


def test_avif_is_read() -> None:
    frames = faces(4)
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "AVIF",
        save_all=True,
        append_images=frames[1:],
        duration=[30, 40, 50, 61],
        quality=95,
        subsampling="4:4:4",
    )
    animation = opened(buffer.getvalue())
    assert (animation.frames, animation.loop, animation.has_alpha) == (4, 0, False)
    assert [int(frame.duration * 1000) for frame in animation] == [30, 40, 50, 61]
    for ours, frame in zip(rgba(animation), frames, strict=True):
        assert np.abs(ours[..., :3].astype(int) - np.asarray(frame)).mean() < 3


def test_gray_stays_gray() -> None:
    parts = animations.random_parts(3, *SIZE, 3, alphas=(255,), disposals=(KEEP,), whole_first=True)
    for part in parts:
        part.pixels[...] = part.pixels[..., :1]
        part.over = False
    animation = opened(animations.apng(*SIZE, parts, channels="L"))
    assert (animation.gray, animation.has_alpha) == (True, False)
    expected = animations.shown(*SIZE, parts)
    for frame, truth in zip(animation, expected, strict=True):
        assert np.array_equal(frame.picture.color[..., 0], truth[..., 0])


@pytest.mark.parametrize(("repeats", "loop"), [(None, 1), (0, 0), (1, 2), (65535, 65536)])
def test_gif_counts_repeats(repeats: int | None, loop: int) -> None:
    assert opened(animations.gif(*SIZE, gif_parts(0), repeats=repeats)).loop == loop


def test_opaque_frames_have_no_alpha() -> None:
    whole = np.full((SIZE[1], SIZE[0], 4), 255, np.uint8)
    dot = np.full((1, 2, 4), 90, np.uint8)
    dot[0, :, 3] = 0, 255
    animation = opened(animations.gif(*SIZE, [Part(whole), Part(dot)]))
    assert all(frame.picture.alpha is None for frame in animation)


def test_old_gif_without_controls_has_no_delays() -> None:
    data = animations.gif(*SIZE, [Part(np.full((11, 14, 4), v, np.uint8)) for v in (255, 255)])
    bare = b"".join(data.split(b"\x21\xf9\x04\x04\x0a\x00\xff\x00"))
    assert len(bare) == len(data) - 16
    assert [frame.duration for frame in opened(bare)] == [0, 0]


def still(kind: str) -> bytes:
    buffer = io.BytesIO()
    art.sprite(16).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "BMP", "TIFF"])
def test_stills_are_none(kind: str) -> None:
    assert open_animation(io.BytesIO(still(kind)), "in", max_pixels=LIMIT) is None


def test_one_frame_is_a_still() -> None:
    part = Part(np.full((SIZE[1], SIZE[0], 4), 255, np.uint8))
    for build in (animations.gif, animations.apng, animations.webp):
        data = build(*SIZE, [part])
        assert open_animation(io.BytesIO(data), "in", max_pixels=LIMIT) is None


def test_one_frame_beside_another_default_image_is_an_animation() -> None:
    part = Part(np.full((SIZE[1], SIZE[0], 4), 255, np.uint8))
    data = animations.apng(*SIZE, [part], default=np.zeros((SIZE[1], SIZE[0], 4), np.uint8))
    (frame,) = opened(data)
    assert frame.picture.color.min() == 255


def test_metadata_of_png_is_kept() -> None:
    physical = animations.chunk(b"pHYs", struct.pack(">IIB", 3937, 3937, 1))
    parts = [Part(np.full((SIZE[1], SIZE[0], 4), v, np.uint8)) for v in (255, 255)]
    animation = opened(animations.apng(*SIZE, parts, extra=physical))
    assert animation.metadata.dpi is not None
    assert animation.metadata.dpi[0] == pytest.approx(100, abs=0.1)
    assert animation.source.format == "PNG"
    assert animation.source.lossy is False


def test_turned_by_exif() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated clockwise by 90 degrees
    parts = animations.random_parts(
        1, *SIZE, 3, alphas=(0, 255), disposals=(0,), whole_first=True, even=True
    )
    animation = opened(animations.webp(*SIZE, parts, exif=exif.tobytes()))
    assert (animation.width, animation.height) == (SIZE[1], SIZE[0])
    expected = [np.rot90(frame, -1) for frame in animations.shown(*SIZE, parts)]
    assert_same(rgba(animation), expected)


# --- damage


def samples() -> dict[str, bytes]:
    parts = animations.random_parts(
        5, *SIZE, 4, alphas=(0, 255), disposals=(0, 1), whole_first=True, even=True
    )
    frames = faces(3)
    avif = io.BytesIO()
    frames[0].save(avif, "AVIF", save_all=True, append_images=frames[1:], duration=50)
    over = [Part(p.pixels, p.left, p.top, p.ms, p.dispose) for p in parts]
    return {
        "gif": animations.gif(*SIZE, over),
        "png": animations.apng(*SIZE, parts),
        "webp": animations.webp(*SIZE, parts),
        "avif": avif.getvalue(),
    }


SAMPLES = samples()


def outcome(data: bytes) -> str:
    """ "None", "n frames", or the message of a `Waifu2xError`."""
    try:
        animation = open_animation(io.BytesIO(data), "in", max_pixels=LIMIT)
        return "None" if animation is None else f"{sum(1 for _ in animation)} frames"
    except Waifu2xError as error:
        message = str(error)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kind", SAMPLES)
def test_cut_off_anywhere(kind: str) -> None:
    data = SAMPLES[kind]
    step = max(1, len(data) // 120)
    whole = outcome(data)
    assert whole.endswith("frames")
    for end in range(16, len(data), step):
        found = outcome(data[:end])
        if kind == "gif" and found.endswith("frames"):
            continue  # a GIF without its last byte is complete between two frames
        if kind == "png" and end >= len(data) - 12 and found == whole:
            continue  # all frames are there, and IEND is not
        assert found == "None" or "in " in found, end
        assert not found.endswith("frames"), end


@pytest.mark.parametrize("kind", SAMPLES)
def test_bytes_changed_anywhere(kind: str) -> None:
    rng = np.random.default_rng(11)
    for _ in range(60):
        data = bytearray(SAMPLES[kind])
        for at in rng.integers(8, len(data), 2):
            data[at] = rng.integers(256)
        found = outcome(bytes(data))
        # Damage is reported, or changes only colors, durations or texts.
        assert found == "None" or found.endswith("frames") or "in " in found


@pytest.mark.parametrize("kind", ["gif", "png", "webp"])
def test_truncated_names_the_frame_before_any_is_decoded(kind: str) -> None:
    data = SAMPLES[kind]
    end = len(data) - 20
    with pytest.raises(DecodeError, match=r"^in is truncated: the file ends in frame 4; copy"):
        open_animation(io.BytesIO(data[:end]), "in", max_pixels=LIMIT)


def test_damaged_names_the_frame() -> None:
    png = bytearray(SAMPLES["png"])
    png[png.rindex(b"fdAT") + 9] ^= 255
    animation = opened(bytes(png))
    with pytest.raises(DecodeError, match=r"^frame 4 of in is damaged: the checksum of its fdAT"):
        list(animation)


@pytest.mark.parametrize(
    "build", [animations.gif, animations.apng, animations.webp], ids=["gif", "png", "webp"]
)
def test_sizes_are_checked_before_anything_is_allocated(build: Callable[..., bytes]) -> None:
    parts = [Part(np.zeros((2, 2, 4), np.uint8)) for _ in range(2)]
    data = build(2, 2, parts)
    huge = {
        animations.gif: data[:6] + struct.pack("<HH", 60000, 60000) + data[10:],
        animations.apng: _with_header(data, 60000, 60000),
        animations.webp: data[:24] + b"\x5f\xea\0\x5f\xea\0" + data[30:],
    }[build]
    with pytest.raises(LimitError, match=r"60000x60000, 3600000000 pixels, and the limit is"):
        opened(huge)


def _with_header(png: bytes, width: int, height: int) -> bytes:
    header = struct.pack(">II", width, height) + png[24:29]
    check = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return png[:16] + header + check + png[33:]


def test_a_frame_outside_of_the_canvas() -> None:
    whole, sticking_out = (np.full((4, 4, 4), v, np.uint8) for v in (255, 255))
    parts = [Part(whole), Part(sticking_out, 2, 3)]
    with pytest.raises(DecodeError, match="frame 2 of in is damaged"):
        opened(animations.apng(4, 4, parts))
    with pytest.raises(DecodeError, match="frame 2 of in is damaged"):
        opened(animations.webp(4, 4, parts))
    assert opened(animations.gif(4, 4, parts)).frames == 2
    assert len(rgba(opened(animations.gif(4, 4, parts)))) == 2  # browsers crop the frame


def test_restoring_uses_what_was_there() -> None:
    red, dot = np.full((3, 3, 4), 255, np.uint8), np.full((1, 1, 4), 255, np.uint8)
    red[..., 1:3], dot[..., :2] = 0, 0
    parts = [Part(red), Part(dot, 1, 1, dispose=RESTORE), Part(dot, 0, 0)]
    third = rgba(opened(animations.gif(3, 3, parts)))[2]
    assert third[1, 1].tolist() == [255, 0, 0, 255]
    assert third[0, 0].tolist() == [0, 0, 255, 255]


class Failing(io.BytesIO):
    """A file on a disk that fails after some reads."""

    reads = 10**9

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads -= 1
        if self.reads < 0:
            raise OSError(5, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_disk_that_fails(kind: str) -> None:
    stream = Failing(SAMPLES[kind])
    stream.reads = 1
    with pytest.raises(DecodeError, match="in cannot be read: Input/output error"):
        open_animation(stream, "in", max_pixels=LIMIT)
    stream.reads = 10**9
    animation = open_animation(stream, "in", max_pixels=LIMIT)
    assert animation is not None
    stream.reads = 0
    with pytest.raises(DecodeError, match="in cannot be read: Input/output error"):
        list(animation)
