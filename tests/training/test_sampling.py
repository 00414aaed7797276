"""Batches: a function of the seed, the losses and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest

from waifu2x.training import sampling
from waifu2x.training.config import DataConfig
from waifu2x.training.sampling import AHEAD, Batch, Sampler

PATCHES = np.random.default_rng(1).integers(0, 256, (12, 24, 28, 3), np.uint8)
Noises: TypeAlias = tuple[int | None, ...]

CONFIG = DataConfig(crop=16, batch=4, hard=0.5, workers=2)


@pytest.fixture
def samplers() -> Iterator[list[Sampler]]:
    made: list[Sampler] = []
    yield made
    for sampler in made:
        sampler.close()


def sampler(
    made: list[Sampler], *, config: DataConfig = CONFIG, seed: int = 3, noises: Noises = (None,)
) -> Sampler:
    made.append(Sampler(PATCHES, config, noises, seed=seed))
    return made[-1]


def drawn(source: Sampler, count: int) -> list[Batch]:
    """Draw batches; the loss of a patch is its number."""
    found = []
    for _ in range(count):
        batch = source.next()
        source.learn(batch, batch.patches.astype(np.float32) / 10)
        found.append(batch)
    return found


def check_same(first: list[Batch], second: list[Batch]) -> None:
    for one, two in zip(first, second, strict=True):
        assert one.level == two.level
        for name in ("patches", "given", "wanted"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_batches_hold_crops_and_their_halves(samplers: list[Sampler]) -> None:
    for batch in drawn(sampler(samplers), 6):
        assert batch.wanted.shape == (4, 3, 16, 16)
        assert batch.given.shape == (4, 3, 8, 8)
        assert batch.wanted.dtype == batch.given.dtype == np.uint8
        for patch, crop in zip(batch.patches, batch.wanted, strict=True):
            assert np.isin(crop, PATCHES[patch]).all()


def test_some_crops_are_pixel_art_but_none_for_an_estimator(
    samplers: list[Sampler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "_PIXELATED", 0.5)

    def is_art(batch: Batch) -> list[bool]:
        squares = batch.given.repeat(2, 2).repeat(2, 3)
        return (squares == batch.wanted).all((1, 2, 3)).tolist()

    found = [each for batch in drawn(sampler(samplers), 50) for each in is_art(batch)]
    assert 0.35 < np.mean(found) < 0.65
    samplers.append(Sampler(PATCHES, CONFIG, (None,), seed=3, balanced=True))
    batches = drawn(samplers[-1], 50)
    assert not any(each for batch in batches for each in is_art(batch))
    families = np.bincount(np.concatenate([batch.families for batch in batches]), minlength=4)
    assert families.min() > 30


def test_equal_seeds_give_equal_batches(samplers: list[Sampler]) -> None:
    noises = (None, 1, 3)
    one = drawn(sampler(samplers, noises=noises), 10)
    other_workers = DataConfig(crop=16, batch=4, hard=0.5, workers=1)
    check_same(one, drawn(sampler(samplers, noises=noises, config=other_workers), 10))
    other = drawn(sampler(samplers, noises=noises, seed=4), 10)
    assert any((a.patches != b.patches).any() for a, b in zip(one, other, strict=True))
    assert {batch.level for batch in one} == {0, 1, 2}


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_restored_sampler_goes_on_with_the_same_batches(
    steps: int, samplers: list[Sampler]
) -> None:
    whole = drawn(sampler(samplers), 12)
    first = sampler(samplers)
    drawn(first, steps)
    state = {key: np.array(value) for key, value in first.state().items()}
    assert len(state["chosen"]) == (AHEAD - 1 if steps else 0)
    second = sampler(samplers)
    second.restore(state, steps)
    check_same(drawn(second, 12 - steps), whole[steps:])


def test_hard_patches_are_drawn_more_often(samplers: list[Sampler]) -> None:
    def counted(hard: float) -> np.ndarray:
        config = DataConfig(crop=16, batch=4, hard=hard)
        source, counts = sampler(samplers, config=config), np.zeros(12, int)
        for _ in range(150):
            batch = source.next()
            source.learn(batch, np.where(batch.patches == 5, 10, 1).astype(np.float32))
            np.add.at(counts, batch.patches, 1)
        return counts

    even, hard = counted(0), counted(0.5)
    assert even[5] < 90
    # Half of the crops by loss, 10 of 21, and half evenly.
    assert 130 < hard[5] < 220
    assert hard.min() > 10


def test_an_unseen_patch_counts_as_an_average_one(samplers: list[Sampler]) -> None:
    source = sampler(samplers, config=DataConfig(crop=16, batch=400, hard=1))
    first = source.next()
    batch = replace(first, level=0, patches=np.array([0, 1]))
    source.learn(batch, np.array([1, 3], np.float32))
    for _ in range(AHEAD - 1):
        source.next()
    counts = np.bincount(source.next().patches, minlength=12)
    assert counts[0] < counts[2:].mean() < counts[1]
