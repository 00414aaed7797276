"""The loss of a training, per crop."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from .config import LossConfig
from .degradation import FAMILIES
from .shape import EVIDENCE_GAIN

#: BT.601.
_LUMA: Final = (0.299, 0.587, 0.114)


def losses(config: LossConfig, made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the loss of each crop, (N,) float32.

    made, wanted: (N, 3, H, W) float32; samples in [0, 1] wanted.

    The kind "psnr" is the logarithm of the mean squared error: every crop counts by how much of its
    error goes away, so that screentone and dither, whose errors are a hundred times as large, do
    not outweigh all the rest, and the mean PSNR of pictures is what is minimized.

    Sources: Charbonnier's loss, W.-S. Lai et al. (https://arxiv.org/abs/1704.03915); the distance
    of Fourier transforms, S.-J. Cho et al. (https://arxiv.org/abs/2108.05054); PSNR as the loss,
    L. Chen et al. (https://arxiv.org/abs/2105.06086).
    """
    error = made - wanted
    luma = None
    if config.luma:
        weights = torch.tensor(_LUMA, device=error.device).reshape(1, 3, 1, 1)
        luma = (error * weights).sum(1, keepdim=True)
    if config.kind == "psnr":
        squares = _mean_square(error)
        if luma is not None:
            squares = (squares + config.luma * _mean_square(luma)) / (1 + config.luma)
        found = torch.log(squares + config.epsilon**2)
    else:
        found = _charbonnier(error, config.epsilon)
        if luma is not None:
            found = found + config.luma * _charbonnier(luma, config.epsilon)
    if config.frequency:
        # Orthonormal, so that the weight means the same for all sizes of crops.
        spectrum = torch.view_as_real(torch.fft.rfft2(error, norm="ortho"))
        found = found + config.frequency * spectrum.abs().mean((1, 2, 3, 4))
    return found


def evidence_losses(
    evidence: torch.Tensor, families: torch.Tensor, compressed: torch.Tensor | None
) -> torch.Tensor:
    """Return the loss of what an estimator finds in each crop, (N,) float32.

    evidence: (N, E, H, W) float32, logits at each pixel: of `FAMILIES`, then of an uncompressed and
        of a compressed picture. families, compressed: (N,) int64, what is true; None where nothing
        is compressed: the steps that learn so would spoil the layers that the estimator began with.

    It is the cross-entropy of each pixel, and that of the crop for `EVIDENCE_GAIN` times the mean
    of its pixels.
    """
    found = torch.zeros(len(evidence), device=evidence.device)
    crops = EVIDENCE_GAIN * evidence.mean((2, 3), keepdim=True)
    for logits in (evidence, crops):
        parts = [(logits[:, : len(FAMILIES)], families)]
        if compressed is not None:
            parts.append((logits[:, len(FAMILIES) :], compressed))
        for part, truth in parts:
            everywhere = truth[:, None, None].expand(-1, *part.shape[2:])
            entropy = F.cross_entropy(part, everywhere, reduction="none")
            found = found + entropy.mean((1, 2))
    return found


def difficulty(config: LossConfig, found: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return how far crops are from perfect, (N,) of at least 0, from their losses."""
    return np.exp(found / 2) if config.kind == "psnr" else found


def _mean_square(error: torch.Tensor) -> torch.Tensor:
    return (error * error).mean((1, 2, 3))


def _charbonnier(error: torch.Tensor, epsilon: float) -> torch.Tensor:
    return torch.sqrt(error * error + epsilon * epsilon).mean((1, 2, 3))
