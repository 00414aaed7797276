"""Memory that an engine adds to a process: to load a network and enlarge one picture.

Each in a fresh process that has imported Python's share of everything (NumPy, Pillow, waifu2x) and
nothing of the engine. The peak is VmHWM, reset before the engine is imported where the system can.
Ours go through `waifu2x.Upscaler`; a peer gets tiles one by one from a plain loop.
"""

from __future__ import annotations

import contextlib
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _contestants import Job, Run, contestants, least_noise, write_onnx
from _measure import FailureError, reason
from _parts import Options, Part
from _pictures import Pixels, drawn, to_batch, wallpaper
from _processes import in_child
from _tables import markdown, megabytes

import waifu2x

WIDTH, HEIGHT = 1920, 1080
#: Side of a peer's tile in input pixels: its result has 512.
TILE = 256
#: Most by which the mean of a result, in levels of 255, may differ from another's.
MEAN_TOLERANCE = 0.1


def run(options: Options) -> Part:
    width, height, tile = (96, 54, 32) if options.quick else (WIDTH, HEIGHT, TILE)
    model = options.models[0] if options.models else "upconv_7"
    noise = least_noise(model, 2)
    if options.pictures:
        pixels = np.asarray(options.pictures[0][1])
        height, width = pixels.shape[:2]
    else:
        pixels = wallpaper(np.asarray(drawn(tile * 2, tile * 2)), width, height)
    picture = options.folder / "picture.npy"
    np.save(picture, pixels)
    job = Job(model, 2, noise, options.threads[0], options.folder / "network.onnx")
    side = to_batch(job.graph, np.zeros((tile, tile, 3), np.uint8)).shape[3]
    write_onnx(job.graph, job.onnx, side=side)
    told: list[dict[str, Any]] = [
        {"name": one.name, "ours": one.engine is not None, "not_run": "", "samples": []}
        for one in contestants(options.without)
    ]
    for _ in range(options.rounds):
        for one in told:
            if one["not_run"]:
                continue
            try:
                sample = in_child(
                    "_memory",
                    "measure",
                    arguments={
                        "name": one["name"],
                        "model": model,
                        "noise": noise,
                        "threads": options.threads[0],
                        "onnx": str(job.onnx),
                        "picture": str(picture),
                        "tile": tile,
                        "lost": job.graph.lost,
                    },
                )
            except FailureError as error:
                one["not_run"] = reason(error)
                continue
            one["samples"].append(sample)
    title = f"{model}, {width}x{height} px, 2x, {options.threads[0]} threads"
    report = {
        "model": model,
        "picture": [width, height],
        "threads": options.threads[0],
        "peer_tile": tile,
        "contestants": told,
    }
    text = (
        f"\nMemory added, {title}; MB, median of {options.rounds}, least - most.\n"
        "Added is the peak (VmHWM) less what the process had before the engine, less the picture\n"
        f"and its result; peers run in tiles of {2 * tile} px of output, ours as they choose:\n\n"
        f"{table(told)}\n"
    )
    return Part(report, text, wrong(told))


def added(sample: dict[str, Any]) -> int:
    """What one run added, in bytes."""
    return int(sample["peak"] - sample["before"] - sample["picture"] - sample["result"])


def wrong(told: list[dict[str, Any]]) -> list[str]:
    """Which of ours made another picture than most did."""
    means = {one["name"]: one["samples"][0]["mean"] for one in told if one["samples"]}
    if not means:
        return []
    usual = statistics.median(means.values())
    return [
        f"{one['name']} made a picture of mean {means[one['name']]:.2f}, and {usual:.2f} is usual"
        for one in told
        if one["ours"] and one["samples"] and abs(means[one["name"]] - usual) > MEAN_TOLERANCE
    ]


def table(told: list[dict[str, Any]]) -> str:
    rows = []

    def middle(one: dict[str, Any]) -> float:
        return statistics.median(map(added, one["samples"])) if one["samples"] else float("inf")

    least = min((middle(one) for one in told if not one["ours"]), default=float("inf"))
    for one in sorted(told, key=middle):
        if one["not_run"]:
            rows.append([one["name"], f"not run: {one['not_run']}"])
            continue
        amounts = [added(sample) for sample in one["samples"]]
        rows.append([
            one["name"], megabytes(middle(one)),
            f"{megabytes(min(amounts))} - {megabytes(max(amounts))}",
            "" if least == float("inf") else f"{middle(one) / least:.2f}x",
            *(megabytes(statistics.median(sample[key] for sample in one["samples"]))
              for key in ("before", "loaded", "peak")),
        ])  # fmt: skip
    headers = ["", "added", "least - most", "of the least peer"]
    return markdown([*headers, "before", "network loaded", "peak"], rows)


# --- in the process that measures ----------------------------------------------------------------


def measure(
    name: str,
    model: str,
    noise: int | None,
    threads: int,
    onnx: str,
    picture: str,
    tile: int,
    lost: int,
) -> dict[str, Any]:
    (contestant,) = (one for one in contestants() if one.name == name)
    reset = _reset_peak()
    before = _status("VmRSS")
    if contestant.engine:
        upscaler = waifu2x.Upscaler(model, engine=contestant.engine, threads=threads)
        # Networks are loaded when first needed: by this picture of four pixels.
        upscaler.upscale(np.zeros((2, 2, 3), np.uint8), 2, noise=noise)
        loaded = _status("VmRSS")
        pixels = np.load(picture)
        result = upscaler.upscale(pixels, 2, noise=noise)
    else:
        run = contestant.load(Job(model, 2, noise, threads, Path(onnx)))
        loaded = _status("VmRSS")
        pixels = np.load(picture)
        result = tiled(run, pixels, tile=tile, lost=lost)
    return {
        "before": before,
        "loaded": loaded,
        "peak": _status("VmHWM"),
        "peak_was_reset": reset,
        "picture": pixels.nbytes,
        "result": result.nbytes,
        "mean": float(result.mean()),
    }


def tiled(run: Run, pixels: Pixels, *, tile: int, lost: int) -> Pixels:
    """A picture doubled by a network of a fixed input size, tile after tile."""
    height, width = pixels.shape[:2]
    result: npt.NDArray[np.uint8] = np.empty((2 * height, 2 * width, 3), np.uint8)
    around = np.arange(-lost, tile + lost)
    for top in range(0, height, tile):
        rows = np.clip(top + around, 0, height - 1)[:, None]
        for left in range(0, width, tile):
            columns = np.clip(left + around, 0, width - 1)
            window = pixels[rows, columns].transpose(2, 0, 1)[None]
            batch = np.ascontiguousarray(window, np.float32)
            batch /= np.float32(255)
            made = run(batch)[0].transpose(1, 2, 0)
            place = result[2 * top : 2 * (top + tile), 2 * left : 2 * (left + tile)]
            made = made[: place.shape[0], : place.shape[1]]
            place[:] = np.clip(made * np.float32(255) + np.float32(0.5), 0, 255)
    return result


def _status(key: str) -> int:
    """Bytes, from Linux's account of this process."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError as error:
        raise FailureError("needs /proc/self/status, which this system has not") from error
    (line,) = (line for line in lines if line.startswith(key + ":"))
    return int(line.split()[1]) * 1024


def _reset_peak() -> bool:
    """Forget the peak so far; where that is not allowed the peak of the imports stays."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return True
    return False
