"""The losses, compared with NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from waifu2x.training.config import LossConfig
from waifu2x.training.losses import losses


def wanted(config: LossConfig, error: np.ndarray) -> np.ndarray:
    """Compute the losses of (N, 3, H, W) in float64."""

    def mean(values: np.ndarray) -> np.ndarray:
        return np.sqrt(values**2 + config.epsilon**2).mean((1, 2, 3))

    luma = (error * np.reshape([0.299, 0.587, 0.114], (1, 3, 1, 1))).sum(1, keepdims=True)
    spectrum = np.fft.rfft2(error, norm="ortho")
    distance = (np.abs(spectrum.real).mean((1, 2, 3)) + np.abs(spectrum.imag).mean((1, 2, 3))) / 2
    return mean(error) + config.luma * mean(luma) + config.frequency * distance


@pytest.mark.parametrize(
    "config", [LossConfig(), LossConfig(0.1, 0.5, 0), LossConfig(0.01, 0, 2), LossConfig(0.2, 3, 4)]
)
def test_losses_equal_those_of_numpy(config: LossConfig) -> None:
    rng = np.random.default_rng(1)
    made, original = (rng.random((3, 3, 12, 10)) for _ in range(2))
    made[0] = original[0]
    found = losses(config, *(torch.tensor(each, dtype=torch.float32) for each in (made, original)))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), wanted(config, made - original), rtol=1e-5, atol=1e-7)


def test_a_perfect_result_has_a_finite_gradient() -> None:
    made = torch.zeros(1, 3, 8, 8, requires_grad=True)
    losses(LossConfig(luma=1, frequency=1), made, torch.zeros(1, 3, 8, 8)).sum().backward()
    assert made.grad is not None
    assert made.grad.abs().max() == 0
