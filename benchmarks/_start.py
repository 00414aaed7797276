"""How long it takes from nothing to the first pixel: a fresh process and a tiny picture."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from _environment import load_average
from _measure import FailureError, quartiles, reason
from _parts import Options, Part
from _processes import ended
from _tables import markdown

SIDE = 16

#: What a user's program would do, with a clock that all processes of a machine share. The network
#: is loaded when first needed, so the moment at which compiling ends is noted on the way.
SCRIPT = """
import time
started = time.monotonic()
import json, sys
model, engine, threads, side = sys.argv[1:]
import numpy
import waifu2x
upscaler = waifu2x.Upscaler(model, engine=engine, threads=int(threads))
imported = time.monotonic()
kind = type(upscaler.core.engine)
plain = kind.compile
def compile(self, graph):
    global loaded
    compiled = plain(self, graph)
    loaded = time.monotonic()
    return compiled
kind.compile = compile
upscaler.upscale(numpy.zeros((int(side), int(side), 3), numpy.uint8), 2)
print(json.dumps([started, imported, loaded, time.monotonic(), upscaler.core.engine.name]))
"""

STEPS = {
    "interpreter": "interpreter start",
    "import": "import, with the engine's runtime",
    "load": "load: read and check weights, compile",
    "run": "first run",
    "total": "all",
}


def run(options: Options) -> Part:
    model = options.models[0] if options.models else "cunet"
    threads = options.threads[0]
    command = [
        sys.executable, "-c", SCRIPT, model, options.engine, str(threads), str(SIDE)
    ]  # fmt: skip
    engine, samples, not_run = "", [], ""
    try:
        measure(command)  # untimed: files come into the cache
        for _ in range(options.rounds):
            engine, sample = measure(command)
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


def measure(command: list[str]) -> tuple[str, dict[str, Any]]:
    """The engine that ran, and seconds of every step of one process."""
    begun = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise FailureError(ended(done.returncode, done.stderr))
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
