"""What a file costs besides the network, and what a second processor is worth."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _batch_corpus import tiny_pictures
from _batch_watch import BatchOptions, batch_command, on_cores
from _measure import Result, Sample, quartiles, summarise, take_turns, timed_warm, to_json
from _parts import Part
from _pictures import drawn
from _processes import run_command
from _tables import markdown, megabytes, timings

from waifu2x import Upscaler

COUNTS, QUICK_COUNTS = (100, 1000, 10_000), (10, 20)
SIDE = 16
MODEL = "upconv_7"
#: How much more a file may cost among so many than among a tenth of that.
MOST_GROWTH = 1.5

#: So many pictures of so many pixels on each side.
SETS, QUICK_SETS = ((60, 512), (300, 96)), ((4, 32),)
MODELS = ("upconv_7", "cunet")


# --- a file besides the network ------------------------------------------------------------------


def overhead(options: BatchOptions) -> Part:
    alone = _network_alone(options.rounds)
    counts = QUICK_COUNTS if options.quick else COUNTS
    runs = [_Tiny(options.folder, count) for count in (1, *counts)]
    again = _Tiny(options.folder, counts[-1], "--resume")
    turns = [(each.result, each.measure) for each in runs]
    # Whatever the order of a round, the last results are there for those that skip them.
    take_turns(turns, options.rounds)
    take_turns([(again.result, again.measure)], options.rounds)
    results = [*(each.result for each in runs), again.result]
    summarise(results, options.quiet_below)
    wrong = [f"{each.name}: {each.not_run}" for each in results if each.not_run]
    if wrong:
        return Part({"results": to_json(results)}, f"\n{timings(results, unit=1)}\n", wrong)
    start = _median(runs[0].result)
    costs = {each.count: (_median(each.result) - start) / (each.count - 1) for each in runs[1:]}
    resumed = (_median(again.result) - start) / (again.count - 1)
    besides = {count: cost - alone for count, cost in costs.items()}
    facts = {
        "model": MODEL,
        "side": SIDE,
        "start_s": start,
        "network_alone_s": alone,
        "per_file_s": costs,
        "overhead_s": besides,
        "resume_per_file_s": resumed,
        "results": to_json(results),
    }
    few, many = counts[-2:]
    if not options.quick and besides[many] > MOST_GROWTH * besides[few]:
        wrong.append(f"a file among {many} costs more than {MOST_GROWTH} times one among {few}")
    rows = [
        [each.result.name, f"{_median(each.result):.2f}", f"{1e3 * cost:.2f}",
         f"{1e3 * (cost - alone):.2f}", _peak(each.result)]
        for each, cost in zip(runs[1:], costs.values(), strict=True)
    ]  # fmt: skip
    rows.append([again.result.name, f"{_median(again.result):.2f}", f"{1e3 * resumed:.3f}",
                 "", _peak(again.result)])  # fmt: skip
    headers = ["", "wall s", "ms per file", "besides the network", "peak MB"]
    text = (
        f"\nTiny pictures, {SIDE}x{SIDE} px, {MODEL}; one file takes {start:.2f} s, and the "
        f"network {1e3 * alone:.2f} ms in a warm process:\n\n{markdown(headers, rows)}\n"
    )
    return Part(facts, text, wrong)


class _Tiny:
    """The command on so many tiny pictures."""

    def __init__(self, folder: Path, count: int, *more: str) -> None:
        self.count = count
        self.result = Result(f"{count:,} files" + ", all done before" * bool(more), True, "")
        self._source, self._out = folder / f"in{count}", folder / f"out{count}"
        self._again = bool(more)
        self._more = more
        if not self._source.exists():
            tiny_pictures(self._source, count, SIDE)

    def measure(self) -> Sample:
        if not self._again:
            shutil.rmtree(self._out, ignore_errors=True)
        return run_command(
            batch_command(self._source, self._out, "-m", MODEL, "--quiet", *self._more)
        )


def _network_alone(rounds: int) -> float:
    upscaler = Upscaler(MODEL)
    pixels = np.random.default_rng(7).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    return statistics.median(
        timed_warm(lambda: upscaler.upscale(pixels, 2)).wall_s for _ in range(max(3, rounds))
    )


def _median(result: Result) -> float:
    return statistics.median(sample.wall_s for sample in result.samples)


def _peak(result: Result) -> str:
    return megabytes(max(sample.peak_rss or 0 for sample in result.samples))


# --- a second processor --------------------------------------------------------------------------


def scaling(options: BatchOptions) -> Part:
    part = Part({"results": []}, "")
    rows = []
    for count, side in QUICK_SETS if options.quick else SETS:
        source = options.folder / f"side{side}"
        _same_size(source, count, side)
        for model in MODELS:
            name = f"{count} of {side}x{side}, {model}"
            results = [Result(f"{name}, {cores} cores", True, "") for cores in (1, 2)]
            out = options.folder / "out"
            take_turns(
                [(results[i], _on_cores(i + 1, source, out, model)) for i in (0, 1)],
                options.rounds,
            )
            summarise(results, options.quiet_below)
            failed = [f"{each.name}: {each.not_run}" for each in results if each.not_run]
            part.wrong += failed
            row, facts = _scaled(name, results) if not failed else ([name], {})
            rows.append(row)
            part.report["results"].append({"set": name, **facts, "samples": to_json(results)})
    headers = ["", "1 core, s", "2 cores, s", "times as fast", "quartiles"]
    part.text = f"\nOne processor and two:\n\n{markdown(headers, rows)}\n"
    return part


def _on_cores(cores: int, source: Path, out: Path, model: str) -> Callable[[], Sample]:
    def measure() -> Sample:
        shutil.rmtree(out, ignore_errors=True)
        with on_cores(cores):
            return run_command(batch_command(source, out, "-m", model, "--quiet"))

    return measure


def _scaled(name: str, results: Sequence[Result]) -> tuple[list[str], dict[str, Any]]:
    one, two = results
    pairs = zip(one.samples, two.samples, strict=True)
    q1, median, q3 = quartiles([a.wall_s / b.wall_s for a, b in pairs])
    row = [name, f"{_median(one):.2f}", f"{_median(two):.2f}", f"{median:.2f}x",
           f"{q1:.2f} - {q3:.2f}"]  # fmt: skip
    return row, {"ratio": median, "q1": q1, "q3": q3}


def _same_size(folder: Path, count: int, side: int) -> None:
    """So many pictures cut out of one drawing, all different."""
    canvas = drawn(side * 2, side * 2)
    folder.mkdir()
    for index in range(count):
        left, top = (index * 37) % side, (index * 59) % side
        canvas.crop((left, top, left + side, top + side)).save(folder / f"{index:03}.png")
