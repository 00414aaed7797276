"""Trainings that take a second, for tests of the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def tiny_training(path: Path, *, steps: int = 3, more: str = "") -> None:
    """Write a configuration, and random patches in the folder ``patches`` next to the file.

    more: keys before the sections.
    """
    folder = path.with_name("patches")
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    for name, count in (("train", 6), ("validation", 2)):
        blocks = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
        np.save(folder / f"{name}.npy", blocks.repeat(4, 1).repeat(4, 2))
    path.write_text(
        f"{more}\n[network]\nwidth = 4\nblocks = 1\n"
        "[data]\ncrop = 16\nbatch = 2\n"
        f"[schedule]\ncycles = [{steps}]\nwarmup = 1\n"
    )
