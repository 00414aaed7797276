"""How a network is laid over a picture: its windows, its seams, the turns of TTA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from .. import engines
from ..network.graph import Graph
from . import tiling

#: Context beyond which tiles of a network that pads inside are feathered instead of exact.
_MAX_CONTEXT: Final = 32

#: The eight symmetries of the square: quarter turns counter-clockwise, then perhaps a mirroring.
SYMMETRIES: Final = tuple((turns, mirrored) for turns in range(4) for mirrored in (False, True))


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network compiled for one engine, and how its tiles are planned."""

    compiled: engines.Compiled
    network: tiling.Network

    @property
    def graph(self) -> Graph:
        """The graph that was compiled."""
        return self.compiled.graph

    @property
    def exact(self) -> bool:
        """Whether any part of the result comes out as in the whole."""
        return self.network.feather == 0 and not self.graph.means

    def window(self, *, width: int, height: int) -> tuple[int, int]:
        """Height and width of the network's input for a whole picture."""
        (tile,) = tiling.plan_tiles(self.network, width=width, height=height)
        return tile.window


def plannable(graph: Graph) -> tiling.Network:
    """What planning must know of a graph."""
    lost, modulus = graph.lost, graph.alignment
    context = min(graph.margin - lost, _MAX_CONTEXT)
    exact = lost + context >= graph.margin
    margin = lost + -(-context // modulus) * modulus
    return tiling.Network(
        scale=graph.scale,
        lost=lost,
        margin=margin,
        modulus=modulus,
        residue=graph.input_size(0) % modulus,
        feather=0 if exact else context * graph.scale,
    )


def ramp(span: tiling.Span) -> npt.NDArray[np.float32]:
    """Weights of a tile along one axis; those of two neighbors add up to 1 over their seam."""
    weights = np.ones(span.out_size, np.float32)
    if span.ramp_before:
        rise = (np.arange(span.ramp_before, dtype=np.float32) + 0.5) / span.ramp_before
        weights[: span.ramp_before] = rise
    if span.ramp_after:
        rise = (np.arange(span.ramp_after, dtype=np.float32) + 0.5) / span.ramp_after
        weights[-span.ramp_after :] = 1 - rise
    return weights
