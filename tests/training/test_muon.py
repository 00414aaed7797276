"""Muon: steps are orthogonal, of a fixed size, and go downhill."""

from __future__ import annotations

import pytest
import torch

from waifu2x.training.muon import Muon


def stepped(weight: torch.Tensor, gradient: torch.Tensor, rate: float = 0.1) -> torch.Tensor:
    """Return the change of ``weight`` by a first step."""
    parameter = torch.nn.Parameter(weight.clone())
    parameter.grad = gradient
    Muon([parameter], rate).step()
    return (parameter - weight).detach()


@pytest.mark.parametrize("shape", [(6, 6), (4, 40), (40, 4), (8, 4, 3, 3), (3, 5, 1, 1)])
def test_a_step_is_about_orthogonal(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    gradient = torch.randn(shape)
    change = stepped(torch.randn(shape), gradient).reshape(shape[0], -1)
    size = 0.1 * 0.2 * max(change.shape) ** 0.5
    values = torch.linalg.svdvals(change) / size
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert (change * gradient.reshape(change.shape)).sum() < 0


def test_the_size_of_the_gradient_changes_nothing() -> None:
    torch.manual_seed(1)
    gradient = torch.randn(5, 7)
    small, large = (stepped(torch.zeros(5, 7), factor * gradient) for factor in (1.0, 1000.0))
    torch.testing.assert_close(small, large, rtol=1e-4, atol=1e-6)
    assert stepped(torch.zeros(5, 7), torch.zeros(5, 7)).abs().max() == 0


def test_a_weight_without_a_gradient_stays() -> None:
    weight = torch.nn.Parameter(torch.ones(2, 2))
    Muon([weight], 0.1).step()
    assert (weight == 1).all()


def test_a_matrix_is_found() -> None:
    torch.manual_seed(1)
    wanted, weight = torch.randn(6, 9), torch.nn.Parameter(torch.zeros(6, 9))
    optimizer = Muon([weight], 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        ((weight - wanted) ** 2).mean().backward()
        optimizer.step()
    assert (weight - wanted).abs().mean() < 0.05


@pytest.mark.parametrize("shape", [(8, 72), (24, 6), (5, 5)])
def test_a_step_is_that_of_the_iteration_itself(shape: tuple[int, int]) -> None:
    """Five steps of Newton and Schulz on the matrix, without its Gram matrix, in float64."""
    torch.manual_seed(2)
    gradient = torch.randn(shape)
    x = gradient.double() / gradient.norm()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    change = stepped(torch.zeros(shape), gradient)
    torch.testing.assert_close(change, (-0.1 * 0.2 * max(shape) ** 0.5 * x).float())
