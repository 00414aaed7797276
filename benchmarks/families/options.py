"""Options and cases of the comparison of model families with ncnn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from waifu2x.network.graph import Graph

from ..common.parts import Options
from ..common.pictures import Pixels, draw_face
from ..peers.contestants import Job, least_noise, network

#: Scales of every family, and how many times as fast as ncnn the native engine is to be.
FAMILIES: Final[dict[str, dict[int, float]]] = {
    "cunet": {2: 1.0},
    "upconv_7": {2: 1.0},
    "realcugan": {2: 1.5, 3: 1.5, 4: 1.5},
    "realcugan_pro": {2: 1.5, 3: 1.5},
    "realesrgan_animevideo": {4: 1.5},
    "realesrgan_anime": {4: 1.2},
    "realesrgan": {4: 1.2},
}

#: Multiply-accumulates of a timed run: about a second of the native engine on two cores.
_MACS: Final = 250e9
#: Sides of a timed picture are multiples of this, and at least three times as large.
_STEP: Final = 32
_QUICK_SIDE: Final = 16


@dataclass(frozen=True)
class FamilyOptions(Options):
    """Options of all parts.

    models: families to measure. engines: of the package, for the part difference.
    threads: of every contestant.
    """

    models: Sequence[str] = ()
    engines: Sequence[str] = ()
    threads: int = 2

    def for_child(self) -> FamilyOptions:
        """The options without the pictures, which would count toward the memory of a child."""
        return replace(self, pictures=())


@dataclass(frozen=True)
class Case:
    """A network to compare: the one of a family at a scale with the least noise reduction."""

    model: str
    scale: int
    aim: float

    @property
    def name(self) -> str:
        return f"{self.model} {self.scale}x"

    @property
    def facts(self) -> dict[str, Any]:
        """The model and the scale, for a report."""
        return {"name": self.name, "model": self.model, "scale": self.scale}

    def job(self, options: FamilyOptions) -> Job:
        """The network for `peers.contestants`."""
        noise = least_noise(self.model, self.scale)
        return Job(self.model, self.scale, noise, options.threads, options.folder / "network.onnx")

    def side(self, options: FamilyOptions) -> int:
        """Side of the picture whose pass takes about a second, by the cost of the network."""
        if options.quick:
            return _QUICK_SIDE
        job = self.job(options)
        cost = network(job.model, job.scale, job.noise).macs_per_pixel
        side = math.isqrt(int(_MACS / cost)) - 2 * job.graph.border
        return max(side // _STEP, 3) * _STEP


def cases(options: FamilyOptions) -> list[Case]:
    return [
        Case(model, scale, aim)
        for model in options.models or FAMILIES
        for scale, aim in FAMILIES[model].items()
    ]


def draw(side: int) -> Pixels:
    """Draw the picture that is measured: (side, side, 3) uint8."""
    return np.asarray(draw_face(side, side))


def window_side(graph: Graph, side: int) -> int:
    """Side of the network's input for a picture of ``side`` and its border."""
    return graph.input_size(side + 2 * graph.border)
