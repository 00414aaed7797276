"""Time to load a network, alone and with a first run on a small picture.

Our engines compile a graph that has been read; a peer loads a file in its own format. The second
table includes the work that a runtime defers to the first run.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from waifu2x.network import registry

from ..common.measure import Result, attempt, interleave, summarize, timed_warm, to_json
from ..common.parts import Part
from ..common.pictures import to_batch
from ..common.processes import in_child
from ..common.tables import timings
from .contestants import Contestant, Job, contestants, least_noise, network, write_onnx
from .options import PeerOptions

SIDE = 16
READ = "read weights, check sha256, parse"


def run(options: PeerOptions) -> Part:
    part = Part({"models": []}, "")
    threads = options.threads[0]
    models = options.models or ("upconv_7", "cunet")
    for model in models[: 1 if options.quick else None]:
        found = in_child(measure, model, options.for_child())
        report: dict[str, Any] = {"model": model, "scale": 2, "threads": threads}
        for what, title in (
            ("load", "Load a network"),
            ("load_and_run", f"Load a network and run it on {SIDE}x{SIDE} px"),
        ):
            results = found[what]
            summarize(results, options.quiet_below, base="onnxruntime")
            report[what] = to_json(results)
            part.text += f"\n{title}, {model}, {threads} threads; speed by onnxruntime's:\n\n"
            part.text += timings(results, unit=1000) + "\n"
        part.report["models"].append(report)
    return part


# --- in the child process ------------------------------------------------------------------------


def measure(model: str, options: PeerOptions) -> dict[str, list[Result]]:
    noise = least_noise(model, 2)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(model, 2, noise, options.threads[0], Path(folder, "network.onnx"))
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
            for contestant in contestants(options.without):
                result, call = contestant.result(), partial(action, contestant)
                results.append(result)
                if attempt(result, call):  # untimed: imports, and files into the page cache
                    runs.append((result, partial(timed_warm, call)))
            if what == "load":
                read = Result(READ, True, "the steps before compilation, in our engines")
                results.append(read)
                again = partial(registry.load, network(model, 2, noise))
                runs.append((read, partial(timed_warm, again)))
            interleave(runs, options.rounds)
            report[what] = results
    return report
