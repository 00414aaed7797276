from __future__ import annotations

import itertools
import math
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waifu2x.errors import ArgumentError, LimitError
from waifu2x.network import registry
from waifu2x.pipeline import request as planning
from waifu2x.pipeline.request import Costs, Request, denoising_scale

reproducible = settings(derandomize=True, deadline=None, print_blob=True, max_examples=300)


def costs_of(name: str) -> Costs:
    """The costs of the networks of a model in the manifest; no weights are read."""
    return {(n.scale, n.noise): n.macs_per_pixel for n in registry.model(name).networks}


#: Models that enlarge by powers of two only, with and without networks that only denoise.
CUNET, UPCONV = costs_of("cunet"), costs_of("upconv_7")


def plan_request(*, costs: Costs = CUNET, **request: Any) -> Request:
    return planning.plan_request(costs=costs, **request)


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
        width=width, height=height, scale=scale, noise=noise, costs=CUNET if at_1x else UPCONV
    )
    # Half a pixel rounds up, computed in exact fractions.
    half = Fraction(1, 2)
    exact_width, exact_height = width * Fraction(scale), height * Fraction(scale)
    assert abs(request.width - max(exact_width, half)) <= half + Fraction(1, 10**9)
    assert abs(request.height - max(exact_height, half)) <= half + Fraction(1, 10**9)
    check_noise(request, noise)
    grown = product(request)
    if scale > 1:
        # Only the next power of two: each pass costs four times the previous pass.
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
    request = plan_request(width=7, height=5, scale=1, noise=2, costs=UPCONV)
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
    # A scale computed by float division, and a target one pixel larger.
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
    # The nearest integer, halves rounded up, at least one pixel.
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
    with pytest.raises(LimitError) as caught:
        plan_request(width=10, height=10, scale=1e300)
    assert str(caught.value) == (
        "10x10 px at a scale of 1e+300 are more than 2^31 px a side; choose a smaller `scale=`"
    )


@pytest.mark.parametrize("side", [0, -1])
@pytest.mark.parametrize("name", ["width", "height"])
def test_targets_below_a_pixel_are_refused(name: str, side: int) -> None:
    with pytest.raises(ArgumentError, match=f"{name} is {side}"):
        plan_request(width=10, height=10, **{f"target_{name}": side})


@pytest.mark.parametrize("side", ["nan", "inf", "10.5"])
@pytest.mark.parametrize("name", ["width", "height"])
def test_targets_that_are_no_whole_number_are_refused_before_any_work(name: str, side: str) -> None:
    """In a separate process, because doubling never reaches infinity."""
    script = (
        "from waifu2x.errors import ArgumentError\n"
        "from waifu2x.pipeline.request import plan_request\n"
        "try:\n"
        f"    plan_request(width=10, height=10, target_{name}=float({side!r}), costs={{}})\n"
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
    with pytest.raises(ArgumentError, match="give `scale=`, or `width=` and `height=`"):
        plan_request(width=10, height=10, scale=2, **{name: 20})


# --- models with other scales


def scales(request: Request) -> tuple[int, ...]:
    return tuple(scale for scale, _ in request.passes)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        # The passes for 1.5x, 2x, 2.5x, 3x, 4x, 5x, 6x, 8x, 9x, 12x and 16x.
        ("cunet", "2 2 22 22 22 222 222 222 2222 2222 2222"),
        ("upconv_7", "2 2 22 22 22 222 222 222 2222 2222 2222"),
        ("upconv_7_photo", "2 2 22 22 22 222 222 222 2222 2222 2222"),
        # 2x and 4x are cheaper than 3x. 6x and 12x are exact, which counts more than cost.
        ("realcugan", "2 2 4 3 4 24 23 24 33 34 44"),
        ("realcugan_pro", "2 2 3 3 22 23 23 33 33 223 233"),
        ("realesrgan_animevideo", "4 4 4 4 4 44 44 44 44 44 44"),
        ("realesrgan_anime", "4 4 4 4 4 44 44 44 44 44 44"),
        ("realesrgan", "4 4 4 4 4 44 44 44 44 44 44"),
    ],
)
def test_the_passes_of_every_model(model: str, expected: str) -> None:
    ratios = (1.5, 2, 2.5, 3, 4, 5, 6, 8, 9, 12, 16)
    for ratio, passes in zip(ratios, expected.split(), strict=True):
        request = plan_request(width=100, height=60, scale=ratio, costs=costs_of(model))
        assert "".join(map(str, scales(request))) == passes, ratio
        assert request.resize == (math.prod(scales(request)) != ratio)
        size = plan_request(width=100, height=60, target_width=request.width, costs=costs_of(model))
        assert size == request


