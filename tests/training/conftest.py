"""Patches to train on, from the generator of drawings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from waifu2x.training.config import Config, DataConfig, ScheduleConfig
from waifu2x.training.drawings import draw
from waifu2x.training.shape import Shape

KINDS = ("face", "hair", "tone", "pixel_art", "cel", "eyes")


@pytest.fixture(scope="session")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 24 patches of 64 px, and 6 others for validation."""
    folder = tmp_path_factory.mktemp("patches")
    for seed, (name, count) in enumerate({"train": 24, "validation": 6}.items()):
        rng = np.random.default_rng(seed)
        drawn = [draw(rng, 64, KINDS[each % len(KINDS)]) for each in range(count)]
        np.save(folder / f"{name}.npy", np.stack(drawn))
    return folder


@pytest.fixture
def config(patches: Path) -> Config:
    """A training of 12 steps, in a second."""
    return Config(
        validate=4,
        save=5,
        network=Shape(8, 2),
        data=DataConfig(folder=str(patches), crop=32, batch=4, hard=0.5, workers=2),
        schedule=ScheduleConfig(cycles=(6, 6), warmup=2, decay=0.5),
    )
