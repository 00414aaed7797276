"""Half precision compared with float32, and a GPU with little memory."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from waifu2x.picture import Picture

from ..common.engines import upscale
from ..common.parts import Part
from ..common.pictures import draw_face, max_difference, to_levels
from ..common.tables import markdown
from .layers import MODELS
from .options import GpuOptions
from .pictures import LEVEL_TOLERANCE, picture_of, upscaler

#: Least PSNR of half precision with float32 as the reference, in dB.
TARGET_DB = 60.0


class _LogCounter(logging.Handler):
    """Counts recomputed pictures in the log of the package, and keeps its warnings."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.again = 0
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.again += "in float32" in record.getMessage()
        if record.levelno >= logging.WARNING:
            self.warnings.append(record.getMessage())


@contextmanager
def _watched_log() -> Iterator[_LogCounter]:
    counter, log = _LogCounter(), logging.getLogger("waifu2x")
    level, propagate = log.level, log.propagate
    log.addHandler(counter)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield counter
    finally:
        log.removeHandler(counter)
        log.setLevel(level)
        log.propagate = propagate


def run(options: GpuOptions) -> Part:
    """PSNR of fp16 with float32 as the reference, before and after rounding to 8 bits."""
    given = options.pictures or [("drawn", draw_face(512, 512))]
    side = 48 if options.quick else 1 << 14
    report: dict[str, Any] = {"wanted_db": TARGET_DB, "models": {}}
    rows, problems = [], []
    for model in MODELS:
        half, full = (upscaler(options, model, each) for each in ("fp16", "fp32"))
        found = {}
        with _watched_log() as counter:
            for name, image in given:
                color = np.asarray(image.convert("RGB"))[:side, :side]
                picture = Picture(np.ascontiguousarray(color))
                made, want = (
                    upscale(each, picture, dtype=np.float32).color.astype(np.float64)
                    for each in (half, full)
                )
                levels = [to_levels(each) / 255 for each in (made, want)]
                found[name] = {"float": _psnr(made, want), "8_bit": _psnr(*levels)}
        report["models"][model] = {"pictures": found, "done_again": counter.again}
        for kind in ("float", "8_bit"):
            values = [each[kind] for each in found.values()]
            rows.append([f"{model}, {kind}", f"{min(values):.1f}", f"{np.median(values):.1f}"])
        least = min(each["float"] for each in found.values())
        if least < TARGET_DB:
            problems.append(
                f"{model}: {least:.1f} dB between fp16 and fp32; the target is {TARGET_DB:.0f}"
            )
        if counter.again:
            problems.append(f"{model}: {counter.again} pictures with tiles recomputed")
    return Part(
        report, "\n" + markdown(["fp16 against fp32", "least dB", "median"], rows), problems
    )


def _psnr(made: np.ndarray, want: np.ndarray) -> float:
    error = float(((made - want) ** 2).mean())
    return min(120.0, -10 * math.log10(error)) if error else 120.0


def run_memory(options: GpuOptions) -> Part:
    """Compare results when the allocator is limited to a tenth of the memory of a picture."""
    options.require_gpu()
    width, height = (320, 200) if options.quick else (1920, 1080)
    picture = picture_of(width, height)
    report: dict[str, Any] = {}
    text, problems = "", []
    total = torch.cuda.get_device_properties(options.device).total_memory
    for model in MODELS:
        whole = upscale(upscaler(options, model), picture).color
        peak = torch.cuda.max_memory_allocated(options.device)
        for name, tile in (("whole", 0), ("tiles of 256", 256)):
            torch.cuda.empty_cache()
            limit = torch.cuda.memory_reserved(options.device) + max(peak // 10, 256 << 20)
            torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), options.device)
            try:
                with _watched_log() as counter:
                    made = upscale(upscaler(options, model, tile=tile), picture).color
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0, options.device)
            differs = max_difference(made, whole)
            report[f"{model}, {name}"] = {
                "limit_mb": limit >> 20,
                "peak_without_mb": peak >> 20,
                "warnings": counter.warnings,
                "differs": differs,
            }
            text += f"\n{model}, {name}: {limit >> 20} MB instead of {peak >> 20}, differs by "
            text += f"{differs}: {'; '.join(counter.warnings) or 'no warning'}"
            if differs > LEVEL_TOLERANCE:
                problems.append(
                    f"{model}, {name}: {differs} levels off after running out of memory"
                )
            if len(counter.warnings) > 1:
                problems.append(f"{model}, {name}: {len(counter.warnings)} warnings instead of one")
    return Part(report, text, problems)
