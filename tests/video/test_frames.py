"""`waifu2x.iter_frames`: arrays in, arrays out, lazily, with reuse."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers.threads import threads

import waifu2x
from waifu2x import Upscaler, iter_frames
from waifu2x.errors import ArgumentError, CancelledError, LimitError


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler("upconv_7", engine="native", max_pixels=40_000)


def picture(shape: tuple[int, ...], dtype: Any, seed: int = 1) -> npt.NDArray[Any]:
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.random(shape, np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, ">u2"])
@pytest.mark.parametrize("shape", [(13, 17, 3), (13, 17), (13, 17, 1), (13, 17, 4), (13, 17, 2)])
def test_frames_become_what_pictures_become(
    upscaler: Upscaler, shape: tuple[int, ...], dtype: Any
) -> None:
    frames = [picture(shape, dtype, seed) for seed in (1, 2)]
    made = list(iter_frames([frames[0], frames[0], frames[1]], 2, upscaler=upscaler))
    expected = [upscaler.upscale(each, 2) for each in frames]
    for result, like in zip(made, [expected[0], expected[0], expected[1]], strict=True):
        assert result.dtype == like.dtype
        # The color below transparent pixels is filled in float32 here, in the dtype there.
        filled = shape[-1] in (2, 4) and dtype == np.uint8
        np.testing.assert_allclose(result.astype(float), like.astype(float), 0, 1 if filled else 0)
    made[0][...] = 0  # belongs to the caller
    assert made[1].any()


def test_gray_in_rgb_stays_gray(upscaler: Upscaler) -> None:
    gray = np.repeat(picture((13, 17, 1), np.uint8), 3, 2)
    (made,) = iter_frames([gray], 2, upscaler=upscaler)
    np.testing.assert_array_equal(made, upscaler.upscale(gray, 2))
    assert (made[:, :, :1] == made).all()


def test_a_decoder_may_reuse_its_memory(upscaler: Upscaler) -> None:
    expected = [upscaler.upscale(picture((13, 17, 3), np.uint8, seed), 2) for seed in range(4)]

    def decoder() -> Iterator[npt.NDArray[np.uint8]]:
        memory = np.empty((13, 17, 3), np.uint8)
        for seed in range(4):
            memory[...] = picture((13, 17, 3), np.uint8, seed)
            yield memory

    for one, two in zip(iter_frames(decoder(), 2, upscaler=upscaler), expected, strict=True):
        np.testing.assert_array_equal(one, two)


def test_frames_are_taken_lazily_and_closing_closes_their_generator(upscaler: Upscaler) -> None:
    taken: list[int] = []

    def decoder() -> Iterator[npt.NDArray[np.uint8]]:
        try:
            for number in range(10_000):
                taken.append(number)
                yield picture((13, 17, 3), np.uint8, number)
        finally:
            taken.append(-1)

    made = iter_frames(decoder(), 2, upscaler=upscaler)
    assert taken == []
    next(made)
    made.close()
    assert taken[-1] == -1
    assert len(taken) < 12
    assert threads() == set()


def test_sizes_noise_and_no_frames(upscaler: Upscaler) -> None:
    frame = picture((13, 17, 3), np.uint8)
    assert list(iter_frames([], upscaler=upscaler)) == []
    assert next(iter_frames([frame], upscaler=upscaler)).shape == (26, 34, 3)
    assert next(iter_frames([frame], width=20, upscaler=upscaler)).shape == (15, 20, 3)
    made = next(iter_frames([frame], 2, noise=1, upscaler=upscaler))
    np.testing.assert_array_equal(made, upscaler.upscale(frame, 2, noise=1))
    same = next(iter_frames([frame], 1, upscaler=upscaler))
    np.testing.assert_array_equal(same, frame)
    assert next(iter_frames([frame], 2, model="upconv_7")).shape == (26, 34, 3)


def test_noise_of_a_codec_is_reused_unless_exact(upscaler: Upscaler) -> None:
    frame = picture((40, 40, 3), np.uint8) // 2
    noisy = frame.copy()
    noisy[20, 20, 1] += 2
    near = list(iter_frames([frame, noisy], 2, upscaler=upscaler))
    exact = list(iter_frames([frame, noisy], 2, upscaler=upscaler, exact=True))
    np.testing.assert_array_equal(near[0], near[1])
    np.testing.assert_array_equal(exact[1], upscaler.upscale(noisy, 2))
    assert (exact[0] != exact[1]).any()


def test_wrong_options_are_found_by_the_call(upscaler: Upscaler) -> None:
    frame = picture((4, 4, 3), np.uint8)
    for options, message in [
        ({"exact": 1}, "exact is 1; it must be True or False"),
        ({"cancel": 1}, "cancel is 1; it must be a threading.Event"),
        ({"scale": 0}, "scale is 0"),
        ({"noise": "auto"}, "noise is 'auto', which needs a file"),
        ({"tile": 64}, "tile and upscaler are both given"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            iter_frames([frame], upscaler=upscaler, **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'exakt'"):
        iter_frames([frame], exakt=True)  # type: ignore[call-arg]
    for wrong in (frame, 5, None):
        with pytest.raises(ArgumentError, match="it must be an iterable of arrays"):
            iter_frames(wrong)  # type: ignore[type-var]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_wrong_frames(upscaler: Upscaler, dtype: Any) -> None:
    frame = picture((13, 17, 3), dtype)
    for second, message in [
        (frame[:-1], r"frame 2 is .* \(12, 17, 3\); it must be like the first, .* \(13, 17, 3\)"),
        (frame.astype(np.uint16), "frame 2 is uint16"),
        ("no", "frame 2 is a str; it must be a NumPy array"),
    ]:
        made = iter_frames([frame, second], 2, upscaler=upscaler)
        assert next(made).shape == (26, 34, 3)
        with pytest.raises(ArgumentError, match=message):
            next(made)
    with pytest.raises(ArgumentError, match="array has dtype float64"):
        next(iter_frames([frame.astype(np.float64)], upscaler=upscaler))
    with pytest.raises(LimitError):
        next(iter_frames([frame], 100, upscaler=upscaler))
    assert threads() == set()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_cancellation(upscaler: Upscaler, dtype: Any) -> None:
    cancel = threading.Event()
    made = iter_frames(
        (picture((13, 17, 3), dtype, seed) for seed in range(1000)),
        2,
        upscaler=upscaler,
        cancel=cancel,
    )
    next(made)
    cancel.set()
    with pytest.raises(CancelledError):
        list(made)
    assert threads() == set()


def test_the_signature() -> None:
    names = list(inspect.signature(iter_frames).parameters)
    picture = ["frames", "scale", "width", "height", "noise", "strength", "color_fix"]
    assert names[: len(picture)] == picture
    assert names[-3:] == ["upscaler", "exact", "cancel"]
    assert waifu2x.iter_frames is iter_frames
