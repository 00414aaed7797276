"""A thousand files of all kinds, some broken: every file accounted for, in bounded memory."""

from __future__ import annotations

import json
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..common.parts import Part
from ..common.tables import markdown, megabytes
from .corpus import MIXED, TINY, Corpus, Good, make
from .options import BatchOptions
from .watch import MemorySample, Watched, batch_command, tree, watch

COUNT, BAD = 1000, 30
QUICK_COUNT, QUICK_BAD = 44, 20
MODEL = "upconv_7"
SCALE = 2


def run(options: BatchOptions) -> Part:
    source, out = options.folder / "in", options.folder / "out"
    report = options.folder / "report.jsonl"
    corpus = make(
        source,
        QUICK_COUNT if options.quick else COUNT,
        TINY if options.quick else MIXED,
        bad=QUICK_BAD if options.quick else BAD,
        traps=True,
        pictures=options.pictures,
    )
    watched = watch(
        batch_command(
            source, out, "-m", MODEL, "--memory", str(options.memory), "--report", str(report)
        )
    )
    facts = summarize(watched, corpus, options.memory)
    problems = check(watched, corpus, out, report)
    if watched.peak_rss > options.memory:
        problems.append(
            f"peak of {megabytes(watched.peak_rss)} MB; the budget is {megabytes(options.memory)}"
        )
    if options.plot:
        plot(watched.memory, options.memory, options.plot)
    report_json = {
        "model": MODEL,
        "corpus": corpus.facts(),
        **facts,
        "looks": [list(sample) for sample in watched.memory],
        "end": watched.end,
    }
    return Part(report_json, _text(facts, corpus, options), problems)


def summarize(watched: Watched, corpus: Corpus, memory: int) -> dict[str, Any]:
    wall = watched.wall_s
    return {
        "exit": watched.exit,
        "wall_s": wall,
        "cpu_s": watched.cpu_s,
        "cpu_share": watched.cpu_s / wall / (os.cpu_count() or 1),
        "others_share": watched.foreign,
        "compute_busy": watched.end.get("compute_busy"),
        "files_per_s": len(watched.files) / wall,
        "megapixels_per_s": corpus.megapixels / wall,
        "budget": memory,
        "peak_rss": watched.peak_rss,
        "growth_per_1000_files": growth(watched.memory),
        "peak_of_tenths": tenths(watched.memory),
        "done": sum(file["status"] == "done" for file in watched.files),
        "failed": sum(file["status"] == "failed" for file in watched.files),
    }


def growth(samples: Sequence[MemorySample]) -> float | None:
    """Slope of memory in bytes per 1,000 files, over the second half of the files."""
    last = samples[-1].ended if samples else 0
    later = [sample for sample in samples if sample.ended >= last / 2]
    if len({sample.ended for sample in later}) < 3:
        return None
    slope, _ = np.polyfit([sample.ended for sample in later], [sample.rss for sample in later], 1)
    return float(slope * 1000)


