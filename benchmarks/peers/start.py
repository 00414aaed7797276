"""Time from the start of a process to the first result, on a tiny picture."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ..common.environment import load_average
from ..common.measure import FailureError, quartiles, reason
from ..common.parts import Part
from ..common.processes import exit_message
from ..common.tables import markdown
from .options import PeerOptions

SIDE = 16

#: A typical program, with a monotonic clock shared by all processes. The network loads on first
#: use, so the script records when compilation ends.
SCRIPT = """
import time
started = time.monotonic()
import json, sys
model, engine, threads, side = sys.argv[1:]
import numpy
import waifu2x
upscaler = waifu2x.Upscaler(model, engine=engine, threads=int(threads))
imported = time.monotonic()
kind = type(upscaler.pipeline.engine)
plain = kind.compile
def compile(self, graph):
    global loaded
    compiled = plain(self, graph)
    loaded = time.monotonic()
    return compiled
kind.compile = compile
upscaler.upscale(numpy.zeros((int(side), int(side), 3), numpy.uint8), 2)
print(json.dumps([started, imported, loaded, time.monotonic(), upscaler.pipeline.engine.name]))
"""

STEPS = {
    "interpreter": "interpreter start",
    "import": "import, with the engine's runtime",
    "load": "load: read and check weights, compile",
    "run": "first run",
    "total": "all",
}


def run(options: PeerOptions) -> Part:
    model = options.models[0] if options.models else "cunet"
    threads = options.threads[0]
    command = [
        sys.executable, "-c", SCRIPT, model, options.engine, str(threads), str(SIDE)
    ]  # fmt: skip
    engine, samples, not_run = "", [], ""
    try:
        measure(command, options.folder)  # untimed: files into the page cache
        for _ in range(options.rounds):
            engine, sample = measure(command, options.folder)
            samples.append(sample)
    except FailureError as error:
        not_run = reason(error)
    report = {
        "model": model,
        "engine": engine,
        "threads": threads,
        "picture": [SIDE, SIDE],
        "not_run": not_run,
        "samples": samples,
    }
    text = (
        f"\nFrom nothing to the first result, {model}, {SIDE}x{SIDE} px, 2x, engine {engine}, "
        f"{threads} threads:\n\n{table(samples) if not not_run else f'not run: {not_run}'}\n"
    )
    return Part(report, text)


def measure(command: list[str], folder: Path) -> tuple[str, dict[str, Any]]:
    """Time the steps of one process; return the name of the engine and the seconds.

    folder: the working directory, without a package that would hide the installed package.
    """
    begun = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode != 0:
        raise FailureError(exit_message(done.returncode, done.stderr))
    started, imported, loaded, finished, engine = json.loads(done.stdout.splitlines()[-1])
    return engine, {
        "interpreter": started - begun,
        "import": imported - started,
        "load": loaded - imported,
        "run": finished - loaded,
        "total": finished - begun,
        "load_average": load_average(),
    }


def table(samples: list[dict[str, Any]]) -> str:
    rows = []
    for key, name in STEPS.items():
        times = [sample[key] * 1000 for sample in samples]
        q1, median, q3 = quartiles(times)
        rows.append([
            name, f"{median:.0f}", f"{q1:.0f} - {q3:.0f}", f"{min(times):.0f} - {max(times):.0f}",
        ])  # fmt: skip
    return markdown(["", "median ms", "quartiles ms", "min - max ms"], rows)
