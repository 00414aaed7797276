"""The network alone: the same input and weights through every contestant, interleaved."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from waifu2x.kernels import _native, tiles
from waifu2x.network.graph import Conv, ConvTranspose, Graph
from waifu2x.network.reference import Array, evaluate

from ..common.measure import (
    FLOAT32_TOLERANCE,
    Result,
    attempt,
    inexact,
    interleave,
    summarize,
    timed_warm,
    to_json,
)
from ..common.parts import Part
from ..common.pictures import Batch, Pixels, center_crop, draw_face, to_batch
from ..common.processes import CAPS, in_child
from ..common.tables import markdown, timings
from .contestants import Contestant, Job, Run, contestants, kernels, least_noise, write_onnx
from .options import PeerOptions

#: Output tiles m of the Winograd transforms F(m x m, 3 x 3) for which shares of the peak are shown.
WINOGRAD = (4, 6)
MODELS = ("upconv_7",)


def default_size(quick: bool) -> int:
    """Default side of the picture that a 2x network upscales."""
    return 16 if quick else 256


def run(options: PeerOptions) -> Part:
    """Measure every combination of the options, each in a process of its own.

    A 1x network gets a picture of twice the side, so that all outputs have the same size.
    """
    part = Part({"cases": []}, "")
    sizes = options.sizes or [default_size(options.quick)]
    for model, scale, size in product(options.models or MODELS, options.scales, sizes):
        side = size * 2 // scale
        picture = options.pictures[0][1] if options.pictures else draw_face(side, side)
        pixels = center_crop(picture, side)
        for threads, cap in product(options.threads, options.caps):
            _case(options, part, pixels, {
                "model": model, "scale": scale, "noise": least_noise(model, scale),
                "threads": threads, "cap": None if cap == "best" else cap,
            })  # fmt: skip
    return part


def _case(options: PeerOptions, part: Part, pixels: Pixels, case: dict[str, Any]) -> None:
    found, results = in_child(measure, case, pixels, options.for_child(), env=CAPS.get(case["cap"]))
    summarize(results, options.quiet_below)
    part.problems += inexact(results)
    case |= found
    case["results"] = to_json(results)
    part.report["cases"].append(case)
    part.text += f"\nNetwork alone, {_title(case)}:\n\n{timings(results, unit=1000)}\n"
    for result in results:
        if result.kernels:
            part.text += f"\n{result.name} computes with {', '.join(result.kernels)}."
    part.text += "\n" * any(result.kernels for result in results)
    if case["peak"]:
        part.text += "\n" + peak_table(case, results)


def _title(case: dict[str, Any]) -> str:
    noise = "" if case["noise"] is None else f" noise {case['noise']}"
    cap = f", capped to {case['cap']}" if case["cap"] else ""
    threads = f"{case['threads']} thread{'s' * (case['threads'] > 1)}"
    return (
        f"{case['model']} {case['scale']}x{noise}, {threads}{cap}, "
        f"input {case['input'][2]}x{case['input'][3]}, "
        f"output {case['output'][2]}x{case['output'][3]}"
    )


# --- in the child process ------------------------------------------------------------------------


def measure(
    case: dict[str, Any], pixels: Pixels, options: PeerOptions
) -> tuple[dict[str, Any], list[Result]]:
    """Measure one case; return facts about the case, and the results."""
    peak = measured_peak(case["threads"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        job = Job(case["model"], case["scale"], case["noise"], case["threads"], path)
        batch = to_batch(job.graph, pixels)
        side = batch.shape[3]
        write_onnx(job.graph, job.onnx, side=side)
        exact = evaluate(job.graph, batch)
        results: list[Result] = []
        runs = []
        for contestant in contestants(options.without):
            result = contestant.result(case["cap"])
            results.append(result)
            loaded = attempt(result, partial(_load, contestant, job, batch, exact, result))
            if loaded:
                runs.append((result, partial(timed_warm, partial(loaded, batch))))
        interleave(runs, options.rounds)
    facts = {
        "isa": tiles.isa(),
        "input": list(batch.shape),
        "output": list(exact.shape),
        "multiplications": {
            "direct": multiplications(job.graph, side),
            **{f"winograd_{m}": multiplications(job.graph, side, winograd=m) for m in WINOGRAD},
        },
        "peak": peak,
    }
    return facts, results


def _load(contestant: Contestant, job: Job, batch: Batch, exact: Array, result: Result) -> Run:
    loaded = contestant.load(job)
    result.max_error = float(np.abs(loaded(batch) - exact).max())
    result.kernels = kernels(loaded)
    return loaded


def measured_peak(threads: int) -> dict[str, Any] | None:
    """Peak rate of fused multiply-adds in registers; None if the native module has no probe."""
    probe = getattr(_native, "fma_peak", None)
    if probe is None:
        return None
    isa = tiles.isa()
    return {"isa": isa, "threads": threads, "gflop_per_s": float(probe(isa, threads))}


def multiplications(graph: Graph, side: int, *, winograd: int | None = None) -> float:
    """Count the multiplications of one run on a square input, losses at the edges included.

    winograd: count 3x3 convolutions of stride 1 as F(m x m, 3 x 3): (m + 2)**2 products for m**2
        outputs instead of 9 each (Lavin and Gray 2016). Transforms are not counted.
    """

    def area(name: str) -> float:
        value = graph.values[name]
        return 1.0 if value.pooled else float(value.scale * side - value.lost) ** 2

    total = 0.0
    for node in graph.nodes:
        op = node.op
        if isinstance(op, ConvTranspose):
            total += op.weight.size * area(node.inputs[0])
        elif isinstance(op, Conv):
            count = op.weight.size * area(node.name)
            if winograd and op.weight.shape[2] == 3 and op.stride == 1:
                count *= ((winograd + 2) / (winograd * 3)) ** 2
            total += count
    return total


def peak_table(case: dict[str, Any], results: Sequence[Result]) -> str:
    """Share of the peak that each float32 result reaches, for the arithmetic of each algorithm."""
    peak, counts = case["peak"]["gflop_per_s"], case["multiplications"]
    headers = ["", "direct GFLOP/s", "of peak"]
    headers += [f"F({m}x{m}, 3x3) of peak" for m in WINOGRAD]
    rows = []
    for result in sorted(results, key=lambda result: result.seconds):
        error = result.max_error
        if result.uncapped or not result.summary or error is None or error > FLOAT32_TOLERANCE:
            continue
        rates = {name: 2e-9 * count / result.seconds for name, count in counts.items()}
        shares = [f"{rate / peak:.0%}" for rate in rates.values()]
        rows.append([result.name, f"{rates['direct']:.0f}", *shares])
    return (
        f"Peak of fused multiply-adds, {case['peak']['isa']}, {case['peak']['threads']} threads: "
        f"{peak:.0f} GFLOP/s. Direct counts every product of the convolutions.\n\n"
        f"{markdown(headers, rows)}\n"
    )
