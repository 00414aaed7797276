"""Packs trained networks into the file of a model that ships; for maintainers.

    python models/pack.py none=RUN/swift.safetensors 0=RUN/swift_0.safetensors ... \
        --patches PATCHES -o models/swift.safetensors

One network for each noise level, of the same shape. Tensors that all levels share are stored once
(see `waifu2x.network.readers.levels`). Weights are rounded to float16; the loss of quality of each
network is measured on a folder of patches (`--patches`), and more than 0.01 dB is refused.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np

from waifu2x.network import architectures
from waifu2x.network.readers.file import read_file
from waifu2x.network.readers.levels import at_level, joined
from waifu2x.network.writers.safetensors import to_safetensors
from waifu2x.pipeline.evaluation import NetworkPipeline, luma, psnr
from waifu2x.training.degradation import Degradation
from waifu2x.training.validation import CLEAN, NOISY

#: Most dB that rounding may cost.
ALLOWED_LOSS = 0.01


def main() -> int:
    """Pack, measure, write."""
    parser = argparse.ArgumentParser(description="Pack trained networks into one file.")
    parser.add_argument("networks", nargs="+", metavar="LEVEL=FILE")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--patches", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--license", default="MIT")
    arguments = parser.parse_args()
    graphs = {}
    for text in arguments.networks:
        level, _, path = text.partition("=")
        graphs[None if level == "none" else int(level)] = read_file(path)
    exact = {level: architectures.state_dict(graph) for level, graph in graphs.items()}
    rounded = {
        level: {name: array.astype(np.float16) for name, array in tensors.items()}
        for level, tensors in exact.items()
    }
    packed = joined(rounded)
    originals = np.load(arguments.patches / "validation.npy")
    for level, graph in graphs.items():
        small = architectures.build(at_level(packed, level))
        names = CLEAN if level is None else NOISY
        before, after = (
            mean_psnr(NetworkPipeline(each), originals, names) for each in (graph, small)
        )
        print(f"{level}: {before:.3f} dB, {after:.3f} dB in float16")
        if before - after > ALLOWED_LOSS:
            raise SystemExit(f"float16 costs {before - after:.3f} dB; allowed are {ALLOWED_LOSS}")
    data = to_safetensors(packed, metadata={"license": arguments.license})
    arguments.output.write_bytes(data)
    print(f"{arguments.output}: {len(data):,} bytes")
    return 0


def mean_psnr(pipeline: NetworkPipeline, originals: np.ndarray, names: tuple[str, ...]) -> float:
    """Return the mean PSNR of luma over all pictures and degradations, in dB."""
    return statistics.fmean(
        psnr(luma(pipeline.restore(Degradation.parse(name).shrunk(pixels))), luma(pixels))
        for name in names
        for pixels in originals
    )


if __name__ == "__main__":
    sys.exit(main())
