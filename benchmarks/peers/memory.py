"""Memory that a contestant adds to a process by loading a network and upscaling one picture.

Each sample is a fresh process that has imported NumPy, Pillow and waifu2x, but no runtime. The peak
is VmHWM, reset before the runtime is imported if the system permits. Our engines run through
`waifu2x.Upscaler`; a peer runs in a plain loop over tiles.
"""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import waifu2x

from ..common.engines import require_engine
from ..common.measure import FailureError, reason
from ..common.parts import Part
from ..common.pictures import draw_face, repeat, upscale_tiles
from ..common.processes import in_child
from ..common.tables import markdown, megabytes
from .contestants import Job, contestants, least_noise, write_onnx
from .options import PeerOptions

WIDTH, HEIGHT = 1920, 1080
#: Side of a peer's tile in input pixels; the output has 512.
TILE = 256
#: Largest difference between the mean of a result and the usual mean, in levels of 255.
MEAN_TOLERANCE = 0.1

Row = dict[str, Any]


def run(options: PeerOptions) -> Part:
    width, height, tile = (96, 54, 32) if options.quick else (WIDTH, HEIGHT, TILE)
    model = options.models[0] if options.models else "upconv_7"
    noise, threads = least_noise(model, 2), options.threads[0]
    if options.pictures:
        pixels = np.asarray(options.pictures[0][1])
        height, width = pixels.shape[:2]
    else:
        pixels = repeat(np.asarray(draw_face(tile * 2, tile * 2)), width, height)
    picture = options.folder / "picture.npy"
    np.save(picture, pixels)
    job = Job(model, 2, noise, threads, options.folder / "network.onnx")
    window = job.graph.input_size(tile + 2 * job.graph.border)
    write_onnx(job.graph, job.onnx, side=window)
    rows: list[Row] = [
        {"name": each.name, "ours": each.engine is not None, "not_run": "", "samples": []}
        for each in contestants(options.without)
    ]
    for _ in range(options.rounds):
        for row in rows:
            if row["not_run"]:
                continue
            try:
                sample = in_child(measure, row["name"], replace(job), picture, tile, window)
                row["samples"].append(sample)
            except FailureError as error:
                row["not_run"] = reason(error)
    report = {
        "model": model,
        "picture": [width, height],
        "threads": threads,
        "peer_tile": tile,
        "contestants": rows,
    }
    text = (
        f"\nMemory added, {model}, {width}x{height} px, 2x, {threads} threads; MB, median of "
        f"{options.rounds}, least - most.\n"
        "Added is the peak (VmHWM) less the memory before the runtime is loaded, less the picture\n"
        f"and its result; peers run in tiles of {2 * tile} px of output, ours in their own:\n\n"
        f"{table(rows)}\n"
    )
    return Part(report, text, problems(rows))


def added(sample: dict[str, Any]) -> int:
    """Bytes that one run added."""
    return int(sample["peak"] - sample["before"] - sample["picture"] - sample["result"])


def problems(rows: list[Row]) -> list[str]:
    """Our results whose mean differs from the usual mean."""
    means = {row["name"]: row["samples"][0]["mean"] for row in rows if row["samples"]}
    if not means:
        return []
    usual = statistics.median(means.values())
    return [
        f"{row['name']} made a picture of mean {means[row['name']]:.2f}, and {usual:.2f} is usual"
        for row in rows
        if row["ours"] and row["samples"] and abs(means[row["name"]] - usual) > MEAN_TOLERANCE
    ]


def table(rows: list[Row]) -> str:
    def median(row: Row) -> float:
        return statistics.median(map(added, row["samples"])) if row["samples"] else float("inf")

    least = min((median(row) for row in rows if not row["ours"]), default=float("inf"))
    lines = []
    for row in sorted(rows, key=median):
        if row["not_run"]:
            lines.append([row["name"], f"not run: {row['not_run']}"])
            continue
        amounts = [added(sample) for sample in row["samples"]]
        lines.append([
            row["name"], megabytes(median(row)),
            f"{megabytes(min(amounts))} - {megabytes(max(amounts))}",
            "" if least == float("inf") else f"{median(row) / least:.2f}x",
            *(megabytes(statistics.median(sample[key] for sample in row["samples"]))
              for key in ("before", "loaded", "peak")),
        ])  # fmt: skip
    headers = ["", "added", "least - most", "of the least peer"]
    return markdown([*headers, "before", "network loaded", "peak"], lines)


# --- in the child process ------------------------------------------------------------------------


def measure(name: str, job: Job, picture: Path, tile: int, window: int) -> dict[str, Any]:
    (contestant,) = (each for each in contestants() if each.name == name)
    reset = _reset_peak()
    before = _status("VmRSS")
    if contestant.engine:
        upscaler = waifu2x.Upscaler(job.model, engine=contestant.engine, threads=job.threads)
        require_engine(upscaler.pipeline.engine, contestant.engine)
        # The first picture, of four pixels, loads the network.
        upscaler.upscale(np.zeros((2, 2, 3), np.uint8), job.scale, noise=job.noise)
        loaded = _status("VmRSS")
        pixels = np.load(picture)
        result = upscaler.upscale(pixels, job.scale, noise=job.noise)
    else:
        run = contestant.load(job)
        loaded = _status("VmRSS")
        pixels = np.load(picture)
        graph = job.graph
        result = upscale_tiles(
            run, pixels, tile=tile, window=window, lost=graph.border,
            crop=(graph.border - graph.lost) * graph.scale, scale=graph.scale,
        )  # fmt: skip
    return {
        "before": before,
        "loaded": loaded,
        "peak": _status("VmHWM"),
        "peak_was_reset": reset,
        "picture": pixels.nbytes,
        "result": result.nbytes,
        "mean": float(result.mean()),
    }


def _status(key: str) -> int:
    """Bytes from /proc/self/status."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError as error:
        raise FailureError("needs /proc/self/status, which this system does not have") from error
    (line,) = (line for line in lines if line.startswith(key + ":"))
    return int(line.split()[1]) * 1024


def _reset_peak() -> bool:
    """Reset VmHWM; without permission, the peak includes that of the imports."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return True
    return False
