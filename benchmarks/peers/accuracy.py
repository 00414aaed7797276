"""Distance of every contestant from float64, and reproducibility of the bytes."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from waifu2x import Upscaler
from waifu2x.network import registry
from waifu2x.network.reference import evaluate

from ..common.engines import require_engine
from ..common.measure import FLOAT32_TOLERANCE, reason
from ..common.parts import Part
from ..common.pictures import Pixels, center_crop, gallery, names, to_batch
from ..common.processes import in_child
from ..common.tables import markdown
from .contestants import Contestant, Job, Run, contestants, write_onnx
from .options import PeerOptions

#: Thread counts that must not change the bytes, and the runs with each.
THREADS = (1, 2, 3, 4)
REPEATS = 2
#: Side of a tile for whole pictures: several tiles per picture, some of them cut by an edge.
TILE = 40

Row = dict[str, Any]


def default_side(quick: bool) -> int:
    """Default side of the pictures."""
    return 16 if quick else 96


def run(options: PeerOptions) -> Part:
    """Test every network of the chosen models, or of the registry."""
    side = options.sizes[0] if options.sizes else default_side(options.quick)
    pictures = options.pictures or gallery(side)
    if options.quick:
        pictures = pictures[:1]
    pixels = np.stack([center_crop(picture, side) for _, picture in pictures])
    networks = [
        (model, network.scale, network.noise)
        for model in options.models or [each.name for each in registry.models() if each.installed]
        for network in registry.model(model).networks[: 1 if options.quick else None]
    ]
    found = in_child(measure, networks, pixels, options.for_child())
    report = {"side": side, "pictures": names(pictures), **found}
    text = (
        f"\nLargest difference from float64, on [0, 1], over {len(pictures)} pictures of "
        f"{side}x{side} px:\n\n{error_table(found['networks'])}\n"
        f"\nThe same bytes every time, as float32 from the network and as a picture from "
        f"Upscaler,\n{REPEATS} runs with each of {', '.join(map(str, THREADS))} threads:\n\n"
        f"{reproducibility_table(found['networks'], found['upscaler'])}\n"
    )
    return Part(report, text, problems(found["networks"], found["upscaler"]))


# --- in the child process ------------------------------------------------------------------------


def measure(
    networks: Sequence[tuple[str, int, int | None]], squares: Pixels, options: PeerOptions
) -> dict[str, Any]:
    without = options.without
    report: dict[str, Any] = {"networks": [], "upscaler": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        for model, scale, noise in networks:
            job = Job(model, scale, noise, options.threads[0], path)
            batches = [to_batch(job.graph, square) for square in squares]
            write_onnx(job.graph, path, side=batches[0].shape[3])
            exact = [evaluate(job.graph, batch) for batch in batches]
            rows = []
            for contestant in contestants(without):
                row = {"name": contestant.name, "ours": contestant.engine is not None,
                       "not_run": ""}  # fmt: skip
                rows.append(row)
                try:
                    run = contestant.load(job)
                    row["errors"] = [
                        float(np.abs(run(batch) - truth).max())
                        for batch, truth in zip(batches, exact, strict=True)
                    ]
                    row["digests"] = _digests(partial(_load, contestant, job), batches[0])
                except Exception as error:  # of any kind: the table shows the reason
                    row["not_run"] = reason(error)
            report["networks"].append(
                {"model": model, "scale": scale, "noise": noise, "contestants": rows}
            )
    for model in dict.fromkeys(model for model, _, _ in networks):
        for contestant in contestants(without):
            if contestant.engine:
                report["upscaler"].append(_upscaled(model, contestant.engine, squares[0]))
    return report


def _load(contestant: Contestant, job: Job, threads: int) -> Run:
    return contestant.load(replace(job, threads=threads))


def _digests(load: Callable[[int], Callable[[Any], Any]], argument: Any) -> dict[int, list[str]]:
    """Digests of `REPEATS` runs for each thread count."""
    digests = {}
    for count in THREADS:
        run = load(count)
        digests[count] = [
            hashlib.sha256(run(argument).tobytes()).hexdigest() for _ in range(REPEATS)
        ]
    return digests


def _upscaled(model: str, engine: str, pixels: np.ndarray) -> Row:
    row: Row = {"name": f"waifu2x {engine}", "model": model, "not_run": ""}

    def load(count: int) -> Callable[[Any], Any]:
        upscaler = Upscaler(model, engine=engine, threads=count, tile=TILE)
        require_engine(upscaler.pipeline.engine, engine)
        return upscaler.upscale

    try:
        row["digests"] = _digests(load, pixels)
    except Exception as error:  # of any kind: the table shows the reason
        row["not_run"] = reason(error)
    return row


def repeatable(digests: dict[str, list[str]]) -> bool:
    """Whether runs with the same number of threads are equal."""
    return all(len(set(found)) == 1 for found in digests.values())


def independent(digests: dict[str, list[str]]) -> bool:
    """Whether all runs are equal for every number of threads."""
    return len({digest for found in digests.values() for digest in found}) == 1


def problems(networks: Sequence[Row], upscaler: Sequence[Row]) -> list[str]:
    """Problems of our results: too far from float64, or not reproducible."""
    found = []
    for network in networks:
        for row in network["contestants"]:
            if not row["ours"] or row["not_run"]:
                continue
            error = float(np.max(row["errors"]))
            if not error <= FLOAT32_TOLERANCE:
                found.append(f"{row['name']} is {error:.1e} away from float64 in {_name(network)}")
            if not independent(row["digests"]):
                found.append(f"{row['name']} is not the same every time in {_name(network)}")
    found += [
        f"pictures of {row['name']} with {row['model']} are not the same every time"
        for row in upscaler
        if not row["not_run"] and not independent(row["digests"])
    ]
    return found


def _by_name(networks: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each contestant over all networks."""
    rows: dict[str, list[Row]] = {}
    for network in networks:
        for row in network["contestants"]:
            rows.setdefault(row["name"], []).append(row)
    return rows


def error_table(networks: Sequence[Row]) -> str:
    """A row per network, and the largest error of each column last."""

    def cell(rows: Iterable[Row]) -> str:
        errors = [np.max(row["errors"]) for row in rows if not row["not_run"]]
        return f"{np.max(errors):.1e}" if errors else "-"

    by_name = _by_name(networks)
    rows = [
        [_name(network), *(cell([row]) for row in network["contestants"])] for network in networks
    ]
    rows.append(["largest", *map(cell, by_name.values())])
    absent = [
        f"{name}: not run: {row['not_run']}"
        for name, found in by_name.items()
        for row in [row for row in found if row["not_run"]][-1:]
    ]
    return "\n".join([markdown(["", *by_name], rows), *absent])


def reproducibility_table(networks: Sequence[Row], upscaler: Sequence[Row]) -> str:
    """Count the networks, and for our engines the models as pictures, with equal bytes."""
    rows = []
    for name, found in _by_name(networks).items():
        cells = [name]
        for group in (found, [row for row in upscaler if row["name"] == name]):
            digests = [row["digests"] for row in group if not row["not_run"]]
            cells += [_count(map(repeatable, digests)), _count(map(independent, digests))]
        rows.append(cells)
    return markdown(
        ["", "run to run", "any threads", "picture, run to run", "picture, any threads"], rows
    )


def _count(flags: Iterable[bool]) -> str:
    found = list(flags)
    return f"{sum(found)} of {len(found)}" if found else "-"


def _name(network: Row) -> str:
    noise = "" if network["noise"] is None else f" noise {network['noise']}"
    return f"{network['model']} {network['scale']}x{noise}"
