"""Speedup from one CPU core to two."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..common.measure import (
    FailureError,
    Result,
    Sample,
    failures,
    interleave,
    median_s,
    ratios,
    summarize,
    to_json,
)
from ..common.parts import Part
from ..common.pictures import draw_face
from ..common.processes import run_command
from ..common.tables import markdown
from .options import BatchOptions
from .watch import batch_command

#: Numbers of pictures and their sides.
SETS, QUICK_SETS = ((60, 512), (300, 96)), ((4, 32),)
MODELS = ("upconv_7", "cunet")


def run(options: BatchOptions) -> Part:
    part = Part({"results": []}, "")
    rows = []
    for count, side in QUICK_SETS if options.quick else SETS:
        source = options.folder / f"side{side}"
        _make_pictures(source, count, side)
        for model in MODELS:
            name = f"{count} of {side}x{side}, {model}"
            results = [Result(f"{name}, {cores} cores", True, "") for cores in (1, 2)]
            out = options.folder / "out"
            interleave(
                [(results[i], _on_cores(i + 1, source, out, model)) for i in (0, 1)], options.rounds
            )
            summarize(results, options.quiet_below)
            entry = {"set": name, "samples": to_json(results)}
            row = [name]
            if failed := failures(results):
                part.problems += failed
            else:
                ratio = ratios(*results)
                entry |= {"ratio": ratio["median"], "q1": ratio["q1"], "q3": ratio["q3"]}
                row += [f"{median_s(result):.2f}" for result in results]
                row += [f"{ratio['median']:.2f}x", f"{ratio['q1']:.2f} - {ratio['q3']:.2f}"]
            rows.append(row)
            part.report["results"].append(entry)
    headers = ["", "1 core, s", "2 cores, s", "times as fast", "quartiles"]
    part.text = f"\nOne CPU core and two:\n\n{markdown(headers, rows)}\n"
    return part


def _on_cores(cores: int, source: Path, out: Path, model: str) -> Callable[[], Sample]:
    def measure() -> Sample:
        shutil.rmtree(out, ignore_errors=True)
        with _affinity(cores):
            return run_command(batch_command(source, out, "-m", model, "--quiet"))

    return measure


@contextmanager
def _affinity(count: int) -> Iterator[None]:
    """Restrict processes started within to a number of CPUs. Linux only."""
    if not hasattr(os, "sched_setaffinity"):
        raise FailureError("needs sched_setaffinity, which this system does not have")
    before = os.sched_getaffinity(0)
    if len(before) < count:
        raise FailureError(f"this process may use {len(before)} CPUs, and the run needs {count}")
    os.sched_setaffinity(0, set(sorted(before)[:count]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _make_pictures(folder: Path, count: int, side: int) -> None:
    """Cut different pictures of one size from one drawing."""
    canvas = draw_face(side * 2, side * 2)
    folder.mkdir()
    for index in range(count):
        left, top = (index * 37) % side, (index * 59) % side
        canvas.crop((left, top, left + side, top + side)).save(folder / f"{index:03}.png")
