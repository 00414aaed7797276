from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waifu2x.errors import ArgumentError
from waifu2x.pipeline.tiling import (
    Span,
    TileLayout,
    TilingConstraints,
    choose_tile,
    plan_tiles,
    ramp,
)

reproducible = settings(derandomize=True, deadline=None, print_blob=True, max_examples=300)


@st.composite
def networks(draw: st.DrawFn, *, feathered: bool = False) -> TilingConstraints:
    """Any valid constraints: margins exceed ``lost`` by multiples of the alignment."""
    modulus = draw(st.integers(1, 5))
    lost = draw(st.integers(0, 12))
    margin = lost + modulus * draw(st.integers(1 if feathered else 0, 4))
    scale = draw(st.integers(1, 4))
    return TilingConstraints(
        scale=scale,
        lost=lost,
        margin=margin,
        modulus=modulus,
        residue=draw(st.integers(0, modulus - 1)),
        feather=draw(st.integers(1, 2 * (margin - lost) * scale + 3)) if feathered else 0,
    )


lengths = st.integers(1, 90)
tiles = st.one_of(st.just(0), st.integers(1, 100))


def output_size(network: TilingConstraints, window: int) -> int:
    return (window - 2 * network.lost) * network.scale


# --- tiles ------------------------------------------------------------------------------------


@reproducible
@given(networks(), lengths, lengths, tiles)
def test_every_output_pixel_is_owned_exactly_once(
    network: TilingConstraints, width: int, height: int, tile: int
) -> None:
    plan = plan_tiles(network, width=width, height=height, tile=tile)
    assert (plan.width, plan.height) == (width * network.scale, height * network.scale)
    owners = np.zeros((plan.height, plan.width), np.int64)
    count = 0
    for count, one in enumerate(plan, start=1):  # noqa: B007
        x, y = one.x, one.y
        assert x.out_start >= 0
        assert y.out_start >= 0
        assert x.out_start + x.out_size <= plan.width
        assert y.out_start + y.out_size <= plan.height
        owners[y.out_start : y.out_start + y.out_size, x.out_start : x.out_start + x.out_size] += 1
    assert count == len(plan) == len(plan.columns) * len(plan.rows)
    assert (owners == 1).all()


@reproducible
@given(networks() | networks(feathered=True), lengths, tiles)
def test_windows_are_aligned_and_hold_what_is_written_and_its_context(
    network: TilingConstraints, length: int, tile: int
) -> None:
    plan = plan_tiles(network, width=length, height=1, tile=tile)
    for span in plan.columns:
        assert (span.window_start + network.margin) % network.modulus == 0
        assert span.window_size % network.modulus == network.residue
        # The window is as small as the network allows.
        assert span.window_size < span.size + 2 * network.margin + network.modulus
        # The written range lies inside the network's output for the window.
        assert span.crop >= 0
        assert span.crop + span.out_size <= output_size(network, span.window_size)
        # The network's output begins ``lost`` into the window; ``crop`` leads to ``out_start``.
        begins = (span.window_start + network.lost) * network.scale
        assert begins + span.crop == span.out_start
        # The window includes the whole margin around owned pixels.
        assert span.window_start <= span.start - network.margin
        assert span.window_start + span.window_size >= span.start + span.size + network.margin


@reproducible
@given(networks() | networks(feathered=True), lengths, tiles)
def test_owned_ranges_follow_one_another_in_steps_of_the_tile(
    network: TilingConstraints, length: int, tile: int
) -> None:
    spans = plan_tiles(network, width=length, height=1, tile=tile).columns
    step = max(tile // network.modulus * network.modulus, network.modulus) if tile else length
    assert [span.start for span in spans] == list(range(0, length, step))
    assert all(span.size == step for span in spans[:-1])
    assert sum(span.size for span in spans) == length
    assert spans[-1].size >= 1


def weights_of(span: Span) -> np.ndarray:
    return ramp(span).astype(np.float64)


@reproducible
@given(networks(feathered=True), lengths, tiles)
def test_feathered_weights_add_up_to_one(
    network: TilingConstraints, length: int, tile: int
) -> None:
    plan = plan_tiles(network, width=length, height=1, tile=tile)
    total = np.zeros(plan.width)
    for span in plan.columns:
        weights = weights_of(span)
        assert weights.shape == (span.out_size,)
        assert (weights > 0).all()
        assert (weights <= 1).all()
        total[span.out_start : span.out_start + span.out_size] += weights
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-6)
    assert plan.columns[0].ramp_before == 0
    assert plan.columns[-1].ramp_after == 0
    for left, right in zip(plan.columns, plan.columns[1:], strict=False):
        assert left.ramp_after == right.ramp_before <= network.feather
        assert left.out_start + left.out_size - left.ramp_after == right.out_start


@reproducible
@given(networks(feathered=True), lengths, tiles)
def test_no_pixel_is_blended_from_more_than_two_tiles(
    network: TilingConstraints, length: int, tile: int
) -> None:
    plan = plan_tiles(network, width=length, height=1, tile=tile)
    writers = np.zeros(plan.width, np.int64)
    for span in plan.columns:
        writers[span.out_start : span.out_start + span.out_size] += 1
    assert writers.max() <= 2


