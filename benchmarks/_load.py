"""How long it takes to load a network, and to load it and run it once on a small picture.

Ours compile a graph that has been read; a peer loads a file in its own format. A runtime that
leaves work to the first run shows it in the second table.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _contestants import Contestant, Job, contestants, least_noise, network, write_onnx
from _measure import Result, attempt, from_json, summarise, take_turns, timed_warm, to_json
from _parts import Options, Part
from _pictures import to_batch
from _processes import in_child
from _tables import timings

from waifu2x import registry

SIDE = 16
READ = "read weights, check sha256, parse"


def run(options: Options) -> Part:
    part = Part({"models": []}, "")
    threads = options.threads[0]
    models = options.models or ("upconv_7", "cunet")
    for model in models[: 1 if options.quick else None]:
        told = in_child(
            "_load",
            "measure",
            arguments={
                "model": model,
                "noise": least_noise(model, 2),
                "threads": threads,
                "rounds": options.rounds,
                "without": list(options.without),
            },
        )
        report: dict[str, Any] = {"model": model, "scale": 2, "threads": threads}
        for what, title in (
            ("load", "Load a network"),
            ("load_and_run", f"Load a network and run it on {SIDE}x{SIDE} px"),
        ):
            results = [from_json(result) for result in told[what]]
            summarise(results, options.quiet_below, base="onnxruntime")
            report[what] = to_json(results)
            part.text += f"\n{title}, {model}, {threads} threads; speed by onnxruntime's:\n\n"
            part.text += timings(results, unit=1000) + "\n"
        part.report["models"].append(report)
    return part


# --- in the process that measures ----------------------------------------------------------------


def measure(
    model: str, noise: int | None, threads: int, rounds: int, without: Sequence[str]
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        job = Job(model, 2, noise, threads, Path(folder, "network.onnx"))
        batch = to_batch(job.graph, np.zeros((SIDE, SIDE, 3), np.uint8))
        write_onnx(job.graph, job.onnx, side=batch.shape[3])

        def load(contestant: Contestant) -> object:
            return contestant.load(job)

        def load_and_run(contestant: Contestant) -> object:
            loaded = contestant.load(job)
            return loaded, loaded(batch)

        report = {}
        for what, action in (("load", load), ("load_and_run", load_and_run)):
            results, runs = [], []
            for contestant in contestants(without):
                result, call = contestant.result(), partial(action, contestant)
                results.append(result)
                if attempt(result, call):  # untimed: imports, and files into the cache
                    runs.append((result, partial(timed_warm, call)))
            if what == "load":
                read = Result(READ, True, "what comes before compiling, in ours")
                results.append(read)
                again = partial(registry.load, network(model, 2, noise))
                runs.append((read, partial(timed_warm, again)))
            take_turns(runs, rounds)
            report[what] = to_json(results)
    return report
