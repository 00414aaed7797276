"""Cancelling stops the work at the next step of any kind."""

from __future__ import annotations

import threading
from functools import cache

import numpy as np
import pytest

from waifu2x import CancelledError, Upscaler


@cache
def upscaler(**options: object) -> Upscaler:
    return Upscaler(**options)  # type: ignore[arg-type]


def steps(through: Upscaler, picture: np.ndarray, *, cancel_at: int | None, **how: object) -> int:
    """Count progress reports; the caller cancels at report ``cancel_at``."""
    cancel, reports = threading.Event(), 0

    def report(share: float) -> None:
        nonlocal reports
        reports += 1
        if reports == cancel_at:
            cancel.set()

    try:
        through.upscale(picture, progress=report, cancel=cancel, **how)  # type: ignore[call-overload]
    except CancelledError:
        assert cancel.is_set()
    else:
        assert cancel_at is None
    return reports


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize(
    ("options", "size", "how"),
    [
        ({"model": "upconv_7", "engine": "onnx", "tile": 16, "run_memory": 1 << 20}, (64, 64), {}),
        ({"model": "upconv_7", "engine": "torch", "tile": 16}, (64, 64), {"scale": 4}),
        ({"model": "upconv_7", "engine": "native", "tile": 16, "tta": True}, (64, 64), {}),
        # Global means, computed in tiles and in a stream.
        ({"model": "cunet", "engine": "onnx", "tile": 32}, (60, 60), {}),
        ({"model": "cunet", "engine": "native", "run_memory": 1 << 20}, (200, 300), {}),
    ],
    ids=["tiles", "passes", "tta", "means of tiles", "means of a stream"],
)
def test_no_step_follows(
    options: dict[str, object], size: tuple[int, int], how: dict[str, object], at: int
) -> None:
    through = upscaler(**options)
    assert steps(through, picture(*size), cancel_at=at, **how) == at


def test_no_step_follows_in_the_means_of_a_sample() -> None:
    """The picture is too large for exact means; the first step computes sampled means."""
    assert steps(upscaler(model="cunet", engine="native"), picture(700, 700), cancel_at=1) == 1


def test_a_stream_ends_amid_its_rows() -> None:
    """Rows in flight may still be reported, but the last rows are never computed."""
    cancel = threading.Event()
    shares: list[float] = []

    def report(share: float) -> None:
        shares.append(share)
        cancel.set()

    with pytest.raises(CancelledError):
        upscaler(model="upconv_7", engine="native").upscale(
            picture(1500, 1000), progress=report, cancel=cancel
        )
    assert shares[-1] < 0.5


def test_all_steps_are_many() -> None:
    """Check of the checks above: without cancelling, more steps follow."""
    through = upscaler(model="cunet", engine="onnx", tile=32)
    assert steps(through, picture(60, 60), cancel_at=None) > 6


@pytest.mark.parametrize("engine", ["native", "onnx"])
def test_cancelled_before_the_start(engine: str) -> None:
    cancel = threading.Event()
    cancel.set()
    reports: list[float] = []
    with pytest.raises(CancelledError):
        upscaler(model="upconv_7", engine=engine).upscale(
            picture(40, 40), cancel=cancel, progress=reports.append
        )
    assert reports == []


def test_alpha_is_not_begun() -> None:
    """Color is the first step and alpha the second."""
    rgba = picture(40, 40, 4)
    through = upscaler(model="upconv_7", engine="onnx")
    assert steps(through, rgba, cancel_at=None) > 1
    assert steps(through, rgba, cancel_at=1) == 1
