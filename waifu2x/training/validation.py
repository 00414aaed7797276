"""PSNR of a network on the validation set."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from ..pipeline.evaluation import luma, psnr
from .degradation import Degradation
from .module import TrainedGraph

Pixels: TypeAlias = npt.NDArray[np.uint8]

#: What the validation set is shrunk by, for enlarging only and for noise levels.
CLEAN: Final = ("lanczos", "bicubic", "box")
NOISY: Final = ("lanczos+jpeg90", "lanczos+jpeg75", "box+jpeg60")
#: Crops that run at once.
_BATCH: Final = 8
#: A perfect result counts as this many dB.
_MOST: Final = 80.0


class Validation:
    """Originals and what they are shrunk to, by degradation."""

    def __init__(self, originals: Pixels, noises: Sequence[int | None]) -> None:
        """``originals`` is (N, P, P, 3) uint8 with an even P."""
        self._noises = tuple(noises)
        self._wanted = [luma(pixels) for pixels in originals]
        names = {name for noise in noises for name in _degradations(noise)}
        self._given = {
            name: np.stack([Degradation.parse(name).shrunk(pixels) for pixels in originals])
            for name in sorted(names)
        }

    def __call__(self, network: TrainedGraph, device: torch.device) -> Mapping[str, float]:
        """Return the mean PSNR of luma in dB by level and degradation, such as "none lanczos".

        The network runs in float32, on patches whose edge is replicated as for whole pictures.
        """
        found = {}
        for index, noise in enumerate(self._noises):
            for name in _degradations(noise):
                values = []
                for start in range(0, len(self._wanted), _BATCH):
                    made = _run(network, self._given[name][start : start + _BATCH], index, device)
                    values += [
                        min(psnr(luma(pixels), wanted), _MOST)
                        for pixels, wanted in zip(made, self._wanted[start:], strict=False)
                    ]
                key = f"{'none' if noise is None else noise} {name}"
                found[key] = statistics.fmean(values)
        return found


@torch.no_grad()
def _run(network: TrainedGraph, given: Pixels, level: int, device: torch.device) -> Pixels:
    planes = torch.from_numpy(np.ascontiguousarray(given.transpose(0, 3, 1, 2))).to(device)
    x = planes.to(torch.float32).div(255).contiguous(memory_format=torch.channels_last)
    # As an engine does: the edge is replicated as far as the network reads, and cropped again.
    border, scale = network.graph.border, network.graph.scale
    x = F.pad(x, [border] * 4, mode="replicate")
    inside = slice(border * scale, -border * scale or None)
    made = (
        network(x, level)[:, :, inside, inside]
        .clamp(0, 1)
        .mul(255)
        .add(0.5)
        .floor()
        .to(torch.uint8)
    )
    return np.ascontiguousarray(made.cpu().numpy().transpose(0, 2, 3, 1))


def _degradations(noise: int | None) -> tuple[str, ...]:
    return CLEAN if noise is None else NOISY
