"""Which tiles are computed: exact and near repeats, margins, drift and checks."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from waifu2x.network.registry import model
from waifu2x.pipeline.pipeline import Locality
from waifu2x.video import reuse
from waifu2x.video.layout import VideoLayout
from waifu2x.video.planes import VideoFrame
from waifu2x.video.reuse import Decision, Rect, Reuse, largest_difference

LAYOUT = VideoLayout(331, 203)
LOCAL = Locality(7, 1)


def frame(seed: int = 1, layout: VideoLayout = LAYOUT) -> VideoFrame:
    rng = np.random.default_rng(seed)
    planes = (rng.integers(40, 200, shape) << layout.depth - 8 for shape in layout.shapes)
    return VideoFrame(tuple(plane.astype(layout.dtype) for plane in planes))


def changed(source: VideoFrame, *places: tuple[int, int, int], plane: int = 0) -> VideoFrame:
    planes = [each.copy() for each in source.planes]
    for y, x, value in places:
        planes[plane][y, x] += value
    return VideoFrame(tuple(planes))


def new(layout: VideoLayout = LAYOUT, locality: Locality | None = LOCAL, **more: Any) -> Reuse:
    return Reuse(layout, locality, **{"exact": False, "scale": 2, "result_bytes": 1000, **more})


def is_inside(decision: Decision, y: int, x: int) -> bool:
    return any(r.left <= x < r.right and r.top <= y < r.bottom for r in decision.rects)


def test_the_first_frame_is_computed_and_a_repeat_is_not() -> None:
    state, source = new(), frame()
    first = state.decide(source)
    assert first.whole
    assert first.computed == first.tiles == state.tiles == 6 * 4
    again = state.decide(frame())
    assert again.recall == first.keep
    assert again.computed == 0
    assert not again.rects


def test_a_frame_of_some_time_ago_is_recalled() -> None:
    state = new()
    light, dark = frame(1), frame(2)
    keys = [state.decide(each).keep for each in (light, dark)]
    assert [state.decide(each).recall for each in (light, dark, light)] == [*keys, keys[0]]


def test_few_results_are_kept() -> None:
    state = new()
    decisions = [state.decide(frame(seed)) for seed in range(10)]
    kept = [each.keep for each in decisions]
    assert [key for each in decisions for key in each.forget] == kept[:2]
    assert state.decide(frame(0)).recall is None
    large = new(result_bytes=1 << 30)
    assert large.decide(frame()).keep is None


@pytest.mark.parametrize("exact", [False, True])
def test_only_what_a_change_can_reach_is_computed(exact: bool) -> None:
    source = frame()
    assert new(exact=exact).margin == 16
    for y, x in [(100, 100), (64, 64), (0, 0), (202, 330), (70, 190)]:
        state = new(exact=exact)
        state.decide(source)
        decision = state.decide(changed(source, (y, x, 50)))
        assert not decision.whole
        assert decision.computed < decision.tiles
        for dy, dx in itertools.product((-LOCAL.margin, 0, LOCAL.margin), repeat=2):
            if 0 <= y + dy < LAYOUT.height and 0 <= x + dx < LAYOUT.width:
                assert is_inside(decision, y + dy, x + dx)


def test_a_change_of_chroma_counts() -> None:
    state, source = new(exact=True), frame()
    state.decide(source)
    decision = state.decide(changed(source, (50, 50, 1), plane=2))
    assert is_inside(decision, 100, 100)


def test_noise_is_a_repeat_unless_exact() -> None:
    source = frame()
    noisy = changed(source, (20, 30, 3), (150, 200, 2))
    near, exact = new(), new(exact=True)
    for state in (near, exact):
        state.decide(source)
    assert near.decide(noisy).computed == 0
    assert exact.decide(noisy).computed > 0


def test_the_bounds() -> None:
    source = frame()
    for places, repeat in [
        ([(20, 30, 6)], True),
        ([(20, 30, 7)], False),  # a sample
        ([(y, x, 1) for y in range(20, 24) for x in range(24, 26)], True),
        ([(y, x, 1) for y in range(20, 24) for x in range(24, 27)], False),  # a block of 4x4
    ]:
        state = new()
        state.decide(source)
        assert (state.decide(changed(source, *places)).computed == 0) is repeat


def test_bounds_grow_with_the_depth() -> None:
    layout = VideoLayout(200, 100, 10)
    source = frame(layout=layout)
    for value, repeat in [(24, True), (25, False)]:
        state = new(layout)
        state.decide(source)
        assert (state.decide(changed(source, (20, 30, value))).computed == 0) is repeat


def test_errors_never_add_up() -> None:
    """A slow fade: each frame is near the last one, and is compared with the computed one."""
    state, source = new(), frame()
    computed = np.zeros((LAYOUT.height, LAYOUT.width), np.int32)
    rng = np.random.default_rng(2)
    for _ in range(12):
        decision = state.decide(source)
        for rect in decision.rects:
            part = np.s_[rect.top : rect.bottom, rect.left : rect.right]
            computed[part] = source.planes[0][part]
        worst = largest_difference([computed], [source.planes[0].astype(np.int32)], 8)  # type: ignore[list-item]
        assert worst <= 0.7 * 2  # the blocks here are not aligned
        luma = source.planes[0] + (rng.random(source.planes[0].shape) < 0.25)
        source = VideoFrame((luma.astype(np.uint8), *source.planes[1:]))


def test_networks_that_see_the_whole_picture_have_one_tile() -> None:
    state, source = new(locality=None), frame()
    assert state.tiles == 1
    state.decide(source)
    decision = state.decide(changed(source, (20, 30, 50)))
    assert decision.whole
    assert decision.rects == (Rect(0, 0, 331, 203),)
    assert state.decide(changed(source, (20, 30, 51))).computed == 0


def test_frames_that_run_as_gray_share_nothing_with_others() -> None:
    state, source = new(), frame()
    state.decide(source)
    assert state.decide(source, gray=True).whole
    assert state.decide(changed(source, (20, 30, 2)), gray=False).whole


def test_rectangles_are_disjoint_and_cover_what_changed() -> None:
    layout = VideoLayout(1000, 700)
    state = new(layout)
    rng = np.random.default_rng(3)
    for share in (0.02, 0.1, 0.3, 0.6):
        for _ in range(10):
            mask = rng.random((state._rows, state._columns)) < share
            covered = np.zeros_like(mask, int)
            for rect in state._rectangles(mask):
                covered[rect.top : rect.bottom, rect.left : rect.right] += 1
            assert covered.max(initial=0) <= 1
            assert (covered[mask] == 1).all()


def test_many_changes_compute_the_whole_frame() -> None:
    state, source = new(), frame()
    state.decide(source)
    places = [(y, x, 50) for y in range(0, 203, 60) for x in range(0, 331, 60)]
    assert state.decide(changed(source, *places)).whole


def test_checks_are_due_at_fixed_numbers_and_take_the_noisiest_tile() -> None:
    state, source = new(), frame()
    state.decide(source)
    found = [
        state.decide(changed(source, (20, 30, 1), (150, 300, 3), (180, 20, 1 + at % 2), (0, at, 1)))
        for at in range(17)
    ]
    due = [at for at, each in enumerate(found) if each.check is not None]
    assert due == [0, 8, 16]
    assert found[0].check == Rect(256, 128, 320, 192)


def test_failed_checks_allow_less_noise_and_at_last_none() -> None:
    source = frame()
    state = new()
    state.decide(source)
    assert state.decide(changed(source, (20, 30, 6))).computed == 0
    state.tighten()
    assert state.decide(changed(source, (20, 30, 5))).computed > 0
    state = new()
    state.decide(source)
    for _ in range(3):
        state.tighten()
    assert state.decide(changed(source, (20, 30, 1))).computed > 0


def test_the_grid_is_aligned() -> None:
    state = new(locality=Locality(40, 12))
    assert state.margin % 24 == 0
    assert state._tile_width % 24 == 0
    assert state._tile_width >= 128


@pytest.mark.parametrize("subsampling", ["444", "440", "422", "420", "411", "410", "mono"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (64, 64), (65, 129)])
def test_all_layouts_and_sizes(subsampling: Any, size: tuple[int, int]) -> None:
    layout = VideoLayout(*size, subsampling=subsampling)
    state, source = new(layout), frame(layout=layout)
    assert state.decide(source).whole
    for index in range(len(source.planes)):
        height, width = source.planes[index].shape
        decision = state.decide(changed(source, (height - 1, width - 1, 50), plane=index))
        assert decision.computed
        assert is_inside(decision, size[1] - 1, size[0] - 1)


def test_the_largest_difference_is_that_of_any_block() -> None:
    one = np.zeros((30, 40), np.uint8)
    two = one.copy()
    two[5:13, 9:17] = 3
    assert largest_difference([one], [two], 8) == 3
    assert largest_difference([one[:3, :2]], [two[5:8, 9:11]], 8) == 3
    assert largest_difference([one.astype(np.uint16)], [two.astype(np.uint16) * 4], 10) == 3


@pytest.mark.parametrize(
    ("name", "passes", "steady"),
    [
        ("cunet", [(2, 1)], True),
        ("upconv_7", [(2, None), (2, None)], True),
        ("upconv_7_photo", [(2, None)], True),
        ("swift", [(2, None)], True),
        ("fine", [(2, 3)], True),
        ("realesrgan_animevideo", [(4, None)], True),
        ("realcugan", [(2, 3)], True),
        ("realcugan", [(4, 3)], False),
        ("realcugan", [(2, None)], False),
        ("realcugan_pro", [(2, None)], False),
        ("realesrgan", [(4, None)], False),
    ],
)
def test_models_that_were_measured_are_steady(
    name: str, passes: list[tuple[int, Any]], *, steady: bool
) -> None:
    assert reuse.is_steady(model(name), passes) is steady


def test_a_file_of_the_user_is_not_steady_under_any_name() -> None:
    official = model("swift")
    networks = tuple(
        replace(network, files=tuple(replace(file, package="") for file in network.files))
        for network in official.networks
    )
    assert not reuse.is_steady(replace(official, networks=networks), [(2, None)])
