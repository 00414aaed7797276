"""The loss of a training, per crop."""

from __future__ import annotations

from typing import Final

import torch

from .config import LossConfig

#: BT.601.
_LUMA: Final = (0.299, 0.587, 0.114)


def losses(config: LossConfig, made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the loss of each crop, (N,) float32.

    made, wanted: (N, 3, H, W) float32; samples in [0, 1] wanted.

    Sources: Charbonnier's loss, W.-S. Lai et al. (https://arxiv.org/abs/1704.03915); the distance
    of Fourier transforms, S.-J. Cho et al. (https://arxiv.org/abs/2108.05054).
    """
    error = made - wanted
    found = _charbonnier(error, config.epsilon)
    if config.luma:
        weights = torch.tensor(_LUMA, device=error.device).reshape(1, 3, 1, 1)
        luma = (error * weights).sum(1, keepdim=True)
        found = found + config.luma * _charbonnier(luma, config.epsilon)
    if config.frequency:
        # Orthonormal, so that the weight means the same for all sizes of crops.
        spectrum = torch.view_as_real(torch.fft.rfft2(error, norm="ortho"))
        found = found + config.frequency * spectrum.abs().mean((1, 2, 3, 4))
    return found


def _charbonnier(error: torch.Tensor, epsilon: float) -> torch.Tensor:
    return torch.sqrt(error * error + epsilon * epsilon).mean((1, 2, 3))
