from __future__ import annotations

import random

import pytest
from helpers.weights_fuzz import check, mutated, seeds


@pytest.fixture(scope="module")
def files() -> dict:
    return seeds()


def test_every_seed_is_read(files: dict) -> None:
    for name, seed in files.items():
        assert check(seed.wrap(seed.payload)), name


def test_no_mutation_of_a_seed_escapes(files: dict) -> None:
    rng = random.Random(20)
    outcomes = []
    for name, seed in files.items():
        for _ in range(150):
            data = seed.wrap(mutated(seed.payload, rng))
            outcomes.append(bool(check(data)))
        assert False in outcomes, name
    assert True in outcomes
