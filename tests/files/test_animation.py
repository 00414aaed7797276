"""Upscale animations: each distinct frame once, in constant memory, between all formats."""

from __future__ import annotations

import io
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from helpers import animations
from helpers.animations import Part, assert_same, faces, opened, rgba, sprites, truths, written
from helpers.pipelines import run
from PIL import Image

import waifu2x
from waifu2x.codec.animation import (
    ANIMATION_FORMATS,
    Animation,
    PictureStore,
    animation_writer,
    open_animation,
    resolve_animation_format,
)
from waifu2x.errors import CancelledError, DecodeError, LimitError
from waifu2x.files.animation import AnimationResult, digest, upscale_animation
from waifu2x.files.task import Amount
from waifu2x.picture import Picture
from waifu2x.pipeline.upscaler import Upscaler


def doubled(picture: Picture) -> Picture:
    def twice(samples: Any) -> Any:
        return np.repeat(np.repeat(samples, 2, axis=0), 2, axis=1)

    alpha = None if picture.alpha is None else twice(picture.alpha)
    return Picture(twice(picture.color), alpha, picture.metadata, picture.source)


class Counting:
    """Doubles pictures and counts the calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, picture: Picture) -> Picture:
        self.calls += 1
        return doubled(picture)


def through(
    animation: Animation,
    format: str,
    upscale: Callable[[Picture], Picture] = doubled,
    progress: Callable[[int, int], None] | None = None,
    cancel: threading.Event | None = None,
) -> tuple[bytes, AnimationResult]:
    stream = io.BytesIO()
    writer = animation_writer(
        stream,
        resolve_animation_format(None, format),
        width=2 * animation.width,
        height=2 * animation.height,
        loop=animation.loop,
        metadata=animation.metadata,
        gray=animation.gray,
        has_alpha=animation.has_alpha,
        cancel=cancel,
    )
    result = upscale_animation(animation, upscale, writer, progress=progress, cancel=cancel)
    return stream.getvalue(), result


@pytest.mark.parametrize("target", ANIMATION_FORMATS)
@pytest.mark.parametrize("source", ANIMATION_FORMATS)
def test_every_format_into_every_other(source: str, target: str) -> None:
    frames = sprites(hard=True)
    data, _ = written(frames, source, has_alpha=True, loop=2)
    animation = opened(data)
    counting = Counting()
    made, _ = through(animation, target, counting)
    back = opened(made)
    assert (back.frames, back.loop) == (6, 2)
    assert (back.width, back.height) == (80, 68)
    assert [f.duration for f in back] == [f.duration for f in animation]
    expected = [np.repeat(np.repeat(truth, 2, axis=0), 2, axis=1) for truth in truths(frames)]
    if "avif" not in (source, target):
        assert counting.calls == 4  # for six frames
        assert_same(rgba(back), expected)
        return
    for ours, truth in zip(rgba(back), expected, strict=True):
        assert ((ours[..., 3] > 127) == (truth[..., 3] > 127)).mean() > 0.98
        there = (truth[..., 3] > 127) & (ours[..., 3] > 127)
        assert np.abs(ours[there].astype(int) - truth[there]).mean() < 8


def test_the_same_frames_are_enlarged_once_wherever_they_are() -> None:
    parts = [Part(np.full((5, 6, 4), v, np.uint8), ms=10 + v % 7, over=False) for v in (255,) * 9]
    for number, part in enumerate(parts):
        part.pixels[..., :3] = (0, 40, 80)[number % 3]
    counting = Counting()
    seen: list[tuple[int, int]] = []
    data, result = through(
        opened(animations.apng(6, 5, parts)),
        "webp",
        counting,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert counting.calls == 3
    assert result == AnimationResult(9, 3, ())
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert opened(data).frames == 9


def test_alpha_and_color_make_the_digest() -> None:
    color = np.zeros((2, 3, 3), np.uint8)
    pictures = [
        Picture(color),
        Picture(color, np.zeros((2, 3), np.uint8)),
        Picture(color.reshape(3, 2, 3)),
        Picture(color.astype(np.uint16)),
        Picture(color + np.uint8(1)),
    ]
    assert len({digest(picture) for picture in pictures}) == 5
    assert digest(Picture(color)) == digest(Picture(color.copy()))


def test_damage_is_found_before_the_work() -> None:
    data = bytearray(
        animations.apng(6, 5, [Part(np.full((5, 6, 4), v, np.uint8)) for v in range(3)])
    )
    data[data.rindex(b"fdAT") + 9] ^= 255
    counting = Counting()
    with pytest.raises(DecodeError, match="frame 3 of in is damaged"):
        through(opened(bytes(data)), "png", counting)
    assert counting.calls == 0


class Stopped(threading.Event):
    """An event that is set from the call of `is_set` with that number on."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    def is_set(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.mark.parametrize("format", ANIMATION_FORMATS)
