"""A thousand pictures of all kinds, some broken: each accounted for, in bounded memory."""

from __future__ import annotations

import json
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _batch_corpus import MIXED, TINY, Corpus, Good, make
from _batch_watch import BatchOptions, Look, Watched, batch_command, tree, watch
from _parts import Part
from _tables import markdown, megabytes
from PIL import Image

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
    facts = facts_of(watched, corpus, options.memory)
    wrong = [*check(watched, corpus, out, report)]
    if watched.peak_rss > options.memory:
        wrong.append(
            f"peak of {megabytes(watched.peak_rss)} MB; the budget is {megabytes(options.memory)}"
        )
    if options.plot:
        plot(watched.looks, options.memory, options.plot)
    report_json = {
        "model": MODEL,
        "corpus": corpus.facts(),
        **facts,
        "looks": [list(look) for look in watched.looks],
        "end": watched.end,
    }
    return Part(report_json, _text(facts, corpus, options), wrong)


def facts_of(watched: Watched, corpus: Corpus, memory: int) -> dict[str, Any]:
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
        "growth_per_1000_files": growth(watched.looks),
        "peak_of_tenths": tenths(watched.looks),
        "done": sum(one["status"] == "done" for one in watched.files),
        "failed": sum(one["status"] == "failed" for one in watched.files),
    }


def growth(looks: Sequence[Look]) -> float | None:
    """Bytes by which memory grows with every 1,000 files, in the second half of the files."""
    last = looks[-1].ended if looks else 0
    later = [look for look in looks if look.ended >= last / 2]
    if len({look.ended for look in later}) < 3:
        return None
    slope, _ = np.polyfit([look.ended for look in later], [look.rss for look in later], 1)
    return float(slope * 1000)


def tenths(looks: Sequence[Look]) -> list[int]:
    """The most memory while each tenth of the files ended; 0 where nobody looked."""
    peaks = [0] * 10
    last = looks[-1].ended if looks else 0
    for look in looks:
        index = min(9, look.ended * 10 // max(1, last))
        peaks[index] = max(peaks[index], look.rss)
    return peaks


# --- is it all there? ----------------------------------------------------------------------------


def check(watched: Watched, corpus: Corpus, out: Path, report: Path) -> list[str]:
    """What is not as it should be."""
    wrong = []
    if watched.exit != (1 if corpus.bad else 0):
        wrong.append(watched.ending())
    lines = [json.loads(line) for line in report.read_text("ascii").splitlines()]
    told = [{key: one[key] for key in one if key != "event"} for one in watched.files]
    if told != lines:
        wrong.append("the report and the events on standard output differ")
    by_input = {Path(line["input"]).relative_to(corpus.folder): line for line in lines}
    counts = Counter(line["input"] for line in lines)
    wrong += [f"{name} is in {n} lines of the report" for name, n in counts.items() if n > 1]
    expected = {one.path for one in corpus.good} | set(corpus.bad)
    wrong += [f"{path} is not in the report" for path in sorted(expected - set(by_input))]
    wrong += [f"{path} is in the report" for path in sorted(set(by_input) - expected)]
    for path, kind in corpus.bad.items():
        wrong += _check_bad(by_input.get(path), path, kind)
    targets = set()
    for one in corpus.good:
        line = by_input.get(one.path)
        if line is None:
            continue
        if line["status"] != "done":
            wrong.append(f"{one.path} ({one.kind}): {line['status']}, {line['error']}")
            continue
        target = Path(line["output"])
        targets.add(target.relative_to(out).as_posix())
        try:
            wrong += _check_result(one, target)
        except Exception as error:  # of any kind: Pillow cannot read it
            wrong.append(f"{target} cannot be read: {error}")
    there = set(tree(out))
    wrong += [f"nothing tells where {path} came from" for path in sorted(there - targets)]
    wrong += [f"{path} is missing" for path in sorted(targets - there)]
    return wrong


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


def _check_result(one: Good, target: Path) -> list[str]:
    size = (one.size[0] * SCALE, one.size[1] * SCALE)
    if one.kind == "CBZ":
        with zipfile.ZipFile(target) as archive:
            names = archive.namelist()
            sizes = []
            for name in names:
                if name != "info.txt":
                    with archive.open(name) as page, Image.open(page) as picture:
                        picture.load()
                        sizes.append(picture.size)
        found, frames = set(sizes), len(sizes)
        if "info.txt" not in names:
            return [f"{target} has lost info.txt"]
    else:
        with Image.open(target) as picture:
            frames = getattr(picture, "n_frames", 1)
            found = set()
            for index in range(frames):
                picture.seek(index)
                picture.load()
                found.add(picture.size)
    if found != {size} or frames != one.frames:
        return [f"{target}: {frames} of {found} px; it should be {one.frames} of {size}"]
    return []


# --- for people ----------------------------------------------------------------------------------


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
        [
            "processors used",
            used,
        ],
        ["peak memory", f"{megabytes(facts['peak_rss'])} MB of {megabytes(options.memory)}"],
        ["growth, second half", f"{growing} in 1,000 files"],
        ["peaks of tenths", " ".join(megabytes(one) for one in facts["peak_of_tenths"]) + " MB"],
    ]
    return f"\nMixed pictures, {MODEL}, {SCALE}x:\n\n{markdown(['', 'measured'], rows)}\n"


def plot(looks: Sequence[Look], budget: int, path: Path) -> None:
    """Memory over time, with the budget as a line."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.2), dpi=100)
    last = looks[-1].seconds if looks else 1
    axes.plot([look.seconds for look in looks], [look.rss / 1e6 for look in looks],
              color="#1f6f8b", linewidth=1.2)  # fmt: skip
    axes.axhline(budget / 1e6, color="#b5402a", linewidth=1.2, linestyle="--")
    axes.annotate(f"budget, {budget / 1e6:.0f} MB", (0, budget / 1e6), (4, -14),
                  textcoords="offset points", color="#b5402a", fontsize=10)  # fmt: skip
    axes.set_xlim(0, last)
    axes.set_ylim(0, 1.1 * max([budget / 1e6, *(look.rss / 1e6 for look in looks)]))
    files = looks[-1].ended if looks else 0
    axes.set_title(f"Memory of waifu2x on {files:,} files of mixed sizes", fontsize=12, loc="left")
    axes.set_xlabel("seconds since the start", fontsize=10)
    axes.set_ylabel("resident memory, MB", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
