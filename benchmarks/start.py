"""Measures the start: from the command to its first network run, and the shortest commands.

    python -m benchmarks.start [--rounds 30] [--against before=/venv/bin/python] [--json FILE]

A command is started as its script in the environment starts it, and stops where it would run its
first network on a picture of 448x640. The time is from just before the process is made to there: it
holds the interpreter, all imports, reading and decoding the picture, and reading, checking and
compiling the network. --against measures another installation as well, in turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from .common.environment import busy_seconds, describe, environment, load_average
from .common.measure import (
    FailureError,
    Result,
    Run,
    Sample,
    attempt,
    interleave,
    others_share,
    summarize,
    to_json,
)
from .common.parts import check_rounds, write_json
from .common.pictures import draw_face
from .common.processes import exit_message, run_command
from .common.tables import timings

SIZE = (448, 640)
MODELS = ("upconv_7", "cunet")

#: The script of the command, and a hook that ends the process in place of the first network run.
#: All processes share the clock.
FIRST_RUN = """
import os, sys, time
from importlib.machinery import PathFinder

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name != "waifu2x.engines.native":
            return None
        spec = PathFinder.find_spec(name, path, target)
        run = spec.loader.exec_module
        def patched(module):
            run(module)
            def stop(*given, **named):
                answer = f"{time.monotonic()} {time.process_time()}"
                os.write(1, answer.encode())
                os._exit(0)
            module.NativeCompiled.run_picture = stop
        spec.loader.exec_module = patched
        return spec

sys.meta_path.insert(0, Stop())
import re
from waifu2x.__main__ import main
sys.argv[0] = "waifu2x"
sys.exit(main())
"""

#: What every start imports, whatever this package does.
FLOOR = "import numpy, click, PIL.Image"


def first_run(python: str, source: Path, model: str) -> Sample:
    """Time one start up to its first network run. Raises `FailureError`."""
    command = [python, "-c", FIRST_RUN, source.name, "out.png", "-m", model]
    busy, begun = busy_seconds(), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=source.parent)
    wall = time.monotonic() - begun
    for unfinished in source.parent.glob(".waifu2x-*"):
        unfinished.unlink()  # the next start would look for its process
    answer = done.stdout.split()
    if done.returncode != 0 or len(answer) != 2:
        raise FailureError(exit_message(done.returncode, done.stderr))
    reached, cpu = map(float, answer)
    return Sample(reached - begun, cpu, others_share(busy, own=cpu, wall=wall), load_average())


def contestants(label: str, python: str, folder: Path) -> list[Run]:
    """The starts of one installation. label: in front of their names; empty for ours."""
    source = folder / "in.png"
    script = str(Path(python).with_name("waifu2x"))
    runs: list[Run] = []

    def add(name: str, detail: str, measure: Callable[[], Sample]) -> None:
        runs.append((Result(f"{label}: {name}" if label else name, True, detail), measure))

    for model in MODELS:
        command = f"waifu2x in.png out.png -m {model}"
        measure = partial(first_run, python, source, model)
        add(f"{command}, to its first network run", "process to run_picture", measure)
    for words in (["--version"], ["--help"], ["models"]):
        add(f"waifu2x {' '.join(words)}", "whole", partial(run_command, [script, *words]))
    codes = ["import waifu2x"] if label else ["import waifu2x", FLOOR, "pass"]
    for code in codes:
        add(f"python -c '{code}'", "whole", partial(run_command, [python, "-I", "-c", code]))
    return runs


def parse_other(text: str) -> tuple[str, str]:
    """LABEL=PYTHON of another installation."""
    label, _, python = text.partition("=")
    if not label or not os.access(python, os.X_OK):
        raise argparse.ArgumentTypeError(f"{text!r} is not LABEL=PYTHON with a program")
    return label, str(Path(python).absolute())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.start", description="Measure the start of the command."
    )
    add = parser.add_argument
    add("--against", type=parse_other, action="append", default=[], metavar="LABEL=PYTHON",
        help="the Python of another environment with waifu2x; may be repeated")  # fmt: skip
    add("--rounds", type=int, metavar="N", help="2 or more (default 30)")
    add("--json", type=Path, metavar="FILE", help="also write every sample here")
    arguments = parser.parse_args(argv)
    check_rounds(parser, arguments, 30)
    facts = environment(threads=None, distributions=("waifu2x-native", "numpy", "pillow", "click"))
    print(describe(facts), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_face(*SIZE).save(folder / "in.png")
        runs = [
            run
            for label, python in [("", sys.executable), *arguments.against]
            for run in contestants(label, python, folder)
        ]
        for result, measure in runs:
            attempt(result, measure)  # untimed: files into the page cache
        interleave(runs, arguments.rounds)
    results = [result for result, _ in runs]
    summarize(results, quiet_below=1.0)
    print(f"\n{timings(results, unit=1000)}")
    for result in results:
        if result.samples:
            cpu = statistics.median(sample.cpu_s for sample in result.samples)
            print(f"{cpu * 1000:7.1f} ms of CPU time: {result.name}")
    if arguments.json:
        write_json(arguments.json, {
            "benchmark": "start", **facts, "rounds": arguments.rounds, "picture": SIZE,
            "results": to_json(results),
        })  # fmt: skip
    return 1 if any(result.not_run for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
