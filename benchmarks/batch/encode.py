"""Encoders on threads and in processes: several large results written at the same time."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context, shared_memory
from typing import Any

import numpy as np
from _batch_watch import BatchOptions
from _measure import Result, summarise, take_turns, timed, to_json
from _parts import Part
from _pictures import Pixels, drawn
from _tables import markdown
from gates import laid_out

from waifu2x import codec
from waifu2x.picture import Picture

SIDE, QUICK_SIDE = 2048, 64
#: Pictures for each format and sample.
PICTURES = {"png": 8, "jpeg": 8, "webp": 4, "avif": 4, "tiff": 8}
QUALITY = {"webp": 100}  # lossless
WAYS = ("1 thread", "2 threads", "2 processes")


def run(options: BatchOptions) -> Part:
    pixels = _picture(options)
    part = Part({"side": pixels.shape[0], "formats": {}}, "")
    rows = []
    with (
        ThreadPoolExecutor(2) as threads,
        ProcessPoolExecutor(2, get_context("spawn")) as processes,
    ):
        list(processes.map(_encode, ["png"] * 2, [np.zeros((8, 8, 3), np.uint8)] * 2))  # started
        for format, count in PICTURES.items():
            results = [Result(f"{format}, {way}", True, "") for way in WAYS]
            ways = _ways(format, pixels, count, threads, processes)
            take_turns(
                [
                    (result, lambda way=way, count=count: _each(way, count))  # type: ignore[misc]
                    for result, way in zip(results, ways, strict=True)
                ],
                options.rounds,
            )
            summarise(results, options.quiet_below)
            part.wrong += [f"{each.name}: {each.not_run}" for each in results if each.not_run]
            rows.append([format, *(f"{each.seconds * 1e3:.0f}" for each in results)])
            part.report["formats"][format] = to_json(results)
    side = pixels.shape[0]
    part.text = f"\nEncoding, {side}x{side} px, ms per picture:\n\n{markdown(['', *WAYS], rows)}\n"
    return part


def _each(way: Callable[[], object], count: int) -> Any:
    """A sample for each of the pictures that are written at once."""
    sample = timed(way)
    return replace(sample, wall_s=sample.wall_s / count, cpu_s=sample.cpu_s / count, calls=count)


def _ways(
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
    """Returns the size of the file."""
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
    pictures = [picture for _, picture in options.pictures] or [drawn(side // 2, side // 2)]
    return laid_out([np.asarray(one) for one in pictures], side)
