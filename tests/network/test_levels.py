"""Networks for several noise levels in one state dict."""

from __future__ import annotations

import numpy as np
import pytest

from waifu2x.errors import GraphError
from waifu2x.network.readers.levels import at_level, joined

WEIGHT, OTHER = np.zeros((2, 2), np.float16), np.ones((2, 2), np.float16)


def bias(value: float) -> np.ndarray:
    return np.full(2, value, np.float16)


def test_every_level_comes_back() -> None:
    networks = {
        None: {"a.weight": WEIGHT, "a.bias": bias(0), "b.weight": WEIGHT, "b.bias": bias(1)},
        0: {"a.weight": OTHER, "a.bias": bias(2), "b.weight": WEIGHT, "b.bias": bias(1)},
        3: {"a.weight": OTHER, "a.bias": bias(3), "b.weight": WEIGHT, "b.bias": bias(4)},
    }
    packed = joined(networks)
    for level, tensors in networks.items():
        found = at_level(packed, level)
        assert list(found) == list(tensors)
        for name, array in tensors.items():
            assert np.array_equal(found[name], array), (level, name)


def test_equal_tensors_are_stored_once() -> None:
    plain = {"weight": WEIGHT, "bias": bias(0)}
    leveled = {level: {"weight": OTHER, "bias": bias(level)} for level in (1, 2)}
    names = ["weight", "bias", "noise.weight", "noise_1.bias", "noise_2.bias"]
    assert list(joined({None: plain, **leveled})) == names


def test_a_level_equal_to_the_plain_network_comes_back() -> None:
    plain = {"weight": WEIGHT, "bias": bias(0)}
    packed = joined({None: plain, 0: plain, 1: {"weight": OTHER, "bias": bias(1)}})
    for level, value in ((None, WEIGHT), (0, WEIGHT), (1, OTHER)):
        assert np.array_equal(at_level(packed, level)["weight"], value)


@pytest.mark.parametrize("level", [None, 1])
def test_one_level_alone(level: int | None) -> None:
    packed = joined({None: {"bias": bias(0)}, 1: {"bias": bias(1)}})
    assert np.array_equal(at_level(packed, level)["bias"], bias(level or 0))


def test_a_level_that_is_not_there() -> None:
    packed = joined({None: {"bias": bias(0)}, 1: {"bias": bias(1)}})
    with pytest.raises(GraphError, match="the state dict has no network for noise level 2"):
        at_level(packed, 2)
