"""Encoders in threads and in processes: several large results encoded at the same time."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context, shared_memory

import numpy as np

from waifu2x import codec
from waifu2x.picture import Picture

from ..common.measure import Result, Sample, failures, interleave, summarize, timed, to_json
from ..common.parts import Part
from ..common.pictures import Pixels, draw_face, mosaic
from ..common.tables import markdown
from .options import BatchOptions

SIDE, QUICK_SIDE = 2048, 64
#: Pictures per sample, by format.
PICTURES = {"png": 8, "jpeg": 8, "webp": 4, "avif": 4, "tiff": 8}
QUALITY = {"webp": 100}  # lossless
METHODS = ("1 thread", "2 threads", "2 processes")


def run(options: BatchOptions) -> Part:
    pixels = _picture(options)
    part = Part({"side": pixels.shape[0], "formats": {}}, "")
    rows = []
    with (
        ThreadPoolExecutor(2) as threads,
        ProcessPoolExecutor(2, get_context("spawn")) as processes,
    ):
        list(
            processes.map(_encode, ["png"] * 2, [np.zeros((8, 8, 3), np.uint8)] * 2)
        )  # starts both
        for format, count in PICTURES.items():
            results = [Result(f"{format}, {method}", True, "") for method in METHODS]
            calls = _methods(format, pixels, count, threads, processes)
            interleave(
                [
                    (result, partial(_per_picture, call, count))
                    for result, call in zip(results, calls, strict=True)
                ],
                options.rounds,
            )
            summarize(results, options.quiet_below)
            part.problems += failures(results)
            rows.append([format, *(f"{each.seconds * 1e3:.0f}" for each in results)])
            part.report["formats"][format] = to_json(results)
    side = pixels.shape[0]
    part.text = (
        f"\nEncoding, {side}x{side} px, ms per picture:\n\n{markdown(['', *METHODS], rows)}\n"
    )
    return part


def _per_picture(call: Callable[[], object], count: int) -> Sample:
    """Time a call that encodes ``count`` pictures; return the share of one picture."""
    sample = timed(call)
    return replace(sample, wall_s=sample.wall_s / count, cpu_s=sample.cpu_s / count, calls=count)


def _methods(
    format: str, pixels: Pixels, count: int, threads: Executor, processes: Executor
) -> list[Callable[[], object]]:
    def in_process(_: int) -> int:
        shared = shared_memory.SharedMemory(create=True, size=pixels.nbytes)
        try:
            np.ndarray(pixels.shape, np.uint8, buffer=shared.buf)[:] = pixels
            return processes.submit(_encode_shared, format, shared.name, pixels.shape).result()
        finally:
            shared.close()
            shared.unlink()

    return [
        lambda: [_encode(format, pixels) for _ in range(count)],
        lambda: list(threads.map(_encode, [format] * count, [pixels] * count)),
        lambda: list(threads.map(in_process, range(count))),
    ]


def _encode(format: str, pixels: Pixels) -> int:
    """Encode a picture; return the size of the file."""
    file = io.BytesIO()
    output = codec.resolve_format(None, format)
    codec.encode_stream(Picture(pixels), file, output, quality=QUALITY.get(format))
    return file.tell()


def _encode_shared(format: str, name: str, shape: tuple[int, ...]) -> int:
    shared = shared_memory.SharedMemory(name=name)
    try:
        pixels: Pixels = np.ndarray(shape, np.uint8, buffer=shared.buf)
        size = _encode(format, pixels)
        del pixels
        return size
    finally:
        shared.close()


def _picture(options: BatchOptions) -> Pixels:
    side = QUICK_SIDE if options.quick else SIDE
    pictures = [picture for _, picture in options.pictures] or [draw_face(side // 2, side // 2)]
    return mosaic([np.asarray(each) for each in pictures], side)
