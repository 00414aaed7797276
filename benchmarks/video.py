"""Measures videos: throughput, reuse of repeated frames, and memory.

    python -m benchmarks.video [--only PART,...] [--rounds 3] [--quick] [--json FILE] [--plot FILE]

See benchmarks/README.md for the parts. Videos are y4m in memory, so no encoder competes for the
cores. The exit status is 1 if a reused tile differs from a computed one by more than it may.
"""

from __future__ import annotations

import argparse
import io
import itertools
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from waifu2x import Upscaler
from waifu2x.network.registry import known_names
from waifu2x.picture import Picture
from waifu2x.pipeline.pipeline import Pipeline
from waifu2x.pipeline.request import Request
from waifu2x.video.color import from_rgb, to_rgb
from waifu2x.video.layout import VideoLayout
from waifu2x.video.planes import VideoFrame
from waifu2x.video.reuse import MOST_DIFFERENT, largest_difference
from waifu2x.video.upscaling import UpscaledFrames
from waifu2x.video.y4m import Y4mReader, Y4mWriter, header_for

from .common.environment import describe, environment
from .common.measure import UnavailableError
from .common.parts import Options as CommonOptions
from .common.parts import (
    Part,
    add_options,
    check_rounds,
    make_options,
    parse_names,
    parse_numbers,
    run_parts,
)
from .common.pictures import art, draw_face
from .common.tables import markdown

DISTRIBUTIONS = ("waifu2x-native", "numpy")
MODELS = ("upconv_7", "cunet")
SIZES = {"480p": (854, 480), "720p": (1280, 720), "1080p": (1920, 1080)}
Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Options(CommonOptions):
    """models, sizes: of part throughput. models, crf: of part reuse. plot: of part memory."""

    models: Sequence[str] = MODELS
    sizes: Sequence[str] = tuple(SIZES)
    crf: Sequence[int] = (18, 23)
    plot: Path | None = None


def request_for(pipeline: Pipeline, layout: VideoLayout) -> Request:
    blank = Picture(np.zeros((layout.height, layout.width, 3), np.uint8))
    return pipeline.request(blank, scale=2)


# --- throughput -----------------------------------------------------------------------------------


def panning(width: int, height: int, frames: int) -> bytes:
    """A y4m video in which every sample of every frame differs from the one before."""
    layout = VideoLayout(width, height)
    scene = np.asarray(art().painted_scene(width + 2 * frames, height).convert("RGB"))
    made = io.BytesIO()
    writer = Y4mWriter(made, header_for(layout, rate=Fraction(24)).line())
    for number in range(frames):
        pixels = scene[:, 2 * number : 2 * number + width].astype(np.float32) / 255
        writer.write(from_rgb(Picture(pixels), layout))
    return made.getvalue()