def test_a_seam_is_as_wide_as_asked_where_tiles_have_room() -> None:
    network = TilingConstraints(scale=2, lost=0, margin=8, feather=16)
    first, middle, last = plan_tiles(network, width=90, height=1, tile=30).columns
    assert [first.ramp_before, first.ramp_after] == [0, 16]
    assert [middle.ramp_before, middle.ramp_after] == [16, 16]
    assert [last.ramp_before, last.ramp_after] == [16, 0]
    assert (middle.out_start, middle.out_size) == (60 - 8, 60 + 16)


@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0), (-1, 5), (5, -3)])
def test_an_empty_picture_is_refused(width: int, height: int) -> None:
    with pytest.raises(ArgumentError, match=f"{width}x{height}"):
        plan_tiles(TilingConstraints(scale=2, lost=7, margin=7), width=width, height=height)


def test_a_negative_tile_is_refused() -> None:
    with pytest.raises(ArgumentError, match="tile is -1"):
        plan_tiles(TilingConstraints(scale=2, lost=7, margin=7), width=4, height=4, tile=-1)


# --- tiles of a network that can be computed here -----------------------------------------------


def gather(picture: np.ndarray, x: Span, y: Span) -> np.ndarray:
    """The window of a tile, with the picture's edge replicated."""
    rows = np.clip(np.arange(y.window_start, y.window_start + y.window_size), 0, len(picture) - 1)
    columns = np.clip(
        np.arange(x.window_start, x.window_start + x.window_size), 0, picture.shape[1] - 1
    )
    return picture[np.ix_(rows, columns)]


def box_then_blocks(network: TilingConstraints, window: np.ndarray) -> np.ndarray:
    """An integer network: a box sum without padding, sums over blocks of the grid, enlargement.

    Block sums differ if a tile starts off the grid. A factor per output pixel within a cell detects
    crops that are off by less than an input pixel.
    """
    assert all(side % network.modulus == network.residue for side in window.shape)
    reach, modulus, scale = network.lost, network.modulus, network.scale
    if reach:
        side = 2 * reach + 1
        sums = np.cumsum(np.cumsum(np.pad(window, ((1, 0), (1, 0))), axis=0), axis=1)
        window = (
            sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
        )
    height, width = window.shape
    blocks = window.reshape(height // modulus, modulus, width // modulus, modulus).sum((1, 3))
    mixed = window + 3 * blocks.repeat(modulus, 0).repeat(modulus, 1)
    phase = np.arange(scale * scale).reshape(scale, scale) + 1
    return np.kron(mixed, phase)


def compute(network: TilingConstraints, picture: np.ndarray, plan: TileLayout) -> np.ndarray:
    result = np.full((plan.height, plan.width), -1, np.int64)
    for tile in plan:
        x, y = tile.x, tile.y
        made = box_then_blocks(network, gather(picture, x, y))
        result[y.out_start : y.out_start + y.out_size, x.out_start : x.out_start + x.out_size] = (
            made[y.crop : y.crop + y.out_size, x.crop : x.crop + x.out_size]
        )
    return result


@reproducible
@given(
    scale=st.integers(1, 4),
    lost=st.integers(0, 6),
    modulus=st.integers(1, 5),
    extra=st.integers(0, 2),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    tile=st.integers(1, 45),
)
def test_tiled_equals_untiled(
    scale: int, lost: int, modulus: int, extra: int, width: int, height: int, tile: int
) -> None:
    network = TilingConstraints(
        scale=scale,
        lost=lost,
        margin=lost + extra * modulus,
        modulus=modulus,
        residue=2 * lost % modulus,
    )
    picture = np.random.default_rng(width * 64 + height).integers(0, 256, (height, width))
    whole = compute(network, picture, plan_tiles(network, width=width, height=height))
    tiled = compute(network, picture, plan_tiles(network, width=width, height=height, tile=tile))
    np.testing.assert_array_equal(tiled, whole)


# --- memory -------------------------------------------------------------------------------------


@reproducible
@given(
    networks(),
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.integers(4, 16_000).map(lambda quarters: quarters / 4),
    st.integers(1, 10**9),
)
def test_a_chosen_tile_respects_the_budget(
    network: TilingConstraints, width: int, height: int, bytes_per_pixel: float, budget: int
) -> None:
    tile = choose_tile(network, bytes_per_pixel, budget, width=width, height=height)

    def pixels(side: int) -> int:
        plan = plan_tiles(network, width=width, height=height, tile=side)
        return max(x.window_size for x in plan.columns) * max(y.window_size for y in plan.rows)

    fits = pixels(0) * bytes_per_pixel <= budget
    if tile == 0:
        assert fits
    else:
        assert not fits
        assert tile % network.modulus == 0
        # The smallest tile is one grid step, regardless of the budget.
        assert tile == network.modulus or pixels(tile) * bytes_per_pixel <= budget


@reproducible
@given(networks(), st.integers(1, 3000), st.integers(10**3, 10**7))
def test_a_chosen_tile_makes_no_more_tiles_than_needed(
    network: TilingConstraints, length: int, budget: int
) -> None:
    tile = choose_tile(network, 1.0, budget, width=length, height=length)
    if tile == 0:
        return
    plan = plan_tiles(network, width=length, height=length, tile=tile)
    # The largest side on the grid whose window fits gives the fewest tiles.
    largest = network.modulus
    while output_window(network, largest + network.modulus) ** 2 <= budget:
        largest += network.modulus
    assert len(plan.columns) <= math.ceil(length / largest)


def output_window(network: TilingConstraints, size: int) -> int:
    least = size + 2 * network.margin
    return least + (network.residue - least) % network.modulus
