"""Write animations: every frame and duration, read by us, Pillow and imagecodecs."""

from __future__ import annotations

import io
from fractions import Fraction
from functools import cache

import imagecodecs
import numpy as np
import pytest
from helpers import art
from helpers.animations import (
    DELAYS,
    assert_same,
    opened,
    rgba,
    sprites,
    through_pillow,
    truths,
    written,
)
from PIL import Image, ImageCms

from waifu2x.codec import from_array
from waifu2x.codec.animation import (
    ANIMATION_FORMATS,
    animation_writer,
    check_animation_target,
    resolve_animation_format,
)
from waifu2x.codec.animation.palette import best_palette, nearest, packed, unpacked
from waifu2x.codec.animation.writer import DurationRounder
from waifu2x.errors import ArgumentError, EncodeError
from waifu2x.picture import Metadata, Picture

EXACT = ("png", "webp")


@cache
def solid() -> list[Image.Image]:
    """A figure that moves before a portrait."""
    frames = []
    for sprite in sprites():
        frame = art.anime_face(40, 34, supersample=2).convert("RGBA")
        frame.alpha_composite(sprite)
        frames.append(frame.convert("RGB"))
    return frames


@pytest.mark.parametrize("format", ANIMATION_FORMATS)
@pytest.mark.parametrize("alpha", [False, True])
def test_every_frame_and_duration(format: str, alpha: bool) -> None:
    frames = sprites() if alpha else solid()
    data, _ = written(frames, format, has_alpha=alpha, loop=3)
    animation = opened(data)
    assert (animation.width, animation.height, animation.frames) == (40, 34, 6)
    assert animation.loop == 3
    assert [frame.duration * 1000 for frame in animation] == list(DELAYS)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 6
        for number, delay in enumerate(DELAYS):
            image.seek(number)
            image.load()
            assert image.info["duration"] == delay
    ours = rgba(animation)
    assert_same(ours, through_pillow(data))
    if format in EXACT:
        assert_same(ours, truths(frames))
        return
    for frame, truth in zip(ours, truths(frames), strict=True):
        there = truth[..., 3] > 127
        if format == "gif":
            assert np.array_equal(frame[..., 3] == 255, there)
        error = frame[there].astype(int) - truth[there]
        assert (error[:, :3] ** 2).mean() < (30 if format == "gif" else 80)