@reproducible
@given(
    st.dictionaries(st.integers(2, 6), st.integers(1, 1000), min_size=1, max_size=4),
    st.floats(1.01, 40),
)
def test_the_choice_among_all_sequences(costs: dict[int, int], ratio: float) -> None:
    """The fewest passes, then no shrink, then the least cost, compared with brute force."""
    request = plan_request(
        width=1000, height=1000, scale=ratio, costs={(s, None): c for s, c in costs.items()}
    )

    def rank(sequence: tuple[int, ...]) -> tuple[bool, int, int]:
        spent = sum(
            costs[scale] * math.prod(sequence[:index]) ** 2 for index, scale in enumerate(sequence)
        )
        grown = math.prod(sequence)
        return grown * 1000 != request.width, spent, grown

    for count in range(1, 7):
        able = [s for s in itertools.product(costs, repeat=count) if math.prod(s) >= ratio]
        if able:
            break
    assert rank(scales(request)) == min(map(rank, able))
    assert len(scales(request)) == count


@reproducible
@given(st.floats(1e-3, 1000), st.integers(-2, 2), noises, st.booleans())
def test_models_of_the_2x_networks_double(ratio: float, ulps: int, noise: Any, at_1x: bool) -> None:
    """The number of doublings is the logarithm, rounded up, for ratios a bit off as well."""
    for scale in (ratio, 2.0 ** round(math.log2(ratio))):
        for _ in range(abs(ulps)):
            scale = math.nextafter(scale, math.copysign(math.inf, ulps))
        doublings = max(0, math.ceil(math.log2(scale))) if scale > 1 else 0
        passes: list[tuple[int, Any]] = [(2, None)] * doublings
        if noise is not None:
            passes[:1] = [(2 if doublings or not at_1x else 1, noise)]
        request = plan_request(
            width=64, height=48, scale=scale, noise=noise, costs=CUNET if at_1x else UPCONV
        )
        assert list(request.passes) == passes


def test_a_huge_ratio_is_planned_at_once() -> None:
    request = plan_request(width=1, height=1, scale=2.0**30, costs=costs_of("realcugan"))
    assert scales(request) == (4,) * 15


def test_a_level_that_only_one_scale_has_begins_with_that_scale() -> None:
    costs = costs_of("realcugan")
    assert plan_request(width=9, height=9, scale=3, noise=1, costs=costs) == Request(
        ((2, 1), (2, None)), 27, 27, True
    )
    assert plan_request(width=9, height=9, scale=6, noise=1, costs=costs) == Request(
        ((2, 1), (3, None)), 54, 54, False
    )
    assert plan_request(width=9, height=9, scale=3, noise=3, costs=costs) == Request(
        ((3, 3),), 27, 27, False
    )
    assert plan_request(width=9, height=9, scale=1, noise="conservative", costs=costs) == Request(
        ((2, "conservative"),), 9, 9, True
    )


def test_a_level_without_a_network_is_refused() -> None:
    with pytest.raises(ArgumentError, match="no network that enlarges with noise 2"):
        plan_request(width=9, height=9, noise=2, costs=costs_of("realesrgan"))


@pytest.mark.parametrize(
    ("model", "scale"), [("cunet", 1), ("upconv_7", 2), ("realcugan", 2), ("realesrgan", None)]
)
def test_the_scale_that_denoises_without_enlarging(model: str, scale: int | None) -> None:
    assert denoising_scale(costs_of(model)) == scale
