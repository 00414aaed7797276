"""The losses, compared with NumPy."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from waifu2x.training.config import LossConfig
from waifu2x.training.losses import difficulty, evidence_losses, losses
from waifu2x.training.shape import EVIDENCE_GAIN


def wanted(config: LossConfig, error: np.ndarray) -> np.ndarray:
    """Compute the losses of (N, 3, H, W) in float64."""

    def mean(values: np.ndarray) -> np.ndarray:
        return np.sqrt(values**2 + config.epsilon**2).mean((1, 2, 3))

    luma = (error * np.reshape([0.299, 0.587, 0.114], (1, 3, 1, 1))).sum(1, keepdims=True)
    spectrum = np.fft.rfft2(error, norm="ortho")
    distance = (np.abs(spectrum.real).mean((1, 2, 3)) + np.abs(spectrum.imag).mean((1, 2, 3))) / 2
    if config.kind == "psnr":
        squares = (error**2).mean((1, 2, 3)) + config.luma * (luma**2).mean((1, 2, 3))
        of_samples = np.log(squares / (1 + config.luma) + config.epsilon**2)
    else:
        of_samples = mean(error) + config.luma * mean(luma)
    return of_samples + config.frequency * distance


@pytest.mark.parametrize(
    "config",
    [
        LossConfig(),
        LossConfig(epsilon=0.1, luma=0.5),
        LossConfig(epsilon=0.01, frequency=2),
        LossConfig(epsilon=0.2, luma=3, frequency=4),
        LossConfig("psnr"),
        LossConfig("psnr", epsilon=0.01, luma=3, frequency=2),
    ],
)
def test_losses_equal_those_of_numpy(config: LossConfig) -> None:
    rng = np.random.default_rng(1)
    made, original = (rng.random((3, 3, 12, 10)) for _ in range(2))
    made[0] = original[0]
    found = losses(config, *(torch.tensor(each, dtype=torch.float32) for each in (made, original)))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), wanted(config, made - original), rtol=1e-5, atol=1e-7)


def test_losses_of_evidence_equal_those_of_numpy() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 0.3, (3, 6, 5, 4))
    families, compressed = np.array([2, 0, 3]), np.array([1, 0, 0])

    def entropy(values: np.ndarray, truths: np.ndarray) -> np.ndarray:
        """Return the mean cross-entropy of (N, C, H, W) with a class for each of N."""
        scaled = values - np.log(np.exp(values).sum(1, keepdims=True))
        return -np.array([scaled[k, truth].mean() for k, truth in enumerate(truths)])

    expected = np.zeros(3)
    for values in (logits, EVIDENCE_GAIN * logits.mean((2, 3), keepdims=True)):
        expected += entropy(values[:, :4], families)
        expected += entropy(values[:, 4:], compressed)
    tensors = (
        torch.tensor(logits, dtype=torch.float32),
        *map(torch.tensor, (families, compressed)),
    )
    found = evidence_losses(*tensors)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    # Where nothing is compressed, only the families count.
    families_alone = evidence_losses(tensors[0], tensors[1], None)
    for values in (logits, EVIDENCE_GAIN * logits.mean((2, 3), keepdims=True)):
        expected -= entropy(values[:, 4:], compressed)
    np.testing.assert_allclose(families_alone.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["charbonnier", "psnr"])
def test_a_perfect_result_has_a_finite_gradient(kind: Literal["charbonnier", "psnr"]) -> None:
    made = torch.zeros(1, 3, 8, 8, requires_grad=True)
    losses(LossConfig(kind, luma=1, frequency=1), made, torch.zeros(1, 3, 8, 8)).sum().backward()
    assert made.grad is not None
    assert made.grad.abs().max() == 0


def test_with_psnr_every_crop_counts_by_its_share() -> None:
    made = torch.full((2, 3, 8, 8), 0.1)
    made[1] = 0.01
    made.requires_grad_()
    losses(LossConfig("psnr", epsilon=1e-6), made, torch.zeros(2, 3, 8, 8)).sum().backward()
    assert made.grad is not None
    # A change of one percent of the error counts the same in both.
    torch.testing.assert_close(made.grad[0] * 0.1, made.grad[1] * 0.01)


def test_the_difficulty_grows_with_the_loss_and_is_not_negative() -> None:
    for kind in ("charbonnier", "psnr"):
        config = LossConfig(kind)
        made = torch.stack([torch.full((3, 8, 8), each) for each in (0.0, 0.01, 0.1, 1.0)])
        found = difficulty(config, losses(config, made, torch.zeros(4, 3, 8, 8)).numpy())
        assert (found > 0).all()
        assert (np.diff(found) > 0).all()