def tenths(samples: Sequence[MemorySample]) -> list[int]:
    """Peak memory during each tenth of the files; 0 without a sample."""
    peaks = [0] * 10
    last = samples[-1].ended if samples else 0
    for sample in samples:
        index = min(9, sample.ended * 10 // max(1, last))
        peaks[index] = max(peaks[index], sample.rss)
    return peaks


def check(watched: Watched, corpus: Corpus, out: Path, report: Path) -> list[str]:
    """Check every result, every broken file and the report; return the problems."""
    problems = []
    if watched.exit != (1 if corpus.bad else 0):
        problems.append(watched.message)
    lines = [json.loads(line) for line in report.read_text("ascii").splitlines()]
    events = [{key: file[key] for key in file if key != "event"} for file in watched.files]
    if events != lines:
        problems.append("the report and the events on standard output differ")
    by_input = {Path(line["input"]).relative_to(corpus.folder): line for line in lines}
    counts = Counter(line["input"] for line in lines)
    problems += [f"{name} is in {n} lines of the report" for name, n in counts.items() if n > 1]
    expected = {file.path for file in corpus.good} | set(corpus.bad)
    problems += [f"{path} is not in the report" for path in sorted(expected - set(by_input))]
    problems += [f"{path} is in the report" for path in sorted(set(by_input) - expected)]
    for path, kind in corpus.bad.items():
        problems += _check_bad(by_input.get(path), path, kind)
    targets = set()
    for file in corpus.good:
        line = by_input.get(file.path)
        if line is None:
            continue
        if line["status"] != "done":
            problems.append(f"{file.path} ({file.kind}): {line['status']}, {line['error']}")
            continue
        target = Path(line["output"])
        targets.add(target.relative_to(out).as_posix())
        try:
            problems += _check_result(file, target)
        except Exception as error:  # of any kind: Pillow cannot read the file
            problems.append(f"{target} cannot be read: {error}")
    found = set(tree(out))
    problems += [f"no line of the report names {path}" for path in sorted(found - targets)]
    problems += [f"{path} is missing" for path in sorted(targets - found)]
    return problems


def _check_bad(line: dict[str, Any] | None, path: Path, kind: str) -> list[str]:
    if line is None:
        return []
    message = str(line["error"])
    if line["status"] != "failed":
        return [f"{path} ({kind}): {line['status']}"]
    if path.name not in message:
        return [f"{path} ({kind}) is not named in {message!r}"]
    if "defect" in message:
        return [f"{path} ({kind}): {message}"]
    return []


def _check_result(file: Good, target: Path) -> list[str]:
    size = (file.size[0] * SCALE, file.size[1] * SCALE)
    sizes = []
    if file.kind == "CBZ":
        with zipfile.ZipFile(target) as archive:
            names = archive.namelist()
            for name in names:
                if name != "info.txt":
                    with archive.open(name) as page, Image.open(page) as picture:
                        picture.load()
                        sizes.append(picture.size)
        if "info.txt" not in names:
            return [f"{target} has lost info.txt"]
    else:
        with Image.open(target) as picture:
            for index in range(getattr(picture, "n_frames", 1)):
                picture.seek(index)
                picture.load()
                sizes.append(picture.size)
    if sizes != [size] * file.frames:
        return [f"{target}: {len(sizes)} of {set(sizes)} px; expected {file.frames} of {size}"]
    return []


def _text(facts: dict[str, Any], corpus: Corpus, options: BatchOptions) -> str:
    busy, slope = facts["compute_busy"], facts["growth_per_1000_files"]
    used = f"{facts['cpu_share']:.1%}"
    if facts["others_share"] is not None:
        used += f", by others {facts['others_share']:.1%}"
    growing = "?" if slope is None else f"{slope / 1e6:+.1f} MB"
    rows = [
        ["files", f"{len(corpus.good)} good, {len(corpus.bad)} broken"],
        ["megapixels", f"{corpus.megapixels:.1f}"],
        ["done, failed, exit", f"{facts['done']}, {facts['failed']}, {facts['exit']}"],
        ["wall", f"{facts['wall_s']:.1f} s"],
        ["files per second", f"{facts['files_per_s']:.1f}"],
        ["megapixels per second", f"{facts['megapixels_per_s']:.2f}"],
        ["a network runs", "?" if busy is None else f"{busy:.1%} of the time"],
        ["CPU used", used],
        ["peak memory", f"{megabytes(facts['peak_rss'])} MB of {megabytes(options.memory)}"],
        ["growth, second half", f"{growing} in 1,000 files"],
        ["peaks of tenths", " ".join(megabytes(peak) for peak in facts["peak_of_tenths"]) + " MB"],
    ]
    return f"\nMixed pictures, {MODEL}, {SCALE}x:\n\n{markdown(['', 'measured'], rows)}\n"


def plot(samples: Sequence[MemorySample], budget: int, path: Path) -> None:
    """Plot memory over time, with the budget as a line."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.2), dpi=100)
    last = samples[-1].seconds if samples else 1
    axes.plot([sample.seconds for sample in samples], [sample.rss / 1e6 for sample in samples],
              color="#1f6f8b", linewidth=1.2)  # fmt: skip
    axes.axhline(budget / 1e6, color="#b5402a", linewidth=1.2, linestyle="--")
    axes.annotate(f"budget, {budget / 1e6:.0f} MB", (0, budget / 1e6), (4, -14),
                  textcoords="offset points", color="#b5402a", fontsize=10)  # fmt: skip
    axes.set_xlim(0, last)
    axes.set_ylim(0, 1.1 * max([budget / 1e6, *(sample.rss / 1e6 for sample in samples)]))
    files = samples[-1].ended if samples else 0
    axes.set_title(f"Memory of waifu2x on {files:,} files of mixed sizes", fontsize=12, loc="left")
    axes.set_xlabel("seconds since the start", fontsize=10)
    axes.set_ylabel("resident memory, MB", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
