"""Peak memory of the native engine and of ncnn for the pictures of the part speed.

Each sample is a process of its own, as in `peers.memory`; ncnn gets the whole picture as one tile.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..common.measure import FailureError, reason
from ..common.parts import Part
from ..common.processes import in_child
from ..common.tables import markdown, megabytes
from ..peers import memory
from .options import FamilyOptions, cases, draw, window_side

CONTESTANTS = ("waifu2x native", "ncnn default")
#: More samples add nothing: peaks of runs differ by a few megabytes.
ROUNDS = 2


def run(options: FamilyOptions) -> Part:
    rows: list[dict[str, Any]] = []
    for case in cases(options):
        job, side = case.job(options), case.side(options)
        picture = options.folder / "picture.npy"
        np.save(picture, draw(side))
        window = window_side(job.graph, side)
        row = {**case.facts, "side": side, "contestants": {}}
        rows.append(row)
        for name in CONTESTANTS:
            try:
                samples = [
                    in_child(memory.measure, name, case.job(options), picture, side, window)
                    for _ in range(ROUNDS)
                ]
                row["contestants"][name] = {"samples": samples}
            except FailureError as error:
                row["contestants"][name] = {"not_run": reason(error)}
    text = (
        f"\nPeak memory, {options.threads} threads, the whole picture as one tile in ncnn; MB, "
        "median of "
        f"{ROUNDS}.\nAdded is the peak less the memory before the runtime is loaded, less the "
        f"picture and its\nresult:\n\n{table(rows)}\n"
    )
    return Part({"cases": rows}, text)


def table(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        native, ncnn = (_amounts(row["contestants"][name]) for name in CONTESTANTS)
        ratio = f"{ncnn[0] / native[0]:.1f}x" if native and ncnn else ""
        cells = [[megabytes(each) for each in found] or ["-", "-"] for found in (native, ncnn)]
        lines.append([row["name"], str(row["side"]), *cells[0], *cells[1], ratio])
    headers = ["", "px", "native added", "native peak", "ncnn added", "ncnn peak", "ratio of added"]
    return markdown(headers, lines)


def _amounts(contestant: dict[str, Any]) -> list[float]:
    """Median of the added memory, and of the peak; empty without samples."""
    samples = contestant.get("samples", [])
    if not samples:
        return []
    return [
        statistics.median(map(memory.added, samples)),
        statistics.median(sample["peak"] for sample in samples),
    ]
