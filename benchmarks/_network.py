"""The network alone: the same tensor and the same weights through everyone, in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _contestants import Batch, Contestant, Job, Run, contestants, kernels, least_noise, write_onnx
from _measure import (
    FLOAT32_TOLERANCE,
    Result,
    attempt,
    from_json,
    inexact,
    summarise,
    take_turns,
    timed_warm,
    to_json,
)
from _parts import Options, Part
from _pictures import drawn, middle, to_batch
from _processes import in_child
from _tables import markdown, timings

from waifu2x import _native, tiles
from waifu2x.engines.reference import Array, evaluate
from waifu2x.graph import Conv, ConvTranspose, Graph

#: Outputs a side of one Winograd transform F(m x m, 3 x 3), for the shares of the peak.
WINOGRAD = (4, 6)
MODELS = ("upconv_7",)


def default_size(quick: bool) -> int:
    """Side of the picture that a 2x network enlarges, unless another is asked for."""
    return 16 if quick else 256


def run(options: Options) -> Part:
    """Every cap, model, scale, size and number of threads asked for, each in a process of its own.

    A 1x network is given a picture twice as large, so that all results are equally large.
    """
    part = Part({"cases": []}, "")
    for model in options.models or MODELS:
        for scale in options.scales:
            for size in options.sizes or [default_size(options.quick)]:
                side = size * 2 // scale
                _, picture = options.pictures[0] if options.pictures else ("", drawn(side, side))
                pixels = options.folder / "pixels.npy"
                np.save(pixels, middle(picture, side))
                for threads in options.threads:
                    for cap in options.caps:
                        _case(options, part, model, scale, pixels, threads, cap)
    return part


def _case(
    options: Options,
    part: Part,
    model: str,
    scale: int,
    pixels: Path,
    threads: int,
    cap: str | None,
) -> None:
    case: dict[str, Any] = {
        "model": model,
        "scale": scale,
        "noise": least_noise(model, scale),
        "threads": threads,
        "cap": cap,
    }
    told = in_child(
        "_network",
        "measure",
        cap=cap,
        arguments={
            **case,
            "pixels": str(pixels),
            "rounds": options.rounds,
            "without": list(options.without),
        },
    )
    results = [from_json(result) for result in told["results"]]
    summarise(results, options.quiet_below)
    part.wrong += inexact(results)
    case |= {**told, "results": to_json(results)}
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


# --- in the process that measures ----------------------------------------------------------------


def measure(
    model: str,
    scale: int,
    noise: int | None,
    threads: int,
    cap: str | None,
    pixels: str,
    rounds: int,
    without: Sequence[str],
) -> dict[str, Any]:
    """One case with all of its samples, for JSON. pixels: a file with the picture's square."""
    peak = measured_peak(threads)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(model, scale, noise, threads, Path(folder, "network.onnx"))
        batch = to_batch(job.graph, np.load(pixels))
        side = batch.shape[3]
        write_onnx(job.graph, job.onnx, side=side)
        exact = evaluate(job.graph, batch)
        results: list[Result] = []
        runs = []
        for contestant in contestants(without):
            result = contestant.result(cap)
            results.append(result)
            loaded = attempt(result, partial(_load, contestant, job, batch, exact, result))
            if loaded:
                runs.append((result, partial(timed_warm, partial(loaded, batch))))
        take_turns(runs, rounds)
    return {
        "isa": tiles.isa(),
        "input": list(batch.shape),
        "output": list(exact.shape),
        "multiplications": {
            "direct": multiplications(job.graph, side),
            **{f"winograd_{m}": multiplications(job.graph, side, winograd=m) for m in WINOGRAD},
        },
        "peak": peak,
        "results": to_json(results),
    }


def _load(contestant: Contestant, job: Job, batch: Batch, exact: Array, result: Result) -> Run:
    loaded = contestant.load(job)
    result.max_error = float(np.abs(loaded(batch) - exact).max())
    result.kernels = kernels(loaded)
    return loaded


def measured_peak(threads: int) -> dict[str, Any] | None:
    """How many fused multiply-adds this machine can do, if the native module can tell."""
    probe = getattr(_native, "fma_peak", None)
    if probe is None:
        return None
    isa = tiles.isa()
    return {"isa": isa, "threads": threads, "gflop_per_s": float(probe(isa, threads))}


# --- arithmetic ----------------------------------------------------------------------------------


def multiplications(graph: Graph, side: int, *, winograd: int | None = None) -> float:
    """Of one run on a square input, losses at the edges and all.

    winograd: reckon 3x3 convolutions of stride 1 as F(m x m, 3 x 3): (m + 2)**2 for m**2 outputs
    instead of 9 each; transforms, which multiply little, are left out.
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


def _is_float32(result: Result) -> bool:
    return result.max_error is not None and result.max_error <= FLOAT32_TOLERANCE


def peak_table(case: dict[str, Any], results: Sequence[Result]) -> str:
    """How much of the peak each one reaches, for the arithmetic that each algorithm needs."""
    peak, counts = case["peak"]["gflop_per_s"], case["multiplications"]
    headers = ["", "direct GFLOP/s", "of peak"]
    headers += [f"F({m}x{m}, 3x3) of peak" for m in WINOGRAD]
    rows = []
    for result in sorted(results, key=lambda result: result.seconds):
        if result.summary is None or result.uncapped or not _is_float32(result):
            continue
        rates = {name: 2e-9 * count / result.seconds for name, count in counts.items()}
        shares = [f"{rate / peak:.0%}" for rate in rates.values()]
        rows.append([result.name, f"{rates['direct']:.0f}", *shares])
    return (
        f"Peak of fused multiply-adds, {case['peak']['isa']}, {case['peak']['threads']} threads: "
        f"{peak:.0f} GFLOP/s. Direct is reckoned as if every product were computed.\n\n"
        f"{markdown(headers, rows)}\n"
    )
