"""Half precision against float32, and a GPU with little memory."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import torch
from _cuda_options import CudaOptions
from _cuda_pictures import MODELS, _upscaler
from _parts import Part
from _pictures import drawn
from _tables import markdown

from waifu2x.picture import Picture
from waifu2x.pipeline import Settings

#: Decibels that half precision must reach against float32.
WANTED = 60.0


class _Counter(logging.Handler):
    """Counts the lines that say that tiles are done again, and keeps the warnings."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.again = 0
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.again += "done again in float32" in record.getMessage()
        if record.levelno >= logging.WARNING:
            self.warnings.append(record.getMessage())


class _Watched:
    def __enter__(self) -> _Counter:
        self._counter = _Counter()
        self._log = logging.getLogger("waifu2x")
        self._level, self._propagate = self._log.level, self._log.propagate
        self._log.addHandler(self._counter)
        self._log.setLevel(logging.INFO)
        self._log.propagate = False
        return self._counter

    def __exit__(self, *error: object) -> None:
        self._log.removeHandler(self._counter)
        self._log.setLevel(self._level)
        self._log.propagate = self._propagate


def precision(options: CudaOptions) -> Part:
    """PSNR of the samples before they are rounded to 8 bits, and after."""
    given = options.pictures or [("drawn", drawn(512, 512))]
    side = 48 if options.quick else 1 << 14
    report: dict[str, Any] = {"wanted_db": WANTED, "models": {}}
    rows, wrong = [], []
    for model in MODELS:
        half, full = (_upscaler(options, model, each) for each in ("fp16", "fp32"))
        found = {}
        with _Watched() as counter:
            for name, image in given:
                colour = np.asarray(image.convert("RGB"))[:side, :side]
                picture = Picture(np.ascontiguousarray(colour))
                made, want = (
                    each.run(picture, dtype=np.float32).colour.astype(np.float64)
                    for each in (half, full)
                )
                levels = [np.floor(each * 255 + 0.5) / 255 for each in (made, want)]
                found[name] = {"float": _psnr(made, want), "8_bit": _psnr(*levels)}
        report["models"][model] = {"pictures": found, "done_again": counter.again}
        for kind in ("float", "8_bit"):
            values = [each[kind] for each in found.values()]
            rows.append([f"{model}, {kind}", f"{min(values):.1f}", f"{np.median(values):.1f}"])
        least = min(each["float"] for each in found.values())
        if least < WANTED:
            wrong.append(f"{model}: {least:.1f} dB between fp16 and fp32; {WANTED:.0f} are wanted")
        if counter.again:
            wrong.append(f"{model}: {counter.again} pictures with tiles done again")
    return Part(report, "\n" + markdown(["fp16 against fp32", "least dB", "median"], rows), wrong)


def _psnr(made: np.ndarray, want: np.ndarray) -> float:
    error = float(((made - want) ** 2).mean())
    return min(120.0, -10 * math.log10(error)) if error else 120.0


def memory(options: CudaOptions) -> Part:
    """What is right comes out where the allocator has a tenth of what a picture takes."""
    options.require_gpu()
    width, height = (320, 200) if options.quick else (1920, 1080)
    picture = Picture(np.asarray(drawn(width, height).convert("RGB")))
    report: dict[str, Any] = {}
    text, wrong = "", []
    total = torch.cuda.get_device_properties(options.device).total_memory
    for model in MODELS:
        whole = _upscaler(options, model).run(picture).colour
        peak = torch.cuda.max_memory_allocated(options.device)
        for name, settings in (("whole", Settings()), ("tiles of 256", Settings(tile=256))):
            torch.cuda.empty_cache()
            limit = torch.cuda.memory_reserved(options.device) + max(peak // 10, 256 << 20)
            torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), options.device)
            try:
                with _Watched() as counter:
                    made = _upscaler(options, model).run(picture, settings=settings).colour
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0, options.device)
            differs = int(np.abs(made.astype(int) - whole.astype(int)).max())
            report[f"{model}, {name}"] = {
                "limit_mb": limit >> 20,
                "peak_without_mb": peak >> 20,
                "warnings": counter.warnings,
                "differs": differs,
            }
            text += f"\n{model}, {name}: {limit >> 20} MB instead of {peak >> 20}, differs by "
            text += f"{differs}: {'; '.join(counter.warnings) or 'no warning'}"
            if differs > 2:
                wrong.append(f"{model}, {name}: {differs} levels off after running out of memory")
            if len(counter.warnings) > 1:
                wrong.append(f"{model}, {name}: {len(counter.warnings)} warnings instead of one")
    return Part(report, text, wrong)
