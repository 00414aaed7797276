from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waifu2x.errors import ArgumentError
from waifu2x.pipeline.layout import ramp
from waifu2x.pipeline.tiling import (
    Network,
    Plan,
    Request,
    Span,
    choose_tile,
    plan_request,
    plan_tiles,
)

reproducible = settings(derandomize=True, deadline=None, print_blob=True, max_examples=300)


@st.composite
def networks(draw: st.DrawFn, *, feathered: bool = False) -> Network:
    """Any network that a graph can have: margins beyond ``lost`` in steps of the alignment."""
    modulus = draw(st.integers(1, 5))
    lost = draw(st.integers(0, 12))
    margin = lost + modulus * draw(st.integers(1 if feathered else 0, 4))
    scale = draw(st.integers(1, 4))
    return Network(
        scale=scale,
        lost=lost,
        margin=margin,
        modulus=modulus,
        residue=draw(st.integers(0, modulus - 1)),
        feather=draw(st.integers(1, 2 * (margin - lost) * scale + 3)) if feathered else 0,
    )


lengths = st.integers(1, 90)
tiles = st.one_of(st.just(0), st.integers(1, 100))


def output_size(network: Network, window: int) -> int:
    return (window - 2 * network.lost) * network.scale


# --- tiles ------------------------------------------------------------------------------------


@reproducible
@given(networks(), lengths, lengths, tiles)
def test_every_output_pixel_is_owned_exactly_once(
    network: Network, width: int, height: int, tile: int
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
    network: Network, length: int, tile: int
) -> None:
    plan = plan_tiles(network, width=length, height=1, tile=tile)
    for span in plan.columns:
        assert (span.window_start + network.margin) % network.modulus == 0
        assert span.window_size % network.modulus == network.residue
        # As small as the network allows.
        assert span.window_size < span.size + 2 * network.margin + network.modulus
        # The written range lies inside what the network makes of the window.
        assert span.crop >= 0
        assert span.crop + span.out_size <= output_size(network, span.window_size)
        # The network's output begins ``lost`` into the window; ``crop`` leads to ``out_start``.
        begins = (span.window_start + network.lost) * network.scale
        assert begins + span.crop == span.out_start
        # Owned pixels have the whole margin around them.
        assert span.window_start <= span.start - network.margin
        assert span.window_start + span.window_size >= span.start + span.size + network.margin


@reproducible
@given(networks() | networks(feathered=True), lengths, tiles)
def test_owned_ranges_follow_one_another_in_steps_of_the_tile(
    network: Network, length: int, tile: int
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
def test_feathered_weights_add_up_to_one(network: Network, length: int, tile: int) -> None:
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
    network: Network, length: int, tile: int
) -> None:
    plan = plan_tiles(network, width=length, height=1, tile=tile)
    writers = np.zeros(plan.width, np.int64)
    for span in plan.columns:
        writers[span.out_start : span.out_start + span.out_size] += 1
    assert writers.max() <= 2


def test_a_seam_is_as_wide_as_asked_where_tiles_have_room() -> None:
    network = Network(scale=2, lost=0, margin=8, feather=16)
    first, middle, last = plan_tiles(network, width=90, height=1, tile=30).columns
    assert [first.ramp_before, first.ramp_after] == [0, 16]
    assert [middle.ramp_before, middle.ramp_after] == [16, 16]
    assert [last.ramp_before, last.ramp_after] == [16, 0]
    assert (middle.out_start, middle.out_size) == (60 - 8, 60 + 16)


@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0), (-1, 5), (5, -3)])
def test_an_empty_picture_is_refused(width: int, height: int) -> None:
    with pytest.raises(ArgumentError, match=f"{width}x{height}"):
        plan_tiles(Network(scale=2, lost=7, margin=7), width=width, height=height)


def test_a_negative_tile_is_refused() -> None:
    with pytest.raises(ArgumentError, match="tile is -1"):
        plan_tiles(Network(scale=2, lost=7, margin=7), width=4, height=4, tile=-1)


# --- tiles of a network that can be computed here -----------------------------------------------


def gather(picture: np.ndarray, x: Span, y: Span) -> np.ndarray:
    """The window of a tile, the picture's edge replicated."""
    rows = np.clip(np.arange(y.window_start, y.window_start + y.window_size), 0, len(picture) - 1)
    columns = np.clip(
        np.arange(x.window_start, x.window_start + x.window_size), 0, picture.shape[1] - 1
    )
    return picture[np.ix_(rows, columns)]


