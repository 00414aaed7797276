"""Mixes the networks of two neighboring noise levels, for a level between them."""

from __future__ import annotations

from .._record import record
from . import registry
from .graph import Graph
from .registry import Model, Network


@record
class Mix:
    """Two networks of one scale and neighboring noise levels.

    share: of the upper network, between 0 and 1.
    by_weights: whether the weights are averaged, at the cost of one network. Otherwise both
        networks run and their results are averaged. ``models/measure_mixing.py`` measures for
        which pairs the weights lose less than 0.1 dB and look the same.
    """

    lower: Network
    upper: Network
    share: float
    by_weights: bool

    @property
    def macs_per_pixel(self) -> int:
        """Multiply-accumulates per input pixel."""
        if self.by_weights:
            return self.lower.macs_per_pixel
        return self.lower.macs_per_pixel + self.upper.macs_per_pixel

    def load(self) -> Graph:
        """Read both networks and return one graph. Raises `WeightsError`."""
        from . import merging  # loaded when needed

        graphs = [registry.load(network) for network in (self.lower, self.upper)]
        mix = merging.linear if self.by_weights else merging.average
        return mix(graphs, [1 - self.share, self.share])

    def __str__(self) -> str:
        """Describe the mix for the log."""
        how = "weights" if self.by_weights else "outputs"
        return f"levels {self.lower.noise} and {self.upper.noise}, mixed by {how}"


def mix_of(model: Model, scale: int, level: float) -> Mix | None:
    """Return the mix for a noise level between two levels of ``model`` at ``scale``, or None."""
    numbers = [each for each in model.noise_levels(scale) if isinstance(each, int)]
    below = [each for each in numbers if each < level]
    above = [each for each in numbers if each > level]
    if level in numbers or not below or not above:
        return None
    lower, upper = model.network(scale, below[-1]), model.network(scale, above[0])
    assert lower is not None
    assert upper is not None
    share = (level - below[-1]) / (above[0] - below[-1])
    by_weights = (scale, below[-1], above[0]) in model.mixed_by_weights
    return Mix(lower, upper, share, by_weights)
