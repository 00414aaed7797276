"""The optimizer Muon for the matrices of a network, with Adam for everything else.

Source: K. Jordan et al., Muon (https://kellerjordan.github.io/posts/muon/); the scale that matches
the step of Adam is that of J. Liu et al. (https://arxiv.org/abs/2502.16982).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch

#: Coefficients and steps of the Newton-Schulz iteration toward the nearest orthogonal matrix.
_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
_STEPS: Final = 5
_MOMENTUM: Final = 0.95
#: Typical root mean square of a step of Adam.
_ADAM_STEP: Final = 0.2


class Muon(torch.optim.Optimizer):
    """Steps along the momentum of each weight, made orthogonal as a matrix (out, the rest)."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], lr: float) -> None:
        super().__init__(list(parameters), {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Do a step."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                momentum = state.setdefault("momentum", torch.zeros_like(weight))
                momentum.lerp_(weight.grad, 1 - _MOMENTUM)
                ahead = weight.grad.lerp(momentum, _MOMENTUM)
                matrix = _orthogonal(ahead.reshape(len(ahead), -1))
                size = _ADAM_STEP * max(matrix.shape) ** 0.5
                weight.add_(matrix.reshape(weight.shape), alpha=-group["lr"] * size)


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return about the nearest matrix whose rows, or columns, are orthonormal.

    Each step of the iteration multiplies by a polynomial of the Gram matrix G of the shorter side,
    and all of these commute. So the steps are done on G, which is much smaller than the matrix of a
    3x3 convolution, and their product is applied once.
    """
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x: torch.Tensor = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    product = None
    for step in range(_STEPS):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product = factor if product is None else factor @ product
        if step < _STEPS - 1:
            gram = factor @ gram @ factor
    assert product is not None
    made = product @ x
    return made.T if tall else made