def box_then_blocks(network: Network, window: np.ndarray) -> np.ndarray:
    """A network in whole numbers: a valid box sum, sums over blocks of the grid, enlargement.

    The block sums differ when tiles start off the grid, the factor of every output pixel within
    its cell when the crop is off by less than an input pixel.
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


def compute(network: Network, picture: np.ndarray, plan: Plan) -> np.ndarray:
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
    network = Network(
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
    network: Network, width: int, height: int, bytes_per_pixel: float, budget: int
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
        # A single step of the grid is the least there is, budget or not.
        assert tile == network.modulus or pixels(tile) * bytes_per_pixel <= budget


@reproducible
@given(networks(), st.integers(1, 3000), st.integers(10**3, 10**7))
def test_a_chosen_tile_makes_no_more_tiles_than_needed(
    network: Network, length: int, budget: int
) -> None:
    tile = choose_tile(network, 1.0, budget, width=length, height=length)
    if tile == 0:
        return
    plan = plan_tiles(network, width=length, height=length, tile=tile)
    # The largest side on the grid whose window fits; nothing else could make fewer tiles.
    largest = network.modulus
    while output_window(network, largest + network.modulus) ** 2 <= budget:
        largest += network.modulus
    assert len(plan.columns) <= math.ceil(length / largest)


def output_window(network: Network, size: int) -> int:
    least = size + 2 * network.margin
    return least + (network.residue - least) % network.modulus


# --- requests -----------------------------------------------------------------------------------

sides = st.integers(1, 5000)
noises = st.none() | st.integers(0, 3)


def product(request: Request) -> int:
    return math.prod(scale for scale, _ in request.passes)


def check_noise(request: Request, noise: int | None) -> None:
    """Noise is removed once, first; later passes only enlarge."""
    assert [level for _, level in request.passes[1:]] == [None] * len(request.passes[1:])
    if noise is not None:
        assert request.passes[0][1] == noise
    else:
        assert all(pass_ == (2, None) for pass_ in request.passes)


@reproducible
@given(sides, sides, st.floats(1e-4, 64), noises, st.booleans())
def test_a_scale_gives_the_size_and_the_passes_it_needs(
    width: int, height: int, scale: float, noise: int | None, at_1x: bool
) -> None:
    request = plan_request(
        width=width, height=height, scale=scale, noise=noise, denoises_at_1x=at_1x
    )
    # Half a pixel rounds up; exact in fractions.
    half = Fraction(1, 2)
    exact_width, exact_height = width * Fraction(scale), height * Fraction(scale)
    assert abs(request.width - max(exact_width, half)) <= half + Fraction(1, 10**9)
    assert abs(request.height - max(exact_height, half)) <= half + Fraction(1, 10**9)
    check_noise(request, noise)
    grown = product(request)
    if scale > 1:
        # The next power of two and no further: a pass costs four times the one before.
        assert grown / 2 < scale <= grown
    elif noise is None:
        assert request.passes == ()
    else:
        assert request.passes == ((1 if at_1x else 2, noise),)
    assert request.resize == ((width * grown, height * grown) != (request.width, request.height))


@pytest.mark.parametrize(
    ("scale", "doublings", "resize"),
    [
        (0.5, 0, True),
        (1, 0, False),
        (1.5, 1, True),
        (2, 1, False),
        (3, 2, True),
        (4, 2, False),
        (5, 3, True),
        (8, 3, False),
        (16, 4, False),
    ],
)
def test_common_scales(scale: float, doublings: int, resize: bool) -> None:
    request = plan_request(width=100, height=60, scale=scale)
    assert request == Request(
        ((2, None),) * doublings, round(100 * scale), round(60 * scale), resize
    )


def test_the_default_is_twice() -> None:
    assert plan_request(width=7, height=5) == Request(((2, None),), 14, 10, False)


@pytest.mark.parametrize("scale", [1.4999, 1.5, 1.5001])
def test_half_a_pixel_rounds_up(scale: float) -> None:
    request = plan_request(width=1, height=3, scale=scale)
    assert (request.width, request.height) == (1 if scale < 1.5 else 2, 4 if scale < 1.5 else 5)


def test_nothing_to_do_is_no_pass_and_no_resize() -> None:
    assert plan_request(width=7, height=5, scale=1) == Request((), 7, 5, False)
    assert plan_request(width=7, height=5, target_width=7) == Request((), 7, 5, False)


def test_denoising_without_a_network_for_it_doubles_and_shrinks_back() -> None:
    request = plan_request(width=7, height=5, scale=1, noise=2, denoises_at_1x=False)
    assert request == Request(((2, 2),), 7, 5, True)
    assert plan_request(width=7, height=5, scale=1, noise=2) == Request(((1, 2),), 7, 5, False)


@reproducible
@given(sides, sides, st.integers(0, 5), noises)
def test_a_target_at_a_power_of_two_is_exactly_that_many_doublings(
    width: int, height: int, doublings: int, noise: int | None
) -> None:
    for target in (
        {"target_width": width << doublings},
        {"target_height": height << doublings},
        {"target_width": width << doublings, "target_height": height << doublings},
    ):
        request = plan_request(width=width, height=height, noise=noise, **target)
        assert (request.width, request.height) == (width << doublings, height << doublings)
        assert product(request) == 2**doublings
        assert not request.resize
        check_noise(request, noise)
    # As a scale from a division of floats, and one pixel more.
    assert product(
        plan_request(width=width, height=height, scale=(width << doublings) / width)
    ) == (1 << doublings)
    more = plan_request(width=width, height=height, target_width=(width << doublings) + 1)
    assert product(more) == 2 ** (doublings + 1)


@reproducible
@given(sides, sides, st.integers(1, 40_000), st.booleans())
def test_one_target_side_keeps_the_aspect(
    width: int, height: int, target: int, across: bool
) -> None:
    if across:
        request = plan_request(width=width, height=height, target_width=target)
        given_side, other, exact = request.width, request.height, Fraction(height * target, width)
    else:
        request = plan_request(width=width, height=height, target_height=target)
        given_side, other, exact = request.height, request.width, Fraction(width * target, height)
    assert given_side == target
    # The nearest whole number, a half rounded up, at least one pixel.
    assert other == max(1, math.floor(exact + Fraction(1, 2)))
    grown = product(request)
    assert width * grown >= request.width
    assert height * grown >= request.height
    assert grown == 1 or width * grown // 2 < request.width or height * grown // 2 < request.height


def test_both_target_sides_are_taken_as_given() -> None:
    request = plan_request(width=100, height=100, target_width=150, target_height=700)
    assert request == Request(((2, None),) * 3, 150, 700, True)


@pytest.mark.parametrize("scale", [0, -1, -0.5, math.nan, math.inf, -math.inf])
def test_scales_that_mean_nothing_are_refused(scale: float) -> None:
    with pytest.raises(ArgumentError, match=f"scale is {scale}"):
        plan_request(width=10, height=10, scale=scale)


def test_a_scale_beyond_all_bounds_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"scale is 1e\+300"):
        plan_request(width=10, height=10, scale=1e300)


@pytest.mark.parametrize("side", [0, -1])
@pytest.mark.parametrize("name", ["width", "height"])
def test_targets_below_a_pixel_are_refused(name: str, side: int) -> None:
    with pytest.raises(ArgumentError, match=f"{name} is {side}"):
        plan_request(width=10, height=10, **{f"target_{name}": side})


@pytest.mark.parametrize("side", ["nan", "inf", "10.5"])
@pytest.mark.parametrize("name", ["width", "height"])
def test_targets_that_are_no_whole_number_are_refused_before_any_work(name: str, side: str) -> None:
    """In a process of its own, as no doubling ever reaches infinity."""
    script = (
        "from waifu2x.errors import ArgumentError\n"
        "from waifu2x.pipeline.tiling import plan_request\n"
        "try:\n"
        f"    plan_request(width=10, height=10, target_{name}=float({side!r}))\n"
        "except ArgumentError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20
    )
    assert f"{name} is {side}" in done.stdout


def test_targets_may_be_whole_numbers_of_numpy() -> None:
    request = plan_request(width=10, height=6, target_width=np.int64(20))
    assert request == Request(((2, None),), 20, 12, False)


@pytest.mark.parametrize("name", ["target_width", "target_height"])
def test_a_scale_beside_a_target_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="scale, or a target width or height, not both"):
        plan_request(width=10, height=10, scale=2, **{name: 20})