def throughput(options: Options) -> Part:
    """The engine alone on pictures in memory, and the whole stream on the same frames, in turn."""
    sizes = {"64p": (96, 64)} if options.quick else {name: SIZES[name] for name in options.sizes}
    rows, report = [], []
    for model, (name, (width, height)) in itertools.product(options.models, sizes.items()):
        pipeline = Upscaler(model, engine="native").pipeline
        frames = 4 if options.quick else max(3, 1_500_000 // (width * height) + 2)
        data = panning(width, height, frames)
        reader = Y4mReader(io.BytesIO(data), name)
        layout = reader.header.layout
        request = request_for(pipeline, layout)
        pictures = [to_rgb(frame, layout) for frame in reader]
        pipeline.run(pictures[0], request, dtype=np.float32)  # loads the network
        seconds: dict[str, list[float]] = {"engine": [], "stream": []}
        cores: dict[str, list[float]] = {"engine": [], "stream": []}
        for turn in range(options.rounds):
            for kind in ("engine", "stream") if turn % 2 else ("stream", "engine"):
                if kind == "engine":
                    began, used = time.perf_counter(), time.process_time()
                    for picture in pictures[1:]:
                        pipeline.run(picture, request, dtype=np.float32, gray=False)
                    took = time.perf_counter() - began, time.process_time() - used
                else:
                    took = stream_seconds(data, pipeline, request)
                seconds[kind].append(took[0] / (frames - 1))
                cores[kind].append(took[1] / (frames - 1))
        engine, stream = (statistics.median(seconds[kind]) for kind in ("engine", "stream"))
        shares = [
            statistics.median(one / two for one, two in zip(*each.values(), strict=True))
            for each in (seconds, cores)
        ]
        rows.append(
            [
                f"{model}, {name} to {2 * height}p",
                *(f"{1 / each:.2f}" for each in (engine, stream)),
                *(f"{share:.0%}" for share in shares),
            ]
        )
        report.append(
            {
                "model": model,
                "size": [width, height],
                "frames": frames,
                "seconds_per_frame": seconds,
                "cpu_seconds_per_frame": cores,
            }
        )
    headers = ["2x", "engine alone, frames/s", "y4m to y4m, frames/s", "time", "CPU time"]
    return Part({"runs": report}, f"\nThroughput\n\n{markdown(headers, rows)}\n")


def stream_seconds(data: bytes, pipeline: Pipeline, request: Request) -> tuple[float, float]:
    """Time and CPU time, in seconds, of all frames after the first.

    A long video has no beginning and no end.
    """
    reader = Y4mReader(io.BytesIO(data), "video")
    with (
        open("/dev/null", "wb") as sink,  # noqa: PTH123
        UpscaledFrames(reader, reader.header.layout, pipeline, request, exact=True) as frames,
    ):
        writer = Y4mWriter(sink, reader.header.line(frames.layout))
        writer.write(next(frames))
        began, used = time.perf_counter(), time.process_time()
        for frame in frames:
            writer.write(frame)
        return time.perf_counter() - began, time.process_time() - used


# --- reuse ----------------------------------------------------------------------------------------


def drawn_on_threes(width: int, height: int, length: int) -> Iterator[tuple[str, Rgb]]:
    """A clip of four scenes with cuts between them; each frame with the name of its scene."""
    face = np.asarray(draw_face(width, height))
    scene = np.asarray(art().painted_scene(2 * width, height).convert("RGB"))
    side = height // 6
    for number in range(length):
        drawing, frame = number // 3, face.copy()
        left, top = int(width * 0.42) + drawing % 4 * 3, int(height * 0.62)
        moving = face[top - side : top - side + side // 2, left : left + side]
        frame[top : top + side // 2, left : left + side] = np.roll(moving, drawing, 0)
        yield "a mouth that moves on threes", frame
    for number in range(length):
        left = 2 * (number // 3)
        yield "a pan on threes", scene[:, left : left + width].copy()
    for number in range(length):
        light = 1 - max(0, number - length // 2) / (length / 2)
        yield "a still, then a fade to black", (face * light).astype(np.uint8)
    background = scene[:, width // 2 : width // 2 + width]
    for number in range(length):
        frame = background.copy()
        if number // 4 % 2:
            lamp = np.s_[height // 5 : height // 5 + side, width // 2 : width // 2 + side]
            frame[lamp] = np.minimum(255, frame[lamp].astype(int) + 90)
        yield "a light that blinks", frame


def encoded(frames: Sequence[Rgb], crf: int) -> bytes:
    """The frames after x264, as y4m: with the noise of a codec."""
    height, width, _ = frames[0].shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "24", "-i", "-"]
    x264 = ["-c:v", "libx264", "-threads", "1", "-crf", str(crf), "-pix_fmt", "yuv420p"]
    stream = b"".join(frame.tobytes() for frame in frames)
    for command in ([*raw, *x264, "-f", "matroska"], ["-i", "-", "-f", "yuv4mpegpipe"]):
        stream = subprocess.run(
            ["ffmpeg", "-v", "error", *command, "-"], input=stream, capture_output=True, check=True
        ).stdout
    return stream


def reuse(options: Options) -> Part:
    """What is reused of a clip drawn on threes, and how far it is from what would be computed."""
    if shutil.which("ffmpeg") is None:
        raise UnavailableError("ffmpeg is not installed")
    width, height, length = (192, 144, 6) if options.quick else (320, 184, 18)
    drawn = list(drawn_on_threes(width, height, length))
    names = [name for name, _ in drawn]
    rows, report, problems = [], [], []
    for model, crf in itertools.product(options.models, options.crf):
        pipeline = Upscaler(model, engine="native").pipeline
        data = encoded([frame for _, frame in drawn], crf)
        reader = Y4mReader(io.BytesIO(data), "clip")
        layout, frames = reader.header.layout, list(reader)
        request = request_for(pipeline, layout)
        computed, every = [], []
        for frame in frames:
            began = time.perf_counter()
            computed.append(whole_frame(pipeline, frame, layout, request))
            every.append(time.perf_counter() - began)
        for name in dict.fromkeys(names):
            first, last = names.index(name), names.index(name) + names.count(name)
            began = time.perf_counter()
            stream = UpscaledFrames(frames[first:last], layout, pipeline, request)
            made = list(stream)
            took = time.perf_counter() - began
            worst = max(
                largest_difference(one.planes, two.planes, layout.depth)
                for one, two in zip(made, computed[first:last], strict=True)
            )
            saved, plain = stream.saved, sum(every[first:last])
            if worst > MOST_DIFFERENT:
                problems.append(f"{model}, crf {crf}, {name}: a block differs by {worst:.2f}")
            rows.append(
                [
                    f"{model}, crf {crf}: {name}",
                    f"{saved.share:.0%}",
                    f"{1 - took / plain:.0%}",
                    f"{worst:.2f}",
                ]
            )
            report.append(
                {
                    "model": model,
                    "crf": crf,
                    "scene": name,
                    "frames": last - first,
                    "tiles": saved.tiles,
                    "reused": saved.reused,
                    "repeated": saved.repeated,
                    "checked": saved.checked,
                    "worst_checked": saved.worst,
                    "seconds": took,
                    "seconds_without": plain,
                    "worst": worst,
                }
            )
    headers = ["scene", "tiles reused", "time saved", "largest difference in a block"]
    return Part({"scenes": report}, f"\nReuse\n\n{markdown(headers, rows)}\n", problems)


def whole_frame(
    pipeline: Pipeline, frame: VideoFrame, layout: VideoLayout, request: Request
) -> VideoFrame:
    made = pipeline.run(to_rgb(frame, layout), request, dtype=np.float32, gray=False)
    return from_rgb(made, layout.sized(request.width, request.height))


# --- memory ---------------------------------------------------------------------------------------


def memory(options: Options) -> Part:
    """The memory of this process over a long video."""
    width, height, count = (48, 32, 200) if options.quick else (96, 64, 2000)
    pipeline = Upscaler("upconv_7", engine="native").pipeline
    layout = VideoLayout(width, height)
    rng = np.random.default_rng(20261126)

    def frames() -> Iterator[VideoFrame]:
        for number in range(count):
            size = [(rng.integers(60, 180, shape)).astype(np.uint8) for shape in layout.shapes]
            yield VideoFrame(tuple(size), number)

    process = psutil.Process()
    samples = []
    for done, _ in enumerate(
        UpscaledFrames(frames(), layout, pipeline, request_for(pipeline, layout), exact=True), 1
    ):
        if done % 10 == 0:
            samples.append((done, process.memory_info().rss))
    early, late = (max(rss for done, rss in samples if low < done <= low + count // 4)
                   for low in (count // 4, count - count // 4))  # fmt: skip
    if options.plot is not None:
        plot(samples, options.plot)
    text = (
        f"\nMemory over {count} frames of {width}x{height}: {early / 1e6:.1f} MB in the second "
        f"quarter, {late / 1e6:.1f} MB in the last\n"
    )
    return Part({"samples": samples, "second_quarter": early, "last_quarter": late}, text)


def plot(samples: Sequence[tuple[int, int]], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3))
    axes.plot([done for done, _ in samples], [rss / 1e6 for _, rss in samples])
    axes.set(xlabel="frames", ylabel="memory, MB", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(file, dpi=100)


PARTS = {"throughput": throughput, "reuse": reuse, "memory": memory}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.video", description="Measure videos."
    )
    add_options(parser, PARTS, rounds="3", quiet=False)
    add = parser.add_argument
    known = parse_names("model", known_names())
    add("--models", type=known, default=MODELS, metavar="NAME,...", help="upconv_7,cunet")
    known = parse_names("size", SIZES)
    add("--sizes", type=known, default=tuple(SIZES), metavar="NAME,...", help="480p,720p,1080p")
    add("--crf", type=parse_numbers(int, 0), default=(18, 23), metavar="N,...", help="18,23")
    add("--plot", type=Path, metavar="FILE", help="PNG of the memory")
    arguments = parser.parse_args(argv)
    check_rounds(parser, arguments, 3)
    facts: dict[str, Any] = environment(threads=None, distributions=DISTRIBUTIONS)
    print(describe(facts), flush=True)
    options = make_options(Options, arguments)
    return run_parts(PARTS, options, arguments, {"benchmark": "video", **facts})


if __name__ == "__main__":
    sys.exit(main())
