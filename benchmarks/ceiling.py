"""Measures how much of the speed that the CPU allows a network reaches on the native engine.

    python -m benchmarks.ceiling [--model upconv_7] [--shape 48x5] [--size 512x512] [--threads 1,2]

The ceiling is the time of the multiply-adds alone at the peak rate of the CPU, which is measured in
the same rounds: a 3x3 convolution of stride 1 counts a quarter of its direct multiply-adds, as
Winograd's F(4x4, 3x3) needs, every other convolution all of them. Transforms, activations, borders
that neighboring regions both compute, and reading and writing count as nothing.

--shape WIDTHxBLOCKS is a network of random weights at half the resolution whose blocks are three
3x3 convolutions and a gate, as in the models that this package trains.

The share is computed twice: from the time on the clock, and from the time on the CPUs, which other
processes hardly change. Both are the best of the rounds.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from waifu2x.engines.native import NativeCompiled, NativeEngine
from waifu2x.kernels import _native
from waifu2x.network import registry
from waifu2x.network.graph import Conv, ConvTranspose, Graph

from .common.environment import describe, environment
from .common.parts import check_rounds, write_json
from .common.pictures import art
from .common.tables import record_table

COLUMNS = {
    "network": ("network", ""), "kMAC per px": ("kmac", ".1f"), "level": ("isa", ""),
    "threads": ("threads", ""), "input": ("size", ""), "peak GFLOP/s": ("peak", ".0f"),
    "ms per MP": ("ms_per_mp", ".0f"), "of ceiling": ("share", ".1%"),
    "CPU ms per MP": ("cpu_ms_per_mp", ".0f"), "of ceiling, by CPU time": ("cpu_share", ".1%"),
}  # fmt: skip


@dataclass
class Case:
    """A network at a level, a number of threads and a size; the best times in seconds so far."""

    name: str
    graph: Graph
    compiled: NativeCompiled
    isa: str
    threads: int
    batch: np.ndarray
    wall_s: float = float("inf")
    cpu_s: float = float("inf")

    def run(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.compiled.run(self.batch)
        self.wall_s = min(self.wall_s, time.perf_counter() - wall)
        self.cpu_s = min(self.cpu_s, time.process_time() - cpu)


def least_flops(graph: Graph, height: int, width: int) -> float:
    """Floating-point operations of a picture, 3x3 convolutions by Winograd's F(4x4, 3x3)."""
    total = 0.0
    for node in graph.nodes:
        op = node.op
        if not isinstance(op, Conv | ConvTranspose) or graph.values[node.name].pooled:
            continue
        value = graph.values[node.inputs[0] if isinstance(op, ConvTranspose) else node.name]
        winograd = isinstance(op, Conv) and op.weight.shape[2] == 3 and op.stride == 1
        saved = 4 if winograd else 1
        samples = (value.scale * height - value.lost) * (value.scale * width - value.lost)
        total += 2 * op.weight.size * float(samples) / saved
    return total


def shaped(text: str) -> Graph:
    """The network of --shape."""
    art()  # makes the folder of the tests importable
    features, blocks = (int(part) for part in text.split("x"))
    graph: Graph = importlib.import_module("helpers.networks").gated(
        features=features, blocks=blocks
    )
    return graph


def graphs(arguments: argparse.Namespace) -> dict[str, Graph]:
    found = {}
    for name in arguments.model:
        model = registry.model(name)
        network = next((each for each in model.networks if each.scale > 1), model.networks[0])
        found[name] = registry.load(network)
    return found | {f"shape {text}": shaped(text) for text in arguments.shape}


def row(case: Case, peak: float) -> dict[str, Any]:
    height, width = case.batch.shape[2:]
    megapixels, least = height * width / 1e6, least_flops(case.graph, height, width) / 1e9
    return {
        "network": case.name, "kmac": case.graph.macs_per_pixel / 1e3, "isa": case.isa,
        "threads": case.threads, "size": f"{width}x{height}", "peak": peak * case.threads,
        "ms_per_mp": case.wall_s * 1e3 / megapixels,
        "share": least / (peak * case.threads) / case.wall_s,
        "cpu_ms_per_mp": case.cpu_s * 1e3 / megapixels,
        "cpu_share": least / peak / case.cpu_s,
    }  # fmt: skip


def measure(cases: Sequence[Case], rounds: int) -> list[dict[str, Any]]:
    """Alternate the cases. The peak is that of a thread, the best of all rounds."""
    peaks = dict.fromkeys((case.isa for case in cases), 0.0)
    for index in range(rounds + 1):
        for isa in peaks:
            peaks[isa] = max(peaks[isa], _native.fma_peak(isa, 1))
        for case in cases:
            case.run()
            if index == 0:  # memory is allocated
                case.wall_s = case.cpu_s = float("inf")
    return [row(case, peaks[case.isa]) for case in cases]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ceiling",
        description="Measure the share of the ceiling that networks reach on the native engine.",
    )
    add = parser.add_argument
    add("--model", action="append", default=[], metavar="NAME", help="a model; may be repeated")
    add("--shape", action="append", default=[], metavar="WIDTHxBLOCKS",
        help="a gated network with random weights; may be repeated")  # fmt: skip
    add("--size", action="append", default=[], metavar="WIDTHxHEIGHT",
        help="of the input; may be repeated (default 512x512)")  # fmt: skip
    add("--threads", default="1", metavar="LIST", help="such as 1,2 (default 1)")
    add("--isa", metavar="LIST", help="levels, such as avx2,avx512 (default: the best)")
    add("--rounds", type=int, metavar="N", help="2 or more (default 5)")
    add("--json", type=Path, metavar="FILE", help="also write all figures here")
    arguments = parser.parse_args(argv)
    check_rounds(parser, arguments, 5)
    if not arguments.model and not arguments.shape:
        arguments.shape = ["48x5", "64x8"]
    facts = environment(threads=None, distributions=("waifu2x-native", "numpy"))
    print(describe(facts), flush=True)
    cases = []
    rng = np.random.default_rng(5)
    for name, graph in graphs(arguments).items():
        for size in arguments.size or ["512x512"]:
            width, height = (graph.input_size(int(side)) for side in size.split("x"))
            batch = rng.random((1, 3, height, width), np.float32)
            for isa in (arguments.isa or _native.isa()).split(","):
                for threads in map(int, arguments.threads.split(",")):
                    compiled = NativeEngine(threads=threads, isa=isa).compile(graph)
                    cases.append(Case(name, graph, compiled, isa, threads, batch))
    rows = measure(cases, arguments.rounds)
    print(f"\n{record_table(rows, COLUMNS)}")
    if arguments.json:
        write_json(arguments.json, {
            "benchmark": "ceiling", **facts, "rounds": arguments.rounds, "results": rows,
        })  # fmt: skip


if __name__ == "__main__":
    main()