def test_every_frame_of_both_passes_looks_at_the_event(format: str) -> None:
    data, _ = written(sprites(), format, has_alpha=True)
    for call in range(1, 13):  # six frames, twice
        counting = Counting()
        with pytest.raises(CancelledError):
            through(opened(data), "png", counting, cancel=Stopped(call))
        assert (counting.calls == 0) == (call <= 7)
    through(opened(data), "png", cancel=Stopped(14))


def test_avif_is_compressed_frame_by_frame_until_the_event() -> None:
    frames = opened(written(sprites(), "png", has_alpha=True)[0])
    for call in (13, 18):  # beyond both passes, within `close`
        with pytest.raises(CancelledError):
            through(frames, "avif", cancel=Stopped(call))


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("size", [(2000, 1), (1, 400_000)], ids=["survey", "structure"])
def test_the_survey_ends_at_once(size: tuple[int, int], archive: bool) -> None:
    """The work takes minutes, and is cancelled from another thread soon after it has begun."""
    data = animations.gif_of(size[0], size[0], 3000 if size[0] > 1 else size[1])
    if archive:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as book:
            book.writestr("1.gif", data)
        data = stream.getvalue()
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    with pytest.raises(CancelledError):
        waifu2x.upscale_file(data, io.BytesIO(), model="upconv_7", scale=1, cancel=cancel)


def test_the_pixels_of_all_frames_have_a_limit() -> None:
    amount = Amount(most=1000)
    amount.add(100, 100)
    amount.add_frames(10, 10, 4, "a.gif")
    with pytest.raises(LimitError) as found:
        amount.add_frames(10, 10, 7, "b.gif")
    assert str(found.value) == (
        "b.gif has 7 frames of 10x10, 700 pixels, 1100 with the animations before, and the limit "
        "is 1000; take out frames, or scale it down"
    )
    amount.add_frames(10, 10, 6, "c.gif")
    assert amount.pixels == 11_000


def test_cancelling_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data, _ = written(sprites(), "png", has_alpha=True)

    def cancel(picture: Picture) -> Picture:
        raise CancelledError("stopped")

    for format in ANIMATION_FORMATS:
        with pytest.raises(CancelledError):
            through(opened(data), format, cancel)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_store_gives_back_what_it_was_given(dtype: type) -> None:
    rng = np.random.default_rng(4)
    store = PictureStore()
    pictures = [
        Picture(rng.integers(0, 2, (700, 600, 3)).astype(dtype), alpha)
        for alpha in (None, np.ones((700, 600), dtype))
    ]
    kept = [store.put(picture) for picture in pictures]
    for place, picture in reversed(list(zip(kept, pictures, strict=True))):
        back = store.get(place)
        assert np.array_equal(back.color, picture.color)
        assert (back.alpha is None) == (picture.alpha is None)
    store.close()


@pytest.mark.parametrize("format", ["gif", "png", "webp"])
def test_memory_does_not_grow_with_the_frames(format: str, tmp_path: Path) -> None:
    """500 frames of 12 KiB; every other frame equals the frame 250 before."""
    parts = [Part(np.full((64, 64, 4), 255, np.uint8), ms=20)]
    for number in range(499):
        dot = np.zeros((1, 2, 4), np.uint8)
        dot[...] = number % 250, 90, 60, 255
        parts.append(Part(dot, 2 * (number % 30), number % 60))
    source = tmp_path / "in.gif"
    source.write_bytes(animations.gif(64, 64, parts))
    with source.open("rb") as stream, (tmp_path / "out").open("w+b") as out:
        animation = from_file(stream)
        writer = animation_writer(
            out, resolve_animation_format(None, format), width=128, height=128, loop=0
        )
        tracemalloc.start()
        result = upscale_animation(animation, doubled, writer)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert result.frames == 500
    assert peak < 3_000_000  # all results together take 25 MB
    with (tmp_path / "out").open("rb") as stream:
        assert from_file(stream).frames == 500


def from_file(stream: BinaryIO) -> Animation:
    animation = open_animation(stream, "in", max_pixels=10**6)
    assert animation is not None
    return animation


def test_with_a_network() -> None:
    frames = faces(3)
    frames.append(frames[0])
    data, _ = written(frames, "webp", delays=(50, 60, 70, 80))
    animation = opened(data)
    upscaler = Upscaler("upconv_7")
    calls: list[Picture] = []

    def upscale(picture: Picture) -> Picture:
        calls.append(picture)
        return run(upscaler.pipeline, picture, scale=2)

    made, result = through(animation, "png", upscale)
    assert (result.frames, result.distinct, len(calls)) == (4, 3, 3)
    back = opened(made)
    assert [frame.duration for frame in back] == [Fraction(n, 1000) for n in (50, 60, 70, 80)]
    for ours, frame in zip(rgba(back), animation, strict=True):
        alone = waifu2x.upscale(
            Image.fromarray(frame.picture.color), scale=2, model="upconv_7", noise=None
        )
        assert np.array_equal(ours[..., :3], np.asarray(alone))
