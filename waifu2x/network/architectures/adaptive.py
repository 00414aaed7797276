"""Adaptive: a Compact network whose channels are gated by how the picture was shrunk.

The best weights for a picture depend on the filter that it was shrunk with, which one place of the
picture hardly shows. So a small network, the estimator, finds evidence for families of filters at
each pixel. The mean of the evidence over the picture decides gates between 0 and 1, and each
channel of each layer is multiplied by its gate.

Sources: Compact, X. Wang et al. (https://arxiv.org/abs/2107.10833); gates by a mean of the picture,
J. Hu et al. (https://arxiv.org/abs/1709.01507); a network that adapts to an estimate of the
degradation, L. Wang et al. (https://arxiv.org/abs/2104.00416).
"""

from __future__ import annotations

from typing import Final

from .. import graph as g
from ..readers.tensors import Tensors
from . import compact
from ._builder import Builder

NAME: Final = "Adaptive"
MARKS: Final = ()

#: Names of the estimator and of the layer that weighs its evidence.
ESTIMATOR: Final = "estimator"
CODE: Final = "code"
#: Most layers of an estimator, for `layers`.
_MOST_ESTIMATOR: Final = 16
_SIGMOID: Final = g.Activation("sigmoid")


def detect(tensors: Tensors) -> bool:
    """Return whether the names are those of a network of this kind."""
    return compact.detect(tensors) and f"{CODE}.weight" in tensors


def layers(count: int) -> list[list[str]]:
    """Return the names of ``count`` layers with weights, in order, for each possible network."""
    found = []
    for inner in range(1, _MOST_ESTIMATOR + 1):
        # Of each layer of the body but the last: a convolution, PReLU and gates.
        gated, rest = divmod(count - (2 * inner + 1) - 2, 3)
        if gated > 0 and not rest:
            estimator = [f"{ESTIMATOR}.{layer}" for layer in range(2 * inner + 1)]
            gates = [f"gates.{layer}" for layer in range(gated)]
            body = [f"body.{layer}" for layer in range(2 * gated + 1)]
            found.append([*estimator, CODE, *gates, *body])
    return found


def build(tensors: Tensors) -> g.Graph:
    """Build the network; its sizes follow from the shapes. Raises `GraphError`."""
    make = Builder(tensors, NAME)
    estimator = compact.numbers(tensors, ESTIMATOR, NAME)
    # Without padding: zeros around a window would look like edges, and windows of a picture have to
    # find the same evidence as the whole.
    value = compact.stack(make, ESTIMATOR, estimator, padding=0)
    value = make.conv(f"{ESTIMATOR}.{estimator[-1]}", value, kernel=1)
    code = make.conv(CODE, make.add("evidence", g.GlobalMean(), value), kernel=1)
    code = make.add(f"{CODE}.activated", g.Activate(_SIGMOID), code)

    body = compact.numbers(tensors, "body", NAME)
    # Before the body, so that a convolution can apply its gates itself.
    gates = []
    for layer in range(len(body) // 2):
        gate = make.conv(f"gates.{layer}", code, kernel=1)
        gates.append(make.add(f"gates.{layer}.activated", g.Activate(_SIGMOID), gate))

    def gated(layer: int, value: str) -> str:
        return make.add(f"body.{2 * layer + 1}.gated", g.Multiply(), value, gates[layer])

    return compact.enlarge(make, NAME, body, compact.stack(make, "body", body, gated))
