"""How far everyone is from float64, and whether the same bytes come out every time."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _contestants import Job, contestants, write_onnx
from _measure import FLOAT32_TOLERANCE, reason
from _parts import Options, Part
from _pictures import gallery, middle, names, to_batch
from _processes import in_child
from _tables import markdown

from waifu2x import Upscaler, registry
from waifu2x.engines.reference import evaluate

#: Numbers of threads that must make no difference, and how often each is run.
THREADS = (1, 2, 3, 4)
REPEATS = 2
#: Side of a tile when a whole picture is held against itself: several tiles, some of them cut.
TILE = 40


def default_side(quick: bool) -> int:
    """Side of the pictures, unless another is asked for."""
    return 16 if quick else 96


def run(options: Options) -> Part:
    """Every network of the registry, or of the models given; with the pictures given, or drawn."""
    side = options.sizes[0] if options.sizes else default_side(options.quick)
    pictures = options.pictures or gallery(side)
    if options.quick:
        pictures = pictures[:1]
    pixels = options.folder / "pixels.npy"
    np.save(pixels, np.stack([middle(picture, side) for _, picture in pictures]))
    chosen = options.models or [model.name for model in registry.models()]
    networks = [
        (model, network.scale, network.noise)
        for model in chosen
        for network in registry.model(model).networks[: 1 if options.quick else None]
    ]
    told = in_child(
        "_accuracy",
        "measure",
        arguments={
            "networks": networks,
            "pixels": str(pixels),
            "threads": options.threads[0],
            "without": list(options.without),
        },
    )
    report = {"side": side, "pictures": names(pictures), **told}
    text = (
        f"\nLargest difference from float64, on [0, 1], over {len(pictures)} pictures of "
        f"{side}x{side} px:\n\n{error_table(told['networks'])}\n"
        f"\nThe same bytes every time, as float32 out of the network and as a picture out of "
        f"Upscaler,\n{REPEATS} runs with each of {', '.join(map(str, THREADS))} threads:\n\n"
        f"{same_table(told['networks'], told['upscaler'])}\n"
    )
    return Part(report, text, wrong(told["networks"], told["upscaler"]))


# --- in the process that measures ----------------------------------------------------------------


def measure(
    networks: Sequence[tuple[str, int, int | None]],
    pixels: str,
    threads: int,
    without: Sequence[str],
) -> dict[str, Any]:
    squares = np.load(pixels)
    report: dict[str, Any] = {"networks": [], "upscaler": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        for model, scale, noise in networks:
            row: dict[str, Any] = {"model": model, "scale": scale, "noise": noise}
            row["contestants"] = []
            job = Job(model, scale, noise, threads, path)
            batches = [to_batch(job.graph, square) for square in squares]
            write_onnx(job.graph, path, side=batches[0].shape[3])
            exact = [evaluate(job.graph, batch) for batch in batches]
            for contestant in contestants(without):
                told: dict[str, Any] = {
                    "name": contestant.name,
                    "ours": contestant.engine is not None,
                    "not_run": "",
                }
                row["contestants"].append(told)
                try:
                    loaded = contestant.load(job)
                    told["errors"] = [
                        float(np.abs(loaded(batch) - truth).max())
                        for batch, truth in zip(batches, exact, strict=True)
                    ]
                    told["digests"] = {
                        count: _digests(
                            contestant.load(Job(model, scale, noise, count, path)), batches[0]
                        )
                        for count in THREADS
                    }
                except Exception as error:  # of any kind: the table says which
                    told["not_run"] = reason(error)
            report["networks"].append(row)
    for model in dict.fromkeys(model for model, _, _ in networks):
        for contestant in contestants(without):
            if contestant.engine:
                report["upscaler"].append(_upscaled(model, contestant.engine, squares[0]))
    return report


def _digests(run: Any, argument: Any) -> list[str]:
    return [hashlib.sha256(run(argument).tobytes()).hexdigest() for _ in range(REPEATS)]


def _upscaled(model: str, engine: str, pixels: np.ndarray) -> dict[str, Any]:
    told: dict[str, Any] = {"name": f"waifu2x {engine}", "model": model, "not_run": ""}
    try:
        told["digests"] = {
            count: _digests(
                Upscaler(model, engine=engine, threads=count, tile=TILE).upscale, pixels
            )
            for count in THREADS
        }
    except Exception as error:  # of any kind: the table says which
        told["not_run"] = reason(error)
    return told


# --- what it means -------------------------------------------------------------------------------


def repeatable(digests: dict[str, list[str]]) -> bool:
    """Whether runs with the same number of threads are equal."""
    return all(len(set(found)) == 1 for found in digests.values())


def independent(digests: dict[str, list[str]]) -> bool:
    """Whether all runs are equal, whatever the number of threads."""
    return len({one for found in digests.values() for one in found}) == 1


def wrong(networks: Sequence[dict[str, Any]], upscaler: Sequence[dict[str, Any]]) -> list[str]:
    """What is not as it should be with ours."""
    complaints = []
    for row in networks:
        for one in row["contestants"]:
            if not one["ours"] or one["not_run"]:
                continue
            error = float(np.max(one["errors"]))
            if not error <= FLOAT32_TOLERANCE:
                complaints.append(f"{one['name']} is {error:.1e} away from float64 in {_name(row)}")
            if not independent(one["digests"]):
                complaints.append(f"{one['name']} is not the same every time in {_name(row)}")
    complaints += [
        f"pictures of {one['name']} with {one['model']} are not the same every time"
        for one in upscaler
        if not one["not_run"] and not independent(one["digests"])
    ]
    return complaints


def error_table(networks: Sequence[dict[str, Any]]) -> str:
    """A row for each network, the largest of its column last."""
    contestants = [one["name"] for one in networks[0]["contestants"]]
    rows = []
    for row in networks:
        cells = ["-" if one["not_run"] else f"{np.max(one['errors']):.1e}"
                 for one in row["contestants"]]  # fmt: skip
        rows.append([_name(row), *cells])
    largest = []
    for name in contestants:
        found = [
            np.max(one["errors"])
            for row in networks
            for one in row["contestants"]
            if one["name"] == name and not one["not_run"]
        ]
        largest.append(f"{np.max(found):.1e}" if found else "-")
    table = markdown(["", *contestants], [*rows, ["largest", *largest]])
    absent = {
        one["name"]: one["not_run"]
        for row in networks
        for one in row["contestants"]
        if one["not_run"]
    }
    return "\n".join([table, *(f"{name}: not run: {why}" for name, why in absent.items())])


def same_table(networks: Sequence[dict[str, Any]], upscaler: Sequence[dict[str, Any]]) -> str:
    """In how many networks (and, for ours, in how many models as pictures)."""
    rows = []
    for name in dict.fromkeys(one["name"] for one in networks[0]["contestants"]):
        digests = [
            one["digests"]
            for row in networks
            for one in row["contestants"]
            if one["name"] == name and not one["not_run"]
        ]
        pictures = [
            one["digests"] for one in upscaler if one["name"] == name and not one["not_run"]
        ]
        rows.append([
            name, _of(map(repeatable, digests)), _of(map(independent, digests)),
            _of(map(repeatable, pictures)), _of(map(independent, pictures)),
        ])  # fmt: skip
    return markdown(
        ["", "run to run", "any threads", "picture, run to run", "picture, any threads"], rows
    )


def _of(found: Any) -> str:
    flags = list(found)
    return f"{sum(flags)} of {len(flags)}" if flags else "-"


def _name(row: dict[str, Any]) -> str:
    noise = "" if row["noise"] is None else f" noise {row['noise']}"
    return f"{row['model']} {row['scale']}x{noise}"
