"""Cost of a file in addition to the network, on tiny pictures."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

import numpy as np

from waifu2x import Upscaler

from ..common.measure import (
    Result,
    Sample,
    failures,
    interleave,
    median_s,
    summarize,
    timed_warm,
    to_json,
)
from ..common.parts import Part
from ..common.processes import run_command
from ..common.tables import markdown, peak_mb, timings
from .corpus import tiny_pictures
from .options import BatchOptions
from .watch import batch_command

COUNTS, QUICK_COUNTS = (100, 1000, 10_000), (10, 20)
SIDE = 16
MODEL = "upconv_7"
#: Largest growth of the cost per file from the second largest number of files to the largest.
MAX_GROWTH = 1.5


class _Run:
    """The command on a number of tiny pictures. resume: the results of all files exist."""

    def __init__(self, folder: Path, count: int, *, resume: bool = False) -> None:
        self.count, self.resume = count, resume
        self.result = Result(f"{count:,} files" + ", all done before" * resume, True, "")
        self._source, self._out = folder / f"in{count}", folder / f"out{count}"
        if not self._source.exists():
            tiny_pictures(self._source, count, SIDE)

    def measure(self) -> Sample:
        if not self.resume:
            shutil.rmtree(self._out, ignore_errors=True)
        more = ["--resume"] * self.resume
        return run_command(batch_command(self._source, self._out, "-m", MODEL, "--quiet", *more))


def run(options: BatchOptions) -> Part:
    alone = _network_alone(options.rounds)
    counts = QUICK_COUNTS if options.quick else COUNTS
    runs = [_Run(options.folder, count) for count in (1, *counts)]
    resumed = _Run(options.folder, counts[-1], resume=True)
    interleave([(each.result, each.measure) for each in runs], options.rounds)
    # Afterward, because these runs need the results of the last round.
    interleave([(resumed.result, resumed.measure)], options.rounds)
    results = [*(each.result for each in runs), resumed.result]
    summarize(results, options.quiet_below)
    problems = failures(results)
    if problems:
        return Part({"results": to_json(results)}, f"\n{timings(results, unit=1)}\n", problems)
    start = median_s(runs[0].result)
    costs = {each.count: (median_s(each.result) - start) / (each.count - 1) for each in runs[1:]}
    overheads = {count: cost - alone for count, cost in costs.items()}
    resume_cost = (median_s(resumed.result) - start) / (resumed.count - 1)
    report = {
        "model": MODEL,
        "side": SIDE,
        "start_s": start,
        "network_alone_s": alone,
        "per_file_s": costs,
        "overhead_s": overheads,
        "resume_per_file_s": resume_cost,
        "results": to_json(results),
    }
    few, many = counts[-2:]
    if not options.quick and overheads[many] > MAX_GROWTH * overheads[few]:
        problems.append(f"a file of {many} costs more than {MAX_GROWTH} times one of {few}")
    rows = [
        [each.result.name, f"{median_s(each.result):.2f}", f"{1e3 * costs[each.count]:.2f}",
         f"{1e3 * overheads[each.count]:.2f}", peak_mb(each.result)]
        for each in runs[1:]
    ]  # fmt: skip
    rows.append([resumed.result.name, f"{median_s(resumed.result):.2f}",
                 f"{1e3 * resume_cost:.3f}", "", peak_mb(resumed.result)])  # fmt: skip
    headers = ["", "wall s", "ms per file", "overhead ms", "peak MB"]
    text = (
        f"\nTiny pictures, {SIDE}x{SIDE} px, {MODEL}; a run of one file takes {start:.2f} s, and "
        f"the network {1e3 * alone:.2f} ms in a warm process:\n\n{markdown(headers, rows)}\n"
    )
    return Part(report, text, problems)


def _network_alone(rounds: int) -> float:
    upscaler = Upscaler(MODEL)
    pixels = np.random.default_rng(7).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    return statistics.median(
        timed_warm(lambda: upscaler.upscale(pixels, 2)).wall_s for _ in range(max(3, rounds))
    )