@pytest.mark.parametrize("format", ["gif", "png", "avif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_second_decoder_sees_the_same(format: str, alpha: bool) -> None:
    data, _ = written(sprites() if alpha else solid(), format, has_alpha=alpha)
    decode = {
        "gif": imagecodecs.gif_decode,
        "png": imagecodecs.apng_decode,
        "avif": imagecodecs.avif_decode,
    }[format]
    theirs = decode(data)
    if theirs.shape[-1] == 3:
        theirs = np.concatenate([theirs, np.full_like(theirs[..., :1], 255)], axis=-1)
    assert_same(rgba(opened(data)), list(theirs))


def test_gif_of_few_colors_is_exact() -> None:
    frames = sprites(hard=True)
    data, notes = written(frames, "gif", has_alpha=True)
    assert_same(rgba(opened(data)), truths(frames))
    assert notes == ()


def test_gif_of_256_colors_is_exact() -> None:
    rng = np.random.default_rng(2)
    colors = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    first = np.append(np.arange(256), 7).reshape(1, 257).repeat(4, axis=0)
    second = first.copy()
    second[1:3, :256] = second[1:3, 255::-1]  # uses all 256 colors again and keeps some pixels
    second[1, 5] = first[1, 5]
    frames = [Image.fromarray(colors[index]) for index in (first, second, first)]
    data, notes = written(frames, "gif", delays=(20, 30, 40))
    assert_same(rgba(opened(data)), truths(frames))
    assert notes == ()


def test_gif_does_not_flicker_where_nothing_moves() -> None:
    """Changes of the result below the error of the palette change no pixels."""
    base = np.asarray(art.anime_face(64, supersample=2)).astype(int)
    rng = np.random.default_rng(0)
    frames = []
    for number in range(5):
        noisy = np.clip(base + rng.integers(-1, 2, base.shape), 0, 255).astype(np.uint8)
        noisy[50:, 10 * number : 10 * number + 10] = 40 * number
        frames.append(Image.fromarray(noisy))
    data, notes = written(frames, "gif", delays=(100,) * 5)
    shown = [frame[:50] for frame in rgba(opened(data))]
    assert all(np.array_equal(frame, shown[0]) for frame in shown)
    error = (shown[4][..., :3].astype(int) - base[:50]) ** 2
    assert 10 * np.log10(255**2 / error.mean()) > 34
    assert notes == ("GIF holds 256 colors a frame: reduced in 5 of 5",)


@pytest.mark.parametrize("loop", [0, 1, 2, 65536])
def test_loops(loop: int) -> None:
    frames = [Image.new("RGB", (8, 8), (v, 0, 0)) for v in (0, 200)]
    for format in ANIMATION_FORMATS:
        data, notes = written(frames, format, delays=(50, 50), loop=loop)
        cut = format == "webp" and loop > 65535
        assert opened(data).loop == (65535 if cut else loop)
        assert any("loop count" in note for note in notes) == cut


def test_gif_loops_as_the_source_said() -> None:
    once, _ = written(solid()[:2], "gif", delays=(50, 50), loop=1)
    assert b"NETSCAPE" not in once
    thrice, _ = written(solid()[:2], "gif", delays=(50, 50), loop=4)
    assert b"NETSCAPE2.0\x03\x01\x03\x00\x00" in thrice


def test_gif_rounds_time_without_drift() -> None:
    frames = [Image.new("RGB", (2, 2), (v, 0, 0)) for v in range(30)]
    data, notes = written(frames, "gif", delays=(Fraction(100, 3),) * 30)
    durations = [frame.duration * 100 for frame in opened(data)]
    assert sum(durations) == 100
    assert set(durations) == {3, 4}
    assert notes == ("GIF counts time in 1/100 s: durations rounded",)


def test_clock_cuts_and_carries() -> None:
    clock = DurationRounder(100, 65535)
    assert [clock.units(Fraction(n, 1000)) for n in (4, 4, 4, 0, 8)] == [0, 1, 0, 0, 1]
    assert clock.units(Fraction(10**6)) == 65535
    assert clock.units(Fraction(1)) == 100
    assert clock.rounded
    assert clock.shortened


def test_times_that_png_cannot_hold() -> None:
    frames = solid()[:3]
    delays = (Fraction(10**9), Fraction(1000, 70001), Fraction(1, 3))
    data, notes = written(frames, "png", delays=delays)
    first, second, third = (frame.duration for frame in opened(data))
    assert (first, third) == (65535, Fraction(1, 3000))
    assert second == pytest.approx(Fraction(1, 70001), abs=1e-6)
    assert len(notes) == 2


def test_half_transparency_in_gif_is_said() -> None:
    _, notes = written(sprites(), "gif", has_alpha=True)
    assert "GIF has no half transparency: every pixel is on or off" in notes


def test_lossy_webp_is_smaller_and_keeps_frames() -> None:
    lossless, _ = written(solid(), "webp")
    lossy, _ = written(solid(), "webp", quality=60)
    assert len(lossy) < len(lossless)
    animation = opened(lossy)
    assert animation.source.lossy is True
    assert [frame.duration * 1000 for frame in animation] == list(DELAYS)
    ours = rgba(animation)
    assert np.array_equal(ours[2], ours[3])
    for frame, truth in zip(ours, truths(solid()), strict=True):
        assert np.abs(frame.astype(int) - truth).mean() < 12


def test_gray_is_kept_where_it_can_be() -> None:
    frames = [frame.convert("L") for frame in solid()[:2]]
    for format in ANIMATION_FORMATS:
        data, _ = written(frames, format, delays=(50, 50), gray=True)
        animation = opened(data)
        assert animation.gray == (format in ("png", "avif"))
        for ours, truth in zip(rgba(animation), truths(frames), strict=True):
            assert np.abs(ours.astype(int) - truth).mean() < (0.01 if format != "avif" else 4)


@pytest.mark.parametrize("format", ["png", "webp", "avif"])
def test_metadata_is_written(format: str) -> None:
    exif = Image.Exif()
    exif[0x013B] = "somebody"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data, _ = written(
        solid()[:2], format, delays=(50, 50), metadata=Metadata(icc=icc, exif=exif.tobytes())
    )
    metadata = opened(data).metadata
    assert metadata.icc == icc
    assert metadata.exif is not None
    assert b"somebody" in metadata.exif


def test_gif_says_what_it_leaves_out() -> None:
    _, notes = written(
        solid()[:2], "gif", delays=(50, 50), metadata=Metadata(exif=b"Exif\0\0", xmp=b"x")
    )
    assert "GIF holds no EXIF: left out" in notes
    assert "GIF holds no XMP: left out" in notes


@pytest.mark.parametrize("format", ANIMATION_FORMATS)
def test_colors_that_are_not_srgb_look_the_same(format: str) -> None:
    """With a gAMA of 1 in a PNG, a sample of a quarter is middle gray in sRGB."""
    frames = [Image.new("RGB", (8, 8), (55, 55, v)) for v in (55, 60)]
    data, notes = written(frames, format, delays=(50, 50), metadata=Metadata(gamma=1.0))
    animation = opened(data)
    frame = next(iter(animation)).picture
    if format == "gif":
        assert np.abs(frame.color.astype(int) - 128).max() <= 2
        assert notes == ("GIF is written without a color profile: colors converted to sRGB",)
        return
    assert np.abs(frame.color.astype(int) - 55).max() <= 2
    assert animation.metadata.gamma == 1.0 if format == "png" else animation.metadata.icc


# --- refusals


def test_formats() -> None:
    assert resolve_animation_format("a.GIF").name == "gif"
    assert resolve_animation_format("a.apng").name == "png"
    assert resolve_animation_format("a.x", "webp").name == "webp"
    for path in ("a.jpg", "a.tiff"):
        with pytest.raises(EncodeError, match=r"write it as gif, png, webp or avif$"):
            resolve_animation_format(path)
    with pytest.raises(EncodeError) as caught:
        resolve_animation_format("a.jpg", name="in.gif")
    assert str(caught.value) == (
        "JPEG holds one picture, and in.gif is an animation; write it as gif, png, webp or avif"
    )
    with pytest.raises(ArgumentError, match=r"a: has no extension; allowed are \.gif"):
        resolve_animation_format("a")
    with pytest.raises(ArgumentError, match="format 'tga' is unknown; allowed are gif, png"):
        resolve_animation_format("a.png", "tga")


@pytest.mark.parametrize(("format", "width"), [("gif", 65536), ("webp", 16384), ("avif", 32769)])
def test_sizes_are_checked_before_the_work(format: str, width: int) -> None:
    output = resolve_animation_format(None, format)
    check_animation_target(output, width - 1, 4)
    with pytest.raises(EncodeError, match=rf"{width}x4 is too large for .+; use PNG"):
        check_animation_target(output, width, 4)


def test_wrong_frames_are_refused() -> None:
    stream = io.BytesIO()
    output = resolve_animation_format(None, "png")
    writer = animation_writer(stream, output, width=4, height=4)
    clear = Picture(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))
    for picture, duration, message in (
        (from_array(np.zeros((4, 5, 3), np.uint8)), 1, "must be 4x4"),
        (from_array(np.zeros((4, 4, 3), np.uint8)), -1, "must be 0 or more"),
        (from_array(np.zeros((4, 4), np.uint8)), 1, "is gray"),
        (clear, 1, "is transparent somewhere"),
    ):
        with pytest.raises(ArgumentError, match=message):
            writer.add(picture, Fraction(duration))
    with pytest.raises(ArgumentError, match="no frames"):
        animation_writer(stream, output, width=4, height=4).close()
    with pytest.raises(ArgumentError, match="loop is -1"):
        animation_writer(stream, output, width=4, height=4, loop=-1)
    with pytest.raises(ArgumentError, match="quality is 80, and PNG is lossless"):
        animation_writer(stream, output, width=4, height=4, quality=80)


# --- palettes


def test_nearest_is_nearest() -> None:
    rng = np.random.default_rng(1)
    colors, palette = (rng.integers(0, 256, (n, 3)).astype(np.uint8) for n in (500, 90))
    distance = ((colors[:, None].astype(int) - palette[None]) ** 2).sum(-1)
    assert np.array_equal(nearest(colors, palette), distance.argmin(1))


def test_palettes_beat_median_cut() -> None:
    image = art.anime_face(96, supersample=2)
    pixels = np.asarray(image).reshape(-1, 3)
    numbers, counts = np.unique(packed(pixels), return_counts=True)
    colors = unpacked(numbers)
    palette = best_palette(colors, counts, 64)
    assert len(palette) <= 64
    ours = ((pixels.astype(int) - palette[nearest(pixels, palette)]) ** 2).mean()
    cut = np.asarray(image.quantize(64, dither=Image.Dither.NONE).convert("RGB")).reshape(-1, 3)
    assert ours < 0.8 * ((pixels.astype(int) - cut) ** 2).mean()


def test_palette_of_very_many_colors() -> None:
    numbers = np.arange(0, 1 << 24, 151, dtype=np.uint32)
    palette = best_palette(unpacked(numbers), np.ones(len(numbers), np.int64), 255)
    assert 200 <= len(palette) <= 255
