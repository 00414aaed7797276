"""Frames through a network in threads: order, equality, memory, errors and the end of threads."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers.threads import threads

from waifu2x import Upscaler
from waifu2x.errors import ArgumentError, CancelledError
from waifu2x.picture import Picture
from waifu2x.pipeline.pipeline import Pipeline
from waifu2x.pipeline.request import Request
from waifu2x.video.color import from_rgb, to_rgb
from waifu2x.video.layout import VideoLayout
from waifu2x.video.planes import VideoFrame
from waifu2x.video.reuse import largest_difference
from waifu2x.video.upscaling import UpscaledFrames


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Upscaler("upconv_7", engine="native").pipeline


def request_for(pipeline: Pipeline, layout: VideoLayout, **options: Any) -> Request:
    blank = Picture(np.zeros((layout.height, layout.width, 3), np.uint8))
    return pipeline.request(blank, **{"scale": 2, **options})


def drawing(layout: VideoLayout, seed: int = 1) -> VideoFrame:
    rng = np.random.default_rng(seed)
    planes = []
    for index, shape in enumerate(layout.shapes):
        coarse = rng.integers(60, 180, (shape[0] // 6 + 1, shape[1] // 6 + 1))
        plane = np.kron(coarse, np.ones((6, 6), int))[: shape[0], : shape[1]]
        if layout.alpha and index == len(layout.shapes) - 1:
            plane = np.where(plane > 100, 255, 0)
        planes.append((plane << layout.depth - 8).astype(layout.dtype))
    return VideoFrame(tuple(planes))


def clip(layout: VideoLayout, frames: int) -> list[VideoFrame]:
    """A still drawing in which a square changes its place on twos."""
    base, made = drawing(layout), []
    for number in range(frames):
        luma = base.planes[0].copy()
        at = 5 + number // 2 * 9
        luma[at : at + 8, at : at + 11] //= 2
        made.append(VideoFrame((luma, *base.planes[1:]), pts=3 * number, carried=number))
    return made


def whole(
    pipeline: Pipeline, frame: VideoFrame, layout: VideoLayout, request: Request
) -> VideoFrame:
    made = pipeline.run(to_rgb(frame, layout), request, dtype=np.float32, gray=False)
    return from_rgb(made, layout.sized(request.width, request.height))


@pytest.mark.parametrize(
    "layout",
    [
        VideoLayout(150, 143),
        VideoLayout(150, 143, 10, "422", chroma="center", matrix="bt601"),
        VideoLayout(149, 101, subsampling="444", full_range=True, alpha=True),
        VideoLayout(130, 143, subsampling="mono"),
    ],
    ids=str,
)
def test_results_are_those_of_whole_frames(pipeline: Pipeline, layout: VideoLayout) -> None:
    request, frames = request_for(pipeline, layout), clip(layout, 6)
    with UpscaledFrames(iter(frames), layout, pipeline, request, exact=True) as upscaled:
        made = list(upscaled)
    assert [(each.pts, each.carried) for each in made] == [(3 * at, at) for at in range(6)]
    for source, result in zip(frames[::2], made[::2], strict=True):
        result.require(upscaled.layout)
        for one, two in zip(
            whole(pipeline, source, layout, request).planes, result.planes, strict=True
        ):
            np.testing.assert_array_equal(one, two)
    for one, two in zip(made[::2], made[1::2], strict=True):
        assert all(map(np.array_equal, one.planes, two.planes))
    saved = upscaled.saved
    assert (saved.frames, saved.repeated) == (6, 3)
    assert saved.share >= 0.5
    if not layout.alpha:
        assert saved.share > 0.6
    assert threads() == set()


def test_two_passes_are_those_of_whole_frames(pipeline: Pipeline) -> None:
    layout = VideoLayout(140, 70)
    request, frames = request_for(pipeline, layout, scale=4), clip(layout, 3)[::2]
    made = list(UpscaledFrames(frames, layout, pipeline, request, exact=True))
    for source, result in zip(frames, made, strict=True):
        expected = whole(pipeline, source, layout, request)
        assert all(map(np.array_equal, expected.planes, result.planes))


def test_other_ratios_and_another_layout_of_the_result(pipeline: Pipeline) -> None:
    layout = VideoLayout(61, 43, subsampling="444", depth=10)
    request, frames = request_for(pipeline, layout, scale=1.5), clip(layout, 2)
    target = VideoLayout(1, 1)
    stream = UpscaledFrames(frames, layout, pipeline, request, result=target)
    first, second = stream
    first.require(target.sized(92, 65))
    assert all(map(np.array_equal, first.planes, second.planes))


def test_frames_that_no_network_changes_pass_through(pipeline: Pipeline) -> None:
    layout = VideoLayout(9, 7)
    request, frames = request_for(pipeline, layout, scale=1), clip(layout, 5)
    made = list(UpscaledFrames(frames, layout, pipeline, request))
    assert made == frames


def test_no_frames(pipeline: Pipeline) -> None:
    layout = VideoLayout(9, 7)
    assert list(UpscaledFrames([], layout, pipeline, request_for(pipeline, layout))) == []
    assert threads() == set()


def test_a_gray_frame_stays_gray(pipeline: Pipeline) -> None:
    layout = VideoLayout(40, 30, matrix="bt601")
    luma = drawing(layout).planes[0]
    neutral = np.full(layout.shapes[1], 128, np.uint8)
    (made,) = UpscaledFrames(
        [VideoFrame((luma, neutral, neutral))], layout, pipeline, request_for(pipeline, layout)
    )
    assert (made.planes[1] == 128).all()
    assert (made.planes[2] == 128).all()
    assert made.planes[0].std() > 5


def test_a_reused_tile_is_close_to_the_computed_one(pipeline: Pipeline) -> None:
    """Faint noise and some outliers, as a codec leaves them."""
    layout, rng = VideoLayout(150, 110), np.random.default_rng(4)
    base, frames = drawing(layout), []
    for _ in range(10):
        planes = []
        for plane in base.planes:
            noise = np.zeros(plane.shape, int)
            noise[::4, ::4] = rng.integers(-2, 3, noise[::4, ::4].shape)
            noise[1::4, 2::4] = rng.integers(-1, 2, noise[1::4, 2::4].shape)
            noise[3::16, 3::16] += 3
            planes.append((plane + (noise if plane is base.planes[0] else 0)).astype(np.uint8))
        frames.append(VideoFrame(tuple(planes)))
    request = request_for(pipeline, layout)
    upscaled = UpscaledFrames(frames, layout, pipeline, request)
    made = list(upscaled)
    assert upscaled.saved.reused > 0
    assert upscaled.saved.checked > 0
    assert upscaled.saved.worst <= 2
    for source, result in list(zip(frames, made, strict=True))[::3]:
        expected = whole(pipeline, source, layout, request)
        assert largest_difference(expected.planes, result.planes, 8) <= 2


def test_two_runs_give_the_same_bytes(pipeline: Pipeline) -> None:
    layout, rng = VideoLayout(100, 70), np.random.default_rng(5)
    frames = []
    for each in clip(layout, 8):
        luma = each.planes[0] + (rng.random(each.planes[0].shape) < 0.02)
        frames.append(VideoFrame((luma.astype(np.uint8), *each.planes[1:])))
    request = request_for(pipeline, layout)
    runs = [list(UpscaledFrames(frames, layout, pipeline, request)) for _ in range(2)]
    for one, two in zip(*runs, strict=True):
        assert all(map(np.array_equal, one.planes, two.planes))


def test_a_source_that_hangs_does_not_hold_the_caller(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, more = VideoLayout(16, 12), threading.Event()
    monkeypatch.setattr("waifu2x.video.upscaling._SOURCE_SECONDS", 0.1)

    def hanging() -> Iterator[VideoFrame]:
        yield drawing(layout)
        more.wait()

    stream = UpscaledFrames(hanging(), layout, pipeline, request_for(pipeline, layout))
    next(stream)
    stream.close()
    assert threads() == {"waifu2x-frames"}
    more.set()
    deadline = time.monotonic() + 30
    while threads() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threads() == set()


def endless(layout: VideoLayout, taken: list[int]) -> Iterator[VideoFrame]:
    try:
        for number in range(10_000):
            taken.append(number)
            yield drawing(layout, number)
    finally:
        taken.append(-1)


def test_frames_are_read_a_few_ahead_and_closing_ends_the_threads(pipeline: Pipeline) -> None:
    layout, taken = VideoLayout(16, 12), []  # type: ignore[var-annotated]
    stream = UpscaledFrames(endless(layout, taken), layout, pipeline, request_for(pipeline, layout))
    next(stream)
    time.sleep(0.5)
    assert len(taken) <= 10
    stream.close()
    assert taken[-1] == -1
    assert threads() == set()
    with pytest.raises(StopIteration):
        next(stream)
    stream.close()


def test_a_stream_that_nobody_reads_ends(pipeline: Pipeline) -> None:
    layout, taken = VideoLayout(16, 12), []  # type: ignore[var-annotated]
    stream = UpscaledFrames(endless(layout, taken), layout, pipeline, request_for(pipeline, layout))
    next(stream)
    del stream
    gc.collect()
    deadline = time.monotonic() + 30
    while threads() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threads() == set()
    assert taken[-1] == -1


def test_an_error_of_the_source_follows_the_frames_before_it(pipeline: Pipeline) -> None:
    layout = VideoLayout(16, 12)

    def broken() -> Iterator[VideoFrame]:
        yield drawing(layout, 1)
        yield drawing(layout, 2)
        raise OSError("gone")

    stream = UpscaledFrames(broken(), layout, pipeline, request_for(pipeline, layout))
    assert len([next(stream), next(stream)]) == 2
    with pytest.raises(OSError, match="gone"):
        next(stream)
    assert threads() == set()


def test_frames_of_another_layout_are_refused(pipeline: Pipeline) -> None:
    layout = VideoLayout(16, 12)
    wrong = drawing(VideoLayout(16, 14))
    stream = UpscaledFrames([wrong], layout, pipeline, request_for(pipeline, layout))
    with pytest.raises(ArgumentError, match="planes of a frame"):
        next(stream)
    assert threads() == set()


def test_an_error_of_the_network(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, taken = VideoLayout(16, 12), []  # type: ignore[var-annotated]

    def fail(*values: Any, **options: Any) -> None:
        raise MemoryError

    stream = UpscaledFrames(endless(layout, taken), layout, pipeline, request_for(pipeline, layout))
    next(stream)
    monkeypatch.setattr(type(pipeline), "run", fail)
    with pytest.raises(MemoryError):
        list(stream)
    assert threads() == set()
    assert taken[-1] == -1


def test_cancellation(pipeline: Pipeline) -> None:
    layout, taken, cancel = VideoLayout(16, 12), [], threading.Event()  # type: ignore[var-annotated]
    stream = UpscaledFrames(
        endless(layout, taken), layout, pipeline, request_for(pipeline, layout), cancel=cancel
    )
    next(stream)
    cancel.set()
    with pytest.raises(CancelledError):
        list(stream)
    assert threads() == set()


def test_progress_counts_frames_in_the_thread_of_the_caller(pipeline: Pipeline) -> None:
    layout = VideoLayout(16, 12)
    seen: list[tuple[int, str]] = []
    stream = UpscaledFrames(
        clip(layout, 3),
        layout,
        pipeline,
        request_for(pipeline, layout),
        progress=lambda done: seen.append((done, threading.current_thread().name)),
    )
    list(stream)
    here = threading.current_thread().name
    assert seen == [(1, here), (2, here), (3, here)]
