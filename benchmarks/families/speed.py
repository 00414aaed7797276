"""Speed of the native engine and of ncnn on the same weights and picture, alternating.

Native is timed from the uint8 picture to the uint8 result, with border, global means and rounding.
ncnn is timed in its favor: from float32 tiles that are cut beforehand, to results that nothing
reads. Its tile is the fastest of a few, the whole picture among them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from waifu2x.codec import from_array
from waifu2x.kernels import tiles
from waifu2x.network.graph import Graph
from waifu2x.pipeline.tiling import plan_tiles, tiling_of

from ..common.engines import create_pipeline, upscale
from ..common.measure import (
    FailureError,
    Result,
    Sample,
    interleave,
    ratios,
    reason,
    summarize,
    timed,
    to_json,
)
from ..common.parts import Part
from ..common.pictures import Batch, Pixels
from ..common.processes import in_child
from ..common.tables import markdown, others
from ..peers.contestants import Ncnn
from .options import Case, FamilyOptions, cases, draw, window_side

NATIVE, NCNN, BARE = "waifu2x native", "ncnn", "ncnn, no border"
#: Tiles of ncnn that are tried, as parts of the side of the picture.
SPLITS = (1, 2, 4)
#: A tile is not tried if its borders multiply the pixels by more than this.
MOST_OVERHEAD = 1.6
#: Threads of ncnn spin for 20 ms after a run.
REST_S = 0.05


def run(options: FamilyOptions) -> Part:
    rows: list[dict[str, Any]] = []
    for case in cases(options):
        row = dict(case.facts)
        rows.append(row)
        try:
            found, results = in_child(measure, case, options.for_child())
        except FailureError as error:
            row["not_run"] = reason(error)
            continue
        summarize(results, options.quiet_below)
        by_name = {result.name: result for result in results}
        row |= {"aim": case.aim, **found, "results": to_json(results)}
        row["ratios"] = {
            name: ratios(by_name[name], by_name[NATIVE]) for name in by_name if name != NATIVE
        }
    text = (
        f"\nSpeed, {options.threads} threads, {options.rounds} alternating rounds: native from "
        "picture to picture; ncnn the\nnetwork alone, with its default options (they leave fp16 "
        "off on a CPU without its\narithmetic) and the fastest of its tiles. The ratio is the "
        f"median of those within each round:\n\n{table(rows)}\n"
    )
    return Part({"cases": rows}, text)


def missed(row: dict[str, Any]) -> bool:
    """Whether the native engine is slower than its aim."""
    return bool(row["ratios"][NCNN]["median"] < row["aim"])


def table(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        if row.get("not_run"):
            lines.append([row["name"], f"not run: {row['not_run']}"])
            continue
        results = {result["name"]: result for result in row["results"]}
        ratio, bare = row["ratios"][NCNN], row["ratios"].get(BARE)
        samples = [Sample(**each) for result in row["results"] for each in result["samples"]]
        lines.append([
            row["name"], str(row["side"]), str(row["tile"] or "whole"),
            *(_spread(results[name]["summary"]) for name in (NATIVE, NCNN)),
            f"{ratio['median']:.2f}x", f"{ratio['q1']:.2f} - {ratio['q3']:.2f}",
            f"{row['aim']:.1f}x{', MISSED' if missed(row) else ''}",
            f"{bare['median']:.2f}x" if bare else "", others(samples),
        ])  # fmt: skip
    headers = ["", "px", "ncnn's tile", "native s (min - max)", "ncnn s (min - max)", "ratio"]
    headers += ["quartiles", "aim", "ncnn without border", "others' load"]
    return markdown(headers, lines)


def _spread(summary: dict[str, float] | None) -> str:
    if summary is None:
        return "too few"
    return f"{summary['median_s']:.3f} ({summary['min_s']:.3f} - {summary['max_s']:.3f})"


# --- in the child process ------------------------------------------------------------------------


def measure(case: Case, options: FamilyOptions) -> tuple[dict[str, Any], list[Result]]:
    """Time one case; return facts about the case, and the results."""
    job = case.job(options)
    side = case.side(options)
    pixels = draw(side)
    picture = from_array(pixels)
    pipeline = create_pipeline(case.model, engine="native", threads=options.threads)
    peer = Ncnn(job)
    tried = {}
    for tile in _candidates(job.graph, side):
        attempt = partial(_run_all, peer, cut(job.graph, pixels, tile))
        attempt()
        tried[tile] = timed(attempt).wall_s
    fastest = min(tried, key=lambda tile: tried[tile])
    calls: dict[str, Callable[[], object]] = {
        NATIVE: partial(upscale, pipeline, picture, case.scale),
        NCNN: partial(_run_all, peer, cut(job.graph, pixels, fastest)),
    }
    if job.graph.pads:
        calls[BARE] = partial(_run_all, peer, [_to_planes(pixels)])
    results = [Result(name, name == NATIVE, "") for name in calls]
    for call in calls.values():
        call()
    interleave(
        [(result, partial(_timed_after_rest, calls[result.name])) for result in results],
        options.rounds,
    )
    facts = {
        "side": side,
        "window": window_side(job.graph, side),
        "tile": 0 if fastest == side else fastest,
        "tiles_tried": {str(tile): seconds for tile, seconds in tried.items()},
        "macs_per_pixel": job.graph.macs_per_pixel,
        "isa": tiles.isa(),
    }
    return facts, results


def _timed_after_rest(call: Callable[[], object]) -> Sample:
    time.sleep(REST_S)
    return timed(call)


def _run_all(peer: Ncnn, windows: Sequence[Batch]) -> None:
    for window in windows:
        peer.extract(window)


def _candidates(graph: Graph, side: int) -> list[int]:
    """Sides of tiles worth trying; that of the picture comes first."""
    whole = window_side(graph, side) ** 2
    return [
        side // split
        for split in SPLITS
        if split == 1 or (split * window_side(graph, side // split)) ** 2 <= MOST_OVERHEAD * whole
    ]


def cut(graph: Graph, pixels: Pixels, tile: int) -> list[Batch]:
    """Cut a picture with its replicated border into windows (3, H, W) of tiles of ``tile`` px."""
    height, width = pixels.shape[:2]
    windows = []
    for part in plan_tiles(tiling_of(graph), width=width, height=height, tile=tile):
        rows, columns = (
            np.clip(np.arange(span.window_start, span.window_start + span.window_size), 0, size - 1)
            for span, size in ((part.y, height), (part.x, width))
        )
        windows.append(_to_planes(pixels[rows[:, None], columns]))
    return windows


def _to_planes(pixels: Pixels) -> Batch:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32) / np.float32(255)
